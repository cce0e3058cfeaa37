"""Roll-outs of E02's trainings, on stored and on fresh data, for the explorer.   Chapter: 02_solver_as_data."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dpbook_utils import evaluation
from dpbook_utils.physics.solver import select

from ...experiments import rollouts
from ...experiments.spec import Specification, Task
from ...problems import parametric_burgers as problem
from ...problems.steps import Persistence
from . import data as e02
from .design import BUDGETS, SIZES

SEEDS = (0, 1, 2)
SCALE = 2.0  # of the pictures [m/s]
# The samples of the pictures: on the edge and outside, the corner of the lowest viscosity and the largest amplitude.
CORNER = 3 * problem.SETTINGS["points_per_side"]
SHOWN = {"inside": 0, "edge": CORNER, "outside": CORNER}
DATA = (*(f"{size} stored" for size in SIZES), "fresh")
LOSSES = ("supervised", "DP")
TRAININGS = tuple(f"{data}, {loss}" for loss in LOSSES for data in DATA)
BASELINES = {"reference": "the reference itself", "P": "the solver alone", "persistence": "the state stays as it is"}
SPEC = Specification(
    id="e02_rollouts", title="Roll-outs of E02 for the explorer", chapter="02_solver_as_data",
    variants={**{name: e02.SPEC.variants[name] for name in TRAININGS}, **BASELINES}, seeds=SEEDS,
    budgets={**dict.fromkeys(TRAININGS, BUDGETS), **dict.fromkeys(BASELINES, (0,))},
    metrics=rollouts.metrics("viscosity [m^2/s]", problem.REGIONS),
    settings={**problem.SETTINGS, **rollouts.SETTINGS, "scale": SCALE, "shown": SHOWN}, baselines=frozenset(BASELINES),
    checks=(Task("16 stored, DP", 8, (0, 1)),), checked=("error.inside", "gradient"))


def run(variant: str, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    """Train and roll out one variant; every metric has one entry per seed."""
    if variant == "reference":
        return rollouts.without_training(itself, SCALE)
    if variant in BASELINES:
        step = problem.coarse_solver() if variant == "P" else Persistence()
        return rollouts.without_training(lambda: predicted(step), SCALE)
    row = SPEC.variants[variant]
    step, history = e02.fitted(row, problem.ensemble(seeds), e02.data(row, seeds), budget)
    return rollouts.trained(row.setup, step, history, windows(len(seeds)), predicted(step), seeds, SCALE)


def windows(num_seeds: int) -> dict[str, Tensor]:
    """The same validation trajectories for every seed, long enough for all horizons; the training's are shorter."""
    states, viscosity = (x[:rollouts.BATCH] for x in problem.trajectories("validation"))
    batch = {"u0": states[:, 0], "reference": states[:, 1:max(rollouts.HORIZONS) + 1], "viscosity": viscosity}
    return {name: x.repeat(num_seeds, *[1] * (x.ndim - 1)) for name, x in batch.items()}


def tests(region: str) -> problem.Trajectories:
    """Those of E02, with the one of the picture first."""
    first = SHOWN[region]
    return problem.Trajectories(*(torch.roll(x, -first, 0) for x in problem.trajectories(region)))


def predicted(step: nn.Module) -> dict[str, tuple[Tensor, ...]]:
    """``{region: (prediction, reference, u0, viscosity)}`` on the coarse grid."""
    found = {}
    for region in problem.REGIONS:
        states, viscosity = tests(region)
        pair = evaluation.predict(step, states, rollouts.NUM_STEPS, **select(step, {"viscosity": viscosity}))
        found[region] = (*pair, states[:, 0], viscosity)
    return found


def itself() -> dict[str, tuple[Tensor, ...]]:
    """The same for the reference, which no solver on the coarse grid gives."""
    found = {}
    for region in problem.REGIONS:
        states, viscosity = tests(region)
        reference = states[:, 1:rollouts.NUM_STEPS + 1]
        found[region] = (reference, reference, states[:, 0], viscosity)
    return found
