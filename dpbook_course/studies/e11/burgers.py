"""E11 on Burgers' equation: hybrids and predictors on changed data.   Chapter: 10_generalisation.

The same network is trained behind P and without it, with 8 to 512 trajectories, on one step or unrolled, and tested on
data that differ in one thing at a time. A predictor is also trained with noise and with twice the weights, and both
chains with a network that sees two cells to each side. Every seed has data of its own.

Source: list2025.
"""

from collections.abc import Sequence

from torch import Tensor

from ...experiments.spec import Specification, Task
from ...experiments.trainings import TRAINING_METRICS
from ...experiments.tuning import Tuning
from ...problems import burgers_shifts as problem
from . import rows as shared
from .design import LONGEST, SEEDS, UPDATES, name
from .mechanism import MECHANISM_METRICS

CHECK_BUDGET = 2  # beyond, rounding has grown

# One rate for all until e11_tuning has run.
LEARNING_RATES = dict.fromkeys(shared.kinds(), 3e-3)


def rows() -> dict[str, shared.Variant]:
    """Those whose rates are chosen: every kind, with 512 trajectories."""
    return shared.to_tune()


_VARIANTS = shared.variants(LEARNING_RATES)
SPEC = Specification(
    id="e11", title="Changed data, Burgers", chapter="10_generalisation", variants=_VARIANTS, seeds=SEEDS,
    budgets={key: (0,) if isinstance(row, shared.Alone) else (UPDATES,) for key, row in _VARIANTS.items()},
    metrics={**problem.metrics, **MECHANISM_METRICS, **TRAINING_METRICS,
             "seconds_per_step": "time of one step of the roll-outs, for one sample of one seed [s]"},
    settings={**problem.settings, "longest": LONGEST},
    checks=(Task(name("hybrid", "ONE", 32), CHECK_BUDGET, (0, 1)),),
    checked=("error.inside", "one_step.inside", "asked"))


def run(variant: str, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    """Train and judge one variant; every metric has one entry per seed."""
    return shared.computed(problem, SPEC.variants[variant], seeds, budget)


def cost(variant: str, budget: int) -> float:
    return shared.weight(SPEC.variants[variant], budget)


def validation_error(row: shared.Variant, seeds: Sequence[int], budget: int) -> Tensor:
    """(seeds,): after a training."""
    return shared.validation_error(problem, row, seeds, budget)


TUNING = Tuning(SPEC, rows(), validation_error, "mean relative L2 error over 50 steps, on validation data",
                budget=400, check=Task(f"{name('hybrid', 'ONE', 512)}, rate 0.001", CHECK_BUDGET, (100, 101)),
                shared=shared.rate_of)
