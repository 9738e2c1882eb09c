// A recorded network: steps of torch's operators on tensors { shape, data }, whose data are never changed.

const sizeOf = (shape) => shape.reduce((a, b) => a * b, 1);
const stridesOf = (shape) => shape.map((_, d) => sizeOf(shape.slice(d + 1)));
const constant = (shape, value) => ({ shape, data: new Float32Array(sizeOf(shape)).fill(value) });
const apply = (x, f) => ({ shape: x.shape, data: x.data.map(f) });

// A tensor whose element (i, j, ...) is x.data[offset + i * strides[0] + j * strides[1] + ...].
function gather(x, shape, strides, offset = 0) {
  const data = new Float32Array(sizeOf(shape)), last = shape.length - 1, index = shape.map(() => 0);
  const inner = last < 0 ? 1 : shape[last], step = strides[last];
  for (let at = 0, from = offset; at < data.length; ) {
    for (let i = 0, place = from; i < inner; i++, place += step) data[at++] = x.data[place];
    for (let d = last - 1; d >= 0; d--) {
      from += strides[d];
      if (++index[d] < shape[d]) break;
      from -= strides[d] * shape[d];
      index[d] = 0;
    }
  }
  return { shape, data };
}
function permute(x, dims) {
  const strides = stridesOf(x.shape);
  return gather(x, dims.map((d) => x.shape.at(d)), dims.map((d) => strides.at(d)));
}
function swap(x, a, b) {
  const dims = x.shape.map((_, d) => d), last = dims.length;
  [dims[(a + last) % last], dims[(b + last) % last]] = [dims[(b + last) % last], dims[(a + last) % last]];
  return permute(x, dims);
}
function expand(x, shape) {
  if (x.shape.length === shape.length && x.shape.every((side, d) => side === shape[d])) return x;
  const strides = stridesOf(x.shape), before = shape.length - x.shape.length;
  return gather(x, shape, shape.map((_, d) => (d < before || x.shape[d - before] === 1 ? 0 : strides[d - before])));
}
function slice(x, dim, start, count, step = 1) {
  const d = (dim + x.shape.length) % x.shape.length, strides = stridesOf(x.shape);
  const offset = start * strides[d];
  return gather(x, x.shape.with(d, count), strides.with(d, step * strides[d]), offset);
}
// The values of a tensor or a number, in a shape.
const valuesIn = (shape, x) => expand(typeof x === "object" ? x : constant([], x), shape).data;
// f of two tensors or numbers, element by element.
function combine(shape, a, b, f) {
  const [x, y] = [a, b].map((part) => valuesIn(shape, part));
  return { shape, data: x.map((v, i) => f(v, y[i])) };
}
// f of the values along some dimensions, all if none are given.
function reduce(shape, x, dims, f) {
  const count = x.shape.length, over = (dims?.length ? dims : x.shape.map((_, d) => d)).map((d) => (d + count) % count);
  const kept = x.shape.map((_, d) => d).filter((d) => !over.includes(d));
  const moved = permute(x, [...kept, ...over]).data, data = new Float32Array(sizeOf(shape)), size = moved.length / data.length;
  for (let i = 0; i < data.length; i++) data[i] = f(moved.subarray(i * size, (i + 1) * size));
  return { shape, data };
}
const sum = (row) => row.reduce((total, v) => total + v, 0);
const largest = (row) => row.reduce((most, v) => (v > most ? v : most), -Infinity);
function softmaxOf(x, dim) {
  const last = swap(x, dim, -1);
  return swap({ shape: last.shape, data: softmax(last.data, last.shape.at(-1)) }, dim, -1);
}
// Subtracts the mean of each row of `size` values, and divides by the standard deviation.
function normalize(x, size, epsilon) {
  const data = new Float32Array(x.data.length);
  for (let i = 0; i < data.length; i += size) {
    let mean = 0, square = 0;
    for (let k = i; k < i + size; k++) mean += x.data[k] / size;
    for (let k = i; k < i + size; k++) square += (x.data[k] - mean) ** 2 / size;
    const scale = 1 / Math.sqrt(square + epsilon);
    for (let k = i; k < i + size; k++) data[k] = (x.data[k] - mean) * scale;
  }
  return { shape: x.shape, data };
}
// Multiplies and shifts by a number for each value of a dimension; null: 1 and 0.
function scaleAndShift(x, weight, bias, dim) {
  const size = sizeOf(x.shape.slice(dim + 1)), count = x.shape[dim];
  const scale = weight?.data || new Float32Array(count).fill(1), shift = bias?.data || new Float32Array(count);
  return apply(x, (v, i) => { const k = Math.floor(i / size) % count; return v * scale[k] + shift[k]; });
}

