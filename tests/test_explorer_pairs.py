"""The comparison of stored rows: the page's script gives the numbers of the claims' functions, and all is offered."""

import functools
import itertools
import json
import math
import re
from dataclasses import replace
from importlib.resources import files

import javascript
import numpy as np
import pandas
import pytest
from pairs_samples import comparison
from scipy import stats
from test_book import ROOT

import dpbook_course as course
from dpbook_course.claims.effects import paired_ratio
from dpbook_course.explorer.pairs import MOST, Comparison, compare

SCRIPT = files("dpbook_course.explorer").joinpath("paired.js").read_text(encoding="utf-8")
PAGES = sorted((ROOT / "book/studies").glob("*.md"))
SHOWN = sorted({study for path in PAGES for study in re.findall(r'course\.compare\("(\w+)"', path.read_text("utf-8"))})
compared = functools.cache(compare)


def payload(text: str) -> dict:
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', text, re.DOTALL)[1])


def in_page(made: Comparison, asked: list[tuple[int, int, int]]) -> list[dict]:
    """What the script of the page computes for (measure, row a, row b)."""
    return javascript.run(SCRIPT, result="""ASKED.map(([m, a, b]) => {
        const found = paired(DATA.rows[a], DATA.rows[b], m, DATA);
        return { ...found, means: [a, b].map(k => meanOf(DATA.rows[k], m, DATA)) };
    })""", ASKED=asked, DATA=made.data())


def agrees(found: dict, expected) -> None:
    """The same ratio, interval, p, reading and counts, to more digits than anybody sees."""
    def same(one, other):
        return one is None if math.isnan(other) else one == pytest.approx(other, rel=1e-9)

    assert all(same(one, other) for one, other in zip(found["ratio"], expected[:3], strict=True))
    assert found["p"] == pytest.approx(expected.p_value, rel=1e-9)
    assert (len(found["logs"]), found["wins"], found["reading"]) == (expected.num_pairs, expected.wins,
                                                                    expected.reading)
    assert found["lost"] == [expected.blown_up_a, expected.blown_up_b]


@pytest.mark.parametrize("study", ["e04", "e09", "e14_viscosity", "e01_conservation"])
def test_the_page_gives_the_numbers_of_the_claims(study):
    """Baselines, trainings that diverged and sets of data included."""
    made = compared(study)
    assert all(name in made.spec.baselines for name, n in made.rows if n == 0)
    names, generator = list(made.measures), np.random.default_rng(0)
    offered = [(m, *pair) for m, name in enumerate(names) for pair in itertools.permutations(
        [k for k, row in enumerate(made.rows) if row in made.measures[name]], 2)]
    asked = [offered[k] for k in generator.choice(len(offered), min(120, len(offered)), replace=False)]
    readings = set()
    for (m, a, b), found in zip(asked, in_page(made, asked), strict=True):
        (first, n), (second, other) = made.rows[a], made.rows[b]
        agrees(found, course.ratio(made.frame, first, second, n, names[m], budget_b=other))
        for row, mean in zip((a, b), found["means"]):
            expected = course.interval(made.frame, *made.rows[row], names[m])
            assert mean[0] == pytest.approx(expected.value, rel=1e-9)
            assert (mean[1] is None) if math.isnan(expected.low) else mean[1] == pytest.approx(expected.low, rel=1e-9)
        readings.add(found["reading"])
    assert {"as claimed", "the other way"} <= readings


@pytest.mark.parametrize("a, b", [
    ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [2.0, 2.0, 2.0, 2.0, 2.0, 2.0]),  # a tie
    ([1.0] * 6, [1.01, 1.02, 1.0, 1.03, 1.01, 1.02]),  # no difference
    ([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 50.0], [2.0] * 7),
    ([1.0] * 8, [2.0] * 5 + [np.inf, np.nan, 3.0]),
    ([np.inf] * 2 + [1.0] * 6, [np.nan] + [3.0] * 7),
    ([np.inf] * 6, [1.0] * 6), ([1.0] * 5, [2.0] * 5), ([1.0], [2.0]), ([1.0] * 6, [1.0] * 6),
    ([np.inf] * 6, [np.inf] * 6)])
