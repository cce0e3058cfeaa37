// The trainer: a network is trained in a worker of this page, with the solver in the loop, and its views follow.
// Every `.trainer` element holds its choices as JSON. The worker's text stands on a page once, in an element marked
// with its hash, and is read when a trainer comes into view.

const CALM = 5000, QUICK = 150, REDUCED = 1000;  // ms between two spoken texts, two pictures, two with less motion
const FIRST = ["m", "coupling"];  // controls in sight, beside the switch of the gradient; others are under "More"
const ALWAYS = ["story", "system", "coupling", "lr", "seed"];  // controls of a system without a chain, too
const FRESH = ["story", "system", "coupling", "seed"];  // changes that need new weights
const NARROW = 560;  // px: below, a story is folded
const FEW = 20;  // after fewer updates, what was there before a change is no run to compare with

const texts = values => Object.fromEntries(Object.entries(values).map(([name, value]) => [name, String(value)]));

/** The place of one trainer in the page's own storage, where there is one; for this worker's networks only. */
class Store {
    constructor({ name, worker, controls }) {
        Object.assign(this, { key: `dpbook ${location.pathname} ${name}`, worker, controls });
    }

    /** What was kept, or null. */
    read() {
        try {
            const { worker, values, ...found } = JSON.parse(localStorage.getItem(this.key));
            const offered = ({ id, values }) => values.some(([value]) => value === found.state[id]);
            if (worker !== this.worker || !this.controls.every(offered)) return null;
            return { ...found, values: new Float32Array(Uint8Array.from(atob(values), c => c.charCodeAt(0)).buffer) };
        } catch { return null; }  // nothing there, something else, or no storage
    }

    /** Whether it could be kept. */
    write({ values, ...others }) {
        const text = btoa(Array.from(new Uint8Array(values.buffer), byte => String.fromCharCode(byte)).join(""));
        try {
            localStorage.setItem(this.key, JSON.stringify({ ...others, worker: this.worker, values: text }));
            return true;
        } catch { return false; }
    }

    forget() {
        try {
            localStorage.removeItem(this.key);
        } catch { /* no storage */ }
    }
}

class Trainer {
    constructor(root) {
        this.root = root;
        this.data = JSON.parse(root.querySelector("script[type='application/json']").textContent);
        this.state = { ...this.data.start };
        Object.assign(this, { run: 0, running: false, waiting: false, outcome: "", spoken: -CALM });
        this.store = new Store(this.data);
        this.clear();
        this.build();
        this.restore(this.store.read());
        addEventListener("hashchange", () => this.restore());
        addEventListener("pagehide", () => this.keep());
        document.addEventListener("visibilitychange", () => this.seen(this.visible));
        new IntersectionObserver(([entry]) => this.seen(entry.isIntersecting)).observe(root);
    }

    get system() { return this.data.systems[this.state.system]; }

    /** What a run has shown so far. */
    clear() {
        Object.assign(this, { updates: 0, losses: new Curve(), changes: [], gradients: [], result: null, rate: 0, owed: 0 });
    }

    // Controls ------------------------------------------------------------------------------------------------------

