// Digits: the controls, the worker that trains, and what it shows.

const PAD = 32, PEN = 2.4; // pixels a side of a drawing before it becomes 8 x 8, and the radius of the pen

// Strokes, lists of [x, y] -> the 64 pixels in 17 levels. As scikit-learn's digits were made: moved and scaled into
// 32 x 32 pixels, black or white, of which the black ones of each 4 x 4 are counted.
function digitOf(strokes) {
  const points = strokes.flat(), [xs, ys] = [0, 1].map((axis) => points.map((point) => point[axis]));
  const left = Math.min(...xs), right = Math.max(...xs), top = Math.min(...ys), bottom = Math.max(...ys);
  const scale = (PAD - 2 * PEN) / Math.max(right - left, bottom - top, 1e-9), counts = new Float64Array(DIGIT_SIZE);
  const context = element("canvas", { width: PAD, height: PAD }).getContext("2d");
  paintStrokes(context, strokes, 2 * PEN, ([x, y]) => [PAD / 2 + scale * (x - (left + right) / 2), PAD / 2 + scale * (y - (top + bottom) / 2)]);
  const { data } = context.getImageData(0, 0, PAD, PAD);
  for (let i = 0; i < PAD ** 2; i++) if (data[4 * i + 3] > 127) counts[8 * Math.floor(i / PAD / 4) + Math.floor((i % PAD) / 4)] += 1 / 16;
  return counts;
}

// Lines of a round pen through points, which `at` places on the canvas.
function paintStrokes(context, strokes, width, at) {
  Object.assign(context, { lineWidth: width, lineCap: "round", lineJoin: "round", strokeStyle: INK });
  for (const stroke of strokes) {
    context.beginPath();
    context.moveTo(...at(stroke[0]));
    for (const point of stroke) context.lineTo(...at(point));
    context.stroke();
  }
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
    classifier: { title: "Classifier", curves: [BLUE, GREEN], color: BLUE },
    gan: { title: "GAN", curves: [BLUE, ORANGE], color: BLUE },
    flow: { title: "Flow", curves: [BLUE, GREEN], color: ORANGE },
    drift: { title: "Drift", curves: [GREEN], color: GREEN },
    all: { title: "Side by side" },
  };
  const defaultsOf = (method) => ({ ...RECIPES[method], pace: "fast", ...(method !== "classifier" && { classes: true }) });
  const methods = Object.fromEntries(Object.keys(DIGIT_METHODS).map((method) => [method, defaultsOf(method)]));
  const ROWS = { one: 5, all: 2 }, REAL_ROWS = 2;
  const state = new Bench("digits", "method", methods, "gan", ["rate", "batch", "pace"]);
  const hasGenerator = () => state.method !== "classifier";
  const send = (order, more) => state.worker?.postMessage({ order, ...more });

  function begin() {
    state.packed = dataOf("digits-data");
    state.digits = unpackDigits(state.packed);
    const { held, reader } = state.digits;
    state.real = { read: shareRead(reader, held.inputs, held.labels), certain: shareRead(reader, held.inputs) };
    try {
      state.worker = workerOf("digits");
      state.worker.onerror = refuse;
      state.worker.onmessage = ({ data }) => receive(data);
    } catch {
      refuse();
    }
  }

  function refuse() {
    state.worker = null;
    $("digit-status").textContent = "This browser does not train in files: open the page in Chrome, Edge, Firefox or Safari.";
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
    for (const part of document.querySelectorAll("#digits [data-classes]")) part.hidden = String(settings.classes) !== part.dataset.classes;
    send("reset", { settings, packed, seed, shown: pictured() });
    setSources([]);
  }

  function receive({ report, seed, ...pictures }) {
    if (pictures.images) state.waiting.shift()(pictures); // the worker answers in turn
    if (!report || seed !== state.seed) return; // of a training before
    state.report = report;
    if (hasGenerator() && report.methods.every(({ steps }) => steps) && !SOURCES.some(({ isLive }) => isLive)) setSources(report.methods);
    if (shown.name === "digits") show();
  }

  // Lets the quiz ask about fresh pictures of these generators in training, and of those before no more.
  function setSources(methods) {
    const others = SOURCES.filter(({ isLive }) => !isLive);
    SOURCES.splice(0, SOURCES.length, ...others, ...methods.map(({ name }) => sourceOf(name)));
    showTabs();
  }

  function sourceOf(method) {
    const one = (images, b) => Float32Array.from(images.subarray(b * DIGIT_SIZE, (b + 1) * DIGIT_SIZE));
    return {
      name: `Digits: the ${DIGIT_METHODS[method].title} of this page`, shape: [1, 8, 8], isLive: true,
      pictures: async (count) => {
        send("pictures", { method, count });
        const { images, verdicts } = await new Promise((resolve) => state.waiting.push(resolve));
        const part = (first) => Array.from({ length: count }, (_, b) => one(images, first + b));
        return { real: part(0), generated: part(count), verdicts };
      },
    };
  }

  function show() {
    const { report, settings } = state;
    if (!report) return;
    const { methods, scores } = report, last = (name) => scores[name]?.at(-1) ?? 0, seconds = methods.reduce((sum, m) => sum + m.seconds, 0);
    const steps = methods.map((m) => m.steps.toLocaleString("en")).join(" + "), real = settings.classes ? state.real.read : state.real.certain;
    const what = !hasGenerator() ? "of held-out digits right" : settings.classes ? "show the class asked for" : "are certainly a digit";
    const values = methods.map(({ name, images }) => {
      const title = methods.length > 1 ? `${DIGIT_METHODS[name].title} ` : "", isTold = settings.classes || !hasGenerator();
      return `${title}${inPercent(last(name))}${isTold ? "" : ` (${classesIn(images)} of 10 classes)`}`;
    }).join(", ");
    $("digit-status").textContent = `step ${steps} · ${seconds.toFixed(0)} s · ${values} ${what}${hasGenerator() ? ` (real digits ${inPercent(real)})` : ""}`;
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
    listValues($("digit-score-values"), titled, all, inPercent);
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
    const pad = $("digit-pad"), image = state.strokes.length ? digitOf(state.strokes) : null;
    fit(pad);
    paintStrokes(pad.getContext("2d"), state.strokes, pad.width / 10, ([x, y]) => [x * pad.width, y * pad.height]);
    paintDigits($("digit-seen"), [{ title: "what it sees", images: image || new Float64Array(DIGIT_SIZE) }], 1);
    const answer = (row) => `${surest(row)} (${inPercent(Math.max(...row))})`;
    const classifier = says && `The classifier says ${answer(says)}, the reader ${answer(probabilities(state.digits.reader, image)[0])}.`;
    $("digit-says").textContent = image ? classifier || "…" : "Draw a digit with the mouse or a finger.";
  }

  onStrokes($("digit-pad"), (points, isNew) => {
    if (isNew) state.strokes.push([]);
    state.strokes.at(-1).push(...points);
    send("show", { shown: pictured() });
    showDrawing(state.report?.says);
  });
  $("digit-clear").onclick = () => {
    state.strokes = [];
    send("show", { shown: pictured() });
  };
  Object.assign(state, {
    seed: 0, strokes: [], waiting: [], reset, show,
    run: () => send("run", { running: state.running }),
    step: () => send("step"),
    change: () => send("change", { settings: state.settings }),
  });
  Object.assign(PARTS.digits, {
    isEmpty: () => !dataOf("digits-data"),
    open: (given) => {
      if (!state.packed) begin();
      state.open(given);
    },
  });
}
