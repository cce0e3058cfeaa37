"""A rod whose initial temperature is to be found from what a sensor sees later, blind to the sign.

A temperature deviation u_0(x) [K] conducts heat for 0.4 s; then the sensor sees y = u^2. So u_0 and -u_0 are both
answers. The problem of E01's second part and of E15.   Chapters: 01_physics_as_loss, 14_better_updates.
"""

import torch
from torch import Tensor, nn

from dpbook_utils.data import random_fourier
from dpbook_utils.physics.advection_diffusion import AdvectionDiffusion
from dpbook_utils.physics.trace import trace
from dpbook_utils.rollout import Sequential, repeat

NUM_POINTS, NUM_TEST, TEST_SEED = 32, 64, 0
DT, NUM_STEPS, DIFFUSIVITY = 0.05, 8, 0.009  # [s], -, [m^2/s]


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


def judge(networks: nn.Module, members: int) -> dict[str, Tensor]:
    """``distance`` to the nearest of the two answers and ``misfit`` of what the answer would measure: relative L2, the
    mean over the test observations for each member."""
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
