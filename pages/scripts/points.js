// Points: the controls, and the loop that trains and paints.

if (IN_PAGE) {
  const AT_ONCE = ["rate", "batch", "loss", "generatorLoss", "slower", "ink", "time", "speed"]; // without a new start
  // Least steps and milliseconds of training before each picture, and least milliseconds between pictures.
  const SPEEDS = { slow: [1, 0, 200], medium: [3, 0, 0], fast: [1, 25, 0] };
  const DATA_SEED = 1, BRUSH_POINTS = 3;

  const methods = Object.fromEntries(Object.entries(SCENES).map(([mode, { settings }]) => [mode, settings]));
  const plane = new Plane(), state = new Bench("points", "mode", methods, "classify", AT_ONCE);
  const scene = () => SCENES[state.method];
  const isDrawn = () => state.settings.data === DRAWN;

  function prepare() {
    $("data").replaceChildren(...scene().shapes.map((value) => element("option", { value, textContent: value })));
    [$("hidden").min, $("hidden").max] = state.method === "classify" ? [0, 24] : [4, 64];
  }

  // New weights. Drawn points stay.
  function reset() {
    const { settings } = state, random = uniform(++state.seed);
    if (state.data?.name !== settings.data) state.data = pointsOf(settings.data, uniform(DATA_SEED));
    state.trainer = new (scene().Trainer)(settings, state.data, random);
    Object.assign(state, { history: new History(), steps: 0 });
    $("hidden-count").textContent = settings.hidden;
    $("drawing").hidden = !isDrawn();
    $("plane").style.touchAction = isDrawn() ? "none" : "auto";
    buildUnits();
    show();
  }

  function step() {
    if (!state.data.train.count) return;
    const { trainer, data } = state;
    state.history.add(trainer.step(), trainer.heldOut && data.held.count ? () => trainer.heldOut() : null);
    state.steps++;
  }

  function show() {
    const { trainer, history, data, steps } = state;
    plane.begin($("plane"), scene().view);
    const generated = scene().paint(plane, trainer, state.settings);
    if (state.units.length) paintUnits();
    paintCurves($("curve"), history, scene().curves);
    listValues($("values"), history.curves, scene().curves);
    $("hint").hidden = data.train.count > 0;
    const words = data.train.count ? scene().status(state, generated) : "no points yet";
    $("status").textContent = [`step ${steps.toLocaleString("en")}`, words].filter(Boolean).join(" · ");
  }

  // One small canvas for each hidden unit of a classifier.
  function buildUnits() {
    const layers = state.method === "classify" ? state.trainer.network.layers.slice(0, -1) : [];
    const unit = () => element("canvas", { width: 80, height: 80 });
    state.units = layers.map((layer) => Array.from({ length: layer.outputs }, unit));
    $("units").replaceChildren(...state.units.map((units, k) => {
      const row = element("div", { className: "units", role: "img", ariaLabel: `Layer ${k + 1}: ${units.length} units` });
      row.append(...units);
      return row;
    }));
    $("units-part").hidden = !state.units.length;
  }

  function paintUnits() {
    const { network } = state.trainer;
    network.forward(centered(COARSE_GRID));
    state.units.forEach((units, k) => units.forEach((canvas, unit) => {
      const own = Float64Array.from({ length: COARSE ** 2 }, (_, i) => network.layers[k].sums[i * units.length + unit]);
      paintUnit(canvas, network.activation, own, COARSE);
    }));
  }

  // Trains as fast as the chosen speed allows, and paints.
  function tick(now) {
    const [steps, milliseconds, pause] = SPEEDS[state.settings.speed];
    const end = performance.now() + (milliseconds && Math.max(milliseconds, state.painting)); // slow phones paint slowly
    if (now - state.painted < pause) return;
    for (let done = 0; done < steps || performance.now() < end; done++) step();
    state.painted = now;
    const start = performance.now();
    show();
    state.painting = performance.now() - start;
  }
  function frame(now) {
    if (!state.running) return;
    tick(now);
    state.frame = requestAnimationFrame(frame);
  }

  // Adds points at the mouse or finger. Every fifth is held out.
  function addPoints(places) {
    if (!isDrawn()) return;
    const { train, held } = state.data, [x, y] = places.at(-1);
    for (let k = 0; k < BRUSH_POINTS; k++)
      ((train.count + held.count) % 5 < 4 ? train : held).add(plane.at(x, y), state.settings.ink ?? 0, Math.random);
    if (!state.running) show();
  }
  onStrokes($("plane"), addPoints);
  $("clear").onclick = () => {
    state.data = null;
    reset();
  };
  Object.assign(state, {
    seed: 0, painted: 0, painting: 0, prepare, reset, show, change: show,
    run: () => {
      cancelAnimationFrame(state.frame);
      frame(performance.now());
    },
    step: () => {
      step();
      show();
    },
  });
  Object.assign(PARTS.points, { scene, plane, step, reset, tick });
}
