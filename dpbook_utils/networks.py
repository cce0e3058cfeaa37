"""Small residual convolutional networks in 1D and 2D, alone or as an ensemble.   Chapter: 03_unrolling.

Every weight has a leading axis of members. One network is an ensemble of one, and S networks trained
together are one product per layer instead of S.
"""

import copy
import math
from collections.abc import Mapping, Sequence

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


class ConvResNet(nn.Module):
    r"""A residual network of convolutions that keeps the grid.

        h_0     = conv(u, c)
        h_{i+1} = h_i + conv(tanh(conv(tanh(h_i))))        i = 0 ... num_blocks - 1
        output  = conv(tanh(h_num_blocks))

    ``c`` are physical parameters as constant channels, shifted and scaled as stated at construction:
    ``network(u, length=...)``. The activation is smooth, so that gradients are continuous in the state and can be
    compared with finite differences; tanh is the cheapest smooth one, because its derivative needs only its output.
    Weights are drawn with standard deviation ``fan_in**-0.5``, biases are zero, and the last layer is multiplied by
    ``output_scale``: an untrained corrector ``u + N(u)`` is then close to the identity, which an unrolled unstable
    solver needs.

    Args:
        ndim: spatial dimensions, 1 or 2.
        channels_in, channels_out: channels of the state and of the output.
        width: channels of the hidden layers.
        num_blocks: residual blocks of two convolutions each.
        kernel_size: odd number of points per axis.
        padding: ``PERIODIC``, ``REPLICATE`` or ``ZERO``, for all axes, or a tuple with one per axis.
        conditions: ``{name: (centre, scale)}``; the network sees ``(value - centre) / scale``.
        output_scale: factor of the last layer's initial weights.
        seed: of the initial weights; independent of torch's global generator.

    Shapes: (batch, channels_in, *spatial) -> (batch, channels_out, *spatial); conditions (batch,).
    Raises: ValueError for a state or condition of another shape, TypeError for another dtype.
    Source: um2020 (the corrector), he2016 (residual blocks).
    """

    def __init__(self, ndim: int, channels_in: int, channels_out: int, *, width: int = 16, num_blocks: int = 4,
                 kernel_size: int = 3, padding: Padding | Sequence[Padding] = PERIODIC,
                 conditions: Mapping[str, tuple[float, float]] | None = None, output_scale: float = 0.01,
                 seed: int = 0):
        super().__init__()
        if ndim not in (1, 2) or kernel_size % 2 == 0:
            raise ValueError(f"ConvResNet: ndim is {ndim}, kernel_size {kernel_size}; it has 1 or 2 spatial dimensions "
                             "and an odd kernel")
        padding = tuple(padding) if isinstance(padding, Sequence) else (padding,) * ndim
        if len(padding) != ndim:
            raise ValueError(f"ConvResNet: {len(padding)} paddings for {ndim} axes; give one, or one per axis")
        self.ndim, self.channels_in, self.channels_out = ndim, channels_in, channels_out
        self.conditions = dict(conditions or {})
        generator = torch.Generator().manual_seed(seed)
        layer = _Conv1d if ndim == 1 else _Conv2d
        sizes = [channels_in + len(self.conditions), *[width] * (2 * num_blocks + 1), channels_out]
        self.layers = nn.ModuleList(layer(i, o, kernel_size, padding, generator) for i, o in zip(sizes, sizes[1:]))
        with torch.no_grad():
            self.layers[-1].weight.mul_(output_scale)

    @property
    def parameter_names(self) -> tuple[str, ...]:
        return tuple(self.conditions)

    @property
    def num_members(self) -> int:
        return self.layers[0].weight.shape[0]

    def forward(self, u: Tensor, **conditions: Tensor | float) -> Tensor:
        self._check(u, conditions)
        layer, *hidden, last = self.layers
        batch = u.shape[0]
        h = layer(layer.enter(torch.cat([u, *self._channels(u, conditions)], 1) if conditions else u), batch)
        for first, second in zip(hidden[::2], hidden[1::2]):
            h = h + second(torch.tanh(first(torch.tanh(h), batch)), batch)
        return last.leave(last(torch.tanh(h), batch), batch)

    def _channels(self, u: Tensor, conditions: dict) -> list[Tensor]:
        """Each condition as one constant channel (batch, 1, *spatial)."""
        channels = []
        for name, (centre, scale) in self.conditions.items():
            value = (torch.as_tensor(conditions[name], dtype=u.dtype, device=u.device) - centre) / scale
            channels.append(value.expand(u.shape[0]).view(-1, *[1] * (u.ndim - 1)).expand(-1, 1, *u.shape[2:]))
        return channels

    def _check(self, u: Tensor, conditions: dict) -> None:
        if u.ndim != self.ndim + 2 or u.shape[1] != self.channels_in or u.shape[0] % self.num_members:
            raise ValueError(f"ConvResNet: the state has shape {tuple(u.shape)}; expected (batch, {self.channels_in}, "
                             f"*spatial) with {self.ndim} spatial dimensions and a batch divisible by "
                             f"{self.num_members} members")
        if u.dtype != self.layers[0].weight.dtype:
            raise TypeError(f"ConvResNet: the state is {u.dtype}, the weights are {self.layers[0].weight.dtype}; "
                            "convert one of them")
        if set(conditions) != set(self.conditions):
            raise ValueError(f"ConvResNet: called with conditions {sorted(conditions)}, built with "
                             f"{sorted(self.conditions)}; give exactly those")
        for name, value in conditions.items():
            if isinstance(value, Tensor) and value.shape not in ((), u.shape[:1]):
                raise ValueError(f"ConvResNet: condition {name} has shape {tuple(value.shape)}, expected "
                                 f"{tuple(u.shape[:1])}: one value per sample")


