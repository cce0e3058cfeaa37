"""The text of a page's worker: runtime, kernels, models and what answers the page, one classic script."""

import base64
import json
from importlib.resources import files

import numpy as np

from .export import Library


def runtime(library: Library) -> str:
    """``runtime.js`` with the library's KERNELS and CONSTANTS."""
    constants = base64.b64encode(np.asarray(library.constants.values, "<f4").tobytes()).decode()
    return (f"{text('runtime.js')}\nconst KERNELS = (({{tanh, exp, sqrt, pow, abs, max, min}}) => "
            f"{library.kernels.javascript()})(Math);\nconst CONSTANTS = decoded(\"{constants}\");\n")


def as_json(value) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def text(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
