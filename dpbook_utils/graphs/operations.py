"""What recorded operations do with memory: which look at another value, and which write into memory that is given.

Chapter: 00_solver_as_operator.
"""

import operator
import types

import torch
from torch import Tensor, fx

from .memory import ALIGNMENT
from .simplify import viewed

aten = torch.ops.aten
SMALL = 1 << 14  # bytes of an input that is copied, so that all its views are made beforehand
# Operations that write into given memory with the kernel that they have without it. Others return memory of their own.
INTO = {getattr(aten, name) for name in (
    "abs add baddbmm bmm cat cos div exp floor maximum mean minimum mm mul mv neg pow reciprocal remainder rsqrt "
    "sigmoid sin sqrt sub sum tanh where").split()}
INTO_NAMED = {aten.tanh_backward.default: aten.tanh_backward.grad_input,
              aten.sigmoid_backward.default: aten.sigmoid_backward.grad_input}
COPIES = {aten.clone.default, aten._to_copy.default, aten.contiguous.default, aten.reshape.default, aten.to.dtype}
ZEROS = {aten.new_zeros.default, aten.zeros_like.default, aten.zeros.default}
PARTS = {aten.slice_backward.default: aten.slice.Tensor, aten.select_backward.default: aten.select.int}


def source(node: fx.Node) -> fx.Node | None:
    """The value that this one is a view of, in the recorded layout."""
    if node.op != "call_function":
        return None
    looked_at = viewed(node)
    if looked_at is None or "like" not in looked_at.meta:
        return None  # a part of several results: memory of its own
    if node.target in COPIES:
        (shape, stride, dtype, _), (_, _, old, _) = node.meta["like"], looked_at.meta["like"]
        if node.target is aten.clone.default or node.target is aten._to_copy.default or dtype != old:
            return None
        try:
            same = stand_in(looked_at).view(shape).stride() == stride
        except RuntimeError:
            same = False
        return looked_at if same else None
    return looked_at


def stand_in(node: fx.Node) -> Tensor:
    """A tensor without memory, laid out as the recorded value."""
    shape, stride, dtype, offset = node.meta["like"]
    size = offset + 1 + sum((n - 1) * s for n, s in zip(shape, stride)) if 0 not in shape else offset
    return torch.empty(size, dtype=dtype, device="meta").as_strided(shape, stride, offset)


def view(node: fx.Node, values: dict[fx.Node, Tensor]) -> Tensor:
    source = values[node.args[0]]
    if node.target is not operator.getitem and node.target._schema.is_mutable:
        return source  # the same memory, written to by a call
    if node.target is aten.as_strided.default:
        _, shape, stride, offset = node.args
        return source.as_strided(shape, stride, source.storage_offset() + offset - node.args[0].meta["like"][3])
    if node.target in (aten._unsafe_view.default, *COPIES):
        return source.view(node.meta["like"][0])
    return node.target(source, *node.args[1:], **node.kwargs)


def may_be_placed(node: fx.Node, small: int = SMALL) -> bool:
    """Whether the value can be written into memory that is given; an input, if it has no more bytes than ``small``."""
    if "like" not in node.meta or overlaps(node):
        return False
    if node.op == "placeholder":
        return num_bytes(node) <= small
    if node.op != "call_function" or node.target is operator.getitem:
        return False
    if node.target in COPIES | ZEROS | PARTS.keys() | INTO_NAMED.keys():
        return True
    whole = node.target in (aten.sum.default, aten.mean.default)  # these take no memory
    return node.target.overloadpacket in INTO and not whole


def overlaps(node: fx.Node) -> bool:
    """Several of its numbers share a place in memory, as those of an expanded tensor do."""
    shape, stride, _, _ = node.meta["like"]
    return any(n > 1 and s == 0 for n, s in zip(shape, stride))


def num_bytes(node: fx.Node) -> int:
    shape, stride, dtype, _ = node.meta["like"]
    count = 1 + sum((n - 1) * s for n, s in zip(shape, stride)) if 0 not in shape else 1
    return -(-count * dtype.itemsize // ALIGNMENT) * ALIGNMENT


def public(target):
    """The function or method of ``torch`` for an operation: the same, and called faster than that of ``torch.ops``."""
    name = target._schema.name.removeprefix("aten::")
    found = [getattr(home, name, None) for home in (torch, Tensor) if name[0] != "_"]
    return next((f for f in found if isinstance(f, (types.BuiltinFunctionType, types.MethodDescriptorType))), target)
