"""Compile the kernels of the page that trains: ``python -m dpbook_course.web``, after a change to what it exports."""

import argparse
import sys
from importlib.util import find_spec

from ..commands import program


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status."""
    argparse.ArgumentParser(prog="python -m dpbook_course.web", description=__doc__).parse_args(arguments)
    if find_spec("ziglang") is None:
        print("The compiler is not installed: python -m pip install ziglang==0.17.1", file=sys.stderr)
        return 1
    from dpbook_utils.files import writable

    from .compiled import path, write
    from .systems import PAGES, exported

    writable(path())
    libraries = [exported(names)[0] for names in PAGES]
    for names, library, size in zip(PAGES, libraries, write(libraries), strict=True):
        print(f"{path()}: {', '.join(names)}: {size} characters for {len(library.kernels.texts)} kernels")
    return 0


if __name__ == "__main__":
    program(main)
