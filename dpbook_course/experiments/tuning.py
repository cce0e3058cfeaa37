"""Learning rates: every variant of a study with the same few, and which of them is best on validation data."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas
from torch import Tensor

from dpbook_utils.setups import Setup

from .spec import Experiment, Specification, Task

GRID = (1e-3, 3e-3, 1e-2)  # of most studies


def at_rate(row: Any, rate: float) -> Any:
    """A variant, which is a ``Setup`` or has one in its attribute ``setup``, with another learning rate."""
    if isinstance(row, Setup):
        return replace(row, learning_rate=rate)
    return replace(row, setup=at_rate(row.setup, rate))


def at_rates(rows: Mapping[str, Any], grid: Sequence[float]) -> dict[str, Any]:
    """Every variant at every rate: ``{"WIG-3, rate 0.001": variant}``."""
    return {_name(name, rate): at_rate(row, rate) for name, row in rows.items() for rate in grid}


@dataclass(frozen=True)
class Tuning:
    """The learning rates of a study. It is an experiment of its own, ``experiment``, with other seeds.

    Attributes:
        study: whose rates; the tuning is ``e04_tuning``.
        rows: ``{name: variant}``; each is trained at every rate of the grid.
        error: ``error(variant, seeds, budget)``: (seeds,) errors on validation data after a training, a function of
            the study's folder.
        text: what that error is.
        budget: number of updates of a variant.
        check: the task that ``check`` repeats.
        shared: ``shared(name)``: rows with the same answer have one rate for all; default: each has its own.
        others: variants that are trained too, at the rate that they have.
        settings: what the results depend on; default: the study's.
        grid, seeds, tolerance: rates, and as in ``Specification``.
    """

    study: Specification
    rows: Mapping[str, Any]
    error: Callable[[Any, Sequence[int], int], Tensor]
    text: str
    budget: int | Callable[[Any], int]
    check: Task
    grid: tuple[float, ...] = GRID
    seeds: tuple[int, ...] = (100, 101)
    shared: Callable[[str], str] = str
    others: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] | None = None
    tolerance: float = 1e-4

    @functools.cached_property
    def spec(self) -> Specification:
        variants = {**at_rates(self.rows, self.grid), **self.others}
        return Specification(
            id=f"{self.study.id}_tuning", title=f"Learning rates of {self.study.id}", chapter=self.study.chapter,
            variants=variants, budgets={name: (self._updates(row),) for name, row in variants.items()},
            seeds=self.seeds, metrics={"error": self.text},
            settings=self.study.settings if self.settings is None else self.settings, checks=(self.check,),
            checked=("error",), tolerance=self.tolerance)

    @functools.cached_property
    def experiment(self) -> Experiment:
        @functools.wraps(self.error)  # and so of the study's module, where other processes look for it
        def run(variant: str, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
            return {"error": self.error(self.spec.variants[variant], seeds, budget)}

        return Experiment(self.spec, run)

    def best(self, frame: pandas.DataFrame) -> dict[str, float]:
        """``{row, or what shared gives for it: the rate with the smallest geometric-mean error}`` from the records."""
        budgets = frame.variant.map({name: budget for name, (budget,) in self.spec.budgets.items()})
        frame = frame[frame.budget == budgets]
        errors, names = np.log(frame.error.astype(float)).groupby(frame.variant).mean(), {}
        for name in self.rows:
            names.setdefault(self.shared(name), []).append(name)
        return {one: min(self.grid, key=lambda rate: errors[[_name(name, rate) for name in rows]].mean())
                for one, rows in names.items()}

    def _updates(self, row: Any) -> int:
        return self.budget if isinstance(self.budget, int) else self.budget(row)


def _name(name: str, rate: float) -> str:
    return f"{name}, rate {rate:g}"
