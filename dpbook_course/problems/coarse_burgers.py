r"""The correction of a coarse Burgers solver: the problem of E05.

The reference is the viscous Burgers equation on 256 cells, averaged to 32; the coarse solver P is the same scheme on 32
cells with a time step 32 times longer. Its cells are too wide for the fronts: central differences wiggle there. One
sample has its own viscosity, known to the network, and a random smooth initial state of three waves; one cell is 1 m
wide and the root-mean-square velocity 1 m/s, so that states, corrections, weights and viscosities are of order one.
Tested inside the range of viscosities seen in training, below it (sharper fronts), above it (smoother ones), and inside
it with faster initial states.

Chapter: 04_coupling.
"""

import functools
import time
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dpbook_utils import evaluation
from dpbook_utils.data import Windows, cell_averages, random_fourier, simulate
from dpbook_utils.networks import ConvResNet, Ensemble
from dpbook_utils.physics.advection import interpolated
from dpbook_utils.physics.burgers import Burgers
from dpbook_utils.physics.solver import select
from dpbook_utils.physics.trace import trace
from dpbook_utils.rollout import Sequential, repeat

from .steps import Bounded

SETTINGS = {
    "num_points": 32, "fine_points": 256, "length": 32.0, "dt": 0.1, "fine_substeps": 32, "num_steps": 100, "modes": 3,
    # name: (lowest and highest viscosity [m^2/s], root-mean-square velocity [m/s])
    "train": (0.1, 0.4, 1.0),
    "regions": {"inside": (0.1, 0.4, 1.0), "below": (0.06, 0.08, 1.0), "above": (0.5, 0.7, 1.0),
                "faster": (0.1, 0.4, 1.4)},
    "num_train": 256, "num_validation": 32, "num_test": 32, "data_seeds": {"train": 0, "validation": 1, "test": 2},
    "largest_state": 1e3, "largest_error": 2.0, "one_step_every": 10, "rise": 1e-5,
    "condition": (0.25, 0.15), "width": 16, "num_blocks": 3, "output_scale": 0.01, "batch_seed": 1000,
}

METRICS = {
    f"{name}.{region}": f"{text}; region: {region}" for region in SETTINGS["regions"]
    for name, text in {
        "error": "mean relative L2 error over 100 steps, at most 2 at each",
        "one_step": "mean relative L2 error after one step from the reference's states 0, 10, ..., 90, at most 2",
        "final": "relative L2 error at step 100, at most 2, mean over samples",
        "curve": "relative L2 error at steps 1 ... 100, at most 2, geometric mean over samples",
        "mass": "largest change of the mean velocity over 100 steps, mean over samples, at most 10 [m/s]",
        "energy": "fraction of steps in which the energy rises by more than 1e-5 of itself, or after a blow-up",
        "blown_up": "fraction of roll-outs of 100 steps that blow up",
    }.items()
} | {"seconds_per_step": "time of one step of the roll-outs, for one sample of one seed [s]"}


class Trajectories(NamedTuple):
    """states (samples, time, 1, x), viscosities (samples,)."""

    states: Tensor
    viscosities: Tensor


@functools.cache
def solver(num_points: int = SETTINGS["num_points"], num_substeps: int = 1) -> nn.Module:
    """The equation on a grid, its step recorded: ``u(t) -> u(t + dt / num_substeps)``. One object for all chains."""
    burgers = Burgers(num_points, SETTINGS["length"], SETTINGS["dt"] / num_substeps, interpolated)
    return trace(burgers, torch.zeros(1, 1, num_points), viscosity=SETTINGS["train"][0])


def refined(num_points: int, num_substeps: int) -> nn.Module:
    """One step of the length dt on a finer grid."""
    return repeat(solver(num_points, num_substeps), num_substeps)


@functools.cache
def fine_trajectories(name: str) -> Trajectories:
    """On 256 cells: ``train``, ``validation`` (the same viscosities, other states), or one of the test regions."""
    s = SETTINGS
    seed = name if name in s["data_seeds"] else "test"
    lowest, highest, speed = s["regions"].get(name, s["train"])
    generator = torch.Generator().manual_seed(s["data_seeds"][seed])
    num_samples = s[f"num_{seed}"]
    u0 = speed * random_fourier(num_samples, s["fine_points"], modes=s["modes"], seed=generator)
    uniform = torch.rand(num_samples, generator=generator, dtype=torch.float64)
    viscosities = (lowest * (highest / lowest) ** uniform).float()
    fine = refined(s["fine_points"], s["fine_substeps"])
    return Trajectories(simulate(fine, u0, s["num_steps"], viscosity=viscosities), viscosities)


@functools.cache
def trajectories(name: str) -> Trajectories:
    """The reference on 32 cells."""
    fine = fine_trajectories(name)
    return Trajectories(cell_averages(fine.states, SETTINGS["num_points"]), fine.viscosities)


