"""E10, teachers: can a hybrid beat the scheme that made its data?   Chapter: 09_choosing_the_numerics.

The training data of Burgers' equation are made by a poor scheme on 64 points, the *teacher*: upwind, or
semi-Lagrangian. A hybrid with the network of E10, on 32 points, is trained on what 32 points see of it, with the rates
of E10, and judged on the resolved solution, as the teacher is. P is the teacher's own scheme on 32 points, the central
one, or the limited one. The distance from the teacher's states is taken too: how well a hybrid has learnt what it was
shown.

Stated before any run. A hybrid *beats its teacher* if the paired ratio of their errors over 50 steps inside, hybrid by
teacher, reads "as claimed" over twelve seeds, each with data of its own; it is beaten if it reads "the other way".
Where P alone has a smaller error than the teacher, that shows less: P may have brought what the teacher lacks. So each
pair is shown with the ratio of P alone. Expected from the literature, which has emulators that beat their scheme: yes
for some. Ours: yes where P is the limited scheme, by less than P alone; no where P is the teacher's own scheme on fewer
points; with the central scheme behind upwind's data a ratio near 1.

Source: koehler2025.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from dpbook_utils.history import History
from dpbook_utils.setups import Setup, train

from ...experiments.spec import Specification, Task
from ...experiments.trainings import TRAINING_METRICS, no_training, training_metrics
from ...experiments.tuning import at_rate
from ...problems.taught import taught
from . import rows as shared
from .burgers import LEARNING_RATES
from .design import ALONE, BUDGETS, NUM_STEPS, SEEDS, name

FINE, POINTS = 64, 32
BUDGET = BUDGETS[0]
PAIRS = {"upwind": ("upwind", "central", "limited"), "semi-Lagrangian": ("semi-Lagrangian", "central", "limited")}


@dataclass(frozen=True)
class Taught:
    """P, by its scheme, on 32 points, corrected by networks that are trained on the states of a teacher on 64."""

    teacher: str
    scheme: str
    setup: Setup


def pupil(scheme: str, teacher: str, training: str) -> str:
    """Of a variant: ``central, taught by upwind, ONE``."""
    return f"{scheme}, taught by {teacher}, {training}"


def rows() -> dict[str, Taught | shared.Alone]:
    """Each pair with each training, and every solver alone: the teachers on 64 points, the others on 32."""
    trained = {pupil(scheme, teacher, training):
               Taught(teacher, scheme, at_rate(setup, LEARNING_RATES[f"{scheme}, {training}"]))
               for teacher, schemes in PAIRS.items() for scheme in schemes for training, setup in shared.SETUPS.items()}
    solvers = [(teacher, FINE) for teacher in PAIRS] + [
        (scheme, POINTS) for scheme in dict.fromkeys(sum(PAIRS.values(), ()))]
    return trained | {name(scheme, points, ALONE): shared.Alone(scheme, points) for scheme, points in solvers}


_SHOWN = taught["upwind"]
_VARIANTS = rows()
SPEC = Specification(
    id="e10_teacher", title="Hybrids that learn from a poor scheme", chapter="09_choosing_the_numerics",
    variants=_VARIANTS, seeds=SEEDS,
    metrics={f"{key}.inside": f"{text}; against the resolved solution, viscosities inside the training range"
             for key, text in _SHOWN.measures.items()} | {
        "distance": "mean relative L2 error over the horizon inside, against the teacher; a solver alone against upwind"
    } | TRAINING_METRICS,
    budgets={key: (0,) if isinstance(row, shared.Alone) else (BUDGET,) for key, row in _VARIANTS.items()},
    settings={**_SHOWN.settings, "teacher": tuple(PAIRS), "longest": NUM_STEPS},
    checks=(Task(pupil("limited", "upwind", "ONE"), 8, (0, 1)),),
    checked=("error.inside", "one_step.inside", "distance"))


def run(variant: str, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    """Train and judge one variant; every metric has one entry per seed."""
    row = SPEC.variants[variant]
    if isinstance(row, shared.Alone):
        problem, step = _SHOWN, _SHOWN.alone(row.scheme, row.num_points)
        training = {key: value.repeat(len(seeds), *[1] * (value.ndim - 1)) for key, value in no_training().items()}
        return {**problem.judged(step, seeds, row.num_points), **training}
    networks, history = fitted(row, seeds, budget)
    problem = taught[row.teacher]
    return {**problem.judged(problem.hybrid(networks, row.scheme, POINTS), seeds, POINTS),
            **training_metrics(history, budget, len(seeds))}


def cost(variant: str, budget: int) -> float:
    row = SPEC.variants[variant]
    return 50.0 if isinstance(row, shared.Alone) else 50 + budget * row.setup.num_steps


def fitted(row: Taught, seeds: Sequence[int], budget: int, progress: bool = False) -> tuple[nn.Module, History]:
    """(networks, history) after training them behind P on the teacher's states, each on its own."""
    problem = taught[row.teacher]
    networks = problem.ensemble(seeds)
    batches = problem.batches(seeds, NUM_STEPS, row.setup.batch_size, POINTS)
    objective = row.setup.objective(problem.hybrid(networks, row.scheme, POINTS))
    return networks, train(row.setup, objective, batches, budget, progress=progress)
