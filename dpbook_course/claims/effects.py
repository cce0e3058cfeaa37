"""Effects, their uncertainty and how they are read, from one number per seed.

The engine is numpy and scipy. What is decided here is how the course uses it: seeds are paired, ratios are averaged as
logarithms, a run that blew up is counted and never dropped, and a comparison has four readings:

    as claimed      an exact test on ranks (Wilcoxon's signed-rank test) has p < 0.05 on the side that is claimed, and
                    the 95 % interval of the mean (Student's t) does not lie on the other one
    the other way   the same on the other side
    no difference   the interval lies within the margin: 5 % to either side of equal. It comes before the other two
    undecided       none of them

The interval may be wide where the test is sure: if one seed is far off on the side on which all others are.

``simulation`` measures how often these intervals contain the truth, and how often the readings are wrong.
"""

import contextlib
import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import special, stats

from dpbook_utils import arguments

MIN_SEEDS = 6  # with five, the two-sided test on ranks cannot fall below 0.0625
LEVEL = 0.95
MARGIN = 0.05  # what counts as equal: ratios from 1 / 1.05 to 1.05, differences of fractions from -0.05 to 0.05
AS_CLAIMED, OTHER_WAY, NO_DIFFERENCE, UNDECIDED = "as claimed", "the other way", "no difference", "undecided"
READINGS = (AS_CLAIMED, OTHER_WAY, NO_DIFFERENCE, UNDECIDED)


class Interval(NamedTuple):
    """An estimate and its 95 % interval; NaN where the data do not allow one."""

    value: float
    low: float
    high: float


class Question(NamedTuple):
    """What is asked of one number per seed: that their mean is below zero, or between two limits.

    Attributes:
        low, high: an interval of the mean between them means equal or, of ``inside``, as claimed.
        inside: whether "between the limits" is what is claimed.
    """

    low: float
    high: float
    inside: bool = False


RATIO = Question(-math.log1p(MARGIN), math.log1p(MARGIN))  # of logarithms of ratios
FRACTION = Question(-MARGIN, MARGIN)  # of differences of fractions
BELOW = Question(math.nan, math.nan)  # of numbers that have no margin


class Reading(NamedTuple):
    """What one number per seed says; arrays if many samples were read at once.

    Attributes:
        code: the number of the reading in READINGS.
        p: two-sided, of the test that the claimed reading rests on.
        mean, low, high: of the finite numbers, with the 95 % interval.
    """

    code: np.ndarray
    p: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def read(numbers, question: Question) -> Reading:
    """The reading of one number per seed, the last axis.

    Args:
        numbers: negative where the seed is as claimed. Infinite ones are seeds that one side lost, which the test on
            ranks puts last or first and the interval leaves out; NaN one that both sides lost, a tie.
    """
    numbers = np.asarray(numbers, float)
    mean, low, high, error, freedom = _interval(numbers)
    whole = np.isfinite(numbers).all(-1)
    between = whole & (question.low < low) & (high < question.high)
    if question.inside:
        with np.errstate(divide="ignore", invalid="ignore"):  # without any spread, t is infinite
            t = np.minimum(mean - question.low, question.high - mean) / error
        t = np.nan_to_num(t, posinf=np.inf, neginf=-np.inf)
        p = np.where(whole, np.minimum(2 * special.stdtr(freedom, -t), 1.0), 1.0)
        other = whole & ((high < question.low) | (low > question.high))
        code = np.select([between, other], [0, 1], 3)
    else:
        p, side = signed_rank(numbers)
        seen = p < 1 - LEVEL
        claimed, other = seen & (side < 0) & ~(low > 0), seen & (side > 0) & ~(high < 0)
        code = np.select([between, claimed, other], [2, 0, 1], 3)
    return Reading(code, p, mean, low, high)


def signed_rank(numbers) -> tuple[np.ndarray, np.ndarray]:
    """Wilcoxon's signed-rank test, exact also with ties: ``(two-sided p, side)`` along the last axis.

    Zeros are left out. Infinite numbers share the highest rank; NaN counts as zero. The side is the sign of the sum of
    the signed ranks. (``scipy.stats.wilcoxon`` gives the same p; its exact method knows no ties, and its permutations
    of twelve numbers take a second.)
    """
    numbers = np.nan_to_num(np.asarray(numbers, float), nan=0.0, posinf=np.inf, neginf=-np.inf)
    ranks = stats.rankdata(np.abs(numbers), axis=-1) - (numbers == 0).sum(-1, keepdims=True)
    doubled = np.rint(2 * np.where(numbers == 0, 0, ranks)).astype(int)
    total = (doubled * np.sign(numbers)).sum(-1).astype(int)
    keys = np.sort(doubled, axis=-1).reshape(-1, doubled.shape[-1])
    p = [_tail(tuple(key))[abs(t)] for key, t in zip(keys.tolist(), total.reshape(-1).tolist())]
    return np.reshape(p, total.shape), np.sign(total)


