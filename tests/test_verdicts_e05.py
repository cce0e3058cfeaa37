"""C11 from made-up results: the criterion decides as it says."""

import itertools

import pandas
import pytest

from dpbook_course.claims.claims import judge
from dpbook_course.studies.e05 import verdict as rules


def frame(factors, num_seeds=12):
    """Errors of 1, times what ``factors(coupling, training, region, budget)`` says, of all seeds."""
    rows = []
    for coupling, training, budget, seed in itertools.product(
            rules.ADDITIVE + rules.OTHERS, rules.TRAININGS, rules.BUDGETS, range(num_seeds)):
        errors = {f"error.{region}": (1 + 0.01 * seed) * factors(coupling, training, region, budget)
                  * (1 if coupling in rules.ADDITIVE else 1 + 0.002 * seed) for region in rules.REGIONS}
        rows.append({"variant": f"{coupling}, {training}", "budget": budget, "seed": seed, **errors})
    return pandas.DataFrame(rows)


def outcome(factors, **options):
    return judge(rules.CLAIMS["C11"], {"e05": frame(factors, **options)})


def where(coupling, training=None, region=None, budget=None, factor=0.5):
    """A factor in some places, 1.2 elsewhere, 1 for additive coupling."""
    def factors(*place):
        if place[0] in rules.ADDITIVE:
            return 1.0
        wanted = (coupling, training, region, budget)
        return factor if all(w is None or w == p for w, p in zip(wanted, place)) else 1.2
    return factors


@pytest.mark.parametrize("factors, expected", [
    (where("interpolation"), "supported"),
    (where("viscosity", region="inside"), "supported"),
    (where("multiplicative", training="ONE"), "supported under conditions"),
    (where("multiplicative", region="faster", training="WIG-8"), "supported under conditions"),
    (where("interpolation", budget=6000), "contradicted"),  # one budget only
    (where("nothing"), "contradicted")])
def test_outcomes(factors, expected):
    verdict = outcome(factors)
    assert verdict.outcome == expected and verdict.num_seeds == 12


@pytest.mark.parametrize("best", rules.ADDITIVE)
def test_the_best_form_of_additive_coupling_counts(best):
    def factors(coupling, *rest):
        return {best: 0.4, "interpolation": 0.5}.get(coupling, 1.0)

    assert outcome(factors).outcome == "contradicted"


def test_too_few_seeds_or_missing_results_decide_nothing():
    assert outcome(where("interpolation"), num_seeds=5).outcome == "undecided"
    six = outcome(where("interpolation"), num_seeds=6)
    assert six.outcome == "undecided", "one of 80 is no evidence with six seeds"
    assert "about 12 seeds would decide it: supported." in six.needed
    found = frame(where("interpolation"))
    found = found[found.variant != "viscosity, ONE"]
    assert judge(rules.CLAIMS["C11"], {"e05": found}).outcome == "undecided"


def test_the_note_names_the_settings():
    verdict = outcome(where("multiplicative", region="faster", training="WIG-8"))
    assert "multiplicative 1 of 8 (WIG-8 faster)" in verdict.note and "interpolation 0 of 8" in verdict.note