    build() {
        const { data, root } = this, id = name => `${root.id}-${name}`;
        this.inputs = {};
        for (const control of data.controls)
            this.inputs[control.id] = chooser(id(control.id), control, value => this.change(control.id, value));
        const boxes = wanted => data.controls.filter(({ id }) => id !== "story" && FIRST.includes(id) === wanted)
            .map(({ id }) => this.inputs[id].box);
        const button = (words, act) => {
            const made = make("button", { type: "button" }, words);
            made.addEventListener("click", act);
            return made;
        };
        this.toggle = button("Train", () => this.train(!this.running));
        this.toggle.className = "main";
        this.one = button("One update", () => this.step());
        this.anew = button("New weights", () => this.restart());
        this.again = button("Reset", () => this.begin());
        this.through = make("input", { type: "checkbox", id: id("through") });
        this.through.addEventListener("input", () => this.change("policy", this.through.checked ? "full" : "cut"));
        this.throughBox = make("div", { class: "switch" }, this.through,
            make("label", { for: id("through") }, "Gradient through the solver"));
        this.more = make("details", { class: "more" }, make("summary", {}, "More choices"), ...boxes(false));
        this.story = make("p", { class: "story" });
        this.tale = make("details", { class: "tale" }, make("summary", {}, "What to try"), this.story);
        this.tale.open = root.clientWidth > NARROW;
        this.why = make("p", { class: "why", hidden: "" });
        this.measuredBox = make("p", { class: "measured", hidden: "" });
        this.outcomeBox = make("p", { class: "why outcome", role: "alert", hidden: "" });
        this.numbers = make("p", { class: "numbers" });
        this.past = make("p", { class: "before", hidden: "" });
        this.status = make("p", { class: "spoken unseen", "aria-live": "polite" });
        this.loss = new LossView(root.id);
        this.views = make("div", { class: "views" });
        this.link = make("a", { class: "link" }, "Link to these choices");
        this.link.hidden = !shareable(root);
        this.kept = make("p", { class: "kept", hidden: "" }, make("span"), button("Forget", () => this.forget()));
        root.append(make("div", { class: "bench" }, make("div", { class: "panel" }, this.inputs.story.box,
            make("div", { class: "buttons" }, this.toggle, this.one, this.anew, this.again), this.numbers, this.outcomeBox,
            make("fieldset", {}, make("legend", {}, "Choose"), ...boxes(true).reverse(), this.throughBox, this.more), this.why,
            this.measuredBox, this.past, this.status), make("div", {}, this.tale, this.views)), this.kept, this.link);
    }

    change(id, value) {
        this.state[id] = value;
        if (id === "system") {
            this.state = { ...this.state, ...texts(this.system.start), story: "" };
        }
        if (id === "story") this.begin();
        else this.configure(FRESH.includes(id));
    }

    restart() {
        this.running = false;
        this.configure(true);
    }

    /** From the start: the story's choices, or those with which the figure opened, and new weights. */
    begin() {
        this.tell();
        this.restart();
    }

    tell() {
        const { story } = this.state, { stories, start, systems } = this.data;
        const settings = story ? { ...texts(systems[stories[story].settings.system].start), ...stories[story].settings } : start;
        Object.assign(this.state, settings, { story });
    }

    /** Make the state one that can be trained, and say what had to change. */
    settle() {
        const { state, system, data, root } = this, notes = [];
        if (!(state.coupling in system.couplings)) state.coupling = system.start.coupling;
        const policies = system.policies[state.coupling], chained = system.m[1] > 1;
        if (!policies.includes(state.policy)) {
            if (chained) notes.push(`"${this.text("policy")}" is not possible here: the network acts inside the solver, so nothing `
                + "would reach it. The gradient is full.");
            state.policy = "full";
        }
        if (+state.m > system.m[1]) state.m = "1";
        if (state.m === "1" && chained && (state.policy !== "full" || state.placement !== "every"))
            notes.push("With one step all gradient policies and loss placements are one and the same training.");
        else if (state.policy === "pushforward" && state.placement === "every")
            notes.push("Push-forward trains the last step only, so the loss at the other steps has no effect.");
        else if (state.policy === "truncated" && +state.truncation >= +state.m)
            notes.push(`A chain of ${state.m} steps has no place for a cut after ${state.truncation}: this is the full gradient.`);
        for (const control of data.controls) {
            const { box, input, set } = this.inputs[control.id];
            box.hidden = control.values.length < 2 || !(chained || ALWAYS.includes(control.id)) || (control.id === "truncation" && state.policy !== "truncated");
            if (control.id === "coupling") box.firstChild.textContent = chained ? control.label : "What the loss sees";
            if (control.id === "coupling") [...input.options].forEach(o => { o.hidden = o.disabled = !(o.value in system.couplings); });
            if (control.id === "policy") [...input.options].forEach(o => { o.disabled = !policies.includes(o.value); });
            set(state[control.id]);
        }
        this.throughBox.hidden = !chained;
        this.through.checked = state.policy !== "cut";
        this.through.disabled = !policies.includes("cut");
        if (chained && (state.noise !== "0" || state.placement !== "every" || !["full", "cut"].includes(state.policy)))
            this.more.open = true;
        if (this.shown !== state.system) {
            this.view?.motion?.set(false);
            this.view = new VIEWS[system.kind](root.id, system);
            this.views.replaceChildren(...this.view.figures, ...this.loss.figures, ...this.view.last);
            this.shown = state.system;
        }
        if (this.refused) notes.unshift(this.refused);
        this.refused = "";
        this.why.hidden = !notes.length;
        this.why.textContent = notes.join(" ");
        const measured = this.measured();
        this.measuredBox.hidden = !measured;
        this.measuredBox.textContent = measured;
        this.story.textContent = data.stories[state.story]?.story || "";
        this.tale.hidden = !state.story;
        this.link.setAttribute("href", "#" + fragment("train", data.name, state));
    }

