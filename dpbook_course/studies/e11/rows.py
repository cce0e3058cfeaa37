"""What the two studies of E11 share: their rows, and how one is computed.   Chapter: 10_generalisation."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from dpbook_utils.history import History
from dpbook_utils.setups import Setup, train

from ...experiments.spec import Specification, Task
from ...experiments.trainings import TRAINING_METRICS, no_training, training_metrics
from ...experiments.tuning import Tuning, at_rate
from ...problems.changes import ShiftsProblem
from ...problems.steps import Persistence
from .design import (
    CHAINS,
    DECIDING,
    LONGEST,
    REFINED,
    SEEDS,
    SETUPS,
    SIGMAS,
    SIZES,
    UPDATES,
    WIDE,
    alone,
    name,
)
from .mechanism import MECHANISM_METRICS, mechanism

CHECK_BUDGET = 2  # beyond, rounding has grown


@dataclass(frozen=True)
class Variant:
    """A network and how it is trained.

    Attributes:
        has_solver: behind P, a hybrid; or alone, a predictor.
        size: training trajectories.
        network: what is other than the problem's usual network: ``(("width", 23),)``.
    """

    has_solver: bool
    setup: Setup
    size: int
    network: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Alone:
    """P without a network, finer by a factor; 0: the state stays as it is. As all others it has every seed's data."""

    refined: int


def kinds() -> dict[str, Variant]:
    """Every kind of row once, at the larger deciding size: ``{"predictor, ONE": ...}``."""
    usual = {f"{chain}, {setup}": Variant(chain == "hybrid", SETUPS[setup], DECIDING[-1])
             for setup in SETUPS for chain in CHAINS}
    more = {f"predictor with noise {sigma:g}, ONE": Variant(False, Setup(sigma=sigma), DECIDING[-1])
            for sigma in SIGMAS}
    more["predictor with twice the weights, WIG-3"] = Variant(False, SETUPS["WIG-3"], DECIDING[-1], (("width", WIDE),))
    more |= {f"{chain} without blocks, ONE": Variant(chain == "hybrid", SETUPS["ONE"], DECIDING[-1],
                                                     (("num_blocks", 0),)) for chain in CHAINS}
    return usual | more


def sizes(kind: str) -> tuple[int, ...]:
    """The sizes of a kind: four for what the curves over the size need, else those that decide."""
    return SIZES if kind in [f"{chain}, {setup}" for chain in CHAINS for setup in ("ONE", "WIG-3")] else DECIDING


def rate_of(row: str) -> str:
    """One learning rate for all sizes of a kind."""
    return row.removesuffix(" trajectories").rpartition(", ")[0]


def trained() -> dict[str, Variant]:
    """Every kind at its sizes, all with one learning rate."""
    return {name(*kind.rsplit(", ", 1), size): replace(row, size=size)
            for kind, row in kinds().items() for size in sizes(kind)}


def to_tune() -> dict[str, Variant]:
    """Every kind at the larger deciding size."""
    return {name(*kind.rsplit(", ", 1), row.size): row for kind, row in kinds().items()}


def variants(rates: Mapping[str, float]) -> dict[str, Variant | Alone]:
    """All rows of a study: trained ones at their rates, and those without a network."""
    rows = {key: at_rate(row, rates[rate_of(key)]) for key, row in trained().items()}
    return rows | {"persistence": Alone(0)} | {alone(refined): Alone(refined) for refined in REFINED}


def specification(id: str, title: str, problem: ShiftsProblem, rates: Mapping[str, float]) -> Specification:
    """Of the study on one of the problems."""
    rows = variants(rates)
    return Specification(
        id=id, title=title, chapter="10_generalisation", variants=rows, seeds=SEEDS,
        budgets={key: (0,) if isinstance(row, Alone) else (UPDATES,) for key, row in rows.items()},
        metrics={**problem.metrics, **MECHANISM_METRICS, **TRAINING_METRICS,
                 "seconds_per_step": "time of one step of the roll-outs, for one sample of one seed [s]"},
        settings={**problem.settings, "longest": LONGEST},
        checks=(Task(name("hybrid", "ONE", DECIDING[0]), CHECK_BUDGET, (0, 1)),),
        checked=("error.inside", "one_step.inside", "asked"))


