"""E10 on the Kuramoto-Sivashinsky equation: five solvers on one grid.   Chapter: 09_choosing_the_numerics.

As ``burgers``, with solvers that differ in their order in time, their number of sub-steps, and their differences in
space.
"""

from collections.abc import Sequence

from torch import Tensor

from ...experiments.spec import Specification, Task
from ...experiments.trainings import TRAINING_METRICS
from ...experiments.tuning import Tuning
from ...problems import ks_schemes as problem
from . import rows as shared
from .design import BUDGETS, NUM_STEPS, SEEDS, name

CHECK_BUDGET = 8
POINTS = problem.num_points

# Of e10_ks_tuning.
LEARNING_RATES = {"ETD1, 2, ONE": 3e-3, "ETD1, 2, WIG-8": 3e-3, "ETD1, 4, ONE": 3e-3, "ETD1, 4, WIG-8": 3e-3,
                  "ETDRK2, 2, ONE": 3e-3, "ETDRK2, 2, WIG-8": 1e-3, "differences, 2, ONE": 1e-2,
                  "differences, 2, WIG-8": 3e-3, "differences, 8, ONE": 1e-2, "differences, 8, WIG-8": 3e-3}


def rows() -> dict[str, shared.Variant]:
    """Those whose rates are chosen: all."""
    return shared.trained(problem, (POINTS,))


_VARIANTS = shared.variants(problem, (POINTS,), (), LEARNING_RATES)
SPEC = Specification(
    id="e10_ks", title="The choice of the numerics, Kuramoto-Sivashinsky", chapter="09_choosing_the_numerics",
    variants=_VARIANTS, seeds=SEEDS, metrics={**problem.metrics, **TRAINING_METRICS},
    budgets={key: (0,) if isinstance(row, shared.Alone) else BUDGETS for key, row in _VARIANTS.items()},
    settings={**problem.settings, "longest": NUM_STEPS, "schemes": tuple(problem.schemes)},
    checks=(Task(name("differences, 2", POINTS, "ONE"), CHECK_BUDGET, (0, 1)),),
    checked=("error.inside", "error.below", "one_step.inside"))


def run(variant: str, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    """Train and judge one variant; every metric has one entry per seed."""
    return shared.computed(problem, SPEC.variants[variant], seeds, budget)


def cost(variant: str, budget: int) -> float:
    return shared.weight(SPEC.variants[variant], budget)


def validation_error(row: shared.Variant, seeds: Sequence[int], budget: int) -> Tensor:
    """(seeds,): after a training."""
    return shared.validation_error(problem, row, seeds, budget)


TUNING = Tuning(SPEC, rows(), validation_error, "mean relative L2 error over 12 steps, on validation data", budget=400,
                check=Task(f"{name('ETD1, 2', POINTS, 'ONE')}, rate 0.001", 8, (100, 101)), shared=shared.rate_of,
                grid=(3e-4, 1e-3, 3e-3, 1e-2, 3e-2))
