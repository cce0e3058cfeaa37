"""The viscous Burgers equation.   Chapter: 00_solver_as_operator."""

from phi import field, math
from torch import Tensor

from .phiflow import PERIODIC, box, centered, from_centered, like_state, per_sample
from .solver import Solver


class Burgers(Solver):
    r"""One step of the viscous Burgers equation, periodic in x.

        u_t + (u^2 / 2)_x = nu u_xx + f

    Shapes: (batch, 1, num_points) -> (batch, 1, num_points); viscosity (batch,); force (batch, 1, num_points).
    Units: length [m], dt [s], u [m/s], viscosity nu [m^2/s], force f [m/s^2].
    """

    required = ("viscosity",)
    optional = ("force",)

    def __init__(self, num_points: int, length: float, dt: float):
        super().__init__(dt, (1, num_points))
        self.length = float(length)
        self.dx = self.length / num_points

    @like_state
    def step(self, u: Tensor, *, viscosity: Tensor, force: Tensor | None = None) -> Tensor:
        velocity = centered(u, box({"x": self.length}))
        left, right = math.shift(velocity.values**2 / 2, (-1, 1), "x", padding=PERIODIC, stack_dim=None)
        rate = per_sample(viscosity) * field.laplace(velocity).values - (right - left) / (2 * self.dx)
        u_next = from_centered(velocity.with_values(velocity.values + self.dt * rate))
        return u_next if force is None else u_next + self.dt * force

    def check_parameters(self, *, viscosity: Tensor, force: Tensor | None = None) -> None:
        limit = self.dx**2 / (2 * self.dt)
        lowest, highest = float(viscosity.min()), float(viscosity.max())
        if lowest < 0 or highest > limit:
            raise ValueError(f"{self.label}: viscosity is {lowest:g} ... {highest:g} m^2/s, stable is 0 ... dx^2 / (2 dt) = {limit:g}; "
                             f"lower it, or build the solver with dt <= {self.dx**2 / (2 * highest):g}")
