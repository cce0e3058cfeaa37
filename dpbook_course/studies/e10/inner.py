"""E10, inner iterations: how well must an implicit step be solved in training?   Chapter: 09_choosing_the_numerics.

P is the semi-implicit solver of the Kuramoto-Sivashinsky equation with two sub-steps, ``differences, 2`` of ``ks``.
Each of its systems is solved by K = 1, 2, 4 or 8 conjugate gradients, or exactly, in Fourier space: ``converged``. The
same network is trained behind each, with the rates of ``ks`` for this P and the number of updates for which they were
chosen, and run twice: with the K of its training, and behind the converged solver. Of the gradient of the training loss
the error against the converged solver's is taken at the same weights and on the same windows, before the training and
after it. The time of an update is measured too; only the iterations are compared in it, since a solver in Fourier
space, which solves exactly, is a luxury of this equation.

Stated before any run. K iterations are *enough* in a training if the hybrid that was trained with them and is run
behind the converged solver has an error inside at most 5 % above that of the training with the converged solver: the
95 % interval of the paired ratio over twelve seeds ends below 1.05. The published saving (62 to 78 % less time at equal
accuracy) is met if the smallest K that is enough takes at most 38 % of the time of an update with K = 8. Expected: two
iterations are enough, one is not, and the gradient's error is still of several per cent where the hybrid's is not.

Source: bhatia2025.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dpbook_utils.coupling import Additive
from dpbook_utils.rollout import Sequential

from ...experiments.spec import Specification, Task
from ...experiments.trainings import TRAINING_METRICS, no_training, training_metrics
from ...problems import ks_solves as problem
from ...problems.steps import Bounded
from . import rows as shared
from .design import NUM_STEPS, SEEDS, TRAININGS, name
from .ks import LEARNING_RATES, TUNING

POINTS = problem.num_points
CONVERGED = "converged"
BUDGET = TUNING.budget
RATES = {f"{scheme}, {training}": LEARNING_RATES[f"differences, 2, {training}"]
         for scheme in problem.schemes for training in TRAININGS}
GRADIENT = "relative error of the gradient of the training loss on the first batch, against the converged solver's"

_VARIANTS = shared.variants(problem, (POINTS,), (), RATES)
SPEC = Specification(
    id="e10_inner", title="Iterations of an implicit step, in training", chapter="09_choosing_the_numerics",
    variants=_VARIANTS, seeds=SEEDS,
    metrics={key: text for key, text in problem.metrics.items() if key != "swapped"} | {
        "converged.inside": "mean relative L2 error over the horizon inside, with the converged solver as P",
        "gradient.start": f"{GRADIENT}, with the initial weights; NaN without a network",
        "gradient.end": f"{GRADIENT}, with the trained weights; NaN without a network"} | TRAINING_METRICS,
    budgets={key: (0,) if isinstance(row, shared.Alone) else (BUDGET,) for key, row in _VARIANTS.items()},
    settings={**problem.settings, "longest": NUM_STEPS, "schemes": tuple(problem.schemes),
              "num_substeps": problem.num_substeps},
    checks=(Task(name("1 iteration", POINTS, "ONE"), 8, (0, 1)),),
    checked=("error.inside", "one_step.inside", "converged.inside"))


def run(variant: str, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    """Train and judge one variant; every metric has one entry per seed."""
    row, missing = SPEC.variants[variant], torch.full((len(seeds),), torch.nan)
    if isinstance(row, shared.Alone):
        steps = [problem.alone(scheme, POINTS) for scheme in (row.scheme, CONVERGED)]
        training = {key: value.repeat(len(seeds), *[1] * (value.ndim - 1)) for key, value in no_training().items()}
        errors = {"gradient.start": missing, "gradient.end": missing}
    else:
        networks, history = shared.fitted(problem, row, seeds, budget)
        steps = [problem.hybrid(networks, scheme, POINTS) for scheme in (row.scheme, CONVERGED)]
        training = training_metrics(history, budget, len(seeds))
        errors = {"gradient.start": gradient_error(row, problem.ensemble(seeds), seeds),
                  "gradient.end": gradient_error(row, networks, seeds)}
    return {**problem.measured(steps[0], seeds, POINTS), **errors, **training,
            "converged.inside": problem.own_error(steps[1], "inside", seeds, POINTS)}


def cost(variant: str, budget: int) -> float:
    """As that of ``ks``, and more with every iteration."""
    row = SPEC.variants[variant]
    return shared.weight(row, budget) * (1 + (problem.schemes[row.scheme] or 0))


def gradient_error(row: shared.Variant, networks: nn.Module, seeds: Sequence[int]) -> Tensor:
    """(seeds,): |g - g'| / |g'|, g of the row's P and g' of the converged one."""
    ours, converged = (gradient(row, scheme, networks, seeds) for scheme in (row.scheme, CONVERGED))
    return (ours - converged).norm(dim=1) / converged.norm(dim=1)


def gradient(row: shared.Variant, scheme: str, networks: nn.Module, seeds: Sequence[int]) -> Tensor:
    """(seeds, weights): of the row's loss behind a solver, on the first batch of the training."""
    solver = problem.coarse_solver(scheme, POINTS).solver  # two gradients are not worth a recording
    objective = row.setup.objective(Sequential(solver, Additive(networks), Bounded(problem.largest_state)))
    batch = problem.batches(seeds, NUM_STEPS, row.setup.batch_size, POINTS)[0]
    found = torch.autograd.grad(objective(**batch), list(networks.parameters()))
    return torch.cat([one.flatten(1) for one in found], 1)
