"""Plain comparisons as data: which metric of which two variants, at which budget.

A comparison finds itself in the rows of a frame and makes its own label. A verdict therefore picks comparisons by what
they compare (``c.metric == "error" and c.region == "inside"``), never by how they are called.
"""

import itertools
import math
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import pandas

from .findings import Finding, at_equal_time, for_each_seed, judged, lower, per_seed, smaller

WORDS = {"blown_up": "fraction blown up", "decorrelation": "time to decorrelation",
         "growth": "error at step 12 / step 1"}  # for metrics that are not called as their columns
TIMES = ("decorrelation",)  # metrics that are zero, and not infinite, for a training that diverged


@dataclass(frozen=True)
class Smaller:
    """That a metric of ``a`` is smaller than that of ``b`` (``findings.smaller``).

    Attributes:
        metric: the column of the frame without its region, such as ``error``.
        region: the rest of the column's name, such as ``inside``; empty if the metric has none.
        a, b: variants; None for one that cannot be chosen yet, whose results are missing.
        budget: of both, unless ``budget_b`` is another one; 0 there is a baseline, one number for all seeds.
        diverged: count a training that diverged as an infinite error (``findings.judged``).
        words: of metric and region, in the label.
        names: of a and b in the label.
        ending: of the label; by default the budget.
    """

    metric: str
    region: str
    a: str | None
    b: str | None
    budget: int
    _: KW_ONLY
    budget_b: int | None = None
    diverged: bool = False
    words: str | None = None
    names: tuple[str | None, str | None] = (None, None)
    ending: str | None = None

    between: ClassVar[str] = "/"

    @property
    def column(self) -> str:
        return f"{self.metric}.{self.region}" if self.region else self.metric

    @property
    def label(self) -> str:
        words = self.words or f"{WORDS.get(self.metric, self.metric)} {self.region}".rstrip()
        a, b = (name or variant for name, variant in zip(self.names, (self.a, self.b)))
        ending = f", {self.budget:,} updates" if self.ending is None else self.ending
        return f"{words}, {a} {self.between} {b}{ending}"

    def values(self, frame: pandas.DataFrame) -> list[pandas.Series | float]:
        """The two sides, by seed; of a metric in ``TIMES`` with diverged trainings b and a, as 1 / time."""
        read = judged if self.diverged else per_seed
        budget_b = self.budget if self.budget_b is None else self.budget_b
        found = [read(frame, variant, budget, self.column)
                 for variant, budget in ((self.a, self.budget), (self.b, budget_b))]
        if self.diverged and self.metric in TIMES:
            return [1 / times.where(times < math.inf, 0.0) for times in reversed(found)]
        if self.budget_b == 0 and len(found[1]):
            found[1] = for_each_seed(found[1], found[0])
        return found

    def finding(self, frame: pandas.DataFrame) -> Finding:
        return smaller(self.label, *self.values(frame))


@dataclass(frozen=True)
class Lower(Smaller):
    """That a metric which may be zero, such as a fraction of blow-ups, is lower for ``a`` (``findings.lower``)."""

    between: ClassVar[str] = "-"

    def finding(self, frame: pandas.DataFrame) -> Finding:
        return lower(self.label, *self.values(frame))


@dataclass(frozen=True)
class SmallerInTime(Smaller):
    """The same as ``Smaller`` at equal wall-clock (``findings.at_equal_time``), where diverged trainings always count.

    Attributes:
        budget, budget_b: all budgets of a and of b.
    """

    budget: tuple[int, ...]
    _: KW_ONLY
    budget_b: tuple[int, ...] = ()
    ending: str = ", equal wall-clock"

    def values(self, frame: pandas.DataFrame) -> list[pandas.Series]:
        return list(at_equal_time(frame, self.a, self.budget, self.b, self.budget_b or self.budget, self.column))


def cross(kind: type[Smaller], *choices, **options) -> list[Smaller]:
    """All comparisons of a kind: each argument in a list is a choice, the last one changes first.

    ``cross(Smaller, "error", ["inside", "below"], "WIG-8", "ONE", [1500, 6000])`` are four.
    """
    names, given = list(options), [*choices, *options.values()]
    every = itertools.product(*(choice if isinstance(choice, list) else [choice] for choice in given))
    return [kind(*found[:len(choices)], **dict(zip(names, found[len(choices):]))) for found in every]


def found_in(frame: pandas.DataFrame, comparisons: list[Smaller]) -> dict[Smaller, Finding]:
    """Each comparison with what the frame says of it, in their order."""
    return {comparison: comparison.finding(frame) for comparison in comparisons}
