"""One check for each kind of argument: a whole number, a pair, an operator, a tensor like the state, ...

Each returns the value as the package uses it, or raises TypeError (another kind of thing) or ValueError (not in the
range) with one sentence: ``label: name is what was given; give what is expected``. Numbers may be Python's, NumPy's or
tensors of no dimension; True and False are no numbers. States are tensors: NumPy arrays and lists are refused, as
converting them would hide their precision.   Chapter: 00_solver_as_operator.
"""

import inspect
import math
import numbers
import os
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .files import expanded
from .names import meant

DEVICES = ("cpu", "cuda")
LARGEST = 2**63 - 1  # that torch and NumPy can count to


def shown(value) -> str:
    """What was given, on one line: short, and without an address in memory."""
    if isinstance(value, (Tensor, np.ndarray)) and value.ndim > 0:
        kind = "tensor" if isinstance(value, Tensor) else "NumPy array"
        return f"a {kind} of shape {tuple(value.shape)} and {value.dtype}"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if value is None or isinstance(value, (str, bytes, numbers.Number, np.generic, Tensor, np.ndarray, torch.device)):
        return reprlib.repr(value.item() if isinstance(value, np.generic) else value)
    if isinstance(value, (list, tuple, dict, set)):
        text = " ".join(repr(value).split())
        return text if len(text) <= 60 and " at 0x" not in text else f"a {type(value).__name__} of {len(value)}"
    name = getattr(value, "__qualname__", None)
    article = "an" if type(value).__name__[0] in "AEIOU" else "a"
    return f"{article} {type(value).__name__}" if name is None else f"the function {name.rpartition('.<locals>.')[2]}"


def refusal(label: str, name: str, value, expected: str, error: type[Exception] = TypeError) -> Exception:
    return error(f"{label}: {name} is {shown(value)}; give {expected}")


def known(label: str, kind: str, given: Iterable[str], offered: Sequence[str], also: str = "") -> None:
    """Raise ValueError for a name that is none of those that are offered."""
    if unknown := sorted(set(given) - set(offered)):
        raise ValueError(f"{label}: unknown {kind} {', '.join(unknown)}; {meant(unknown[0], offered)}"
                         f"it takes {', '.join(offered) or 'none'}{also}")


# Calls ---------------------------------------------------------------------------------------------------------------

def misfit(function: Callable, /, *given, **named) -> str | None:
    """Why a function cannot be called like this; None if it can, or does not say how it is called."""
    try:
        inspect.signature(function).bind(*given, **named)
    except TypeError as error:
        return str(error)
    except ValueError:  # a built-in one
        pass
    return None


# Numbers -------------------------------------------------------------------------------------------------------------

def is_number(value) -> bool:
    """A real number of Python or NumPy, but not True or False."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def whole(label: str, name: str, value, least: int = 1, most: int | None = None) -> int:
    """An integer of ``least ... most``."""
    expected = f"a whole number of at least {least}" if most is None else f"a whole number of {least} ... {most}"
    given = _plain(value)
    if not is_number(given):
        raise refusal(label, name, value, expected)
    if not isinstance(given, numbers.Integral) or not least <= given <= (LARGEST if most is None else most):
        raise refusal(label, name, value, expected, ValueError)
    return int(given)


def number(label: str, name: str, value, *, above: float = -math.inf, least: float = -math.inf) -> float:
    """A finite number larger than ``above`` and not less than ``least``."""
    expected = ("a positive number" if above == 0 else f"a number above {above:g}" if above > -math.inf else
                f"a number of at least {least:g}" if least > -math.inf else "a finite number")
    given = _plain(value)
    if not is_number(given):
        raise refusal(label, name, value, expected)
    if not (math.isfinite(given) and given > above and given >= least):
        raise refusal(label, name, value, expected, ValueError)
    return float(given)


def positive(label: str, name: str, value) -> float:
    return number(label, name, value, above=0)


def pair(label: str, name: str, value, kind: Callable, meaning: str) -> tuple:
    """Two values of a kind (``whole``, ``number`` or ``positive``), such as (x, y)."""
    entries = _entries(value)
    if entries is None or len(entries) != 2:
        raise refusal(label, name, value, meaning, ValueError)
    try:
        return tuple(kind(label, name, entry) for entry in entries)
    except (TypeError, ValueError):
        raise refusal(label, name, value, meaning, ValueError) from None


def one_per_axis(label: str, name: str, value, kind: Callable, meaning: str, most: int = 2) -> tuple:
    """A value of a kind for each of 1 ... ``most`` axes; a single one stands for one axis."""
    entries = _entries(value)
    entries = [value] if entries is None else entries
    if not 1 <= len(entries) <= most:
        raise refusal(label, name, value, meaning, ValueError)
    try:
        return tuple(kind(label, name, entry) for entry in entries)
    except (TypeError, ValueError) as error:
        raise refusal(label, name, value, meaning, type(error)) from None


def is_shape(value) -> bool:
    """One whole number of at least 1 for each axis."""
    entries = _entries(value)
    return entries is not None and all(is_number(_plain(n)) and int(n) == n and n >= 1 for n in entries)


def flag(label: str, name: str, value) -> bool:
    """True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise refusal(label, name, value, "True or False")
    return bool(value)


