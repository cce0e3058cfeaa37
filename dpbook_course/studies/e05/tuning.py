"""The learning rates of E05: every variant with the same four, judged on validation data.   Chapter: 04_coupling."""

from collections.abc import Sequence

from torch import Tensor

from ...experiments import tuning
from ...experiments.spec import Specification, Task
from ...problems import coarse_burgers as problem
from .coupling import LARGEST_VISCOSITY, LONGEST, fitted, rows

GRID = (3e-4, 1e-3, 3e-3, 1e-2)
BUDGET = 750
_VARIANTS = tuning.at_rates(rows(), GRID)

SPEC = Specification(
    id="e05_tuning", title="Learning rates of E05", chapter="04_coupling", variants=_VARIANTS, seeds=(100, 101, 102),
    budgets=dict.fromkeys(_VARIANTS, (BUDGET,)),
    metrics={"error": "mean relative L2 error over 100 steps, on validation data"},
    settings={**problem.settings, "longest": LONGEST, "largest_viscosity": LARGEST_VISCOSITY},
    checks=(Task("additive, ONE, rate 0.001", 8, (100, 101)),), checked=("error",))


def run(variant: str, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    step, _ = fitted(SPEC.variants[variant], seeds, budget)
    return {"error": problem.validation_error(step, len(seeds))}


def best_rates(frame) -> dict[str, float]:
    """``{variant: the rate with the smallest geometric-mean error}`` from the stored records."""
    return tuning.best(frame, rows(), GRID, BUDGET)
