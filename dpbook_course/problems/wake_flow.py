r"""The correction of a coarse wake solver: the problem of E09.

After Um et al. 2020: flow past a cylinder. The reference is four times finer in space and time (256 x 128 cells,
MacCormack advection) and is seen on 64 x 32; the source P takes steps of 0.1 there with semi-Lagrangian advection,
which smears the vortices. The Reynolds number is known to the network. Tested at numbers between those of the training,
below and above them, from developed wakes.

Lengths are in diameters D, velocities in inflow speeds U, times in D / U. A network's output is a rate, so that it
enters with a factor dt wherever it acts: as a force before the projection or as a change of the state after it.

Chapter: 08_wake_flow.   Source: um2020.
"""

import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dpbook_utils.coupling import Additive, AdditiveRHS
from dpbook_utils.data import Fresh, Sampler, Windows, simulate
from dpbook_utils.networks import PERIODIC, REPLICATE, ConvResNet, Ensemble
from dpbook_utils.physics.navier_stokes import mac_cormack, semi_lagrangian
from dpbook_utils.physics.obstacle import ChannelProjection
from dpbook_utils.physics.trace import TracedSolver
from dpbook_utils.physics.wake import Wake
from dpbook_utils.rollout import Sequential, repeat

from ..descriptions import describe
from .steps import Rate

SETTINGS = {
    "num_points": (64, 32), "dt": 0.1, "refinement": 4, "stored_refinement": 2, "disturbance": 0.3,
    "spin_up": {1: 500, 2: 200}, "warmup": 80,  # steps of 0.1 on the grids of this refinement, then on the reference's
    # name: (Reynolds numbers, steps)
    "flows": {"train": ((100.0, 140.0, 200.0, 280.0, 400.0), 100), "validation": ((240.0,), 160),
              "inside": ((120.0, 170.0, 340.0), 500), "below": ((80.0,), 200), "above": ((500.0,), 200)},
    "horizon": 100, "starts": {"validation": (0, 30, 60), "inside": (250,), "below": (0, 50, 100),
                               "above": (0, 50, 100)},
    "condition": (200.0, 100.0), "width": 16, "num_blocks": 2, "output_scale": 0.01, "batch_size": 3,
    "batch_seed": 1000, "nudging": 0.5,
}


DATA = ("num_points", "dt", "refinement", "stored_refinement", "disturbance", "spin_up", "warmup", "flows")


class Flows(NamedTuple):
    """states (flows, time, 2, x, y), reynolds (flows,)."""

    states: Tensor
    reynolds: Tensor


def grid(refinement: int, advection: Callable = mac_cormack) -> Wake:
    """The solver on a grid so many times finer, with time steps that are as much shorter."""
    nx, ny = SETTINGS["num_points"]
    return Wake((refinement * nx, refinement * ny), SETTINGS["dt"] / refinement, advection=advection)


@functools.cache
def solver(refinement: int = 1, advection: Callable = semi_lagrangian) -> nn.Module:
    """One step of ``grid``, recorded at its first call. One object for all chains; the source P by default."""
    return TracedSolver(grid(refinement, advection))


def refined(refinement: int, advection: Callable) -> Sequential:
    """Several steps of ``grid`` over the source's time step."""
    return repeat(solver(refinement, advection), refinement)


def reference_step(refinement: int = SETTINGS["refinement"]) -> Sequential:
    """The reference over the source's time step."""
    return refined(refinement, mac_cormack)


def finer(v: Tensor, refinement: int) -> Tensor:
    """A state on the grid of this refinement from one on the next coarser; its own steps smooth the edges."""
    return grid(refinement).project(v.repeat_interleave(2, -1).repeat_interleave(2, -2))


def developed(reynolds: Tensor, refinement: int = SETTINGS["refinement"]) -> Tensor:
    """Wakes that shed vortices, (flows, 2, x, y): grown on the coarse grid, then on finer ones, for ``warmup``."""
    v = grid(1).start(torch.full_like(reynolds, SETTINGS["disturbance"]))
    for factor, num_steps in SETTINGS["spin_up"].items():
        if factor < refinement:
            v = v if factor == 1 else finer(v, factor)
            v = simulate(reference_step(factor), v, 1, warmup=num_steps - 1, reynolds=reynolds)[:, -1]
    return finer(v, refinement)


class Listed(Sampler):
    """The sampler of flows whose Reynolds numbers are a list, which is what its bounds are: batch k is flow k."""

    def __post_init__(self):
        """A list has any length, so it is not looked at as bounds."""

    def __call__(self, num_samples: int, seed: int, k: int) -> tuple[Tensor, dict[str, Tensor]]:
        reynolds = torch.tensor([self.bounds["reynolds"][k]] * num_samples, dtype=self.dtype)
        return self.initial(reynolds), {"reynolds": reynolds}


