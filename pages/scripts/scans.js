// Pictures in the form of the training images: the same as `match_spec` of datamodules/input_spec.py, step by step.
// An image is { width, height, planes }: red, green and blue of 0 to 255, or one plane.

const LARGEST_SCAN = 800, MIN_CONTRAST = 4, MIN_PART = 0.02, MAX_EDGE = 0.6; // as datamodules/scans.py says
const roundEven = (v) => (Math.abs(v % 1) === 0.5 ? 2 * Math.round(v / 2) : Math.round(v));
const toByte = (v) => Math.min(255, Math.max(0, Math.round(v)));
const sorted = (values) => Float64Array.from(values).sort();
function percentile(values, share) {
  const order = sorted(values), place = (order.length - 1) * share, low = Math.floor(place);
  return order[low] + (place - low) * (order[Math.min(order.length - 1, low + 1)] - order[low]);
}
const toGray = ([red, green, blue]) =>
  green ? red.map((_, i) => (19595 * red[i] + 38470 * green[i] + 7471 * blue[i] + 32768) >> 16) : red;

// Pillow's bicubic resize of a box [left, top, right, bottom], one direction after the other. `round` is for bytes.
const cubic = (v) => { const x = Math.abs(v); return x < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0; };
function taps(from, to, side, count) {
  const scale = (to - from) / count, wide = Math.max(1, scale);
  return Array.from({ length: count }, (_, i) => {
    const center = from + (i + 0.5) * scale, first = Math.max(0, Math.trunc(center - 2 * wide + 0.5));
    const end = Math.min(side, Math.trunc(center + 2 * wide + 0.5));
    const weights = Array.from({ length: end - first }, (_, k) => cubic((first + k - center + 0.5) / wide));
    const total = sum(weights);
    return { first, weights: weights.map((weight) => weight / total) };
  });
}
function resize(plane, width, height, newWidth, newHeight, box = [0, 0, width, height], round = toByte) {
  const pass = (values, across, lines, steps, end, count, tap) => { // along rows (steps 1) or columns
    const out = new Float32Array(count * lines), stride = steps === 1 ? count : 1, along = steps === 1 ? 1 : lines;
    for (let line = 0; line < lines; line++) for (let i = 0; i < count; i++) {
      const { first, weights } = tap[i];
      let total = 0;
      for (let k = 0; k < weights.length; k++) total += weights[k] * values[line * across + (first + k) * steps];
      out[line * stride + i * along] = round(total);
    }
    return out;
  };
  let values = plane;
  if (newWidth !== width || box[0] || box[2] !== width) values = pass(values, width, height, 1, width, newWidth, taps(box[0], box[2], width, newWidth));
  if (newHeight !== height || box[1] || box[3] !== height) values = pass(values, 1, newWidth, newWidth, height, newHeight, taps(box[1], box[3], height, newHeight));
  return values;
}
// Brings planes to a size as training images were: `crop` cuts off, `pad` adds white edges, `stretch` deforms.
function fitTo({ planes, width, height }, [rows, columns], fit) {
  const ratio = width / height, wanted = columns / rows;
  if (fit === "stretch") return planes.map((plane) => resize(plane, width, height, columns, rows));
  if (fit === "crop") {
    const w = ratio >= wanted ? wanted * height : width, h = ratio >= wanted ? height : width / wanted;
    const left = (width - w) * 0.5, top = (height - h) * 0.5;
    return planes.map((plane) => resize(plane, width, height, columns, rows, [left, top, left + w, top + h]));
  }
  const w = ratio > wanted ? columns : Math.max(1, roundEven((width / height) * rows));
  const h = ratio > wanted ? Math.max(1, roundEven((height / width) * columns)) : rows;
  const left = roundEven((columns - w) / 2), top = roundEven((rows - h) / 2);
  return planes.map((plane) => {
    const small = resize(plane, width, height, w, h), out = new Float32Array(rows * columns).fill(255);
    for (let y = 0; y < h; y++) out.set(small.subarray(y * w, (y + 1) * w), (y + top) * columns + left);
    return out;
  });
}