def _plain(value):
    """The number in a tensor or array of no dimension; anything else as it is."""
    return value.item() if isinstance(value, (Tensor, np.ndarray)) and value.ndim == 0 else value


def _entries(value) -> list | None:
    if isinstance(value, (Tensor, np.ndarray)):
        return list(value) if value.ndim == 1 else None
    return list(value) if isinstance(value, Sequence) and not isinstance(value, (str, bytes)) else None


# Objects -------------------------------------------------------------------------------------------------------------

def instance(label: str, name: str, value, kind: type | tuple[type, ...], expected: str):
    """An object of a kind; the class itself is none."""
    if isinstance(value, type) and issubclass(value, kind):
        raise refusal(label, name, value, f"an object of it, {value.__name__}(...)")
    if not isinstance(value, kind):
        raise refusal(label, name, value, expected)
    return value


def function(label: str, name: str, value, expected: str, *given: str) -> Callable:
    """Something to call with arguments of these names, if any are: a function or an object; a class is none."""
    if not callable(value) or isinstance(value, type):
        raise refusal(label, name, value, expected)
    if given and misfit(value, *given):
        raise refusal(label, name, value, f"{expected}, of {_COUNTS[len(given)]}")
    return value


_COUNTS = ("no argument", "one argument", "two arguments", "three arguments", "four arguments")


def operator(label: str, name: str, value, expected: str = "an operator u -> u_next, such as a solver, "
             "Additive(network) or Sequential") -> Callable:
    """An operator ``u -> u_next``: a module, or a plain function of the state."""
    if hasattr(value, "its_step"):
        raise refusal(label, name, value, f"the step that it repeats, {value.its_step}")
    if isinstance(value, type):
        raise refusal(label, name, value, f"an operator built from it, {value.__name__}(...)")
    if isinstance(value, (list, tuple)):
        raise refusal(label, name, value, "one operator, joined by Sequential(first, second, ...)")
    return function(label, name, value, expected, "u")


def text(label: str, name: str, value, expected: str = "a text") -> str:
    if not isinstance(value, str):
        raise refusal(label, name, value, expected)
    return value


def path(label: str, name: str, value) -> Path:
    """A path, as a text or a ``Path``, in which ``~`` is the home folder."""
    if not isinstance(value, (str, os.PathLike)) or value == "":
        raise refusal(label, name, value, "a path, as a text or a pathlib.Path")
    return expanded(value)


def choice(label: str, name: str, value, offered: Iterable):
    """One of the values that are offered."""
    offered = tuple(offered)
    hashable = value is None or isinstance(value, str) or is_number(value)
    if not hashable or value not in offered:
        raise ValueError(f"{label}: {name} is {shown(value)}; choose one of {', '.join(map(repr, offered))}")
    return value


def values_of_controls(label: str, start: Mapping) -> None:
    """What a figure opens with: texts and numbers."""
    for control, value in start.items():
        if not isinstance(value, str) and not is_number(value):
            raise refusal(label, control, value, "a text or a number that is offered")


def mapping(label: str, name: str, value, expected: str) -> Mapping:
    """A dict, or something like it, whose keys are texts."""
    if not isinstance(value, Mapping):
        raise refusal(label, name, value, expected)
    for key in value:
        text(label, f"a key of {name}", key, f"{expected}, with texts as keys")
    return value


