"""The learning rates of E02: every variant with the same three, one for each loss.   Chapter: 02_solver_as_data."""

from collections.abc import Sequence

import numpy as np
import pandas
from torch import Tensor

from ...experiments import tuning
from ...experiments.spec import Specification, Task
from ...problems import parametric_burgers as problem
from .data import data, fitted, rows
from .design import LOSSES

BUDGET = 750
_VARIANTS = tuning.at_rates(rows(), tuning.GRID)

SPEC = Specification(
    id="e02_tuning", title="Learning rates of E02", chapter="02_solver_as_data", variants=_VARIANTS, seeds=(100, 101),
    budgets=dict.fromkeys(_VARIANTS, (BUDGET,)),
    metrics={"error": "mean relative L2 error over 50 steps, on validation data"}, settings=problem.settings,
    checks=(Task("16 stored, DP, rate 0.001", 8, (100, 101)),), checked=("error",))


def run(variant: str, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    row = SPEC.variants[variant]
    step, _ = fitted(row, problem.ensemble(seeds), data(row, seeds), budget)
    return {"error": problem.validation_error(step, len(seeds))}


def best_rates(frame: pandas.DataFrame) -> dict[str, float]:
    """``{loss: the rate with the smallest geometric-mean error, over all data sets}`` from the stored records."""
    frame = frame[frame.budget == BUDGET]
    errors = np.log(frame.error.astype(float)).groupby([frame.variant.str.split(", ").str[1],
                                                        frame.variant.str.split(" rate ").str[1].astype(float)]).mean()
    return {loss: float(errors[loss].idxmin()) for loss in LOSSES}
