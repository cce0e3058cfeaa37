"""The set-ups of E08 and how they train: noise in the chain or in the data, on a problem, in one phase or in two.

Standard deviations of noise are stated in those of the problem's training data.

Chapter: 07_noise.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dpbook_utils import evaluation
from dpbook_utils.history import History
from dpbook_utils.losses import TrajectoryLoss
from dpbook_utils.noise import GaussianNoise, Perturbed, RandomWalkNoise, ShapedNoise
from dpbook_utils.objectives import Objective, from_batch, from_solver
from dpbook_utils.rollout import Rollout, Sequential
from dpbook_utils.setups import Setup, train

from ...experiments.trainings import TRAINING_METRICS, losses, undisturbed_seconds
from ...problems.data_sets import cached_per_set
from ...problems.frames import NUM_FRAMES, newest_mse
from ...problems.ks import KuramotoSivashinskyProblem
from ...problems.problem import Trajectories

WIDTH, NUM_BLOCKS = 16, 4
RATE = 3e-3  # the best of three for ONE, NOG-3, WIG-3 and WIG-8 in e04_tuning
MEASURED = {"seeds": (100, 101), "updates": 500}  # the ONE whose error gives shaped noise its spectrum


@dataclass(frozen=True)
class Noise:
    """Noise on the state that enters each step.

    Attributes:
        sigma: its standard deviation, in those of the training data.
        kind: ``white``, ``shaped`` (as the error of a trained ONE), or ``walk`` (over a history of states).
        target: ``clean``, the batch's next state; or ``moved``, the reference solver applied to the noisy state.
    """

    sigma: float
    kind: str = "white"
    target: str = "clean"


@dataclass(frozen=True)
class Variant:
    """One row. Its set-up has no noise of its own (``Setup.sigma`` is 0): ``noise`` knows more kinds of it."""

    setup: Setup
    noise: Noise | None = None


@dataclass(frozen=True)
class Phases:
    """Two trainings, one after the other, that take as long together as the second one over the whole budget.

    Attributes:
        first, then: half of the time each.
        per_update: updates of the first that take as long as one of the second.
    """

    first: Variant
    then: Variant
    per_update: float


def extra_metrics(regions: Sequence[str]) -> dict[str, str]:
    """What E08 measures besides the problem's ``metrics``."""
    return {
        "validation": "mean relative L2 error over 12 steps, at most 2 at each, on validation data",
        "rms_train": "root mean square error after one step, on training states, in standard deviations of the data",
        "rms_validation": "the same on validation states",
        **{f"drift.{region}": "root mean square change over 400 steps of the state's mean, which the equation keeps, "
                              f"in standard deviations of the data, at most 2; domains {region} the training range"
           for region in regions},
        **TRAINING_METRICS,
    }


def run(problem: KuramotoSivashinskyProblem, row: Variant | Phases, seeds: Sequence[int], budget: int,
        longest: int | None) -> dict[str, Tensor]:
    """Train and judge one row: the problem's ``metrics`` and ``extra_metrics``."""
    networks = problem.ensemble(seeds, WIDTH, NUM_BLOCKS)
    histories = train_phases(problem, row, networks, seeds, budget, longest)
    seconds = sum(undisturbed_seconds(h) * len(h) for h in histories) / budget  # of both phases, per update of a budget
    diverged = torch.stack([h.diverged_at for h in histories]).amax(0)
    updates = budget - budget // 2 if isinstance(row, Phases) else budget
    return {**measured(problem, problem.hybrid(networks), len(seeds)),
            "seconds_per_update": torch.full((len(seeds),), seconds), "diverged_at": diverged,
            "losses": losses(histories[-1], updates, len(seeds))}


