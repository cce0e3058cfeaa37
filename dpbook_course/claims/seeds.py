"""What the seeds of a variant say together, for the tables and figures of chapters and study pages.

    course.ratio(frame, "WIG-8", "ONE", 6000)             a / b, seed by seed, with its interval
    course.interval(frame, "ONE", 6000)                   geometric mean with its interval
    course.band(course.stacked(frame, "ONE", 6000, "curve.inside"))      a curve and the range of all seeds

One rule holds in all of them: a training that diverged has no result of its own. It is lost against one that did not,
and in no mean (``findings.judged``); how many are lost is told beside the number.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas

from dpbook_utils import arguments

from .effects import PairedRatio, geometric_mean_interval, log_ratios, lost, numbers, ratio_of
from .findings import column, common_seeds, first_set, for_each_seed, judged, per_seed, units

NO_PAIRS = PairedRatio(math.nan, math.nan, math.nan, 0, 0, 1.0, 0, 0)


@dataclass(frozen=True)
class SeedMean:
    """The geometric mean over the seeds and its 95 % interval.

    As text it is ``0.123 (0.110 to 0.131), 1 diverged``; ``f"{mean:.2f}"`` has other digits. It is empty if there are
    no results, and without an interval for a single value, such as that of a baseline.

    Attributes:
        value, low, high: of the trainings that did not diverge; NaN if there are none.
        num_seeds: all seeds.
        num_diverged: those whose training diverged.
    """

    value: float
    low: float
    high: float
    num_seeds: int
    num_diverged: int

    def __format__(self, spec: str) -> str:
        spec = spec or ".3f"
        parts = []
        if not math.isnan(self.value):
            limits = "" if math.isnan(self.low) else f" ({self.low:{spec}} to {self.high:{spec}})"
            parts.append(f"{self.value:{spec}}{limits}")
        if self.num_diverged:
            parts.append(f"{self.num_diverged} diverged")
        return ", ".join(parts)

    def __str__(self) -> str:
        return format(self)


def ratio(frame: pandas.DataFrame, a: str, b: str, budget: int, metric: str = "error.inside", *,
          budget_b: int | None = None, last_finite: bool = False) -> PairedRatio:
    """The metric of variant ``a`` divided by that of ``b``, seed by seed.

    Args:
        budget: of a, and of b unless ``budget_b`` is another one. A baseline, at budget 0, is one number, or one per
            set of data: it is paired with every seed of the other side. What has seeds there is paired by them.
        last_finite: take a training that diverged with its last finite weights instead of counting it as lost.

    Returns:
        The geometric mean with its interval, and all that ``effects.paired_ratio`` says. ``[:3]`` is a row of
        ``figures.forest``, ``drawn`` one with a dot for each seed. If results are missing it is NaN, of no pairs.

    Raises: KeyError for a metric that the frame does not have.
    """
    read = per_seed if last_finite else judged
    budgets = budget, budget if budget_b is None else budget_b
    sides = [read(frame, variant, n, metric) for variant, n in zip((a, b), budgets)]
    if any(values.empty for values in sides):
        return NO_PAIRS
    for n, this, other in ((budgets[0], 0, 1), (budgets[1], 1, 0)):
        if n == 0 and budgets[other] != 0 and len(first_set(sides[this])) == 1:
            sides[this] = for_each_seed(sides[this], sides[other])
    sides = common_seeds(*sides)
    if sides[0].empty:
        return NO_PAIRS
    logs = units(pandas.Series(log_ratios(*sides), sides[0].index))
    return ratio_of(logs, lost(*sides))


def interval(frame: pandas.DataFrame, variant: str, budget: int, metric: str = "error.inside") -> SeedMean:
    """The geometric mean of a positive metric over the seeds, with its interval and the number of lost trainings.

    Raises: KeyError for a metric that the frame does not have.
    """
    values = judged(frame, variant, budget, metric)
    kept = values[np.isfinite(values)]
    found = (math.nan,) * 3 if kept.empty else geometric_mean_interval(np.exp(units(np.log(kept))))
    return SeedMean(*found, len(values), len(values) - len(kept))


def stacked(frame: pandas.DataFrame, variant: str, budget: int, metric: str) -> np.ndarray:
    """(seeds, ...): a metric that is an array, such as the error after every step, in the order of the seeds.

    Raises: LookupError if it has not been computed, KeyError for a metric that the frame does not have.
    """
    arguments.instance("stacked", "frame", frame, pandas.DataFrame, "a frame of results, as course.measured('e04')")
    arguments.text("stacked", "variant", variant, "the name of a variant, a text")
    rows = frame[(frame["variant"] == variant) & (frame["budget"] == budget)].sort_values("seed")
    if rows.empty:
        budgets = sorted(set(frame["budget"][frame["variant"] == variant]))
        raise LookupError(f"no results of {variant!r} at budget {budget}; "
                          + (f"there are those at {budgets}" if budgets else
                             f"the variants are {', '.join(dict.fromkeys(frame['variant']))}"))
    return np.stack(list(column(rows, metric)))


def band(values, x=None) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A curve for ``figures.curves``: geometric mean over the seeds, and the range of all of them.

    Args:
        values: (seeds, points), not negative; a tensor, or what ``stacked`` returns. Where a seed is not finite the
            curve has a gap.
        x: (points,): where the points lie; by default 1, 2, ...: steps.

    Returns:
        ``(x, middle, low, high)``.

    Raises: ValueError for other shapes, or negative values.
    """
    values = numbers("band", "values", values.detach() if hasattr(values, "detach") else values)
    if values.ndim != 2 or not len(values) or (values < 0).any():
        raise ValueError(f"band: got values of shape {values.shape}"
                         + (", some of them negative" if (values < 0).any() else "")
                         + "; give (seeds, points) that are not negative")
    x = np.arange(1, values.shape[1] + 1) if x is None else np.asarray(x)
    if x.shape != values.shape[1:]:
        raise ValueError(f"band: {x.shape} places for {values.shape[1]} points; give one place for each point")
    values = np.where(np.isfinite(values).all(0), values, np.nan)
    with np.errstate(divide="ignore"):  # the geometric mean with a zero is zero
        middle = np.exp(np.log(values).mean(0))
    return x, middle, values.min(0), values.max(0)
