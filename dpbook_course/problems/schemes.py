"""The correction of one of several solvers of an equation: ``burgers_schemes`` and ``ks_schemes``."""

import functools
import math
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from dpbook_utils import evaluation
from dpbook_utils.coupling import Additive
from dpbook_utils.data import Windows, cell_averages, random_fourier, simulate
from dpbook_utils.networks import ConvResNet
from dpbook_utils.physics.advection import central, semi_lagrangian, upwind
from dpbook_utils.physics.burgers import Burgers
from dpbook_utils.physics.kuramoto_sivashinsky import KuramotoSivashinsky, etd1, etdrk2
from dpbook_utils.physics.limited import limited
from dpbook_utils.physics.semi_implicit import SemiImplicitKuramotoSivashinsky
from dpbook_utils.physics.solver import Solver, select
from dpbook_utils.physics.spectral import SpectralBurgers
from dpbook_utils.physics.trace import TracedSolver
from dpbook_utils.rollout import Rollout, Sequential, in_mode, repeat

from .ks import BEFORE, EVERY, kuramoto_sivashinsky
from .problem import Problem, Trajectories
from .steps import Bounded


class Beside:
    """Batches for an ensemble whose members have a source each: one group after the other."""

    def __init__(self, sources: Sequence[Windows]):
        self.sources = tuple(sources)

    def __getitem__(self, k: int) -> dict[str, Tensor]:
        return together([source[k] for source in self.sources])


