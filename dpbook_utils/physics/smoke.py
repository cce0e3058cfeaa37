"""Smoke that a two-dimensional flow carries.   Chapter: 11_forward_and_inverse."""

import torch
from phi.physics import advect
from torch import Tensor

from .. import arguments
from .navier_stokes import NavierStokes, mac_cormack, semi_lagrangian
from .phiflow import box, centered, from_centered, like_state, staggered
from .projection import cells
from .solver import Solver

CARRIED = {semi_lagrangian: advect.semi_lagrangian, mac_cormack: advect.mac_cormack}


class Smoke(Solver):
    r"""One step of an incompressible flow and of the smoke in it, periodic in x and y.

        v_t + (v . grad) v = -grad p + nu laplace v,   div v = 0,   s_t + v . grad s = 0

    The flow is that of ``NavierStokes``; the smoke moves with the velocity at the start of the step, by the same
    scheme, and does not act back.

    Args:
        num_points: cells (nx, ny).
        length: of the box, (Lx, Ly).
        dt: time step.
        advection: ``mac_cormack`` or ``semi_lagrangian``, of velocity and smoke.

    Shapes: (batch, 3, x, y) -> (batch, 3, x, y): the velocity, component c on the lower faces of axis c, and the smoke
        at the cells' centres; viscosity (batch,).
    Units: length [m], dt [s], v [m/s], viscosity nu [m^2/s]; the smoke s has none.
    Order: 1 in time; in space 2 (``mac_cormack``) or 1 (``semi_lagrangian``, at a fixed Courant number).
    Stable: as ``NavierStokes``. The smoke has no new maxima or minima. Its sum is kept up to the error of the
        advection, which moves values and not fluxes.
    Behaviour: blobs are drawn out into sheets and rolled up; ``semi_lagrangian`` smooths them away.
    Good values: num_points (64, 64), length (1, 1), dt 0.025, viscosity 0.0001 ... 0.002 for velocities of root mean
        square 0.5 with eddies of a quarter of the box, and smoke between 0 and 1.
    Raises: ValueError, TypeError as ``NavierStokes``.
    Source: staniforth1991, selle2008.
    """

    required = ("viscosity",)

    def __init__(self, num_points: tuple[int, int], length: tuple[float, float], dt: float, advection=mac_cormack):
        super().__init__(arguments.positive(self.label, "dt", dt), (3, *cells(self.label, num_points)))
        self.flow = NavierStokes(num_points, length, dt, advection)
        if advection not in CARRIED:
            raise arguments.refusal(self.label, "advection", advection, "mac_cormack or semi_lagrangian of "
                                    "dpbook_utils.physics.navier_stokes", ValueError)

    @like_state
    def step(self, u: Tensor, *, viscosity: Tensor) -> Tensor:
        if self.dt != self.flow.dt:
            raise ValueError(f"{self.label}: dt is {self.dt:g} and that of its flow {self.flow.dt:g}; build another "
                             "solver with the time step that is meant")
        v, s = u[:, :2], u[:, 2:]
        domain = box(dict(zip("xy", self.flow.length)))
        s_next = CARRIED[self.flow.advection](centered(s, domain), staggered(v, domain), self.dt)
        return torch.cat([self.flow.step(v, viscosity=viscosity), from_centered(s_next)], 1)

    def check_parameters(self, *, viscosity: Tensor) -> None:
        self.flow.check_parameters(viscosity=viscosity)

    def check_state(self, u: Tensor, *, viscosity: Tensor) -> None:
        self.flow.check_state(u[:, :2], viscosity=viscosity)
