"""Divergence of a staggered velocity, and the pressure projection that removes it.

Both are physics without time: they act on a state, as a loss or as a hard constraint on a network's output.
Chapters: 01_physics_as_loss, 08_wake_flow.
"""

import numpy as np
from phi import field, math
from phi.field import CenteredGrid, StaggeredGrid
from torch import Tensor

from .phiflow import PERIODIC, box, from_centered, from_staggered, like_state, precision_and_device, staggered
from .solver import Solver


class VelocityOperator(Solver):
    """An operator on a periodic staggered velocity (batch, 2, x, y) that takes no parameters and no time."""

    def __init__(self, resolution: tuple[int, int], length: tuple[float, float]):
        super().__init__(None, (2, *resolution))
        self.length = tuple(float(side) for side in length)

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
    Source: chorin1968numerical.
    """

    @like_state
    def step(self, v: Tensor) -> Tensor:
        return from_staggered(spectral_projection(self.staggered(v)))


def spectral_projection(velocity: StaggeredGrid) -> StaggeredGrid:
    """Divergence-free part of a periodic staggered velocity, by one Fourier solve for the pressure.

    The pressure solves the *discrete* Poisson equation, so the discrete divergence vanishes up to rounding; with the
    symbol -k^2 of the continuous Laplacian it would vanish only up to the discretisation error.
    """
    divergence = field.divergence(velocity)
    resolution, dx = divergence.resolution, divergence.dx
    inverse = inverse_laplacian(tuple(resolution.sizes), tuple(float(dx.vector[axis]) for axis in resolution.names))
    pressure = math.real(math.ifft(math.fft(divergence.values) * math.wrap(inverse, resolution)))
    pressure = CenteredGrid(pressure, PERIODIC, bounds=velocity.bounds)
    return velocity - field.spatial_gradient(pressure, velocity.boundary, at="face")


def inverse_laplacian(resolution: tuple[int, ...], dx: tuple[float, ...]) -> np.ndarray:
    """1 / (symbol of the periodic five-point Laplacian), in the order of ``fft``; 0 for the mean pressure, which is free."""
    # 2 (cos(k dx) - 1) = -4 sin^2(k dx / 2); the right-hand side does not cancel at small k.
    axes = [-4 * np.sin(np.pi * np.fft.fftfreq(n))**2 / d**2 for n, d in zip(resolution, dx)]
    symbol = sum(np.meshgrid(*axes, indexing="ij"))
    symbol.flat[0] = np.inf
    return 1 / symbol


def vorticity(v: Tensor, length: tuple[float, float]) -> Tensor:
    r"""Vorticity of a periodic staggered velocity, at the lower corners of the cells.

        w_ij = (v^y_ij - v^y_{i-1,j}) / dx - (v^x_ij - v^x_{i,j-1}) / dy

    Shapes: (batch, 2, x, y) -> (batch, 1, x, y).   Units: [1/s].
    """
    with precision_and_device(v):
        corners = field.curl(staggered(v, box(dict(zip("xy", length)))))  # one more along each axis: the first again
        return from_centered(corners)[:, :, :-1, :-1]