// Matrices (..., m, k) times (..., k, n).
const product = (shape, a, b) => {
  const out = constant(shape, 0), [m, k] = a.shape.slice(-2), n = b.shape.at(-1), part = (data, i, size) => data.subarray(i * size, (i + 1) * size);
  for (let i = 0; i < out.data.length / (m * n); i++)
    out.data.set(products(part(a.data, i, m * k), transposed(part(b.data, i, k * n), n), k), i * m * n);
  return out;
};

// Calls f(place in a table (positions, taps), place in an image (C, H, W)) for what each tap of a kernel sees of the
// image at the kernel's positions (rows, columns).
function eachTap([C, H, W], [rows, columns], [kh, kw], [sy, sx], [py, px], [dy, dx], f) {
  const taps = C * kh * kw;
  for (let c = 0, tap = 0; c < C; c++) for (let a = 0; a < kh; a++) for (let b = 0; b < kw; b++, tap++) {
    const first = Math.max(0, Math.ceil((px - b * dx) / sx)), last = Math.min(columns - 1, Math.floor((W - 1 + px - b * dx) / sx));
    for (let y = 0; y < rows; y++) {
      const row = y * sy + a * dy - py;
      if (row < 0 || row >= H) continue;
      for (let x = first, from = (c * H + row) * W + first * sx + b * dx - px; x <= last; x++, from += sx) f((y * columns + x) * taps + tap, from);
    }
  }
}
// A convolution of one image is a product of matrices: weights times what each tap sees.
function convolve(shape, x, weight, bias, stride, padding, dilation, isTransposed, _, groups) {
  const out = constant(shape, 0), size = sizeOf(shape.slice(2)), kernel = weight.shape.slice(2);
  const [large, small] = isTransposed ? [shape, x.shape] : [x.shape, shape], within = [large[1] / groups, ...large.slice(2)];
  const positions = sizeOf(small.slice(2)), taps = within[0] * sizeOf(kernel), channels = small[1] / groups;
  for (let g = 0; g < groups; g++) {
    const image = (isTransposed ? out : x).data.subarray(g * sizeOf(within), (g + 1) * sizeOf(within));
    const other = (isTransposed ? x : out).data.subarray(g * channels * positions, (g + 1) * channels * positions);
    const kernels = weight.data.subarray(g * channels * taps, (g + 1) * channels * taps);
    const place = [within, small.slice(2), kernel, stride, padding, dilation];
    if (isTransposed) {
      const seen = products(transposed(other, positions), transposed(kernels, taps), channels);
      eachTap(...place, (at, from) => (image[from] += seen[at]));
    } else {
      const seen = new Float32Array(taps * positions);
      eachTap(...place, (at, from) => (seen[at] = image[from]));
      other.set(products(kernels, seen, taps));
    }
  }
  return bias ? apply(out, (v, i) => v + bias.data[Math.floor(i / size)]) : out;
}
// f(values) of windows, whose rows and columns `places(position, side, positions, axis)` lists.
function pool(shape, x, places, f) {
  const [C, H, W] = x.shape.slice(-3), [rows, columns] = shape.slice(-2), data = new Float32Array(sizeOf(shape));
  const down = Array.from({ length: rows }, (_, i) => places(i, H, rows, 0)), across = Array.from({ length: columns }, (_, j) => places(j, W, columns, 1));
  for (let c = 0, at = 0; c < C; c++) for (const ys of down) for (const xs of across) {
    const values = [];
    for (const y of ys) for (const k of xs) values.push(x.data[(c * H + y) * W + k]);
    data[at++] = f(values);
  }
  return { shape, data };
}
const windows = (kernel, stride, padding, dilation = [1]) => (i, side, _, axis) => {
  const [size, by, edge, step] = [kernel, stride.length ? stride : kernel, padding, dilation].map((v) => v[axis] ?? v[0]);
  return Array.from({ length: size }, (_, k) => i * by - edge + k * step).filter((at) => at >= 0 && at < side);
};
const adaptive = (i, side, count) => {
  const first = Math.floor((i * side) / count), end = Math.ceil(((i + 1) * side) / count);
  return Array.from({ length: end - first }, (_, k) => first + k);
};
const meanOf = (row) => sum(row) / row.length;
function erf(v) { // Abramowitz and Stegun 1964, 7.1.26
  const t = 1 / (1 + 0.3275911 * Math.abs(v));
  const y = 1 - ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t * Math.exp(-v * v);
  return Math.sign(v) * y;
}
const gelu = (how) => (v) => how === "tanh"
  ? 0.5 * v * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3))) : 0.5 * v * (1 + erf(v * Math.SQRT1_2));

