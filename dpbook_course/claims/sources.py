"""Two sources of chance: what a seed draws, its weights and batches, and what a set of data does.

On the first set of data six seeds train; on every further one another seed. If the spread of a comparison over the sets
is larger than over the seeds of one set, the data matter beside the seed, and an interval from seeds alone is too
narrow.
"""

import math
from collections.abc import Iterable

import numpy as np
import pandas
from scipy import stats

from .claims import Effect, Verdict
from .effects import LEVEL, RATIO


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
