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
  const others = new Float64Array(data.length + points.length);
  others.set(data);
  others.set(points, data.length);
  const distances = distancesBetween(Float64Array.from(points), others, size);
  let sum = 0;
  for (let i = 0; i < rows; i++) distances[i * columns + near + i] = 0;
  for (let k = 0; k < distances.length; k++) sum += distances[k];
  for (let i = 0; i < rows; i++) distances[i * columns + near + i] = Infinity; // no point repels itself
  const mean = Math.max(sum / (rows * (columns - 1)), 1e-12), across = transposed(others, size);
  const pull = new Float64Array(points.length), push = new Float64Array(points.length);
  let length = 0;
  for (const temperature of temperatures) {
    const weights = kernels(distances, rows, columns, temperature * mean);
    const { pulled, pushed } = forces(points, across, near, weights, size);
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

// Distances (rows of a, rows of b), from |a - b|^2 = |a|^2 + |b|^2 - 2 ab.
function distancesBetween(a, b, size) {
  const squares = (points) => Float64Array.from({ length: points.length / size }, (_, i) => {
    let sum = 0;
    for (let axis = 0; axis < size; axis++) sum += points[i * size + axis] ** 2;
    return sum;
  });
  const distances = products(a, b, size), own = squares(a), other = squares(b);
  for (let i = 0, k = 0; i < own.length; i++) for (let j = 0; j < other.length; j++, k++)
    distances[k] = Math.sqrt(Math.max(own[i] + other[j] - 2 * distances[k], 0));
  return distances;
}

// Kernels (rows x columns), divided by the root of the product of the sums of row and column.
function kernels(distances, rows, columns, temperature) {
  const rowMin = new Float64Array(rows).fill(Infinity), rowSum = new Float64Array(rows);
  const columnMin = new Float64Array(columns).fill(Infinity), columnSum = new Float64Array(columns);
  for (let i = 0, k = 0; i < rows; i++) for (let j = 0; j < columns; j++, k++) {
    rowMin[i] = Math.min(rowMin[i], distances[k]);
    columnMin[j] = Math.min(columnMin[j], distances[k]);
  }
  const weights = new Float64Array(rows * columns);
  for (let i = 0, k = 0; i < rows; i++) for (let j = 0; j < columns; j++, k++) {
    if (distances[k] === Infinity) continue;
    const inRow = Math.exp((rowMin[i] - distances[k]) / temperature);
    const inColumn = Math.exp((columnMin[j] - distances[k]) / temperature);
    rowSum[i] += inRow;
    columnSum[j] += inColumn;
    weights[k] = inRow * inColumn;
  }
  for (let i = 0, k = 0; i < rows; i++) for (let j = 0; j < columns; j++, k++)
    if (weights[k]) weights[k] = Math.sqrt(weights[k] / (rowSum[i] * columnSum[j]));
  return weights;
}

// Pull and push of each point, where the first `near` of the others attract. across: the others, (size, columns).
function forces(points, across, near, weights, size) {
  const rows = points.length / size, columns = across.length / size;
  const parts = [weights.slice(), weights.slice()], sums = [new Float64Array(rows), new Float64Array(rows)];
  for (let i = 0, k = 0; i < rows; i++) for (let j = 0; j < columns; j++, k++) {
    const side = j < near ? 0 : 1;
    parts[1 - side][k] = 0;
    sums[side][i] += weights[k];
  }
  const [pulled, pushed] = parts.map((part) => products(part, across, columns)), [attracts, repels] = sums;
  for (let i = 0, k = 0; i < rows; i++) for (let axis = 0; axis < size; axis++, k++) {
    pulled[k] = repels[i] * (pulled[k] - attracts[i] * points[k]);
    pushed[k] = -attracts[i] * (pushed[k] - repels[i] * points[k]);
  }
  return { pulled, pushed };
}
