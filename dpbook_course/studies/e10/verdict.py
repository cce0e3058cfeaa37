"""The claim that E10 decides, and its criterion, stated before its results.   Chapter: 09_choosing_the_numerics.

Expected from the literature: both. Corrections of better schemes are better (dresdner2022), and a network that learnt
from a poor scheme can beat it (koehler2025).

Source: dresdner2022, koehler2025.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas
from scipy import stats

from ...claims.claims import Claim, Verdict
from ...claims.findings import (
    DIVERGED,
    SMALLER,
    Finding,
    all_of,
    common_seeds,
    conclude,
    judged,
    lower,
    per_seed,
    smaller,
)
from ...claims.ledger import STATEMENTS
from .design import ALONE, BUDGETS, GRIDS, TRAININGS, name

LEAST = 0.5  # rank correlation
LAST = BUDGETS[-1]
METRIC = "error.inside"


class Family(NamedTuple):
    """The solvers of one equation: those of a study, on its grids."""

    title: str
    study: str
    schemes: tuple[str, ...]
    grids: tuple[int, ...]

    def solvers(self) -> list[tuple[str, int]]:
        return list(itertools.product(self.schemes, self.grids))


FAMILIES = (
    Family("Burgers", "e10", ("central", "upwind", "semi-Lagrangian", "limited", "spectral"), GRIDS),
    Family("KS", "e10_ks", ("ETD1, 2", "ETD1, 4", "ETDRK2, 2", "differences, 2", "differences, 8"), (48,)),
)


def alone(frame: pandas.DataFrame, scheme: str, num_points: int, metric: str = METRIC) -> pandas.Series:
    """What P has without a network, by seed."""
    return per_seed(frame, name(scheme, num_points, ALONE), 0, metric)


def hybrid(frame: pandas.DataFrame, scheme: str, num_points: int, training: str, budget: int = LAST,
           metric: str = METRIC) -> pandas.Series:
    """What the trained hybrid has, by seed; infinite where its training diverged."""
    return judged(frame, name(scheme, num_points, training), budget, metric)


def rank_correlation(frame: pandas.DataFrame, solvers: Sequence[tuple[str, int]], training: str,
                     budget: int = LAST) -> pandas.Series:
    """Spearman's correlation, over the solvers, of the error of P alone with that of the hybrid, by seed.

    Empty while a result is missing.
    """
    found = common_seeds(*(side(frame, *solver) for solver in solvers for side in (
        alone, lambda *args: hybrid(*args, training, budget))))
    table = np.stack([series.to_numpy() for series in found])  # (2 * solvers, seeds)
    values = [float(stats.spearmanr(column[::2], column[1::2]).statistic) for column in table.T]
    return pandas.Series(np.nan_to_num(values), found[0].index, dtype=float)


def best_and_worst(frame: pandas.DataFrame, family: Family, num_points: int) -> tuple[str, str] | None:
    """The schemes with the smallest and with the largest error of P alone on a grid; None while one is missing."""
    found = {scheme: alone(frame, scheme, num_points) for scheme in family.schemes}
    if any(series.empty for series in found.values()):
        return None
    means = {scheme: float(np.log(series).mean()) for scheme, series in found.items()}
    return min(means, key=means.get), max(means, key=means.get)


def correlated(frame: pandas.DataFrame, family: Family, training: str, grids: Sequence[int],
               budget: int = LAST) -> Finding:
    """That the rank correlation is above 0.5: 0.5 minus it is below zero."""
    solvers = list(itertools.product(family.schemes, grids))
    rho = rank_correlation(frame, solvers, training, budget)
    where = family.title if len(grids) > 1 or len(family.grids) == 1 else f"{family.title}, {grids[0]} points"
    return lower(f"{LEAST} - rank correlation of P alone and hybrid, {where}, {training}, {budget:,} updates",
                 pandas.Series(LEAST, rho.index), rho)


def kept(frame: pandas.DataFrame, family: Family, num_points: int, training: str, budget: int = LAST) -> Finding:
    """That the hybrid with the best P of a grid has a smaller error than that with the worst."""
    chosen = best_and_worst(frame, family, num_points)
    best, worst = chosen or ("best P", "worst P")
    sides = [hybrid(frame, scheme, num_points, training, budget) for scheme in (best, worst)]
    return smaller(f"error inside of the hybrid, {best} / {worst}, {family.title}, {num_points} points, {training}, "
                   f"{budget:,} updates", *sides)


def before(frame: pandas.DataFrame, family: Family, num_points: int) -> Finding:
    """The same of P alone."""
    best, worst = best_and_worst(frame, family, num_points) or ("best P", "worst P")
    return smaller(f"error inside of P alone, {best} / {worst}, {family.title}, {num_points} points",
                   *(alone(frame, scheme, num_points) for scheme in (best, worst)))


def decide(frames: Mapping[str, pandas.DataFrame]) -> Verdict:
    """C18: does the order of the solvers survive the training?"""
    parts, shown = {}, []
    for family, training in itertools.product(FAMILIES, TRAININGS):
        frame = frames[family.study]
        parts[family, training] = [correlated(frame, family, training, family.grids),
                                   *(kept(frame, family, points, training) for points in family.grids)]
        shown += [correlated(frame, family, training, (points,)) for points in family.grids if len(family.grids) > 1]
    shown += [before(frames[family.study], family, points) for family in FAMILIES for points in family.grids]
    required = [finding for part in parts.values() for finding in part]
    return conclude(required, map(all_of, parts.values()), f"{LAST:,} updates", shown=shown)


CLAIMS = {"C18": Claim(
    "C18", STATEMENTS["C18"].text, "09_choosing_the_numerics", ("e10", "e10_ks"),
    "A family is Burgers, five schemes on 16, 32 and 64 points, or Kuramoto-Sivashinsky, five solvers on 48 points. "
    "In a family, with a training (ONE or WIG-8) and after 3,000 updates, the accuracy of P carries over if (1) over "
    "its solvers the rank correlation (Spearman) of the error of P alone with that of the hybrid is above 0.5, seed by "
    "seed, each with data of its own, and (2) on every grid the hybrid with the P that alone has the smallest error "
    "has a smaller error than that with the P that alone has the largest: the order of best and worst does not flip. "
    "Supported if it carries over in both families with both trainings, under conditions if in one family with one of "
    "them; contradicted if in each a correlation is not above 0.5 or an order flips. The error is that over 50 steps "
    "(Burgers) or 12 (KS) inside the training range. A correlation within 0.05 of 0.5 reads \"no difference\". "
    + SMALLER + DIVERGED, decide)}
