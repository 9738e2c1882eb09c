// Digits in training, without a picture: these run in a worker.

const DIGIT_SIZE = 64, CLASSES = 10, LATENTS_OF_DIGITS = 64; // the same noise for every method
const SOLVER_STEPS = 10, CERTAIN = 0.9, SCORED = 200;

// Of pixels: what PLANE says of points.
const pixels = (hasClasses) => ({
  size: DIGIT_SIZE, latents: LATENTS_OF_DIGITS, classes: hasClasses ? CLASSES : 0, scale: 1, isClean: true, meanTime: 0,
  output: ACTIVATIONS.sigmoid,
});

class Digits {
  constructor(inputs, labels) {
    const rows = (label) => labels.flatMap((own, row) => (own === label ? [row] : []));
    Object.assign(this, { inputs, labels, count: labels.length });
    this.rows = Array.from({ length: CLASSES }, (_, label) => rows(label));
  }

  // A batch with equally many of each class, in their order, drawn with replacement.
  draw(count, random) {
    const labels = classesInTurn(count), inputs = new Float64Array(count * DIGIT_SIZE);
    labels.forEach((label, b) => {
      const rows = this.rows[label], row = rows[Math.floor(random() * rows.length)];
      inputs.set(this.inputs.subarray(row * DIGIT_SIZE, (row + 1) * DIGIT_SIZE), b * DIGIT_SIZE);
    });
    return { inputs, labels };
  }

  all() {
    return this;
  }
}

const classesInTurn = (count) => Array.from({ length: count }, (_, b) => Math.floor((b * CLASSES) / count));

// The packed digits of the page: training digits, those held out, and the reader's network.
function unpackDigits({ levels, labels, train, reader }) {
  const bytes = atob(levels), classes = [...labels].map(Number), inputs = new Float64Array(DIGIT_SIZE * classes.length);
  for (let i = 0, k = 0; k < inputs.length; i += 3) {
    let five = (bytes.charCodeAt(i) << 16) | (bytes.charCodeAt(i + 1) << 8) | bytes.charCodeAt(i + 2);
    for (let digit = 0; digit < 5 && k < inputs.length; digit++, k++) {
      inputs[k] = (five % 17) / 16;
      five = Math.floor(five / 17);
    }
  }
  return {
    train: new Digits(inputs.subarray(0, train * DIGIT_SIZE), classes.slice(0, train)),
    held: new Digits(inputs.subarray(train * DIGIT_SIZE), classes.slice(train)), reader: readerOf(reader),
  };
}

// The reader: a network that was trained before, from weights of 8 bits.
function readerOf({ sizes, scales, weights }) {
  const network = new Network(sizes, "relu", uniform(0)), bytes = atob(weights);
  let at = 0;
  network.layers.forEach(({ weight, bias }, k) => [weight, bias].forEach((part, j) => {
    for (let i = 0; i < part.length; i++) part[i] = ((bytes.charCodeAt(at++) << 24) >> 24) * scales[2 * k + j];
  }));
  return network;
}

// The probabilities of the classes, for images (B, 64), as a list for each.
function probabilities(network, images) {
  const shares = softmax(network.forward(images), CLASSES);
  return Array.from({ length: shares.length / CLASSES }, (_, b) => [...shares.subarray(b * CLASSES, (b + 1) * CLASSES)]);
}
const surest = (row) => row.indexOf(Math.max(...row));

// The share of images that a network reads as their class; without labels, of which it is certain enough.
function shareRead(network, images, labels) {
  const rows = probabilities(network, images), isRead = (row, b) => (labels ? surest(row) === labels[b] : Math.max(...row) >= CERTAIN);
  return rows.filter(isRead).length / rows.length;
}

class DigitClassifier extends Classifier {
  build({ hidden, activation }) {
    return new Network([DIGIT_SIZE, hidden, hidden, CLASSES], activation, this.random);
  }

  loss({ inputs, labels }) {
    const outputs = this.network.forward(inputs), slopes = new Float64Array(outputs.length);
    return { loss: classLoss(outputs, labels, CLASSES, 0, slopes), slopes };
  }
}
const DIGIT_TRAINERS = { classifier: DigitClassifier, gan: GAN, flow: Flow, drift: Drift };

// Settings that each method starts with, chosen on several seeds (tests/pages/browser/test_digits.py).
const RECIPES = {
  classifier: { hidden: 64, rate: 0.001, batch: 40 },
  gan: { hidden: 64, rate: 0.003, batch: 80 },
  flow: { hidden: 128, rate: 0.003, batch: 80 },
  drift: { hidden: 128, rate: 0.003, batch: 160 },
};
const SIDE_BY_SIDE = ["gan", "flow", "drift"];
const AVERAGED = 0.99; // decay of the weights that generate

// A generator, or the classifier, in training.
class DigitMethod {
  constructor(name, settings, digits, seed) {
    const space = pixels(settings.classes), options = { activation: "leakyrelu", generatorLoss: "non-saturating", slower: 1 };
    this.trainer = new DIGIT_TRAINERS[name]({ ...options, ...settings }, digits, uniform(seed), space);
    const network = this.trainer.network || this.trainer.generator.network;
    Object.assign(this, { name, network, average: new Average(network, AVERAGED), history: new History(16), steps: 0, seconds: 0 });
  }

