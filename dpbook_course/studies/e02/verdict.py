"""The claims that E02 decides, and their criteria, stated before its results.   Chapter: 02_solver_as_data.

Expected: the first by construction, since P sees nothing of N. Of the second, that small sets lose and large ones do
not: once a set covers the domain as densely as the network can tell apart, new samples add nothing and their price
remains. The third depends on the solver's price against the disk's.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import pandas

from ...claims.claims import Claim, Verdict
from ...claims.findings import RULE, SMALLER, Finding, all_of, conclude, fact, per_seed, smaller
from ...claims.ledger import STATEMENTS
from ...claims.wall_clock import at_time
from .design import BUDGETS, EQUALITY_BUDGET, LONGER, LOSSES, SEEDS, SIZES, SUBSTEPS, substeps

LAST = BUDGETS[-1]
PER_BATCH = 4  # trajectories per batch and seed
STUDY = 6
MEASURES = {"error.inside": "error inside", "error.edge": "error on the edge",
            "long_error.inside": "error over 200 steps inside"}  # {metric: in words}
ROUNDING = 1e-5


class Seconds(NamedTuple):
    """What a training costs, all seeds together [s].

    Attributes:
        update: one update from memory.
        fresh: one update with the generation of its batch.
        storing: generating a batch for a fixed set, writing and reading it.
    """

    update: float
    fresh: float
    storing: float

    def total(self, size: int | None, budget: float) -> float:
        """With a fixed set of so many trajectories per seed, held in memory, or fresh ones (None)."""
        if size is None:
            return budget * self.fresh
        return size / PER_BATCH * self.storing + budget * self.update


def variant(size: int | None, loss: str) -> str:
    """The name of a data set, fresh if it has no size, with a loss."""
    return f"{'fresh' if size is None else f'{size} stored'}, {loss}"


def seconds(e02: pandas.DataFrame, throughput: pandas.DataFrame, loss: str) -> Seconds | None:
    """Medians over seeds, sets and budgets; None while a measurement is missing."""
    def median(sizes: Iterable[str], metric: str) -> float:
        return pandas.concat([per_seed(e02, f"{size}, {loss}", n, metric) for size in sizes for n in BUDGETS]).median()

    writing, reading = (per_seed(throughput, substeps(STUDY), 0, name).median() for name in ("writing", "in_order"))
    stored = [f"{size} stored" for size in SIZES]
    generating = median(["fresh"], "generation")
    found = Seconds(median(stored, "seconds_per_update"), median(["fresh"], "seconds_per_update"),
                    generating + PER_BATCH * len(SEEDS) * (writing + reading))
    return None if any(map(math.isnan, found)) else found


def at_equal_time(e02: pandas.DataFrame, cost: Seconds | None, size: int, loss: str, metric: str,
                  longer: Sequence[int] = ()) -> tuple[pandas.Series, pandas.Series]:
    """The metric with fresh data and with a fixed set, at the longest time that both have reached; or both empty.

    Args:
        longer: further budgets of the fixed set.
    """
    budgets = {None: BUDGETS, size: (*BUDGETS, *longer)}  # by the number of trajectories, as in Seconds.total
    series = {data: pandas.concat([per_seed(e02, variant(data, loss), n, metric) for n in of_row], axis=1, join="inner")
              for data, of_row in budgets.items()}
    if cost is None or any(values.empty for values in series.values()):
        return pandas.Series(dtype=float), pandas.Series(dtype=float)
    times = {data: [cost.total(data, n) for n in of_row] for data, of_row in budgets.items()}
    time = min(t[-1] for t in times.values())
    return tuple(pandas.Series(at_time(times[data], values.to_numpy(), time), values.index)
                 for data, values in series.items())


def decide_equality(frames: Mapping[str, pandas.DataFrame]) -> Verdict:
    """C04: the same weights, bit for bit, and no graph through P."""
    frame = frames["e02_equality"]
    equal, graph, distance = (per_seed(frame, "one step", EQUALITY_BUDGET, name)
                              for name in ("equal", "graph", "distance"))
    required = [_mean("one step: fraction of seeds with equal weights", equal, equal == 1),
                _mean("one step: fraction with a graph of what enters N", graph, graph == 0)]
    enough = [_mean("one step: relative distance of the weights", distance, distance <= ROUNDING)]
    control = [_mean(f"four steps: {text}", per_seed(frame, "four steps", EQUALITY_BUDGET, name), graph == graph)
               for name, text in (("equal", "fraction of seeds with equal weights"),
                                  ("graph", "fraction with a graph of what enters N"),
                                  ("distance", "relative distance of the weights"))]
    return conclude(required, enough, f"{EQUALITY_BUDGET} updates", shown=control)


def decide_sampling(frames: Mapping[str, pandas.DataFrame]) -> Verdict:
    """C05: fresh samples against fixed sets, at equal time."""
    frame = frames["e02"]
    found, shown, times = {}, [], {}
    for loss in LOSSES:
        cost = times[loss] = seconds(frame, frames["e02_throughput"], loss)
        for size in SIZES:
            found[size, loss] = [
                smaller(f"{words}, fresh / {size} stored, {loss}", *at_equal_time(frame, cost, size, loss, metric))
                for metric, words in MEASURES.items()]
            shown.append(smaller(f"error inside, fresh / {size} stored, {loss}, {LAST:,} updates each",
                                 *(per_seed(frame, f"{data}, {loss}", LAST, "error.inside")
                                   for data in ("fresh", f"{size} stored"))))
        for size, longer in LONGER.items():
            shown.append(smaller(f"error inside, fresh / {size} stored, {loss}, time of {LAST:,} fresh updates",
                                 *at_equal_time(frame, cost, size, loss, "error.inside", (longer,))))
    won = [f"{size} ({loss})" for (size, loss), findings in found.items() if all(f.effect.holds for f in findings)]
    study = frame[frame.budget.isin(BUDGETS)]
    blown = sum((study[f"blown_up.{region}"] > 0).sum() for region in ("inside", "edge", "outside") if len(study))
    note = f"All three errors are smaller than with fixed sets of: {', '.join(won) or 'no size'}."
    if all(times.values()):
        extra = ", ".join(f"{cost.fresh / cost.update - 1:.0%} ({loss})" for loss, cost in times.items())
        note += f" Fresh data makes an update dearer by {extra}."
    return conclude([f for findings in found.values() for f in findings], map(all_of, found.values()),
                    f"the time of {LAST:,} updates with a fixed set", shown=shown,
                    note=f"{note} Trained networks with a roll-out that blew up: {blown}.")


def decide_throughput(frames: Mapping[str, pandas.DataFrame]) -> Verdict:
    """C06: a fresh sample against one from the disk."""
    frame = frames["e02_throughput"]
    ratios = {}
    for number in SUBSTEPS:
        fresh, *disk = (per_seed(frame, substeps(number), 0, name) for name in ("generating", "shuffled", "in_order"))
        for name, values in zip(("shuffled", "in order"), disk):
            ratios[number, name] = smaller(f"{substeps(number)}, seconds, fresh / from disk {name}", fresh, values)
    required = [ratios[STUDY, name] for name in ("shuffled", "in order")]
    size = per_seed(frame, substeps(STUDY), 0, "bytes")
    faster = [substeps(number) for number in SUBSTEPS if ratios[number, "in order"].effect.holds]
    note = f"Faster than reading in order: {', '.join(faster) or 'no solver'}."
    if len(size):
        note += f" On disk a sample takes {size.median():,.0f} bytes, a fresh one none."
    others = [finding for key, finding in ratios.items() if key[0] != STUDY]
    return conclude(required, others, "one sample", note=note)


def _mean(name: str, values: pandas.Series, holds: pandas.Series) -> Finding:
    """The mean over seeds; it holds if it does in each seed."""
    return fact(name, float(values.mean()), bool(holds.all()), len(values))


def _claim(claim_id: str, **rest) -> Claim:
    return Claim(claim_id, STATEMENTS[claim_id].text, STATEMENTS[claim_id].chapter, **rest)


CLAIMS = {claim.id: claim for claim in (
    _claim("C04", experiments=("e02_equality",),
           criterion="One-step training of N, 100 updates: on outputs of P that were stored on disk, and with P in the "
           "chain on the same fresh samples. Supported if in each of six seeds all weights are equal, bit for bit, and "
           "what enters N has no graph. Supported under conditions if they differ by at most 1e-5 of their norm. The "
           "same with four steps is shown as a control: it feeds outputs of N to P. Neither needs a test. " + RULE,
           decide=decide_equality),
    _claim("C05", experiments=("e02", "e02_throughput"),
           criterion="Fixed sets of 16, 64, 256 and 1,024 trajectories, with a supervised and a DP loss, against fresh "
           "ones. Equal cost: the time that the fixed set takes to be generated, written, read once, and for 6,000 "
           "updates from memory; the fresh training is interpolated between its budgets at this time. Supported if "
           "fresh has the smaller error over 50 steps inside the domain and on its edge and the smaller error over 200 "
           "steps inside, for every size and both losses. Supported under conditions if it has all three for one size "
           "and one loss. " + SMALLER, decide=decide_sampling),
    _claim("C06", experiments=("e02_throughput",),
           criterion="Time per sample of generating it, and of reading it from the disk in shuffled batches and in "
           "whole batches in order, for solvers of 1 to 64 sub-steps per stored state. Supported if, for the six "
           "sub-steps of this study, generating is faster than both. Supported under conditions if it is faster than "
           "one of them for some number of sub-steps. " + SMALLER, decide=decide_throughput))}
