"""The claim that E06 decides, and its criterion, stated before its results.   Chapter: 05_loss_placement."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas

from ...claims.claims import Claim, Verdict
from ...claims.comparisons import WORDS
from ...claims.findings import SMALLER, Finding, all_of, conclude, per_seed, smaller
from ...claims.ledger import STATEMENTS
from .design import BUDGETS

LAST = BUDGETS[-1]
SHARED = {"WIG-8": "every step, WIG", "NOG-8": "every step, NOG", "TERMINAL-8": "terminal, WIG",
          "PUSHFORWARD-8": "terminal, NOG"}  # variants of E04 that are placements
BASELINES = ("persistence", "P", "P, 16 substeps")  # of E04
PLACES = ("every step", "sparse", "terminal", "residual")  # all of one chain, "P, then N"
LATER = "N first, after N"  # the other order, with the loss before P
POLICIES = ("WIG", "NOG")


def placements(e04: pandas.DataFrame, e06: pandas.DataFrame) -> pandas.DataFrame:
    """The records of all placements and of the baselines, under the names of E06, with the seeds of its records."""
    names = {**SHARED, **{name: name for name in BASELINES}}
    shared = e04[e04.variant.isin(names) & e04.budget.isin((0, *BUDGETS))]
    found = pandas.concat([shared.assign(variant=shared.variant.map(names)), e06[e06.budget.isin((0, *BUDGETS))]])
    return found[found.seed.isin(e06.seed)].reset_index(drop=True)


class Condition(NamedTuple):
    """Under which placements are compared; ``metric`` is one that is better when smaller."""

    policy: str
    metric: str = "error"
    region: str = "inside"
    budget: int = LAST

    def values(self, frame: pandas.DataFrame, place: str) -> pandas.Series:
        return per_seed(frame, f"{place}, {self.policy}", self.budget, f"{self.metric}.{self.region}")

    def best(self, frame: pandas.DataFrame) -> str | None:
        """The placement with the smallest geometric mean; None while results of one are missing."""
        found = {place: self.values(frame, place) for place in PLACES}
        if any(values.empty for values in found.values()):
            return None
        return min(PLACES, key=lambda place: float(np.log(found[place]).mean()))

    def __str__(self) -> str:
        words = {"lost": f"1 / {WORDS['decorrelation']}"}.get(self.metric, self.metric)
        budget = "" if self.budget == LAST else f", {self.budget:,} updates"
        return f"{words} {self.region}, {self.policy}{budget}"


MAIN = {policy: Condition(policy) for policy in POLICIES}


def others(policy: str) -> list[Condition]:
    """The conditions that the main one is held against, one change each."""
    return [Condition(policy, region="below"), Condition(policy, region="above"), Condition(policy, "lost"),
            Condition(policy, budget=BUDGETS[0])]


def prepared(frames: Mapping[str, pandas.DataFrame]) -> pandas.DataFrame:
    """All placements, with 1 / time to decorrelation, for which smaller is better too."""
    if any(frames[name].empty for name in ("e04", "e06")):
        return frames["e06"].iloc[:0]
    frame = placements(frames["e04"], frames["e06"])
    return frame.assign(**{"lost.inside": 1 / frame["decorrelation.inside"].astype(float)})


def reversal(frame: pandas.DataFrame, a: Condition, b: Condition) -> tuple[Finding, Finding]:
    """Under each of two conditions, its best placement against the best one of the other: 1 if they are the same."""
    best = {condition: condition.best(frame) for condition in (a, b)}
    found = []
    for here, there in ((a, b), (b, a)):
        name = f"{here}: {best[here] or 'best'} / {best[there] or 'best'} (best by {there})"
        values = [here.values(frame, place) if place else pandas.Series(dtype=float)
                  for place in (best[here], best[there])]
        found.append(smaller(name, *values))
    return tuple(found)


def decide(frames: Mapping[str, pandas.DataFrame]) -> Verdict:
    """C12: does each placement train, and does the best one change with the gradient policy or the measure?"""
    frame = prepared(frames)
    alone = per_seed(frame, "P", 0, "error.inside")
    trains = [smaller(f"{MAIN['WIG']}: {place} / P alone", MAIN["WIG"].values(frame, place),
                      float(alone.iloc[0]) if len(alone) else alone) for place in PLACES]
    by_policy = reversal(frame, MAIN["WIG"], MAIN["NOG"])
    elsewhere = [all_of(reversal(frame, MAIN[policy], other)) for policy in POLICIES for other in others(policy)]
    lifts = [smaller(f"error inside: {place}, WIG / NOG",
                     *(MAIN[policy].values(frame, place) for policy in POLICIES)) for place in (*PLACES, LATER)]
    best = ", ".join(f"{policy}: {MAIN[policy].best(frame) or 'not known yet'}" for policy in POLICIES)
    diverged = frame[frame.budget > 0].query("diverged_at >= 0") if len(frame) else frame
    counts = diverged.groupby(["variant", "budget"]).size()
    listed = ", ".join(f"{name} at {budget:,} ({count})" for (name, budget), count in counts.items())
    return conclude([*trains, *by_policy], [all_of(by_policy), *elsewhere], f"{LAST:,} updates", shown=lifts,
                    note=f"Smallest error inside, {best}. Trainings that diverged: {listed or 'none'}. "
                         "One problem: what changes is the gradient policy, the measure and the budget, not the flow.")


CLAIMS = {"C12": Claim(
    "C12", STATEMENTS["C12"].text, "05_loss_placement", ("e04", "e06"),
    'For the chain "P, then N" over eight steps and the placements every step, sparse (steps 4 and 8), terminal (step '
    "8) and residual. Supported if, at 6,000 updates, (1) each placement with the full gradient (WIG) has a smaller "
    "error over 12 steps than P alone, inside the training range, and (2) the placement of the smallest error differs "
    "between WIG and NOG, each smaller under its own policy than the other one. Supported under conditions if (2) "
    "holds without (1), or if the best placement changes in that way, under one policy, between the error inside and "
    "the error below, the error above, the time to decorrelation, or the error at 1,500 updates. " + SMALLER, decide)}