    /** The choices, with those that make no difference to the training as they are at its plainest. */
    get effective() {
        const found = { ...this.state };
        if (found.policy === "pushforward") found.placement = "every";
        if (found.policy === "truncated" && +found.truncation >= +found.m) found.policy = "full";
        if (found.m === "1") Object.assign(found, { policy: "full", placement: "every" });
        if (found.policy !== "truncated") delete found.truncation;
        return found;
    }

    /** What was measured of these choices, which holds for one change from the story's start; "" if nothing was. */
    measured() {
        const { data: { measured, stories, systems, controls }, effective } = this;
        if (!measured || effective.system !== stories[measured.story].settings.system) return "";
        const start = { ...texts(systems[effective.system].start), ...stories[measured.story].settings };
        const changed = controls.filter(({ id }) => id in effective && !["story", "seed"].includes(id) && effective[id] !== start[id]);
        if (!changed.length)
            return "Change a choice, and this line says what it was worth when it was measured, with each of the seeds.";
        if (changed.length > 1) return "What these changes are worth was measured for each alone, not together.";
        const [{ id, values }] = changed, known = measured.texts[id] || {};
        if (known[effective[id]]) return known[effective[id]];
        const others = values.filter(([value]) => known[value]).map(([, text]) => text).join("; ");
        return `What "${this.text(id)}" is worth was not measured${others ? `, only: ${others}` : ""}.`;
    }

    text(id) { return this.data.controls.find(c => c.id === id).values.find(([v]) => v === this.state[id])[1]; }

    words() {
        return this.data.controls.filter(({ id }) => !this.inputs[id].box.hidden && id !== "story")
            .map(({ id, label, slider }) => slider && id !== "m" ? `${label} ${this.text(id)}` : this.text(id)).join(", ");
    }

    /** The choices of the address; else those of the last visit, with what was trained then. */
    restore(last = null) {
        const wanted = addressed("train")[this.data.name];
        if (wanted) {
            for (const { id, values } of this.data.controls)  // the story first: the rest is what was changed in it
                if (values.some(([value]) => value === wanted[id])) {
                    this.state[id] = wanted[id];
                    if (id === "story") this.tell();
                }
            this.settle();  // what does not go together
            this.refused = refused(wanted, this.state);
        }
        if (last && (!wanted || fragment("", "", wanted) === fragment("", "", last.state))) Object.assign(this.state, last.state);
        else last = null;
        this.configure(true, false);
        if (last) {
            this.back = last;
            this.written = last.updates;
            Object.assign(this, { losses: new Curve(last.losses), changes: last.changes, updates: last.updates });
            this.say(`Your network of the last visit is back, after ${updates(last.updates)}; it is kept in this browser only. `);
        }
        reveal("train", this.data.name, this.root);
    }

    // What outlives a visit -----------------------------------------------------------------------------------------

    /** Into the page's own storage: the choices, the weights and how they came about. */
    keep() {
        if (!this.worth) return;
        this.written = this.worth.updates;
        if (this.store.write({ ...this.worth, state: this.state }))
            this.say("Your network is kept in this browser, for your next visit. ");
        this.worth = null;
    }

