// What a trainer shows: the loss; for a correction roll-outs, fields and the chain's gradient; for an inverse problem
// its answers. A view has `figures`, those that come `last`, `draw(trainer)`, the words for its result, and what moves.

const LARGEST = 1e8;  // an axis spans at most this
const LOOP = 5000, WAIT = 10;  // ms that a flow takes from its start to its end, and pictures for which it stays there

const mean = values => values.reduce((sum, x) => sum + x, 0) / values.length;
const brief = x => x < 0.001 ? x.toExponential(1) : show(x);
const unit = symbol => symbol && ` [${symbol}]`;
const updates = n => `${n.toLocaleString("en-GB")} update${n === 1 ? "" : "s"}`;

/** Positive numbers at 1, 2, 3, ...: at most 200 geometric means of equally many of them. */
class Curve {
    constructor(known = {}) { Object.assign(this, { every: 1, xs: [], ys: [], length: 0, sum: 0 }, known); }

    copy() { return { ...this, xs: [...this.xs], ys: [...this.ys] }; }

    add(value) {
        this.length += 1;
        this.sum += Math.log(value);
        if (this.length % this.every && Number.isFinite(value)) return;
        this.xs.push(this.length);
        this.ys.push(Number.isFinite(value) ? Math.exp(this.sum / this.every) : Infinity);
        this.sum = 0;
        if (this.xs.length < 200) return;
        this.every *= 2;
        this.xs = this.xs.filter((_, k) => k % 2);
        this.ys = this.xs.map((_, k) => Math.sqrt(this.ys[2 * k] * this.ys[2 * k + 1]));
    }
}

/** A logarithmic axis of whole decades around the numbers. */
function decades(values) {
    const found = values.filter(x => x > 0 && Number.isFinite(x));
    if (!found.length) return { from: 0.01, to: 1, log: true };
    const low = Math.min(...found), high = Math.min(Math.max(...found), LARGEST * low);
    const from = Math.floor(Math.log10(low)), to = Math.max(Math.ceil(Math.log10(high) + 1e-9), from + 2);
    return { from: Number(`1e${from}`), to: Number(`1e${to}`), log: true };
}

/** An axis from 0 to a round number of updates. */
function counted(length) {
    const power = 10 ** Math.floor(Math.log10(Math.max(length, 100)));
    const to = [1, 2, 5, 10].map(k => k * power).find(end => end >= length);
    return { from: 0, to, ticks: [0, to / 2, to], label: "updates" };
}

class LossView {
    constructor(id) {
        this.plot = new Plot(`${id}-loss`, "Training loss", counted(0), decades([]));
        this.figures = [this.plot.figure];
    }

    draw({ losses, ghost, changes, updates: done }) {
        const { plot } = this, old = ghost?.losses, { ys } = losses;
        plot.x = counted(Math.max(done, old ? old.length : 0));
        plot.y = decades([...ys, ...(old ? old.ys : [])]);
        const lines = [{ name: "this run", style: HYBRID, xs: losses.xs, ys }];
        if (old) lines.push({ name: "run before", style: STILL, xs: old.xs, ys: old.ys });
        plot.draw(lines, ys.length ? `from ${brief(ys[0])} to ${brief(ys.at(-1))} over ${updates(done)}`
            + (changes.length ? "; dotted lines: choices changed" : "") : "no updates yet", { marks: changes });
    }
}

const told = norm => norm === 0 ? "no gradient" : Number.isFinite(norm) ? brief(norm) : "not finite";

class CorrectionView {
    static names = ["reference", "solver alone", "hybrid"];

