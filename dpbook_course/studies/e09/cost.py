"""E09, second part: what a step costs, without and with a network.   Chapter: 08_wake_flow.

All ways to make a step of 0.1 take turns in one process, each with the same 18 wakes: E09's own roll-outs are of 3
samples without networks and of 18 with, whose overheads differ. Six networks have three wakes each, as in the study;
they are untrained, because weights do not change the cost. Time is that of the processor on one thread. Other load adds
to it, on a full machine as much again, so the lowest decile of the turns counts, and nothing else should run.
"""

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from dpbook_utils.physics.navier_stokes import semi_lagrangian
from dpbook_utils.physics.solver import select

from ...experiments.spec import Specification, Task
from ...problems import wake_flow as wake
from . import wake as e09_wake
from .design import COSTS, SEEDS

TURNS = 12
WAYS = ("P", "P, 128x64", "MacCormack", "MacCormack, 128x64", "SOL-8", "SOL-8, after", "SOL-8, MacCormack",
        "SOL-4, 48k weights", "predictor, SOL-8")  # rows of e09
FEW = "two ways"  # what ``check`` repeats: recording all of them takes half a minute
REYNOLDS = wake.SETTINGS["flows"]["inside"][0]
CLOSE = 1e-4  # of a state computed in other batches, in units of U

SPEC = Specification(
    id="e09_cost", title="Cost of a step of the wake", chapter="08_wake_flow", seeds=SEEDS,
    variants={COSTS: WAYS, FEW: ("P", "SOL-8")}, budgets={COSTS: (0,), FEW: (0,)}, baselines=frozenset({FEW}),
    metrics={**{name: f"processor time of a step of {name} for one sample of one network: lowest decile [s]; NaN if "
                      "the variant leaves it out"
                for name in WAYS},
             "equal": "1 if every step that was timed gives the wakes of the first and of the last network the state "
                      "that an unrecorded solver gives them with that network alone; else 0"},
    settings={"turns": TURNS, "reynolds": REYNOLDS,
              **{name: wake.SETTINGS[name] for name in ("num_points", "dt", "width", "num_blocks")}},
    checks=(Task(FEW, 0, SEEDS[:1]),), checked=("equal",))


def run(variant: str, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    """One round of turns for each seed; nothing is drawn, so a round is a repetition."""
    rows = {name: e09_wake.SPEC.variants[name] for name in SPEC.variants[variant]}
    networks = {name: None if _plain(row) else wake.ensemble(SEEDS, row.width) for name, row in rows.items()}
    ways = {name: Way(_step(row, networks[name]), _refinement(row)) for name, row in rows.items()}
    equal = all(_equal(ways[name], rows[name], networks[name]) for name in rows)
    rounds = [take_turns(ways, TURNS) for _ in seeds]
    return {"equal": torch.full((len(rounds),), float(equal)),
            **{name: torch.tensor([found.get(name, torch.nan) for found in rounds], dtype=torch.float64)
               for name in WAYS}}


class Way:
    """A step and the wakes on its grid that it moves, the same for all networks."""

    def __init__(self, step: nn.Module, refinement: int):
        self.step, self.reynolds = step, torch.tensor(REYNOLDS * len(SEEDS))
        self.wakes = wake.grid(refinement).start(torch.linspace(0.2, 0.3, len(REYNOLDS)).repeat(len(SEEDS)))

    @torch.no_grad()
    def __call__(self) -> Tensor:
        return self.step(self.wakes, **select(self.step, {"reynolds": self.reynolds}))


def take_turns(ways: dict[str, Callable[[], Tensor]], turns: int) -> dict[str, float]:
    """Lowest decile of the processor time of a call, per sample, for each way; a first turn does not count."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(1 + turns):
        for name, way in ways.items():
            start = time.process_time()
            found = way()
            if turn:
                times[name].append((time.process_time() - start) / len(found))
    return {name: float(np.quantile(values, 0.1)) for name, values in times.items()}


def _plain(row) -> bool:
    return isinstance(row, e09_wake.Baseline)


def _refinement(row) -> int:
    return row.refinement if _plain(row) else 1


def _step(row, networks: nn.Module | None) -> nn.Module:
    return row.build() if networks is None else e09_wake.step_of(row, networks)


@torch.no_grad()
def _equal(way: Way, row, networks: nn.Module | None) -> bool:
    """The timed step against single networks with their wakes, and a solver that was not recorded."""
    found = way().unflatten(0, (len(SEEDS), -1))
    return all(bool((_alone(way, row, networks, i) - found[i]).abs().max() < CLOSE) for i in (0, len(SEEDS) - 1))


def _alone(way: Way, row, networks: nn.Module | None, i: int) -> Tensor:
    """The step of the i-th network's wakes, from the definition of the row."""
    mine = slice(i * len(REYNOLDS), (i + 1) * len(REYNOLDS))
    u, parameters = way.wakes[mine], {"reynolds": way.reynolds[mine]}
    solver = wake.grid(_refinement(row), row.advection or semi_lagrangian)
    if networks is None:
        for _ in range(row.refinement):
            u = solver(u, **parameters)
        return u
    force = networks.member(i)
    if row.chain is wake.before:
        return solver(u, force=force(u, **parameters), **parameters)
    if row.chain is wake.after:
        u = solver(u, **parameters)
    return u + wake.SETTINGS["dt"] * force(u, **parameters)
