"""E01, second part: a network for an inverse problem with two answers.   Chapter: 01_physics_as_loss.

A rod with temperature deviation u_0(x) [K]; after 0.4 s of heat conduction a sensor sees y = u^2, blind to the sign.
Trained on pairs (y, u_0), in which u_0 is always positive (one answer) or its sign is drawn (two answers), or by the
loss through the solver, which sees y alone and is the same for both.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dpbook_utils.coupling import Replace
from dpbook_utils.data import random_fourier
from dpbook_utils.losses import TrajectoryLoss, final_step
from dpbook_utils.networks import ConvResNet, Ensemble
from dpbook_utils.objectives import Objective, from_input
from dpbook_utils.physics.advection_diffusion import AdvectionDiffusion
from dpbook_utils.physics.trace import trace
from dpbook_utils.rollout import Rollout, Sequential, repeat
from dpbook_utils.training import fit

from ...experiments.spec import Specification, Task
from .design import INVERSE_BUDGETS

BATCH, NUM_POINTS, NUM_TEST = 16, 32, 64
DT, NUM_STEPS, DIFFUSIVITY = 0.05, 8, 0.009  # [s], -, [m^2/s]
RATE = 3e-3
TEST_SEED, STREAM = 0, 10**6  # seed s draws its batches from (s + 1) * STREAM on

_VARIANTS = {"supervised, one answer": (True, False), "supervised, two answers": (True, True), "physics": (False, True)}
SPEC = Specification(
    id="e01_inverse", title="An inverse problem with two answers", chapter="01_physics_as_loss", variants=_VARIANTS,
    budgets=dict.fromkeys(_VARIANTS, INVERSE_BUDGETS), seeds=(0, 1, 2, 3, 4, 5),
    metrics={"distance": "relative L2 distance to the nearest of the two answers, mean over the test observations",
             "misfit": "relative L2 distance of what the answer would measure to the observation, mean over the same"},
    settings={"batch": BATCH, "num_points": NUM_POINTS, "num_test": NUM_TEST, "heat": (DT, NUM_STEPS, DIFFUSIVITY),
              "rate": RATE, "network": "kernel 5, 2 blocks, width 16, output 0.3", "seeds": (TEST_SEED, STREAM)},
    checks=(Task("physics", 8, (0, 1)),), checked=("distance", "misfit"))


class Intensity(nn.Module):
    """What the sensor sees."""

    def forward(self, u: Tensor) -> Tensor:
        return u.square()


def measurement(batch: int) -> nn.Module:
    """u_0 -> y, for a batch of this size."""
    heat = trace(AdvectionDiffusion(NUM_POINTS, 1.0, dt=DT), torch.zeros(batch, 1, NUM_POINTS), diffusivity=DIFFUSIVITY)
    return Sequential(repeat(heat, NUM_STEPS), Intensity())


def states(number: int, seed: int, ambiguous: bool) -> Tensor:
    """Initial states (number, 1, x), the same up to their signs whether ambiguous or not."""
    shape = random_fourier(number, NUM_POINTS, modes=3, seed=seed, decay=0.5)
    sign = torch.randint(0, 2, (number, 1, 1), generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return (0.4 * shape).exp() * (sign if ambiguous else 1)


def run(variant: str, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    """Train the networks of all seeds together and judge them on the same fresh observations."""
    supervised, ambiguous = SPEC.variants[variant]
    networks = Ensemble([ConvResNet(1, 1, 1, kernel_size=5, num_blocks=2, output_scale=0.3, seed=s) for s in seeds])
    measure = measurement(BATCH * len(seeds))
    batches = []
    for k in range(budget):
        u0 = torch.cat([states(BATCH, (s + 1) * STREAM + k, ambiguous) for s in seeds])
        batches.append({"u0": measure(u0, diffusivity=DIFFUSIVITY), "reference": u0[:, None]})
    one = TrajectoryLoss(final_step)
    if supervised:
        objective = Objective(Rollout(Replace(networks), 1), one)
    else:
        objective = Objective(Rollout(Sequential(Replace(networks), measure), 1), one, targets=from_input)
        batches = [{**batch, "diffusivity": DIFFUSIVITY} for batch in batches]
    fit(objective, batches, torch.optim.Adam(networks.parameters(), lr=RATE), num_updates=budget, trace=True,
        progress=False)
    return judge(networks.eval(), len(seeds))


def judge(networks: nn.Module, members: int) -> dict[str, Tensor]:
    measure = measurement(NUM_TEST * members)
    u0 = states(NUM_TEST, TEST_SEED, ambiguous=False).repeat(members, 1, 1)
    with torch.no_grad():
        y = measure(u0, diffusivity=DIFFUSIVITY)
        answer = networks(y)
        explained = measure(answer, diffusivity=DIFFUSIVITY)

    def size(difference: Tensor) -> Tensor:
        return difference.flatten(1).norm(dim=1)

    distance = torch.minimum(size(answer - u0), size(answer + u0)) / size(u0)
    misfit = size(explained - y) / size(y)
    return {name: values.view(members, -1).mean(1) for name, values in (("distance", distance), ("misfit", misfit))}
