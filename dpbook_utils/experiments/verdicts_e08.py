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

from .claims import Claim, Verdict
from .findings import Finding, at_equal_time, conclude, lower, per_seed, smaller
from .ledger import STATEMENTS
from .verdicts_e04 import SMALLER
from .verdicts_e06 import joined

SEEDS = (0, 1, 2, 3, 4, 5)
SIGMAS = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1)
LOWER = (1e-3, 3e-3, 1e-2, 3e-2)
WEAK = (1e-3, 3e-3, 1e-2)
SHORT, LONG, LONGER = 1500, 6000, 15000  # updates of one step take as long as 6,000 of three
BASE = {"white": "ONE", "moved target": "ONE", "shaped": "ONE", "walk": "history", "NOG-3": "NOG-3", "WIG-3": "WIG-3"}
GRID = {  # {family: {budget: sigmas}}
    "white": {SHORT: SIGMAS, LONG: SIGMAS, LONGER: WEAK}, "moved target": {SHORT: SIGMAS, LONG: LOWER},
    "shaped": {SHORT: SIGMAS, LONG: LOWER}, "walk": {SHORT: SIGMAS, LONG: LOWER},
    "NOG-3": {SHORT: SIGMAS, LONG: LOWER}, "WIG-3": {SHORT: SIGMAS, LONG: LOWER}}
UNDIRECTED = ("white", "shaped", "walk")  # noise instead of unrolling, the target where it was
PERIODIC_GRID = {"white": {SHORT: SIGMAS, LONG: (1e-3, 1e-2, 1e-1)}, "WIG-3": {SHORT: (1e-2, 1e-1)}}
DP_BUDGET, PER_UPDATE = 2520, 2.5  # an update of WIG-3 takes as long as 2.5 of ONE, to within a tenth
EQUAL = round(DP_BUDGET * PER_UPDATE)
SMALL_GRID = {"white": {EQUAL: SIGMAS}, "moved target": {EQUAL: (1e-2, 3e-2, 1e-1)}}
SMALL_BUDGETS = (300, 1500, EQUAL)  # of ONE
DP_RATES = (1e-3, 3e-3)
FIRST = (1e-2, 3e-2, 1e-1)  # sigmas of the noise before DP
REGIONS = ("inside", "below", "above")
WIG = ("WIG-3", "WIG-8")


def name(family: str, sigma: float) -> str:
    """``white, sigma 0.01``; without noise the set-up that the family adds it to."""
    return f"{family}, sigma {sigma:g}" if sigma else BASE[family]


def dp_name(first: str, rate: float) -> str:
    """``WIG-3, rate 0.003``; after a first phase ``ONE, then WIG-3, rate 0.003``."""
    return f"{first + ', then ' if first else ''}WIG-3, rate {rate:g}"


def best(frame: pandas.DataFrame, variants: Sequence[str], budget: int) -> str | None:
    """The variant with the smallest geometric-mean validation error; None while results of one are missing."""
    found = {variant: per_seed(frame, variant, budget, "validation") for variant in variants}
    if any(values.empty for values in found.values()):
        return None
    return min(variants, key=lambda variant: float(np.log(found[variant]).mean()))


def best_noise(frame: pandas.DataFrame, family: str, budget: int, grid: Mapping = GRID) -> str | None:
    """The noise of a family, sigma > 0, chosen on validation data."""
    return best(frame, [name(family, sigma) for sigma in grid[family][budget]], budget)


def compare(frame: pandas.DataFrame, label: str, a: str | None, budget_a: int, b: str | None, budget_b: int,
            metric: str) -> Finding:
    """That a's metric is smaller than b's."""
    values = [per_seed(frame, variant, budget, metric) if variant else pandas.Series(dtype=float)
              for variant, budget in ((a, budget_a), (b, budget_b))]
    return smaller(label, *values)


def decide_help(frames: Mapping[str, pandas.DataFrame]) -> Verdict:
    """C15: noise against overfitting, on little data, and against drift, on enough."""
    frame, small = frames["e08"], frames["e08_small"]
    few, many = SMALL_BUDGETS[-2:]
    required = overfits(small)
    noise = best_noise(small, "white", many, SMALL_GRID)
    against = [compare(small, f"little data: {words}, white noise / ONE, {many:,} updates", noise, many, "ONE", many,
                       f"{metric}.inside") for metric, words in (("error", "error over 12 steps"),
                                                                 ("one_step", "error after one step"))]
    drift, blown, shown, chosen = [], [], [], [f"little data: {noise}"]
    wanted = []
    for family, base in BASE.items():
        noisy = f"{family} with noise" if family == base else family
        for budget in (SHORT, LONG):
            noise = best_noise(frame, family, budget)
            label = f"{noisy} / {base}, {budget:,} updates"
            found = compare(frame, f"drift inside, {label}", noise, budget, base, budget, "drift.inside")
            error = compare(frame, f"error inside, {label}", noise, budget, base, budget, "error.inside")
            fraction = lower(f"fraction blown up, {noisy} - {base}, {budget:,} updates",
                             *(blown_up(frame, variant, budget) for variant in (noise, base)))
            shown.append(error)
            blown.append(fraction)
            drift.append(found)
            chosen.append(f"{budget:,} updates: {noise}")
            if family in ("white", "WIG-3") and budget == LONG:
                wanted.append(found)
    return conclude([*required, *against, *wanted], [*against, *drift, *blown],
                    f"{many:,} updates on little data, {LONG:,} on enough", shown=shown,
                    note=f"Chosen on validation data: {'; '.join(chosen)}.")


