"""The viscous Burgers equation.   Chapter: 00_solver_as_operator."""

from phi import field
from torch import Tensor

from .advection import central, check_diffusion
from .phiflow import box, centered, from_centered, like_state, per_sample
from .solver import Solver, positive_length


class Burgers(Solver):
    r"""One step of the viscous Burgers equation, periodic in x.

        u_t + (u^2 / 2)_x = nu u_xx + f

    Args:
        num_points: number of cells.
        length: of the domain.
        dt: time step.
        advection: ``central``, ``upwind`` or ``semi_lagrangian``; orders and limits in ``physics.advection``.

    Shapes: (batch, 1, num_points) -> (batch, 1, num_points); viscosity (batch,); force (batch, 1, num_points).
    Units: length [m], dt [s], u [m/s], viscosity nu [m^2/s], force f [m/s^2].
    Order: 1 in time (forward Euler); in space 2 (central) or 1. Stable for dt <= dx^2 / (2 nu) and the scheme's limit.
    Raises: ValueError, TypeError as ``Solver``; ValueError for a viscosity, or a roll-out's initial state, out of the
        stable range.
    """

    required = ("viscosity",)
    optional = ("force",)

    def __init__(self, num_points: int, length: float, dt: float, advection=central):
        super().__init__(dt, (1, num_points))
        self.length = positive_length(self.label, length)
        self.dx = self.length / num_points
        self.advection = advection

    @like_state
    def step(self, u: Tensor, *, viscosity: Tensor, force: Tensor | None = None) -> Tensor:
        domain = box({"x": self.length})
        velocity = centered(u, domain)
        rest = per_sample(viscosity) * field.laplace(velocity).values
        if force is not None:
            rest = rest + centered(force, domain).values
        u_next = self.advection(velocity, velocity.values / 2, velocity.values, rest, self.dt)
        return from_centered(velocity.with_values(u_next))

    def check_parameters(self, *, viscosity: Tensor, force: Tensor | None = None) -> None:
        check_diffusion(self.label, "viscosity", viscosity, self.dt, (self.dx,))
        if self.advection.needs_diffusion and not float(viscosity.min()) > 0:
            raise ValueError(f"{self.label}: viscosity is 0, and central differences with forward Euler are unstable "
                             "without it for every dt; give a positive viscosity, or build the solver with "
                             "advection=upwind")

    def check_state(self, u: Tensor, *, viscosity: Tensor, force: Tensor | None = None) -> None:
        self.advection.check(self.label, u, "viscosity", viscosity, self.dt, (self.dx,))