def num_members(chain: nn.Module) -> int:
    """Members of the ensemble that a chain holds; 1 if it holds none."""
    return max(getattr(module, "num_members", 1) for module in chain.modules())


class Ensemble(nn.Module):
    """S networks of one architecture that act and train together, each on its own group of samples.

    The batch is S groups of B samples, member by member. With the members' losses summed, as ``Objective`` does, every
    member gets the gradient of its own training, and a NaN stays in its member.

    Args:
        networks: S networks that differ in their weights only, for instance in their ``seed``.

    Shapes: (S * B, channels, *spatial) -> (S * B, channels, *spatial).
    Raises: ValueError if the architectures differ.   Chapter: 03_unrolling.
    """

    def __init__(self, networks: Sequence[ConvResNet]):
        super().__init__()
        networks = list(networks)
        if not networks:
            raise ValueError("Ensemble: no networks given; give at least one")
        if len({repr(_architecture(network)) for network in networks}) > 1:
            raise ValueError("Ensemble: the networks differ in more than their weights; build all of them with the "
                             "same arguments except seed")
        weights = [dict(network.named_parameters()) for network in networks]
        self.stacked = _with_parameters(networks[0], lambda name: torch.cat([w[name].detach() for w in weights]))

    @property
    def parameter_names(self) -> tuple[str, ...]:
        return self.stacked.parameter_names

    @property
    def num_members(self) -> int:
        return self.stacked.num_members

    def forward(self, u: Tensor, **conditions: Tensor | float) -> Tensor:
        return self.stacked(u, **conditions)

    def member(self, index: int) -> ConvResNet:
        """An ordinary network with a copy of one member's weights."""
        if not 0 <= index < self.num_members:
            raise IndexError(f"Ensemble: member {index} of {self.num_members}; give 0 ... {self.num_members - 1}")
        parameters = dict(self.stacked.named_parameters())
        return _with_parameters(self.stacked, lambda name: parameters[name].detach()[index:index + 1].clone())


def _architecture(network: ConvResNet) -> tuple:
    paddings = [repr(layer.padding) for layer in network.layers]
    return network.conditions, paddings, [p.shape for p in network.parameters()]


def _with_parameters(network: ConvResNet, value) -> ConvResNet:
    """A copy of the network whose parameters are ``value(name)``."""
    result = copy.deepcopy(network)
    for name, _ in network.named_parameters():
        module, _, attribute = name.rpartition(".")
        setattr(result.get_submodule(module), attribute, nn.Parameter(value(name)))
    return result


class _Conv1d(nn.Module):
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


class _Conv2d(nn.Module):
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
