"""The player of moving fields in a real browser: on a page of its own, under the book's policy, without a network."""

import re

import pytest
from explorer_samples import visits
from player_samples import HIDE, player
from playwright.sync_api import expect


@pytest.fixture
def opened(browser, tmp_path):
    with visits(browser, tmp_path / "page.html", ".player canvas[aria-label]",
                viewport={"width": 400, "height": 900}) as visit:
        yield visit


def test_keys_move_the_time_and_all_views_follow(opened):
    page = opened(player())
    first = page.locator(".fields canvas").first.evaluate("canvas => canvas.toDataURL()")
    assert "Relative error: source 0." in page.locator(".status").text_content()
    page.locator("input[type=range]").press("ArrowRight")
    page.locator("input[type=range]").press("ArrowRight")
    assert page.locator(".status").text_content() == "Time 1 D/U. Relative error: source 0.2."
    assert page.locator(".fields canvas").first.evaluate("canvas => canvas.toDataURL()") != first
    assert page.locator(".fields canvas").nth(1).get_attribute("aria-label").endswith("source at time 1 D/U")
    page.locator("input[type=range]").press("End")
    assert "Time 2 D/U" in page.locator(".status").text_content()
    expect(page).to_have_url(re.compile("#play-made-up:t=4$"))


def test_it_stands_still_until_it_is_started_and_stops_at_the_end(opened):
    page = opened(player(), "#play-made-up:t=2")
    page.wait_for_timeout(300)
    assert "Time 1 D/U" in page.locator(".status").text_content()
    page.locator("button").focus()
    page.keyboard.press("Space")
    expect(page.locator("button")).to_have_text("Stop")
    expect(page.locator("button")).to_have_text("Play")  # at the end
    assert "Time 2 D/U. Relative error: source 0.4" in page.locator(".status").text_content()
    page.locator("button").press("Enter")  # from the start again
    page.locator("button").press("Enter")
    assert "Time 2" not in page.locator(".status").text_content()


def test_a_narrow_page_is_not_widened(opened):
    page = opened(player())
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_time_that_is_not_there_says_so(opened):
    page = opened(player(), "#play-made-up:t=99")
    expect(page.locator(".why")).to_contain_text("The address asks for t = 99, which this figure does not offer.")


def test_without_errors_and_without_an_obstacle_neither_is_spoken_of(opened):
    page = opened(player(errors={}, hidden=HIDE & False))
    assert page.locator(".status").text_content() == "Time 0 D/U."
    assert page.locator(".player svg").count() == 0 and "grey" not in page.locator(".scale").text_content()
    page.locator("input[type=range]").press("End")
    assert page.locator(".status").text_content() == "Time 2 D/U."
    assert "grey: the obstacle" in opened(player()).locator(".scale").text_content()
