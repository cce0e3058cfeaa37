"""E05: how should the network's output enter?   Chapter: 04_coupling.

Nine couplings of one coarse Burgers solver and one small network, each trained on one step and through eight. All
start from nearly the same step, P alone, and see the same windows of data. Two of them are controls for the
right-hand side, whose correction counts dt times as much: they multiply the output by dt and leave the rest as it is.

Source: kochkov2021, wei2025inc.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dpbook_utils.coupling import Additive, AdditiveRHS, Multiplicative, SolverParameter
from dpbook_utils.history import History
from dpbook_utils.physics.advection import Interpolated
from dpbook_utils.rollout import Sequential
from dpbook_utils.setups import Setup, train

from ...experiments.spec import Specification, Task
from ...experiments.trainings import TRAINING_METRICS, no_training, training_metrics
from ...experiments.tuning import Tuning, at_rate
from ...problems import coarse_burgers as problem
from ...problems.steps import Persistence, Rate
from .design import BUDGETS

SEEDS = tuple(range(12))
LONGEST = 8  # all variants draw windows of this length, so that they see the same ones
CHECK_BUDGET = 8
# What the learned local viscosity may reach: with the flow's own it stays below dx^2 / (2 dt), the solver's limit.
LARGEST_VISCOSITY = 2.0  # [m^2/s]


def bounded_viscosity(output: Tensor) -> Tensor:
    """Positive, at most 2 m^2/s, and 0.1 m^2/s for an untrained network, whose output is near zero."""
    return LARGEST_VISCOSITY * torch.sigmoid(output - 3)


def as_it_is(output: Tensor) -> Tensor:
    """The scheme takes any numbers: it makes the weights sum to one."""
    return output


def times_dt(network: nn.Module) -> Rate:
    """The output counts dt times as much, as that of the right-hand side does."""
    return Rate(network, problem.dt)


COUPLINGS: dict[str, Callable[[nn.Module, nn.Module], nn.Module]] = {
    "additive": lambda P, N: Sequential(P, Additive(N)),
    "additive, N first": lambda P, N: Sequential(Additive(N), P),
    "additive, times dt": lambda P, N: Sequential(P, Additive(times_dt(N))),
    "multiplicative": lambda P, N: Sequential(P, Multiplicative(N)),
    "multiplicative, N first": lambda P, N: Sequential(Multiplicative(N), P),
    "multiplicative, times dt": lambda P, N: Sequential(P, Multiplicative(times_dt(N))),
    "right-hand side": AdditiveRHS,
    "viscosity": lambda P, N: SolverParameter(P, N, "local_viscosity", bounded_viscosity),
    "interpolation": lambda P, N: SolverParameter(P, N, "interpolation", as_it_is),
}
CONSERVING = ("viscosity", "interpolation")  # for any output of the network


@dataclass(frozen=True)
class Variant:
    """A coupling, by its name in ``COUPLINGS``, and a set-up."""

    coupling: str
    setup: Setup


@dataclass(frozen=True)
class Baseline:
    """P on a grid, or none for a state that stays as it is."""

    num_points: int | None
    num_substeps: int = 1


def chain(coupling: str, networks: nn.Module) -> nn.Module:
    """One step of the hybrid."""
    return COUPLINGS[coupling](problem.coarse_solver(), networks)


def ensemble(coupling: str, seeds: Sequence[int]) -> nn.Module:
    """The networks of a coupling: one output channel, or four weights per face."""
    return problem.ensemble(seeds, len(Interpolated.offsets) if coupling == "interpolation" else 1)


def rows() -> dict[str, Variant]:
    """Every coupling with every set-up, all with one learning rate; ``LEARNING_RATES`` has the tuned ones."""
    setups = {"ONE": Setup(), f"WIG-{LONGEST}": Setup(LONGEST)}
    return {f"{coupling}, {name}": Variant(coupling, setup) for coupling in COUPLINGS
            for name, setup in setups.items()}


# By e05_tuning: the best of four on validation data.
LEARNING_RATES = {
    "additive, ONE": 0.001, "additive, WIG-8": 0.003,
    "additive, N first, ONE": 0.001, "additive, N first, WIG-8": 0.003,
    "additive, times dt, ONE": 0.003, "additive, times dt, WIG-8": 0.01,
    "multiplicative, ONE": 0.001, "multiplicative, WIG-8": 0.003,
    "multiplicative, N first, ONE": 0.001, "multiplicative, N first, WIG-8": 0.01,
    "multiplicative, times dt, ONE": 0.01, "multiplicative, times dt, WIG-8": 0.01,
    "right-hand side, ONE": 0.01, "right-hand side, WIG-8": 0.01,
    "viscosity, ONE": 0.01, "viscosity, WIG-8": 0.01,
    "interpolation, ONE": 0.01, "interpolation, WIG-8": 0.003,
}


def variants() -> dict[str, Variant | Baseline]:
    found = {name: at_rate(row, LEARNING_RATES[name])
             for name, row in rows().items()}
    return found | {"persistence": Baseline(None), "P": Baseline(problem.num_points),
                    "P, 64 points": Baseline(64, 2), "P, 128 points": Baseline(128, 4)}


_VARIANTS = variants()
SPEC = Specification(
    id="e05", title="How the network's output enters", chapter="04_coupling", variants=_VARIANTS, seeds=SEEDS,
    budgets={name: (0,) if isinstance(row, Baseline) else BUDGETS for name, row in _VARIANTS.items()},
    metrics={**problem.metrics, **TRAINING_METRICS},
    settings={**problem.settings, "longest": LONGEST, "largest_viscosity": LARGEST_VISCOSITY},
    baselines=frozenset(name for name, row in _VARIANTS.items() if isinstance(row, Baseline)),
    checks=(*(Task(name, CHECK_BUDGET, (0, 1)) for name in (
        "additive, ONE", "additive, WIG-8", "viscosity, ONE", "interpolation, ONE")), Task("P, 64 points", 0, (0,))),
    checked=("error.inside", "error.below", "error.above", "error.faster", "one_step.inside"))


def run(variant: str, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    """Train and judge one variant; every metric has one entry per seed."""
    row = SPEC.variants[variant]
    if isinstance(row, Baseline):
        points = row.num_points or problem.num_points
        step = problem.refined(points, row.num_substeps) if row.num_points else Persistence()
        return {**problem.evaluate(step, 1, points), **no_training()}
    step, history = fitted(row, seeds, budget)
    return {**problem.evaluate(step, len(seeds)), **training_metrics(history, budget, len(seeds))}


def fitted(row: Variant, seeds: Sequence[int], budget: int, progress: bool = False) -> tuple[nn.Module, History]:
    """(step, history) after training the networks as the row says."""
    step = chain(row.coupling, ensemble(row.coupling, seeds))
    batches = problem.windows(seeds, LONGEST, row.setup.batch_size)
    return step, train(row.setup, row.setup.objective(step), batches, budget, progress=progress)


def validation_error(row, seeds: Sequence[int], budget: int) -> Tensor:
    """(seeds,): after a training."""
    step, _ = fitted(row, seeds, budget)
    return problem.validation_error(step, len(seeds))


TUNING = Tuning(
    SPEC, rows(), validation_error, "mean relative L2 error over 100 steps, on validation data", budget=750,
    check=Task("additive, ONE, rate 0.001", 8, (100, 101)), grid=(3e-4, 1e-3, 3e-3, 1e-2), seeds=(100, 101, 102))
