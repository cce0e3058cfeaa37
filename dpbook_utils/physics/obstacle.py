"""Divergence and pressure projection around a cylinder, between an inflow and an outflow.   Chapter: 08_wake_flow."""


import numpy as np
import torch
from phi import field
from phi.field import CenteredGrid, Field, StaggeredGrid
from phi.geom import Sphere
from phi.physics import fluid
from phiml import math
from phiml.backend import NUMPY
from phiml.math import extrapolation, vec
from scipy import sparse
from torch import Tensor

from .. import arguments
from .phiflow import (
    PERIODIC,
    box,
    centered,
    from_centered,
    from_staggered,
    like_state,
    per_sample,
    precision_and_device,
    staggered,
)
from .projection import cells, sides
from .solver import Solver

INFLOW = {"x-": vec(x=1.0, y=0.0), "x+": extrapolation.ZERO_GRADIENT, "y": PERIODIC}
PRESSURE = {"x-": extrapolation.ZERO_GRADIENT, "x+": extrapolation.ZERO, "y": PERIODIC}


class ChannelOperator(Solver):
    r"""What acts on the velocity in a channel with a cylinder, inflow at the left and outflow at the right.

    Lengths are in diameters of the cylinder, velocities in inflow speeds: the inflow is (1, 0). Periodic along y; at
    the outflow the velocity continues with zero gradient and the pressure is zero. The known velocity at the inflow is
    not stored, so component 0 lives on the *upper* faces of x; component 1 lives on the lower faces of y. The cylinder
    is made of the cells whose centre lies in it, and the velocity at their faces is zero.

    Args:
        num_points: cells (nx, ny).
        length: of the channel, (Lx, Ly).
        centre: of the cylinder.

    Attributes:
        fluid: (nx, ny), 1 in cells of the fluid and 0 in the cylinder.
        open: (2, nx, ny), 0 at the faces of the cylinder's cells and 1 elsewhere.
    Raises: ValueError for a cylinder that is not inside the channel, too coarse a grid, or anything but pairs of
        integers and numbers.
    """

    def __init__(self, num_points: tuple[int, int], length: tuple[float, float] = (10.0, 5.0),
                 centre: tuple[float, float] = (2.5, 2.5), dt: float | None = None):
        num_points = cells(self.label, num_points)
        super().__init__(dt, (2, *num_points))
        self.length = sides(self.label, length)
        self.dx = tuple(side / n for side, n in zip(self.length, num_points))
        self.centre = arguments.pair(self.label, "centre", centre, arguments.number,
                                     "two numbers, the cylinder's x and y")
        for axis, x, side, dx in zip("xy", self.centre, self.length, self.dx):
            if dx > 0.5:
                raise ValueError(f"{self.label}: cells of {dx:g} diameters do not resolve the cylinder; give at least "
                                 f"{int(np.ceil(2 * side))} cells along {axis}")
            if not 0.5 + 2 * dx <= x <= side - 0.5 - 2 * dx:
                raise ValueError(f"{self.label}: a cylinder of diameter 1 at {axis} = {x:g} is not inside the channel "
                                 f"with two cells to spare; expected {0.5 + 2 * dx:g} ... {side - 0.5 - 2 * dx:g}")
        masks, matrices = _discretised(num_points, self.length, self.centre)
        for name, mask in masks.items():
            self.register_buffer(name, mask, persistent=False)
        self.solve = DirectSolve(*matrices, num_points)

    def velocity(self, v: Tensor) -> StaggeredGrid:
        return staggered(v, box(dict(zip("xy", self.length))), {**INFLOW, "x-": vec(x=_each(v, 1.0), y=_each(v, 0.0))})

    @like_state
    def divergence(self, v: Tensor) -> Tensor:
        """Outflow per volume of each cell of the fluid: (batch, 2, x, y) -> (batch, 1, x, y)."""
        return from_centered(field.divergence(self.velocity(v))) * self.fluid.to(v)

    def pressure_gradient(self, v: Tensor) -> Tensor:
        """Of dt times the pressure that makes v free of divergence, at all faces, in float64: only storing v rounds."""
        v = v.double()
        with precision_and_device(v):
            p = self.solve(self.divergence(v * self.open.to(v)))
            pressure = centered(p, box(dict(zip("xy", self.length))), {**PRESSURE, "x+": _each(p, 0.0)}).vector["c0"]
            return from_staggered(field.spatial_gradient(pressure, INFLOW, at="face"))

    def project(self, v: Tensor) -> Tensor:
        """Without the gradient of the pressure, and zero at the cylinder."""
        return ((v - self.pressure_gradient(v)) * self.open.to(v.device)).to(v.dtype)

    def restrict(self, v: Tensor) -> Tensor:
        """The state of a finer grid on this one: means over the faces, which keep the outflow of each cell, projected.

        The projection closes the faces of this grid's cylinder, whose cells cover the finer one's only roughly.

        Shapes: (..., 2, factor * x, factor * y) -> (..., 2, x, y) with an integer factor.
        Raises: ValueError if the factor is no integer, or not the same along x and y.
        """
        (nx, ny), given = self.state_shape[1:], f"(..., 2, k * {self.state_shape[1]}, k * {self.state_shape[2]})"
        if arguments.tensor(f"{self.label}.restrict", "v", v, given).ndim < 3:
            raise arguments.refusal(f"{self.label}.restrict", "v", v, f"a tensor {given}", ValueError)
        fine_x, fine_y = v.shape[-2:]
        factor = fine_x // nx
        if v.shape[-3] != 2 or (fine_x, fine_y) != (factor * nx, factor * ny) or factor == 0:
            raise ValueError(f"{self.label}: restricts states of shape (..., 2, k * {nx}, k * {ny}) with an integer k; "
                             f"given {tuple(v.shape)}")
        x = v[..., 0, factor - 1::factor, :].unflatten(-1, (ny, factor)).mean(-1)
        y = v[..., 1, :, ::factor].unflatten(-2, (nx, factor)).mean(-2)
        coarse = torch.stack([x, y], -3)
        return self.project(coarse.reshape(-1, 2, nx, ny)).view(coarse.shape)


