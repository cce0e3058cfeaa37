r"""The correction of a coarse solver of the forced Burgers equation: a driven flow without chaos.

    u_t + (u^2 / 2)_x = nu u_xx + f(x),    f a random smooth force, steady, one per trajectory

Two solutions under one force never move apart in the L1 norm, and the flow settles to fronts that hardly move: errors
do not grow by themselves. The reference has 128 points, central differences and four sub-steps, and is averaged down to
32 cells; the coarse solver P is upwind on those. The counterpart to the Kuramoto-Sivashinsky correction, in the manner
of the forced advection-diffusion of Um et al. 2020.

Chapter: 03_unrolling.   Source: um2020.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dpbook_utils import evaluation
from dpbook_utils.coupling import Additive
from dpbook_utils.data import Windows, cell_averages, random_fourier, simulate
from dpbook_utils.networks import ConvResNet, Ensemble
from dpbook_utils.physics.advection import central, upwind
from dpbook_utils.physics.burgers import Burgers
from dpbook_utils.physics.solver import select
from dpbook_utils.physics.trace import TracedSolver
from dpbook_utils.rollout import Sequential, repeat

SETTINGS = {
    "num_points": 32, "fine_points": 128, "length": 32.0, "viscosity": 0.2, "dt": 0.2, "fine_substeps": 4, "modes": 6,
    "initial_amplitude": 0.5, "train_forces": (0.1, 0.15, 0.2, 0.25, 0.3, 0.35), "trajectories_per_force": 6,
    "train_steps": 100, "test_forces": {"inside": (0.125, 0.275), "below": (0.05,), "above": (0.5,)},
    "tests_per_force": 16, "test_steps": 200, "horizon": 12, "largest_error": 2.0,
    "data_seeds": {"train": (0, 1), "validation": (2, 3), "test": (4, 5)}, "output_scale": 0.01, "batch_seed": 1000,
    "curve_steps": (1, 2, 3, 5, 8, 12, 20, 35, 60, 100, 140, 200),
}

METRICS = {
    f"{name}.{region}": f"{text}; forces {region} the training range" for region in SETTINGS["test_forces"]
    for name, text in {
        "one_step": "relative L2 error after one step",
        "error": "mean relative L2 error over 12 steps, at most 2 at each",
        "long_error": "mean relative L2 error over 200 steps, at most 2 at each",
        "curve": "relative L2 error at the steps of curve_steps, at most 2, geometric mean over samples",
        "blown_up": "fraction of roll-outs of 200 steps that blow up",
    }.items()
}


class Trajectories(NamedTuple):
    """fine (samples, time, 1, 128), fine_force (samples, 1, 128)."""

    fine: Tensor
    fine_force: Tensor

    def on(self, num_points: int) -> tuple[Tensor, dict[str, Tensor]]:
        """States and parameters averaged down to a grid."""
        viscosity = self.fine.new_full((len(self.fine),), SETTINGS["viscosity"])
        parameters = {"viscosity": viscosity, "force": cell_averages(self.fine_force, num_points)}
        return cell_averages(self.fine, num_points), parameters


def coarse_solver() -> TracedSolver:
    return TracedSolver(Burgers(SETTINGS["num_points"], SETTINGS["length"], SETTINGS["dt"], upwind))


def finer_solver() -> Sequential:
    """P on twice the points with half the time step."""
    return repeat(TracedSolver(Burgers(2 * SETTINGS["num_points"], SETTINGS["length"], SETTINGS["dt"] / 2, upwind)), 2)


def reference_solver() -> Sequential:
    s = SETTINGS
    substep = Burgers(s["fine_points"], s["length"], s["dt"] / s["fine_substeps"], central)
    return repeat(TracedSolver(substep), s["fine_substeps"])


@functools.cache
def trajectories(name: str) -> Trajectories:
    """``train``, ``validation`` (the same amplitudes, other forces and states), or one of the test regions."""
    s = SETTINGS
    if name in s["test_forces"]:
        amplitudes, per_force, num_steps, seeds = s["test_forces"][name], s["tests_per_force"], s["test_steps"], "test"
    else:
        amplitudes, per_force, seeds = s["train_forces"], s["trajectories_per_force"], name
        num_steps = s["train_steps"] if name == "train" else s["horizon"]
    amplitude = torch.tensor(amplitudes).repeat_interleave(per_force)
    of_state, of_force = (random_fourier(len(amplitude), s["fine_points"], modes=s["modes"], seed=seed)
                          for seed in s["data_seeds"][seeds])
    u0, force = s["initial_amplitude"] * of_state, amplitude[:, None, None] * of_force
    viscosity = u0.new_full((len(u0),), s["viscosity"])
    return Trajectories(simulate(reference_solver(), u0, num_steps, viscosity=viscosity, force=force), force)


def ensemble(seeds: Sequence[int], width: int, num_blocks: int) -> Ensemble:
    return Ensemble([ConvResNet(1, 1, 1, width=width, num_blocks=num_blocks, output_scale=SETTINGS["output_scale"],
                                seed=seed) for seed in seeds])


def hybrid(networks: nn.Module) -> Sequential:
    """P, then N."""
    return Sequential(coarse_solver(), Additive(networks))


def windows(seeds: Sequence[int], num_steps: int, batch_size: int) -> Windows:
    states, parameters = trajectories("train").on(SETTINGS["num_points"])
    return Windows(states, num_steps, batch_size, seeds=[SETTINGS["batch_seed"] + s for s in seeds], **parameters)


def validation_error(step: nn.Module, num_seeds: int) -> Tensor:
    """(seeds,): mean relative L2 error over the horizon, on the validation data."""
    error, _ = _errors(step, trajectories("validation"), SETTINGS["num_points"])
    return error.unflatten(0, (num_seeds, -1)).mean((1, 2))


def evaluate(step: nn.Module, num_seeds: int, num_points: int = SETTINGS["num_points"]) -> dict[str, Tensor]:
    """All METRICS of a step on a grid, compared on the coarse one; each with a leading axis of seeds."""
    found = {}
    for region in SETTINGS["test_forces"]:
        error, blown = _errors(step, trajectories(region), num_points)
        error, blown = (x.unflatten(0, (num_seeds, -1)) for x in (error, blown))
        places = torch.tensor(SETTINGS["curve_steps"]) - 1
        judged = {"one_step": error[:, :, 0].mean(1), "error": error[:, :, :SETTINGS["horizon"]].mean((1, 2)),
                  "long_error": error.mean((1, 2)), "curve": error[:, :, places].log().mean(1).exp(),
                  "blown_up": (blown <= SETTINGS["test_steps"]).double().mean(1)}
        found.update({f"{name}.{region}": value for name, value in judged.items()})
    return found


def _errors(step: nn.Module, data: Trajectories, num_points: int) -> tuple[Tensor, Tensor]:
    """(samples, time) capped errors and (samples,) steps of the blow-up."""
    states, parameters = data.on(num_points)
    prediction, reference = evaluation.predict(step, states, **select(step, parameters))
    prediction, reference = (cell_averages(u, SETTINGS["num_points"]) for u in (prediction, reference))
    error = evaluation.relative_l2(prediction, reference).clamp(max=SETTINGS["largest_error"])
    return error, evaluation.blow_up_step(prediction, reference)
