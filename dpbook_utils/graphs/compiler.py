"""The machine code that runs tables of operations: compiled once, kept for later.   Chapter: 06_long_horizons."""

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from .. import settings

SOURCE = Path(__file__).with_name("table.c")
# Neither -ffast-math, which loses NaN, nor contraction, so that each operation rounds as it does in torch. That an
# operation might trap or set errno keeps tanh from becoming vectors; unswitched loops over parts of a product are so
# many that registers do not hold their sums.
FLAGS = ("-O3", "-march=native", "-ffp-contract=off", "-fno-trapping-math", "-fno-math-errno",
         "-fno-unswitch-loops", "-shared", "-fPIC")


class Unavailable(Exception):
    """Why there is no machine code."""


@functools.cache
def library() -> ctypes.CDLL | None:
    """``table.c`` as machine code of this processor; None, after one line that says why, if there is none."""
    if not settings.compiled():
        return None
    try:
        found = ctypes.CDLL(str(_built(_cache())))
        found.run.argtypes, found.run.restype = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p], None
        return found
    except (Unavailable, OSError, AttributeError) as error:
        logging.getLogger("dpbook_utils").warning("Recorded graphs run without machine code, up to three times slower: "
                                                  "%s. DPBOOK_COMPILED=off says no more of it.", error)
        return None


@functools.cache
def sgemm() -> int | None:
    """The address of the product of matrices that torch itself calls, where its library shows it."""
    name = {"darwin": "libtorch_cpu.dylib", "win32": "torch_cpu.dll"}.get(sys.platform, "libtorch_cpu.so")
    try:
        of_torch = ctypes.CDLL(os.path.join(torch.__path__[0], "lib", name))
        return ctypes.cast(of_torch.sgemm_, ctypes.c_void_p).value
    except (OSError, AttributeError):
        return None


def _built(folder: Path) -> Path:
    """The library in the folder, compiled if it is not there."""
    compiler = _compiler()
    built = folder / f"table-{_key(compiler)}.so"
    _only_mine(folder)
    if built.exists():
        _only_mine(built)
        return built
    with tempfile.TemporaryDirectory(dir=folder) as own:
        written = Path(own, built.name)
        try:
            subprocess.run([*compiler, *FLAGS, "-o", str(written), str(SOURCE), "-lm"], check=True, timeout=60,
                           capture_output=True, stdin=subprocess.DEVNULL)
        except subprocess.CalledProcessError as error:
            said = error.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
            raise Unavailable(f"the compiler {shlex.join(compiler)} failed ({said[0]})") from error
        except subprocess.TimeoutExpired as error:
            raise Unavailable(f"the compiler {shlex.join(compiler)} took more than a minute") from error
        if not written.exists():
            raise Unavailable(f"the compiler {shlex.join(compiler)} wrote nothing")
        written.replace(built)
    return built


def _compiler() -> list[str]:
    command = shlex.split(os.environ.get("CC", "")) or ["cc"]
    found = shutil.which(command[0])
    if found is None:
        raise Unavailable(f"there is no C compiler {command[0]}")
    return [found, *command[1:]]


def _cache() -> Path:
    home = {"darwin": "~/Library/Caches"}.get(sys.platform, "~/.cache")
    folder = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser(home), "dpbook")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _only_mine(path: Path) -> None:
    """Raise Unavailable where somebody else may write what this process would then execute."""
    if hasattr(os, "getuid"):
        found = path.stat()
        if found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise Unavailable(f"others can write to {path}")


def _key(compiler: list[str]) -> str:
    """Another for other source, flags, compiler, and instructions of the processor: many may share a folder."""
    version = os.stat(os.path.realpath(compiler[0]))
    parts = SOURCE.read_text(encoding="utf-8"), FLAGS, compiler, version.st_size, version.st_mtime_ns, _instructions()
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _instructions() -> tuple[str, ...]:
    """What the processor can do, as far as the system tells."""
    found = [sys.platform, platform.machine(), platform.processor()]
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.lower().startswith(("flags", "features", "model name", "cpu part")):
                    found.append(line.strip())
                elif not line.strip():
                    break  # the first processor's
    except OSError:
        pass
    return tuple(found)
