"""What trainings of different cost reach in the same time."""

import math
from collections.abc import Sequence

import numpy as np


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