def test_lost_seeds_ties_and_few_seeds_are_read_as_by_the_claims(a, b):
    made = comparison({"a": a, "b": b, "other": [1.0, 2.0], "more": [3.0, 4.0]})
    data = made.data() if made.measures and {"a", "b"} <= {name for name, _ in made.measures["error"]} else {
        "rows": [{"at": list(range(len(x))), "base": False,
                  "values": [[y if math.isfinite(y) else None for y in x]]} for x in (a, b)],
        "seeds": [[0, seed] for seed in range(len(a))], "quantiles": stats.t.ppf(0.975, np.arange(1, 12)).tolist()}
    found, = javascript.run(SCRIPT, result="[paired(DATA.rows[0], DATA.rows[1], 0, DATA)]", DATA=data)
    agrees(found, paired_ratio(a, b))


def test_seeds_without_a_partner_are_told_and_not_counted():
    made = comparison({"a": [1.0] * 8, "b": [2.0, 2.0, 2.0, 2.0, 2.0, 2.5]})
    found, = in_page(made, [(0, 0, 1)])
    assert len(found["logs"]) == 6 and found["alone"] == [[6, 7], []]
    agrees(found, course.ratio(made.frame, "a", "b", 10, "error"))


@pytest.mark.parametrize("study", SHOWN)
def test_what_the_pages_show_takes_little_space_or_says_what_is_missing(study):
    made = compared(study)
    text = made._repr_html_()
    if not made.measures:
        assert f"python -m dpbook_course.experiments run {study}" in text and "<script" not in text
        return
    data = payload(text)
    assert len(text.encode()) < 150e3
    assert data["start"]["a"] != data["start"]["b"] and data["start"]["a"] in dict(made.rows)
    assert all(sorted(set(rows)) == rows and len(rows) for _, _, rows in data["budgets"])
    assert len({text for _, text, _ in data["budgets"]}) == len(data["budgets"])
    for row in data["rows"]:
        assert all(x is None or len(x) == len(row["at"]) for x in row["values"])
    assert 'class="picture"><svg' in text and "needs JavaScript" in text
    assert all(made.spec.metrics[name] == sentence for name, sentence in data["measures"])


def test_budgets_are_numbers_where_rows_share_them_and_places_where_not():
    assert list(compared("e04").budgets)[:3] == ["largest", "1500", "6000"]
    viscosity = compared("e14_viscosity").budgets
    assert [text for text, _ in viscosity.values()] == ["the largest of each", "the smallest of each",
                                                        "the second of each"]
    assert {n for name, n in viscosity["place-1"][1] if name.startswith("finite differences")} == {25, 15, 8, 4, 2, 1}


def test_it_opens_with_what_is_asked_for_and_passes_over_what_is_not_stored():
    rows = {"a": [3.0] * 6, "b": [2.0] * 6, "c": [1.0] * 6, "zero": [0.0] * 6}
    assert comparison(rows).opening == {"measure": "error", "budget": "largest", "rows": "", "a": "c", "b": "b"}
    assert comparison(rows, a="b", b="a").opening["b"] == "a"
    assert replace(comparison(rows), start={"rows": "A"}).opening["a"] == "a"  # the row with that word
    assert comparison(rows, a="b").opening["b"] == "c" and comparison(rows, a="zero").opening["a"] == "c"


def test_what_cannot_be_asked_is_refused():
    with pytest.raises(LookupError, match="no experiment 'e99'"):
        compare("e99")
    with pytest.raises(ValueError, match="measure is 'no'; choose one of 'error', 'misfit'"):
        compare("e14_viscosity", measure="no")
    with pytest.raises(ValueError, match="unknown control row; did you mean rows"):
        compare("e14_viscosity", row="adjoint")
    with pytest.raises(ValueError, match="use lower-case letters, digits and hyphens"):
        compare("e14_viscosity", name="E14")


def test_without_results_it_says_how_to_get_them(tmp_path):
    made = compare("e12", root=tmp_path)
    assert made.summary() == (f"Not computed yet: 0 of {made.num_rows} rows of e12 are stored, and a comparison needs "
                              "two. Compute them: python -m dpbook_course.experiments run e12")
    assert "<script" not in made._repr_html_() and "Ask the data: " in made._repr_html_()


def test_measures_beyond_a_page_are_left_out_and_named():
    rows = {f"row {k}": [1.25, 1.5, 1.75] * 8 for k in range(20)}
    made = comparison(rows)
    many = {f"error.{k}": "a number" for k in range(MOST // 1000)}
    frame = pandas.concat([made.frame.drop(columns="error"), pandas.DataFrame(
        {name: made.frame["error"] for name in many})], axis=1)
    wide = Comparison("many", replace(made.spec, metrics=many), frame)
    assert 0 < len(wide.measures) < len(many) and f"error.{len(many) - 1}: no single" in wide.source()["Not here"]
    assert len(wide._repr_html_()) < 150e3
