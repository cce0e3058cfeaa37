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

from collections.abc import Sequence

import torch
from torch import Tensor

from ...experiments.spec import Replication, Specification, Task
from ...experiments.trainings import no_training
from ...experiments.tuning import at_rate
from ...problems import kuramoto_sivashinsky as ks
from ...problems.data_sets import cached_per_set
from ...problems.ks import UNIT_SEED, KuramotoSivashinskyProblem
from ...problems.problem import Trajectories
from . import rows as e08_rows
from .design import DP_BUDGET, DP_RATES, EQUAL, FIRST, SEEDS, SMALL_BUDGETS, SMALL_GRID, dp_name, name
from .noise import ONE, UNROLLED, noisy, phases
from .rows import Noise, Variant


class LittleData(KuramotoSivashinskyProblem):
    """The problem of E04 with less data, on one domain."""

    regions = ("inside",)

    @cached_per_set
    def trajectories(self, name: str) -> Trajectories:
        """``train``: the first states of one trajectory; ``validation``: E04's at this length; ``inside``: test."""
        if name == "inside":
            return ks.trajectories("unit")
        data = ks.trajectories(name)
        same = (data.length == torch.tensor(self.length)).nonzero()[:, 0]
        if name == "train":
            return Trajectories(data.states[same[:1], :self.train_states], {"length": data.length[same[:1]]})
        return Trajectories(data.states[same], {"length": data.length[same]})


little_data = LittleData(**ks.settings, length=ks.unit_length, train_states=6, test_seed=UNIT_SEED)
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
    metrics={**little_data.metrics, **e08_rows.extra_metrics(little_data.regions)},
    settings={**little_data.settings, "network": (e08_rows.WIDTH, e08_rows.NUM_BLOCKS)}, baselines=frozenset({"P"}),
    replication=Replication({
        "ONE": SMALL_BUDGETS[1:], "P": (0,),
        **{n: (EQUAL,) for n in _VARIANTS if n.startswith("white") and "then" not in n},
        **{dp_name(first, rate): (DP_BUDGET,) for rate in DP_RATES
           for first in ("", "ONE", *(name("white", sigma) for sigma in FIRST))}}),
    checks=(Task(dp_name("ONE", DP_RATES[0]), 4, (0, 1)), Task(name("moved target", 1e-2), 8, (0, 1))),
    checked=("one_step.inside", "validation"))


def run(variant: str, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    """Train and judge one variant; every metric has one entry per seed."""
    if variant == "P":
        return {**e08_rows.measured(little_data, ks.coarse_solver(), 1), **no_training()}
    return e08_rows.run(little_data, SPEC.variants[variant], seeds, budget, None)


def cost(variant: str, budget: int) -> float:
    """About how many seconds a task takes."""
    if variant == "P":
        return 2.0
    return 4 + budget * (0.014 if budget == DP_BUDGET else 0.0055)
