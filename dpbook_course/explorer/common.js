// What the interactive figures of the book share: colours, elements, the page's address, plots and fields. It stands
// before each figure's own text in one module, because a page opened from a file may import nothing.

const SVG = "http://www.w3.org/2000/svg";
const HYBRID = { colour: "#0072B2", dash: "none" }, SOLVER = { colour: "#D55E00", dash: "7 4" };
const STILL = { colour: "#009E73", dash: "9 3 2 3" }, TRUTH = { colour: "currentColor", dash: "2 3" };
const MAP = "053061 2166ac 4393c3 92c5de d1e5f0 f7f7f7 fddbc7 f4a582 d6604d b2182b 67001f".split(" ")
    .map(hex => [0, 2, 4].map(k => parseInt(hex.slice(k, k + 2), 16)));
const BLOWN_UP = 255, LEVELS = 127, GREY = [128, 128, 128];

function make(tag, attributes = {}, ...children) {
    const found = tag.startsWith("svg:") ? document.createElementNS(SVG, tag.slice(4)) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) found.setAttribute(name, value);
    found.append(...children);
    return found;
}

const show = x => x === null ? "not finite" : String(Number(x.toPrecision(3)));

const COLOURS = Array.from({ length: BLOWN_UP + 1 }, (_, level) => {
    if (level === BLOWN_UP) return GREY;
    const place = level / (2 * LEVELS) * (MAP.length - 1), k = Math.min(Math.floor(place), MAP.length - 2);
    return MAP[k].map((low, i) => low + (place - k) * (MAP[k + 1][i] - low));
});

/** What the address says of one kind of figure: {name: {control: value}}. */
function addressed(kind) {
    const found = {};
    for (const part of location.hash.slice(1).split("&")) {
        const [, of, name, values] = /^([a-z]+)-([a-z0-9-]+):(.*)$/.exec(part) || [];
        if (of !== kind) continue;
        try {
            const pairs = values.split(";").map(pair => pair.split("=").map(decodeURIComponent));
            found[name] = Object.fromEntries(pairs);
        } catch { /* a damaged address changes nothing */ }
    }
    return found;
}

function fragment(kind, name, state) {
    const pairs = Object.entries(state).map(([id, value]) => `${id}=${encodeURIComponent(value)}`);
    return `${kind}-${name}:${pairs.join(";")}`;
}

/** Put a figure's state into the address, beside those of the others. */
function readdress(kind, name, state) {
    const mine = `${kind}-${name}:`;
    const others = location.hash.slice(1).split("&").filter(p => /^[a-z]+-[a-z0-9-]+:/.test(p) && !p.startsWith(mine));
    try {
        history.replaceState(history.state, "", "#" + [...others, fragment(kind, name, state)].join("&"));
    } catch { /* a frame without an address of its own */ }
}

/** The figure that the address names first is what its reader came for. */
function reveal(kind, name, root) {
    if (!location.hash.startsWith(`#${kind}-${name}:`)) return;
    root.scrollIntoView();
    addEventListener("load", () => root.scrollIntoView());  // by then pictures and formulas have their size
}

/** A plot with fixed axes; its text alternative is in its title and description. */
class Plot {
    constructor(id, title, x, y) {
        Object.assign(this, { x, y, width: 360, height: 250, left: 46, right: 10, top: 40, bottom: 36 });
        this.svg = make("svg:svg", { role: "img", viewBox: `0 0 ${this.width} ${this.height}`,
            "aria-labelledby": `${id}-title ${id}-desc` });
        this.heading = make("svg:title", { id: `${id}-title` });
        this.description = make("svg:desc", { id: `${id}-desc` });
        this.heading.textContent = title;
        this.svg.append(this.heading, this.description);  // also before anything is drawn
        this.figure = make("figure", {}, make("figcaption", {}, title), this.svg);
    }

    place(axis, value, from, to) {
        const f = axis.log ? Math.log : v => v;
        return from + (f(value) - f(axis.from)) / (f(axis.to) - f(axis.from)) * (to - from);
    }

    px(value) { return this.place(this.x, value, this.left, this.width - this.right); }
    py(value) { return this.place(this.y, value, this.height - this.bottom, this.top); }

    ticks(axis) {
        if (axis.ticks) return axis.ticks;
        const low = Math.ceil(Math.log10(axis.from) - 1e-9), high = Math.floor(Math.log10(axis.to) + 1e-9);
        const every = Math.ceil((high - low) / 6) || 1;
        return Array.from({ length: Math.floor((high - low) / every) + 1 }, (_, k) => Number(`1e${low + k * every}`));
    }

