// The four trainings. Networks, losses and directions are those of models/plane.py, models/classifier.py,
// models/gan, models/flow.py and models/drift.py. `step()` trains with one batch and returns what the curve
// shows, `heldOut()` the loss of the held-out points.

const SCALE = 4; // networks get coordinates in [-4, 4]
const centered = (values, scale = SCALE) => values.map((v) => scale * (2 * v - 1));
const repeated = (count, value) => Array(count).fill(value);
const multiply = (array, factor) => array.forEach((v, i) => (array[i] = factor * v));

// What is generated: `size` values in [0, 1] for each example, from `latents` random numbers and one of `classes`, if
// there are any. Networks get values in [-scale, scale]; `output` turns G's sums into values. The network of a flow
// computes the clean example or the velocity, at times of this mean (before the sigmoid).
const PLANE = {
  size: 2, latents: 2, classes: 0, scale: SCALE, isClean: false, meanTime: 1.5,
  output: { value: (z) => 0.5 + z / SCALE, slope: () => 1 / SCALE },
};

// Values (B, size) -> (B, size + classes): with `one` at the class of each, if there are classes.
function withClasses(values, labels, classes, one = 1) {
  if (!classes) return values;
  const count = labels.length, size = values.length / count, result = new Float64Array(count * (size + classes));
  for (let b = 0, at = 0; b < count; b++, at += size + classes) {
    result.set(values.subarray(b * size, (b + 1) * size), at);
    result[at + size + labels[b]] = one;
  }
  return result;
}

function joined(a, b) {
  const both = new Float64Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}

// Terms of a loss: their values and slopes in the logit z, for a target y.
const CLASSIFIER_LOSSES = {
  "cross-entropy": { value: (z, y) => softplus(z) - y * z, slope: (z, y) => sigmoid(z) - y },
  "squared error": {
    value: (z, y) => (sigmoid(z) - y) ** 2,
    slope: (z, y) => 2 * (sigmoid(z) - y) * sigmoid(z) * sigmoid(-z),
  },
};
const GENERATOR_LOSSES = {
  "non-saturating": { value: (z) => softplus(-z), slope: (z) => -sigmoid(-z) },
  minimax: { value: (z) => -softplus(z), slope: (z) => -sigmoid(z) },
};

// The mean of a loss over a batch, and its slopes in the logits.
function meanLoss({ value, slope }, logits, targets) {
  const count = logits.length, slopes = logits.map((z, i) => slope(z, targets?.[i]) / count);
  return { loss: logits.reduce((sum, z, i) => sum + value(z, targets?.[i]) / count, 0), slopes };
}

// The mean cross-entropy of classes, of logits in columns `from` and following of outputs (B, width). Adds its slopes
// to slopes (B, width). Only the first examples, as many as labels, count.
function classLoss(outputs, labels, width, from, slopes) {
  let loss = 0;
  labels.forEach((label, b) => {
    const start = b * width + from, shares = softmax(outputs.subarray(start, (b + 1) * width), width - from);
    shares.forEach((share, k) => (slopes[start + k] += (share - (k === label)) / labels.length));
    loss -= Math.log(Math.max(shares[label], Number.MIN_VALUE)) / labels.length;
  });
  return loss;
}

class Classifier {
  constructor(settings, data, random) {
    Object.assign(this, { settings, data, random });
    this.network = this.build(settings);
    // From weights of the usual size, tanh is flat at the corners, and two units get stuck from half of all starts.
    if (data?.name in GATES) for (const part of ["weight", "bias"]) multiply(this.network.layers[0][part], 0.05);
    this.optimizer = new OPTIMIZERS[settings.optimizer || "Adam"](this.network);
  }

  build({ hidden, layers, activation }) {
    return new Network([2, ...repeated(hidden ? layers : 0, hidden), 1], activation, this.random);
  }

  // The logit of class 1.
  logits(xy) {
    return this.network.forward(centered(xy));
  }

  loss({ inputs, labels }) {
    return meanLoss(CLASSIFIER_LOSSES[this.settings.loss], this.logits(inputs), labels);
  }

  step() {
    const { train } = this.data, { batch, rate } = this.settings;
    const { loss, slopes } = this.loss(train.count > batch ? train.draw(batch, this.random) : train.all());
    this.network.backward(slopes, { needsInputs: false });
    this.optimizer.step(rate);
    return { train: loss };
  }

  heldOut() {
    return this.loss(this.data.held.all()).loss;
  }

