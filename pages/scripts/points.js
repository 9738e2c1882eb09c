// Points: the controls, and the loop that trains and paints.

if (IN_PAGE) {
  const AT_ONCE = ["rate", "batch", "loss", "generatorLoss", "slower", "ink", "time", "speed"]; // without a new start
  // Least steps and milliseconds of training before each picture, and least milliseconds between pictures.
  const SPEEDS = { slow: [1, 0, 200], medium: [3, 0, 0], fast: [1, 25, 0] };
  const DATA_SEED = 1, BRUSH_POINTS = 3;

  const plane = new Plane(), controls = [...document.querySelectorAll("#points select, #points input")];
  const state = { mode: null, seed: 0, running: false, steps: 0, painted: 0, painting: 0 };
  const chosen = {}; // settings of the methods that were shown
  const scene = () => SCENES[state.mode];
  const isDrawn = () => state.settings.data === DRAWN;

  // Shows the controls and words of a method. Settings that it does not offer become the default.
  function choose(mode, settings = chosen[mode] || { ...SCENES[mode].settings }) {
    chosen[mode] = settings;
    Object.assign(state, { mode, settings, running: false });
    for (const button of $("modes").children) button.setAttribute("aria-pressed", button.value === mode);
    for (const part of document.querySelectorAll("#points [data-mode]")) part.hidden = part.dataset.mode !== mode;
    $("data").replaceChildren(...scene().shapes.map((value) => element("option", { value, textContent: value })));
    for (const control of controls) {
      const { name } = control, isUsed = name in settings;
      control.closest("label").hidden = !isUsed;
      if (name === "hidden") [control.min, control.max] = mode === "classify" ? [0, 24] : [4, 64];
      if (isUsed && !setControl(control, settings[name])) setControl(control, settings[name] = scene().settings[name]);
    }
    save();
    reset();
  }

  const save = () => remember("points", { mode: state.mode, ...state.settings }, { mode: "classify", ...scene().settings });

  function open({ mode, ...given }) {
    if (!Object.hasOwn(SCENES, mode)) mode = "classify";
    const { settings } = SCENES[mode], wanted = Object.entries({ ...settings, ...given }).filter(([name]) => name in settings);
    if (state.mode === mode && wanted.every(([name, value]) => state.settings[name] === value)) show();
    else choose(mode, Object.fromEntries(wanted));
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
    const { trainer, history, data, steps, running } = state;
    plane.begin($("plane"), scene().view);
    const generated = scene().paint(plane, trainer, state.settings);
    if (state.units.length) paintUnits();
    paintCurves($("curve"), history, scene().curves);
    const values = Object.entries(history.curves).map(([name, curve]) => `${name} ${curve.at(-1).toPrecision(3)}`);
    [...$("values").children].forEach((item, k) => {
      item.hidden = !values[k];
      item.firstChild.style.background = css(scene().curves[k]);
      item.lastChild.textContent = values[k] || "";
    });
    $("hint").hidden = data.train.count > 0;
    const words = data.train.count ? scene().status(state, generated) : "no points yet";
    $("status").textContent = [`step ${steps.toLocaleString("en")}`, words].filter(Boolean).join(" · ");
    $("start").textContent = running ? "Pause" : "Start";
  }

  // One small canvas for each hidden unit of a classifier.
  function buildUnits() {
    const layers = state.mode === "classify" ? state.trainer.network.layers.slice(0, -1) : [];
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

  function changed({ target }) {
    const { name, value } = target;
    state.settings[name] = isNaN(value) ? value : Number(value);
    save();
    if (AT_ONCE.includes(name)) show();
    else reset();
  }

  // Adds points at the mouse or finger. Every fifth is held out.
  function addPoints(event) {
    const { train, held } = state.data;
    for (let k = 0; k < BRUSH_POINTS; k++)
      ((train.count + held.count) % 5 < 4 ? train : held).add(plane.at(event), state.settings.ink ?? 0, Math.random);
    if (!state.running) show();
  }
  $("plane").onpointerdown = (event) => {
    if (!isDrawn()) return;
    event.target.setPointerCapture(event.pointerId);
    addPoints(event);
  };
  $("plane").onpointermove = (event) => {
    if (event.target.hasPointerCapture(event.pointerId)) addPoints(event);
  };
  for (const button of $("modes").children) button.onclick = () => choose(button.value);
  function run(isRunning) {
    state.running = isRunning;
    cancelAnimationFrame(state.frame);
    frame(performance.now());
    show();
  }
  $("start").onclick = () => run(!state.running);
  $("step").onclick = () => {
    state.running = false;
    step();
    show();
  };
  $("reset").onclick = () => {
    state.running = false;
    reset();
  };
  $("clear").onclick = () => {
    state.data = null;
    reset();
  };
  for (const control of controls) control.addEventListener("input", changed);
  addEventListener("resize", () => shown.name === "points" && show());
  PARTS.points = {
    settings: Object.assign({ mode: "classify" }, ...Object.values(SCENES).map((scene) => scene.settings)),
    isEmpty: () => false, open, close: () => run(false), state, scene, plane, step, reset, tick,
  };
}
