// What scrolls inside the page (wide tables, long outputs, code, formulas) can be reached and scrolled with the keyboard.
"use strict";

function letScrollersTakeFocus() {
    for (const box of document.querySelectorAll("article :is(.cell_output, table, pre, mjx-container, .output, .math)")) {
        const style = getComputedStyle(box), can = value => value === "auto" || value === "scroll";
        const scrolls = (can(style.overflowX) && box.scrollWidth > box.clientWidth)
            || (can(style.overflowY) && box.scrollHeight > box.clientHeight);
        if (scrolls && box.tabIndex < 0) box.tabIndex = 0;  // also where the theme, once, found nothing to scroll
    }
}

/** Beside the theme's link past the menus, one to the first figure that trains: it stands below many other links. */
function skipToTheTrainer() {
    const trainer = document.querySelector(".trainer"), skip = document.querySelector(".skip-link");
    if (!trainer || !skip) return;
    const link = document.createElement("a");
    link.href = `#${trainer.id}`;
    link.textContent = "Skip to the training";
    trainer.tabIndex = -1;
    skip.append(" ", link);
}

/** After "Predict." the rest of the section waits until its reader has said something. Without scripts all is shown. */
function askForPredictions() {
    for (const lead of document.querySelectorAll("article p > strong:first-child")) {
        const question = lead.parentElement, rest = [];
        if (lead.textContent !== "Predict.") continue;
        for (let next = question.nextElementSibling; next; next = next.nextElementSibling) {
            if (next.matches("section") || next.querySelector(":scope > strong")?.textContent === "Predict.") break;
            rest.push(next);
        }
        if (rest.length) question.after(prediction(rest));
    }
}

function prediction(rest) {
    const box = document.createElement("div"), label = document.createElement("label");
    const words = document.createElement("input"), button = document.createElement("button");
    box.className = "predict";
    words.type = "text";
    button.type = "button";
    button.textContent = "Commit, and show what comes out";
    label.append("Your prediction ", words);
    box.append(label, button);
    const reveal = () => {
        if (!button.isConnected) return;
        const said = document.createElement("p");
        said.tabIndex = -1;
        said.textContent = words.value.trim() ? `Your prediction: ${words.value.trim()}` : "Shown without a prediction.";
        const focused = box.contains(document.activeElement);
        box.replaceChildren(said);
        if (focused) said.focus();  // what is gone keeps no focus
        rest.forEach(one => one.classList.remove("held-back"));
        letScrollersTakeFocus();
    };
    const follow = () => {  // a link into what waits
        const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
        if (!rest.some(one => target && one.contains(target))) return;
        reveal();
        target.scrollIntoView();
    };
    button.addEventListener("click", reveal);
    words.addEventListener("keydown", event => { if (event.key === "Enter") reveal(); });
    window.addEventListener("hashchange", follow);
    rest.forEach(one => one.classList.add("held-back"));
    window.addEventListener("load", follow);
    return box;
}

window.addEventListener("DOMContentLoaded", skipToTheTrainer);
window.addEventListener("DOMContentLoaded", askForPredictions);
window.addEventListener("resize", letScrollersTakeFocus);
window.addEventListener("load", () => {
    letScrollersTakeFocus();
    window.MathJax?.startup?.promise?.then(letScrollersTakeFocus);
});
