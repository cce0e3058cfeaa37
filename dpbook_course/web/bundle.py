"""The text of a page's worker: runtime, kernels, models and what answers the page, one classic script."""

import base64
import json
from importlib.resources import files

import numpy as np

from .export import Library


def runtime(library: Library, binary: str = "") -> str:
    """``runtime.js`` with the library's KERNELS and CONSTANTS; ``binary``: the kernels compiled, as base64."""
    constants = base64.b64encode(np.asarray(library.constants.values, "<f4").tobytes()).decode()
    return "\n".join([
        text("runtime.js"),
        f"const KERNELS = (({{tanh, exp, log1p, sqrt, pow, abs, max, min, floor, trunc}}) => {library.kernels.javascript()})(Math);",
        f"const CONSTANTS = new Float32Array(decoded({as_json(constants)}));",
        f"const COMPILED = compiled({as_json(binary)});"])


def as_json(value) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def text(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
