// The frame: parts of the page, of which one is shown, and the address that says which, with what settings.
//
// A part is { settings: defaults of what the address may say, isEmpty(): nothing to show, open(settings): what the
// address says, without what is not in `settings`; called when the part is shown, and when its address changes,
// close(): called when another part is shown }.

const IN_PAGE = typeof document !== "undefined"; // not in a worker, which runs these scripts too
const PARTS = {};
// What the quiz may ask about: { name, shape: [C, H, W], pictures: async (count) => ({ real, generated, verdicts }) }.
// Images are arrays of values in [0, 1]. A verdict is { name, says: a number for each image, first the real ones,
// means: a sentence }.
const SOURCES = [];

const $ = (id) => document.getElementById(id);
const element = (name, properties) => Object.assign(document.createElement(name), properties);
const percent = (share) => `${Math.round(100 * share)} %`;
const inPercent = (share) => `${(100 * share).toFixed(share > 0.001 && share < 0.999 ? 1 : 0)} %`;
// What a script element of the page holds; null: nothing.
const dataOf = (id) => JSON.parse($(id)?.textContent || "null");

// Sets controls to settings. Those that a control does not offer become the default.
function setControls(controls, settings, defaults) {
  for (const control of controls.filter(({ name }) => name in settings)) {
    control.value = settings[control.name];
    if (control.value !== String(settings[control.name])) control.value = settings[control.name] = defaults[control.name];
  }
}

// The value of a text, of the kind of an example.
function parsed(text, example) {
  if (typeof example === "boolean") return text === "true";
  return typeof example === "number" ? Number(text) : text;
}

// A worker that runs the scripts of this page, and knows its name.
function workerOf(name) {
  const code = new Blob([$("code").textContent], { type: "text/javascript" });
  return new Worker(URL.createObjectURL(code), { name });
}

// A part's name and settings in an address. Settings that the part does not have, and numbers that are none, are left out.
function readAddress(hash) {
  const [name, query] = hash.replace(/^#/, "").split("?"), settings = {};
  if (!Object.hasOwn(PARTS, name)) return { name: null, settings };
  for (const [key, text] of new URLSearchParams(query || "")) {
    if (!Object.hasOwn(PARTS[name].settings, key)) continue;
    const value = parsed(text, PARTS[name].settings[key]);
    if (text !== "" && !Number.isNaN(value)) settings[key] = value;
  }
  return { name, settings };
}

// The address of a part: only what differs from the defaults.
function addressOf(name, settings, defaults = PARTS[name].settings) {
  const changed = Object.entries(settings).filter(([key, value]) => key in defaults && value !== defaults[key]);
  const query = new URLSearchParams(changed).toString();
  return `#${name}${query && `?${query}`}`;
}

const shown = { name: null, hash: null, addresses: {}, timer: null };

// Writes a part's settings into its tab, and soon into the address: browsers refuse many changes in a second.
function remember(name, settings, defaults) {
  shown.addresses[name] = addressOf(name, settings, defaults);
  clearTimeout(shown.timer);
  shown.timer = setTimeout(() => {
    if (shown.name !== name || location.hash !== shown.hash) return; // another address is about to be visited
    history.replaceState(null, "", location.href.split("#")[0] + shown.addresses[name]);
    shown.hash = location.hash;
  }, 200);
}

// Names of the parts that have something to show.
const filled = () => Object.keys(PARTS).filter((name) => !PARTS[name].isEmpty());

// Shows the tabs of these parts. Whoever fills or empties a part calls it.
function showTabs() {
  const names = filled();
  $("tabs").hidden = names.length < 2;
  for (const tab of $("tabs").children) {
    tab.hidden = !names.includes(tab.value);
    tab.ariaCurrent = tab.value === shown.name ? "page" : null;
  }
}

// Shows the part of an address; otherwise runs, or the first part.
function visit(hash) {
  const names = filled(), before = shown.name;
  const address = readAddress(hash), isKnown = names.includes(address.name);
  const name = isKnown ? address.name : names.includes("runs") ? "runs" : names[0];
  if (before && before !== name) PARTS[before].close();
  if (before !== name) scrollTo(0, 0); // the browser has scrolled to the part
  Object.assign(shown, { name, hash });
  for (const part of document.querySelectorAll(".part")) part.hidden = part.id !== name;
  showTabs();
  PARTS[name].open(isKnown ? address.settings : {});
}