def network(seed: int, channels_out: int = 1) -> ConvResNet:
    """About 5,000 weights."""
    s = SETTINGS
    return ConvResNet(1, 1, channels_out, width=s["width"], num_blocks=s["num_blocks"],
                      conditions={"viscosity": s["condition"]}, output_scale=s["output_scale"], seed=seed)


def ensemble(seeds: Sequence[int], channels_out: int = 1) -> Ensemble:
    return Ensemble([network(seed, channels_out) for seed in seeds])


def windows(seeds: Sequence[int], num_steps: int, batch_size: int) -> Windows:
    """Batches of the training data: the same windows for all variants with the same longest unroll."""
    data = trajectories("train")
    return Windows(data.states, num_steps, batch_size, seeds=[SETTINGS["batch_seed"] + s for s in seeds],
                   viscosity=data.viscosities)


def predict(step: nn.Module, data: Trajectories) -> tuple[Tensor, Tensor]:
    """(prediction, reference) over all steps; a blown-up state stays at a bound."""
    parameters = select(step, {"viscosity": data.viscosities})
    with torch.no_grad():
        return evaluation.predict(Sequential(step, Bounded(SETTINGS["largest_state"])), data.states, **parameters)


def validation_error(step: nn.Module, num_seeds: int) -> Tensor:
    """(seeds,): mean relative L2 error over 100 steps, on the validation data."""
    return _capped_error(*predict(step, trajectories("validation"))).unflatten(0, (num_seeds, -1)).mean((1, 2))


def evaluate(step: nn.Module, num_seeds: int, num_points: int = SETTINGS["num_points"]) -> dict[str, Tensor]:
    """All METRICS of a step with ``num_seeds`` members on a grid of ``num_points``, judged on 32 cells."""
    found, seconds = {}, []
    for region in SETTINGS["regions"]:
        fine = fine_trajectories(region)
        data = Trajectories(cell_averages(fine.states, num_points), fine.viscosities)
        start = time.perf_counter()
        prediction, reference = predict(step, data)
        seconds.append((time.perf_counter() - start) / prediction[:, :, 0, 0].numel())
        judged = judge(prediction, reference, data.states[:, 0], num_seeds)
        judged["one_step"] = _one_step_error(step, data, num_seeds)
        found |= {f"{name}.{region}": value for name, value in judged.items()}
    return {**found, "seconds_per_step": torch.tensor(min(seconds)).expand(num_seeds)}


def judge(prediction: Tensor, reference: Tensor, u0: Tensor, num_seeds: int) -> dict[str, Tensor]:
    """The metrics of roll-outs (seeds * samples, time, 1, x) from u0 (samples, 1, x)."""
    coarse = SETTINGS["num_points"]
    states = torch.cat([torch.cat([u0] * num_seeds).unsqueeze(1), prediction], 1).double()
    prediction, reference = cell_averages(prediction, coarse), cell_averages(reference, coarse)
    error = _capped_error(prediction, reference)
    blown = evaluation.blow_up_step(prediction, reference)
    energy, mass = states.square().mean((2, 3)), states.mean((2, 3))
    rises = energy[:, 1:] > energy[:, :-1] * (1 + SETTINGS["rise"])
    rises |= torch.arange(1, rises.shape[1] + 1) >= blown[:, None]

    def per_seed(values: Tensor) -> Tensor:
        return values.double().unflatten(0, (num_seeds, -1))

    return {
        "error": per_seed(error).mean((1, 2)), "final": per_seed(error[:, -1]).mean(1),
        "curve": per_seed(error).log().mean(1).exp(),
        "mass": per_seed((mass - mass[:, :1]).abs().amax(1).clamp(max=10)).mean(1),
        "energy": per_seed(rises).mean((1, 2)),
        "blown_up": per_seed(blown <= reference.shape[1]).mean(1),
    }


def _one_step_error(step: nn.Module, data: Trajectories, num_seeds: int) -> Tensor:
    """(seeds,): from states of the reference."""
    times = torch.arange(0, SETTINGS["num_steps"], SETTINGS["one_step_every"])
    pairs = torch.stack([data.states[:, times], data.states[:, times + 1]], 2).flatten(0, 1)  # (pairs, 2, 1, x)
    prediction, reference = predict(step, Trajectories(pairs, data.viscosities.repeat_interleave(len(times))))
    coarse = SETTINGS["num_points"]
    error = _capped_error(cell_averages(prediction, coarse), cell_averages(reference, coarse))
    return error.double().unflatten(0, (num_seeds, -1)).mean((1, 2))


def _capped_error(prediction: Tensor, reference: Tensor) -> Tensor:
    """An unrelated state has an error of about 1.4, one that blew up counts as 2: it must not outweigh all others."""
    return evaluation.relative_l2(prediction, reference).clamp(max=SETTINGS["largest_error"])


