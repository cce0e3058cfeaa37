"""E07, last part: time and memory of an update, by unroll length and with checkpointing.   Chapter: 06_long_horizons.

One network, one thread, a batch as large as that of the studies, whose seeds train together. *Supervised* is the same
network trained on pairs whose solver step was stored: no solver runs. *Plain* keeps the graph of the whole roll-out,
*checkpointed* the states between the steps, and computes every step again in the backward pass; *recorded* replays one
graph, recorded once (``update.TracedGradients``), as all studies do. Every measurement has a process of its own,
because memory that a process has used once stays with it. Time is that of the processor, and every update is followed
by a supervised one: other load on the machine disturbs both alike, and their ratio little.
"""

import json
import math
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dpbook_utils.coupling import Additive
from dpbook_utils.data import random_fourier
from dpbook_utils.graphs.memory import arenas
from dpbook_utils.losses import TrajectoryLoss, every_step
from dpbook_utils.objectives import Objective
from dpbook_utils.physics.trace import trace
from dpbook_utils.rollout import Rollout, Sequential
from dpbook_utils.training import Gradients
from dpbook_utils.update import TracedGradients

from ...experiments.spec import Specification, Task
from ...problems import kuramoto_sivashinsky as ks
from . import horizons as e07
from .design import LENGTHS

BATCH = 96
LENGTH = 6.0  # of a domain so short that every wave decays; only what an untrained network adds may overflow in the end
HORIZONS = {"plain": LENGTHS, "checkpointed": LENGTHS, "recorded": LENGTHS[:-1]}
SECONDS = 0.5  # of repetition, at least three updates


@dataclass(frozen=True)
class Variant:
    """way: ``supervised``, ``plain``, ``checkpointed`` or ``recorded``."""

    way: str
    num_steps: int


_VARIANTS = {"supervised": Variant("supervised", 1),
             **{f"{way}, m={m}": Variant(way, m) for way, horizons in HORIZONS.items() for m in horizons}}
SPEC = Specification(
    id="e07_cost", title="Time and memory of long horizons", chapter="06_long_horizons", variants=_VARIANTS,
    seeds=tuple(range(12)), budgets=dict.fromkeys(_VARIANTS, (0,)),
    metrics={"time": "median processor time of loss and gradient [s]",
             "relative": "the same, divided by that of supervised training in turn with it: median of the ratios",
             "memory": "peak memory of loss and gradient, above that of the set-up [MB]; NaN where it is not known",
             "equal": "1 if all gradients equal, bit for bit, those of the plain way (or of a repetition), else 0, as "
                      "after an overflow"},
    settings={"batch": BATCH, "length": LENGTH, "width": e07.WIDTH, "num_blocks": e07.NUM_BLOCKS,
              "num_points": ks.num_points},
    checks=(Task("checkpointed, m=4", 0, (0, 1)),), checked=("equal",))


def run(variant: str, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    """Measure one way at one unroll length, in fresh interpreters."""
    row = SPEC.variants[variant]
    # glibc keeps freed blocks in a heap that small objects fragment, and then takes more memory than is in use.
    memory = _elsewhere(_each_forked, row, seeds, {"MALLOC_MMAP_THRESHOLD_": "65536"})
    times = _elsewhere(_each, row, seeds, {})
    return {name: torch.tensor([float(one[name]) for one in found]) for found in (memory, times) for name in found[0]}


def _elsewhere(function: Callable, row: Variant, seeds: Sequence[int], environment: dict[str, str]) -> list[dict]:
    """What a function of this module prints as JSON, in a process of its own."""
    name = function.__name__
    command = f"from {__name__} import {name}; {name}({row.way!r}, {row.num_steps}, {tuple(seeds)!r})"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=False,
                          env={**os.environ, **environment})
    if done.returncode:
        reason = done.stderr[-2000:] or f"it was ended by signal {-done.returncode}"
        raise RuntimeError(f"e07_cost: the process that measures {row} failed:\n{reason}")
    return json.loads(done.stdout.splitlines()[-1])


def _each_forked(way: str, num_steps: int, seeds: Sequence[int]) -> None:
    torch.set_num_threads(1)
    found = []
    for seed in seeds:
        with multiprocessing.get_context("fork").Pool(1) as pool:
            found.append(pool.apply(measure_memory, (way, num_steps, seed)))
    print(json.dumps(found))


def _each(way: str, num_steps: int, seeds: Sequence[int]) -> None:
    torch.set_num_threads(1)
    print(json.dumps([measure_time(way, num_steps, seed) for seed in seeds]))


def measure_memory(way: str, num_steps: int, seed: int) -> dict[str, float]:
    """Peak memory of one loss and gradient [MB], and whether the gradient is that of the plain way."""
    batch = example(num_steps, seed)
    gradients = ways(way, num_steps, seed, batch)
    gradients(batch)  # the first call needs more than the others
    arenas.free.clear()  # where a recorded graph works: kept from call to call, so that it would count for nothing
    memory = _peak(lambda: gradients(batch))
    found = [w.grad for w in gradients.objective.parameters()]
    plain = ways("plain" if way == "checkpointed" else way, num_steps, seed, batch)
    plain(batch)
    equal = all(map(torch.equal, found, (w.grad for w in plain.objective.parameters())))
    return {"memory": memory, "equal": equal}


def measure_time(way: str, num_steps: int, seed: int) -> dict[str, float]:
    """Median processor time of one loss and gradient [s], and relative to supervised training, by turns."""
    turns = []
    for name, m in ((way, num_steps), ("supervised", 1)):
        batch = example(m, seed)
        turns.append((ways(name, m, seed, batch), batch))
    for gradients, batch in turns:
        gradients(batch)  # the first call needs more than the others
    times: list[list[float]] = []
    while len(times) < 3 or sum(first for first, _ in times) < SECONDS:
        times.append([_processor_time(*turn) for turn in turns])
    return {"time": statistics.median(first for first, _ in times),
            "relative": statistics.median(first / second for first, second in times)}


def _processor_time(gradients: Gradients, batch: dict[str, Tensor]) -> float:
    start = time.process_time()
    gradients(batch)
    return time.process_time() - start


def example(num_steps: int, seed: int) -> dict[str, Tensor]:
    """Random states, and as their reference the states themselves."""
    u0 = random_fourier(BATCH, ks.num_points, modes=ks.modes, seed=seed)
    return {"u0": u0, "reference": u0[:, None].expand(-1, num_steps, -1, -1),
            "length": torch.full((BATCH,), LENGTH)}


def ways(way: str, num_steps: int, seed: int, batch: dict[str, Tensor]) -> Gradients:
    """``batch -> losses``, which sets the gradients."""
    network = e07.networks([seed], e07.SMALL)
    solver = trace(ks.coarse_solver(), batch["u0"], length=batch["length"])
    step = Sequential(Additive(network)) if way == "supervised" else Sequential(solver, Additive(network))
    objective = Objective(Rollout(step, num_steps, checkpoint=way == "checkpointed"), TrajectoryLoss(every_step))
    return (TracedGradients if way == "recorded" else Gradients)(objective)


def _peak(function: Callable[[], object]) -> float:
    """Highest memory of this process while the function runs, above that before it [MB]; NaN where Linux is missing."""
    try:
        with open("/proc/self/clear_refs", "w", encoding="utf-8") as file:
            file.write("5")  # the highest so far is forgotten
        before = _memory("VmRSS")
        function()
        return _memory("VmHWM") - before
    except OSError:
        return math.nan


def _memory(entry: str) -> float:
    with open("/proc/self/status", encoding="utf-8") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith(entry))
