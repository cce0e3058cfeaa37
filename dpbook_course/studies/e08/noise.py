"""E08: noise instead of unrolling, and noise beside it.   Chapter: 07_noise.

Families of noise, each over a grid of standard deviations, on the Kuramoto-Sivashinsky correction of E04:

white          on the input of ONE; the target is the clean next state.
moved target   the same, but the target is what the reference solver makes of the noisy state.
shaped         white noise with the energy spectrum of the one-step error of a trained ONE.
walk           a random walk over the history that a network with three past states sees; ``history`` is without noise.
NOG-3, WIG-3   white noise on each iteration of an unroll.

Reductions, to fit the study with ``e08_periodic`` and ``e08_small`` into about 85 minutes of one core: at 6,000
updates all families but white have the lower four of the six sigmas; at 15,000, one-step updates that take as long as
6,000 of WIG-3, white has the smallest three. Two phases are on enough data at 1,500 alone. The learning rate is the
one that E04's tuning chose for ONE, NOG-3, WIG-3 and WIG-8, not tuned again for each sigma.

Added when the results at 1,500 updates were known, and part of no criterion: ``history, WIG-3``, because the history
alone, without noise, gained more than anything else. Added when all were known: the smallest of the four sigmas at
6,000 updates; before, the chosen one was the smallest tried in four families.

Source: sanchez2020, stachenfeld2022, list2025.
"""

from collections.abc import Sequence

from torch import Tensor

from dpbook_utils.gradients import NoSolverGradient
from dpbook_utils.setups import Setup, warm_up

from ...experiments.spec import Replication, Specification, Task
from ...experiments.trainings import no_training
from ...problems import kuramoto_sivashinsky as ks
from ...problems.frames import NUM_FRAMES, ks_history
from ...problems.ks import Baseline
from . import rows as e08_rows
from .design import GRID, LONG, LONGER, PER_UPDATE, SEEDS, SHORT, SIGMAS, name
from .rows import RATE, Noise, Phases, Variant

LONGEST = 8  # all set-ups draw windows of this length, so that they see the same ones
ONE, WIG_8 = Setup(learning_rate=RATE), Setup(8, learning_rate=RATE, curriculum=warm_up(8))
UNROLLED = {"NOG-3": Setup(3, learning_rate=RATE, curriculum=warm_up(3), gradient=NoSolverGradient()),
            "WIG-3": Setup(3, learning_rate=RATE, curriculum=warm_up(3))}
KINDS = {"white": {}, "moved target": {"target": "moved"}, "shaped": {"kind": "shaped"}, "walk": {"kind": "walk"}}


def noisy(family: str, sigma: float) -> Variant:
    """A family's set-up with noise."""
    return Variant(UNROLLED.get(family, ONE), Noise(sigma, **KINDS.get(family, {})))


def phases(first: Variant, rate: float) -> Phases:
    """One-step training for half of the time, then WIG-3 without its warm-up, which the first phase is."""
    return Phases(first, Variant(Setup(3, learning_rate=rate)), PER_UPDATE)


def on_history(variant: str) -> bool:
    return variant.startswith(("history", "walk"))


FIRST = name("white", 1e-2)
_BUDGETS = {"ONE": (SHORT, LONG, LONGER), "history": (SHORT, LONG), "history, WIG-3": (SHORT, LONG),
            **dict.fromkeys((*UNROLLED, "WIG-8"), (SHORT, LONG)),
            "ONE, then WIG-3": (SHORT,), f"{FIRST}, then WIG-3": (SHORT,)}
_BUDGETS |= {name(family, sigma): tuple(b for b, sigmas in grid.items() if sigma in sigmas)
             for family, grid in GRID.items() for sigma in SIGMAS}
_BASELINES = {"persistence": Baseline(None), "P": Baseline(2), "P, 16 substeps": Baseline(16)}
_VARIANTS = {"ONE": Variant(ONE), "history": Variant(ONE), "history, WIG-3": Variant(UNROLLED["WIG-3"]),
             "WIG-8": Variant(WIG_8),
             **{policy: Variant(setup) for policy, setup in UNROLLED.items()},
             "ONE, then WIG-3": phases(Variant(ONE), RATE), f"{FIRST}, then WIG-3": phases(noisy("white", 1e-2), RATE),
             **{name(family, sigma): noisy(family, sigma) for family in GRID for sigma in SIGMAS}}

SPEC = Specification(
    id="e08", title="Noise", chapter="07_noise", variants={**_VARIANTS, **_BASELINES}, seeds=SEEDS,
    budgets={**_BUDGETS, **dict.fromkeys(_BASELINES, (0,))},
    metrics={**ks.metrics, **e08_rows.extra_metrics(ks.regions)},
    settings={**ks.settings, "longest": LONGEST, "network": (e08_rows.WIDTH, e08_rows.NUM_BLOCKS),
              "num_frames": NUM_FRAMES, "measured": e08_rows.MEASURED},
    replication=Replication({
        **dict.fromkeys(("ONE", "history", "WIG-3", "WIG-8"), (LONG,)),
        **{name(family, sigma): (LONG,) for family in ("white", "shaped", "walk", "WIG-3")
           for sigma in GRID[family][LONG]}}),
    baselines=frozenset(_BASELINES),
    checks=(Task(name("walk", 1e-2), 8, (0, 1)),),
    checked=("one_step.inside", "validation"))


def run(variant: str, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    """Train and judge one variant; every metric has one entry per seed."""
    row = SPEC.variants[variant]
    if isinstance(row, Baseline):
        return {**e08_rows.measured(ks, row.step(), 1), **no_training()}
    return e08_rows.run(ks_history if on_history(variant) else ks, row, seeds, budget, LONGEST)


def cost(variant: str, budget: int) -> float:
    """About how many seconds a task takes."""
    row = SPEC.variants[variant]
    if isinstance(row, Baseline):
        return 2.0
    setup = row.then.setup if isinstance(row, Phases) else row.setup
    return 8 + budget * {1: 0.0055, 3: 0.014, 8: 0.038}[setup.num_steps]
