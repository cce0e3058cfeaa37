"""Compile the kernels of the page that trains: ``python -m dpbook_utils.web``, after a change to what it exports."""

from .compiled import FILE, write
from .systems import exported

if __name__ == "__main__":
    library, _ = exported()
    print(f"{FILE}: {write(library)} characters for {len(library.kernels.texts)} kernels")
