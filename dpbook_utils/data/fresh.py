"""Data that a solver generates while the training runs.   Chapter: 02_solver_as_data."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.utils.data import IterableDataset, get_worker_info

from .. import arguments, checkpoints
from ..physics.solver import Solver, select
from ..rollout import operators
from .sampling import Sampler
from .trajectories import NotFinite, one_or_more_seeds, simulate


class Fresh(IterableDataset):
    """An endless stream of batches, each simulated when it is asked for, from new states and parameters.

    Batch k is ``fresh[k]``, a function of the seed and k alone, so a training that resumes goes on with the batch it
    would have had. ``DataLoader(fresh, batch_size=None, num_workers=n)`` yields the very same stream: worker w computes
    batches w, w + n, w + 2n, ..., and no batch twice. The solver runs without a graph.

    Args:
        solver: operator ``u -> u_next`` whose trajectories are the data: a solver, or a chain of them.
        sampler: initial states and parameters.
        num_steps: length of the reference.
        batch_size: samples per batch, and per seed.
        seed: one stream of batches.
        seeds: instead, one seed for each member of an ensemble: a batch is then len(seeds) groups of ``batch_size``
            samples, and group s is what ``seed=seeds[s]`` alone would give.
        warmup: steps taken first and dropped.
        observe: what the data keeps of every state and of every parameter that is a field (batch, channels, *spatial);
            for a network on a coarser grid, ``functools.partial(cell_averages, num_points=32)``.
        transform: from a batch to the batch that the network is trained on, if that is no trajectory: for an inverse
            problem, input and answer swapped.
        device: where the solver runs and the batches are.

    Shapes: fresh[k] is {"u0": (batch, channels, *spatial), "reference": (batch, num_steps, channels, *spatial),
        name: (batch, ...)} with the parameters that the solver takes, batch = number of seeds * batch_size;
        reference[:, i] is the state i + 1 steps after u0.
    Raises: ValueError for arguments that do not fit, a state that is not finite (naming batch, sample, parameters).
    """

    def __init__(self, solver: nn.Module, sampler: Sampler, num_steps: int, batch_size: int, seed: int | None = None, *,
                 seeds: Sequence[int] | None = None, warmup: int = 0, observe: Callable[[Tensor], Tensor] | None = None,
                 transform: Callable[[dict[str, Tensor]], Mapping[str, Tensor]] | None = None,
                 device: torch.device | str = "cpu"):
        self.seeds = one_or_more_seeds("Fresh", seed, seeds)
        self.solver = arguments.operator("Fresh", "solver", solver)
        self.sampler = arguments.instance("Fresh", "sampler", sampler, Sampler, "a Sampler(initial, bounds)")
        self.num_steps = arguments.whole("Fresh", "num_steps", num_steps)
        self.batch_size = arguments.whole("Fresh", "batch_size", batch_size)
        self.warmup = arguments.whole("Fresh", "warmup", warmup, 0)
        for name, value in (("observe", observe), ("transform", transform)):
            if value is not None:
                arguments.function("Fresh", name, value, "a function of tensors, or None", "states")
        self.observe, self.transform, self.device = observe, transform, arguments.device("Fresh", device)

    @property
    def dt(self) -> float | None:
        """Time from one state to the next [s]; None if the solver has none."""
        steps = [part.dt for part in operators(self.solver) if isinstance(part, Solver) and part.dt is not None]
        return sum(steps) if steps else None

    @torch.no_grad()
    def __getitem__(self, k: int) -> dict[str, Tensor]:
        k = arguments.whole("Fresh", "the number of a batch", k, 0)
        drawn = [self.sampler(self.batch_size, seed, k) for seed in self.seeds]
        u0 = torch.cat([u for u, _ in drawn]).to(self.device)
        parameters = {name: torch.cat([values[name] for _, values in drawn]).to(self.device) for name in drawn[0][1]}
        taken = select(self.solver, parameters)
        try:
            states = simulate(self.solver, u0, self.num_steps, warmup=self.warmup, **taken)
        except NotFinite as error:
            raise ValueError(f"Fresh: batch {k}, {self._described(error.samples[0], parameters)}: {error}; or narrow "
                             "the sampler's bounds") from error
        except ValueError as error:
            raise ValueError(f"Fresh: batch {k} of seeds {self.seeds} cannot be simulated: {error}") from error
        if self.observe is not None:
            states = arguments.tensor("Fresh", "the result of observe", self.observe(states), "(batch, time, ...)")
            taken = {name: self.observe(value) if value.ndim > 2 else value for name, value in taken.items()}
        batch = {"u0": states[:, 0], "reference": states[:, 1:], **taken}
        if self.transform is not None:
            batch = dict(arguments.mapping("Fresh", "the result of transform", self.transform(batch), "a batch, "
                                           "{'u0': states, ...}"))
        for name, value in batch.items():
            if not torch.isfinite(value).all():
                sample = int((~torch.isfinite(value)).flatten(1).any(1).nonzero()[0])
                raise ValueError(f"Fresh: batch {k}, {self._described(sample, parameters)}: {name} is not finite after "
                                 "observe and transform; look for a division by zero in them")
        return batch

    def _described(self, sample: int, parameters: Mapping[str, Tensor]) -> str:
        numbers = [f"{name} {float(value[sample]):.6g}" for name, value in parameters.items() if value.ndim == 1]
        return f"sample {sample} ({', '.join([f'seed {self.seeds[sample // self.batch_size]}', *numbers])})"

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        worker = get_worker_info()
        first, stride = (0, 1) if worker is None else (worker.id, worker.num_workers)
        return (self[k] for k in itertools.count(first, stride))

    def settings(self) -> dict[str, str]:
        """What makes this stream the one it is, in words. What the functions ``initial``, ``observe`` and ``transform``
        compute is not looked into: only their names are."""
        own = {name: getattr(self, name) for name in ("num_steps", "batch_size", "seeds", "warmup", "dt")}
        functions = {"observe": self.observe, "transform": self.transform, "initial": self.sampler.initial}
        sampler = {"bounds": {name: str(bounds) for name, bounds in self.sampler.bounds.items()},
                   "logarithmic": self.sampler.logarithmic, "dtype": str(self.sampler.dtype)}
        described = {name: checkpoints.as_text(value) for name, value in {**own, **functions, **sampler}.items()}
        return {**described, **checkpoints.operators(self.solver, "solver")}
