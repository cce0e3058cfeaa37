"""The claims that E03 decides, and their criteria.   Chapter: 03_unrolling.

Stated before the study, but after short trials of it. The estimator of the growth rate was corrected afterwards: pairs
that had saturated lowered it (0.76 ... 0.90 of the exponent). The thresholds stayed.
"""

import math
from collections.abc import Mapping

import numpy as np
import pandas

from ...claims.claims import Claim, Effect, Verdict
from ...claims.effects import AS_CLAIMED, MIN_SEEDS, OTHER_WAY, UNDECIDED
from ...claims.findings import RULE, SMALLER, Finding, between, common_seeds, conclude, per_seed, smaller
from ...claims.ledger import STATEMENTS

SMALL = ("size 1e-08", "size 1e-06", "size 0.0001")  # those with a phase of exponential growth
DECADES = 6  # from the smallest size to the largest
BUDGETS = (1500, 6000)  # of E04's networks
TRAINED, PLACE = 1500, 2  # of E03's networks; number of the 16th step among the places
ALONE = r"P(, .*)?|persistence|predictor, .*"  # variants of E04 that are no trained hybrids


def gain(frame: pandas.DataFrame) -> pandas.Series:
    """By seed: steps to decorrelation that a tenfold smaller perturbation gains, in units of ln(10) / lambda."""
    smallest, largest = (per_seed(frame, f"size {size:g}", 0, "decorrelation") for size in (1e-8, 1e-2))
    smallest, largest, rate = common_seeds(smallest, largest, per_seed(frame, SMALL[0], 0, "exponent"))
    return (smallest - largest) / DECADES * rate / math.log(10)


def networks(frame: pandas.DataFrame, budget: int) -> pandas.DataFrame:
    """The records of E04's trained hybrids with the larger network, at one budget, on the data that all have seen."""
    if frame.empty:
        return frame
    hybrid = ~frame.variant.str.fullmatch(ALONE) & ~frame.variant.str.endswith("small")
    return frame[hybrid & (frame.budget == budget) & (frame.get("data_set", 0) == 0)]


def explained(frame: pandas.DataFrame, budget: int, lost: bool = True) -> Finding:
    """That the one-step error explains less than half of the variance of the time to decorrelation.

    Its interval decides, by drawing networks with replacement.

    Args:
        lost: with the trainings that diverged, which have no other error than that of their last finite weights.
    """
    name = f"share of the variance explained by the one-step error, {budget:,} updates"
    chosen = networks(frame, budget)
    if not lost and len(chosen):
        chosen, name = chosen[chosen.diverged_at < 0], f"{name}, without trainings that diverged"
    if len(chosen) < 3:
        return Finding(Effect(name, *[math.nan] * 3), 0)
    x, y = chosen["one_step.inside"].astype(float).map(math.log), chosen["decorrelation.inside"].astype(float)
    generator = np.random.default_rng(0)
    drawn = [_share(x.to_numpy()[i], y.to_numpy()[i]) for i in generator.integers(0, len(x), (2000, len(x)))]
    value, num_seeds = _share(x.to_numpy(), y.to_numpy()), chosen.seed.nunique()
    low, high = map(float, np.quantile(drawn, (0.025, 0.975)))
    reading = AS_CLAIMED if high < 0.5 else OTHER_WAY if low > 0.5 else UNDECIDED
    return Finding(Effect(name, value, low, high, reading if num_seeds >= MIN_SEEDS else ""), num_seeds)


def _share(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.corrcoef(x, y)[0, 1] ** 2) if np.ptp(x) > 0 and np.ptp(y) > 0 else 0.0


def decide_growth(frames: Mapping[str, pandas.DataFrame]) -> Verdict:
    """C07."""
    frame = frames["e03_perturbations"]
    rates = []
    for variant in SMALL:
        slope, rate = per_seed(frame, variant, 0, "slope"), per_seed(frame, variant, 0, "exponent")
        slope, rate = common_seeds(slope.dropna(), rate)  # without those whose pairs saturate too soon for a rate
        rates.append(between(f"growth rate / Lyapunov exponent, {variant}", slope / rate, 0.85, 1.15))
    tenfold = between("steps gained by a tenfold smaller perturbation / (ln 10 / exponent)", gain(frame), 0.8, 1.2)
    hardly = [explained(frames["e04"], budget) for budget in BUDGETS]
    shown = [explained(frames["e04"], budget, lost=False) for budget in BUDGETS]
    for variant in ("ONE", "WIG-8"):
        slope, rate = (per_seed(frames["e03"], variant, TRAINED, metric) for metric in ("growth", "exponent"))
        slope, rate = common_seeds(slope.dropna(), rate)
        shown.append(between(f"growth rate of the error / Lyapunov exponent, {variant}", slope / rate, 0.85, 1.15))
    return conclude([*rates, tenfold, *hardly], rates, "perturbations: no training; networks: 1,500 and 6,000 updates",
                    shown=shown)


