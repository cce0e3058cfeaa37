"""How long a study still needs."""

from collections.abc import Iterable

import numpy as np
from scipy.optimize import nnls

LEAP = 50  # an estimate may speak of tasks up to this many times as costly as the costliest one measured


class Estimate:
    """The remaining time, from tasks that are done.

    A task takes ``a + b cost`` seconds: ``a`` for data, recording and evaluation, ``b`` for every unit of cost. Both
    are fitted, to relative accuracy and not negative, to the tasks measured so far, earlier runs included.

    Args:
        measured: (cost, seconds) of tasks done before.
    """

    def __init__(self, measured: Iterable[tuple[float, float]] = ()):
        self.measured = list(measured)

    def add(self, cost: float, seconds: float) -> None:
        self.measured.append((cost, seconds))

    def seconds(self, costs: Iterable[float]) -> float | None:
        """Time for tasks of these costs, one after another; None while they are too unlike those measured."""
        costs = np.array(list(costs), dtype=float)
        if not costs.size:
            return 0.0
        if not self.measured or costs.max() > LEAP * max(1.0, *(cost for cost, _ in self.measured)):
            return None
        cost, seconds = np.array(self.measured, dtype=float).T
        seconds = seconds.clip(min=1e-3)
        unit = max(cost.max(), 1.0)
        (a, b), _ = nnls(np.stack([1 / seconds, cost / unit / seconds], 1), np.ones(len(seconds)))
        return float((a + b * costs / unit).sum())


def in_words(seconds: float | None) -> str:
    if seconds is None:
        return "no estimate yet"
    if seconds <= 0:
        return "longer than estimated"
    if seconds < 90:
        return f"about {seconds:.0f} s left"
    return f"about {seconds / 60:.0f} min left" if seconds < 5400 else f"about {seconds / 3600:.1f} h left"
