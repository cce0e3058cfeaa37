r"""Schemes for the advection term, shared by all equations that have one.   Chapter: 09_choosing_the_numerics.

A scheme takes one forward Euler step of

    u_t + div(a u) = r

where r is the rest of the right-hand side. An equation says how fast its flux ``a u`` moves (``flux_speed`` a)
and how fast its values do (``velocity`` c): a = c for advection with a constant velocity, a = u/2 and c = u for
Burgers. The flux schemes are one divergence of face fluxes, written once, and a choice of how the flux at a face
follows from the cells beside it. Pass one of ``central``, ``upwind``, ``semi_lagrangian``, ``interpolated``.
"""

from collections.abc import Sequence

import torch
from phi.field import CenteredGrid
from phi.physics import advect
from phiml import math
from torch import Tensor

from .. import arguments
from .phiflow import PERIODIC


class FluxScheme:
    """Conservative finite differences: what leaves a cell enters its neighbour, so the sum over cells is kept."""

    needs_diffusion = False
    parameters: tuple[str, ...] = ()

    def face_flux(self, speed, u, next_speed, next_u):
        """Flux through the face between a cell and the next one along an axis."""
        raise NotImplementedError(f"{type(self).__name__} must implement face_flux(speed, u, next_speed, next_u)")

    def flux(self, speed, u, axis: str, **parameters):
        """Fluxes through the faces between each cell and the next one along an axis."""
        return self.face_flux(speed, u, shifted(speed, 1, axis), shifted(u, 1, axis))

    def __call__(self, u: CenteredGrid, flux_speed, velocity, rest, dt: float, **parameters):
        """Values of u after dt. The others are PhiML tensors; speeds have a vector dimension over the axes.

        Args:
            parameters: those that the scheme names in its attribute ``parameters``.
        """
        for axis in u.shape.spatial.names:
            speed = math.expand(flux_speed.vector[axis], u.shape.spatial)
            flux = self.flux(speed, u.values, axis, **parameters)
            rest = rest - (flux - shifted(flux, -1, axis)) / u.dx.vector[axis]
        return u.values + dt * rest

    def check(self, label: str, velocity: Tensor, name: str, diffusivity: Tensor, dt: float, spacing: Sequence[float]):
        """Raise ValueError if a step is unstable for the velocity (batch, axes, points), frozen in time."""


class Central(FluxScheme):
    r"""Mean of the two neighbours' fluxes; second order in space, no numerical diffusion of its own.

    Forward Euler takes diffusion away, ``dt c^2 / 2`` along each axis, so the scheme is unconditionally unstable
    without diffusion and stable for ``dt sum_d c_d^2 <= 2 nu`` and ``2 nu dt sum_d 1/dx_d^2 <= 1`` (necessary and
    sufficient for constant c). For a varying c the first condition uses the mean of c^2 over the domain, which is what
    long waves feel. Cells of Peclet number ``|c| dx / nu > 2`` are stable but show wiggles at steep fronts.

    For Burgers, whose fronts are steep, that is necessary and not sufficient. Of 64 random starts on 64 cells none
    blew up with a quarter of the limit, ``dt c^2 <= nu / 2``, in cells of Peclet number up to 16, up to 2 % with half
    of it and 41 % with all of it; in wider cells some do at any dt tried (32: 16 % with a quarter). ``upwind`` and
    ``semi_lagrangian`` never did. Measured by ``benchmarks.stability``.

    Source: hindmarsh1984.
    """

    needs_diffusion = True

    def face_flux(self, speed, u, next_speed, next_u):
        return (speed * u + next_speed * next_u) / 2

    def check(self, label, velocity, name, diffusivity, dt, spacing):
        required = dt * velocity.square().sum(1).mean(1) / 2
        if bool((required > diffusivity * (1 + 1e-6)).any()):
            worst = int((required - diffusivity).argmax())
            raise ValueError(
                f"{label}: central differences with forward Euler need {name} >= dt c^2 / 2 = "
                f"{float(required[worst]):.3g} m^2/s (c^2: mean square velocity), sample {worst} has "
                f"{float(diffusivity[worst]):.3g}; without diffusion they are unstable for every dt. "
                f"Lower dt, raise {name}, or build the solver with advection=upwind")
        _check_courant(label, velocity, 0 * diffusivity, dt, spacing)


class Interpolated(Central):
    r"""The flux at a face as a weighted sum of four cells' fluxes; the call says by how much it departs from central.

        F_{i + 1/2} = sum_j w_{j, i} (a u)_{i + j},   w_{., i} = (0, 1/2, 1/2, 0) + d_{., i} - mean_j d_{j, i}

    over j = -1, 0, 1, 2. Without d it is ``central``; other weights lean upwind or widen the stencil. They sum to one
    for every d, so a constant flux is kept and the scheme is consistent; whatever they are, it is conservative. No
    limit of stability is known for arbitrary weights: those of ``central`` are checked. In one dimension.

    Source: kochkov2021, who interpolate the values instead.   Chapter: 04_coupling.
    """

    parameters = ("interpolation",)
    offsets = (-1, 0, 1, 2)

    def flux(self, speed, u, axis, interpolation=None):
        flux = super().flux(speed, u, axis)
        if interpolation is not None:
            weights = interpolation - math.mean(interpolation, "stencil")
            flux += sum(weights.stencil[k] * shifted(speed * u, j, axis) for k, j in enumerate(self.offsets))
        return flux


