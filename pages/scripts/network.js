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
    const count = inputs.length / this.layers[0].inputs, last = this.layers.length - 1;
    this.layers.forEach((layer, k) => {
      layer.given = k ? this.layers[k - 1].values : inputs;
      layer.sums = weightedSums(layer, count);
      layer.values = k < last ? layer.sums.map(this.activation.value) : layer.sums;
    });
    return this.layers[last].values;
  }

  // Slopes of a loss in the last outputs -> slopes in the inputs. Replaces `gradients`.
  backward(slopes) {
    this.gradients.fill(0);
    for (let k = this.layers.length - 1; k >= 0; k--) {
      const layer = this.layers[k];
      if (k < this.layers.length - 1)
        for (let i = 0; i < slopes.length; i++) slopes[i] *= this.activation.slope(layer.sums[i], layer.values[i]);
      slopes = inputSlopes(layer, slopes);
    }
    return slopes;
  }
}

// Four examples at once take a quarter of the time, because each term of one sum waits for the term before.
function weightedSums({ inputs, outputs, weight, bias, given }, count) {
  const padded = Math.ceil(count / 4) * 4, sums = new Float64Array(padded * outputs);
  const values = new Float64Array(padded * inputs);
  values.set(given);
  for (let o = 0; o < outputs; o++) for (let b = 0; b < padded; b += 4) {
    const from = b * inputs, to = b * outputs + o;
    let [first, second, third, fourth] = [bias[o], bias[o], bias[o], bias[o]];
    for (let i = 0; i < inputs; i++) {
      const w = weight[o * inputs + i], at = from + i;
      first += w * values[at];
      second += w * values[at + inputs];
      third += w * values[at + 2 * inputs];
      fourth += w * values[at + 3 * inputs];
    }
    sums[to] = first;
    sums[to + outputs] = second;
    sums[to + 2 * outputs] = third;
    sums[to + 3 * outputs] = fourth;
  }
  return sums.subarray(0, count * outputs);
}

function inputSlopes({ inputs, outputs, weight, gradient, given }, slopes) {
  const count = slopes.length / outputs, back = new Float64Array(count * inputs);
  for (let b = 0, next = 0; b < count; b++) {
    const from = b * inputs;
    for (let o = 0, w = 0; o < outputs; o++) {
      const slope = slopes[next++];
      gradient.bias[o] += slope;
      for (let i = 0; i < inputs; i++, w++) {
        gradient.weight[w] += slope * given[from + i];
        back[from + i] += slope * weight[w];
      }
    }
  }
  return back;
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