  // Whether the loss has hardly fallen in the second half of a long training, and a gate is not solved.
  isStuck({ train = [] }, steps) {
    const { rate, optimizer } = this.settings, last = train.at(-1), isLong = steps * rate > (optimizer === "SGD" ? 90 : 9);
    if (!(this.data.name in GATES) || !isLong || steps < 300 || this.accuracy(this.data.train) === 1) return false;
    return last < 0.6 && last > 0.98 * train[train.length >> 1];
  }

  accuracy(points) {
    const { inputs, labels } = points.all();
    return this.logits(inputs).reduce((sum, z, i) => sum + (z > 0 === labels[i] > 0), 0) / labels.length;
  }
}

// From latents to examples, of a GAN and of drift.
class Generator {
  constructor({ hidden, activation }, random, space, { betas, one } = {}) {
    Object.assign(this, { space, one });
    this.network = new Network([space.latents + space.classes, hidden, hidden, space.size], activation, random);
    this.optimizer = new Adam(this.network, betas);
  }

  generate(latents, labels) {
    const { output: { value }, classes } = this.space;
    const sums = this.network.forward(withClasses(latents, labels, classes, this.one));
    return (this.generated = sums.map((z) => value(z)));
  }

  // From slopes of a loss in the examples of the last call.
  backward(slopes) {
    const { slope } = this.space.output, { sums } = this.network.layers.at(-1);
    const ofSums = slopes.map((v, i) => v * slope(sums[i], this.generated[i]));
    this.network.backward(ofSums, { needsInputs: false });
  }
}

// With classes, D also tells the classes of real examples, and G learns to generate them (AC-GAN).
class GAN {
  constructor(settings, data, random, space = PLANE) {
    Object.assign(this, { settings, data, random, space, width: 1 + space.classes });
    const { hidden, activation } = settings, betas = [0.5, 0.99];
    this.generator = new Generator(settings, random, space, { betas });
    this.discriminator = new Network([space.size, hidden, hidden, this.width], activation, random);
    this.optimizer = new Adam(this.discriminator, betas);
  }

  // D's outputs (B, width): first the logit of "real", then those of the classes.
  outputs(examples) {
    return this.discriminator.forward(centered(examples, this.space.scale));
  }

  // D's logit of "real".
  logits(examples) {
    return this.outputs(examples).filter((_, i) => i % this.width === 0);
  }

  // The loss of examples: that of "real", with targets, and that of the first examples' classes.
  loss(kind, examples, targets, labels) {
    const outputs = this.outputs(examples), logits = outputs.filter((_, i) => i % this.width === 0);
    const { loss, slopes } = meanLoss(kind, logits, targets), all = new Float64Array(outputs.length);
    slopes.forEach((slope, b) => (all[b * this.width] = slope));
    return { loss: loss + (this.space.classes && classLoss(outputs, labels, this.width, 1, all)), slopes: all };
  }

  discriminatorLoss(real, fake, labels) {
    const { size } = this.space, targets = [...repeated(real.length / size, 1), ...repeated(fake.length / size, 0)];
    const { loss, slopes } = this.loss(CLASSIFIER_LOSSES["cross-entropy"], joined(real, fake), targets, labels);
    this.discriminator.backward(slopes, { needsInputs: false });
    return loss;
  }

  // Slopes of G's loss in fake examples.
  slopes(fake, labels) {
    const { loss, slopes } = this.loss(GENERATOR_LOSSES[this.settings.generatorLoss], fake, null, labels);
    const back = this.discriminator.backward(slopes, { trains: false });
    multiply(back, 2 * this.space.scale);
    return { loss, slopes: back };
  }

  generatorLoss(latents, labels) {
    const { loss, slopes } = this.slopes(this.generator.generate(latents, labels), labels);
    this.generator.backward(slopes);
    return loss;
  }

  step() {
    const { batch, rate, slower } = this.settings, latents = () => normals(this.space.latents * batch, this.random);
    const { inputs, labels } = this.data.train.draw(batch, this.random);
    const D = this.discriminatorLoss(inputs, this.generator.generate(latents(), labels), labels);
    this.optimizer.step(rate / slower);
    const G = this.generatorLoss(latents(), labels);
    this.generator.optimizer.step(rate);
    return { D, G };
  }
}

const RATES = Array.from({ length: 16 }, (_, k) => 10 ** (k / 7.5)); // of the time's sines and cosines
const MIN_LEFT = 0.05; // smallest 1 - t that the loss divides by

// Values here lie in [-1, 1].
class Flow {
  constructor(settings, data, random, space = PLANE) {
    Object.assign(this, { settings, data, random, space });
    const { hidden, activation } = settings, { size, classes } = space;
    this.network = new Network([size + 2 * RATES.length + classes, hidden, hidden, hidden, size], activation, random);
    this.optimizer = new Adam(this.network);
  }

