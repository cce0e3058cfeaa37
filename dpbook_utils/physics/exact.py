r"""Exact solutions, for tests and figures alike.

A solution is a small object: ``solution(x, t)`` is the state ``(1, channels, *spatial)`` in float64 at the points
``x``, usually ``cell_centres(...)`` of the solver's grid, and at time ``t``; TypeError or ValueError for other points.
Chapter: 09_choosing_the_numerics.
"""

from dataclasses import dataclass
from math import ceil, pi, sqrt

import torch
from torch import Tensor

from .. import arguments


def cell_centres(num_points: int | tuple[int, ...], length: float | tuple[float, ...]) -> Tensor:
    """(axes, *num_points) float64: where cell-centred states are given, (i + 1/2) dx along each axis."""
    points = (num_points,) if isinstance(num_points, int) else num_points
    lengths = length if isinstance(length, tuple) else (length,) * len(points)
    axes = [(torch.arange(n, dtype=torch.float64) + 0.5) * extent / n
            for n, extent in zip(points, lengths, strict=True)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def lower_faces(num_points: tuple[int, ...], length: tuple[float, ...]) -> Tensor:
    """(axes, axes, *num_points) float64: entry c holds the points of component c of a staggered velocity.

    They are the lower faces of axis c: the cell centres, half a cell down along c.
    """
    x = cell_centres(num_points, length)
    half_cells = torch.tensor([extent / n / 2 for n, extent in zip(num_points, length)], dtype=torch.float64).diag()
    return x - half_cells.reshape(*half_cells.shape, *(1,) * len(num_points))


def _points(solution, x: Tensor, *shape: int) -> Tensor:
    """The points, of this beginning of a shape and then one axis for each of space."""
    label, expected = type(solution).__name__, f"({', '.join(map(str, shape))}, *points)"
    arguments.tensor(label, "x", x, f"{expected}, as from cell_centres(...)")
    if x.shape[:len(shape)] != shape or x.ndim != len(shape) + shape[0]:
        raise ValueError(f"{label}: x has shape {tuple(x.shape)}; give points {expected}, as from "
                         f"{'lower_faces' if len(shape) > 1 else 'cell_centres'}(...)")
    return x


@dataclass(frozen=True)
class FourierMode:
    r"""A wave carried and damped: advection-diffusion, or the heat equation without a velocity, in any dimension.

        u_t + c . grad(u) = nu laplace(u),   u = mean + amplitude e^(-nu |k|^2 t) sin(k . (x - c t) + phase)

    Attributes:
        wave_numbers: k [1/m], one per axis; 2 pi times a whole number over the length fits a periodic domain.
        diffusivity: nu [m^2/s].
        velocity: c [m/s], one per axis; empty for none.
        amplitude, mean, phase: of the initial wave.

    Source: any text on Fourier series; checked in the tests by its residual.
    """

    wave_numbers: tuple[float, ...]
    diffusivity: float
    velocity: tuple[float, ...] = ()
    amplitude: float = 1.0
    mean: float = 0.0
    phase: float = 0.0

    def __call__(self, x: Tensor, t: float) -> Tensor:
        x = _points(self, x, len(self.wave_numbers))
        velocity = self.velocity or (0.0,) * len(self.wave_numbers)
        angle = sum(k * (axis - c * t) for k, c, axis in zip(self.wave_numbers, velocity, x, strict=True)) + self.phase
        decay = torch.tensor(-self.diffusivity * sum(k**2 for k in self.wave_numbers) * t, dtype=torch.float64).exp()
        return (self.mean + self.amplitude * decay * angle.sin())[None, None]


@dataclass(frozen=True)
class ColeHopf:
    r"""Viscous Burgers from a sine wave on a mean flow, for every viscosity and time.

        u_t + (u^2 / 2)_x = nu u_xx,   u(x, 0) = mean + amplitude sin(k x)

    The Cole-Hopf transformation turns it into the heat equation. Its solution is a mean of initial values over where
    they came from,

        u(x, t) = int u(y, 0) w dy / int w dy,   w = exp(-(x - y)^2 / (4 nu t) - int_0^y u(z, 0) dz / (2 nu)),

    with positive weights: no digits cancel, unlike in its Fourier series, which fails for amplitude / (nu k) > 30.

    Attributes:
        wave_number: k [1/m].   viscosity: nu [m^2/s], positive.   amplitude, mean: [m/s].

    Source: cole1951.
    """

    wave_number: float
    viscosity: float
    amplitude: float = 1.0
    mean: float = 0.0

    def __post_init__(self):
        arguments.positive("ColeHopf", "viscosity", self.viscosity)
        arguments.positive("ColeHopf", "wave_number", self.wave_number)

    def __call__(self, x: Tensor, t: float) -> Tensor:
        points = _points(self, x, 1)[0]
        if t == 0:
            return self._initial(points)[None, None]
        # y = x - s sqrt(4 nu t); the weights peak at s = u t / sqrt(4 nu t) and are narrowest where the wave spreads.
        width = sqrt(4 * self.viscosity * t)
        reach = 7 + (abs(self.mean) + abs(self.amplitude)) * t / width
        spacing = 0.2 / sqrt(1 + abs(self.amplitude * self.wave_number) * t)
        s = torch.linspace(-reach, reach, 2 * ceil(reach / spacing) + 1, dtype=torch.float64)
        y = points[:, None] - s * width
        potential = self.mean * y - self.amplitude / self.wave_number * (self.wave_number * y).cos()
        weights = torch.softmax(-s**2 - potential / (2 * self.viscosity), 1)
        return (weights * self._initial(y)).sum(1)[None, None]

    def _initial(self, x: Tensor) -> Tensor:
        return self.mean + self.amplitude * (self.wave_number * x).sin()


@dataclass(frozen=True)
class Sawtooth:
    r"""Burgers without viscosity: a ramp that flattens, and a shock that moves at the mean of the values beside it.

        u_t + (u^2 / 2)_x = 0,   u = mean + slope xi / (1 + slope t)

    with xi = x - mean t, folded into [-length/2, length/2).
    The shock is where xi jumps, at x = length / 2 + mean t; a scheme that does not conserve mass misplaces it.

    Attributes:
        length: of the periodic domain [m].   slope: of the initial ramp [1/s], positive.   mean: [m/s].

    Source: whitham1974.
    """

    length: float
    slope: float
    mean: float = 0.0

    def __call__(self, x: Tensor, t: float) -> Tensor:
        half = self.length / 2
        xi = torch.remainder(_points(self, x, 1)[0] - self.mean * t + half, self.length) - half
        return (self.mean + self.slope * xi / (1 + self.slope * t))[None, None]


@dataclass(frozen=True)
class TaylorGreen:
    r"""Vortices that a mean flow carries along while they decay: incompressible Navier-Stokes in a periodic box.

        v_t + (v . grad) v = -grad p + nu laplace v,   div v = 0
        v^x = m^x + a cos(k^x xi) sin(k^y eta),   v^y = m^y - a (k^x / k^y) sin(k^x xi) cos(k^y eta)

    with (xi, eta) = (x, y) - m t and a = A e^(-nu |k|^2 t). The vortices' own advection is a pressure gradient; that by
    the mean flow is not.
    Here ``x`` is ``lower_faces(...)``: component c of the result is at the points x[c].

    Attributes:
        wave_numbers: k [1/m]; 2 pi times a whole number over the length fits a periodic box.
        viscosity: nu [m^2/s].   amplitude: A [m/s].   mean: m [m/s].

    Source: taylor1937.
    """

    wave_numbers: tuple[float, float]
    viscosity: float
    amplitude: float = 1.0
    mean: tuple[float, float] = (0.0, 0.0)

    def __call__(self, x: Tensor, t: float) -> Tensor:
        kx, ky = self.wave_numbers
        mx, my = self.mean
        decay = self.amplitude * torch.tensor(-self.viscosity * (kx**2 + ky**2) * t, dtype=torch.float64).exp()
        (x_of_x, y_of_x), (x_of_y, y_of_y) = _points(self, x, 2, 2)
        along_x = mx + decay * (kx * (x_of_x - mx * t)).cos() * (ky * (y_of_x - my * t)).sin()
        along_y = my - decay * kx / ky * (kx * (x_of_y - mx * t)).sin() * (ky * (y_of_y - my * t)).cos()
        return torch.stack([along_x, along_y])[None]


def kuramoto_sivashinsky_growth_rate(wave_number: float | Tensor) -> float | Tensor:
    """``k^2 - k^4``: waves longer than 2 pi grow, k = 1/sqrt(2) fastest, by 1/4 per unit of time.

    Source: kassam2005.
    """
    return wave_number**2 - wave_number**4


@dataclass(frozen=True)
class GrowingMode:
    r"""A small wave of the Kuramoto-Sivashinsky equation, exact to O(amplitude^2) while it is small.

        u_t + u_xx + u_xxxx = 0,   u = amplitude e^((k^2 - k^4) t) sin(k x)

    Attributes:
        length: of the periodic domain.   mode: whole number of waves in it, k = 2 pi mode / length.
        amplitude: of the initial wave.

    Source: kassam2005.
    """

    length: float
    mode: int
    amplitude: float = 1e-6

    def __call__(self, x: Tensor, t: float) -> Tensor:
        k = 2 * pi * self.mode / self.length
        growth = torch.tensor(kuramoto_sivashinsky_growth_rate(k) * t, dtype=torch.float64).exp()
        return (self.amplitude * growth * (k * _points(self, x, 1)[0]).sin())[None, None]
