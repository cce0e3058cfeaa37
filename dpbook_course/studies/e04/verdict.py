"""The claims that E04 decides, and their criteria, stated before its results.   Chapter: 03_unrolling.

Expected from the literature: WIG before ONE at every budget; NOG behind ONE with a small network at a short budget,
before it otherwise; WIG before NOG, by 20 % to a factor of six of the mean squared error. Of the gain over ONE this is
the larger part in two of four published cases, half of it in one and the smaller part in one.

Trainings that diverged: one rule here and in E07 (``findings.judged``). In a test on ranks such a seed is worse than
any that did not diverge, and a ratio is that of the seeds in which neither training did. E04 first took the error of
the last finite weights instead, at which a cap on large errors set the number; the rule changed no outcome. Fractions
of roll-outs that blow up, which are bounded, are still those of the last finite weights.

Source: list2025.
"""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import pandas

from ...claims import effects as statistics
from ...claims.claims import Claim, Verdict
from ...claims.comparisons import Lower, Smaller, SmallerInTime, cross
from ...claims.findings import DIVERGED, SMALLER, Finding, common_seeds, conclude, judged, per_seed, smaller
from ...claims.ledger import STATEMENTS
from .design import BUDGETS, BUDGETS_ONE, DECIDING, LONG

PLACE = BUDGETS.index(DECIDING)
REGIONS = ("inside", "below", "above")
UNROLLED = (3, 8)
WIGS = tuple(f"WIG-{m}" for m in UNROLLED)
Judged = partial(Smaller, diverged=True)


class Published(NamedTuple):
    """Normalised mean squared errors over 12 steps, m = 3, of the authors' own repetition of their study (list2025)."""

    channels: int
    blocks: int
    epochs: int
    one: float
    nog: float
    wig: float


PUBLISHED = (
    Published(26, 8, 20, 0.00728, 0.00797, 0.00582),
    Published(52, 12, 20, 0.00318, 0.00255, 0.00204),
    Published(26, 8, 80, 0.00190, 0.00088, 0.00015),
    Published(52, 12, 80, 0.00099, 0.00029, 0.00012),
)


def decide_unrolling(frames: Mapping[str, pandas.DataFrame]) -> Verdict:
    """C09: WIG against ONE."""
    frame = frames["e04"]
    if not frame.empty:
        frame = frame.assign(blown_up=sum(frame[f"blown_up.{region}"] for region in REGIONS) / 3)
    required, enough, shown, calm = [], [], [], []
    for wig in WIGS:
        for region in REGIONS:
            errors = [each.finding(frame) for each in cross(Judged, "error", region, wig, "ONE", list(BUDGETS))]
            timed = SmallerInTime("error", region, wig, "ONE", BUDGETS, budget_b=BUDGETS_ONE).finding(frame)
            required += [errors[PLACE], timed, Judged("decorrelation", region, "ONE", wig, DECIDING).finding(frame)]
            shown += [*errors, *_remains(frame, wig, "ONE", region)]
            enough += [*errors, timed] if region == "inside" else []
        required.append(Judged("error", "inside", f"{wig}, small", "ONE, small", DECIDING).finding(frame))
        blown = [each.finding(frame) for each in cross(Lower, "blown_up", "", wig, "ONE", list(BUDGETS))]
        required.append(blown[PLACE])
        calm.append(blown[PLACE].effect.value == blown[PLACE].effect.low == blown[PLACE].effect.high == 0)
        shown += blown
    note = f"Nothing blew up at {DECIDING:,} updates, so stability is not told apart. " if all(calm) else ""
    note += _diverged(frame)
    return conclude(required, enough, f"{DECIDING:,} updates, and equal wall-clock", shown=shown, note=note)


def decide_gradient(frames: Mapping[str, pandas.DataFrame]) -> Verdict:
    """C10: WIG against NOG, and NOG against ONE."""
    frame = frames["e04"]
    required, enough, shown, notes = [], [], [], []
    for m in UNROLLED:
        wig, nog = f"WIG-{m}", f"NOG-{m}"
        for region in REGIONS:
            errors = [each.finding(frame) for each in cross(Judged, "error", region, wig, nog, list(BUDGETS))]
            one, cut, full = common_seeds(*(judged(frame, name, DECIDING, f"error.{region}")
                                            for name in ("ONE", nog, wig)))
            share = smaller(f"error {region}, ({wig} / {nog}) / ({nog} / ONE), {DECIDING:,} updates", full * one,
                            cut**2)
            required += [errors[PLACE], share]
            shown += errors
            enough += errors if region == "inside" else []
        required.append(Judged("error", "inside", f"{wig}, small", f"{nog}, small", DECIDING).finding(frame))
        alone = [each.finding(frame) for each in cross(Judged, "error", "inside", nog, "ONE", list(BUDGETS))]
        shown += [*alone, SmallerInTime("error", "inside", wig, nog, BUDGETS).finding(frame)]
        notes += _flip(nog, alone[0], alone[-1])
    return conclude(required, enough, f"{DECIDING:,} updates", shown=shown,
                    note=" ".join([*notes, _diverged(frame)]))


