"""The PhiFlow step, recorded once as a plain graph of tensor operations.

PhiFlow's eager cost is the work of building fields and shapes in Python, which is the same at every step.
``trace`` runs the step and its backward pass once, keeps the tensor operations, and replays them. The physics
stays written once, in PhiFlow.   Chapter: 00_solver_as_operator.
"""

import operator
from collections.abc import Callable, Hashable

import numpy as np
import torch
from torch import Tensor, fx, nn

from .. import arguments
from .graph import Graph, TraceError, current_recorder, record, traceable_padding
from .program import Program, split
from .simplify import simplify
from .solver import Solver

__all__ = ["TraceError", "TracedSolver", "trace"]


def trace(solver: Solver, example: Tensor, **parameters: Tensor | float) -> "TracedSolver":
    """The same solver, its step recorded for states like ``example`` and checked against the eager step.

    Another batch size, dtype or device, another set of parameters, or a changed attribute of the solver is recorded
    and checked when it is first met. Values of the parameters are inputs of the graph: gradients flow to them.
    First derivatives replay a recorded backward pass; higher ones differentiate the graph.

    Raises: TraceError if the step branches on data, draws random numbers, solves iteratively, keeps state
    from call to call, or has a custom backward that the graph would lose.
    """
    traced = TracedSolver(solver)
    traced(example, **parameters)
    return traced


