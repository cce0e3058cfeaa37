"""A recorded graph of tensor operations as a list of kernel calls on one array.

Views cost nothing: they are places and strides in the text of a kernel. An elementwise operation whose result is used
once becomes part of the loop that uses it. Values that are needed later lie in a region of their own; all others share
a scratch region, each for the time between its first and its last use.
"""

import functools
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, fx
from torch.utils._pytree import tree_leaves

from dpbook_utils.graphs.graph import Graph

from . import loops, stencils
from .loops import Buffer, Expression, Kernels, Value, View, as_expression
from .operations import ELEMENTWISE, FUSES, VIEWS, Unsupported, elementwise, selected, times_used, viewed

aten = torch.ops.aten

Place = tuple[str, int]  # region and offset


@dataclass
class Constants:
    """Numbers that all models of a page share."""

    values: list[float] = field(default_factory=list)
    known: dict[bytes, int] = field(default_factory=dict)

    def place(self, value: Tensor) -> int:
        flat = value.detach().double().flatten()
        key = flat.numpy().tobytes()
        if key not in self.known:
            self.known[key] = len(self.values)
            self.values += flat.tolist()
        return self.known[key]


@dataclass(frozen=True)
class Placed:
    """A gradient that is zero but for a slice, and not stored: ``place`` says where its values are in a whole one."""

    gradient: Value
    place: Callable[[View], View]


@dataclass(frozen=True)
class Program:
    """Kernel calls ``[kernel, region, offset, region, offset, ..., kernel, ...]``, before and after the cut.

    Attributes:
        regions: names of the regions, by their numbers in the calls; first "scratch", "kept" and "constants".
        scratch: numbers that the program needs for itself.   kept: that it leaves from the first part to the second.
    """

    first: list[int]
    second: list[int]
    regions: list[str]
    scratch: int
    kept: int


def transpile(graph: Graph, inputs: Sequence[Place], outputs: Sequence[Place], kernels: Kernels, constants: Constants,
              first: int | None = None) -> Program:
    """The program of a graph ``(*tensors) -> [tensors]``; its inputs lie, its outputs shall lie, at these places.

    Args:
        first: so many outputs are computed by the first part of the program, which needs no more than their inputs;
            the others by the second. None for all.

    Raises: Unsupported, which names the operation.
    """
    return _Transpiler(graph, kernels, constants).run(inputs, outputs, first)