def train_phases(problem: KuramotoSivashinskyProblem, row: Variant | Phases, networks: nn.Module, seeds: Sequence[int],
                 budget: int, longest: int | None, progress: bool = False) -> list[History]:
    """Train the networks as the row says; one history per phase.

    Args:
        longest: length of the windows, for all set-ups to see the same ones; None: those of their own length.
    """
    if isinstance(row, Phases):
        halves = ((row.first, round(budget // 2 * row.per_update)), (row.then, budget - budget // 2))
        return [train_phases(problem, phase, networks, seeds, updates, longest, progress)[0]
                for phase, updates in halves]
    setup = row.setup
    batches = problem.windows(seeds, longest or setup.num_steps, setup.batch_size)
    if row.noise is not None and row.noise.target == "moved":
        batches = Perturbed(batches, operator(problem, row.noise), seed=seeds[0])
    return [train(setup, objective(problem, row, networks), batches, budget, noise_seed=seeds[0], progress=progress)]


def objective(problem: KuramotoSivashinskyProblem, row: Variant, networks: nn.Module) -> Objective:
    """The chain, with the noise in it unless that is in the data already, and what it is compared with."""
    step, targets = problem.hybrid(networks), from_batch
    if row.noise is not None and row.noise.target == "moved":
        targets = from_solver(problem.reference_solver())
    elif row.noise is not None:
        step = Sequential(operator(problem, row.noise), step)
    rollout = Rollout(step, row.setup.num_steps, gradient=row.setup.gradient)
    return Objective(rollout, TrajectoryLoss(row.setup.placement, newest_mse), targets)


def operator(problem: KuramotoSivashinskyProblem, noise: Noise) -> GaussianNoise:
    """The noise in units of the state."""
    sigma = noise.sigma * deviation(problem)
    if noise.kind == "walk":
        return RandomWalkNoise(sigma, NUM_FRAMES)
    if noise.kind == "shaped":
        return ShapedNoise(sigma, error_spectrum(problem), problem.num_points)
    return GaussianNoise(sigma)


def deviation(problem: KuramotoSivashinskyProblem) -> float:
    """Standard deviation of the training data, the newest frames of histories."""
    return float(problem.trajectories("train").states[:, :, -1].std())


@cached_per_set
def error_spectrum(problem: KuramotoSivashinskyProblem) -> Tensor:
    """(wave numbers,): mean energy spectrum of a trained ONE's error after one step, on training states."""
    networks = problem.ensemble(MEASURED["seeds"], WIDTH, NUM_BLOCKS)
    row = Variant(Setup(learning_rate=RATE))
    train_phases(problem, row, networks, MEASURED["seeds"], MEASURED["updates"], None)
    error = one_step_error(problem, problem.hybrid(networks), "train")
    return evaluation.energy_spectrum(error).mean((0, 1))


def one_step_error(problem: KuramotoSivashinskyProblem, step: nn.Module, name: str) -> Tensor:
    """(members * pairs, 1, 1, x): of about 20 states along each trajectory, the newest frame of the next one."""
    data = problem.trajectories(name)
    last = data.states.shape[1] - 1
    prediction, reference = predicted(problem, step, data.pairs(torch.arange(0, last, max(1, last // 20))))
    return prediction - reference


def measured(problem: KuramotoSivashinskyProblem, step: nn.Module, num_seeds: int) -> dict[str, Tensor]:
    """All metrics of a step but those of its training."""
    unit, found = deviation(problem), {}
    for region in problem.regions:
        prediction, reference = predicted(problem, step, problem.trajectories(region))
        change = (prediction[:, -1].mean((1, 2)) - reference[:, 0].mean((1, 2))) / unit
        drift = change.abs().nan_to_num(nan=2.0).clamp(max=2).unflatten(0, (num_seeds, -1))
        of_region = problem.judge_rollouts(prediction, reference, num_seeds) | {
            "drift": drift.square().mean(1).sqrt()}
        found |= {f"{name}.{region}": value for name, value in of_region.items()}
    for name in ("train", "validation"):
        error = one_step_error(problem, step, name).unflatten(0, (num_seeds, -1))
        found[f"rms_{name}"] = error.square().mean((1, 2, 3, 4)).sqrt() / unit
    return found | {"validation": problem.validation_error(step, num_seeds)}


def predicted(problem: KuramotoSivashinskyProblem, step: nn.Module, data: Trajectories) -> tuple[Tensor, Tensor]:
    """Roll-outs and references of all members, the newest frames: (members * samples, time, 1, x)."""
    prediction, reference = problem.predict(step, data)
    return problem.observed(prediction), problem.observed(reference)
