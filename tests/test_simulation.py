"""What the rule is worth: false positives and power by simulation, and verdict numbers computed in another way."""

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from dpbook_course.claims import claims, effects, ledger, simulation

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def found():
    return claims.verdicts()


def most(share, number):
    """The largest number of cases among so many that a true share gives once in 10,000 tests."""
    return stats.binom.ppf(1 - 1e-4, number, share) / number


def test_a_claim_without_any_difference_is_rarely_supported(found):
    """In at most 5 % of cases, for each claim's own rule, with six and with twelve seeds and tails as they are."""
    rows = simulation.errors(found, simulation.tail(simulation.samples(found)), 500, (6, 12))
    assert len(rows) >= 2 * 18 and rows["false"].max() / 100 <= most(0.05, 500)
    assert rows["false"].mean() < 2.5, "one side of a two-sided test, at most"
    wrong = rows[[f"contradicted, {effect:.0%}" for effect in simulation.EFFECTS]].max().max()
    assert wrong / 100 <= most(0.05, 500)
    power = {size: rows.xs(size, level="seeds")["power, 20%"].median() for size in (6, 12)}
    assert power[6] < 50 and power[12] > 95


def test_one_comparison_sees_an_effect_of_a_fifth_with_twelve_seeds(found):
    logs = simulation.samples(found)
    spread, freedom = float(np.median(logs.std(1, ddof=1))), simulation.tail(logs)
    power = {(size, effect): simulation.single(spread, size, effect, freedom)
             for size, effect in itertools.product((6, 12), (0.0, 0.1, 0.2))}
    assert max(power[6, 0.0], power[12, 0.0]) <= most(0.025, 4000)
    assert power[6, 0.2] < 0.8 < 0.95 < power[12, 0.2] and power[6, 0.1] < 0.4 < 0.5 < power[12, 0.1]


def test_students_t_covers_and_the_bootstrap_does_not(found):
    table = simulation.coverage(simulation.tail(simulation.samples(found)), 600)
    assert len(table) == 9 and table["Student's t"].min() > 91
    assert table["bootstrap (BCa)"].xs(6, level="seeds").max() < 90


def test_the_tails_are_found_again():
    drawn = np.random.default_rng(1)
    assert simulation.tail(drawn.standard_t(3, (20_000, 6))) == 3
    assert simulation.tail(drawn.normal(size=(20_000, 6))) == 30


def test_the_outcomes_before_the_change_are_kept(found):
    """The file is not computed, so it is compared with what the book had said: how many of each kind."""
    earlier = ledger.earlier()
    assert set(earlier.outcomes) <= set(found) and "sign test" in earlier.rule and earlier.until == "2026-11-30"
    counted = {outcome: list(earlier.outcomes.values()).count(outcome) for outcome in set(earlier.outcomes.values())}
    assert counted == {"supported": 6, "supported under conditions": 8, "not supported": 6}
    assert earlier.readings == {"yes": 99, "undecided": 113, "the other way": 85}


# Five numbers of verdicts from the files of records, with nothing of the package


def values(study, variant, budget, metric):
    """``{seed: value}``, infinite for a training that diverged."""
    found = {}
    for path in (ROOT / "results" / study).glob("*.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        if (record["variant"], record["budget"]) == (variant, budget):
            lost = record["metrics"].get("diverged_at", [-1] * len(record["seeds"]))
            found |= {seed: math.inf if float(gone) >= 0 else float(value) for seed, value, gone in zip(
                record["seeds"], record["metrics"][metric], lost)}
    return found


NUMBERS = [
    ("C09", "error inside, WIG-3 / ONE, 1,500 updates", "e04", ("WIG-3", 1500), ("ONE", 1500), "error.inside"),
    ("C10", "error inside, WIG-3 / NOG-3, 1,500 updates", "e04", ("WIG-3", 1500), ("NOG-3", 1500), "error.inside"),
    ("C09", "error inside, WIG-8 / ONE, 24,000 updates", "e04", ("WIG-8", 24000), ("ONE", 24000), "error.inside"),
    ("C02", "misfit, physics / supervised, two answers, 300 updates", "e01_inverse", ("physics", 300),
     ("supervised, two answers", 300), "misfit"),
    ("C03", "divergence, law / labels, 400 updates", "e01_conservation", ("law", 400), ("labels", 400), "divergence"),
]


@pytest.mark.parametrize("claim, name, study, a, b, metric", NUMBERS, ids=lambda x: x if str(x).startswith("C") else "")
def test_a_number_of_a_verdict_is_that_of_the_records(found, claim, name, study, a, b, metric):
    first, second = values(study, *a, metric), values(study, *b, metric)
    seeds = sorted(set(first) & set(second))
    pairs = [(first[seed], second[seed]) for seed in seeds]
    logs = [math.log(x / y) for x, y in pairs if math.isfinite(x) and math.isfinite(y)]
    mean, error = sum(logs) / len(logs), stats.sem(logs)
    low, high = stats.t.interval(0.95, len(logs) - 1, mean, error)
    large = 2 * max(map(abs, logs))  # a lost seed is the largest difference
    signed = [large if math.isinf(x) else -large if math.isinf(y) else math.log(x / y) for x, y in pairs]
    order = stats.rankdata(np.abs(signed))
    sums = [abs(np.dot(order, signs)) for signs in itertools.product((-1, 1), repeat=len(signed))]
    p = np.mean(np.array(sums) >= abs(np.dot(order, np.sign(signed))) - 1e-9)
    effect = found[claim].effect(name)
    assert (effect.value, effect.low, effect.high, effect.p) == pytest.approx(
        (math.exp(mean), math.exp(low), math.exp(high), p), rel=1e-5)
    expected = (effects.NO_DIFFERENCE if max(-low, high) < math.log(1.05) and len(logs) == len(pairs) else
                effects.UNDECIDED if p >= 0.05 else effects.AS_CLAIMED if np.dot(order, np.sign(signed)) < 0 else
                effects.OTHER_WAY)
    assert not effect.reading or effect.reading == expected
