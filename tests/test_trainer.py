"""The trainer's output: what it holds, what it refuses, and what a page keeps of several."""

import json
import re

import pytest
from explorer_samples import extension
from trainer_samples import START, trainer

from dpbook_course.web import train
from dpbook_course.web.picture import chain, described
from dpbook_course.web.stories import STORIES, Story


def blocks(html: str) -> list:
    """The JSON of an output's elements: the choices, and the worker's text."""
    return [json.loads(text) for text in re.findall(r'<script[^>]* ?type="application/json">(.*?)</script>', html)]


def test_the_page_gets_the_choices_and_the_worker():
    data, worker = blocks(trainer(m=8)._repr_html_())
    assert worker == 'postMessage("<b>")'
    assert data["start"] == {**{name: str(value) for name, value in START.items()}, "m": "8"}
    assert [control["id"] for control in data["controls"]][:3] == ["story", "system", "coupling"]
    values = {control["id"]: dict(control["values"]) for control in data["controls"]}
    assert list(values["m"]) == [str(m) for m in range(1, 17)] and values["m"]["1"] == "1 step"
    assert values["coupling"] == {"additive": "added to u", "inside": "inside P", "other": "another"}
    assert values["story"] == {"long": "A long chain", "": "none: choices of your own"}
    assert data["stories"]["long"]["settings"] == {"m": "16", "placement": "final"}


def test_no_text_ends_an_element():
    bad = 'Bad </script><img src=x> <!-- <b>&amp; "quotes"'
    html = trainer(worker=bad, stories={"bad": Story(bad, bad, {})})._repr_html_()
    data, worker = blocks(html)
    assert worker == bad == data["stories"]["bad"]["story"]
    assert html.count("</script>") == 3 and "<img" not in html and "<!--" not in html


def test_scripts_and_styles_are_the_same_for_all_and_nothing_stands_in_attributes():
    htmls = [trainer()._repr_html_(), trainer("other", m=8)._repr_html_()]
    for tag in ("<style>", '<script type="module">'):
        assert len({html.split(tag)[1].split("</")[0] for html in htmls}) == 1
    without = re.sub(r"<(script|style).*?</\1>", "", htmls[0], flags=re.DOTALL)
    assert not re.search(r"\s(on\w+|style|src|href)=", without)
    names = {re.search(r'<div class="explorer trainer" id="(trainer-[0-9a-f]{12})"', html)[1] for html in htmls}
    assert len(names) == 2 and trainer()._repr_html_() == htmls[0]


def test_a_page_keeps_the_worker_once():
    context = {"body": "".join(trainer(name)._repr_html_() for name in ("one", "two"))
               + trainer("three", worker="another")._repr_html_()}
    assert len(blocks(context["body"])) == 6
    extension("shared_text").share(None, "page", "page.html", context, None)
    kept = blocks(context["body"])
    assert [block if isinstance(block, str) else block["name"] for block in kept] == [
        "one", 'postMessage("<b>")', "two", "three", "another"]
    marks = re.findall(r'data-shared="(\w+)"', context["body"])
    assert [kept[k]["worker"] for k in (0, 2, 3)] == [marks[0], marks[0], marks[1]]


@pytest.mark.parametrize("changes, message", [
    ({"name": "Two words"}, "lower-case letters"),
    ({"m": 17}, "m = 17 is not offered; choose one of 1, 2"),
    ({"speed": 3}, "there are story, system, coupling"),
    ({"coupling": "other"}, "coupling = 'other' is not offered; choose one of additive, inside"),
    ({"system": "tides"}, "system = 'tides' is not offered; choose one of waves, fronts, still"),
    ({"coupling": "inside", "policy": "cut"}, "policy = 'cut' does not go with .* 'inside'.*choose one of full"),
    ({"system": "still", "m": 8}, r"m = 8 does not go with system = 'still'; choose 1 \.\.\. 1"),
    ({"system": "still", "m": 1, "noise": 0.01}, "noise = 0.01 does not go with system = 'still'.*choose 0"),
])
def test_what_is_not_offered_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        trainer(**changes)


def test_an_unknown_preset_is_refused():
    with pytest.raises(ValueError, match="preset is 'two-steps'; choose one of 'two-answers', 'one-step'"):
        train("two-steps")


def test_readers_without_scripts_get_the_chain_and_the_choices():
    html = trainer(policy="cut", m=8)._repr_html_()
    text = "A chain of 8 steps of the solver P with the network N, the loss at every step; the gradient is cut at"
    assert f"<figcaption>{text}" in html and f'aria-label="{text}' in html
    said = re.search("<noscript>.*</noscript>", html)[0]
    assert "Gradient policy: cut at the solver (NOG); " in said and "Steps k" not in said
    one = trainer(m=1).summary()
    assert "1 step" in one and not any(word in one for word in ("Gradient policy", "Loss placement", "Steps k"))
    assert "Steps k between two cuts: 2" in trainer(policy="truncated").summary()


@pytest.mark.parametrize("policy, crosses, ways", [
    ("full", 0, 5), ("cut", 3, 4), ("pushforward", 1, 1), ("truncated", 1, 5)])
def test_the_picture_shows_where_the_gradient_is_cut(policy, crosses, ways):
    """Eight steps, of which the ends are drawn: 1, 2, 7, 8."""
    settings = {"m": "8", "policy": policy, "truncation": "6", "placement": "every", "coupling": "additive"}
    picture = chain(settings)
    assert picture.count("m0,-10") == crosses and picture.count("#D55E00") == ways
    assert described({**settings, "m": "1"}) == (
        "A chain of one step of the solver P with the network N, the loss at its end; the gradient flows back to N.")


def test_every_story_can_be_told_and_the_page_stays_small():
    for name in STORIES:
        made = train(name)
        assert made.start["story"] == name and len(made._repr_html_().encode()) < 600e3
    assert train("one-step", m=3).start["m"] == 3


def test_a_page_may_have_some_of_the_systems():
    made = train("flow", systems=("flow",))
    data, worker = blocks(made._repr_html_())
    assert list(data["systems"]) == ["flow"] and list(data["stories"]) == ["flow"]
    assert "const SYSTEMS = {\"flow\":" in worker and len(made._repr_html_().encode()) < 350e3
    values = {control["id"]: dict(control["values"]) for control in data["controls"]}
    assert list(values["coupling"]) == ["additive", "right-hand side"]


@pytest.mark.parametrize("systems, message", [
    (("tides",), "systems is 'tides'; choose one of 'burgers'"),
    ("flow", "systems is 'flow'; give names of systems, such as"),
    ((), "give names of systems"),
    (("burgers",), "the story 'flow' is of system = 'flow', which is not among systems"),
])
def test_systems_that_do_not_fit_are_refused(systems, message):
    with pytest.raises(ValueError, match=message):
        train("flow", systems=systems)
