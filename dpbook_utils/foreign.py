"""What every foreign solver is: a step that torch does not know, its place in autograd, and what is refused.

A foreign step is a function ``step(u, **parameters) -> u_next`` of arrays: ``u`` (batch, channels, *spatial), and for
each parameter one number per sample, (batch,). Its parameters are those that its signature names, those with a default
are optional. What it returns is looked at: an error says which step it was.   Chapter: 13_foreign_solvers.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from . import arguments
from .graphs.graph import TraceError, current_recorder
from .physics.solver import Solver


class ForeignError(RuntimeError):
    """A foreign step that raised, or returned what is no next state, or cannot give what was asked for."""


class ForeignSolver(Solver):
    """A solver whose step is foreign: ``call`` computes it, ``pull_back`` its vector-Jacobian product.

    Args:
        step: the foreign function.
        state_shape: (channels, *spatial) of one sample.
        dt: time step [s], for those who ask for it.
        shapes: of one sample's value of the parameters that are no numbers, ``{"coefficients": (5,)}``.
    """

    def __init__(self, step: Callable, state_shape: tuple[int, ...], dt: float | None,
                 shapes: Mapping[str, tuple[int, ...]] | None):
        maker = self.maker
        arguments.function(maker, "step", step, "a function step(u, **parameters) of arrays")
        super().__init__(dt, state_shape)
        self.function = step
        self.required, self.optional = _parameters(maker, step)
        shapes = arguments.mapping(maker, "shapes", shapes or {}, "shapes of parameters by name, {'force': (1, 64)}")
        arguments.known(maker, "name in shapes", shapes, self.parameter_names)
        if wrong := [name for name, shape in shapes.items() if not arguments.is_shape(shape)]:
            raise arguments.refusal(maker, f"shapes[{wrong[0]!r}]", shapes[wrong[0]],
                                    "one whole number of at least 1 for each axis, such as (5,)")
        self.shapes = {name: tuple(shape) for name, shape in shapes.items()}
        self._seen: set[tuple] = set()  # kinds of states for which two calls were compared

    @property
    def maker(self) -> str:
        return type(self).__name__

    @property
    def label(self) -> str:
        function = vars(self).get("function")
        name = getattr(function, "__qualname__", type(function).__name__).rpartition(".<locals>.")[2]
        return f"{self.maker}({name})" if function is not None else self.maker

    def parameter_shape(self, name: str) -> tuple[int, ...]:
        return self.shapes[name] if name in self.shapes else super().parameter_shape(name)

    def call(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """The next state from ``{"u": state, **parameters}``."""
        raise NotImplementedError(f"{type(self).__name__} must implement call(inputs)")

    def pull_back(self, inputs: dict[str, Tensor], g: Tensor, wanted: Sequence[str]) -> Mapping[str, Tensor]:
        """The gradient of <g, step> with respect to the wanted ones of the inputs."""
        raise NotImplementedError(f"{type(self).__name__} must implement pull_back(inputs, g, wanted)")

    def step(self, u: Tensor, **parameters: Tensor) -> Tensor:
        if current_recorder() is not None:
            raise TraceError("it is foreign, and what it does is no list of torch's operations; use it as it is, and "
                             "train with trace=False")
        if torch._C._functorch.peek_interpreter_stack() or torch.autograd.forward_ad._current_level >= 0:
            raise ForeignError(f"{self.label}: torch.func cannot look into a foreign step, nor can forward mode and "
                               "updates that need the whole Jacobian; use torch.autograd.grad, or train with fit")
        if any(x.is_neg() for x in (u, *parameters.values())):
            raise ForeignError(f"{self.label}: the state or a parameter is a view of its negative, which NumPy does "
                               "not know; give x.resolve_neg()")
        self._look({"u": u.detach(), **{name: x.detach() for name, x in parameters.items()}})
        return _Bridge.apply(self, ("u", *parameters), u, *parameters.values())

    def _look(self, inputs: dict[str, Tensor]) -> None:
        """Two calls on the same state must agree, and leave it as it is; looked at once for each kind of state."""
        u = inputs["u"]
        kind = u.shape, u.dtype, str(u.device)
        if kind in self._seen:
            return
        before = u.clone()
        first, again = self.call(inputs), self.call(inputs)
        if not torch.allclose(before, u, rtol=0, atol=0, equal_nan=True):
            raise ForeignError(f"{self.label}: the step writes to the state that it is given; let it work on a copy")
        apart = float((again - first).abs().nan_to_num().max())
        if apart > 1e3 * torch.finfo(u.dtype).eps * float(first.abs().nan_to_num().max()):
            raise ForeignError(f"{self.label}: two calls of the step on the same state differ by {apart:.3g}; it must "
                               "be deterministic (draw random numbers outside and pass them as a parameter)")
        if len(u) > 1 and arguments.differ(self.call({name: x[:1].expand_as(x) for name, x in inputs.items()})[0],
                                           first[0]):
            raise ForeignError(f"{self.label}: the result of the step for sample 0 changes with the other samples; "
                               "let it treat each by itself, with sums and shifts along the axes after the first one "
                               "only (a step of JAX for one state becomes one of a batch by jax.vmap)")
        self._seen.add(kind)

    def checked(self, what: str, value: Tensor, like: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
        """A result of foreign code, which must be shaped like a tensor and finite if all of the inputs are."""
        if value.shape != like.shape or value.dtype != like.dtype:
            raise ForeignError(f"{self.label}: {what} is {arguments.shown(value)}; let it return the shape "
                               f"{tuple(like.shape)} and {like.dtype}, those of what it was given")
        if not torch.isfinite(value).all() and all(torch.isfinite(x).all() for x in inputs.values()):
            bad = (~torch.isfinite(value)).flatten(1).any(1).nonzero().flatten().tolist()
            raise ForeignError(f"{self.label}: {what} holds NaN or infinity for sample {bad[0]} of {len(value)}, from "
                               "inputs that are finite; the step is unstable there, or wrong")
        return value

    def run(self, what: str, function: Callable, *given, **named):
        """Call foreign code."""
        try:
            return function(*given, **named)
        except Exception as error:
            said = " ".join(str(error).split())[:300]
            raise ForeignError(f"{self.label}: {what} raised {type(error).__name__}: {said}") from error


class _Bridge(torch.autograd.Function):
    """The foreign step for autograd; its gradient has no further derivatives."""

    @staticmethod
    def forward(ctx, solver: ForeignSolver, names: tuple[str, ...], *values: Tensor) -> Tensor:
        ctx.solver, ctx.names = solver, names
        ctx.save_for_backward(*values)
        return solver.call(dict(zip(names, map(torch.Tensor.detach, values))))

    @staticmethod
    def backward(ctx, g: Tensor) -> tuple[Tensor | None, ...]:
        if torch._C._functorch.is_legacy_batchedtensor(g) or g.is_neg():
            raise ForeignError(f"{ctx.solver.label}: the backward pass was asked for many gradients at once, or for "
                               "one that is a view of its negative; call torch.autograd.grad once for each, without "
                               "is_grads_batched or vectorize, with g.resolve_neg()")
        inputs = dict(zip(ctx.names, ctx.saved_tensors))
        wanted = [name for name, need in zip(ctx.names, ctx.needs_input_grad[2:]) if need]
        with torch.no_grad():
            found = ctx.solver.pull_back({name: x.detach() for name, x in inputs.items()}, g.detach(), wanted)
        for name in wanted:
            if found.get(name) is None:
                raise ForeignError(f"{ctx.solver.label}: its vjp gives no gradient with respect to {name}; let it "
                                   f"return a dict with {name!r}, or detach what is given as {name}")
        gradients = [found[name] for name in wanted]
        if torch.is_grad_enabled():  # somebody may want to differentiate them
            gradients = _Once.apply(ctx.solver.label, len(gradients), *gradients, g, *inputs.values())
        gradients = dict(zip(wanted, gradients))
        return None, None, *(gradients.get(name) for name in ctx.names)


class _Once(torch.autograd.Function):
    """The first ``number`` tensors, which cannot be differentiated."""

    @staticmethod
    def forward(ctx, label: str, number: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.label = label
        return tuple(x.clone() for x in tensors[:number])

    @staticmethod
    def backward(ctx, *gradients: Tensor):
        raise ForeignError(f"{ctx.label}: a second derivative was asked for, and the bridge to a foreign step has "
                           "first ones only; use a method that needs no more, or write the step in torch")


def _parameters(label: str, step: Callable) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of a step's parameters after the state: without, and with a default."""
    try:
        _, *taken = inspect.signature(step).parameters.values()
    except (TypeError, ValueError):
        raise arguments.refusal(label, "step", step, "a function step(u, **parameters) whose signature can be read; "
                                "wrap it: lambda u: step(u)") from None
    for parameter in taken:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise arguments.refusal(label, "step", step, "a function that names its parameters, step(u, viscosity), "
                                    f"where this one has {parameter}")
        if parameter.name in ("u", "u0", "reference", "function", "what"):
            raise arguments.refusal(label, "step", step, "a function whose parameters are not called as the states, u, "
                                    f"u0 and reference, or function or what; this one has {parameter.name}", ValueError)
    required, optional = ([p.name for p in taken if (p.default is p.empty) == without] for without in (True, False))
    return tuple(required), tuple(optional)
