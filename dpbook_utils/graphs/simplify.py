"""A recorded graph made shorter, every value bit for bit what it was.   Chapter: 00_solver_as_operator."""

import operator
from collections.abc import Iterable

import torch
from torch import Tensor, fx
from torch.utils._pytree import tree_leaves

from .graph import Graph

aten = torch.ops.aten


def simplify(graph: Graph) -> None:
    """Remove operations that change nothing, repeat another one, depend on constants only, or are not used.

    Every remaining value is bit for bit what it was. Values that are written to in place, with all their views, are
    left alone.
    """
    written = written_storages(graph.fx.nodes)
    known: dict[tuple, fx.Node] = {}
    for node in list(graph.fx.nodes):
        if node.op != "call_function" or not is_pure(node) or written & _storages(node):
            continue
        key = (node.target, _hashable(node.args), _hashable(node.kwargs))
        same = _unchanged_input(node) or known.setdefault(key, node)
        if same is not node:
            node.replace_all_uses_with(same)
            graph.fx.erase_node(node)
        elif all(x.op == "get_attr" for x in node.all_input_nodes):
            known[key] = _fold(graph, node)
    remove_unused(graph.fx)
    used = {node.target for node in graph.fx.nodes if node.op == "get_attr"}
    graph.constants = {name: value for name, value in graph.constants.items() if name in used}


def own_outputs(graph: fx.Graph, count: int | None = None) -> None:
    """Let the first ``count`` outputs (all) be memory of their own: what a caller writes there changes nothing else.

    An output may else be an input, a constant, or another output, by itself or as a view.
    """
    output, = (node for node in graph.nodes if node.op == "output")
    results, taken = list(output.args[0]), set()
    for i, node in enumerate(results[:count]):
        source = storage(node)
        if source.op != "call_function" or source in taken:
            with graph.inserting_before(output):
                results[i] = graph.call_function(aten.clone.default, (node,))
            results[i].meta.update(node.meta)
        taken.add(source)
    output.args = (results,)


def remove_unused(graph: fx.Graph) -> None:
    for node in reversed(graph.nodes):
        if not node.users and node.op in ("call_function", "get_attr") and is_pure(node):
            graph.erase_node(node)


def is_pure(node: fx.Node) -> bool:
    """Calling it again gives the same value and changes nothing, the state of the random generator included."""
    if node.op != "call_function" or node.target is operator.getitem:
        return True
    return not node.target._schema.is_mutable and torch.Tag.nondeterministic_seeded not in node.target.tags


def _storages(node: fx.Node) -> set[fx.Node]:
    """The values whose memory the node's value or its arguments may share."""
    return {storage(x) for x in (node, *node.all_input_nodes)}


def storage(node: fx.Node) -> fx.Node:
    """The value that a chain of views looks at."""
    while node.op == "call_function" and (source := viewed(node)) is not None:
        node = source
    return node


def viewed(node: fx.Node) -> fx.Node | None:
    if node.target is operator.getitem:
        return node.args[0]
    returns, arguments = node.target._schema.returns, node.target._schema.arguments
    if node.args and any(r.alias_info is not None for r in returns) and arguments[0].alias_info is not None:
        return node.args[0] if isinstance(node.args[0], fx.Node) else None
    # Composite operations such as reshape view when they can, and their schema does not say so.
    return node.args[0] if node.target in MAY_VIEW else None


MAY_VIEW = {aten._unsafe_view.default, aten.reshape.default, aten.contiguous.default, aten._to_copy.default,
             aten.to.dtype}


def written_storages(nodes: Iterable[fx.Node]) -> set[fx.Node]:
    """The storages that the nodes write to in place."""
    written = set()
    for node in nodes:
        if node.op == "call_function" and node.target is not operator.getitem and node.target._schema.is_mutable:
            for argument, value in zip(node.target._schema.arguments, node.args):
                if argument.alias_info is not None and argument.alias_info.is_write:
                    written.update(storage(x) for x in tree_leaves(value) if isinstance(x, fx.Node))
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
