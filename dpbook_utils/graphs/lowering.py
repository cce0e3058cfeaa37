"""A program's own copy of a graph, rewritten to run faster.   Chapter: 00_solver_as_operator.

Every value stays bit for bit what it was, unless sums may be taken in another order.
"""

import operator

import torch
from torch import Tensor, fx

from .graph import layout
from .operations import stand_in
from .simplify import MAY_VIEW, remove_unused, storage, viewed

aten = torch.ops.aten


def lower(graph: fx.Graph, constants: dict[str, Tensor], exact: bool = True) -> None:
    """Rewrite the graph in place; new constants are added to ``constants``."""
    if not exact:
        multiply_parts(graph)
    select_from_unbound(graph)
    concatenate_stacked(graph)
    copy_what_is_repeated_once(graph)
    view_at_once(graph)
    look_through_masks(graph, constants)
    remove_unused(graph)
    expand_constants(graph, constants)


def multiply_parts(graph: fx.Graph) -> None:
    """Products with columns that are put side by side become products with each of them, which need not be copied.

    A convolution's columns are the same numbers several times. Thin columns are left alone: products of matrices are
    slow on them.
    """
    for node in list(graph.nodes):
        if node.target not in (aten.bmm.default, aten.baddbmm.default):
            continue
        *start, x, y = node.args
        if _are_columns(x):
            value, first = (start or [None])[0], 0
            for part in x.args[0]:
                width = part.meta["like"][0][-1]
                with graph.inserting_before(node):
                    rows = _insert(graph, aten.slice.Tensor, (y, 1, first, first + width))
                    target, args = aten.bmm.default, (part, rows)
                    if value is not None:
                        target, args = aten.baddbmm.default, (value, *args)
                    value = _insert(graph, target, args)
                first += width
        elif _are_columns(y) and not start:
            with graph.inserting_before(node):
                products = [_insert(graph, aten.bmm.default, (x, part)) for part in y.args[0]]
                value = _insert(graph, aten.cat.default, (products, 2))
        else:
            continue
        node.replace_all_uses_with(value)
        graph.erase_node(node)
    remove_unused(graph)


def _are_columns(node: fx.Node) -> bool:
    if node.target is not aten.cat.default or len(node.meta["like"][0]) != 3 or (*node.args, 0)[1] not in (-1, 2):
        return False
    return all(x.meta["like"][0][-1] >= 8 and x.meta["like"][1][-1] == 1 for x in node.args[0])


def _insert(graph: fx.Graph, target, args: tuple) -> fx.Node:
    """A call of the operation, with the layout of its result."""
    node = graph.call_function(target, args)
    value = target(*fx.map_arg(args, stand_in))
    node.meta["like"] = layout(value)
    return node


def select_from_unbound(graph: fx.Graph) -> None:
    """The i-th part of ``unbind`` is a view like others."""
    for node in list(graph.nodes):
        if node.target is operator.getitem and node.args[0].target is aten.unbind.int:
            x, axis = (*node.args[0].args, 0)[:2]
            with graph.inserting_before(node):
                part = graph.call_function(aten.select.int, (x, axis, node.args[1]))
            part.meta.update(node.meta)
            node.replace_all_uses_with(part)
            graph.erase_node(node)


def concatenate_stacked(graph: fx.Graph) -> None:
    """``stack`` is ``cat`` along a new axis, which writes into given memory at once."""
    for node in list(graph.nodes):
        if node.target is aten.stack.default:
            parts, axis = (*node.args, 0)[:2]
            with graph.inserting_before(node):
                slices = [graph.call_function(aten.unsqueeze.default, (x, axis)) for x in parts]
                whole = graph.call_function(aten.cat.default, (slices, axis))
            for x, part in zip(parts, slices):
                shape, stride, dtype, offset = x.meta["like"]
                seen = torch.empty_strided(shape, stride, device="meta").unsqueeze(axis)
                part.meta["like"] = tuple(seen.shape), seen.stride(), dtype, offset
            whole.meta.update(node.meta)
            node.replace_all_uses_with(whole)
            graph.erase_node(node)


