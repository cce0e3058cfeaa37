// What the interactive figures of the book share: elements, controls, motion and the page's address. It stands before
// plots.js and each figure's own text in one module, because a page opened from a file may import nothing.

const SVG = "http://www.w3.org/2000/svg";

function make(tag, attributes = {}, ...children) {
    const found = tag.startsWith("svg:") ? document.createElementNS(SVG, tag.slice(4)) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) found.setAttribute(name, value);
    found.append(...children);
    return found;
}

const show = x => x === null ? "not finite" : String(Number(x.toPrecision(3)));

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

/** What the address has asked for and the figure does not show, in words; empty if all is as asked. */
function refused(wanted, state) {
    const wrong = Object.entries(wanted).filter(([id, value]) => id && state[id] !== value);
    return wrong.length ? `The address asks for ${wrong.map(([id, value]) => `${id} = ${value}`).join(", ")}, which this figure does not `
        + "offer. It shows something else there." : "";
}

/** Whether the page's address is the reader's to copy: not in the frame of an output, nor in JupyterLab. */
const shareable = root => window.parent === window && !root.closest(".jp-OutputArea");

const lessMotion = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

/** A button that starts and stops what moves, "Play" with words for those who do not see it: `next()` after every so many ms while it is on. {button, set(on), rest(on)} */
function motion(words, ms, next, changed = () => {}) {
    const button = make("button", { type: "button" });
    let on = false, resting = false, timer = null;
    const follow = () => {
        clearInterval(timer);
        timer = on && !resting ? setInterval(next, ms) : null;
        button.replaceChildren(on ? "Stop" : "Play", make("span", { class: "unseen" }, words));
    };
    const set = wanted => {
        if (on === wanted) return;
        on = wanted;
        follow();
        changed(on);
    };
    button.addEventListener("click", () => set(!on));
    follow();
    return { button, set, get on() { return on; }, rest(wanted) { resting = wanted; follow(); } };
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
    const box = slider ? make("div", { class: "slide" }, make("div", {}, name, output), input) : make("div", {}, name, input);
    return { box, input, set };
}
