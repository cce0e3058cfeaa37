"""The PhiFlow step, recorded once as a plain graph of tensor operations.

PhiFlow's eager cost is the work of building fields and shapes in Python, which is the same at every step.
``trace`` runs the step and its backward pass once, keeps the tensor operations, and replays them. The physics
stays written once, in PhiFlow.   Chapter: 00_solver_as_operator.
"""

from collections.abc import Callable

import torch
from torch import Tensor, fx, nn

from .. import arguments
from ..calls import explained
from ..graphs.graph import Graph, TraceError, canonical, current_recorder, record, recording, refuse_unrecordable
from ..graphs.program import Program, split, whole
from ..graphs.simplify import own_outputs, simplify
from ..graphs.watch import Latest
from .solver import Solver

__all__ = ["TraceError", "TracedSolver", "trace"]


@explained
def trace(solver: Solver, example: Tensor, **parameters: Tensor | float) -> "TracedSolver":
    """The same solver, its step recorded for states like ``example`` and checked against the eager step.

    Another batch size, dtype or device, another set of parameters, or a change of anything else that the step can read
    is recorded and checked when it is first met. Inputs and cotangents may lie in memory in any
    way. Values of the parameters are inputs of the graph: gradients flow to them. First derivatives replay a recorded
    backward pass; higher ones differentiate the graph.

    Raises: TraceError if the step branches on data, draws random numbers, solves iteratively, keeps state
    from call to call, writes to its input, holds a trainable weight, or has a custom backward that the graph would
    lose.
    """
    traced = TracedSolver(solver)
    traced(example, **parameters)
    return traced


