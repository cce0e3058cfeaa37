"""From the rows of a frame to a verdict: comparisons, each with its effect, and the rule that joins them.

A claim's ``decide`` is a list of findings that it requires and a list of which one is enough for "under conditions".
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas

from . import effects as statistics
from .claims import NOT_SUPPORTED, SUPPORTED, UNDECIDED, UNDER_CONDITIONS, Effect, Verdict
from .effects import MIN_SEEDS

# For the criteria.
SMALLER = ('"Smaller" and "longer" mean: over at least six seeds, the 95 % interval of the geometric mean of paired '
           "ratios lies on that side of 1, and the sign test is below 0.05.")
DIVERGED = " A training that diverged counts as an infinite error."


class Finding(NamedTuple):
    """One comparison and the number of seeds that it has; 0 if its results are missing.

    Attributes:
        listed: False for one that repeats a number of others: it decides, but a verdict does not list it.
    """

    effect: Effect
    num_seeds: int
    listed: bool = True


def per_seed(frame: pandas.DataFrame, variant: str, budget: int, metric: str) -> pandas.Series:
    """The metric of a variant at a budget, by seed; empty if it has not been computed.

    Raises: KeyError for a metric that the frame does not have, ValueError if a seed occurs twice.
    """
    chosen = ((frame["variant"] == variant) & (frame["budget"] == budget)).to_numpy()
    if not chosen.any():
        return pandas.Series(dtype=float)
    found = pandas.Series(frame[metric].to_numpy()[chosen].astype(float), frame["seed"].to_numpy()[chosen])
    if not found.index.is_unique:
        raise ValueError(f"{variant}, budget {budget}: a seed occurs twice in the results; move one of the two files "
                         "of records away")
    return found


def judged(frame: pandas.DataFrame, variant: str, budget: int, metric: str) -> pandas.Series:
    """An error by seed, infinite for a training that diverged: what its last finite weights do is no result of its own.

    With it a comparison counts that seed as lost, against any training that did not diverge, and its ratio is that of
    the seeds in which neither did (``statistics.paired_ratio``). A frame without ``diverged_at`` has no trainings.
    """
    values = per_seed(frame, variant, budget, metric)
    if values.empty or "diverged_at" not in frame:
        return values
    return values.where(per_seed(frame, variant, budget, "diverged_at") < 0, math.inf)


def common_seeds(*series: pandas.Series) -> list[pandas.Series]:
    """The series in the order of the seeds, without those that one of them lacks: before they are divided."""
    seeds = sorted(set.intersection(*(set(values.index) for values in series)))
    return [values.loc[seeds] for values in series]


def smaller(name: str, a: pandas.Series, b: pandas.Series | float) -> Finding:
    """That ``a`` is smaller than ``b``, as a paired ratio a/b; b may be one number (a baseline without seeds).

    It holds if the interval lies below 1 and the sign test below 0.05 (``PairedRatio.smaller``); the opposite is shown
    if that is true of b/a.
    """
    a, b = _pairs(a, b)
    if a.empty:
        return _missing(name)
    found = statistics.paired_ratio(a, b)
    holds = found.smaller if found.num_pairs >= MIN_SEEDS else None
    opposite = holds is False and statistics.paired_ratio(b, a).smaller
    blown_up = (found.blown_up_a, found.blown_up_b)
    return Finding(Effect(name, found.ratio, found.low, found.high, holds, blown_up, opposite), found.num_pairs)


def lower(name: str, a: pandas.Series, b: pandas.Series | float) -> Finding:
    """That ``a`` is below ``b``, as a paired difference a - b of what can be zero, such as a fraction of blow-ups.

    It holds if the interval lies below 0 and the sign test, without ties, below 0.05; the opposite is shown if that is
    true of b - a.
    """
    a, b = _pairs(a, b)
    if a.empty:
        return _missing(name)
    found = statistics.mean_interval(a - b)
    powers, ones = np.exp(a - b), np.ones(len(a))  # their sign test is that of the differences
    holds = found.high < 0 and statistics.paired_ratio(powers, ones).smaller if len(a) >= MIN_SEEDS else None
    opposite = holds is False and found.low > 0 and statistics.paired_ratio(ones, powers).smaller
    return Finding(Effect(name, *found, holds, opposite=opposite), len(a))


def between(name: str, values: pandas.Series, low: float, high: float) -> Finding:
    """That the geometric mean of one positive number per seed lies between two limits.

    The mean alone decides, also where its interval crosses a limit: an estimate, with no test behind it. The opposite
    is shown only by interval and sign test: that the number lies below the lower limit, or above the upper one.
    """
    if values.empty or not np.isfinite(values).all():
        return _missing(name)
    found = statistics.geometric_mean_interval(values)
    holds = low <= found.value <= high if len(values) >= MIN_SEEDS else None
    outside = (values, np.full(len(values), low)), (np.full(len(values), high), values)
    opposite = holds is False and any(statistics.paired_ratio(*pair).smaller for pair in outside)
    return Finding(Effect(name, *found, holds, opposite=opposite), len(values))


def all_of(findings: Iterable[Finding], listed: bool = True) -> Finding:
    """Several as one, which holds if all do: the one that is missing, or else the largest value."""
    findings = list(findings)
    weakest = max(findings, key=lambda f: (f.num_seeds == 0, f.effect.value))
    known = [f.effect.holds for f in findings]
    return Finding(replace(weakest.effect, holds=None if None in known else all(known)),
                   min(f.num_seeds for f in findings), listed)


def at_equal_time(frame: pandas.DataFrame, a: str, budgets_a: Sequence[int], b: str, budgets_b: Sequence[int],
                  metric: str) -> tuple[pandas.Series, pandas.Series]:
    """The metric of two variants at equal wall-clock: the longest time that the budgets of both reach.

    An update takes what ``seconds_per_update`` says of a variant's least disturbed training. Between budgets the metric
    is interpolated (``statistics.at_time``), never extrapolated; between two trainings of which one diverged it is
    infinite (``judged``). Both are empty if a budget is missing.
    """
    series = [_by_time(frame, variant, budgets, metric) for variant, budgets in ((a, budgets_a), (b, budgets_b))]
    if any(errors.empty for _, errors in series):
        return pandas.Series(dtype=float), pandas.Series(dtype=float)
    time = min(seconds[-1] for seconds, _ in series)
    found = [pandas.Series(statistics.at_time(seconds, errors.to_numpy(), time), errors.index)
             for seconds, errors in series]
    empty = any(values.isna().any() for values in found)  # one takes longer for its smallest budget
    return tuple(values[:0] if empty else values for values in found)


def conclude(required: Iterable[Finding], enough: Iterable[Finding], budget: str, *, shown: Iterable[Finding] = (),
             note: str = "", main: Finding | None = None) -> Verdict:
    """The rule of the course's verdicts.

    undecided: a required finding lacks results or has fewer than six seeds. supported: all required ones hold.
    supported under conditions: one of those in ``enough`` holds. The note says which required ones do not hold, and of
    which of them the opposite is shown.
    not supported: otherwise.

    Args:
        shown: further numbers that decide nothing.
        main: the one that the ledger shows; by default the first.
    """
    required, enough = list(required), list(enough)
    lacking = [f.effect.name for f in required if f.num_seeds < MIN_SEEDS or f.effect.holds is None]
    failing = [f.effect for f in required if f.effect.holds is False]
    if lacking:
        outcome, said = UNDECIDED, f"missing, or fewer than {MIN_SEEDS} seeds: {_listed(lacking)}."
    elif not failing:
        outcome, said = SUPPORTED, f"all {len(required)} required comparisons are as claimed."
    else:
        outcome = UNDER_CONDITIONS if any(f.effect.holds for f in enough) else NOT_SUPPORTED
        verb = "is" if len(failing) == 1 else "are"
        by_reading = {word: [e.name for e in failing if e.reading == word] for word in ("the other way", "undecided")}
        listed = (f"{word.capitalize()}: {_listed(names)}." for word, names in by_reading.items() if names)
        said = f"{len(failing)} of {len(required)} required comparisons {verb} not as claimed. {' '.join(listed)}"
    effects = {f.effect.name: f.effect for f in required}
    for finding in (*enough, *(Finding(replace(f.effect, holds=None, opposite=False), f.num_seeds) for f in shown)):
        if finding.listed:
            effects.setdefault(finding.effect.name, finding.effect)
    return Verdict(outcome, tuple(effects.values()), min((f.num_seeds for f in required), default=0), budget,
                   f"{said} {note}".rstrip(), required=tuple(f.effect.name for f in required),
                   main=main.effect.name if main else "")


def _pairs(a: pandas.Series, b: pandas.Series | float) -> list[pandas.Series]:
    if not isinstance(b, pandas.Series):
        b = pandas.Series(float(b), a.index)
    return common_seeds(a, b)


def _missing(name: str) -> Finding:
    return Finding(Effect(name, *[float("nan")] * 3), 0)


def _by_time(frame: pandas.DataFrame, variant: str, budgets: Sequence[int], metric: str):
    """Times [s] of the budgets and the metric (seeds, budgets)."""
    errors = pandas.concat([judged(frame, variant, n, metric) for n in budgets], axis=1, join="inner")
    per_update = pandas.concat([per_seed(frame, variant, n, "seconds_per_update") for n in budgets]).min()
    if errors.empty or not per_update > 0:  # NaN if every training diverged at its first update
        return None, errors[:0]
    return np.array(budgets) * per_update, errors


def _listed(names: Sequence[str], most: int = 6) -> str:
    rest = len(names) - most
    return "; ".join(names[:most]) + (f"; and {rest} more" if rest > 0 else "")
