"""Where numbers come from: code, libraries, machine, time."""

import datetime
import platform
import re
import subprocess
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from dpbook_utils import __version__

PACKAGES = ("torch", "phiflow", "phiml", "numpy", "scipy")


def provenance() -> Callable[[], dict]:
    """Call this before a computation, and what it returns after it: that says where the numbers come from.

    The code and the libraries are those that run, whatever becomes of their files meanwhile; and what is missing of
    them shows before hours of computing.
    """
    import torch

    start = time.perf_counter()
    versions = {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
    about = {"code": _code_version(), "versions": versions, "device": processor(), "machine": machine()}
    return lambda: {**about, "threads": torch.get_num_threads(), "seconds": round(time.perf_counter() - start, 2),
                    "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")}


def machine() -> dict[str, str]:
    """What rounding depends on besides the libraries' versions: architecture, instruction set, linear algebra."""
    import torch

    blas = re.search(r"BLAS_INFO=(\w+)", torch.__config__.show())
    return {"system": f"{platform.system()} {platform.machine()}",
            "instructions": torch.backends.cpu.get_cpu_capability(), "blas": blas[1] if blas else "unknown"}


def _code_version() -> str:
    repository = Path(__file__).parents[2]
    if not (repository / ".git").exists():  # installed, perhaps inside somebody else's repository
        return __version__
    git = ["git", "-C", str(repository), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        found = subprocess.run(git, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return __version__
    return f"{__version__}+{found.stdout.strip()}"


def processor() -> str:
    """The processor's name."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
