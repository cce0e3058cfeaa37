// What the interactive figures draw: curves, and fields in space and time. Needs common.js.

const HYBRID = { colour: "#0072B2", dash: "none" }, SOLVER = { colour: "#D55E00", dash: "7 4" };
const STILL = { colour: "#009E73", dash: "9 3 2 3" }, TRUTH = { colour: "currentColor", dash: "2 3" };
const MAP = "053061 2166ac 4393c3 92c5de d1e5f0 f7f7f7 fddbc7 f4a582 d6604d b2182b 67001f".split(" ")
    .map(hex => [0, 2, 4].map(k => parseInt(hex.slice(k, k + 2), 16)));
const BLOWN_UP = 255, LEVELS = 127, GREY = [128, 128, 128];

const COLOURS = Array.from({ length: BLOWN_UP + 1 }, (_, level) => {
    if (level === BLOWN_UP) return GREY;
    const place = level / (2 * LEVELS) * (MAP.length - 1), k = Math.min(Math.floor(place), MAP.length - 2);
    return MAP[k].map((low, i) => low + (place - k) * (MAP[k + 1][i] - low));
});

const LETTER = 7.7;  // px, a generous width of a letter of 12 px

/** A plot as wide as its place, with letters of one size; its text alternative is in its title and description. */
class Plot {
    constructor(id, title, x, y) {
        Object.assign(this, { x, y, height: 180, width: 360, left: 46, right: 10, top: 40, bottom: 34 });
        this.svg = make("svg:svg", { role: "img", "aria-labelledby": `${id}-title ${id}-desc` });
        this.heading = make("svg:title", { id: `${id}-title` });
        this.description = make("svg:desc", { id: `${id}-desc` });
        this.heading.textContent = title;
        this.svg.append(this.heading, this.description);  // also before anything is drawn
        this.figure = make("figure", {}, make("figcaption", {}, title), this.svg);
        new ResizeObserver(([{ contentRect }]) => {
            const width = Math.round(contentRect.width);
            if (!width || width === this.width) return;
            Object.assign(this, { width, height: width > 380 ? 180 : 160 });
            if (this.drawn) this.draw(...this.drawn);
        }).observe(this.figure);
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
        const every = Math.ceil((high - low) / 4) || 1;
        return Array.from({ length: Math.floor((high - low) / every) + 1 }, (_, k) => Number(`1e${low + k * every}`));
    }

    points(xs, ys) {  // what leaves the axis is drawn at its end, what is no number leaves a gap
        const inside = y => this.py(Math.min(Math.max(y, this.y.from), this.y.to)).toFixed(1);
        return xs.map((x, k) => ys[k] === null ? ""
            : `${k && ys[k - 1] !== null ? "L" : "M"}${this.px(x).toFixed(1)},${inside(ys[k])}`).join("");
    }

    /** Places of the legend's entries, as many in a row as fit: [x, y] each. */
    legend(names) {
        let x = 0, y = 10;
        return names.map(name => {
            const width = 31 + LETTER * name.length;
            if (x > 0 && x + width > this.width) [x, y] = [0, y + 16];
            const place = [x, y];
            x += width + 8;
            return place;
        });
    }

