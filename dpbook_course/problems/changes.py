"""Test data that differ from the training data in one thing at a time, and how a step is judged on them."""

import functools
import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dpbook_utils import evaluation
from dpbook_utils.coupling import Additive
from dpbook_utils.data import cell_averages, simulate
from dpbook_utils.physics.solver import Solver, select
from dpbook_utils.rollout import Sequential, in_mode

from .problem import Problem, Trajectories
from .schemes import Beside, together
from .steps import Bounded


@dataclass(frozen=True)
class Change:
    """How test data differ from those inside the training range: by default not at all.

    Attributes:
        parameters: the name of the range from which the parameters of the equation are.
        amplitude: factor of the initial states.
        mean: a velocity that is added everywhere [m/s]: the frame of reference moves.
        band: lowest and highest wave number, in waves per domain, of a random kick after every step, known to all.
        kick: its root-mean-square size [m/s].
        num_points: of the grid on which P and N act; None for that of the training.
    """

    parameters: str = "inside"
    amplitude: float = 1.0
    mean: float = 0.0
    band: tuple[int, int] | None = None
    kick: float = 0.0
    num_points: int | None = None


def changes(mean: float, kick: float, large: tuple[int, int], small: tuple[int, int]) -> dict[str, Change]:
    """The regions that both problems have."""
    return {"inside": Change(), "below": Change("below"), "above": Change("above"), "half": Change(amplitude=0.5),
            "double": Change(amplitude=2.0), "moving": Change(mean=mean),
            "large kicks": Change(band=large, kick=kick), "small kicks": Change(band=small, kick=kick)}


