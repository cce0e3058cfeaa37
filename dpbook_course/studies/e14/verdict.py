"""The claim that E14 decides, and its criterion, stated before its results.   Chapter: 13_foreign_solvers."""

from collections.abc import Mapping

import pandas

from ...claims.claims import Claim, Verdict
from ...claims.findings import DIVERGED, SMALLER, Finding, all_of, conclude, judged, smaller
from ...claims.ledger import STATEMENTS
from . import corrector, viscosity
from .design import CALLS, COEFFICIENTS, FEW, UPDATES, updates_for, viscosity_updates

WITHOUT = tuple(name for name in corrector.rows() if name not in ("adjoint", "one step"))
WITHOUT_FEW = tuple(name.rpartition(", ")[0] for name in viscosity.rows()
                    if name.endswith(f", {FEW}") and not name.startswith("adjoint"))


def corrected(frame: pandas.DataFrame, way: str, updates: int = UPDATES[-1], equal: str = "calls") -> Finding:
    """The error of the corrector, adjoint / another way, at equal calls or at equal updates of both."""
    budget = updates_for(corrector.rows()[way], updates) if equal == "calls" else updates
    return smaller(f"corrector, error inside, adjoint / {way}, as many {equal} as {updates:,} updates of the adjoint",
                   judged(frame, "adjoint", updates, "error.inside"), judged(frame, way, budget, "error.inside"))


def found(frame: pandas.DataFrame, way: str, num: int = FEW, calls: int = CALLS[-1]) -> Finding:
    """The error of the viscosity, adjoint / another way, at equal calls."""
    sides = [judged(frame, f"{name}, {num}", viscosity_updates(viscosity.rows()[f"{name}, {num}"], calls), "error")
             for name in ("adjoint", way)]
    return smaller(f"viscosity, {num} coefficient{'s' * (num > 1)}, error, adjoint / {way}, {calls:,} calls", *sides)


def decide(frames: Mapping[str, pandas.DataFrame]) -> Verdict:
    """C23: at equal calls, is the adjoint ahead of every way without one?"""
    many, few = frames["e14"], frames["e14_viscosity"]
    tasks = [[corrected(many, way) for way in WITHOUT], [found(few, way) for way in WITHOUT_FEW]]
    shown = [corrected(many, way, UPDATES[0], equal) for equal in ("calls", "updates") for way in WITHOUT]
    shown += [found(few, way, num) for num in COEFFICIENTS for way in WITHOUT_FEW
              if num != FEW and way != "surrogate"]
    return conclude([f for task in tasks for f in task], [all_of(task) for task in tasks],
                    f"as many solver calls as {UPDATES[-1]:,} updates of the adjoint, and {CALLS[-1]:,} calls",
                    shown=shown, note="One backward sweep of the adjoint counts as two calls of the solver.")


CLAIMS = {"C23": Claim(
    "C23", STATEMENTS["C23"].text, "13_foreign_solvers", ("e14", "e14_viscosity"),
    "A solver that gives no gradient is used in the ways of E14: finite differences, simultaneous perturbation with 1 "
    "and 8 samples, evolution strategies with 8, a surrogate's gradient, and none. Two tasks: a corrector of Burgers "
    f"unrolled for three steps, and the {FEW} coefficients of a viscosity. Supported if on both tasks the error with "
    "the adjoint is smaller than with each of these ways, at an equal number of solver calls, in which a backward "
    f"sweep of the adjoint counts as two (corrector: as many as {UPDATES[-1]:,} updates with the adjoint "
    f"take, error inside; viscosity: {CALLS[-1]:,} for each state). Supported under conditions if that holds on one of "
    "the tasks. Contradicted if on each task one of the ways reads no difference or the other way: then such a "
    "simulator can be used. " + SMALLER + DIVERGED, decide)}
