"""Initial conditions, trajectories and windows of them.   Chapters: 02_solver_as_data, 03_unrolling.

Random functions are drawn as Fourier coefficients, so that one seed gives the same function on every grid: a fine
reference and a coarse solver start from the same state.
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from .physics.solver import select
from .rollout import Rollout


def random_fourier(num_samples: int, num_points: int | tuple[int, ...], *, modes: int, seed: int | torch.Generator,
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
        seed: a whole number, or a CPU generator to draw from.
        decay: 0 gives all modes the same expected amplitude; larger values give smoother functions.

    Shapes: -> (num_samples, 1, *num_points).
    Raises: ValueError for modes that the grid does not resolve.
    """
    shape = (num_points,) if isinstance(num_points, int) else tuple(num_points)
    vectors, a, b = _coefficients(num_samples, shape, modes, seed, decay)
    rms = ((a.square() + b.square()).sum(1, keepdim=True) / 2).sqrt()
    centres = [(torch.arange(n, dtype=torch.float64) + 0.5) / n for n in shape]
    return _evaluate(vectors, a / rms, b / rms, centres).unsqueeze(1).to(dtype)


def random_velocity(num_samples: int, num_points: tuple[int, int], *, modes: int, seed: int | torch.Generator,
                    decay: float = 0.0, lengths: tuple[float, float] = (1.0, 1.0),
                    dtype: torch.dtype = torch.float32) -> Tensor:
    r"""Random divergence-free velocities on the periodic staggered grid, with root-mean-square speed close to 1 [m/s].

        v = (d psi / dy, -d psi / dx),   psi a random Fourier sum, its coefficients divided by the wave number

    psi is sampled at the cells' lower corners and differentiated by differences, so that the discrete divergence
    (v_x[i+1,j] - v_x[i,j]) / dx + (v_y[i,j+1] - v_y[i,j]) / dy is zero to rounding. The speed of the continuous field
    is 1; differences damp wave number k by about (pi k / num_points)^2 / 6.

    Args:
        num_points: cells along x and y.
        modes: largest |k|, in waves per box; fewer than half of num_points.
        decay: 0 gives all modes the same expected speed; larger values give larger eddies.
        lengths: of the box along x and y [m].

    Shapes: -> (num_samples, 2, x, y); component c on the lower faces of axis c, as in ``physics.phiflow.staggered``.
    Raises: ValueError for modes that the grid does not resolve.
    """
    vectors, a, b = _coefficients(num_samples, tuple(num_points), modes, seed, decay)
    wave_number = 2 * math.pi * (vectors / torch.tensor(lengths, dtype=torch.float64)).norm(dim=1)
    speed = ((a.square() + b.square()).sum(1, keepdim=True) / 2).sqrt()
    corners = [torch.arange(n, dtype=torch.float64) / n for n in num_points]
    psi = _evaluate(vectors, a / speed / wave_number, b / speed / wave_number, corners)  # (num_samples, x, y)
    dx, dy = (length / n for length, n in zip(lengths, num_points))
    along_x, along_y = (torch.roll(psi, -1, axis) - psi for axis in (1, 2))
    return torch.stack([along_y / dy, -along_x / dx], 1).to(dtype)


@torch.no_grad()
def simulate(step: nn.Module, u0: Tensor, num_steps: int, *, warmup: int = 0, **parameters: Tensor | float) -> Tensor:
    """The trajectory of a solver, or of any step, from ``u0``, without a gradient.

    Args:
        step: operator ``u -> u_next``.
        warmup: steps taken first and dropped, for example until a chaotic flow has reached its attractor.

    Shapes: (batch, channels, *spatial) -> (batch, num_steps + 1, channels, *spatial), the state after warm-up first.
    Raises: ValueError if a state is not finite, naming step and samples; what ``Rollout`` raises for its arguments.
    """
    if num_steps < 1 or warmup < 0:
        raise ValueError(f"simulate: num_steps is {num_steps}, warmup {warmup}; keep at least 1 step, drop 0 or more")
    Rollout(step, 1)(u0, **parameters)  # refuses what no roll-out could start from
    states, finite, u = [], [], u0
    for k in range(warmup + num_steps + 1):
        u = u if k == 0 else step(u, **select(step, parameters))
        finite.append(torch.isfinite(u).flatten(1).all(1))
        if k >= warmup:
            states.append(u)
    finite = torch.stack(finite)  # (steps, batch)
    if not finite.all():
        first = int((~finite.all(1)).nonzero()[0])
        samples = (~finite[first]).nonzero()[:, 0].tolist()
        raise ValueError(f"simulate: the state is not finite from step {first} on (of {warmup} warm-up and {num_steps} "
                         f"kept steps), first in samples {samples[:8]} of {len(u0)}; use a smaller dt or smaller "
                         "initial states")
    return torch.stack(states, 1)


def cell_averages(u: Tensor, num_points: int) -> Tensor:
    """What a coarser grid sees of a state: averages over equal groups of cells, (..., x) -> (..., num_points)."""
    return u.unflatten(-1, (num_points, -1)).mean(-1)


