// The comparison of stored rows: all of them for a measure, and the ratio of two, paired by seed. Needs paired.js.

const SAID = { "as claimed": "smaller", "the other way": "larger", "no difference": "no difference within 5 %",
    undecided: "undecided, which does not say that they are equal", "": `not read, because ${MIN_SEEDS} are needed` };

/** Places for labels between the ends of a logarithmic axis, about as many as fit. */
function marks({ from, to }, most) {
    const lowest = Math.floor(Math.log10(from)), powers = Array.from({ length: Math.ceil(Math.log10(to)) - lowest + 1 }, (_, k) => lowest + k);
    const inside = digits => powers.flatMap(k => digits.map(digit => Number(`${digit}e${k}`))).filter(x => from <= x && x <= to);
    const found = [[1, 1.5, 2, 3, 5, 7], [1, 2, 5], [1, 3], [1]].map(inside).find(one => one.length <= most) || inside([1]);
    if (found.length > 1) return found.filter((_, k) => k % Math.ceil(found.length / most) === 0);
    const step = 10 ** Math.floor(Math.log10((to - from) / 2)), wide = step * ([1, 2, 5].find(n => (to - from) / step / n <= most) || 10);
    return Array.from({ length: most }, (_, k) => Number(((Math.ceil(from / wide) + k) * wide).toPrecision(6))).filter(x => x <= to);
}

/** Rows of dots, one for each seed, with their mean and its interval, over a logarithmic axis; a click chooses a row. */
class Dots extends Plot {
    constructor(id, title, chosen = null) {
        super(id, title, { log: true });
        this.chosen = chosen;
    }

    draw(rows, axis, description) {
        this.drawn = [rows, axis, description];
        const known = rows.flatMap(row => finite([...row.points, ...row.mean])).concat(axis.lines || []);
        const [low, high] = [Math.min(...known), Math.max(...known)], room = (high / low) ** 0.04 * 1.005;
        Object.assign(this.x, { from: low / room, to: high * room });
        const longest = 6.8 * (3 + Math.max(...rows.map(row => row.name.length))), beside = longest < this.width / 2;
        const step = beside ? 18 : 34, bottom = 6 + step * rows.length;
        Object.assign(this, { left: beside ? 8 + longest : 8, height: bottom + 36 });
        this.svg.setAttribute("viewBox", `0 0 ${this.width} ${this.height}`);
        this.description.textContent = description;
        const text = (x, y, anchor, words) => make("svg:text", { x, y, "text-anchor": anchor }, words);
        const right = this.width - this.right, parts = [this.heading, this.description];
        for (const x of marks(this.x, Math.max(2, Math.floor((right - this.left) / 60)))) {
            parts.push(make("svg:path", { class: "rule", d: `M${this.px(x)},4V${bottom}` }));
            parts.push(text(Math.min(this.px(x), right - 12), bottom + 14, "middle", x >= 1e4 || x < 1e-3 ? x.toExponential().replace("+", "") : String(x)));
        }
        for (const x of axis.lines || []) parts.push(make("svg:path", { class: "now", d: `M${this.px(x)},4V${bottom}` }));
        parts.push(make("svg:path", { class: "axis", d: `M${this.left},${bottom}H${right}` }));
        parts.push(text((this.left + right) / 2, bottom + 31, "middle", axis.label));
        rows.forEach((row, k) => {
            const y = 6 + step * (k + 1) - 9, style = { A: HYBRID, B: SOLVER }[row.side] || TRUTH, [mean, ...ends] = row.mean;
            const group = make("svg:g", { class: `row ${row.side}` }), drawn = make("svg:g", { style: `color: ${style.colour}` });
            drawn.append(make("svg:rect", { class: "ground", x: 0, y: y - step + 9, width: this.width, height: step }));
            for (const x of finite(row.points))
                drawn.append(row.side === "B" ? make("svg:rect", { class: "dot", x: this.px(x) - 3, y: y - 3, width: 6, height: 6 })
                    : make("svg:circle", { class: "dot", cx: this.px(x), cy: y, r: 3.2 }));
            if (mean > 0) {
                const [from, to] = ends.map(x => this.px(x > 0 ? x : mean));
                drawn.append(make("svg:path", { class: "line", stroke: "currentColor", d: `M${from},${y}H${to}M${this.px(mean)},${y - 7}v14` }));
            }
            const label = row.side && this.chosen ? `${row.side}: ${row.name}` : row.name;
            group.append(drawn, beside ? text(this.left - 6, y + 4, "end", label) : text(2, y - 9, "start", label));
            if (this.chosen) group.addEventListener("click", () => this.chosen(row));
            parts.push(group);
        });
        this.svg.replaceChildren(...parts);
    }
}

