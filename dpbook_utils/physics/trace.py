"""The PhiFlow step, recorded once as a plain graph of tensor operations.

PhiFlow's eager cost is the work of building fields and shapes in Python, which is the same at every step.
``trace`` runs the step once under ``make_fx``, keeps the tensor operations, and replays them. The physics
stays written once, in PhiFlow.   Chapter: 00_solver_as_operator.
"""

from contextlib import contextmanager

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from .solver import Solver


class TraceError(RuntimeError):
    """The step cannot be recorded as one graph, or the graph does not do what the step does."""


def trace(solver: Solver, example: Tensor, **parameters: Tensor | float) -> "TracedSolver":
    """The same solver, its step recorded for states like ``example`` and checked against the eager step.

    Another batch size, dtype or device, or another set of parameters, is recorded and checked when it is
    first met. Values of the parameters are inputs of the graph: gradients flow to them.

    Raises: TraceError if the step branches on data, draws random numbers, solves iteratively, keeps state
    from call to call, or has a custom backward that the graph would lose.
    """
    traced = TracedSolver(solver)
    traced(example, **parameters)
    return traced


class TracedSolver(Solver):
    """A solver that replays graphs of another one's step, one graph for each kind of input."""

    def __init__(self, solver: Solver):
        super().__init__(solver.dt, solver.state_shape)
        self.solver = solver
        self.required, self.optional = solver.required, solver.optional
        self._graphs: dict[tuple, torch.fx.GraphModule] = {}

    def parameter_shape(self, name: str) -> tuple[int, ...]:
        return self.solver.parameter_shape(name)

    def precompute(self, **parameters: Tensor) -> dict[str, Tensor]:
        return self.solver.precompute(**parameters)

    def check_parameters(self, **parameters: Tensor) -> None:
        self.solver.check_parameters(**parameters)

    def check_state(self, u: Tensor, **parameters: Tensor) -> None:
        self.solver.check_state(u, **parameters)

    @property
    def label(self) -> str:
        return self.solver.label

    def step(self, u: Tensor, **parameters: Tensor) -> Tensor:
        names = tuple(sorted(parameters))
        key = (u.shape, u.dtype, u.device, names, _constants(self.solver))
        if key not in self._graphs:
            self._graphs[key] = _record(self.solver, u, names, [parameters[name] for name in names])
        return self._graphs[key](u, *(parameters[name] for name in names))


def _constants(solver: Solver) -> tuple:
    """Everything a graph bakes in: the solver's plain attributes, and which tensors it holds."""
    plain = tuple((name, value) for name, value in sorted(vars(solver).items())
                  if isinstance(value, (int, float, str, tuple)) and not name.startswith("_"))
    return plain + tuple(id(buffer) for buffer in solver.buffers())


def _record(solver: Solver, u: Tensor, names: tuple[str, ...], values: list[Tensor]):
    def step(u, *values):
        return solver.step(u, **dict(zip(names, values)))

    example = [u.detach().clone(), *(value.detach().clone() for value in values)]
    try:
        with _traceable_padding():
            graph = make_fx(step)(*example)
    except Exception as error:
        raise TraceError(f"{solver.label}: the step cannot be recorded: {error}. {_HINT}") from error
    _check(solver.label, step, graph, example)
    unseen = torch.roll(-0.7 * example[0].flip(-1), 1, -1) + 0.1 * example[0].std() * torch.randn(
        example[0].shape, generator=torch.Generator().manual_seed(0), dtype=u.dtype).to(u.device)
    _check(solver.label, step, graph, [unseen, *example[1:]])
    return graph


_HINT = ("A step must be one fixed sequence of tensor operations: no branch on a tensor's value, no iterative "
         "linear solve (use physics.projection), no NumPy in between. Use the eager solver where that is impossible.")


def _check(label: str, step, graph, inputs: list[Tensor]) -> None:
    """Compare values and vector-Jacobian products of the graph with those of the step."""
    expected, expected_gradients = _value_and_gradients(step, inputs)
    again, _ = _value_and_gradients(step, inputs)
    found, found_gradients = _value_and_gradients(graph, inputs)
    if not torch.equal(expected, again) and torch.isfinite(expected).all():
        raise TraceError(f"{label}: two calls of the step on the same state differ (random numbers or a counter?); it cannot be replayed")
    if expected.dtype != inputs[0].dtype:
        raise TraceError(f"{label}: the step turns {inputs[0].dtype} into {expected.dtype}; it must keep the state's dtype")
    pairs = [("value", expected, found)]
    pairs += [("gradient", e, f) for e, f in zip(expected_gradients, found_gradients)]
    for what, e, f in pairs:
        difference = (e - f).abs().max()
        if e.shape != f.shape or not difference <= 1e3 * torch.finfo(e.dtype).eps * e.abs().max():
            raise TraceError(f"{label}: the {what} of the recorded graph differs from the step's by {float(difference):.3g} on a state of scale "
                             f"{float(e.abs().max()):.3g}. {_HINT} A backward written as torch.autograd.Function is lost: use torch.library.custom_op.")


def _value_and_gradients(step, inputs: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    with torch.enable_grad():
        value = step(*leaves)
        weights = torch.linspace(-1, 1, value.numel(), dtype=value.dtype, device=value.device).cos().view(value.shape)
        gradients = torch.autograd.grad(value, leaves, weights, allow_unused=True) if value.requires_grad else [None] * len(leaves)
    return value.detach(), [torch.zeros_like(x) if g is None else g for x, g in zip(leaves, gradients)]


@contextmanager
def _traceable_padding():
    """Circular ``F.pad`` records as writes into an empty tensor; record it as narrow and cat instead."""
    original = torch.nn.functional.pad

    def pad(u, widths, mode="constant", value=None):
        if mode != "circular":
            return original(u, widths, mode, value)
        for axis, (before, after) in enumerate(zip(widths[::2], widths[1::2])):
            axis = u.ndim - 1 - axis
            n = u.shape[axis]
            parts = [u.narrow(axis, n - before, before)] * (before > 0) + [u] + [u.narrow(axis, 0, after)] * (after > 0)
            u = torch.cat(parts, axis) if len(parts) > 1 else u
        return u

    torch.nn.functional.pad = pad
    try:
        yield
    finally:
        torch.nn.functional.pad = original
