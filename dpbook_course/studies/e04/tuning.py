"""The learning rates of E04: every set-up with the same three, judged on validation data.   Chapter: 03_unrolling."""

from collections.abc import Sequence

from torch import Tensor

from ...experiments import tuning
from ...experiments.spec import Specification, Task
from ...problems import kuramoto_sivashinsky as ks
from .unrolling import LONGEST, fitted, rows

BUDGET = 1000
_VARIANTS = tuning.at_rates(rows(), tuning.GRID)

SPEC = Specification(
    id="e04_tuning", title="Learning rates of E04", chapter="03_unrolling", variants=_VARIANTS, seeds=(100, 101),
    budgets=dict.fromkeys(_VARIANTS, (BUDGET,)),
    metrics={"error": "mean relative L2 error over 12 steps, on validation data"},
    settings={**ks.settings, "longest": LONGEST},
    checks=(Task("ONE, rate 0.001", 8, (100, 101)),), checked=("error",))


def run(variant: str, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    step, _ = fitted(SPEC.variants[variant], ks.ensemble(seeds, 16, 4), seeds, budget)
    return {"error": ks.validation_error(step, len(seeds))}


def best_rates(frame) -> dict[str, float]:
    """``{set-up: the rate with the smallest geometric-mean error}`` from the stored records."""
    return tuning.best(frame, rows(), tuning.GRID, BUDGET)
