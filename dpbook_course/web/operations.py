"""What the transpiler knows of torch's operations: views, and what is done entry by entry."""

import re

import torch
from torch import fx

from . import loops
from .loops import Expression, Value, View

aten = torch.ops.aten


class Unsupported(NotImplementedError):
    """An operation, or a use of one, that a page cannot run."""


def _inside(low, high):
    """``clamp`` with one bound or two."""
    form = "{0}" if low is None else f"max({{0}},{loops.number(low)})"
    return form if high is None else f"min({form},{loops.number(high)})"


_POWERS = {0.5: "sqrt({0})", 1: "{0}", 2: "({0}*{0})", 3: "({0}*{0}*{0})", -1: "(1/{0})"}
_COMPARISONS = {"gt": ">", "lt": "<", "ge": ">=", "le": "<=", "eq": "==", "ne": "!="}

# Operation -> form of the entry, for its arguments in turn. Numbers among them are put in as text.
ELEMENTWISE = {
    aten.neg.default: "(-{0})", aten.tanh.default: "tanh({0})", aten.exp.default: "exp({0})",
    aten.floor.default: "floor({0})", aten.sqrt.default: "sqrt({0})", aten.square.default: "({0}*{0})",
    aten.abs.default: "abs({0})",
    aten.softplus.default: "({0}>20?{0}:log1p(exp({0})))", aten.softplus_backward.default: "({0}/(1+exp(-{1})))",
    aten.reciprocal.default: "(1/{0})", aten.sigmoid.default: "(1/(1+exp(-{0})))",
    aten.clone.default: "{0}", aten.detach.default: "{0}", aten.alias.default: "{0}",
    aten._to_copy.default: "{0}", aten.where.self: "({0}?{1}:{2})",
    aten.mul.Tensor: "({0}*{1})", aten.mul.Scalar: "({0}*{1})", aten.div.Tensor: "({0}/{1})",
    aten.div.Scalar: "({0}/{1})", aten.maximum.default: "max({0},{1})", aten.minimum.default: "min({0},{1})",
    aten.tanh_backward.default: "({0}*(1-{1}*{1}))", aten.sigmoid_backward.default: "({0}*{1}*(1-{1}))",
    aten.pow.Scalar: "pow({0},{1})", aten.pow.Tensor_Tensor: "pow({0},{1})",
    aten.zeros_like.default: "0", aten.ones_like.default: "1", aten.new_zeros.default: "0",
    aten.logical_and.default: "({0}&&{1}?1:0)", aten.logical_or.default: "({0}||{1}?1:0)",
    aten.logical_not.default: "({0}?0:1)",
    aten.masked_fill.Scalar: "({1}?{2}:{0})", aten.masked_fill_.Scalar: "({1}?{2}:{0})",
    # Forms that depend on arguments: a function of the node's arguments after the first.
    aten.add.Tensor: lambda b, alpha=1: "({0}+{1})" if alpha == 1 else f"({{0}}+{loops.number(alpha)}*{{1}})",
    aten.sub.Tensor: lambda b, alpha=1: "({0}-{1})" if alpha == 1 else f"({{0}}-{loops.number(alpha)}*{{1}})",
    aten.rsub.Scalar: lambda b, alpha=1: f"({loops.number(b)}-{loops.number(alpha)}*{{0}})",
    aten.full_like.default: loops.number, aten.new_full.default: lambda size, value: loops.number(value),
    aten.pow.Tensor_Scalar: lambda p: _POWERS.get(p, f"pow({{0}},{loops.number(p)})"),
    aten.clamp.default: lambda low=None, high=None: _inside(low, high),
    aten.clamp_min.default: lambda low: _inside(low, None), aten.clamp_max.default: lambda high: _inside(None, high),
}
for _overload in ("Tensor", "Scalar"):
    ELEMENTWISE[getattr(aten.remainder, _overload)] = "({0}-{1}*floor({0}/{1}))"
    for _name, _sign in _COMPARISONS.items():
        ELEMENTWISE[getattr(getattr(aten, _name), _overload)] = f"({{0}}{_sign}{{1}}?1:0)"
# These take an elementwise operand into their own loop.
FUSES = {*ELEMENTWISE, aten.sum.dim_IntList, aten.sum.default, aten.mean.dim, aten.mean.default, aten.cat.default,
         aten.slice_backward.default, aten.select_backward.default, aten.convolution_backward.default}


def _form(node: fx.Node) -> str:
    form = ELEMENTWISE[node.target]
    if node.target is aten._to_copy.default and _is_whole(node) and not _is_whole(node.args[0]):
        return "trunc({0})"
    if isinstance(form, str):
        return form
    names = {"alpha": "alpha", "min": "low", "max": "high"}  # all others are of layouts and types
    return form(*node.args[1:], **{names[name]: value for name, value in node.kwargs.items() if name in names})


def _is_whole(node: fx.Node) -> bool:
    dtype = node.meta["like"][2]
    return not (dtype.is_floating_point or dtype.is_complex)


def times_used(user: fx.Node, node: fx.Node) -> int:
    """How often an elementwise operation computes with the entry of its argument."""
    return sum(_form(user).count(f"{{{i}}}") for i, argument in enumerate(user.args) if argument is node)


