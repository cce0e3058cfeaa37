"""E12, third part: error against cost of a forward solve, on a ladder of grids.   Chapter: 11_forward_and_inverse.

P on 32, 64 and 128 cells, and the same network behind P on 32 and 64: what a training buys that a finer grid does not.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dpbook_utils.coupling import Additive
from dpbook_utils.rollout import Sequential
from dpbook_utils.setups import Setup, train

from ...experiments.spec import Specification, Task
from ...experiments.trainings import TRAINING_METRICS, no_training, training_metrics
from ...problems import coarse_burgers as problem
from . import design
from .backward import CHECK_UPDATES, LONGEST
from .design import UPDATES, Physics

GRIDS = (32, 64)  # of the hybrids
LADDER = {32: 1, 64: 2, 128: 4}  # cells: sub-steps


@dataclass(frozen=True)
class Corrected:
    """A grid, and the training of a network behind P on it."""

    num_points: int
    setup: Setup


_PHYSICS = {f"P, {points}": Physics(points, substeps) for points, substeps in LADDER.items()}
_TRAINED = {f"{name}, {points}": Corrected(points, row.setup) for points in GRIDS
            for name, row in design.trained().items() if row.with_solver}
CHECKED = "WIG-8, 64, nearly untrained"
_VARIANTS = {**_TRAINED, **_PHYSICS, CHECKED: _TRAINED["WIG-8, 64"]}
SPEC = Specification(
    id="e12_forward", title="Error against cost on a ladder of grids", chapter="11_forward_and_inverse",
    variants=_VARIANTS, seeds=design.SEEDS, baselines=frozenset(_PHYSICS),
    budgets={**dict.fromkeys(_TRAINED, (UPDATES,)), **dict.fromkeys(_PHYSICS, (0,)), CHECKED: (CHECK_UPDATES,)},
    metrics={**problem.metrics, **TRAINING_METRICS}, settings={**problem.settings, "longest": LONGEST},
    checks=(Task("P, 64", 0, (0,)), Task(CHECKED, CHECK_UPDATES, (0, 1))),
    checked=("error.inside", "error.below", "one_step.inside"))


def step(row: Physics | Corrected, networks: nn.Module | None = None) -> nn.Module:
    """One step of the length dt on the row's grid."""
    solver = problem.refined(row.num_points, LADDER[row.num_points])
    return solver if networks is None else Sequential(solver, Additive(networks))


def run(variant: str, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    """Train and judge one variant; every metric has one entry per seed."""
    row = SPEC.variants[variant]
    if isinstance(row, Physics):
        return {**problem.evaluate(step(row), 1, row.num_points), **no_training()}
    networks = problem.ensemble(seeds)
    data = problem.trajectories("train", row.num_points)
    batches = data.windows([problem.batch_seed + seed for seed in seeds], LONGEST, row.setup.batch_size)
    history = train(row.setup, row.setup.objective(step(row, networks)), batches, budget)
    with torch.no_grad():
        found = problem.evaluate(step(row, networks), len(seeds), row.num_points)
    return {**found, **training_metrics(history, budget, len(seeds))}


def cost(variant: str, budget: int) -> float:
    """In seconds of one core, roughly."""
    row = SPEC.variants[variant]
    return 30 + 0.05 * budget * row.num_points / 32
