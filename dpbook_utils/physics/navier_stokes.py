"""Two-dimensional incompressible flow in a periodic box.   Chapters: 01_physics_as_loss, 09_choosing_the_numerics.

The velocity is staggered, component c on the lower faces of axis c, and stays so for the whole step: going to cell
centres and back would smooth it a little at every step.
"""

from collections.abc import Callable

from phi import field
from phi.field import StaggeredGrid
from phi.physics import advect
from phiml import math
from phiml.math import dual
from torch import Tensor

from .. import arguments
from .advection import check_diffusion
from .phiflow import box, from_staggered, like_state, per_sample, staggered
from .projection import cells, sides, spectral_projection
from .solver import Solver


def semi_lagrangian(velocity: StaggeredGrid, dt: float) -> StaggeredGrid:
    """Each value is looked up where it came from, ``v(x - v dt)``, by linear interpolation.

    Smooths: at a fixed Courant number C < 1 like a viscosity ``|v| dx (1 - C) / 2``, so the error is O(dx).
    Source: staniforth1991.
    """
    return _by_component(advect.semi_lagrangian, velocity, dt)


def mac_cormack(velocity: StaggeredGrid, dt: float) -> StaggeredGrid:
    """Semi-Lagrangian there and back; half the difference to the start is the error of one way and is taken off.

    Second order in space. Each value is limited to those of the cells around the point it came from, so no new extrema
    appear; at an extremum the scheme falls back to first order.
    Source: selle2008.
    """
    return _by_component(advect.mac_cormack, velocity, dt)


def _by_component(scheme: Callable, velocity: StaggeredGrid, dt: float) -> StaggeredGrid:
    # Given the staggered grid as a whole, PhiFlow 3.4's mac_cormack limits every component by its values half a cell
    # off: where the flow runs in negative direction nothing moves. So each component is given as a grid of its own.
    components = [scheme(velocity.vector[axis], velocity, dt).values for axis in velocity.vector.item_names]
    return velocity.with_values(math.stack(components, dual(vector=velocity.vector.item_names)))


def check_advection(label: str, advection: Callable) -> Callable:
    """An advection of a staggered velocity. Raises TypeError for anything else, such as a scheme for scalars."""
    expected = "mac_cormack or semi_lagrangian of dpbook_utils.physics.navier_stokes"
    arguments.function(label, "advection", advection, expected)
    if hasattr(advection, "needs_diffusion"):
        raise arguments.refusal(label, "advection", advection, f"{expected}: this scheme is one for scalars")
    return advection


class NavierStokes(Solver):
    r"""One step of the incompressible Navier-Stokes equations, periodic in x and y.

        v_t + (v . grad) v = -grad p + nu laplace v + f,   div v = 0

    Advection, then explicit diffusion and force, then pressure projection (Chorin's splitting). The pressure is
    kinematic [m^2/s^2]; the mean of the force accelerates the mean velocity.

    Args:
        num_points: cells (nx, ny).
        length: of the box, (Lx, Ly).
        dt: time step.
        advection: ``mac_cormack`` or ``semi_lagrangian``.

    Shapes: (batch, 2, x, y) -> (batch, 2, x, y), component c on the lower faces of axis c; viscosity (batch,);
        force (batch, 2, x, y).
    Units: length [m], dt [s], v [m/s], viscosity nu [m^2/s], force f [m/s^2] (per mass).
    Order: 1 in time; in space 2 (``mac_cormack``) or 1 (``semi_lagrangian``, at a fixed Courant number).
    Stable: dt <= 1 / (2 nu (1/dx^2 + 1/dy^2)), at every Courant number: with ``mac_cormack``, random vortices stayed
        bounded up to paths that cross by 8 cells (``benchmarks.stability``); beyond 1 they are refused, for they
        mean nothing. Momentum is kept up to the error of the advection, which moves values and not fluxes.
    Behaviour: without a force vortices of one sign merge, the eddies grow and the energy decays.
    Good values: num_points (64, 64), length (1, 1), dt 0.01, viscosity 0.0001 ... 0.005 for velocities of root mean
        square 1 with eddies of a quarter of the box (``random_velocity`` with modes 4). On num_points (32, 32) dt 0.02.
    Raises: ValueError, TypeError as ``Solver``; ValueError for a viscosity out of the stable range, or an initial state
        of a roll-out whose velocity changes by more than a cell per step between neighbouring faces.
    Source: chorin1968.
    """

    required = ("viscosity",)
    optional = ("force",)

    def __init__(self, num_points: tuple[int, int], length: tuple[float, float], dt: float,
                 advection: Callable[[StaggeredGrid, float], StaggeredGrid] = mac_cormack):
        super().__init__(arguments.positive(self.label, "dt", dt), (2, *cells(self.label, num_points)))
        self.length = sides(self.label, length)
        self.dx = tuple(side / n for side, n in zip(self.length, self.state_shape[1:]))
        self.advection = check_advection(self.label, advection)

    @like_state
    def step(self, v: Tensor, *, viscosity: Tensor, force: Tensor | None = None) -> Tensor:
        domain = box(dict(zip("xy", self.length)))
        velocity = self.advection(staggered(v, domain), self.dt)
        rate = per_sample(viscosity) * field.laplace(velocity).values
        if force is not None:
            rate = rate + staggered(force, domain).values
        return from_staggered(self.project(velocity.with_values(velocity.values + self.dt * rate)))

    def project(self, velocity: StaggeredGrid) -> StaggeredGrid:
        """Its part without divergence."""
        return spectral_projection(velocity)

    def check_parameters(self, *, viscosity: Tensor, force: Tensor | None = None) -> None:
        check_diffusion(self.label, "viscosity", viscosity, self.dt, self.dx)

    def check_state(self, v: Tensor, *, viscosity: Tensor, force: Tensor | None = None) -> None:
        # A long path is no harm, but the paths v dt of neighbouring faces must not cross.
        steepest = max(float((v - v.roll(1, axis)).abs().max()) / dx for axis, dx in zip((2, 3), self.dx))
        if steepest * self.dt > 1:
            raise ValueError(
                f"{self.label}: the velocity changes by {steepest * self.dt:.3g} cells per step between neighbouring "
                f"faces, so their paths cross; expected at most 1. Build the solver with dt <= {1 / steepest:.3g}, or "
                "smooth the state")
