"""E01, second part: a network for an inverse problem with two answers.   Chapter: 01_physics_as_loss.

A rod with temperature deviation u_0(x) [K]; after 0.4 s of heat conduction a sensor sees y = u^2, blind to the sign.
Trained on pairs (y, u_0), in which u_0 is always positive (one answer) or its sign is drawn (two answers), or by the
loss through the solver, which sees y alone and is the same for both.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from dpbook_utils.coupling import Replace
from dpbook_utils.losses import TrajectoryLoss, final_step
from dpbook_utils.networks import ConvResNet, Ensemble
from dpbook_utils.objectives import Objective, from_input
from dpbook_utils.rollout import Rollout, Sequential
from dpbook_utils.training import fit

from ...experiments.spec import Specification, Task
from ...problems.rod import DIFFUSIVITY, DT, NUM_POINTS, NUM_STEPS, NUM_TEST, TEST_SEED, judge, measurement, states
from .design import INVERSE_BUDGETS

BATCH, RATE = 16, 3e-3
STREAM = 10**6  # seed s draws its batches from (s + 1) * STREAM on

_VARIANTS = {"supervised, one answer": (True, False), "supervised, two answers": (True, True), "physics": (False, True)}
SPEC = Specification(
    id="e01_inverse", title="An inverse problem with two answers", chapter="01_physics_as_loss", variants=_VARIANTS,
    budgets=dict.fromkeys(_VARIANTS, INVERSE_BUDGETS), seeds=(0, 1, 2, 3, 4, 5),
    metrics={"distance": "relative L2 distance to the nearest of the two answers, mean over the test observations",
             "misfit": "relative L2 distance of what the answer would measure to the observation, mean over the same"},
    settings={"batch": BATCH, "num_points": NUM_POINTS, "num_test": NUM_TEST, "heat": (DT, NUM_STEPS, DIFFUSIVITY),
              "rate": RATE, "network": "kernel 5, 2 blocks, width 16, output 0.3", "seeds": (TEST_SEED, STREAM)},
    checks=(Task("physics", 8, (0, 1)),), checked=("distance", "misfit"))


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
