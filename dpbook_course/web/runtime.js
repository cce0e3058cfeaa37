// What the exported programs run on: one array, kernels on places in it, and the chain of operators with its gradient.
// The chain does what rollout.py, gradients.py, losses.py and objectives.py do. No page, no worker, no timer in here.
"use strict";

const RESERVED = 16384; // numbers at the start of the array that compiled kernels keep for themselves

class Memory {
  // Compiled kernels, where there are any, compute with four bytes a number only.
  constructor(kernels, constants, ArrayType = Float32Array) {
    const compiled = ArrayType === Float32Array && COMPILED;
    Object.assign(this, {kernels, constants, ArrayType, compiled, size: compiled ? RESERVED : 0});
    this.constantsAt = this.place(constants.length);
  }

  // Room for so many numbers, used once `create` has been called.
  place(size) {
    const at = this.size;
    this.size += size;
    return at;
  }

  create() {
    if (this.compiled) {
      const memory = new WebAssembly.Memory({initial: Math.ceil(this.size / RESERVED)}); // pages of so many numbers
      this.fast = new WebAssembly.Instance(this.compiled, {env: {memory}}).exports;
      this.array = new Float32Array(memory.buffer);
    } else this.array = new this.ArrayType(this.size);
    this.array.set(this.constants, this.constantsAt);
  }

  view(at, size) {
    return this.array.subarray(at, at + size);
  }

  // One part of a program as a function; `places` says where its regions lie.
  bind(program, part, places) {
    const {first, second} = program, calls = part === "first" ? first : second, steps = [];
    const at = program.regions.map(name => name === "constants" ? this.constantsAt : places[name]);
    for (let c = 0; c < calls.length;) {
      const fast = this.fast && this.fast[`k${calls[c]}`], kernel = this.kernels[calls[c++]], args = [];
      for (let n = kernel.length - 1; n > 0; n--, c += 2) {
        if (at[calls[c]] === undefined) throw new Error(`no place for ${program.regions[calls[c]]}`);
        args.push(at[calls[c]] + calls[c + 1]);
      }
      steps.push(fast ? fast.bind(null, ...args.map(a => 4 * a)) : kernel.bind(null, this.array, ...args));
    }
    return () => { for (const step of steps) step(); };
  }
}

const sum = values => values.reduce((a, b) => a + b, 0);
const norm = values => Math.sqrt(values.reduce((a, b) => a + b * b, 0));

// A whole number from a seed -> independent numbers, evenly from 0 to 1 (mulberry32) or normal (Box and Muller).
class Random {
  constructor(seed) {
    this.state = Math.imul(seed + 1, 0x9E3779B9) >>> 0;
  }

  uniform() {
    this.state = (this.state + 0x6D2B79F5) >>> 0;
    let x = Math.imul(this.state ^ this.state >>> 15, this.state | 1);
    x ^= x + Math.imul(x ^ x >>> 7, x | 61);
    return ((x ^ x >>> 14) >>> 0) / 4294967296;
  }

  normal() {
    return Math.sqrt(-2 * Math.log(1 - this.uniform())) * Math.cos(2 * Math.PI * this.uniform());
  }

  below(n) {
    return Math.floor(n * this.uniform());
  }
}

// An exported model that trains: its weights, and one update for a batch.
class Training {
  // settings: m, policy, truncation, placement, noise, lr. random: where noise comes from.
  constructor(model, settings, kernels, constants, random, ArrayType) {
    Object.assign(this, {model, settings, random, count: 0});
    this.size = model.batch * model.shape.reduce((a, b) => a * b);
    this.memory = new Memory(kernels, constants, ArrayType);
    this.numWeights = sum(model.weights.map(([size]) => size));
    this.layOut();
    this.memory.create();
    this.connect();
  }

