// The static explorer: one set of controls, linked views of stored roll-outs. No kernel, no network, no dependencies.
// Every `.rollouts` element holds its data as JSON; the text of its module, common.js and this one, is the same for all
// of them, so that one hash in a page's Content-Security-Policy allows them all.

const LOOP = 5000;  // ms from the first to the last step, when they follow each other

const decoded = new Map();
function bytes(text) {
    if (!decoded.has(text)) decoded.set(text, Uint8Array.from(atob(text), letter => letter.charCodeAt(0)));
    return decoded.get(text);
}

class Explorer {
    constructor(root) {
        this.root = root;
        const data = this.data = JSON.parse(root.querySelector("script[type='application/json']").textContent);
        this.controls = [...data.controls,
            { id: "region", label: data.words.region,
              values: Object.entries(data.regions).map(([id, region]) => [id, region.text]) },
            { id: "seed", label: data.words.seed, slider: true,
              values: data.seeds.map(seed => [String(seed), String(seed)]) },
            { id: "t", label: "Step shown", slider: true,
              values: Array.from({ length: data.steps / data.every + 1 }, (_, row) => row * data.every)
                  .map(k => [String(k), `${k}, t = ${show(k * data.dt)}${data.words.time}`]) }];
        this.pictures = ["reference", data.words.solver, data.words.run];
        this.state = { ...data.start };
        this.build();
        this.restore();
        addEventListener("hashchange", () => this.restore());
    }

    build() {
        const { data, root } = this, id = name => `${root.id}-${name}`;
        this.inputs = {};
        const fields = this.controls.map(control => {
            const made = chooser(id(control.id), control, value => this.change(control, value));
            this.inputs[control.id] = made;
            made.box.hidden = control.values.length === 1;
            return made.box;
        });
        this.why = make("p", { class: "why", hidden: "" });
        this.status = make("p", { class: "status", "aria-live": "polite" });
        const { axes, words } = data;
        const quarters = [0, 1, 2, 3, 4].map(k => k * data.steps / 4);
        this.error = new Plot(id("error"), "Relative error against time",
            { from: 0, to: data.steps, label: "step", ticks: quarters }, { ...axes.error, log: true });
        const horizons = { from: data.horizons[0], to: data.horizons.at(-1), ticks: data.horizons };
        this.gradient = new Plot(id("gradient"), words.gradient,
            { ...horizons, log: true, label: "horizon [steps]" }, { ...axes.gradient, log: true });
        this.profile = new Plot(id("profile"), "State at the step shown", { from: 0, to: 1, label: words.x, ticks: [] },
            { from: -data.scale, to: data.scale, ticks: [-data.scale, 0, data.scale] });
        this.planes = planes(`${words.u}, time up`, data.scale, this.pictures);
        this.motion = motion(" the steps", LOOP * data.every / data.steps, () => this.next(), on => on || this.render());
        this.profile.figure.firstChild.append(this.motion.button);
        this.link = make("a", { class: "link" }, "Link to this view");
        this.link.hidden = !shareable(root);
        this.provenance = make("dl");
        root.append(make("div", { class: "bench" },
            make("div", { class: "panel" }, make("fieldset", {}, make("legend", {}, "Choose"), ...fields), this.why, this.status),
            make("div", { class: "views" }, this.planes.figure, this.error.figure, this.profile.figure, this.gradient.figure)),
            this.link, make("details", {}, make("summary", {}, "Where these numbers come from"), this.provenance));
    }

    /** The step after the one shown, and after the last one the first. */
    next() {
        const times = this.controls.at(-1).values.map(([value]) => value);
        this.state.t = times[(times.indexOf(this.state.t) + 1) % times.length];
        this.render();
    }

    change(control, value) {
        if (control.id === "t") this.motion.set(false);
        this.state[control.id] = value;
        this.refused = "";
        this.render();
        clearTimeout(this.pending);
        // Browsers refuse many changes of the address in a row.
        this.pending = setTimeout(() => readdress("explore", this.data.name, this.state), 150);
    }

    restore() {
        const wanted = addressed("explore")[this.data.name];
        for (const control of this.controls)
            if (wanted && control.values.some(([value]) => value === wanted[control.id]))
                this.state[control.id] = wanted[control.id];
        this.refused = wanted ? refused(wanted, this.state) : "";
        this.render();
        reveal("explore", this.data.name, this.root);
    }

    key(changed = {}) {
        return this.data.controls.map(control => ({ ...this.state, ...changed })[control.id]).join("|");
    }

    words(key) {
        return key.split("|").map((value, k) => this.data.controls[k].values.find(([v]) => v === value)[1]).join(", ");
    }

