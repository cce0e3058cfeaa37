"""The correction of a forced Burgers solver, ``forced_burgers``."""

import torch
from torch import Tensor, nn

from dpbook_utils.data import random_fourier, simulate
from dpbook_utils.networks import ConvResNet
from dpbook_utils.physics.advection import central, upwind
from dpbook_utils.physics.burgers import Burgers
from dpbook_utils.physics.trace import TracedSolver
from dpbook_utils.rollout import Sequential, repeat

from .data_sets import cached_per_set, seed_here
from .problem import FineProblem, Trajectories


class ForcedBurgers(FineProblem):
    r"""The correction of a coarse solver of the forced Burgers equation: a driven flow without chaos.

        u_t + (u^2 / 2)_x = nu u_xx + f(x),    f a random smooth force, steady, one per trajectory

    Two solutions under one force never move apart in the L1 norm, and the flow settles to fronts that hardly move:
    errors do not grow by themselves. The reference has 128 points, central differences and four sub-steps, and is
    averaged down to 32 cells; the coarse solver P is upwind on those. The counterpart to the Kuramoto-Sivashinsky
    correction, in the manner of the forced advection-diffusion of Um et al. 2020.

    Chapter: 03_unrolling.   Source: um2020.
    """

    where = "forces {} the training range"
    measures = {
        "one_step": "relative L2 error after one step",
        "error": "mean relative L2 error over 12 steps, at most 2 at each",
        "long_error": "mean relative L2 error over 200 steps, at most 2 at each",
        "curve": "relative L2 error at the steps of curve_steps, at most 2, geometric mean over samples",
        "blown_up": "fraction of roll-outs of 200 steps that blow up",
    }

    @property
    def regions(self) -> tuple[str, ...]:
        return tuple(self.test_forces)

    def coarse_solver(self) -> TracedSolver:
        return TracedSolver(Burgers(self.num_points, self.length, self.dt, upwind))

    def finer_solver(self) -> Sequential:
        """P on twice the points with half the time step."""
        return repeat(TracedSolver(Burgers(2 * self.num_points, self.length, self.dt / 2, upwind)), 2)

    def reference_solver(self) -> Sequential:
        substep = Burgers(self.fine_points, self.length, self.dt / self.fine_substeps, central)
        return repeat(TracedSolver(substep), self.fine_substeps)

    @cached_per_set
    def fine_trajectories(self, name: str) -> Trajectories:
        """On 128 cells: ``train``, ``validation`` (the same amplitudes, other forces and states), or a test region."""
        if name in self.test_forces:
            amplitudes, per_force, num_steps, seeds = (self.test_forces[name], self.tests_per_force, self.test_steps,
                                                       "test")
        else:
            amplitudes, per_force, seeds = self.train_forces, self.trajectories_per_force, name
            num_steps = self.train_steps if name == "train" else self.horizon
        amplitude = torch.tensor(amplitudes).repeat_interleave(per_force)
        of_state, of_force = (random_fourier(len(amplitude), self.fine_points, modes=self.modes, seed=seed_here(seed))
                              for seed in self.data_seeds[seeds])
        u0, force = self.initial_amplitude * of_state, amplitude[:, None, None] * of_force
        parameters = {"viscosity": u0.new_full((len(u0),), self.viscosity), "force": force}
        return Trajectories(simulate(self.reference_solver(), u0, num_steps, **parameters), parameters)

    def network(self, seed: int, width: int, num_blocks: int) -> ConvResNet:
        return ConvResNet(1, 1, 1, width=width, num_blocks=num_blocks, output_scale=self.output_scale, seed=seed)

    def judge(self, step: nn.Module, data: Trajectories, num_seeds: int) -> dict[str, Tensor]:
        error, blown = (x.unflatten(0, (num_seeds, -1)) for x in self.errors(step, data))
        return {"one_step": error[:, :, 0].mean(1), "error": error[:, :, :self.horizon].mean((1, 2)),
                "long_error": error.mean((1, 2)),
                "curve": error[:, :, torch.tensor(self.curve_steps) - 1].log().mean(1).exp(),
                "blown_up": (blown <= self.test_steps).double().mean(1)}


forced_burgers = ForcedBurgers(
    num_points=32, fine_points=128, length=32.0, viscosity=0.2, dt=0.2, fine_substeps=4, modes=6, initial_amplitude=0.5,
    train_forces=(0.1, 0.15, 0.2, 0.25, 0.3, 0.35), trajectories_per_force=6, train_steps=100,
    test_forces={"inside": (0.125, 0.275), "below": (0.05,), "above": (0.5,)}, tests_per_force=16, test_steps=200,
    horizon=12, largest_error=2.0, data_seeds={"train": (0, 1), "validation": (2, 3), "test": (4, 5)},
    output_scale=0.01, batch_seed=1000, curve_steps=(1, 2, 3, 5, 8, 12, 20, 35, 60, 100, 140, 200))
