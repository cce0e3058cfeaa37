"""E04: one step or many?   Chapter: 03_unrolling.

Every row of the table of set-ups in ``book/notation.md`` corrects the same coarse Kuramoto-Sivashinsky solver, from the
same initial weights and with the same windows of data, at three budgets. Set-ups that no claim compares at the largest
one stop at the second, which saves more than an hour of computing. PRE has no row: with solver and reference on one
grid its stored pairs are those of ONE, and so, up to rounding, are its weights (``tests/test_e04_unrolling.py``).

Source: list2025, um2020, brandstetter2022, koehler2024.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor, nn

from dpbook_utils.gradients import NoSolverGradient, Pushforward, Truncated
from dpbook_utils.history import History
from dpbook_utils.losses import final_step
from dpbook_utils.objectives import from_batch, from_solver
from dpbook_utils.setups import Setup, train, warm_up

from ...experiments.spec import Replication, Specification, Task
from ...experiments.trainings import TRAINING_METRICS, no_training, training_metrics
from ...experiments.tuning import Tuning, at_rate
from ...problems import kuramoto_sivashinsky as ks
from ...problems.ks import Baseline
from .design import BUDGETS, BUDGETS_ONE, DECIDING, SHORT

SEEDS = (0, 1, 2, 3, 4, 5)
LONGEST = 8  # all set-ups draw windows of this length, so that they see the same ones
SIGMA = 0.0132  # a hundredth of the data's standard deviation
CHECK_BUDGET = 8


@dataclass(frozen=True)
class Variant:
    """One row: a set-up, the chain that it trains and the network in it.

    Attributes:
        predictor: True for the network alone, without the solver.
        diverted: the target is the reference solver applied to the network's own state.
    """

    setup: Setup
    width: int = 16
    num_blocks: int = 4
    predictor: bool = False
    diverted: bool = False


def rows() -> dict[str, Variant]:
    """The set-ups, all with one learning rate; ``LEARNING_RATES`` has the tuned ones."""
    found = {"ONE": Variant(Setup()), "ONE, batch 48": Variant(Setup(batch_size=48)),
             "NOISE": Variant(Setup(sigma=SIGMA))}
    for m in (3, 8):
        found |= {
            f"PUSHFORWARD-{m}": Variant(_unrolled(m, placement=final_step, gradient=Pushforward())),
            f"NOG-{m}": Variant(_unrolled(m, gradient=NoSolverGradient())),
            f"WIG-{m}": Variant(_unrolled(m)),
            f"TERMINAL-{m}": Variant(_unrolled(m, placement=final_step)),
            f"DIVERTED-{m}": Variant(_unrolled(m), diverted=True),
        }
    found |= {"TBPTT-8": Variant(_unrolled(8, gradient=Truncated(every=4))),
              "predictor, ONE": Variant(Setup(), predictor=True)}
    return found | {f"predictor, WIG-{m}": Variant(_unrolled(m), predictor=True) for m in (3, 8)}


def _unrolled(num_steps: int, **options) -> Setup:
    return Setup(num_steps, curriculum=warm_up(num_steps), **options)


# By e04_tuning: the best of three on validation data.
LEARNING_RATES = dict.fromkeys(rows(), 3e-3) | dict.fromkeys(("PUSHFORWARD-8", "NOG-8", "DIVERTED-8"), 1e-3) | (
    dict.fromkeys(("predictor, ONE", "predictor, WIG-3"), 1e-2))
MAIN = ("ONE", "NOG-3", "WIG-3", "NOG-8", "WIG-8")  # the largest budget is theirs, and that of the predictors
SMALL = (*MAIN, "NOISE")  # also with a network of a quarter of the weights


def variants() -> dict[str, Variant | Baseline]:
    found = {name: at_rate(row, LEARNING_RATES[name])
             for name, row in rows().items()}
    found |= {f"{name}, small": replace(found[name], width=8) for name in SMALL}
    return found | {"persistence": Baseline(None), "P": Baseline(2), "P, 16 substeps": Baseline(16),
                    "P, 32 substeps": Baseline(32)}


def _budgets(name: str, variant: Variant | Baseline) -> tuple[int, ...]:
    if isinstance(variant, Baseline):
        return (0,)
    if not variant.predictor and name.removesuffix(", small") not in MAIN:
        return BUDGETS[:2]
    return BUDGETS_ONE if name == "ONE" else BUDGETS


_VARIANTS = variants()
SPEC = Specification(
    id="e04", title="One step or many", chapter="03_unrolling", variants=_VARIANTS, seeds=SEEDS,
    budgets={name: _budgets(name, variant) for name, variant in _VARIANTS.items()},
    metrics={**ks.metrics, **TRAINING_METRICS},
    settings={**ks.settings, "longest": LONGEST},
    baselines=frozenset(name for name, variant in _VARIANTS.items() if isinstance(variant, Baseline)),
    replication=Replication({
        **dict.fromkeys((*MAIN, "TERMINAL-8", "PUSHFORWARD-8"), (SHORT, DECIDING)),  # E06 needs those of eight steps
        **dict.fromkeys([f"{name}, small" for name in MAIN] + [n for n in _VARIANTS if n.startswith("predictor")],
                        (DECIDING,)),
        "P": (0,)}),
    checks=tuple(Task(name, CHECK_BUDGET, (0, 1)) for name in (
        "NOISE", "PUSHFORWARD-3", "NOG-3", "WIG-3", "DIVERTED-3", "predictor, WIG-3")),
    checked=("one_step.inside", "one_step.below", "one_step.above"))


def run(variant: str, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    """Train and judge one variant; every metric has one entry per seed."""
    row = SPEC.variants[variant]
    if isinstance(row, Baseline):
        return {**ks.evaluate(row.step(), 1), **no_training()}
    step, history = fitted(row, seeds, budget)
    return {**ks.evaluate(step, len(seeds)), **training_metrics(history, budget, len(seeds))}


def fitted(row: Variant, seeds: Sequence[int], budget: int, progress: bool = False) -> tuple[nn.Module, History]:
    """(step, history) after training the networks as the row says."""
    networks = ks.ensemble(seeds, row.width, row.num_blocks)
    step = ks.predictor(networks) if row.predictor else ks.hybrid(networks)
    targets = from_solver(ks.reference_solver()) if row.diverted else from_batch
    batches = ks.windows(seeds, LONGEST, row.setup.batch_size)
    objective = row.setup.objective(step, targets)
    return step, train(row.setup, objective, batches, budget, noise_seed=seeds[0], progress=progress)


def validation_error(row, seeds: Sequence[int], budget: int) -> Tensor:
    """(seeds,): after a training."""
    step, _ = fitted(row, seeds, budget)
    return ks.validation_error(step, len(seeds))


TUNING = Tuning(SPEC, rows(), validation_error, "mean relative L2 error over 12 steps, on validation data", budget=1000,
                check=Task("ONE, rate 0.001", 8, (100, 101)))
