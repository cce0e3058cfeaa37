"""E12: the initial state and the viscosity, found through several models.   Chapter: 11_forward_and_inverse.

Every model has the same unknowns, start, stopping rule and observations, those of the fine solver. The weight of the
prior is chosen for each model, seed and task on instances of their own. A seed is a network and 32 instances.
"""

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from dpbook_utils.history import History
from dpbook_utils.setups import Setup, train

from ...experiments.spec import Specification, Task
from ...experiments.trainings import TRAINING_METRICS, no_training, training_metrics
from ...problems import coarse_burgers as problem
from . import design
from .design import NOISE, PLACES, TASKS, UPDATES, WEIGHTS, Physics, Trained
from .instances import Model, by_scale, error, instances, misfit, search, solver, together, viscosity

LONGEST = 8  # all draw windows of this length, so that they see the same ones
FEW = 4  # evaluations of what ``check`` repeats: their rounding has not grown
CHECKED = {"P, 4 evaluations": Physics(32, 1, FEW), "WIG-8, 4 evaluations": Trained(Setup(8, learning_rate=3e-3),
                                                                                   evaluations=FEW)}
CHECK_UPDATES = 8
MEASURES = {
    "error": "relative L2 error of the initial state when the search ends, mean over 32 instances",
    "curve": "the same after 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64 and 96 evaluations",
    "scales": "root mean square error in waves 1 to 3, 4 to 8 and 9 to 15, relative to the state",
    "viscosity": "|ln(nu / the true one)|, mean over instances",
    "misfit": "root mean square distance of sensors and observations, in units of the noise",
    "evaluations": "of the misfit and its gradient until the search stops, mean over instances",
    "stopped": "fraction of searches that the stopping rule ended",
    "weight": "of the prior, chosen on held-out instances",
    "seconds": "time of an evaluation, for one instance [s]",
}
_TRAINED = design.trained()
_VARIANTS = {**_TRAINED, **design.physics(), **CHECKED}
SPEC = Specification(
    id="e12", title="Initial state and viscosity from observations", chapter="11_forward_and_inverse",
    variants=_VARIANTS, seeds=design.SEEDS,
    budgets={name: (0,) if isinstance(row, Physics) else (UPDATES,) if name in _TRAINED else (CHECK_UPDATES,)
             for name, row in _VARIANTS.items()},
    metrics={**{f"{name}.{task}": f"{text}; observed: {task}" for task in TASKS for name, text in MEASURES.items()},
             **TRAINING_METRICS},
    settings={**problem.settings, "longest": LONGEST, "tasks": TASKS, "noise": NOISE, "waves": design.WAVES,
              "viscosities": design.VISCOSITIES, "instances": (design.NUM_TESTED, design.NUM_HELD_OUT),
              "first_seed": design.FIRST_SEED, "weights": WEIGHTS, "tolerance": design.TOLERANCE, "places": PLACES},
    checks=tuple(Task(name, 0 if isinstance(row, Physics) else CHECK_UPDATES, (0, 1)) for name, row in CHECKED.items()),
    checked=tuple(f"{name}.{task}" for name in ("error", "misfit") for task in design.DECIDING))


def fitted(row: Trained, seeds: Sequence[int], budget: int, progress: bool = False) -> tuple[list[Model], History]:
    """(a model for each seed, in double precision; history of their training)."""
    networks = problem.ensemble(seeds)
    chain = problem.hybrid if row.with_solver else problem.predictor
    history = train(row.setup, row.setup.objective(chain(networks)),
                    problem.windows(seeds, LONGEST, row.setup.batch_size), budget, progress=progress)
    members = [networks.member(i).double().eval().requires_grad_(False) for i in range(len(seeds))]
    return [Model(chain(member)) for member in members], history


def prepared(row: Physics | Trained, seeds: Sequence[int], budget: int) -> tuple[list[Model], dict[str, Tensor]]:
    """(a model for each seed, the metrics of their training)."""
    if isinstance(row, Physics):
        return [solver(row)] * len(seeds), {
            name: value.repeat(len(seeds), *[1] * (value.ndim - 1)) for name, value in no_training().items()}
    models, history = fitted(row, seeds, budget)
    return models, training_metrics(history, budget, len(seeds))


def run(variant: str, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    """Train, search and judge; every metric has one entry per seed."""
    row = SPEC.variants[variant]
    models, training = prepared(row, seeds, budget)
    found = [{f"{name}.{task}": value for task in TASKS for name, value in judged(
        model, seed, task, row.evaluations).items()} for model, seed in zip(models, seeds)]
    return {**together(found), **training}


def chosen_weight(model: Model, seed: int, task: str, evaluations: int) -> float:
    """That with the smallest mean error on the held-out instances, all searched for at once."""
    truth, observed = instances(seed, task, "held out")
    weights = torch.tensor(WEIGHTS, dtype=torch.float64).repeat_interleave(len(truth))
    found = search(model, observed.repeat(len(WEIGHTS), 1, 1), task, weights, evaluations)
    errors = error(found.x, truth.repeat(len(WEIGHTS), 1)).view(len(WEIGHTS), -1).mean(1)
    return WEIGHTS[int(errors.argmin())]


def judged(model: Model, seed: int, task: str, evaluations: int = design.EVALUATIONS) -> dict[str, Tensor]:
    """The MEASURES of a model on the instances of a seed."""
    truth, observed = instances(seed, task)
    weight = chosen_weight(model, seed, task, evaluations)
    curve, times = {}, [time.perf_counter()]

    def watch(number: int, x: Tensor) -> None:
        curve[number] = error(x, truth).mean()
        times.append(time.perf_counter())

    found = search(model, observed, task, weight, evaluations, watch)
    last = max(curve)
    with torch.no_grad():
        chi = 2 * misfit(model, found.x, observed, task) / observed[0].numel()
    return {"error": error(found.x, truth).mean(), "curve": torch.stack([curve[min(n, last)] for n in PLACES]),
            "scales": by_scale(found.x, truth).square().mean(0).sqrt(),
            "viscosity": (viscosity(found.x) / viscosity(truth)).log().abs().mean(), "misfit": chi.mean().sqrt(),
            "evaluations": found.evaluations.double().mean(), "stopped": found.stopped.double().mean(),
            "weight": torch.tensor(weight), "seconds": torch.tensor(times).diff().min().double() / len(truth)}


def cost(variant: str, budget: int) -> float:
    """In seconds of one core, roughly."""
    row = SPEC.variants[variant]
    share = row.evaluations / design.EVALUATIONS
    if isinstance(row, Physics):
        return share * 60 * row.num_substeps * row.num_points / 32 / 4
    return 0.05 * budget + share * 600