class TracedSolver(Solver):
    """A solver that replays graphs of another one's step, one graph for each kind of input."""

    def __init__(self, solver: Solver):
        arguments.instance("trace", "solver", solver, Solver, "a solver, such as Burgers(...): trace the solvers of a "
                           "chain one by one, as in Sequential(trace(P, u0), Additive(N)), and a training with its "
                           "networks by fit(..., trace=True)")
        super().__init__(solver.dt, solver.state_shape)
        self.solver = solver
        self.required, self.optional = solver.required, solver.optional
        self._graphs: dict[tuple, _Recorded] = {}
        self._walked: tuple[list[dict], list, Hashable] = [], [], None

    def parameter_shape(self, name: str) -> tuple[int, ...]:
        return self.solver.parameter_shape(name)

    def __setattr__(self, name: str, value) -> None:
        if "_walked" in self.__dict__ and name[0] != "_" and name != "training":
            raise AttributeError(f"{self.label}: a traced solver follows the one it was recorded from; "
                                 f"set {name} on that one, traced.solver.{name} = ...")
        super().__setattr__(name, value)

    def prepare(self, u: Tensor, parameters: dict) -> dict[str, Tensor]:
        return self.solver.prepare(u, parameters)

    def _precompute_once(self, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        return self.solver._precompute_once(parameters)

    def check_state(self, u: Tensor, **parameters: Tensor) -> None:
        self.solver.check_state(u, **parameters)

    @property
    def label(self) -> str:
        return self.solver.label

    def step(self, u: Tensor, **parameters: Tensor) -> Tensor:
        if current_recorder() is not None:
            return self.solver.step(u, **parameters)  # part of a larger graph
        names = tuple(sorted(parameters))
        inputs = [u.contiguous(), *(parameters[name].contiguous() for name in names)]
        return self._recorded(names, inputs)(*inputs)

    def graph(self, u: Tensor, **parameters: Tensor) -> fx.GraphModule:
        """The step as a graph of aten operations ``(u, *values of step's parameters, sorted by name) -> [u_next]``."""
        names = tuple(sorted(parameters))
        return self._recorded(names, [u.contiguous(), *(parameters[name].contiguous() for name in names)]).graph.module

    def _recorded(self, names: tuple[str, ...], inputs: list[Tensor]) -> "_Recorded":
        kinds = tuple((x.shape, x.dtype, x.device) for x in inputs)
        key = (names, kinds, self._fingerprint())
        recorded = self._graphs.get(key)
        if recorded is None or not recorded.graph.is_current:
            def step(u, *values):
                return self.solver.step(u, **dict(zip(names, values)))

            with _apart():
                recorded = self._graphs[key] = _Recorded(self.solver.label, step, inputs)
        return recorded

    def _fingerprint(self) -> Hashable:
        """``fingerprint(self.solver)``, walked again only if some name or object in it is another one."""
        parts, seen, value = self._walked
        found = [x for part in parts for x in (*part, *part.values())]
        if not parts or len(found) != len(seen) or not all(map(operator.is_, found, seen)):
            value, modules = fingerprint(self.solver), list(self.solver.modules())
            fixed = all(_is_fixed(v) for m in modules for name, v in vars(m).items() if name not in _INTERNAL)
            parts = [d for m in modules for d in (vars(m), m._modules, m._buffers, m._parameters)] if fixed else []
            self._walked = parts, [x for part in parts for x in (*part, *part.values())], value
        return value

    def __getstate__(self) -> dict:
        return {**super().__getstate__(), "_graphs": {}, "_walked": ([], [], None)}  # a copy records anew


class _Recorded:
    """One graph of a step, and of its backward pass for each set of inputs that need a gradient."""

    def __init__(self, label: str, step: Callable, inputs: list[Tensor]):
        self.label, self.step = label, step
        u, *values = (x.detach().clone() for x in inputs)
        self.examples = [[_off_kinks(u), *values], [_unseen(u), *values]]
        self.graph = self._record(lambda *x: [step(*x)], self.examples[0])
        self.programs: dict[tuple[bool, ...], tuple[Program, Program | None]] = {}
        for example in self.examples:
            _check(label, step, self.plain, example)
            _check(label, step, lambda *x: _Replay.apply(self, *x), example)

    def __call__(self, *inputs: Tensor) -> Tensor:
        if torch._C._functorch.peek_interpreter_stack() or torch.autograd.forward_ad._current_level >= 0:
            return self.plain(*inputs)  # torch.func or forward mode wants to see every operation
        if torch.is_grad_enabled() and any(x.requires_grad for x in inputs):
            return _Replay.apply(self, *inputs)
        forward, _ = self.program((False,) * len(inputs))
        return forward(*inputs)[0]

    def plain(self, *inputs: Tensor) -> Tensor:
        return self.graph(*inputs)[0]

    def program(self, needed: tuple[bool, ...]) -> tuple[Program, Program | None]:
        """The forward pass, which also returns what the backward pass of the needed inputs takes, and that pass."""
        if needed not in self.programs:
            if not any(needed):
                self.programs[needed] = Program(self.graph.fx, self.graph.constants), None
            else:
                def step_and_gradients(g, *inputs):
                    leaves = [x.detach().requires_grad_(need) for x, need in zip(inputs, needed)]
                    with torch.enable_grad():
                        u_next = self.step(*leaves)
                        wanted = [x for x in leaves if x.requires_grad]
                        return [u_next.detach(), *torch.autograd.grad(u_next, wanted, g, materialize_grads=True)]

                # Contiguous, like the gradients that run_backward is given: the recorded strides must hold.
                g = torch.ones_like(self.plain(*self.examples[0]), memory_format=torch.contiguous_format)
                with _apart():
                    joint = self._record(step_and_gradients, [g, *self.examples[0]])
                self.programs[needed] = split(joint)
        return self.programs[needed]

    def _record(self, function: Callable, inputs: list[Tensor]) -> Graph:
        try:
            with traceable_padding():
                graph = record(function, inputs)
        except Exception as error:
            raise TraceError(f"{self.label}: the step cannot be recorded: {error}. {_HINT}") from error
        simplify(graph)
        return graph


class _Replay(torch.autograd.Function):
    """The recorded step with the recorded backward pass."""

    @staticmethod
    def forward(ctx, recorded: _Recorded, *inputs: Tensor) -> Tensor:
        needed = ctx.needs_input_grad[1:]
        forward, ctx.run_backward = recorded.program(needed)
        u_next, *kept = forward(*inputs)
        ctx.recorded, ctx.num_inputs = recorded, len(inputs)
        ctx.save_for_backward(*inputs, *kept)
        return u_next

    @staticmethod
    def backward(ctx, g: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        inputs, kept = saved[:ctx.num_inputs], saved[ctx.num_inputs:]
        needed = ctx.needs_input_grad[1:]
        if torch.is_grad_enabled():  # these gradients will be differentiated themselves
            wanted = [x for x, need in zip(inputs, needed) if need]
            u_next = ctx.recorded.plain(*inputs)
            found = torch.autograd.grad(u_next, wanted, g, create_graph=True, materialize_grads=True)
        else:
            found = ctx.run_backward(g.contiguous(), *kept)
        found = iter(found)
        return None, *(next(found) if need else None for need in needed)


# Attributes that every module has, and the solvers' own memory: no part of what a module does.
_INTERNAL = vars(nn.Module()).keys() - {"training"} | {"_checked", "_precomputed", "_graphs", "_walked"}


def fingerprint(value) -> Hashable:
    """What a graph bakes in: the plain attributes of a module and of its parts, and which tensors they hold."""
    if isinstance(value, nn.Module):
        return tuple(
            (type(module), *((name, fingerprint(v)) for name, v in vars(module).items() if name not in _INTERNAL),
             *map(id, module._buffers.values()), *map(id, module._parameters.values())) for module in value.modules())
    if isinstance(value, Tensor):
        return id(value), value._version
    if isinstance(value, np.ndarray):
        return value.shape, value.dtype.str, value.tobytes()
    if isinstance(value, (list, tuple)):
        return tuple(map(fingerprint, value))
    if isinstance(value, dict):
        return tuple((name, fingerprint(v)) for name, v in value.items())
    if hasattr(value, "__dict__") and not callable(value):
        return type(value), fingerprint(vars(value))
    return type(value), value


def _is_fixed(value) -> bool:
    """The same object has the same fingerprint for ever."""
    if isinstance(value, tuple):
        return all(map(_is_fixed, value))
    plain = callable(value) or not hasattr(value, "__dict__")
    return plain and not isinstance(value, (nn.Module, Tensor, np.ndarray, list, dict))


_HINT = ("A step must be one fixed sequence of tensor operations: no branch on a tensor's value, no iterative "
         "linear solve (use physics.projection), no NumPy in between. Use the eager solver where that is impossible.")


def _off_kinks(u: Tensor) -> Tensor:
    """The state, moved a little: at rest, say, a scheme has two one-sided derivatives, and rounding picks one."""
    return u + 0.01 * _scale(u) * _noise(u, seed=1)


def _unseen(u: Tensor) -> Tensor:
    """A state that the step has not been recorded with, of the same scale."""
    return torch.roll(-0.7 * u.flip(-1), 1, -1) + 0.1 * _scale(u) * _noise(u, seed=0)


def _scale(u: Tensor) -> float:
    deviation = float(u.std()) if u.numel() > 1 else 0.0
    return deviation if deviation > 0 else 1.0


def _noise(u: Tensor, seed: int) -> Tensor:
    return torch.randn(u.shape, generator=torch.Generator().manual_seed(seed), dtype=u.dtype).to(u.device)


def _check(label: str, step, graph, inputs: list[Tensor]) -> None:
    """Compare values and vector-Jacobian products of the graph with those of the step."""
    expected, expected_gradients = _value_and_gradients(step, inputs)
    again, _ = _value_and_gradients(step, inputs)
    found, found_gradients = _value_and_gradients(graph, inputs)
    if not torch.equal(expected, again) and torch.isfinite(expected).all():
        raise TraceError(f"{label}: two calls of the step on the same state differ (random numbers or a counter?); "
                         "it cannot be replayed")
    if expected.dtype != inputs[0].dtype:
        raise TraceError(f"{label}: the step turns {inputs[0].dtype} into {expected.dtype}; it must keep the state's "
                         "dtype")
    pairs = [("value", expected, found)]
    pairs += [("gradient", e, f) for e, f in zip(expected_gradients, found_gradients)]
    for what, e, f in pairs:
        if not agree(e, f):
            raise TraceError(f"{label}: the {what} of the recorded graph differs from the step's by "
                             f"{float((e - f).abs().max()):.3g}, its largest entry being {float(e.abs().max()):.3g}. "
                             f"{_HINT} A backward written as torch.autograd.Function is lost: use "
                             "torch.library.custom_op.")


def agree(expected: Tensor, found: Tensor) -> bool:
    """Equal up to a thousand roundings of the largest value, and NaN or infinite at the same places."""
    finite = expected.isfinite()
    if expected.shape != found.shape or not torch.equal(finite, found.isfinite()):
        return False
    scale = expected[finite].abs().amax() if finite.any() else 0
    return bool(((expected - found)[finite].abs() <= 1e3 * torch.finfo(expected.dtype).eps * scale).all())


def _value_and_gradients(step, inputs: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    with torch.enable_grad():
        value = step(*leaves)
        weights = torch.linspace(-1, 1, value.numel(), dtype=value.dtype, device=value.device).cos().view(value.shape)
        gradients = [None] * len(leaves)
        if value.requires_grad:
            gradients = torch.autograd.grad(value, leaves, weights, allow_unused=True)
    return value.detach(), [torch.zeros_like(x) if g is None else g for x, g in zip(leaves, gradients)]


def _apart():
    """What recording saves for its own backward passes is no business of a checkpointed step that it happens in."""
    return torch.autograd.graph.saved_tensors_hooks(lambda x: x, lambda x: x)
