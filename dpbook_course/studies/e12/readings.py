"""What the posterior study of E12 says, in sentences with its numbers.   Chapter: 11_forward_and_inverse.

The criteria stand in ``posterior``, and were stated before any run.
"""

import numpy as np
import pandas

from ...claims.effects import AS_CLAIMED, NO_DIFFERENCE, OTHER_WAY, Interval, geometric_mean_interval, mean_interval
from ...claims.findings import MIN_SEEDS, lower
from ...claims.seeds import stacked
from . import design, posterior

CALIBRATED = (0.80, 0.97)  # of the 90 % intervals
CLOSE = 0.05  # Laplace's coverage to the ensemble's
ALIKE = 1.25  # of two widths
MET, CONTRADICTED, OPEN = "met", "contradicted", "undecided"
MODELS = ("P", "ONE", "WIG-8", "fine")


def entries(frame: pandas.DataFrame, variant: str, metric: str, *place: int) -> pandas.Series:
    """One entry of a metric by seed; without the seeds whose training diverged."""
    budget = posterior.SPEC.budgets[variant][0]
    rows = frame[(frame["variant"] == variant) & (frame["budget"] == budget)].sort_values("seed")
    values = stacked(frame, variant, budget, metric)[(slice(None), *place)]
    found = pandas.Series(values.astype(float), rows["seed"].to_numpy())
    return found[(rows["diverged_at"] < 0).to_numpy() & np.isfinite(values)]


def covered(frame: pandas.DataFrame, variant: str, task: str, quantity: str = "cells", level: float = 0.9,
            by: str = "ensemble") -> pandas.Series:
    """By seed: how often the true value lies within the interval of a nominal level."""
    place = list(posterior.QUANTITIES).index(quantity), list(posterior.LEVELS).index(level)
    return entries(frame, variant, f"{by}.{task}", *place)


def fraction(values: pandas.Series) -> str:
    """``88 % (84 to 92)``."""
    found = mean_interval(values)
    return f"{100 * found.value:.0f} % ({100 * found.low:.0f} to {100 * found.high:.0f})"


def width_ratio(frame: pandas.DataFrame, variant: str, task: str, quantity: str = "cells") -> Interval:
    """Of the 90 % intervals of a model to those of the fine solver, paired by seeds."""
    place = list(posterior.QUANTITIES).index(quantity)
    a, b = (entries(frame, name, f"width.{task}", place) for name in (variant, "fine"))
    return geometric_mean_interval((a / b).dropna())


def expectations(frame: pandas.DataFrame, task: str) -> dict[str, str]:
    """``{what was expected: MET, CONTRADICTED or OPEN}``."""
    cells = {name: covered(frame, name, task) for name in MODELS}
    apart = (covered(frame, "fine", task, by="Laplace") - cells["fine"]).dropna()
    return {"the fine solver is calibrated": _within(mean_interval(cells["fine"]), *CALIBRATED, len(cells["fine"])),
            "Laplace is within 5 points": _within(mean_interval(apart), -CLOSE, CLOSE, len(apart)),
            "P is overconfident": _within(mean_interval(cells["P"]), -np.inf, CALIBRATED[0], len(cells["P"])),
            **{f"{a} lies below {'the fine solver' if b == 'fine' else b}": _below(cells[a], cells[b])
               for a, b in (("P", "WIG-8"), ("WIG-8", "fine"), ("P", "ONE"))},
            **{f"the width of {name} is the fine solver's": _within(
                width_ratio(frame, name, task), 1 / ALIKE, ALIKE, len(cells[name])) for name in ("P", "WIG-8")}}


def known(frame: pandas.DataFrame) -> str:
    """The reading of ``posterior``, a paragraph for each set of observations."""
    said = []
    for task in design.DECIDING:
        found = expectations(frame, task)
        cells = ", ".join(f"{_named(name)} {fraction(covered(frame, name, task))}" for name in MODELS)
        widths = ", ".join(f"with {name} {ratio.value:.2f} ({ratio.low:.2f} to {ratio.high:.2f}) times"
                           for name in ("P", "WIG-8") for ratio in [width_ratio(frame, name, task)])
        said.append(f"**Observed: {task}.** The 90 % interval of a cell holds the true value in so many cases: {cells}."
                    f" How wide it is, by the fine solver's: {widths}. {_counted(found)}")
    return "\n\n".join(said)


def _named(name: str) -> str:
    return "the fine solver" if name == "fine" else name


def _counted(found: dict[str, str]) -> str:
    met = sum(word == MET for word in found.values())
    rest = [f"{word}: {'; '.join(names)}" for word in (CONTRADICTED, OPEN)
            if (names := [name for name, its in found.items() if its == word])]
    return f"Of {len(found)} expectations {met} are met" + "".join(f"; {text}" for text in rest) + "."


def _within(found: Interval, low: float, high: float, number: int) -> str:
    """Whether the interval of a mean lies between two limits, outside, or across one."""
    if number < MIN_SEEDS:
        return OPEN
    if low < found.low and found.high < high:
        return MET
    return CONTRADICTED if found.high < low or found.low > high else OPEN


def _below(a: pandas.Series, b: pandas.Series) -> str:
    reading = lower("", a, b).effect.reading
    return MET if reading == AS_CLAIMED else CONTRADICTED if reading in (OTHER_WAY, NO_DIFFERENCE) else OPEN
