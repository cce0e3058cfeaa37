// The problems that a page trains on: data from the exported solvers, batches, and the judgement of what was trained.
// Needs runtime.js, KERNELS, CONSTANTS.
"use strict";

const LARGEST_ERROR = 2; // relative; also for what is not a number

// Random functions as data/initial.py makes them: zero mean, mean square 1, `modes` waves, on cell centres.
function randomFourier(random, points, {modes, decay}) {
  const a = [], b = [], u = new Float32Array(points);
  for (let k = 1; k <= modes; k++) {
    a.push(random.normal() * k ** -decay);
    b.push(random.normal() * k ** -decay);
  }
  const rms = norm([...a, ...b]) / Math.SQRT2;
  for (let i = 0; i < points; i++) {
    const x = 2 * Math.PI * (i + 0.5) / points;
    for (let k = 1; k <= modes; k++) u[i] += (a[k - 1] * Math.cos(k * x) + b[k - 1] * Math.sin(k * x)) / rms;
  }
  return u;
}

// Random velocities without divergence as data/initial.py makes them: both components on the lower faces of the cells of
// a periodic box of side 1, one after another, of mean square 1 but for the differences; waves of at most `modes` per side.
function randomVelocity(random, cells, {modes}) {
  const waves = [];
  for (let p = 0; p <= modes; p++) {
    for (let q = -modes; q <= modes; q++) {
      if ((p > 0 || q > 0) && p * p + q * q <= modes * modes) waves.push([p, q, random.normal(), random.normal()]);
    }
  }
  const speed = norm(waves.flatMap(([, , a, b]) => [a, b])) / Math.SQRT2, size = cells * cells;
  const psi = new Float64Array(size), u = new Float32Array(2 * size);
  for (const [p, q, a, b] of waves) {
    const scale = 1 / (2 * Math.PI * Math.hypot(p, q) * speed);
    for (let i = 0; i < cells; i++) {
      for (let j = 0; j < cells; j++) {
        const angle = 2 * Math.PI * (p * i + q * j) / cells;
        psi[i * cells + j] += scale * (a * Math.cos(angle) + b * Math.sin(angle));
      }
    }
  }
  for (let i = 0; i < cells; i++) {
    for (let j = 0; j < cells; j++) {
      const here = psi[i * cells + j];
      u[i * cells + j] = (psi[i * cells + (j + 1) % cells] - here) * cells;
      u[size + i * cells + j] = -(psi[(i + 1) % cells * cells + j] - here) * cells;
    }
  }
  return u;
}

const times = (n, make) => Array.from({length: n}, (_, i) => make(i));
const mapValues = (object, f) => Object.fromEntries(Object.entries(object).map(([key, value]) => [key, f(value, key)]));

function flat(arrays) {
  const all = new Float32Array(arrays.length * arrays[0].length);
  arrays.forEach((array, i) => all.set(array, i * array.length));
  return all;
}

// Programs one after another as a function of the state; `parameters` are fixed.
function operator(programs, sizes, parameters = {}) {
  const made = new Operator(programs, {...sizes, ...mapValues(parameters, p => p.length)}, KERNELS, CONSTANTS);
  for (const name in parameters) made.set(name, parameters[name]);
  return made;
}

function relativeError(u, reference) {
  const error = norm(u.map((x, i) => x - reference[i])) / norm(reference);
  return error < LARGEST_ERROR ? error : LARGEST_ERROR;
}

const mean = values => sum(values) / values.length;

// A coarse solver corrected: trajectories of the reference solver, from a seed.
class Correction {
  constructor(system, seed) {
    const {data, batch, points, solver} = system, size = batch * points;
    Object.assign(this, {system, batch, points, size, seed, hybrids: new Map()});
    [this.test] = this.simulate(new Random(2 * seed + 1), 1, data.testSteps);
    this.reference = flat(this.test.states.slice(1).map(u => u.subarray(0, points)));
    const alone = operator([solver], {u: size, value: size}, this.test.parameters);
    this.alone = this.rollOut(alone);
  }

  // The data to train on, when training begins: the page has shown a roll-out before.
  prepare() {
    const {data} = this.system;
    this.train ??= this.simulate(new Random(2 * this.seed), data.lots, data.steps);
  }

