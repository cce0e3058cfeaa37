"""Made-up results of a small study, for the tests of its comparison."""

import pandas

from dpbook_course.experiments.spec import Specification
from dpbook_course.explorer.pairs import Comparison


def comparison(rows: dict[str, list[float]], budgets: tuple[int, ...] = (10,), **start: str) -> Comparison:
    """Rows of one error a seed; at each further budget it is half as large. The row "P" is a baseline."""
    given = {name: (0,) if name == "P" else budgets for name in rows}
    spec = Specification("e99", "Made-up rows", "03_unrolling", dict.fromkeys(rows, 0), given, tuple(range(6)),
                         {"error": "distance from the truth [m]", "curve": "two numbers"}, {},
                         baselines=frozenset({"P"} & set(rows)))
    frame = pandas.DataFrame([{"variant": name, "budget": n, "seed": seed, "error": value / 2**k, "curve": [value, 1.0]}
                              for name, values in rows.items() for k, n in enumerate(given[name])
                              for seed, value in enumerate(values)])
    return Comparison("made-up", spec, frame, start)
