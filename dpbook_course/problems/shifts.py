"""Problems whose test data differ from the training data: ``burgers_shifts`` and ``ks_shifts``."""

import functools
import math

import torch
from torch import Tensor

from dpbook_utils.data import cell_averages, random_fourier, simulate
from dpbook_utils.networks import ConvResNet
from dpbook_utils.physics.kuramoto_sivashinsky import KuramotoSivashinsky, etdrk2
from dpbook_utils.physics.trace import TracedSolver
from dpbook_utils.rollout import Sequential

from .changes import Change, ShiftsProblem, changes
from .data_sets import data_set
from .ks import EVERY, FURTHER_EVERY, FURTHER_SETS, kuramoto_sivashinsky
from .problem import Trajectories
from .schemes import burgers_schemes


class BurgersShifts(ShiftsProblem):
    r"""Burgers' equation with varying viscosity: the first problem of E11.

    Solvers, viscosities and waves are those of ``burgers_schemes``: a pseudo-spectral reference on 256 cells of a
    domain of 32 m, and P, limited differences on 32. The region ``finer`` is ``inside`` with P and N on 64 cells. The
    mean velocity of ``moving`` is one fine cell per step, so that the moving reference is exact.

    Chapter: 10_generalisation.
    """

    def coarse_solver(self, refined: int = 1) -> Sequential:
        return burgers_schemes.coarse_solver(self.scheme, refined * self.num_points)

    def grid(self, refined: int = 1) -> int:
        return refined * self.num_points

    @functools.cache
    def reference_solver(self) -> TracedSolver:
        return burgers_schemes.reference_solver()

    def initial(self, name: str, seed: int) -> tuple[Tensor, dict[str, Tensor]]:
        if name not in ("validation", *self.viscosity):
            raise ValueError(f"{type(self).__name__}: no data {name!r}; there are validation, "
                             f"{', '.join(self.viscosity)}")
        return self._drawn(self.num_test, self.viscosity["inside" if name == "validation" else name],
                           self.data_seed + 10 * seed + (name == "validation"))

    @functools.cache
    def train(self, seed: int, size: int) -> Trajectories:
        if size not in range(1, max(self.sizes) + 1):
            raise ValueError(f"{type(self).__name__}: {size} trajectories of seed {seed}; there are {max(self.sizes)}")
        u0, parameters = self._drawn(max(self.sizes), self.viscosity["inside"], self.data_seed + 10 * seed + 2)
        parameters = {name: values[:size] for name, values in parameters.items()}
        states = simulate(self.reference_solver(), u0[:size], self.train_steps, **parameters)
        return Trajectories(cell_averages(states, self.num_points), parameters)

    def _drawn(self, samples: int, bounds: tuple[float, float], seed: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Waves and viscosities, which only differ in the latter for other bounds."""
        generator = torch.Generator().manual_seed(seed)
        u0 = random_fourier(samples, self.fine_points, modes=self.modes, seed=generator)
        uniform = torch.rand(samples, generator=generator, dtype=torch.float64)
        lowest, highest = bounds
        return u0, {"viscosity": (lowest * (highest / lowest) ** uniform).float()}

    def network(self, seed: int, width: int = 16, num_blocks: int = 3) -> ConvResNet:
        """About 5,000 weights."""
        return ConvResNet(1, 1, 1, width=width, num_blocks=num_blocks, output_scale=self.output_scale,
                          conditions={"viscosity": self.condition}, seed=seed)


class KuramotoSivashinskyShifts(ShiftsProblem):
    r"""The Kuramoto-Sivashinsky equation on domains of several lengths: the second problem of E11.

    Seed s has the stored states of the data set s of ``kuramoto_sivashinsky``. From them the reference runs in double
    precision, ETDRK2 with 16 sub-steps, for 32 steps, which make two training trajectories of 16. P is ETD1 with two
    sub-steps on the same 48 points.

    Chapter: 10_generalisation.
    """

    @functools.cache
    def coarse_solver(self, refined: int = 1) -> TracedSolver:
        return TracedSolver(kuramoto_sivashinsky.coarse_solver(refined * kuramoto_sivashinsky.num_substeps))

    @functools.cache
    def reference_solver(self) -> TracedSolver:
        return TracedSolver(KuramotoSivashinsky(self.num_points, self.dt, etdrk2, self.fine_substeps))

    def stored(self, name: str, seed: int) -> tuple[Tensor, Tensor]:
        """(trajectories, restarts, 1, x), 96 steps apart, and the lengths of their domains."""
        number = seed % (FURTHER_SETS + 1)
        with data_set(number):
            states = kuramoto_sivashinsky.restarts()[name]
        lengths, *_ = kuramoto_sivashinsky.described(name)
        return states[:, ::1 if number else FURTHER_EVERY // EVERY], lengths

    def initial(self, name: str, seed: int) -> tuple[Tensor, dict[str, Tensor]]:
        states, lengths = self.stored(name, seed)
        chosen = torch.linspace(0, len(states) - 1, self.num_test).round().long()
        return states[chosen, 0].float(), {"length": lengths[chosen]}

    @functools.cache
    def train(self, seed: int, size: int) -> Trajectories:
        states, lengths = self.stored("train", seed)
        chosen = torch.randperm(2 * states.shape[0] * states.shape[1], generator=torch.Generator().manual_seed(seed))
        if size not in range(1, len(chosen) + 1):
            raise ValueError(f"{type(self).__name__}: {size} trajectories of seed {seed}; there are {len(chosen)}")
        place, half = chosen[:size] // 2, chosen[:size] % 2  # one restart makes two, one after the other
        length = lengths.repeat_interleave(states.shape[1])[place]
        long = self.reference(states.flatten(0, 1)[place], 2 * self.train_steps, {"length": length})
        times = half[:, None] * self.train_steps + torch.arange(self.train_steps + 1)
        return Trajectories(long[torch.arange(size)[:, None], times], {"length": length})

    def network(self, seed: int, width: int = 16, num_blocks: int = 4) -> ConvResNet:
        """About 6,400 weights."""
        return ConvResNet(1, 1, 1, width=width, num_blocks=num_blocks, output_scale=self.output_scale,
                          conditions={"length": self.condition}, seed=seed)


SIZES = (8, 32, 128, 512)

burgers_shifts = BurgersShifts(
    num_points=32, fine_points=256, length=32.0, dt=0.1, scheme="limited", modes=3,
    viscosity={"inside": (0.1, 0.4), "below": (0.06, 0.08), "above": (0.5, 0.7)}, sizes=SIZES, train_steps=32,
    num_test=16, horizon=50, probe_step=20,
    changes={**changes(1.25, 0.1, (1, 3), (10, 14)), "finer": Change(num_points=64)},
    solvers=burgers_schemes.settings, data_seed=70_000, kick_seed=90_000, largest_state=1e3, largest_error=2.0,
    condition=(0.25, 0.15), output_scale=0.01, batch_seed=1000)

ks_shifts = KuramotoSivashinskyShifts(
    num_points=48, fine_points=48, dt=1.0, sizes=SIZES, train_steps=16, num_test=16, horizon=12, probe_step=0,
    changes=changes(0.5, 0.2, (1, 3), (10, 14)), states=kuramoto_sivashinsky.made_with(),
    fine_substeps=16, kick_seed=90_000, largest_state=1e3, largest_error=2.0,
    condition=(1.1 * 16 * math.pi, 8.0), output_scale=0.01, batch_seed=1000)
