// Pictures of the plane, of hidden units and of curves. Colors are those of figures/style.py.

const BLUE = [1, 115, 178], ORANGE = [222, 143, 5], INK = "#1d2230", SOFT_INK = "#8b8f99";
const INK_RGB = [29, 34, 48], GREEN = [2, 158, 115];
const css = ([r, g, b]) => `rgb(${r}, ${g}, ${b})`;
const STRENGTH = 0.6; // of the colors behind points

// Shades from blue at 0 over white to orange at 1, as pixels.
const SHADES = Uint32Array.from({ length: 256 }, (_, k) => {
  const share = STRENGTH * Math.abs(k / 127.5 - 1), color = k < 128 ? BLUE : ORANGE;
  const [r, g, b] = color.map((v) => Math.round(255 + share * (v - 255)));
  return (255 << 24) | (b << 16) | (g << 8) | r;
});

// Fits a canvas to its place on the screen, which clears it. Returns the pixels of the screen in one of the page.
function fit(canvas) {
  const scale = window.devicePixelRatio || 1;
  canvas.width = Math.round(canvas.clientWidth * scale);
  canvas.height = Math.round(canvas.clientHeight * scale);
  return scale;
}

// Points of a square grid from edge to edge, row by row from the top, as x and y in turn.
function gridPoints([low, high], side) {
  const at = (k) => low + (k * (high - low)) / (side - 1);
  return Float64Array.from({ length: 2 * side * side }, (_, i) => {
    const k = i >> 1;
    return i & 1 ? at(side - 1 - Math.floor(k / side)) : at(k % side);
  });
}

const stencil = IN_PAGE ? element("canvas") : null;
// Paints values (side * side) in [0, 1] over a whole canvas.
function paintField(canvas, values, side) {
  Object.assign(stencil, { width: side, height: side });
  const image = new ImageData(side, side), pixels = new Uint32Array(image.data.buffer);
  for (let k = 0; k < pixels.length; k++) pixels[k] = SHADES[Math.round(255 * Math.min(1, Math.max(0, values[k])))];
  stencil.getContext("2d").putImageData(image, 0, 0);
  const { width } = canvas, step = width / (side - 1);
  canvas.getContext("2d").drawImage(stencil, -step / 2, -step / 2, width + step, width + step);
}

// Paints the line where values (side * side) are 0: marching squares.
function paintBoundary(canvas, values, side, width) {
  const context = canvas.getContext("2d"), step = canvas.width / (side - 1);
  context.beginPath();
  for (let row = 0; row + 1 < side; row++) for (let column = 0; column + 1 < side; column++) {
    const k = row * side + column, corners = [[0, 0, k], [1, 0, k + 1], [1, 1, k + side + 1], [0, 1, k + side]];
    const crossings = [];
    corners.forEach(([x, y, i], c) => {
      const [nextX, nextY, j] = corners[(c + 1) % 4];
      if (values[i] > 0 === values[j] > 0) return;
      const share = values[i] / (values[i] - values[j]);
      crossings.push([column + x + share * (nextX - x), row + y + share * (nextY - y)]);
    });
    for (let c = 0; c + 1 < crossings.length; c += 2) {
      context.moveTo(crossings[c][0] * step, crossings[c][1] * step);
      context.lineTo(crossings[c + 1][0] * step, crossings[c + 1][1] * step);
    }
  }
  Object.assign(context, { strokeStyle: INK, lineWidth: width });
  context.stroke();
}

// The output of a hidden unit by color, and the line where its weighted sum is 0.
function paintUnit(canvas, activation, sums, side) {
  const zero = activation.value(0), values = sums.map((z) => activation.value(z) - zero);
  const largest = values.reduce((most, v) => Math.max(most, Math.abs(v)), 1e-9);
  paintField(canvas, values.map((v) => 0.5 + v / largest / 2), side);
  paintBoundary(canvas, sums, side, 3);
}

class Plane {
  // Clears a canvas, which then shows x and y from `low` to `high`.
  begin(canvas, [low, high]) {
    Object.assign(this, { canvas, low, high, scale: fit(canvas), context: canvas.getContext("2d") });
  }

  pixel(x, y) {
    const unit = this.canvas.width / (this.high - this.low);
    return [(x - this.low) * unit, (this.high - y) * unit];
  }

  // x and y at a place of the canvas, from 0 to 1.
  at(left, top) {
    return [this.low + (this.high - this.low) * left, this.high - (this.high - this.low) * top];
  }