class _Transpiler:
    def __init__(self, graph: Graph, kernels: Kernels, constants: Constants):
        self.graph, self.kernels, self.constants = graph, kernels, constants
        self.values: dict[fx.Node, Value | list[Value]] = {}
        self.calls: list[tuple[int, list[View]]] = []
        self.sums: set[fx.Node] = set()  # results of ``accumulated``

    def run(self, inputs, outputs, first) -> Program:
        nodes = list(self.graph.fx.nodes)
        placeholders = [node for node in nodes if node.op == "placeholder"]
        for node, (region, offset) in zip(placeholders, inputs, strict=True):
            shape = node.meta["like"][0]
            self.values[node] = View.contiguous(Buffer(0, region), shape, offset)
        results = nodes[-1].args[0]
        first = len(results) if first is None else first
        before = _needed(results[:first])
        cuts = []
        for part, wanted in ((before, slice(0, first)), (set(nodes) - before, slice(first, None))):
            for node in nodes:
                if node in part and node.op in ("get_attr", "call_function"):
                    self.values[node] = self.evaluated(node)
            for node, (region, offset) in zip(results[wanted], outputs[wanted], strict=True):
                out = View.contiguous(Buffer(0, region), node.meta["like"][0], offset)
                self.calls.append(loops.store(self.kernels, out, self.values[node]))
            cuts.append(len(self.calls))
        scratch, kept = loops.plan(self.calls, cuts[0])
        regions = ["scratch", "kept", "constants", *dict.fromkeys(region for region, _ in (*inputs, *outputs))]
        calls = [[kernel, *(x for view in views for x in (regions.index(view.buffer.slot),
                                                          view.buffer.offset + view.offset))]
                 for kernel, views in self.calls]
        return Program(sum(calls[:cuts[0]], []), sum(calls[cuts[0]:], []), regions, scratch, kept)

    def evaluated(self, node: fx.Node) -> Value | list[Value]:
        if node.op == "get_attr":
            return self.constant(self.graph.constants[node.target])
        if node.target is operator.getitem:
            return self.values[node.args[0]][node.args[1]]
        if node.target in VIEWS:
            source = self.values[node.args[0]]
            found = viewed(node, source)
            return viewed(node, self.stored(source, contiguous=True)) if found is None else found
        if node.target is aten.add.Tensor and any(isinstance(self.values.get(x), Placed) for x in node.args):
            return self.accumulated(node)
        if node.target in ELEMENTWISE:
            value = elementwise(node, self.values)
            return value if not value.parts or _enters_one_loop(node) else self.stored(value)
        rule = _RULES.get(node.target)
        if rule is None:
            raise Unsupported(f"the operation {node.target} (as in {node.format_node()}) cannot be run in a page. "
                              "Write the chain without it, or teach it to dpbook_course/web/operations.py")
        return rule(self, node, *(self.values[x] if isinstance(x, fx.Node) else x for x in node.args))

    def constant(self, value: Tensor) -> Value:
        shape = value.shape
        if value.numel() and bool((value == value.flatten()[0]).all()):
            return Expression(loops.number(value.flatten()[0]), (), tuple(value.shape))
        for axis in range(value.ndim):  # what is the same along an axis stands there once
            first = value.narrow(axis, 0, 1)
            value = first if bool((value == first).all()) else value
        return View.contiguous(Buffer(0, "constants"), value.shape, self.constants.place(value)).expanded(shape)

    def new(self, shape: Sequence[int]) -> View:
        size = 1
        for n in shape:
            size *= n
        return View.contiguous(Buffer(size), shape)

    def stored(self, value: Value, contiguous: bool = False) -> View:
        if isinstance(value, View) and (value.is_contiguous or not contiguous):
            return value
        out = self.new(value.shape) if contiguous else self.alike(value)
        self.calls.append(loops.store(self.kernels, out, value))
        return out

    def alike(self, value: Value) -> View:
        """Memory in the order of the first operand of that shape, so that loops run along both.

        It also makes kernels one text whatever order of axes PhiFlow chooses, which differs from process to process.
        """
        shape = value.shape
        found = next((v for v in as_expression(value).leaves() if v.shape == shape
                      and all(n == 1 or s for n, s in zip(shape, v.strides))), None)
        if found is None:
            return self.new(shape)
        order = sorted(range(len(shape)), key=lambda axis: -abs(found.strides[axis]))
        out = self.new([shape[axis] for axis in order])
        strides = dict(zip(order, out.strides))
        return View(out.buffer, tuple(shape), tuple(strides[axis] for axis in range(len(shape))))

    def cat(self, node, parts, axis=0) -> View:
        out = self.new(_shape(node))
        start, axis = 0, axis % len(out.shape)
        for part in (self.values[x] for x in parts):
            self.calls.append(loops.store(self.kernels, _narrow(out, axis, start, part.shape[axis]), part))
            start += part.shape[axis]
        return out

    def stack(self, node, parts, axis=0) -> View:
        out = self.new(_shape(node))
        axis %= len(out.shape)
        for i, part in enumerate(parts):
            self.calls.append(loops.store(self.kernels, selected(out, axis, i), self.values[part]))
        return out

    def padded(self, node, gradient, shape, axis, start, end, step=1) -> "View | Placed":
        """Backward of a slice: the gradient where it was taken from, zero elsewhere."""
        n = shape[axis]
        start, end = (max(x + n, 0) if x < 0 else min(x, n) for x in (start, end))
        size = gradient.shape[axis]
        return self.placed(node, Placed(gradient, lambda out: _narrow(out, axis % len(shape), start, size, step)))

    def selected_back(self, node, gradient, shape, axis, index) -> "View | Placed":
        return self.placed(node, Placed(gradient, lambda out: selected(out, axis, index)))

    def placed(self, node, value: "Placed") -> "View | Placed":
        """As it is if it is only added to something; else stored among zeros."""
        user, *others = node.users
        if not others and user.target is aten.add.Tensor and not user.kwargs and _shape(user) == _shape(node):
            return value
        return self.among_zeros(_shape(node), value)

    def among_zeros(self, shape, value: "Placed") -> View:
        out = self.new(shape)
        self.calls.append(loops.store(self.kernels, out, Expression("0", (), out.shape)))
        self.calls.append(loops.store(self.kernels, value.place(out), value.gradient))
        return out

    def accumulated(self, node) -> View:
        """A sum with what is zero but for a slice; it goes on in the memory of a sum that nothing else needs."""
        base, other = node.args if isinstance(self.values[node.args[1]], Placed) else reversed(node.args)
        value = self.values[base]
        if isinstance(value, Placed):
            out = self.among_zeros(_shape(node), value)
        elif base in self.sums and len(base.users) == 1:
            out = value
        else:
            out = self.new(_shape(node))
            self.calls.append(loops.store(self.kernels, out, value))
        added = self.values[other]
        self.calls.append(loops.added(self.kernels, added.place(out), added.gradient))
        self.sums.add(node)
        return out

    def reduced(self, node, value, axes=None, *_, mean=False) -> View:
        rank = len(value.shape)
        axes = sorted({axis % rank for axis in axes}) if axes else list(range(rank))
        kept = [n for i, n in enumerate(value.shape) if i not in axes]
        count = 1
        for i in axes:
            count *= value.shape[i]
        out = self.new(kept)
        self.calls.append(loops.reduced(self.kernels, out, value, axes, 1 / count if mean else 1))
        return View.contiguous(out.buffer, _shape(node))

    def matmul(self, node, a, b, bias=None) -> View:
        a, b = self.stored(a), self.stored(b)
        bias = None if bias is None else self.stored(bias)
        out = self.new(_shape(node))
        three = [View(x.buffer, (1, *x.shape), (0, *x.strides), x.offset) if len(x.shape) == 2 else x
                 for x in (out, a, b)]
        self.calls.append(loops.product(self.kernels, *three, bias))
        return out

    def extreme(self, node, value, axis, keepdim=False, *, form: str) -> list[View | None]:
        """The least or largest along an axis, without its place."""
        value = self.stored(value)
        parts = [selected(value, axis, i) for i in range(value.shape[axis])]
        least = as_expression(parts[0])
        for part in parts[1:]:
            least = Expression(form, (least, part), part.shape)
        shape = list(value.shape)
        shape[axis:axis % len(shape) + 1] = [1] if keepdim else []
        return [View.contiguous(self.stored(least).buffer, shape), None]


