"""Roll-outs of E10's schemes on 32 points, alone and corrected, for the explorer.   Chapter: 09_choosing_the_numerics.

The networks are those of E10 on Burgers' equation, trained as there, each seed on data of its own. All are shown on one
set of tests, that of seed 0, so that a picture differs from another by the solver and the network alone.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ...experiments import rollouts
from ...experiments.spec import Specification, Task
from ...problems import burgers_schemes as problem
from ...problems.problem import Trajectories
from ...problems.steps import Persistence
from . import rows as shared
from .burgers import SPEC as E10
from .design import ALONE, BUDGETS, TRAININGS, name

BUDGET = BUDGETS[-1]
SEEDS = (0, 1, 2)
SCALE = 3.0  # of the pictures [m/s]
POINTS = problem.num_points
BEST = "limited"  # alone, on this grid: the other ones are shown beside it
REFERENCE, PERSISTENCE = "reference", "persistence"
BASELINES = {REFERENCE: "the reference itself", PERSISTENCE: "the state stays as it is"}

_ALONE = {key: E10.variants[key] for key in (name(scheme, POINTS, ALONE) for scheme in problem.schemes)}
_TRAINED = {key: E10.variants[key] for key in (name(scheme, POINTS, training) for scheme in problem.schemes
                                               for training in TRAININGS)}
SPEC = Specification(
    id="e10_rollouts", title="Roll-outs of E10 for the explorer", chapter="09_choosing_the_numerics",
    variants={**_TRAINED, **_ALONE, **BASELINES}, seeds=SEEDS,
    budgets={**dict.fromkeys(_TRAINED, (BUDGET,)), **dict.fromkeys((*_ALONE, *BASELINES), (0,))},
    metrics=rollouts.metrics("viscosity [m^2/s]", problem.regions, problem.horizon),
    settings={**problem.settings, **rollouts.SETTINGS, "num_steps": problem.horizon, "scale": SCALE},
    baselines=frozenset((*_ALONE, *BASELINES)), checks=(Task(name("limited", POINTS, "ONE"), 8, (0, 1)),),
    checked=("error.inside", "gradient"))


def run(variant: str, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    """Train and roll out one variant; every metric has one entry per seed."""
    if variant == REFERENCE:
        return rollouts.without_training(rollouts.itself(tests(), problem.horizon), SCALE)
    row = SPEC.variants[variant]
    if variant == PERSISTENCE or isinstance(row, shared.Alone):
        step = Persistence() if variant == PERSISTENCE else problem.alone(row.scheme, row.num_points)
        return rollouts.without_training(rollouts.predicted(step, tests(), problem.horizon), SCALE)
    networks, history = shared.fitted(problem, row, seeds, budget)
    step = problem.hybrid(networks, row.scheme, row.num_points)
    batch = problem.batches(seeds, max(rollouts.HORIZONS), rollouts.BATCH, row.num_points)[0]
    with torch.no_grad():
        regions = rollouts.predicted(step, tests(), problem.horizon)
    return rollouts.trained(row.setup, step, history, batch, regions, seeds, SCALE)


def cost(variant: str, budget: int) -> float:
    """In updates of one step."""
    row = SPEC.variants[variant]
    return 50.0 if isinstance(row, str) else shared.weight(row, budget)


def tests() -> dict[str, Trajectories]:
    return {region: problem.data(region, 0, POINTS) for region in problem.regions}
