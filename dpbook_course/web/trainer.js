// The trainer: a network is trained in a worker of this page, with the solver in the loop, and its views follow.
// Every `.trainer` element holds its choices as JSON. The worker's text stands on a page once, in an element marked
// with its hash, and is read when a trainer comes into view.

const CALM = 5000, QUICK = 150, REDUCED = 1000;  // ms between two spoken texts, two pictures, two with less motion
const ALWAYS = ["story", "system", "coupling", "lr", "seed"];  // controls of a system without a chain, too
const FRESH = ["story", "system", "coupling", "seed"];  // changes that need new weights
const FEW = 20;  // after fewer updates, what was there before a change is no run to compare with

const texts = values => Object.fromEntries(Object.entries(values).map(([name, value]) => [name, String(value)]));

class Trainer {
    constructor(root) {
        this.root = root;
        this.data = JSON.parse(root.querySelector("script[type='application/json']").textContent);
        this.state = { ...this.data.start };
        Object.assign(this, { run: 0, running: false, waiting: false, outcome: "", spoken: -CALM });
        this.clear();
        this.build();
        this.restore();
        addEventListener("hashchange", () => this.restore());
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
        const [story, ...boxes] = data.controls.map(control => {
            const made = this.inputs[control.id] = chooser(id(control.id), control, v => this.change(control.id, v));
            return made.box;
        });
        const button = (words, act) => {
            const made = make("button", { type: "button" }, words);
            made.addEventListener("click", act);
            return made;
        };
        this.toggle = button("Train", () => this.train(!this.running));
        this.toggle.className = "main";
        this.one = button("One update", () => this.step());
        this.again = button("Reset", () => this.restart());
        this.story = make("p", { class: "story" });
        this.why = make("p", { class: "why", hidden: "" });
        this.outcomeBox = make("p", { class: "why outcome", role: "alert", hidden: "" });
        this.numbers = make("p", { class: "numbers" });
        this.past = make("p", { class: "before", hidden: "" });
        this.status = make("p", { class: "spoken", "aria-live": "polite" });
        this.loss = new LossView(root.id);
        this.views = make("div", { class: "views" });
        this.link = make("a", { class: "link" }, "Link to these choices");
        root.append(story, this.story,
            make("fieldset", {}, make("legend", {}, "Choose"), ...boxes), this.why,
            make("div", { class: "buttons" }, this.toggle, this.one, this.again), this.numbers, this.past,
            this.outcomeBox, this.status, this.views, this.link);
    }

    change(id, value) {
        this.state[id] = value;
        if (id === "system") {
            this.state = { ...this.state, ...texts(this.system.start), story: "" };
        }
        if (id !== "story") return this.configure(FRESH.includes(id));
        this.begin();
        this.restart();
    }

    restart() {
        this.running = false;
        this.configure(true);
    }

    /** The choices with which a story begins. */
    begin() { Object.assign(this.state, this.data.stories[this.state.story]?.settings); }

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
        if (state.m === "1" && chained)
            notes.push("With one step all gradient policies and loss placements are one and the same training.");
        else if (state.policy === "pushforward" && state.placement === "every")
            notes.push("Push-forward trains the last step only, so the loss at the other steps has no effect.");
        for (const control of data.controls) {
            const { box, input, set } = this.inputs[control.id];
            box.hidden = !(chained || ALWAYS.includes(control.id)) || (control.id === "truncation" && state.policy !== "truncated");
            if (control.id === "coupling") box.firstChild.textContent = chained ? control.label : "What the loss sees";
            if (control.id === "coupling") [...input.options].forEach(o => { o.hidden = o.disabled = !(o.value in system.couplings); });
            if (control.id === "policy") [...input.options].forEach(o => { o.disabled = !policies.includes(o.value); });
            set(state[control.id]);
        }
        if (this.shown !== state.system) {
            this.view = new VIEWS[system.kind](root.id, system);
            this.views.replaceChildren(...this.loss.figures, ...this.view.figures);
            this.shown = state.system;
        }
        this.why.hidden = !notes.length;
        this.why.textContent = notes.join(" ");
        this.story.textContent = data.stories[state.story]?.story || "";
        this.link.setAttribute("href", "#" + fragment("train", data.name, state));
    }

    text(id) { return this.data.controls.find(c => c.id === id).values.find(([v]) => v === this.state[id])[1]; }

    words() {
        return this.data.controls.filter(({ id }) => !this.inputs[id].box.hidden && id !== "story")
            .map(({ id, label, slider }) => slider && id !== "m" ? `${label} ${this.text(id)}` : this.text(id)).join(", ");
    }

    restore() {
        const wanted = addressed("train")[this.data.name] || {};
        for (const { id, values } of this.data.controls)  // the story first: the rest is what was changed in it
            if (values.some(([value]) => value === wanted[id])) {
                this.state[id] = wanted[id];
                if (id === "story") this.begin();
            }
        this.configure(true, false);
        reveal("train", this.data.name, this.root);
    }

    // The worker ----------------------------------------------------------------------------------------------------

    seen(visible) {
        this.visible = visible;
        if (visible && !this.worker) this.start();
        else if (this.running) this.send({ type: visible ? "train" : "pause" });  // no work for views that nobody sees
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
        if (reset) this.clear();
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
        this.send({ type: "configure", settings, run: ++this.run, reset: Boolean(this.fresh) });
        this.fresh = this.waiting = false;
        if (this.running) this.send({ type: "train" });
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
        if (message.run !== this.run || this.waiting) return;  // of settings that have been replaced
        this.updates = message.updates;
        if (message.type === "progress") {
            message.losses.forEach(loss => this.losses.add(loss));
            Object.assign(this, { last: message.losses.at(-1) ?? this.last, gradients: message.gradients, rate: message.rate });
        }
        if (["rollout", "answers"].includes(message.type)) this.result = message;
        if (message.type === "diverged") this.diverge(message);
        if (!this.running || performance.now() - this.spoken >= CALM) this.speak();
        this.show();
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
        if (this.updates) parts.push(`loss ${brief(this.last)}`);
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
        const wait = matchMedia("(prefers-reduced-motion: reduce)").matches ? REDUCED : QUICK;
        this.drawing = setTimeout(() => {
            this.drawing = 0;
            this.draw();
        }, Math.max(0, (this.drawnAt || -wait) + (this.running ? wait : 0) - performance.now()));
    }

    draw() {
        this.drawnAt = performance.now();
        const { running, outcome, updates: done, rate } = this, stopped = Boolean(outcome);
        this.toggle.textContent = running ? "Pause" : "Train";
        this.again.disabled = Boolean(this.broken);
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
