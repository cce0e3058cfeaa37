"""E07: what makes long horizons trainable, and how long is long enough?   Chapter: 06_long_horizons.

The problem and the network are those of E04. *Bare* is an unrolled training with nothing to help it: the network's
last layer as large as the others, no clipping, the full unroll length from the first update on. Each remedy is added
alone; the combination has three of them, of which each is taken away again, and to which each of the others is added.
The unroll length is then varied with the combination. Growth of gradients: ``e07_gradients``; time and memory:
``e07_cost``.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from dpbook_utils import setups
from dpbook_utils.gradients import PhysicsPath, Truncated
from dpbook_utils.history import History
from dpbook_utils.networks import Ensemble
from dpbook_utils.setups import Setup

from ...experiments.spec import Specification, Task
from ...experiments.trainings import losses
from ...problems import kuramoto_sivashinsky as ks
from .design import BUDGET, LONG_BUDGET, RATES

WIDTH, NUM_BLOCKS = 16, 4
SMALL, PLAIN = 0.01, 1.0  # factor of the last layer's initial weights
REMEDIES_AT = (8, 16)  # unroll lengths at which remedies are compared
HORIZONS = (1, 2, 4, 8, 16, 32)
STAGES = (1, 3, 8, 16)  # of the curriculum, as far as they are shorter than the full length
RATE = 3e-3  # the best of the three for ONE, WIG-3 and WIG-8 in e04_tuning


@dataclass(frozen=True)
class Variant:
    """A set-up and the two remedies that it has no word for.

    Attributes:
        output_scale: factor of the last layer's initial weights.
        warmup: fraction of the budget over which the learning rate rises to its value.
    """

    setup: Setup
    output_scale: float = PLAIN
    warmup: float = 0.0


def stages(num_steps: int) -> tuple[tuple[float, int], ...] | None:
    """The curriculum: 1, 3, 8, ... steps share the first half of the budget, the full length has the second."""
    shorter = [m for m in STAGES if m < num_steps]
    if not shorter:
        return None
    starts = [0.5 * i / len(shorter) for i in range(len(shorter))]
    return (*zip(starts, shorter), (0.5, num_steps))


def combination(num_steps: int, rate: float = RATE) -> Variant:
    """Small last layer, clipping and curriculum."""
    return Variant(Setup(num_steps, learning_rate=rate, curriculum=stages(num_steps)), SMALL)


def remedies(num_steps: int) -> dict[str, Variant]:
    """Bare, each remedy alone, the combination without each of its parts, and with each of the others."""
    setup = Setup(num_steps, learning_rate=RATE, clip_norm=None)
    bare, best = Variant(setup), combination(num_steps)
    alone = {"small last layer": replace(bare, output_scale=SMALL),
             "clipping": replace(bare, setup=replace(setup, clip_norm=1.0)),
             "curriculum": replace(bare, setup=replace(setup, curriculum=stages(num_steps))),
             "truncation": replace(bare, setup=replace(setup, gradient=Truncated(4))),
             "warm-up": replace(bare, warmup=0.1),
             "physics path": replace(bare, setup=replace(setup, gradient=PhysicsPath())),
             "rate 0.001": replace(bare, setup=replace(setup, learning_rate=1e-3)),
             "rate 0.0003": replace(bare, setup=replace(setup, learning_rate=3e-4))}
    without = {"small last layer": replace(best, output_scale=PLAIN),
               "clipping": replace(best, setup=replace(best.setup, clip_norm=None)),
               "curriculum": replace(best, setup=replace(best.setup, curriculum=None))}
    extra = {"truncation": replace(best, setup=replace(best.setup, gradient=Truncated(4))),
             "warm-up": replace(best, warmup=0.1),
             "physics path": replace(best, setup=replace(best.setup, gradient=PhysicsPath()))}
    return {f"bare, m={num_steps}": bare,
            **{f"bare + {name}, m={num_steps}": variant for name, variant in alone.items()},
            **{f"m={num_steps} without {name}": variant for name, variant in without.items()},
            **{f"m={num_steps} with {name}": variant for name, variant in extra.items()}}


def variants() -> dict[str, Variant]:
    found = {"bare, m=1": Variant(Setup(1, learning_rate=RATE, clip_norm=None))}
    for m in REMEDIES_AT:
        found |= remedies(m)
    found |= {f"m={m}": combination(m) for m in HORIZONS}
    return found | {f"m={m}, rate {rate:g}": combination(m, rate) for m in (1, *REMEDIES_AT) for rate in RATES
                    if rate != RATE}


_VARIANTS = variants()
SPEC = Specification(
    id="e07", title="Long horizons", chapter="06_long_horizons", variants=_VARIANTS, seeds=(0, 1, 2, 3, 4, 5),
    budgets={name: (BUDGET, LONG_BUDGET) if name in {f"m={m}" for m in HORIZONS if m <= 16} else (BUDGET,)
             for name in _VARIANTS},
    metrics={**ks.metrics, "validation": "mean relative L2 error over 12 steps, on validation data",
             "losses": "training loss at 32 updates, evenly spaced in the logarithm; NaN after a divergence",
             "diverged_at": "update at which the training diverged; -1 for none",
             "gradient_norms": "median, 90 %, 99 % and 100 % quantile of the gradient's norm before clipping",
             "long_gradients": "fraction of the updates with a gradient norm above 1",
             "seconds": "wall-clock time of the training, all seeds together [s]"},
    settings={**ks.settings, "width": WIDTH, "num_blocks": NUM_BLOCKS, "longest": max(HORIZONS)},
    checks=tuple(Task(name, 8, (0, 1)) for name in ("m=1", "bare + warm-up, m=8", "m=8 with truncation")),
    checked=("one_step.inside", "validation"))


def run(variant: str, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    """Train and judge one variant; every metric has one entry per seed."""
    row = SPEC.variants[variant]
    step = ks.hybrid(networks(seeds, row.output_scale))
    history = train(row, step, seeds, budget)
    return {**ks.evaluate(step, len(seeds)), "validation": ks.validation_error(step, len(seeds)),
            **training_metrics(history, budget)}


def networks(seeds: Sequence[int], output_scale: float) -> Ensemble:
    return ks.ensemble(seeds, WIDTH, NUM_BLOCKS, output_scale)


def train(row: Variant, step: nn.Module, seeds: Sequence[int], budget: int, *, longest: int = max(HORIZONS),
          progress: bool = False) -> History:
    """As ``setups.train``, but the learning rate rises linearly before its cosine falls."""
    def schedule(optimizer: torch.optim.Optimizer, budget: int) -> torch.optim.lr_scheduler.LRScheduler:
        rising = max(1, round(row.warmup * budget))
        return torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda k: min(1, (k + 1) / rising) * (1 + math.cos(math.pi * k / budget)) / 2)

    batches = ks.windows(seeds, longest, row.setup.batch_size)
    return setups.train(row.setup, row.setup.objective(step), batches, budget, schedule=schedule, progress=progress)


def training_metrics(history: History, budget: int) -> dict[str, Tensor]:
    """What the records keep of a training, also of one that ended early."""
    num_seeds = len(history.diverged_at)
    norms = torch.full((max(1, len(history)), num_seeds), math.nan, dtype=torch.float64)
    norms[:len(history)] = history.gradient_norms
    levels = torch.tensor([0.5, 0.9, 0.99, 1.0], dtype=torch.float64)
    return {"losses": losses(history, budget, num_seeds), "diverged_at": history.diverged_at,
            "gradient_norms": norms.nanquantile(levels, 0).T,
            "long_gradients": (norms > 1).double().sum(0) / (~norms.isnan()).sum(0).clamp(min=1),
            "seconds": history.seconds.sum().expand(num_seeds)}
