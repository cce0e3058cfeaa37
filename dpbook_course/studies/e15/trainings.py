"""E15: every case trained by every method, at equal time and at equal solver calls.   Chapter: 14_better_updates.

A call is one step of the solver for one sample; a backward sweep through it counts as two, as in E14. Time is that of
the processor on one thread, without the batches and the judging.
"""

import math
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from dpbook_utils.least_squares import GaussNewton, HalfInverse, LevenbergMarquardt, NoUpdate, each, loss_of
from dpbook_utils.setups import cosine

from ...experiments.spec import Specification, Task
from ...experiments.tuning import Tuning, at_rate
from ...problems import coarse_burgers, rod
from ...problems.data_sets import data_set
from .cases import CORRECTOR, ERRORS, EVERY, HEAT, HELD_OUT, TRAINING, UNROLLED, Case, case
from .design import BATCH, FACTORS, HYBRID, JACOBIAN, SEEDS, USUAL, Row, budgets, methods, rows
from .oscillators import DURATION, FORCE, LARGEST, LAYERS, NUM_STEPS

CHECK_BUDGET = 4
BACKWARD = 2  # what a backward sweep counts
DAMPING = 1e-3  # of the inverse physics, in units of the mean of sigma^2

# The best of the six, in units of design.USUAL, in the order of its methods; a corrector has no scale-invariant update.
_BEST = {"linear oscillators": (10.0, 3.0, 10.0, 10.0, 3.0, 10.0, 0.3),
         "nonlinear oscillators": (10.0, 1.0, 10.0, 0.1, 3.0, 0.3, 10.0),
         "heat": (3.0, 1.0, 3.0, 3.0, 3.0, 0.3, 30.0), HYBRID: (1.0, 30.0, 10.0, 10.0, 1.0, 3.0)}
LEARNING_RATES = {f"{name}, {method}": rate for name, best in _BEST.items()
                  for method, rate in zip(methods(name), best)}

_VARIANTS = {name: at_rate(row, LEARNING_RATES[name]) for name, row in rows().items()}
SPEC = Specification(
    id="e15", title="Better updates than plain gradients", chapter="14_better_updates", variants=_VARIANTS, seeds=SEEDS,
    budgets={name: budgets(row) for name, row in _VARIANTS.items()},
    metrics={"loss": "the training's loss on test data", "error": ERRORS,
             "seconds_per_update": "processor time of an update, mean [s]",
             "calls_per_update": "solver steps of one sample, a backward sweep as two, mean",
             "diverged_at": "update that could not be made; -1 for none"},
    settings={"data": "of each seed its own", "usual": USUAL, "batch": BATCH, "heat": HEAT,
              "burgers": coarse_burgers.settings,
              "rod": (rod.NUM_POINTS, rod.NUM_TEST, rod.TEST_SEED, rod.DT, rod.NUM_STEPS, rod.DIFFUSIVITY),
              "oscillators": (LAYERS, FORCE, DURATION, NUM_STEPS, LARGEST, TRAINING, HELD_OUT),
              "corrector": CORRECTOR, "num_steps": UNROLLED, "every": EVERY, "damping": DAMPING},
    checks=tuple(Task(name, CHECK_BUDGET, (0, 1)) for name in (
        "linear oscillators, Levenberg-Marquardt", "heat, Adam", f"{HYBRID}, Adam", f"{HYBRID}, Levenberg-Marquardt")),
    checked=("loss", "error"))