_RULES = {
    aten.cat.default: _Transpiler.cat, aten.stack.default: _Transpiler.stack,
    aten.slice_backward.default: _Transpiler.padded, aten.select_backward.default: _Transpiler.selected_back,
    aten.sum.dim_IntList: _Transpiler.reduced, aten.sum.default: _Transpiler.reduced,
    aten.mean.dim: lambda self, *args: self.reduced(*args, mean=True),
    aten.mean.default: lambda self, *args: self.reduced(*args, mean=True),
    **stencils.RULES,
    aten.min.dim: functools.partial(_Transpiler.extreme, form="min({0},{1})"),
    aten.max.dim: functools.partial(_Transpiler.extreme, form="max({0},{1})"),
    aten.bmm.default: _Transpiler.matmul, aten.mm.default: _Transpiler.matmul,
    aten.baddbmm.default: lambda self, node, bias, a, b: self.matmul(node, a, b, bias),
    aten.addmm.default: lambda self, node, bias, a, b: self.matmul(node, a, b, bias),
}


def _enters_one_loop(node: fx.Node) -> bool:
    """The value of an elementwise operation is used once, in a loop over the same entries or to be an output."""
    user, *others = node.users
    if others or user.op == "output":
        return not others and user.args[0].count(node) == 1
    if user.target in ELEMENTWISE:
        return _shape(user) == _shape(node) and times_used(user, node) == 1
    return user.target in FUSES and tree_leaves(user.args).count(node) == 1


def _shape(node: fx.Node) -> loops.Sizes:
    return node.meta["like"][0]


def _narrow(view: View, axis: int, start: int, size: int, step: int = 1) -> View:
    shape, strides = list(view.shape), list(view.strides)
    offset = view.offset + start * strides[axis]
    shape[axis], strides[axis] = size, strides[axis] * step
    return View(view.buffer, tuple(shape), tuple(strides), offset)


def _needed(results: Sequence[fx.Node]) -> set[fx.Node]:
    """The nodes that these values are computed from, themselves included."""
    found, todo = set(), list(results)
    while todo:
        node = todo.pop()
        if node not in found:
            found.add(node)
            todo += node.all_input_nodes
    return found
