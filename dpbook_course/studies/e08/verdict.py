"""The claims that E08 decides, and their criteria, stated before its results.   Chapter: 07_noise.

What was known: E04's NOISE (white, a hundredth of the data's standard deviation) had the error of ONE at 1,500 updates.
Trials of ONE on little data (three seeds, constant rate) had a training loss that fell throughout; the error on other
states after one step rose from 1,600 to 6,400 updates by a twentieth to a quarter with 9 successive states, and by a
tenth to a factor of two with 6, which fixed the 6 of ``e08_small``. No other training with noise had been looked at.

Published: noise ties with unrolling on a periodic flow and is less stable than it on a transonic one (kohl2023).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas

from ...claims.claims import Claim, Verdict
from ...claims.comparisons import Lower, Smaller, SmallerInTime, cross, found_in
from ...claims.findings import SMALLER, Finding, all_of, conclude, per_seed
from ...claims.ledger import STATEMENTS
from .design import (
    BASE,
    DP_BUDGET,
    DP_RATES,
    EQUAL,
    FIRST,
    GRID,
    LONG,
    LONGER,
    PERIODIC_GRID,
    REGIONS,
    SHORT,
    SMALL_BUDGETS,
    SMALL_GRID,
    dp_name,
    name,
)
from .design import SIGMAS as SIGMAS

UNDIRECTED = ("white", "shaped", "walk")  # noise instead of unrolling, the target where it was
WIG = ("WIG-3", "WIG-8")


def best(frame: pandas.DataFrame, variants: Sequence[str], budget: int) -> str | None:
    """The variant with the smallest geometric-mean validation error; None while results of one are missing."""
    found = {variant: per_seed(frame, variant, budget, "validation") for variant in variants}
    if any(values.empty for values in found.values()):
        return None
    return min(variants, key=lambda variant: float(np.log(found[variant]).mean()))


def best_noise(frame: pandas.DataFrame, family: str, budget: int, grid: Mapping = GRID) -> str | None:
    """The noise of a family, sigma > 0, chosen on validation data."""
    return best(frame, [name(family, sigma) for sigma in grid[family][budget]], budget)


def decide_help(frames: Mapping[str, pandas.DataFrame]) -> Verdict:
    """C15: noise against overfitting, on little data, and against drift, on enough."""
    frame, small = with_blown_up(frames["e08"]), frames["e08_small"]
    many = SMALL_BUDGETS[-1]
    noise = best_noise(small, "white", many, SMALL_GRID)
    against = [Smaller(metric, "inside", noise, "ONE", many, words=f"little data: {words}",
                       names=("white noise", "ONE"))
               for metric, words in (("error", "error over 12 steps"), ("one_step", "error after one step"))]
    help_little = [each.finding(small) for each in against]
    drift, blown, errors, wanted, chosen = [], [], [], [], [f"little data: {noise}"]
    for family, base in BASE.items():
        names = (f"{family} with noise" if family == base else family, base)
        for budget in (SHORT, LONG):
            noise = best_noise(frame, family, budget)
            drift.append(Smaller("drift", "inside", noise, base, budget, names=names))
            errors.append(Smaller("error", "inside", noise, base, budget, names=names))
            blown.append(Lower("blown_up", "", noise, base, budget, names=names))
            chosen.append(f"{budget:,} updates: {noise}")
            if family in ("white", "WIG-3") and budget == LONG:
                wanted.append(drift[-1])
    drift, blown, errors = (found_in(frame, comparisons) for comparisons in (drift, blown, errors))
    return conclude([*overfits(small), *help_little, *(drift[each] for each in wanted)],
                    [*help_little, *drift.values(), *blown.values()],
                    f"{many:,} updates on little data, {LONG:,} on enough", shown=errors.values(), main=help_little[0],
                    note=f"Chosen on validation data: {'; '.join(chosen)}.")


def overfits(small: pandas.DataFrame) -> list[Finding]:
    """That more updates of ONE fit the training states better and other states worse."""
    few, many = SMALL_BUDGETS[-2:]
    said = {"ending": " updates", "names": (f"{many:,}", f"{few:,}")}
    return [Smaller("rms_train", "", "ONE", "ONE", many, budget_b=few,
                    words="little data: ONE, error on training states", **said).finding(small),
            Smaller("one_step", "inside", "ONE", "ONE", few, budget_b=many,
                    words="little data: ONE, error on other states after one step",
                    **said | {"names": (f"{few:,}", f"{many:,}")}).finding(small)]


def with_blown_up(frame: pandas.DataFrame) -> pandas.DataFrame:
    """With the fraction of the roll-outs in all three regions that blow up."""
    if frame.empty:
        return frame
    return frame.assign(blown_up=sum(frame[f"blown_up.{region}"] for region in REGIONS) / len(REGIONS))


def decide_accuracy(frames: Mapping[str, pandas.DataFrame]) -> Verdict:
    """C16: unrolled training against the best of each kind of noise."""
    frame, periodic = frames["e08"], frames["e08_periodic"]
    required, shown, chosen = {}, [], []
    timed, moved = best_noise(frame, "white", LONGER), best_noise(frame, "moved target", LONG)
    repeated = best_noise(periodic, "white", LONG, PERIODIC_GRID)
    best_of = {family: best_noise(frame, family, LONG) for family in UNDIRECTED}
    for wig in WIG:
        for family, noise in best_of.items():
            chosen.append(str(noise))
            required |= found_in(frame, cross(Smaller, "error", list(REGIONS), wig, noise, LONG, names=(wig, family)))
            early = best_noise(frame, family, SHORT)
            shown.append(Smaller("error", "inside", wig, early, SHORT, names=(wig, family)).finding(frame))
        white = {"names": (wig, "white")}
        required |= found_in(frame, [
            Smaller("decorrelation", "inside", best_of["white"], wig, LONG, names=("white", wig)),
            SmallerInTime("error", "inside", wig, timed, (SHORT, LONG), budget_b=(SHORT, LONG, LONGER), **white)])
        required |= found_in(periodic, [
            Smaller("error", "inside", wig, repeated, LONG, words="periodic: error inside", **white)])
        shown += [Smaller("decorrelation", "inside", repeated, wig, LONG, words="periodic: time to decorrelation",
                          names=("white", wig)).finding(periodic),
                  Smaller("error", "inside", wig, moved, LONG, names=(wig, "moved target")).finding(frame)]
    walk = Smaller("error", "inside", best_of["walk"], "history", LONG, names=("walk", "history without noise"))
    shown.append(walk.finding(frame))
    enough = [found for each, found in required.items() if (each.metric, each.region) == ("error", "inside")]
    return conclude(required.values(), enough, f"{LONG:,} updates, and equal wall-clock", shown=shown,
                    note=f"Chosen on validation data: {'; '.join(dict.fromkeys([*chosen, f'{timed} at {LONGER:,}']))}. "
                         "The networks of the walk see a history, those of WIG do not.")


def decide_start(frames: Mapping[str, pandas.DataFrame]) -> Verdict:
    """C17: noise and then DP, at equal cost, against DP alone, noise alone, and the same without noise."""
    small = frames["e08_small"]
    both = best(small, [dp_name(name("white", sigma), rate) for sigma in FIRST for rate in DP_RATES], DP_BUDGET)
    alone = best(small, [dp_name("", rate) for rate in DP_RATES], DP_BUDGET)
    plain = best(small, [dp_name("ONE", rate) for rate in DP_RATES], DP_BUDGET)
    noise = best_noise(small, "white", EQUAL, SMALL_GRID)
    others = {"DP from the start": (alone, DP_BUDGET), "noise alone": (noise, EQUAL),
              "ONE, then DP": (plain, DP_BUDGET)}
    start = "noise, then DP"
    found = {what: Smaller("error", "inside", both, other, DP_BUDGET, budget_b=budget, words="error over 12 steps",
                           names=(start, what), ending="").finding(small) for what, (other, budget) in others.items()}
    longer = [Smaller("decorrelation", "inside", other, both, budget, budget_b=DP_BUDGET, words="time to decorrelation",
                      names=(what, start), ending="").finding(small) for what, (other, budget) in others.items()]
    chosen = [both, alone, plain, noise]
    return conclude([*overfits(small), *found.values()],
                    [all_of((found["DP from the start"], found["noise alone"]))],
                    f"{DP_BUDGET:,} updates of WIG-3, or {EQUAL:,} of ONE, which take as long", shown=longer,
                    note=f"Chosen on validation data: {'; '.join(map(str, chosen))}.", main=found["DP from the start"])


CLAIMS = {claim.id: claim for claim in (
    Claim(
        "C15", STATEMENTS["C15"].text, "07_noise",
        ("e08", "e08_small"),
        "Sigma is the best of its grid, above zero, on validation data. Supported if (1) on little data ONE overfits: "
        "from 1,500 to 6,300 updates its error falls on training states and rises on others; (2) there white noise has "
        "at 6,300 updates a smaller error than ONE, after one step and over 12; (3) on enough data, at 6,000 updates, "
        "the state's mean, which the equation keeps, drifts less over 400 steps with white noise on the input of ONE, "
        "and with noise on the iterations of WIG-3, than without. Supported under conditions if one comparison of (2) "
        "is as claimed, or the drift or the fraction of roll-outs that blow up is smaller with one of the kinds of "
        "noise at 1,500 or 6,000 updates. " + SMALLER, decide_help),
    Claim(
        "C16", STATEMENTS["C16"].text, "07_noise",
        ("e08", "e08_periodic"),
        "Sigma is the best of its grid, above zero, on validation data, for each of white noise, shaped noise and a "
        "random walk, with the clean next state as target. Supported if WIG-3 and WIG-8 have a smaller error over 12 "
        "steps than each of the three, inside, below and above the training range, at 6,000 updates; and than white "
        "noise, inside, at equal wall-clock (noise has up to 15,000 updates) and, at 6,000, in the periodic case, with "
        "a longer time to decorrelation in the chaotic one. Supported under conditions if one of the comparisons of "
        "errors inside is as claimed. " + SMALLER, decide_accuracy),
    Claim(
        "C17", STATEMENTS["C17"].text, "07_noise", ("e08_small",),
        "On little data. Supported if (1) ONE overfits, as for C15, and (2) white noise for half of the time and then "
        "WIG-3 has a smaller error over 12 steps than WIG-3 from the start, than white noise alone, and than ONE and "
        "then WIG-3, all at equal cost, sigma and the learning rate of WIG-3 chosen on validation data. Supported "
        "under conditions if it is smaller than both WIG-3 from the start and noise alone. " + SMALLER, decide_start),
)}
