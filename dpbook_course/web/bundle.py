"""The text of a page's worker: runtime, kernels, models and what answers the page, one classic script."""

import base64
import json
from importlib.resources import files

import numpy as np

from .export import Library


def runtime(library: Library, binary: str = "") -> str:
    """``runtime.js`` with the library's KERNELS and CONSTANTS; ``binary``: the kernels compiled, as base64."""
    # Matrices and grids repeat their numbers: each stands once in a table, and two bytes say where.
    table, places = np.unique(np.asarray(library.constants.values, "<f4"), return_inverse=True)
    table, places = (base64.b64encode(x.tobytes()).decode() for x in (table, _short(places)))
    return "\n".join([
        text("runtime.js"),
        "const KERNELS = (({tanh, exp, log1p, sqrt, pow, abs, max, min, floor, trunc}) => "
        f"{library.kernels.javascript()})(Math);",
        f"const CONSTANTS = lookedUp(new Float32Array(decoded({as_json(table)})), "
        f"new Uint16Array(decoded({as_json(places)})));",
        f"const COMPILED = compiled({as_json(binary)});"])


def _short(places: np.ndarray) -> np.ndarray:
    if places.size and places.max() >= 1 << 16:
        raise ValueError(f"a page has {places.max() + 1} different constants; two bytes tell {1 << 16} apart")
    return places.astype("<u2")


def as_json(value) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def text(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
