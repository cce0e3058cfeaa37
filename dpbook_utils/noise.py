"""Noise on the state, active in ``.train()`` only, like dropout.   Chapter: 07_noise."""

import torch
from torch import Tensor, nn


class GaussianNoise(nn.Module):
    """``u + sigma * xi`` with independent standard normal ``xi`` per value.

    Args:
        sigma: standard deviation in the units of the state; a good scale is the trained chain's own one-step error.

    Source: stachenfeld2022.
    """

    def __init__(self, sigma: float):
        super().__init__()
        if not sigma >= 0:
            raise ValueError(f"{type(self).__name__}: sigma is {sigma}; it must not be negative")
        self.sigma = float(sigma)

    def forward(self, u: Tensor) -> Tensor:
        return u + self.sigma * torch.randn_like(u) if self.training and self.sigma > 0 else u


class RandomWalkNoise(GaussianNoise):
    """Noise that accumulates over a history of ``num_frames`` states stored in the channels, oldest first.

    The increments are independent; ``sigma`` is the standard deviation on the newest frame, whatever the
    length of the history. With one frame this is ``GaussianNoise``.

    Shapes: (batch, num_frames * channels, *spatial), unchanged.   Source: sanchez2020.
    """

    def __init__(self, sigma: float, num_frames: int):
        super().__init__(sigma)
        if num_frames < 1:
            raise ValueError(f"{type(self).__name__}: num_frames is {num_frames}; a history has at least 1 frame")
        self.num_frames = num_frames

    def forward(self, u: Tensor) -> Tensor:
        if not self.training or self.sigma == 0:
            return u
        if u.shape[1] % self.num_frames:
            raise ValueError(f"{type(self).__name__}: {u.shape[1]} channels cannot hold {self.num_frames} frames; "
                             "give num_frames that divides them")
        frames = u.unflatten(1, (self.num_frames, -1))  # (batch, frames, channels, *spatial)
        walk = torch.randn_like(frames).cumsum(1) * (self.sigma / self.num_frames**0.5)
        return (frames + walk).flatten(1, 2)