class ShiftsProblem(Problem):
    """A coarse solver and its network, tested on data that differ from those of the training in one thing at a time.

    Every seed has data of its own, trajectories to train on and others to be tested on. All regions of a seed begin
    with the same states, so that what a change does is seen pair by pair (``probe``), but for those with other
    parameters where these are stored states. A problem states ``initial``, ``train``, and its solvers.

    Chapter: 10_generalisation.
    """

    where = "test data: {}"
    measures = {
        "error": "mean relative L2 error over the horizon, at most 2 at each step",
        "one_step": "relative L2 error after one step",
        "blown_up": "fraction of roll-outs that blow up within the horizon",
    }

    def __init__(self, **settings):
        super().__init__(**settings)
        label, most = type(self).__name__, (self.num_points - 1) // 2
        for name, change in self.changes.items():
            if change.band and not 1 <= change.band[0] <= change.band[1] <= most:
                raise ValueError(f"{label}: the kicks of {name!r} have the waves {change.band}; {self.num_points} "
                                 f"points of P resolve 1 ... {most}: give a lowest and a highest one of those")
            if (change.num_points or self.num_points) % self.num_points:
                raise ValueError(f"{label}: {name!r} has {change.num_points} points; give a multiple of the "
                                 f"{self.num_points} of P, on which errors are measured")

    @property
    def regions(self) -> tuple[str, ...]:
        return tuple(self.changes)

    @abstractmethod
    def coarse_solver(self, refined: int = 1) -> Solver | Sequential:
        """P, or the same scheme refined by a factor: what the cost of a network buys without one."""

    @abstractmethod
    def reference_solver(self) -> Solver | Sequential:
        """On the fine grid."""

    @abstractmethod
    def initial(self, name: str, seed: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Fine states to test with, and parameters: from the ranges ``inside``, ``below``, ``above``, or of
        ``validation``, which is inside with other states."""

    @abstractmethod
    def train(self, seed: int, size: int) -> Trajectories:
        """So many trajectories on P's grid. Those of a smaller set are the first ones of a larger set."""

    def trajectories(self, name: str) -> Trajectories:
        """Those of seed 0: the largest training set, ``validation``, or a region."""
        return self.train(0, max(self.sizes)) if name == "train" else self.seen(self.fine_data(name, 0))

    def seen(self, data: Trajectories, num_points: int | None = None) -> Trajectories:
        """What a grid sees of fine states and kicks."""
        def averages(values: Tensor) -> Tensor:
            return cell_averages(values, num_points or self.num_points) if values.ndim > 1 else values

        return Trajectories(averages(data.states), {key: averages(values) for key, values in data.parameters.items()})

    def kicks(self, change: Change, seed: int, steps: int) -> Tensor:
        """(samples, steps, 1, x): waves of the band with random phases and amplitudes, on the fine grid."""
        generator = torch.Generator().manual_seed(self.kick_seed + seed)
        lowest, highest = change.band
        waves = torch.zeros(self.num_test, steps, 1, self.fine_points // 2 + 1, dtype=torch.complex128)
        drawn = torch.randn(self.num_test, steps, 1, highest - lowest + 1, 2, generator=generator, dtype=torch.float64)
        waves[..., lowest:highest + 1] = torch.view_as_complex(drawn) * self.fine_points / 2
        return change.kick * torch.fft.irfft(waves, self.fine_points) / math.sqrt(highest - lowest + 1)

    @functools.cache
    def fine_data(self, name: str, seed: int) -> Trajectories:
        """The trajectories of a region; its kicks, if it has any, are a parameter of theirs."""
        if name != "validation" and name not in self.changes:
            raise ValueError(f"{type(self).__name__}: no region {name!r}; there are validation, "
                             f"{', '.join(self.changes)}")
        change = self.changes.get(name, Change("validation"))
        if change.mean:  # exact: the same flow, seen by somebody who moves
            still, parameters = self.fine_data("inside", seed)
            return Trajectories(self.moved(still, change.mean, parameters), parameters)
        u0, parameters = self.initial(change.parameters, seed)
        kicks = self.kicks(change, seed, self.horizon) if change.band else None
        states = self.reference(change.amplitude * u0, self.horizon, parameters, kicks)
        return Trajectories(states, parameters if kicks is None else {**parameters, "kicks": kicks.float()})

    @torch.no_grad()
    def reference(self, u0: Tensor, steps: int, parameters: dict[str, Tensor], kicks: Tensor | None = None) -> Tensor:
        """(samples, steps + 1, 1, x): the fine solution from u0, in double precision inside."""
        given = {name: values.double() for name, values in parameters.items()}
        solver = self.reference_solver()
        if kicks is None:
            return simulate(solver, u0.double(), steps, **given).float()
        states = [u0.double()]
        for n in range(steps):
            states.append(solver(states[-1], **given) + kicks[:, n])
        return torch.stack(states, 1).float()

    def moved(self, states: Tensor, mean: float, parameters: dict[str, Tensor]) -> Tensor:
        """u(x - mean t, t) + mean of trajectories (samples, time, 1, x), whose Fourier series is shifted."""
        n, time = states.shape[-1], self.dt * torch.arange(states.shape[1], dtype=torch.float64)
        length = parameters["length"] if "length" in parameters else torch.full(states.shape[:1], self.length)
        waves = torch.arange(n // 2 + 1, dtype=torch.float64)
        turns = mean * time[:, None] * waves / length.double()[:, None, None]  # (samples, time, waves)
        shifted = torch.fft.rfft(states.double()) * torch.exp(-2j * math.pi * turns).unsqueeze(2)
        return (torch.fft.irfft(shifted, n) + mean).float()

    @functools.cache
    def probe(self, name: str, seed: int) -> Trajectories:
        """Pairs (samples, 2, 1, x) of a state and the next one of the reference, on P's grid.

        The state is that of ``inside`` at the step ``probe_step``, with the change of a region made to it: sample by
        sample the same state in all regions.
        """
        change = self.changes[name]
        u = self.fine_data("inside", seed).states[:, self.probe_step]
        _, parameters = self.initial(change.parameters, seed)
        u = change.amplitude * u
        if change.band:
            u = u + self.kicks(change, seed, 1)[:, 0].float()
        states = self.reference(u, 1, parameters)
        if change.mean:
            states = self.moved(states, change.mean, parameters)
        return self.seen(Trajectories(states, parameters))

    def hybrid(self, networks: nn.Module, refined: int = 1) -> Sequential:
        return Sequential(self.coarse_solver(refined), Additive(networks), Bounded(self.largest_state))

    def predictor(self, networks: nn.Module) -> Sequential:
        return Sequential(Additive(networks), Bounded(self.largest_state))

    def alone(self, refined: int = 1) -> Sequential:
        """P without a network."""
        return Sequential(self.coarse_solver(refined), Bounded(self.largest_state))

    def grid(self, refined: int = 1) -> int:
        """Points of the grid of P."""
        return self.num_points

    def batches(self, seeds: Sequence[int], num_steps: int, batch_size: int, size: int) -> Beside:
        """For an ensemble with these seeds: windows of so many trajectories of each of them."""
        return Beside([self.train(seed, size).windows([self.batch_seed + seed], num_steps, batch_size)
                       for seed in seeds])

    @torch.no_grad()
    def rolled(self, step: nn.Module, name: str, seeds: Sequence[int], num_points: int | None = None
               ) -> tuple[Tensor, Tensor]:
        """(prediction, reference), each (seeds * samples, horizon, 1, x) on P's grid: every seed on its own data.

        Args:
            num_points: of the grid on which the step acts, by default P's.
        """
        fine = [self.fine_data(name, seed) for seed in seeds]
        found, given = [], together([self.seen(data, num_points).parameters for data in fine])
        kicks, u = given.pop("kicks", None), torch.cat([self.seen(data, num_points).states[:, 0] for data in fine])
        with in_mode(step, training=False):
            for n in range(self.horizon):
                u = step(u, **select(step, given))
                u = u if kicks is None else u + kicks[:, n]
                found.append(u)
        reference = torch.cat([self.seen(data).states[:, 1:] for data in fine])
        return cell_averages(torch.stack(found, 1), self.num_points), reference

    def own_error(self, step: nn.Module, name: str, seeds: Sequence[int], num_points: int | None = None) -> Tensor:
        """(seeds,): mean capped error over the horizon."""
        error = self.capped_error(*self.rolled(step, name, seeds, num_points))
        return error.unflatten(0, (len(seeds), -1)).mean((1, 2))

    def judge(self, step: nn.Module, data: Trajectories, num_seeds: int) -> dict[str, Tensor]:
        """The ``measures`` on one set without kicks, the same for all seeds."""
        return self.judge_rollouts(*self.predict(step, data), num_seeds)

    def judge_rollouts(self, prediction: Tensor, reference: Tensor, num_seeds: int) -> dict[str, Tensor]:
        error, blown = (x.unflatten(0, (num_seeds, -1)) for x in (
            self.capped_error(prediction, reference), evaluation.blow_up_step(prediction, reference)))
        return {"error": error.mean((1, 2)), "one_step": error[:, :, 0].mean(1),
                "blown_up": (blown <= reference.shape[1]).double().mean(1)}
