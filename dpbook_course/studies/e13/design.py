"""Budgets, seeds, weights and names of E13, and what a simulation costs.   Chapter: 12_control.

The unit is one step of the solver for one episode. A step backward through it counts as two forward, as in E14. Data
count for nothing: initial states and targets are the same for all.
"""

import numpy as np

SEEDS = tuple(range(12))  # each with instances of its own
FEW_SEEDS = tuple(range(6))  # of the front
WEIGHTS = (0.001, 0.01, 0.1)  # of the mean squared force
WEIGHT = WEIGHTS[1]  # where the claim is decided
STEPS = 307_200  # of the solver, forward: 9,600 episodes
QUALITIES = (0.2, 0.1, 0.05)  # cost / cost of doing nothing, on validation instances
ADJOINT = 2
LOOKS = 28  # at the validation instances, in a training

TASKS = ("proportional", "relay")
DECIDING = "DP-8"  # of differentiable physics; the number is the batch, in episodes
MENDED = ("DP-8, smoothed", "DP-8, randomised")
RIVALS = {"proportional": ("PPO", "SAC", "ES"), "relay": ("PPO", "ES")}  # without the gradient; SAC is dear


def name(method: str, task: str, weight: float = WEIGHT) -> str:
    """Of a variant: ``PPO, relay``, or ``PPO, proportional, weight 0.1``."""
    return f"{method}, {task}" + ("" if weight == WEIGHT else f", weight {weight:g}")


def looks(budget: int) -> list[int]:
    """Numbers of updates at which a training is looked at, evenly in the logarithm, the last one included."""
    return sorted({0, *np.geomspace(1, budget, LOOKS - 1).round().astype(int).tolist()})


def equivalents(method: str) -> int:
    """Forward steps that one step of a method's training counts as: three with the gradient, else one."""
    return 1 + ADJOINT * method.startswith("DP")