@functools.lru_cache(4096)
def _tail(doubled: tuple[int, ...]) -> np.ndarray:
    """P(|sum of +-r| >= s) for s = 0, 1, ...: each of the doubled ranks r has either sign with the same probability."""
    chances, size = np.ones(1), sum(doubled)
    for rank in doubled:  # the sum of those with a plus
        chances = np.pad(chances, (0, rank)) / 2 + np.pad(chances, (rank, 0)) / 2
    distance = np.abs(2 * np.arange(size + 1) - size)
    return np.minimum(np.bincount(distance, chances, size + 1)[::-1].cumsum()[::-1], 1.0)


def corrected(p) -> np.ndarray:
    """Holm's correction, along the last axis: with it, chance passes one of all comparisons in 5 % of cases at most."""
    p = np.asarray(p, float)
    order = np.argsort(p, axis=-1)
    found = np.take_along_axis(p, order, -1) * np.arange(p.shape[-1], 0, -1)
    found = np.minimum(np.maximum.accumulate(found, axis=-1), 1.0)
    return np.take_along_axis(found, np.argsort(order, axis=-1), -1)


def expected(numbers: Sequence[float], question: Question, num_seeds: int, power: float = 0.8) -> tuple[str, float]:
    """The reading and p that so many seeds would give with this power, if these few have the true mean and spread.

    Normal numbers and lost seeds are drawn as often as they were measured. The reading is "undecided" if no other one
    comes in as many draws as the power says.
    """
    numbers, generator = np.asarray(numbers, float), np.random.default_rng(0)
    finite = numbers[np.isfinite(numbers)]
    spread = finite.std(ddof=1) if len(finite) > 1 else 0.0
    drawn = generator.normal(finite.mean() if len(finite) else 0.0, spread, (200, num_seeds))
    for lost in (math.inf, -math.inf, math.nan):
        share = np.isnan(numbers).mean() if math.isnan(lost) else (numbers == lost).mean()
        drawn = np.where(generator.random(drawn.shape) < share, lost, drawn) if share else drawn
    found = read(drawn, question)
    shares = np.bincount(found.code, minlength=len(READINGS)) / len(drawn)
    likely = int(shares[:3].argmax())
    return READINGS[likely] if shares[likely] >= power else UNDECIDED, float(np.quantile(found.p, power))


class PairedRatio(NamedTuple):
    """How much smaller or larger ``a`` is than ``b``, seed by seed.

    Attributes:
        ratio: geometric mean of a/b over the pairs in which both are finite; NaN if there is none.
        low, high: its 95 % interval.
        num_pairs: all pairs, those with a blow-up included.
        wins: pairs in which a is smaller.
        p_value: two-sided, of the test on ranks, in which not finite loses to finite and ties with its like.
        blown_up_a, blown_up_b: how many values are not finite.
        reading: one of READINGS, if the claim is that a is smaller; empty with fewer than six pairs.
        seeds: the single ratios a/b, of the pairs in which both are finite.

    As text it is ``0.75 (0.71 to 0.78)``, with the number of lost seeds if there are any; ``f"{found:.3f}"`` has other
    digits.
    """

    ratio: float
    low: float
    high: float
    num_pairs: int
    wins: int
    p_value: float
    blown_up_a: int
    blown_up_b: int
    reading: str = ""
    seeds: tuple[float, ...] = ()

    @property
    def drawn(self) -> tuple:
        """What ``figures.forest`` draws: the ratio, its interval, and a dot for each seed."""
        return self.ratio, self.low, self.high, self.seeds

    def __format__(self, spec: str) -> str:
        spec, lost = spec or ".2f", max(self.blown_up_a, self.blown_up_b, self.num_pairs - len(self.seeds))
        gone = f"; {lost} of {self.num_pairs} seeds lost" if lost else ""
        return f"{self.ratio:{spec}} ({self.low:{spec}} to {self.high:{spec}}{gone})"

    def __str__(self) -> str:
        return format(self)


