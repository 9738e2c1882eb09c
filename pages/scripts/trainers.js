// The four trainings. Networks, losses and directions are those of models/plane.py, models/classifier.py,
// models/gan, models/flow.py and models/drift.py. `step()` trains with one batch and returns what the curve
// shows, `heldOut()` the loss of the held-out points.

const SCALE = 4; // networks get coordinates in [-4, 4]
const centered = (xy) => xy.map((v) => SCALE * (2 * v - 1));
const repeated = (count, value) => Array(count).fill(value);
const scale = (array, factor) => array.forEach((v, i) => (array[i] = factor * v));

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

class Classifier {
  constructor(settings, data, random) {
    Object.assign(this, { settings, data, random });
    const { hidden, layers, activation, optimizer } = settings;
    this.network = new Network([2, ...repeated(hidden ? layers : 0, hidden), 1], activation, random);
    // From weights of the usual size, tanh is flat at the corners, and two units get stuck from half of all starts.
    if (data?.name in GATES) for (const part of ["weight", "bias"]) scale(this.network.layers[0][part], 0.05);
    this.optimizer = new OPTIMIZERS[optimizer](this.network);
  }

  // The logit of class 1.
  logits(xy) {
    return this.network.forward(centered(xy));
  }

  loss({ xy, labels }) {
    return meanLoss(CLASSIFIER_LOSSES[this.settings.loss], this.logits(xy), labels);
  }

  step() {
    const { train } = this.data, { batch, rate } = this.settings;
    const { loss, slopes } = this.loss(train.count > batch ? train.draw(batch, this.random) : train.all());
    this.network.backward(slopes);
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
    const { xy, labels } = points.all();
    return this.logits(xy).reduce((sum, z, i) => sum + (z > 0 === labels[i] > 0), 0) / labels.length;
  }
}

// From latents to points, of a GAN and of drift.
class Generator {
  constructor({ hidden, activation }, random, betas) {
    this.network = new Network([2, hidden, hidden, 2], activation, random);
    this.optimizer = new Adam(this.network, betas);
  }

  generate(latents) {
    return this.network.forward(latents).map((v) => 0.5 + v / SCALE);
  }

  // From slopes of a loss in the points of the last call.
  backward(slopes) {
    this.network.backward(slopes.map((slope) => slope / SCALE));
  }
}

class GAN {
  constructor(settings, data, random) {
    Object.assign(this, { settings, data, random });
    const { hidden, activation } = settings, betas = [0.5, 0.99];
    this.generator = new Generator(settings, random, betas);
    this.discriminator = new Network([2, hidden, hidden, 1], activation, random);
    this.optimizer = new Adam(this.discriminator, betas);
  }

  // D's logit of "real".
  logits(xy) {
    return this.discriminator.forward(centered(xy));
  }

  discriminatorLoss(real, fake) {
    const targets = [...repeated(real.length / 2, 1), ...repeated(fake.length / 2, 0)];
    const logits = this.logits(Float64Array.of(...real, ...fake));
    const { loss, slopes } = meanLoss(CLASSIFIER_LOSSES["cross-entropy"], logits, targets);
    this.discriminator.backward(slopes);
    return loss;
  }

  // Slopes of G's loss in fake points.
  slopes(fake) {
    const { loss, slopes } = meanLoss(GENERATOR_LOSSES[this.settings.generatorLoss], this.logits(fake));
    return { loss, slopes: this.discriminator.backward(slopes).map((slope) => 2 * SCALE * slope) };
  }

  generatorLoss(latents) {
    const { loss, slopes } = this.slopes(this.generator.generate(latents));
    this.generator.backward(slopes);
    return loss;
  }

  step() {
    const { batch, rate, slower } = this.settings, latents = () => normals(2 * batch, this.random);
    const real = this.data.train.draw(batch, this.random).xy;
    const D = this.discriminatorLoss(real, this.generator.generate(latents()));
    this.optimizer.step(rate / slower);
    const G = this.generatorLoss(latents());
    this.generator.optimizer.step(rate);
    return { D, G };
  }
}

