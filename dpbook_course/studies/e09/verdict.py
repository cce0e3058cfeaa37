"""The claim that E09 decides, and its criterion, stated here beside the results.   Chapter: 08_wake_flow."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas

from ...claims.claims import Claim, Verdict
from ...claims.findings import SMALLER, Finding, conclude, per_seed, smaller
from ...claims.ledger import STATEMENTS
from .design import COSTS, STEPS, UPDATES

YARDSTICK = 3.5  # our own goal: no published figure has the same error on the same data
HYBRID = "SOL-8"
SOURCES = ("P", "P, 128x64")
BETTER_SOURCES = ("MacCormack", "MacCormack, 128x64")
SHORTER = ("ONE", "NOISE", "PRE")
# With and without the solver's gradient: at one rate, at the other, and each at its tuned one.
GRADIENT = (("SOL-8, after, rate 0.001", "NOG-8, after"), ("SOL-8, after", "NOG-8, after, rate 0.003"),
            ("SOL-8, after", "NOG-8, after"))
PLACES = ("SOL-8, after, rate 0.001", "SOL-8, after", "SOL-8, projected")  # the first and last at HYBRID's rate


def seconds_per_step(costs: pandas.DataFrame, name: str) -> float:
    """Median over the rounds of e09_cost; NaN without them."""
    found = per_seed(costs, COSTS, 0, name)
    return float(found.median()) if len(found) else math.nan


def error_at_cost(frame: pandas.DataFrame, costs: pandas.DataFrame, solvers: Sequence[str], seconds: float,
                  region: str) -> float:
    """The error that a solver without a network has when a step may cost so much, between two grids by interpolation.

    log error is linear in log seconds. Below the cheapest grid's cost, its error counts; above the dearest's, NaN.
    """
    rows = [frame[frame.variant == name] for name in solvers]
    known = [seconds_per_step(costs, name) for name in solvers]
    if any(row.empty for row in rows) or not seconds <= known[-1]:
        return math.nan
    errors = [float(row[f"error.{region}"].iloc[0]) for row in rows]
    return float(np.exp(np.interp(np.log(seconds), np.log(known), np.log(errors))))


def at_equal_cost(frame: pandas.DataFrame, costs: pandas.DataFrame, solvers: Sequence[str], name: str,
                  region: str = "inside") -> Finding:
    """The hybrid's error against that of a solver on a finer grid that costs as much per step."""
    hybrid = per_seed(frame, HYBRID, UPDATES, f"error.{region}")
    error = error_at_cost(frame, costs, solvers, seconds_per_step(costs, HYBRID), region)
    text = f"error {region}: {HYBRID} / {name} at equal cost"
    return smaller(text, hybrid if math.isfinite(error) else hybrid.iloc[:0], error)


def by_yardstick(frame: pandas.DataFrame, region: str) -> Finding:
    """3.5 times the hybrid's error against the source's."""
    alone = per_seed(frame, "P", 0, f"error.{region}")
    hybrid = per_seed(frame, HYBRID, UPDATES, f"error.{region}")
    return smaller(f"error {region}: {YARDSTICK:g} {HYBRID} / P", YARDSTICK * hybrid,
                   float(alone.iloc[0]) if len(alone) else alone)


def against(frame: pandas.DataFrame, a: str, b: str, budget_a: int = UPDATES, budget_b: int = UPDATES,
            metric: str = "error.inside") -> Finding:
    """One training against another one."""
    updates = f"{budget_a:,}" if budget_a == budget_b else f"{budget_a:,} and {budget_b:,}"
    return smaller(f"{metric.replace('.', ' ')}: {a} / {b}, {updates} updates", per_seed(frame, a, budget_a, metric),
                   per_seed(frame, b, budget_b, metric))


def decide(frames: Mapping[str, pandas.DataFrame]) -> Verdict:
    """C19: is the hybrid 3.5 times better than the source, and better than finer or better solvers of its cost?"""
    frame, costs = frames["e09"], frames["e09_cost"]
    required = [by_yardstick(frame, "inside"), at_equal_cost(frame, costs, SOURCES, "P"),
                at_equal_cost(frame, costs, BETTER_SOURCES, "MacCormack")]
    outside = [by_yardstick(frame, "below"), by_yardstick(frame, "above")]
    shown = [*(against(frame, HYBRID, name) for name in SHORTER),
             *(against(frame, HYBRID, name, UPDATES, STEPS) for name in SHORTER),
             *(against(frame, *pair, metric=metric) for pair in GRADIENT for metric in ("error.inside", "long")),
             *(against(frame, HYBRID, name) for name in PLACES),
             against(frame, "PRE", "PRE, after", STEPS, STEPS),
             *(against(frame, HYBRID, "predictor, SOL-8", metric=f"error.{region}") for region in ("inside", "above"))]
    return conclude(required, [*required, *outside], f"{UPDATES:,} updates", shown=[*outside, *shown],
                    note="The use of the hybrid in inverse problems is another experiment's (E12).")


CLAIMS = {"C19": Claim(
    "C19", STATEMENTS["C19"].text, "08_wake_flow", ("e09", "e09_cost"),
    f"For the wake of a cylinder, a semi-Lagrangian source P on 64 x 32 cells and the hybrid {HYBRID} after "
    f"{UPDATES:,} updates. Supported if, at Reynolds numbers between those of the training, its error over 100 steps "
    f"(1) is at least {YARDSTICK:g} times smaller than that of P, (2) is smaller than that of P on a finer grid at "
    "equal processor time per step, and (3) is smaller than that of a MacCormack scheme at equal processor time per "
    "step, on a grid between 64 x 32 and 128 x 64 by interpolation; times are those of e09_cost. Supported under "
    "conditions if one of the three holds, or (1) below or above the range of the training. " + SMALLER, decide)}