def decide_specialisation(frames: Mapping[str, pandas.DataFrame]) -> Verdict:
    """C22: the network alone against the hybrid, and one-step against unrolled training over recurrent steps."""
    frame = frames["e04"]
    if not frame.empty:
        frame = frame.assign(**{"growth.inside": [curve[11] / curve[0] for curve in frame["curve.inside"]]})
    required, enough = [], []
    for setup in ("ONE", *WIGS):
        alone = f"predictor, {setup}"
        required += [each.finding(frame) for each in cross(Judged, "error", list(REGIONS), setup, alone, DECIDING)]
        for region in REGIONS[1:]:
            growth = []
            for chain in (setup, alone):
                errors = [judged(frame, chain, DECIDING, f"error.{where}") for where in (region, "inside")]
                outside, inside = common_seeds(*errors)
                growth.append(outside / inside)
            widening = smaller(f"error {region} / inside, hybrid / predictor, {setup}, {DECIDING:,} updates", *growth)
            required.append(widening)
            enough.append(widening)
    for chain in ("", "predictor, "):
        for wig in WIGS:
            required.append(Judged("growth", "inside", f"{chain}{wig}", f"{chain}ONE", DECIDING).finding(frame))
            longer = Judged("decorrelation", "inside", f"{chain}ONE", f"{chain}{wig}", DECIDING).finding(frame)
            required.append(longer)
            enough.append(longer)
    return conclude(required, enough, f"{DECIDING:,} updates", note=_diverged(frame))


CLAIMS = {claim.id: claim for claim in (
    Claim(
        "C09", STATEMENTS["C09"].text, "03_unrolling", ("e04",),
        "Supported if, for m = 3 and m = 8, WIG-m has (1) a smaller error over 12 steps than ONE on domains inside, "
        "below and above the training range, at 6,000 updates each, on further sets of data, and at equal wall-clock "
        "on one set (the longest time that the budgets of both reach; ONE has one of 96,000), and inside also with the "
        "small network; (2) a longer time to decorrelation in all three regions; (3) a smaller fraction of roll-outs "
        "of 400 steps that blow up. Supported under conditions if WIG-3 or WIG-8 has a smaller error inside at one of "
        "three budgets or at equal wall-clock. Twelve times the data at 24,000 updates, which decided before, is more "
        "than the machine time allows; they are shown. "
        + SMALLER + DIVERGED, decide_unrolling),
    Claim(
        "C10", STATEMENTS["C10"].text, "03_unrolling", ("e04",),
        "Supported if, for m = 3 and m = 8 at 6,000 updates, in all three regions, WIG-m has a smaller error over 12 "
        "steps than NOG-m (inside also with the small network), and the gradient brings more than unrolling alone: "
        "WIG-m / NOG-m is smaller than NOG-m / ONE. Supported under conditions if WIG-3 or WIG-8 has a smaller error "
        "inside than its NOG at one of three budgets, 24,000 on one set of data alone. NOG-m / ONE is shown at all "
        "budgets: its order is known to flip. "
        + SMALLER + DIVERGED, decide_gradient),
    Claim(
        "C22", STATEMENTS["C22"].text, "03_unrolling", ("e04",),
        "Supported if, at 6,000 updates, (1) for ONE, WIG-3 and WIG-8, the hybrid has a smaller error over 12 steps "
        "than the predictor in all three regions, and its error grows less from inside to below and to above; (2) with "
        "and without the solver, the error of WIG-3 and WIG-8 grows less from the first step to the twelfth than that "
        "of ONE, inside, and their time to decorrelation is longer. Supported under conditions if one of the "
        "comparisons of growth from inside to outside, or of times to decorrelation, is as claimed. "
        + SMALLER + DIVERGED, decide_specialisation),
)}


def _remains(frame: pandas.DataFrame, a: str, b: str, region: str) -> list[Finding]:
    """The same error with the last finite weights of trainings that diverged, if there are any."""
    lost = [per_seed(frame, variant, LONG, "diverged_at") >= 0 for variant in (a, b)]
    ending = f", {LONG:,} updates, last finite weights of trainings that diverged"
    remains = Smaller("error", region, a, b, LONG, ending=ending)
    return [remains.finding(frame)] if any(seeds.any() for seeds in lost) else []


def _flip(nog: str, short: Finding, long: Finding) -> list[str]:
    """What the results say of the published flip of ONE and NOG with the budget."""
    if min(short.num_seeds, long.num_seeds) < statistics.MIN_SEEDS:
        return []
    word = "flips" if short.effect.value > 1 > long.effect.value else "does not flip"
    return [f"The order of ONE and {nog} {word}: {nog} / ONE is {short.effect.value:.2f} at {BUDGETS[0]:,} and "
            f"{long.effect.value:.2f} at {LONG:,} updates."]


def _diverged(frame: pandas.DataFrame) -> str:
    """How many trainings diverged."""
    trained = frame[frame.budget >= BUDGETS[0]]
    where = trained[trained.diverged_at >= 0].groupby(["variant", "budget"]).size()
    listed = ", ".join(f"{variant} at {budget:,} ({count})" for (variant, budget), count in where.items())
    return f"Trainings that diverged: {listed or 'none'}."
