// Digits: the controls, the worker that trains, and what it shows.

const PAD = 32, PEN = 2.4; // pixels a side of a drawing before it becomes 8 x 8, and the radius of the pen

// Strokes, lists of [x, y] -> the 64 pixels in 17 levels. As scikit-learn's digits were made: moved and scaled into
// 32 x 32 pixels, black or white, of which the black ones of each 4 x 4 are counted.
function digitOf(strokes) {
  const points = strokes.flat(), [xs, ys] = [0, 1].map((axis) => points.map((point) => point[axis]));
  const left = Math.min(...xs), right = Math.max(...xs), top = Math.min(...ys), bottom = Math.max(...ys);
  const scale = (PAD - 2 * PEN) / Math.max(right - left, bottom - top, 1e-9), counts = new Float64Array(DIGIT_SIZE);
  const at = ([x, y]) => [PAD / 2 + scale * (x - (left + right) / 2), PAD / 2 + scale * (y - (top + bottom) / 2)];
  const lines = strokes.flatMap((stroke) => stroke.map((point, k) => [at(stroke[Math.max(0, k - 1)]), at(point)]));
  for (let y = 0; y < PAD; y++) for (let x = 0; x < PAD; x++)
    if (lines.some(([from, to]) => distanceToLine(x + 0.5, y + 0.5, from, to) < PEN)) counts[8 * (y >> 2) + (x >> 2)] += 1 / 16;
  return counts;
}

function distanceToLine(x, y, [fromX, fromY], [toX, toY]) {
  const dx = toX - fromX, dy = toY - fromY, along = ((x - fromX) * dx + (y - fromY) * dy) / (dx * dx + dy * dy || 1);
  const share = Math.min(1, Math.max(0, along));
  return Math.hypot(x - fromX - share * dx, y - fromY - share * dy);
}

// Blocks of digits, { title, images, marks: what is written below each, and whether it is wrong }, ten in a row.
function paintDigits(canvas, blocks, columns = CLASSES) {
  const rows = blocks.map(({ images }) => Math.ceil(images.length / DIGIT_SIZE / columns));
  const side = Math.floor(canvas.clientWidth / columns), gap = 3, head = 24, foot = 11, scale = window.devicePixelRatio || 1;
  const heights = blocks.map(({ marks }, block) => head + rows[block] * (side + (marks ? foot : 0)));
  const height = heights.reduce((a, b) => a + b, 0);
  canvas.style.height = `${height}px`;
  Object.assign(canvas, { width: canvas.clientWidth * scale, height: height * scale });
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  context.imageSmoothingEnabled = false;
  let top = 0;
  blocks.forEach(({ title, images, marks }, block) => {
    Object.assign(context, { fillStyle: "#1d2230", font: "13px system-ui, sans-serif" });
    context.fillText(title, 4, top + 16, canvas.clientWidth - 8);
    for (let b = 0; b < images.length / DIGIT_SIZE; b++) {
      const x = (b % columns) * side + gap, y = top + head + Math.floor(b / columns) * (side + (marks ? foot : 0)), size = side - 2 * gap;
      paintDigit(context, images.subarray(b * DIGIT_SIZE, (b + 1) * DIGIT_SIZE), x, y, size);
      if (!marks?.[b]) continue;
      Object.assign(context, { strokeStyle: css(ORANGE), lineWidth: 2, fillStyle: "#8a5300", font: "bold 11px system-ui, sans-serif" });
      context.strokeRect(x - 1, y - 1, size + 2, size + 2);
      context.fillText(marks[b], x, y + size + 11);
    }
    top += heights[block];
  });
}

const tile = IN_PAGE ? element("canvas", { width: 8, height: 8 }) : null;
function paintDigit(context, image, x, y, side) {
  const pixels = new ImageData(8, 8), grays = new Uint32Array(pixels.data.buffer);
  image.forEach((v, k) => (grays[k] = 0xff000000 | (Math.round(255 * (1 - v)) * 0x010101)));
  tile.getContext("2d").putImageData(pixels, 0, 0);
  context.drawImage(tile, x, y, side, side);
}