  layOut() {
    const {model, memory, size, numWeights} = this, {m} = this.settings, place = n => memory.place(n);
    const at = this.at = {};
    for (const name of ["weights", "mean", "square", "gradient", "gw"]) at[name] = place(numWeights);
    for (const name of ["lr", "count", "norm", "loss"]) at[name] = place(1);
    at.parameters = this.placeParameters();
    at.zero = place(size);
    at.g = [place(size), place(size)];
    at.stepWeights = place(m);
    at.target = [];
    at.states = []; // at[k]: what enters the operators of step k, in turn, and what leaves the last
    at.kept = [];
    for (let k = 0; k < m; k++) {
      at.target.push(place(size));
      // What leaves a step enters the next; noise, if any, goes on a copy.
      const start = k === 0 ? place(size) : this.settings.noise > 0 ? place(size) : at.states[k - 1].at(-1);
      at.states.push([start, ...model.operators.map(() => place(size))]);
      at.kept.push(model.operators.map(({program}) => place(program.kept)));
    }
    const programs = [model.metric, model.update, ...model.operators.map(({program}) => program)];
    at.scratch = place(Math.max(...programs.map(({scratch}) => scratch)));
  }

  placeParameters() {
    return Object.fromEntries(Object.entries(this.model.parameters).map(([name, n]) => [name, this.memory.place(n)]));
  }

  // All programs at their places, for every step.
  connect() {
    const {model, memory, at} = this, {m} = this.settings;
    const common = {scratch: at.scratch, weights: at.weights, ...at.parameters};
    this.steps = at.states.map((states, k) => model.operators.map(({program}, i) => {
      const places = {...common, kept: at.kept[k][i], u: states[i], value: states[i + 1], gw: at.gw};
      const back = [0, 1].map(side => memory.bind(program, "second", {...places, g: at.g[side], gu: at.g[1 - side]}));
      return {forward: memory.bind(program, "first", places), back};
    }));
    this.metric = at.states.map((states, k) => ["zero", 0, 1].map(side => memory.bind(model.metric, "first", {
      ...common, u: states.at(-1), target: at.target[k], weight: at.stepWeights + k, loss: at.loss,
      g: side === "zero" ? at.zero : at.g[side], gu: at.g[side === "zero" ? 0 : 1 - side]})));
    this.optimise = memory.bind(model.update, "first", {...common, ...at, gw: at.gradient});
    const placement = this.settings.policy === "pushforward" ? "final" : this.settings.placement;
    memory.view(at.stepWeights, m).forEach((_, k, weights) => {
      weights[k] = placement === "every" ? 1 / m : Number(k === m - 1);
    });
  }

  view(name, size = this.numWeights) {
    return this.memory.view(this.at[name], size);
  }

  // Normal numbers of each tensor's size, as exported.
  start(random) {
    let i = 0;
    const weights = this.view("weights");
    for (const [size, scale] of this.model.weights) {
      for (let n = 0; n < size; n++) weights[i++] = scale * random.normal();
    }
    this.view("mean").fill(0);
    this.view("square").fill(0);
    this.count = 0;
  }

  // Weights and the optimiser's memory, one after another.
  everything() {
    const n = this.numWeights, values = new Float32Array(3 * n);
    ["weights", "mean", "square"].forEach((name, k) => values.set(this.view(name), k * n));
    return values;
  }

  // Go on from there, after so many updates.
  resume(values, count) {
    const n = this.numWeights;
    if (values.length !== 3 * n) throw new Error(`${values.length} numbers were kept; this network needs ${3 * n}`);
    ["weights", "mean", "square"].forEach((name, k) => this.view(name).set(values.slice(k * n, (k + 1) * n)));
    this.count = count;
  }

  // batch: u0 (size), reference (m arrays of that size, or none), parameters {name: numbers}.
  load({u0, reference, parameters}) {
    const {memory, at, size, model} = this;
    memory.view(at.states[0][0], size).set(u0);
    at.target.forEach((place, k) => memory.view(place, size).set(model.targets === "input" ? u0 : reference[k]));
    for (const [name, n] of Object.entries(model.parameters)) memory.view(at.parameters[name], n).set(parameters[name]);
  }