const RATES = Array.from({ length: 16 }, (_, k) => 10 ** (k / 7.5)); // of the time's sines and cosines
const MIN_LEFT = 0.05; // smallest 1 - t that the loss divides by

// Points here lie in [-1, 1].
class Flow {
  constructor(settings, data, random) {
    Object.assign(this, { settings, data, random });
    const { hidden, activation } = settings;
    this.network = new Network([2 + 2 * RATES.length, hidden, hidden, hidden, 2], activation, random);
    this.optimizer = new Adam(this.network);
  }

  // The velocity of points at their times. The clean point is the point plus (1 - t) velocities.
  velocity(points, times) {
    const size = 2 + 2 * RATES.length, inputs = new Float64Array(times.length * size);
    let waves = [];
    times.forEach((time, b) => {
      if (time !== times[b - 1]) waves = [Math.sin, Math.cos].flatMap((wave) => RATES.map((rate) => wave(rate * time)));
      for (const axis of [0, 1]) inputs[b * size + axis] = SCALE * points[2 * b + axis];
      inputs.set(waves, b * size + 2);
    });
    return this.network.forward(inputs);
  }

  // Data xy in [0, 1], noise and times (B) -> the loss, and its slopes in the velocity.
  loss(xy, noise, times) {
    const data = xy.map((v) => 2 * v - 1), points = data.map((v, i) => noise[i] + times[i >> 1] * (v - noise[i]));
    const velocity = this.velocity(points, times), slopes = new Float64Array(data.length);
    let loss = 0;
    for (let i = 0; i < data.length; i++) {
      const left = 1 - times[i >> 1], divisor = Math.max(left, MIN_LEFT);
      const error = (points[i] + left * velocity[i] - data[i]) / divisor;
      loss += error ** 2 / data.length;
      slopes[i] = (2 * error * left) / divisor / data.length;
    }
    return { loss, slopes };
  }

  step() {
    const { batch, rate } = this.settings, { random } = this;
    const times = Float64Array.from({ length: batch }, () => sigmoid(1.5 + normal(random)));
    const { loss, slopes } = this.loss(this.data.train.draw(batch, random).xy, normals(2 * batch, random), times);
    this.network.backward(slopes);
    this.optimizer.step(rate);
    return { train: loss };
  }

  // With the same noise and evenly spread times in each call.
  heldOut() {
    const { count, xy } = this.data.held, times = Float64Array.from({ length: count }, (_, k) => (k + 0.5) / count);
    return this.loss(Float64Array.from(xy), normals(2 * count, uniform(0)), times).loss;
  }

  // Follows the velocity from noise to the time `until` with Euler's method.
  follow(noise, until, steps) {
    let points = noise;
    for (let step = 0; step < steps; step++) {
      const velocity = this.velocity(points, repeated(points.length / 2, (until * step) / steps));
      points = points.map((v, i) => v + (until / steps) * velocity[i]);
    }
    return points;
  }
}

const TEMPERATURES = [0.01, 0.03, 0.1];

class Drift {
  constructor(settings, data, random) {
    Object.assign(this, { settings, data, random });
    this.generator = new Generator(settings, random);
  }

  // The loss for generated points that should move by V.
  loss(latents, real) {
    const fake = this.generator.generate(latents), { pull, push, length } = drift(fake, real, TEMPERATURES);
    const move = pull.map((v, i) => v + push[i]);
    this.generator.backward(move.map((v) => (-2 * v) / move.length));
    return { loss: move.reduce((sum, v) => sum + v * v, 0) / move.length, length };
  }

  step() {
    const { batch, rate } = this.settings, real = this.data.train.draw(batch, this.random).xy;
    const { length } = this.loss(normals(2 * batch, this.random), real);
    this.generator.optimizer.step(rate);
    return { "length of V": length };
  }
}
