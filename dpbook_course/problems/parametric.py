"""The correction of a Burgers solver over a domain of parameters, ``parametric_burgers``."""

import functools
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from dpbook_utils.data import Fresh, Sampler, cell_averages, random_fourier, simulate
from dpbook_utils.networks import ConvResNet
from dpbook_utils.physics.advection import central, upwind
from dpbook_utils.physics.burgers import Burgers
from dpbook_utils.physics.trace import TracedSolver
from dpbook_utils.rollout import Sequential, repeat

from .data_sets import cached_per_set, seed_here
from .problem import FineProblem, Trajectories


class ParametricBurgers(FineProblem):
    r"""The correction of a coarse Burgers solver over a domain of parameters: the problem of E02.

        u_t + (u^2 / 2)_x = nu u_xx,    viscosity nu and amplitude a of the initial state: one of each per sample

    The reference is central on 128 cells with six sub-steps, averaged down to 32; the coarse solver P is upwind on
    those and takes one. The network knows the viscosity; the amplitude it sees in the state. Both vary over a
    rectangle, 0.15 to 0.6 m^2/s (evenly in the logarithm) by 0.2 to 0.8 m/s, here called the unit square. Networks
    are tested inside it, on its edge with the four corners, and outside, on the edge of a square that is longer by
    0.15 at each end.

    A sample is one trajectory of 16 steps, in which most fronts form. One-step training takes all of its 16 pairs of
    states, unrolled training its 4 stretches of 4 steps: the same data, and the network is applied equally often.

    Chapter: 02_solver_as_data.
    """

    regions = ("inside", "edge", "outside")
    where = "parameters: {}"
    curve_steps = (1, 2, 3, 5, 8, 12, 16, 25, 35, 50, 75, 100, 150, 200)
    measures = {
        "one_step": "mean relative L2 error after one step from the reference's states 0, 5, ..., 45, at most 2",
        "error": "mean relative L2 error over 50 steps, at most 2 at each",
        "per_sample": "mean relative L2 error over 50 steps of each sample, at most 2 at each",
        "curve": "relative L2 error at the steps of curve_steps, at most 2, geometric mean over samples",
        "long_error": "mean relative L2 error over 200 steps, at most 2 at each",
        "blown_up": "fraction of roll-outs of 200 steps that blow up",
    }

    def waves(self, num_samples: int, generator: np.random.Generator, values: Mapping[str, Tensor]) -> Tensor:
        """Random waves of the sampled root-mean-square velocities on the fine grid: (samples, 1, 128)."""
        return values["amplitude"][:, None, None] * random_fourier(num_samples, self.fine_points, modes=self.modes,
                                                                   seed=generator)

    def sampler(self) -> Sampler:
        """Viscosities and amplitudes, spread over the rectangle, and waves."""
        return Sampler(self.waves, {"viscosity": self.viscosity, "amplitude": self.amplitude},
                       logarithmic=("viscosity",))

    @functools.cache
    def coarse_solver(self) -> TracedSolver:
        return TracedSolver(Burgers(self.num_points, self.length, self.dt, upwind))

    def finer_solver(self) -> Sequential:
        """P on twice the points, which needs four times as many steps."""
        return repeat(TracedSolver(Burgers(2 * self.num_points, self.length, self.dt / 4, upwind)), 4)

    @functools.cache
    def reference_solver(self, num_substeps: int | None = None) -> Sequential:
        """So many sub-steps on the fine grid, by default the six of one step of P."""
        substep = Burgers(self.fine_points, self.length, self.dt / self.fine_substeps, central)
        return repeat(TracedSolver(substep), num_substeps or self.fine_substeps)

    def fresh(self, seeds: Sequence[int], num_steps: int | None = None) -> Fresh:
        """Trajectories on P's grid, four of them per batch and seed, or the stretches of so many steps of those."""
        return Fresh(self.reference_solver(), self.sampler(), self.num_steps, self.trajectories_per_batch,
                     seeds=[self.data_seed + seed for seed in seeds],
                     observe=functools.partial(cell_averages, num_points=self.num_points),
                     transform=None if num_steps is None else functools.partial(self.stretches, num_steps=num_steps))

    @staticmethod
    def stretches(batch: Mapping[str, Tensor], num_steps: int) -> dict[str, Tensor]:
        """Whole trajectories cut into stretches: each of their steps is in one of them.

        Shapes: {"u0": (batch, 1, x), "reference": (batch, time, 1, x), "viscosity": (batch,)} ->
            {"u0": (batch * time / num_steps, 1, x), "reference": (batch * time / num_steps, num_steps, 1, x), ...};
            those of one trajectory stay together, so that the groups of an ensemble do.
        """
        reference = batch["reference"].unflatten(1, (-1, num_steps))
        starts = torch.cat([batch["u0"][:, None], reference[:, :-1, -1]], 1)
        return {"u0": starts.flatten(0, 1), "reference": reference.flatten(0, 1),
                "viscosity": batch["viscosity"].repeat_interleave(reference.shape[1])}

    @staticmethod
    def perimeter(points_per_side: int, distance: float = 0.0) -> np.ndarray:
        """Points on the edge of the unit square, its corners included, or of one that is longer at each end."""
        along = np.arange(points_per_side) / points_per_side
        sides = [(along, 0 * along), (1 + 0 * along, along), (1 - along, 1 + 0 * along), (0 * along, 1 - along)]
        return np.concatenate([np.stack(side, 1) for side in sides]) * (1 + 2 * distance) - distance

    def values_at(self, unit: np.ndarray) -> dict[str, Tensor]:
        """(samples, 2) points of the unit square, or beside it, to viscosities [m^2/s] and amplitudes [m/s]."""
        (lowest, highest), (weakest, strongest) = self.viscosity, self.amplitude
        x, y = torch.from_numpy(unit).T
        return {"viscosity": (lowest * (highest / lowest) ** x).float(),
                "amplitude": (weakest + (strongest - weakest) * y).float()}

    @cached_per_set
    def fine_trajectories(self, name: str) -> Trajectories:
        """On 128 cells: ``validation`` (inside, 50 steps) or one of the test regions."""
        seed = seed_here(self.seeds[name])
        if name in ("validation", "inside"):
            u0, values = self.sampler()(self.num_inside, seed, 0)
        else:
            values = self.values_at(self.perimeter(self.points_per_side, self.outside if name == "outside" else 0.0))
            u0 = self.waves(len(values["viscosity"]), np.random.default_rng(seed), values)
        num_steps = self.horizon if name == "validation" else self.test_steps
        viscosity = values["viscosity"]
        return Trajectories(simulate(self.reference_solver(), u0, num_steps, viscosity=viscosity),
                            {"viscosity": viscosity})

    def network(self, seed: int) -> ConvResNet:
        """About 5,000 weights."""
        return ConvResNet(1, 1, 1, width=self.width, num_blocks=self.num_blocks, output_scale=self.output_scale,
                          seed=seed, conditions={"viscosity": self.condition})

    def judge(self, step: nn.Module, data: Trajectories, num_seeds: int) -> dict[str, Tensor]:
        pairs = data.pairs(torch.arange(0, self.horizon, self.one_step_every))
        error, blown, one_step = (x.unflatten(0, (num_seeds, -1)) for x in (*self.errors(step, data),
                                                                            self.errors(step, pairs)[0]))
        to_horizon = error[:, :, :self.horizon].mean(2)
        return {"one_step": one_step.mean((1, 2)), "error": to_horizon.mean(1), "per_sample": to_horizon,
                "curve": error[:, :, torch.tensor(self.curve_steps) - 1].log().mean(1).exp(),
                "long_error": error.mean((1, 2)), "blown_up": (blown <= self.test_steps).double().mean(1)}


parametric_burgers = ParametricBurgers(
    num_points=32, fine_points=128, length=32.0, dt=0.25, fine_substeps=6, modes=4, viscosity=(0.15, 0.6),
    amplitude=(0.2, 0.8), num_steps=16, trajectories_per_batch=4, test_steps=200, horizon=50, one_step_every=5,
    num_inside=64, points_per_side=8, outside=0.15, largest_error=2.0,
    seeds={"validation": 1, "inside": 2, "edge": 3, "outside": 4}, data_seed=1000, condition=(0.325, 0.15), width=16,
    num_blocks=3, output_scale=0.01)