    say(words) {
        this.kept.hidden = false;
        this.kept.firstChild.textContent = words;
    }

    forget() {
        this.store.forget();
        this.worth = null;
        this.kept.hidden = true;
        this.toggle.focus();  // what is hidden keeps no focus
    }

    // The worker ----------------------------------------------------------------------------------------------------

    get watched() { return this.visible && !document.hidden; }

    seen(visible) {
        this.visible = visible;
        this.view.motion?.rest(!this.watched);
        if (!this.watched) this.keep();
        if (this.watched && !this.worker) this.start();
        else if (this.running) this.send({ type: this.watched ? "train" : "pause" });  // no work for views that nobody sees
    }

    start() {
        const held = document.querySelector(`script[data-shared="${this.data.worker}"]`);
        if (!held) return this.fail("the worker's text is missing on this page");
        const url = URL.createObjectURL(new Blob([JSON.parse(held.textContent)], { type: "text/javascript" }));
        this.worker = new Worker(url);
        this.worker.onmessage = ({ data }) => this.receive(data);
        this.worker.onerror = event => this.fail(event.message || "the worker could not be started");
        this.root.classList.add("live");
    }

    send(message) { if (this.ready) this.worker.postMessage(message); }

    /** Tell the worker the settings; `reset` starts from new weights. What has been trained stays as a ghost. */
    configure(reset, address = true) {
        reset ||= Boolean(this.outcome);  // what has diverged begins anew
        const before = this.before, trained = this.updates - (this.changes.at(-1) || 0);
        if (this.result && trained >= FEW)
            this.ghost = { words: before.words, system: before.system, kept: this.view.kept(this.result),
                           losses: reset ? this.losses : null, updates: this.updates };
        this.settle();
        if (this.ghost && this.ghost.system !== this.state.system) this.ghost = null;
        this.before = { words: this.words(), system: this.state.system };
        this.outcome = "";
        if (reset) {
            this.clear();
            this.back = this.worth = this.written = null;
        }
        else if (trained > 0) this.changes.push(this.updates);
        this.fresh = reset || this.fresh;
        this.waiting = true;
        clearTimeout(this.pending);
        this.pending = setTimeout(() => {  // a slider on its way, and browsers refuse many changes of the address
            if (address) readdress("train", this.data.name, this.state);
            this.sendSettings();
        }, 200);
        this.show();
    }

    sendSettings() {
        if (!this.ready) return;
        clearTimeout(this.pending);
        const { m, truncation, noise, lr, seed } = this.state;
        const settings = { ...this.state, m: +m, truncation: +truncation, noise: noise * (this.system.deviation ?? 0), lr: +lr, seed: +seed };
        if (this.run && !this.running) this.send({ type: "pause" });
        this.run += 1;
        if (this.fresh) this.born = this.run;
        this.send({ type: "configure", settings, run: this.run, reset: Boolean(this.fresh), kept: this.back || null });
        this.fresh = this.waiting = false;
        this.back = null;
        if (this.running && this.watched) this.send({ type: "train" });
    }

    train(on) {
        if (this.waiting) this.sendSettings();
        this.running = on;
        this.send({ type: on ? "train" : "pause" });
        this.speak();
        this.show();
    }

    step() {
        if (this.running) this.train(false);
        if (this.waiting) this.sendSettings();
        if (this.ready) this.send({ type: "step" });
        else this.owed += 1;  // until the worker has started
        this.show();
    }

