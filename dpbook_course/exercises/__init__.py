"""Checking functions for the exercises, one module per chapter. They say what is wrong, not only that it is."""

import textwrap
from dataclasses import dataclass
from pkgutil import iter_modules

from dpbook_utils.names import attach

__getattr__, __dir__, __all__ = attach(__name__, modules=[module.name for module in iter_modules(__path__)])


@dataclass(frozen=True)
class Feedback:
    """What a check found. A notebook shows the message when the check is the last line of a cell."""

    right: bool
    message: str

    def __repr__(self) -> str:
        return textwrap.fill(f"{'Right.' if self.right else 'Not yet.'} {self.message}", width=72)


def right(message: str) -> Feedback:
    return Feedback(True, message)


def not_yet(message: str) -> Feedback:
    return Feedback(False, message)
