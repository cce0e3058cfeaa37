"""The viscous Burgers equation.   Chapter: 00_solver_as_operator."""

from phi import field
from torch import Tensor

from .. import arguments
from .advection import Interpolated, central, check_diffusion, check_scheme, shifted
from .phiflow import box, centered, from_centered, like_state, per_sample, stencil_weights
from .solver import Solver


class Burgers(Solver):
    r"""One step of the viscous Burgers equation, periodic in x.

        u_t + (u^2 / 2)_x = nu u_xx + (nu_e u_x)_x + f

    The local viscosity nu_e and the force f are zero unless given; nu_e is a value at the face between each cell and
    the next one, and its term is a difference of face fluxes, so that the sum over cells is kept.

    Args:
        num_points: number of cells.
        length: of the domain.
        dt: time step.
        advection: ``central``, ``upwind``, ``semi_lagrangian`` or ``interpolated``, whose docstrings
            state orders and limits. The last one takes ``interpolation``, four numbers d at every face.

    Shapes: (batch, 1, x) -> (batch, 1, x); viscosity (batch,); force and local_viscosity (batch, 1, x); interpolation
        (batch, 4, x).
    Units: length [m], dt [s], u [m/s], viscosities nu and nu_e [m^2/s], force f [m/s^2].
    Order: 1 in time (forward Euler); in space 2 (central) or 1.
    Stable: dt <= dx^2 / (2 (nu + nu_e)) and the scheme's limit.
    Behaviour: waves steepen into shocks of the width nu / |u|, which merge while the state decays to its mean.
    Good values: num_points 64, length 1, dt 0.001 ... 0.004 and viscosity 0.005 ... 0.02 for velocities of root mean
        square 0.5, with every scheme; without viscosity with ``upwind`` or ``semi_lagrangian``. In cells of 1 m:
        num_points 32, length 32, dt 0.1, viscosity 0.15 ... 0.6.
    Raises: ValueError, TypeError as ``Solver``; ValueError for a viscosity, or a roll-out's initial state, out of the
        stable range.
    """

    required = ("viscosity",)
    optional = ("force", "local_viscosity")
    fields = {"local_viscosity": 1, "interpolation": len(Interpolated.offsets)}

    def __init__(self, num_points: int, length: float, dt: float, advection=central):
        num_points = arguments.whole(self.label, "num_points", num_points)
        super().__init__(arguments.positive(self.label, "dt", dt), (1, num_points))
        self.length = arguments.positive(self.label, "length", length)
        self.dx = self.length / self.state_shape[1]
        self.advection = check_scheme(self.label, advection)
        self.optional = type(self).optional + advection.parameters

    @like_state
    def step(self, u: Tensor, *, viscosity: Tensor, force: Tensor | None = None, local_viscosity: Tensor | None = None,
             interpolation: Tensor | None = None) -> Tensor:
        domain = box({"x": self.length})
        velocity = centered(u, domain)
        rest = per_sample(viscosity) * field.laplace(velocity).values
        if local_viscosity is not None:
            slope = (shifted(velocity.values, 1, "x") - velocity.values) / self.dx
            flux = centered(local_viscosity, domain).values * slope
            rest = rest + (flux - shifted(flux, -1, "x")) / self.dx
        if force is not None:
            rest = rest + centered(force, domain).values
        weights = {} if interpolation is None else {"interpolation": stencil_weights(interpolation)}
        u_next = self.advection(velocity, velocity.values / 2, velocity.values, rest, self.dt, **weights)
        return from_centered(velocity.with_values(u_next))

    def check_parameters(self, *, viscosity: Tensor, force: Tensor | None = None, local_viscosity: Tensor | None = None,
                         interpolation: Tensor | None = None) -> None:
        check_diffusion(self.label, "viscosity", viscosity, self.dt, (self.dx,))
        if self.advection.needs_diffusion and not float(viscosity.min()) > 0:
            raise ValueError(f"{self.label}: viscosity is 0, and central differences with forward Euler are unstable "
                             "without it for every dt; give a positive viscosity, or build the solver with "
                             "advection=upwind")
        if local_viscosity is not None:
            total = viscosity[:, None, None] + local_viscosity
            check_diffusion(self.label, "viscosity + local_viscosity", total, self.dt, (self.dx,))
            if float(local_viscosity.min()) < 0:
                raise ValueError(f"{self.label}: local_viscosity is as low as {float(local_viscosity.min()):g} m^2/s; "
                                 "make it positive, for instance by softplus")

    def check_state(self, u: Tensor, *, viscosity: Tensor, **optional: Tensor) -> None:
        self.advection.check(self.label, u, "viscosity", viscosity, self.dt, (self.dx,))
