r"""What E12 looks for, and what is seen of it.   Chapter: 11_forward_and_inverse.

    y = sensors(fine solver(u_0; nu)) + noise

One instance is an initial state and a viscosity; both are unknown. The initial state is looked for as 31 Fourier
coefficients, the same for every solver on every grid, so that no solver has more unknowns than another.
"""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dpbook_utils.data import cell_averages, random_fourier
from dpbook_utils.physics.solver import Solver
from dpbook_utils.physics.trace import TracedSolver

from ...problems import coarse_burgers as problem
from ...problems.inversion import Minimum, Sensors, minimise
from . import design
from .design import FIRST_SEED, NOISE, TASKS, VISCOSITIES, WAVES


class Instances(NamedTuple):
    """Initial states and viscosities, and what is seen of them.

    Attributes:
        truth: (samples, unknowns), as ``state`` and ``viscosity`` read them.   observed: (samples, times, cells).
    """

    truth: Tensor
    observed: Tensor


@functools.cache
def waves(num_points: int) -> Tensor:
    """(coefficients, num_points): the mean, then cosine and sine of wave 1, 2, ..., averaged over the cells."""
    edges = 2 * math.pi * torch.arange(num_points + 1, dtype=torch.float64) / num_points
    rows = [edges] + [wave(k * edges) / k for k in range(1, WAVES + 1) for wave in (torch.sin, lambda x: -x.cos())]
    return torch.diff(torch.stack(rows)) * num_points / (2 * math.pi)


@functools.cache
def wave_numbers() -> Tensor:
    """(coefficients,): of each row of ``waves``."""
    return torch.tensor([0, *(k for k in range(1, WAVES + 1) for _ in range(2))], dtype=torch.float64)


def state(x: Tensor, num_points: int) -> Tensor:
    """Unknowns (samples, unknowns) -> u_0 (samples, 1, num_points) [m/s]."""
    return (x[:, :-1] @ waves(num_points)).unsqueeze(1)


def viscosity(x: Tensor) -> Tensor:
    """(samples,) [m^2/s]: from the last unknown, any number, to a value within VISCOSITIES."""
    lowest, highest = VISCOSITIES
    return lowest * (highest / lowest) ** torch.sigmoid(x[:, -1])


def unknown(nu: Tensor) -> Tensor:
    """The last unknown for this viscosity."""
    lowest, highest = VISCOSITIES
    return torch.logit((nu / lowest).log() / math.log(highest / lowest))


class Whole(Solver):
    """A chain of operators without trainable weights as one solver, which can be recorded as one graph."""

    required = ("viscosity",)

    def __init__(self, chain: nn.Module, num_points: int):
        super().__init__(problem.dt, (1, num_points))
        self.chain = chain

    def step(self, u: Tensor, *, viscosity: Tensor) -> Tensor:
        return self.chain(u, viscosity=viscosity)


class Model:
    """A solver to search with.

    Args:
        step: one step of the length dt; it is recorded as a whole if its weights are frozen.
        num_points: of its grid.
    """

    def __init__(self, step: nn.Module, num_points: int = problem.num_points):
        frozen = not any(weight.requires_grad for weight in step.parameters())
        self.step, self.num_points = TracedSolver(Whole(step, num_points)) if frozen else step, num_points

    def states(self, x: Tensor, num_steps: int) -> Tensor:
        """(samples, num_steps, 1, 32): what P's grid sees. What blows up is not finite, and no error."""
        u, nu, found = state(x, self.num_points), viscosity(x), []
        for _ in range(num_steps):  # a Rollout refuses states that a search may try and take back
            u = self.step(u, viscosity=nu)
            found.append(cell_averages(u, problem.num_points))
        return torch.stack(found, 1)

    def observed(self, x: Tensor, task: str) -> Tensor:
        """What the sensors would see, without noise."""
        seen = sensors(task)
        return seen(self.states(x, seen.steps[-1]))


def solver(row: design.Physics) -> Model:
    return Model(problem.refined(row.num_points, row.num_substeps), row.num_points)


@functools.cache
def fine() -> Model:
    return solver(design.physics()["fine"])


@functools.cache
def sensors(task: str) -> Sensors:
    steps, every = TASKS[task]
    return Sensors(problem.num_points, range(0, problem.num_points, every), steps)


@functools.cache
def truths(seed: int, which: str) -> Tensor:
    """(samples, unknowns) of the instances of a seed: ``tested``, or ``held out``."""
    generator = torch.Generator().manual_seed(FIRST_SEED[which] + seed)
    number = design.NUM_TESTED if which == "tested" else design.NUM_HELD_OUT
    u0 = random_fourier(number, problem.fine_points, modes=problem.modes, seed=generator, dtype=torch.float64)
    lowest, highest, _ = problem.train
    nu = lowest * (highest / lowest) ** torch.rand(number, generator=generator, dtype=torch.float64)
    basis = waves(problem.fine_points)
    return torch.cat([u0[:, 0] @ basis.T / basis.square().sum(1), unknown(nu)[:, None]], 1)


@functools.cache
def instances(seed: int, task: str, which: str = "tested") -> Instances:
    """Observed through the fine solver, with noise."""
    truth = truths(seed, which)
    with torch.no_grad():
        seen = fine().observed(truth, task)
    generator = torch.Generator().manual_seed(2 * FIRST_SEED[which] + seed)
    return Instances(truth, seen + NOISE * torch.randn(seen.shape, generator=generator, dtype=torch.float64))


def misfit(model: Model, x: Tensor, observed: Tensor, task: str) -> Tensor:
    r"""(samples,): ``1/2 sum ((sensors - y) / sigma)^2``."""
    return (model.observed(x, task) - observed).square().sum((1, 2)) / (2 * NOISE**2)


def prior(x: Tensor, weight: float | Tensor) -> Tensor:
    """(samples,): ``w/2 sum (k c_k)^2`` prefers smooth states; a viscosity in the middle of its range has weight 1."""
    k = wave_numbers().clamp(min=1)
    return weight * (k * x[:, :-1]).square().sum(1) / 2 + x[:, -1].square() / 2


def search(model: Model, observed: Tensor, task: str, weight: float | Tensor, evaluations: int = design.EVALUATIONS,
           watch=None) -> Minimum:
    """The most likely unknowns, from a state at rest. Raises as ``Sensors.check`` and ``minimise``."""
    observed = sensors(task).check(observed)
    start = observed.new_zeros(len(observed), len(wave_numbers()) + 1)
    return minimise(lambda x: misfit(model, x, observed, task) + prior(x, weight), start, evaluations=evaluations,
                    tolerance=design.TOLERANCE, watch=watch)


def error(x: Tensor, truth: Tensor) -> Tensor:
    """(samples,): relative L2 error of the initial state on P's grid."""
    found, expected = (state(one, problem.num_points)[:, 0] for one in (x, truth))
    return (found - expected).norm(dim=1) / expected.norm(dim=1)


def by_scale(x: Tensor, truth: Tensor) -> Tensor:
    """(samples, bands): error in each of BANDS, relative to the whole state."""
    k, wrong = wave_numbers(), (x - truth)[:, :-1]
    size = truth[:, :-1].norm(dim=1, keepdim=True)
    bands = [(k >= low) & (k <= high) for low, high in design.BANDS.values()]
    return torch.stack([wrong[:, band].norm(dim=1) for band in bands], 1) / size


def together(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The metrics of several seeds, one entry each."""
    return {name: torch.stack([part[name] for part in parts]) for name in parts[0]}
