"""The built pages in a real browser, opened as files with the network cut off."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from test_book import CHAPTERS, ROOT


class Visit:
    """A page opened from its file, and what happened on the way."""

    def __init__(self, browser, path, query=""):
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.page = browser.new_page()
        self.page.route("**/*", self._block)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda message: message.type == "error" and self.errors.append(message.text))
        self.page.goto(path.as_uri() + query)
        self.page.wait_for_function("window.MathJax ? MathJax.startup?.promise : true")
        self.page.evaluate("window.MathJax?.startup.promise.then(() => null)")

    def _block(self, route) -> None:
        if route.request.url.startswith(("file:", "data:", "blob:")):
            route.continue_()
        else:
            self.requests.append(route.request.url)
            route.abort()


@pytest.fixture(scope="module", params=CHAPTERS)
def chapter(request, browser, html):
    visit = Visit(browser, html / f"{request.param}.html")
    # What waits for a prediction is judged, too.
    visit.page.locator(".predict button").evaluate_all("buttons => buttons.forEach(button => button.click())")
    found = next(path for path in (ROOT / f"{request.param}.ipynb", ROOT / f"{request.param}.md") if path.exists())
    visit.source = found.read_text(encoding="utf-8")
    yield visit
    visit.page.close()


@pytest.fixture
def introduction(browser, html):
    visit = Visit(browser, html / "book/intro.html")
    yield visit.page
    visit.page.close()


def test_page_loads_without_errors_or_requests(chapter):
    assert chapter.requests == []
    assert chapter.errors == []


def test_every_formula_is_typeset(chapter):
    written, typeset = (chapter.page.locator(f"article {what}").count() for what in (".math", ".math mjx-container"))
    assert typeset >= written
    assert chapter.page.locator("mjx-merror").count() == 0


@pytest.mark.parametrize("theme, width", [("light", 390), ("dark", 320)])
def test_page_fits_a_phone(chapter, theme, width):
    """Also a narrow one, or a page at 400 %: WCAG 1.4.10."""
    chapter.page.emulate_media(color_scheme=theme)
    chapter.page.set_viewport_size({"width": width, "height": 844})
    too_wide = chapter.page.evaluate("""() => [...document.querySelectorAll('article *')].filter(element => {
        for (let box = element; box.tagName !== 'ARTICLE'; box = box.parentElement)
            if (getComputedStyle(box).overflowX !== 'visible') return false;  // scrolls by itself
        return element.getBoundingClientRect().right > window.innerWidth + 1;
    }).map(element => element.outerHTML.slice(0, 120))""")
    assert too_wide == []
    assert chapter.page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [1280, 390])
def test_no_line_of_code_and_no_figure_is_cut(chapter, width):
    chapter.page.set_viewport_size({"width": width, "height": 844})
    cut = chapter.page.evaluate("""() => [...document.querySelectorAll('article div.highlight pre')].filter(
        box => box.scrollWidth > box.clientWidth + 1).map(box => box.textContent.slice(0, 80))""")
    assert cut == []
    wide = chapter.page.evaluate("""() => [...document.querySelectorAll('article .cell_output img')].filter(
        image => image.getBoundingClientRect().right > window.innerWidth).map(image => image.alt.slice(0, 80))""")
    assert wide == []


@pytest.mark.parametrize("theme, width", [("light", 1280), ("dark", 390)])
def test_page_is_accessible(chapter, theme, width):
    """The rules of WCAG 2.1, levels A and AA, that a machine can check."""
    chapter.page.emulate_media(color_scheme=theme)
    chapter.page.set_viewport_size({"width": width, "height": 844})
    chapter.page.wait_for_timeout(300)  # colours fade from one theme to the other
    rules = {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}
    found = Axe().run(chapter.page, options={"runOnly": rules, "resultTypes": ["violations"]})
    assert [(violation["id"], node["html"][:200]) for violation in found.response["violations"]
            for node in violation["nodes"]] == []


def test_page_refuses_scripts_that_it_was_not_built_with(introduction):
    """Its Content-Security-Policy; that its own scripts are allowed shows in the tests above."""
    introduction.evaluate("""() => {
        const script = document.createElement("script");
        script.textContent = "window.smuggled = true";
        document.body.append(script);
        const image = document.createElement("img");
        image.setAttribute("onerror", "window.smuggled = true");
        image.src = "data:,";
        document.body.append(image);
    }""")
    introduction.wait_for_timeout(200)
    assert introduction.evaluate("window.smuggled") is None


def test_theme_button_changes_the_theme_and_the_figures_follow(introduction):
    ink = "getComputedStyle(document.querySelector('svg.dp-figure text')).fill"
    seen = {}
    for _ in range(3):  # the button goes round: automatic, light, dark
        introduction.locator("button.theme-switch-button:visible").first.click()
        seen[introduction.evaluate("document.documentElement.dataset.theme")] = introduction.evaluate(ink)
    assert set(seen) == {"light", "dark"}
    assert seen["light"] != seen["dark"]


def test_search_finds_a_word_of_the_book_without_an_error(browser, html):
    visit = Visit(browser, html / "search.html", "?q=operator")
    visit.page.wait_for_selector("#search-results li a")
    visit.page.wait_for_timeout(500)
    assert visit.page.locator("#search-results li a").count() >= 1
    assert (visit.errors, visit.requests) == ([], [])
    visit.page.close()


def test_what_a_page_shows_is_no_markup_of_its_source(chapter):
    """Tables and lists of computed text are tables and lists, as the verdicts have them."""
    assert chapter.page.locator("article p", has_text="| effect").count() == 0
    assert chapter.page.locator("article li:text-matches('^\\s*$')").count() == 0
    if re.search(r'course\.verdict\(\\?"C', chapter.source):
        assert chapter.page.locator("article .cell_output table th", has_text="95 % interval").count() >= 1
