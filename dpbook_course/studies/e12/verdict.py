"""The claim that E12 decides, and its criterion, stated before its results.   Chapter: 11_forward_and_inverse."""

from collections.abc import Mapping

import numpy as np
import pandas

from ...claims.claims import Claim, Verdict
from ...claims.findings import DIVERGED, SMALLER, Finding, all_of, conclude, judged, per_seed, smaller
from ...claims.ledger import STATEMENTS
from .design import DECIDING, EQUAL, PLACES, TASKS, UPDATES

HYBRID = "WIG-8"
TRAINED = ("ONE", "WIG-8", "predictor, WIG-8")
RIVALS = ("P", "P, 128 points", "fine")  # at equal time


def budget(variant: str) -> int:
    return UPDATES if variant in TRAINED else 0


def after(frame: pandas.DataFrame, variant: str, task: str, evaluations: float) -> pandas.Series:
    """The error of the initial state after so many evaluations, by seed; between two places interpolated in their
    logarithm, and before the first evaluation that of the start, a state at rest."""
    rows = frame[(frame.variant == variant) & (frame.budget == budget(variant))]
    if rows.empty:
        return pandas.Series(dtype=float)
    curves = np.stack([np.asarray(curve, float) for curve in rows[f"curve.{task}"]])
    place = np.log(max(evaluations, PLACES[0]))
    found = pandas.Series([np.interp(place, np.log(PLACES), curve) for curve in curves], rows.seed.to_numpy())
    broken = ~np.isfinite(judged(frame, variant, budget(variant), f"error.{task}"))
    return found.mask(broken.reindex(found.index, fill_value=False), np.inf)


def seconds(frame: pandas.DataFrame, variant: str, task: str) -> float:
    """Of an evaluation, undisturbed; NaN without results."""
    return per_seed(frame, variant, budget(variant), f"seconds.{task}").min()


def at_equal_calls(frame: pandas.DataFrame, task: str, other: str, hybrid: str = HYBRID) -> Finding:
    return smaller(f"initial state, {task}: {hybrid} / {other}, {EQUAL} evaluations each",
                   after(frame, hybrid, task, EQUAL), after(frame, other, task, EQUAL))


def at_equal_time(frame: pandas.DataFrame, task: str, other: str) -> Finding:
    """The other has the time that the hybrid takes for its evaluations."""
    number = EQUAL * seconds(frame, HYBRID, task) / seconds(frame, other, task)
    found = after(frame, other, task, number) if np.isfinite(number) else pandas.Series(dtype=float)
    return smaller(f"initial state, {task}: {HYBRID} / {other}, time of {EQUAL} evaluations of {HYBRID}",
                   after(frame, HYBRID, task, EQUAL), found)


def of_viscosity(frame: pandas.DataFrame, task: str, other: str) -> Finding:
    sides = [judged(frame, name, budget(name), f"viscosity.{task}") for name in (HYBRID, other)]
    return smaller(f"viscosity, {task}: {HYBRID} / {other}, when the search ends", *sides)


def decide(frames: Mapping[str, pandas.DataFrame]) -> Verdict:
    """C20: does a search through the hybrid find the initial state better than through what it is built from?"""
    frame = frames["e12"]
    against_P = {task: [at_equal_calls(frame, task, "P"), at_equal_time(frame, task, "P")] for task in DECIDING}
    others = [at_equal_time(frame, task, other) for task in DECIDING for other in RIVALS[1:]]
    shown = [at_equal_calls(frame, task, other) for task in TASKS for other in ("ONE", "predictor, WIG-8", "fine")]
    shown += [of_viscosity(frame, task, other) for task in TASKS for other in ("P", "ONE", "fine")]
    shown += [at_equal_calls(frame, task, "P") for task in TASKS if task not in DECIDING]
    required = [f for findings in against_P.values() for f in findings]
    return conclude([*required, *others], [all_of(findings) for findings in against_P.values()],
                    f"{EQUAL} evaluations of the misfit and its gradient", shown=shown,
                    note="The weight of the prior is chosen for each model on held-out instances.")


CLAIMS = {"C20": Claim(
    "C20", STATEMENTS["C20"].text, "11_forward_and_inverse", ("e12",),
    "Burgers: an initial state and a viscosity are found from noisy observations of a fine solver, at every second "
    "cell of the coarse grid, after 8 and 24 steps or after 24 alone, by L-BFGS in double precision with one start, "
    "one stopping rule and, for each model, the weight of the prior that is best on held-out instances. A seed is a "
    "network and 32 instances. Supported if on both sets of observations the error of the initial state is smaller "
    f"through P with WIG-8 than through P, at {EQUAL} evaluations of both and in the time that these take with WIG-8, "
    "and in that time smaller than through P on 128 cells and than through the fine solver. Supported under conditions "
    "if on one of the sets it is smaller than through P, at equal evaluations and at equal time. Contradicted if on "
    "each set one of these two comparisons reads no difference or the other way: then a smaller forward error does not "
    "give a better "
    "search. " + SMALLER + DIVERGED, decide)}
