"""The claims that E07 decides, and their criteria.   Chapter: 06_long_horizons.

Stated before the study, but after short trials of it, which had shown that at m = 1 a hybrid costs what supervised
training costs.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas

from ...claims import findings
from ...claims.claims import Claim, Verdict
from ...claims.comparisons import Smaller
from ...claims.effects import BELOW
from ...claims.findings import (
    DIVERGED,
    SMALLER,
    Finding,
    between,
    common_seeds,
    conclude,
    fact,
    lower,
    per_seed,
    smaller,
)
from ...claims.ledger import STATEMENTS
from .design import BUDGET, FIRST, HORIZONS, LENGTHS, LONG_BUDGET, RATES

ERROR = "error.inside"
COSTS = {"time": "relative", "memory": "memory"}  # what is compared of e07_cost: time in turn with supervised training
PARTS = ("small last layer", "clipping", "curriculum")


def slope(norms: Sequence[float], horizons: Sequence[int] = HORIZONS, first: int = FIRST) -> float:
    """Slope of ln(norm) over the horizons from ``first`` on, by least squares [1/step]; NaN for infinite norms."""
    m = np.array([h for h in horizons if h >= first], float)
    chosen = np.asarray(norms, float)[[h >= first for h in horizons]]
    if not (np.isfinite(chosen) & (chosen > 0)).all():
        return math.nan
    return float(np.polyfit(m, np.log(chosen), 1)[0])


def slopes(frame: pandas.DataFrame, variant: str, budget: int, metric: str = "adjoint") -> pandas.Series:
    """By seed."""
    chosen = frame[(frame.variant == variant) & (frame.budget == budget)]
    values = [slope(norms) for norms in chosen[metric]] if len(chosen) else []
    return pandas.Series(values, chosen.seed.to_numpy(), dtype=float)


def judged(frame: pandas.DataFrame, variant: str, budget: int = BUDGET, metric: str = ERROR) -> pandas.Series:
    """``findings.judged``, by default of the error inside at the smaller budget."""
    return findings.judged(frame, variant, budget, metric)


def tuned(frame: pandas.DataFrame, name: str) -> str:
    """The variant with the best learning rate on validation data: ``name`` itself, or ``name, rate ...``."""
    variants = [name, *(f"{name}, rate {rate:g}" for rate in RATES)]
    means = {}
    for variant in variants:
        values = judged(frame, variant, metric="validation")
        if len(values):
            means[variant] = float(np.log(values).mean())
    return min(means, key=means.get) if means else name


def none_diverged(frame: pandas.DataFrame, variant: str) -> Finding:
    """That no seed of a variant diverged: their number."""
    values = per_seed(frame, variant, BUDGET, "diverged_at")
    count = float((values >= 0).sum()) if len(values) else math.nan
    return fact(f"trainings that diverged, {variant}", count, count == 0, len(values))


def decide_gradients(frames: Mapping[str, pandas.DataFrame]) -> Verdict:
    """C13."""
    frame, trainings = frames["e07_gradients"], frames["e07"]
    chaotic = []
    for variant, budget in (("reference", 0), ("trained", BUDGET)):
        found, rate = common_seeds(slopes(frame, variant, budget), per_seed(frame, variant, budget, "exponent"))
        chaotic.append(between(f"growth rate of gradients / Lyapunov exponent, {variant}", found / rate, 0.75, 1.25))
    decaying = [lower(f"growth rate of gradients [1/step], {variant}", slopes(frame, variant, budget), 0.0, BELOW)
                for variant, budget in (("heat", 0), ("heat, trained", BUDGET))]
    harder = _error("m=16", "bare, m=16", ("m=16, combination", "bare")).finding(trainings)
    blown = [f"{variant}: {_infinite(frame, variant)}" for variant in ("untrained", "untrained, small last layer")]
    note = "Seeds with infinite gradients at m=16 in untrained hybrids, " + ", ".join(blown) + "."
    return conclude([*chaotic, *decaying, harder], [*chaotic, harder], f"{BUDGET:,} updates", note=note)


def decide_remedies(frames: Mapping[str, pandas.DataFrame]) -> Verdict:
    """C14."""
    frame, cost = frames["e07"], frames["e07_cost"]
    best, one = (tuned(frame, name) for name in ("m=16", "m=1"))
    whole = [_error("m=16", "bare, m=16", ("m=16, combination", "bare")), _error(best, one),
             Smaller("error", "inside", "m=16", "m=1", LONG_BUDGET, diverged=True)]
    parts = [*(_error("m=16", f"m=16 without {part}", (None, f"without {part}")) for part in PARTS),
             _error("m=16 with truncation", "m=16", ("m=16, with truncation", "without"))]
    enough = [each.finding(frame) for each in whole]
    required = [
        none_diverged(frame, "m=16"), *enough, *(each.finding(frame) for each in parts),
        smaller("memory at m=64, checkpointed / half of plain", per_seed(cost, "checkpointed, m=64", 0, "memory"),
                per_seed(cost, "plain, m=64", 0, "memory") / 2),
        _equal(cost)]
    shown = [*(_error("m=8", f"m=8 without {part}", ("m=8, combination", f"without {part}")) for part in PARTS),
             *(_error(f"m={m} with {name}", f"m={m}", (f"m={m}, with {name}", "without"))
               for m in (8, 16) for name in ("truncation", "warm-up", "physics path"))]
    return conclude(required, enough, f"{BUDGET:,} and {LONG_BUDGET:,} updates",
                    shown=[each.finding(frame) for each in shown])


def decide_cost(frames: Mapping[str, pandas.DataFrame]) -> Verdict:
    """C24."""
    frame = frames["e07_cost"]
    supervised = {name: per_seed(frame, "supervised", 0, metric) for name, metric in COSTS.items()}

    def compared(name: str, m: int, factor: int) -> Finding:
        return smaller(f"{name}, {factor} x supervised / m={m}",
                       factor * supervised[name],
                       per_seed(frame, f"plain, m={m}", 0, COSTS[name]))

    required = [compared(name, m, factor) for name in COSTS for m, factor in ((1, 1), (4, 2), (16, 2))]
    shown = [smaller(f"{name} per evaluation of the network, m={m} / supervised",
                     per_seed(frame, f"plain, m={m}", 0, metric) / m, supervised[name])
             for name, metric in COSTS.items() for m in (1, 4, 16)]
    shown += [smaller(f"{name}, checkpointed / plain, m={m}",
                      *(per_seed(frame, f"{way}, m={m}", 0, metric) for way in ("checkpointed", "plain")))
              for name, metric in COSTS.items() for m in (16, 64, 256)]
    return conclude(required, required, "one update", shown=shown,
                    note="Measured on one machine; times and memory are its own. An update through m steps evaluates "
                         "the network m times as often as a supervised one; the costs per evaluation are shown.")


def _error(a: str, b: str, names: tuple[str | None, str | None] = (None, None)) -> Smaller:
    """Of the errors inside, after the smaller budget."""
    return Smaller("error", "inside", a, b, BUDGET, diverged=True, names=names, ending="")


def _infinite(frame: pandas.DataFrame, variant: str) -> str:
    chosen = frame[frame.variant == variant]
    count = sum(not np.isfinite(norms[HORIZONS.index(16)]) for norms in chosen.adjoint) if len(chosen) else 0
    return f"{count} of {len(chosen)}"


def _equal(frame: pandas.DataFrame) -> Finding:
    """That every checkpointed gradient equals the plain one bit for bit: the share that does.

    Only where the plain one equals a repetition of itself: a roll-out that overflows has no gradient to compare.
    """
    name = "gradients equal bit for bit, checkpointed and plain"
    if frame.empty:
        return fact(name, math.nan, False, 0)
    plain, again = (pandas.concat({m: per_seed(frame, f"{way}, m={m}", 0, "equal") for m in LENGTHS})
                    for way in ("plain", "checkpointed"))
    compared = again[plain.reindex(again.index) == 1]
    num_seeds = compared.index.get_level_values(-1).nunique()
    share = float(compared.mean())
    return fact(name, share, share == 1, num_seeds)


CLAIMS = {claim.id: claim for claim in (
    Claim(
        "C13", STATEMENTS["C13"].text, "06_long_horizons",
        ("e07_gradients", "e07"),
        "Supported if (1) on the attractor of the Kuramoto-Sivashinsky equation the norm of a linear functional's "
        "gradient with respect to the initial state grows, from m = 16 to m = 128, at a rate within 25 % of the "
        "leading Lyapunov exponent of the same trajectories, for the reference solver and for a trained hybrid; (2) "
        "for the heat equation, with and without a trained network, it shrinks in all seeds; (3) at m = 16 a training "
        "without remedies diverges or ends with a larger error than one with them. Supported under conditions if (3), "
        "or (1) for one of its two cases, holds. " + SMALLER + DIVERGED,
        decide_gradients),
    Claim(
        "C14", STATEMENTS["C14"].text, "06_long_horizons", ("e07", "e07_cost"),
        "Supported if, at m = 16, (1) with small last layer, clipping and curriculum no seed diverges; (2) the error "
        "over 12 steps is smaller than without any of them, and smaller than with m = 1 at equal updates (at 1,500 "
        "with the best of three learning rates each, and at 6,000); (3) it is smaller than without each of the three "
        "alone, and smaller still with truncation; (4) checkpointing gives equal gradients bit for bit and needs less "
        "than half of the memory at m = 64. Supported under conditions if one of the comparisons of (2) is as claimed. "
        + SMALLER + DIVERGED, decide_remedies),
    Claim(
        "C24", STATEMENTS["C24"].text, "06_long_horizons",
        ("e07_cost",),
        "Supported if loss and gradient of a hybrid take more processor time and more memory than supervised training "
        "of the same network on stored solver outputs at m = 1, and more than twice as much at m = 4 and m = 16. The "
        "hybrid evaluates the network m times per update, supervised training once; costs per evaluation are shown. "
        "Supported under conditions if one of these six comparisons is as claimed. " + SMALLER, decide_cost),
)}
