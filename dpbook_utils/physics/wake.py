"""The wake of a cylinder in two dimensions.   Chapter: 08_wake_flow."""

from collections.abc import Callable

import torch
from phi import field
from phi.field import StaggeredGrid
from torch import Tensor

from .. import arguments
from .navier_stokes import check_advection, mac_cormack
from .obstacle import ChannelOperator
from .phiflow import from_staggered, like_state
from .solver import Solver


class Wake(ChannelOperator):
    r"""One step of incompressible flow past a cylinder, in diameters and inflow speeds.

        v_t + (v . grad) v = -grad p + laplace v / Re + f,   div v = 0,   v = (1, 0) at the inflow, 0 in the cylinder

    Advection, then explicit diffusion and force, then the pressure projection (Chorin's splitting). The force acts
    before the projection: a network that corrects through it (``AdditiveRHS``) leaves a velocity without divergence.

    Args:
        num_points: cells (nx, ny).
        dt: time step, in diameters per inflow speed.
        length: of the channel, (Lx, Ly). Copies of the cylinder lie Ly apart: the blockage is 1 / Ly.
        centre: of the cylinder.
        advection: ``mac_cormack`` or ``semi_lagrangian`` of ``dpbook_utils.physics.navier_stokes``.

    Shapes: (batch, 2, x, y) -> (batch, 2, x, y), components as in ``ChannelOperator``; reynolds (batch,);
        force (batch, 2, x, y).
    Units: the diameter D, the inflow speed U; force U^2 / D; reynolds U D / nu [1].
    Stable: dt <= Re / (2 (1/dx^2 + 1/dy^2)); on 64 x 32 cells ``mac_cormack`` stayed bounded for 200 steps with
        dt 0.05 (Re 20 ... 2000) and 0.1 (Re 200), measured by ``benchmarks.stability``. Paths may be long, but not
        those that cross the periodic sides: values further than a cell behind them are not found (PhiFlow 3.4, where
        other sides are not periodic).
    Behaviour: two vortices stand behind the cylinder at Re 20; at Re 100 a disturbance grows until they are shed in
        turn, on 64 x 32 cells a pair in 5 units of time, at Re 400 in 4.4.
    Good values: num_points (64, 32), dt 0.05, reynolds 20 ... 400; (32, 16) with dt 0.1, reynolds 50 ... 200, is a
        coarse solver. Start with ``start(disturbance)``, disturbance 0.1.
    Derivatives: none exists with respect to the state's velocities at the cylinder's faces. They are zero, so what is
        looked up for these faces lies exactly between two cells, where linear interpolation has a kink; a gradient
        holds the slope of one side. The limiter of ``mac_cormack`` even changes cells there, and the value advected to
        such a face can jump; viscosity hands the jump on, and no gradient shows it. States that a projection made are
        not affected: its mask multiplies these derivatives by zero, and they reach no weight. Those that a network
        changes after the projection (``Additive``) are, as long as it adds nothing at these faces.
    Order: 1 in time with ``semi_lagrangian``; the limiter of ``mac_cormack`` breaks this beside the cylinder. At
        most 1 in space, however smooth the advection: the cylinder's edge runs along faces.
    Raises: ValueError as ``ChannelOperator``; for a Reynolds number that is not positive or too low for dt, and for an
        initial state of a roll-out whose velocity changes by more than two cells per step between neighbouring faces,
        those across the periodic sides and the inflow included, or whose paths lead too far across the periodic sides.
        As with every ``Solver``, a single call looks at the parameters and not at the state's values.
    Source: chorin1968, um2020 (the case).
    """

    required = ("reynolds",)
    optional = ("force",)

    def __init__(self, num_points: tuple[int, int], dt: float, length: tuple[float, float] = (10.0, 5.0),
                 centre: tuple[float, float] = (2.5, 2.5),
                 advection: Callable[[StaggeredGrid, float], StaggeredGrid] = mac_cormack):
        check_advection(self.label, advection)
        super().__init__(num_points, length, centre, arguments.positive(self.label, "dt", dt))
        self.advection = advection

    @like_state
    def step(self, v: Tensor, *, reynolds: Tensor, force: Tensor | None = None) -> Tensor:
        return self.project(self.moved(v, reynolds=reynolds, force=force))

    @like_state
    def moved(self, v: Tensor, *, reynolds: Tensor, force: Tensor | None = None) -> Tensor:
        """The velocity before the projection."""
        velocity = self.advection(self.velocity(v), self.dt)
        # By component: of a staggered grid between known and free faces, PhiFlow's Laplacian lacks some.
        laplace = [field.laplace(velocity.vector[axis]).values.native("b,x,y") for axis in "xy"]
        rate = torch.stack(laplace, 1) / reynolds[:, None, None, None]
        return from_staggered(velocity) + self.dt * (rate if force is None else rate + force)

    def check_parameters(self, *, reynolds: Tensor, force: Tensor | None = None) -> None:
        inverse = sum(1 / dx**2 for dx in self.dx)
        lowest, limit = float(reynolds.min()), 2 * self.dt * inverse
        if lowest < limit * (1 - 1e-6):
            advice = f"raise it, or build the solver with dt <= {lowest / (2 * inverse):.3g}"
            raise ValueError(f"{self.label}: the lowest reynolds is {lowest:g}; viscosity is stable from "
                             f"2 dt (1/dx^2 + 1/dy^2) = {limit:.4g} on; {advice if lowest > 0 else 'make it positive'}")

    def check_state(self, v: Tensor, *, reynolds: Tensor, force: Tensor | None = None) -> None:
        # A long path is no harm, but the paths v dt of neighbouring faces must not cross; at the cylinder, a little.
        from_inflow = torch.cat([torch.ones_like(v[:, :1, :1]), v[:, :1]], 2).diff(dim=2)  # its faces are not stored
        changes = [(from_inflow, self.dx[0]), (v[:, 1].diff(dim=1), self.dx[0]), (v - v.roll(1, 3), self.dx[1])]
        steepest = max(float(change.abs().max()) / side for change, side in changes)
        if not steepest * self.dt <= 2:
            raise ValueError(
                f"{self.label}: the velocity changes by {steepest * self.dt:.3g} cells per step between neighbouring "
                f"faces, so their paths cross; expected at most 2. Build the solver with dt <= {2 / steepest:.3g}, or "
                "smooth the state")
        rows = torch.arange(v.shape[3], device=v.device)
        reach = torch.minimum(rows, v.shape[3] - 1 - rows) + 0.5  # cells along y to which no path may cross the sides
        longest = float((v[:, 1].abs() / self.dx[1] / reach).max())
        if longest * self.dt > 1:
            raise ValueError(f"{self.label}: paths across the periodic sides are longer than half a cell, where values "
                             f"are not found; the velocity along y is too large for the distance to the sides by a "
                             f"factor of {longest * self.dt:.3g}. Build the solver with dt <= {1 / longest:.3g}")

    def start(self, disturbance: Tensor) -> Tensor:
        """Uniform flow set in motion at once, with a puff of this speed across it behind the cylinder, (batch,).

        Without a disturbance the wake stays symmetric for long; its sign decides on which side the first vortex grows.

        Raises: TypeError, ValueError for anything but a tensor with one speed per sample.
        """
        arguments.tensor(f"{self.label}.start", "disturbance", disturbance, "(batch,), one speed per sample", 1)
        nx, ny = self.state_shape[1:]
        x = (torch.arange(nx).to(disturbance)[:, None] + 0.5) * self.dx[0] - self.centre[0] - 1.5
        y = torch.arange(ny).to(disturbance) * self.dx[1] - self.centre[1]
        puff = disturbance[:, None, None] * torch.exp(-2 * (x**2 + y**2))
        return self.project(torch.stack([torch.ones_like(puff), puff], 1))


