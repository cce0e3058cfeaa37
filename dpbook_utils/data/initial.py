"""Initial conditions: random smooth functions and velocities.   Chapters: 02_solver_as_data, 03_unrolling.

Random functions are drawn as Fourier coefficients, so that one seed gives the same function on every grid: a fine
reference and a coarse solver start from the same state.
"""

import itertools
import math

import numpy as np
import torch
from torch import Tensor

from .. import arguments

Seed = int | torch.Generator | np.random.Generator


def random_fourier(num_samples: int, num_points: int | tuple[int, ...], *, modes: int, seed: Seed,
                   decay: float = 0.0, dtype: torch.dtype = torch.float32) -> Tensor:
    r"""Random smooth periodic functions with zero mean and standard deviation 1, in one or more dimensions.

        u(x) = sum_{0 < |k| <= modes} |k|^{-decay} (a_k cos(2 pi k.x / L) + b_k sin(2 pi k.x / L)) / s,
        a_k, b_k ~ N(0, 1)

    over wave vectors k of whole numbers, one of each pair (k, -k). s makes the mean of u^2 over the box 1 for every
    sample, so ``0.5 * random_fourier(...)`` has standard deviation 0.5. Values are at cell centres
    x_i = (i + 1/2) L / num_points. The same seed on another grid samples the same functions.

    Args:
        num_points: cells per axis; a whole number for one dimension.
        modes: largest |k|; fewer than num_points / 2.
        seed: a whole number, or a generator of torch (on the CPU) or NumPy to draw from.
        decay: 0 gives all modes the same expected amplitude; larger values give smoother functions.

    Shapes: -> (num_samples, 1, *spatial).
    Raises: ValueError for modes that the grid does not resolve.
    """
    label = "random_fourier"
    shape = arguments.one_per_axis(label, "num_points", num_points, arguments.whole, "a whole number of cells, or one "
                                   "for each of up to 3 axes", most=3)
    arguments.dtype(label, "dtype", dtype)
    vectors, a, b = _coefficients(label, num_samples, shape, modes, seed, decay)
    rms = ((a.square() + b.square()).sum(1, keepdim=True) / 2).sqrt()
    centres = [(torch.arange(n, dtype=torch.float64) + 0.5) / n for n in shape]
    return _evaluate(vectors, a / rms, b / rms, centres).unsqueeze(1).to(dtype)


def random_velocity(num_samples: int, num_points: tuple[int, int], *, modes: int, seed: Seed,
                    lengths: tuple[float, float] = (1.0, 1.0), dtype: torch.dtype = torch.float32) -> Tensor:
    r"""Random divergence-free velocities on the periodic staggered grid, with root-mean-square speed close to 1 [m/s].

        v = (d psi / dy, -d psi / dx),   psi a random Fourier sum, its coefficients divided by the wave number

    psi is sampled at the cells' lower corners and differentiated by differences, so that the discrete divergence
    (v_x[i+1,j] - v_x[i,j]) / dx + (v_y[i,j+1] - v_y[i,j]) / dy is zero to rounding. The speed of the continuous field
    is 1; differences damp wave number k by about (pi k / num_points)^2 / 6.

    Args:
        num_points: cells along x and y.
        modes: largest |k|, in waves per box; fewer than half of num_points.
        lengths: of the box along x and y [m].

    Shapes: -> (num_samples, 2, x, y); component c on the lower faces of axis c.
    Raises: ValueError for modes that the grid does not resolve.
    """
    label = "random_velocity"
    num_points = arguments.pair(label, "num_points", num_points, arguments.whole, "two whole numbers, cells along x "
                                "and y")
    lengths = arguments.pair(label, "lengths", lengths, arguments.positive, "two positive numbers, the sides (Lx, Ly)")
    arguments.dtype(label, "dtype", dtype)
    vectors, a, b = _coefficients(label, num_samples, num_points, modes, seed, 0.0)
    wave_number = 2 * math.pi * (vectors / torch.tensor(lengths, dtype=torch.float64)).norm(dim=1)
    speed = ((a.square() + b.square()).sum(1, keepdim=True) / 2).sqrt()
    corners = [torch.arange(n, dtype=torch.float64) / n for n in num_points]
    psi = _evaluate(vectors, a / speed / wave_number, b / speed / wave_number, corners)  # (num_samples, x, y)
    dx, dy = (length / n for length, n in zip(lengths, num_points))
    along_x, along_y = (torch.roll(psi, -1, axis) - psi for axis in (1, 2))
    return torch.stack([along_y / dy, -along_x / dx], 1).to(dtype)


def _coefficients(label: str, num_samples: int, shape: tuple[int, ...], modes: int, seed: Seed, decay: float):
    """Wave vectors (K, dimensions) and coefficients a, b (num_samples, K); they do not depend on the grid."""
    num_samples = arguments.whole(label, "num_samples", num_samples)
    modes, decay = arguments.whole(label, "modes", modes, 0), arguments.number(label, "decay", decay)
    if not isinstance(seed, (torch.Generator, np.random.Generator)):
        seed = arguments.whole(label, "seed", seed, 0)
    if not 1 <= modes < min(shape) / 2:
        raise ValueError(f"{label}: modes is {modes}, but {min(shape)} points resolve 1 ... {(min(shape) - 1) // 2}; "
                         "lower it or use more points")
    vectors = [k for k in itertools.product(range(-modes, modes + 1), repeat=len(shape))
               if k > (0,) * len(shape) and sum(i * i for i in k) <= modes**2]
    vectors = torch.tensor(vectors, dtype=torch.float64)
    amplitude = vectors.norm(dim=1) ** -decay
    a, b = _normal(2, num_samples, len(vectors), seed=seed) * amplitude
    return vectors, a, b


def _normal(*shape: int, seed: Seed) -> Tensor:
    if isinstance(seed, np.random.Generator):
        return torch.from_numpy(seed.standard_normal(shape))
    generator = seed if isinstance(seed, torch.Generator) else torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def _evaluate(vectors: Tensor, a: Tensor, b: Tensor, points: list[Tensor]) -> Tensor:
    """sum_k a_k cos(2 pi k.x) + b_k sin(2 pi k.x) on the grid of points, as the real part of a product over axes."""
    waves = [torch.exp(2j * math.pi * k[:, None] * x) for k, x in zip(vectors.T, points)]  # each (K, points)
    letters = "xyz"[:len(points)]
    product = "bk," + ",".join("k" + letter for letter in letters) + "->b" + letters
    return torch.einsum(product, torch.complex(a, -b), *waves).real