  step() {
    const start = performance.now(), { trainer } = this;
    this.history.add(trainer.step(), trainer.heldOut ? () => trainer.heldOut() : null);
    this.average.update();
    this.steps++;
    this.seconds += (performance.now() - start) / 1000;
  }

  // Noise (B, 64) and classes -> images (B, 64) in [0, 1].
  generate(noise, labels) {
    return this.average.with(() => {
      if (this.name !== "flow") return this.trainer.generator.generate(noise, labels);
      return this.trainer.follow(noise, 1, SOLVER_STEPS, labels).map((v) => Math.min(1, Math.max(0, (v + 1) / 2)));
    });
  }
}

// What a worker trains: one method, or the three generators, which share the time and the noise.
class DigitSession {
  constructor(settings, digits, seed) {
    Object.assign(this, { settings, digits, seed, scores: new History() });
    const names = settings.method === "all" ? SIDE_BY_SIDE : [settings.method];
    this.methods = names.map((name) => new DigitMethod(name, { ...RECIPES[name], ...settings }, digits, seed));
    const count = SCORED, labels = Array.from({ length: count }, (_, b) => b % CLASSES);
    this.scored = { labels, noise: normals(count * LATENTS_OF_DIGITS, uniform(2)) };
  }

  // Trains the method that had the least time.
  step() {
    this.methods.reduce((a, b) => (b.seconds < a.seconds ? b : a)).step();
  }

  // Of the classifier, its accuracy on held-out digits. Of generators, the share that the reader reads.
  score() {
    const { held, reader } = this.digits, { labels, noise } = this.scored, values = {};
    for (const method of this.methods)
      values[method.name] = method.name === "classifier"
        ? shareRead(method.network, held.inputs, held.labels)
        : shareRead(reader, method.generate(noise, labels), this.settings.classes ? labels : null);
    this.scores.add(values, null);
  }

  // The held-out digits that the classifier gets wrong: their rows, and what it says.
  mistakes() {
    const { held } = this.digits, said = probabilities(this.methods[0].network, held.inputs).map(surest);
    return said.flatMap((label, row) => (label === held.labels[row] ? [] : [{ row, label }]));
  }

  // What the page shows: images of given noise and classes, or the classifier's mistakes and what it says of a drawing.
  report({ noise, labels, drawing }) {
    const methods = this.methods.map(({ name, steps, seconds, history }) => ({ name, steps, seconds, curves: history.curves }));
    if (this.settings.method === "classifier") {
      const says = drawing && probabilities(this.methods[0].network, drawing)[0];
      return { methods, scores: this.scores.curves, mistakes: this.mistakes(), says };
    }
    this.methods.forEach((method, k) => (methods[k].images = method.generate(noise, labels)));
    return { methods, scores: this.scores.curves };
  }

  // Pictures for the quiz, and what D, if there is one, and the reader say of real and generated ones.
  pictures(name, count, random) {
    const method = this.methods.find((it) => it.name === name), { held, reader } = this.digits, labels = classesInTurn(count);
    const real = held.draw(count, random).inputs, both = joined(real, method.generate(normals(count * LATENTS_OF_DIGITS, random), labels));
    const verdicts = [{ name: "reader", says: probabilities(reader, both).map((row) => Math.max(...row)), means: "how certain the reader is of its class" }];
    if (method.name === "gan")
      verdicts.unshift({ name: "D", says: [...method.trainer.logits(both).map(sigmoid)], means: "D's probability that it is real" });
    return { images: both, verdicts };
  }
}

// The worker: trains as long as it is told to, and reports at most ten times a second.
if (!IN_PAGE && self.name === "digits") {
  const REPORT = 100, SCORE = 1000, SLOW = 250, CHUNK = 50; // milliseconds
  let session, digits, shown, random, timer, running = false, pace = "fast";
  const last = { report: 0, reportCost: 0, score: 0, scoreCost: 0 };
  const timed = (name, compute) => {
    const start = performance.now();
    compute();
    last[name] = performance.now();
    last[`${name}Cost`] = last[name] - start;
  };
  const show = () => timed("report", () => postMessage({ seed: session.seed, report: { ...session.report(shown), running } }));
  const score = () => timed("score", () => session.score());
  const report = () => {
    score();
    show();
  };

  function turn() {
    if (!running) return;
    const end = performance.now() + (pace === "slow" ? 0 : CHUNK);
    do session.step();
    while (performance.now() < end);
    const now = performance.now();
    if (now - last.score > Math.max(SCORE, 10 * last.scoreCost)) score();
    if (now - last.report > Math.max(REPORT, 4 * last.reportCost)) show();
    timer = setTimeout(turn, pace === "slow" ? SLOW : 0);
  }

  const ORDERS = {
    reset: ({ settings, packed, seed, ...rest }) => {
      digits ||= unpackDigits(packed);
      [session, shown, random, pace] = [new DigitSession(settings, digits, seed), rest.shown, uniform(seed), settings.pace];
      report();
    },
    run: (order) => {
      clearTimeout(timer);
      running = order.running;
      turn();
      if (running) return;
      report();
    },
    step: () => {
      session.step();
      report();
    },
    change: ({ settings }) => {
      pace = settings.pace;
      for (const { trainer } of session.methods) Object.assign(trainer.settings, settings);
    },
    show: (order) => {
      shown = order.shown;
      show();
    },
    pictures: ({ method, count }) => postMessage(session.pictures(method, count, random)),
  };
  onmessage = ({ data }) => ORDERS[data.order](data);
}
