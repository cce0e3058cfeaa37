// What answers the page, in a Web Worker: training in slices, so that messages get through.
// Needs problems.js and SYSTEMS. Messages, from the page:
//   configure {settings: {system, coupling, m, policy, truncation, placement, noise, lr, seed}, reset, kept, run},
//   train, pause, step, reset
// and to it, each with the `run` of the last configure:
//   ready {systems, compiled}, progress {updates, losses since the last, rate [1/s], gradients: |dL/du_k|, k = 1 ... m},
//   rollout or answers (problems.js, with updates, and what could be `kept`: weights, optimiser), diverged {updates, what: "loss" or "gradient"}, error {message}
"use strict";

const SLICE = 50, PROGRESS_EVERY = 100, JUDGE_EVERY = 500; // ms
const RELIEF = 4; // a judgement that takes long comes after so many times as long, so that most time is training's
const now = () => performance.now();

class Session {
  constructor(send) {
    Object.assign(this, {running: false, settings: null});
    this.send = message => send({...message, run: this.run});
    this.send({type: "ready", compiled: COMPILED !== null, systems: mapValues(SYSTEMS, system => system.about)});
  }

  receive({type, settings, reset, kept, run}) {
    try {
      if (!["configure", "train", "pause", "step", "reset"].includes(type)) throw new Error(`unknown message ${type}`);
      if (type !== "configure" && !this.settings) throw new Error(`${type} came before configure`);
      if (type === "configure") this.run = run;
      this[type](settings, reset, kept);
    } catch (error) {
      this.running = false;
      this.send({type: "error", message: String(error.message || error)});
    }
  }

  // New data for another system or seed, new weights for another coupling too, or those that were kept of an earlier
  // visit; otherwise both stay.
  configure(settings, reset = false, kept = null) {
    const system = SYSTEMS[settings.system], model = system && system.models[settings.coupling];
    if (!model) throw new Error(`there is no ${settings.coupling} in ${settings.system}`);
    const same = (...names) => this.settings && names.every(name => this.settings[name] === settings[name]);
    if (!same("system", "seed")) {
      this.problem = new {correction: Correction, flow: Correction, inverse: Inverse}[system.about.kind](system, settings.seed);
    }
    const keep = !reset && same("system", "coupling", "seed");
    const random = keep ? this.random : new Random(settings.seed + 1000 + (kept ? kept.updates : 0));
    const training = new Training(model, settings, KERNELS, CONSTANTS, random);
    if (keep) training.resume(this.training.everything(), this.training.count);
    else {
      training.start(random);
      if (kept) training.resume(kept.values, kept.updates);
      Object.assign(this, {updates: kept ? kept.updates : 0, losses: [], diverged: false, rate: 0});
    }
    Object.assign(this, {settings: {...settings}, model, training, random});
    this.report();
  }

  reset() {
    this.configure(this.settings, true);
  }

  train() {
    if (this.running || this.diverged) return;
    this.running = true;
    this.problem.prepare();
    this.lastProgress = this.lastJudged = now();
    this.slice();
  }

  pause() {
    this.running = false;
    this.report();
  }

  step() {
    if (!this.diverged) this.update();
    this.report();
  }

  slice() {
    if (!this.running) return;
    const started = now(), before = this.updates;
    while (this.running && now() - started < SLICE) this.update();
    const rate = 1000 * (this.updates - before) / (now() - started);
    this.rate = this.rate ? 0.8 * this.rate + 0.2 * rate : rate;
    if (now() - this.lastProgress > PROGRESS_EVERY || !this.running) this.progress();
    if (now() - this.lastJudged > this.judgeAfter || !this.running) this.judge();
    setTimeout(() => this.slice(), 0);
  }

  update() {
    const loss = this.training.update(this.problem.next(this.random, this.settings.m));
    if (Number.isNaN(loss)) {
      Object.assign(this, {diverged: true, running: false});
      this.send({type: "diverged", updates: this.updates, what: this.training.overflow});
    } else {
      this.updates += 1;
      this.losses.push(loss);
    }
  }

  report() {
    this.progress();
    this.judge();
  }

  progress() {
    const {updates, rate} = this, losses = Float32Array.from(this.losses);
    const gradients = Float32Array.from(this.training.norms || times(this.settings.m, () => 0));
    this.send({type: "progress", updates, losses, rate, gradients});
    this.losses = [];
    this.lastProgress = now();
  }

  judge() {
    const started = now();
    if (this.losses.length) this.progress(); // what is kept has all its losses
    this.send({...this.problem.judge(this.model, this.training.view("weights")), updates: this.updates,
      kept: this.training.everything()});
    this.lastJudged = now();
    this.judgeAfter = Math.max(JUDGE_EVERY, RELIEF * (now() - started));
  }
}

const session = new Session(message => postMessage(message));
onmessage = ({data}) => session.receive(data);
