r"""Reconstructions of an initial state, for the explorer.   Chapter: 01_physics_as_loss.

The problem is ``problems.reconstruction.Reconstruction``; N is the initial state itself. An optimiser minimises

    mse(P^16(u_0) - y) + w mse(du_0 / dx),    y = the true state at 0.5 s, with or without noise

from a random state, and the flow from what it has found is compared with the true one over all 32 steps. ``gradient``
is how much a state at a later time says about the initial one: of mse(P^k(u_0) - truth_k), k = 1 ... 32, in u_0.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dpbook_utils.data import random_fourier
from dpbook_utils.diagnostics import gradient_growth
from dpbook_utils.losses import TrajectoryLoss, final_step
from dpbook_utils.objectives import Objective
from dpbook_utils.rollout import Rollout, repeat

from ...experiments import rollouts
from ...experiments.spec import Specification, Task
from ...problems.reconstruction import Reconstruction

ITERATIONS = (10, 30, 100, 300)
SEEDS = (0, 1, 2)
REGION = "inside"  # there is but one flow
SETTINGS = {"learning_rate": 0.03, "start": 0.1, "start_modes": 8, "line_search": "strong_wolfe"}  # start [m/s]
SCALE = 2.0  # of the pictures [m/s]


class Choice(NamedTuple):
    """``optimizer`` Adam or L-BFGS; ``weight`` w of the prior [s^2]; ``noise``, its standard deviation [m/s]."""

    optimizer: str
    weight: float
    noise: float

    @property
    def name(self) -> str:
        return f"{self.optimizer}, prior {self.weight:g}, noise {self.noise:g}"


CHOICES = tuple(Choice(optimizer, weight, noise) for optimizer in ("Adam", "L-BFGS")
                for weight in (0.0, 1e-5, 1e-4) for noise in (0.0, 0.05))
BASELINES = {"reference": "the exact solution", "true start": "P from the true initial state",
             "observed start": "P from the observed state, taken for the initial one"}
SPEC = Specification(
    id="e01_reconstruction", title="Reconstructions of an initial state, for the explorer",
    chapter="01_physics_as_loss", variants={**{choice.name: tuple(choice) for choice in CHOICES}, **BASELINES},
    seeds=SEEDS, budgets={**{choice.name: ITERATIONS for choice in CHOICES}, **dict.fromkeys(BASELINES, (0,))},
    metrics=rollouts.metrics("viscosity [m^2/s]", (REGION,), Reconstruction.num_steps),
    settings={**rollouts.SETTINGS, **SETTINGS, "num_steps": Reconstruction.num_steps, "scale": SCALE},
    baselines=frozenset(BASELINES), checks=(Task(CHOICES[1].name, 10, SEEDS),), checked=("error.inside", "gradient"))


def run(variant: str, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    """Reconstruct with every seed, of start and noise; a budget is a number of iterations."""
    problem = Reconstruction()
    if variant == "reference":
        return rollouts.without_training(compared(problem, problem.truth[None]), SCALE)
    if variant in BASELINES:
        start = problem.truth[:1] if variant == "true start" else problem.observed
        return rollouts.without_training(compared(problem, flow(problem, start)), SCALE)
    found = torch.cat([reconstructed(problem, Choice(*SPEC.variants[variant]), seed, budget) for seed in seeds])
    return {**rollouts.measured(compared(problem, flow(problem, found)), len(seeds), SCALE),
            "gradient": gradients(problem, found), "diverged_at": torch.full((len(seeds),), -1)}


def reconstructed(problem: Reconstruction, choice: Choice, seed: int, iterations: int) -> Tensor:
    """(1, 1, 128): the initial state after so many iterations."""
    to_observed, generator = repeat(problem.solver, problem.observed_step), torch.Generator().manual_seed(seed)
    observed = problem.observed + choice.noise * torch.randn(problem.observed.shape, generator=generator)
    u0 = SETTINGS["start"] * random_fourier(1, problem.num_points, modes=SETTINGS["start_modes"], seed=seed)
    u0.requires_grad_()
    if choice.optimizer == "Adam":
        optimizer, num_calls = torch.optim.Adam([u0], lr=SETTINGS["learning_rate"]), iterations
    else:  # one call, that only the number of iterations ends
        optimizer, num_calls = torch.optim.LBFGS([u0], max_iter=iterations, max_eval=20 * iterations, tolerance_grad=0,
                                                 tolerance_change=0, line_search_fn=SETTINGS["line_search"]), 1

    def closure() -> Tensor:
        optimizer.zero_grad()
        slope = (u0.roll(-1, -1) - u0) * problem.num_points / problem.length
        misfit = (to_observed(u0, viscosity=problem.viscosity) - observed).square().mean()
        loss = misfit + choice.weight * slope.square().mean()
        loss.backward()
        return loss.detach()

    for _ in range(num_calls):
        optimizer.step(closure)
    return u0.detach()


@torch.no_grad()
def flow(problem: Reconstruction, start: Tensor) -> Tensor:
    """(seeds, 33, 1, 128): initial states (seeds, 1, 128) and what follows from them."""
    later = Rollout(problem.solver, problem.num_steps)(start, viscosity=problem.viscosity)
    return torch.cat([start[:, None], later], 1)


def compared(problem: Reconstruction, states: Tensor) -> dict[str, tuple[Tensor, ...]]:
    """``{region: (prediction, reference, u0, viscosity)}`` of flows (seeds, 33, 1, 128)."""
    return {REGION: (states[:, 1:], problem.truth[1:].expand(len(states), -1, -1, -1), states[:, 0],
                     torch.tensor([problem.viscosity]))}


def gradients(problem: Reconstruction, start: Tensor) -> Tensor:
    """(seeds, horizons): the norm of d mse(P^k(u_0) - truth_k) / du_0 at these initial states."""
    objective = Objective(Rollout(problem.solver, 1), TrajectoryLoss(final_step))
    reference = problem.truth[1:].expand(len(start), -1, -1, -1)
    batch = {"u0": start, "reference": reference, "viscosity": problem.viscosity}
    return gradient_growth(objective, batch, rollouts.HORIZONS).state.T
