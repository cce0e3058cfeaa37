"""Effects and their uncertainty, from one number per seed.

The engine is scipy. What is decided here is how the course uses it: ratios are averaged as logarithms, seeds are
paired, and a run that blew up is counted, never dropped.

Bootstrap intervals of a few seeds are too narrow: with six, they contain the true mean in 85 to 88 of 100 cases instead
of 95 (``tests/test_statistics.py`` measures it). So no verdict rests on an interval alone: ``PairedRatio.smaller`` asks
that the sign test agrees, which for six seeds means all six.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

MIN_SEEDS = 6  # with five, a two-sided sign test cannot fall below 0.0625
LEVEL = 0.95


class Interval(NamedTuple):
    """An estimate and its 95 % interval; NaN where the data do not allow one."""

    value: float
    low: float
    high: float


class PairedRatio(NamedTuple):
    """How much smaller or larger ``a`` is than ``b``, seed by seed.

    Attributes:
        ratio: geometric mean of a/b over the pairs in which both are finite; NaN if there is none.
        low, high: its 95 % bootstrap interval.
        num_pairs: all pairs, those with a blow-up included.
        wins: pairs in which a is smaller.
        p_value: two-sided sign test of all pairs that are not ties. Not finite loses to finite, and ties with its like.
        blown_up_a, blown_up_b: how many values are not finite.
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
    seeds: tuple[float, ...] = ()

    @property
    def drawn(self) -> tuple:
        """What ``figures.forest`` draws: the ratio, its interval, and a dot for each seed."""
        return self.ratio, self.low, self.high, self.seeds

    def __format__(self, spec: str) -> str:
        spec, lost = spec or ".2f", self.blown_up_a + self.blown_up_b
        gone = f"; {lost} of {self.num_pairs} seeds lost" if lost else ""
        return f"{self.ratio:{spec}} ({self.low:{spec}} to {self.high:{spec}}{gone})"

    def __str__(self) -> str:
        return format(self)

    @property
    def smaller(self) -> bool:
        """a is smaller than b: six pairs or more, the interval below 1, the sign test below 0.05.

        If some pairs have a blow-up, the sign test decides, and the interval of the rest must not contradict it.
        """
        seen = self.num_pairs - max(self.blown_up_a, self.blown_up_b)
        agrees = self.wins > self.num_pairs / 2 and self.p_value < 1 - LEVEL
        below = self.high < 1 if seen == self.num_pairs else not self.low > 1
        return self.num_pairs >= MIN_SEEDS and agrees and below


def paired_ratio(a: Sequence[float], b: Sequence[float]) -> PairedRatio:
    r"""Compare two set-ups that share their seeds.

        ratio = exp( mean_s log(a_s / b_s) )

    Args:
        a, b: one value per seed, the same seeds in the same order: errors, times, any positive number. Not finite
            means that this seed blew up.

    Raises: ValueError for other lengths, no values, or finite values that are not positive.
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    if a.ndim != 1 or a.shape != b.shape or not len(a):
        raise ValueError(f"paired_ratio: got {a.shape} and {b.shape} values; give one value per seed of each set-up, "
                         "for the same seeds in the same order")
    for name, x in (("a", a), ("b", b)):
        if (x[np.isfinite(x)] <= 0).any():
            raise ValueError(f"paired_ratio: {name} is {x.tolist()}; a ratio needs positive values. Of what can be "
                             "zero, compare differences (mean_interval(a - b))")
    finite_a, finite_b = np.isfinite(a), np.isfinite(b)
    finite = finite_a & finite_b
    wins = int((finite & (a < b) | finite_a & ~finite_b).sum())
    losses = int((finite & (a > b) | ~finite_a & finite_b).sum())
    p_value = float(stats.binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0
    seeds = a[finite] / b[finite]
    ratio = geometric_mean_interval(seeds) if finite.any() else Interval(*[math.nan] * 3)
    return PairedRatio(*ratio, len(a), wins, p_value, int((~finite_a).sum()), int((~finite_b).sum()),
                       tuple(seeds.tolist()))


def mean_interval(values: Sequence[float]) -> Interval:
    """Mean and 95 % bootstrap interval (BCa, fixed resamples); NaN limits for a single value.

    Raises: ValueError for values that are not finite: how to count those is not for a mean to decide.
    """
    values = np.asarray(values, float)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"mean_interval: got {values.tolist()}; give one finite value per seed, and report the number "
                         "of blow-ups beside it (paired_ratio counts them)")
    mean, spread = float(values.mean()), float(np.ptp(values))
    if len(values) == 1:
        return Interval(mean, math.nan, math.nan)
    if spread <= 1e-12 * max(1.0, abs(mean)):
        return Interval(mean, mean, mean)
    found = stats.bootstrap((values,), np.mean, confidence_level=LEVEL, method="BCa", rng=np.random.default_rng(0))
    return Interval(mean, *map(float, found.confidence_interval))


def geometric_mean_interval(values: Sequence[float]) -> Interval:
    """The same for the geometric mean of positive values."""
    values = np.asarray(values, float)
    if (values <= 0).any():
        raise ValueError(f"geometric_mean_interval: got {values.tolist()}; give positive values")
    return Interval(*(math.exp(x) for x in mean_interval(np.log(values))))


def at_time(seconds: Sequence[float], errors: Sequence[Sequence[float]], time: float) -> np.ndarray:
    """(seeds,): the error that trainings of different lengths reach in a given time, for equal wall-clock.

    log error is interpolated linearly in log seconds between the two budgets around the time. Nothing is extrapolated:
    the result is NaN if the time is outside the budgets, and infinite if a neighbouring budget blew up.

    Args:
        seconds: (budgets,): how long each training took, increasing [s].
        errors: (seeds, budgets).
        time: [s].

    Raises: ValueError for other shapes, or times that are not positive and increasing.
    """
    seconds, errors = np.asarray(seconds, float), np.asarray(errors, float)
    if errors.ndim != 2 or errors.shape[1:] != seconds.shape:
        raise ValueError(f"at_time: {seconds.shape} times and {errors.shape} errors; give (budgets,) and "
                         "(seeds, budgets)")
    if not (seconds > 0).all() or not (np.diff(seconds) > 0).all() or not time > 0 or (errors <= 0).any():
        raise ValueError(f"at_time: seconds are {seconds.tolist()}, time {time}; they and the errors must be positive, "
                         "and the seconds increase")
    right = int(np.searchsorted(seconds, time))
    if right == len(seconds) or right == 0 and seconds[0] > time:
        return np.full(len(errors), math.nan)
    if seconds[right] == time:
        return np.where(np.isfinite(errors[:, right]), errors[:, right], math.inf)
    around = errors[:, right - 1:right + 1]
    weight = math.log(time / seconds[right - 1]) / math.log(seconds[right] / seconds[right - 1])
    finite = np.isfinite(around).all(1)
    logs = np.log(np.where(finite[:, None], around, 1.0))
    return np.where(finite, np.exp((1 - weight) * logs[:, 0] + weight * logs[:, 1]), math.inf)
