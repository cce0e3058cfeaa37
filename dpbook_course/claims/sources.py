"""Two sources of chance: what a seed draws, its weights and batches, and what a set of data does.

On the first set of data six seeds train; on every further one another seed. If the spread of a comparison over the sets
is larger than over the seeds of one set, the data matter beside the seed, and an interval from seeds alone is too
narrow. And the further sets, whose seeds are new as well, repeat the study: does a comparison read there as it did on
the first set?
"""

import math
from collections.abc import Iterable

import numpy as np
import pandas
from scipy import stats

from .claims import Effect, Verdict
from .effects import AS_CLAIMED, LEVEL, MIN_SEEDS, OTHER_WAY, RATIO, READINGS, UNDECIDED, read


def spreads(found: Iterable[Verdict]) -> pandas.DataFrame:
    """One row per comparison of several sets of data in which nothing was lost.

    Columns: ``seeds`` and ``sets``, standard deviations of the logarithm of the ratio over the seeds of one set and
    over sets with a seed each; ``p`` of the F-test that the second is not larger.
    """
    effects: dict[str, Effect] = {}
    for verdict in found:
        effects |= {effect.name: effect for effect in verdict.effects if effect.sets and effect.question == RATIO}
    rows = {}
    for name, effect in effects.items():
        alike, apart = np.array(effect.alike), np.array(effect.numbers[1:])  # the first is the set of those alike
        if np.isfinite([*alike, *apart]).all() and np.ptp(alike) > 0:
            one, other = alike.std(ddof=1), apart.std(ddof=1)
            rows[name] = one, other, stats.f.sf((other / one)**2, len(apart) - 1, len(alike) - 1)
    return pandas.DataFrame.from_dict(rows, "index", columns=["seeds", "sets", "p"])


def in_words(table: pandas.DataFrame) -> str:
    """What the table says, in a sentence or two."""
    if table.empty:
        return "No comparison has been repeated on other sets of data yet."
    larger, sure = (table.sets > table.seeds).sum(), (table.p < 1 - LEVEL).sum()
    middle = math.exp(np.log(table.sets / table.seeds).median())
    return (f"Of {len(table)} comparisons that were repeated on other sets of data, {larger} spread more over the sets "
            f"than over the seeds of one set, {sure} of them by more than chance explains (F-test, p below 0.05, where "
            f"{math.ceil(len(table) * (1 - LEVEL))} would by chance). In the median the spread over sets is "
            f"{middle:.1f} times that over seeds.")


def repeated(found: Iterable[Verdict]) -> pandas.DataFrame:
    """One row per comparison of which the further sets alone are enough for a reading.

    Columns: ``first``, the reading of the seeds of the first set; ``further``, that of one new seed on each of the
    other sets; ``first_mean``, ``further_mean``, what the two are about.
    """
    rows = {}
    for effect in (effect for verdict in found for effect in verdict.effects if effect.sets):
        samples = effect.alike, effect.numbers[1:]
        if min(map(len, samples)) >= MIN_SEEDS and effect.reading:
            both = [read(sample, effect.question) for sample in samples]
            rows[effect.name] = *(READINGS[int(one.code)] for one in both), *(float(one.mean) for one in both)
    return pandas.DataFrame.from_dict(rows, "index", columns=["first", "further", "first_mean", "further_mean"])


def replication(table: pandas.DataFrame) -> pandas.DataFrame:
    """How many comparisons read how, first (rows) and on the further sets (columns)."""
    counts = pandas.crosstab(table["first"], table["further"])
    return counts.reindex(index=READINGS, columns=READINGS, fill_value=0)


def replicated(table: pandas.DataFrame) -> str:
    """What ``repeated`` says, in words."""
    if table.empty:
        return "No comparison has enough further sets of data for a reading of their own yet."
    counts = replication(table)
    read_first = table[table["first"] != UNDECIDED]
    same = (read_first["first"] == read_first["further"]).sum()
    turned = counts.loc[AS_CLAIMED, OTHER_WAY] + counts.loc[OTHER_WAY, AS_CLAIMED]
    side = (np.sign(table["first_mean"]) == np.sign(table["further_mean"])).mean()
    return (f"Of {len(table)} comparisons with a reading on the further sets alone, {len(read_first)} were decided "
            f"by the seeds of the first one. {same} of these read the same again, and {turned} the opposite way. The "
            f"means of both lie on the same side of equal in {side:.0%} of all.")