  points(xy, color, radius = 3.5, isHollow = false) {
    const { context } = this, [fill, edge] = isHollow ? ["#fff", css(color)] : [css(color), "#fff"];
    Object.assign(context, { fillStyle: fill, strokeStyle: edge, lineWidth: this.scale });
    for (let i = 0; i < xy.length; i += 2) {
      context.beginPath();
      context.arc(...this.pixel(xy[i], xy[i + 1]), radius * this.scale, 0, 2 * Math.PI);
      context.fill();
      context.stroke();
    }
  }

  // Vectors at points as arrows with a white edge: `size` pixels of the page for a length of `one`, at most twice as many.
  arrows(xy, vectors, one, size, color) {
    const { context, scale } = this;
    context.beginPath();
    for (let i = 0; i < xy.length; i += 2) {
      const length = Math.hypot(vectors[i], vectors[i + 1]), drawn = scale * size * Math.min(2, length / one);
      if (!(drawn > scale)) continue;
      const [x, y] = this.pixel(xy[i], xy[i + 1]), tip = Math.min(4 * scale, drawn / 2) / drawn;
      const dx = (drawn * vectors[i]) / length, dy = (-drawn * vectors[i + 1]) / length;
      context.moveTo(x, y);
      context.lineTo(x + dx, y + dy);
      for (const side of [-0.6, 0.6]) {
        context.moveTo(x + dx, y + dy);
        context.lineTo(x + dx - tip * (dx - side * dy), y + dy - tip * (dy + side * dx));
      }
    }
    for (const [strokeStyle, width] of [["#fff", 4], [color, 2]]) {
      Object.assign(context, { strokeStyle, lineWidth: width * scale, lineCap: "round" });
      context.stroke();
    }
  }
}

const MOST = 400; // values of a curve
// Means of the recorded values, of `stride` steps, and then of ever more.
class History {
  constructor(stride = 1) {
    Object.assign(this, { curves: {}, stride, waiting: [] });
  }

  // values: numbers of a step by name. heldOut: a function whose number is recorded with each mean; null: none.
  add(values, heldOut) {
    const { curves, waiting, stride } = this, record = (name, value) => (curves[name] ||= []).push(value);
    if (waiting.push(values) < stride) return;
    for (const name in values) record(name, waiting.reduce((sum, step) => sum + step[name], 0) / stride);
    if (heldOut) record("held out", heldOut());
    this.waiting = [];
    if (Object.values(curves)[0].length < MOST) return;
    this.stride *= 2;
    const halved = (values) => values.filter((_, k) => k % 2).map((v, k) => (v + values[2 * k]) / 2);
    for (const name in curves) curves[name] = halved(curves[name]);
  }
}

function paintCurves(canvas, { curves }, colors) {
  const scale = fit(canvas), context = canvas.getContext("2d"), { width, height } = canvas;
  const all = Object.values(curves).flat().filter(Number.isFinite);
  const top = Math.max(1e-9, ...all), low = Math.min(0, ...all);
  const y = (v) => 4 * scale + ((top - v) / (top - low)) * (height - 8 * scale);
  Object.assign(context, { strokeStyle: "#cfd1d8", lineWidth: scale });
  context.strokeRect(0, y(0), width, 0);
  Object.values(curves).forEach((values, c) => {
    context.beginPath();
    values.forEach((v, k) => context.lineTo((k / Math.max(1, values.length - 1)) * width, y(v)));
    Object.assign(context, { strokeStyle: css(colors[c]), lineWidth: 2 * scale, lineJoin: "round" });
    context.stroke();
  });
  Object.assign(context, { fillStyle: "#5c6270", font: `${12 * scale}px system-ui, sans-serif`, textAlign: "right" });
  if (all.length) context.fillText(top.toPrecision(2), width - 2 * scale, 14 * scale);
}

// Paints values from 0 to `white` of an image (C, H, W), one pixel of the canvas for each.
function paintImage(canvas, values, [channels, height, width], white = 1) {
  const size = height * width, image = new ImageData(width, height);
  Object.assign(canvas, { width, height });
  for (let i = 0; i < 4 * size; i++) image.data[i] = i % 4 === 3 ? 255 : (255 * values[(channels === 3 ? i % 4 : 0) * size + (i >> 2)]) / white;
  canvas.getContext("2d").putImageData(image, 0, 0);
}
