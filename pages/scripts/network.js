// Fully connected networks with the gradients that PyTorch computes, written by hand.
// A batch is one Float64Array, example after example.

const sigmoid = (z) => 1 / (1 + Math.exp(-z));
const softplus = (z) => Math.max(z, 0) + Math.log1p(Math.exp(-Math.abs(z)));

// An activation y of the weighted sum z, and its slope dy/dz.
const ACTIVATIONS = {
  tanh: { value: Math.tanh, slope: (z, y) => 1 - y * y },
  relu: { value: (z) => (z > 0 ? z : 0), slope: (z) => (z > 0 ? 1 : 0) },
  sigmoid: { value: sigmoid, slope: (z, y) => y * (1 - y) },
  silu: { value: (z) => z * sigmoid(z), slope: (z, y) => sigmoid(z) * (1 - y) + y },
  leakyrelu: { value: (z) => (z > 0 ? z : 0.01 * z), slope: (z) => (z > 0 ? 1 : 0.01) },
  elu: { value: (z) => (z > 0 ? z : Math.expm1(z)), slope: (z, y) => (z > 0 ? 1 : y + 1) },
  softplus: { value: softplus, slope: sigmoid },
};

class Network {
  // sizes: of the input, each hidden layer and the output. random: of numbers in [0, 1).
  constructor(sizes, activation, random) {
    const total = sizes.slice(1).reduce((sum, outputs, k) => sum + outputs * (sizes[k] + 1), 0);
    this.activation = ACTIVATIONS[activation];
    this.parameters = new Float64Array(total);
    this.gradients = new Float64Array(total);
    let end = 0;
    this.layers = sizes.slice(1).map((outputs, k) => {
      const inputs = sizes[k], start = end, middle = start + inputs * outputs;
      end = middle + outputs;
      for (let i = start; i < end; i++) this.parameters[i] = (2 * random() - 1) / Math.sqrt(inputs);
      const parts = (array) => ({ weight: array.subarray(start, middle), bias: array.subarray(middle, end) });
      return { inputs, outputs, ...parts(this.parameters), gradient: parts(this.gradients) };
    });
  }

  // Inputs (B, sizes[0]) -> outputs (B, sizes.at(-1)). Each layer keeps its `sums` and `values`.
  forward(inputs) {
    const { value } = this.activation, last = this.layers.length - 1;
    let given = inputs instanceof Float64Array ? inputs : Float64Array.from(inputs);
    this.layers.forEach((layer, k) => {
      const { weight, bias, inputs: size, outputs } = layer, sums = products(given, weight, size);
      for (let i = 0; i < sums.length; i += outputs) for (let o = 0; o < outputs; o++) sums[i + o] += bias[o];
      Object.assign(layer, { given, sums, values: sums });
      if (k < last) {
        const values = (layer.values = new Float64Array(sums.length));
        for (let i = 0; i < values.length; i++) values[i] = value(sums[i]);
      }
      given = layer.values;
    });
    return given;
  }

  // Slopes of a loss in the last outputs -> slopes in the inputs, if these are needed. Replaces `gradients`, if
  // the weights train.
  backward(slopes, { trains = true, needsInputs = true } = {}) {
    const { slope } = this.activation;
    for (let k = this.layers.length - 1; k >= 0; k--) {
      const { sums, values, outputs, inputs, weight, given, gradient } = this.layers[k];
      if (k < this.layers.length - 1)
        for (let i = 0; i < slopes.length; i++) slopes[i] *= slope(sums[i], values[i]);
      if (trains) {
        const across = transposed(slopes, outputs), count = slopes.length / outputs;
        gradient.weight.set(products(across, transposed(given, inputs), count));
        for (let o = 0; o < outputs; o++) gradient.bias[o] = across.subarray(o * count, (o + 1) * count).reduce((a, b) => a + b, 0);
      }
      if (k || needsInputs) slopes = products(slopes, transposed(weight, inputs), outputs);
    }
    return slopes;
  }
}

