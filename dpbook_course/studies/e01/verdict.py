"""The claims that E01 decides, and their criteria.   Chapter: 01_physics_as_loss.

Stated when the chapter's own trainings, of 300 and of 100 updates, had been seen, and before the longer ones.
"""

from collections.abc import Mapping

import pandas

from ...claims.claims import Claim, Verdict
from ...claims.comparisons import Smaller, cross
from ...claims.findings import SMALLER, Finding, conclude, per_seed, smaller
from ...claims.ledger import STATEMENTS
from .design import INVERSE_BUDGETS, LAW_BUDGETS

LEFT = 0.2  # of the divergence, at most
DISTANCE = "distance to the nearest answer"


def decide_labels(frames: Mapping[str, pandas.DataFrame]) -> Verdict:
    """C02."""
    frame = frames["e01_inverse"]

    physics, two, one = "physics", "supervised, two answers", "supervised, one answer"
    ambiguous = [Smaller(metric, "", physics, two, n, words=words).finding(frame) for n in INVERSE_BUDGETS
                 for metric, words in (("distance", DISTANCE), ("misfit", "misfit"))]
    missing = [smaller(f"{DISTANCE}, {physics} / half of that of zero, {n:,} updates",
                       per_seed(frame, physics, n, "distance"), 0.5) for n in INVERSE_BUDGETS]
    shown = [each.finding(frame)
             for each in cross(Smaller, "distance", "", one, physics, list(INVERSE_BUDGETS), words=DISTANCE)]
    return conclude([*ambiguous, *missing], [*ambiguous, *missing], _updates(INVERSE_BUDGETS), shown=shown)


def decide_law(frames: Mapping[str, pandas.DataFrame]) -> Verdict:
    """C03."""
    frame = frames["e01_conservation"]

    def against(metric: str, b: str, budget: int, budget_b: int | None = None) -> Finding:
        return Smaller(metric, "", "law", b, budget, budget_b=budget_b).finding(frame)

    measured = per_seed(frame, "measurement", 0, "divergence")
    less = [smaller(f"divergence, law / {LEFT:g} of the measurement's, {n:,} updates",
                    per_seed(frame, "law", n, "divergence"),
                    LEFT * float(measured.iloc[0]) if len(measured) else measured) for n in LAW_BUDGETS]
    others = [against("divergence", "labels", n) for n in LAW_BUDGETS]
    closer = [against("error", "measurement", n, 0) for n in LAW_BUDGETS]
    shown = [found for n in LAW_BUDGETS for found in (
        against("divergence", "projection", n, 0), against("error", "projection", n, 0),
        against("error", "labels", n), against("error", "labels, then projection", n))]
    return conclude([*less, *others, *closer], [*less, *others], _updates(LAW_BUDGETS), shown=shown)


def _updates(budgets: tuple[int, int]) -> str:
    return f"{budgets[0]:,} and {budgets[1]:,} updates"


CLAIMS_INVERSE = {"C02": Claim(
    "C02", STATEMENTS["C02"].text, "01_physics_as_loss", ("e01_inverse",),
    "A network finds the initial state from an observation that is blind to its sign, so that every observation has "
    "two answers. Supported if, at 300 and at 1,200 updates, a network trained by the loss through the solver, without "
    "labels, (1) is closer to the nearest right answer, and explains the observation better, than one trained on "
    "labels whose sign is drawn at random, and (2) is less than half as far from the nearest answer as the answer "
    "zero. Supported under conditions if one of these comparisons is as claimed. The distance of a network trained on "
    "labels that are unique is shown beside it. " + SMALLER, decide_labels)}
CLAIMS_CONSERVATION = {"C03": Claim(
    "C03", STATEMENTS["C03"].text, "01_physics_as_loss", ("e01_conservation",),
    "A network repairs measured velocities in which noise has destroyed that they have no divergence. Supported if, at "
    "100 and at 400 updates, one whose loss is closeness to the measurement and the divergence, without labels, (1) "
    "leaves less than a fifth of the measurement's divergence, (2) leaves less than a network trained on the true "
    "velocities, and (3) is closer to the truth than the measurement. Supported under conditions if one of the "
    "comparisons of (1) or (2) is as claimed. " + SMALLER, decide_law)}
