"""The learning rates of E06: every placement with the same three.   Chapter: 05_loss_placement."""

from collections.abc import Sequence

from torch import Tensor

from ...experiments import tuning
from ...experiments.spec import Specification, Task
from ...problems import kuramoto_sivashinsky as ks
from .placement import NUM_BLOCKS, NUM_STEPS, WIDTH, fitted, rows

BUDGET = 750
_VARIANTS = tuning.at_rates(rows(), tuning.GRID)

SPEC = Specification(
    id="e06_tuning", title="Learning rates of E06", chapter="05_loss_placement", variants=_VARIANTS, seeds=(100, 101),
    budgets=dict.fromkeys(_VARIANTS, (BUDGET,)),
    metrics={"error": "mean relative L2 error over 12 steps, on validation data"},
    settings={**ks.settings, "longest": NUM_STEPS, "network": (WIDTH, NUM_BLOCKS)},
    checks=(Task("sparse, WIG, rate 0.001", 40, (100, 101)),), checked=("error",))


def run(variant: str, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    step, _ = fitted(SPEC.variants[variant], ks.ensemble(seeds, WIDTH, NUM_BLOCKS), seeds, budget)
    return {"error": ks.validation_error(step, len(seeds))}


def best_rates(frame) -> dict[str, float]:
    """``{placement: the rate with the smallest geometric-mean error}`` from the stored records."""
    return tuning.best(frame, rows(), tuning.GRID, BUDGET)