// Operators by torch's names, for `trained.py` too: of one number, of two, and of tensors. The last ones get the shape of
// the result, and torch's arguments in their order.
const OF_ONE = {
  relu: (v) => (v > 0 ? v : 0), sigmoid: sigmoid, silu: (v) => v * sigmoid(v), mish: (v) => v * Math.tanh(softplus(v)),
  tanh: Math.tanh, exp: Math.exp, log: Math.log, sqrt: Math.sqrt, rsqrt: (v) => 1 / Math.sqrt(v), reciprocal: (v) => 1 / v,
  sin: Math.sin, cos: Math.cos, abs: Math.abs, neg: (v) => -v,
};
const OF_TWO = {
  mul: (x, y) => x * y, pow: (x, y) => x ** y, maximum: Math.max, minimum: Math.min,
  ge: (x, y) => +(x >= y), gt: (x, y) => +(x > y), le: (x, y) => +(x <= y), lt: (x, y) => +(x < y), eq: (x, y) => +(x === y),
};
const same = (shape, x) => ({ shape, data: x.data });
const OPERATORS = {
  addmm: (shape, bias, a, b, beta, alpha) => combine(shape, bias, product(shape, a, b), (x, y) => beta * x + alpha * y),
  mm: product,
  bmm: product,
  convolution: convolve,
  native_batch_norm: (shape, x, weight, bias, mean, variance, training, momentum, epsilon) => {
    if (training) return scaleAndShift(normalize(x, sizeOf(shape.slice(2)), epsilon), weight, bias, 1); // of one image
    const scale = apply(variance, (v, k) => (weight ? weight.data[k] : 1) / Math.sqrt(v + epsilon));
    const shift = apply(mean, (v, k) => (bias ? bias.data[k] : 0) - v * scale.data[k]);
    return scaleAndShift(x, scale, shift, 1);
  },
  native_layer_norm: (shape, x, sides, weight, bias, epsilon) => {
    const normal = normalize(x, sizeOf(sides), epsilon), rows = { shape: [sizeOf(shape) / sizeOf(sides), sizeOf(sides)], data: normal.data };
    return same(shape, scaleAndShift(rows, weight, bias, 1));
  },
  native_group_norm: (shape, x, weight, bias, N, C, size, groups, epsilon) =>
    scaleAndShift(normalize(x, (C * size) / groups, epsilon), weight, bias, 1),
  leaky_relu: (shape, x, slope) => apply(x, (v) => (v > 0 ? v : slope * v)),
  elu: (shape, x, alpha, scale, inner) => apply(x, (v) => scale * (v > 0 ? v : alpha * Math.expm1(inner * v))),
  gelu: (shape, x, how) => apply(x, gelu(how)),
  softplus: (shape, x, beta) => apply(x, (v) => softplus(beta * v) / beta),
  hardtanh: (shape, x, low, high) => apply(x, (v) => Math.min(high, Math.max(low, v))),
  clamp: (shape, x, low, high) => apply(x, (v) => Math.min(high ?? Infinity, Math.max(low ?? -Infinity, v))),
  _softmax: (shape, x, dim) => softmaxOf(x, dim),
  add: (shape, a, b, alpha) => combine(shape, a, b, (x, y) => x + alpha * y),
  sub: (shape, a, b, alpha) => combine(shape, a, b, (x, y) => x - alpha * y),
  rsub: (shape, a, b, alpha) => combine(shape, a, b, (x, y) => y - alpha * x),
  where: choose,
  masked_fill: (shape, x, mask, value) => choose(shape, mask, value, x),
  div: (shape, a, b, mode) => combine(shape, a, b, mode ? (x, y) => Math[mode](x / y) : (x, y) => x / y), // floor or trunc
  mean: (shape, x, dims) => reduce(shape, x, dims, meanOf),
  sum: (shape, x, dims) => reduce(shape, x, Array.isArray(dims) ? dims : null, sum),
  amax: (shape, x, dims) => reduce(shape, x, dims, largest),
  max_pool2d_with_indices: (shape, x, kernel, stride, padding, dilation) => pool(shape, x, windows(kernel, stride, padding, dilation), largest),
  avg_pool2d: (shape, x, kernel, stride, padding, ceil, padded, divisor) =>
    pool(shape, x, windows(kernel, stride, padding), (row) => sum(row) / (divisor ?? (padded ? kernel[0] * kernel.at(-1) : row.length))),
  _adaptive_avg_pool2d: (shape, x) => pool(shape, x, adaptive, meanOf),
  adaptive_max_pool2d: (shape, x) => pool(shape, x, adaptive, largest),
  upsample_nearest2d: (shape, x) => pool(shape, x, (i, side, count) => [Math.floor((i * side) / count)], ([value]) => value),
  constant_pad_nd: (shape, x, edges, value) => {
    const out = constant(shape, value), strides = stridesOf(shape), from = stridesOf(x.shape), before = shape.map(() => 0);
    for (let k = 0; k < edges.length / 2; k++) before[shape.length - 1 - k] = edges[2 * k];
    x.data.forEach((v, i) => {
      const index = from.map((stride, d) => (Math.floor(i / stride) % x.shape[d]) + before[d]);
      if (index.every((k, d) => k >= 0 && k < shape[d])) out.data[index.reduce((at, k, d) => at + k * strides[d], 0)] = v;
    });
    return out;
  },
  cat: (shape, parts, dim) => {
    const d = (dim + shape.length) % shape.length, inner = sizeOf(shape.slice(d + 1)), out = constant(shape, 0), row = shape[d] * inner;
    let before = 0;
    for (const part of parts) {
      const size = (part.shape[d] || 0) * inner;
      for (let k = 0; k * size < part.data.length; k++) out.data.set(part.data.subarray(k * size, (k + 1) * size), k * row + before);
      before += size;
    }
    return out;
  },
  split: (shape, x, size, dim) => chunks(x, Array(Math.ceil(x.shape.at(dim) / size)).fill(size), dim),
  split_with_sizes: (shape, x, sizes, dim) => chunks(x, sizes, dim),
  slice: (shape, x, dim, start, end, step) => {
    const side = x.shape.at(dim), first = Math.min(side, (start ?? 0) < 0 ? Math.max(0, side + start) : start ?? 0);
    return slice(x, dim, first, shape.at(dim), step);
  },
  select: (shape, x, dim, index) => same(shape, slice(x, dim, (index + x.shape.at(dim)) % x.shape.at(dim), 1)),
  flip: (shape, x, dims) => dims.reduce((y, dim) => slice(y, dim, shape.at(dim) - 1, shape.at(dim), -1), x),
  expand: (shape, x) => expand(x, shape),
  permute: (shape, x, dims) => permute(x, dims),
  transpose: (shape, x, a, b) => swap(x, a, b),
  t: (shape, x) => (shape.length < 2 ? x : swap(x, 0, 1)),
  pixel_shuffle: (shape, x, by) => {
    const [B, C, H, W] = x.shape;
    return same(shape, permute({ shape: [B, C / by ** 2, by, by, H, W], data: x.data }, [0, 1, 4, 2, 5, 3]));
  },
  pixel_unshuffle: (shape, x, by) => {
    const [B, C, H, W] = x.shape;
    return same(shape, permute({ shape: [B, C, H / by, by, W / by, by], data: x.data }, [0, 1, 3, 5, 2, 4]));
  },
  view: same, _unsafe_view: same, unsqueeze: same, squeeze: same, clone: same, alias: same, detach: same, _to_copy: same,
};
for (const [name, f] of Object.entries(OF_ONE)) OPERATORS[name] = (_, x) => apply(x, f);
for (const [name, f] of Object.entries(OF_TWO)) OPERATORS[name] = (shape, a, b) => combine(shape, a, b, f);
const chunks = (x, sizes, dim) => {
  let start = 0;
  return sizes.map((size) => {
    const count = Math.min(size, x.shape.at(dim) - start), part = slice(x, dim, start, count);
    start += size;
    return part;
  });
};
function choose(shape, mask, yes, no) {
  const [a, b] = [yes, no].map((part) => valuesIn(shape, part));
  return { shape, data: valuesIn(shape, mask).map((chosen, i) => (chosen ? a[i] : b[i])) };
}

