// A bench: the controls of a part in which networks train. They choose a method and its settings, start, stop and reset.

class Bench {
  running = false;
  chosen = {}; // settings of the methods that were shown

  // name: of the part. key: the setting that is the method. methods: their default settings; the page opens with `first`.
  // atOnce: settings that need no new start. The part gives it `reset`, `run`, `step`, `show`, and `change` for those.
  constructor(name, key, methods, first, atOnce) {
    Object.assign(this, { name, key, methods, first, atOnce, section: $(name) });
    this.controls = [...this.section.querySelectorAll("select, input")];
    this.choices = [...this.section.querySelectorAll(".choice button")];
    for (const button of this.choices) button.onclick = () => this.choose(button.value);
    for (const control of this.controls) control.addEventListener("input", () => this.changed(control));
    this.button("start").onclick = () => this.start(!this.running);
    this.button("step").onclick = () => {
      this.start(false);
      this.step();
    };
    this.button("reset").onclick = () => {
      this.reset();
      this.start(false);
    };
    addEventListener("resize", () => shown.name === name && this.show());
    const settings = Object.assign({ [key]: first }, ...Object.values(methods)), close = () => this.start(false);
    PARTS[name] = { settings, isEmpty: () => false, open: (given) => this.open(given), close, state: this };
  }

  button(value) {
    return this.section.querySelector(`.bar button[value=${value}]`);
  }

  get method() {
    return this.settings[this.key];
  }

  defaults(method) {
    return { [this.key]: method, ...this.methods[method] };
  }

  // Shows the controls and words of a method, which starts anew.
  choose(method, settings = this.chosen[method] || this.defaults(method)) {
    this.settings = this.chosen[method] = settings;
    for (const button of this.choices) button.setAttribute("aria-pressed", button.value === method);
    for (const part of this.section.querySelectorAll("[data-for]")) part.hidden = !part.dataset.for.split(" ").includes(method);
    for (const control of this.controls) control.closest("label").hidden = !(control.name in settings);
    this.prepare?.(); // what controls offer
    setControls(this.controls, settings, this.methods[method]);
    this.save();
    this.reset();
    this.start(false);
  }

  save() {
    remember(this.name, this.settings, { ...this.methods[this.method], [this.key]: this.first });
  }

  // Called with what the address says.
  open(given) {
    const method = Object.hasOwn(this.methods, given[this.key]) ? given[this.key] : this.first;
    const defaults = this.defaults(method), known = Object.entries(given).filter(([name]) => name in defaults);
    const wanted = { ...defaults, ...Object.fromEntries(known), [this.key]: method };
    if (this.settings && Object.entries(wanted).every(([name, value]) => this.settings[name] === value)) this.show();
    else this.choose(method, wanted);
  }

  changed({ name, value }) {
    this.settings[name] = parsed(value, this.settings[name]);
    this.save();
    if (this.atOnce.includes(name)) this.change();
    else this.reset();
  }

  start(isRunning) {
    this.running = isRunning;
    this.button("start").textContent = isRunning ? "Pause" : "Start";
    this.run();
  }
}

// Lists the last values of curves with their colors.
function listValues(list, curves, colors, text = (v) => v.toPrecision(3)) {
  list.replaceChildren(...Object.entries(curves).map(([name, values], k) => {
    const item = element("li", {}), dot = element("i", {});
    dot.style.background = css(colors[k]);
    item.append(dot, `${name} ${text(values.at(-1))}`);
    return item;
  }));
}

// Calls draw(points, isNew) for the mouse or a finger on a canvas, with [x, y] from 0 to 1, and lift() at the end of a stroke.
// A slow browser sends one event for several points.
function onStrokes(canvas, draw, lift = () => {}) {
  const at = (event, isNew) => {
    const { left, top, width, height } = canvas.getBoundingClientRect(), events = event.getCoalescedEvents?.() ?? [];
    const points = (events.length ? events : [event]).map((it) => [(it.clientX - left) / width, (it.clientY - top) / height]);
    draw(points, isNew);
  };
  canvas.onpointerdown = (event) => {
    event.preventDefault();
    canvas.setPointerCapture(event.pointerId);
    at(event, true);
  };
  canvas.onpointermove = (event) => canvas.hasPointerCapture(event.pointerId) && at(event, false);
  canvas.onlostpointercapture = lift;
}