function smooth(plane, width, height, sigma) {
  const radius = Math.trunc(4 * sigma + 0.5), weights = Array.from({ length: 2 * radius + 1 }, (_, k) => Math.exp(-0.5 * ((k - radius) / sigma) ** 2));
  const total = sum(weights), reflect = (i, side) => { const k = ((i % (2 * side)) + 2 * side) % (2 * side); return k < side ? k : 2 * side - 1 - k; };
  const pass = (values, inRow) => values.map((_, i) => {
    const x = i % width, y = (i - x) / width;
    return sum(weights.map((weight, k) => weight * (inRow ? values[y * width + reflect(x + k - radius, width)] : values[reflect(y + k - radius, height) * width + x]))) / total;
  });
  return pass(pass(plane, false), true);
}
// The brightness of paper: a quadratic function of the place, fitted to the pixels that are not ink.
function fitPaper(pixels, width, height, isPaper) {
  const terms = (i) => {
    const x = (2 * (i % width)) / (width - 1 || 1) - 1, y = (2 * Math.floor(i / width)) / (height - 1 || 1) - 1;
    return [1, x, y, x * x, x * y, y * y];
  };
  const places = [];
  isPaper.forEach((is, i) => is && places.push(i));
  const step = Math.max(1, Math.floor(places.length / 20000)), table = Array.from({ length: 6 }, () => new Float64Array(7));
  for (let p = 0; p < places.length; p += step) {
    const t = terms(places[p]);
    for (let a = 0; a < 6; a++) {
      for (let b = 0; b < 6; b++) table[a][b] += t[a] * t[b];
      table[a][6] += t[a] * pixels[places[p]];
    }
  }
  for (let a = 0; a < 6; a++) for (let b = 0; b < 6; b++) if (a !== b) { // Gauss and Jordan; the matrix is positive
    const factor = table[b][a] / (table[a][a] || 1e-9);
    for (let k = a; k < 7; k++) table[b][k] -= factor * table[a][k];
  }
  const found = table.map((row, a) => row[6] / (row[a] || 1e-9));
  return Float64Array.from(pixels, (_, i) => terms(i).reduce((total, v, k) => total + v * found[k], 0));
}
// Ink without specks and without the dark edges of a scan.
function withoutDirt(ink, width, height) {
  const parts = new Int32Array(ink.length), areas = [0];
  for (let start = 0; start < ink.length; start++) if (ink[start] && !parts[start]) {
    const stack = [start], part = areas.push(0) - 1;
    parts[start] = part;
    while (stack.length) {
      const i = stack.pop(), x = i % width, y = (i - x) / width;
      areas[part]++;
      for (let v = Math.max(0, y - 1); v <= Math.min(height - 1, y + 1); v++) for (let u = Math.max(0, x - 1); u <= Math.min(width - 1, x + 1); u++) {
        const near = v * width + u;
        if (ink[near] && !parts[near]) { parts[near] = part; stack.push(near); }
      }
    }
  }
  const inner = [...areas], row = (y) => parts.subarray(y * width, (y + 1) * width), column = (x) => parts.filter((_, i) => i % width === x);
  for (const side of [row(0), row(height - 1), column(0), column(width - 1)]) {
    const counts = new Map();
    for (const part of side) counts.set(part, (counts.get(part) || 0) + 1);
    for (const [part, count] of counts) if (count > MAX_EDGE * side.length) inner[part] = 0;
  }
  const counted = inner.some(Boolean) ? inner : areas, least = MIN_PART * largest(counted);
  return parts.map((part) => +(counted[part] > 0 && counted[part] >= least));
}
// A drawing on paper: its ink, 0 to 1, cropped, and whether the paper is lighter. null: there is no contrast.
function findForeground(pixels, width, height) {
  const even = smooth(pixels, width, height, Math.max(width, height) / 400);
  let isPaper = new Uint8Array(pixels.length).fill(1), paper, difference, edge, sign;
  for (let round = 0; round < 4; round++) {
    paper = fitPaper(even, width, height, isPaper);
    difference = Float64Array.from(even, (v, i) => v - paper[i]);
    const high = largest(difference), low = -largest(difference.map((v) => -v));
    sign = -low > high ? -1 : 1;
    edge = Math.max(high, -low) / 2;
    if (edge < 1) return null;
    isPaper = Uint8Array.from(difference, (v) => +(sign * v < edge));
  }
  const rest = difference.filter((_, i) => isPaper[i]), mean = meanOf(rest);
  if (edge < MIN_CONTRAST * Math.sqrt(meanOf(rest.map((v) => (v - mean) ** 2)))) return null;
  const figure = withoutDirt(isPaper.map((v) => 1 - v), width, height), ink = Float64Array.from(pixels, (v, i) => sign * (v - paper[i]));
  const full = percentile(ink.filter((_, i) => figure[i]), 0.75);
  let [left, top, right, bottom] = [width, height, 0, 0];
  figure.forEach((is, i) => {
    const x = i % width, y = (i - x) / width;
    if (is) [left, top, right, bottom] = [Math.min(left, x), Math.min(top, y), Math.max(right, x + 1), Math.max(bottom, y + 1)];
  });
  const cropped = new Float32Array((right - left) * (bottom - top));
  for (let y = top, at = 0; y < bottom; y++) for (let x = left; x < right; x++, at++) {
    const i = y * width + x, near = figure[i] || (x && figure[i - 1]) || (x < width - 1 && figure[i + 1]) || (y && figure[i - width]) || (y < height - 1 && figure[i + width]);
    if (near) cropped[at] = Math.min(1, Math.max(0, (ink[i] - edge / 2) / (full - edge / 2)));
  }
  return { ink: cropped, width: right - left, height: bottom - top, light: sign < 0 };
}
// Scales a foreground and places it by its center of mass, as in MNIST.
function placeForeground({ ink, width, height }, [rows, columns], extent, center) {
  const scale = (extent * Math.max(rows, columns)) / Math.max(width, height);
  const h = Math.min(rows, Math.max(1, roundEven(scale * height))), w = Math.min(columns, Math.max(1, roundEven(scale * width)));
  const limit = (v) => Math.min(1, Math.max(0, v));
  const scaled = resize(ink, width, height, w, h, [0, 0, width, height], (v) => v).map(limit);
  const full = Math.max(percentile(scaled, 0.95), 1e-6), figure = scaled.map((v) => limit(v / full)), mass = sum(figure);
  const middle = [0, 0];
  figure.forEach((v, i) => { middle[0] += (v * Math.floor(i / w)) / mass; middle[1] += (v * (i % w)) / mass; });
  const corner = (d, side, own) => Math.min(side - own, Math.max(0, roundEven(center[d] * side - middle[d] - 0.5)));
  const top = corner(0, rows, h), left = corner(1, columns, w), out = new Float32Array(rows * columns);
  for (let y = 0; y < h; y++) out.set(figure.subarray(y * w, (y + 1) * w), (y + top) * columns + left);
  return out;
}

