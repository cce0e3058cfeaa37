"""Roll-outs of five of E05's couplings, on one step and through eight, for the explorer.   Chapter: 04_coupling."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from ...experiments import rollouts
from ...experiments.rollouts import BASELINES
from ...experiments.spec import Specification, Task
from ...problems import coarse_burgers as problem
from ...problems.problem import Trajectories
from . import coupling as e05

BUDGET = 1500
SEEDS = (0, 1, 2)
SCALE = 3.0  # of the pictures [m/s]
COUPLINGS = ("additive", "right-hand side", "multiplicative", "viscosity", "interpolation")


class Choice(NamedTuple):
    """A point of the grid: a coupling of E05 and the unroll length, 1 or 8."""

    coupling: str
    m: int

    @property
    def name(self) -> str:
        """As in E05."""
        return f"{self.coupling}, {'ONE' if self.m == 1 else f'WIG-{self.m}'}"


CHOICES = tuple(Choice(coupling, m) for coupling in COUPLINGS for m in (1, e05.LONGEST))
_TUNED = e05.variants()
SPEC = Specification(
    id="e05_rollouts", title="Roll-outs of E05 for the explorer", chapter="04_coupling",
    variants={**{choice.name: _TUNED[choice.name] for choice in CHOICES}, **BASELINES}, seeds=SEEDS,
    budgets={**{choice.name: (BUDGET,) for choice in CHOICES}, **dict.fromkeys(BASELINES, (0,))},
    metrics=rollouts.metrics("viscosity [m^2/s]"),
    settings={**problem.settings, **rollouts.SETTINGS, "longest": e05.LONGEST,
              "largest_viscosity": e05.LARGEST_VISCOSITY, "scale": SCALE},
    baselines=frozenset(BASELINES), checks=(Task("additive, ONE", 8, (0, 1)),), checked=("error.inside", "gradient"))


def run(variant: str, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    """Train and roll out one variant; every metric has one entry per seed."""
    if variant in BASELINES:
        return rollouts.of_baseline(variant, problem, tests(), SCALE)
    row = SPEC.variants[variant]
    step, history = e05.fitted(row, seeds, budget)
    batch = problem.windows(seeds, max(rollouts.HORIZONS), rollouts.BATCH)[0]
    return rollouts.trained(row.setup, step, history, batch, rollouts.predicted(step, tests()), seeds, SCALE)


def cost(variant: str, budget: int) -> float:
    """In updates of one step."""
    return budget * (1 + (0 if variant in BASELINES else SPEC.variants[variant].setup.num_steps))


def tests() -> dict[str, Trajectories]:
    return {region: problem.trajectories(region) for region in rollouts.REGIONS}
