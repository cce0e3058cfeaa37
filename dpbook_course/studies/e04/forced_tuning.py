"""The learning rates of e04_forced: every set-up with the same three.   Chapter: 03_unrolling."""

from collections.abc import Sequence

from torch import Tensor

from ...experiments import tuning
from ...experiments.spec import Specification, Task
from ...problems import forced_burgers as problem
from .forced import LONGEST, NUM_BLOCKS, WIDTH, fitted, rows

BUDGET = 750
_VARIANTS = tuning.at_rates(rows(), tuning.GRID)

SPEC = Specification(
    id="e04_forced_tuning", title="Learning rates of e04_forced", chapter="03_unrolling", variants=_VARIANTS,
    seeds=(100, 101), budgets=dict.fromkeys(_VARIANTS, (BUDGET,)),
    metrics={"error": "mean relative L2 error over 12 steps, on validation data"},
    settings={**problem.settings, "longest": LONGEST, "network": (WIDTH, NUM_BLOCKS)},
    checks=(Task("WIG-3, rate 0.001", 8, (100, 101)),), checked=("error",))


def run(variant: str, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    step, _ = fitted(SPEC.variants[variant], problem.ensemble(seeds, WIDTH, NUM_BLOCKS), seeds, budget)
    return {"error": problem.validation_error(step, len(seeds))}


def best_rates(frame) -> dict[str, float]:
    """``{set-up: the rate with the smallest geometric-mean error}`` from the stored records."""
    return tuning.best(frame, rows(), tuning.GRID, BUDGET)
