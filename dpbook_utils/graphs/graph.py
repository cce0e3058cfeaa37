"""Tensor operations recorded as one graph.   Chapter: 00_solver_as_operator.

``record`` calls a function once and keeps the operations that reach torch's dispatcher, those of a backward pass
included. ``simplify`` makes the graph shorter, and ``plan`` runs it as a list of calls on fixed memory.
"""

import operator
import threading
from collections.abc import Callable, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.weak import WeakTensorKeyDictionary

aten = torch.ops.aten


class TraceError(RuntimeError):
    """A function cannot be recorded as one graph, or the graph does not do what the function does."""


class Graph:
    """A recorded function ``(*tensors) -> [tensors]``.

    Attributes:
        fx: the operations as ``torch.fx.Graph``; constants are ``get_attr`` nodes, ``node.meta["like"]`` is
            (shape, stride, dtype, storage offset) of the value.
        constants: the tensors that the function used but was not given, by the name of their node.
    """

    def __init__(self):
        self.fx = fx.Graph()
        self.constants: dict[str, Tensor] = {}
        self.watched: list[tuple[Tensor, int]] = []  # with those that are only read, or that simplify folds into others

    def constant(self, value: Tensor) -> fx.Node:
        if value.requires_grad and torch.is_grad_enabled():
            raise TraceError(f"a tensor of shape {tuple(value.shape)} that is no input needs a gradient, which a graph "
                             "would lose; hand it over as an input, or detach it")
        if value.is_inference():
            raise TraceError(f"a tensor of shape {tuple(value.shape)} was made under torch.inference_mode, where "
                             "PyTorch does not count its changes; make it outside")
        name = f"constant_{len(self.watched)}"
        self.constants[name] = value
        self.watched.append((value, value._version))
        with self.fx.inserting_before(next(iter(self.fx.nodes))):
            node = self.fx.create_node("get_attr", name, name=name)
        node.meta["like"] = layout(value)
        return node

    @property
    def is_current(self) -> bool:
        """No constant has been changed in place since it was recorded."""
        return all(value._version == version for value, version in self.watched)

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        """Run operation by operation; autograd and function transforms see each of them."""
        return self.module(*inputs)

    @property
    def module(self) -> fx.GraphModule:
        return fx.GraphModule(self.constants, self.fx)


class Recorder(TorchDispatchMode):
    """While active, every operation that reaches the dispatcher becomes a node of ``graph``."""

    def __init__(self, graph: Graph):
        super().__init__()
        self.graph, self.nodes = graph, WeakTensorKeyDictionary()
        self.kept: list[Tensor] = []

    def __enter__(self):
        _recorders().append(self)
        return super().__enter__()

    def __exit__(self, *error):
        _recorders().pop()
        return super().__exit__(*error)

    def track(self, value: Tensor, node: fx.Node, depends: bool) -> None:
        """``depends``: on the inputs or on random numbers, so that the value is another one at the next call."""
        self.nodes[value] = node
        node.meta.update(like=layout(value), depends=depends)

    def depends(self, value: Tensor) -> bool:
        return value in self.nodes and self.nodes[value].meta.get("depends", False)

    def node_of(self, value: Tensor) -> fx.Node:
        if value not in self.nodes:
            self.kept.append(value)
            self.nodes[value] = self.graph.constant(value)
        return self.nodes[value]

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        inputs = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        depends = any(map(self.depends, inputs)) or torch.Tag.nondeterministic_seeded in function.tags
        reads = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape} & set(function.tags)
        if depends and reads and not _gathers(function, args):
            raise TraceError(f"{function} reads a tensor's value in Python (a branch on data, float(), .item(), a "
                             "mask)")
        # Before the call, which may write to a constant, and even if it only reads one: its changes are watched.
        nodes = tree_map(lambda x: self.node_of(x) if isinstance(x, Tensor) else x, (args, kwargs))
        result = function(*args, **kwargs)
        if not any(isinstance(x, Tensor) for x in tree_leaves(result)):
            return result
        node = self.graph.fx.call_function(function, *nodes)
        values = [(result, node)] if isinstance(result, Tensor) else [
            (value, self.graph.fx.call_function(operator.getitem, (node, i))) for i, value in enumerate(result)
            if isinstance(value, Tensor)]  # a backward operation gives None for a gradient that nobody needs
        for value, node in values:
            self.track(value, node, depends)
        return result