class Upwind(FluxScheme):
    r"""Engquist-Osher flux; what moves right is taken from the left cell, what moves left from the right one.

    First order; adds numerical diffusion ``|c| dx / 2 (1 - |c| dt / dx)``. Conservative, so shocks have the right
    speed; monotone, hence stable, for ``dt sum_d (|c_d| / dx_d + 2 nu / dx_d^2) <= 1``.

    Source: engquist1981.
    """

    def face_flux(self, speed, u, next_speed, next_u):
        return math.maximum(speed, 0) * u + math.minimum(next_speed, 0) * next_u

    def check(self, label, velocity, name, diffusivity, dt, spacing):
        _check_courant(label, velocity, diffusivity, dt, spacing)


class SemiLagrangian:
    r"""Looks each value up where it came from, ``(u + dt r)(x - c dt)``, by linear interpolation (PhiFlow).

    First order at a fixed Courant number: the error is O(dt + dx^2 / dt). Stable for every c dt / dx, as no value
    exceeds the largest one looked up. It follows values, not fluxes: for Burgers the sum over cells is not kept and
    shocks move at a wrong speed, on every grid. Look-up positions are rounded, to 1e-7 of the domain in float32.

    Source: staniforth1991.
    """

    needs_diffusion = False
    parameters = ()

    def __call__(self, u: CenteredGrid, flux_speed, velocity, rest, dt: float):
        carrier = CenteredGrid(math.expand(velocity, u.shape.spatial), PERIODIC, bounds=u.bounds)
        return advect.semi_lagrangian(u.with_values(u.values + dt * rest), carrier, dt).values

    def check(self, label, velocity, name, diffusivity, dt, spacing):
        """Stable for every velocity."""


central, upwind, semi_lagrangian, interpolated = Central(), Upwind(), SemiLagrangian(), Interpolated()


def check_scheme(label: str, advection):
    """A scheme, of this module or alike. Raises TypeError for anything else, such as its name."""
    expected = "a scheme: central, upwind, semi_lagrangian or interpolated"
    arguments.function(label, "advection", advection, expected)
    if not all(hasattr(advection, name) for name in ("needs_diffusion", "parameters", "check")):
        raise arguments.refusal(label, "advection", advection, expected)
    return advection


def shifted(values, offset: int, axis: str):
    """The periodic neighbour's value at every cell: values[i + offset]."""
    if offset == 0:
        return values
    return math.shift(values, (offset,), axis, padding=PERIODIC, stack_dim=None)[0]


def check_diffusion(label: str, name: str, diffusivity: Tensor, dt: float, spacing: Sequence[float]) -> None:
    """Raise ValueError outside ``0 <= nu <= 1 / (2 dt sum_d 1/dx_d^2)``, explicit diffusion's limit for all schemes."""
    inverse = sum(1 / dx**2 for dx in spacing)
    limit = 1 / (2 * dt * inverse)
    lowest, highest = float(diffusivity.min()), float(diffusivity.max())
    if lowest < 0 or highest > limit * (1 + 1e-6):
        longest = 1 / (2 * highest * inverse) if highest > 0 else dt
        advice = "make it positive" if lowest < 0 else f"lower it, or build the solver with dt <= {longest:g}"
        formula = "dx^2 / (2 dt)" if len(spacing) == 1 else "1 / (2 dt (1/dx^2 + 1/dy^2))"
        raise ValueError(f"{label}: {name} is {lowest:g} ... {highest:g} m^2/s, stable is 0 ... {formula} = {limit:g}; "
                         f"{advice}")


def _check_courant(label: str, velocity: Tensor, diffusivity: Tensor, dt: float, spacing: Sequence[float]) -> None:
    dx = torch.tensor(spacing, dtype=velocity.dtype, device=velocity.device)
    rate = (velocity.abs() / dx[:, None]).sum(1).amax(1) + 2 * diffusivity * (1 / dx**2).sum()  # (batch,)
    worst = int(rate.argmax())
    if float(rate[worst]) * dt > 1 + 1e-6:
        diffusion = " + 2 nu / dx^2" if bool((diffusivity > 0).any()) else ""
        raise ValueError(f"{label}: dt (|c| / dx{diffusion}) is {float(rate[worst]) * dt:.3g} in sample {worst}, "
                         f"stable is at most 1; build the solver with dt <= {1 / float(rate[worst]):.3g}, "
                         "or with advection=semi_lagrangian")
