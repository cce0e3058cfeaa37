"""The problems of the playground: those of the studies, with short tests.   Chapters: 03_unrolling, 04_coupling."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dpbook_utils import evaluation
from dpbook_utils.data import Windows
from dpbook_utils.networks import ConvResNet
from dpbook_utils.physics.advection import interpolated
from dpbook_utils.physics.burgers import Burgers
from dpbook_utils.physics.kuramoto_sivashinsky import KuramotoSivashinsky
from dpbook_utils.physics.solver import Solver, select
from dpbook_utils.rollout import Sequential

from ..problems import coarse_burgers
from ..problems import kuramoto_sivashinsky as ks
from ..problems.problem import Problem, Trajectories, predicted
from ..problems.steps import Bounded, Persistence

LONGEST = 16  # windows of this length for every unroll, so that all trainings see the same ones
BATCH_SIZE = 16
LARGEST_ERROR = 2.0  # a state without any relation to the reference has about 1.4


@dataclass(frozen=True)
class Playable:
    """A problem of the course, with a network and tests that are small enough to play with.

    Attributes:
        problem: has the coarse solver P and the data.   takes: the names of P's parameters.
        network: ``(seed, channels_out) -> N``.
        num_steps: of a test.   horizon: number of steps over which a mean error is stated.
        deviation: standard deviation of the training data, the unit of the noise.
        length: extent of the first test's domain.   labels: of x, time and u, with units.
    """

    problem: Problem
    takes: tuple[str, ...]
    network: Callable[[int, int], ConvResNet]
    num_steps: int
    horizon: int
    deviation: float
    length: float
    labels: tuple[str, str, str]

    @functools.cache
    def solver(self) -> Solver:
        """P, one object for all chains."""
        return self.problem.coarse_solver()

    def batches(self) -> Windows:
        """Windows of the training data."""
        return self.problem.windows((0,), LONGEST, BATCH_SIZE)

    def tests(self) -> Trajectories:
        """What a trained step is judged with."""
        data = self.problem.trajectories("inside")
        return data._replace(states=data.states[:, :self.num_steps + 1])

    def judge(self, step: nn.Module) -> tuple[Tensor, Tensor]:
        """The error at every step (time,), and the roll-out (time, x) of the first test with its initial state.

        The error is the geometric mean over the tests of the relative L2 error, at most ``LARGEST_ERROR`` each. The
        roll-out is NaN once it has blown up.
        """
        states, parameters = self.tests()
        # Far away from all states, but finite, as solvers want their parameters to be.
        prediction, reference = predicted(Sequential(step, Bounded()), states, **select(step, parameters))
        error = evaluation.relative_l2(prediction, reference).clamp(max=LARGEST_ERROR)
        blown_up = int(evaluation.blow_up_step(prediction[:1], reference[:1]))
        prediction[0, blown_up - 1:] = torch.nan
        return error.log().mean(0).exp(), torch.cat([states[0, :1], prediction[0]])[:, 0]


def _ks_network(seed: int, channels_out: int) -> ConvResNet:
    """About 1,900 weights."""
    return ks.network(seed, width=12, num_blocks=2)


PROBLEMS = {
    "Kuramoto-Sivashinsky": Playable(
        ks, KuramotoSivashinsky.required, _ks_network, num_steps=60, horizon=ks.horizon, deviation=1.31,
        length=ks.test_lengths["inside"][0] * ks.unit_length, labels=("x", "time", "u")),
    "Burgers": Playable(
        coarse_burgers, (*Burgers.required, *Burgers.optional, *interpolated.parameters), coarse_burgers.network,
        num_steps=coarse_burgers.num_steps, horizon=coarse_burgers.num_steps, deviation=0.71,
        length=coarse_burgers.length, labels=("x [m]", "time [s]", "u [m/s]")),
}


@functools.cache
def baselines(pde: str) -> dict[str, tuple[Tensor, Tensor]]:
    """What ``judge`` finds for P alone and for persistence, and what it would find for the reference."""
    problem = PROBLEMS[pde]
    states = problem.tests().states
    return {"P alone": problem.judge(problem.solver()), "persistence": problem.judge(Persistence()),
            "reference": (torch.zeros(states.shape[1] - 1), states[0, :, 0])}
