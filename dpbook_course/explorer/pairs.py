"""Ask the stored results: any two rows of a study, as a ratio paired by seed, on pages without a kernel or a network.

What the page computes is what ``claims.seeds`` does, with the same rules for lost seeds and for sets of data.

Chapters: the study pages, such as those of 09_choosing_the_numerics to 14_better_updates.
"""

import html
import math
import re
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas
from scipy import special

from dpbook_utils import arguments

from ..claims.effects import LEVEL
from ..claims.findings import judged
from ..claims.seeds import SeedMean, interval
from ..experiments import results, tasks
from ..experiments.spec import Specification
from . import still
from .static import _text, framed, style

MOST = 70_000  # characters of the numbers on a page; measures beyond it are left out, and the figure says so
LARGEST, PLACES = "largest", ("the smallest", "the second", "the third", "the fourth")

Row = tuple[str, int]


@dataclass(frozen=True)
class Comparison:
    """A figure in which a reader compares rows of a study; a notebook or a page shows it as the last line of a cell.

    Attributes:
        name: in the address, ``#compare-NAME:measure=error;...``; unlike others on the page.
        frame: the study's results, as ``course.measured`` has them; without any the figure says how to get them.
        start: values with which it opens.

    Raises: ValueError for a name that cannot be in an address.
    """

    name: str
    spec: Specification
    frame: pandas.DataFrame
    start: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self):
        if not re.fullmatch(r"[a-z][a-z0-9-]*", self.name):
            raise ValueError(f"compare: the name is {self.name!r}; use lower-case letters, digits and hyphens, because "
                             "it stands in the page's address")

    @cached_property
    def parts(self) -> dict[Row, pandas.DataFrame]:
        """The results by variant and budget in the study's order, without what was only computed to check it."""
        stored = {} if self.frame.empty else dict(list(self.frame.groupby(["variant", "budget"], sort=False)))
        return {(name, n): stored[name, n] for name, own in self.spec.budgets.items() for n in sorted(own)
                if (name, n) in stored}

    @property
    def rows(self) -> list[Row]:
        return list(self.parts)

    @property
    def num_rows(self) -> int:
        """Of the study when it has been run to its end."""
        return sum(map(len, self.spec.budgets.values()))

    @cached_property
    def budgets(self) -> dict[str, tuple[str, list[Row]]]:
        """``{value: (text, rows)}``: the largest of each; then those that most rows share or, where hardly two have the
        same, the first of each, the second, ... What has no training is in all of them."""
        last = {name: (name, n) for name, n in self.rows}
        several = {name: sorted(budgets) for name, budgets in self.spec.budgets.items() if len(budgets) > 1}
        shared = Counter(n for budgets in several.values() for n in budgets)
        found = {LARGEST: ("the largest of each", list(last.values()))}
        if several and max(shared.values()) > len(several) / 2:
            groups = {str(n): (f"{n:,} updates", [row for row in self.rows if row[1] == n]) for n in sorted(shared)}
        else:
            groups = {f"place-{k + 1}": (f"{PLACES[k]} of each",
                                         [row for row in self.rows if row[1] in several.get(row[0], ())[k:k + 1]])
                      for k in range(min(len(PLACES), max(map(len, several.values()), default=0)))}
        for key, (text, rows) in groups.items():
            rows = rows and [row for row in self.rows if row in rows or row[1] == 0]
            if rows and rows not in [known for _, known in found.values()]:
                found[key] = text, rows
        return found

    @cached_property
    def measures(self) -> dict[str, dict[Row, pandas.Series]]:
        """``{metric: {row: values by seed}}`` of the single numbers that a ratio can be taken of, infinite where a seed
        is lost. Rows with values that are not positive are left out, and metrics that most rows lack."""
        numbers = [name for name in self.spec.metrics if self.rows and self.frame[name].dtype != object
                   and self.frame[name].nunique() > 1]
        tables, found, size = {}, {}, 0
        for row, part in self.parts.items():
            alive = judged(part.assign(alive=1.0), *row, "alive")  # infinite for a training that diverged
            tables[row] = part[numbers].set_axis(alive.index).mul(alive, axis=0).sort_index()
        for metric in numbers:
            values = {row: table[metric] for row, table in tables.items()}
            kept = {row: x for row, x in values.items() if np.isfinite(x).any() and (x[np.isfinite(x)] > 0).all()}
            if 2 * len(kept) > len(self.rows) > 1:
                size += sum(len(f"{x},") for series in kept.values() for x in series)
                if size < MOST or not found:
                    found[metric] = kept
        return found

    def shown(self, measure: str, budget: str) -> dict[Row, SeedMean]:
        """The rows with that measure at that budget and their geometric means, smallest first."""
        rows = [row for row in self.budgets[budget][1] if row in self.measures[measure]]
        means = {row: interval(self.parts[row], *row, measure) for row in rows}
        return dict(sorted(means.items(), key=lambda item: item[1].value))

    @cached_property
    def opening(self) -> dict[str, str]:
        """The values with which it opens: where nothing else is given, the row with the smallest value and the next."""
        asked = {"measure": next(iter(self.measures)), "budget": LARGEST, "rows": "", **self.start}
        if asked["measure"] not in self.measures:
            asked["measure"] = next(iter(self.measures))
        if asked["budget"] not in self.budgets:
            asked["budget"] = LARGEST
        names = [name for name, _ in self.shown(asked["measure"], asked["budget"])]
        words = asked["rows"].lower().split()
        names.sort(key=lambda name: not all(word in name.lower() for word in words))  # the wanted ones first
        for side, other in ("ab", "ba"):
            if asked.get(side) not in names:
                asked[side] = next((name for name in names if name != asked.get(other)), "")
        return asked

    def data(self) -> dict:
        """What the page gets, as JSON can hold it."""
        by_set = "data_set" in self.frame
        keys = self.frame["seed"].map(lambda seed: (self.spec.data_set(seed), int(seed)))
        seeds = sorted(set(keys))
        place = {key if by_set else key[1]: k for k, key in enumerate(seeds)}
        rows = []
        for row in self.parts:
            values = [measured.get(row) for measured in self.measures.values()]
            at = next((x.index for x in values if x is not None), ())
            rows.append({"name": row[0], "budget": row[1] if len(self.spec.budgets[row[0]]) > 1 else 0,
                         "base": row[0] in self.spec.baselines, "at": [place[key] for key in at],
                         "values": [x if x is None else [y if math.isfinite(y) else None for y in x] for x in values]})
        return {"name": self.name, "start": self.opening, "seeds": seeds, "rows": rows,
                "measures": [[name, self.spec.metrics[name]] for name in self.measures],
                "budgets": [[key, text, [self.rows.index(row) for row in shown]]
                            for key, (text, shown) in self.budgets.items()],
                "quantiles": special.stdtrit(np.arange(1, max(len(seeds), 2)), (1 + LEVEL) / 2).tolist(),
                "source": self.source()}

    def source(self) -> dict[str, str]:
        left = [name for name in self.spec.metrics if name not in self.measures]
        return {"Experiment": f"{self.spec.id}: {self.spec.title}; {len(self.rows)} of {self.num_rows} rows are "
                              "stored",
                "Intervals": "95 %, Student's t on logarithms, of the seeds or, where there are six sets of data or "
                             "more, of the sets",
                "Readings": "smaller or larger: an exact test on ranks (Wilcoxon) has p < 0.05 on that side, and the "
                            "interval does not lie on the other one; no difference: the interval lies within 5 % to "
                            "either side of equal. Whoever tries twenty pairs of equals finds one that differs; the "
                            "claims correct for their number of comparisons",
                **({"Not here": f"{', '.join(left)}: no single positive numbers of most rows, or too many for a page"}
                   if left else {}),
                "Repeat": f"python -m dpbook_course.experiments run {self.spec.id}"}

    def _repr_html_(self) -> str:
        so_far = f" ({len(self.rows)} of {self.num_rows} rows so far)" if 1 < len(self.rows) < self.num_rows else ""
        title = f"Ask the data: {self.spec.title}{so_far}"
        if not self.measures:
            return (f'<div class="explorer compare"><style>{style()}</style><p class="title">{html.escape(title)}</p>'
                    f"<p>{html.escape(self.missing())}</p></div>")
        metric, means = self.opening["measure"], self.shown(self.opening["measure"], self.opening["budget"])
        lines = {row[0]: (self.measures[metric][row], (mean.value, mean.low, mean.high)) for row, mean in means.items()}
        caption = f"{metric}: {self.spec.metrics[metric]}. Each seed, the geometric mean and its 95 % interval."
        picture = (f'<figure class="picture">{still.dots(lines, metric)}<figcaption>{html.escape(caption)}</figcaption>'
                   "</figure>\n")
        return framed("compare", title, self.data(), self.summary(), _text("paired.js") + _text("compare.js"),
                      _text("compare.css"), picture=picture)

    def missing(self) -> str:
        return (f"Not computed yet: {len(self.rows)} of {self.num_rows} rows of {self.spec.id} are stored, and a "
                f"comparison needs two. Compute them: python -m dpbook_course.experiments run {self.spec.id}")

    def summary(self) -> str:
        """What a reader without scripts gets."""
        if not self.measures:
            return self.missing()
        metric, budget = self.opening["measure"], self.opening["budget"]
        means = "; ".join(f"{name}: {mean:.3g}" for (name, _), mean in self.shown(metric, budget).items())
        return ("To choose rows and see their ratios, this figure needs JavaScript. "
                f"{metric} ({self.spec.metrics[metric]}), budget: {self.budgets[budget][0]}, geometric mean and 95 % "
                f"interval: {means}.")

    def __repr__(self) -> str:
        return f"Comparison of {len(self.rows)} rows of {self.spec.id}; it is shown on HTML pages"


