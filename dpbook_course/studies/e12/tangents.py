r"""E12, further: a little supervision of the Jacobian, the known cure for a wrong one.

    L = mean_k |u_k - y_k|^2  +  w mean_k |(u'_k - u_k) - (y'_k - y_k)|^2 / delta^2

u' starts at u + delta v, with v a random state of fifteen waves, and y, y' are what the fine solver makes of both. The
difference of two solves is, up to delta, the product J v of a Jacobian with a random vector, so that no derivative of
the fine solver is needed. A *twin* is such a pair; all rows train on the same 1,024 twins, of eight steps from the
states of the training trajectories, at the same number of updates. With w = 0 it is the usual loss, on both states.

Expected: with w > 0 the gradient is nearer to the fine solver's, above all when it is given that solver's residual; the
forward error may grow, for the weights have more to do; the found initial state hardly changes, for most of the
hybrid's error in a search is not that of its Jacobian. This decides no claim.

Source: olearyroseberry2024.   Chapter: 11_forward_and_inverse.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dpbook_utils import arguments
from dpbook_utils.data import Windows, cell_averages, random_fourier, simulate
from dpbook_utils.history import History
from dpbook_utils.losses import TrajectoryLoss, every_step
from dpbook_utils.objectives import Objective
from dpbook_utils.rollout import Rollout
from dpbook_utils.setups import Setup, train

from ...experiments.spec import Specification, Task
from ...experiments.trainings import TRAINING_METRICS, training_metrics
from ...problems import coarse_burgers as problem
from ...problems.problem import Trajectories
from . import backward, design, gradients
from .backward import CHECK_UPDATES, FEW, LONGEST, MEASURES
from .design import UPDATES
from .instances import Model, together

SEEDS = tuple(range(6))
WEIGHTS = (0.0, 0.1, 1.0)
DISTANCE = 0.05  # of twins [m/s]; states have a root mean square of 1
STARTS = 4  # twins of each training trajectory
DATA_SEED = 90_000


@dataclass(frozen=True)
class Twinned:
    """A training on twins, and how long it then searches.

    Attributes:
        weight: w.   evaluations: of a search, at most.
    """

    setup: Setup
    weight: float
    evaluations: int = design.EVALUATIONS


class TangentLoss:
    """Mean squared error, plus ``weight`` times that of the difference of twins, in units of ``distance``.

    A metric of ``TrajectoryLoss``: (samples, time, 1, x) twice -> (samples, time). Twins follow each other.
    """

    def __init__(self, weight: float, distance: float):
        self.weight = arguments.number("TangentLoss", "weight", weight, least=0)
        self.distance = arguments.positive("TangentLoss", "distance", distance)

    def __call__(self, trajectory: Tensor, reference: Tensor) -> Tensor:
        wrong = trajectory - reference
        apart = (wrong[1::2] - wrong[::2]) / self.distance
        return wrong.square().mean((2, 3)) + self.weight * apart.square().mean((2, 3)).repeat_interleave(2, 0)


class SideBySide:
    """Batches of twins as samples, the two of a pair behind each other.

    Args:
        windows: batches whose states have the twins as channels.
    """

    def __init__(self, windows: Windows):
        self.windows = windows

    def __getitem__(self, k: int) -> dict[str, Tensor]:
        batch = self.windows[k]
        return {"u0": batch["u0"].flatten(0, 1).unsqueeze(1),
                "reference": batch["reference"].transpose(1, 2).flatten(0, 1).unsqueeze(2),
                "viscosity": batch["viscosity"].repeat_interleave(2)}


def rows() -> dict[str, Twinned]:
    """At the learning rates that E05 has tuned for these set-ups without twins."""
    return {f"{name}, w = {weight:g}": Twinned(row.setup, weight) for name, row in design.trained().items()
            if row.with_solver for weight in WEIGHTS}


CHECKED = "ONE, w = 1, 4 evaluations"
_VARIANTS = {**rows(), CHECKED: Twinned(design.trained()["ONE"].setup, 1.0, FEW)}
SPEC = Specification(
    id="e12_tangents", title="Supervision of the Jacobian", chapter="11_forward_and_inverse", variants=_VARIANTS,
    seeds=SEEDS, budgets={**dict.fromkeys(rows(), (UPDATES,)), CHECKED: (CHECK_UPDATES,)},
    metrics={**gradients.SPEC.metrics, **TRAINING_METRICS,
             **{f"{name}.{task}": f"{text}; observed: {task}" for task in design.DECIDING
                for name, text in MEASURES.items()}},
    settings={**backward.SPEC.settings, "longest": LONGEST, "horizons": design.HORIZONS,
              "number": design.NUM_GRADIENTS, "apart": design.APART, "distance": DISTANCE, "starts": STARTS,
              "data_seed": DATA_SEED},
    checks=(Task(CHECKED, CHECK_UPDATES, (0,)),), checked=("cosine", "cosine_same", "forward", "error.late"))


@functools.cache
def twins() -> Trajectories:
    """States (twins, 9, 2, 32): the fine solver's, seen on P's grid, from STARTS times of every training trajectory."""
    states, parameters = problem.fine_trajectories("train")
    generator = torch.Generator().manual_seed(DATA_SEED)
    times = torch.randint(states.shape[1], (len(states), STARTS), generator=generator)
    u = states[torch.arange(len(states))[:, None], times].flatten(0, 1)
    v = random_fourier(len(u), u.shape[-1], modes=design.WAVES, seed=generator)
    viscosity = parameters["viscosity"].repeat_interleave(STARTS)
    fine = problem.refined(problem.fine_points, problem.fine_substeps)
    both = [cell_averages(simulate(fine, start, LONGEST, viscosity=viscosity), problem.num_points)
            for start in (u, u + DISTANCE * v)]
    return Trajectories(torch.cat(both, 2), {"viscosity": viscosity})


def objective(row: Twinned, step: nn.Module) -> Objective:
    return Objective(Rollout(step, row.setup.num_steps), TrajectoryLoss(every_step, TangentLoss(row.weight, DISTANCE)))


def batches(row: Twinned, seeds: Sequence[int]) -> SideBySide:
    """Each with ``batch_size`` twins for a seed, twice as many states."""
    return SideBySide(twins().windows([problem.batch_seed + seed for seed in seeds], LONGEST, row.setup.batch_size))


def fitted(row: Twinned, seeds: Sequence[int], budget: int) -> tuple[list[Model], History]:
    """(a model for each seed, in double precision; history of their training)."""
    networks = problem.ensemble(seeds)
    history = train(row.setup, objective(row, problem.hybrid(networks)), batches(row, seeds), budget)
    members = [networks.member(i).double().eval().requires_grad_(False) for i in range(len(seeds))]
    return [Model(problem.hybrid(member)) for member in members], history


def run(variant: str, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    """Train, compare gradients, search; every metric has one entry per seed."""
    row = SPEC.variants[variant]
    models, history = fitted(row, seeds, budget)
    found = [{**gradients.compared(model, *gradients.points(seed)),
              **{f"{name}.{task}": value for task in design.DECIDING
                 for name, value in backward.judged(model, seed, task, row.evaluations).items()}}
             for model, seed in zip(models, seeds)]
    return {**together(found), **training_metrics(history, budget, len(seeds))}


def cost(variant: str, budget: int) -> float:
    """In seconds of one core, roughly."""
    row = SPEC.variants[variant]
    return 30 + budget * (0.01 + 0.006 * row.setup.num_steps) + 300 * row.evaluations / design.EVALUATIONS
