"""E08 on little data: where one-step training overfits, does noise help, and is it a start for DP?   Chapter: 07_noise.

The training data are six successive states of one trajectory of the Kuramoto-Sivashinsky correction, on the domain of
length 16 pi. Validation and test states come from other initial conditions on the same domain. As long windows leave
few places to start, each set-up draws windows of its own length: all see the same states, not the same windows.

Costs are equal by construction: an update of WIG-3 takes as long as ``PER_UPDATE`` of ONE. A training in two phases
spends half of the time on each, and each has its own cosine of the learning rate; the second and WIG-3 from the start
have two rates to choose from on validation data.

Added when the other results were known, and part of no criterion: noise with a moved target, which alone had helped, as
a start for WIG-3, and in the data of an unroll whose targets the reference solver makes at every step (``diverted``).
"""

import functools
import sys
from collections.abc import Sequence

import torch
from torch import Tensor

from dpbook_utils.data import Windows

from ...experiments.spec import Specification, Task
from ...experiments.trainings import no_training
from ...experiments.tuning import at_rate
from ...problems import kuramoto_sivashinsky as ks
from . import rows as e08_rows
from .design import DP_BUDGET, DP_RATES, EQUAL, FIRST, SEEDS, SMALL_BUDGETS, SMALL_GRID, dp_name, name
from .noise import ONE, UNROLLED, noisy, phases
from .rows import Noise, Variant

REGIONS = ("inside",)
SETTINGS = {**ks.SETTINGS, "length": ks.SETTINGS["unit_length"], "train_states": 6, "test_seed": ks.UNIT_SEED}
ensemble, hybrid, reference_solver = ks.ensemble, ks.hybrid, ks.reference_solver


@functools.cache
def trajectories(name: str) -> ks.Trajectories:
    """``train``: the first states of one trajectory; ``validation``: those of E04 at this length; ``inside``: test."""
    s = SETTINGS
    if name == "inside":
        return ks.trajectories("unit")
    states, lengths = ks.trajectories(name)
    same = (lengths == torch.tensor(s["length"])).nonzero()[:, 0]
    if name == "train":
        return ks.Trajectories(states[same[:1], :s["train_states"]], lengths[same[:1]])
    return ks.Trajectories(states[same], lengths[same])


def windows(seeds: Sequence[int], num_steps: int, batch_size: int) -> Windows:
    return trajectories("train").windows(seeds, num_steps, batch_size, SETTINGS["batch_seed"])


MOVED = name("moved target", 1e-1)
_VARIANTS = {"ONE": Variant(ONE), "NOG-3": Variant(UNROLLED["NOG-3"])}
_BUDGETS = {"ONE": SMALL_BUDGETS, "NOG-3": (DP_BUDGET,)}
for family, grid in SMALL_GRID.items():
    for sigma in grid[EQUAL]:
        _VARIANTS[name(family, sigma)] = noisy(family, sigma)
        _BUDGETS[name(family, sigma)] = (EQUAL,)
for rate in DP_RATES:
    rows = {"": at_rate(Variant(UNROLLED["WIG-3"]), rate), "ONE": phases(Variant(ONE), rate),
            **{name("white", sigma): phases(noisy("white", sigma), rate) for sigma in FIRST},
            MOVED: phases(noisy("moved target", 1e-1), rate)}
    for first, row in rows.items():
        _VARIANTS[dp_name(first, rate)] = row
        _BUDGETS[dp_name(first, rate)] = (DP_BUDGET,)
    _VARIANTS[f"diverted, rate {rate:g}"] = at_rate(Variant(UNROLLED["WIG-3"], Noise(1e-1, target="moved")), rate)
    _BUDGETS[f"diverted, rate {rate:g}"] = (DP_BUDGET,)

SPEC = Specification(
    id="e08_small", title="Noise, on little data", chapter="07_noise", variants={**_VARIANTS, "P": "P alone"},
    seeds=SEEDS, budgets={**_BUDGETS, "P": (0,)},
    metrics={**{name: text for name, text in ks.METRICS.items() if name.endswith(".inside")},
             **e08_rows.extra_metrics(REGIONS)},
    settings={**SETTINGS, "network": (e08_rows.WIDTH, e08_rows.NUM_BLOCKS)}, baselines=frozenset({"P"}),
    checks=(Task(dp_name("ONE", DP_RATES[0]), 4, (0, 1)), Task(name("moved target", 1e-2), 8, (0, 1))),
    checked=("one_step.inside", "validation"))


def run(variant: str, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    """Train and judge one variant; every metric has one entry per seed."""
    problem = sys.modules[__name__]
    if variant == "P":
        return {**e08_rows.measured(problem, ks.coarse_solver(), 1, REGIONS), **no_training()}
    return e08_rows.run(problem, SPEC.variants[variant], seeds, budget, REGIONS, None)


def cost(variant: str, budget: int) -> float:
    """About how many seconds a task takes."""
    if variant == "P":
        return 2.0
    return 4 + budget * (0.014 if budget == DP_BUDGET else 0.0055)