  forward() {
    const {memory, at, size, random} = this, {noise, m} = this.settings;
    for (let k = 0; k < m; k++) {
      const states = at.states[k];
      if (noise > 0) {
        const u = memory.view(states[0], size);
        if (k > 0) u.set(memory.view(at.states[k - 1].at(-1), size));
        for (let i = 0; i < size; i++) u[i] += noise * random.normal();
      }
      for (const operator of this.steps[k]) operator.forward();
    }
  }

  // The loss; leaves its gradient in "gradient" and the norms of dL/du_k, k = 1 ... m, in `norms`.
  backward() {
    const {memory, at, size, model} = this, {m, policy, truncation} = this.settings;
    const total = this.view("gradient"), part = this.view("gw"), weights = memory.view(at.stepWeights, m);
    let side = "zero", loss = 0; // side: which of the two places holds dL/d(state); "zero": no gradient arrives
    total.fill(0);
    this.norms = new Float32Array(m);
    for (let k = m - 1; k >= 0; k--) {
      if (weights[k] > 0) {
        this.metric[k][side === "zero" ? 0 : side + 1]();
        loss += memory.array[at.loss];
        side = side === "zero" ? 0 : 1 - side;
      }
      if (policy === "pushforward" && k < m - 1) side = "zero"; // the earlier steps build no graph
      if (side !== "zero") this.norms[k] = norm(memory.view(at.g[side], size));
      for (let i = model.operators.length - 1; i >= 0 && side !== "zero"; i--) {
        const {trained, solver} = model.operators[i];
        if (policy === "cut" && solver) {
          side = "zero";
          break;
        }
        this.steps[k][i].back[side]();
        side = 1 - side;
        if (trained) for (let n = 0; n < total.length; n++) total[n] += part[n];
      }
      if (policy === "truncated" && k > 0 && k % truncation === 0) side = "zero";
    }
    return loss;
  }

  // One update; its loss. If that or the gradient is not finite: NaN, what it was in `overflow`, weights as they were.
  update(batch) {
    this.load(batch);
    this.forward();
    const loss = this.backward();
    this.overflow = !Number.isFinite(loss) ? "loss" : !this.view("gradient").every(Number.isFinite) ? "gradient" : "";
    if (this.overflow) return NaN;
    this.count += 1;
    this.memory.array[this.at.lr] = this.settings.lr;
    this.memory.array[this.at.count] = this.count;
    this.optimise();
    return loss;
  }
}

// Programs one after another, without a gradient: `value = ...(u, ...parameters)`, or the operators of a model.
class Operator {
  // sizes: of the regions u and value, and of those that the programs take besides (parameters, weights).
  constructor(programs, sizes, kernels, constants, ArrayType) {
    this.memory = new Memory(kernels, constants, ArrayType);
    this.sizes = sizes;
    this.at = Object.fromEntries(Object.entries(sizes).map(([name, n]) => [name, this.memory.place(n)]));
    const scratch = this.memory.place(Math.max(...programs.map(p => p.scratch)));
    const kept = this.memory.place(Math.max(...programs.map(p => p.kept)));
    const between = programs.slice(1).map(() => this.memory.place(sizes.u));
    this.memory.create();
    const states = [this.at.u, ...between, this.at.value];
    this.parts = programs.map((program, i) => this.memory.bind(program, "first", {
      ...this.at, scratch, kept, u: states[i], value: states[i + 1]}));
  }

  set(name, values) {
    this.memory.view(this.at[name], this.sizes[name]).set(values);
  }

  // The state after the operator; a view that the next call overwrites.
  apply(u) {
    this.set("u", u);
    for (const part of this.parts) part();
    return this.memory.view(this.at.value, this.sizes.value);
  }
}

// The bytes of a base64 text.
function decoded(text) {
  return Uint8Array.from(atob(text), c => c.charCodeAt(0)).buffer;
}

// The numbers at these places of a table.
function lookedUp(table, places) {
  return Float32Array.from(places, k => table[k]);
}

// Null if there are none, or if the page's policy or an old browser forbids them: then JavaScript does the same.
function compiled(text) {
  try {
    return text ? new WebAssembly.Module(decoded(text)) : null;
  } catch {
    return null;
  }
}
