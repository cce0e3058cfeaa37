"""Learning rates: every variant of a study with the same few, and which of them is best on validation data."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas

from dpbook_utils.setups import Setup

GRID = (1e-3, 3e-3, 1e-2)  # of most studies


def at_rate(row: Any, rate: float) -> Any:
    """A variant, which is a ``Setup`` or has one in its attribute ``setup``, with another learning rate."""
    if isinstance(row, Setup):
        return replace(row, learning_rate=rate)
    return replace(row, setup=at_rate(row.setup, rate))


def at_rates(rows: Mapping[str, Any], grid: Sequence[float]) -> dict[str, Any]:
    """Every variant at every rate: ``{"WIG-3, rate 0.001": variant}``."""
    return {_name(name, rate): at_rate(row, rate) for name, row in rows.items() for rate in grid}


def best(frame: pandas.DataFrame, rows: Mapping[str, Any], grid: Sequence[float], budget: int) -> dict[str, float]:
    """``{variant: the rate with the smallest geometric-mean error}`` from the stored records of a tuning."""
    frame = frame[frame.budget == budget]
    errors = np.log(frame.error.astype(float)).groupby(frame.variant).mean()
    return {name: min(grid, key=lambda rate: errors[_name(name, rate)]) for name in rows}


def _name(name: str, rate: float) -> str:
    return f"{name}, rate {rate:g}"
