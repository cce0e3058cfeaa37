"""Divergence of a staggered velocity, and the pressure projection that removes it.

Both are physics without time: they act on a state, as a loss or as a hard constraint on a network's output.
Chapters: 01_physics_as_loss, 08_wake_flow.
"""

import numpy as np
from phi import field, math
from phi.field import StaggeredGrid
from phiml.math import dual
from torch import Tensor

from .. import arguments
from .phiflow import box, centered, from_centered, from_staggered, like_state, precision_and_device, staggered
from .solver import Solver


def cells(label: str, num_points) -> tuple[int, int]:
    """Cells along x and y. Raises ValueError for anything but two whole numbers."""
    return arguments.pair(label, "num_points", num_points, arguments.whole, "two whole numbers, cells along x and y")


def sides(label: str, length) -> tuple[float, float]:
    """The sides of a domain. Raises ValueError for anything but two positive numbers."""
    return arguments.pair(label, "length", length, arguments.positive, "two positive numbers, the sides (Lx, Ly)")


class VelocityOperator(Solver):
    """An operator on a periodic staggered velocity (batch, 2, x, y) that takes no parameters and no time."""

    def __init__(self, num_points: tuple[int, int], length: tuple[float, float]):
        super().__init__(None, (2, *cells(self.label, num_points)))
        self.length = sides(self.label, length)

    def staggered(self, v: Tensor) -> StaggeredGrid:
        return staggered(v, box(dict(zip("xy", self.length))))


class Divergence(VelocityOperator):
    r"""The divergence that a projection removes, at the cell centres, periodic in x and y.

        d_ij = (v^x_{i+1,j} - v^x_ij) / dx + (v^y_{i,j+1} - v^y_ij) / dy

    Component c of the velocity lives on the lower faces of axis c, so this is the exact outflow of each cell.

    Shapes: (batch, 2, x, y) -> (batch, 1, x, y).
    Units: velocity [m/s], length [m], divergence [1/s].
    Raises: ValueError if the state has another shape.
    """

    @property
    def result_shape(self) -> tuple[int, ...]:
        return 1, *self.state_shape[1:]

    @like_state
    def step(self, v: Tensor) -> Tensor:
        return from_centered(field.divergence(self.staggered(v)))


class Projection(VelocityOperator):
    r"""The nearest divergence-free velocity in the L2 norm: pressure projection in a periodic box.

        v_next = v - grad p,   laplace p = div v

    The mean velocity, hence the momentum, does not change; projecting twice changes nothing more.

    Shapes: (batch, 2, x, y) -> (batch, 2, x, y).
    Units: velocity [m/s], length [m].
    Raises: ValueError if the state has another shape.
    Source: chorin1968.
    """

    @like_state
    def step(self, v: Tensor) -> Tensor:
        return from_staggered(spectral_projection(self.staggered(v)))


def spectral_projection(velocity: StaggeredGrid) -> StaggeredGrid:
    """Divergence-free part of a periodic staggered velocity, wave by wave: ``v - d* (d . v) / |d|^2``.

    d is what ``field.divergence`` multiplies a wave with, so the *discrete* divergence vanishes up to rounding; with ik
    in its place it would vanish only up to the discretisation error. The pressure is ``-d . v / |d|^2``; to take its
    differences in space instead would be the same but for rounding, which dx^-2 makes ten times larger in float32.
    """
    resolution, dx = velocity.resolution, velocity.dx
    d = divergence_symbol(tuple(resolution.sizes), tuple(float(dx.vector[axis]) for axis in resolution.names))
    square = (abs(d)**2).sum(0)
    square.flat[0] = np.inf  # no pressure changes the mean velocity
    components = dual(vector=",".join(resolution.names))
    d, gradient = math.wrap(d, components, resolution), math.wrap(d.conj() / square, components, resolution)
    v_hat = math.fft(velocity.values)
    v_hat = v_hat - gradient * math.sum(d * v_hat, components)
    return velocity.with_values(math.real(math.ifft(v_hat)))


def subtract_gradient(velocity: StaggeredGrid, pressure) -> StaggeredGrid:
    """``v - grad p`` of a periodic staggered velocity, with differences between neighbouring cells.

    Args:
        pressure: gives p for the divergence of v, both (batch, 1, x, y): ``laplace p = div v`` for a projection.
    """
    p = centered(pressure(from_centered(field.divergence(velocity))), velocity.bounds).vector["c0"]
    return velocity - field.spatial_gradient(p, at="face")


def divergence_symbol(resolution: tuple[int, ...], dx: tuple[float, ...]) -> np.ndarray:
    """(axes, *resolution): the forward differences ``(e^(i k dx) - 1) / dx``, in the order of ``fft``."""
    axes = [np.expm1(2j * np.pi * np.fft.fftfreq(n)) / side for n, side in zip(resolution, dx)]
    return np.stack(np.meshgrid(*axes, indexing="ij"))


def vorticity(v: Tensor, length: tuple[float, float]) -> Tensor:
    r"""Vorticity of a periodic staggered velocity, at the lower corners of the cells.

        w_ij = (v^y_ij - v^y_{i-1,j}) / dx - (v^x_ij - v^x_{i,j-1}) / dy

    Shapes: (batch, 2, x, y) -> (batch, 1, x, y).   Units: [1/s].
    """
    arguments.tensor("vorticity", "v", v, "(batch, 2, x, y)", 4)
    length = sides("vorticity", length)
    with precision_and_device(v):
        corners = field.curl(staggered(v, box(dict(zip("xy", length)))))  # one more along each axis: the first again
        return from_centered(corners)[:, :, :-1, :-1]
