"""Gradients of a step that gives none: estimated from its values, or taken from a network.

    y = f(x),    what the backward pass asks for:  J^T g,    J = dy/dx,  g the gradient of the loss with respect to y

for each sample of a batch by itself. An estimate only ever needs the numbers <g, f(x')> at other inputs x'.
Chapter: 13_foreign_solvers.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from . import arguments
from .physics.solver import select

NUMBERS = 2**22  # in one call of a step: directions are tried in batches of about so many


class GradientEstimate:
    """How ``black_box`` gets its gradient: ``estimate(function, inputs, g, wanted) -> {name: gradient}``.

    ``function`` takes the inputs by name, a batch of any size, and returns the next states.
    """

    sizes: Mapping[str, float] = {}

    def __call__(self, function: Callable, inputs: dict[str, Tensor], g: Tensor, wanted: Sequence[str]
                 ) -> dict[str, Tensor]:
        raise NotImplementedError(f"{type(self).__name__} must implement __call__(function, inputs, g, wanted)")

    def num_calls(self, inputs: Mapping[str, Tensor], wanted: Sequence[str]) -> int:
        """Calls of the step for each sample and backward pass."""
        raise NotImplementedError(f"{type(self).__name__} must implement num_calls(inputs, wanted)")

    def size(self, name: str, x: Tensor) -> float:
        """The typical size of an input: what was stated, or its root mean square; 1 for zeros."""
        return self.sizes.get(name) or float(x.square().mean().sqrt()) or 1.0

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={arguments.shown(value)}" for name, value in vars(self).items() if value != {})
        return f"{type(self).__name__}({given})"


class FiniteDifferences(GradientEstimate):
    r"""Central differences, one input after the other.

        (J^T g)_i = (<g, f(x + h e_i)> - <g, f(x - h e_i)>) / (2 h)

    Args:
        step: h in units of the input's size; by default the cube root of the precision, 6e-6 in double and 5e-3 in
            single precision, where truncation and rounding are about equal.
        sizes: typical sizes of inputs by name, such as ``{"u": 1.0, "viscosity": 0.1}``; by default the root mean
            square of what is given.

    Behaviour: 2 n calls for n inputs of a sample; an error of the order h^2: about 1e-9 in double and 1e-4 in single
        precision. It differences what is wanted only: with a step that has one parameter to be found, two calls.
    Chapter: 13_foreign_solvers.
    """

    def __init__(self, step: float | None = None, *, sizes: Mapping[str, float] | None = None):
        self.step = None if step is None else arguments.positive("FiniteDifferences", "step", step)
        self.sizes = _sizes("FiniteDifferences", sizes)

    def __call__(self, function, inputs, g, wanted):
        found = {}
        for name in wanted:
            x = inputs[name]
            num = x[0].numel()
            h = self.size(name, x) * (self.step or torch.finfo(x.dtype).eps ** (1 / 3))
            if arguments.is_lost(x, h):
                raise ValueError(f"FiniteDifferences: {name} is moved by {h:.3g}, which is nothing beside numbers of "
                                 f"up to {float(x.abs().max()):.3g}, or too much; give another step, or "
                                 f"sizes={{{name!r}: its typical size}}")
            slopes = []
            for some in torch.arange(num, device=x.device).split(max(1, NUMBERS // (2 * inputs["u"].numel()))):
                moves = torch.zeros(len(some), num, dtype=x.dtype, device=x.device)
                moves[torch.arange(len(some)), some] = h
                moves = moves.view(len(some), 1, *x.shape[1:]).expand(-1, *x.shape)
                slopes.append(_differences(function, inputs, g, {name: moves}) / (2 * h))
            found[name] = torch.cat(slopes).T.reshape(x.shape)
        return found

    def num_calls(self, inputs, wanted):
        return 2 * sum(inputs[name][0].numel() for name in wanted)


class Simultaneous(GradientEstimate):
    r"""Simultaneous perturbation (SPSA): all inputs at once, each up or down at random.

        J^T g = mean over samples of  (<g, f(x + h d)> - <g, f(x - h d)>) / (2 h) d,    d_i = +1 or -1

    Args:
        num_samples: random d per backward pass.
        step, sizes: as in ``FiniteDifferences``.

    Behaviour: 2 num_samples calls whatever the number n of inputs. Unbiased up to the order h^2. The variance of each
        entry is that of all the others together, (|J^T g|^2 - (J^T g)_i^2) / num_samples: the relative error of the
        gradient is sqrt((n - 1) / num_samples). The random numbers are torch's.
    Chapter: 13_foreign_solvers.   Source: spall1992.
    """

    def __init__(self, num_samples: int = 1, step: float | None = None, *, sizes: Mapping[str, float] | None = None):
        self.num_samples = arguments.whole("Simultaneous", "num_samples", num_samples)
        self.step = None if step is None else arguments.positive("Simultaneous", "step", step)
        self.sizes = _sizes("Simultaneous", sizes)

    def __call__(self, function, inputs, g, wanted):
        h = self.step or torch.finfo(g.dtype).eps ** (1 / 3)
        return _along(function, inputs, g, wanted, self, h, lambda x: torch.randint(
            0, 2, (self.num_samples, *x.shape), device=x.device).to(x.dtype) * 2 - 1)

    def num_calls(self, inputs, wanted):
        return 2 * self.num_samples


class EvolutionStrategies(GradientEstimate):
    r"""Evolution strategies with mirrored samples: normal perturbations of a finite size.

        J^T g = mean over samples of  (<g, f(x + s e)> - <g, f(x - s e)>) / (2 s) e,    e normal,  s = sigma size(x)

    Args:
        num_samples: random e per backward pass, each used with both signs.
        sigma: in units of the input's size.
        sizes: as in ``FiniteDifferences``.

    Behaviour: 2 num_samples calls. An unbiased estimate of the gradient of f *smoothed* over sigma, which is another
        one than that of f: the bias has the order sigma^2. Its relative error is sqrt((n + 1) / num_samples).
        Smoothing helps where f is noisy or has kinks. The random numbers are torch's.
    Chapter: 13_foreign_solvers.   Source: salimans2017.
    """

    def __init__(self, num_samples: int = 8, sigma: float = 0.1, *, sizes: Mapping[str, float] | None = None):
        self.num_samples = arguments.whole("EvolutionStrategies", "num_samples", num_samples)
        self.sigma = arguments.positive("EvolutionStrategies", "sigma", sigma)
        self.sizes = _sizes("EvolutionStrategies", sizes)

    def __call__(self, function, inputs, g, wanted):
        return _along(function, inputs, g, wanted, self, self.sigma, lambda x: torch.randn(
            self.num_samples, *x.shape, dtype=x.dtype, device=x.device))

    def num_calls(self, inputs, wanted):
        return 2 * self.num_samples


class Surrogate(GradientEstimate):
    """The gradient of a network that has learnt to do what the step does; the values stay those of the step.

    Args:
        network: an operator ``u -> u_next`` of torch, such as ``Additive(N)``, trained on pairs of the step. It takes
            those parameters of the step that it names. It is no part of the chain: ``fit`` does not train it.

    Behaviour: no calls of the step in the backward pass, those for the pairs before. How wrong the gradient is cannot
        be read off the network's error: a small one may have large slopes. Compare with ``gradient_check``.
    Chapter: 13_foreign_solvers.   Source: frezat2023.
    """

    def __init__(self, network: Callable):
        self.network = arguments.operator("Surrogate", "network", network, "an operator u -> u_next that has learnt "
                                          "the step, such as Additive(network)")

    def __call__(self, function, inputs, g, wanted):
        with torch.enable_grad():
            leaves = {name: x.detach().requires_grad_(name in wanted) for name, x in inputs.items()}
            u_next = self.network(leaves["u"], **select(self.network, leaves))
            if not isinstance(u_next, Tensor) or u_next.shape != g.shape or u_next.dtype != g.dtype:
                raise arguments.refusal("Surrogate", "the network's result", u_next, "an operator u -> u_next, which "
                                        f"returns what the step does, {tuple(g.shape)} and {g.dtype}", ValueError)
            if not u_next.requires_grad:
                raise ValueError("Surrogate: the network's result has no gradient with respect to what it is given; "
                                 "let it depend on the state by operations of torch, without detach()")
            if unknown := sorted(set(wanted) - {"u"} - set(select(self.network, leaves))):
                raise ValueError(f"Surrogate: the gradient with respect to {unknown[0]} was asked for, which the "
                                 f"network does not take; give one that names {unknown[0]}, or {unknown[0]}.detach()")
            found = torch.autograd.grad(u_next, [leaves[name] for name in wanted], g, materialize_grads=True)
        return dict(zip(wanted, found))

    def num_calls(self, inputs, wanted):
        return 0

    def __repr__(self) -> str:
        return f"Surrogate({type(self.network).__name__}(...))"


def _sizes(label: str, sizes: Mapping[str, float] | None) -> dict[str, float]:
    expected = "typical sizes of inputs by name, {'u': 1.0}"
    sizes = arguments.mapping(label, "sizes", {} if sizes is None else sizes, expected)
    return {name: arguments.positive(label, f"sizes[{name!r}]", value) for name, value in sizes.items()}


def _along(function: Callable, inputs: dict[str, Tensor], g: Tensor, wanted: Sequence[str], estimate: GradientEstimate,
           h: float, draw: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """The mean of slopes along random directions, times the direction."""
    directions = {name: draw(inputs[name]) for name in wanted}
    sizes = {name: h * estimate.size(name, inputs[name]) for name in wanted}
    if lost := [name for name in wanted if arguments.is_lost(inputs[name], sizes[name])]:
        raise ValueError(f"{type(estimate).__name__}: {lost[0]} is moved by {sizes[lost[0]]:.3g}, which is nothing "
                         f"beside numbers of up to {float(inputs[lost[0]].abs().max()):.3g}, or too much; give another "
                         f"size of the move, or sizes={{{lost[0]!r}: its typical size}}")
    num, at_once = len(directions[wanted[0]]), max(1, NUMBERS // (2 * inputs["u"].numel()))
    slopes = torch.cat([_differences(function, inputs, g, {
        name: sizes[name] * directions[name][k:k + at_once] for name in wanted}) for k in range(0, num, at_once)])
    return {name: torch.einsum("kb,kb...->b...", slopes, directions[name]) / (2 * sizes[name] * num)
            for name in wanted}


def _differences(function: Callable, inputs: dict[str, Tensor], g: Tensor, moves: dict[str, Tensor]) -> Tensor:
    """(directions, batch): <g, f(x + move)> - <g, f(x - move)>.

    Args:
        moves: {name: (directions, batch, ...)} of the inputs that are moved.
    """
    num = len(next(iter(moves.values())))
    ends = {}
    for name, x in inputs.items():
        x, move = x.expand(num, *x.shape), moves.get(name)
        pair = (x, x) if move is None else (x + move, x - move)
        ends[name] = torch.stack(pair).flatten(0, 2)
    up, down = function(ends).unflatten(0, (2, num, len(g)))
    return ((up - down) * g).flatten(2).sum(2)

