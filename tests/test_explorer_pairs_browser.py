"""The comparison of stored rows in a real browser: on a page of its own, under the book's policy, without a network."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from explorer_samples import INSERT, visits
from explorer_samples import page as page_of
from pairs_samples import comparison
from playwright.sync_api import expect

import dpbook_course as course

ROWS = {"a": [1.0, 1.1, 1.2, 1.0, 1.1, 1.2], "b, wide": [2.0, 2.2, 2.4, 2.0, 2.2, 2.5], "c": [2.0] * 6, "P": [4.0],
        "few": [3.0, 3.0], "gone": [8.0] * 5 + [float("inf")], "zero": [0.0] * 6}


@pytest.fixture
def opened(browser, tmp_path):
    """``opened(comparison, address, **options)``: without one, that of ROWS."""
    with visits(browser, tmp_path / "page.html", ".compare[data-ready]",
                viewport={"width": 390, "height": 844}) as visit:
        yield lambda made=None, address="", **options: visit(made or comparison(ROWS, (10, 20), budget="10"), address,
                                                             **options)


def control(page, name):
    return page.locator(f".compare [id$='-{name}']:is(input, select)")


def status(page):
    return page.locator(".compare .status").text_content()


def test_it_says_which_is_smaller_and_how_sure_that_is(opened):
    page = opened()
    found = course.ratio(comparison(ROWS).frame, "a", "c", 10, "error")
    assert status(page) == (f"a (10 updates) has {found.ratio:.3g} times the error of c (10 updates) ({found.low:.3g} "
                            f"to {found.high:.3g}, 6 seeds): smaller. A is smaller in 6 of 6; exact test on ranks: "
                            f"p = {found.p_value:.2g}.")
    assert page.locator(".meaning").text_content() == "error: distance from the truth [m]."
    assert page.locator(".views svg").last.locator(".row").count() == 6  # "zero" has no ratio
    assert "error [m]" in page.locator(".views svg").last.text_content()
    control(page, "b").select_option("few")
    assert "2 seeds): not read, because 6 are needed." in status(page)
    assert status(page).endswith(" Not counted, without a partner: seeds 2, 3, 4, 5 of A.")
    control(page, "a").select_option("gone")
    control(page, "b").select_option("c")
    assert "gone (10 updates) has 4 times the error of c" in status(page)
    assert "larger. A is smaller in 0 of 6" in status(page)
    assert "Lost, because they diverged or are not finite: 1 of A, 0 of B" in status(page)
    control(page, "b").select_option("P")  # one value, for every seed
    assert "has 2 times the error of P (" in status(page)


def test_the_keyboard_alone_asks_another_question(opened):
    page = opened()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.labels[0].textContent") == "Budget"
    page.keyboard.press("ArrowUp")
    assert status(page).startswith("a (20 updates) has 0.548 times")
    page.keyboard.press("Tab")
    page.keyboard.press("b")
    assert status(page).startswith("b, wide (20 updates) has 1.1 times the error of c")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.type("wide")
    assert page.locator(".views svg").last.locator(".row").count() == 2  # it, and B
    assert "4 more rows" in page.locator(".views svg").last.text_content()


def test_a_click_on_a_row_makes_it_a(opened):
    page = opened(viewport={"width": 1280, "height": 900})
    rows = page.locator(".views svg").last.locator(".row")
    rows.filter(has_text="b, wide").click()
    assert (control(page, "a").input_value(), control(page, "b").input_value()) == ("b, wide", "a")
    assert status(page).startswith("b, wide (10 updates) has 2.01 times the error of a")
    assert rows.filter(has_text="A: b, wide").count() == 1
    page.wait_for_url("**#compare-made-up:*")
    again = opened(address=page.evaluate("location.hash"))
    assert status(again) == status(page)


def test_an_address_that_asks_for_what_there_is_not_is_told(opened):
    page = opened(address="#compare-made-up:measure=error;a=nobody;b=zero")
    told = page.locator(".why").text_content()
    assert "a = nobody" in told and "which this figure does not offer" in told
    assert "zero has no such numbers; B is now c." in told


def test_all_numbers_are_a_table(opened):
    page = opened()
    page.locator("summary", has_text="All numbers").click()
    assert page.locator("table tr").nth(1).inner_text().split("\t") == ["a", "1.1", "1.01 to 1.19", "6"]
    assert page.locator("table tr", has_text="gone").inner_text().split("\t") == ["gone", "8", "8 to 8", "6, 1 lost"]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_it_fits_and_is_accessible(opened, theme, width):
    page = opened(color_scheme=theme, viewport={"width": width, "height": 844})
    page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true; })")
    sides = page.locator(".explorer *:visible").evaluate_all(
        "all => Math.max(...all.map(element => element.getBoundingClientRect().right))")
    assert sides <= width and page.evaluate("document.documentElement.scrollWidth") <= width
    rules = {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}
    found = Axe().run(page, options={"runOnly": rules, "resultTypes": ["violations"]})
    assert [(violation["id"], node["html"][:200]) for violation in found.response["violations"]
            for node in violation["nodes"]] == []
    smallest = page.locator("input, select").evaluate_all(
        "all => Math.min(...all.map(input => input.getBoundingClientRect().height))")
    assert smallest >= 24


def test_without_scripts_there_are_a_picture_and_the_means(browser, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(page_of(comparison(ROWS)), encoding="utf-8")
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(path.as_uri())
    assert page.locator(".picture svg").is_visible()
    assert page.locator(".picture svg").get_attribute("aria-label").startswith("error, geometric means: a: 1.1; ")
    assert "b, wide: 2.21 (" in page.locator("noscript").inner_text()
    context.close()


def test_a_notebook_may_insert_it_later(opened):
    page = opened()
    page.evaluate(INSERT, comparison(ROWS, a="c", b="a")._repr_html_())
    expect(page.locator(".compare[data-ready]")).to_have_count(2)
    assert page.locator(".compare .status").last.text_content().startswith("c has 1.82 times the error of a")
