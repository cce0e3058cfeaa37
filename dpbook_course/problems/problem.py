"""What the course's problems share: a coarse solver P that a network corrects, its data, and how a step is judged."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dpbook_utils import evaluation
from dpbook_utils.coupling import Additive
from dpbook_utils.data import Windows, cell_averages
from dpbook_utils.graphs.graph import TraceError
from dpbook_utils.networks import Ensemble
from dpbook_utils.physics.solver import Solver, select
from dpbook_utils.rollout import Sequential

LONG = 50  # steps of a roll-out, from which on it pays to record one


class Trajectories(NamedTuple):
    """States (samples, time, channels, *spatial), the initial ones first, and the physical parameters of the samples:
    ``{name: (samples, ...)}``, numbers or fields. ``data.length`` is ``data.parameters["length"]``."""

    states: Tensor
    parameters: dict[str, Tensor]

    def __getattr__(self, name: str) -> Tensor:
        if name in self.parameters:
            return self.parameters[name]
        raise AttributeError(f"the trajectories have no {name!r}; they have states, parameters, "
                             f"{', '.join(self.parameters)}")

    def windows(self, seeds: Sequence[int], num_steps: int, batch_size: int) -> Windows:
        """Batches of windows, one stream for each seed."""
        return Windows(self.states, num_steps, batch_size, seeds=seeds, **self.parameters)

    def pairs(self, times: Tensor) -> "Trajectories":
        """The states at these times and those that follow them, each pair a sample."""
        states = torch.stack([self.states[:, times], self.states[:, times + 1]], 2).flatten(0, 1)
        return Trajectories(states, {name: x.repeat_interleave(len(times), 0) for name, x in self.parameters.items()})


def predicted(step: nn.Module, states: Tensor, **parameters: Tensor) -> tuple[Tensor, Tensor]:
    """(prediction, reference) over all steps of the states; a long roll-out repeats a recorded step, if it can be."""
    try:
        return evaluation.predict(step, states, trace=states.shape[1] > LONG, **parameters)
    except TraceError:
        return evaluation.predict(step, states, **parameters)


class Problem(ABC):
    """A coarse solver that a network corrects.

    A problem states ``regions``, ``measures``, ``coarse_solver``, ``trajectories``, ``network`` and ``judge``; the rest
    follows. Its settings are all that results depend on, and belong to the specifications of its studies.

    Args:
        settings: each becomes an attribute. ``windows`` counts the seeds of batches from ``batch_seed``; errors are
            capped at ``largest_error``: an unrelated state has about 1.4, and one that blew up must not count for more
            than all others.

    Raises: ValueError for a setting that is called like a method.

    Attributes:
        regions: names of the test sets: inside the range of the training data, below it, ...
        measures: ``{name: what judge finds of a region, with its unit}``.   where: how a region is put into words.
    """

    regions: Sequence[str]
    measures: Mapping[str, str] = {}
    where = "region: {}"
    largest_error = 2.0

    def __init__(self, **settings):
        taken = [name for name in settings if callable(getattr(type(self), name, None)) or isinstance(
            getattr(type(self), name, None), property)]
        if taken:
            raise ValueError(f"{type(self).__name__}: the settings {', '.join(taken)} are called as its methods are; "
                             "rename them")
        self._names = tuple(settings)
        vars(self).update(settings)

    @property
    def settings(self) -> dict:
        """As a specification states them."""
        return {name: getattr(self, name) for name in self._names}

    @property
    def metrics(self) -> dict[str, str]:
        """What ``evaluate`` finds: ``{name.region: text}``."""
        return {f"{name}.{region}": f"{text}; {self.where.format(region)}"
                for region in self.regions for name, text in self.measures.items()}

    @abstractmethod
    def coarse_solver(self) -> Solver:
        """P."""

    @abstractmethod
    def trajectories(self, name: str) -> Trajectories:
        """``train``, ``validation``, or one of the test regions."""

    @abstractmethod
    def network(self, seed: int, **size) -> nn.Module:
        """N, untrained."""

    @abstractmethod
    def judge(self, step: nn.Module, data: Trajectories, num_seeds: int) -> dict[str, Tensor]:
        """The ``measures`` of a step on a test set, each with a leading axis of seeds."""

    def observed(self, states: Tensor) -> Tensor:
        """What errors are measured of: here the states as they are."""
        return states

    def ensemble(self, seeds: Sequence[int], *args, **size) -> Ensemble:
        """One ``network`` per seed."""
        return Ensemble([self.network(seed, *args, **size) for seed in seeds])

    def hybrid(self, networks: nn.Module) -> Sequential:
        """P, then N: the coarse step and its correction."""
        return Sequential(self.coarse_solver(), Additive(networks))

    def predictor(self, networks: nn.Module) -> Sequential:
        """N alone: u + N(u), without a solver."""
        return Sequential(Additive(networks))

    def windows(self, seeds: Sequence[int], num_steps: int, batch_size: int) -> Windows:
        """Batches of the training data: the same windows for all set-ups with the same longest unroll."""
        return self.trajectories("train").windows([self.batch_seed + s for s in seeds], num_steps, batch_size)

    def predict(self, step: nn.Module, data: Trajectories) -> tuple[Tensor, Tensor]:
        """(prediction, reference) over all steps of the data."""
        return predicted(step, data.states, **select(step, data.parameters))

    def capped_error(self, prediction: Tensor, reference: Tensor) -> Tensor:
        """Relative L2 error, at most ``largest_error``."""
        return evaluation.relative_l2(prediction, reference).clamp(max=self.largest_error)

    def errors(self, step: nn.Module, data: Trajectories) -> tuple[Tensor, Tensor]:
        """(seeds * samples, time) capped errors and (seeds * samples,) steps of the blow-up."""
        prediction, reference = map(self.observed, self.predict(step, data))
        return self.capped_error(prediction, reference), evaluation.blow_up_step(prediction, reference)

    def validation_error(self, step: nn.Module, num_seeds: int) -> Tensor:
        """(seeds,): mean capped error over the validation data."""
        error, _ = self.errors(step, self.trajectories("validation"))
        return error.unflatten(0, (num_seeds, -1)).mean((1, 2))

    def evaluate(self, step: nn.Module, num_seeds: int, *grid) -> dict[str, Tensor]:
        """All ``metrics`` of a step with ``num_seeds`` members, each with a leading axis of seeds.

        Args:
            grid: of the step, where ``trajectories`` takes one.
        """
        return {f"{name}.{region}": value for region in self.regions
                for name, value in self.judge(step, self.trajectories(region, *grid), num_seeds).items()}


class FineProblem(Problem):
    """A problem whose reference is computed on a finer grid, of which coarser ones see cell averages.

    It states ``fine_trajectories`` instead of ``trajectories``. Settings: ``num_points`` of P.
    """

    @abstractmethod
    def fine_trajectories(self, name: str) -> Trajectories:
        """``train``, ``validation``, or one of the test regions."""

    def trajectories(self, name: str, num_points: int | None = None) -> Trajectories:
        """What a grid sees of them, by default P's."""
        def seen(values: Tensor) -> Tensor:
            return cell_averages(values, num_points or self.num_points) if values.ndim > 1 else values

        states, parameters = self.fine_trajectories(name)
        return Trajectories(seen(states), {name: seen(values) for name, values in parameters.items()})

    def observed(self, states: Tensor) -> Tensor:
        """States on P's grid."""
        return cell_averages(states, self.num_points)
