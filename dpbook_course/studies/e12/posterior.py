r"""E12, further: a posterior, and how often it is right.   Chapter: 11_forward_and_inverse.

    y_j = y + sigma e_j,   z_j = argmin_z  |sensors(u(z)) - y_j|^2 / (2 sigma^2) + |z - p_j|^2 / 2,   e_j, p_j ~ N(0, I)

A search gives a point. What noise and partial observation leave open is seen when it is repeated with what was drawn:
y_j are the observations with noise once more, p_j a draw from the prior. Where the sensors are linear in z, the z_j are
a sample of the posterior (*randomised maximum likelihood*). If the true value is one more draw from it, it lies between
the smallest and the largest of 19 in 90 % of cases, and between the fifth and the fifteenth in 50 %: *coverage*, with
nothing else assumed. *Laplace's approximation* is beside it, (I + J^T J / sigma^2)^-1 around the point found with y
itself and p = 0.

The prior is that of the instances as far as a Gaussian can be, so that of all that is believed only the dynamics may be
wrong: z are six coefficients of the waves 1 to 3, with variance 1/3, and the viscosity's unknown, with the mean and
variance of the training range. Every model has the same draws. A seed is a network and 8 of the instances of E12.

Stated before any run, for the 90 % intervals of the ensemble over the cells of the initial state, means over eight
seeds with 95 % intervals. (A pilot on held-out instances gave the sizes; in it widths and misfits were seen, and no
coverage.) The fine solver is *calibrated* on a set of observations if the interval of its coverage lies within 80 to
97 %. Expected: it is, on both, and Laplace's coverage is within 5 points of the ensemble's. P is *overconfident*: noise
is all that it allows for, its own error is not, so that its coverage lies wholly below 80 %; that of WIG-8 is above P's
and below the fine solver's ("as claimed" by the exact test on ranks of the paired differences), and that of ONE above
P's. The widths tell nothing of this: those of P and WIG-8 are within 25 % of the fine solver's. Contradicted, each for
itself, by an interval or a reading on the other side, or by "no difference" where one is expected.

Source: oliver1996.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Normal

from dpbook_utils import arguments
from dpbook_utils.least_squares import each

from ...experiments.spec import Specification, Task
from ...experiments.trainings import TRAINING_METRICS
from ...problems import coarse_burgers as problem
from ...problems.inversion import Minimum, minimise
from . import design
from .backward import CHECK_UPDATES, FEW, LONGEST, prepared
from .design import NOISE, UPDATES, Physics, Trained
from .instances import Instances, Model, error, instances, sensors, together, unknown, waves

SEEDS = tuple(range(8))
NUM_INSTANCES = 8  # of a seed
MEMBERS = 19
LEVELS = {0.5: 5, 0.9: 1}  # nominal: between which smallest and which largest of the members
EVALUATIONS = 48  # of a search, at most
FIRST_SEED = 210_000  # of the draws
MODES = problem.modes
SPREAD = math.sqrt(1 / MODES)  # of a coefficient: 2 MODES of them make a mean square of 1 [m/s]

# Of the last unknown, to first order in ln nu, which is uniform over the training range.
MIDDLE = float(unknown(torch.tensor(math.sqrt(problem.train[0] * problem.train[1]), dtype=torch.float64)))
RANGE = 4 * math.log(problem.train[1] / problem.train[0]) / math.sqrt(12) / math.log(
    design.VISCOSITIES[1] / design.VISCOSITIES[0])

# Where the numbers of ``shown`` stand.
QUANTITIES = {"cells": slice(0, problem.num_points), **{
    f"wave {k}": slice(problem.num_points + 2 * k - 2, problem.num_points + 2 * k) for k in range(1, MODES + 1)},
    "viscosity": slice(problem.num_points + 2 * MODES, None)}


def rows(evaluations: int = EVALUATIONS) -> dict[str, Physics | Trained]:
    """P and the fine solver of E12, and its hybrids."""
    solvers = {name: Physics(row.num_points, row.num_substeps, evaluations) for name, row in design.physics().items()
               if name in ("P", "fine")}
    return solvers | {name: Trained(row.setup, evaluations=evaluations) for name, row in design.trained().items()
                      if row.with_solver}


CHECKED = "WIG-8, 4 evaluations"
_VARIANTS = {**rows(), CHECKED: rows(FEW)["WIG-8"]}
_TEXTS = {
    "ensemble": "fraction of the true values within the 50 and the 90 % interval of 19 members, (quantities, 2)",
    "Laplace": "the same for the intervals of Laplace's approximation",
    "width": "of the 90 % interval of the members, mean, (quantities,) [m/s]; of the viscosity in units of the prior",
    "width_Laplace": "of Laplace's",
    "error": "relative L2 error of the initial state of the most likely point, mean",
    "misfit": "root mean square distance of sensors and observations there, in units of the noise",
    "evaluations": "of the misfit and its gradient until a search stops, mean over members",
    "stopped": "fraction of searches that the stopping rule ended",
}
SPEC = Specification(
    id="e12_posterior", title="What a search does not know", chapter="11_forward_and_inverse", variants=_VARIANTS,
    seeds=SEEDS,
    budgets={name: (0,) if isinstance(row, Physics) else (CHECK_UPDATES,) if name == CHECKED else (UPDATES,)
             for name, row in _VARIANTS.items()},
    metrics={**{f"{name}.{task}": f"{text}; observed: {task}" for task in design.DECIDING
                for name, text in _TEXTS.items()}, **TRAINING_METRICS},
    settings={**problem.settings, "longest": LONGEST, "tasks": {task: design.TASKS[task] for task in design.DECIDING},
              "noise": NOISE, "instances": NUM_INSTANCES, "of": design.NUM_TESTED, "members": MEMBERS,
              "levels": tuple(LEVELS.items()), "spread": SPREAD, "viscosity": (MIDDLE, RANGE),
              "viscosities": design.VISCOSITIES, "waves": design.WAVES, "tolerance": design.TOLERANCE,
              "first_seed": (design.FIRST_SEED["tested"], FIRST_SEED), "quantities": tuple(QUANTITIES)},
    checks=(Task(CHECKED, CHECK_UPDATES, (0,)),),
    checked=("error.two times", "misfit.two times", "misfit.late", "width.late"))


class Members(NamedTuple):
    """What the searches of some instances found.

    Attributes:
        point: (instances, unknowns), with the observations as they are.
        drawn: (instances, members, unknowns).
        found: of all of them, instance by instance, the point first.
    """

    point: Tensor
    drawn: Tensor
    found: Minimum


def run(variant: str, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    """Train, draw and judge; every metric has one entry per seed."""
    row = SPEC.variants[variant]
    models, training = prepared(row, seeds, budget)
    found = [{f"{name}.{task}": value for task in design.DECIDING for name, value in judged(
        model, Instances(*(part[:NUM_INSTANCES] for part in instances(seed, task))), task, FIRST_SEED + seed,
        row.evaluations).items()} for model, seed in zip(models, seeds)]
    return {**together(found), **training}


def judged(model: Model, given: Instances, task: str, seed: int, evaluations: int = EVALUATIONS) -> dict[str, Tensor]:
    """All that is measured of a model on some instances."""
    truth = shown(coordinates(given.truth))
    members = sampled(model, given.observed, task, seed, evaluations)
    spread = laplace(model, members.point, task).diagonal(dim1=1, dim2=2).sqrt()
    ensemble, normal = of_members(shown(members.drawn)), of_normal(shown(members.point), spread)
    with torch.no_grad():
        apart = model.observed(unknowns(members.point), task) - given.observed
    return {"ensemble": coverage(truth, ensemble), "Laplace": coverage(truth, normal), "width": width(ensemble[0.9]),
            "width_Laplace": width(normal[0.9]), "error": error(unknowns(members.point), given.truth).mean(),
            "misfit": apart.square().mean().sqrt() / NOISE, "evaluations": members.found.evaluations.double().mean(),
            "stopped": members.found.stopped.double().mean()}


def cost(variant: str, budget: int) -> float:
    """In seconds of one core, roughly."""
    row = SPEC.variants[variant]
    return 1300.0 if row == rows()["fine"] else 50 + 0.05 * budget


# The unknowns ---------------------------------------------------------------------------------------------------------


def unknowns(z: Tensor) -> Tensor:
    """(samples, 2 MODES + 1), standard normal by the prior -> (samples, unknowns) as ``instances`` reads them."""
    mean, rest = z.new_zeros(len(z), 1), z.new_zeros(len(z), 2 * (design.WAVES - MODES))
    return torch.cat([mean, SPREAD * z[:, :-1], rest, MIDDLE + RANGE * z[:, -1:]], 1)


def coordinates(x: Tensor) -> Tensor:
    """The other way; of states that have the waves 1 to MODES alone."""
    return torch.cat([x[:, 1:1 + 2 * MODES] / SPREAD, (x[:, -1:] - MIDDLE) / RANGE], 1)


@functools.cache
def linear() -> Tensor:
    """(numbers, 2 MODES + 1): how what is judged depends on z."""
    coefficients = SPREAD * torch.eye(2 * MODES, dtype=torch.float64)
    cells = SPREAD * waves(problem.num_points)[1:1 + 2 * MODES].T
    return torch.block_diag(torch.cat([cells, coefficients]), torch.ones(1, 1, dtype=torch.float64))


def shown(z: Tensor) -> Tensor:
    """(..., numbers): the cells of the initial state [m/s], its coefficients [m/s], and the
    viscosity's unknown, in standard deviations of the prior."""
    return z @ linear().T