  // Lots of `batch` trajectories each: {states: one array for each time, parameters}.
  simulate(random, lots, steps) {
    const {data, batch, points, reference, observe} = this.system, fineSize = batch * data.points;
    const look = observe && operator([observe], {u: fineSize, value: this.size});
    const fine = operator([reference], {u: fineSize, value: fineSize, ...mapValues(data.parameters, () => batch)});
    return times(lots, () => {
      const parameters = mapValues(data.parameters, ([low, high]) =>
        times(batch, () => low * (high / low) ** random.uniform()));
      for (const name in parameters) fine.set(name, parameters[name]);
      const start = () => data.cells ? randomVelocity(random, data.cells, data) : randomFourier(random, data.points, data);
      let u = flat(times(batch, start)).map(x => data.amplitude * x);
      const states = [];
      for (let k = -data.warmup; k <= steps; k++) {
        if (k >= 0) states.push((look ? look.apply(u) : u).slice());
        for (let i = 0; i < data.substeps && k < steps; i++) u = fine.apply(u);
      }
      return {states, parameters};
    });
  }

  // Windows of m steps, every sample from its own place.
  next(random, m) {
    this.prepare();
    const {batch, points, size, train, system} = this;
    const u0 = new Float32Array(size), reference = times(m, () => new Float32Array(size));
    const parameters = mapValues(system.data.parameters, () => []);
    for (let b = 0; b < batch; b++) {
      const {states, parameters: own} = train[random.below(train.length)], row = random.below(batch);
      const start = random.below(states.length - m);
      const at = k => states[start + k].subarray(row * points, (row + 1) * points);
      u0.set(at(0), b * points);
      reference.forEach((target, k) => target.set(at(k + 1), b * points));
      for (const name in parameters) parameters[name].push(own[name][row]);
    }
    return {u0, reference, parameters};
  }

  // Relative errors per step, mean over the batch, and the field of the first sample.
  rollOut(step) {
    const {batch, points, test: {states}} = this, steps = states.length - 1;
    const errors = new Float32Array(steps), field = new Float32Array(steps * points);
    let u = states[0];
    for (let k = 0; k < steps; k++) {
      u = step.apply(u);
      field.set(u.subarray(0, points), k * points);
      const row = (array, b) => array.subarray(b * points, (b + 1) * points);
      errors[k] = mean(times(batch, b => relativeError(row(u, b), row(states[k + 1], b))));
    }
    return {errors, field};
  }

  judge(model, weights) {
    const {hybrids, size, test} = this;
    if (!hybrids.has(model)) {
      const parameters = mapValues(model.parameters, (_, name) => test.parameters[name]);
      hybrids.set(model, operator(model.operators.map(({program}) => program), {u: size, value: size},
        {weights, ...parameters}));
    }
    const hybrid = hybrids.get(model);
    hybrid.set("weights", weights);
    const {errors, field} = this.rollOut(hybrid);
    return {type: "rollout", errors: {hybrid: errors, solver: this.alone.errors}, T: errors.length, X: this.points,
      fields: {reference: this.reference.slice(), solver: this.alone.field, hybrid: field},
      ratio: mean(errors) / mean(this.alone.errors)};
  }
}

// A sensor that is blind to the sign: from what it sees, find the state.
class Inverse {
  constructor(system, seed) {
    const {batch, points, measure, start, data} = system, size = batch * points, {parameters} = data;
    Object.assign(this, {system, batch, points, size, parameters, networks: new Map()});
    this.measure = operator([measure], {u: size, value: size}, parameters);
    this.start = operator([start], {u: size, value: size, sign: batch});
    this.test = this.draw(new Random(2 * seed + 1));
  }

  draw(random) {
    const {batch, points, system: {data}} = this;
    this.start.set("sign", times(batch, () => random.uniform() < 0.5 ? -1 : 1));
    const truth = this.start.apply(flat(times(batch, () => randomFourier(random, points, data)))).slice();
    return {truth, observation: this.measure.apply(truth).slice()};
  }

  prepare() {}

  next(random) {
    const {truth, observation} = this.draw(random);
    return {u0: observation, reference: [truth], parameters: this.parameters};
  }

  judge(model, weights) {
    const {size, points, batch, networks, test: {truth, observation}} = this;
    if (!networks.has(model)) {
      networks.set(model, operator([model.operators[0].program], {u: size, value: size}, {weights}));
    }
    const network = networks.get(model);
    network.set("weights", weights);
    const answer = network.apply(observation).slice(), explained = this.measure.apply(answer).slice();
    const row = (array, b) => array.slice(b * points, (b + 1) * points);
    const to = (sign, b) => relativeError(row(answer, b).map(x => sign * x), row(truth, b));
    const nearest = b => Math.min(to(1, b), to(-1, b));
    return {type: "answers", X: points, distance: mean(times(batch, nearest)),
      misfit: mean(times(batch, b => relativeError(row(explained, b), row(observation, b)))),
      fields: mapValues({observation, truth, answer, explained}, array => row(array, 0))};
  }
}