def numbers(label: str, name: str, values) -> np.ndarray:
    """An array of real numbers.   Raises: ValueError for what is none."""
    with contextlib.suppress(TypeError, ValueError, RuntimeError):
        if not np.iscomplexobj(values):
            return np.asarray(values, float)
    raise arguments.refusal(label, name, values, "real numbers", ValueError)


def log_ratios(a: Sequence[float], b: Sequence[float]) -> np.ndarray:
    """(seeds,): log(a/b), infinite where one side is not finite and NaN where neither is.

    Raises: ValueError for other lengths, no values, or finite values that are not positive.
    """
    a, b = numbers("paired_ratio", "a", a), numbers("paired_ratio", "b", b)
    if a.ndim != 1 or a.shape != b.shape or not len(a):
        raise ValueError(f"paired_ratio: got {a.shape} and {b.shape} values; give one value per seed of each set-up, "
                         "for the same seeds in the same order")
    for name, x in (("a", a), ("b", b)):
        if (x[np.isfinite(x)] <= 0).any():
            raise ValueError(f"paired_ratio: {name} is {x.tolist()}; a ratio needs positive values. Of what can be "
                             "zero, compare differences (mean_interval(a - b))")
    logs = [np.log(np.where(np.isfinite(x), x, math.inf)) for x in (a, b)]
    with np.errstate(invalid="ignore"):
        return logs[0] - logs[1]


def lost(a: Sequence[float], b: Sequence[float]) -> tuple[int, int]:
    """How many values of either side are not finite."""
    first, second = (int((~np.isfinite(np.asarray(x, float))).sum()) for x in (a, b))
    return first, second


def paired_ratio(a: Sequence[float], b: Sequence[float]) -> PairedRatio:
    r"""Compare two set-ups that share their seeds.

        ratio = exp( mean_s log(a_s / b_s) )

    Args:
        a, b: one value per seed, the same seeds in the same order: errors, times, any positive number. Not finite
            means that this seed blew up.

    Raises: ValueError for other lengths, no values, or finite values that are not positive.
    """
    return ratio_of(log_ratios(a, b), lost(a, b))


def ratio_of(logs: Sequence[float], blown_up: tuple[int, int]) -> PairedRatio:
    """The same from the logarithms of the single ratios, as ``log_ratios`` gives them, and from what was lost."""
    logs = np.asarray(logs, float)
    found, finite = read(logs, RATIO), np.isfinite(logs)
    interval = Interval(*(math.exp(x) for x in (found.mean, found.low, found.high)))
    reading = READINGS[int(found.code)] if len(logs) >= MIN_SEEDS else ""
    return PairedRatio(*interval, len(logs), int((logs < 0).sum()), float(found.p), *blown_up, reading,
                       tuple(np.exp(logs[finite]).tolist()))


def mean_interval(values: Sequence[float]) -> Interval:
    """Mean and 95 % interval (Student's t); NaN limits for a single value.

    Raises: ValueError for values that are not finite: how to count those is not for a mean to decide.
    """
    values = numbers("mean_interval", "values", values)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"mean_interval: got {values.tolist()}; give one finite value per seed, and report the number "
                         "of blow-ups beside it (paired_ratio counts them)")
    return Interval(*map(float, _interval(values)[:3]))


def geometric_mean_interval(values: Sequence[float]) -> Interval:
    """The same for the geometric mean of positive values."""
    values = numbers("geometric_mean_interval", "values", values)
    if (values <= 0).any():
        raise ValueError(f"geometric_mean_interval: got {values.tolist()}; give positive values")
    return Interval(*(math.exp(x) for x in mean_interval(np.log(values))))


def _interval(numbers: np.ndarray) -> tuple[np.ndarray, ...]:
    """Of the finite numbers along the last axis: mean, limits, standard error and degrees of freedom."""
    finite = np.isfinite(numbers)
    count, kept = finite.sum(-1), np.where(finite, numbers, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = kept.sum(-1) / count
        squares = (np.where(finite, kept - np.asarray(mean)[..., None], 0.0)**2).sum(-1)
        error = np.sqrt(squares / (count - 1) / count)
    half = special.stdtrit(count - 1, (1 + LEVEL) / 2) * error
    return mean, mean - half, mean + half, error, count - 1
