"""Learning rates and the noise of E09, on validation data.   Chapter: 08_wake_flow.

Five rows are tuned, over two rates each, with two seeds and a quarter of the budget of equal time; all other rows take
the rate of one of them (``e09_wake.tuned_as``). The noise is tuned at the rate of ONE.
"""

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from ...experiments import tuning
from ...experiments.spec import Specification, Task
from ...problems import wake_flow as wake
from ...problems import wake_metrics as metrics
from . import wake as e09_wake
from .wake import LEARNING_RATES, fitted, rows

GRID = (1e-3, 3e-3)
SIGMAS = (0.001, 0.003, 0.01, 0.03)
STEPS = 800  # updates times unroll length: 800 updates of one step, 100 of eight
TUNED = ("ONE", "SOL-8", "SOL-8, after", "NOG-8, after", "predictor, SOL-8")
_ROWS = rows()
_NOISE = {f"NOISE, sigma {sigma:g}": tuning.at_rate(replace(_ROWS["NOISE"], setup=replace(
    _ROWS["NOISE"].setup, sigma=sigma)), LEARNING_RATES["ONE"]) for sigma in SIGMAS}
_VARIANTS = {**tuning.at_rates({name: _ROWS[name] for name in TUNED}, GRID), **_NOISE,
             "small": e09_wake.SPEC.variants["small"]}

SPEC = Specification(
    id="e09_tuning", title="Learning rates of E09", chapter="08_wake_flow", variants=_VARIANTS, seeds=(100, 101),
    budgets={name: (8 if row.small else STEPS // row.setup.num_steps,) for name, row in _VARIANTS.items()},
    metrics={"error": "mean relative L2 error of the velocity over 100 steps, on validation data"},
    settings={**wake.SETTINGS, "small": e09_wake.SMALL}, checks=(Task("small", 8, (100, 101)),), checked=("error",),
    tolerance=3e-5)


def run(variant: str, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    row = SPEC.variants[variant]
    if row.small:
        return {"error": e09_wake.small(row, wake.ensemble(seeds), seeds, budget)[0]["error.inside"]}
    step, _ = fitted(row, wake.ensemble(seeds, row.width), seeds, budget, wake.seen("train"))
    return {"error": metrics.validation_error(step, len(seeds))}


def best_rates(frame) -> dict[str, float]:
    """``{row: the rate with the smallest geometric-mean error}`` from the stored records."""
    found = {}
    for name in TUNED:
        budget = STEPS // _ROWS[name].setup.num_steps
        found |= tuning.best(frame, {name: _ROWS[name]}, GRID, budget)
    return found
