"""Roll-outs of E04's set-ups, with and without noise, for the explorer.   Chapters: 03_unrolling, 07_noise.

A small grid: unroll length, gradient policy, loss placement, noise. With one step all policies and placements are one
training; a push-forward's loss sits at its only step with a gradient, the last; and the cut at the solver with the loss
at the last step is that push-forward. With noise only the losses at every step are trained.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from torch import Tensor

from dpbook_utils.setups import Setup

from ...experiments import rollouts
from ...experiments.rollouts import BASELINES
from ...experiments.spec import Specification, Task
from ...problems import kuramoto_sivashinsky as ks
from ...problems.problem import Trajectories
from ...problems.steps import Persistence
from . import unrolling as e04

BUDGET = 1500
SEEDS = (0, 1, 2)
SCALE = 4.0  # of the pictures: the reference's states stay below it


class Choice(NamedTuple):
    """A point of the grid: ``policy`` full, cut or push; ``placement`` every or final; ``noise`` 0 or 1 sigma."""

    m: int
    policy: str = "full"
    placement: str = "every"
    noise: int = 0

    @property
    def name(self) -> str:
        return f"m={self.m}, {self.policy}, {self.placement}, noise {self.noise}"


ROWS = {("full", "every"): "WIG", ("full", "final"): "TERMINAL", ("cut", "every"): "NOG", ("push", "final"):
        "PUSHFORWARD"}
CHOICES = tuple(
    [Choice(1), Choice(1, noise=1)]
    + [Choice(m, *row) for m in (3, 8) for row in ROWS]
    + [Choice(m, policy, noise=1) for m in (3, 8) for policy in ("full", "cut")])


def setup(choice: Choice) -> Setup:
    """E04's, with its tuned learning rate; noise as in its NOISE."""
    row = "ONE" if choice.m == 1 else f"{ROWS[choice.policy, choice.placement]}-{choice.m}"
    return replace(e04.variants()[row].setup, sigma=choice.noise * e04.SIGMA)


SPEC = Specification(
    id="e04_rollouts", title="Roll-outs of E04 for the explorer", chapter="03_unrolling",
    variants={**{choice.name: setup(choice) for choice in CHOICES}, **BASELINES}, seeds=SEEDS,
    budgets={**{choice.name: (BUDGET,) for choice in CHOICES}, **dict.fromkeys(BASELINES, (0,))},
    metrics=rollouts.metrics("length of the domain"),
    settings={**ks.settings, **rollouts.SETTINGS, "longest": e04.LONGEST, "width": 16, "num_blocks": 4, "scale": SCALE},
    # A roll-out over 100 steps depends on rounding, because the flow is chaotic, and the solver alone blows up: E04
    # checks solver and trainings, and here the data and their measures are checked.
    baselines=frozenset(BASELINES), checks=(Task("persistence", 0, (0,)),), checked=("error.inside", "error.above"))


def run(variant: str, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    """Train and roll out one variant; every metric has one entry per seed."""
    if variant in BASELINES:
        step = {"reference": ks.reference_solver, "P": ks.coarse_solver, "persistence": Persistence}[variant]()
        return rollouts.without_training(rollouts.predicted(step, tests()), SCALE)
    row = e04.Variant(SPEC.variants[variant])
    step, history = e04.fitted(row, seeds, budget)
    batch = ks.windows(seeds, max(rollouts.HORIZONS), rollouts.BATCH)[0]
    return rollouts.trained(row.setup, step, history, batch, rollouts.predicted(step, tests()), seeds, SCALE)


def cost(variant: str, budget: int) -> float:
    """In updates of one step."""
    steps = getattr(SPEC.variants[variant], "num_steps", 0)
    return budget * (1 + steps)


def tests() -> dict[str, Trajectories]:
    return {region: ks.trajectories(region) for region in rollouts.REGIONS}
