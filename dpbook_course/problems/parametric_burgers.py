r"""The correction of a coarse Burgers solver over a domain of parameters: the problem of E02.

    u_t + (u^2 / 2)_x = nu u_xx,    viscosity nu and amplitude a of the initial state: one of each per sample

The reference is central on 128 cells with six sub-steps, averaged down to 32; the coarse solver P is upwind on those
and takes one. The network knows the viscosity; the amplitude it sees in the state. Both vary over a rectangle, 0.15 to
0.6 m^2/s (evenly in the logarithm) by 0.2 to 0.8 m/s, here called the unit square. Networks are tested inside it, on
its edge with the four corners, and outside, on the edge of a square that is longer by 0.15 at each end.

A sample is one trajectory of 16 steps, in which most fronts form. One-step training takes all of its 16 pairs of
states, unrolled training its 4 stretches of 4 steps: the same data, and the network is applied equally often.

Chapter: 02_solver_as_data.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from dpbook_utils import evaluation
from dpbook_utils.coupling import Additive
from dpbook_utils.data import Fresh, Sampler, cell_averages, random_fourier, simulate
from dpbook_utils.networks import ConvResNet, Ensemble
from dpbook_utils.physics.advection import central, upwind
from dpbook_utils.physics.burgers import Burgers
from dpbook_utils.physics.solver import select
from dpbook_utils.physics.trace import TracedSolver
from dpbook_utils.rollout import Sequential, repeat

SETTINGS = {
    "num_points": 32, "fine_points": 128, "length": 32.0, "dt": 0.25, "fine_substeps": 6, "modes": 4,
    "viscosity": (0.15, 0.6), "amplitude": (0.2, 0.8), "num_steps": 16, "trajectories_per_batch": 4,
    "test_steps": 200, "horizon": 50, "one_step_every": 5, "num_inside": 64, "points_per_side": 8, "outside": 0.15,
    "largest_error": 2.0, "seeds": {"validation": 1, "inside": 2, "edge": 3, "outside": 4}, "data_seed": 1000,
    "condition": (0.325, 0.15), "width": 16, "num_blocks": 3, "output_scale": 0.01,
}
REGIONS = ("inside", "edge", "outside")
CURVE_STEPS = (1, 2, 3, 5, 8, 12, 16, 25, 35, 50, 75, 100, 150, 200)

METRICS = {
    f"{name}.{region}": f"{text}; parameters: {region}" for region in REGIONS
    for name, text in {
        "one_step": "mean relative L2 error after one step from the reference's states 0, 5, ..., 45, at most 2",
        "error": "mean relative L2 error over 50 steps, at most 2 at each",
        "per_sample": "mean relative L2 error over 50 steps of each sample, at most 2 at each",
        "curve": "relative L2 error at the steps of CURVE_STEPS, at most 2, geometric mean over samples",
        "long_error": "mean relative L2 error over 200 steps, at most 2 at each",
        "blown_up": "fraction of roll-outs of 200 steps that blow up",
    }.items()
}


class Trajectories(NamedTuple):
    """states (samples, time, 1, x), viscosity (samples,)."""

    states: Tensor
    viscosity: Tensor


def waves(num_samples: int, generator: np.random.Generator, values: Mapping[str, Tensor]) -> Tensor:
    """Random waves of the sampled root-mean-square velocities on the fine grid: (samples, 1, 128)."""
    s = SETTINGS
    return values["amplitude"][:, None, None] * random_fourier(num_samples, s["fine_points"], modes=s["modes"],
                                                               seed=generator)


def sampler() -> Sampler:
    """Viscosities and amplitudes, spread over the rectangle, and waves."""
    return Sampler(waves, {name: SETTINGS[name] for name in ("viscosity", "amplitude")}, logarithmic=("viscosity",))


@functools.cache
def coarse_solver() -> TracedSolver:
    return TracedSolver(Burgers(SETTINGS["num_points"], SETTINGS["length"], SETTINGS["dt"], upwind))


def finer_solver() -> Sequential:
    """P on twice the points, which needs four times as many steps."""
    s = SETTINGS
    return repeat(TracedSolver(Burgers(2 * s["num_points"], s["length"], s["dt"] / 4, upwind)), 4)


@functools.cache
def reference_solver(num_substeps: int = SETTINGS["fine_substeps"]) -> Sequential:
    """So many sub-steps on the fine grid, six for one step of P."""
    s = SETTINGS
    return repeat(TracedSolver(Burgers(s["fine_points"], s["length"], s["dt"] / s["fine_substeps"], central)),
                  num_substeps)


def fresh(seeds: Sequence[int], num_steps: int | None = None) -> Fresh:
    """Trajectories on the coarse grid, four of them per batch and seed, or the stretches of so many steps of those."""
    s = SETTINGS
    return Fresh(reference_solver(), sampler(), s["num_steps"], s["trajectories_per_batch"],
                 seeds=[s["data_seed"] + seed for seed in seeds],
                 observe=functools.partial(cell_averages, num_points=s["num_points"]),
                 transform=None if num_steps is None else functools.partial(stretches, num_steps=num_steps))


def stretches(batch: Mapping[str, Tensor], num_steps: int) -> dict[str, Tensor]:
    """Whole trajectories cut into stretches: each of their steps is in one of them.

    Shapes: {"u0": (batch, 1, x), "reference": (batch, time, 1, x), "viscosity": (batch,)} ->
        {"u0": (batch * time / num_steps, 1, x), "reference": (batch * time / num_steps, num_steps, 1, x), ...}; those
        of one trajectory stay together, so that the groups of an ensemble do.
    """
    reference = batch["reference"].unflatten(1, (-1, num_steps))
    starts = torch.cat([batch["u0"][:, None], reference[:, :-1, -1]], 1)
    return {"u0": starts.flatten(0, 1), "reference": reference.flatten(0, 1),
            "viscosity": batch["viscosity"].repeat_interleave(reference.shape[1])}


def perimeter(points_per_side: int, distance: float = 0.0) -> np.ndarray:
    """Points on the edge of the unit square, its corners included, or of one that is longer at each end."""
    along = np.arange(points_per_side) / points_per_side
    sides = [(along, 0 * along), (1 + 0 * along, along), (1 - along, 1 + 0 * along), (0 * along, 1 - along)]
    return np.concatenate([np.stack(side, 1) for side in sides]) * (1 + 2 * distance) - distance


def values_at(unit: np.ndarray) -> dict[str, Tensor]:
    """(samples, 2) points of the unit square, or beside it, to viscosities [m^2/s] and amplitudes [m/s]."""
    (lowest, highest), (weakest, strongest) = SETTINGS["viscosity"], SETTINGS["amplitude"]
    x, y = torch.from_numpy(unit).T
    return {"viscosity": (lowest * (highest / lowest) ** x).float(),
            "amplitude": (weakest + (strongest - weakest) * y).float()}


@functools.cache
def fine_trajectories(name: str) -> Trajectories:
    """On 128 cells: ``validation`` (inside, 50 steps) or one of the test regions."""
    s = SETTINGS
    seed = s["seeds"][name]
    if name in ("validation", "inside"):
        u0, values = sampler()(s["num_inside"], seed, 0)
    else:
        values = values_at(perimeter(s["points_per_side"], s["outside"] if name == "outside" else 0.0))
        u0 = waves(len(values["viscosity"]), np.random.default_rng(seed), values)
    num_steps = s["horizon"] if name == "validation" else s["test_steps"]
    viscosity = values["viscosity"]
    return Trajectories(simulate(reference_solver(), u0, num_steps, viscosity=viscosity), viscosity)


def trajectories(name: str, num_points: int = SETTINGS["num_points"]) -> Trajectories:
    """What a coarser grid sees of them."""
    fine = fine_trajectories(name)
    return fine._replace(states=cell_averages(fine.states, num_points))


def network(seed: int) -> ConvResNet:
    """About 5,000 weights."""
    s = SETTINGS
    return ConvResNet(1, 1, 1, width=s["width"], num_blocks=s["num_blocks"], output_scale=s["output_scale"], seed=seed,
                      conditions={"viscosity": s["condition"]})


def ensemble(seeds: Sequence[int]) -> Ensemble:
    return Ensemble([network(seed) for seed in seeds])


def hybrid(networks: nn.Module) -> Sequential:
    """P, then N: the coarse step and its correction."""
    return Sequential(coarse_solver(), Additive(networks))


def validation_error(step: nn.Module, num_seeds: int) -> Tensor:
    """(seeds,): mean relative L2 error over 50 steps, on the validation data."""
    data = trajectories("validation")
    error, _ = _errors(step, data.states, SETTINGS["horizon"], data.viscosity)
    return error.unflatten(0, (num_seeds, -1)).mean((1, 2))


def evaluate(step: nn.Module, num_seeds: int, num_points: int = SETTINGS["num_points"]) -> dict[str, Tensor]:
    """All METRICS of a step on a grid, judged on the coarse one; each with a leading axis of seeds."""
    s, found = SETTINGS, {}
    for region in REGIONS:
        data = trajectories(region, num_points)
        error, blown = _errors(step, data.states, s["test_steps"], data.viscosity)
        times = torch.arange(0, s["horizon"], s["one_step_every"])
        pairs = torch.stack([data.states[:, times], data.states[:, times + 1]], 2).flatten(0, 1)
        one_step, _ = _errors(step, pairs, 1, data.viscosity.repeat_interleave(len(times)))
        error, blown, one_step = (x.unflatten(0, (num_seeds, -1)) for x in (error, blown, one_step))
        to_horizon, places = error[:, :, :s["horizon"]].mean(2), torch.tensor(CURVE_STEPS) - 1
        judged = {"one_step": one_step.mean((1, 2)), "error": to_horizon.mean(1), "per_sample": to_horizon,
                  "curve": error[:, :, places].log().mean(1).exp(), "long_error": error.mean((1, 2)),
                  "blown_up": (blown <= s["test_steps"]).double().mean(1)}
        found.update({f"{name}.{region}": value for name, value in judged.items()})
    return found


def _errors(step: nn.Module, states: Tensor, num_steps: int, viscosity: Tensor) -> tuple[Tensor, Tensor]:
    """(seeds * samples, time) capped errors and (seeds * samples,) steps of the blow-up."""
    prediction, reference = evaluation.predict(step, states, num_steps, **select(step, {"viscosity": viscosity}))
    prediction, reference = (cell_averages(u, SETTINGS["num_points"]) for u in (prediction, reference))
    error = evaluation.relative_l2(prediction, reference).clamp(max=SETTINGS["largest_error"])
    return error, evaluation.blow_up_step(prediction, reference)
