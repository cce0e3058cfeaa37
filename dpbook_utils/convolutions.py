"""Convolutions of a whole ensemble at once, and what they see beyond a boundary.   Chapter: 03_unrolling.

Every weight has a leading axis of members; an ensemble is one product per layer.
"""

import math

import torch
from torch import Tensor, nn


class Padding:
    """What a convolution sees beyond the boundary of one axis."""

    def pad(self, u: Tensor, axis: int, width: int, block: int = 1) -> Tensor:
        """``u`` with ``width`` more points on both sides of the axis; a point is ``block`` entries long."""
        raise NotImplementedError(f"{type(self).__name__} must implement pad(u, axis, width, block)")

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Periodic(Padding):
    """Values continue from the opposite side."""

    def pad(self, u: Tensor, axis: int, width: int, block: int = 1) -> Tensor:
        points = u.shape[axis] // block
        if width > points:  # further than once round
            raise ValueError(f"ConvResNet: the kernel has {2 * width + 1} points, and a periodic axis of {points} "
                             f"takes at most {2 * points + 1}; give a smaller kernel_size, or a finer grid")
        width *= block
        return torch.cat([u.narrow(axis, u.shape[axis] - width, width), u, u.narrow(axis, 0, width)], axis)


class Replicate(Padding):
    """The value at the boundary continues: a zero normal derivative, as at an outflow."""

    def pad(self, u: Tensor, axis: int, width: int, block: int = 1) -> Tensor:
        first, last = u.narrow(axis, 0, block), u.narrow(axis, u.shape[axis] - block, block)
        return torch.cat([first] * width + [u] + [last] * width, axis)


class Zero(Padding):
    """Zeros outside, as at a wall."""

    def pad(self, u: Tensor, axis: int, width: int, block: int = 1) -> Tensor:
        zeros = torch.zeros_like(u.narrow(axis, 0, width * block))
        return torch.cat([zeros, u, zeros], axis)


PERIODIC, REPLICATE, ZERO = Periodic(), Replicate(), Zero()


class Conv1d(nn.Module):
    """Convolution as one product per member, on states (members, x * batch, channels).

    With the points outside and the channels inside, a shift in x is one block copy, and the values under the
    kernel are the rows of one matrix (members, x * batch, kernel_size * channels).
    """

    def __init__(self, channels_in: int, channels_out: int, kernel_size: int, padding: tuple[Padding],
                 generator: torch.Generator):
        super().__init__()
        self.padding, = padding
        scale = 1 / math.sqrt(kernel_size * channels_in)
        self.weight = nn.Parameter(scale * torch.randn(1, kernel_size, channels_in, channels_out, generator=generator))
        self.bias = nn.Parameter(torch.zeros(1, 1, channels_out))

    def enter(self, u: Tensor) -> Tensor:
        return u.unflatten(0, (self.weight.shape[0], -1)).permute(0, 3, 1, 2).flatten(1, 2)

    def leave(self, h: Tensor, batch: int) -> Tensor:
        members = self.weight.shape[0]
        return h.unflatten(1, (-1, batch // members)).permute(0, 2, 3, 1).flatten(0, 1)

    def forward(self, h: Tensor, batch: int) -> Tensor:
        block = batch // self.weight.shape[0]  # rows per point
        if isinstance(self.padding, Periodic):
            return _PeriodicConv.apply(h, self.weight, self.bias, block)
        return _product(_columns(h, self.padding, self.weight.shape[1], block), self.weight, self.bias)


def _columns(h: Tensor, padding: Padding, kernel_size: int, block: int, step: int = 1) -> Tensor:
    """The values under the kernel, from left to right, or from right to left if ``step`` is -1.

    Shapes: (members, x * batch, channels) -> (members, x * batch, kernel_size * channels).
    """
    padded = padding.pad(h, 1, kernel_size // 2, block)
    return torch.cat([padded.narrow(1, i * block, h.shape[1]) for i in range(kernel_size)][::step], -1)


def _product(columns: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.baddbmm(bias, columns, weight.flatten(1, 2))


class _PeriodicConv(torch.autograd.Function):
    """Periodic convolution, both gradients from one set of columns: autograd would keep those of h and add shifts."""

    generate_vmap_rule = True

    @staticmethod
    def forward(h: Tensor, weight: Tensor, bias: Tensor, block: int) -> Tensor:
        return _product(_columns(h, PERIODIC, weight.shape[1], block), weight, bias)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        h, weight, bias, ctx.block = inputs
        ctx.save_for_backward(h, weight)
        ctx.save_for_forward(h, weight)

    @staticmethod
    def backward(ctx, g: Tensor) -> tuple[Tensor | None, ...]:
        # g_h[x] = sum_k g[x - k] w_k^T and g_w_k = sum_x h[x]^T g[x - k]: both need g around x, from right to left.
        h, weight = ctx.saved_tensors
        columns = _columns(g, PERIODIC, weight.shape[1], ctx.block, -1)
        g_h = torch.bmm(columns, weight.mT.flatten(1, 2)) if ctx.needs_input_grad[0] else None
        g_weight = torch.bmm(h.mT, columns).unflatten(2, (weight.shape[1], -1)).transpose(1, 2)
        return g_h, g_weight, g.sum(1, keepdim=True), None

    @staticmethod
    def jvp(ctx, h_t: Tensor, weight_t: Tensor, bias_t: Tensor, block_t: None) -> Tensor:
        h, weight = ctx.saved_tensors
        columns, columns_t = (_columns(x, PERIODIC, weight.shape[1], ctx.block) for x in (h, h_t))
        return _product(columns, weight_t, bias_t) + _product(columns_t, weight, torch.zeros_like(bias_t))


class Conv2d(nn.Module):
    """Grouped 2D convolution, one group per member, on states (batch, members * channels, x, y)."""

    def __init__(self, channels_in: int, channels_out: int, kernel_size: int, padding: tuple[Padding, ...],
                 generator: torch.Generator):
        super().__init__()
        self.padding, self.kernel_size = padding, kernel_size
        shape = (1, channels_out, channels_in, kernel_size, kernel_size)
        self.weight = nn.Parameter(torch.randn(shape, generator=generator) / math.sqrt(kernel_size**2 * channels_in))
        self.bias = nn.Parameter(torch.zeros(1, channels_out))

    def enter(self, u: Tensor) -> Tensor:
        return u.unflatten(0, (self.weight.shape[0], -1)).transpose(0, 1).flatten(1, 2)

    def leave(self, h: Tensor, batch: int) -> Tensor:
        return h.unflatten(1, (self.weight.shape[0], -1)).transpose(0, 1).flatten(0, 1)

    def forward(self, h: Tensor, batch: int) -> Tensor:
        for axis, padding in enumerate(self.padding):
            h = padding.pad(h, 2 + axis, self.kernel_size // 2)
        return nn.functional.conv2d(h, self.weight.flatten(0, 1), self.bias.flatten(), groups=self.weight.shape[0])
