"""Small residual convolutional networks in 1D and 2D, alone or as an ensemble.   Chapter: 03_unrolling.

Every weight has a leading axis of members. One network is an ensemble of one, and S networks trained
together are one product per layer instead of S.
"""

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from . import arguments
from .calls import Explained
from .convolutions import PERIODIC, REPLICATE, ZERO, Conv1d, Conv2d, Padding
from .graphs.graph import current_recorder

__all__ = ["PERIODIC", "REPLICATE", "ZERO", "ConvResNet", "Ensemble", "Padding", "num_members"]


class ConvResNet(Explained, nn.Module):
    r"""A residual network of convolutions that keeps the grid.

        h_0     = conv(u, c)
        h_{i+1} = h_i + conv(tanh(conv(tanh(h_i))))        i = 0 ... num_blocks - 1
        output  = conv(tanh(h_num_blocks))

    ``c`` are physical parameters, shifted and scaled as stated at construction: ``network(u, length=...)``. A number
    per sample is a constant channel, a field (a mask, a force, a map of a coefficient) enters as channels of its own.
    The activation is smooth, so that gradients are continuous in the state and can be compared with finite differences;
    tanh is the cheapest smooth one, because its derivative needs only its output.
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
        conditions: ``{name: (centre, scale)}``, or ``{name: (centre, scale, channels)}`` for one that is a field; the
            network sees ``(value - centre) / scale``.
        output_scale: factor of the last layer's initial weights.
        seed: of the initial weights; independent of torch's global generator.

    Shapes: (batch, channels_in, *spatial) -> (batch, channels_out, *spatial); conditions (batch,), those that are
        fields (batch, channels, *spatial), or (batch,) where they are constant.
    Raises: TypeError, ValueError for arguments that do not fit; ValueError for a state or condition of another shape,
        a condition that is not finite, or a grid that a periodic kernel goes round more than once (kernel_size >
        2 num_points + 1); TypeError for a state or condition of another dtype.
    Source: um2020 (the corrector), he2016 (residual blocks).
    """

    def __init__(self, ndim: int, channels_in: int, channels_out: int, *, width: int = 16, num_blocks: int = 4,
                 kernel_size: int = 3, padding: Padding | Sequence[Padding] = PERIODIC,
                 conditions: Mapping[str, tuple[float, ...]] | None = None, output_scale: float = 0.01,
                 seed: int = 0):
        super().__init__()
        sizes = {"channels_in": channels_in, "channels_out": channels_out, "width": width, "kernel_size": kernel_size}
        channels_in, channels_out, width, kernel_size = (
            arguments.whole("ConvResNet", name, value) for name, value in sizes.items())
        ndim = arguments.whole("ConvResNet", "ndim", ndim, 1, 2)
        num_blocks = arguments.whole("ConvResNet", "num_blocks", num_blocks, 0)
        if kernel_size % 2 == 0:
            raise arguments.refusal("ConvResNet", "kernel_size", kernel_size, "an odd number of points", ValueError)
        padding = _paddings(padding, ndim)
        output_scale = arguments.number("ConvResNet", "output_scale", output_scale)
        self.ndim, self.channels_in, self.channels_out = ndim, channels_in, channels_out
        self.conditions = _conditions({} if conditions is None else conditions)
        generator = torch.Generator().manual_seed(arguments.whole("ConvResNet", "seed", seed, 0))
        layer = Conv1d if ndim == 1 else Conv2d
        sizes = [channels_in + sum(map(_channels, self.conditions.values())), *[width] * (2 * num_blocks + 1),
                 channels_out]
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
        h = layer(layer.enter(torch.cat([u, *self._normalised(u, conditions)], 1) if conditions else u), batch)
        for first, second in zip(hidden[::2], hidden[1::2]):
            h = h + second(torch.tanh(first(torch.tanh(h), batch)), batch)
        return last.leave(last(torch.tanh(h), batch), batch)

    def _normalised(self, u: Tensor, conditions: dict) -> list[Tensor]:
        """Each condition as channels (batch, channels, *spatial), constant ones unless it is a field."""
        found = []
        for name, condition in self.conditions.items():
            value = (torch.as_tensor(conditions[name], dtype=u.dtype, device=u.device) - condition[0]) / condition[1]
            if value.ndim < 2:
                value = value.expand(u.shape[0]).view(-1, *[1] * (u.ndim - 1))
            found.append(value.expand(-1, _channels(condition), *u.shape[2:]))
        return found

    def _check(self, u: Tensor, conditions: dict) -> None:
        arguments.tensor("ConvResNet", "the state", u, f"(batch, {self.channels_in}, *spatial)")
        if u.ndim != self.ndim + 2:
            raise ValueError(f"ConvResNet: the state has shape {tuple(u.shape)}; expected (batch, {self.channels_in}, "
                             f"{', '.join('xy'[:self.ndim])}), as the network has ndim={self.ndim}; build it with the "
                             "ndim of the states' grid")
        if u.shape[1] != self.channels_in or u.shape[0] % self.num_members:
            raise ValueError(f"ConvResNet: the state has shape {tuple(u.shape)}; expected (batch, {self.channels_in}, "
                             f"*spatial) with a batch divisible by {self.num_members} members")
        if u.numel() == 0:
            raise ValueError(f"ConvResNet: the state has shape {tuple(u.shape)}; give at least one sample and one "
                             "point per axis")
        if u.dtype != self.layers[0].weight.dtype:
            raise TypeError(f"ConvResNet: the state is {u.dtype}, the weights are {self.layers[0].weight.dtype}; "
                            "use u.to(network.layers[0].weight), or network.to(u) to convert the weights")
        if set(conditions) != set(self.conditions):
            raise ValueError(f"ConvResNet: called with conditions {sorted(conditions)}, built with "
                             f"{sorted(self.conditions)}; give exactly those")
        for name, condition in self.conditions.items():
            value, per_sample = conditions[name], f"{tuple(u.shape[:1])}: one value per sample"
            if not isinstance(value, Tensor):
                arguments.number("ConvResNet", f"condition {name}", value)
                continue
            arguments.like("ConvResNet", name, value, u, "u")
            field, is_field = (len(u), _channels(condition), *u.shape[2:]), len(condition) == 3
            if value.shape not in ((), u.shape[:1], *[field] * is_field):
                expected = f"{field}: a field on the state's grid, or {per_sample}" if is_field else (
                    f"{per_sample}; a field has its number of channels in conditions, (centre, scale, channels)")
                raise ValueError(f"ConvResNet: condition {name} has shape {tuple(value.shape)}, expected {expected}")
            if _readable(value) and not torch.isfinite(value).all():
                raise ValueError(f"ConvResNet: condition {name} contains NaN or infinity; check where it is computed")


