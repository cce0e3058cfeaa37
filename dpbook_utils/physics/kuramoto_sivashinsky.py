"""The Kuramoto-Sivashinsky equation.   Chapter: 03_unrolling."""

from math import factorial

import torch
from phiml import math
from phiml.math import batch, channel, spatial
from torch import Tensor

from .phiflow import like_state, precision_and_device
from .solver import Solver


def etd1(u, fft_nonlinear, dt, decay, phi1, phi2):
    """First-order exponential time differencing: the nonlinear term is held over the step.   Source: cox2002."""
    return _real(decay * math.fft(u) + dt * phi1 * fft_nonlinear(u))


def etdrk2(u, fft_nonlinear, dt, decay, phi1, phi2):
    """Second-order exponential Runge-Kutta: the nonlinear term varies linearly over the step.   Source: cox2002."""
    start = fft_nonlinear(u)
    guess = decay * math.fft(u) + dt * phi1 * start
    return _real(guess + dt * phi2 * (fft_nonlinear(_real(guess)) - start))


class KuramotoSivashinsky(Solver):
    r"""One step of the Kuramoto-Sivashinsky equation, periodic in x, in conservative form.

        u_t + (u^2 / 2)_x + u_xx + u_xxxx = 0

    Pseudo-spectral without dealiasing: linear terms exact, in Fourier space; a small wave k grows at the rate k^2 - k^4.

    Args:
        num_points: number of cells.
        dt: time step, taken in ``num_substeps`` equal parts.
        integrator: ``etdrk2`` (second order in time) or ``etd1`` (first order).
        num_substeps: number of parts.

    Shapes: (batch, 1, num_points) -> (batch, 1, num_points); length of the domain (batch,).
    Units: none; the equation is in its usual scaling, where waves shorter than 2 pi decay.
    Order: 2 or 1 in time, spectral in space. After 50 steps of dt 0.5 on 48 points in float64 the state equals exponax's
        (``KuramotoSivashinskyConservative``, ``dealiasing_fraction=1``) to 1e-10. The explicit nonlinear term bounds dt by the state's size.
    Raises: ValueError, TypeError as ``Solver``; ValueError for a length that is not positive or that the points do not resolve.
    Source: kassam2005.
    """

    required = ("length",)

    def __init__(self, num_points: int, dt: float, integrator=etdrk2, num_substeps: int = 1):
        super().__init__(dt, (1, num_points))
        if num_substeps < 1:
            raise ValueError(f"{type(self).__name__}: num_substeps is {num_substeps}; it must be at least 1")
        self.num_points, self.num_substeps, self.integrator = num_points, num_substeps, integrator

    def precompute(self, *, length: Tensor) -> dict[str, Tensor]:
        """Wave numbers of the derivative and the integrator's coefficients, each (batch, num_points)."""
        with precision_and_device(length):
            n = math.fftfreq(spatial(x=self.num_points), dx=1 / self.num_points).vector["x"]
            k = 2 * math.PI * n / math.wrap(length, batch("b"))
            # The highest wave of an even grid has no sign: its derivative is zero.
            wave_number = math.where(math.abs(n) < self.num_points / 2, k, 0)
            z = (k**2 - k**4) * (self.dt / self.num_substeps)
            phi1, phi2 = phi_functions(z)
            values = dict(wave_number=wave_number, decay=math.exp(z), phi1=phi1, phi2=phi2)
            return {name: value.native("b,x") for name, value in values.items()}

    @like_state
    def step(self, u: Tensor, **coefficients: Tensor) -> Tensor:
        wave_number, decay, phi1, phi2 = (math.wrap(coefficients[name], batch("b"), spatial("x"))
                                          for name in ("wave_number", "decay", "phi1", "phi2"))

        def fft_nonlinear(u):
            return -0.5j * wave_number * math.fft(u**2)

        values = math.wrap(u, batch("b"), channel("c"), spatial("x"))
        for _ in range(self.num_substeps):
            values = self.integrator(values, fft_nonlinear, self.dt / self.num_substeps, decay, phi1, phi2)
        return values.native("b,c,x")

    def check_parameters(self, *, length: Tensor) -> None:
        limit = torch.pi * self.num_points
        if not 0 < float(length.min()) <= float(length.max()) < limit:
            raise ValueError(f"{self.label}: length is {float(length.min()):g} ... {float(length.max()):g}; it must be positive and below "
                             f"pi num_points = {limit:g}, else no wave that decays is resolved. Change it, or take more points")


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


def _real(u_hat):
    return math.real(math.ifft(u_hat))
