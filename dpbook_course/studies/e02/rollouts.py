"""Roll-outs of E02's trainings, on stored and on fresh data, for the explorer.   Chapter: 02_solver_as_data."""

from collections.abc import Sequence

from torch import Tensor

from ...experiments import rollouts
from ...experiments.rollouts import BASELINES
from ...experiments.spec import Specification, Task
from ...problems import parametric_burgers as problem
from ...problems.problem import Trajectories
from . import data as e02
from .design import BUDGETS, SIZES

SEEDS = (0, 1, 2)
SCALE = 2.0  # of the pictures [m/s]
# The samples of the pictures: on the edge and outside, the corner of the lowest viscosity and the largest amplitude.
CORNER = 3 * problem.points_per_side
SHOWN = {"inside": 0, "edge": CORNER, "outside": CORNER}
DATA = (*(f"{size} stored" for size in SIZES), "fresh")
LOSSES = ("supervised", "DP")
TRAININGS = tuple(f"{data}, {loss}" for loss in LOSSES for data in DATA)
SPEC = Specification(
    id="e02_rollouts", title="Roll-outs of E02 for the explorer", chapter="02_solver_as_data",
    variants={**{name: e02.SPEC.variants[name] for name in TRAININGS}, **BASELINES}, seeds=SEEDS,
    budgets={**dict.fromkeys(TRAININGS, BUDGETS), **dict.fromkeys(BASELINES, (0,))},
    metrics=rollouts.metrics("viscosity [m^2/s]", problem.regions),
    settings={**problem.settings, **rollouts.SETTINGS, "scale": SCALE, "shown": SHOWN}, baselines=frozenset(BASELINES),
    checks=(Task("16 stored, DP", 8, (0, 1)),), checked=("error.inside", "gradient"))


def run(variant: str, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    """Train and roll out one variant; every metric has one entry per seed."""
    if variant in BASELINES:
        return rollouts.of_baseline(variant, problem, tests(), SCALE)
    row = SPEC.variants[variant]
    step, history = e02.fitted(row, seeds, budget)
    regions = rollouts.predicted(step, tests())
    return rollouts.trained(row.setup, step, history, windows(len(seeds)), regions, seeds, SCALE)


def windows(num_seeds: int) -> dict[str, Tensor]:
    """The same validation trajectories for every seed, long enough for all horizons; the training's are shorter."""
    data = problem.trajectories("validation")
    states, viscosity = data.states[:rollouts.BATCH], data.viscosity[:rollouts.BATCH]
    batch = {"u0": states[:, 0], "reference": states[:, 1:max(rollouts.HORIZONS) + 1], "viscosity": viscosity}
    return {name: x.repeat(num_seeds, *[1] * (x.ndim - 1)) for name, x in batch.items()}


def tests() -> dict[str, Trajectories]:
    """Those of E02, with the one of the picture first."""
    found = {}
    for region, first in SHOWN.items():
        states, parameters = problem.trajectories(region)
        rolled = {name: values.roll(-first, 0) for name, values in parameters.items()}
        found[region] = Trajectories(states.roll(-first, 0), rolled)
    return found
