// Random numbers and points of the plane. Data lie in the unit square, as x and y in turn.

// Uniform numbers in [0, 1): mulberry32.
function uniform(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

// One standard normal number: the Box-Muller transform.
const normal = (random) => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
const normals = (count, random) => Float64Array.from({ length: count }, () => normal(random));

// The value of a gate at (0, 0), (0, 1), (1, 0) and (1, 1).
const GATES = { AND: [0, 0, 0, 1], OR: [0, 1, 1, 1], XOR: [0, 1, 1, 0], XNOR: [1, 0, 0, 1] };

// One point of a class, 0 or 1.
const SHAPES = {
  "two moons": (random, label) => moon(Math.PI * random(), label),
  circle: (random, label) => ring(2 * Math.PI * random(), label ? 0.15 * Math.sqrt(random()) : 0.3 + 0.1 * random()),
  spiral: (random, label) => spiralArm(Math.sqrt(random()), label), // equally dense
  "XOR clouds": (random, label) => {
    const right = random() < 0.5, up = right === !label;
    return [0.25 + 0.5 * right + 0.07 * normal(random), 0.25 + 0.5 * up + 0.07 * normal(random)];
  },
};
const DISTRIBUTIONS = { ring: (random) => ring((Math.floor(8 * random()) * Math.PI) / 4, 0.35), ...SHAPES };
const DRAWN = "drawn by hand";
const NOISE = 0.015; // standard deviation around each point
const COUNTS = { train: 600, held: 200 };

const ring = (angle, radius) => [0.5 + radius * Math.cos(angle), 0.5 + radius * Math.sin(angle)];
function moon(angle, label) {
  const sign = 1 - 2 * label;
  return [0.5 + 0.25 * sign * (Math.cos(angle) - 0.5), 0.5 + 0.25 * sign * (Math.sin(angle) - 0.25)];
}
const spiralArm = (share, label) => ring(Math.PI * (2.25 * share + label), 0.42 * share);

class Points {
  xy = [];
  labels = [];

  get count() {
    return this.labels.length;
  }

  add([x, y], label, random) {
    this.xy.push(x + NOISE * normal(random), y + NOISE * normal(random));
    this.labels.push(label);
  }

  // A batch drawn with replacement.
  draw(count, random) {
    const chosen = Array.from({ length: count }, () => Math.floor(random() * this.count));
    return {
      inputs: Float64Array.from({ length: 2 * count }, (_, i) => this.xy[2 * chosen[i >> 1] + (i & 1)]),
      labels: Float64Array.from(chosen, (k) => this.labels[k]),
    };
  }

  all() {
    return { inputs: Float64Array.from(this.xy), labels: Float64Array.from(this.labels) };
  }
}

// Training and held-out points. Points drawn by hand come later.
function pointsOf(name, random) {
  const data = { name, train: new Points(), held: new Points() };
  if (name in GATES) Object.assign(data.train, { xy: [0, 0, 0, 1, 1, 0, 1, 1], labels: [...GATES[name]] });
  else if (name !== DRAWN)
    for (const [split, count] of Object.entries(COUNTS))
      for (let i = 0; i < count; i++) data[split].add(DISTRIBUTIONS[name](random, i % 2), i % 2, random);
  return data;
}