class Comparison {
    constructor(root) {
        this.root = root;
        this.data = JSON.parse(root.querySelector("script[type='application/json']").textContent);
        this.state = { ...this.data.start };
        this.build();
        this.restore();
        addEventListener("hashchange", () => this.restore());
    }

    build() {
        const { data, root } = this, id = name => `${root.id}-${name}`;
        const names = [...new Set(data.rows.map(row => row.name))].map(name => [name, name]);
        const controls = { measure: { label: "Measure", values: data.measures.map(([name]) => [name, name]) },
            budget: { label: "Budget", values: data.budgets }, a: { label: "A", values: names }, b: { label: "B", values: names } };
        this.inputs = Object.fromEntries(Object.entries(controls).map(([key, control]) =>
            [key, chooser(id(key), control, value => this.change({ [key]: value }))]));
        this.inputs.budget.box.hidden = data.budgets.length === 1;
        this.words = make("input", { type: "search", id: id("rows"), placeholder: "a word" });
        this.words.addEventListener("input", () => this.change({ rows: this.words.value }));
        this.why = make("p", { class: "why", hidden: "" });
        this.meaning = make("p", { class: "meaning" });
        this.status = make("p", { class: "status", "aria-live": "polite" });
        this.ratio = new Dots(id("ratio"), "A divided by B, seed by seed");
        this.all = new Dots(id("all"), "All rows: a click makes one A, and what was A becomes B",
            row => row.side !== "A" && this.change({ a: row.key, b: this.state.a }));
        this.table = make("table");
        this.link = make("a", { class: "link" }, "Link to this view");
        this.link.hidden = !shareable(root);
        const source = Object.entries(data.source).flatMap(([term, text]) => [make("dt", {}, term), make("dd", {}, text)]);
        const { measure, budget, a, b } = this.inputs, more = (title, ...parts) => make("details", {}, make("summary", {}, title), ...parts);
        root.append(make("div", { class: "bench" },
            make("div", { class: "panel" }, make("fieldset", {}, make("legend", {}, "Choose"), measure.box, budget.box, a.box, b.box,
                make("div", {}, make("label", { for: id("rows") }, "Show rows with"), this.words)), this.meaning, this.why, this.status),
            make("div", { class: "views" }, this.ratio.figure, this.all.figure)),
            this.link, more("All numbers", this.table), more("Where these numbers come from, and how they are read", make("dl", {}, ...source)));
    }

    change(values) {
        Object.assign(this.state, values);
        this.refused = "";
        this.render();
        clearTimeout(this.pending);
        this.pending = setTimeout(() => readdress("compare", this.data.name, this.state), 150);
    }

    restore() {
        const { data } = this, wanted = addressed("compare")[data.name];
        const offered = { measure: data.measures, budget: data.budgets, a: data.rows.map(row => [row.name]), b: data.rows.map(row => [row.name]) };
        for (const [key, value] of Object.entries(wanted || {}))
            if (key === "rows" || (offered[key] || []).some(([one]) => one === value)) this.state[key] = value;
        this.refused = wanted ? refused(wanted, this.state) : "";
        this.render();
        reveal("compare", data.name, this.root);
    }

