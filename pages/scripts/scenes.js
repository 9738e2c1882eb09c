// What each method shows: its settings, which the controls change, its picture, and a line below.

const SIDE = 64, COARSE = 24; // of the grids of colors: of the plane, and of a hidden unit
const SHOWN = 200, ARROWS = 70; // points with and without an arrow
const SQUARE = [-0.1, 1.1], WIDE = [-0.6, 1.6]; // what the plane shows
const GRID = gridPoints(SQUARE, SIDE), COARSE_GRID = gridPoints(SQUARE, COARSE), ARROW_GRID = gridPoints(WIDE, 15);
const LATENTS = normals(2 * SHOWN, uniform(0)); // the same in every picture
const EULER_STEPS = 20;
const FIT = [INK_RGB, GREEN]; // of the curves of training and held-out points

// At most `SHOWN` points, of one class or of all.
function some({ xy, labels }, label = null) {
  const chosen = xy.filter((_, i) => label === null || labels[i >> 1] === label);
  const stride = Math.ceil(chosen.length / 2 / SHOWN);
  return chosen.filter((_, i) => (i >> 1) % stride === 0);
}

// How many of the ring's eight clusters have half their share of the generated points, and the share in a cluster.
function covered(xy) {
  const counts = repeated(8, 0), count = xy.length / 2;
  for (let i = 0; i < xy.length; i += 2) {
    const mode = Math.round((Math.atan2(xy[i + 1] - 0.5, xy[i] - 0.5) / Math.PI) * 4 + 8) % 8;
    const [x, y] = ring((mode * Math.PI) / 4, 0.35);
    counts[mode] += Math.hypot(xy[i] - x, xy[i + 1] - y) < 4 * NOISE;
  }
  return { found: counts.filter((near) => near >= count / 16).length, inside: counts.reduce((sum, near) => sum + near) / count };
}
function coverage({ trainer }, xy) {
  if (trainer.settings.data !== "ring") return "";
  const { found, inside } = covered(xy);
  return `${found} of 8 clusters found, ${percent(inside)} of the points in one`;
}

const CLASSIFY = {
  Trainer: Classifier, view: SQUARE, curves: FIT, shapes: [...Object.keys(GATES), ...Object.keys(SHAPES), DRAWN],
  settings: {
    data: "two moons", hidden: 8, layers: 1, activation: "tanh", rate: 0.03, batch: 32, optimizer: "Adam",
    loss: "cross-entropy", speed: "medium", ink: 0,
  },
  paint(plane, trainer) {
    const logits = trainer.logits(GRID), { train } = trainer.data;
    paintField(plane.canvas, logits.map(sigmoid), SIDE);
    paintBoundary(plane.canvas, logits, SIDE, 2 * plane.scale);
    [BLUE, ORANGE].forEach((color, k) => {
      plane.points(some(trainer.data.held, k), color, 3.5, true);
      plane.points(some(train, k), color, train.count > 4 ? 3.5 : 9);
    });
  },
  status({ data, trainer, history, steps }) {
    const held = data.held.count ? `, held out ${percent(trainer.accuracy(data.held))}` : "";
    const stuck = trainer.isStuck(history.curves, steps) ? " · stuck? Reset tries another start" : "";
    return `accuracy ${percent(trainer.accuracy(data.train))}${held}${stuck}`;
  },
};

const GENERATIVE = { view: SQUARE, shapes: [...Object.keys(DISTRIBUTIONS), DRAWN] };
const DEFAULTS = { data: "ring", hidden: 32, activation: "relu", batch: 128, speed: "fast" };

const ADVERSARIAL = {
  ...GENERATIVE, Trainer: GAN, curves: [BLUE, ORANGE],
  settings: { ...DEFAULTS, rate: 0.002, batch: 64, generatorLoss: "non-saturating", slower: 1 },
  paint(plane, trainer) {
    const logits = trainer.logits(GRID);
    paintField(plane.canvas, logits.map((z) => sigmoid(-z)), SIDE);
    paintBoundary(plane.canvas, logits, SIDE, 2 * plane.scale);
    plane.points(some(trainer.data.train), BLUE);
    const fake = trainer.generator.generate(LATENTS), few = fake.slice(0, 2 * ARROWS);
    plane.points(fake, ORANGE);
    plane.arrows(few, trainer.slopes(few).slopes.map((slope) => -slope * ARROWS), 2, 16, INK);
    return fake;
  },
  status: coverage,
};

const FLOW = {
  ...GENERATIVE, Trainer: Flow, view: WIDE, curves: FIT,
  settings: { ...DEFAULTS, rate: 0.005, time: 1 },
  paint(plane, trainer, { time }) {
    const velocity = trainer.velocity(ARROW_GRID.map((v) => 2 * v - 1), repeated(ARROW_GRID.length / 2, time));
    plane.arrows(ARROW_GRID, velocity, meanLength(velocity), 13, SOFT_INK);
    plane.points(some(trainer.data.train), BLUE);
    const moved = trainer.follow(LATENTS, time, EULER_STEPS).map((v) => (v + 1) / 2);
    plane.points(moved, ORANGE);
    return moved;
  },
  status: ({ trainer }, xy) => (trainer.settings.time < 1 ? `time ${trainer.settings.time.toFixed(2)}` : coverage({ trainer }, xy)),
};

const DRIFTING = {
  ...GENERATIVE, Trainer: Drift, curves: FIT,
  settings: { ...DEFAULTS, rate: 0.003 },
  paint(plane, trainer) {
    const real = some(trainer.data.train), fake = trainer.generator.generate(LATENTS);
    plane.points(real, BLUE);
    if (real.length) {
      const { pull, push } = drift(fake, real, TEMPERATURES), size = meanLength(pull);
      const few = fake.slice(0, 2 * ARROWS);
      plane.arrows(few, pull, size, 22, css(BLUE));
      plane.arrows(few, push, size, 22, css(ORANGE));
    }
    plane.points(fake, ORANGE);
    return fake;
  },
  status: coverage,
};
const SCENES = { classify: CLASSIFY, gan: ADVERSARIAL, flow: FLOW, drift: DRIFTING };
