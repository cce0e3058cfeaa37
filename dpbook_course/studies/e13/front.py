"""E13, second part: how near to the target, and with how much force.

One weight of the force in the cost gives one point; three of them a front. The two outer ones are here, with six seeds,
that in the middle is part of ``policies``; rates are those of the middle.   Chapter: 12_control.
"""

from collections.abc import Sequence

from torch import Tensor

from ...experiments.spec import Specification, Task
from ...problems.control import burgers_control as problem
from . import rows as shared
from .design import FEW_SEEDS, STEPS, TASKS, WEIGHT, WEIGHTS, name
from .policies import LEARNING_RATES

CHECK_BUDGET = 2
OUTER = tuple(weight for weight in WEIGHTS if weight != WEIGHT)

# SAC, which is dear, is in the middle alone.
_VARIANTS = {key: row for key, row in shared.variants({TASKS[0]: OUTER}, LEARNING_RATES).items() if "SAC" not in key}
SPEC = Specification(
    id="e13_front", title="Control, distance against force", chapter="12_control", variants=_VARIANTS, seeds=FEW_SEEDS,
    budgets={key: (shared.budget_for(row, STEPS),) for key, row in _VARIANTS.items()},
    metrics={**problem.metrics, **shared.CURVES}, settings={**problem.settings, "weights": OUTER},
    checks=(Task(name("ES", TASKS[0], OUTER[0]), CHECK_BUDGET, (0,)),),
    checked=("error.as trained", "error.finer solver"))


def run(variant: str, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    """As ``policies.run``."""
    return shared.computed(SPEC.variants[variant], seeds, budget)


def cost(variant: str, budget: int) -> float:
    return shared.weight_of(SPEC.variants[variant], budget) / 2
