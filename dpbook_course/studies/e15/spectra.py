"""E15, second part: the singular values of the Jacobian, and what an update costs.   Chapter: 14_better_updates.

The Jacobian is that of the residuals with respect to the weights, on one batch, before a training and after a budget of
updates with Levenberg-Marquardt. For the corrector it is looked at over several lengths of the unroll, and what the
Jacobian and each solve take is measured for networks of several widths: when does second order stop paying?
"""

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from dpbook_utils.least_squares import GaussNewton, LevenbergMarquardt, Residuals, jacobian, loss_of
from dpbook_utils.networks import ConvResNet
from dpbook_utils.setups import Setup
from dpbook_utils.update import TracedGradients

from ...experiments.spec import Specification, Task
from ...problems import coarse_burgers
from ...problems.data_sets import data_set
from .cases import CORRECTOR, UNROLLED, case
from .design import BATCH, CASES, HYBRID, JACOBIAN, SEEDS
from .trainings import SPEC as TRAININGS
from .trainings import trained

PLACES = 24  # of the singular values, evenly spaced in the logarithm of their number
LENGTHS = (1, 2, 3, 6, 12)
WIDTHS = (4, 8, 16)
SIZES = (4, 16, 32)  # batches
TRAINED = 20

_VARIANTS = {
    **{f"{name}, {when}": (name, UNROLLED, when) for name in CASES for when in ("untrained", "trained")},
    **{f"{HYBRID}, m={m}": (HYBRID, m, "untrained") for m in LENGTHS},
    **{f"{HYBRID}, width {width}, batch {size}": (width, size) for width in WIDTHS for size in SIZES}}
_TRAINED = {name for name, row in _VARIANTS.items() if row[-1] == "trained"}
SPEC = Specification(
    id="e15_spectra", title="Singular values of the Jacobian", chapter="14_better_updates", variants=_VARIANTS,
    seeds=SEEDS[:4], budgets={name: (TRAINED if name in _TRAINED else 1,) for name in _VARIANTS},
    metrics={"sigma": "24 singular values from the largest to the smallest, evenly spaced in the logarithm of their "
                      "number, divided by the largest",
             "largest": "the largest singular value", "loss": "of the batch",
             "weights": "number of weights", "residuals": "number of residuals of a batch",
             "jacobian": "processor time of the Jacobian [s]",
             "damped": "that of the solve of Levenberg-Marquardt [s]",
             "inverse": "that of the solve of Gauss-Newton or half-inverse gradients [s]",
             "gradient": "that of a traced gradient, or NaN [s]"},
    settings={**TRAININGS.settings, "places": PLACES, "trained": TRAININGS.variants[f"{HYBRID}, {JACOBIAN[-1]}"]},
    checks=(Task(f"{HYBRID}, m=3", 1, (0, 1)), Task("linear oscillators, untrained", 1, (0, 1))),
    checked=("largest", "loss"))


def run(variant: str, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    """One entry per seed, each with its own data."""
    found = []
    for seed in seeds:
        with data_set(seed):
            found.append(judged(SPEC.variants[variant], seed, budget))
    return {name: torch.stack([torch.as_tensor(one[name], dtype=torch.float64) for one in found])
            for name in SPEC.metrics}


def judged(row: tuple, seed: int, budget: int) -> dict:
    residuals, batch = prepared(row, seed, budget)
    (r, J), seconds = timed(lambda: jacobian(residuals, **batch))
    update, inverse = LevenbergMarquardt(residuals), GaussNewton(residuals)
    _, damped = timed(lambda: update.direction(r.flatten(), J))
    _, solved = timed(lambda: inverse.direction(r.flatten(), J))
    gradient = float("nan")
    if isinstance(residuals, Residuals):
        gradients = TracedGradients(residuals.objective)
        _, gradient = timed(lambda: gradients(batch))
    sigma = torch.linalg.eigvalsh(J @ J.T if J.shape[0] < J.shape[1] else J.T @ J).clamp(min=0).sqrt().flip(0)
    places = torch.logspace(0, torch.tensor(float(len(sigma))).log10(), PLACES).round().long().clamp(max=len(sigma))
    return {"sigma": sigma[places - 1] / sigma[0], "largest": sigma[0], "loss": loss_of(r), "weights": J.shape[1],
            "residuals": J.shape[0], "jacobian": seconds, "damped": damped, "inverse": solved, "gradient": gradient}


def prepared(row: tuple, seed: int, budget: int):
    """(residuals, batch)."""
    if len(row) == 2:
        width, size = row
        network = ConvResNet(1, 1, 1, **{**CORRECTOR, "width": width}, seed=seed,
                             conditions={"viscosity": coarse_burgers.condition})
        problem = case(HYBRID)
        return problem.residuals(network), problem.batches(seed, size)(0)
    name, num_steps, when = row
    problem, size = case(name), BATCH[name][1]
    if when == "trained":
        network, _ = trained(TRAININGS.variants[f"{name}, {JACOBIAN[-1]}"], seed, budget)
    else:
        network = problem.network(seed)
    if name != HYBRID:
        return problem.residuals(network), problem.batches(seed, size)(budget)
    objective = Setup(num_steps).objective(coarse_burgers.hybrid(network))
    return Residuals(objective), coarse_burgers.windows([seed], max(LENGTHS), size)[budget]


def timed(compute):
    """(result, processor time of the faster of two computations)."""
    seconds = []
    for _ in range(2):
        start = time.process_time()
        result = compute()
        seconds.append(time.process_time() - start)
    return result, min(seconds)