    constructor(id, system) {
        this.system = system;
        this.row = 0;
        const { units: { x, u } } = system;
        this.motion = motion(" the flow", Math.max(60, LOOP / system.T), () => this.next());
        this.flow = new Plot(`${id}-flow`, `The flow${unit(u)}`, { from: 0, to: 1, ticks: [], label: `x${unit(x)}` }, {});
        this.flow.figure.firstChild.append(this.motion.button);
        this.error = new Plot(`${id}-error`, "Roll-out error, unseen", this.time(), decades([]));
        this.chain = new Plot(`${id}-chain`, "Gradient along the chain", {}, decades([]));
        this.planes = make("div", { class: "wide" });
        this.figures = [this.planes, this.error.figure, this.flow.figure];
        this.last = [this.chain.figure];
    }

    time() {
        const { T, dt, units } = this.system, ticks = [0, 1, 2, 3, 4].map(k => k * T / 4);
        return { from: 0, to: T, ticks, label: `step; one step is ${show(dt)}${units.t && ` ${units.t}`}` };
    }

    words({ errors }) {
        const hybrid = mean(errors.hybrid), solver = mean(errors.solver);
        return `mean roll-out error ${show(hybrid)}, ${Number((100 * hybrid / solver).toPrecision(2))} % of the solver's `
            + show(solver);
    }

    /** What stays of a run as a ghost. */
    kept({ errors }) { return Array.from(errors.hybrid); }

    draw({ result, ghost, gradients, state }) {
        this.drawErrors(result, ghost);
        this.chain.figure.hidden = state.m === "1";  // no chain
        this.drawChain(Array.from(gradients));
        if (!result) return;
        this.result = result;
        this.drawFields();
    }

    drawErrors(result, ghost) {
        const named = { hybrid: HYBRID, "solver alone": SOLVER }, lines = [];
        if (result) Object.entries({ hybrid: result.errors.hybrid, "solver alone": result.errors.solver })
            .forEach(([name, ys]) => lines.push({ name, style: named[name], ys: Array.from(ys) }));
        if (ghost) lines.push({ name: `before: ${updates(ghost.updates)}`, style: STILL, ys: ghost.kept });
        for (const line of lines) line.xs = line.ys.map((_, k) => k + 1);
        this.error.y = { ...decades(lines.flatMap(line => line.ys)), to: 2 };
        this.error.draw(lines, lines.map(({ name, ys }) => `${name}: ${brief(ys[0])} at the first step, `
            + `${brief(ys.at(-1))} at the last`).join("; ") + (ghost ? `. Before: ${ghost.words}` : ""));
    }

    drawChain(norms) {
        const steps = norms.map((_, k) => k + 1), last = Math.max(norms.length, 2);
        this.chain.x = { from: 1, to: last, label: "step of the chain", ticks: steps.filter(k => last < 9 || k % 2) };
        this.chain.y = decades(norms);
        const finite = norms.some(norm => norm > 0 && norm < Infinity) || !norms.some(norm => norm !== 0);
        // A cut leaves 0, and there is no gradient to draw; beside finite ones, what overflowed is drawn at the top.
        const ys = norms.map(norm => norm === 0 || !finite ? null : Number.isFinite(norm) ? norm : Infinity);
        const name = finite ? "|dL / du|, this update" : "|dL / du|: no finite number in this update";
        this.chain.draw([{ name, style: HYBRID, xs: steps, ys, dots: true }],
            steps.map(k => `step ${k}: ${told(norms[k - 1])}`).join("; "));
    }

    /** The next time; at the end it waits a little and begins again. */
    next() {
        if (!this.result) return;
        this.row = this.row >= this.result.T - 1 + WAIT ? 0 : this.row + 1;
        this.drawFields();
    }

