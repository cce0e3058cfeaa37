"""E04 on a driven flow without chaos: does unrolling gain there too?   Chapter: 03_unrolling.

Um et al. 2020 found one step as good as many for a forced advection-diffusion problem. The set-ups are those of E04,
the problem is that of ``forced_burgers``.

Source: um2020.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from dpbook_utils.history import History
from dpbook_utils.setups import Setup, train

from ...claims.effects import PairedRatio, paired_ratio
from ...claims.findings import common_seeds, per_seed
from ...experiments.spec import Specification, Task
from ...experiments.trainings import TRAINING_METRICS, no_training, training_metrics
from ...experiments.tuning import Tuning, at_rate
from ...problems import forced_burgers as problem
from ...problems.steps import Baseline, Persistence
from .unrolling import rows as e04_rows

BUDGETS = (1500, 6000)
SEEDS = (0, 1, 2, 3, 4, 5)
LONGEST = 8  # all set-ups draw windows of this length, so that they see the same ones
WIDTH, NUM_BLOCKS = 16, 4


def rows() -> dict[str, Setup]:
    """Those of E04, all with one learning rate; ``LEARNING_RATES`` has the tuned ones."""
    return {name: row.setup for name, row in e04_rows().items() if name in ("ONE", "NOG-3", "WIG-3", "NOG-8", "WIG-8")}


# By e04_forced_tuning: the best of three on validation data.
LEARNING_RATES = {"ONE": 0.003, "NOG-3": 0.003, "WIG-3": 0.003, "NOG-8": 0.003, "WIG-8": 0.003}

_VARIANTS = {name: at_rate(setup, LEARNING_RATES[name]) for name, setup in rows().items()}
_BASELINES = {"persistence": Baseline(Persistence), "P": Baseline(problem.coarse_solver),
              "P, 64 points": Baseline(problem.finer_solver, 64)}
SPEC = Specification(
    id="e04_forced", title="One step or many: a driven flow without chaos", chapter="03_unrolling",
    variants={**_VARIANTS, **_BASELINES}, seeds=SEEDS,
    budgets={**dict.fromkeys(_VARIANTS, BUDGETS), **dict.fromkeys(_BASELINES, (0,))},
    metrics={**problem.metrics, **TRAINING_METRICS},
    settings={**problem.settings, "longest": LONGEST, "network": (WIDTH, NUM_BLOCKS)}, baselines=frozenset(_BASELINES),
    checks=(Task("WIG-3", 8, (0, 1)), Task("P", 0, (0,))),
    checked=("error.inside", "error.below", "error.above", "long_error.inside"))


def run(variant: str, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    """Train and judge one variant; every metric has one entry per seed."""
    row = SPEC.variants[variant]
    if isinstance(row, Baseline):
        return {**problem.evaluate(row.step(), 1, row.num_points), **no_training()}
    step, history = fitted(row, seeds, budget)
    return {**problem.evaluate(step, len(seeds)), **training_metrics(history, budget, len(seeds))}


def fitted(setup: Setup, seeds: Sequence[int], budget: int, progress: bool = False) -> tuple[nn.Module, History]:
    """(step, history) after training the networks."""
    step = problem.hybrid(problem.ensemble(seeds, WIDTH, NUM_BLOCKS))
    batches = problem.windows(seeds, LONGEST, setup.batch_size)
    return step, train(setup, setup.objective(step), batches, budget, progress=progress)


def validation_error(row, seeds: Sequence[int], budget: int) -> Tensor:
    """(seeds,): after a training."""
    step, _ = fitted(row, seeds, budget)
    return problem.validation_error(step, len(seeds))


TUNING = Tuning(SPEC, rows(), validation_error, "mean relative L2 error over 12 steps, on validation data", budget=750,
                check=Task("WIG-3, rate 0.001", 8, (100, 101)))


def ratios(frame, a: str = "WIG-8", b: str = "ONE", metric: str = "error.inside") -> dict[int, PairedRatio]:
    """``{budget: a / b}``, below 1 where a has the smaller error, from the stored records of the study's seeds."""
    frame = frame[frame.seed.isin(SEEDS)]
    found = {}
    for budget in BUDGETS:
        values = common_seeds(*(per_seed(frame, name, budget, metric) for name in (a, b)))
        if len(values[0]):
            found[budget] = paired_ratio(*values)
    return found