// Base64 of a zlib stream -> its bytes.
async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).arrayBuffer();
}
function half(bits) {
  const exponent = (bits >> 10) & 31, fraction = (bits & 1023) / 1024;
  return (bits >> 15 ? -1 : 1) * (exponent ? 2 ** (exponent - 15) * (1 + fraction) : 2 ** -14 * fraction);
}
function decode(block, { at, shape, kind }) {
  const size = sizeOf(shape);
  if (kind === "float32") return { shape, data: new Float32Array(block, at, size) };
  if (kind === "float16") return { shape, data: Float32Array.from(new Uint16Array(block, at, size), half) };
  const scales = new Float32Array(block, at, shape[0]), columns = size / shape[0];
  return { shape, data: Float32Array.from(new Int8Array(block, at + 4 * shape[0], size), (v, k) => v * scales[Math.floor(k / columns)]) };
}

// A run's program with its weights, as a function of tensors.
async function programOf(run) {
  const { steps, result } = JSON.parse(new TextDecoder().decode(await unpack(run.program))), block = await unpack(run.weights);
  const weights = run.tensors.map((tensor) => decode(block, tensor));
  return (...inputs) => {
    const values = { input: inputs, weight: weights, step: [] };
    const valueOf = (part) => {
      if (Array.isArray(part)) return part.map(valueOf);
      if (!part?.kind) return part;
      const value = values[part.kind][part.index];
      return Array.isArray(value) ? value[part.part] : value;
    };
    for (const [name, shape, ...given] of steps) values.step.push(OPERATORS[name](shape, ...given.map(valueOf)));
    return valueOf(result);
  };
}
