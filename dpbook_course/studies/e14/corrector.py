"""E14: a corrector trained with every way to the solver's gradient.   Chapter: 13_foreign_solvers.

The problem is that of E05: a coarse Burgers solver of 32 points, corrected by a small network and unrolled for three
steps. To the estimates the same solver is a black box of NumPy. A surrogate is trained beforehand on pairs of the
solver, at states of the training data; its training costs no call.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from dpbook_utils.bridges import black_box
from dpbook_utils.coupling import Additive
from dpbook_utils.data import Windows
from dpbook_utils.estimates import Surrogate
from dpbook_utils.history import History
from dpbook_utils.networks import ConvResNet, Ensemble
from dpbook_utils.rollout import Sequential
from dpbook_utils.setups import Setup, train

from ...experiments.spec import Replication, Specification, Task
from ...experiments.trainings import TRAINING_METRICS, no_training, training_metrics
from ...experiments.tuning import Tuning, at_rate
from ...problems import coarse_burgers as problem
from ...problems.steps import Baseline
from .design import NUM_STEPS, SEEDS, UPDATES, Way, corrector_ways, equal_calls

CHECK_BUDGET = 8
SURROGATE = {"updates": 1000, "rate": 3e-3, "batch": 32, "width": 16, "num_blocks": 2}


def rows() -> dict[str, Way]:
    """The ways, all with one learning rate; ``LEARNING_RATES`` has the tuned ones."""
    return corrector_ways()


LEARNING_RATES = {"adjoint": 1e-3, "finite differences": 1e-3, "SPSA-1": 3e-3, "SPSA-8": 3e-3, "ES-8": 3e-3,
                  "surrogate, 256 pairs": 1e-3, "surrogate, 4096 pairs": 1e-3, "no solver gradient": 1e-3,
                  "one step": 1e-3}

_WAYS = {name: at_rate(way, LEARNING_RATES[name]) for name, way in rows().items()}
_VARIANTS = {**_WAYS, "P": Baseline(problem.coarse_solver, problem.num_points)}
SPEC = Specification(
    id="e14", title="Ways to the solver's gradient", chapter="13_foreign_solvers", variants=_VARIANTS, seeds=SEEDS,
    budgets={**{name: tuple(sorted({*equal_calls(way), UPDATES[0]})) if name != "one step" else UPDATES
                for name, way in _WAYS.items()}, "P": (0,)},
    metrics={**problem.metrics, **TRAINING_METRICS},
    settings={**problem.settings, "longest": NUM_STEPS, "surrogate": SURROGATE},
    baselines=frozenset({"P"}),
    replication=Replication({**{name: equal_calls(way)[-1:] for name, way in _WAYS.items() if name != "one step"},
                             "P": (0,)}),
    checks=(*(Task(name, CHECK_BUDGET, (0, 1)) for name in ("adjoint", "no solver gradient", "one step")),
            Task("P", 0, (0,))),
    checked=("error.inside", "error.below", "error.above", "one_step.inside"))


def run(variant: str, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    """Train and judge one variant; every metric has one entry per seed."""
    row = SPEC.variants[variant]
    if isinstance(row, Baseline):
        return {**problem.evaluate(row.step(), 1), **no_training()}
    step, history = fitted(row, seeds, budget)
    return {**problem.evaluate(step, len(seeds)), **training_metrics(history, budget, len(seeds))}


def values(u: np.ndarray, viscosity: np.ndarray) -> np.ndarray:
    """The coarse step as a black box: arrays in, arrays out."""
    with torch.no_grad():
        return problem.coarse_solver()(torch.tensor(u), viscosity=torch.tensor(viscosity)).numpy()


def solver(way: Way, seeds: Sequence[int]) -> nn.Module:
    """The step with the gradient of a way."""
    if way.pairs:
        return black_box(values, (1, problem.num_points), gradient=Surrogate(surrogate(way.pairs, seeds)))
    if way.gradient is None:
        return problem.coarse_solver()
    return black_box(values, (1, problem.num_points), gradient=way.gradient)


def surrogate(num_pairs: int, seeds: Sequence[int]) -> nn.Module:
    """An operator that has learnt the step, one for each seed, from so many pairs."""
    data, pairs = problem.trajectories("train"), []
    for seed in seeds:
        generator = torch.Generator().manual_seed(problem.batch_seed + seed)
        chosen, times = (torch.randint(0, size, (num_pairs,), generator=generator) for size in data.states.shape[:2])
        u, viscosity = data.states[chosen, times], data.viscosity[chosen]
        u_next = torch.from_numpy(values(u.numpy(), viscosity.numpy()))
        pairs.append(Windows(torch.stack([u, u_next], 1), 1, SURROGATE["batch"], seed=seed, viscosity=viscosity))
    networks = Ensemble([ConvResNet(1, 1, 1, width=SURROGATE["width"], num_blocks=SURROGATE["num_blocks"],
                                    conditions={"viscosity": problem.condition}, output_scale=0.1, seed=seed)
                         for seed in seeds])
    emulator, setup = Additive(networks), Setup(learning_rate=SURROGATE["rate"])
    train(setup, setup.objective(emulator), Joined(pairs), SURROGATE["updates"])
    return emulator.eval().requires_grad_(False)


class Joined:
    """Batches of several sources as one, group after group: those of an ensemble."""

    def __init__(self, sources: Sequence[Windows]):
        self.sources = sources

    def __getitem__(self, k: int) -> dict[str, Tensor]:
        found = [source[k] for source in self.sources]
        return {name: torch.cat([batch[name] for batch in found]) for name in found[0]}


def fitted(way: Way, seeds: Sequence[int], budget: int, progress: bool = False) -> tuple[nn.Module, History]:
    """(the step with P itself, history) after a training."""
    networks = problem.ensemble(seeds)
    chain = Sequential(solver(way, seeds), Additive(networks))
    history = train(way.setup, way.setup.objective(chain), problem.windows(seeds, NUM_STEPS, way.setup.batch_size),
                    budget, noise_seed=seeds[0], trace=way.gradient is None and not way.pairs, progress=progress)
    return problem.hybrid(networks), history


def validation_error(way: Way, seeds: Sequence[int], budget: int) -> Tensor:
    """(seeds,): after a training."""
    step, _ = fitted(way, seeds, budget)
    return problem.validation_error(step, len(seeds))


def cost(variant: str, budget: int) -> float:
    """In units of a traced update: what is estimated runs without a trace."""
    way = SPEC.variants[variant]
    if isinstance(way, Baseline):
        return 1
    is_traced = way.gradient is None and not way.pairs
    return budget * (1 if is_traced else 3 + way.backward / 10) + 1000 * bool(way.pairs)


TUNING = Tuning(SPEC, rows(), validation_error, "mean relative L2 error over 100 steps, on validation data",
                budget=UPDATES[0], check=Task("adjoint, rate 0.001", CHECK_BUDGET, (100, 101)),
                grid=(3e-4, 1e-3, 3e-3, 1e-2))
