"""Spectral solvers as matrices: what a page can run without Fourier transforms.   Chapters: 03_unrolling, 08_wake_flow.
"""

import torch
from torch import Tensor

from dpbook_utils.physics.kuramoto_sivashinsky import KuramotoSivashinsky, etd1, etdrk2
from dpbook_utils.physics.navier_stokes import NavierStokes
from dpbook_utils.physics.projection import subtract_gradient
from dpbook_utils.physics.solver import Solver


class KuramotoSivashinskyMatrices(Solver):
    r"""The Kuramoto-Sivashinsky solver on one domain, its operators in Fourier space written as matrices.

        g = u A + u^2 B,    etd1: u_next = g,    etdrk2: u_next = g + (g^2 - u^2) C

    An operator of the spectral solver is linear, so its matrix has as rows what it makes of the unit vectors.

    Args:
        solver: with the integrator ``etd1`` or ``etdrk2``.
        length: of the domain.

    Shapes: (batch, 1, num_points) -> (batch, 1, num_points).
    Agrees with ``solver(u, length=length)`` to rounding.
    Raises: ValueError for another integrator, or a length that the solver refuses.
    """

    def __init__(self, solver: KuramotoSivashinsky, length: float):
        super().__init__(solver.dt, solver.state_shape)
        if solver.integrator not in (etd1, etdrk2):
            raise ValueError(f"{type(self).__name__}: the integrator is {solver.integrator.__name__}; matrices are "
                             "written for etd1 and etdrk2")
        self.num_substeps, self.corrected = solver.num_substeps, solver.integrator is etdrk2
        length = torch.tensor([length], dtype=torch.float64)
        solver.check_parameters(length=length)
        waves = torch.fft.fft(torch.eye(solver.num_points, dtype=torch.float64))
        for name, operator in solver.precompute(length=length).items():
            matrix = torch.fft.ifft(operator[0] * waves).real
            self.register_buffer(name, matrix.to(torch.get_default_dtype()), persistent=False)

    def step(self, u: Tensor) -> Tensor:
        for _ in range(self.num_substeps):
            guess = u @ self.linear + u.square() @ self.product
            u = guess + (guess.square() - u.square()) @ self.correction if self.corrected else guess
        return u


class NavierStokesMatrices(NavierStokes):
    r"""``NavierStokes`` with the pressure from products with matrices; all else is inherited.

        v_next = v - grad p,   p = Qx (Qx^T div v Qy / (lambda_x + lambda_y)) Qy^T

    Along each axis the Laplacian is a circulant matrix; the columns of Q are its real eigenvectors, sines and cosines,
    and lambda its eigenvalues. The wave of zero length has no pressure.

    Agrees with ``NavierStokes`` to rounding.
    """

    def __init__(self, *arguments, **others):
        super().__init__(*arguments, **others)
        (x, along_x), (y, along_y) = (_laplacian_waves(n, dx) for n, dx in zip(self.state_shape[1:], self.dx))
        inverse = 1 / (along_x[:, None] + along_y)
        inverse[0, 0] = 0
        for name, matrix in {"waves_x": x, "waves_y": y, "inverse": inverse}.items():
            self.register_buffer(name, matrix, persistent=False)

    def project(self, velocity):
        return subtract_gradient(velocity, self.pressure)

    def pressure(self, divergence: Tensor) -> Tensor:
        """Shapes: (batch, 1, x, y) -> (batch, 1, x, y)."""
        x, y, inverse = (matrix.to(divergence) for matrix in (self.waves_x, self.waves_y, self.inverse))
        return x @ ((x.mT @ divergence @ y) * inverse) @ y.mT


def _laplacian_waves(num_points: int, dx: float) -> tuple[Tensor, Tensor]:
    """Eigenvectors, as columns, and eigenvalues of second differences on a periodic axis; first the constant."""
    x = torch.arange(num_points, dtype=torch.float64)
    waves, values = [], []
    for k in range(num_points // 2 + 1):
        angle = 2 * torch.pi * k * x / num_points
        found = [angle.cos()] if k == 0 or 2 * k == num_points else [angle.cos(), angle.sin()]
        waves += [wave / wave.norm() for wave in found]
        values += [2 * (torch.cos(angle[1]) - 1) / dx**2] * len(found)
    return torch.stack(waves, 1), torch.stack(values)
