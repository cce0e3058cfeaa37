"""What code can read besides its inputs, and whether it is still the same.   Chapter: 00_solver_as_operator.

A recorded graph, coefficients computed once and parameters checked once hold for as long as nothing changes that the
solver could read. ``Watch`` finds all of that once and compares it quickly at every call.
"""

import argparse
import collections
import functools
import operator
import sys
import types
from collections.abc import Callable, Hashable, Iterable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from .watched import VALUES, Same, TensorValues, kind_of

# Attributes that every module has, and the solvers' own memory: no part of what a module does.
_INTERNAL = vars(nn.Module()).keys() - {"training"} | {"_memory", "_graphs", "_replayed"}


class Watch:
    """Everything that a module or function can read besides its inputs, as it is when the watch is made.

    That is: attributes of the module, of its parts and of its own classes, and what they hold in lists, dictionaries,
    sets and objects; tensors, NumPy arrays and buffers with their values; code, attributes, defaults, closures and
    globals of functions, and of the functions that they call; the user's own modules; torch's default dtype. Code and
    objects of installed libraries count as fixed, but for the containers in ``_OPEN``. What is fetched in other ways is
    not seen: from files, environment variables, a library's settings, ``globals()``, context variables, weak
    references, arrays of objects, attributes of numbers.

    Changes of a tensor's values that PyTorch does not count (through ``.data`` or a NumPy view) are found by comparing
    the values: all of up to 1024, 1024 of a larger tensor; on a GPU, where reading is a wait, none. A tensor that needs
    a gradient is watched for being the same tensor, not for its values.

    Attributes:
        key: equal for two watches if all of that was the same.
    """

    def __init__(self, value):
        self._dicts: list[Mapping] = []
        self._sequences: list[Iterable] = []
        self._globals: list[tuple[dict, str]] = []
        self._cells: list[types.CellType] = []
        self._slots: list[tuple[object, str]] = []
        self._values: list = []
        self._known: dict[int, tuple[int, object]] = {}
        self._dtype = torch.get_default_dtype()
        self.key = Key((self._dtype, self._walk(value)))
        self._seen = self._look()

    def unchanged(self) -> bool:
        found, seen = self._look(), self._seen
        return (len(found) == len(seen) and all(map(operator.is_, found, seen))
                and torch.get_default_dtype() is self._dtype and all(x.unchanged() for x in self._values))

    def _look(self) -> list:
        found = [x for part in self._dicts for x in (*part, *part.values())]
        if self._sequences:
            found += [x for part in self._sequences for x in part]
        if self._globals:
            found += [space.get(name) for space, name in self._globals]
        if self._cells:
            found += map(_content, self._cells)
        if self._slots:
            found += [getattr(value, name, None) for value, name in self._slots]
        return found

    def _walk(self, value) -> Hashable:
        if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
            return type(value), value
        if id(value) in self._known:
            return "again", self._known[id(value)][0]
        self._known[id(value)] = len(self._known), value  # held, so that no other object gets its id
        if isinstance(value, (Tensor, *VALUES)):
            watched = TensorValues(value) if isinstance(value, Tensor) else VALUES[kind_of(value)](value)
            self._values.append(watched)
            return watched.key, self._given(value)
        if isinstance(value, nn.Module):
            return self._module(value)
        if isinstance(value, (list, tuple, set, frozenset, collections.deque)):
            self._sequences.append(value)
            return type(value), self._given(value), *map(self._walk, value)
        if isinstance(value, dict):
            return type(value), self._given(value), self._items(value)
        if isinstance(value, type):
            return self._class(value)
        for kind, parts in _PARTS.items():
            if isinstance(value, kind):
                return kind, *(self._walk(getattr(value, name)) for name in parts)
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if hasattr(value, "__wrapped__"):  # functools.lru_cache
            return value, self._walk(value.__wrapped__)
        if isinstance(value, types.ModuleType) and _library(value.__name__) is None:
            self._dicts.append(vars(value))
            plain = {name: x for name, x in vars(value).items() if not name.startswith("__")}
            return Same(value), *((name, self._walk(x)) for name, x in plain.items())
        if isinstance(value, types.ModuleType) or (
                _library(type(value).__module__) == "other" and not isinstance(value, _OPEN)):
            return Same(value)
        return self._object(value)

    def _given(self, value) -> Hashable:
        """Attributes that somebody has given to a tensor, a list or another object that holds something else."""
        given = getattr(value, "__dict__", None)
        return self._items(given) if given else ()

    def _items(self, mapping: Mapping) -> Hashable:
        self._dicts.append(mapping)
        return tuple((name, self._walk(x)) for name, x in mapping.items())

    def _module(self, module: nn.Module) -> Hashable:
        self._dicts.append(vars(module))
        own = tuple((name, self._walk(x)) for name, x in vars(module).items() if name not in _INTERNAL)
        parts = (module._modules, module._buffers, module._parameters, module._forward_hooks, module._forward_pre_hooks)
        return self._walk(type(module)), own, *map(self._items, parts)

    def _class(self, cls: type) -> Hashable:
        """The class, with what its code and attributes are if it is the user's own."""
        found = [cls]
        for base in cls.__mro__:
            if _library(base.__module__) is None and (base is cls or id(base) not in self._known):
                self._known.setdefault(id(base), (len(self._known), base))
                self._dicts.append(vars(base))
                found.append(tuple((name, self._walk(x)) for name, x in vars(base).items() if name not in _OF_CLASSES))
        return tuple(found)

    def _function(self, function: types.FunctionType) -> Hashable:
        origin = _library(function.__globals__.get("__name__", ""))
        if origin == "other":
            return function, self._walk(getattr(function, "__wrapped__", None))
        cells = function.__closure__ or ()
        self._cells += cells
        parts = [self._walk(_content(cell)) for cell in cells]
        parts += [self._walk(function.__defaults__), self._walk(function.__kwdefaults__)]
        if origin is None:
            self._slots.append((function, "__code__"))  # as a notebook's %autoreload changes it
            parts += [function.__code__, self._items(vars(function))]
            parts += self._read(function.__globals__, set(_names(function.__code__)))
        return function, *parts

    def _read(self, space: dict, names: set[str], seen: tuple = ()) -> list[Hashable]:
        """Those of the names that are globals, with attributes of modules among them.

        Args:
            seen: the modules on the way here, which a module within them may import again.
        """
        found = []
        for name in sorted(names & space.keys()):
            self._globals.append((space, name))
            value = space[name]
            if not isinstance(value, types.ModuleType):
                found.append((name, self._walk(value)))
            elif _library(value.__name__) is None and value not in seen:
                found.append((name, *self._read(vars(value), names, (*seen, value))))
        return found

    def _object(self, value) -> Hashable:
        slots = [name for cls in type(value).__mro__ for name in _slot_names(cls)]
        self._slots += [(value, name) for name in slots]
        parts = [self._walk(getattr(value, name, None)) for name in slots]
        if not hasattr(value, "__dict__"):
            return type(value), Same(value), *parts
        return self._walk(type(value)), self._items(vars(value)), *parts


