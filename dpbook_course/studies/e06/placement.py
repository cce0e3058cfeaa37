"""E06: where along the chain does the loss sit?   Chapter: 05_loss_placement.

Unrolls of eight steps that differ in the places of the loss alone, each with the full gradient (WIG) and without the
solvers' (NOG). All begin with short unrolls for a tenth of their updates: from untrained weights some seeds blow up
within the first two long ones. With P first these are one-step trainings, the same for all placements. Two orders:

P, then N: recorded after N, the end of the step.
    every step, sparse (steps 4 and 8), terminal (step 8): against the reference. Every step and terminal are variants
    of E04, which has their records; terminal NOG is PUSHFORWARD-8 there, because the last step alone reaches N.
    residual (every step): against the reference solver applied to the state before the step. It needs no stored
    trajectory. WIG differentiates that solver too, NOG neither of the two.

N, then P: N prepares the state that P starts from.
    after P: against the reference. NOG has no variant, because no path leads from these places to N without P.
    after N: the state has not passed the step's P yet, so it is one step behind and compared with the reference of the
    step before; of N at the first step this asks to leave a reference state as it is. It is tested where it is trained,
    after N. The state that P would turn into the reference's next one is no target: P damps some perturbations below
    rounding (``tests/test_e06_loss_placement.py``), so that it cannot be found.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from dpbook_utils.coupling import Additive
from dpbook_utils.gradients import FullGradient, NoSolverGradient
from dpbook_utils.history import History
from dpbook_utils.losses import TrajectoryLoss, at_steps, final_step
from dpbook_utils.objectives import Objective, from_batch, from_solver
from dpbook_utils.rollout import Rollout, Sequential
from dpbook_utils.setups import Setup, train, warm_up

from ...experiments.spec import Replication, Specification, Task
from ...experiments.trainings import TRAINING_METRICS, training_metrics
from ...experiments.tuning import Tuning, at_rate
from ...problems import kuramoto_sivashinsky as ks
from .design import BUDGETS, SEEDS

NUM_STEPS = 8
SPARSE = (4, 8)
WIDTH, NUM_BLOCKS = 16, 4
CHECK_BUDGET = 20


def sparse(num_steps: int) -> Tensor:
    """The mean over steps 4 and 8; the last step of a shorter roll-out."""
    return at_steps(*[k for k in SPARSE if k <= num_steps] or [num_steps])(num_steps)


def from_step_before(u0: Tensor, trajectory: Tensor, reference: Tensor | None, parameters: dict) -> Tensor:
    """The reference one step earlier, the initial state first: for states recorded before P of their step."""
    return torch.cat([u0.unsqueeze(1), from_batch(u0, trajectory, reference, parameters)[:, :-1]], 1)


@dataclass(frozen=True)
class Variant:
    """One placement of the loss.

    Attributes:
        network_first: "N, then P" instead of "P, then N".
        recorded_after: "N" or "P".
        residual: compare with the reference solver applied to the chain's own states.
    """

    setup: Setup
    network_first: bool = False
    recorded_after: str = "N"
    residual: bool = False


def rows() -> dict[str, Variant]:
    """The placements, all with one learning rate; ``LEARNING_RATES`` has the tuned ones."""
    def unrolled(shortest: int, **options) -> Setup:
        return Setup(NUM_STEPS, curriculum=warm_up(NUM_STEPS, shortest), **options)

    found = {}
    for policy, gradient in (("WIG", FullGradient()), ("NOG", NoSolverGradient())):
        setup = unrolled(1, gradient=gradient)
        found |= {f"sparse, {policy}": Variant(replace(setup, placement=sparse)),
                  f"residual, {policy}": Variant(setup, residual=True),
                  # After one step it has not seen P yet.
                  f"N first, after N, {policy}": Variant(unrolled(2, gradient=gradient), network_first=True)}
    return found | {
        "N first, after P, WIG": Variant(unrolled(1), True, "P"),
        "N first, after P, terminal, WIG": Variant(unrolled(1, placement=final_step), True, "P")}


# By e06_tuning: the best of three on validation data.
LEARNING_RATES = {
    "sparse, WIG": 0.003, "residual, WIG": 0.003, "N first, after N, WIG": 0.01, "N first, after P, WIG": 0.003,
    "N first, after P, terminal, WIG": 0.003, "sparse, NOG": 0.001, "residual, NOG": 0.003,
    "N first, after N, NOG": 0.001,
}


_VARIANTS = {name: at_rate(row, LEARNING_RATES[name])
             for name, row in rows().items()}
SPEC = Specification(
    id="e06", title="Where the loss sits", chapter="05_loss_placement", variants=_VARIANTS, seeds=SEEDS,
    budgets=dict.fromkeys(_VARIANTS, BUDGETS),
    metrics={**ks.metrics, **TRAINING_METRICS},
    settings={**ks.settings, "longest": NUM_STEPS, "network": (WIDTH, NUM_BLOCKS)},
    replication=Replication({f"{place}, {policy}": BUDGETS
                             for place in ("sparse", "residual") for policy in ("WIG", "NOG")}),
    checks=tuple(Task(name, CHECK_BUDGET, (0, 1)) for name in ("residual, WIG", "N first, after P, WIG")),
    checked=("one_step.inside", "one_step.below", "one_step.above"))


def run(variant: str, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    """Train and judge one variant; every metric has one entry per seed."""
    step, history = fitted(SPEC.variants[variant], seeds, budget)
    return {**ks.evaluate(step, len(seeds)), **training_metrics(history, budget, len(seeds))}


def objective(row: Variant, networks: nn.Module) -> Objective:
    """The chain, the places of the loss and what it compares with there."""
    chain = ks.hybrid(networks)
    place, targets = -1, from_batch
    if row.network_first:
        chain = Sequential(Additive(networks), ks.coarse_solver())
        place = 1 if row.recorded_after == "P" else 0
        targets = from_batch if row.recorded_after == "P" else from_step_before
    elif row.residual:
        cut = isinstance(row.setup.gradient, NoSolverGradient)
        targets = from_solver(ks.reference_solver(), detach=cut)
    rollout = Rollout(chain, row.setup.num_steps, gradient=row.setup.gradient, record_after=place)
    return Objective(rollout, TrajectoryLoss(row.setup.placement), targets)


def tested_step(row: Variant, networks: nn.Module) -> Sequential:
    """The step whose states are compared with the reference: it ends where the loss was."""
    if row.network_first and row.recorded_after == "P":
        return Sequential(Additive(networks), ks.coarse_solver())
    return ks.hybrid(networks)


def fitted(row: Variant, seeds: Sequence[int], budget: int, progress: bool = False) -> tuple[nn.Module, History]:
    """(step, history) after training the networks as the row says."""
    networks = ks.ensemble(seeds, WIDTH, NUM_BLOCKS)
    batches = ks.windows(seeds, NUM_STEPS, row.setup.batch_size)
    history = train(row.setup, objective(row, networks), batches, budget, noise_seed=seeds[0], progress=progress)
    return tested_step(row, networks), history


def validation_error(row, seeds: Sequence[int], budget: int) -> Tensor:
    """(seeds,): after a training."""
    step, _ = fitted(row, seeds, budget)
    return ks.validation_error(step, len(seeds))


TUNING = Tuning(SPEC, rows(), validation_error, "mean relative L2 error over 12 steps, on validation data", budget=750,
                check=Task("sparse, WIG, rate 0.001", 40, (100, 101)))