if (IN_PAGE) {
  const DIGIT_METHODS = {
    classifier: { title: "Classifier", curves: [BLUE, GREEN], color: BLUE }, gan: { title: "GAN", curves: [BLUE, ORANGE], color: BLUE },
    flow: { title: "Flow", curves: [BLUE, GREEN], color: ORANGE },
    drift: { title: "Drift", curves: [GREEN], color: GREEN }, all: { title: "Side by side" },
  };
  const START = { method: "gan", classes: true, pace: "fast" };
  const AT_ONCE = ["rate", "batch", "pace"], ROWS = { one: 5, all: 2 }, REAL_ROWS = 2;
  const state = { settings: null, running: false, seed: 0, strokes: [], report: null, waiting: {} };
  const controls = () => [...document.querySelectorAll("#digits select")];
  const defaultsOf = (method) => ({ ...START, ...RECIPES[method], method });
  const hasGenerator = () => state.settings.method !== "classifier";
  const send = (order, more) => state.worker?.postMessage({ order, ...more });
  const percentOf = (share) => `${(100 * share).toFixed(share > 0.995 ? 0 : 1)} %`;

  function begin() {
    state.packed = dataOf("digits-data");
    state.digits = unpackDigits(state.packed);
    const { held, reader } = state.digits;
    state.real = { read: shareRead(reader, held.inputs, held.labels), certain: shareRead(reader, held.inputs) };
    for (const [name, { title }] of Object.entries(DIGIT_METHODS)) {
      const button = element("button", { type: "button", value: name, textContent: title });
      button.onclick = () => choose({ ...defaultsOf(name), classes: state.settings.classes, pace: state.settings.pace });
      $("digit-methods").append(button);
    }
    const CONTROLS = [
      ["classes", "Classes", { true: "asked for", false: "not used" }], ["hidden", "Width of hidden layers", [16, 32, 64, 96, 128, 192]],
      ["rate", "Learning rate", [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03]], ["batch", "Batch size", [20, 40, 80, 160, 320]],
    ];
    for (const [name, words, values] of CONTROLS) $("digit-settings").append(controlOf(name, words, values));
    $("digit-bar").append(controlOf("pace", "Speed", ["slow", "fast"]));
    try {
      state.worker = new Worker(URL.createObjectURL(new Blob([$("code").textContent], { type: "text/javascript" })), { name: "digits" });
      state.worker.onerror = refuse;
      state.worker.onmessage = ({ data }) => receive(data);
    } catch {
      refuse();
    }
  }

  function controlOf(name, words, values) {
    const select = element("select", { name }), label = element("label", { textContent: `${words} ` });
    for (const [value, text] of Array.isArray(values) ? values.map((v) => [v, v]) : Object.entries(values))
      select.append(element("option", { value, textContent: text }));
    select.addEventListener("input", changed);
    label.append(select);
    return label;
  }

  function refuse() {
    state.worker = null;
    $("digit-status").textContent = "This browser does not train in files: open the page in Chrome, Edge, Firefox or Safari.";
  }

  // Starts anew with settings. Values that a control does not offer become the default.
  function choose(wanted) {
    const defaults = defaultsOf(wanted.method), settings = (state.settings = Object.assign(defaults, wanted));
    for (const control of controls()) {
      const { name } = control;
      control.closest("label").hidden = !(name in settings) || (name === "classes" && !hasGenerator());
      if (name in settings && !setControl(control, settings[name])) setControl(control, (settings[name] = defaultsOf(settings.method)[name]));
    }
    for (const button of $("digit-methods").children) button.setAttribute("aria-pressed", button.value === settings.method);
    for (const part of document.querySelectorAll("#digits [data-for]")) part.hidden = !part.dataset.for.split(" ").includes(settings.method);
    for (const part of document.querySelectorAll("#digits [data-classes]")) part.hidden = String(settings.classes) !== part.dataset.classes;
    save();
    reset();
  }

  const save = () => remember("digits", state.settings, { ...defaultsOf(state.settings.method), method: START.method });

  function open(given) {
    if (!state.packed) begin();
    const method = Object.hasOwn(DIGIT_METHODS, given.method) ? given.method : START.method, defaults = defaultsOf(method);
    const wanted = { ...defaults, ...Object.fromEntries(Object.entries(given).filter(([name]) => name in defaults)), method };
    if (state.settings && Object.entries(wanted).every(([name, value]) => state.settings[name] === value)) show();
    else choose(wanted);
  }

  function changed({ target: { name, value } }) {
    state.settings[name] = name === "classes" ? value === "true" : isNaN(value) ? value : Number(value);
    if (AT_ONCE.includes(name)) send("change", { settings: state.settings });
    else choose(state.settings);
    save();
  }

  // Noise and classes of the pictures. With classes, a row has the same noise in ten classes.
  function pictured() {
    const { method, classes } = state.settings, rows = method === "all" ? ROWS.all : ROWS.one, random = uniform(7);
    const noise = new Float64Array(rows * CLASSES * DIGIT_SIZE), labels = Array.from({ length: rows * CLASSES }, (_, b) => b % CLASSES);
    for (let b = 0; b < labels.length; b++)
      noise.set(classes && b % CLASSES ? noise.subarray((b - 1) * DIGIT_SIZE, b * DIGIT_SIZE) : normals(DIGIT_SIZE, random), b * DIGIT_SIZE);
    return { noise, labels, drawing: state.strokes.length ? digitOf(state.strokes) : null };
  }

  function reset() {
    Object.assign(state, { report: null, seed: state.seed + 1 });
    const { settings, packed, seed } = state;
    send("reset", { settings, packed, seed, shown: pictured() });
    send("change", { settings });
    run(false);
    SOURCES.splice(0, SOURCES.length, ...SOURCES.filter((source) => source !== state.source));
    showTabs();
  }

  function run(running) {
    state.running = running;
    $("digit-start").textContent = running ? "Pause" : "Start";
    send("run", { running });
  }

  function receive({ report, seed, id, ...pictures }) {
    if (id) {
      state.waiting[id](pictures);
      delete state.waiting[id];
    }
    if (!report || seed !== state.seed) return; // of a training before
    state.report = report;
    if (hasGenerator() && state.settings.method !== "all" && report.methods[0].steps && !SOURCES.includes(state.source)) addSource();
    if (shown.name === "digits") show();
  }

  // What the quiz asks about: fresh pictures of the generator in training.
  function addSource() {
    const { title } = DIGIT_METHODS[state.settings.method], random = uniform(Date.now());
    state.source = {
      name: `Digits: the ${title} of this page`, shape: [1, 8, 8],
      pictures: async (count) => {
        const id = 1 + Math.floor(random() * 1e9), answer = new Promise((resolve) => (state.waiting[id] = resolve));
        send("pictures", { id, count });
        const { images, verdicts } = await answer, one = (b) => Float32Array.from(images.subarray(b * DIGIT_SIZE, (b + 1) * DIGIT_SIZE));
        return { real: Array.from({ length: count }, (_, b) => one(b)), generated: Array.from({ length: count }, (_, b) => one(count + b)), verdicts };
      },
    };
    SOURCES.push(state.source);
    showTabs();
  }

  function show() {
    const { report, settings } = state;
    if (!report) return;
    const { methods, scores } = report, last = (name) => scores[name]?.at(-1) ?? 0, seconds = methods.reduce((sum, m) => sum + m.seconds, 0);
    const steps = methods.map((m) => m.steps.toLocaleString("en")).join(" + "), real = settings.classes ? state.real.read : state.real.certain;
    const what = !hasGenerator() ? "of held-out digits right" : settings.classes ? "show the class asked for" : "are certainly a digit";
    const values = methods.map(({ name, images }) => {
      const title = methods.length > 1 ? `${DIGIT_METHODS[name].title} ` : "", isTold = settings.classes || !hasGenerator();
      return `${title}${percentOf(last(name))}${isTold ? "" : ` (${classesIn(images)} of 10 classes)`}`;
    }).join(", ");
    $("digit-status").textContent = `step ${steps} · ${seconds.toFixed(0)} s · ${values} ${what}${hasGenerator() ? ` (real digits ${percentOf(real)})` : ""}`;
    paintDigits($("digit-images"), hasGenerator() ? generatedBlocks(methods) : mistakeBlocks(report.mistakes));
    paintScores(scores, hasGenerator() ? real : null);
    if (methods.length === 1) {
      paintCurves($("digit-curve"), methods[0], DIGIT_METHODS[settings.method].curves);
      listValues($("digit-values"), methods[0].curves, DIGIT_METHODS[settings.method].curves);
    }
    if (!hasGenerator()) showDrawing(report.says);
  }

  // How many classes the reader is certain to see in images.
  function classesIn(images) {
    const rows = probabilities(state.digits.reader, images).filter((row) => Math.max(...row) >= CERTAIN);
    return new Set(rows.map(surest)).size;
  }

  function paintScores(scores, real) {
    const names = Object.keys(scores), colors = names.map((name) => DIGIT_METHODS[name].color);
    const curves = { ...scores, ...(real && { "real digits": [real, real] }) }, all = [...colors, [139, 143, 153]];
    paintCurves($("digit-scores"), { curves: { ...curves, "": [1] } }, [...all, all[0]]);
    const titled = Object.fromEntries(Object.entries(curves).map(([name, values]) => [DIGIT_METHODS[name]?.title || name, values]));
    listValues($("digit-score-values"), titled, all, percentOf);
  }

  function listValues(list, curves, colors, text = (v) => v.toPrecision(3)) {
    list.replaceChildren(...Object.entries(curves).map(([name, values], k) => {
      const item = element("li", {}), dot = element("i", {});
      dot.style.background = css(colors[k]);
      item.append(dot, `${name} ${text(values.at(-1))}`);
      return item;
    }));
  }

  function generatedBlocks(methods) {
    const { classes } = state.settings, { held, reader } = state.digits;
    const blocks = methods.map(({ name, images }) => ({ title: `${DIGIT_METHODS[name].title}: generated`, images, marks: marksOf(images, reader) }));
    const real = Float64Array.from({ length: REAL_ROWS * CLASSES * DIGIT_SIZE }, (_, i) => {
      const b = Math.floor(i / DIGIT_SIZE), row = classes ? held.rows[b % CLASSES][Math.floor(b / CLASSES)] : b;
      return held.inputs[row * DIGIT_SIZE + (i % DIGIT_SIZE)];
    });
    return [...blocks, { title: "real digits, held out", images: real, marks: marksOf(real, reader) }];
  }

  // What the reader says where that is not the class asked for, or where it is not certain.
  function marksOf(images, reader) {
    return probabilities(reader, images).map((row, b) => {
      if (state.settings.classes) return surest(row) === b % CLASSES ? "" : `${surest(row)}`;
      return Math.max(...row) >= CERTAIN ? "" : "?";
    });
  }

  function mistakeBlocks(mistakes) {
    const { held } = state.digits, most = mistakes.slice(0, 30);
    const images = Float64Array.from({ length: most.length * DIGIT_SIZE }, (_, i) => held.inputs[most[Math.floor(i / DIGIT_SIZE)].row * DIGIT_SIZE + (i % DIGIT_SIZE)]);
    const title = `${mistakes.length} of ${held.count} held-out digits are wrong${mistakes.length > 30 ? "; the first 30" : ""}`;
    return [{ title, images, marks: most.map(({ row, label }) => `${held.labels[row]}→${label}`) }];
  }

  function showDrawing(says) {
    const pad = $("digit-pad"), scale = fit(pad), context = pad.getContext("2d"), image = state.strokes.length ? digitOf(state.strokes) : null;
    Object.assign(context, { lineWidth: pad.width / 10, lineCap: "round", lineJoin: "round", strokeStyle: "#1d2230" });
    for (const stroke of state.strokes) {
      context.beginPath();
      for (const [x, y] of stroke) context.lineTo(x * pad.width, y * pad.height);
      if (stroke.length === 1) context.lineTo(stroke[0][0] * pad.width + scale, stroke[0][1] * pad.height);
      context.stroke();
    }
    paintDigits($("digit-seen"), [{ title: "what it sees", images: image || new Float64Array(DIGIT_SIZE) }], 1);
    const answer = (row) => `${surest(row)} (${percentOf(Math.max(...row))})`;
    const classifier = says && `The classifier says ${answer(says)}, the reader ${answer(probabilities(state.digits.reader, image)[0])}.`;
    $("digit-says").textContent = image ? classifier || "…" : "Draw a digit with the mouse or a finger.";
  }

  function draw(event, isNew) {
    const { left, top, width, height } = $("digit-pad").getBoundingClientRect();
    if (isNew) state.strokes.push([]);
    state.strokes.at(-1).push([(event.clientX - left) / width, (event.clientY - top) / height]);
    send("show", { shown: pictured() });
    showDrawing(state.report?.says);
  }
  $("digit-pad").onpointerdown = (event) => {
    event.target.setPointerCapture(event.pointerId);
    draw(event, true);
  };
  $("digit-pad").onpointermove = (event) => event.target.hasPointerCapture(event.pointerId) && draw(event, false);
  $("digit-clear").onclick = () => {
    state.strokes = [];
    send("show", { shown: pictured() });
  };
  $("digit-start").onclick = () => run(!state.running);
  $("digit-step").onclick = () => {
    run(false);
    send("step");
  };
  $("digit-reset").onclick = reset;
  addEventListener("resize", () => shown.name === "digits" && show());
  PARTS.digits = {
    settings: Object.assign({ ...START }, ...Object.values(RECIPES)),
    isEmpty: () => !dataOf("digits-data"), open, close: () => run(false), state,
  };
}
