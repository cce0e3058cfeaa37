"""E02, last part: seconds and bytes of a sample, fresh, from the disk and from memory.   Chapter: 02_solver_as_data.

A sample is a trajectory of ``parametric_burgers``, 16 steps on the coarse grid. What it costs to generate grows with
the number of the solver's sub-steps per stored state; what it costs to write and to read does not. A fixed set is read
in batches of random samples, or in whole batches in the order in which they were written, or kept in memory.

All ways take turns in one process. On a processor the time is that of the processor, so that other load disturbs it
little; waiting for the disk is not in it, and there is hardly any, because files that were just written are read from
the system's cache. Reading is therefore seen at its best: a data set larger than the memory is slower. On a GPU, where
the solver runs if there is one, it is the time that passes.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from dpbook_utils.data import Fresh

from ...experiments.spec import Specification, Task
from ...problems import parametric_burgers as problem
from .design import SUBSTEPS, substeps

SEEDS = tuple(range(12))  # as many as 16 comparisons need: with six none is decided after Holm's correction
BATCH, NUM_BATCHES, REPEATS = 64, 16, 12
_VARIANTS = {substeps(number): number for number in SUBSTEPS}

SPEC = Specification(
    id="e02_throughput", title="Seconds and bytes of a sample", chapter="02_solver_as_data", variants=_VARIANTS,
    seeds=SEEDS, budgets=dict.fromkeys(_VARIANTS, (0,)),
    metrics={"generating": "median time of generating a sample [s]",
             "writing": "time of writing a sample to the disk [s]",
             "shuffled": "median time of reading a sample from the disk, in batches of random ones [s]",
             "in_order": "median time of reading a sample from the disk, in whole batches as written [s]",
             "memory": "median time of taking a sample from memory, in batches of random ones [s]",
             "bytes": "size of a sample on the disk [byte]",
             "gpu": "1 if the solver ran on a GPU, else 0"},
    settings={**problem.settings, "batch": BATCH, "num_batches": NUM_BATCHES},
    checks=(Task(substeps(1), 0, (0, 1)),), checked=("bytes",))


class _Ready(Fresh):
    """A stream whose batches have been generated before: writing it takes the time of writing alone."""

    def __getitem__(self, k: int) -> dict[str, Tensor]:
        return self.batches[k]


def run(variant: str, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    """Measure one solver; every metric has one entry per seed."""
    found = [measure(SPEC.variants[variant], seed) for seed in seeds]
    return {name: torch.tensor([one[name] for one in found], dtype=torch.float64) for name in found[0]}


def measure(number: int, seed: int) -> dict[str, float]:
    """All metrics for one solver and one seed."""
    from dpbook_utils.data import Stored, store  # zarr takes time, which only those pay who store

    device = "cuda" if torch.cuda.is_available() else "cpu"
    # What is stored does not change the time of reading it, so the cheapest solver makes it.
    ready = _stream(_Ready, 1, seed, device)
    made = _stream(Fresh, 1, seed, device)
    ready.batches = [made[k] for k in range(NUM_BATCHES)]
    with tempfile.TemporaryDirectory() as folder:
        writing = _seconds(lambda: store(ready, f"{folder}/store", NUM_BATCHES, progress=False), device)
        stored = Stored(f"{folder}/store")
        times = _take_turns(_ways(stored, _stream(Fresh, number, seed, device), seed, device), device)
        return {**{name: value / BATCH for name, value in times.items()}, "writing": writing / BATCH / NUM_BATCHES,
                "bytes": stored.bytes_per_sample, "gpu": float(device == "cuda")}


def _stream(kind: type[Fresh], number: int, seed: int, device: str) -> Fresh:
    like = problem.fresh([seed])
    return kind(problem.reference_solver(number), like.sampler, like.num_steps, BATCH, seeds=like.seeds,
                observe=like.observe, device=device)


def _ways(stored: Dataset, stream: Fresh, seed: int, device: str) -> dict[str, Callable[[int], object]]:
    """``{way: batch number -> batch}``."""
    shuffled, memory = stored.batches(BATCH, seed=seed), stored.load(BATCH, seed=seed, device=device)
    blocks = torch.arange(len(stored)).split(BATCH)
    return {"generating": lambda k: stream[k], "memory": lambda k: memory[k],
            "shuffled": lambda k: _on(shuffled[k], device),
            "in_order": lambda k: _on(stored.batch(blocks[k % len(blocks)]), device)}


def _take_turns(ways: dict[str, Callable[[int], object]], device: str) -> dict[str, float]:
    """Median time of a batch, for each way; a first turn, which records and imports, does not count."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for k in range(1 + REPEATS):
        for name, way in ways.items():
            times[name].append(_seconds(lambda way=way, k=k: way(k), device))
    return {name: statistics.median(values[1:]) for name, values in times.items()}


def _seconds(function: Callable[[], object], device: str) -> float:
    if device == "cpu":
        start = time.process_time()
        function()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    function()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def _on(batch: dict[str, Tensor], device: str) -> dict[str, Tensor]:
    return {name: value.to(device) for name, value in batch.items()}
