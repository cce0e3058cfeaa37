r"""The correction of a coarse Kuramoto-Sivashinsky solver where the flow is periodic instead of chaotic.

On domains of length 17.5 ... 17.8 every trajectory settles on a limit cycle, waves whose energy oscillates: on one and
the same up to a shift in most cases, on a second one in about one of twenty. Their leading Lyapunov exponents vanish
(``tests/test_periodic_waves.py``), so errors do not grow exponentially. Otherwise the problem is that of
``kuramoto_sivashinsky``: steps, integrators, network and measures; 24 points are enough for the shorter domain.

Chapter: 07_noise.
"""

import functools
from collections.abc import Sequence

import torch
from torch import nn

from dpbook_utils.coupling import Additive
from dpbook_utils.data import Windows, random_fourier, simulate
from dpbook_utils.networks import ConvResNet, Ensemble
from dpbook_utils.physics.kuramoto_sivashinsky import KuramotoSivashinsky, etd1, etdrk2
from dpbook_utils.physics.trace import TracedSolver
from dpbook_utils.rollout import Sequential

from . import kuramoto_sivashinsky as ks

SETTINGS = {
    "num_points": 24, "dt": 1.0, "num_substeps": 2,
    "train_lengths": (17.55, 17.59, 17.63, 17.67, 17.71, 17.75), "trajectories_per_length": 6, "train_steps": 200,
    "warmup": 1500, "modes": 3, "data_seeds": {"train": 0, "validation": 1, "test": 2},
    "test_lengths": {"inside": (17.57, 17.69)}, "tests_per_length": 16, "test_steps": ks.SETTINGS["test_steps"],
    "horizon": ks.SETTINGS["horizon"], "condition": (17.65, 0.1), "output_scale": 0.01, "batch_seed": 1000,
}

METRICS = {name: text for name, text in ks.METRICS.items() if name.endswith(".inside")}


def solver(integrator) -> TracedSolver:
    return TracedSolver(KuramotoSivashinsky(SETTINGS["num_points"], SETTINGS["dt"], integrator,
                                            SETTINGS["num_substeps"]))


def reference_solver() -> TracedSolver:
    return solver(etdrk2)


def coarse_solver() -> TracedSolver:
    return solver(etd1)


@functools.cache
def trajectories(name: str) -> ks.Trajectories:
    """``train``, ``validation`` (the same lengths, other states), or ``inside`` (other lengths)."""
    s = SETTINGS
    if name in s["test_lengths"]:
        lengths, per_length, num_steps, seed = s["test_lengths"][name], s["tests_per_length"], s["test_steps"], "test"
    else:
        lengths, per_length, seed = s["train_lengths"], s["trajectories_per_length"], name
        num_steps = s["train_steps"] if name == "train" else s["horizon"]
    lengths = torch.tensor(lengths).repeat_interleave(per_length)
    u0 = random_fourier(len(lengths), s["num_points"], modes=s["modes"], seed=s["data_seeds"][seed])
    return ks.Trajectories(simulate(reference_solver(), u0, num_steps, warmup=s["warmup"], length=lengths), lengths)


def ensemble(seeds: Sequence[int], width: int, num_blocks: int) -> Ensemble:
    return Ensemble([ConvResNet(1, 1, 1, width=width, num_blocks=num_blocks, seed=seed,
                                conditions={"length": SETTINGS["condition"]}, output_scale=SETTINGS["output_scale"])
                     for seed in seeds])


def hybrid(networks: nn.Module) -> Sequential:
    """P, then N."""
    return Sequential(coarse_solver(), Additive(networks))


def windows(seeds: Sequence[int], num_steps: int, batch_size: int) -> Windows:
    return trajectories("train").windows(seeds, num_steps, batch_size, SETTINGS["batch_seed"])