    receive(message) {
        if (message.type === "ready") {
            this.ready = true;
            this.sendSettings();
            for (; this.owed > 0; this.owed--) this.send({ type: "step" });
            return;
        }
        if (message.type === "error") return this.fail(message.message);
        if (this.fresh || message.run < this.born) return;  // of weights that are gone; other settings leave them
        this.updates = message.updates;
        if (message.type === "progress") {
            message.losses.forEach(loss => this.losses.add(loss));
            this.rate = message.rate;
            if (message.run === this.run) this.gradients = message.gradients;
        }
        if (["rollout", "answers"].includes(message.type)) {
            this.result = message;
            this.move();
            if (this.updates > 0 && this.updates !== this.written && !this.outcome)
                this.worth = { updates: this.updates, values: message.kept, losses: this.losses.copy(), changes: [...this.changes] };
            if (!this.running) this.keep();
        }
        if (message.type === "diverged") this.diverge(message);
        if (!this.running || performance.now() - this.spoken >= CALM) this.speak();
        this.show();
    }

    /** Set the flow going when there is one to be seen: once, then it is the reader's. */
    move() {
        if (this.moved || !this.view.motion) return;
        this.moved = true;
        if (!lessMotion()) this.view.motion.set(true);
    }

    diverge({ updates: at, what }) {
        this.running = false;
        const { m, policy } = this.state, states = what === "loss", long = m > 1 && (states || policy !== "pushforward");
        this.outcome = `Diverged in update ${(at + 1).toLocaleString("en-GB")}: `
            + (states ? "the states of the chain, and with them the loss, grew beyond all numbers"
                : "the loss is a number, but its gradient is none")
            + ". This is an outcome of these choices, not a fault of the page. "
            + (!long ? "A smaller learning rate can prevent it."
                : states ? `Each of the ${m} chained steps can amplify what the ones before it got wrong. A shorter unroll first prevents `
                    + "it; once some updates succeed, a smaller learning rate can, too."
                : `The gradient of ${m} chained steps is a product of ${m} Jacobians and can grow with every one of them. A shorter `
                    + "unroll first, a smaller learning rate or a cut of the gradient can prevent it.")
            + " Change something, or reset.";
    }

    fail(why) {
        this.running = false;
        this.outcome = `This page could not train: ${why}.`;
        this.broken = true;
        this.show();
    }

    // Views ---------------------------------------------------------------------------------------------------------

    summary() {
        const parts = [this.running ? "Training" : this.updates ? "Paused" : "Not trained yet", updates(this.updates)];
        if (this.losses.ys.length) parts.push(`loss ${brief(this.losses.ys.at(-1))}`);
        if (this.result) parts.push(this.view.words(this.result));
        return parts.join("; ");
    }

    speak() {
        this.spoken = performance.now();
        this.status.textContent = `${this.summary()}.`;
    }

    /** Draw soon, but not more often than the eye needs, and calmly where less motion is wanted. */
    show() {
        if (this.drawing) return;
        const wait = lessMotion() ? REDUCED : QUICK;
        this.drawing = setTimeout(() => {
            this.drawing = 0;
            this.draw();
        }, Math.max(0, (this.drawnAt || -wait) + (this.running ? wait : 0) - performance.now()));
    }

    draw() {
        this.drawnAt = performance.now();
        const { running, outcome, updates: done, rate } = this, stopped = Boolean(outcome);
        this.toggle.textContent = running ? "Pause" : "Train";
        this.again.disabled = this.anew.disabled = Boolean(this.broken);
        // A disabled button keeps no focus; what its reader will want next is this one.
        if (stopped && [this.toggle, this.one].includes(document.activeElement)) this.again.focus();
        this.toggle.disabled = this.one.disabled = stopped;
        this.outcomeBox.hidden = !stopped;
        if (this.outcomeBox.textContent !== outcome) this.outcomeBox.textContent = outcome;
        this.root.classList.toggle("trained", done > 0);
        this.numbers.textContent = this.summary() + (running && rate ? `; ${Math.round(rate)} updates a second.` : ".");
        this.past.hidden = !this.ghost;
        if (this.ghost) this.past.textContent = `Before, after ${updates(this.ghost.updates)}: ${this.ghost.words}.`;
        this.loss.draw(this);
        this.view.draw(this);
    }
}

for (const root of document.querySelectorAll(".trainer:not([data-ready])")) {
    root.setAttribute("data-ready", "");
    new Trainer(root);
}
