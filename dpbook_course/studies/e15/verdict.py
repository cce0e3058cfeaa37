"""The claim that E15 decides, and its criterion, stated before its results.   Chapter: 14_better_updates.

Expected from the literature and from a trial on the oscillators: supported on the inverse problems. For a hybrid
corrector nothing was published.   Source: schnell2022hig, holl2022sip.
"""

import itertools
from collections.abc import Mapping

import pandas

from ...claims.claims import Claim, Verdict
from ...claims.findings import DIVERGED, SMALLER, Finding, all_of, any_of, at_equal_time, conclude, smaller
from ...claims.ledger import STATEMENTS
from .design import BETTER, CASES, HYBRID, INVERSE, budgets, methods, rows

EQUAL = ("time", "calls")
PLAIN = "Adam"


def at_equal(frame: pandas.DataFrame, case: str, a: str, b: str, equal: str, metric: str = "loss"
             ) -> tuple[pandas.Series, pandas.Series]:
    """The metric of two methods on a case at the largest cost that the budgets of both reach: time or solver calls."""
    if frame.empty:
        return pandas.Series(dtype=float), pandas.Series(dtype=float)
    if equal == "calls":
        frame = frame.assign(seconds_per_update=frame["calls_per_update"])
    sides = [item for method in (a, b) for item in (f"{case}, {method}", budgets(rows()[f"{case}, {method}"]))]
    return at_equal_time(frame, *sides, metric)


def better(frame: pandas.DataFrame, case: str, method: str, equal: str, metric: str = "loss",
           than: str = PLAIN) -> Finding:
    """That the method ends with the smaller number at equal cost."""
    what = "held-out loss" if metric == "loss" else "error"
    return smaller(f"{case}, {what}, {method} / {than}, equal {equal}",
                   *at_equal(frame, case, method, than, equal, metric))


def offered(case: str) -> tuple[str, ...]:
    """The better updates that a case can be trained by."""
    return tuple(method for method in methods(case) if method in BETTER)


def decide(frames: Mapping[str, pandas.DataFrame]) -> Verdict:
    """C26: on the inverse problems and on the hybrid corrector, is there an update that beats Adam at equal cost?"""
    frame = frames["e15"]
    found = {(case, method): all_of([better(frame, case, method, equal) for equal in EQUAL])
             for case in CASES for method in offered(case)}
    parts = {case: any_of([found[case, method] for method in offered(case)]) for case in CASES}
    inverse, hybrid = all_of([parts[case] for case in INVERSE]), parts[HYBRID]
    shown = [better(frame, case, method, equal, "error") for case in CASES for method in offered(case)
             for equal in EQUAL]
    shown += [better(frame, case, method, "time", than="Levenberg-Marquardt") for case, method in itertools.product(
        CASES, ("half-inverse", "SGD"))]
    main = better(frame, HYBRID, "Levenberg-Marquardt", "time")
    return conclude([inverse, hybrid], [inverse, hybrid], "the largest cost that the budgets of both reach",
                    shown=shown, main=main if main.num_seeds else None,
                    note="Every method had six trials of its rate or damping.")


CLAIMS = {"C26": Claim(
    "C26", STATEMENTS["C26"].text, "14_better_updates", ("e15",),
    "Better updates than plain gradients are L-BFGS, Gauss-Newton, Levenberg-Marquardt, half-inverse gradients and, "
    "on inverse problems, the scale-invariant physics update; the plain one is Adam. Each has six trials of its rate"
    " or damping on validation data, and is then trained from twelve seeds, each with data of its own. A method is "
    "better on a case if its held-out loss is smaller than Adam's both at equal time and at an equal number of solver"
    " calls, in which a backward sweep counts as two. The claim holds on the inverse problems if on each of the three"
    " (linear oscillators, nonlinear oscillators, heat) some method is better, and on the hybrid corrector if there "
    "some method is. Supported if it holds on both, under conditions if on one of them. Contradicted if on the "
    "corrector and on one inverse problem every method reads no difference or the other way, in time or in calls. "
    + SMALLER + DIVERGED, decide)}
