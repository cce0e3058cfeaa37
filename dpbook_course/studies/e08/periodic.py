"""E08 where the flow is periodic: does noise suffice there?   Chapter: 07_noise.

The rows of ``noise``, reduced: white noise on the input of ONE, and on the iterations of WIG-3, on the problem of
``periodic_waves``. Its largest budget has three of the six sigmas, and WIG-3 two, at the smaller budget alone. The
learning rate is that of the chaotic case.

Source: kohl2023.
"""

from collections.abc import Sequence

from torch import Tensor

from ...experiments.spec import Replication, Specification, Task
from ...experiments.trainings import no_training
from ...problems import periodic_waves as problem
from ...problems.steps import Persistence
from . import rows as e08_rows
from .design import LONG, PERIODIC_GRID, SEEDS, SHORT, name
from .noise import LONGEST, ONE, UNROLLED, WIG_8, noisy
from .rows import Variant

_BASELINES = {"persistence": Persistence, "P": problem.coarse_solver}
_VARIANTS = {"ONE": Variant(ONE), **{policy: Variant(setup) for policy, setup in UNROLLED.items()},
             "WIG-8": Variant(WIG_8)}
_BUDGETS = dict.fromkeys(_VARIANTS, (SHORT, LONG)) | dict.fromkeys(_BASELINES, (0,))
for family, grid in PERIODIC_GRID.items():
    for sigma in grid[SHORT]:
        _VARIANTS[name(family, sigma)] = noisy(family, sigma)
        _BUDGETS[name(family, sigma)] = tuple(b for b, sigmas in grid.items() if sigma in sigmas)

SPEC = Specification(
    id="e08_periodic", title="Noise, on a periodic flow", chapter="07_noise", variants={**_VARIANTS, **_BASELINES},
    seeds=SEEDS, budgets=_BUDGETS, metrics={**problem.metrics, **e08_rows.extra_metrics(problem.regions)},
    settings={**problem.settings, "longest": LONGEST, "network": (e08_rows.WIDTH, e08_rows.NUM_BLOCKS)},
    replication=Replication({
        row: (LONG,) for row in ("WIG-3", "WIG-8", *(name("white", sigma) for sigma in PERIODIC_GRID["white"][LONG]))}),
    baselines=frozenset(_BASELINES), checks=(Task("WIG-3", 8, (0, 1)),), checked=("one_step.inside", "validation"))


def run(variant: str, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    """Train and judge one variant; every metric has one entry per seed."""
    row = SPEC.variants[variant]
    if variant in _BASELINES:
        return {**e08_rows.measured(problem, row(), 1), **no_training()}
    return e08_rows.run(problem, row, seeds, budget, LONGEST)


def cost(variant: str, budget: int) -> float:
    """About how many seconds a task takes."""
    row = SPEC.variants[variant]
    return 2.0 if variant in _BASELINES else 4 + budget * {1: 0.004, 3: 0.010, 8: 0.026}[row.setup.num_steps]
