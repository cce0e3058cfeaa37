"""E02: a fixed data set, or fresh samples at every update?   Chapter: 02_solver_as_data.

The chain is "P, then N" of ``parametric_burgers``. The samples are trajectories of the reference solver: the first 16,
64, 256 or 1,024 of a stream, used over and over, or the whole stream, of which none comes twice. Two losses:

supervised: one step from states of the reference. P sees data only, never what N did, so no gradient passes through P.
DP: four steps from such a state, with the full gradient through N and P.

For each seed, all rows start from the same weights and their first batches are the same: a fixed set differs from the
stream from the second pass on. The set is held in memory; what it costs to generate, write and read it is measured by
``e02_throughput``, and what a fresh batch costs is part of every update here.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from dpbook_utils.data import Fresh
from dpbook_utils.history import History
from dpbook_utils.objectives import Objective
from dpbook_utils.setups import Setup, train

from ...experiments.spec import Specification, Task
from ...experiments.trainings import TRAINING_METRICS, no_training, training_metrics
from ...experiments.tuning import Tuning, at_rate
from ...problems import parametric_burgers as problem
from ...problems.steps import Baseline, Persistence
from .design import BUDGETS, LONGER, SEEDS, SIZES

NEW_SEED = 500  # of the samples that no training sees, above those of the training
NUM_NEW = 16  # batches of them
PER_TRAJECTORY = problem.num_steps
PER_BATCH = problem.trajectories_per_batch


@dataclass(frozen=True)
class Variant:
    """A loss and its data: so many trajectories, or None for the stream."""

    setup: Setup
    num_trajectories: int | None


def rows() -> dict[str, Variant]:
    """Every data set with every loss, all with one learning rate; ``LEARNING_RATES`` has the tuned ones."""
    losses = {name: Setup(m, batch_size=PER_BATCH * PER_TRAJECTORY // m) for name, m in (("supervised", 1), ("DP", 4))}
    sizes = {**{f"{size} stored": size for size in SIZES}, "fresh": None}
    return {f"{data}, {loss}": Variant(setup, size)
            for loss, setup in losses.items() for data, size in sizes.items()}


# By e02_tuning: the best of three on validation data. One for all data sets, so that these are all that differs.
LEARNING_RATES = {"supervised": 0.003, "DP": 0.003}

_VARIANTS = {name: at_rate(row, LEARNING_RATES[name.split(", ")[1]]) for name, row in rows().items()}
_BASELINES = {"persistence": Baseline(Persistence), "P": Baseline(problem.coarse_solver),
              "P, 64 points": Baseline(problem.finer_solver, 64)}
SPEC = Specification(
    id="e02", title="Stored or fresh data", chapter="02_solver_as_data", variants={**_VARIANTS, **_BASELINES},
    seeds=SEEDS, budgets={
        **{name: BUDGETS + tuple(longer for size, longer in LONGER.items() if size == row.num_trajectories)
           for name, row in _VARIANTS.items()}, **dict.fromkeys(_BASELINES, (0,))},
    metrics={**problem.metrics, **TRAINING_METRICS,
             "generation": "time of generating one batch, undisturbed, all seeds together [s]",
             "own_loss": "loss after the training, on samples of its own set; on new ones without a set",
             "new_loss": "loss after the training, on samples that no training has seen"},
    settings={**problem.settings, "new_seed": NEW_SEED, "num_new": NUM_NEW, "curve_steps": problem.curve_steps},
    baselines=frozenset(_BASELINES),
    checks=(Task("16 stored, DP", 8, (0, 1)), Task("fresh, supervised", 8, (0, 1)), Task("P", 0, (0,))),
    checked=("one_step.inside", "error.inside", "error.edge", "error.outside"))


class Repeated:
    """The first batches of a stream, over and over: as they came at first, then every pass in another order.

    Args:
        stream: of whole trajectories.
        num_batches: so many are kept in memory.
        num_steps: length of the stretches that every batch is cut into.
    """

    def __init__(self, stream: Fresh, num_batches: int, num_steps: int):
        self.seeds, self.num_batches, self.num_steps = stream.seeds, num_batches, num_steps
        batches = [stream[k] for k in range(num_batches)]
        self.data = {name: torch.cat([batch[name].unflatten(0, (len(self.seeds), -1)) for batch in batches], 1)
                     for name in batches[0]}  # (seeds, trajectories, ...)

    def __getitem__(self, k: int) -> dict[str, Tensor]:
        number, place = divmod(k, self.num_batches)
        size = self.data["u0"].shape[1]
        per_batch = size // self.num_batches
        chosen = slice(place * per_batch, (place + 1) * per_batch)
        which = torch.from_numpy(np.stack([self._order(seed, number, size)[chosen] for seed in self.seeds]))
        own = torch.arange(len(self.seeds))[:, None]
        return problem.stretches({name: values[own, which].flatten(0, 1) for name, values in self.data.items()},
                                 self.num_steps)

    @staticmethod
    def _order(seed: int, number: int, size: int) -> np.ndarray:
        if number == 0:
            return np.arange(size)
        # Counter-based like the streams, with a counter word that they do not use.
        return np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 2, number])).permutation(size)


def run(variant: str, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    """Train and judge one variant; every metric has one entry per seed."""
    row = SPEC.variants[variant]
    if isinstance(row, Baseline):
        return {**problem.evaluate(row.step(), 1, row.num_points), **no_training(),
                **dict.fromkeys(("generation", "own_loss", "new_loss"), torch.full((1,), torch.nan))}
    batches = data(row, seeds)
    step, history = fitted(row, seeds, budget, batches)
    objective = row.setup.objective(step)
    new = problem.fresh([NEW_SEED + seed for seed in seeds], row.setup.num_steps)
    new_loss = mean_loss(objective, new, NUM_NEW)
    own_loss = new_loss if row.num_trajectories is None else mean_loss(
        objective, batches, min(NUM_NEW, row.num_trajectories // PER_BATCH))
    return {**problem.evaluate(step, len(seeds)), **training_metrics(history, budget, len(seeds)),
            "generation": torch.full((len(seeds),), generation_seconds(new)), "own_loss": own_loss,
            "new_loss": new_loss}


def data(row: Variant, seeds: Sequence[int]) -> Repeated | Fresh:
    """The batches of a variant."""
    num_steps = row.setup.num_steps
    if row.num_trajectories is None:
        return problem.fresh(seeds, num_steps)
    return Repeated(problem.fresh(seeds), row.num_trajectories // PER_BATCH, num_steps)


def fitted(row: Variant, seeds: Sequence[int], budget: int, batches: Repeated | Fresh | None = None,
           progress: bool = False) -> tuple[nn.Module, History]:
    """(step, history) after training the networks as the row says; ``batches``: its ``data``, if they are made."""
    step = problem.hybrid(problem.ensemble(seeds))
    batches = data(row, seeds) if batches is None else batches
    return step, train(row.setup, row.setup.objective(step), batches, budget, progress=progress)


@torch.no_grad()
def mean_loss(objective: Objective, batches: Repeated | Fresh, count: int) -> Tensor:
    """(seeds,): over the first batches."""
    return torch.stack([objective.per_member(**batches[k]) for k in range(count)]).mean(0)


def generation_seconds(batches: Fresh, count: int = 40) -> float:
    """Time of one batch [s]; the fastest tenth stands for an undisturbed machine, as in ``seconds_per_update``."""
    seconds = []
    for k in range(count):
        start = time.perf_counter()
        batches[k]
        seconds.append(time.perf_counter() - start)
    return float(np.quantile(seconds, 0.1))


def validation_error(row, seeds: Sequence[int], budget: int) -> Tensor:
    """(seeds,): after a training."""
    step, _ = fitted(row, seeds, budget)
    return problem.validation_error(step, len(seeds))


TUNING = Tuning(
    SPEC, rows(), validation_error, "mean relative L2 error over 50 steps, on validation data", budget=750,
    check=Task("16 stored, DP, rate 0.001", 8, (100, 101)), shared=lambda name: name.split(", ")[1],
    settings=problem.settings)