def _readable(value: Tensor) -> bool:
    """Its values may be looked at: not while a graph is recorded or transformed, nor on a GPU, where that is a wait."""
    return (value.device.type == "cpu" and current_recorder() is None
            and not torch._C._functorch.peek_interpreter_stack())


def _channels(condition: tuple[float, ...]) -> int:
    """Channels that a condition takes: one, or those of a field."""
    return condition[2] if len(condition) == 3 else 1


def _paddings(padding, ndim: int) -> tuple[Padding, ...]:
    """One for each axis."""
    given = tuple(padding) if isinstance(padding, (list, tuple)) else (padding,) * ndim
    if len(given) != ndim:
        raise ValueError(f"ConvResNet: {len(given)} paddings for {ndim} axes; give one, or one per axis")
    return tuple(arguments.instance("ConvResNet", "padding", one, Padding, "PERIODIC, REPLICATE or ZERO, "
                                    "or one of them per axis") for one in given)


def _conditions(conditions) -> dict[str, tuple[float, ...]]:
    """Centre and scale by name, and the channels of a field. A scale of zero would make every state infinite."""
    expected = "two finite numbers (centre, scale), the scale not 0, or for a field (centre, scale, channels)"
    arguments.mapping("ConvResNet", "conditions", conditions, "a dict {name: (centre, scale)}")
    found = {}
    for name, value in conditions.items():
        label = f"condition {name}"
        is_field = isinstance(value, (list, tuple)) and len(value) == 3
        scaling = arguments.pair("ConvResNet", label, value[:2] if is_field else value, arguments.number, expected)
        if scaling[1] == 0:
            raise arguments.refusal("ConvResNet", label, value, expected, ValueError)
        channels = (arguments.whole("ConvResNet", f"the channels of {label}", value[2]),) if is_field else ()
        found[name] = (*scaling, *channels)
    return found


