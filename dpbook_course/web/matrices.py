"""Spectral solvers as matrices: what a page can run without Fourier transforms.   Chapter: 03_unrolling."""

import torch
from torch import Tensor

from dpbook_utils.physics.kuramoto_sivashinsky import KuramotoSivashinsky, etd1, etdrk2
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
