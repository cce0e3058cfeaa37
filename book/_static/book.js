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

window.addEventListener("resize", letScrollersTakeFocus);
window.addEventListener("load", () => {
    letScrollersTakeFocus();
    window.MathJax?.startup?.promise?.then(letScrollersTakeFocus);
});
