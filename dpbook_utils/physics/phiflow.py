"""Between tensors and PhiFlow's fields.

PhiFlow's floating-point precision and default device are global and win over those of the tensors it is
given; ``like_state`` makes them follow the state for the time of one step.
Chapter: 00_solver_as_operator.
"""

import functools
from contextlib import contextmanager, nullcontext

import torch
from phi.field import CenteredGrid, StaggeredGrid
from phi.geom import Box
from phi.torch import TORCH
from phiml import math
from phiml.math import batch, channel, dual, extrapolation, spatial
from torch import Tensor

from .. import arguments

PERIODIC = extrapolation.PERIODIC


def like_state(step):
    """Decorator for ``step(self, u, ...)``: PhiFlow computes in the precision and on the device of ``u``."""

    @functools.wraps(step)
    def wrapped(self, u: Tensor, **parameters):
        with precision_and_device(u):
            return step(self, u, **parameters)

    return wrapped


@contextmanager
def precision_and_device(u: Tensor):
    arguments.device("PhiFlow", u.device)
    previous = TORCH.get_default_device()
    wanted = TORCH.list_devices("CPU" if u.device.type == "cpu" else "GPU")[u.device.index or 0]
    if previous is not wanted:
        TORCH.set_default_device(wanted)
    # Tensors made on the way would go to a default device that the user has set.
    other = torch.get_default_device().type not in ("cpu", u.device.type)
    try:
        with TORCH, u.device if other else nullcontext(), math.precision(64 if u.dtype == torch.float64 else 32):
            yield
    finally:
        if previous is not wanted:
            TORCH.set_default_device(previous)


def box(lengths: dict[str, float]) -> Box:
    return Box(**lengths)


def per_sample(value: Tensor):
    """(batch,) -> PhiML tensor with batch dimension b."""
    return math.wrap(value, batch("b"))


def stencil_weights(weights: Tensor):
    """(batch, stencil, x) -> PhiML tensor with dimensions b, stencil, x."""
    return math.wrap(weights, batch("b"), channel("stencil"), spatial("x"))


def centered(u: Tensor, domain: Box, boundary=PERIODIC) -> CenteredGrid:
    """(batch, channels, *spatial) -> cell-centred field with batch dimension b and vector dimension."""
    axes = domain.vector.item_names
    names = axes if u.shape[1] == len(axes) else [f"c{i}" for i in range(u.shape[1])]
    values = math.wrap(u, batch("b"), channel(vector=",".join(names)), spatial(*axes))
    return CenteredGrid(values, boundary, bounds=domain)


def from_centered(field) -> Tensor:
    """Cell-centred field -> (batch, channels, *spatial)."""
    return field.values.native(["b", "vector", *field.shape.spatial.names])


def staggered(v: Tensor, domain: Box, boundary=PERIODIC) -> StaggeredGrid:
    """(batch, 2, x, y) -> staggered velocity; component c lives on the lower faces of axis c."""
    axes = domain.vector.item_names
    values = math.wrap(v, batch("b"), dual(vector=",".join(axes)), spatial(*axes))
    return StaggeredGrid(values, boundary, bounds=domain)


def from_staggered(field) -> Tensor:
    """Staggered velocity -> (batch, 2, x, y)."""
    return field.values.native(["b", "~vector", *field.shape.spatial.names])
