"""Questions that ask for a prediction, in a real browser: what follows them waits for it."""

import pytest

PAGE = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Page</title><style>{style}</style>
<script>{script}</script></head><body><article><section><p><strong>Predict.</strong> Up or down?</p>
<div class="cell">Down</div><p id="reading">It went down.</p><p><strong>Predict.</strong> Again?</p><p>Up</p>
<section><h2>Next</h2><p>Something else</p></section></section></article></body></html>"""


@pytest.fixture
def opened(browser, tmp_path, root):
    """``opened(address, **options of the context)``: a page with two questions, and the book's script and look."""
    files = {kind: (root / f"book/_static/book.{end}").read_text(encoding="utf-8")
             for kind, end in (("style", "css"), ("script", "js"))}
    path = tmp_path / "page.html"
    path.write_text(PAGE.format(**files), encoding="utf-8")
    contexts = []

    def open_page(address="", **options):
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.goto(path.as_uri() + address)
        return page

    yield open_page
    for context in contexts:
        context.close()


def test_the_answer_waits_for_the_reader_who_needs_no_mouse(opened):
    page = opened()
    assert not page.get_by_text("It went down.").is_visible() and not page.get_by_text("Up", exact=True).is_visible()
    assert page.get_by_text("Something else").is_visible()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.labels[0].textContent.trim()") == "Your prediction"
    page.keyboard.type("<b>up</b>")
    page.keyboard.press("Enter")
    assert page.get_by_text("It went down.").is_visible() and page.get_by_text("Down", exact=True).is_visible()
    assert page.get_by_text("Your prediction: <b>up</b>").is_visible()
    assert not page.get_by_text("Up", exact=True).is_visible()  # the second one waits still
    page.get_by_role("button", name="Commit").click()
    assert page.get_by_text("Up", exact=True).is_visible()
    assert page.get_by_text("Shown without a prediction.").is_visible()


def test_a_link_into_what_waits_shows_it(opened):
    page = opened("#reading")
    assert page.get_by_text("It went down.").is_visible() and not page.get_by_text("Up", exact=True).is_visible()


def test_without_scripts_and_on_paper_all_is_shown(opened):
    assert opened(java_script_enabled=False).get_by_text("It went down.").is_visible()
    page = opened()
    page.emulate_media(media="print")
    assert page.get_by_text("It went down.").is_visible() and not page.get_by_role("button").first.is_visible()
