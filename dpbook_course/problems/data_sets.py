"""Independent sets of data of one problem: the same distribution, other initial states.

A study's first seeds share the set 0, whose trajectories are part of its specification. Every further seed sees a set
of its own, training, validation and test data alike, so that a result does not depend on one draw of them:

    with data_set(3):
        problem.trajectories("train")   # other trajectories than outside
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from contextvars import ContextVar

APART = 10_000  # between the seeds of one set and the next; problems count theirs from zero

_number: ContextVar[int] = ContextVar("data_set", default=0)


@contextlib.contextmanager
def data_set(number: int) -> Iterator[None]:
    """In this block all problems have the data of this set. Raises ValueError for a negative number."""
    if number < 0:
        raise ValueError(f"data_set: got {number}; the sets are numbered from 0")
    token = _number.set(number)
    try:
        yield
    finally:
        _number.reset(token)


def current() -> int:
    """The number of the set whose data problems have here."""
    return _number.get()


def seed_here(seed: int) -> int:
    """What a seed of a problem's data is in the present set: itself in set 0."""
    return seed + APART * current()


def cached_per_set(method: Callable) -> Callable:
    """``functools.cache`` that keeps the sets apart."""
    @functools.cache
    def of_set(number: int, *arguments):
        return method(*arguments)

    @functools.wraps(method)
    def found(*arguments):
        return of_set(current(), *arguments)

    found.cache_clear = of_set.cache_clear
    return found
