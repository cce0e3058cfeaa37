"""What a run uses: short or full mode, threads, seeds.   Chapter: every notebook's first cell.

The environment variable ``DPBOOK_MODE`` is ``full`` (default: what the rendered book shows) or
``short`` (what the tests execute: same code, fewer updates, same conclusions asserted where they hold).
"""

import os

MODES = ("full", "short")


def mode() -> str:
    """The mode that ``DPBOOK_MODE`` selects. Raises ValueError for any other value."""
    value = os.environ.get("DPBOOK_MODE", "full")
    if value not in MODES:
        raise ValueError(f"DPBOOK_MODE is {value!r}; set it to one of {', '.join(MODES)} or unset it")
    return value


def choose(*, full, short):
    """``full`` or ``short``, by mode: the way a notebook's settings cell states both of its values."""
    return full if mode() == "full" else short


def reproducible(seed: int):
    """Seed torch and use one thread; returns the seeded ``torch.Generator`` of the CPU.

    One thread is as fast as two for the sizes of the course and makes timings comparable.
    """
    import torch

    from . import arguments

    torch.set_num_threads(1)
    return torch.manual_seed(arguments.whole("reproducible", "seed", seed, 0))
