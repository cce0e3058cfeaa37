"""The rules of C15, C16 and C17 reach each of their outcomes."""

import numpy as np
import pandas
import pytest

from dpbook_course.claims import claims
from dpbook_course.studies.e08 import noise as e08_noise
from dpbook_course.studies.e08 import periodic as e08_periodic
from dpbook_course.studies.e08 import small as e08_small
from dpbook_course.studies.e08 import verdict as verdicts
from dpbook_course.studies.e08.design import SIGMAS, WEAK

USUAL = {"diverged_at": -1.0, **{f"blown_up.{region}": 0.0 for region in verdicts.REGIONS}}
SCATTER = np.array([1.0, 1.3, 0.8, 1.1, 0.6, 0.9])


def frames(changed=(), *, seeds=12, leave_out=()):
    """Made-up records of all three studies: every number is 1, no roll-out blows up and no training diverges.

    ``changed[study, variant, metric]``, or with the budget as a fourth part, says where it is not so.
    """
    changed, made = dict(changed), {}
    for module in (e08_noise, e08_periodic, e08_small):
        spec, rows = module.SPEC, []
        scalars = [m for m in spec.metrics if not m.startswith(("curve", "survival", "losses"))]
        for variant, budgets in spec.budgets.items():
            for budget in budgets:
                for seed in range(seeds if variant not in leave_out else 0):
                    noise = SCATTER[seed % 6] * (1 + 0.02 * ((seed + len(variant)) % 3 - 1))
                    row = {metric: changed.get((spec.id, variant, metric, budget),
                                               changed.get((spec.id, variant, metric), USUAL.get(metric, 1.0)))
                           for metric in scalars}
                    row = {metric: value if metric.startswith(("blown", "diverged", "seconds")) else value * noise
                           for metric, value in row.items()}
                    rows.append({"variant": variant, "budget": budget, "seed": seed, **row})
        made[spec.id] = pandas.DataFrame(rows)
    return made


def outcome(claim, made):
    return claims.judge(verdicts.CLAIMS[claim], made)


BEST = verdicts.name("white", 1e-2)
OVERFITS = {("e08_small", "ONE", "rms_train", 6300): 0.5, ("e08_small", "ONE", "one_step.inside", 1500): 0.5,
            ("e08_small", BEST, "validation"): 0.5, ("e08", BEST, "validation"): 0.5,
            ("e08", "WIG-3, sigma 0.01", "validation"): 0.5}
HELPS = OVERFITS | {("e08_small", BEST, "error.inside"): 0.5, ("e08_small", BEST, "one_step.inside"): 0.8,
                    ("e08", BEST, "drift.inside"): 0.5, ("e08", "WIG-3, sigma 0.01", "drift.inside"): 0.5}


def test_noise_helps_against_overfitting_and_drift():
    verdict = outcome("C15", frames(HELPS))
    assert verdict.outcome == "supported", verdict
    assert f"little data: {BEST}" in verdict.note and "6,000 updates: WIG-3, sigma 0.01" in verdict.note
    name = "little data: error over 12 steps, white noise / ONE, 6,300 updates"
    assert verdict.effect(name).value == pytest.approx(0.5, rel=0.05)


def test_noise_helps_under_conditions():
    without_drift = {key: value for key, value in HELPS.items() if "drift" not in key[2]}
    assert outcome("C15", frames(without_drift)).outcome == "supported under conditions"
    blown = {("e08", "ONE", "blown_up.below", 1500): 0.9}
    assert outcome("C15", frames(OVERFITS | blown)).outcome == "supported under conditions"
    shaped = {("e08", verdicts.name("shaped", sigma), "drift.inside", 1500): 0.5 for sigma in SIGMAS}
    assert outcome("C15", frames(OVERFITS | shaped)).outcome == "supported under conditions"


def test_noise_does_not_help():
    assert outcome("C15", frames()).outcome == "contradicted"
    only_elsewhere = {("e08", verdicts.name("white", 3e-2), "drift.inside"): 0.5}  # not the sigma that validation chose
    assert outcome("C15", frames(OVERFITS | only_elsewhere)).outcome == "contradicted"


MORE_ACCURATE = {("e08", wig, f"error.{region}"): 0.5 for wig in verdicts.WIG for region in verdicts.REGIONS} | {
    ("e08", wig, "decorrelation.inside"): 2.0 for wig in verdicts.WIG} | {
    ("e08_periodic", wig, "error.inside"): 0.5 for wig in verdicts.WIG}
SECONDS = {("e08", wig, "seconds_per_update"): 2.5 for wig in verdicts.WIG}


def test_undirected_noise_is_less_accurate():
    verdict = outcome("C16", frames(MORE_ACCURATE | SECONDS))
    assert verdict.outcome == "supported", verdict
    assert verdict.effect("error inside, WIG-8 / shaped, 6,000 updates").value == pytest.approx(0.5, rel=0.05)


def test_undirected_noise_is_less_accurate_under_conditions():
    tie = {key: value for key, value in MORE_ACCURATE.items() if key[0] == "e08"}
    verdict = outcome("C16", frames(tie | SECONDS))
    assert verdict.outcome == "supported under conditions" and "periodic: error inside, WIG-3" in verdict.note
    timed = frames(SECONDS | {("e08", "ONE", "validation"): 1.0} | {
        ("e08", verdicts.name("white", sigma), "error.inside", 15000): 2.0 for sigma in WEAK})
    assert outcome("C16", timed).outcome == "supported under conditions"


def test_undirected_noise_is_as_accurate():
    assert outcome("C16", frames(SECONDS)).outcome == "contradicted"
    better = {("e08", BEST, f"error.{region}"): 0.3 for region in verdicts.REGIONS}
    assert outcome("C16", frames(SECONDS | better | {("e08", BEST, "validation"): 0.3})).outcome == "contradicted"


BOTH = verdicts.dp_name(BEST, 1e-3)
START = OVERFITS | {("e08_small", BOTH, "validation"): 0.5, ("e08_small", BOTH, "error.inside"): 0.5}


def test_noise_is_a_good_start():
    verdict = outcome("C17", frames(START))
    assert verdict.outcome == "supported", verdict
    assert BOTH in verdict.note


def test_noise_is_a_good_start_under_conditions():
    """Any start is as good: then it is not the noise."""
    plain = {("e08_small", verdicts.dp_name("ONE", rate), "error.inside"): 0.5 for rate in verdicts.DP_RATES}
    verdict = outcome("C17", frames(START | plain))
    assert verdict.outcome == "supported under conditions" and "ONE, then DP" in verdict.note


def test_noise_is_no_good_start():
    alone = {("e08_small", BEST, "error.inside"): 0.5}
    assert outcome("C17", frames(START | alone)).outcome == "contradicted"
    direct = {("e08_small", verdicts.dp_name("", rate), "error.inside"): 0.4 for rate in verdicts.DP_RATES}
    assert outcome("C17", frames(START | direct)).outcome == "contradicted"


@pytest.mark.parametrize("claim", ["C15", "C16", "C17"])
def test_undecided_without_all_rows_or_seeds(claim):
    made = frames(START | HELPS | MORE_ACCURATE | SECONDS)
    assert outcome(claim, made).outcome != "undecided"
    assert outcome(claim, frames(seeds=5)).outcome == "undecided"
    assert outcome(claim, frames(leave_out=(BEST,))).outcome == "undecided"  # sigma cannot be chosen
    assert outcome(claim, {}).outcome == "undecided"
    for missing in set(made) & set(verdicts.CLAIMS[claim].experiments):
        assert outcome(claim, {name: frame for name, frame in made.items() if name != missing}).outcome == "undecided"
