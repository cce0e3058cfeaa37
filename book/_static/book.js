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

window.addEventListener("DOMContentLoaded", skipToTheTrainer);
window.addEventListener("resize", letScrollersTakeFocus);
window.addEventListener("load", () => {
    letScrollersTakeFocus();
    window.MathJax?.startup?.promise?.then(letScrollersTakeFocus);
});
