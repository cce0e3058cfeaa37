"""Learning rates and the noise of E09, on validation data.   Chapter: 08_wake_flow.

Five rows are tuned, over two rates each, with two seeds and a quarter of the budget of equal time; all other rows take
the rate of one of them (``wake.tuned_as``). The noise is tuned at the rate of ONE.
"""

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from ...experiments.spec import Task
from ...experiments.tuning import Tuning, at_rate
from ...problems import wake_metrics as metrics
from .wake import LEARNING_RATES, SPEC, Variant, fitted, rows, small

GRID = (1e-3, 3e-3)
SIGMAS = (0.001, 0.003, 0.01, 0.03)
STEPS = 800  # updates times unroll length: 800 updates of one step, 100 of eight
TUNED = ("ONE", "SOL-8", "SOL-8, after", "NOG-8, after", "predictor, SOL-8")
_ROWS = rows()
_NOISE = {f"NOISE, sigma {sigma:g}": at_rate(replace(_ROWS["NOISE"], setup=replace(_ROWS["NOISE"].setup, sigma=sigma)),
                                             LEARNING_RATES["ONE"]) for sigma in SIGMAS}


def validation_error(row: Variant, seeds: Sequence[int], budget: int) -> Tensor:
    """(seeds,): after a training."""
    if row.small:
        return small(row, seeds, budget)[0]["error.inside"]
    step, _ = fitted(row, seeds, budget)
    return metrics.validation_error(step, len(seeds))


TUNING = Tuning(
    SPEC, {name: _ROWS[name] for name in TUNED}, validation_error,
    "mean relative L2 error of the velocity over 100 steps, on validation data",
    budget=lambda row: 8 if row.small else STEPS // row.setup.num_steps, check=Task("small", 8, (100, 101)), grid=GRID,
    others={**_NOISE, "small": SPEC.variants["small"]}, tolerance=3e-5)