class ChannelProjection(ChannelOperator):
    r"""The velocity around the cylinder without its divergence: a hard constraint on a network's output.

        v_next = m (v - grad p),   div v_next = 0

    m is the attribute ``open``: nothing flows at the cylinder. PhiFlow's ``make_incompressible`` with a direct solve
    does the same but for its mask: it leaves faces of the cylinder's cells partly open, through which fluid leaks, and
    slows the fluid at others, which makes the cylinder larger than it is.

    Shapes: (batch, 2, x, y) -> (batch, 2, x, y), components as in ``ChannelOperator``.
    Raises: ValueError as ``ChannelOperator``, and if the state has another shape.
    Source: chorin1968.
    """

    @like_state
    def step(self, v: Tensor) -> Tensor:
        return self.project(v)


class ChannelDivergence(ChannelOperator):
    """The divergence that the projection removes, at the cell centres; zero in the cylinder.

    Shapes: (batch, 2, x, y) -> (batch, 1, x, y), components as in ``ChannelOperator``.
    Raises: ValueError as ``ChannelOperator``, and if the state has another shape.
    """

    @property
    def result_shape(self) -> tuple[int, ...]:
        return 1, *self.state_shape[1:]

    def step(self, v: Tensor) -> Tensor:
        return self.divergence(v)


