"""Noise on the state, active in ``.train()`` only, like dropout.   Chapter: 07_noise.

Noise in the chain leaves the target where it is: ``Sequential(GaussianNoise(sigma), P, Additive(N))`` is asked for the
clean next state. Noise in the data, ``Perturbed(batches, GaussianNoise(sigma))``, is there before the target is
computed: with ``from_solver(reference)`` the same chain without noise is asked for what the reference makes
of the noisy state.
"""

import itertools
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from . import arguments
from .calls import Explained


class GaussianNoise(Explained, nn.Module):
    """``u + sigma * xi`` with independent standard normal ``xi`` per value.

    Args:
        sigma: standard deviation in the units of the state; a good scale is the trained chain's own one-step error.

    Shapes: (batch, channels, *spatial), unchanged.
    Source: stachenfeld2022.
    """

    def __init__(self, sigma: float):
        super().__init__()
        self.sigma = arguments.number(type(self).__name__, "sigma", sigma, least=0)

    def forward(self, u: Tensor) -> Tensor:
        arguments.tensor(type(self).__name__, "the state", u, "(batch, channels, *spatial)")
        return u + self.sigma * self.draw(u) if self.training and self.sigma > 0 else u

    def draw(self, u: Tensor) -> Tensor:
        """The noise of standard deviation 1, in the shape of the state."""
        return torch.randn_like(u)


class ShapedNoise(GaussianNoise):
    r"""Gaussian noise with the energy spectrum of something else, such as a model's error, on periodic states in 1D.

        u + sigma * w,   E_w(k) = E(k) / (2 sum_j E(j)),   w = A xi,   A circulant with A_k = (E_w(k) / E_xi(k))^{1/2}

    with white xi, whose own spectrum is E_xi(k) = 1 / n, half of that at k = 0 and, for even n, at k = n / 2. The waves
    of w are independent, so it has the spectrum E in the mean and the standard deviation 1 at every point.

    Args:
        sigma: standard deviation over all waves, in the units of the state.
        spectrum: (n // 2 + 1,) energies by wave number, in any unit, as from ``energy_spectrum``.
        num_points: n, of a state.

    Shapes: (batch, channels, x), unchanged; channels are independent.
    Raises: ValueError for a spectrum of another length, with negative values, or without energy; for other states.
    """

    def __init__(self, sigma: float, spectrum: Tensor, num_points: int):
        super().__init__(sigma)
        label = type(self).__name__
        num_points = arguments.whole(label, "num_points", num_points)
        arguments.tensor(label, "spectrum", spectrum, "(num_points // 2 + 1,)", 1)
        expected = (num_points // 2 + 1,)
        smallest, total = min(spectrum.tolist(), default=0), float(spectrum.sum())
        if tuple(spectrum.shape) != expected or not smallest >= 0 or not 0 < total < torch.inf:
            raise ValueError(f"{type(self).__name__}: the spectrum has shape {tuple(spectrum.shape)}, smallest value "
                             f"{smallest:g} and sum {total:g}; {num_points} points need {expected} values that are "
                             "not negative, with a positive sum")
        energy = spectrum.double() / (2 * spectrum.double().sum())
        white = torch.full(expected, 1 / num_points, dtype=torch.float64)
        white[[0, -1] if num_points % 2 == 0 else [0]] /= 2
        gain = (energy / white).sqrt()
        circulant = torch.fft.irfft(gain * torch.fft.rfft(torch.eye(num_points, dtype=torch.float64)), num_points)
        self.register_buffer("circulant", circulant, persistent=False)

    def draw(self, u: Tensor) -> Tensor:
        if u.ndim != 3 or u.shape[-1] != len(self.circulant):
            raise ValueError(f"{type(self).__name__}: the state has shape {tuple(u.shape)}; expected (batch, channels, "
                             f"{len(self.circulant)})")
        return torch.randn_like(u) @ self.circulant.to(u)


class RandomWalkNoise(GaussianNoise):
    """Noise that accumulates over a history of ``num_frames`` states stored in the channels, oldest first.

    The increments are independent; ``sigma`` is the standard deviation on the newest frame, whatever the
    length of the history. With one frame this is ``GaussianNoise``.

    Shapes: (batch, num_frames * channels, *spatial), unchanged.   Source: sanchez2020.
    """

    def __init__(self, sigma: float, num_frames: int):
        super().__init__(sigma)
        self.num_frames = arguments.whole(type(self).__name__, "num_frames", num_frames)

    def draw(self, u: Tensor) -> Tensor:
        if u.shape[1] % self.num_frames:
            raise ValueError(f"{type(self).__name__}: {u.shape[1]} channels cannot hold {self.num_frames} frames; "
                             "give num_frames that divides them")
        frames = u.unflatten(1, (self.num_frames, -1))  # (batch, frames, channels, *spatial)
        return (torch.randn_like(frames).cumsum(1) / self.num_frames**0.5).flatten(1, 2)


class Perturbed:
    """Batches whose initial states carry noise: the reference of a batch stays, a target computed from u0 moves along.

    ``perturbed[k]`` is a function of the seed and k alone, as ``Windows``' batches are.

    Args:
        batches: indexed without end, such as ``Windows``.
        noise: one of the operators above.
        seed: of the noise.
    """

    def __init__(self, batches, noise: GaussianNoise, seed: int = 0):
        if isinstance(batches, type) or not hasattr(batches, "__getitem__") or hasattr(batches, "__len__"):
            raise arguments.refusal("Perturbed", "batches", batches, "an endless source with batches[k], such as "
                                    "Windows")
        arguments.instance("Perturbed", "noise", noise, GaussianNoise, "an operator such as GaussianNoise(0.1)")
        self.batches, self.noise = batches, noise.train()
        self.seed = arguments.whole("Perturbed", "seed", seed, 0)

    def __getitem__(self, k: int) -> dict[str, Tensor]:
        batch = self.batches[k]
        u0 = batch["u0"]
        with torch.random.fork_rng([u0.device] if u0.device.type == "cuda" else []):
            torch.manual_seed(int(np.random.SeedSequence([self.seed, k]).generate_state(1)[0]))
            return {**batch, "u0": self.noise(u0)}

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return (self[k] for k in itertools.count())
