// What a trainer shows of a flow in two dimensions: the vorticity of reference, solver and hybrid at one time, and how
// much energy each of them keeps. Needs views.js.

class FlowView extends CorrectionView {
    constructor(id, system) {
        super(id, system);
        const { cells, units } = system;
        this.at = make("span");
        this.flow = new Plot(`${id}-flow`, `Kinetic energy [(${units.u})\u00b2]`, this.time(), {});
        this.figures = [this.planes, this.error.figure, this.flow.figure];
        this.size = cells * cells;
    }

    /** Of a state, both components one after the other: at the corners of the cells, row by row from below. */
    vorticity(state) {
        const { cells: n, dx } = this.system, found = new Float32Array(this.size), v = state.subarray(this.size);
        for (let i = 0; i < n; i++)
            for (let j = 0; j < n; j++) {
                const here = i * n + j, left = (i + n - 1) % n * n + j, below = i * n + (j + n - 1) % n;
                found[j * n + i] = (v[here] - v[left] - state[here] + state[below]) / dx;
            }
        return found;
    }

    /** Mean over the box, at every step. */
    energy(field) {
        const { size } = this;
        return Array.from({ length: field.length / (2 * size) }, (_, k) =>
            field.subarray(2 * size * k, 2 * size * (k + 1)).reduce((sum, u) => sum + u * u, 0) / (2 * size));
    }

    drawFields() {
        const { result, system: { units }, size } = this, { fields, T } = result, { names } = CorrectionView;
        const shown = [fields.reference, fields.solver, fields.hybrid], row = Math.min(this.row, T - 1), unit = `1/${units.t}`;
        if (this.drawn !== result) {  // not at every picture
            this.drawn = result;
            this.energies = shown.map(field => this.energy(field));
            this.colour(Math.max(...this.vorticity(fields.reference.subarray(0, 2 * size)).map(Math.abs)), unit);
        }
        const levels = shown.map(field => this.levels(this.vorticity(field.subarray(2 * size * row, 2 * size * (row + 1)))));
        this.at.textContent = `step ${row + 1} of ${T}`;
        this.pictures.show(levels, this.system.cells, NaN, (found, most) => `vorticity at step ${row + 1} of ${T}, colours up to `
            + `${show(most)} ${unit}${found.includes(BLOWN_UP) ? ", blown up" : ""}`);
        const start = this.energies[0][0];
        const lines = this.energies.map((ys, k) => ({ name: names[k], style: [TRUTH, SOLVER, HYBRID][k],
            xs: ys.map((_, i) => i + 1), ys: ys.map(y => y <= 1.5 * start ? y : null) }));
        this.flow.y = { from: 0, to: 1.5 * start, ticks: [0, 0.5, 1].map(part => Number((part * start).toPrecision(2))) };
        this.flow.draw(lines, lines.map(({ name, ys }) =>
            `${name}: ${ys.at(-1) === null ? "too much" : show(ys.at(-1))} at the last step`).join("; "), { marks: [row + 1] });
    }

    /** The colours' scale is that of a seed: what its reference starts with. */
    colour(most, unit) {
        const scale = Number(most.toPrecision(1));
        if (this.scale === scale) return;
        this.scale = scale;
        this.pictures = planes(`Vorticity [${unit}]`, scale, CorrectionView.names, 1);
        this.pictures.figure.classList.add("square");
        this.pictures.figure.firstChild.append(this.at, this.motion.button);
        this.planes.replaceChildren(this.pictures.figure);
    }

    /** Of a state that has blown up nothing is shown, since what is left means nothing. */
    levels(found) {
        const { scale } = this;
        if (!found.every(w => Math.abs(w) <= 3 * scale)) return new Uint8Array(this.size).fill(BLOWN_UP);
        return Uint8Array.from(found, w => Math.round(LEVELS * (1 + Math.min(Math.max(w / scale, -1), 1))));
    }
}

VIEWS.flow = FlowView;