# The posterior --------------------------------------------------------------------------------------------------------


def sampled(model: Model, observed: Tensor, task: str, seed: int, evaluations: int = EVALUATIONS,
            members: int = MEMBERS) -> Members:
    """The point and the members of every instance, all searched for together, from a state at rest.

    Raises: as ``Sensors.check`` and ``minimise``; ValueError without members.
    """
    observed, members = sensors(task).check(observed), arguments.whole("sampled", "members", members)
    generator = torch.Generator().manual_seed(seed)
    number, size = len(observed), 2 * MODES + 1
    noise, prior = (torch.randn(number, members, *shape, generator=generator, dtype=torch.float64)
                    for shape in (observed.shape[1:], (size,)))
    y = torch.cat([observed[:, None], observed[:, None] + NOISE * noise], 1).flatten(0, 1)
    p = torch.cat([prior.new_zeros(number, 1, size), prior], 1).flatten(0, 1)

    def objective(z: Tensor) -> Tensor:
        apart = (model.observed(unknowns(z), task) - y) / NOISE
        return (apart.square().sum((1, 2)) + (z - p).square().sum(1)) / 2

    found = minimise(objective, torch.zeros_like(p), evaluations=evaluations, tolerance=design.TOLERANCE)
    z = found.x.unflatten(0, (number, members + 1))
    return Members(z[:, 0], z[:, 1:], found)