class Forces(Solver):
    r"""Drag and lift coefficients of the cylinder: the momentum that it takes from the fluid in the step from a state.

        C = 2 / dt sum_faces (1 - m) (v* - grad p) dx dy,   m = 0 at the cylinder's faces, v* before the projection

    Per length of the cylinder and in units of rho U^2 D / 2. What the faces of the cylinder hold before they are set to
    zero is taken from the fluid: by pressure -(1 - m) grad p, and (1 - m) v* by what viscosity, a force and advection
    bring there. Advection does so only at the corners of the staircase, from the open faces beside them: of the drag a
    trifle, of the lift about as much as viscosity, both far less than the pressure.

    Args:
        solver: whose step it is.

    Shapes: (batch, 2, x, y) -> (batch, 2): drag, lift.
    """

    required, optional = Wake.required, Wake.optional

    result_shape = 2,

    def __init__(self, solver: Wake):
        arguments.instance("Forces", "solver", solver, Wake, "the Wake whose step it is")
        super().__init__(None, solver.state_shape)
        self.solver = solver

    @like_state
    def step(self, v: Tensor, **parameters: Tensor) -> Tensor:
        moved = self.solver.moved(v, **parameters).double()
        taken = (moved - self.solver.pressure_gradient(moved)) * (1 - self.solver.open.to(moved))
        dx, dy = self.solver.dx
        return (2 / self.solver.dt * dx * dy * taken.sum((2, 3))).to(v.dtype)

    def check_parameters(self, **parameters: Tensor) -> None:
        self.solver.check_parameters(**parameters)


def vorticity(v: Tensor, dx: tuple[float, float]) -> Tensor:
    r"""Vorticity of a state of ``Wake`` at the corners of the cells inside the channel.

        w_ij = (v^y_{i+1,j} - v^y_ij) / dx - (v^x_ij - v^x_{i,j-1}) / dy     at x = (i + 1) dx, y = j dy

    Shapes: (..., 2, x, y) -> (..., 1, x - 1, y).   Units: [U / D].
    """
    if arguments.tensor("vorticity", "v", v, "(..., 2, x, y)").ndim < 3 or v.shape[-3] != 2:
        raise arguments.refusal("vorticity", "v", v, "a tensor (..., 2, x, y)", ValueError)
    dx = arguments.pair("vorticity", "dx", dx, arguments.positive, "two positive numbers, the cells' sides")
    across, along = v[..., 1:, :, :].diff(dim=-2), v[..., :1, :-1, :]
    return across / dx[0] - (along - along.roll(1, -1)) / dx[1]
