"""Calls that do not fit: what was given, how it is called, and what torch's own errors leave out.

``Explained`` is what the package's modules have in common.   Chapter: 00_solver_as_operator.
"""

import functools
import inspect
import types
from collections.abc import Callable

from torch import Tensor

from . import arguments


def explained(function: Callable) -> Callable:
    """The function; a call that does not fit it is told with what was given and how it is called."""

    @functools.wraps(function)
    def call(*given, **named):
        try:
            return function(*given, **named)
        except TypeError as error:
            inside = error.__traceback__.tb_next
            reason = None if inside else arguments.misfit(function, *given, **named)
            if reason is None:
                raise
        is_method = function.__name__ in ("__init__", "forward")
        label = getattr(given[0], "label", type(given[0]).__name__) if is_method else function.__name__
        values = [arguments.shown(value) for value in given[is_method:]]
        values += [f"{name}={arguments.shown(value)}" for name, value in named.items()]
        usage = _usage(function, given[0] if is_method else None)
        raise TypeError(f"{label}: {reason}, given {', '.join(values) or 'nothing'}; call it as "
                        f"{'' if function.__name__ == 'forward' else label}({usage})")

    return call


def _usage(function: Callable, instance=None) -> str:
    parts, marked = [], False
    for name, parameter in list(inspect.signature(function).parameters.items())[instance is not None:]:
        if parameter.kind is parameter.KEYWORD_ONLY and not marked:
            parts.append("*")
        marked = marked or parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_POSITIONAL)
        if parameter.kind is parameter.VAR_KEYWORD:
            names = getattr(instance, "parameter_names", ()) if function.__name__ == "forward" else ()
            parts += [f"{name}=..." for name in names] or [f"**{name}"]
        else:
            star = "*" * (parameter.kind is parameter.VAR_POSITIONAL)
            parts.append(f"{star}{name}" + "=..." * (parameter.default is not parameter.empty))
    return ", ".join(parts)


def noted(error: Exception, where: str, **tensors: Tensor) -> None:
    """Add to an error of torch what its operation was given."""
    given = ", ".join(f"{name}: {arguments.shown(value)}" for name, value in tensors.items())
    error.add_note(f"{where}, given {given}")


class Explained:
    """A module whose calls that do not fit are explained, and whose repr has what it was built with and keeps."""

    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        for name in ("__init__", "forward"):
            if isinstance(vars(cls).get(name), types.FunctionType):
                setattr(cls, name, explained(vars(cls)[name]))
        if "__init__" in vars(cls):
            cls.__init__ = _then_looked_at(cls.__init__)

    def check_built(self) -> None:
        """Raise for what a class has left out or declared wrongly; called when the whole constructor has run."""

    def extra_repr(self) -> str:
        return as_built(self)


def _then_looked_at(init: Callable) -> Callable:
    @functools.wraps(init)
    def whole(self, *given, **named):
        init(self, *given, **named)
        if type(self).__init__ is whole:
            self.check_built()

    return whole


def as_built(module, **others) -> str:
    """``name=value`` for every argument of the constructor that the module keeps, or that ``others`` has."""
    values = {**others, **vars(module)}
    return ", ".join(f"{name}={_brief(values[name])}" for name in inspect.signature(type(module).__init__).parameters
                     if name in values)


def _brief(value) -> str:
    if isinstance(value, (types.FunctionType, type)):
        return value.__name__
    if isinstance(value, Tensor):
        return arguments.shown(value)
    return f"{type(value).__name__}()" if " at 0x" in repr(value) else repr(value)


def narrows(kind: type, hook: str, declared: str) -> bool:
    """A class below the one that declares what parameters there are has a hook of its own, which may take fewer."""
    declaring, having = (next(one for one in kind.__mro__ if name in vars(one)) for name in (declared, hook))
    return having is not declaring and issubclass(having, declaring)