def laplace(model: Model, point: Tensor, task: str) -> Tensor:
    """(instances, numbers, numbers): the covariance of ``shown``, from the Gauss-Newton Hessian at a point."""
    def residuals(z: Tensor) -> Tensor:
        return model.observed(unknowns(z), task).flatten(1) / NOISE

    with torch.no_grad():
        residuals(point)  # records the solver
    _, J = each(residuals, point)
    return linear() @ torch.linalg.inv(torch.eye(J.shape[-1], dtype=J.dtype) + J.mT @ J) @ linear().T


def of_members(values: Tensor) -> dict[float, Tensor]:
    """``{level: (2, instances, numbers)}``, low and high, of (instances, MEMBERS, numbers).

    Raises: ValueError for another number of members, for which the ranks have another level.
    """
    if values.ndim != 3 or values.shape[1] != MEMBERS:
        raise ValueError(f"of_members: got values of the shape {tuple(values.shape)}; expected (instances, {MEMBERS}, "
                         "numbers): the levels are those of so many members")
    ordered = values.sort(1).values
    return {level: torch.stack([ordered[:, rank - 1], ordered[:, -rank]]) for level, rank in LEVELS.items()}


def of_normal(middle: Tensor, spread: Tensor) -> dict[float, Tensor]:
    """The same for normal distributions with these means and standard deviations, both (instances, numbers)."""
    half = {level: Normal(0.0, 1.0).icdf(torch.tensor((1 + level) / 2, dtype=torch.float64)) for level in LEVELS}
    return {level: torch.stack([middle - by * spread, middle + by * spread]) for level, by in half.items()}


def coverage(truth: Tensor, intervals: Mapping[float, Tensor]) -> Tensor:
    """(quantities, levels): the fraction of the true numbers (instances, numbers) that lie within their intervals."""
    inside = {level: ((low <= truth) & (truth <= high)).double() for level, (low, high) in intervals.items()}
    return torch.stack([torch.stack([inside[level][:, part].mean() for level in LEVELS])
                        for part in QUANTITIES.values()])


def width(interval: Tensor) -> Tensor:
    """(quantities,): the mean."""
    return torch.stack([(interval[1] - interval[0])[:, part].mean() for part in QUANTITIES.values()])