  // What the network computes for points at their times: the velocity, or the clean example.
  outputs(points, times, labels) {
    const { size, scale, classes } = this.space, width = size + 2 * RATES.length;
    const inputs = new Float64Array(times.length * width);
    let waves = [];
    times.forEach((time, b) => {
      if (time !== times[b - 1]) waves = [Math.sin, Math.cos].flatMap((wave) => RATES.map((rate) => wave(rate * time)));
      for (let axis = 0; axis < size; axis++) inputs[b * width + axis] = scale * points[b * size + axis];
      inputs.set(waves, b * width + size);
    });
    return this.network.forward(withClasses(inputs, labels, classes));
  }

  // The velocity of points at their times. The clean example is the point plus (1 - t) velocities.
  velocity(points, times, labels) {
    const outputs = this.outputs(points, times, labels), { size } = this.space;
    return this.space.isClean ? outputs.map((v, i) => (v - points[i]) / (1 - times[Math.floor(i / size)])) : outputs;
  }

  // Data in [0, 1], noise and times (B) -> the loss, and its slopes in the network's outputs.
  loss(values, noise, times, labels) {
    const { size, isClean } = this.space, data = centered(values, 1), slopes = new Float64Array(data.length);
    const points = data.map((v, i) => noise[i] + times[Math.floor(i / size)] * (v - noise[i]));
    const outputs = this.outputs(points, times, labels);
    let loss = 0;
    for (let i = 0; i < data.length; i++) {
      const left = 1 - times[Math.floor(i / size)], divisor = Math.max(left, MIN_LEFT), gain = isClean ? 1 : left;
      const error = ((isClean ? 0 : points[i]) + gain * outputs[i] - data[i]) / divisor;
      loss += error ** 2 / data.length;
      slopes[i] = (2 * error * gain) / divisor / data.length;
    }
    return { loss, slopes };
  }

  step() {
    const { batch, rate } = this.settings, { random, space } = this;
    const times = Float64Array.from({ length: batch }, () => sigmoid(space.meanTime + normal(random)));
    const { inputs, labels } = this.data.train.draw(batch, random);
    const { loss, slopes } = this.loss(inputs, normals(space.size * batch, random), times, labels);
    this.network.backward(slopes, { needsInputs: false });
    this.optimizer.step(rate);
    return { train: loss };
  }

  // With the same noise and evenly spread times in each call.
  heldOut() {
    const { inputs, labels } = this.data.held.all(), count = labels.length;
    const times = Float64Array.from({ length: count }, (_, k) => (k + 0.5) / count);
    return this.loss(inputs, normals(inputs.length, uniform(0)), times, labels).loss;
  }

  // Follows the velocity from noise to the time `until` with Euler's method.
  follow(noise, until, steps, labels) {
    let points = noise;
    for (let step = 0; step < steps; step++) {
      const times = repeated(points.length / this.space.size, (until * step) / steps);
      const velocity = this.velocity(points, times, labels);
      points = points.map((v, i) => v + (until / steps) * velocity[i]);
    }
    return points;
  }
}

const TEMPERATURES = [0.01, 0.03, 0.1];

class Drift {
  constructor(settings, data, random, space = PLANE) {
    Object.assign(this, { settings, data, random, space });
    this.generator = new Generator(settings, random, space, { one: Math.sqrt(space.latents) }); // as in models/drift.py
  }

  // The loss for generated examples that should move by V, class by class. Generated and real examples come in the
  // order of their classes, equally many of each.
  loss(latents, real, labels) {
    const { size, classes } = this.space, parts = classes || 1, fake = this.generator.generate(latents, labels);
    const slopes = new Float64Array(fake.length), own = fake.length / parts, near = real.length / parts;
    let loss = 0, length = 0;
    for (let k = 0; k < parts; k++) {
      const points = fake.subarray(k * own, (k + 1) * own), data = real.slice(k * near, (k + 1) * near);
      const field = drift(points, data, TEMPERATURES, size);
      field.pull.forEach((v, i) => {
        const move = v + field.push[i];
        loss += move ** 2 / fake.length;
        slopes[k * own + i] = (-2 * move) / fake.length;
      });
      length += field.length / parts;
    }
    this.generator.backward(slopes);
    return { loss, length };
  }

  step() {
    const { batch, rate } = this.settings, { random, space } = this;
    const { inputs, labels } = this.data.train.draw(batch, random);
    const { length } = this.loss(normals(space.latents * batch, random), inputs, labels);
    this.generator.optimizer.step(rate);
    return { "length of V": length };
  }
}
