"""Burgers and Kuramoto-Sivashinsky written by hand in torch: what ``trace`` of the PhiFlow steps is measured against.

Only benchmarks may write physics a second time.
"""

import torch
from torch import Tensor, nn


class Burgers:
    """Central differences and explicit Euler."""

    def __init__(self, num_points: int, length: float, dt: float):
        self.dx, self.dt = length / num_points, dt

    def __call__(self, u: Tensor, viscosity: Tensor) -> Tensor:
        left, right = u.roll(1, -1), u.roll(-1, -1)
        diffusion = viscosity[:, None, None] * (left - 2 * u + right) / self.dx**2
        return u + self.dt * (diffusion - (right * right - left * left) / (4 * self.dx))


class KuramotoSivashinsky:
    """ETD1 with real Fourier transforms, its operators computed once for the lengths of the batch."""

    def __init__(self, num_points: int, dt: float, num_substeps: int, length: Tensor):
        self.num_points, self.num_substeps, dt = num_points, num_substeps, dt / num_substeps
        k = 2 * torch.pi * torch.arange(num_points // 2 + 1, dtype=torch.float64) / length.double()[:, None, None]
        linear = (k**2 - k**4) * dt
        phi1 = torch.where(linear == 0, 1, torch.expm1(linear) / torch.where(linear == 0, 1, linear))
        derivative = -0.5j * k
        derivative[..., -1] = 0
        complex_dtype = torch.complex64 if length.dtype == torch.float32 else torch.complex128
        self.linear, self.product = linear.exp().to(length.dtype), (dt * phi1 * derivative).to(complex_dtype)

    def __call__(self, u: Tensor, length: Tensor) -> Tensor:
        for _ in range(self.num_substeps):
            u_hat = self.linear * torch.fft.rfft(u) + self.product * torch.fft.rfft(u * u)
            u = torch.fft.irfft(u_hat, n=self.num_points)
        return u


class CircularConvResNet(nn.Module):
    """``networks.ConvResNet`` in 1D as one would write it first, with ``nn.Conv1d(padding_mode="circular")``."""

    parameter_names = ("length",)

    def __init__(self, network):
        super().__init__()
        self.conditions = network.conditions
        self.layers = nn.ModuleList(_circular(layer) for layer in network.layers)

    def forward(self, u: Tensor, *, length: Tensor) -> Tensor:
        centre, scale = self.conditions["length"]
        first, *hidden, last = self.layers
        h = first(torch.cat([u, ((length - centre) / scale)[:, None, None].expand_as(u)], 1))
        for a, b in zip(hidden[::2], hidden[1::2]):
            h = h + b(a(h.tanh()).tanh())
        return last(h.tanh())


def _circular(layer) -> nn.Conv1d:
    weight = layer.weight.detach()[0].permute(2, 1, 0)  # (out, in, kernel_size)
    out, in_, size = weight.shape
    conv = nn.Conv1d(in_, out, size, padding=size // 2, padding_mode="circular").to(weight)
    conv.weight.data, conv.bias.data = weight.clone(), layer.bias.detach().flatten().clone()
    return conv
