// Runs: networks that were trained with Ladder. A generator is steered; a classifier gets drawings and pictures.

// A run's network in a worker, or here if the browser refuses one. Of requests for one place, the last one counts.
class RunNetwork {
  wanted = new Map();
  isBusy = false;

  constructor(run) {
    const { program, tensors, weights } = run, load = () => (this.program ??= programOf(run));
    this.here = async (inputs) => (await load())(...inputs).data;
    try {
      this.worker = workerOf("runs");
      this.worker.postMessage({ program, tensors, weights });
      this.worker.onerror = (event) => { event.preventDefault(); this.worker = null; this.refuse?.(); };
      this.worker.onmessage = ({ data }) => this.answer(data);
    } catch {
      this.worker = null;
    }
  }
  compute(inputs) {
    if (!this.worker) return this.here(inputs);
    return new Promise((resolve) => {
      this.answer = resolve;
      this.refuse = () => resolve(this.here(inputs));
      this.worker.postMessage({ inputs });
    });
  }
  ask(place, inputs, show) {
    this.wanted.set(place, { inputs, show });
    if (!this.isBusy) this.next();
  }
  async next() {
    this.isBusy = true;
    while (this.wanted.size) {
      const [place, { inputs, show }] = this.wanted.entries().next().value;
      this.wanted.delete(place);
      show(await this.compute(inputs));
    }
    this.isBusy = false;
  }
}
if (!IN_PAGE && self.name === "runs") {
  let program = null;
  onmessage = async ({ data }) => {
    if (data.program) program = programOf(data);
    else postMessage((await program)(...data.inputs).data);
  };
}

// A button with an image and words below it.
function tileOf(words, onclick) {
  const button = element("button", { type: "button", onclick }), canvas = element("canvas", { className: "pixels" });
  button.append(canvas, element("span", { textContent: words }));
  return { button, canvas };
}

// A style names a latent: a seed, and then numbers of neighbors with their distances in degrees, `7~3~20`.
function latentsOf({ latent, latent_dim: count }, style) {
  const [seed, ...way] = style.split("~").map(Number), isUniform = latent === "uniform";
  const draw = (k) => { const random = uniform(k || 0); return Array.from({ length: count }, isUniform ? random : () => normal(random)); };
  let latents = draw(seed);
  for (let k = 0; k + 1 < way.length; k += 2) {
    const other = draw(7919 * way[k] + 104729), angle = ((way[k + 1] || 0) * Math.PI) / 180, share = Math.sin(angle);
    latents = latents.map((v, i) => (isUniform ? (1 - share) * v + share * other[i] : Math.cos(angle) * v + share * other[i]));
  }
  return latents;
}
const lerp = (a, b, t) => a.map((v, i) => (1 - t) * v + t * b[i]);
function between(a, b, t, isUniform) { // normal latents lie near a sphere
  const dot = (p, q) => p.reduce((total, v, i) => total + v * q[i], 0);
  const angle = Math.acos(Math.min(1, Math.max(-1, dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b)))));
  if (isUniform || angle < 1e-3) return lerp(a, b, t);
  return lerp(a.map((v) => v * Math.sin((1 - t) * angle) / (1 - t || 1)), b.map((v) => v * Math.sin(t * angle) / (t || 1)), t).map((v) => v / Math.sin(angle));
}
// A mixture of classes: one class, `3`, or shares of several, `3*60+5*40`.
function sharesOf(mix, count) {
  const shares = new Array(count).fill(0);
  for (const part of mix.split("+")) {
    const [label, share = 1] = part.split("*").map(Number);
    if (label in shares && share > 0) shares[label] += share;
  }
  const total = sum(shares);
  return total ? shares.map((share) => share / total) : shares.with(0, 1);
}