def num_members(chain: nn.Module) -> int:
    """Members of the ensemble that a chain holds; 1 if it holds none.

    Raises: ValueError for ensembles of different sizes, whose members would share samples.
    """
    arguments.instance("num_members", "chain", chain, nn.Module, "an operator or an objective")
    sizes = sorted({getattr(module, "num_members", 1) for module in chain.modules()} - {1})
    if len(sizes) > 1:
        raise ValueError(f"num_members: the chain holds ensembles of {' and '.join(map(str, sizes))} networks, whose "
                         "groups of samples would be mixed; give all ensembles of a chain the same number of networks")
    return sizes[0] if sizes else 1


class Ensemble(Explained, nn.Module):
    """S networks of one architecture that act and train together, each on its own group of samples.

    The batch is S groups of B samples, member by member. With the members' losses summed, as ``Objective`` does, every
    member gets the gradient of its own training, and a NaN stays in its member.

    Args:
        networks: S networks that differ in their weights only, for instance in their ``seed``. Frozen weights stay
            frozen.

    Shapes: (S * B, channels, *spatial) -> (S * B, channels, *spatial).
    Raises: TypeError for other networks than ``ConvResNet``; ValueError if they differ in more than their weights.
    Chapter: 03_unrolling.
    """

    def __init__(self, networks: Sequence[ConvResNet]):
        super().__init__()
        expected = "a list of ConvResNets: the members of other networks cannot be computed together"
        if not isinstance(networks, Sequence):
            raise arguments.refusal("Ensemble", "networks", networks, expected)
        networks = [arguments.instance("Ensemble", f"network {i}", network, ConvResNet, expected)
                    for i, network in enumerate(networks)]
        if not networks:
            raise ValueError("Ensemble: no networks given; give at least one")
        if len({repr(_architecture(network)) for network in networks}) > 1:
            raise ValueError("Ensemble: the networks differ in more than their weights; build all of them with the "
                             "same arguments except seed, and freeze and convert all of them alike")
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
        index = arguments.whole("Ensemble", "index", index, 0)
        if index >= self.num_members:
            raise IndexError(f"Ensemble: member {index} of {self.num_members}; give 0 ... {self.num_members - 1}")
        parameters = dict(self.stacked.named_parameters())
        return _with_parameters(self.stacked, lambda name: parameters[name].detach()[index:index + 1].clone())


def _architecture(network: ConvResNet) -> tuple:
    paddings = [repr(layer.padding) for layer in network.layers]
    return network.conditions, paddings, [(p.shape, p.dtype, p.device, p.requires_grad) for p in network.parameters()]


def _with_parameters(network: ConvResNet, value) -> ConvResNet:
    """A copy of the network whose parameters are ``value(name)``, frozen where the network's are."""
    result = copy.deepcopy(network)
    for name, old in network.named_parameters():
        module, _, attribute = name.rpartition(".")
        setattr(result.get_submodule(module), attribute, nn.Parameter(value(name), old.requires_grad))
    return result