def elementwise(node: fx.Node, values: dict[fx.Node, Value]) -> Expression:
    if node.target._schema.is_mutable and (len(node.args[0].users) > 1 or node.args[0].target not in ELEMENTWISE):
        raise Unsupported(f"{node.target} writes to a value that is used elsewhere (as in {node.format_node()}); write "
                          "the operation without its underscore")
    form = _form(node)
    parts = []
    for position, argument in enumerate(node.args):
        part = values[argument] if isinstance(argument, fx.Node) else argument
        if isinstance(part, Expression) and not part.parts:
            part = part.form  # a constant
        if isinstance(part, (View, Expression)):
            form = form.replace(f"{{{position}}}", f"{{p{len(parts)}}}")
            parts.append(part)
        elif isinstance(part, (int, float, str)):
            text = part if isinstance(part, str) else loops.number(part)
            form = form.replace(f"{{{position}}}", text)
    if re.search(r"{\d", form) or node.meta["like"][2].is_complex:
        raise Unsupported(f"{node.target} on numbers that are neither real nor whole (as in {node.format_node()}); "
                          "write a spectral solver's operators as matrices, as web/matrices.py does")
    form = form.replace("{p", "{")
    return Expression(form, tuple(parts) if "{" in form else (), node.meta["like"][0])


def viewed(node: fx.Node, source: Value) -> Value | list[Value] | None:
    """The view of a value; None if the value must be stored row by row before it can be viewed so."""
    shape = node.meta["like"][0] if "like" in node.meta else None
    if isinstance(source, Expression):  # the same number everywhere
        return Expression(source.form, (), shape) if shape is not None else None
    rule, arguments = VIEWS[node.target], node.args[1:]
    return rule(source, shape, *arguments)


def _reshaped(v: View, shape, *_) -> View | None:
    """Another shape of the same entries, where strides can say so."""
    old = [(n, s) for n, s in zip(v.shape, v.strides) if n != 1]
    strides: list[int] = [0] * len(shape)
    axis = len(shape) - 1
    while old:
        n, stride = old.pop()
        while old and old[-1][1] == stride * n:  # axes that lie as one
            n *= old.pop()[0]
        while axis >= 0 and n > 1 or axis >= 0 and shape[axis] == 1:
            if n % shape[axis]:
                return None
            strides[axis], stride, n = stride if shape[axis] != 1 else 0, stride * shape[axis], n // shape[axis]
            axis -= 1
        if n != 1:
            return None
    return View(v.buffer, tuple(shape), tuple(strides), v.offset)


def _permuted(v: View, shape, axes) -> View:
    return View(v.buffer, shape, tuple(v.strides[a] for a in axes), v.offset)


def _transposed(v: View, shape, first=0, second=1) -> View:
    strides = list(v.strides)
    strides[first], strides[second] = strides[second], strides[first]
    return View(v.buffer, shape, tuple(strides), v.offset)


def _sliced(v: View, shape, axis=0, start=None, end=None, step=1) -> View:
    axis, n = axis % len(v.shape), v.shape[axis % len(v.shape)]
    start = 0 if start is None else max(start + n, 0) if start < 0 else min(start, n)
    strides = tuple(s * step if i == axis else s for i, s in enumerate(v.strides))
    return View(v.buffer, shape, strides, v.offset + start * v.strides[axis])


def selected(v: View, axis: int, index: int) -> View:
    axis %= len(v.shape)
    return View(v.buffer, (*v.shape[:axis], *v.shape[axis + 1:]), (*v.strides[:axis], *v.strides[axis + 1:]),
                v.offset + index % v.shape[axis] * v.strides[axis])


def _unsqueezed(v: View, shape, axis) -> View:
    axis %= len(v.shape) + 1
    return View(v.buffer, shape, (*v.strides[:axis], 0, *v.strides[axis:]), v.offset)


def _squeezed(v: View, shape, axes=None) -> View:
    axes = range(len(v.shape)) if axes is None else [axes] if isinstance(axes, int) else axes
    dropped = {a % len(v.shape) for a in axes if v.shape[a] == 1}
    return View(v.buffer, shape, tuple(s for i, s in enumerate(v.strides) if i not in dropped), v.offset)


def flipped(v: View, axes) -> View:
    axes = {a % len(v.shape) for a in axes}
    strides = tuple(-s if i in axes else s for i, s in enumerate(v.strides))
    return View(v.buffer, v.shape, strides, v.offset + sum((v.shape[a] - 1) * v.strides[a] for a in axes))


def _repeated(v: View, shape, repeats) -> View:
    if any(r != 1 and n != 1 for r, n in zip(repeats, (1,) * (len(shape) - len(v.shape)) + v.shape)):
        raise Unsupported(f"aten.repeat of an axis with more than one entry ({v.shape} by {tuple(repeats)}); "
                          "use expand")
    return v.expanded(shape)


def _unbound(v: View, shape, axis=0) -> list[View]:
    return [selected(v, axis, i) for i in range(v.shape[axis % len(v.shape)])]


VIEWS = {
    aten.view.default: _reshaped, aten._unsafe_view.default: _reshaped, aten.reshape.default: _reshaped,
    aten.permute.default: _permuted, aten.transpose.int: _transposed, aten.t.default: _transposed,
    aten.repeat.default: _repeated, aten.expand.default: lambda v, shape, *_: v.expanded(shape),
    aten.slice.Tensor: _sliced, aten.select.int: lambda v, shape, axis, index: selected(v, axis, index),
    aten.unsqueeze.default: _unsqueezed,
    aten.squeeze.dim: _squeezed, aten.squeeze.dims: _squeezed, aten.squeeze.default: _squeezed,
    aten.unbind.int: _unbound, aten.flip.default: lambda v, shape, axes: flipped(v, axes),
}
