// The player: fields in space, one time at a time, and their errors below. Nothing moves before the reader starts it;
// the slider's own keys (arrows, Home, End, Page Up and Down) go through the times, and the button starts and stops.

const FRAME = 110;  // ms

class Player {
    constructor(root) {
        this.root = root;
        const data = this.data = JSON.parse(root.querySelector("script[type='application/json']").textContent);
        this.fields = Object.values(data.fields)
            .map(text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0)));
        this.t = 0;
        this.build();
        this.restore();
        addEventListener("hashchange", () => this.restore());
    }

    build() {
        const { data, root } = this, id = name => `${root.id}-${name}`, titles = Object.keys(data.fields);
        const values = Array.from({ length: data.times }, (_, k) => [String(k), `${show(k * data.dt)} ${data.unit}`]);
        this.motion = motion("", FRAME, () => this.next(), on => on ? this.begin() : this.say());
        this.time = chooser(id("t"), { label: "Time", slider: true, values }, value => {
            this.motion.set(false);
            this.go(Number(value));
        });
        this.why = make("p", { class: "why", hidden: "" });
        this.canvases = titles.map(() => make("canvas", { role: "img" }));
        const bar = make("canvas");
        paint(bar, 2 * LEVELS + 1, 1, k => k);
        this.status = make("p", { class: "status", "aria-live": "polite" });
        this.error = Object.keys(data.errors).length && new Plot(id("error"), "Relative error against time",
            { from: 0, to: (data.times - 1) * data.dt, label: `time [${data.unit}]`,
              ticks: [0, 1, 2, 3, 4].map(k => Number((k * (data.times - 1) * data.dt / 4).toPrecision(3))) },
            { from: 0, to: data.largest, ticks: [0, 0.5, 1].map(k => Number((k * data.largest).toPrecision(2))) });
        root.append(make("div", { class: "bar" }, this.motion.button, this.time.box), this.why,
            make("figure", {}, make("figcaption", {}, data.label),
                make("div", { class: "fields" }, ...titles.map((title, k) => make("div", {}, title, this.canvases[k]))),
                make("div", { class: "scale" }, String(-data.scale), bar,
                    `${data.scale}${data.hidden ? "; grey: the obstacle" : ""}`)),
            this.status, ...this.error ? [this.error.figure] : []);
    }

    restore() {
        const wanted = addressed("play")[this.data.name] || {}, t = Number(wanted.t);
        this.go(Number.isInteger(t) && t >= 0 && t < this.data.times ? t : this.t);
        this.why.textContent = refused(wanted, { t: String(this.t) });
        this.why.hidden = !this.why.textContent;
        this.say();
        reveal("play", this.data.name, this.root);
    }

    begin() {
        this.status.textContent = this.error ? "Playing; the errors are told when it stops." : "Playing.";
        if (this.t === this.data.times - 1) this.go(0);
    }

    next() {
        this.go(this.t + 1);
        if (this.t === this.data.times - 1) this.motion.set(false);
    }

    /** In words, when it stands still: a moving text would be read out again and again. */
    say() {
        const { data, t } = this;
        const errors = Object.entries(data.errors).map(([name, e]) => `${name} ${show(e[t])}`).join(", ");
        this.status.textContent = `Time ${show(t * data.dt)} ${data.unit}.${errors && ` Relative error: ${errors}.`}`;
        clearTimeout(this.pending);
        if (t) this.pending = setTimeout(() => readdress("play", data.name, { t }), 150);
    }

    go(t) {
        const { data } = this, { width, height } = data, size = width * height;
        this.t = t;
        this.time.set(String(t));
        this.canvases.forEach((canvas, k) => {
            const field = this.fields[k], title = Object.keys(data.fields)[k];
            paint(canvas, width, height, (x, y) => field[t * size + x * height + height - 1 - y]);
            canvas.setAttribute("aria-label", `${data.label} of ${title} at time ${show(t * data.dt)} ${data.unit}`);
        });
        const xs = Array.from({ length: data.times }, (_, k) => k * data.dt);
        const lines = Object.entries(data.errors).map(([name, ys], k) =>
            ({ name, style: [SOLVER, HYBRID, STILL][k % 3], xs, ys }));
        if (this.error) this.error.draw(lines, lines.map(line => `${line.name}: ${show(line.ys[t])}`).join("; "),
            { marks: [t * data.dt] });
        if (!this.motion.on) this.say();
    }
}

for (const root of document.querySelectorAll(".player:not([data-ready])")) {
    root.setAttribute("data-ready", "");
    new Player(root);
}