class Latest(dict):
    """Graphs by what they were recorded for: those of the keys that were used last, sixteen of them."""

    size = 16

    def current(self, key: Hashable, record: Callable):
        """The graph of the key, recorded if there is none, or if a tensor that it has read was changed since."""
        found = self.pop(key, None)
        self[key] = found if found is not None and found.is_current else record()
        while len(self) > self.size:
            self.pop(next(iter(self)), None)
        return self[key]


class Key:
    """A key whose hash is computed once."""

    def __init__(self, value: Hashable):
        self.value, self._hash = value, hash(value)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other) -> bool:
        return isinstance(other, Key) and self.value == other.value


# Objects that wrap others, and where.
_PARTS = {types.MethodType: ("__func__", "__self__"), functools.partial: ("func", "args", "keywords"),
          property: ("fget",), staticmethod: ("__func__",), classmethod: ("__func__",),
          functools.cached_property: ("func",), functools.partialmethod: ("func", "args", "keywords"),
          types.MappingProxyType: ()}
# Objects of libraries whose contents are somebody else's.
_OPEN = (types.SimpleNamespace, argparse.Namespace, collections.UserDict, collections.UserList, collections.ChainMap,
         torch.distributions.Distribution, np.poly1d)
_OF_CLASSES = {"__dict__", "__weakref__", "__module__", "__doc__", "__qualname__", "__annotations__", "__slots__",
               "__firstlineno__", "__static_attributes__", "__parameters__", "__orig_bases__"}


@functools.cache
def _library(module: str) -> str | None:
    """"own" for this package, "other" for an installed or standard library, None for code of the user's."""
    root = module.partition(".")[0]
    if root == __name__.partition(".")[0]:
        return "own"
    if root in sys.stdlib_module_names or root == "builtins":
        return "other"
    path = getattr(sys.modules.get(root), "__file__", None) or ""
    return "other" if "site-packages" in path or "dist-packages" in path else None


def _names(code: types.CodeType) -> Iterable[str]:
    """The names of globals and attributes in a function's code, and in the functions within it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _slot_names(cls: type) -> Iterable[str]:
    slots = vars(cls).get("__slots__", ())
    return [name for name in ([slots] if isinstance(slots, str) else slots) if name not in ("__dict__", "__weakref__")]


def _content(cell: types.CellType):
    try:
        return cell.cell_contents
    except ValueError:  # assigned later
        return None
