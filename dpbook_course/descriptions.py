"""Values as data that is equal for equal values, in every process: what fingerprints are made of."""

import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from inspect import ismethod
from typing import Any


def plain_name(name: str) -> str:
    """The name as part of a file's name."""
    return re.sub(r"[^A-Za-z0-9.]+", "_", name)


def describe(value) -> Any:
    """The value as JSON: equal for equal descriptions, in every process."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return {str(key): describe(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [describe(v) for v in value]
    if is_dataclass(value):
        return {"type": type(value).__name__, **{f.name: describe(getattr(value, f.name)) for f in fields(value)}}
    if ismethod(value):  # of a problem, whose settings are stated with it
        return value.__name__
    if callable(value) and hasattr(value, "__qualname__"):
        return value.__qualname__
    if type(value).__repr__ is object.__repr__:
        raise TypeError(f"describe: a {type(value).__name__} has no description; give it a repr that states its "
                        "arguments, or use numbers, strings, dataclasses and named functions")
    return repr(value)
