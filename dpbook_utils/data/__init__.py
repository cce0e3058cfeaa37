"""Data for training: initial conditions, trajectories, streams of batches, on disk or fresh from a solver.

Chapters: 02_solver_as_data, 03_unrolling.
"""

from .fresh import Fresh
from .initial import random_fourier, random_velocity
from .sampling import Sampler
from .trajectories import Windows, cell_averages, simulate

__all__ = ["Fresh", "Sampler", "StoreError", "Stored", "Windows", "cell_averages", "random_fourier", "random_velocity",
           "simulate", "store"]


def __getattr__(name: str):
    """What needs zarr is imported when it is first used."""
    if name in ("StoreError", "Stored", "store"):
        from . import stored

        return getattr(stored, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
