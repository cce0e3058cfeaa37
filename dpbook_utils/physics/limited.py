r"""A second-order upwind scheme for the advection term: limited slopes.   Chapter: 09_choosing_the_numerics."""

from phiml import math

from .advection import Upwind, shifted

TINY = 1e-20  # keeps 0 / 0 away, and is far below any product of two differences that a state has


def van_leer(behind, ahead):
    """The harmonic mean of the differences to the two neighbours, zero where they have different signs.

    Source: vanleer1974.
    """
    a, b = math.abs(behind), math.abs(ahead)
    return (behind * b + a * ahead) / (a + b + TINY)


class Limited(Upwind):
    r"""The flux of ``upwind`` between values reconstructed at the faces, half a time step ahead (MUSCL-Hancock).

        u_{i, +-} = u_i +- s_i / 2 - dt / (2 dx) c_i s_i,   s_i = slope(u_i - u_{i-1}, u_{i+1} - u_i)

    The speed of the flux is reconstructed in the same way, and the Engquist-Osher flux of the values on both sides of a
    face goes through it. ``upwind`` is this with slopes of zero. Where the state has an extremum the slope is zero, so
    that none is made; there the scheme is of first order, elsewhere of second in space, and in time for the
    advection. Conservative. Stable, as ``upwind``, for ``dt sum_d (|c_d| / dx_d + 2 nu / dx_d^2) <= 1``.

    Args:
        slope: of a cell, from the differences to its two neighbours; ``van_leer`` by default.

    Source: vanleer1974, toro2009.
    """

    def __init__(self, slope=van_leer):
        if not callable(slope) or isinstance(slope, type):
            raise TypeError(f"Limited: slope is {slope!r}; give a function of the differences to the two neighbours, "
                            "such as van_leer")
        self.slope = slope

    def __call__(self, u, flux_speed, velocity, rest, dt, **parameters):
        for axis in u.shape.spatial.names:
            courant = math.expand(velocity.vector[axis], u.shape.spatial) * dt / u.dx.vector[axis]
            speed = math.expand(flux_speed.vector[axis], u.shape.spatial)
            (speed_left, speed_right), (u_left, u_right) = (
                self.at_faces(values, courant, axis) for values in (speed, u.values))
            flux = self.face_flux(speed_left, u_left, speed_right, u_right)
            rest = rest - (flux - shifted(flux, -1, axis)) / u.dx.vector[axis]
        return u.values + dt * rest

    def at_faces(self, values, courant, axis: str):
        """On the left and on the right side of the face between each cell and the next one, half a step ahead."""
        ahead = shifted(values, 1, axis) - values
        slope = self.slope(shifted(ahead, -1, axis), ahead)
        upper, lower = values + slope * (1 - courant) / 2, values - slope * (1 + courant) / 2
        return upper, shifted(lower, 1, axis)


limited = Limited()
