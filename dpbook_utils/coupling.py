"""How the output of a network enters the state.   Chapter: 04_coupling.

A coupling is an operator ``u -> u``. ``network`` and ``couple`` are kept apart so that a gradient policy can
cut the edge into the network without cutting the one around it.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from . import arguments
from .calls import Explained, noted
from .physics.solver import Solver, parameter_names, select


class Coupling(Explained, nn.Module):
    """An operator that computes ``couple(u, network(u))``.

    Shapes: state and result (batch, channels, *spatial); physical parameters (batch,).
    Raises: ValueError if the network's output does not have the shape that the coupling needs.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        label = type(self).__name__
        self.network = arguments.operator(label, "network", network, "a network that is built, such as "
                                          "ConvResNet(1, 1, 1)")

    @property
    def network_parameters(self) -> tuple[str, ...]:
        """Physical parameters the network is conditioned on."""
        return parameter_names(self.network)

    @property
    def parameter_names(self) -> tuple[str, ...]:
        return self.network_parameters

    def output(self, u: Tensor, **parameters: Tensor) -> Tensor:
        """The network's output, given those of the parameters that it knows."""
        given = select(self.network, parameters)
        try:
            output = self.network(u, **given)
        except RuntimeError as error:
            noted(error, f"{type(self).__name__}: in the network, a {type(self.network).__name__}", u=u, **given)
            raise
        if not isinstance(output, Tensor):
            raise arguments.refusal(type(self).__name__, "the network's output", output, "a network that returns a "
                                    "tensor")
        return output

    def couple(self, u: Tensor, output: Tensor, **parameters: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} must implement couple(u, output, **parameters)")

    def forward(self, u: Tensor, **parameters: Tensor) -> Tensor:
        if parameters:
            arguments.known(type(self).__name__, "parameter", parameters, self.parameter_names)
        return self.couple(u, self.output(u, **parameters), **parameters)


class Replace(Coupling):
    """``u_next = N(u)``: the network alone, a predictor."""

    def couple(self, u: Tensor, output: Tensor, **parameters: Tensor) -> Tensor:
        return output


class Additive(Coupling):
    """``u_next = u + N(u)``: a correction of the state."""

    def couple(self, u: Tensor, output: Tensor, **parameters: Tensor) -> Tensor:
        return u + _fitting(self, u, output)


class Multiplicative(Coupling):
    """``u_next = u (1 + N(u))``: a relative correction; it cannot create structure where u is zero."""

    def couple(self, u: Tensor, output: Tensor, **parameters: Tensor) -> Tensor:
        return u * (1 + _fitting(self, u, output))


class SolverCoupling(Coupling):
    """A coupling whose output enters the solver's call, so that solver and network are one operator."""

    def __init__(self, solver: Solver, network: nn.Module, name: str):
        super().__init__(network)
        label = type(self).__name__
        arguments.instance(label, "solver", solver, Solver, "a solver, such as Burgers(...)")
        arguments.text(label, "name", name, "the name of one of the solver's parameters")
        if name not in solver.parameter_names:
            raise ValueError(f"{label}: {solver.label} takes no parameter {name!r}; "
                             f"it takes {', '.join(solver.parameter_names) or 'none'}")
        self.solver, self.name = solver, name

    @property
    def parameter_names(self) -> tuple[str, ...]:
        from_solver = [name for name in self.solver.parameter_names if name != self.name]
        return tuple(dict.fromkeys([*from_solver, *self.network_parameters]))

    def solve(self, u: Tensor, value: Tensor, **parameters: Tensor) -> Tensor:
        return self.solver(u, **{**select(self.solver, parameters), self.name: value})


class AdditiveRHS(SolverCoupling):
    """``u_next = P(u; force = N(u))``: the correction enters the right-hand side of the PDE.

    Source: wei2025inc.
    """

    def __init__(self, solver: Solver, network: nn.Module):
        super().__init__(solver, network, "force")

    @property
    def parameter_names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*self.solver.parameter_names, *self.network_parameters]))

    def couple(self, u: Tensor, output: Tensor, *, force: Tensor | None = None, **parameters: Tensor) -> Tensor:
        output = _fitting(self, u, output)
        return self.solve(u, output if force is None else force + output, **parameters)


class SolverParameter(SolverCoupling):
    """``u_next = P(u; name = transform(N(u)))``: the network sets a physical parameter of the solver.

    Args:
        transform: maps the output into the parameter's range; softplus keeps a viscosity positive.

    Shapes: the network returns the parameter's shape, (batch,) for a viscosity.
    """

    def __init__(self, solver: Solver, network: nn.Module, name: str,
                 transform: Callable[[Tensor], Tensor] = torch.nn.functional.softplus):
        super().__init__(solver, network, name)
        self.transform = arguments.function("SolverParameter", "transform", transform, "a function of a tensor, such "
                                            "as torch.nn.functional.softplus", "output")

    def couple(self, u: Tensor, output: Tensor, **parameters: Tensor) -> Tensor:
        return self.solve(u, self.transform(output), **parameters)


def _fitting(operator: nn.Module, u: Tensor, output: Tensor) -> Tensor:
    if output.shape != u.shape:
        raise ValueError(f"{type(operator).__name__}: the network turns a state of shape {tuple(u.shape)} into "
                         f"{tuple(output.shape)}; it must return the state's shape (broadcasting would hide a wrong "
                         "channel count)")
    return output