    render() {
        const { data, state } = this, [key, reason, same] = data.grid[this.key()];
        const run = data.runs[key], seed = data.seeds.map(String).indexOf(state.seed), t = Number(state.t);
        for (const control of this.controls) this.showControl(control);
        const remark = !reason ? "" : same ? `${reason} It is shown as: ${this.words(key)}.`
            : `Not run: ${reason} Shown instead: ${this.words(key)}.`;
        this.why.textContent = [this.refused, remark].filter(Boolean).join(" ");
        this.why.hidden = !this.why.textContent;
        const region = data.regions[state.region], errors = run.error[state.region], own = errors[seed];
        const [solver, still] = ["solver", "persistence"].map(name => data[name].error[state.region][0]);
        const spread = k => { const at = errors.map(e => e[k]); return [Math.min(...at), Math.max(...at)]; };
        const mean = e => e.reduce((sum, x) => sum + x, 0) / e.length;
        const at = Math.max(t, 1) - 1, [low, high] = spread(at), diverged = run.diverged[seed];
        const told = `${this.words(key)}; ${region.text}, seed ${state.seed}. `
            + `Error at step ${at + 1}: ${show(own[at])} (seeds: ${show(low)} to ${show(high)}), `
            + `${data.words.solver} ${show(solver[at])}, ${data.words.still} ${show(still[at])}. `
            + `Mean over ${data.steps} steps: ${show(mean(own))}, ${data.words.solver} ${show(mean(solver))}.`
            + (diverged >= 0 ? ` This training diverged at update ${diverged + 1}.` : "");
        if (!this.motion.on) this.status.textContent = told;  // a moving text would be read out again and again
        const steps = own.map((_, k) => k + 1);
        this.error.draw([
            { name: `${data.words.run}, seed ${state.seed}`, style: HYBRID, xs: steps, ys: own },
            { name: data.words.solver, style: SOLVER, xs: steps, ys: solver },
            { name: data.words.still, style: STILL, xs: steps, ys: still }],
        `${told} The band spans all seeds.`,
        { band: { xs: steps, low: steps.map((_, k) => spread(k)[0]), high: steps.map((_, k) => spread(k)[1]) },
          marks: [t] });
        this.renderGradient(run, seed);
        this.renderFields(run, seed, t);
        this.link.setAttribute("href", "#" + fragment("explore", data.name, state));
        this.provenance.replaceChildren(...Object.entries({ ...data.source, "This run": run.note })
            .flatMap(([term, text]) => [make("dt", {}, term), make("dd", {}, text)]));
    }

    showControl(control) {
        const { input, set } = this.inputs[control.id];
        if (!control.slider)
            control.values.forEach(([v, text], k) => {
                const [, reason, same] = this.data.grid[this.key({ [control.id]: v })];
                input.options[k].textContent = reason && !same ? `${text} (not run)` : text;
            });
        set(this.state[control.id]);
    }

    renderGradient(run, seed) {
        const { horizons } = this.data, own = run.gradient[seed];
        const all = horizons.map((_, k) => run.gradient.map(g => g[k]));
        const kept = horizons.map((_, k) => k).filter(k => all[k].every(g => g !== null));
        this.gradient.draw([{ name: `${this.data.words.run}, seed ${this.state.seed}`, style: HYBRID, xs: horizons, ys: own }],
            horizons.map((m, k) => `${m} steps: ${show(own[k])}`).join("; "),
            { band: { xs: kept.map(k => horizons[k]), low: kept.map(k => Math.min(...all[k])),
                      high: kept.map(k => Math.max(...all[k])) } });
    }

    renderFields(run, seed, t) {
        const { data, state } = this, width = data.width, row = Math.round(t / data.every);
        const fields = [data.reference.field[state.region][0], data.solver.field[state.region][0],
            run.field[state.region][seed]].map(bytes);
        const shown = (levels, scale = data.scale) => [...whole(levels, width).slice(row * width, (row + 1) * width)]
            .map(q => q === BLOWN_UP ? null : (q - LEVELS) / LEVELS * scale);
        const spoken = (levels, scale) => {
            const known = shown(levels, scale).filter(u => u !== null);
            return `${data.words.u} in space and time; at step ${t} `
                + (known.length ? `from ${show(Math.min(...known))} to ${show(Math.max(...known))}` : "blown up");
        };
        const profiles = fields.map(field => shown(field));
        this.planes.show(fields, width, row, spoken);
        const region = data.regions[state.region], end = Number(show(region.length));
        const xs = profiles[0].map((_, k) => (k + 0.5) / width * end);
        const names = ["reference", data.words.solver, `${data.words.run}, seed ${state.seed}`];
        Object.assign(this.profile.x, { to: end, ticks: [0, end / 2, end], label: `${data.words.x}; ${region.sample}` });
        this.profile.draw(profiles.map((ys, k) => ({ name: names[k], style: [TRUTH, SOLVER, HYBRID][k], xs, ys })),
            fields.map((field, k) => `${this.pictures[k]}, ${spoken(field)}`).join("; "));
    }
}

for (const root of document.querySelectorAll(".rollouts:not([data-ready])")) {
    root.setAttribute("data-ready", "");
    new Explorer(root);
}
