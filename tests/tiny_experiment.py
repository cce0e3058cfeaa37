"""An experiment that takes no time, for the tests of the runner: ``run tiny`` does the same as for a real one.

The environment variable TINY names a folder. Every task that begins or ends is a line in its ``log``, variants that
wait end once there is a ``gate``, and the variant that ``broken`` names fails.
"""

import os
import time
from pathlib import Path

import numpy as np
import torch

from dpbook_course.commands import program
from dpbook_course.experiments import __main__, results, runner
from dpbook_course.experiments.spec import Experiment, Specification, Task

SPEC = Specification(
    id="tiny", title="An experiment that takes no time", chapter="03_unrolling",
    variants={"base": 0.0, "a": 1.0, "b, wide": 2.0, "waits": 3.0},
    budgets={"base": (0,), "a": (10, 20), "b, wide": (10, 20), "waits": (10,)}, seeds=(0, 1, 2),
    metrics={"error": "a number", "curve": "three numbers", "seconds": "a timing"}, settings={"offset": 0.5},
    checks=(Task("a", 2, (0, 1)),), checked=("error", "curve"), baselines=frozenset({"base"}))


def run(variant, seeds, budget):
    folder = Path(os.environ["TINY"])
    log(f"start {os.getpid()} {variant}-{budget}-{seeds}")
    while variant == "waits" and not (folder / "gate").exists():
        time.sleep(0.01)
    if (folder / "broken").exists() and (folder / "broken").read_text() == variant:
        raise ArithmeticError(f"{variant} is broken")
    error = [SPEC.settings["offset"] + SPEC.variants[variant] * seed / (1 + budget) for seed in seeds]
    log(f"end {os.getpid()} {variant}-{budget}-{seeds}")
    return {"error": torch.tensor(error), "curve": np.outer(np.add(seeds, 1), [1, 2, np.inf]),
            "seconds": torch.rand(len(seeds))}


def log(line: str) -> None:
    with open(Path(os.environ["TINY"], "log"), "a", encoding="utf-8") as file:
        file.write(line + "\n")


EXPERIMENTS = (Experiment(SPEC, run),)

if __name__ == "__main__":
    from tiny_experiment import (
        EXPERIMENTS as IMPORTED,  # the workers do not have what stands in this process's __main__
    )

    runner.find = lambda experiment: IMPORTED[0]
    results.folder = lambda: Path(os.environ["TINY"], "results")
    program(__main__.main)
