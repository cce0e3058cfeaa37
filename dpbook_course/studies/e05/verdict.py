"""The claim that E05 decides, and its criterion, stated before its results.   Chapter: 04_coupling.

Expected from the literature: a correction inside the right-hand side is at least as accurate as one of the state over
long roll-outs (wei2025inc), and learned interpolation is stable and generalises to other forcings and larger domains
(kochkov2021). Multiplicative coupling has no published comparison that we know of.

Source: kochkov2021, wei2025inc.
"""

from collections.abc import Mapping

import pandas

from ...claims.claims import Claim, Verdict
from ...claims.findings import SMALLER, Finding, all_of, any_of, common_seeds, conclude, per_seed, smaller
from ...claims.ledger import STATEMENTS
from .design import BUDGETS

REGIONS = ("inside", "below", "above", "faster")
TRAININGS = ("ONE", "WIG-8")
ADDITIVE = ("additive", "additive, N first", "additive, times dt", "right-hand side")
OTHERS = ("multiplicative", "multiplicative, N first", "multiplicative, times dt", "viscosity", "interpolation")


def best_additive(frame: pandas.DataFrame, training: str, budget: int, metric: str) -> pandas.Series:
    """Seed by seed, the smallest value of the four forms of additive coupling; empty if one of them is missing."""
    forms = common_seeds(*(per_seed(frame, f"{name}, {training}", budget, metric) for name in ADDITIVE))
    return pandas.concat(forms, axis=1).min(axis=1)


def coupling_ratio(frame: pandas.DataFrame, coupling: str, training: str, budget: int, region: str,
                   against: str | None = None) -> Finding:
    """The error of a coupling against that of another one, by default the best form of additive coupling."""
    metric = f"error.{region}"
    other = (best_additive(frame, training, budget, metric) if against is None
             else per_seed(frame, f"{against}, {training}", budget, metric))
    return smaller(f"error {region}, {coupling} / {against or 'best additive'}, {training}, {budget:,} updates",
                   per_seed(frame, f"{coupling}, {training}", budget, metric), other)


def decide_coupling(frames: Mapping[str, pandas.DataFrame]) -> Verdict:
    """C11: multiplicative and parameter couplings against additive ones."""
    frame = frames["e05"]
    found = {(coupling, training, region, budget): coupling_ratio(frame, coupling, training, budget, region)
             for coupling in OTHERS for training in TRAININGS for region in REGIONS for budget in BUDGETS}
    settings = {coupling: {(training, region): [found[coupling, training, region, budget] for budget in BUDGETS]
                           for training in TRAININGS for region in REGIONS} for coupling in OTHERS}
    won = {coupling: [setting for setting, both in of_coupling.items() if all(f.effect.holds for f in both)]
           for coupling, of_coupling in settings.items()}
    inside = [all_of(f for training in TRAININGS for f in settings[coupling][training, "inside"])
              for coupling in OTHERS]
    elsewhere = [all_of(both) for of_coupling in settings.values() for both in of_coupling.values()]
    total = len(TRAININGS) * len(REGIONS)
    note = "Settings, of training and region, with a smaller error at both budgets: " + "; ".join(
        f"{coupling} {len(places)} of {total}" + (f" ({_listed(places)})" if 0 < len(places) < total else "")
        for coupling, places in won.items()) + "."
    return conclude([any_of(inside)], elsewhere, f"{BUDGETS[-1]:,} updates, and {BUDGETS[0]:,}", note=note)


def _listed(settings: list[tuple[str, str]]) -> str:
    return ", ".join(f"{training} {region}" for training, region in settings)


CLAIMS = {"C11": Claim(
    "C11", STATEMENTS["C11"].text, "04_coupling", ("e05",),
    "A setting is a training, ONE or WIG-8, and a region of the test data: inside the range of viscosities seen in "
    "training, below it, above it, or inside it with faster initial states. A coupling is better in a setting if its "
    "error over 100 steps is smaller than that of additive coupling, both at 1,500 and at 6,000 updates; of the four "
    "forms of additive coupling (after P, before P, after P times dt, on the right-hand side) the one with the "
    "smallest error counts, seed by seed. Supported if one of the multiplicative couplings, the learnt viscosity or "
    "the learnt interpolation is better inside with both trainings. Supported under conditions if one of them is "
    "better in another setting. " + SMALLER,
    decide_coupling)}
