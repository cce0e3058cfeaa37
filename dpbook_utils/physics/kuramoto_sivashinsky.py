"""The Kuramoto-Sivashinsky equation.   Chapter: 03_unrolling."""

import warnings
from math import factorial

import torch
from phiml import math
from phiml.math import batch, channel, spatial
from torch import Tensor

from .. import arguments
from .phiflow import like_state, precision_and_device
from .solver import Solver

# Of etdrk2, measured by benchmarks.stability on developed states.
LONGEST_SUBSTEP, LONGEST_DRIFT = 0.6, 0.125  # the second one: way of the mean velocity in a sub-step


def etd1(u, linear, product, correction):
    """First-order exponential time differencing: u^2 is held over the step.   Source: cox2002."""
    return _inverse(linear * math.fft(u) + product * math.fft(u * u))


def etdrk2(u, linear, product, correction):
    """Second-order exponential Runge-Kutta: u^2 varies linearly over the step.   Source: cox2002."""
    guess = etd1(u, linear, product, correction)
    return guess + _inverse(correction * math.fft(guess * guess - u * u))


class KuramotoSivashinsky(Solver):
    r"""One step of the Kuramoto-Sivashinsky equation, periodic in x, in conservative form.

        u_t + (u^2 / 2)_x + u_xx + u_xxxx = 0

    Pseudo-spectral without dealiasing; linear terms are exact, so that a small wave k grows at the rate k^2 - k^4.

    Args:
        num_points: number of cells.
        dt: time step, taken in ``num_substeps`` equal parts.
        integrator: ``etdrk2`` (second order in time) or ``etd1`` (first order).
        num_substeps: number of parts.

    Shapes: (batch, 1, x) -> (batch, 1, x); length of the domain (batch,).
    Units: none; the equation is in its usual scaling, where waves shorter than 2 pi decay.
    Order: 2 or 1 in time, spectral in space.
    Stable: length <= pi/2 num_points, where waves up to k = 2, the products of two growing ones, are resolved; on a
        domain longer by 5 % every developed state (|u| about 3) blows up, however short the step. The explicit
        nonlinear term bounds the sub-step: none of 64 starts blew up in 400 units of time with up to 0.6 (``etdrk2``)
        or 0.0625 (``etd1``; 0.125 on cells up to 1.4); with 0.7, one in ten did on the longest domain, and with 0.5 all
        of ``etd1``. All this with a mean velocity U near zero: none blew up with |U| sub-step up to 0.125, all did with
        1. Subtract U; from a moving frame the equation is the same. Measured by ``benchmarks.stability``.
    Behaviour: beyond length 2 pi small waves grow; cells of a size near 9, |u| about 3, form, split and merge, without
        end. Chaos parts neighbours by a factor e in 19 units of time at length 22, in 9 at length 75.
    Good values: num_points 48, length 22 ... 75, dt 0.5 ... 1, num_substeps 2, from a few waves of size 1, the first
        100 units of time dropped. ``etd1`` with dt 0.5 and num_substeps 8; with fewer it is for a network to correct.
    Agrees with: exponax's ``KuramotoSivashinskyConservative`` with ``dealiasing_fraction=1`` to rounding, which chaos
        amplifies, for states without the highest wave of an even grid; exponax drops that wave before it squares.
    Raises: ValueError, TypeError as ``Solver``; ValueError for a length that is not positive or out of the stable
        range. Warns of a sub-step, or a roll-out's initial mean velocity, with which ``etdrk2`` is known to blow up;
        ``etd1`` is the coarse solver that a network corrects.
    Source: kassam2005.
    """

    required = ("length",)

    def __init__(self, num_points: int, dt: float, integrator=etdrk2, num_substeps: int = 1):
        self.num_points = arguments.whole(self.label, "num_points", num_points)
        super().__init__(arguments.positive(self.label, "dt", dt), (1, self.num_points))
        self.num_substeps = arguments.whole(self.label, "num_substeps", num_substeps)
        self.integrator = arguments.function(self.label, "integrator", integrator, "etdrk2 or etd1")
        if integrator is etdrk2 and self.dt / self.num_substeps > LONGEST_SUBSTEP * (1 + 1e-6):
            warnings.warn(f"{self.label}: sub-steps of {self.dt / self.num_substeps:g}; etdrk2 has been seen to blow "
                          f"up on developed states with sub-steps longer than {LONGEST_SUBSTEP:g}. Take more "
                          "sub-steps", stacklevel=2)

    def precompute(self, *, length: Tensor) -> dict[str, Tensor]:
        """Operators in Fourier space that act on u and on u^2, each (batch, 1, num_points)."""
        with precision_and_device(length):
            dt = self.dt / self.num_substeps
            n = math.fftfreq(spatial(x=self.num_points), dx=1 / self.num_points).vector["x"]
            k = 2 * math.PI * n / math.wrap(length, batch("b"))
            z = (k**2 - k**4) * dt
            phi1, phi2 = phi_functions(z)
            # The highest wave of an even grid has no sign: its derivative is zero.
            half_derivative = math.where(math.abs(n) < self.num_points / 2, -0.5j * k, 0)
            operators = dict(linear=math.to_complex(math.exp(z)), product=dt * phi1 * half_derivative,
                             correction=dt * phi2 * half_derivative)
            return {name: math.expand(operator, channel(c=1)).native("b,c,x") for name, operator in operators.items()}

    @like_state
    def step(self, u: Tensor, **operators: Tensor) -> Tensor:
        dims = batch("b"), channel("c"), spatial("x")
        values = math.wrap(u, *dims)
        operators = {name: math.wrap(operator, *dims) for name, operator in operators.items()}
        for _ in range(self.num_substeps):
            values = self.integrator(values, **operators)
        return values.native("b,c,x")

    def check_parameters(self, *, length: Tensor) -> None:
        limit, lowest, highest = torch.pi / 2 * self.num_points, float(length.min()), float(length.max())
        if not 0 < lowest <= highest <= limit * (1 + 1e-6):
            raise ValueError(f"{self.label}: length is {lowest:g} ... {highest:g}; it must be positive and at most "
                             f"pi/2 num_points = {limit:g}, else the products of growing waves are not resolved and "
                             "developed states blow up. Change it, or take more points")

    def check_state(self, u: Tensor, *, length: Tensor) -> None:
        substep, mean = self.dt / self.num_substeps, float(u.mean(2).abs().max())
        if self.integrator is etdrk2 and mean * substep > LONGEST_DRIFT:
            warnings.warn(f"{self.label}: the mean velocity is {mean:.3g}; with sub-steps of {substep:g} etdrk2 has "
                          f"been seen to blow up beyond {LONGEST_DRIFT / substep:.3g}. Subtract the mean (a moving "
                          "frame changes nothing else), or take more sub-steps", stacklevel=2)


def phi_functions(z):
    r"""``phi1 = (e^z - 1) / z`` and ``phi2 = (e^z - 1 - z) / z^2``, accurate with their derivatives for every real z.

    The formulas lose all digits at z = 0, where k = 0 and k = 1 lie: below |z| = 1 the Taylor series takes over.
    """
    near = math.abs(z) < 1
    small, large = math.where(near, z, 0), math.where(near, 1, z)
    series = 0
    for n in range(18, 1, -1):
        series = series * small + 1 / factorial(n)
    direct = (math.exp(large) - 1) / large
    return math.where(near, 1 + small * series, direct), math.where(near, series, (direct - 1) / large)


def _inverse(u_hat):
    return math.real(math.ifft(u_hat))
