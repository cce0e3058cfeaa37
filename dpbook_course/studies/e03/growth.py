"""E03: how the error of a trained step grows, and at which states it is made.   Chapter: 03_unrolling.

Hybrids of the Kuramoto-Sivashinsky problem, trained on states of different origin, run freely. Two questions: does the
error grow at the rate of the flow's chaos (``e03_perturbations``); and is a network as good at the states that it
reaches itself as at those of the reference? The second is asked by restarting the reference solver from the network's
states.

The states that training sees come from the reference (ONE); from the network itself, by unrolling, with the gradient
through the steps (WIG-8) or cut between them, so that only the states differ from one-step training (FRESH-8); or from
the unrolled steps of *another* network, which can be computed and stored before training (STORED-8). FRESH, STORED and
"ONE, batch 128" see equally many states in each update, with equal losses.

Source: list2025, koehler2024.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from dpbook_utils import evaluation
from dpbook_utils.diagnostics import lyapunov_exponents
from dpbook_utils.gradients import Truncated
from dpbook_utils.history import History
from dpbook_utils.objectives import from_batch, from_solver, parameters_of
from dpbook_utils.rollout import Rollout
from dpbook_utils.setups import Setup, train, warm_up

from ...experiments.spec import Replication, Specification, Task
from ...problems import kuramoto_sivashinsky as ks
from .perturbations import log_slope

WIDTH, NUM_BLOCKS, BUDGET = 16, 4, 1500
UNROLLED, BATCH = 8, 16  # steps that own states are taken from; windows per update
PLACES = (1, 4, 16, 64)  # steps after which states are compared
CURVE, SETTLED, LARGE = 100, 10, 0.3  # the error's growth is measured from step 10 until the error is this large
REGION = "inside"
ANOTHER = 100  # from the seed of a network to that of the one beside it


@dataclass(frozen=True)
class Variant:
    """A set-up and where its states come from: the ``reference``, ``own`` steps, or those of ``another`` network."""

    setup: Setup
    states: str = "reference"


_ONE = Setup(learning_rate=3e-3)  # the best rate in e04_tuning
_UNROLL = replace(_ONE, num_steps=UNROLLED, curriculum=warm_up(UNROLLED))
_VARIANTS = {
    "ONE": Variant(_ONE),
    "ONE, batch 128": Variant(replace(_ONE, batch_size=UNROLLED * BATCH)),
    "STORED-8": Variant(_ONE, "another"),
    "FRESH-8": Variant(replace(_UNROLL, gradient=Truncated(1)), "own"),
    "WIG-8": Variant(_UNROLL),
}

SPEC = Specification(
    id="e03", title="Error growth and shifted states", chapter="03_unrolling", variants=_VARIANTS,
    seeds=(0, 1, 2, 3, 4, 5), budgets=dict.fromkeys(_VARIANTS, (BUDGET,)),
    metrics={
        "one_step": "relative L2 error after one step from reference states",
        "own_error": "relative L2 error of one step from the network's own states after 1, 4, 16 and 64 steps, against "
                     "the reference solver restarted there; geometric mean, at most 2",
        "reference_error": "the same from the reference's states after as many steps",
        "distance": "relative distance of own from reference states at those steps, geometric mean, at most 2",
        "disagreement": "relative distance of own states from those of the next seed's network, likewise",
        "curve": "relative L2 error at steps 1 ... 100, geometric mean, at most 2",
        "growth": "slope of ln(error) from step 10 until the error is 0.3 [1/step]; NaN without ten such steps",
        "exponent": "leading Lyapunov exponent of the reference on these trajectories, steps 11 ... 60 [1/step]",
        "decorrelation": "mean first step with correlation below 0.8, at most 401",
        "diverged_at": "update at which the training diverged; -1 for none"},
    settings={**ks.settings, "width": WIDTH, "num_blocks": NUM_BLOCKS, "unrolled": UNROLLED, "places": PLACES,
              "region": REGION, "settled": SETTLED, "large": LARGE},
    replication=Replication(dict.fromkeys(_VARIANTS, (BUDGET,))),
    checks=tuple(Task(name, 8, (0, 1)) for name in ("ONE", "STORED-8", "FRESH-8")), checked=("one_step",))


def run(variant: str, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    """Train and judge one variant; every metric has one entry per seed."""
    trained = (*seeds, seeds[0] + ANOTHER) if len(seeds) == 1 else seeds  # two, for their states to disagree
    step, history = fitted(SPEC.variants[variant], trained, budget)
    found = {**judge(step, len(trained)), "diverged_at": history.diverged_at}
    return {name: values[:len(seeds)] for name, values in found.items()}


def fitted(row: Variant, seeds: Sequence[int], budget: int, progress: bool = False) -> tuple[nn.Module, History]:
    """(step, history) after training the networks as the row says."""
    step = ks.hybrid(ks.ensemble(seeds, WIDTH, NUM_BLOCKS))
    batches = ks.windows(seeds, UNROLLED, row.setup.batch_size)
    if row.states == "another":
        other, _ = fitted(_VARIANTS["ONE"], [s + ks.batch_seed for s in seeds], budget, progress)
        batches = Visited(other, batches, UNROLLED)
    targets = from_batch if row.states == "reference" else from_solver(ks.reference_solver())
    return step, train(row.setup, row.setup.objective(step, targets), batches, budget, progress=progress)


class Visited:
    """Batches of the states that a finished step visits in ``num_steps`` steps from the windows' first states.

    Nothing depends on the network in training: all of it could be stored beforehand.
    Shapes: batches[k] holds members x (windows * num_steps) states, the parameters repeated.
    """

    def __init__(self, step: nn.Module, windows, num_steps: int):
        self.step, self.windows, self.num_steps = step, windows, num_steps

    @torch.no_grad()
    def __getitem__(self, k: int) -> Mapping[str, Tensor]:
        batch = self.windows[k]
        parameters = parameters_of(batch)
        later = Rollout(self.step, self.num_steps - 1)(batch["u0"], **parameters)
        states = torch.cat([batch["u0"][:, None], later], 1).flatten(0, 1)
        repeated = {name: value.repeat_interleave(self.num_steps, 0) for name, value in parameters.items()}
        return {"u0": states, **repeated}


def judge(step: nn.Module, num_seeds: int) -> dict[str, Tensor]:
    """The metrics of a step with ``num_seeds`` members on the test trajectories."""
    data = ks.trajectories(REGION)
    prediction, reference = ks.predict(step, data)
    error = evaluation.relative_l2(prediction, reference)
    lengths = torch.cat([data.length] * num_seeds)
    own, right, distance, disagreement = [], [], [], []
    for place in PLACES:
        u, r = prediction[:, place - 1], reference[:, place - 1]
        other = u.unflatten(0, (num_seeds, -1)).roll(-1, 0).flatten(0, 1)
        own.append(one_step_error(step, u, lengths))
        right.append(one_step_error(step, r, lengths))
        distance.append(error[:, place - 1])
        disagreement.append((u - other).flatten(1).norm(dim=1) / r.flatten(1).norm(dim=1))
    decorrelated = evaluation.time_to_decorrelation(evaluation.correlation(prediction, reference),
                                                    ks.decorrelation)
    curve = _mean(error[:, :CURVE].T, num_seeds)
    return {"one_step": _mean(error[:, :1].T, num_seeds)[:, 0], "own_error": _mean(own, num_seeds),
            "reference_error": _mean(right, num_seeds), "distance": _mean(distance, num_seeds),
            "disagreement": _mean(disagreement, num_seeds), "curve": curve,
            "growth": torch.tensor([growth(one) for one in curve], dtype=torch.float64),
            "exponent": exponent().expand(num_seeds),
            "decorrelation": decorrelated.double().unflatten(0, (num_seeds, -1)).mean(1)}


@torch.no_grad()
def one_step_error(step: nn.Module, u: Tensor, lengths: Tensor) -> Tensor:
    """(batch,): relative L2 distance of one step from that of the reference solver, both from u; inf if not finite."""
    usable = torch.isfinite(u).flatten(1).all(1)
    start = u.where(usable[:, None, None], torch.zeros_like(u))
    found, right = step(start, length=lengths), ks.reference_solver()(start, length=lengths)
    error = (found - right).flatten(1).norm(dim=1) / right.flatten(1).norm(dim=1).clamp(min=1e-30)
    return error.where(usable, math.inf).nan_to_num(nan=math.inf, posinf=math.inf)


def growth(curve: Tensor) -> float:
    """Least-squares slope of ln(error) over the steps from ``SETTLED`` on in which the error is below ``LARGE``."""
    above = (curve > LARGE).nonzero()
    last = int(above[0, 0]) if len(above) else len(curve)
    logs = curve[SETTLED - 1:last].log()
    if len(logs) < 10:
        return math.nan
    return log_slope(logs)


def exponent() -> Tensor:
    """Leading Lyapunov exponent of the reference solver, the mean over the test trajectories."""
    data = ks.trajectories(REGION)
    found = lyapunov_exponents(ks.reference_solver(), data.states[:, 0].double(), 50, warmup=SETTLED,
                               length=data.length.double())
    return found.mean()


def _mean(values, num_seeds: int) -> Tensor:
    """Geometric mean over each seed's samples, each at most 2: places x (seeds * samples) -> (seeds, places)."""
    largest = ks.largest_error
    values = torch.stack(list(values)).double().nan_to_num(nan=largest).clamp(min=1e-12, max=largest)
    return values.log().unflatten(1, (num_seeds, -1)).mean(2).exp().T