    points(xs, ys) {  // what leaves the axis is drawn at its end, what is no number leaves a gap
        const inside = y => this.py(Math.min(Math.max(y, this.y.from), this.y.to)).toFixed(1);
        return xs.map((x, k) => ys[k] === null ? ""
            : `${k && ys[k - 1] !== null ? "L" : "M"}${this.px(x).toFixed(1)},${inside(ys[k])}`).join("");
    }

    draw(lines, description, { band = null, marks = [] } = {}) {
        const parts = [this.heading, this.description];
        const bottom = this.height - this.bottom, right = this.width - this.right;
        const text = (x, y, anchor, words) => make("svg:text", { x, y, "text-anchor": anchor }, words);
        this.description.textContent = description;
        for (const tick of this.ticks(this.y)) {
            const y = this.py(tick);
            parts.push(make("svg:path", { class: "rule", d: `M${this.left},${y}H${right}` }));
            const long = tick > 1000 || (tick > 0 && tick < 0.001);
            parts.push(text(this.left - 4, y + 4, "end", long ? tick.toExponential().replace("+", "") : String(tick)));
        }
        for (const tick of this.ticks(this.x)) {
            const x = Math.min(this.px(tick), this.width - 4 * String(tick).length);
            parts.push(text(x, bottom + 14, "middle", String(tick)));
        }
        parts.push(make("svg:path", { class: "axis", d: `M${this.left},${this.top}V${bottom}H${right}` }));
        parts.push(text((this.left + this.width) / 2, this.height - 6, "middle", this.x.label));
        if (band && band.xs.length) {
            const back = this.points([...band.xs].reverse(), [...band.low].reverse()).replace("M", "L");
            const d = `${this.points(band.xs, band.high)}${back}Z`;
            parts.push(make("svg:path", { class: "band", fill: HYBRID.colour, d }));
        }
        lines.forEach((line, k) => {
            const style = { class: "line", stroke: line.style.colour, "stroke-dasharray": line.style.dash };
            const d = this.points(line.xs, line.ys);
            parts.push(make("svg:path", { ...style, d: d || "M0,0" }));
            if (line.dots && d)
                parts.push(make("svg:path", { class: "dots", stroke: line.style.colour, d: d.replace(/[ML]([^ML]+)/g, "M$1h0") }));
            const x = this.left + (k % 2) * 160, y = 10 + 15 * Math.floor(k / 2);
            parts.push(make("svg:path", { ...style, d: `M${x},${y}h26` }), text(x + 31, y + 4, "start", line.name));
        });
        for (const x of marks) parts.push(make("svg:path", { class: "now", d: `M${this.px(x)},${this.top}V${bottom}` }));
        this.svg.replaceChildren(...parts);
    }
}

/** One pixel a value; `marked` is a row that is darkened. */
function paint(canvas, width, height, level, marked = -1) {
    Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d"), image = context.createImageData(width, height);
    for (let y = 0, k = 0; y < height; y++)
        for (let x = 0; x < width; x++, k += 4) {
            const [r, g, b] = COLOURS[level(x, y)], shade = y === marked ? 0.35 : 1;
            image.data.set([r * shade, g * shade, b * shade, 255], k);
        }
    context.putImageData(image, 0, 0);
}

/** Pictures of fields in space and time, side by side above their scale: {figure, canvases}. */
function planes(caption, scale, names) {
    const canvases = names.map(() => make("canvas", { role: "img" })), bar = make("canvas");
    paint(bar, 2 * LEVELS + 1, 1, k => k);
    const figure = make("figure", {}, make("figcaption", {}, caption),
        make("div", { class: "fields" }, ...names.map((name, k) => make("div", {}, name, canvases[k]))),
        make("div", { class: "scale" }, String(-scale), bar, `${scale}; grey: blown up`));
    return { figure, canvases };
}

/** A labelled list or slider of `control.values`, pairs of value and text: {box, input, set(value)}. */
function chooser(id, control, change) {
    const { label, slider, values } = control;
    const input = slider ? make("input", { type: "range", min: "0", max: String(values.length - 1), step: "1", id })
        : make("select", { id }, ...values.map(([value, text]) => make("option", { value }, text)));
    const output = make("output", { for: id }), name = make("label", { for: id }, slider ? `${label}: ` : label);
    input.addEventListener("input", () => change(slider ? values[input.value][0] : input.value));
    const set = value => {
        const index = values.findIndex(([v]) => v === value);
        input.value = slider ? String(index) : value;
        if (!slider) return;
        output.textContent = values[index][1];
        input.setAttribute("aria-valuetext", values[index][1]);
    };
    return { box: make("div", {}, ...(slider ? [make("div", {}, name, output), input] : [name, input])), input, set };
}