class TracedSolver(Solver):
    """A solver that replays graphs of another one's step, one graph for each kind of input, the last sixteen kinds."""

    def __init__(self, solver: Solver):
        arguments.instance("trace", "solver", solver, Solver, "a solver, such as Burgers(...): trace the solvers of a "
                           "chain one by one, as in Sequential(trace(P, u0), Additive(N)), and a training with its "
                           "networks by fit(..., trace=True)")
        super().__init__(solver.dt, solver.state_shape)
        self.solver = solver
        self.required, self.optional = solver.required, solver.optional
        self._replayed: list = [None, None]  # the solver's call that was replayed last, and its graph
        self._graphs: Latest = Latest()  # the last attribute: from now on they are the solver's

    def parameter_shape(self, name: str) -> tuple[int, ...]:
        return self.solver.parameter_shape(name)

    def __setattr__(self, name: str, value) -> None:
        if "_graphs" in self.__dict__ and name[0] != "_" and name != "training":
            raise AttributeError(f"{self.label}: a traced solver follows the one it was recorded from; "
                                 f"set {name} on that one, traced.solver.{name} = ...")
        super().__setattr__(name, value)

    def prepare(self, u: Tensor, parameters: dict) -> dict[str, Tensor]:
        return self.solver.prepare(u, parameters)

    def _precomputed(self, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        return self.solver._precomputed(parameters)

    def check_state(self, u: Tensor, **parameters: Tensor) -> None:
        self.solver.check_state(u, **parameters)

    @property
    def label(self) -> str:
        return self.solver.label

    def step(self, u: Tensor, **parameters: Tensor) -> Tensor:
        if current_recorder() is None:
            memory = self.solver._memory
            memory.refresh(self.solver)
            memory.call = None  # nobody has looked at this one
        return self._step(u, parameters)

    def _step(self, u: Tensor, parameters: dict[str, Tensor]) -> Tensor:
        names = sorted(parameters)
        inputs = [u, *[parameters[name] for name in names]]
        if current_recorder() is not None or not all([type(x) in (Tensor, nn.Parameter) for x in inputs]):
            return self.solver.step(u, **parameters)  # part of a larger graph, or a tensor with a mind of its own
        call, (known, recorded) = self.solver._memory.call, self._replayed
        if call is None or call is not known or not recorded.is_current:
            recorded = self._recorded(tuple(names), inputs)
            self._replayed[:] = call, recorded
        return recorded(*inputs)

    def graph(self, u: Tensor, **parameters: Tensor) -> fx.GraphModule:
        """The step as a graph of aten operations ``(u, *values of step's parameters, sorted by name) -> [u_next]``."""
        self.solver._memory.refresh(self.solver)
        names = tuple(sorted(parameters))
        return self._recorded(names, [u, *(parameters[name] for name in names)]).graph.module

    def _recorded(self, names: tuple[str, ...], inputs: list[Tensor]) -> "_Recorded":
        key = names, tuple([(x.shape, x.dtype, x.device) for x in inputs]), self.solver._memory.watch.key

        def step(u, *values):
            return self.solver.step(u, **dict(zip(names, values)))

        def record() -> _Recorded:
            refuse_unrecordable(self.label, self.solver)
            self.solver.check_result(inputs[0], _value(step, [x.detach().clone() for x in inputs]))
            return _Recorded(self.solver.label, step, inputs)

        return self._graphs.current(key, record)

    def __getstate__(self) -> dict:
        return {**super().__getstate__(), "_graphs": Latest(), "_replayed": [None, None]}  # a copy records anew


class _Recorded:
    """One graph of a step, and of its backward pass for each set of inputs that need a gradient."""

    def __init__(self, label: str, step: Callable, inputs: list[Tensor]):
        self.label, self.step = label, step
        self.programs: dict[tuple[bool, ...], tuple[Program, Program | None]] = {}
        self.graphs: list[Graph] = []
        with recording(inputs[0].device):
            u, *values = (canonical(x.detach().clone()) for x in inputs)
            self.examples = [[_off_kinks(u), *values], [_unseen(u), *values]]
            self.graph = self._record(lambda *x: [step(*x)], self.examples[0])
            own_outputs(self.graph.fx)
            for example in self.examples:
                check(label, step, self.plain, lambda *x: _Replay.apply(self, *x), example)

    @property
    def is_current(self) -> bool:
        """No tensor that the step read while it was recorded has been changed since."""
        return all([graph.is_current for graph in self.graphs if graph.watched])

    def __call__(self, *inputs: Tensor) -> Tensor:
        if torch._C._functorch.peek_interpreter_stack() or torch.autograd.forward_ad._current_level >= 0:
            return self.plain(*inputs)  # torch.func or forward mode wants to see every operation
        if torch.is_grad_enabled() and any([x.requires_grad for x in inputs]):
            return _Replay.apply(self, *inputs)
        forward, _ = self.program((False,) * len(inputs))
        return forward(*inputs)[0]

    def plain(self, *inputs: Tensor) -> Tensor:
        return self.graph(*map(canonical, inputs))[0]

    def program(self, needed: tuple[bool, ...]) -> tuple[Program, Program | None]:
        """The forward pass, which also returns what the backward pass of the needed inputs takes, and that pass."""
        if needed not in self.programs:
            device = self.examples[0][0].device
            if not any(needed):
                self.programs[needed] = whole(self.graph, device), None
            else:
                def step_and_gradients(g, *inputs):
                    leaves = [x.detach().requires_grad_(need) for x, need in zip(inputs, needed)]
                    u_next = self.step(*leaves)
                    wanted = [x for x in leaves if x.requires_grad]
                    if not u_next.requires_grad:  # it depends on none of them
                        return [u_next, *map(torch.zeros_like, wanted)]
                    return [u_next.detach(), *torch.autograd.grad(u_next, wanted, g, materialize_grads=True)]

                with recording(device):
                    g = torch.ones_like(self.plain(*self.examples[0]), memory_format=torch.contiguous_format)
                    joint = self._record(step_and_gradients, [canonical(g), *self.examples[0]])
                self.programs[needed] = split(joint, device)
        return self.programs[needed]

    def _record(self, function: Callable, inputs: list[Tensor]) -> Graph:
        before = [x._version for x in inputs]
        try:
            graph = record(function, inputs)
        except Exception as error:
            raise TraceError(f"{self.label}: the step cannot be recorded: {error}. {_HINT}") from error
        if before != [x._version for x in inputs] or not graph.is_current:
            raise TraceError(f"{self.label}: the step writes in place to its input or to a tensor that the solver "
                             "holds; let it return a new tensor")
        simplify(graph)
        self.graphs.append(graph)
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
            found = ctx.run_backward(g, *kept)
        found = iter(found)
        return None, *(next(found) if need else None for need in needed)


_HINT = ("A step must be one fixed sequence of tensor operations: no branch on a tensor's value, no iterative solve "
         "(dpbook_utils.physics.projection has direct ones), no NumPy. Use the eager solver where that is impossible.")


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
    generator = torch.Generator("cpu").manual_seed(seed)
    return torch.randn(u.shape, generator=generator, dtype=u.dtype, device="cpu").to(u.device)


def check(label: str, step: Callable, plain: Callable, replay: Callable, inputs: list[Tensor]) -> None:
    """Compare values and vector-Jacobian products of the graph with those of the step, its replay in several layouts.

    Raises: TraceError for a difference, and for a step that cannot be replayed.
    """
    expected = _value(step, inputs)
    if not torch.equal(expected, _value(step, inputs)) and torch.isfinite(expected).all():
        raise TraceError(f"{label}: two calls of the step on the same state differ (random numbers or a counter?); "
                         "it cannot be replayed")
    g = _noise(expected, seed=2)  # a smooth one would make of a derivative a difference of large numbers
    _compare(label, "step's", _value_and_gradients(step, inputs, g), _value_and_gradients(plain, inputs, g))
    found = _value_and_gradients(replay, inputs, g)
    _compare(label, "step's", _value_and_gradients(step, inputs, g), found)
    for name, cotangent in layouts(g).items():
        moved = [layouts(x)[name] for x in inputs]
        _compare(label, f"same graph's for tensors {name}", found, _value_and_gradients(replay, moved, cotangent))
    same, expanded = torch.ones_like(g), g.new_ones(()).expand(g.shape)
    _compare(label, "same graph's for an expanded cotangent", _value_and_gradients(replay, inputs, same),
             _value_and_gradients(replay, inputs, expanded))


def _compare(label: str, whose: str, expected: list[Tensor], found: list[Tensor]) -> None:
    for i, (e, f) in enumerate(zip(expected, found, strict=True)):
        if not agree(e, f):
            raise TraceError(f"{label}: the {'gradient' if i else 'value'} of the recorded graph differs from the "
                             f"{whose} by {float((e - f).abs().max()):.3g}, its largest entry being "
                             f"{float(e.abs().max()):.3g}. {_HINT} A backward written as torch.autograd.Function is "
                             "lost: use torch.library.custom_op.")


def layouts(x: Tensor) -> dict[str, Tensor]:
    """The same values laid out in memory in several ways."""
    x, backwards = canonical(x), tuple(reversed(range(x.ndim)))
    padded = x.new_zeros([2 * n + 1 for n in x.shape])
    sliced = padded[tuple(slice(1, None, 2) for _ in x.shape)].copy_(x)

    def odd(stride: int) -> Tensor:
        return x.as_strided(x.shape, [stride if n == 1 else s for n, s in zip(x.shape, x.stride())])

    # The stride of an axis of size 1 is never used to find a number, but operations order the axes by their strides.
    return {"contiguous": x, "transposed": x.permute(backwards).contiguous().permute(backwards), "sliced": sliced,
            "with short strides": odd(1), "with long strides": odd(3 * x.numel())}


def _value(step: Callable, inputs: list[Tensor]) -> Tensor:
    with torch.no_grad():
        return step(*inputs)


def _value_and_gradients(step: Callable, inputs: list[Tensor], g: Tensor) -> list[Tensor]:
    leaves = [x.detach().requires_grad_() for x in inputs]
    value, gradients = step(*leaves), [None] * len(leaves)
    if value.requires_grad:
        gradients = torch.autograd.grad(value, leaves, g, allow_unused=True)
    return [value.detach(), *(torch.zeros_like(x) if y is None else y for x, y in zip(leaves, gradients))]


def agree(expected: Tensor, found: Tensor) -> bool:
    """Equal up to a thousand roundings of the largest value, and NaN or infinite at the same places."""
    finite = expected.isfinite()
    if expected.shape != found.shape or not torch.equal(finite, found.isfinite()):
        return False
    scale = expected[finite].abs().amax() if finite.any() else 0
    return bool(((expected - found)[finite].abs() <= 1e3 * torch.finfo(expected.dtype).eps * scale).all())

