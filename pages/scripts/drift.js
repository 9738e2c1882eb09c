// Drifting: where data pull generated points, and where these push each other.

function meanLength(vectors, size = 2) {
  let sum = 0;
  for (let i = 0; i < vectors.length; i += size) sum += Math.hypot(...vectors.subarray(i, i + size));
  return (size * sum) / vectors.length;
}

// The directions V = pull + push of generated points, and the mean length of V before it is scaled. Points have
// `size` coordinates.
//
// Weights are kernels exp(-distance / temperature), each divided by the root of the product of the sums of its row
// and its column. V = sum_ij a_i r_j (p_i - q_j) over the data p_i, which attract, and the other points q_j, which
// repel: a point x is pulled toward p_i - x and pushed away from q_j - x.
function drift(points, data, temperatures, size = 2) {
  const near = data.length / size, rows = points.length / size, columns = near + rows;
  const others = joined(data, points), distances = distancesBetween(points, others, size);
  let sum = 0;
  for (let i = 0; i < rows; i++) distances[i * columns + near + i] = 0;
  for (let k = 0; k < distances.length; k++) sum += distances[k];
  for (let i = 0; i < rows; i++) distances[i * columns + near + i] = Infinity; // no point repels itself
  const mean = Math.max(sum / (rows * (columns - 1)), 1e-12);
  const logits = distances.map((distance) => -distance), across = transposed(logits, columns);
  const pull = new Float64Array(points.length), push = new Float64Array(points.length);
  let length = 0;
  for (const temperature of temperatures) {
    const weights = kernels(logits, across, rows, temperature * mean);
    const { pulled, pushed } = forces(points, others, near, weights, size);
    const move = pulled.map((v, i) => v + pushed[i]), square = move.reduce((sum, v) => sum + v * v, 0) / move.length;
    const scale = 1 / Math.max(Math.sqrt(square), 1e-12);
    length += meanLength(move, size);
    for (let i = 0; i < points.length; i++) {
      pull[i] += scale * pulled[i];
      push[i] += scale * pushed[i];
    }
  }
  return { pull, push, length };
}

// Distances (rows of a, rows of b).
function distancesBetween(a, b, size) {
  const distances = new Float64Array((a.length / size) * (b.length / size));
  for (let i = 0, k = 0; i < a.length; i += size) for (let j = 0; j < b.length; j += size, k++) {
    let square = 0;
    for (let axis = 0; axis < size; axis++) square += (a[i + axis] - b[j + axis]) ** 2;
    distances[k] = Math.sqrt(square);
  }
  return distances;
}

// Kernels (rows, columns), divided by the root of the product of the sums of row and column. across: transposed logits.
function kernels(logits, across, rows, temperature) {
  const weights = softmax(logits, logits.length / rows, temperature);
  const inColumn = transposed(softmax(across, rows, temperature), rows);
  for (let k = 0; k < weights.length; k++) weights[k] = Math.sqrt(weights[k] * inColumn[k]);
  return weights;
}

// Pull and push of each point, where the first `near` of the others attract.
function forces(points, others, near, weights, size) {
  const pulled = new Float64Array(points.length), pushed = new Float64Array(points.length);
  for (let i = 0, k = 0; i < points.length; i += size) {
    let attracts = 0, repels = 0;
    for (let j = 0; j < others.length; j += size, k++) {
      const isData = j < near * size, moved = isData ? pulled : pushed;
      if (isData) attracts += weights[k];
      else repels += weights[k];
      for (let axis = 0; axis < size; axis++) moved[i + axis] += weights[k] * (others[j + axis] - points[i + axis]);
    }
    for (let axis = i; axis < i + size; axis++) {
      pulled[axis] *= repels;
      pushed[axis] *= -attracts;
    }
  }
  return { pulled, pushed };
}