# Tensors -------------------------------------------------------------------------------------------------------------

def tensor(label: str, name: str, value, expected: str, *dimensions: int) -> Tensor:
    """A tensor of real floating-point numbers, with one of the numbers of dimensions if any are given, else any."""
    if not isinstance(value, Tensor):
        how = {np.ndarray: "torch.from_numpy({0})", list: "torch.tensor({0})", tuple: "torch.tensor({0})"}
        variable = name if name.isidentifier() else "u"
        remedy = f", as {how[type(value)].format(variable)} makes it" if type(value) in how else ""
        raise refusal(label, name, value, f"a tensor {expected}{remedy}")
    if not value.is_floating_point():
        raise refusal(label, name, value, f"floating-point numbers {expected}, as .float() makes them")
    if dimensions and value.ndim not in dimensions:
        raise refusal(label, name, value, f"a tensor {expected}", ValueError)
    return value


def trajectory(label: str, name: str, value) -> Tensor:
    """A tensor (batch, time, channels, *spatial) with at least one of each."""
    tensor(label, name, value, "(batch, time, channels, *spatial)")
    if value.ndim < 4 or value.numel() == 0:
        raise refusal(label, name, value, "a tensor (batch, time, channels, *spatial) that is not empty", ValueError)
    return value


def like(label: str, name: str, value: Tensor, states: Tensor, start: str = "u0") -> Tensor:
    """A tensor of the precision and on the device of the states that begin with ``start``."""
    if value.dtype != states.dtype or value.device != states.device:
        raise TypeError(f"{label}: {name} is {value.dtype} on {value.device}, the states are {states.dtype} on "
                        f"{states.device}; use {name}.to({start}), or {start}.to({name}) if the states are the "
                        "ones that differ")
    return value


def unlike_copies(module) -> str | None:
    """Why the weights of a module cannot be exchanged for a copy per sample; None if they can."""
    if len(list(module.named_parameters(remove_duplicate=False))) > len(list(module.parameters())):
        return "a network stands in it more than once, where torch would leave the copies; let Rollout repeat the step"
    if any(getattr(part, "checkpoint", False) is True for part in module.modules()):
        return "its roll-out is checkpointed, which torch.func does not allow; give Rollout(..., checkpoint=False)"
    if any(len({w.requires_grad for w in one.parameters()}) > 1 for one in module.modules() if hasattr(one, "layers")):
        return "some weights of a network are trained and others frozen; train all of them, or none"


def is_readable(value) -> bool:
    """A NumPy array of floating-point numbers as torch can take it: no mask, no other byte order, no step backwards."""
    return (isinstance(value, np.ndarray) and not isinstance(value, np.ma.MaskedArray)
            and value.dtype in (np.float16, np.float32, np.float64) and value.dtype.isnative
            and min(value.strides, default=0) >= 0)


def is_lost(x: Tensor, h: float) -> bool:
    """A move by ``h`` is below the rounding of finite numbers ``x``, or beyond all numbers."""
    largest = x.detach().abs().amax()
    return bool(largest.isfinite()) and not (math.isfinite(h) and bool(largest + h > largest))


def differ(found: Tensor, expected: Tensor) -> bool:
    """By more than a thousand roundings of the largest number; what is not finite is left out."""
    apart, scale = ((x.abs().nan_to_num(0, 0, 0)).amax() for x in (found - expected, expected))
    return bool(apart > 1e3 * torch.finfo(expected.dtype).eps * scale)


def dtype(label: str, name: str, value) -> torch.dtype:
    if not isinstance(value, torch.dtype) or value not in (torch.float32, torch.float64):
        raise refusal(label, name, value, "torch.float32 or torch.float64")
    return value


def device(label: str, value) -> torch.device:
    """A device that solvers run on, or its name. Raises ValueError for others, such as Apple's ``mps``."""
    try:
        found = value if isinstance(value, torch.device) else torch.device(text(label, "device", value))
    except (RuntimeError, TypeError):
        raise refusal(label, "device", value, "'cpu' or 'cuda'") from None
    if found.type not in DEVICES:
        raise ValueError(f"{label}: the device is {str(found)!r}; CPU and CUDA are supported, so move states and "
                         "networks there, as state.to('cpu') does")
    return found
