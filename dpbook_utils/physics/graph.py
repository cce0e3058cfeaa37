"""Tensor operations recorded as one graph, made shorter, and run without Python between them.

``record`` calls a function once and keeps the operations that reach torch's dispatcher, those of a backward pass
included. ``simplify`` removes what does not change the result. ``Program`` hands the graph to TorchScript's
interpreter, which runs it operation by operation in C++.   Chapter: 00_solver_as_operator.
"""

import math
import operator
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, fx
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
        self._watched: list[tuple[Tensor, int]] = []  # those too that simplify has folded into others

    def constant(self, value: Tensor) -> fx.Node:
        name = f"constant_{len(self._watched)}"
        self.constants[name] = value
        self._watched.append((value, value._version))
        with self.fx.inserting_before(next(iter(self.fx.nodes))):
            node = self.fx.create_node("get_attr", name, name=name)
        node.meta["like"] = _like(value)
        return node

    @property
    def is_current(self) -> bool:
        """No constant has been changed in place since it was recorded."""
        return all(value._version == version for value, version in self._watched)

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        """Run operation by operation; autograd and function transforms see each of them."""
        return self.module(*inputs)

    @property
    def module(self) -> fx.GraphModule:
        return fx.GraphModule(self.constants, self.fx)


class Recorder(TorchDispatchMode):
    """While active, every operation that reaches the dispatcher becomes a node of ``graph``."""

    active: list["Recorder"] = []

    def __init__(self, graph: Graph):
        super().__init__()
        self.graph, self.nodes = graph, WeakTensorKeyDictionary()
        self.kept: list[Tensor] = []

    def __enter__(self):
        Recorder.active.append(self)
        return super().__enter__()

    def __exit__(self, *error):
        Recorder.active.pop()
        return super().__exit__(*error)

    def track(self, value: Tensor, node: fx.Node, depends: bool) -> None:
        """``depends``: on the inputs or on random numbers, so that the value is another one at the next call."""
        self.nodes[value] = node
        node.meta.update(like=_like(value), depends=depends)

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
        result = function(*args, **kwargs)
        if not any(isinstance(x, Tensor) for x in tree_leaves(result)):
            return result
        args, kwargs = tree_map(lambda x: self.node_of(x) if isinstance(x, Tensor) else x, (args, kwargs))
        node = self.graph.fx.call_function(function, args, kwargs)
        values = [(result, node)] if isinstance(result, Tensor) else [
            (value, self.graph.fx.call_function(operator.getitem, (node, i))) for i, value in enumerate(result)
            if isinstance(value, Tensor)]  # a backward operation gives None for a gradient that nobody needs
        for value, node in values:
            self.track(value, node, depends)
        return result


class _NoNumpy(TorchFunctionMode):
    """Refuses to hand values that depend on the inputs to NumPy or to Python lists."""

    def __init__(self, recorder: Recorder):
        super().__init__()
        self.recorder = recorder

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in (Tensor.numpy, Tensor.__array__, Tensor.tolist) and self.recorder.depends(args[0]):
            raise TraceError("a tensor that depends on the inputs is handed to NumPy or a list")
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


def _like(value: Tensor) -> tuple:
    return tuple(value.shape), value.stride(), value.dtype, value.storage_offset()


def simplify(graph: Graph) -> None:
    """Remove operations that change nothing, repeat another one, depend on constants only, or are not used.

    Every remaining value is bit for bit what it was. Values that are written to in place, with all their views, are
    left alone.
    """
    written = _written(graph.fx.nodes)
    known: dict[tuple, fx.Node] = {}
    for node in list(graph.fx.nodes):
        if node.op != "call_function" or not _is_pure(node) or written & _storages(node):
            continue
        key = (node.target, _hashable(node.args), _hashable(node.kwargs))
        same = _unchanged_input(node) or known.setdefault(key, node)
        if same is not node:
            node.replace_all_uses_with(same)
            graph.fx.erase_node(node)
        elif all(x.op == "get_attr" for x in node.all_input_nodes):
            known[key] = _fold(graph, node)
    _remove_unused(graph.fx)
    used = {node.target for node in graph.fx.nodes if node.op == "get_attr"}
    graph.constants = {name: value for name, value in graph.constants.items() if name in used}


def _remove_unused(graph: fx.Graph) -> None:
    for node in reversed(graph.nodes):
        if not node.users and node.op in ("call_function", "get_attr") and _is_pure(node):
            graph.erase_node(node)


def _is_pure(node: fx.Node) -> bool:
    """Calling it again gives the same value and changes nothing, the state of the random generator included."""
    if node.op != "call_function" or node.target is operator.getitem:
        return True
    return not node.target._schema.is_mutable and torch.Tag.nondeterministic_seeded not in node.target.tags