    draw(lines, description, { band = null, marks = [] } = {}) {
        this.drawn = [lines, description, { band, marks }];
        this.svg.setAttribute("viewBox", `0 0 ${this.width} ${this.height}`);
        const label = tick => tick > 1000 || (tick > 0 && tick < 0.001) ? tick.toExponential().replace("+", "") : String(tick);
        const legend = this.legend(lines.map(line => line.name));
        this.top = 12 + (legend.length ? legend.at(-1)[1] : 0);
        this.left = 8 + LETTER * Math.max(2, ...this.ticks(this.y).map(tick => label(tick).length));
        const parts = [this.heading, this.description];
        const bottom = this.height - this.bottom, right = this.width - this.right;
        const text = (x, y, anchor, words) => make("svg:text", { x, y, "text-anchor": anchor }, words);
        this.description.textContent = description;
        for (const tick of this.ticks(this.y)) {
            const y = this.py(tick);
            parts.push(make("svg:path", { class: "rule", d: `M${this.left},${y}H${right}` }));
            parts.push(text(this.left - 4, y + 4, "end", label(tick)));
        }
        let free = 0;  // where the next label may begin
        for (const tick of this.ticks(this.x)) {
            const half = LETTER / 2 * String(tick).length, x = Math.min(this.px(tick), this.width - half);
            if (x - half < free) continue;
            parts.push(text(x, bottom + 14, "middle", String(tick)));
            free = x + half + 6;
        }
        parts.push(make("svg:path", { class: "axis", d: `M${this.left},${this.top}V${bottom}H${right}` }));
        parts.push(text((this.left + this.width) / 2, this.height - 5, "middle", this.x.label));
        if (band && band.xs.length) {
            const back = this.points([...band.xs].reverse(), [...band.low].reverse()).replace("M", "L");
            const d = `${this.points(band.xs, band.high)}${back}Z`;
            parts.push(make("svg:path", { class: "band", fill: HYBRID.colour, d }));
        }
        lines.forEach((line, k) => {
            const style = { class: "line", stroke: line.style.colour, "stroke-dasharray": line.style.dash };
            const d = this.points(line.xs, line.ys), [x, y] = legend[k];
            parts.push(make("svg:path", { ...style, d: d || "M0,0" }));
            if (line.dots && d)
                parts.push(make("svg:path", { class: "dots", stroke: line.style.colour, d: d.replace(/[ML]([^ML]+)/g, "M$1h0") }));
            parts.push(make("svg:path", { ...style, d: `M${x},${y}h26` }), text(x + 31, y + 4, "start", line.name));
        });
        for (const x of marks) parts.push(make("svg:path", { class: "now", d: `M${this.px(x)},${this.top}V${bottom}` }));
        this.svg.replaceChildren(...parts);
    }
}

const DIFFERENCE = 5;  // how many times as strong a difference is coloured as the fields

/** The levels of `field - reference`; blown up where the field is. */
function differences(field, reference, factor = DIFFERENCE) {
    return Array.from(field, (level, k) => level === BLOWN_UP || reference[k] === BLOWN_UP ? BLOWN_UP
        : Math.round(Math.min(Math.max(LEVELS + factor * (level - reference[k]), 0), 2 * LEVELS)));
}

/** The levels of a field in space and time; a time at which a part has blown up is blown up, since what is left means nothing. */
function whole(levels, width) {
    const found = Uint8Array.from(levels);
    for (let row = 0; row < found.length; row += width)
        if (found.subarray(row, row + width).includes(BLOWN_UP)) found.fill(BLOWN_UP, row, row + width);
    return found;
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

/**
 * Pictures of fields in space and time, side by side above their scale, the last one a difference, `factor` times as strong: {figure, show}.
 * `show(levels, width, row, label)` paints them, the last time on top and the row shown elsewhere darkened.
 */
function planes(caption, scale, fields, factor = DIFFERENCE) {
    const names = [...fields, factor === 1 ? "error" : `error \u00d7 ${factor}`];
    const canvases = names.map(() => make("canvas", { role: "img" })), bar = make("canvas");
    paint(bar, 2 * LEVELS + 1, 1, k => k);
    const figure = make("figure", { class: "wide" },
        make("figcaption", {}, `${caption}; error: ${fields.at(-1)} \u2212 ${fields[0]}`),
        make("div", { class: "fields" }, ...names.map((name, k) => make("div", {}, name, canvases[k]))),
        make("div", { class: "scale" }, String(-scale), bar, `${scale}; grey: blown up`));
    const show = (levels, width, row, label) => {
        const shown = levels.map(one => whole(one, width)), rows = shown[0].length / width;
        [...shown, differences(shown.at(-1), shown[0], factor)].forEach((one, k) => {
            paint(canvases[k], width, rows, (x, y) => one[(rows - 1 - y) * width + x], rows - 1 - row);
            canvases[k].setAttribute("aria-label", k < fields.length ? `${names[k]}, ${label(one, scale)}`
                : `${fields.at(-1)} minus ${fields[0]}, ${label(one, scale / factor)}`);
        });
    };
    return { figure, show };
}