// What the network gets of an image: bytes (C, H, W), and what was done beyond scaling, in words.
function matchSpec(image, spec) {
  const [channels, ...sides] = spec.input_shape, { width, height } = image;
  const gray = channels === 1 ? [toGray(image.planes)] : image.planes.length === 3 ? image.planes : [0, 1, 2].map(() => image.planes[0]);
  let resized = fitTo({ planes: gray, width, height }, sides, spec.fit);
  const result = (notes) => ({ pixels: Float32Array.from(resized.flatMap((plane) => [...plane])), notes });
  if (channels !== 1 || spec.background === null) return result([]);
  const edges = gray[0].filter((_, i) => { const x = i % width, y = Math.floor(i / width); return !x || !y || x === width - 1 || y === height - 1; });
  const trainingIsLight = spec.background > 127.5;
  let isLight = percentile(edges, 0.5) > 127.5;
  if (height === sides[0] && width === sides[1] && isLight === trainingIsLight) return result([]);
  const foreground = findForeground(Float32Array.from(gray[0]), width, height), notes = [];
  isLight = foreground ? foreground.light : isLight;
  if (isLight !== trainingIsLight) {
    notes.push(`${isLight ? "dark on light" : "light on dark"}, inverted to match the training images`);
    resized = resized.map((plane) => plane.map((v) => 255 - v));
  }
  if (foreground && spec.extent && spec.centre) {
    const ink = trainingIsLight ? 0 : 255, placed = placeForeground(foreground, sides, spec.extent, spec.centre);
    resized = [placed.map((v) => roundEven(spec.background + v * (ink - spec.background)))];
    notes.push("the drawing was cut out, scaled and centered");
  } else if (spec.extent) notes.push("no foreground found, only resized");
  return result(notes);
}
