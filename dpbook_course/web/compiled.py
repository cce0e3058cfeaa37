"""The kernels compiled to WebAssembly: several times faster than JavaScript, and not needed.

    python -m pip install ziglang==0.17.1        # once
    python -m dpbook_course.web                   # writes kernels.json

``kernels.json`` holds binaries, each by the hash of the C source that it was compiled from. A page gets a binary only
if its own kernels have that hash; otherwise, and where WebAssembly is not allowed, it runs the JavaScript of the same
text.
"""

import base64
import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

from dpbook_utils.files import replacing

from .export import Library

HEADER = r"""
#define KERNEL(n) __attribute__((noinline, export_name("k" #n))) void
#define abs(x) __builtin_fabsf(x)
#define sqrt(x) __builtin_sqrtf(x)
#define floor(x) __builtin_floorf(x)
#define trunc(x) __builtin_truncf(x)
#define max(x, y) ((x) > (y) ? (x) : (y))
#define min(x, y) ((x) < (y) ? (x) : (y))
/* 2^n e^r with x = n ln 2 + r; a Taylor polynomial of degree 7 in |r| < 0.35 */
static inline float exp(float x) {
  x = x > 88.0f ? 88.0f : x < -87.0f ? -87.0f : x;
  float n = __builtin_rintf(x * 1.44269504f);
  float r = x - n * 0.693359375f + n * 2.12194440e-4f;
  float y = 1 + r * (1 + r * (0.5f + r * (1.6666667e-1f + r * (4.1666667e-2f + r * (8.3333333e-3f
    + r * (1.3888889e-3f + r * 1.9841270e-4f))))));
  union { int i; float f; } power = {((int)n + 127) << 23};
  return x == x ? y * power.f : x;
}
/* an odd polynomial for small x, where the quotient would lose digits */
static inline float tanh(float x) {
  float a = __builtin_fabsf(x), z = x * x;
  float small = x + x * z * (-3.33333333e-1f + z * (1.33333333e-1f + z * (-5.39682540e-2f + z * (2.18694885e-2f
    + z * (-8.86323552e-3f + z * (3.59212803e-3f + z * -1.45583438e-3f))))));
  float large = 1 - 2 / (exp(2 * (a > 9 ? 9 : a)) + 1);
  float y = a < 0.4f ? small : x < 0 ? -large : large;
  return x == x ? y : x;
}
"""
FLAGS = ("-target", "wasm32-freestanding", "-O3", "-fno-unroll-loops", "-msimd128", "-ffast-math",
         "-fno-finite-math-only", "-fno-builtin", "-nostdlib", "-Wl,--no-entry", "-Wl,--import-memory",
         "-Wl,--strip-all", "-Wl,-z,stack-size=32768", "-Wl,--initial-memory=65536")
FILE = "kernels.json"


def path() -> Path:
    """Where the compiled kernels are."""
    return Path(str(files(__package__).joinpath(FILE)))


def source(library: Library) -> str:
    return HEADER + library.kernels.c()


def write(libraries: Iterable[Library]) -> list[int]:
    """Compile the kernels of each library; the numbers of characters of the binaries."""
    found = {_hash(text): base64.b64encode(_webassembly(text)).decode() for text in map(source, libraries)}
    with replacing(path()) as file:
        file.write(f"{json.dumps(found, indent=1)}\n".encode())
    return [len(text) for text in found.values()]


def binary(library: Library) -> str:
    """The committed binary as base64 if it is that of these kernels; else nothing."""
    stored = json.loads(files(__package__).joinpath(FILE).read_text(encoding="utf-8"))
    return stored.get(_hash(source(library)), "")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _webassembly(text: str) -> bytes:
    """C to WebAssembly, by the compiler in the package ``ziglang``."""
    with tempfile.TemporaryDirectory() as folder:
        written, compiled = Path(folder, "kernels.c"), Path(folder, "kernels.wasm")
        written.write_text(text, encoding="utf-8")
        subprocess.run([sys.executable, "-m", "ziglang", "cc", *FLAGS, "-o", compiled, written], check=True)
        return compiled.read_bytes()
