"""Where the backward pass is cut. Policies change gradients, never values.   Chapters: 03_unrolling, 06_long_horizons.

A policy has three hooks that ``Rollout`` calls: ``tracks`` (does this step build a graph at all?), ``enter``
(the edge from one step into the next) and ``apply`` (the edge through one operator).
"""

import torch
from torch import Tensor, nn

from . import arguments
from .coupling import Coupling
from .physics.solver import solvers


class FullGradient:
    """Back-propagation through every operator of every step (WIG in List et al. 2025, SOL in Um et al. 2020)."""

    def tracks(self, step: int, num_steps: int) -> bool:
        return True

    def enter(self, u: Tensor, step: int, num_steps: int) -> Tensor:
        return u

    def apply(self, operator: nn.Module, u: Tensor, **parameters: Tensor) -> Tensor:
        return operator(u, **parameters)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value}" for name, value in vars(self).items())
        return f"{type(self).__name__}({arguments})"


class Truncated(FullGradient):
    """Truncated back-propagation in time: the state is detached after every ``every`` steps (TBPTT)."""

    def __init__(self, every: int):
        self.every = arguments.whole("Truncated", "every", every)

    def enter(self, u: Tensor, step: int, num_steps: int) -> Tensor:
        return u.detach() if step > 0 and step % self.every == 0 else u


class NoSolverGradient(FullGradient):
    """No gradient through the solver: what a solver without derivatives allows (NOG in List et al. 2025).

    Solvers are found inside other modules too, but not inside a plain function.
    """

    def apply(self, operator: nn.Module, u: Tensor, **parameters: Tensor) -> Tensor:
        if next(solvers(operator), None) is None:
            return operator(u, **parameters)
        if any(w.requires_grad for w in operator.parameters()):
            raise ValueError(
                f"NoSolverGradient cannot cut {type(operator).__name__}: it holds a solver and a network, whose "
                "output reaches the loss only through the solver, so nothing would be left to train it. "
                "Use Sequential(solver, Additive(network)), or another policy.")
        with torch.no_grad():
            return operator(u, **parameters)


class Pushforward(FullGradient):
    """Only the last step builds a graph; the earlier ones run without one (Brandstetter et al. 2022)."""

    def tracks(self, step: int, num_steps: int) -> bool:
        return step == num_steps - 1


class PhysicsPath(FullGradient):
    """The state's gradient flows through the solver only, not through the network's input (Schnell & Thuerey 2024)."""

    def apply(self, operator: nn.Module, u: Tensor, **parameters: Tensor) -> Tensor:
        if not isinstance(operator, Coupling):
            if isinstance(operator, nn.Module) and any(w.requires_grad for w in operator.parameters()):
                raise ValueError(f"PhysicsPath cannot see the network inside {type(operator).__name__}; "
                                 "put it into a coupling, as in Additive(network)")
            return operator(u, **parameters)
        return operator.couple(u, operator.output(u.detach(), **parameters), **parameters)
