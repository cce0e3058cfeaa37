"""Trajectories and windows of them.   Chapters: 02_solver_as_data, 03_unrolling."""

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from .. import arguments
from ..calls import explained
from ..physics.solver import select
from ..rollout import Rollout


class NotFinite(ValueError):
    """A trajectory blew up; ``samples`` are the first to do so."""

    def __init__(self, message: str, samples: list[int]):
        super().__init__(message)
        self.samples = samples


@torch.no_grad()
@explained
def simulate(step: nn.Module, u0: Tensor, num_steps: int, *, warmup: int = 0, **parameters: Tensor | float) -> Tensor:
    """The trajectory of a solver, or of any step, from ``u0``, without a gradient.

    Args:
        step: operator ``u -> u_next``.
        warmup: steps taken first and dropped, for example until a chaotic flow has reached its attractor.

    Shapes: (batch, channels, *spatial) -> (batch, num_steps + 1, channels, *spatial), the state after warm-up first.
    Raises: NotFinite if a state is not finite, naming step and samples; what ``Rollout`` raises for its arguments.
    """
    num_steps = arguments.whole("simulate", "num_steps", num_steps)
    warmup = arguments.whole("simulate", "warmup", warmup, 0)
    arguments.operator("simulate", "step", step)
    parameters = Rollout(step, 1).prepare(u0, parameters)  # refuses what no roll-out could start from
    states, finite, u = [], [], u0
    for k in range(warmup + num_steps + 1):
        u = u if k == 0 else step(u, **select(step, parameters))
        if not isinstance(u, Tensor):
            raise arguments.refusal("simulate", "the result of step", u, "a step that returns the next state, a tensor")
        finite.append(torch.isfinite(u).flatten(1).all(1))
        if k >= warmup:
            states.append(u)
    finite = torch.stack(finite)  # (steps, batch)
    if not finite.all():
        first = int((~finite.all(1)).nonzero()[0])
        samples = (~finite[first]).nonzero()[:, 0].tolist()
        raise NotFinite(f"simulate: the state is not finite from step {first} on (of {warmup} warm-up and {num_steps} "
                        f"kept steps), first in samples {samples[:8]} of {len(u0)}; use a smaller dt or smaller "
                        "initial states", samples)
    return torch.stack(states, 1)


def cell_averages(u: Tensor, num_points: int) -> Tensor:
    """What a coarser grid sees of a state: averages over equal groups of cells, (..., x) -> (..., num_points)."""
    num_points = arguments.whole("cell_averages", "num_points", num_points)
    if arguments.tensor("cell_averages", "u", u, "(..., x)").ndim == 0 or u.shape[-1] % num_points:
        raise ValueError(f"cell_averages: u has shape {tuple(u.shape)}, whose cells make no {num_points} equal groups; "
                         "give num_points that divides the last axis")
    return u.unflatten(-1, (num_points, -1)).mean(-1)


