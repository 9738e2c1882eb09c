// Pictures in the form of the training images, as `match_spec` of datamodules/input_spec.py makes them, but for paper of
// one gray level: shadows and dirt stay, where Python removes them.
// An image is { width, height, planes }: red, green and blue of 0 to 255, or one plane.

const LARGEST_SCAN = 800, MIN_CONTRAST = 4; // as datamodules/scans.py says
const roundEven = (v) => (Math.abs(v % 1) === 0.5 ? 2 * Math.round(v / 2) : Math.round(v));
const toByte = (v) => Math.min(255, Math.max(0, Math.round(v)));
function percentile(values, share) {
  const order = Float64Array.from(values).sort(), place = (order.length - 1) * share, low = Math.floor(place);
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
// A plane in another one of rows x columns, at a place.
function pasted(plane, width, [rows, columns], top, left, around) {
  const out = new Float32Array(rows * columns).fill(around);
  for (let at = 0; at < plane.length; at += width) out.set(plane.subarray(at, at + width), (top + at / width) * columns + left);
  return out;
}
// Brings planes to a size as training images were: `crop` cuts off, `pad` adds white edges, `stretch` deforms.
function fitTo({ planes, width, height }, [rows, columns], fit) {
  if (fit === "pad") {
    const scale = Math.min(columns / width, rows / height), [w, h] = [width, height].map((side) => Math.max(1, roundEven(scale * side)));
    const top = roundEven((rows - h) / 2), left = roundEven((columns - w) / 2);
    return planes.map((plane) => pasted(resize(plane, width, height, w, h), w, [rows, columns], top, left, 255));
  }
  const scale = Math.min(width / columns, height / rows), [w, h] = fit === "crop" ? [scale * columns, scale * rows] : [width, height];
  const left = (width - w) / 2, top = (height - h) / 2;
  return planes.map((plane) => resize(plane, width, height, columns, rows, [left, top, left + w, top + h]));
}

// A drawing on paper of one level: its ink, 0 to 1, cropped, and whether the paper is lighter. null: there is no contrast.
function findForeground(pixels, width, height, paper) {
  const difference = pixels.map((v) => v - paper), high = largest(difference), low = largest(difference.map((v) => -v));
  const sign = low > high ? -1 : 1, edge = Math.max(high, low) / 2, ink = difference.map((v) => sign * v);
  const rest = ink.filter((v) => v < edge), mean = meanOf(rest);
  if (edge < 1 || edge < MIN_CONTRAST * Math.sqrt(meanOf(rest.map((v) => (v - mean) ** 2)))) return null;
  const full = percentile(ink.filter((v) => v >= edge), 0.75);
  let [left, top, right, bottom] = [width, height, 0, 0];
  ink.forEach((v, i) => {
    const x = i % width, y = (i - x) / width;
    if (v >= edge) [left, top, right, bottom] = [Math.min(left, x), Math.min(top, y), Math.max(right, x + 1), Math.max(bottom, y + 1)];
  });
  const size = [right - left, bottom - top], cropped = Float32Array.from({ length: size[0] * size[1] }, (_, k) => {
    const v = ink[(top + Math.floor(k / size[0])) * width + left + (k % size[0])];
    return Math.min(1, Math.max(0, (v - edge / 2) / (full - edge / 2)));
  });
  return { ink: cropped, width: size[0], height: size[1], light: sign < 0 };
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
  return pasted(figure, w, [rows, columns], corner(0, rows, h), corner(1, columns, w), 0);
}

// What the network gets of an image: bytes (C, H, W), and what was done beyond scaling, in words.
function matchSpec(image, spec) {
  const [channels, ...sides] = spec.input_shape, { width, height } = image;
  const gray = channels === 1 ? [toGray(image.planes)] : image.planes.length === 3 ? image.planes : [0, 1, 2].map(() => image.planes[0]);
  let resized = fitTo({ planes: gray, width, height }, sides, spec.fit);
  const result = (notes) => ({ pixels: Float32Array.from(resized.flatMap((plane) => [...plane])), notes });
  if (channels !== 1 || spec.background === null) return result([]);
  const edges = gray[0].filter((_, i) => { const x = i % width, y = Math.floor(i / width); return !x || !y || x === width - 1 || y === height - 1; });
  const trainingIsLight = spec.background > 127.5, paper = percentile(edges, 0.5);
  let isLight = paper > 127.5;
  if (height === sides[0] && width === sides[1] && isLight === trainingIsLight) return result([]);
  const foreground = findForeground(Float32Array.from(gray[0]), width, height, paper), notes = [];
  isLight = foreground ? foreground.light : isLight;
  if (isLight !== trainingIsLight) {
    notes.push(`${isLight ? "dark on light" : "light on dark"}, inverted to match the training images`);
    resized = resized.map((plane) => plane.map((v) => 255 - v));
  }
  if (foreground && spec.extent && spec.centre) {
    const ink = trainingIsLight ? 0 : 255, placed = placeForeground(foreground, sides, spec.extent, spec.centre);
    resized = [placed.map((v) => roundEven(spec.background + v * (ink - spec.background)))];
    notes.push("thresholded at one gray level, cut out, scaled and centered");
  } else if (spec.extent) notes.push("no foreground found, only resized");
  return result(notes);
}