    render() {
        const { data, state } = this, measure = data.measures.findIndex(([name]) => name === state.measure);
        const rows = data.budgets.find(([key]) => key === state.budget)[2].map(k => data.rows[k]).filter(row => row.values[measure]);
        const means = new Map(rows.map(row => [row, meanOf(row, measure, data)]));
        rows.sort((p, q) => means.get(p)[0] - means.get(q)[0]);
        const remarks = [this.refused];
        for (const [side, other] of ["ab", "ba"]) {
            if (rows.some(row => row.name === state[side])) continue;
            const instead = (rows.find(row => row.name !== state[other]) || rows[0]).name;
            remarks.push(`${state[side]} has no such numbers; ${side.toUpperCase()} is now ${instead}.`);
            state[side] = instead;
        }
        const [a, b] = ["a", "b"].map(side => rows.find(row => row.name === state[side])), found = paired(a, b, measure, data);
        for (const [key, { input, set }] of Object.entries(this.inputs)) {
            set(state[key]);
            if (key.length === 1) for (const option of input.options) option.disabled = !rows.some(row => row.name === option.value);
        }
        if (this.words.value !== state.rows) this.words.value = state.rows;
        this.why.textContent = remarks.filter(Boolean).join(" ");
        this.why.hidden = !this.why.textContent;
        this.meaning.textContent = `${state.measure}: ${data.measures[measure][1]}.`;
        this.status.replaceChildren(...this.sentence(a, b, found));
        const words = state.rows.toLowerCase().split(/\s+/), has = row => words.every(word => row.name.toLowerCase().includes(word));
        const label = row => row.budget && isNaN(state.budget) ? `${row.name} (${row.budget})` : row.name;
        const drawn = rows.filter(row => has(row) || row === a || row === b), left = rows.length - drawn.length;
        const unit = /\[[^\]]+\]/.exec(data.measures[measure][1]);
        this.all.draw(drawn.map(row => ({ key: row.name, name: label(row), side: row === a ? "A" : row === b ? "B" : "",
            points: row.values[measure], mean: means.get(row) })), { label: `${state.measure}${unit ? ` ${unit[0]}` : ""}${left ? `; ${left} more rows` : ""}` },
            drawn.map(row => `${label(row)}: ${show(means.get(row)[0])}`).join("; "));
        this.ratio.draw([{ name: "A / B", side: "", points: found.pairs.map(([, log]) => Math.exp(log)), mean: found.ratio }],
            { label: "ratio; 1: equal", lines: [1] }, this.status.textContent);
        this.table.replaceChildren(make("tr", {}, ...["row", "mean", "95 % interval", "seeds"].map(name => make("th", { scope: "col" }, name))),
            ...drawn.map(row => {
                const [mean, low, high] = means.get(row), lost = row.values[measure].filter(x => x === null).length;
                const cells = [label(row), show(mean), low > 0 ? `${show(low)} to ${show(high)}` : "", `${row.at.length}${lost ? `, ${lost} lost` : ""}`];
                return make("tr", {}, ...cells.map(text => make("td", {}, text)));
            }));
        this.link.setAttribute("href", `#${fragment("compare", data.name, state)}`);
    }

    /** Which is smaller, and how sure that is. */
    sentence(a, b, { pairs, logs, ratio: [mean, low, high], p, reading, lost, wins, alone }) {
        const { seeds } = this.data, n = logs.length, sets = new Set(pairs.map(([k]) => seeds[k][0])).size;
        const named = row => [make("b", {}, row.name), row.budget ? ` (${row.budget.toLocaleString("en")} updates)` : ""];
        if (!n) return [...named(a), " and ", ...named(b), " have no seed in common."];
        const kind = sets >= MIN_SEEDS ? "sets of data" : `seed${n === 1 ? "" : "s"}${pairs.length > n ? " of the first set of data" : ""}`;
        const limits = low > 0 ? `${show(low)} to ${show(high)}, ` : "";
        const said = [...named(a), mean > 0 ? ` has ${show(mean)} times the ${this.state.measure} of ` : " is finite in no seed of ", ...named(b),
            ` (${limits}${n} ${kind}): `, make("b", {}, SAID[reading]), `. A is smaller in ${wins} of ${n}; exact test on ranks: p = ${Number(p.toPrecision(2))}.`];
        if (lost[0] + lost[1]) said.push(` Lost, because they diverged or are not finite: ${lost[0]} of A, ${lost[1]} of B; they count in the test, and in no mean.`);
        alone.forEach((some, side) => {
            const many = some.length > 1, list = some.length > 6 ? `(${some.length})` : some.map(k => seeds[k][1]).join(", ");
            if (some.length) said.push(` Not counted, without a partner: seed${many ? "s" : ""} ${list} of ${"AB"[side]}.`);
        });
        return said;
    }
}

for (const root of document.querySelectorAll(".compare:not([data-ready])")) {
    if (!root.querySelector("script[type='application/json']")) continue;  // nothing is stored yet
    root.setAttribute("data-ready", "");
    new Comparison(root);
}
