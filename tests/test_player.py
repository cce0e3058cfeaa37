"""The player of moving fields: what it writes, what it refuses, and what it does in a browser."""

import base64
import json
import re

import numpy as np
import pytest
from playwright.sync_api import expect

from dpbook_utils.explorer.player import HIDDEN, LEVELS, Player

TIMES, NX, NY = 5, 6, 4
HIDE = np.zeros((NX, NY), bool)
HIDE[1, 2] = True
RAMP = np.arange(TIMES)[:, None, None] + np.zeros((TIMES, NX, NY)) - 2.0  # -2 ... 2


def player(**changes) -> Player:
    given = dict(name="made-up", title="A made-up wake", fields={"reference": RAMP, "source": -RAMP},
                 errors={"source": np.linspace(0, 0.4, TIMES)}, dt=0.5, scale=2.0, label="vorticity [U/D]", unit="D/U",
                 hidden=HIDE)
    return Player(**{**given, **changes})


def payload(html: str) -> dict:
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', html, re.DOTALL)[1])


def test_levels_are_symmetric_clipped_and_hidden_where_there_is_nothing_to_see():
    values = np.array([[[-9.0, -2.0, 0.0, 2.0]], [[9.0, np.nan, 1.0, -1.0]]])
    made = player(fields={"u": values}, errors={"u": np.zeros(2)}, hidden=np.zeros((1, 4), bool))
    assert made.levels(values).tolist() == [[[0, 0, LEVELS, 2 * LEVELS]], [[2 * LEVELS, HIDDEN, 190, 64]]]
    levels = player().levels(RAMP)
    assert (levels[:, 1, 2] == HIDDEN).all() and (levels[2] == LEVELS).sum() == NX * NY - 1


def test_the_page_gets_the_fields_one_byte_a_value():
    data = payload(player()._repr_html_())
    levels = np.frombuffer(base64.b64decode(data["fields"]["source"]), np.uint8).reshape(TIMES, NX, NY)
    assert (levels == player().levels(-RAMP)).all()
    assert data["errors"]["source"] == [0.0, 0.1, 0.2, 0.3, 0.4] and data["largest"] == 0.44


def test_fifty_times_of_the_studys_grid_stay_small():
    fields = {name: np.random.default_rng(0).normal(size=(51, 63, 32)) for name in ("reference", "source", "hybrid")}
    made = player(fields=fields, errors={"source": np.ones(51)}, hidden=np.zeros((63, 32), bool))
    assert len(made._repr_html_()) < 600_000


@pytest.mark.parametrize("changes, message", [
    ({"name": "Bad name"}, "lower-case"), ({"scale": 0.0}, "must be positive"), ({"fields": {}}, "one or more"),
    ({"fields": {"a": RAMP, "b": RAMP[1:]}}, "of one shape"), ({"errors": {"a": np.zeros(2)}}, "do not fit"),
    ({"hidden": np.zeros((2, 2), bool)}, "do not fit")])
def test_what_does_not_fit_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        player(**changes)


def test_no_text_ends_the_script_element_and_readers_without_scripts_get_the_numbers():
    html = player(title='</script><img src=x> "q"')._repr_html_()
    assert html.count("</script>") == 2 and "<img" not in html
    assert "Errors at the end: source: 0.4" in player()._repr_html_()


@pytest.fixture
def opened(browser, tmp_path):
    """``opened(player, address)``: its page, which asks for nothing and complains of nothing."""
    pages, complaints = [], []

    def visit(made: Player, address: str = ""):
        path = tmp_path / "page.html"
        path.write_text('<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Player</title></head><body>'
                        f"{made._repr_html_()}</body></html>", encoding="utf-8")
        page = browser.new_page(viewport={"width": 400, "height": 900})
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: complaints.append(request.url) if "page.html" not in request.url else None)
        page.goto(path.as_uri() + address)
        page.wait_for_selector(".player canvas[aria-label]")
        pages.append(page)
        return page

    yield visit
    assert complaints == []
    for page in pages:
        page.close()


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
    page.wait_for_function("location.hash === '#play-made-up:t=4'")


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
