"""The claim that E11 decides, and its criterion, stated before its results.   Chapter: 10_generalisation.

Expected from the literature: a correction is several times more accurate than a prediction by the same network, 4.5
times in the mean of list2025. A counter-case: an emulator can beat the solver that it learnt from (koehler2025).

Source: list2025, koehler2025.
"""

import itertools
from collections.abc import Mapping

import pandas

from ...claims.claims import Claim, Verdict
from ...claims.findings import DIVERGED, SMALLER, Finding, all_of, common_seeds, conclude, judged, per_seed, smaller
from ...claims.ledger import STATEMENTS
from .design import CHAINS, DECIDING, DECIDING_SETUPS, REFINED, SETUPS, SIZES, UPDATES, alone, name

PUBLISHED = 4.5  # error of prediction / of correction, mean of list2025
FAMILIES = {"Burgers": "e11", "KS": "e11_ks"}
OUTSIDE = ("below", "above", "half", "double", "moving")  # where the hybrid has to be ahead
LARGE = ("moving", "large kicks")  # purely large-scale changes
MATCHED = ("large kicks", "small kicks")  # kicks of one size, of long waves and of short ones


def error(frame: pandas.DataFrame, chain: str, setup: str, size: int, region: str = "inside") -> pandas.Series:
    """By seed; infinite where the training diverged."""
    return judged(frame, name(chain, setup, size), UPDATES, f"error.{region}")


def growth(frame: pandas.DataFrame, chain: str, setup: str, size: int, region: str) -> pandas.Series:
    """How many times the error inside an error in another region is, by seed."""
    outside, inside = common_seeds(*(error(frame, chain, setup, size, where) for where in (region, "inside")))
    return outside / inside


def ahead(frames: Mapping[str, pandas.DataFrame], family: str, setup: str, size: int, region: str) -> Finding:
    """The error in a region, hybrid / predictor."""
    sides = [error(frames[FAMILIES[family]], chain, setup, size, region) for chain in CHAINS]
    return smaller(f"{family}, error {region}, hybrid / predictor, {setup}, {size} trajectories", *sides)


def widening(frames: Mapping[str, pandas.DataFrame], family: str, setup: str, size: int, region: str) -> Finding:
    """How much the error grows from inside to a region, hybrid / predictor."""
    sides = [growth(frames[FAMILIES[family]], chain, setup, size, region) for chain in CHAINS]
    return smaller(f"{family}, error {region} / inside, hybrid / predictor, {setup}, {size} trajectories", *sides)


def contrast(frames: Mapping[str, pandas.DataFrame], family: str, setup: str, size: int) -> Finding:
    """That the hybrid's part of the predictor's growth is smaller with long kicks than with short ones."""
    frame, parts = frames[FAMILIES[family]], []
    for region in MATCHED:
        hybrid, predictor = common_seeds(*(growth(frame, chain, setup, size, region) for chain in CHAINS))
        parts.append(hybrid / predictor)
    return smaller(f"{family}, growth of hybrid / of predictor, large / small kicks, {setup}, {size} trajectories",
                   *common_seeds(*parts))


def required(frames: Mapping[str, pandas.DataFrame], family: str, setup: str, size: int) -> list[Finding]:
    """What has to hold for a family, a set-up and a size."""
    case = (frames, family, setup, size)
    return [*(ahead(*case, region) for region in OUTSIDE), *(widening(*case, region) for region in LARGE),
            contrast(*case)]


def bought(frames: Mapping[str, pandas.DataFrame], family: str, refined: int, region: str) -> Finding:
    """The error of the hybrid against that of P alone, finer by a factor."""
    frame = frames[FAMILIES[family]]
    return smaller(f"{family}, error {region}, hybrid / {alone(refined)}, WIG-3, {DECIDING[-1]} trajectories",
                   error(frame, "hybrid", "WIG-3", DECIDING[-1], region),
                   per_seed(frame, alone(refined), 0, f"error.{region}"))


def specialised(frames: Mapping[str, pandas.DataFrame], family: str, size: int) -> list[Finding]:
    """The rest of C22: that a predictor's error grows more than a hybrid's where parameters or amplitudes are other
    than in training."""
    return [widening(frames, family, setup, size, region) for setup in SETUPS for region in OUTSIDE[:-1]]


def decide(frames: Mapping[str, pandas.DataFrame]) -> Verdict:
    """C21: is the hybrid ahead on changed data, and is it the large scales that it survives?"""
    cases = [required(frames, *case) for case in itertools.product(FAMILIES, DECIDING_SETUPS, DECIDING)]
    shown = [ahead(frames, family, setup, size, "inside") for family, setup, size in itertools.product(
        FAMILIES, DECIDING_SETUPS, SIZES)]
    shown += [ahead(frames, family, "WIG-8", size, region) for family, size, region in itertools.product(
        FAMILIES, DECIDING, ("inside", *OUTSIDE))]
    shown += [bought(frames, family, refined, region) for family, refined, region in itertools.product(
        FAMILIES, REFINED, ("inside", "above", "moving"))]
    return conclude([finding for case in cases for finding in case], map(all_of, cases), f"{UPDATES:,} updates",
                    shown=shown)


CLAIMS = {"C21": Claim(
    "C21", STATEMENTS["C21"].text, "10_generalisation", tuple(FAMILIES.values()),
    "The same network is trained as a hybrid (P, then N) and as a predictor (N alone), for the same number of updates "
    f"({UPDATES:,}), on Burgers' equation and on that of Kuramoto and Sivashinsky, with 32 and with 512 trajectories, "
    "by ONE and WIG-3: eight cases. The claim holds in a case if (1) the hybrid has the smaller error where the "
    "equation's parameter is below or above the training range, where initial states have half or twice their size, "
    "and where everything moves with a mean velocity; (2) its error grows less than the predictor's from inside to "
    "the two purely large-scale changes, the mean velocity and random kicks of long waves; (3) this advantage in "
    "growth is larger with kicks of long waves than with kicks of the same size of short ones: it is the large scales "
    "that P carries. Supported if it holds in all cases, under conditions if in one of them; contradicted if in each "
    "case one of these comparisons reads no difference or the other way. " + SMALLER + DIVERGED, decide)}
