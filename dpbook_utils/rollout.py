"""Chains of operators, and their repetition in time.   Chapter: 03_unrolling."""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from . import arguments
from .calls import Explained
from .coupling import Coupling, Replace
from .gradients import FullGradient
from .graphs.graph import current_recorder
from .noise import GaussianNoise
from .physics.solver import Solver, parameter_names, select, solvers


class Sequential(Explained, nn.Sequential):
    """Operators applied left to right, each given the physical parameters that it takes.

    Raises: TypeError for what is no ``nn.Module``.
    """

    def __init__(self, *chain: nn.Module):
        if not (len(chain) == 1 and isinstance(chain[0], OrderedDict)):  # named operators, as nn.Sequential has them
            for place, operator in enumerate(chain):
                arguments.operator("Sequential", f"operator {place}", operator)
                arguments.instance("Sequential", f"operator {place}", operator, nn.Module, "an nn.Module, with the "
                                   "function in its forward")
        super().__init__(*chain)

    @property
    def parameter_names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for operator in self for name in parameter_names(operator)))

    def forward(self, u: Tensor, **parameters: Tensor | float) -> Tensor:
        if parameters:
            arguments.known("Sequential", "parameter", parameters, self.parameter_names)
        for operator in self:
            u = operator(u, **select(operator, parameters))
        return u


def repeat(operator: nn.Module, num_steps: int) -> Sequential:
    """``operator`` applied ``num_steps`` times, as one operator."""
    arguments.operator("repeat", "operator", operator)
    return Sequential(*[operator] * arguments.whole("repeat", "num_steps", num_steps))


class Rollout(Explained, nn.Module):
    """A step repeated in time: ``u0 -> (u_1, ..., u_m)``.

    Args:
        step: an operator, usually ``Sequential(P, Additive(N))``.
        num_steps: unroll length m.
        gradient: where the backward pass is cut; values do not depend on it.
        record_after: place in the step's chain whose output is recorded; -1 is the end of the step, 0 the
            first operator. The loss sees what is recorded.
        checkpoint: keep only the states between steps and compute each step again in the backward pass:
            memory for one step's graph instead of m, the same gradient, about a third more time.

    Shapes: (batch, channels, *spatial) -> (batch, num_steps, channels, *spatial).
    Raises: TypeError for a state that is no floating-point tensor. ValueError for a state with NaN or an empty batch,
        an unknown physical parameter, a parameter for which a solver is unstable, or an initial state from which the
        first solver of the chain is.
    """

    its_step = "rollout.step"  # what is meant where an operator is asked for

    def __init__(self, step: nn.Module, num_steps: int, *, gradient: FullGradient = FullGradient(),
                 record_after: int = -1, checkpoint: bool = False):
        super().__init__()
        self.step = arguments.operator("Rollout", "step", step)
        self.num_steps = arguments.whole("Rollout", "num_steps", num_steps)
        self.gradient = arguments.instance("Rollout", "gradient", gradient, FullGradient, "a policy, "
                                           "such as FullGradient() or Truncated(2)")
        self.checkpoint = arguments.flag("Rollout", "checkpoint", checkpoint)
        places = len(list(operators(step)))
        if places == 0:
            raise ValueError("Rollout: the step is an empty chain; give at least one operator")
        self.record_after = arguments.whole("Rollout", "record_after", record_after, -places, places - 1) % places

    def forward(self, u: Tensor, **parameters: Tensor | float) -> Tensor:
        parameters = self.prepare(u, parameters)
        recorded = []
        for step in range(self.num_steps):
            with torch.set_grad_enabled(torch.is_grad_enabled() and self.gradient.tracks(step, self.num_steps)):
                u = self.gradient.enter(u, step, self.num_steps)
                if self.checkpoint and torch.is_grad_enabled():
                    u, record = checkpoint(self.advance, u, parameters, use_reentrant=False)
                else:
                    u, record = self.advance(u, parameters)
            recorded.append(record)
        return torch.stack(recorded, 1)

    def advance(self, u: Tensor, parameters: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """(u_next, what is recorded of the step), with ``parameters`` as ``prepare`` returns them."""
        record = u
        for place, operator in enumerate(operators(self.step)):
            u = self.gradient.apply(operator, u, **select(operator, parameters))
            if not isinstance(u, Tensor):
                raise arguments.refusal("Rollout", f"the result of operator {place}", u, "an operator that returns the "
                                        "next state, a tensor")
            if place == self.record_after:
                record = u
        return u, record

    def prepare(self, u: Tensor, parameters: dict) -> dict[str, Tensor]:
        """The parameters as tensors, checked together with the initial state."""
        arguments.tensor("Rollout", "the initial state", u, "(batch, channels, *spatial)")
        arguments.device("Rollout", u.device)
        if u.ndim < 2 or len(u) == 0:
            raise ValueError(f"Rollout: the initial state has shape {tuple(u.shape)}; "
                             "it must be (batch, channels, *spatial) with at least one sample")
        arguments.known("Rollout", "parameter", parameters, parameter_names(self.step), "; no operator of the step "
                        "takes another, and a batch has 'u0', 'reference' and these")
        for name, value in parameters.items():
            if not isinstance(value, Tensor) and not arguments.is_number(value):
                raise arguments.refusal("Rollout", f"parameter {name}", value, "a number, or a tensor with one value "
                                        "per sample")
        # A number stands for one value per sample; made a tensor once, it is checked by the solvers once.
        shapes = {name: solver.parameter_shape(name)
                  for solver in solvers(self.step) for name in solver.parameter_names}
        parameters = {name: u.new_full((len(u), *shapes.get(name, ())), float(value))
                      if arguments.is_number(value) else value for name, value in parameters.items()}
        if current_recorder() is None:
            if not torch.isfinite(u).all():
                raise ValueError(f"Rollout: the initial state has {int((~torch.isfinite(u)).sum())} values that are "
                                 "NaN or infinite; check where it comes from (an earlier roll-out that diverged?)")
            for solver in self._start():
                if set(solver.required) <= set(parameters):  # else the network provides what is missing
                    prepared = solver.prepare(u, select(solver, parameters))
                    solver.check_state(u.detach(), **{name: value.detach() for name, value in prepared.items()})
            for name, value in parameters.items():
                if not torch.isfinite(value).all():
                    raise ValueError(f"Rollout: parameter {name} contains NaN or infinity; check where it is computed")
        return parameters

    def _start(self) -> Iterator[Solver]:
        """The first solver of the chain, if the initial state reaches it as it is or slightly changed."""
        for operator in operators(self.step):
            if found := list(solvers(operator)):
                yield found[0]
            if found or isinstance(operator, Replace) or not isinstance(operator, (Coupling, GaussianNoise)):
                return


@contextmanager
def in_mode(chain: nn.Module, *, training: bool) -> Iterator[None]:
    """``.train()`` or ``.eval()`` for a while; afterwards every part is in the mode that it came in."""
    modes = [(module, module.training) for module in chain.modules()]
    chain.train(training)
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def operators(step: nn.Module) -> Iterator[nn.Module]:
    """The operators of a step, nested chains laid flat, so that policies see each of them."""
    if isinstance(step, nn.Sequential):
        for operator in step:
            yield from operators(operator)
    else:
        yield step
