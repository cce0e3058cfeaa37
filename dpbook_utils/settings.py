"""What a run uses: short or full mode, machine code, threads, seeds.   Chapter: every notebook's first cell.

The environment variable ``DPBOOK_MODE`` is ``full`` (default: what the rendered book shows) or
``short`` (what the tests execute: same code, fewer updates, same conclusions asserted where they hold).
``DPBOOK_COMPILED`` is ``on`` (default: recorded graphs run as machine code where a C compiler is found) or ``off``.
"""

import os

MODES = ("full", "short")


def mode() -> str:
    """The mode that ``DPBOOK_MODE`` selects. Raises ValueError for any other value."""
    return _value("DPBOOK_MODE", MODES)


def compiled() -> bool:
    """Whether ``DPBOOK_COMPILED`` allows machine code. Raises ValueError for any value but on and off."""
    return _value("DPBOOK_COMPILED", ("on", "off")) == "on"


def _value(name: str, allowed: tuple[str, ...]) -> str:
    value = os.environ.get(name, allowed[0])
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}; set it to one of {', '.join(allowed)} or unset it")
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