def overfits(small: pandas.DataFrame) -> list[Finding]:
    """That more updates of ONE fit the training states better and other states worse."""
    few, many = SMALL_BUDGETS[-2:]
    return [compare(small, f"little data: ONE, error on training states, {many:,} / {few:,} updates",
                    "ONE", many, "ONE", few, "rms_train"),
            compare(small, f"little data: ONE, error on other states after one step, {few:,} / {many:,} updates",
                    "ONE", few, "ONE", many, "one_step.inside")]


def blown_up(frame: pandas.DataFrame, variant: str | None, budget: int) -> pandas.Series:
    """By seed, the fraction of the roll-outs in all three regions."""
    if variant is None or frame.empty:
        return pandas.Series(dtype=float)
    return sum(per_seed(frame, variant, budget, f"blown_up.{region}") for region in REGIONS) / len(REGIONS)


def decide_accuracy(frames: Mapping[str, pandas.DataFrame]) -> Verdict:
    """C16: unrolled training against the best of each kind of noise."""
    frame, periodic = frames["e08"], frames["e08_periodic"]
    required, enough, shown, chosen = [], [], [], []
    timed = best_noise(frame, "white", LONGER)
    for wig in WIG:
        for family in UNDIRECTED:
            noise = best_noise(frame, family, LONG)
            chosen.append(str(noise))
            for region in REGIONS:
                required.append(compare(frame, f"error {region}, {wig} / {family}, {LONG:,} updates", wig, LONG, noise,
                                        LONG, f"error.{region}"))
            early = best_noise(frame, family, SHORT)
            shown.append(compare(frame, f"error inside, {wig} / {family}, {SHORT:,} updates", wig, SHORT, early, SHORT,
                                 "error.inside"))
        noise = best_noise(frame, "white", LONG)
        required.append(compare(frame, f"time to decorrelation inside, white / {wig}, {LONG:,} updates", noise, LONG,
                                wig, LONG, "decorrelation.inside"))
        values = at_equal_time(frame, wig, (SHORT, LONG), timed, (SHORT, LONG, LONGER), "error.inside") if timed else (
            (pandas.Series(dtype=float),) * 2)
        required.append(smaller(f"error inside, {wig} / white, equal wall-clock", *values))
        noise = best_noise(periodic, "white", LONG, PERIODIC_GRID)
        required.append(compare(periodic, f"periodic: error inside, {wig} / white, {LONG:,} updates", wig, LONG, noise,
                                LONG, "error.inside"))
        shown.append(compare(periodic, f"periodic: time to decorrelation, white / {wig}, {LONG:,} updates", noise, LONG,
                             wig, LONG, "decorrelation.inside"))
        noise = best_noise(frame, "moved target", LONG)
        shown.append(compare(frame, f"error inside, {wig} / moved target, {LONG:,} updates", wig, LONG, noise, LONG,
                             "error.inside"))
    walk = best_noise(frame, "walk", LONG)
    shown.append(compare(frame, f"error inside, walk / history without noise, {LONG:,} updates", walk, LONG, "history",
                         LONG, "error.inside"))
    enough = [f for f in required if "inside" in f.effect.name and "decorrelation" not in f.effect.name]
    return conclude(required, enough, f"{LONG:,} updates, and equal wall-clock", shown=shown,
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
    found = {what: compare(small, f"error over 12 steps, noise, then DP / {what}", both, DP_BUDGET, *other,
                           "error.inside") for what, other in others.items()}
    longer = [compare(small, f"time to decorrelation, {what} / noise, then DP", *other, both, DP_BUDGET,
                      "decorrelation.inside") for what, other in others.items()]
    chosen = [both, alone, plain, noise]
    return conclude([*overfits(small), *found.values()],
                    [joined((found["DP from the start"], found["noise alone"]))],
                    f"{DP_BUDGET:,} updates of WIG-3, or {EQUAL:,} of ONE, which take as long", shown=longer,
                    note=f"Chosen on validation data: {'; '.join(map(str, chosen))}.")


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
        "noise at 1,500 or 6,000 updates. " + SMALLER, decide_help, main="little data: error over 12 steps"),
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
        "under conditions if it is smaller than both WIG-3 from the start and noise alone. " + SMALLER, decide_start,
        main="error over 12 steps, noise, then DP"),
)}
