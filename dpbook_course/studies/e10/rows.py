"""What the two studies of E10 share: their rows, and how one is computed.   Chapter: 09_choosing_the_numerics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from dpbook_utils.history import History
from dpbook_utils.setups import Setup, train, warm_up

from ...experiments.trainings import no_training, training_metrics
from ...experiments.tuning import at_rate
from ...problems.schemes import SchemesProblem
from .design import ALONE, NUM_STEPS, TRAININGS, name

SETUPS = dict(zip(TRAININGS, (Setup(), Setup(NUM_STEPS, curriculum=warm_up(NUM_STEPS)))))


@dataclass(frozen=True)
class Variant:
    """A scheme on a grid, corrected by networks that are trained in one way."""

    scheme: str
    num_points: int
    setup: Setup


@dataclass(frozen=True)
class Alone:
    """A scheme on a grid. It has no network, but as all others every seed's own data."""

    scheme: str
    num_points: int


def trained(problem: SchemesProblem, grids: Sequence[int]) -> dict[str, Variant]:
    """Every scheme on every grid with every training, all with one learning rate."""
    return {name(scheme, points, training): Variant(scheme, points, setup) for points in grids
            for scheme in problem.schemes for training, setup in SETUPS.items()}


def rate_of(row: str) -> str:
    """A rate is chosen for each scheme and training, not for each grid: ``limited, WIG-8``."""
    scheme, training = row.split(", ")[:-2], row.split(", ")[-1]
    return ", ".join([*scheme, training])


def variants(problem: SchemesProblem, grids: Sequence[int], finer: Sequence[int],
             rates: Mapping[str, float]) -> dict[str, Variant | Alone]:
    """All rows of a study: trained ones at their rates, and P alone, on finer grids too."""
    rows = {key: at_rate(row, rates[rate_of(key)]) for key, row in trained(problem, grids).items()}
    return rows | {name(scheme, points, ALONE): Alone(scheme, points) for points in (*grids, *finer)
                   for scheme in problem.schemes}


def fitted(problem: SchemesProblem, row: Variant, seeds: Sequence[int], budget: int,
           progress: bool = False) -> tuple[nn.Module, History]:
    """(networks, history) after training them behind the row's P, each on its own data."""
    networks = problem.ensemble(seeds)
    step = problem.hybrid(networks, row.scheme, row.num_points)
    batches = problem.batches(seeds, NUM_STEPS, row.setup.batch_size, row.num_points)
    return networks, train(row.setup, row.setup.objective(step), batches, budget, progress=progress)


def computed(problem: SchemesProblem, row: Variant | Alone, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    """Every metric of a row, one entry per seed."""
    if isinstance(row, Alone):
        step, networks = problem.alone(row.scheme, row.num_points), None
        training = {key: value.repeat(len(seeds), *[1] * (value.ndim - 1)) for key, value in no_training().items()}
    else:
        networks, history = fitted(problem, row, seeds, budget)
        step, training = (problem.hybrid(networks, row.scheme, row.num_points),
                          training_metrics(history, budget, len(seeds)))
    return {**problem.measured(step, seeds, row.num_points),
            "swapped": problem.swapped(networks, seeds, row.num_points), **training}


def validation_error(problem: SchemesProblem, row: Variant, seeds: Sequence[int], budget: int) -> Tensor:
    """(seeds,): after a training."""
    networks, _ = fitted(problem, row, seeds, budget)
    step = problem.hybrid(networks, row.scheme, row.num_points)
    return problem.own_error(step, "validation", seeds, row.num_points)


def weight(row: Variant | Alone, budget: int) -> float:
    """What a task costs, in updates of one step on 32 points."""
    return 50.0 if isinstance(row, Alone) else (50 + budget * row.setup.num_steps) * row.num_points / 32
