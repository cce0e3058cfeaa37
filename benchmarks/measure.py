"""Times of functions that do the same, taken in turn, so that other load on the machine hits all of them alike."""

import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

from dpbook_course.experiments.provenance import processor


def interleaved(functions: dict[str, Callable], repeats: int,
                clock: Callable[[], float] = time.perf_counter) -> dict[str, dict[str, float]]:
    """Median and quartiles of each function's time in ms, and of its ratio to the first function of the same round."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats + 1):
        for name, function in functions.items():
            start = clock()
            function()
            times[name].append(1e3 * (clock() - start))
    first = next(iter(times.values()))
    return {name: {**_spread(values[1:], "ms"), **_spread([v / f for v, f in zip(values[1:], first[1:])], "ratio")}
            for name, values in times.items()}


def _spread(values: list[float], unit: str) -> dict[str, float]:
    low, median, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    return {unit: median, f"{unit}_low": low, f"{unit}_high": high}


def environment() -> dict[str, str]:
    packages = ("torch", "numpy", "phiflow", "phiml", "jax", "exponax", "optax")
    return {"processor": processor(), "cores": str(os.cpu_count()), "threads": "1",
            "python": platform.python_version(), **{name: _version(name) for name in packages}}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
