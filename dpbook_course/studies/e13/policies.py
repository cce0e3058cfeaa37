"""E13: policies that lead Burgers' equation to a target, found with the solver's gradient and without.

The same network, observations and bounds for all methods; at test nothing is random. Two tasks: an actuator whose force
is in proportion to the command, and a relay, through which no gradient passes. All methods have the same number of
solver steps forward, and the same four learning rates to choose from.   Chapter: 12_control.

Source: holl2020control, suh2022.
"""

from collections.abc import Sequence

from torch import Tensor

from ...experiments.spec import Specification, Task
from ...experiments.tuning import Tuning
from ...problems.control import burgers_control as problem
from . import rows as shared
from .design import SEEDS, STEPS, TASKS, WEIGHT, name

CHECK_BUDGET = 2
TUNED_STEPS = STEPS // 4
_WEIGHTS = dict.fromkeys(TASKS, (WEIGHT,))


def rows() -> dict[str, shared.Row]:
    """Those whose rates are chosen: all."""
    return shared.trained(_WEIGHTS)


# One rate for all until e13_tuning has run.
LEARNING_RATES = dict.fromkeys(rows(), 1e-3)

_VARIANTS = shared.variants(_WEIGHTS, LEARNING_RATES)
SPEC = Specification(
    id="e13", title="Control, with the gradient and without", chapter="12_control", variants=_VARIANTS, seeds=SEEDS,
    budgets={key: (shared.budget_for(row, STEPS),) for key, row in _VARIANTS.items()},
    metrics={**problem.metrics, **shared.CURVES}, settings={**problem.settings, "weight": WEIGHT},
    checks=(Task("DP-8, proportional", CHECK_BUDGET, (0, 1)), Task("nothing", 0, (0,))),
    checked=("error.as trained", "error.finer solver", "cost.other viscosity"))


def run(variant: str, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    """Find and judge the policies of one variant; every metric has one entry per seed."""
    return shared.computed(SPEC.variants[variant], seeds, budget)


def cost(variant: str, budget: int) -> float:
    return shared.weight_of(SPEC.variants[variant], budget)


def validation_error(row: shared.Row, seeds: Sequence[int], budget: int) -> Tensor:
    """(seeds,): after a training."""
    return shared.validation_cost(row, seeds, budget)


TUNING = Tuning(
    SPEC, rows(), validation_error, "cost / cost of doing nothing, on validation instances, at most 10",
    budget=lambda row: row.updates_for(problem, TUNED_STEPS), grid=(3e-4, 1e-3, 3e-3, 1e-2),
    check=Task(f"{name('ES', TASKS[0])}, rate 0.01", CHECK_BUDGET, (100,)))