class DirectSolve:
    r"""Solution of ``A p = d`` on a grid, where A differs from a separable A0 in a few cells only.

        A0 = Lx (x) 1 + 1 (x) Ly = V diag(lambda) V^T,    A = A0 + E D E^T

    E picks the cells of a box around the cylinder. A0 is inverted by four products with small matrices; the cylinder
    adds sources in the box (Woodbury's formula):

        p = A0^-1 (d - E K E^T A0^-1 d),    K = (1 + D E^T A0^-1 E)^-1 D

    No tolerance, and only tensor operations: derivatives of any order are exact, on every device. Computes in float64.

    Args:
        separable, masked: A0 and A, symmetric, rows and columns x-major.
    """

    def __init__(self, separable: sparse.csr_matrix, masked: sparse.csr_matrix, num_points: tuple[int, int]):
        nx, ny = num_points
        first = np.arange(nx * ny).reshape(nx, ny)
        along_y = separable[first[0]][:, first[0]].toarray()  # Ly, and Lx's first diagonal entry
        along_y -= np.eye(ny) * along_y[0].sum()  # rows of a periodic Ly sum to zero
        along_x = separable[first[:, 0]][:, first[:, 0]].toarray() - np.eye(nx) * along_y[0, 0]
        rest = separable - sparse.kron(along_x, np.eye(ny)) - sparse.kron(np.eye(nx), along_y)
        assert abs(rest).max() <= 1e-9 * abs(separable).max()
        difference = sparse.coo_matrix(masked - separable)
        cells = np.unravel_index(difference.row[difference.data != 0], num_points)
        (x0, x1), (y0, y1) = ((c.min(), c.max()) for c in cells)
        inside = first[x0:x1 + 1, y0:y1 + 1].ravel()
        difference = difference.tocsr()[inside][:, inside].toarray()

        (lx, vx), (ly, vy) = np.linalg.eigh(along_x), np.linalg.eigh(along_y)
        near_x, near_y = vx[x0:x1 + 1], vy[y0:y1 + 1]
        lines = np.einsum("jn,mn,ln->mjl", near_y, 1 / (lx[:, None] + ly), near_y, optimize=True)
        green = np.einsum("im,km,mjl->ijkl", near_x, near_x, lines, optimize=True).reshape(len(inside), -1)
        capacitance = np.linalg.solve(np.eye(len(inside)) + difference @ green, difference)
        arrays = vx, vy, 1 / (lx[:, None] + ly), near_x, near_y, capacitance
        self.tensors = tuple(torch.from_numpy(np.ascontiguousarray(x)) for x in arrays)

    def __call__(self, d: Tensor) -> Tensor:
        """(batch, 1, x, y) -> (batch, 1, x, y)."""
        vx, vy, inverse, near_x, near_y, capacitance = (x.to(d.device) for x in self.tensors)
        waves = vx.T @ d @ vy
        near = near_x @ (waves * inverse) @ near_y.T
        sources = (near.flatten(1) @ capacitance.T).view_as(near)
        waves = waves - near_x.T @ sources @ near_y
        return vx @ (waves * inverse) @ vy.T


def _each(u: Tensor, value: float):
    """A boundary value per sample. PhiML compares a plain number with the values inside, which cannot be recorded."""
    return per_sample(torch.full(u.shape[:1], value, dtype=u.dtype, device=u.device))


def _discretised(num_points: tuple[int, int], length: tuple[float, float], centre: tuple[float, float]):
    """Masks of the cylinder, and PhiFlow's Laplacians without and with it."""
    domain, resolution = box(dict(zip("xy", length))), dict(zip("xy", num_points))
    with NUMPY, math.precision(64):
        cylinder = Sphere(**dict(zip("xy", centre)), radius=0.5)
        velocity = StaggeredGrid(0.0, INFLOW, bounds=domain, **resolution)
        outside = {"x-": extrapolation.ZERO, "x+": extrapolation.ONE, "y": PERIODIC}  # accessible through the outflow
        inside = Field(velocity.geometry, ~cylinder, outside)
        faces = field.stagger(inside, math.minimum, INFLOW, at="face", dims="x,y")
        pressure = CenteredGrid(0.0, PRESSURE, bounds=domain, **resolution)
        cells = inside.with_boundary(extrapolation.NONE)
        matrices = []
        for masks in ((None, None), (faces, cells)):
            def laplace(values, masks=masks):
                return fluid.masked_laplace.f(pressure.with_values(values), velocity.boundary, *masks).values

            matrix, _ = math.matrix_from_function(laplace, pressure.values)
            matrices.append(sparse.csr_matrix(matrix.native()))
        solid = 1 - inside.values.numpy("x,y").ravel()
        # PhiFlow writes p = 0 in the cylinder as a row with a one; in the size of the other rows it rounds less.
        matrices[1] = matrices[1] + sparse.diags(solid * (matrices[0].diagonal() - 1))
        arrays = {"fluid": inside.values.numpy("x,y").astype(float),
                  "open": faces.values.numpy("~vector,x,y").astype(float)}
    return {name: torch.from_numpy(np.ascontiguousarray(mask)) for name, mask in arrays.items()}, matrices
