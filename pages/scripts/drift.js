// Drifting: where data pull generated points, and where these push each other.

function meanLength(vectors) {
  let sum = 0;
  for (let i = 0; i < vectors.length; i += 2) sum += Math.hypot(vectors[i], vectors[i + 1]);
  return (2 * sum) / vectors.length;
}

// The directions V = pull + push of generated points, and the mean length of V before it is scaled.
//
// Weights are kernels exp(-distance / temperature), each divided by the root of the product of the sums of its row
// and its column. V = sum_ij a_i r_j (p_i - q_j) over the data p_i, which attract, and the other points q_j, which
// repel: a point x is pulled toward p_i - x and pushed away from q_j - x.
function drift(points, data, temperatures) {
  const others = Float64Array.of(...data, ...points), rows = points.length / 2, columns = others.length / 2;
  const near = data.length / 2, distances = new Float64Array(rows * columns);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) {
    const distance = Math.hypot(points[2 * i] - others[2 * j], points[2 * i + 1] - others[2 * j + 1]);
    distances[i * columns + j] = j === near + i ? Infinity : distance; // no point repels itself
  }
  const finite = distances.filter(Number.isFinite);
  const mean = Math.max(finite.reduce((a, b) => a + b, 0) / finite.length, 1e-12);
  const pull = new Float64Array(points.length), push = new Float64Array(points.length);
  let length = 0;
  for (const temperature of temperatures) {
    const { pulled, pushed } = forces(points, others, near, kernels(distances, rows, columns, temperature * mean));
    const move = pulled.map((v, i) => v + pushed[i]), square = move.reduce((sum, v) => sum + v * v, 0) / move.length;
    const scale = 1 / Math.max(Math.sqrt(square), 1e-12);
    for (let i = 0; i < move.length; i++) {
      pull[i] += scale * pulled[i];
      push[i] += scale * pushed[i];
    }
    length += meanLength(move);
  }
  return { pull, push, length };
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

// Pull and push of each point, where the first `near` of the others attract.
function forces(points, others, near, weights) {
  const columns = others.length / 2, pulled = new Float64Array(points.length), pushed = new Float64Array(points.length);
  for (let i = 0; i < points.length / 2; i++) {
    const x = points[2 * i], y = points[2 * i + 1], sums = [[0, 0, 0], [0, 0, 0]]; // of weights and weighted ways
    for (let j = 0; j < columns; j++) {
      const weight = weights[i * columns + j], sum = sums[j < near ? 0 : 1];
      sum[0] += weight;
      sum[1] += weight * (others[2 * j] - x);
      sum[2] += weight * (others[2 * j + 1] - y);
    }
    const [attracts, repels] = sums;
    for (const axis of [0, 1]) {
      pulled[2 * i + axis] = repels[0] * attracts[1 + axis];
      pushed[2 * i + axis] = -attracts[0] * repels[1 + axis];
    }
  }
  return { pulled, pushed };
}