class _NoNumpy(TorchFunctionMode):
    """Refuses to hand values that depend on the inputs to NumPy or to Python lists; of others, changes are watched."""

    def __init__(self, recorder: Recorder):
        super().__init__()
        self.recorder = recorder

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in (Tensor.numpy, Tensor.__array__, Tensor.tolist):
            if self.recorder.depends(args[0]):
                raise TraceError("a tensor that depends on the inputs is handed to NumPy or a list")
            self.recorder.node_of(args[0])
        return function(*args, **(kwargs or {}))


def record(function: Callable, inputs: Sequence[Tensor]) -> Graph:
    """The graph of ``function(*inputs) -> [tensors]`` for inputs of these shapes, dtypes and devices.

    Raises: TraceError if the function reads, in Python or NumPy, a value of a tensor that depends on the inputs.
    """
    graph = Graph()
    recorder = Recorder(graph)
    for i, value in enumerate(inputs):
        recorder.track(value, graph.fx.placeholder(f"input_{i}"), depends=True)
    with recorder, _NoNumpy(recorder):
        outputs = function(*inputs)
    graph.fx.output([recorder.node_of(value) for value in outputs])
    return graph


def _gathers(function, args) -> bool:
    """Indexing by integers, whose result has a fixed shape; a mask's has not."""
    return function is aten.index.Tensor and all(x is None or x.dtype not in (torch.bool, torch.uint8) for x in args[1])


def refuse_unrecordable(label: str, module: nn.Module) -> None:
    """Raise TraceError for what a graph of the module's step would lose: gradients of weights, and hooks."""
    weights = [name for name, w in module.named_parameters() if w.requires_grad]
    if weights:
        raise TraceError(f"{label}: the solver holds a trainable weight, {', '.join(weights)}, whose gradient a graph "
                         "would lose. Make it a physical parameter or a network's, freeze it (requires_grad_(False)), "
                         "or use the eager solver")
    if any(part._forward_hooks or part._forward_pre_hooks for part in module.modules()):
        raise TraceError(f"{label}: the solver has forward hooks, which a graph would not run. Remove them, or use the "
                         "eager solver")


def layout(value: Tensor) -> tuple:
    return tuple(value.shape), value.stride(), value.dtype, value.storage_offset()


def canonical(value: Tensor) -> Tensor:
    """The same values, row by row without gaps, as a function is recorded with them. Autograd sees it.

    ``contiguous`` alone is not enough: it leaves an axis of size 1 the stride that it has, and operations hand that on
    to their results.
    """
    return value.resolve_conj().resolve_neg().contiguous().view(value.shape)


def laid_out(value: Tensor, shape: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """The same values with these strides; copied only if they lie elsewhere in memory. Autograd does not see it."""
    if all(n == 1 or s == t for n, s, t in zip(shape, value.stride(), stride)):
        return value.as_strided(shape, stride)
    result = torch.empty_strided(shape, stride, dtype=value.dtype, device=value.device)
    once = tuple(slice(1) if s == 0 else slice(None) for s in stride)
    result[once].copy_(value[once])
    return result


def current_recorder() -> Recorder | None:
    """This thread's recorder at work, if any: what runs now becomes part of a graph, so values must not be read."""
    recorders = _recorders()
    return recorders[-1] if recorders else None


def _recorders() -> list[Recorder]:
    if not hasattr(_threads, "recorders"):
        _threads.recorders = []
    return _threads.recorders


_threads = threading.local()


@contextmanager
def recording(device: torch.device):
    """A state in which functions are recorded, whatever the caller's is: autograd on, autocast and anomaly mode off.

    One thread at a time, since the padding is replaced for all.
    """
    # What recording saves for its own backward passes is no business of a checkpointed step that it happens in.
    hooks = torch.autograd.graph.saved_tensors_hooks(lambda x: x, lambda x: x)
    with (_lock, torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, enabled=False),
          torch.autograd.set_detect_anomaly(False), hooks, traceable_padding()):
        yield


_lock = threading.RLock()


def unchanged_generators(device: torch.device):
    """A state in which random numbers are drawn, and after which they are drawn as if none had been."""
    return torch.random.fork_rng([device] if device.type == "cuda" else [])


@contextmanager
def traceable_padding():
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