if (IN_PAGE) {
  const SETTINGS = { run: "", style: "1", mix: "0", toStyle: "2", toMix: "1", walk: 0, spread: 25 };
  const STYLES = 12, NEIGHBORS = 8, SECONDS = 3, LINE = 24, SQUARE = 0.25, ANSWERS = 10;
  const runs = dataOf("runs-data") || [], networks = new Map();
  runs.forEach((other, k) => { // versions of an experiment have one name
    const twins = runs.slice(0, k).filter(({ experiment }) => experiment === other.name).length;
    Object.assign(other, { experiment: other.name, name: twins ? `${other.name} (${twins + 1})` : other.name });
  });
  let settings = { ...SETTINGS }, run = null, network = null, playing = 0, newest = 2, pictures = null, current = null, firstStyle = 1;

  const nameOf = (mix) => {
    const parts = sharesOf(mix, run.classes.length).map((share, k) => [share, run.classes[k]]).filter(([share]) => share > 0.005);
    return parts.length === 1 ? parts[0][1] : parts.map(([share, name]) => `${name} ${Math.round(100 * share)} %`).join(" + ");
  };
  const textOf = (style, mix) => (run.classes ? `${nameOf(mix)}, ` : "") + `style ${style.split("~")[0]}${style.includes("~") ? ", a neighbor" : ""}`;
  const inputsOf = (latents, shares) => [latents, ...(shares ? [shares] : [])].map((data) => ({ shape: [1, data.length], data: Float32Array.from(data) }));
  const draw = (canvas, style, mix) => network.ask(canvas, inputsOf(latentsOf(run, style), run.classes && sharesOf(mix, run.classes.length)),
    (values) => paintImage(canvas, values, run.shape));
  const noted = (changes) => { Object.assign(settings, changes); remember("runs", settings); };

  // -- a generator --

  function showWalk() {
    const { style, mix, toStyle, toMix, walk } = settings, own = run, count = run.classes?.length;
    const latents = between(latentsOf(run, style), latentsOf(run, toStyle), walk, run.latent === "uniform");
    const shares = count && lerp(sharesOf(mix, count), sharesOf(toMix, count), walk);
    network.ask($("image"), inputsOf(latents, shares), (values) => run === own && paintImage($("image"), values, run.shape));
    const [from, to] = [textOf(style, mix), textOf(toStyle, toMix)];
    $("image-caption").textContent = walk === 0 ? from : walk === 1 ? to : `${from} → ${to}: ${Math.round(100 * walk)} %`;
    $("walk").value = walk;
  }
  // All images of a start; `changes` are settings.
  function steer(changes = {}) {
    noted(changes);
    if (!changes.keepPlaying) play(false);
    network.wanted.clear();
    const { style, mix, toStyle, toMix, spread } = settings;
    showWalk();
    draw($("walk-start"), style, mix);
    draw($("walk-end"), toStyle, toMix);
    $("keep").checked = style === toStyle;
    $("target").value = toMix;
    if (!run.classes && !(Number(style) >= firstStyle && Number(style) < firstStyle + STYLES)) firstStyle = Math.trunc(Number(style)) || firstStyle;
    const choices = run.classes ? run.classes.map((name, k) => [name, { mix: String(k) }])
      : Array.from({ length: STYLES }, (_, k) => [`style ${firstStyle + k}`, { style: String(firstStyle + k) }]);
    tiles($("choices"), choices.map(([words, change]) => ({ words, change, isOn: Object.entries(change).every(([key, value]) => settings[key] === value) })));
    $("spread-text").textContent = `${spread} degrees`;
    tiles($("neighbors"), Array.from({ length: NEIGHBORS }, (_, k) => ({ words: "", label: `Neighbor ${k + 1}`, change: { style: `${style}~${k + 1}~${spread}` } })));
    $("spread").value = spread;
    const shares = run.classes && sharesOf(mix, run.classes.length);
    [...$("shares").children].forEach((label, k) => {
      label.children[1].value = 100 * shares[k];
      label.children[2].textContent = `${Math.round(100 * shares[k])} %`;
    });
  }
  // Buttons with images; those that are there stay, so that they keep the focus.
  function tiles(place, items) {
    while (place.children.length > items.length) place.lastChild.remove();
    items.forEach(({ words, label, change, isOn = false }, k) => {
      if (!place.children[k]) place.append(tileOf("").button);
      const button = place.children[k], to = { ...settings, ...change };
      button.lastChild.textContent = words;
      Object.assign(button, { ariaPressed: label ? null : isOn, ariaLabel: label || null, onclick: () => steer({ ...change, walk: 0 }) });
      draw(button.firstChild, to.style, to.mix);
    });
  }
  function mixed() { // the sliders of the shares
    const values = [...$("shares").children].map((label) => Math.round(label.children[1].value));
    steer({ walk: 0, mix: values.map((value, k) => [k, value]).filter(([, value]) => value).map(([k, value]) => `${k}*${value}`).join("+") || "0" });
  }
  function play(on) {
    cancelAnimationFrame(playing);
    playing = 0;
    $("play").textContent = on ? "Stop" : "Walk";
    if (!on) return;
    let before = performance.now();
    const move = (now) => {
      playing = requestAnimationFrame(move);
      if (network.wanted.has($("image"))) return; // it is slower than the walk
      const walk = settings.walk + Math.min(0.1, (now - before) / 1000) / SECONDS, count = run.classes?.length;
      before = now;
      if (walk < 1) {
        settings.walk = walk;
        return showWalk();
      }
      const next = sharesOf(settings.toMix, count || 1).indexOf(1) + 1;
      steer({ walk: 0, style: settings.toStyle, mix: settings.toMix, toStyle: String(++newest), toMix: String(count ? next % count : 0), keepPlaying: true });
    };
    playing = requestAnimationFrame(move);
  }
  function openGenerator() {
    $("run-hint").textContent = run.classes ? "The network draws each image from a class and a style, which is a list of random numbers." : "The network draws each image from a style, which is a list of random numbers.";
    $("choices-title").textContent = run.classes ? "Every class in this style" : "Styles";
    const names = run.classes || [];
    for (const id of ["walk-target", "mix-all"]) $(id).hidden = !names.length;
    $("shares").closest("section").hidden = !names.length;
    $("target").replaceChildren(...names.map((name, k) => new Option(name, k)));
    $("shares").replaceChildren(...names.map((name) => {
      const label = element("label"), slider = element("input", { type: "range", min: 0, max: 100, step: 1, ariaLabel: `Share of ${name}`, oninput: mixed });
      label.append(element("span", { textContent: name }), slider, element("b"));
      return label;
    }));
    steer();
  }
  function save() {
    const image = $("image"), scale = Math.max(1, Math.floor(512 / image.width)), large = element("canvas", { width: scale * image.width, height: scale * image.height });
    const context = large.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(image, 0, 0, large.width, large.height);
    element("a", { href: large.toDataURL(), download: `${run.name}.png` }).click();
  }

  // -- a classifier --

  const pad = $("pad").getContext("2d", { willReadFrequently: true });
  function wipe() {
    Object.assign(pad, { fillStyle: "#fff", strokeStyle: "#000", lineWidth: LINE, lineCap: "round", lineJoin: "round" });
    pad.fillRect(0, 0, 280, 280);
    for (const id of ["received", "heat"]) paintImage($(id), new Float32Array(sizeOf(run.shape)), run.shape);
    for (const id of ["notes", "heat-caption"]) $(id).textContent = "";
    $("verdict").textContent = `Draw one of: ${run.classes.slice(0, 12).join(", ")}`;
    $("answers").replaceChildren();
    network.wanted.clear();
    current = null;
  }
  // Colors of a canvas as planes.
  function planesOf({ data, width, height }) {
    return { width, height, planes: [0, 1, 2].map((c) => Uint8Array.from({ length: width * height }, (_, i) => data[4 * i + c])) };
  }
  function recognizeImage(image, isFinal = true, before = []) {
    const { pixels, notes } = matchSpec(image, run.spec);
    recognize(pixels, [...before, ...notes].join("; ") || "only resized", isFinal);
  }
  // Asks the network about bytes (C, H, W), and, once the drawing is `isFinal`, what it looks at.
  function recognize(pixels, notes, isFinal = true) {
    paintImage($("received"), pixels, run.shape, 255);
    $("notes").textContent = notes;
    network.wanted.clear();
    const own = (current = pixels), input = (values) => [{ shape: [1, ...run.shape], data: values.map((v) => v / run.spec.scale) }];
    network.ask("answer", input(pixels), (shares) => {
      if (current !== own) return;
      showAnswers(shares);
      if (isFinal) occlude(pixels, input, shares, own);
    });
  }
  function showAnswers(shares) {
    const order = [...shares.keys()].sort((a, b) => shares[b] - shares[a]), top = order.slice(0, ANSWERS).sort((a, b) => a - b);
    $("verdict").textContent = `${run.classes[order[0]]}: ${inPercent(shares[order[0]])}`;
    $("answers").replaceChildren(...top.map((k) => {
      const row = element("div", { className: "answer" });
      row.append(element("span", { textContent: run.classes[k] }), element("meter", { value: shares[k], ariaLabel: run.classes[k] }), element("b", { textContent: inPercent(shares[k]) }));
      return row;
    }));
  }
  // How much a gray square at each place lowers the probability of the answer.
  function occlude(pixels, input, shares, own) {
    const [C, H, W] = run.shape, side = Math.max(1, Math.round(SQUARE * Math.min(H, W))), stride = Math.max(1, side >> 1);
    const best = shares.indexOf(largest(shares)), drops = new Float32Array(H * W), counts = new Float32Array(H * W);
    const places = (length) => [...new Set([...Array(Math.ceil((length - side) / stride)).keys()].map((k) => k * stride).concat(length - side))];
    $("heat-caption").textContent = `Orange: where a gray square lowers the probability of ${run.classes[best]}.`;
    for (const top of places(H)) for (const left of places(W)) {
      const covered = pixels.slice(), inside = [];
      for (let y = top; y < top + side; y++) for (let x = left; x < left + side; x++) inside.push(y * W + x);
      for (let c = 0; c < C; c++) for (const i of inside) covered[c * H * W + i] = 127.5;
      network.ask(`${top} ${left}`, input(covered), (now) => {
        if (current !== own) return;
        for (const i of inside) { drops[i] += Math.max(0, shares[best] - now[best]); counts[i]++; }
        const most = Math.max(0.05, ...drops.map((v, i) => v / (counts[i] || 1))), size = H * W;
        const mixed = Float32Array.from({ length: 3 * size }, (_, k) => {
          const i = k % size, c = Math.floor(k / size), share = drops[i] / (counts[i] || 1) / most;
          return (1 - 0.8 * share) * pixels[(C === 3 ? c : 0) * size + i] + 0.8 * share * ORANGE[c];
        });
        paintImage($("heat"), mixed, [3, H, W], 255);
      });
    }
  }
  const see = (isFinal) => recognizeImage(planesOf(pad.getImageData(0, 0, 280, 280)), isFinal);
  let last = null, timer = null;
  function stroke(points, isNew) {
    const places = points.map(([x, y]) => [280 * x, 280 * y]);
    pad.beginPath();
    pad.moveTo(...(isNew ? places[0] : last));
    for (const place of places) pad.lineTo(...place);
    pad.stroke();
    last = places.at(-1);
    timer ??= setTimeout(() => {
      timer = null;
      see(false);
    }, 150);
  }
  function lift() {
    clearTimeout(timer);
    timer = null;
    see(true);
  }
  async function read(file) {
    if (!file) return;
    try {
      const bitmap = await createImageBitmap(file), scale = Math.min(1, LARGEST_SCAN / Math.max(bitmap.width, bitmap.height));
      const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(scale * side)));
      const context = element("canvas", { width, height }).getContext("2d");
      Object.assign(context, { fillStyle: "#fff", imageSmoothingQuality: "high" });
      context.fillRect(0, 0, width, height); // transparent parts become white
      context.drawImage(bitmap, 0, 0, width, height);
      wipe();
      const part = 280 / Math.max(width, height);
      pad.drawImage(context.canvas, (280 - part * width) / 2, (280 - part * height) / 2, part * width, part * height);
      const before = scale < 1 ? [`reduced by the browser to ${LARGEST_SCAN} pixels`] : [];
      recognizeImage(planesOf(context.getImageData(0, 0, width, height)), true, before);
    } catch {
      $("verdict").textContent = `${file.name} is no picture that this browser can read.`;
    }
  }
  const pictureAt = (k) => Float32Array.from(pictures.subarray(k * sizeOf(run.shape), (k + 1) * sizeOf(run.shape)));
  function openClassifier() {
    const { units = [], mistakes = [], asked = 0 } = run;
    $("run-hint").textContent = "The network says which class an image shows. Draw, or give it a picture.";
    $("mistakes-part").hidden = !asked;
    $("mistakes-title").textContent = mistakes.length ? `Its surest mistakes among ${asked.toLocaleString("en")} validation images` : `No mistakes among ${asked.toLocaleString("en")} validation images`;
    $("mistakes").replaceChildren(...mistakes.map(([picture, truth, answer, share]) => {
      const words = `${run.classes[truth]}, said ${run.classes[answer]} ${inPercent(share)}`;
      const { button, canvas } = tileOf(words, () => { wipe(); recognize(pictureAt(picture), "a validation image as it is"); });
      paintImage(canvas, pictureAt(picture), run.shape, 255);
      return button;
    }));
    $("units-liked").hidden = !units.length;
    $("liked").replaceChildren(...units.map(({ unit, toward, pictures: liked }) => {
      const name = `unit ${unit}${toward === null ? "" : `, for ${run.classes[toward]}`}`, row = element("div", { className: "liked", role: "img", ariaLabel: `Images that ${name} likes` });
      row.append(element("span", { textContent: name }), ...liked.map((k) => {
        const canvas = element("canvas", { className: "pixels" });
        paintImage(canvas, pictureAt(k), run.shape, 255);
        return canvas;
      }));
      return row;
    }));
    wipe();
  }

  // -- the part --

  async function choose() {
    play(false);
    network?.wanted.clear();
    pictures = null;
    run = runs.find(({ name }) => name === settings.run) || runs[0];
    $("run").value = runs.indexOf(run);
    $("run-about").textContent = `${run.name}: ${run.about}`;
    for (const id of ["generator", "classifier"]) $(id).hidden = run.kind !== id;
    if (!networks.has(run)) networks.set(run, new RunNetwork(run));
    network = networks.get(run);
    const own = run, bytes = new Uint8Array(await unpack(run.pictures));
    if (run !== own) return;
    pictures = bytes;
    if (run.kind === "generator") openGenerator();
    else openClassifier();
  }
  function begin() {
    $("run").replaceChildren(...runs.map(({ name }, k) => new Option(name, k)));
    $("run-choice").hidden = runs.length < 2;
    $("run").onchange = () => { settings = { ...SETTINGS, run: runs[$("run").value].name }; remember("runs", settings); choose(); };
    $("walk").oninput = () => { play(false); noted({ walk: Number($("walk").value) }); showWalk(); };
    $("play").onclick = () => { if (settings.walk >= 1) settings.walk = 0; play(!playing); };
    $("another").onclick = () => { newest += 2; steer({ style: String(newest - 1), toStyle: String(newest), walk: 0 }); };
    $("save").onclick = save;
    $("target").onchange = () => steer({ toMix: $("target").value, walk: 0 });
    $("keep").onchange = () => steer({ toStyle: $("keep").checked ? settings.style : String(++newest), walk: 0 });
    $("spread").oninput = () => steer({ spread: Number($("spread").value) });
    $("mix-all").onclick = () => steer({ mix: run.classes.map((_, k) => `${k}*1`).join("+"), walk: 0 });
    onStrokes($("pad"), stroke, lift);
    $("wipe").onclick = wipe;
    for (const [button, input] of [["choose", "files"], ["shoot", "camera"]]) {
      $(button).onclick = () => $(input).click();
      $(input).onchange = () => { read($(input).files[0]); $(input).value = ""; };
    }
    $("classifier").ondragover = (event) => event.preventDefault();
    $("classifier").ondrop = (event) => { event.preventDefault(); read(event.dataTransfer.files[0]); };
  }
  // 25 real images and as many generated ones of each run that has them.
  for (const { name, shape, quiz, pictures: packed } of runs) if (quiz) SOURCES.push({
    name, shape,
    pictures: async (count) => {
      const bytes = new Uint8Array(await unpack(packed)), size = sizeOf(shape);
      const most = Math.min(count, quiz.real.length), take = (all) => all.slice(0, most).map((k) => Float32Array.from(bytes.subarray(k * size, (k + 1) * size), (v) => v / 255));
      const of = (says) => [...says.slice(0, most), ...says.slice(quiz.real.length, quiz.real.length + most)];
      return { real: take(quiz.real), generated: take(quiz.generated), verdicts: quiz.verdicts.map((verdict) => ({ ...verdict, says: of(verdict.says) })) };
    },
  });
  let isOpen = false;
  PARTS.runs = {
    settings: SETTINGS,
    isEmpty: () => !runs.length,
    open: (given) => {
      if (!isOpen) begin();
      isOpen = true;
      settings = { ...SETTINGS, ...given };
      choose();
    },
    close: () => { play(false); network?.wanted.clear(); },
    isBusy: () => !pictures || network.isBusy,
  };
}