def compare(study: str, name: str | None = None, root: str | Path | None = None, **start: str | int) -> Comparison:
    """A figure that answers: of these two rows of a study, which has the smaller number, and how sure is that?

    It shows all rows of a measure at a budget, and the ratio of two of them: paired by seed, with its 95 % interval and
    the reading that ``course.ratio`` gives. If nothing is stored yet it says so.

    Args:
        study: such as ``e14_viscosity``.
        name: its name in the page's address, the study's by default; give another one to a second one on a page.
        root: folder of the results.
        start: values with which it opens: ``measure``, ``budget``, the rows ``a`` and ``b``, and ``rows``, words that
            the rows' names must have. What is not stored is passed over.

    Raises: LookupError for an unknown study, ValueError for an unknown value.
    """
    spec = tasks.find(arguments.text("compare", "study", study)).spec
    name = spec.id.replace("_", "-") if name is None else arguments.text("compare", "name", name)
    arguments.values_of_controls("compare", start)
    start = {control: str(value) for control, value in start.items()}
    offered = {"measure": spec.metrics, "a": spec.variants, "b": spec.variants, "rows": (),
               "budget": dict.fromkeys([LARGEST, *(str(n) for own in spec.budgets.values() for n in own)])}
    arguments.known("compare", "control", start, tuple(offered))
    for control in start.keys() - {"rows"}:
        arguments.choice("compare", control, start[control], offered[control])
    records, problems = results.load(spec, None if root is None else arguments.path("compare", "root", root))
    for problem in problems:
        warnings.warn(str(problem), stacklevel=2)
    return Comparison(name, spec, results.rows(spec, records), start)
