"""The correction of a Burgers solver whose cells are too wide, ``coarse_burgers``."""

import functools
import time

import torch
from torch import Tensor, nn

from dpbook_utils import evaluation
from dpbook_utils.data import random_fourier, simulate
from dpbook_utils.networks import ConvResNet
from dpbook_utils.physics.advection import interpolated
from dpbook_utils.physics.burgers import Burgers
from dpbook_utils.physics.solver import select
from dpbook_utils.physics.trace import trace
from dpbook_utils.rollout import Sequential, repeat

from .data_sets import cached_per_set, seed_here
from .problem import FineProblem, Trajectories
from .steps import Bounded


class CoarseBurgers(FineProblem):
    r"""The correction of a coarse Burgers solver: the problem of E05.

    The reference is the viscous Burgers equation on 256 cells, averaged to 32; the coarse solver P is the same scheme
    on 32 cells with a time step 32 times longer. Its cells are too wide for the fronts: central differences wiggle
    there. One sample has its own viscosity, known to the network, and a random smooth initial state of three waves; one
    cell is 1 m wide and the root-mean-square velocity 1 m/s, so that states, corrections, weights and viscosities are
    of order one. Tested inside the range of viscosities seen in training, below it (sharper fronts), above it (smoother
    ones), and inside it with faster initial states.

    Chapter: 04_coupling.
    """

    measures = {
        "error": "mean relative L2 error over 100 steps, at most 2 at each",
        "one_step": "mean relative L2 error after one step from the reference's states 0, 10, ..., 90, at most 2",
        "final": "relative L2 error at step 100, at most 2, mean over samples",
        "curve": "relative L2 error at steps 1 ... 100, at most 2, geometric mean over samples",
        "mass": "largest change of the mean velocity over 100 steps, mean over samples, at most 10 [m/s]",
        "energy": "fraction of steps in which the energy rises by more than 1e-5 of itself, or after a blow-up",
        "blown_up": "fraction of roll-outs of 100 steps that blow up",
    }

    @property
    def metrics(self) -> dict[str, str]:
        return super().metrics | {
            "seconds_per_step": "time of one step of the roll-outs, for one sample of one seed [s]"}

    @functools.cache
    def solver(self, num_points: int | None = None, num_substeps: int = 1) -> nn.Module:
        """The equation on a grid, by default P's, its step recorded: ``u(t) -> u(t + dt / num_substeps)``.

        One object for all chains.
        """
        points = num_points or self.num_points
        burgers = Burgers(points, self.length, self.dt / num_substeps, interpolated)
        return trace(burgers, torch.zeros(1, 1, points), viscosity=self.train[0])

    def coarse_solver(self) -> nn.Module:
        return self.solver()

    def refined(self, num_points: int, num_substeps: int) -> nn.Module:
        """One step of the length dt on a finer grid."""
        return repeat(self.solver(num_points, num_substeps), num_substeps)

    @cached_per_set
    def fine_trajectories(self, name: str) -> Trajectories:
        """On 256 cells: ``train``, ``validation`` (the same viscosities, other states), or one of the test regions."""
        seed = name if name in self.data_seeds else "test"
        lowest, highest, speed = self.regions.get(name, self.train)
        generator = torch.Generator().manual_seed(seed_here(self.data_seeds[seed]))
        num_samples = self.settings[f"num_{seed}"]
        u0 = speed * random_fourier(num_samples, self.fine_points, modes=self.modes, seed=generator)
        uniform = torch.rand(num_samples, generator=generator, dtype=torch.float64)
        viscosity = (lowest * (highest / lowest) ** uniform).float()
        fine = self.refined(self.fine_points, self.fine_substeps)
        return Trajectories(simulate(fine, u0, self.num_steps, viscosity=viscosity), {"viscosity": viscosity})

    def network(self, seed: int, channels_out: int = 1) -> ConvResNet:
        """About 5,000 weights."""
        return ConvResNet(1, 1, channels_out, width=self.width, num_blocks=self.num_blocks,
                          conditions={"viscosity": self.condition}, output_scale=self.output_scale, seed=seed)

    def predict(self, step: nn.Module, data: Trajectories) -> tuple[Tensor, Tensor]:
        """(prediction, reference) over all steps, on P's grid; a blown-up state stays at a bound. Not from a recorded
        step: ``judge`` takes the time."""
        bounded = Sequential(step, Bounded(self.largest_state))
        return evaluation.predict(bounded, data.states, **select(bounded, data.parameters))

    def evaluate(self, step: nn.Module, num_seeds: int, *grid) -> dict[str, Tensor]:
        """All ``metrics`` of a step with ``num_seeds`` members on a grid of ``num_points``."""
        found = super().evaluate(step, num_seeds, *grid)
        seconds = [found.pop(f"seconds.{region}") for region in self.regions]
        return {**found, "seconds_per_step": torch.stack(seconds).amin(0)}

    def judge(self, step: nn.Module, data: Trajectories, num_seeds: int) -> dict[str, Tensor]:
        """The ``measures`` of a step on a test set, and the ``seconds`` that a step takes there."""
        start = time.perf_counter()
        prediction, reference = self.predict(step, data)
        seconds = (time.perf_counter() - start) / prediction[:, :, 0, 0].numel()
        one_step, _ = self.errors(step, data.pairs(torch.arange(0, self.num_steps, self.one_step_every)))
        return {**self.judge_rollouts(prediction, reference, data.states[:, 0], num_seeds),
                "one_step": one_step.double().unflatten(0, (num_seeds, -1)).mean((1, 2)),
                "seconds": torch.full((num_seeds,), seconds)}

    def judge_rollouts(self, prediction: Tensor, reference: Tensor, u0: Tensor, num_seeds: int) -> dict[str, Tensor]:
        """The measures of roll-outs (seeds * samples, time, 1, x) from u0 (samples, 1, x)."""
        states = torch.cat([torch.cat([u0] * num_seeds).unsqueeze(1), prediction], 1).double()
        prediction, reference = self.observed(prediction), self.observed(reference)
        error = self.capped_error(prediction, reference)
        blown = evaluation.blow_up_step(prediction, reference)
        energy, mass = states.square().mean((2, 3)), states.mean((2, 3))
        rises = energy[:, 1:] > energy[:, :-1] * (1 + self.rise)
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


coarse_burgers = CoarseBurgers(
    num_points=32, fine_points=256, length=32.0, dt=0.1, fine_substeps=32, num_steps=100, modes=3,
    # name: (lowest and highest viscosity [m^2/s], root-mean-square velocity [m/s])
    train=(0.1, 0.4, 1.0),
    regions={"inside": (0.1, 0.4, 1.0), "below": (0.06, 0.08, 1.0), "above": (0.5, 0.7, 1.0),
             "faster": (0.1, 0.4, 1.4)},
    num_train=256, num_validation=32, num_test=32, data_seeds={"train": 0, "validation": 1, "test": 2},
    largest_state=1e3, largest_error=2.0, one_step_every=10, rise=1e-5,
    condition=(0.25, 0.15), width=16, num_blocks=3, output_scale=0.01, batch_seed=1000)
