"""The built pages in a real browser, opened as files with the network cut off."""

import pytest
from test_book import CHAPTERS

# The book's builder writes this declaration into every page twice; nothing here uses it.
KNOWN_ERROR = "Identifier 'THEBE_JS_URL' has already been declared"


@pytest.fixture
def context(browser):
    context = browser.new_context()
    yield context
    context.close()


class Visit:
    """A page opened from its file, and what happened on the way."""

    def __init__(self, context, path, width: int = 1280, theme: str = "light"):
        self.errors: list[str] = []
        self.requests: list[str] = []
        context.route("**/*", self._block)
        self.page = context.new_page()
        self.page.set_viewport_size({"width": width, "height": 900})
        self.page.emulate_media(color_scheme=theme)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        self.page.goto(path.as_uri(), wait_until="load")
        self.page.wait_for_function("!window.MathJax || !MathJax.startup || MathJax.startup.promise")
        self.page.evaluate("window.MathJax && MathJax.startup ? MathJax.startup.promise.then(() => null) : null")

    def _block(self, route):
        if route.request.url.startswith(("file:", "data:", "blob:")):
            route.continue_()
        else:
            self.requests.append(route.request.url)
            route.abort()

    @property
    def unexpected_errors(self) -> list[str]:
        return [error for error in self.errors if error != KNOWN_ERROR]


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_page_loads_without_errors_or_requests(context, html, chapter):
    visit = Visit(context, html / f"{chapter}.html")
    assert visit.requests == []
    assert visit.unexpected_errors == []


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_formula_is_typeset(context, html, chapter):
    page = Visit(context, html / f"{chapter}.html").page
    written, typeset = (page.locator(f"article {selector}").count() for selector in (".math", ".math mjx-container"))
    assert typeset >= written
    assert page.locator("mjx-merror").count() == 0


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("chapter", CHAPTERS)
def test_page_fits_a_phone(context, html, chapter, theme):
    page = Visit(context, html / f"{chapter}.html", width=390, theme=theme).page
    too_wide = page.evaluate("""() => [...document.querySelectorAll('article *')].filter(element => {
        for (let box = element; box.tagName !== 'ARTICLE'; box = box.parentElement)
            if (getComputedStyle(box).overflowX !== 'visible') return false;  // scrolls by itself
        return element.getBoundingClientRect().right > window.innerWidth + 1;
    }).map(element => element.outerHTML.slice(0, 120))""")
    assert too_wide == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_theme_button_changes_the_theme_and_the_figures_follow(context, html):
    page = Visit(context, html / "book/intro.html").page
    ink = "getComputedStyle(document.querySelector('svg.dp-figure text')).fill"
    seen = {}
    for _ in range(3):  # the button goes round: automatic, light, dark
        page.locator("button.theme-switch-button:visible").first.click()
        seen[page.evaluate("document.documentElement.dataset.theme")] = page.evaluate(ink)
    assert set(seen) == {"light", "dark"}
    assert seen["light"] != seen["dark"]


def test_search_finds_a_word_of_the_book(context, html):
    page = Visit(context, html / "search.html").page
    page.goto((html / "search.html").as_uri() + "?q=operator")
    page.wait_for_selector("#search-results li a")
    assert page.locator("#search-results li a").count() >= 1
