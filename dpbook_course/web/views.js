// What a trainer shows: the loss; for a correction roll-outs, fields and the chain's gradient; for an inverse problem
// its answers. A view has `figures`, `draw(trainer)`, and the words for its last result.

const LARGEST = 1e8;  // an axis spans at most this

const mean = values => values.reduce((sum, x) => sum + x, 0) / values.length;
const brief = x => x < 0.001 ? x.toExponential(1) : show(x);
const unit = symbol => symbol && ` [${symbol}]`;
const updates = n => `${n.toLocaleString("en-GB")} update${n === 1 ? "" : "s"}`;

/** Positive numbers at 1, 2, 3, ...: at most 200 geometric means of equally many of them. */
class Curve {
    constructor() { Object.assign(this, { every: 1, xs: [], ys: [], length: 0, sum: 0 }); }

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
        this.plot = new Plot(`${id}-loss`, "Training loss against updates", counted(0), decades([]));
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
        this.error = new Plot(`${id}-error`, "Roll-out error on unseen data", this.time(), decades([]));
        this.chain = new Plot(`${id}-chain`, "Gradient along the chain", {}, decades([]));
        this.planes = make("div");
        this.figures = [this.error.figure, this.planes, this.chain.figure];
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

    draw({ result, ghost, gradients }) {
        this.drawErrors(result, ghost);
        this.drawChain(Array.from(gradients));
        if (result) this.drawFields(result);
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

    drawFields({ fields, X }) {
        const name = `u${unit(this.system.units.u)}`, { names } = CorrectionView;
        const scale = Number(Math.max(...fields.reference.map(Math.abs)).toPrecision(1));
        if (this.scale !== scale) {  // of another seed
            const { figure, canvases } = planes(`${name} in space (right) and time (up)`, scale, names);
            this.planes.replaceChildren(figure);
            Object.assign(this, { canvases, scale });
        }
        const level = value => Math.abs(value) <= 2 * scale
            ? Math.round(LEVELS * (1 + Math.min(Math.max(value / scale, -1), 1))) : BLOWN_UP;
        [fields.reference, fields.solver, fields.hybrid].forEach((field, k) => {
            const rows = field.length / X, blown = field.some(value => level(value) === BLOWN_UP);
            paint(this.canvases[k], X, rows, (x, y) => level(field[(rows - 1 - y) * X + x]));
            this.canvases[k].setAttribute("aria-label",
                `${names[k]}, ${name} in space and time${blown ? ", blown up" : ""}`);
        });
    }
}

class InverseView {
    constructor(id, { units }) {
        const x = { from: 0, to: 1, ticks: [], label: `x${unit(units.x)}` };
        this.judged = new Plot(`${id}-judged`, "How good the answers are, on unseen data", counted(0), decades([]));
        this.answer = new Plot(`${id}-answer`, `An answer${unit(units.u)}`, x, {});
        this.effect = new Plot(`${id}-effect`, "What the answer would measure", x, {});
        this.figures = [this.judged.figure, this.answer.figure, this.effect.figure];
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