def tuning(study: Specification, error: Callable, problem: ShiftsProblem) -> Tuning:
    """Of every kind's learning rate, with 512 trajectories."""
    return Tuning(study, to_tune(), error,
                  f"mean relative L2 error over {problem.horizon} steps, on validation data", budget=400,
                  check=Task(f"{name('hybrid', 'ONE', DECIDING[-1])}, rate 0.001", CHECK_BUDGET, (100, 101)),
                  shared=rate_of)


def chained(problem: ShiftsProblem, row: Variant, networks: nn.Module, refined: int = 1) -> nn.Module:
    """The step of a row with these networks."""
    return problem.hybrid(networks, refined) if row.has_solver else problem.predictor(networks)


def fitted(problem: ShiftsProblem, row: Variant, seeds: Sequence[int], budget: int, progress: bool = False
           ) -> tuple[nn.Module, History]:
    """(networks, history) after a training, each seed on its own data."""
    networks = problem.ensemble(seeds, **dict(row.network))
    batches = problem.batches(seeds, LONGEST, row.setup.batch_size, row.size)
    objective = row.setup.objective(chained(problem, row, networks))
    return networks, train(row.setup, objective, batches, budget, noise_seed=seeds[0], progress=progress)


def computed(problem: ShiftsProblem, row: Variant | Alone, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    """Every metric of a row, one entry per seed."""
    if isinstance(row, Alone):
        networks, P = None, problem.coarse_solver(row.refined) if row.refined == 1 else None
        training = {key: value.repeat(len(seeds), *[1] * (value.ndim - 1)) for key, value in no_training().items()}
    else:
        networks, history = fitted(problem, row, seeds, budget)
        P, training = (problem.coarse_solver() if row.has_solver else None,
                       training_metrics(history, budget, len(seeds)))
    return {**measured(problem, row, networks, seeds), **mechanism(problem, P, networks, seeds), **training}


def measured(problem: ShiftsProblem, row: Variant | Alone, networks: nn.Module | None, seeds: Sequence[int]
             ) -> dict[str, Tensor]:
    """The problem's metrics, and ``seconds_per_step``."""
    found, seconds = {}, []
    for region, change in problem.changes.items():
        finer = (change.num_points or problem.num_points) // problem.num_points
        step, points = judged_step(problem, row, networks, finer)
        start = time.perf_counter()
        prediction, reference = problem.rolled(step, region, seeds, points)
        seconds.append((time.perf_counter() - start) / prediction[:, :, 0, 0].numel())
        measures = problem.judge_rollouts(prediction, reference, len(seeds))
        found |= {f"{key}.{region}": value for key, value in measures.items()}
    return found | {"seconds_per_step": torch.full((len(seeds),), min(seconds), dtype=torch.float64)}


def judged_step(problem: ShiftsProblem, row: Variant | Alone, networks: nn.Module | None, finer: int
                ) -> tuple[nn.Module, int]:
    """(step, points of its grid) where the grid of a region is finer by a factor."""
    if isinstance(row, Variant):
        return chained(problem, row, networks, finer), problem.grid(finer)
    if row.refined == 0:
        return Persistence(), problem.num_points
    return problem.alone(finer * row.refined), problem.grid(finer * row.refined)


def validation_error(problem: ShiftsProblem, row: Variant, seeds: Sequence[int], budget: int) -> Tensor:
    """(seeds,): after a training."""
    networks, _ = fitted(problem, row, seeds, budget)
    return problem.own_error(chained(problem, row, networks), "validation", seeds)


def weight(row: Variant | Alone, budget: int) -> float:
    """What a task costs, in updates of one step."""
    if isinstance(row, Alone):
        return 100.0
    size = {"width": 1.6, "num_blocks": 0.3}.get(row.network[0][0] if row.network else "", 1.0)
    return 300 + budget * row.setup.num_steps * (1.0 if row.has_solver else 0.7) * size
