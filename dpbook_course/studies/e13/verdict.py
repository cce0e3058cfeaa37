"""The claim that E13 decides, and its criterion, stated before its results.   Chapter: 12_control.

Expected: both. With a gradient that is right, few simulations are enough; where it is zero, all of them are lost
(suh2022).

Source: suh2022, holl2020control.
"""

import itertools
from collections.abc import Mapping

import pandas

from ...claims.claims import Claim, Verdict
from ...claims.findings import SMALLER, Finding, all_of, common_seeds, conclude, judged, per_seed, smaller
from ...claims.ledger import STATEMENTS
from . import policies
from .design import ADJOINT, DECIDING, MENDED, QUALITIES, RIVALS, STEPS, TASKS, equivalents, name

UNITS = ("steps forward and backward", "steps forward", "seconds")


def budget_of(variant: str) -> int:
    """Updates of the budget that decides."""
    return policies.SPEC.budgets[variant][0]


def needed(frame: pandas.DataFrame, method: str, task: str, quality: float, unit: str = UNITS[0]) -> pandas.Series:
    """What a method needs to come to a quality, by seed; infinite if it does not, or if its training diverged."""
    variant = name(method, task)
    steps = judged(frame, variant, budget_of(variant), f"to.{quality:g}")
    if unit == UNITS[0]:
        return steps * equivalents(method)
    if unit == UNITS[1] or steps.empty:
        return steps
    row = policies.SPEC.variants[variant]
    total = budget_of(variant) * row.steps_per_update(policies.problem)
    steps, seconds = common_seeds(steps, per_seed(frame, variant, budget_of(variant), "seconds"))
    return steps * seconds / total


def fewer(frame: pandas.DataFrame, task: str, rival: str, quality: float, method: str = DECIDING,
          unit: str = UNITS[0]) -> Finding:
    """What a method with the gradient needs / what a rival without it needs."""
    sides = [needed(frame, one, task, quality, unit) for one in (method, rival)]
    return smaller(f"{task}, {unit} to the cost {quality:g}, {method} / {rival}", *sides)


def final(frame: pandas.DataFrame, task: str, method: str, rival: str) -> Finding:
    """The cost at the end, on test instances, at an equal number of steps forward."""
    sides = [judged(frame, name(one, task), budget_of(name(one, task)), "cost.as trained") for one in (method, rival)]
    return smaller(f"{task}, cost after {STEPS:,} steps forward, {method} / {rival}", *sides)


def decide(frames: Mapping[str, pandas.DataFrame]) -> Verdict:
    """C25: does the solver's gradient save simulations?"""
    frame = frames["e13"]
    smooth, steps = ([(task, *case) for case in itertools.product(RIVALS[task], QUALITIES)] for task in TASKS)
    tasks = [[fewer(frame, *case) for case in cases] for cases in (smooth, steps)]
    shown = [fewer(frame, *case, unit=unit) for unit in UNITS[1:] for case in smooth]
    shown += [fewer(frame, *case, method="DP-64") for case in smooth]
    shown += [fewer(frame, *case, method=mended) for mended in MENDED for case in steps]
    shown += [final(frame, task, method, rival) for task, method in (
        (TASKS[0], DECIDING), (TASKS[0], "DP-64"), *((TASKS[1], mended) for mended in MENDED))
        for rival in RIVALS[task]]
    return conclude([finding for task in tasks for finding in task], map(all_of, tasks),
                    f"{STEPS:,} steps of the solver forward, for each method", shown=shown,
                    note=f"A step backward through the solver counts as {ADJOINT}; the batch of {DECIDING} is 8 "
                    "episodes.")


CLAIMS = {"C25": Claim(
    "C25", STATEMENTS["C25"].text, "12_control", ("e13",),
    "Burgers' equation is to be led to a target in 32 steps, with little force. Differentiable physics with a batch of "
    "8 episodes is compared with PPO, SAC and evolution strategies, which know nothing of the solver's gradient (SAC, "
    "whose training is dear, on the first task alone): the same network, observations and bounds, the same number of "
    f"solver steps forward ({STEPS:,}), and each method's best of four learning rates. Counted are the solver steps, "
    "forward and backward, a step backward as two, until the cost on validation instances (squared distance plus "
    f"weighted squared force) first falls to {QUALITIES[0]:g}, {QUALITIES[1]:g} and {QUALITIES[2]:g} of that of doing "
    "nothing; a training that does not come there needs infinitely many. Two tasks: a force in proportion to the "
    "command, and a relay behind a threshold, differentiated as it is. Supported if on both tasks differentiable "
    "physics needs fewer steps than each of them, for each of the three qualities. Supported under conditions if that "
    "holds on one of the tasks. Contradicted if on each task one of these comparisons reads no difference or the other "
    "way. " + SMALLER + " A training that diverged counts as one that does not come there.", decide)}