class Windows:
    """An endless stream of random windows of trajectories: batches for ``fit``.

    Batch k is ``windows[k]``, a function of the seed and k alone: it can be computed without those before it, so a
    training that resumes goes on with the batch it would have had. Iterating yields windows[0], windows[1], ...
    Every window is equally likely; windows are drawn with replacement.

    Args:
        trajectories: (trajectories, time, channels, *spatial), as from ``simulate``.
        num_steps: length of the reference; the longest unroll of the training.
        batch_size: windows per batch, and per seed.
        seed: one stream of batches.
        seeds: instead, one seed for each member of an ensemble: a batch is then len(seeds) groups of ``batch_size``
            windows, and group s is what ``seed=seeds[s]`` alone would give.
        parameters: physical parameters; a tensor (trajectories, ...) holds one value per trajectory, a number holds for
            all.

    Shapes: windows[k] is {"u0": (batch, channels, *spatial), "reference": (batch, num_steps, channels, *spatial),
        name: (batch, ...)}, batch = number of seeds * batch_size; reference[:, i] is the state i + 1 steps after u0.
    Raises: ValueError for trajectories that are too short or not finite, or parameters that do not fit them.
    """

    def __init__(self, trajectories: Tensor, num_steps: int, batch_size: int, seed: int | None = None, *,
                 seeds: Sequence[int] | None = None, **parameters: Tensor | float):
        if (seed is None) == (seeds is None):
            raise ValueError(f"Windows: seed is {seed}, seeds is {seeds}; give exactly one of them")
        self.seeds = (seed,) if seeds is None else tuple(seeds)
        if not self.seeds or not all(isinstance(s, int) and s >= 0 for s in self.seeds):
            raise ValueError(f"Windows: seeds are {self.seeds}; give whole numbers that are not negative")
        if num_steps < 1 or batch_size < 1:
            raise ValueError(f"Windows: num_steps is {num_steps}, batch_size {batch_size}; both must be at least 1")
        if trajectories.ndim < 4 or trajectories.shape[1] <= num_steps:
            raise ValueError(f"Windows: trajectories have shape {tuple(trajectories.shape)}; expected (trajectories, "
                             f"time, channels, *spatial) with at least num_steps + 1 = {num_steps + 1} states in time")
        if not torch.isfinite(trajectories).all():
            raise ValueError("Windows: the trajectories contain NaN or infinity; simulate again with a stable solver")
        self.trajectories, self.num_steps, self.batch_size = trajectories, num_steps, batch_size
        self.parameters = {name: self._per_trajectory(name, value) for name, value in parameters.items()}

    def _per_trajectory(self, name: str, value: Tensor | float) -> Tensor:
        count = len(self.trajectories)
        if isinstance(value, (int, float)):
            return self.trajectories.new_full((count,), float(value))
        if not isinstance(value, Tensor) or value.ndim == 0 or len(value) != count:
            found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"Windows: parameter {name} is {found}; give a number or a tensor with one value for each "
                             f"of the {count} trajectories")
        return value

    def __getitem__(self, k: int) -> dict[str, Tensor]:
        starts = self.trajectories.shape[1] - self.num_steps
        # A counter-based generator: streams of different seeds are independent, and no batch needs the one before.
        drawn = [np.random.Generator(np.random.Philox(key=s, counter=[0, 0, 0, k])).integers(
            len(self.trajectories) * starts, size=self.batch_size) for s in self.seeds]
        window = torch.from_numpy(np.concatenate(drawn)).to(self.trajectories.device)
        which, start = window // starts, window % starts
        times = start[:, None] + torch.arange(self.num_steps + 1, device=window.device)
        states = self.trajectories[which[:, None], times]  # (batch, num_steps + 1, channels, *spatial)
        parameters = {name: value[which] for name, value in self.parameters.items()}
        return {"u0": states[:, 0], "reference": states[:, 1:], **parameters}

    def __iter__(self):
        return (self[k] for k in itertools.count())


def _coefficients(num_samples: int, shape: tuple[int, ...], modes: int, seed: int | torch.Generator, decay: float):
    """Wave vectors (K, dimensions) and coefficients a, b (num_samples, K); they do not depend on the grid."""
    if not 1 <= modes < min(shape) / 2:
        raise ValueError(f"modes is {modes}, but {min(shape)} points resolve 1 ... {(min(shape) - 1) // 2}; lower it "
                         "or use more points")
    vectors = [k for k in itertools.product(range(-modes, modes + 1), repeat=len(shape))
               if k > (0,) * len(shape) and sum(i * i for i in k) <= modes**2]
    generator = seed if isinstance(seed, torch.Generator) else torch.Generator().manual_seed(seed)
    vectors = torch.tensor(vectors, dtype=torch.float64)
    amplitude = vectors.norm(dim=1) ** -decay
    a, b = torch.randn(2, num_samples, len(vectors), generator=generator, dtype=torch.float64) * amplitude
    return vectors, a, b


def _evaluate(vectors: Tensor, a: Tensor, b: Tensor, points: list[Tensor]) -> Tensor:
    """sum_k a_k cos(2 pi k.x) + b_k sin(2 pi k.x) on the grid of points, as the real part of a product over axes."""
    waves = [torch.exp(2j * math.pi * k[:, None] * x) for k, x in zip(vectors.T, points)]  # each (K, points)
    letters = "xyz"[:len(points)]
    product = "bk," + ",".join("k" + letter for letter in letters) + "->b" + letters
    return torch.einsum(product, torch.complex(a, -b), *waves).real
