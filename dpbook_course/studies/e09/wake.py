"""E09: a network reduces the numerical errors of a wake.   Chapter: 08_wake_flow.

The problem is ``wake_flow``'s. Rows, all with batches of three windows:

ONE, NOISE, PRE: one step. NOISE perturbs its input, with the standard deviation that is best on validation data; PRE
    learns stored corrections at the states of a source that they pull to the reference.
SOL-m: m steps with the full gradient. NOG-8: without the solver's; the correction is then after the projection, because
    before it no path leads around the solver. The two rows after P are there at both learning rates of the tuning.
after, projected: where the correction acts; elsewhere it is a force before the projection. PRE's loss therefore
    reaches the network through P's projection; that of PRE, after has no derivative of P in it.
MacCormack: a better P. 48k weights: the size of a published network. predictor: no solver.

An update of m steps costs about m times as much as one of one step, so a budget of 3,200 / m updates is one of about
equal time. Nearly all rows have 400 updates, too. Reduced from what was planned, for the machine's sake: 10,000 weights
instead of 48,000 in all rows but one, and a third budget for SOL-8 only.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from dpbook_utils.data import simulate
from dpbook_utils.gradients import NoSolverGradient
from dpbook_utils.history import History
from dpbook_utils.physics.navier_stokes import mac_cormack, semi_lagrangian
from dpbook_utils.setups import Setup, train, warm_up

from ...experiments.spec import Specification, Task
from ...experiments.trainings import TRAINING_METRICS, no_training, training_metrics
from ...experiments.tuning import at_rate, at_rates
from ...problems import wake_flow as wake
from ...problems import wake_metrics as metrics
from ...problems.steps import Persistence
from .design import SEEDS, STEPS, UPDATES

SMALL = {"reynolds": (150.0, 200.0, 300.0), "steps": 12, "horizon": 10}  # of the check: flows in their first seconds


SIGMA = 0.003  # of NOISE, by e09_tuning


@dataclass(frozen=True)
class Variant:
    """A training.

    Attributes:
        chain: where the network acts, a function of ``wake_flow``.
        advection: of P.
        precomputed: train on ``nudged`` states.
        small: on flows that take seconds to simulate, with a reference twice as fine: what ``check`` repeats.
    """

    setup: Setup
    chain: Callable = wake.before
    advection: Callable = semi_lagrangian
    width: int = wake.SETTINGS["width"]
    precomputed: bool = False
    small: bool = False


@dataclass(frozen=True)
class Baseline:
    """A step without a network, on the grid of this refinement, with time steps that are as much shorter."""

    step: Callable[..., nn.Module]
    refinement: int = 1
    advection: Callable | None = None

    def build(self) -> nn.Module:
        return self.step() if self.advection is None else self.step(self.refinement, self.advection)


def unrolled(num_steps: int, **options) -> Setup:
    """SOL-m: single steps for a tenth of the budget, then m."""
    curriculum = warm_up(num_steps) if num_steps > 1 else None
    return Setup(num_steps, batch_size=wake.SETTINGS["batch_size"], curriculum=curriculum, **options)


def rows() -> dict[str, Variant]:
    """The trainings, all with one learning rate; ``LEARNING_RATES`` has theirs."""
    found = {"ONE": Variant(unrolled(1)), "NOISE": Variant(unrolled(1, sigma=SIGMA)),
             "PRE": Variant(unrolled(1), precomputed=True),
             "PRE, after": Variant(unrolled(1), wake.after, precomputed=True)}
    found |= {f"SOL-{m}": Variant(unrolled(m)) for m in (2, 4, 8, 16)}
    return found | {
        "SOL-8, after": Variant(unrolled(8), wake.after),
        "NOG-8, after": Variant(unrolled(8, gradient=NoSolverGradient()), wake.after),
        "SOL-8, projected": Variant(unrolled(8), wake.projected),
        "predictor, SOL-8": Variant(unrolled(8), wake.predictor),
        "SOL-8, MacCormack": Variant(unrolled(8), advection=mac_cormack),
        "SOL-4, 48k weights": Variant(unrolled(4), width=36),
    }


# By e09_tuning, on validation data. Rows that were not tuned take the rate of the one that they resemble most.
LEARNING_RATES = {"ONE": 0.001, "SOL": 0.001, "SOL-8, after": 0.003, "NOG-8, after": 0.001, "predictor": 0.003}
OTHER_RATES = {"SOL-8, after": 0.001, "NOG-8, after": 0.003}  # each at the other's: to compare them at equal rates
SINGLE = ("ONE", "NOISE", "PRE", "PRE, after")  # steps


def tuned_as(name: str) -> str:
    """Whose learning rate a row has: a key of ``LEARNING_RATES``."""
    if name in SINGLE:
        return "ONE"
    return name if name in LEARNING_RATES else "predictor" if name.startswith("predictor") else "SOL"


def budgets(name: str, num_steps: int) -> tuple[int, ...]:
    """Equal updates for all; equal time for the rows whose chain and policy differ in the unroll length only.

    SOL-8 also has as many updates as ONE makes in that time, which takes eight times as long.
    """
    if name == "PRE, after":
        return (STEPS,)
    if name == "SOL-8":
        return UPDATES, STEPS
    plain = name in SINGLE or name in [f"SOL-{m}" for m in (2, 4, 8, 16)]
    return tuple(sorted({UPDATES, STEPS // num_steps})) if plain else (UPDATES,)


_ROWS = rows()
_VARIANTS = {name: at_rate(row, LEARNING_RATES[tuned_as(name)]) for name, row in _ROWS.items()}
for _name, _rate in OTHER_RATES.items():
    _VARIANTS |= at_rates({_name: _ROWS[_name]}, (_rate,))
_CHECKED = {"small": Variant(replace(_VARIANTS["SOL-2"].setup, curriculum=None), small=True)}
_BASELINES = {
    "reference": Baseline(metrics.Reference), "persistence": Baseline(Persistence), "P": Baseline(wake.solver),
    "P, 128x64": Baseline(wake.refined, 2, semi_lagrangian), "MacCormack": Baseline(wake.solver, 1, mac_cormack),
    "MacCormack, 128x64": Baseline(wake.refined, 2, mac_cormack)}
SPEC = Specification(
    id="e09", title="A corrected wake", chapter="08_wake_flow", variants={**_VARIANTS, **_CHECKED, **_BASELINES},
    seeds=SEEDS, budgets={**{name: budgets(name, row.setup.num_steps) for name, row in _VARIANTS.items()},
                          **dict.fromkeys(_CHECKED, (8,)), **dict.fromkeys(_BASELINES, (0,))},
    metrics={**metrics.METRICS, **TRAINING_METRICS},
    settings={**wake.SETTINGS, "small": SMALL}, baselines=frozenset(_BASELINES),
    checks=(Task("small", 8, SEEDS),), checked=("one_step.inside", "error.inside"))


def run(variant: str, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    """Train and judge one variant; every metric has one entry per seed."""
    row = SPEC.variants[variant]
    if isinstance(row, Baseline):
        return {**metrics.evaluate(row.build(), 1, row.refinement), **no_training()}
    if row.small:
        found, history = small(row, seeds, budget)
    else:
        step, history = fitted(row, seeds, budget)
        found = metrics.evaluate(step, len(seeds))
    return {**found, **training_metrics(history, budget, len(seeds))}


def small(row: Variant, seeds: Sequence[int], budget: int) -> tuple[dict[str, Tensor], History]:
    """(METRICS, history) of a training on small flows."""
    data = small_flows()
    step, history = fitted(row, seeds, budget, data)
    return metrics.short(step, len(seeds), data, SMALL["horizon"]), history


def small_flows() -> wake.Flows:
    """The first seconds of three flows that are set in motion at once."""
    reynolds = torch.tensor(SMALL["reynolds"])
    start = wake.grid(2).start(torch.full_like(reynolds, wake.SETTINGS["disturbance"]))
    return wake.observed(simulate(wake.reference_step(2), start, SMALL["steps"], reynolds=reynolds), reynolds)


def step_of(row: Variant, networks: nn.Module) -> nn.Module:
    """The chain of a variant."""
    return row.chain(networks, row.advection) if row.advection is not semi_lagrangian else row.chain(networks)


def fitted(row: Variant, seeds: Sequence[int], budget: int, data: wake.Flows | None = None,
           progress: bool = False) -> tuple[nn.Module, History]:
    """(step, history) after training the networks as the row says, on windows of the training's flows or of others."""
    step, data = step_of(row, wake.ensemble(seeds, row.width)), wake.seen("train") if data is None else data
    batches = wake.windows(wake.nudged(data) if row.precomputed else data, seeds, row.setup.num_steps)
    return step, train(row.setup, row.setup.objective(step), batches, budget, noise_seed=seeds[0], progress=progress)
