"""E09, first part: is the solver of the wake right?   Chapter: 08_wake_flow.

Runs without a network, from a start with a disturbance; the costly ones grow on a coarser grid first. *Refinement*:
shedding frequency and forces in the channel of the study on grids of 6.4, 12.8 and 25.6 cells per diameter, the time
step as fine as the grid; the finest is the study's reference, the coarsest its source's grid. *Wide*: a larger box of
cells as on the middle grid; three things differ at once: the cylinders are 20 instead of 5 diameters apart, the inflow
is 4 instead of 2.5 diameters before them and the outflow 11 instead of 7.5 behind. *Onset*: Reynolds numbers on both
sides of the critical one. *Convergence*: the same young wake on successive grids, compared on the coarsest by the flow
through its faces. Where *growth* is positive the wake was still gaining strength: its lift is then a lower bound.

What experiments and other solvers found in an unbounded flow: vortices are shed above a Reynolds number of about 47, at
Strouhal numbers of 0.161 at 100 and 0.179 at 150 (he1997); the mean drag coefficient lies between 1.3 and 1.4 from 100
to 200. The box of the study raises both: its neighbours leave the stream four fifths of its width, and inflow and
outflow are near. No run tells these causes apart.

What the runs show (``table``; the tests hold them to it): the shedding frequency hardly changes from the middle grid to
the finest; the mean drag does by several per cent, and falls before it rises; the fluctuation of the lift is not
converged at all: each grid finds more than half as much again as the one before. In the wide box, on a middle grid, the
frequency exceeds the published one by five to ten per cent, and the drag is at the upper end of its range or a little
above. So the solver sheds vortices at the right pace and is no measure of the forces; the study compares methods with
its finest grid, not with nature.

Source: he1997.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas
import torch
from torch import Tensor

from dpbook_utils.physics.obstacle import ChannelDivergence
from dpbook_utils.physics.trace import trace
from dpbook_utils.physics.wake import Forces, Wake

from ...experiments import results
from ...experiments.spec import Specification, Task
from ...problems.wake_metrics import frequency

DISTURBANCE = 0.3
WINDOW = 20  # units of time at the end, in which is measured: three to four vortices a side
SETTLING = 5  # units of time that are not measured at all: one vortex a side after the change of grids
CHUNK = 20  # states whose forces are computed at once


@dataclass(frozen=True)
class Case:
    """A flow for the time ``end``, after ``spin_up`` on a grid coarser by ``coarsening``."""

    num_points: tuple[int, int]
    dt: float
    end: float
    reynolds: tuple[float, ...]
    spin_up: float = 0.0
    coarsening: int = 1
    length: tuple[float, float] = (10.0, 5.0)
    centre: tuple[float, float] = (2.5, 2.5)


SHEDDING, ONSET = (100.0, 150.0, 200.0), (30.0, 40.0, 50.0, 60.0, 80.0)
_VARIANTS = {
    "64 x 32": Case((64, 32), 0.1, 80, SHEDDING),
    "128 x 64": Case((128, 64), 0.05, 50, SHEDDING, 60, 2),
    "256 x 128": Case((256, 128), 0.025, 50, SHEDDING, 60, 4),
    "wide": Case((192, 256), 0.05, 50, SHEDDING, 60, 2, (15.0, 20.0), (4.0, 10.0)),
    "onset, 64 x 32": Case((64, 32), 0.1, 160, ONSET),
    "onset, 128 x 64": Case((128, 64), 0.05, 100, (40.0, 60.0)),
    "convergence": Case((64, 32), 0.1, 3, (150.0,)),
}
REFINEMENTS = (1, 2, 4, 8)  # of the grid of "convergence"

SPEC = Specification(
    id="e09_wake_validation", title="Validation of the wake", chapter="08_wake_flow", variants=_VARIANTS, seeds=(0,),
    budgets=dict.fromkeys(_VARIANTS, (0,)),
    metrics={"strouhal": "frequency of the lift in the last 20 units of time, by Reynolds number; 0 without shedding "
                         "[U/D]",
             "drag": "mean drag coefficient in the last 20 units of time, by Reynolds number",
             "lift_rms": "standard deviation of the lift coefficient in the last 20 units of time, by Reynolds number",
             "growth": "rate at which that grows from the 20 units of time before the middle of the run to the last, "
                       "half a run later, by Reynolds number; 0 once a wake is as strong as it gets [U/D]",
             "divergence": "largest divergence in the fluid at the times of the forces [U/D]",
             "differences": "convergence: relative L2 differences of states on successive grids; else NaN"},
    settings={"disturbance": DISTURBANCE, "window": WINDOW, "refinements": REFINEMENTS, "advection": "mac_cormack"},
    checks=(Task("64 x 32", 0, (0,)),), checked=("strouhal", "drag"), baselines=frozenset(_VARIANTS))


def run(variant: str, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    """Nothing is drawn and nothing trained: one run serves all seeds."""
    case = SPEC.variants[variant]
    nothing = {name: torch.full((1,), math.nan) for name in SPEC.metrics}
    found = {"differences": convergence(case)} if variant == "convergence" else flow(case)
    return {name: value.expand(len(seeds), *value.shape) for name, value in (nothing | found).items()}


@torch.no_grad()
def flow(case: Case) -> dict[str, Tensor]:
    """Shedding, forces and divergence of the flows of a case, all Reynolds numbers together."""
    solver, reynolds = Wake(case.num_points, case.dt, case.length, case.centre), torch.tensor(case.reynolds)
    divergence = ChannelDivergence(case.num_points, case.length, case.centre)
    forces, largest = [], 0.0
    for states in _chunks(solver, grown(solver, case), reynolds, round(case.end / 0.1)):
        found = Forces(solver)(torch.cat(states), reynolds=reynolds.repeat(len(states)))
        forces.append(found.unflatten(0, (len(states), -1)))
        largest = max(largest, float(divergence(torch.cat(states)).abs().max()))
    drag, lift = torch.cat(forces).double().unbind(2)  # (time, Reynolds numbers)
    last = round(WINDOW / 0.1)
    return {"strouhal": frequency(lift[-last:].T, 0.1), "drag": drag[-last:].mean(0), "lift_rms": lift[-last:].std(0),
            "growth": growth(lift, 0.1), "divergence": torch.tensor([largest])}


def growth(lift: Tensor, dt: float) -> Tensor:
    """Rate at which the standard deviation of the lift grows between two windows half a run apart.

    Shapes: (time, ...) -> (...).   Raises: ValueError if the windows would overlap or reach into the settling.
    """
    window, middle = round(WINDOW / dt), len(lift) // 2
    if middle * dt < WINDOW + SETTLING - dt / 2:
        raise ValueError(f"growth: a run of {len(lift) * dt:g} units of time; two windows of {WINDOW} after the first "
                         f"{SETTLING} units need at least {2 * (WINDOW + SETTLING)}")
    before, last = lift[middle - window:middle].std(0), lift[-window:].std(0)
    return (last / before).log() / ((len(lift) - middle) * dt)


def grown(solver: Wake, case: Case) -> Tensor:
    """The state from which a case is measured: the start, or a wake grown on a coarser grid."""
    factor, reynolds = case.coarsening, torch.tensor(case.reynolds)
    coarse = Wake(tuple(n // factor for n in case.num_points), 0.1, case.length, case.centre)
    v = coarse.start(torch.full_like(reynolds, DISTURBANCE))
    for states in _chunks(coarse, v, reynolds, round(case.spin_up / 0.1)):
        v = states[-1]
    return solver.project(v.repeat_interleave(factor, -1).repeat_interleave(factor, -2))


def _chunks(solver: Wake, v: Tensor, reynolds: Tensor, count: int) -> Iterator[list[Tensor]]:
    """States at t = 0.1, 0.2, ..., so many in all."""
    step = trace(solver, v, reynolds=reynolds) if count else None
    for first in range(0, count, CHUNK):
        states = []
        for _ in range(min(CHUNK, count - first)):
            for _ in range(round(0.1 / solver.dt)):
                v = step(v, reynolds=reynolds)
            states.append(v)
        yield states


@torch.no_grad()
def convergence(case: Case) -> Tensor:
    """Relative differences between successive grids, the finer state less the coarser, on the coarsest."""
    reynolds, ends = torch.tensor(case.reynolds), []
    for factor in REFINEMENTS:
        solver = Wake(tuple(factor * n for n in case.num_points), case.dt / factor, case.length, case.centre)
        v = solver.start(torch.full_like(reynolds, DISTURBANCE))
        step = trace(solver, v, reynolds=reynolds)
        for _ in range(round(factor * case.end / case.dt)):
            v = step(v, reynolds=reynolds)
        ends.append(Wake(case.num_points, case.dt, case.length, case.centre).restrict(v))
    return torch.stack([(fine - coarse).norm() / fine.norm() for coarse, fine in zip(ends, ends[1:])])


def table(root: Path | None = None) -> pandas.DataFrame:
    """What the stored runs measured: one row per box, grid and Reynolds number, the refinement first.

    Columns: strouhal, drag, lift_rms, growth as in ``SPEC.metrics``; cells: per diameter; spacing: of the cylinders, in
    diameters.   Raises: ResultError if there are no records.
    """
    stored = results.frame(SPEC, root).set_index("variant")
    measured = "strouhal", "drag", "lift_rms", "growth"
    rows = [{"variant": name, "cells": case.num_points[1] / case.length[1], "spacing": case.length[1], "reynolds": re,
             **{metric: stored.loc[name, metric][i] for metric in measured}}
            for name, case in SPEC.variants.items() if name in stored.index and name != "convergence"
            for i, re in enumerate(case.reynolds)]
    return pandas.DataFrame(rows).set_index(["variant", "reynolds"])