def together(groups: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """One batch of several."""
    return {name: torch.cat([group[name] for group in groups]) for name in groups[0]}


class SchemesProblem(Problem):
    """P is one of several solvers of one equation, on one of several grids; the rest is the same for all of them.

    Every seed has data of its own: the trajectories that it trains on, and those that it is tested on. So what is found
    with several seeds says how much the data matter too. A problem states ``schemes``, ``coarse_solver(scheme,
    num_points)``, ``data(name, seed, num_points)``, and ``network``.

    Chapter: 09_choosing_the_numerics.
    """

    measures = {
        "error": "mean relative L2 error over the horizon, at most 2 at each step",
        "one_step": "relative L2 error after one step",
        "curve": "relative L2 error at each step of the horizon, at most 2, mean over samples",
        "blown_up": "fraction of roll-outs that blow up within the horizon",
    }
    schemes: Mapping[str, Callable] = {}

    @property
    def metrics(self) -> dict[str, str]:
        return super().metrics | {
            "swapped": "mean relative L2 error over the horizon inside, with each of the schemes in the place of P",
            "seconds_per_step": "time of one step of the roll-outs, for one sample of one seed [s]"}

    @abstractmethod
    def coarse_solver(self, scheme: str | None = None, num_points: int | None = None) -> Solver | Sequential:
        """P, by one of the ``schemes``; by default the first one on the default grid."""

    @abstractmethod
    def data(self, name: str, seed: int, num_points: int) -> Trajectories:
        """``train``, ``validation``, or one of the test regions, as a seed has it and a grid sees it."""

    def trajectories(self, name: str) -> Trajectories:
        """Those of seed 0, on the default grid."""
        return self.data(name, 0, self.num_points)

    def hybrid(self, networks: nn.Module, scheme: str | None = None, num_points: int | None = None) -> Sequential:
        return Sequential(self.coarse_solver(scheme, num_points), Additive(networks), Bounded(self.largest_state))

    def alone(self, scheme: str, num_points: int) -> Sequential:
        """P without a network."""
        return Sequential(self.coarse_solver(scheme, num_points), Bounded(self.largest_state))

    def batches(self, seeds: Sequence[int], num_steps: int, batch_size: int, num_points: int) -> Beside:
        """For an ensemble with these seeds: windows of the data of each of them."""
        return Beside([self.data("train", seed, num_points).windows([self.batch_seed + seed], num_steps, batch_size)
                       for seed in seeds])

    @torch.no_grad()
    def rolled(self, step: nn.Module, name: str, seeds: Sequence[int], num_points: int) -> tuple[Tensor, Tensor]:
        """(prediction, reference), each (seeds * samples, horizon, 1, x): every seed on its own data."""
        found = [self.data(name, seed, num_points) for seed in seeds]
        states = torch.cat([one.states for one in found])[:, :self.horizon + 1]
        parameters = together([one.parameters for one in found])
        rollout = Rollout(step, self.horizon)
        with in_mode(rollout, training=False):
            prediction = rollout(states[:, 0], **select(step, parameters))
        return prediction, states[:, 1:]

    def own_error(self, step: nn.Module, name: str, seeds: Sequence[int], num_points: int) -> Tensor:
        """(seeds,): mean capped error over the horizon."""
        error = self.capped_error(*self.rolled(step, name, seeds, num_points))
        return error.unflatten(0, (len(seeds), -1)).mean((1, 2))

    def judge(self, step: nn.Module, data: Trajectories, num_seeds: int) -> dict[str, Tensor]:
        """The ``measures`` of a step on one set, the same for all seeds."""
        return self.judge_rollouts(*self.predict(step, data), num_seeds)

    def judge_rollouts(self, prediction: Tensor, reference: Tensor, num_seeds: int) -> dict[str, Tensor]:
        error, blown = (x.unflatten(0, (num_seeds, -1)) for x in (
            self.capped_error(prediction, reference), evaluation.blow_up_step(prediction, reference)))
        return {"error": error.mean((1, 2)), "one_step": error[:, :, 0].mean(1), "curve": error.mean(1),
                "blown_up": (blown <= reference.shape[1]).double().mean(1)}

    def measured(self, step: nn.Module, seeds: Sequence[int], num_points: int) -> dict[str, Tensor]:
        """The ``measures`` of all regions and ``seconds_per_step``, every seed on its own data."""
        found, seconds = {}, []
        for region in self.regions:
            start = time.perf_counter()
            prediction, reference = self.rolled(step, region, seeds, num_points)
            seconds.append((time.perf_counter() - start) / prediction[:, :, 0, 0].numel())
            measures = self.judge_rollouts(prediction, reference, len(seeds))
            found |= {f"{name}.{region}": value for name, value in measures.items()}
        return found | {"seconds_per_step": torch.full((len(seeds),), min(seconds), dtype=torch.float64)}

    def swapped(self, networks: nn.Module | None, seeds: Sequence[int], num_points: int) -> Tensor:
        """(seeds, schemes): the error inside of the same networks behind each of the schemes; without, of those."""
        steps = [self.alone(scheme, num_points) if networks is None else self.hybrid(networks, scheme, num_points)
                 for scheme in self.schemes]
        return torch.stack([self.own_error(step, "inside", seeds, num_points) for step in steps], 1)


class BurgersSchemes(SchemesProblem):
    r"""The correction of Burgers solvers of five kinds on three grids: the problem of E10.

    The reference is pseudo-spectral on 256 cells with eight second-order sub-steps, averaged to 16, 32 or 64 cells of
    a domain of 32 m. P takes one step of dt = 0.1 s on 16 and 32 cells and two on 64, by central, upwind,
    semi-Lagrangian, limited or pseudo-spectral differences. Viscosities, initial states and velocities are those of
    ``coarse_burgers``. Tested inside the range of viscosities seen in training, and below it, where fronts are sharper.

    Chapter: 09_choosing_the_numerics.
    """

    regions = ("inside", "below")
    where = "viscosities {} the training range"
    schemes = {"central": central, "upwind": upwind, "semi-Lagrangian": semi_lagrangian, "limited": limited,
               "spectral": None}

    @functools.cache
    def coarse_solver(self, scheme: str | None = None, num_points: int | None = None) -> Sequential:
        points = num_points or self.num_points
        substeps = max(1, points // self.points_per_substep)
        dt, advection = self.dt / substeps, self.schemes[scheme or "central"]
        solver = (Burgers(points, self.length, dt, advection) if advection is not None else
                  SpectralBurgers(points, self.length, dt))
        return repeat(TracedSolver(solver), substeps)

    def reference_solver(self) -> TracedSolver:
        return TracedSolver(SpectralBurgers(self.fine_points, self.length, self.dt, num_substeps=self.fine_substeps))

    @functools.cache
    def fine_data(self, name: str, seed: int) -> Trajectories:
        """On 256 cells."""
        lowest, highest = self.below if name == "below" else self.viscosity
        generator = torch.Generator().manual_seed(self.data_seed + 10 * seed + self.sets.index(name))
        samples, steps = (self.num_train, self.train_steps) if name == "train" else (self.num_test, self.horizon)
        u0 = random_fourier(samples, self.fine_points, modes=self.modes, seed=generator)
        uniform = torch.rand(samples, generator=generator, dtype=torch.float64)
        viscosity = (lowest * (highest / lowest) ** uniform).float()
        return Trajectories(simulate(self.reference_solver(), u0, steps, viscosity=viscosity),
                            {"viscosity": viscosity})

    @functools.cache
    def data(self, name: str, seed: int, num_points: int) -> Trajectories:
        states, parameters = self.fine_data(name, seed)
        return Trajectories(cell_averages(states, num_points), parameters)

    def network(self, seed: int) -> ConvResNet:
        """About 5,000 weights, the same on every grid."""
        return ConvResNet(1, 1, 1, width=self.width, num_blocks=self.num_blocks, output_scale=self.output_scale,
                          conditions={"viscosity": self.condition}, seed=seed)


class KuramotoSivashinskySchemes(SchemesProblem):
    r"""The correction of Kuramoto-Sivashinsky solvers of three kinds: the second problem of E10.

    States are the stored ones of ``kuramoto_sivashinsky``, cut into disjoint blocks, one for each of twelve seeds; from
    each of them the reference runs over twelve steps in double precision: ETDRK2 with 16 sub-steps. P takes few: ETD1
    and ETDRK2, and finite differences with implicit linear terms. All on the 48 points of the states, so that what
    differs is the error in time, and that of the differences in space.

    Chapter: 09_choosing_the_numerics.
    """

    regions = ("inside", "below")
    where = "domains {} the training range"
    schemes = {"ETD1, 2": (etd1, 2), "ETD1, 4": (etd1, 4), "ETDRK2, 2": (etdrk2, 2), "differences, 2": (None, 2),
               "differences, 8": (None, 8)}

    @functools.cache
    def coarse_solver(self, scheme: str | None = None, num_points: int | None = None) -> TracedSolver:
        integrator, substeps = self.schemes[scheme or "ETD1, 2"]
        points = num_points or self.num_points
        return TracedSolver(KuramotoSivashinsky(points, self.dt, integrator, substeps) if integrator else
                            SemiImplicitKuramotoSivashinsky(points, self.dt, substeps))

    def reference_solver(self) -> TracedSolver:
        return TracedSolver(KuramotoSivashinsky(self.num_points, self.dt, etdrk2, self.fine_substeps))

    @functools.cache
    def data(self, name: str, seed: int, num_points: int) -> Trajectories:
        if num_points != self.num_points:
            raise ValueError(f"KuramotoSivashinskySchemes: the stored states have {self.num_points} points, "
                             f"{num_points} were asked for")
        stored, block = kuramoto_sivashinsky.restarts()[name], seed % self.blocks
        lengths, num_steps, _ = kuramoto_sivashinsky.described(name)
        number = 1 if name == "validation" else (num_steps + BEFORE) // EVERY // self.blocks
        first = 0 if name == "validation" else block * number
        start = stored[:, first:first + number].double()
        length = lengths.repeat_interleave(number)
        states = simulate(self.reference_solver(), start.flatten(0, 1), self.horizon, length=length.double())
        return Trajectories(states.to(stored.dtype), {"length": length})

    def network(self, seed: int) -> ConvResNet:
        """About 6,400 weights."""
        return ConvResNet(1, 1, 1, width=self.width, num_blocks=self.num_blocks, output_scale=self.output_scale,
                          conditions={"length": self.condition}, seed=seed)


burgers_schemes = BurgersSchemes(
    num_points=32, fine_points=256, length=32.0, dt=0.1, fine_substeps=8, points_per_substep=32, modes=3,
    viscosity=(0.1, 0.4), below=(0.06, 0.08), num_train=32, train_steps=64, num_test=16, horizon=50,
    sets=("train", "validation", "inside", "below"), data_seed=50_000, largest_state=1e3, largest_error=2.0,
    condition=(0.25, 0.15), width=16, num_blocks=3, output_scale=0.01, batch_seed=1000)

ks_schemes = KuramotoSivashinskySchemes(
    num_points=48, dt=1.0, fine_substeps=16, blocks=12, horizon=12, largest_state=1e3, largest_error=2.0,
    states=kuramoto_sivashinsky.made_with(), condition=(1.1 * 16 * math.pi, 8.0), width=16, num_blocks=4,
    output_scale=0.01, batch_seed=1000)
