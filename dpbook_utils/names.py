"""The names of a package, loaded when they are first used, and what may be meant by one that there is not."""

import difflib
from collections.abc import Callable, Iterable

import lazy_loader


def meant(name: str, known: Iterable[str]) -> str:
    """``Did you mean Burgers?``, as the start of a remedy; nothing if no known name is alike."""
    found = difflib.get_close_matches(name, tuple(known), 1)
    found = found or [other for other in known if other.lower().startswith(name.lower())]
    return f"did you mean {found[0]}? " if found else ""


def attach(package: str, file: str | None = None, modules: Iterable[str] = ()) -> tuple[Callable, Callable, list[str]]:
    """``__getattr__``, ``__dir__`` and ``__all__`` of a package whose names are in the stub of its file, or modules."""
    found = lazy_loader.attach(package, list(modules)) if file is None else lazy_loader.attach_stub(package, file)
    load, names, listed = found

    def get(name: str):
        if name not in names() and not name.startswith("_"):
            raise AttributeError(f"{package}: there is no {name}; {meant(name, names())}dir({package}) lists the names",
                                 name=name)
        return load(name)

    return get, names, listed
