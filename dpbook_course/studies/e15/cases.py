"""E15's cases: what is trained, on what, and how it is judged.   Chapter: 14_better_updates.

An inverse problem is a network, then physics: two oscillators that are brought to rest (``oscillators``), and the rod
of E01 whose initial temperature is to be found from what a sensor sees after heat conduction, blind to its sign. The
hybrid is the corrector of E05, a coarse Burgers solver with a network after it, unrolled for three steps, here with a
smaller network.
"""

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from dpbook_utils.coupling import Replace
from dpbook_utils.least_squares import Residuals
from dpbook_utils.losses import TrajectoryLoss, final_step
from dpbook_utils.networks import ConvResNet
from dpbook_utils.objectives import Objective, from_input
from dpbook_utils.rollout import Rollout, Sequential
from dpbook_utils.setups import Setup
from dpbook_utils.update import TracedGradients

from ...problems import coarse_burgers, rod
from .oscillators import NUM_STEPS, Oscillators, Perceptron, Rest, starts

TRAINING, HELD_OUT = 4096, 1024  # starts of the oscillators
STREAM = 10**6
HEAT = {"width": 8, "num_blocks": 2, "kernel_size": 5, "output_scale": 0.3}
CORRECTOR = {"width": 8, "num_blocks": 1, "output_scale": 0.01}
UNROLLED = 3
EVERY = 20  # steps between the states at which held-out windows begin


@functools.cache
def measurement() -> nn.Module:
    """Of the rod, for batches of any size: one recorded solver."""
    return rod.measurement(1)


class Case(ABC):
    """``num_steps`` counts the solver's steps of one sample and evaluation, ``num_residuals`` what is left of them."""

    num_steps: int
    num_residuals: int

    @abstractmethod
    def network(self, seed: int) -> nn.Module:
        """Untrained."""

    @abstractmethod
    def residuals(self, network: nn.Module) -> nn.Module:
        """Whose squares are minimised."""

    @abstractmethod
    def batches(self, seed: int, size: int) -> Callable[[int], dict]:
        """The number of an update to its batch."""

    @abstractmethod
    def held_out(self, name: str) -> dict:
        """One batch of ``validation`` or ``test`` data."""

    @abstractmethod
    def error(self, network: nn.Module) -> float:
        """What else is said of the trained network: ``ERRORS``."""

    def physics(self, x: Tensor, batch: dict) -> Tensor:
        """The residuals as a function of the network's output."""
        raise NotImplementedError(f"{type(self).__name__} has no physics between its network and its loss")

    def gradients(self, network: nn.Module, batch: dict) -> Callable[[dict], Tensor]:
        """``gradients(batch)`` sets the gradient of every weight and returns the loss: as fast as the course can."""
        residuals = self.residuals(network)
        if isinstance(residuals, Residuals):
            gradients = TracedGradients(residuals.objective)
            return lambda batch: gradients(batch).sum()

        def plain(batch: dict) -> Tensor:
            network.zero_grad()
            loss = residuals(**batch).square().sum(1).mean()
            loss.backward()
            return loss.detach()

        return plain


class AtRest(Case):
    num_residuals = 4

    def __init__(self, name: str):
        self.name, self.num_steps, self.oscillators = name, NUM_STEPS[name], Oscillators(name)

    def network(self, seed):
        return Perceptron(seed)

    def residuals(self, network):
        return Rest(self.name, network)

    def batches(self, seed, size):
        data, generator = starts(TRAINING, STREAM + seed), torch.Generator()

        def batch(k: int) -> dict:
            generator.manual_seed((seed + 1) * STREAM + k)
            return {"x0": data[torch.randint(TRAINING, (size,), generator=generator)]}

        return batch

    def held_out(self, name):
        return {"x0": starts(HELD_OUT, {"validation": 1, "test": 0}[name])}

    def physics(self, x, batch):
        return self.oscillators(batch["x0"], x)

    def error(self, network):
        with torch.no_grad():
            return float(self.residuals(network)(**self.held_out("test")).norm(dim=1).mean())


class Heat(Case):
    num_steps, num_residuals = rod.NUM_STEPS, rod.NUM_POINTS

    def network(self, seed):
        return ConvResNet(1, 1, 1, **HEAT, seed=seed)

    def residuals(self, network):
        chain = Sequential(Replace(network), measurement())
        return Residuals(Objective(Rollout(chain, 1), TrajectoryLoss(final_step), targets=from_input))

    def observed(self, number: int, seed: int) -> dict:
        u0 = rod.states(number, seed, ambiguous=True)
        with torch.no_grad():
            y = measurement()(u0, diffusivity=rod.DIFFUSIVITY)
        return {"u0": y, "diffusivity": torch.full((number,), rod.DIFFUSIVITY)}

    def batches(self, seed, size):
        return lambda k: self.observed(size, (seed + 1) * STREAM + k)

    def held_out(self, name):
        return self.observed(rod.NUM_TEST, {"validation": 1, "test": rod.TEST_SEED}[name])

    def physics(self, x, batch):
        y = measurement()(x, diffusivity=batch["diffusivity"])
        return (y - batch["u0"]).flatten(1) / rod.NUM_POINTS**0.5

    def error(self, network):
        return float(rod.judge(network, 1)["distance"])


class Corrector(Case):
    num_steps, num_residuals = UNROLLED, UNROLLED * coarse_burgers.num_points

    def network(self, seed):
        return ConvResNet(1, 1, 1, **CORRECTOR, conditions={"viscosity": coarse_burgers.condition}, seed=seed)

    def residuals(self, network):
        return Residuals(Setup(UNROLLED).objective(coarse_burgers.hybrid(network)))

    def batches(self, seed, size):
        return coarse_burgers.windows([seed], UNROLLED, size).__getitem__

    def held_out(self, name):
        data = coarse_burgers.trajectories({"validation": "validation", "test": "inside"}[name])
        times = torch.arange(0, data.states.shape[1] - UNROLLED, EVERY)
        states = torch.stack([data.states[:, t:t + UNROLLED + 1] for t in times.tolist()], 1).flatten(0, 1)
        viscosity = data.viscosity.repeat_interleave(len(times))
        return {"u0": states[:, 0], "reference": states[:, 1:], "viscosity": viscosity}

    def error(self, network):
        errors, _ = coarse_burgers.errors(coarse_burgers.hybrid(network), coarse_burgers.trajectories("inside"))
        return float(errors.mean())


ERRORS = ("oscillators: mean distance from rest; heat: relative L2 distance to the nearest of the two answers; "
          "corrector: mean relative L2 error over 100 steps, inside the training range")


def case(name: str) -> Case:
    return {"heat": Heat, "corrector": Corrector}.get(name, lambda: AtRest(name))()