class Windows:
    """An endless stream of random windows of trajectories: batches for ``fit``.

    Batch k is ``windows[k]``, a function of the seed and k alone: it can be computed without those before it, so a
    training that resumes goes on with the batch it would have had. Iterating yields windows[0], windows[1], ...
    Every window is equally likely; windows are drawn with replacement.

    Args:
        trajectories: (trajectories, time, channels, *spatial), as from ``simulate``.
        num_steps: length of the reference; the longest unroll of the training.
        batch_size: windows per batch, and per seed.
        seed: one stream of batches.
        seeds: instead, one seed for each member of an ensemble: a batch is then len(seeds) groups of ``batch_size``
            windows, and group s is what ``seed=seeds[s]`` alone would give.
        parameters: physical parameters; a tensor (trajectories, ...) holds one value per trajectory, a number holds for
            all.

    Shapes: windows[k] is {"u0": (batch, channels, *spatial), "reference": (batch, num_steps, channels, *spatial),
        name: (batch, ...)}, batch = number of seeds * batch_size; reference[:, i] is the state i + 1 steps after u0.
    Raises: ValueError for trajectories that are too short or not finite, or parameters that do not fit them.
    """

    def __init__(self, trajectories: Tensor, num_steps: int, batch_size: int, seed: int | None = None, *,
                 seeds: Sequence[int] | None = None, **parameters: Tensor | float):
        self.seeds = one_or_more_seeds("Windows", seed, seeds)
        num_steps = arguments.whole("Windows", "num_steps", num_steps)
        batch_size = arguments.whole("Windows", "batch_size", batch_size)
        arguments.tensor("Windows", "trajectories", trajectories, "(trajectories, time, channels, *spatial)")
        if trajectories.ndim < 4 or trajectories.numel() == 0 or trajectories.shape[1] <= num_steps:
            raise ValueError(f"Windows: trajectories have shape {tuple(trajectories.shape)}; expected (trajectories, "
                             f"time, channels, *spatial) with at least num_steps + 1 = {num_steps + 1} states in time")
        if not torch.isfinite(trajectories).all():
            raise ValueError("Windows: the trajectories contain NaN or infinity; simulate again with a stable solver")
        self.trajectories, self.num_steps, self.batch_size = trajectories, num_steps, batch_size
        self.parameters = {name: self._per_trajectory(name, value) for name, value in parameters.items()}

    def _per_trajectory(self, name: str, value: Tensor | float) -> Tensor:
        count = len(self.trajectories)
        if arguments.is_number(value):
            return self.trajectories.new_full((count,), float(value))
        if not isinstance(value, Tensor) or value.ndim == 0 or len(value) != count:
            raise arguments.refusal("Windows", f"parameter {name}", value, "a number or a tensor with one value for "
                                    f"each of the {count} trajectories", ValueError)
        return value

    def __getitem__(self, k: int) -> dict[str, Tensor]:
        k = arguments.whole("Windows", "the number of a batch", k, 0)
        starts = self.trajectories.shape[1] - self.num_steps
        window = draw(len(self.trajectories) * starts, self.batch_size, self.seeds, k).to(self.trajectories.device)
        which, start = window // starts, window % starts
        times = start[:, None] + torch.arange(self.num_steps + 1, device=window.device)
        states = self.trajectories[which[:, None], times]  # (batch, num_steps + 1, channels, *spatial)
        parameters = {name: value[which] for name, value in self.parameters.items()}
        return {"u0": states[:, 0], "reference": states[:, 1:], **parameters}

    def __iter__(self):
        return (self[k] for k in itertools.count())


def one_or_more_seeds(label: str, seed: int | None, seeds: Sequence[int] | None) -> tuple[int, ...]:
    """``(seed,)`` or ``seeds``, whichever is given. Raises ValueError for both, neither, or no whole numbers."""
    if (seed is None) == (seeds is None):
        raise ValueError(f"{label}: seed is {seed}, seeds is {seeds}; give exactly one of them")
    if seeds is None:
        return (arguments.whole(label, "seed", seed, 0),)
    expected = "a list of whole numbers of at least 0, one per member"
    if not isinstance(seeds, Sequence) or isinstance(seeds, (str, bytes)):
        raise arguments.refusal(label, "seeds", seeds, expected)
    if not seeds:
        raise arguments.refusal(label, "seeds", seeds, expected, ValueError)
    return tuple(arguments.whole(label, "one of seeds", s, 0) for s in seeds)


def draw(count: int, batch_size: int, seeds: Sequence[int], k: int) -> Tensor:
    """(len(seeds) * batch_size,): whole numbers below ``count`` for batch k, a function of seeds and k alone."""
    # A counter-based generator: streams of different seeds are independent, and no batch needs the one before.
    drawn = [np.random.Generator(np.random.Philox(key=s, counter=[0, 0, 0, k])).integers(count, size=batch_size)
             for s in seeds]
    return torch.from_numpy(np.concatenate(drawn))