def _storages(node: fx.Node) -> set[fx.Node]:
    """The values whose memory the node's value or its arguments may share."""
    return {_storage(x) for x in (node, *node.all_input_nodes)}


def _storage(node: fx.Node) -> fx.Node:
    """The value that a chain of views looks at."""
    while node.op == "call_function" and (source := _viewed(node)) is not None:
        node = source
    return node


def _viewed(node: fx.Node) -> fx.Node | None:
    if node.target is operator.getitem:
        return node.args[0]
    returns, arguments = node.target._schema.returns, node.target._schema.arguments
    if node.args and any(r.alias_info is not None for r in returns) and arguments[0].alias_info is not None:
        return node.args[0] if isinstance(node.args[0], fx.Node) else None
    # Composite operations such as reshape view when they can, and their schema does not say so.
    return node.args[0] if node.target in _MAY_VIEW else None


_MAY_VIEW = {aten._unsafe_view.default, aten.reshape.default, aten.contiguous.default, aten._to_copy.default,
             aten.to.dtype}


def _written(nodes: Iterable[fx.Node]) -> set[fx.Node]:
    """The storages that the nodes write to in place."""
    written = set()
    for node in nodes:
        if node.op == "call_function" and node.target is not operator.getitem and node.target._schema.is_mutable:
            for argument, value in zip(node.target._schema.arguments, node.args):
                if argument.alias_info is not None and argument.alias_info.is_write:
                    written.update(_storage(x) for x in tree_leaves(value) if isinstance(x, fx.Node))
    return written


def _unchanged_input(node: fx.Node) -> fx.Node | None:
    """The first argument, if the node returns the same values in the same layout."""
    source = node.args[0] if node.args and isinstance(node.args[0], fx.Node) else None
    if source is None or "like" not in node.meta or node.meta["like"][:3] != source.meta.get("like", ())[:3]:
        return None
    if node.target in (aten.mul.Tensor, aten.div.Tensor):
        return source if type(node.args[1]) in (int, float) and node.args[1] == 1 else None
    if node.target is aten.slice.Tensor:  # the whole axis, since the shape is the same
        return source
    if node.target in (aten.permute.default, aten.transpose.int):
        axes = node.args[1] if node.target is aten.permute.default else None
        swap = node.args[1:] if node.target is aten.transpose.int else None
        n = len(node.meta["like"][0])
        if (axes is not None and [a % n for a in axes] != list(range(n))) or (swap and swap[0] % n != swap[1] % n):
            return None
        return source
    return source if node.target in _COPIES else None


_COPIES = {aten.detach.default, aten.alias.default, aten.view.default, aten._unsafe_view.default, aten.expand.default,
           aten.clone.default, aten._to_copy.default, aten.lift_fresh.default, aten.lift_fresh_copy.default}


def _fold(graph: Graph, node: fx.Node) -> fx.Node:
    """The node, replaced by its value if that is one tensor."""
    values = {x: graph.constants[x.target] for x in node.all_input_nodes}
    args, kwargs = fx.map_arg((node.args, node.kwargs), values.__getitem__)
    value = node.target(*args, **kwargs)
    if not isinstance(value, Tensor):
        return node
    constant = graph.constant(value)
    node.replace_all_uses_with(constant)
    graph.fx.erase_node(node)
    return constant


def _hashable(value):
    if isinstance(value, (list, tuple)):
        return tuple(map(_hashable, value))
    if isinstance(value, dict):
        return tuple((name, _hashable(v)) for name, v in sorted(value.items()))
    return type(value), value  # 1, 1.0 and True are equal, and mean different things


def view_at_once(graph: fx.Graph) -> None:
    """Replace chains of views by one ``as_strided`` of the value they look at: one small operation instead of several.

    Only of values that the graph itself computes: an input may lie elsewhere in its memory at the next call.
    """
    for node in list(graph.nodes):
        if node.op == "call_function" and node.target is not aten.as_strided.default and "like" in node.meta:
            source = _storage(node)
            if source is node or source.op != "call_function" or "like" not in source.meta or not _views_only(node):
                continue
            (shape, stride, dtype, offset), (_, _, source_dtype, start) = node.meta["like"], source.meta["like"]
            if dtype == source_dtype and start == 0:
                with graph.inserting_before(node):
                    view = graph.call_function(aten.as_strided.default, (source, list(shape), list(stride), offset))
                view.meta.update(node.meta)
                node.replace_all_uses_with(view)


