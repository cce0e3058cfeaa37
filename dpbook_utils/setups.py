"""The set-ups of the course as data: unroll length, loss placement, gradient policy, noise, optimisation.

``book/notation.md`` has the table of their names. A ``Setup`` and a chain make an ``Objective``; ``train`` is the same
for all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from . import arguments
from .calls import explained
from .gradients import FullGradient
from .history import Diverged, History
from .losses import TrajectoryLoss, every_step
from .noise import GaussianNoise
from .objectives import Objective, from_batch
from .rollout import Rollout, Sequential
from .training import fit

WARM_UP = 0.1  # of the budget with few steps: an untrained network on an unstable solver may not survive many


@dataclass(frozen=True)
class Setup:
    """How a chain is trained.

    Attributes:
        num_steps: unroll length m.
        placement: where along the roll-out the loss sits.
        gradient: where the backward pass is cut.
        sigma: standard deviation of the noise on the state that enters each step, in units of the state; 0 for none.
        learning_rate: of Adam at the start; a cosine takes it to zero over the budget.
        clip_norm: largest gradient norm.
        batch_size: windows per update and seed, for whoever makes the batches; ``train`` takes those that it is given.
        curriculum: ``((fraction of the budget, m), ...)``, or none.
    """

    num_steps: int = 1
    placement: Callable = every_step
    gradient: FullGradient = FullGradient()
    sigma: float = 0.0
    learning_rate: float = 1e-3
    clip_norm: float | None = 1.0
    batch_size: int = 16
    curriculum: tuple[tuple[float, int], ...] | None = None

    def __post_init__(self):
        arguments.whole("Setup", "num_steps", self.num_steps)
        arguments.function("Setup", "placement", self.placement, "a placement of the loss, such as every_step",
                           "num_steps")
        arguments.instance("Setup", "gradient", self.gradient, FullGradient, "a policy, such as FullGradient()")
        arguments.number("Setup", "sigma", self.sigma, least=0)
        arguments.positive("Setup", "learning_rate", self.learning_rate)
        arguments.whole("Setup", "batch_size", self.batch_size)
        if self.clip_norm is not None:
            arguments.positive("Setup", "clip_norm", self.clip_norm)
        stages = "pairs (fraction of the budget, number of steps), or None"
        if self.curriculum is not None and not (isinstance(self.curriculum, (tuple, list)) and self.curriculum):
            raise arguments.refusal("Setup", "curriculum", self.curriculum, stages)
        for stage in self.curriculum or ():
            arguments.pair("Setup", "a stage of curriculum", stage, arguments.number, stages)
            arguments.whole("Setup", "the number of steps of a stage", stage[1])

    def objective(self, step: nn.Module, targets: Callable = from_batch) -> Objective:
        """The set-up applied to a step such as ``Sequential(P, Additive(N))``."""
        if self.sigma > 0:
            step = Sequential(GaussianNoise(self.sigma), step)
        return Objective(Rollout(step, self.num_steps, gradient=self.gradient), TrajectoryLoss(self.placement), targets)

    def check(self, objective: Objective) -> None:
        """Raise ValueError for an objective that says something else than the set-up."""
        longest = max([self.num_steps, *(num_steps for _, num_steps in self.curriculum or ())])
        rollout, weights = objective.rollout, [loss.weights_for(longest).tolist()
                                               for loss in (objective.loss, TrajectoryLoss(self.placement))]
        said = {"num_steps": (rollout.num_steps, self.num_steps), "placement": weights,
                "gradient": (repr(rollout.gradient), repr(self.gradient))}
        if self.sigma > 0:
            sigmas = [part.sigma for part in rollout.modules() if isinstance(part, GaussianNoise)]
            said["sigma"] = (self.sigma if self.sigma in sigmas else sigmas or "no noise", self.sigma)
        for name, (theirs, ours) in said.items():
            if theirs != ours:
                raise ValueError(f"train: {name} is {theirs} in the objective and {ours} in the setup; make the "
                                 "objective by setup.objective(step)")

    def curriculum_for(self, budget: int) -> dict[int, int] | None:
        if self.curriculum is None:
            return None
        return {round(fraction * budget): num_steps for fraction, num_steps in self.curriculum}


def warm_up(num_steps: int, shortest: int = 1) -> tuple[tuple[float, int], ...]:
    """A curriculum: ``shortest`` steps for the first tenth of the budget, then ``num_steps``."""
    num_steps, shortest = (arguments.whole("warm_up", *given)
                           for given in (("num_steps", num_steps), ("shortest", shortest)))
    return (0.0, shortest), (WARM_UP, num_steps)


def cosine(optimizer: torch.optim.Optimizer, budget: int) -> torch.optim.lr_scheduler.LRScheduler:
    """The learning rate falls to zero over the budget."""
    arguments.instance("cosine", "optimizer", optimizer, torch.optim.Optimizer, "an optimiser of torch")
    budget = arguments.whole("cosine", "budget", budget)
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=budget)


@explained
def train(setup: Setup, objective: Objective, batches, budget: int, *, schedule: Callable = cosine,
          noise_seed: int = 0, trace: bool = True, progress: bool = False) -> History:
    """Adam for ``budget`` updates; seeds that diverge stop where they are, also if all do.

    Args:
        objective: as ``setup.objective(step)`` makes it, or another that agrees with the set-up in all that both say.
        schedule: ``(optimizer, budget) -> LRScheduler``.

    Raises: ValueError for an objective that contradicts the set-up; what ``fit`` raises, ``Diverged`` apart.
    """
    arguments.instance("train", "setup", setup, Setup, "a Setup(num_steps, placement, ...)")
    arguments.instance("train", "objective", objective, Objective, "an Objective, as setup.objective(step) makes it")
    setup.check(objective)
    budget = arguments.whole("train", "budget", budget)
    noise_seed = arguments.whole("train", "noise_seed", noise_seed, 0)
    arguments.function("train", "schedule", schedule, "a function (optimizer, budget) -> LRScheduler, such as cosine",
                       "optimizer", "budget")
    optimizer = torch.optim.Adam(objective.parameters(), lr=setup.learning_rate)
    torch.manual_seed(noise_seed)
    try:
        return fit(objective, batches, optimizer, num_updates=budget, clip_norm=setup.clip_norm,
                   schedule=schedule(optimizer, budget), curriculum=setup.curriculum_for(budget), trace=trace,
                   progress=progress)
    except Diverged as error:
        diverged_at = error.history.diverged_at
        diverged_at[diverged_at < 0] = error.update  # the members whose divergence ended the training
        return error.history
