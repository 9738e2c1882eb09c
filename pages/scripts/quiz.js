// Real or generated? Shows images one at a time or in pairs, and counts how often the answers are right.

const QUIZ_IMAGES = 50, SHOWN_MOST = 6; // of one kind among the images at the end

// Wilson's interval for the share of `right` among `count`, of 95 %.
function wilson(right, count, z = 1.959964) {
  const center = right + z ** 2 / 2, half = z * Math.sqrt((right * (count - right)) / count + z ** 2 / 4);
  return [center - half, center + half].map((value) => value / (count + z ** 2));
}

// How often a number of a real image is larger than one of a generated image. Equal ones count half.
function separation(real, generated) {
  let sum = 0;
  for (const a of real) for (const b of generated) sum += a > b ? 1 : a === b ? 0.5 : 0;
  return sum / (real.length * generated.length);
}

function shuffle(values, random) {
  for (let k = values.length - 1; k > 0; k--) {
    const other = Math.floor(random() * (k + 1));
    [values[k], values[other]] = [values[other], values[k]];
  }
  return values;
}

// A line of CSV. Names that begin like a formula get an apostrophe.
const csvLine = (values) => values.map((value) => {
  const text = String(value), safe = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}).join(",");

if (IN_PAGE) {
  const controls = [...document.querySelectorAll("#quiz select")];
  const defaults = { source: 0, way: "single", seconds: 0 };
  const ANSWERS = { single: ["Real", "Generated"], pairs: ["Left is real", "Right is real"] };
  const state = { settings: { ...defaults }, trials: null, sources: [] };
  const isPair = () => state.settings.way === "pairs";
  const source = () => SOURCES[state.settings.source];

  // Before the first question, and after the last.
  function rest(textContent) {
    clearTimeout(state.timer);
    $("quiz-images").replaceChildren();
    $("quiz-answers").hidden = true;
    Object.assign($("quiz-start"), { hidden: false, disabled: false, textContent });
  }

  function reset() {
    Object.assign(state, { trials: null, images: null, start: null });
    rest("Start");
    $("quiz-result").replaceChildren();
    $("quiz-question").textContent = isPair() ? "Two images, of which one is real: which?" : "Is the image real, or generated?";
    ANSWERS[state.settings.way].forEach((text, k) => ($("quiz-answers").children[k].textContent = text));
  }

  async function start() {
    reset();
    $("quiz-start").disabled = true;
    $("quiz-question").textContent = "The images are being computed ...";
    const own = (state.start = {}), random = uniform(Date.now());
    let images;
    try {
      images = await source().pictures(QUIZ_IMAGES / 2);
    } catch (error) {
      if (state.start !== own) return;
      $("quiz-question").textContent = `There are no images: ${error.message}`;
      $("quiz-start").disabled = false;
      return;
    }
    if (state.start !== own) return; // the settings have changed
    const pairs = Math.min(QUIZ_IMAGES / 2, images.real.length, images.generated.length);
    // The images of a trial from left to right, as [is generated, index].
    const trials = Array.from({ length: pairs }, (_, k) => [[0, k], [1, k]]);
    const shown = isPair() ? trials.map((images) => shuffle(images, random)) : trials.flat().map((image) => [image]);
    state.trials = shuffle(shown.map((images) => ({ images })), random);
    Object.assign(state, { images, next: 0, source: source() });
    $("quiz-start").hidden = true;
    $("quiz-answers").hidden = false;
    $("quiz-answers").firstElementChild.focus();
    ask();
  }

  const valuesOf = ([isGenerated, k]) => (isGenerated ? state.images.generated : state.images.real)[k];

  function pictureOf(image, label) {
    const canvas = element("canvas", { className: "pixels", role: "img", ariaLabel: label });
    paintImage(canvas, valuesOf(image), state.source.shape);
    return canvas;
  }

  function ask() {
    const { next, trials, settings } = state, { images } = trials[next];
    $("quiz-question").textContent = `${isPair() ? "Pair" : "Image"} ${next + 1} of ${trials.length}`;
    const canvases = images.map((image, k) => pictureOf(image, isPair() ? ["Left image", "Right image"][k] : "The image"));
    if (isPair()) canvases.forEach((canvas, k) => (canvas.onclick = () => answer(k)));
    $("quiz-images").replaceChildren(...canvases);
    state.asked = performance.now();
    clearTimeout(state.timer);
    const hide = () => canvases.forEach((canvas) => canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height));
    if (settings.seconds) state.timer = setTimeout(hide, 1000 * settings.seconds);
  }

  // chosen: of a single image 0 for real, 1 for generated; of a pair the real one's place.
  function answer(chosen) {
    const { trials, next } = state, trial = trials?.[next];
    if (!trial) return;
    const isRight = isPair() ? trial.images[chosen][0] === 0 : trial.images[0][0] === chosen;
    Object.assign(trial, { chosen, isRight, time: (performance.now() - state.asked) / 1000 });
    if (++state.next < trials.length) ask();
    else showResult();
  }

  function showResult() {
    const { trials, settings } = state, count = trials.length;
    const right = trials.filter((trial) => trial.isRight).length, [low, high] = wilson(right, count);
    rest("Again");
    $("quiz-question").textContent = `${right} of ${count} right: ${percent(right / count)}`;
    const meaning = low > 0.5 ? "You tell them apart." : high < 0.5 ? "The network deceives you: you take its images for the real ones." : "Guessing explains this as well.";
    const words = [`95 % interval (Wilson): ${percent(low)} to ${percent(high)}. ${meaning}`];
    const of = (kind) => trials.filter(({ images }) => images[0][0] === kind);
    if (!isPair()) words.push(["real", "generated"].map((name, kind) => {
      const shown = of(kind);
      return `Of ${shown.length} ${name} images you called ${shown.filter((trial) => trial.isRight).length} ${name}.`;
    }).join(" "));
    const line = csvLine([
      new Date().toISOString().slice(0, 19), state.source.name, settings.way, settings.seconds, count, right, low.toFixed(4), high.toFixed(4),
      trials.map((trial) => (trial.isRight ? "r" : "w")).join(""), trials.map((trial) => trial.time.toFixed(2)).join(" "),
    ]);
    $("quiz-result").replaceChildren(
      ...words.map((textContent) => element("p", { textContent })), ...verdicts(),
      ...gallery("Told at once", "Generated images that you recognized soonest:", true),
      ...gallery("Deceived", "Generated images that you took for real ones, the soonest first:", false), ...download(line),
    );
  }

  const realOnes = ({ says }) => says.slice(0, state.images.real.length);
  const generatedOnes = ({ says }) => says.slice(state.images.real.length);

  // What networks say of the same images.
  function verdicts() {
    const all = state.images.verdicts || [], mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
    if (!all.length) return [];
    const list = element("ul", {});
    list.append(...all.map((verdict) => {
      const [real, generated] = [realOnes(verdict), generatedOnes(verdict)];
      const text = `${verdict.name}: ${verdict.means}. Mean of the real images ${mean(real).toFixed(2)}, of the generated ones `
        + `${mean(generated).toFixed(2)}. In ${percent(separation(real, generated))} of pairs, the real image gets the higher number.`;
      return element("li", { textContent: text });
    }));
    return [element("h2", { textContent: "What networks say of the same images" }), list];
  }

  // Generated images of which the answer was right, or wrong.
  function gallery(title, words, isRight) {
    const list = element("ul", { className: "gallery" });
    const found = state.trials.filter((trial) => trial.isRight === isRight && trial.images.some(([isGenerated]) => isGenerated));
    found.sort((a, b) => a.time - b.time);
    for (const { images, time } of found.slice(0, SHOWN_MOST)) {
      const image = images.find(([isGenerated]) => isGenerated), item = element("li", {});
      const says = (state.images.verdicts || []).map((verdict) => `${verdict.name} ${generatedOnes(verdict)[image[1]].toFixed(2)}`);
      const texts = [`${time.toFixed(1)} s`, ...says];
      item.append(pictureOf(image, `Generated image: ${texts.join(", ")}`), ...texts.map((textContent) => element("span", { textContent })));
      list.append(item);
    }
    const part = element("div", {});
    part.append(element("h2", { textContent: title }), element("p", { textContent: words }), list);
    return found.length ? [part] : [];
  }

  // The answers in a file and as text, because some viewers save no file.
  function download(line) {
    const header = "date,source,shown,seconds,count,right,low,high,answers,times", text = `${header}\n${line}\n`;
    const save = element("button", { type: "button", textContent: "Download the answers (CSV)" });
    save.onclick = () => {
      const link = element("a", { download: "answers.csv", href: URL.createObjectURL(new Blob([text], { type: "text/csv" })) });
      link.click();
      URL.revokeObjectURL(link.href);
    };
    return [save, element("textarea", { readOnly: true, rows: 3, value: text, ariaLabel: "The answers as CSV" })];
  }

  function open(given) {
    const [sources] = controls, isNew = SOURCES.some((source, k) => source !== state.sources[k]) || SOURCES.length !== state.sources.length;
    state.sources = [...SOURCES];
    sources.replaceChildren(...SOURCES.map(({ name }, value) => element("option", { value, textContent: name })));
    const wanted = { ...defaults, ...given }, before = { ...state.settings };
    setControls(controls, wanted, defaults);
    state.settings = wanted;
    if (isNew || Object.keys(wanted).some((name) => wanted[name] !== before[name])) reset();
  }

  $("quiz-start").onclick = start;
  for (const button of $("quiz-answers").children) button.onclick = () => answer(Number(button.value));
  for (const control of controls) control.oninput = () => {
    state.settings[control.name] = parsed(control.value, defaults[control.name]);
    remember("quiz", state.settings);
    reset();
  };
  addEventListener("keydown", (event) => {
    const chosen = ["ArrowLeft", "ArrowRight"].indexOf(event.key);
    if (chosen < 0 || shown.name !== "quiz" || !state.trials?.[state.next] || event.repeat || event.target.tagName === "SELECT") return;
    event.preventDefault();
    answer(chosen);
  });
  PARTS.quiz = { settings: defaults, isEmpty: () => !SOURCES.length, open, close() {}, state };
}