def _views_only(node: fx.Node) -> bool:
    """The chain of views has no step that may copy, nor the i-th part of several."""
    while (source := _viewed(node)) is not None if node.op == "call_function" else False:
        if node.target is operator.getitem or node.target in _MAY_VIEW or node.target in _LAZY:
            return False
        node = source
    return True


_LAZY = {aten._conj.default, aten._neg_view.default}  # these views change values


class Program:
    """A graph as one TorchScript function, run without autograd: ``(*placeholders) -> [tensors]``."""

    def __init__(self, graph: fx.Graph, constants: dict[str, Tensor]):
        graph = copy_graph(graph)
        view_at_once(graph)
        _remove_unused(graph)
        self.constants = [constants[node.target] for node in graph.nodes if node.op == "get_attr"]
        inputs = [node.name for op in ("placeholder", "get_attr") for node in graph.nodes if node.op == op]
        lines = [f"{node.name} = {_expression(node)}" for node in graph.nodes if node.op == "call_function"]
        output, = (node for node in graph.nodes if node.op == "output")
        arguments = ", ".join(f"{name}: Tensor" for name in inputs)
        lines.append(f"return {_literal(output.args[0])}")
        source = f"def run({arguments}) -> List[Tensor]:\n    " + "\n    ".join(lines) + "\n"
        self.run = torch.jit.CompilationUnit(source).run

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        # TorchScript's own optimisation would cost seconds at the first calls and gains nothing here.
        with torch.no_grad(), torch.jit.optimized_execution(False):
            return self.run(*inputs, *self.constants)


def copy_graph(graph: fx.Graph) -> fx.Graph:
    copied = fx.Graph()
    output = copied.graph_copy(graph, {})
    copied.output(output)
    return copied


def split(joint: Graph) -> tuple[Program, Program]:
    """A graph ``(g, *inputs) -> [value, *gradients]`` in two: ``(*inputs) -> [value, *kept]`` and
    ``(g, *kept) -> gradients``.

    What does not depend on the cotangent g and is needed for the gradients is kept.
    """
    nodes = list(joint.fx.nodes)
    g, *inputs = (node for node in nodes if node.op == "placeholder")
    value, *gradients = nodes[-1].args[0]
    backward = {g}
    for node in nodes:
        if backward.intersection(node.all_input_nodes) and node.op != "output":
            backward.add(node)
    # What the backward pass writes to must be its own: it may run twice.
    targets = _written(node for node in nodes if node in backward)
    backward.update(node for node in nodes if node.op == "call_function" and _storage(node) in targets)
    needed = dict.fromkeys([x for node in nodes if node in backward for x in node.all_input_nodes] + gradients)
    kept = [x for x in needed if x not in backward and x.op != "get_attr"]
    return (Program(_part(nodes, set(nodes) - backward, inputs, [value, *kept]), joint.constants),
            Program(_part(nodes, backward, [g, *kept], gradients), joint.constants))


def _part(nodes: list[fx.Node], inside: set[fx.Node], inputs: list[fx.Node], outputs: list[fx.Node]) -> fx.Graph:
    part, copies = fx.Graph(), {}
    for x in inputs:
        copies[x] = part.placeholder(x.name)
    wanted = {*outputs, *(node for node in inside if not _is_pure(node))}
    for node in reversed(nodes):
        if node in wanted and node in inside:
            wanted.update(node.all_input_nodes)
    for node in nodes:
        if node in wanted and (node.op == "get_attr" or node.op == "call_function" and node in inside):
            copies[node] = part.node_copy(node, copies.__getitem__)
    part.output([copies[x] for x in outputs])
    return part


def _expression(node: fx.Node) -> str:
    if node.target is operator.getitem:
        return f"{node.args[0].name}[{node.args[1]}]"
    schema = node.target._schema
    arguments = [f"{argument.name}={_literal(value)}" if argument.kwarg_only else _literal(value)
                 for argument, value in zip(schema.arguments, node.args)]
    arguments += [f"{name}={_literal(value)}" for name, value in node.kwargs.items()]
    return f"torch.ops.{schema.name.replace('::', '.')}({', '.join(arguments)})"


def _literal(value) -> str:
    if isinstance(value, fx.Node):
        return value.name
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_literal, value)) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if isinstance(value, torch.device):
        return f'torch.device("{value}")'
    plain = (bool, int, float, complex, str, torch.dtype, torch.layout, torch.memory_format)
    if value is None or isinstance(value, plain):
        return repr(value)
    raise TraceError(f"an argument of type {type(value).__name__} cannot be part of a graph ({value})")


def current_recorder() -> Recorder | None:
    """The recorder at work, if any: what runs now becomes part of a graph, so values of tensors must not be read."""
    return Recorder.active[-1] if Recorder.active else None