def folder() -> Path:
    """Where the flows of these settings are stored."""
    text = json.dumps(describe({name: SETTINGS[name] for name in DATA}), sort_keys=True)
    return Path(__file__).parents[2] / ".cache" / "wake_flow" / hashlib.sha256(text.encode()).hexdigest()[:8]


@functools.cache
def flows(name: str) -> Flows:
    """``train``, ``validation`` or a test region, on 128 x 64; the first call simulates and stores them.

    A complete store of the same settings is read as it is. Delete the folder after a change of the solver.
    """
    from dpbook_utils.data import Stored, StoreError, store  # they need zarr, which the chapter's live part does not

    reynolds, num_steps = SETTINGS["flows"][name]
    try:
        stored = Stored(folder() / name)
    except StoreError:
        listed = Listed(developed, {"reynolds": tuple(reynolds)})
        fresh = Fresh(reference_step(), listed, num_steps, batch_size=1, seed=0, warmup=SETTINGS["warmup"],
                      observe=grid(SETTINGS["stored_refinement"]).restrict)
        stored = store(fresh, folder() / name, len(reynolds), units={"trajectories": "U", "reynolds": "1"},
                       description="Wakes of a cylinder, restricted to 128 x 64 cells.")
    return Flows(stored.load(1, 0).trajectories, torch.tensor(reynolds))


@functools.cache
def seen(name: str) -> Flows:
    """The same on the source's grid."""
    found = flows(name)
    return observed(found.states, found.reynolds)


def simulated(reynolds: Sequence[float], num_steps: int, refinement: int = 2) -> Flows:
    """Wakes on the source's grid, simulated anew with a coarser reference: for what has no time for the study's."""
    values = torch.tensor(reynolds)
    states = simulate(reference_step(refinement), developed(values, refinement), num_steps,
                      warmup=SETTINGS["warmup"], reynolds=values)
    return observed(states, values)


def observed(states: Tensor, reynolds: Tensor) -> Flows:
    """States of a finer grid on the source's: face means, with the faces of its coarser cylinder closed.

    That changes the means by one to three per cent in relative L2, nearly all of it within a diameter of the
    cylinder's centre. The errors of a roll-out are against what is left: what the reference is on these cells, not the
    fine flow.
    """
    return Flows(grid(1).restrict(states), reynolds)


def windows(data: Flows, seeds: Sequence[int], num_steps: int) -> Windows:
    """Batches: the same windows for all variants with the same longest unroll."""
    return Windows(data.states, num_steps, SETTINGS["batch_size"], reynolds=data.reynolds,
                   seeds=[SETTINGS["batch_seed"] + s for s in seeds])


@torch.no_grad()
def nudged(data: Flows, share: float = SETTINGS["nudging"]) -> Flows:
    r"""P with stored corrections that pull it to the reference: s_{k+1} = P(s_k) + c_k, c_k = share (r_{k+1} - P(s_k)).

    c_k minimises ``|P(s_k) + c - r_{k+1}|^2 + (1 / share - 1) |c|^2``: it stays small, and the states are no longer the
    reference's.   Source: um2020 (precomputed corrections, there with another penalty).
    """
    states = [data.states[:, 0]]
    for target in data.states[:, 1:].unbind(1):
        source = solver()(states[-1], reynolds=data.reynolds)
        states.append(source + share * (target - source))
    return Flows(torch.stack(states, 1), data.reynolds)


def network(seed: int, width: int = SETTINGS["width"]) -> ConvResNet:
    """About 10,000 weights; with ``width=36`` about 48,000."""
    s = SETTINGS
    return ConvResNet(2, 2, 2, width=width, num_blocks=s["num_blocks"], padding=(REPLICATE, PERIODIC),
                      conditions={"reynolds": s["condition"]}, output_scale=s["output_scale"], seed=seed)


def ensemble(seeds: Sequence[int], width: int = SETTINGS["width"]) -> Ensemble:
    return Ensemble([network(seed, width) for seed in seeds])


def before(networks: nn.Module, advection: Callable = semi_lagrangian) -> AdditiveRHS:
    """The correction is a force that acts before the projection: no divergence."""
    return AdditiveRHS(solver(advection=advection), networks)


def after(networks: nn.Module) -> Sequential:
    """P, then N: the correction acts on the projected state."""
    return Sequential(solver(), Additive(_rate(networks)))


def projected(networks: nn.Module) -> Sequential:
    """P, then N, then another projection."""
    return Sequential(solver(), Additive(_rate(networks)), ChannelProjection(SETTINGS["num_points"]))


def predictor(networks: nn.Module) -> Sequential:
    """N alone: the state's change in a step, without a solver."""
    return Sequential(Additive(_rate(networks)))


def _rate(networks: nn.Module) -> Rate:
    return Rate(networks, SETTINGS["dt"])