// The product of each row of a with each row of b, both with `size` columns: (rows of a, rows of b).
// Nine sums at once take a third of the time, because each term of one sum waits for the term before.
function products(a, b, size) {
  const rows = a.length / size, columns = b.length / size, result = new Float64Array(rows * columns);
  for (let r = 0; r < rows; r += 3) {
    const s = Math.min(r + 1, rows - 1), t = Math.min(r + 2, rows - 1); // the last rows may be the same
    const aR = r * size, aS = s * size, aT = t * size;
    for (let c = 0; c < columns; c += 3) {
      const d = Math.min(c + 1, columns - 1), e = Math.min(c + 2, columns - 1);
      const bC = c * size, bD = d * size, bE = e * size;
      let rc = 0, rd = 0, re = 0, sc = 0, sd = 0, se = 0, tc = 0, td = 0, te = 0;
      for (let k = 0; k < size; k++) {
        const x = a[aR + k], y = a[aS + k], z = a[aT + k], u = b[bC + k], v = b[bD + k], w = b[bE + k];
        rc += x * u;
        rd += x * v;
        re += x * w;
        sc += y * u;
        sd += y * v;
        se += y * w;
        tc += z * u;
        td += z * v;
        te += z * w;
      }
      result[r * columns + c] = rc;
      result[r * columns + d] = rd;
      result[r * columns + e] = re;
      result[s * columns + c] = sc;
      result[s * columns + d] = sd;
      result[s * columns + e] = se;
      result[t * columns + c] = tc;
      result[t * columns + d] = td;
      result[t * columns + e] = te;
    }
  }
  return result;
}

function transposed(array, columns) {
  const rows = array.length / columns, result = array.slice();
  for (let r = 0, i = 0; r < rows; r++) for (let c = 0; c < columns; c++, i++) result[c * rows + r] = array[i];
  return result;
}

// Probabilities of each row of `size` logits.
function softmax(logits, size, temperature = 1) {
  const shares = logits.slice();
  for (let i = 0; i < shares.length; i += size) {
    let max = -Infinity, sum = 0;
    for (let k = i; k < i + size; k++) max = Math.max(max, shares[k]);
    for (let k = i; k < i + size; k++) sum += shares[k] = Math.exp((shares[k] - max) / temperature);
    for (let k = i; k < i + size; k++) shares[k] /= sum;
  }
  return shares;
}

class SGD {
  constructor(network) {
    this.network = network;
  }

  step(rate) {
    const { parameters, gradients } = this.network;
    for (let i = 0; i < parameters.length; i++) parameters[i] -= rate * gradients[i];
  }
}

class Adam {
  constructor(network, betas = [0.9, 0.999]) {
    const count = network.parameters.length;
    Object.assign(this, { network, betas, mean: new Float64Array(count), square: new Float64Array(count), steps: 0 });
  }

  step(rate) {
    const { parameters, gradients } = this.network, { mean, square } = this, [first, second] = this.betas;
    this.steps++;
    const length = rate / (1 - first ** this.steps), unbias = 1 / Math.sqrt(1 - second ** this.steps);
    for (let i = 0; i < parameters.length; i++) {
      mean[i] += (1 - first) * (gradients[i] - mean[i]);
      square[i] += (1 - second) * (gradients[i] ** 2 - square[i]);
      parameters[i] -= (length * mean[i]) / (Math.sqrt(square[i]) * unbias + 1e-8);
    }
  }
}
const OPTIMIZERS = { Adam, SGD };

// Exponential moving average of a network's weights.
class Average {
  constructor(network, decay) {
    Object.assign(this, { network, decay, weights: network.parameters.slice(), steps: 0 });
  }

  update() {
    const { weights, steps, network } = this, decay = Math.min(this.decay, (1 + steps) / (10 + steps));
    for (let i = 0; i < weights.length; i++) weights[i] += (1 - decay) * (network.parameters[i] - weights[i]);
    this.steps++;
  }

  // Returns what a function computes while the network has the averaged weights.
  with(compute) {
    const trained = this.network.parameters.slice();
    this.network.parameters.set(this.weights);
    const result = compute();
    this.network.parameters.set(trained);
    return result;
  }
}