    drawFields() {
        const { result: { fields, X, T }, system: { units } } = this, name = `u${unit(units.u)}`, { names } = CorrectionView;
        const scale = Number(Math.max(...fields.reference.map(Math.abs)).toPrecision(1));
        if (this.scale !== scale) {  // of another seed
            this.pictures = planes(`${name}, time up`, scale, names);
            this.planes.replaceChildren(this.pictures.figure);
            this.scale = scale;
        }
        const level = value => Math.abs(value) <= 2 * scale
            ? Math.round(LEVELS * (1 + Math.min(Math.max(value / scale, -1), 1))) : BLOWN_UP;
        const row = Math.min(this.row, T - 1), shown = [fields.reference, fields.solver, fields.hybrid];
        this.pictures.show(shown.map(field => Uint8Array.from(field, level)), X, this.motion.on || row ? row : NaN,
            levels => `${name} in space and time${levels.includes(BLOWN_UP) ? ", blown up" : ""}`);
        const xs = Array.from({ length: X }, (_, k) => (k + 0.5) / X);
        const lines = shown.map((field, k) => {
            const ys = Array.from(field.subarray(row * X, (row + 1) * X));
            return { name: names[k], style: [TRUTH, SOLVER, HYBRID][k], xs, ys: ys.some(y => !(Math.abs(y) <= 2 * scale)) ? ys.map(() => null) : ys };
        });
        this.flow.y = { from: -1.2 * scale, to: 1.2 * scale, ticks: [-scale, 0, scale] };
        this.flow.draw(lines, `The states at step ${row + 1} of ${T}`);
    }
}

class InverseView {
    constructor(id, { units }) {
        const x = { from: 0, to: 1, ticks: [], label: `x${unit(units.x)}` };
        this.judged = new Plot(`${id}-judged`, "Answers, on unseen data", counted(0), decades([]));
        this.answer = new Plot(`${id}-answer`, `An answer${unit(units.u)}`, x, {});
        this.effect = new Plot(`${id}-effect`, "What the answer would measure", x, {});
        this.figures = [this.judged.figure, this.answer.figure, this.effect.figure];
        this.last = [];
    }

    words({ distance, misfit }) {
        return `distance to the nearest right answer ${show(distance)}, misfit of what it would measure ${show(misfit)}`;
    }

    kept() { return this.past; }

    draw({ result, ghost, updates: done }) {
        if (!done) this.past = { xs: [], distance: [], misfit: [] };
        const { past } = this, { xs, distance, misfit } = past;
        if (result && result.updates !== xs.at(-1)) {
            xs.push(result.updates);
            distance.push(result.distance);
            misfit.push(result.misfit);
        }
        const lines = [{ name: "distance", style: HYBRID, xs, ys: distance },
                       { name: "misfit", style: SOLVER, xs, ys: misfit }];
        if (ghost) lines.push({ name: "distance before", style: STILL, xs: ghost.kept.xs, ys: ghost.kept.distance });
        this.judged.x = counted(Math.max(done, ghost ? ghost.updates : 0));
        this.judged.y = decades(lines.flatMap(line => line.ys));
        this.judged.draw(lines, result ? this.words(result) : "no updates yet");
        if (result) this.drawAnswer(result.fields);
    }

    drawAnswer({ truth, answer, observation, explained }) {
        const mirrored = truth.map(u => -u);
        this.profile(this.answer, { "right": [TRUTH, truth], "also right": [STILL, mirrored], "answer": [HYBRID, answer] });
        this.profile(this.effect, { "measured": [TRUTH, observation], "by the answer": [HYBRID, explained] });
    }

    profile(plot, named) {
        const lines = Object.entries(named).map(([name, [style, values]]) => ({ name, style, ys: Array.from(values),
            xs: Array.from(values, (_, k) => (k + 0.5) / values.length) }));
        const size = Math.ceil(Math.max(...lines[0].ys.map(Math.abs)) + 0.5), low = Math.min(...lines[0].ys, ...lines[1].ys);
        plot.y = { from: low < 0 ? -size : 0, to: size, ticks: [...(low < 0 ? [-size] : []), 0, size] };
        plot.draw(lines, lines.map(({ name, ys }) => `${name}: from ${show(Math.min(...ys))} to `
            + show(Math.max(...ys))).join("; "));
    }
}

const VIEWS = { correction: CorrectionView, inverse: InverseView };
