"""E11 on the Kuramoto-Sivashinsky equation: hybrids and predictors on changed data.   Chapter: 10_generalisation.

As ``burgers``, on domains whose length varies.

Source: list2025.
"""

from collections.abc import Sequence

from torch import Tensor

from ...problems import ks_shifts as problem
from . import rows as shared

# One rate for all until e11_ks_tuning has run.
LEARNING_RATES = dict.fromkeys(shared.kinds(), 3e-3)

SPEC = shared.specification("e11_ks", "Changed data, Kuramoto-Sivashinsky", problem, LEARNING_RATES)


def run(variant: str, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    """Train and judge one variant; every metric has one entry per seed."""
    return shared.computed(problem, SPEC.variants[variant], seeds, budget)


def cost(variant: str, budget: int) -> float:
    return shared.weight(SPEC.variants[variant], budget)


def validation_error(row: shared.Variant, seeds: Sequence[int], budget: int) -> Tensor:
    """(seeds,): after a training."""
    return shared.validation_error(problem, row, seeds, budget)


TUNING = shared.tuning(SPEC, validation_error, problem)
