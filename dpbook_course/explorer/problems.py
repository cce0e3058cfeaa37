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
from ..problems.problem import Trajectories
from ..problems.steps import Bounded, Persistence

LONGEST = 16  # windows of this length for every unroll, so that all trainings see the same ones
BATCH_SIZE = 16
LARGEST_ERROR = 2.0  # a state without any relation to the reference has about 1.4
KS_TEST_STEPS = 60


@dataclass(frozen=True)
class Problem:
    """A coarse solver that a small network corrects.

    Attributes:
        solver: builds the coarse solver P.   takes: the names of its parameters.
        network: ``(seed, channels_out) -> N``.
        batches: windows of the training data.   tests: what a trained step is judged with.
        deviation: standard deviation of the training data, the unit of the noise.
        horizon: number of steps over which a mean error is stated.
        length, dt: extent of the first test's domain, and the time step.   labels: of x, time and u, with units.
    """

    solver: Callable[[], Solver]
    takes: tuple[str, ...]
    network: Callable[[int, int], ConvResNet]
    batches: Callable[[], Windows]
    tests: Callable[[], Trajectories]
    deviation: float
    horizon: int
    length: float
    dt: float
    labels: tuple[str, str, str]

    def judge(self, step: nn.Module) -> tuple[Tensor, Tensor]:
        """The error at every step (time,), and the roll-out (time, x) of the first test with its initial state.

        The error is the geometric mean over the tests of the relative L2 error, at most ``LARGEST_ERROR`` each. The
        roll-out is NaN once it has blown up.
        """
        states, parameters = self.tests()
        # Far away from all states, but finite, as solvers want their parameters to be.
        prediction, reference = evaluation.predict(Sequential(step, Bounded()), states, **select(step, parameters))
        error = evaluation.relative_l2(prediction, reference).clamp(max=LARGEST_ERROR)
        blown_up = int(evaluation.blow_up_step(prediction[:1], reference[:1]))
        prediction[0, blown_up - 1:] = torch.nan
        return error.log().mean(0).exp(), torch.cat([states[0, :1], prediction[0]])[:, 0]


def _ks_tests() -> Trajectories:
    data = ks.trajectories("inside")
    return data._replace(states=data.states[:, :KS_TEST_STEPS + 1])


def _ks_network(seed: int, channels_out: int) -> ConvResNet:
    """About 1,900 weights."""
    return ks.network(seed, width=12, num_blocks=2)


PROBLEMS = {
    "Kuramoto-Sivashinsky": Problem(
        solver=functools.cache(ks.coarse_solver), takes=KuramotoSivashinsky.required, network=_ks_network,
        batches=lambda: ks.windows((0,), LONGEST, BATCH_SIZE), tests=_ks_tests, deviation=1.31,
        horizon=ks.horizon, length=ks.test_lengths["inside"][0] * ks.unit_length,
        dt=ks.dt, labels=("x", "time", "u")),
    "Burgers": Problem(
        solver=coarse_burgers.coarse_solver,
        takes=(*Burgers.required, *Burgers.optional, *interpolated.parameters), network=coarse_burgers.network,
        batches=lambda: coarse_burgers.windows((0,), LONGEST, BATCH_SIZE),
        tests=lambda: coarse_burgers.trajectories("inside"), deviation=0.71,
        horizon=coarse_burgers.num_steps, length=coarse_burgers.length,
        dt=coarse_burgers.dt, labels=("x [m]", "time [s]", "u [m/s]")),
}


@functools.cache
def baselines(pde: str) -> dict[str, tuple[Tensor, Tensor]]:
    """What ``judge`` finds for P alone and for persistence, and what it would find for the reference."""
    problem = PROBLEMS[pde]
    states = problem.tests().states
    return {"P alone": problem.judge(problem.solver()), "persistence": problem.judge(Persistence()),
            "reference": (torch.zeros(states.shape[1] - 1), states[0, :, 0])}