def run(variant: str, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    """Train one seed after the other, each on its own data."""
    row, judged = SPEC.variants[variant], []
    problem = case(row.case)
    for seed in seeds:
        with data_set(seed):
            network, spent = trained(row, seed, budget)
            judged.append({"loss": held_out_loss(problem, network, "test"), "error": told(problem.error(network)),
                           **spent})
    return {name: torch.tensor([one[name] for one in judged], dtype=torch.float64) for name in SPEC.metrics}


def held_out_loss(problem: Case, network: nn.Module, name: str) -> float:
    with torch.no_grad():
        return told(loss_of(problem.residuals(network)(**problem.held_out(name))))


def told(error: float) -> float:
    """What is no number is worse than all others."""
    return math.inf if math.isnan(error) else error


def trained(row: Row, seed: int, budget: int) -> tuple[nn.Module, dict[str, float]]:
    """(network, what its training took)."""
    problem = case(row.case)
    network, batches = problem.network(seed), problem.batches(seed, row.batch_size)
    seconds, calls, diverged_at = [], [], -1
    update = updates(row, problem, network, budget, batches)
    for k in range(budget):
        batch, before = batches(k), [w.detach().clone() for w in network.parameters()]
        start = time.process_time()
        try:
            calls.append(update(batch))
            seconds.append(time.process_time() - start)
            if not all(torch.isfinite(w).all() for w in network.parameters()):
                raise NoUpdate("a weight is not finite")
        except NoUpdate:
            diverged_at = k
            with torch.no_grad():
                for w, old in zip(network.parameters(), before):
                    w.copy_(old)
            break
    timed = seconds[1:] or seconds or [math.nan]  # in the first one solvers are recorded
    return network, {"seconds_per_update": sum(timed) / len(timed), "calls_per_update": sum(calls) / max(1, len(calls)),
                     "diverged_at": diverged_at}


def updates(row: Row, problem: Case, network: nn.Module, budget: int, batches: Callable[[int], dict]
            ) -> Callable[[dict], float]:
    """One update of the network with a batch; it returns the solver calls that it took."""
    steps = row.batch_size * problem.num_steps
    if row.method in JACOBIAN:
        kinds = {"half-inverse": HalfInverse, "Gauss-Newton": GaussNewton, "Levenberg-Marquardt": LevenbergMarquardt}
        update = kinds[row.method](problem.residuals(network), row.rate)
        forward = 2 + (row.method == "Levenberg-Marquardt")

        def with_jacobian(batch: dict) -> float:
            update(**batch)
            return steps * (forward + BACKWARD * problem.num_residuals)

        return with_jacobian
    if row.method == "L-BFGS":
        return fixed_batch(row, problem, network, batches(0), steps)
    optimizer = (torch.optim.SGD(network.parameters(), lr=row.rate, momentum=0.9) if row.method == "SGD"
                 else torch.optim.Adam(network.parameters(), lr=row.rate))
    schedule = cosine(optimizer, budget)
    is_physics = row.method == "scale-invariant"  # which is inverted
    gradients = (scale_invariant(problem, network, batches(0)) if is_physics
                 else problem.gradients(network, batches(0)))
    backward = BACKWARD * (problem.num_residuals if is_physics else 1)

    def first_order(batch: dict) -> float:
        if not torch.isfinite(gradients(batch)).all():
            raise NoUpdate("the loss is not finite")
        optimizer.step()
        schedule.step()
        return steps * (1 + backward)

    return first_order


def fixed_batch(row: Row, problem: Case, network: nn.Module, batch: dict, steps: int) -> Callable[[dict], float]:
    """L-BFGS, whose curvature means something on one and the same batch alone."""
    optimizer = torch.optim.LBFGS(network.parameters(), lr=row.rate, max_iter=1, max_eval=25, tolerance_grad=0,
                                  tolerance_change=0, history_size=20, line_search_fn="strong_wolfe")
    gradients, evaluations = problem.gradients(network, batch), []

    def closure() -> Tensor:
        evaluations.append(gradients(batch))
        return evaluations[-1]

    def update(_: dict) -> float:
        evaluations.clear()
        optimizer.step(closure)
        if not all(math.isfinite(float(loss)) for loss in evaluations[:1]):
            raise NoUpdate("the loss is not finite")
        return steps * len(evaluations) * (1 + BACKWARD)

    return update


def scale_invariant(problem: Case, network: nn.Module, first: dict) -> Callable[[dict], Tensor]:
    r"""The scale-invariant physics update (holl2022sip): a Newton step of the physics alone, then a gradient.

        dx = - J^T (J J^T + lambda I)^(-1) r,    J = dr/dx of each sample,    L = |x(w) - (x + dx)|^2 / 2

    so that the network is drawn to where the physics' linearisation puts its output, whatever the physics' scales.
    """
    def output(batch: dict) -> Tensor:
        return network(batch["x0"] if "x0" in batch else batch["u0"])

    with torch.no_grad():
        problem.physics(output(first), first)  # records the solver

    def gradients(batch: dict) -> Tensor:
        network.zero_grad()
        x = output(batch)
        r, J = each(lambda state: problem.physics(state, batch), x.detach())
        square = J @ J.mT
        damping = DAMPING * square.diagonal(dim1=1, dim2=2).mean(1)
        square = square + damping[:, None, None] * torch.eye(r.shape[1], dtype=r.dtype)
        dx = -(J.mT @ torch.linalg.solve(square, r.unsqueeze(2))).view_as(x)
        x.backward(-dx / len(x))
        return r.square().sum(1).mean()

    return gradients


def validation_error(row: Row, seeds: Sequence[int], budget: int) -> Tensor:
    """(seeds,): the loss on validation data after a training; infinite where it diverged."""
    problem, found = case(row.case), []
    for seed in seeds:
        with data_set(seed):
            network, spent = trained(row, seed, budget)
            lost = spent["diverged_at"] >= 0
            found.append(math.inf if lost else held_out_loss(problem, network, "validation"))
    return torch.tensor(found, dtype=torch.float64)


def cost(variant: str, budget: int) -> float:
    row = SPEC.variants[variant]
    return budget / budgets(row)[-1] * (2 if row.case == HYBRID else 1)


TUNING = Tuning(SPEC, rows(), validation_error, "loss on validation data", budget=lambda row: budgets(row)[-1],
                check=Task(f"{HYBRID}, Adam, rate 1", CHECK_BUDGET, (100, 101)), grid=FACTORS)
