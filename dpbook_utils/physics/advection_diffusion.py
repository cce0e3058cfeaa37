"""Advection and diffusion of a scalar; without a velocity, the heat equation.   Chapter: 09_choosing_the_numerics."""

from collections.abc import Sequence

from phi import field, math
from phiml.math import batch, channel
from torch import Tensor

from .. import arguments
from .advection import central, check_diffusion, check_scheme
from .phiflow import box, centered, from_centered, like_state, per_sample
from .solver import Solver


class AdvectionDiffusion(Solver):
    r"""One step of advection with a constant velocity, diffusion and a source, periodic in one or two dimensions.

        u_t + c . grad(u) = nu laplace(u) + f

    Args:
        num_points: number of cells; (x, y) in two dimensions.
        length: of the domain; (x, y) in two dimensions.
        dt: time step.
        advection: ``central``, ``upwind`` or ``semi_lagrangian``, whose docstrings state orders and limits.

    Shapes: (batch, 1, *spatial) -> (batch, 1, *spatial); diffusivity (batch,); velocity (batch,) in 1D, (batch, 2) in
        2D; force (batch, 1, *spatial). Without a velocity this is the heat equation.
    Units: length [m], dt [s], u [any], diffusivity nu [m^2/s], velocity c [m/s], force f [u/s].
    Order: 1 in time (forward Euler); in space 2 (central) or 1.
    Stable: 2 nu dt sum_d 1/dx_d^2 <= 1 and the scheme's limit.
    Behaviour: a wave k travels with c and decays as exp(-nu k^2 t); the mean stays.
    Good values: num_points 64, length 1, dt 0.002, diffusivity 0.005 ... 0.05, velocity -1 ... 1, with every scheme. In
        two dimensions num_points (64, 64), length (1, 1), dt 0.001 and the same diffusivity and velocity.
    Raises: ValueError, TypeError as ``Solver``; ValueError for a diffusivity or velocity out of the stable range.
    """

    required = ("diffusivity",)
    optional = ("velocity", "force")

    def __init__(self, num_points: int | Sequence[int], length: float | Sequence[float], dt: float, advection=central):
        points = arguments.one_per_axis(self.label, "num_points", num_points, arguments.whole,
                                        "a whole number of at least 1, or two (x, y)")
        self.length = arguments.one_per_axis(self.label, "length", length, arguments.positive,
                                             "a positive number, or two (x, y)")
        if len(points) != len(self.length):
            raise ValueError(f"{self.label}: num_points is {num_points} and length {length}; give one value each, or "
                             "two each (x, y)")
        super().__init__(arguments.positive(self.label, "dt", dt), (1, *points))
        self.dx = tuple(extent / n for extent, n in zip(self.length, points))
        self.advection = check_scheme(self.label, advection)

    def parameter_shape(self, name: str) -> tuple[int, ...]:
        return (2,) if name == "velocity" and len(self.length) == 2 else super().parameter_shape(name)

    @like_state
    def step(self, u: Tensor, *, diffusivity: Tensor, velocity: Tensor | None = None,
             force: Tensor | None = None) -> Tensor:
        axes = "xy"[:len(self.length)]
        domain = box(dict(zip(axes, self.length)))
        scalar = centered(u, domain)
        rest = per_sample(diffusivity) * field.laplace(scalar).values
        if force is not None:
            rest = rest + centered(force, domain).values
        if velocity is None:
            return from_centered(scalar.with_values(scalar.values + self.dt * rest))
        c = math.wrap(velocity.reshape(-1, len(axes)), batch("b"), channel(vector=",".join(axes)))
        return from_centered(scalar.with_values(self.advection(scalar, c, c, rest, self.dt)))

    def check_parameters(self, *, diffusivity: Tensor, velocity: Tensor | None = None,
                         force: Tensor | None = None) -> None:
        check_diffusion(self.label, "diffusivity", diffusivity, self.dt, self.dx)
        if velocity is not None:
            everywhere = velocity.reshape(-1, len(self.dx), 1)  # (batch, axes, points)
            self.advection.check(self.label, everywhere, "diffusivity", diffusivity, self.dt, self.dx)
