// What a trainer shows of a flow in two dimensions: the vorticity of reference, solver and hybrid at one time, and how
// much energy each of them keeps. Needs views.js.

class FlowView extends CorrectionView {
    constructor(id, system) {
        super(id, system);
        const { cells, units } = system;
        this.at = make("span");
        this.flow = new Plot(`${id}-flow`, `Kinetic energy [${units.u}\u00b2]`.replace("[m/s\u00b2]", "[m\u00b2/s\u00b2]"), this.time(), {});
        this.figures = [this.planes, this.error.figure, this.flow.figure];
        this.size = cells * cells;
    }

    /** Of a state, both components one after the other: at the corners of the cells, row by row from below. */
    vorticity(state) {
        const { cells: n, dx } = this.system, found = new Float32Array(this.size), v = state.subarray(this.size);
        for (let i = 0; i < n; i++)
            for (let j = 0; j < n; j++)
                found[j * n + i] = (v[i * n + j] - v[(i + n - 1) % n * n + j] - state[i * n + j] + state[i * n + (j + n - 1) % n]) / dx;
        return found;
    }

    /** Mean over the box, at every step. */
    energy(field) {
        const { size } = this;
        return Array.from({ length: field.length / (2 * size) }, (_, k) =>
            field.subarray(2 * size * k, 2 * size * (k + 1)).reduce((sum, u) => sum + u * u, 0) / (2 * size));
    }

    drawFields() {
        const { result: { fields: { reference, solver, hybrid }, T }, system: { units, cells } } = this, { names } = CorrectionView;
        const shown = [reference, solver, hybrid], row = Math.min(this.row, T - 1), unit = `1/${units.t}`;
        if (this.energyOf !== this.result) {  // not at every picture
            this.energies = shown.map(field => this.energy(field));
            this.energyOf = this.result;
        }
        const scale = Number(this.vorticity(reference.subarray(0, 2 * this.size)).reduce((most, w) => Math.max(most, Math.abs(w)), 0).toPrecision(1));
        if (this.scale !== scale) {  // of another seed
            this.pictures = planes(`Vorticity [${unit}]`, scale, names, 1);
            this.pictures.figure.classList.add("square");
            this.pictures.figure.firstChild.append(this.at, this.motion.button);
            this.planes.replaceChildren(this.pictures.figure);
            this.scale = scale;
        }
        const levels = shown.map(field => {
            const found = this.vorticity(field.subarray(2 * this.size * row, 2 * this.size * (row + 1)));
            return found.every(w => Math.abs(w) <= 3 * scale) ? Uint8Array.from(found, w => Math.round(LEVELS * (1 + Math.min(Math.max(w / scale, -1), 1))))
                : new Uint8Array(this.size).fill(BLOWN_UP);
        });
        this.at.textContent = `step ${row + 1} of ${T}`;
        this.pictures.show(levels, cells, NaN, (one, full) =>
            `vorticity at step ${row + 1} of ${T}, colours up to ${show(full)} ${unit}${one.includes(BLOWN_UP) ? ", blown up" : ""}`);
        const most = 1.5 * this.energies[0][0], xs = this.energies[0].map((_, k) => k + 1);
        const lines = this.energies.map((ys, k) => ({ name: names[k], style: [TRUTH, SOLVER, HYBRID][k], xs,
            ys: ys.map(y => y <= most ? y : null) }));
        this.flow.y = { from: 0, to: most, ticks: [0, 0.5, 1].map(part => Number((part * this.energies[0][0]).toPrecision(2))) };
        this.flow.draw(lines, lines.map(({ name, ys }) => `${name}: ${ys.at(-1) === null ? "too much" : show(ys.at(-1))} at the last step`).join("; "),
            { marks: [row + 1] });
    }
}

VIEWS.flow = FlowView;