def copy_what_is_repeated_once(graph: fx.Graph) -> None:
    """``repeat`` to the shape that there was is a copy, which goes into given memory."""
    for node in graph.nodes:
        if node.target is aten.repeat.default and "like" in node.args[0].meta and (
                node.args[0].meta["like"][0] == node.meta["like"][0]):
            node.target, node.args = aten.clone.default, (node.args[0],)
            node.kwargs = {"memory_format": torch.contiguous_format}


def look_through_masks(graph: fx.Graph, constants: dict[str, Tensor]) -> None:
    """A view of ``where(mask, a, b)`` for which a constant mask is all true is a view of a; all false, of b."""
    for node in list(graph.nodes):
        where = node.args[0] if node.target is aten.as_strided.default else None
        if where is None or where.target is not aten.where.self or where.args[0].op != "get_attr":
            continue
        _, shape, stride, offset = node.args
        seen = _laid_out(constants[where.args[0].target], where).as_strided(shape, stride, offset)
        chosen = where.args[1] if seen.all() else where.args[2] if not seen.any() else None
        if chosen is None or chosen.meta.get("like", ())[:3] != where.meta["like"][:3]:
            continue
        if chosen.target is aten.as_strided.default:
            chosen, offset = chosen.args[0], chosen.args[3] + offset
        if chosen.op == "call_function" and storage(chosen) is chosen and chosen.meta["like"][3] == 0:
            node.args = (chosen, shape, stride, offset)


def _laid_out(value: Tensor, node: fx.Node) -> Tensor:
    """The value in shape and strides of the node's."""
    shape, stride, _, _ = node.meta["like"]
    return torch.empty_strided(shape, stride, dtype=value.dtype, device=value.device).copy_(value.expand(shape))


def expand_constants(graph: fx.Graph, constants: dict[str, Tensor]) -> None:
    """Give small constants the shape and strides of the elementwise operation that they enter.

    On operands of one layout an operation is one loop over memory; with a constant along a short last axis it is one
    loop for every few numbers. Complex products are left alone: both kinds of loop round them differently.
    """
    for node in list(graph.nodes):
        if node.target not in _ELEMENTWISE or "like" not in node.meta or node.meta["like"][2].is_complex:
            continue
        shape, stride, _, _ = node.meta["like"]
        others = [x for x in node.all_input_nodes if x.op != "get_attr"]
        small = [x for x in node.all_input_nodes if x.op == "get_attr" and 1 < constants[x.target].numel()
                 and constants[x.target].shape != shape]
        if not small or not any(x.meta.get("like", ())[:2] == (shape, stride) for x in others):
            continue
        for x in small:
            name = f"{x.target}_for_{node.name}"
            constants[name] = _laid_out(constants[x.target], node)
            with graph.inserting_before(x):
                expanded = graph.create_node("get_attr", name, name=name)
            expanded.meta["like"] = layout(constants[name])
            node.replace_input_with(x, expanded)
    remove_unused(graph)


_ELEMENTWISE = {aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor, aten.remainder.Tensor,
                aten.where.self}


def view_at_once(graph: fx.Graph) -> None:
    """Replace chains of views by one ``as_strided`` of the value they look at: one small operation instead of several.

    Offsets count from where the value begins: an input may lie elsewhere in its memory at the next call.
    """
    for node in list(graph.nodes):
        if node.op == "call_function" and node.target is not aten.as_strided.default and "like" in node.meta:
            source = storage(node)
            if source is node or source.op == "get_attr" or "like" not in source.meta or not _views_only(node):
                continue
            (shape, stride, dtype, offset), (_, _, source_dtype, start) = node.meta["like"], source.meta["like"]
            if dtype == source_dtype and start == 0:
                with graph.inserting_before(node):
                    view = graph.call_function(aten.as_strided.default, (source, list(shape), list(stride), offset))
                view.meta.update(node.meta)
                node.replace_all_uses_with(view)


def _views_only(node: fx.Node) -> bool:
    """The chain of views has no step that may copy, nor the i-th part of several."""
    while (source := viewed(node)) is not None if node.op == "call_function" else False:
        if node.target is operator.getitem or node.target in MAY_VIEW or node.target in _LAZY:
            return False
        node = source
    return True


_LAZY = {aten._conj.default, aten._neg_view.default}  # these views change values