def decide_shift(frames: Mapping[str, pandas.DataFrame]) -> Verdict:
    """C08."""
    frame = frames["e03"]
    if not frame.empty:
        frame = frame.assign(**{f"{name}_16": [values[PLACE] for values in frame[name]]
                                for name in ("own_error", "reference_error", "disagreement")})

    def ratio(name: str, a: tuple[str, str], b: tuple[str, str]) -> Finding:
        return smaller(name, *(per_seed(frame, variant, TRAINED, metric) for variant, metric in (a, b)))

    depend = [ratio(f"one-step error / disagreement of two networks' states after 16 steps, {variant}",
                    (variant, "one_step"), (variant, "disagreement_16")) for variant in ("ONE", "FRESH-8")]
    shifted = [ratio(f"one-step error after 16 steps, reference's states / own states, {variant}",
                     (variant, "reference_error_16"), (variant, "own_error_16"))
               for variant in ("ONE", "ONE, batch 128")]
    fresh = [ratio(f"one-step error at own states after 16 steps, FRESH-8 / {variant}",
                   ("FRESH-8", "own_error_16"), (variant, "own_error_16"))
             for variant in ("ONE, batch 128", "STORED-8")]
    shown = [ratio(f"one-step error after 16 steps, reference's states / own states, {variant}",
                   (variant, "reference_error_16"), (variant, "own_error_16"))
             for variant in ("STORED-8", "FRESH-8", "WIG-8")]
    longer = [ratio(f"time to decorrelation, {variant} / FRESH-8", (variant, "decorrelation"),
                    ("FRESH-8", "decorrelation")) for variant in ("ONE, batch 128", "STORED-8")]
    return conclude([*depend, *shifted, *fresh], [*shifted, *fresh], f"{TRAINED:,} updates", shown=[*shown, *longer])


CLAIMS = {claim.id: claim for claim in (
    Claim(
        "C07", STATEMENTS["C07"].text, "03_unrolling",
        ("e03_perturbations",
        "e03",
        "e04"),
        "Supported if (1) perturbations of relative size 1e-8, 1e-6 and 1e-4 grow at a rate within 15 % of the "
        "leading Lyapunov exponent of the same trajectories; (2) a tenfold smaller perturbation gains ln(10) / "
        "exponent steps until decorrelation, within 20 %; (3) among all trained hybrids of E04 with equal budget and "
        "network, at 1,500 and at 6,000 updates, the logarithm of the one-step error explains less than half of the "
        "variance of the time to decorrelation. Supported under conditions if (1) holds for one size. A number is "
        "within its limits if its 95 % interval is: that of the geometric mean over the seeds (Student's t) in (1) and "
        "(2), and that of the share over the networks (bootstrap) in (3); the other way, if the interval is outside. "
        "Trainings that diverged are among those of (3), with their last finite weights; the share without them is "
        "shown. " + RULE,
        decide_growth),
    Claim(
        "C08", STATEMENTS["C08"].text, "03_unrolling",
        ("e03",),
        "Supported if, at 1,500 updates, (1) the states of two networks after 16 steps differ by more than a one-step "
        "error (ONE, FRESH-8); (2) for networks trained on stored states of the reference (ONE, also with the batch "
        "of the others) the one-step error is smaller at the reference's states after 16 steps than at their own; (3) "
        "at its own states after 16 steps a network trained on its own states (FRESH-8) has a smaller one-step error "
        "than one trained on as many stored states of the reference, and than one trained on as many stored states of "
        "another network (STORED-8). Supported under conditions if one of the comparisons of (2) or (3) is as "
        "claimed. "
        + SMALLER, decide_shift),
)}
