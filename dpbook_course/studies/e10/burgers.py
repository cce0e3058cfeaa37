"""E10 on Burgers: five schemes on three grids, and the same network behind each.   Chapter: 09_choosing_the_numerics.

A row is a scheme on a grid, alone or corrected, trained on one step or through eight. All rows have the same network,
the same budgets and, seed by seed, the same data, initial weights and windows. What a network has learnt of one P is
tried behind every other one (``swapped``). P alone is computed on 128 points too, for the comparison at equal cost.

Source: dresdner2022, koehler2025.
"""

from collections.abc import Sequence

from torch import Tensor

from ...experiments.spec import Specification, Task
from ...experiments.trainings import TRAINING_METRICS
from ...experiments.tuning import Tuning
from ...problems import burgers_schemes as problem
from . import rows as shared
from .design import BUDGETS, GRIDS, NUM_STEPS, REFINED, SEEDS, TRAININGS, name

CHECK_BUDGET = 8

# Of e10_tuning.
LEARNING_RATES = {"central, ONE": 1e-3, "central, WIG-8": 1e-3, "upwind, ONE": 3e-3, "upwind, WIG-8": 3e-3,
                  "semi-Lagrangian, ONE": 1e-3, "semi-Lagrangian, WIG-8": 3e-3, "limited, ONE": 1e-3,
                  "limited, WIG-8": 1e-3, "spectral, ONE": 1e-3, "spectral, WIG-8": 3e-3}


def rows() -> dict[str, shared.Variant]:
    """Those whose rates are chosen: on the middle grid."""
    return shared.trained(problem, (problem.num_points,))


_VARIANTS = shared.variants(problem, GRIDS, (REFINED,), LEARNING_RATES)
SPEC = Specification(
    id="e10", title="The choice of the numerics, Burgers", chapter="09_choosing_the_numerics", variants=_VARIANTS,
    seeds=SEEDS, metrics={**problem.metrics, **TRAINING_METRICS},
    budgets={key: (0,) if isinstance(row, shared.Alone) else BUDGETS for key, row in _VARIANTS.items()},
    settings={**problem.settings, "longest": NUM_STEPS, "schemes": tuple(problem.schemes)},
    checks=(Task(name("limited", 16, "ONE"), CHECK_BUDGET, (0, 1)),
            Task(name("spectral", 16, TRAININGS[1]), CHECK_BUDGET, (0, 1))),
    checked=("error.inside", "error.below", "one_step.inside"))


def run(variant: str, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    """Train and judge one variant; every metric has one entry per seed."""
    return shared.computed(problem, SPEC.variants[variant], seeds, budget)


def cost(variant: str, budget: int) -> float:
    return shared.weight(SPEC.variants[variant], budget)


def validation_error(row: shared.Variant, seeds: Sequence[int], budget: int) -> Tensor:
    """(seeds,): after a training."""
    return shared.validation_error(problem, row, seeds, budget)


TUNING = Tuning(SPEC, rows(), validation_error, "mean relative L2 error over 50 steps, on validation data", budget=400,
                check=Task(f"{name('upwind', 32, 'ONE')}, rate 0.001", 8, (100, 101)), shared=shared.rate_of,
                grid=(3e-4, 1e-3, 3e-3, 1e-2))
