"""E01, third part: a conservation law as a loss.   Chapter: 01_physics_as_loss.

Measured velocities v = truth + noise; the truth has no divergence. A network that repairs them is trained on the truth
(labels), by closeness to the measurement and the divergence of its output (law), or on the truth with the exact
projection as the last operator of its chain.

    law: L = |N(v) - v|^2 + w |dx div N(v)|^2
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dpbook_utils.coupling import Additive
from dpbook_utils.data import random_velocity
from dpbook_utils.losses import TrajectoryLoss, final_step, mse
from dpbook_utils.networks import ConvResNet, Ensemble
from dpbook_utils.objectives import Objective, from_batch, from_input
from dpbook_utils.physics.projection import Divergence, Projection
from dpbook_utils.physics.trace import trace
from dpbook_utils.rollout import Rollout, Sequential
from dpbook_utils.training import fit

from ...experiments.spec import Specification, Task
from .design import LAW_BUDGETS

BATCH, CELLS, NUM_TEST = 8, 16, 64
NOISE, WEIGHT, RATE = 0.5, 10.0, 3e-3  # [m/s], w, -
TEST_SEED, STREAM = 0, 10**6  # seed s draws its batches from (s + 1) * STREAM on
GRID = (CELLS, CELLS), (1.0, 1.0)

_TRAINED, _BASELINES = ("labels", "law", "labels, then projection"), ("measurement", "projection")
SPEC = Specification(
    id="e01_conservation", title="A conservation law as a loss", chapter="01_physics_as_loss",
    variants={name: name for name in (*_TRAINED, *_BASELINES)},
    budgets={**dict.fromkeys(_TRAINED, LAW_BUDGETS), **dict.fromkeys(_BASELINES, (0,))}, seeds=(0, 1, 2, 3, 4, 5),
    metrics={"divergence": "root mean square of dx times the divergence, mean over the test velocities [m/s]",
             "error": "relative L2 distance to the truth, mean over the same"},
    settings={"batch": BATCH, "cells": CELLS, "num_test": NUM_TEST, "noise": NOISE, "weight": WEIGHT, "rate": RATE,
              "network": "width 8, 2 blocks", "seeds": (TEST_SEED, STREAM)},
    baselines=frozenset(_BASELINES), checks=(Task("law", 8, (0, 1)),), checked=("divergence", "error"))


def measurements(number: int, seed: int) -> tuple[Tensor, Tensor]:
    """(measured, true) velocities, (number, 2, x, y) [m/s]."""
    truth = random_velocity(number, GRID[0], modes=3, seed=seed)
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(seed))
    return truth + NOISE * noise, truth


class Scaled(nn.Module):
    """Velocities to the root mean square of dx times their divergence, one number per sample [m/s]."""

    def __init__(self, batch: int):
        super().__init__()
        self.divergence = trace(Divergence(*GRID), torch.zeros(batch, 2, CELLS, CELLS))

    def forward(self, v: Tensor) -> Tensor:
        return self.divergence(v).flatten(1).square().mean(1).sqrt() / CELLS


def repaired(variant: str, seeds: Sequence[int], budget: int) -> nn.Module:
    """The trained chain of a variant."""
    batch = BATCH * len(seeds)
    networks = Ensemble([ConvResNet(2, 2, 2, width=8, num_blocks=2, seed=s) for s in seeds])
    scaled = Scaled(batch)

    def closeness_and_law(v: Tensor, target: Tensor) -> Tensor:
        return mse(v, target) + WEIGHT * scaled(v.flatten(0, 1)).view(v.shape[:2]).square()

    chain, metric, targets = Additive(networks), mse, from_batch
    if variant == "law":
        metric, targets = closeness_and_law, from_input
    if variant == "labels, then projection":
        chain = Sequential(chain, trace(Projection(*GRID), torch.zeros(batch, 2, CELLS, CELLS)))
    batches = []
    for k in range(budget):
        v, truth = (torch.cat(parts) for parts in zip(*(measurements(BATCH, (s + 1) * STREAM + k) for s in seeds)))
        batches.append({"u0": v, "reference": truth[:, None]})
    fit(Objective(Rollout(chain, 1), TrajectoryLoss(final_step, metric), targets=targets), batches,
        torch.optim.Adam(networks.parameters(), lr=RATE), num_updates=budget, trace=True, progress=False)
    return chain.eval()


def run(variant: str, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    """Train one variant, if there is something to train, and judge it on the same fresh measurements."""
    if variant == "measurement":
        chain = nn.Identity()
    elif variant == "projection":
        chain = Projection(*GRID)
    else:
        chain = repaired(variant, seeds, budget)
    v, truth = (x.repeat(len(seeds), 1, 1, 1) for x in measurements(NUM_TEST, TEST_SEED))
    with torch.no_grad():
        found = chain(v)
        divergence = Scaled(len(v))(found)
    error = (found - truth).flatten(1).norm(dim=1) / truth.flatten(1).norm(dim=1)
    return {"divergence": divergence.view(len(seeds), -1).mean(1), "error": error.view(len(seeds), -1).mean(1)}
