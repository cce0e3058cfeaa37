"""Operations of a plan as a table that machine code goes through at once.   Chapter: 06_long_horizons.

A call from Python takes one or two microseconds, and so does the work of an operation on small arrays. Consecutive
operations whose values all have their places become one call. Everything is float32 in the memory of a CPU.
"""

import functools
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, fx

from . import compiler
from .operations import overlaps

aten = torch.ops.aten
CODES = {name: i for i, name in enumerate(
    "COPY FILL ADD SUB MUL DIV TANH TANH_BACKWARD COMPLEX_MUL SUM GEMM".split())}
ENTRY = np.dtype([("code", "i4"), ("num_axes", "i4"), ("n", "i8", 6), ("p", "u8", 3), ("s", "i8", (3, 6)),
                  ("a", "f4"), ("b", "f4")], align=True)
LONGEST = 64  # of the Fourier transforms that a product with their matrix does as fast
_ARITHMETIC = {aten.add.Tensor: "ADD", aten.sub.Tensor: "SUB", aten.mul.Tensor: "MUL", aten.div.Tensor: "DIV",
               aten.mul.Scalar: "MUL", aten.div.Scalar: "DIV"}
_EXACT = {*_ARITHMETIC, aten.neg.default, aten.pow.Tensor_Scalar, aten.cat.default, aten.clone.default,
          aten._to_copy.default, aten.select_backward.default, aten.slice_backward.default, aten.new_zeros.default,
          aten.zeros_like.default, aten.zeros.default}
_CLOSE = {*_EXACT, aten.tanh.default, aten.tanh_backward.default, aten.sum.dim_IntList, aten.mean.dim, aten.mm.default,
          aten.bmm.default, aten.baddbmm.default, aten._fft_c2c.default}


class Table:
    """The entries of a plan's operations.

    Args:
        exact: only operations whose results are bit for bit torch's; else also those that sum in another order, and
            tanh, which differ from torch's by a few roundings.
    """

    def __init__(self, exact: bool):
        self.library, self.sgemm, self.exact = compiler.library(), compiler.sgemm(), exact
        self.kept: list[Tensor] = []  # what entries point to outside the arena

    @classmethod
    def on(cls, device: torch.device, exact: bool) -> "Table | None":
        """None where there is no machine code for the device."""
        return cls(exact) if device.type == "cpu" and compiler.library() is not None else None

    def takes(self, node: fx.Node) -> bool:
        """The result should have a place because an entry may write it."""
        if "like" not in node.meta or node.op != "call_function" or overlaps(node):
            return False
        dtype = node.meta["like"][2]
        if node.target is aten._fft_c2c.default:
            shape = node.meta["like"][0]
            return not self.exact and dtype == torch.complex64 and node.args[1] == [len(shape) - 1] and (
                shape[-1] <= LONGEST)
        return node.target in (_EXACT if self.exact else _CLOSE) and dtype in (torch.float32, torch.complex64)

    def entries(self, node: fx.Node, values: dict[fx.Node, Tensor]) -> list[tuple] | None:
        """What the node's call does, with the values where they are; None if it stays a call."""
        if not self.takes(node):
            return None
        if not all(x in values for x in node.all_input_nodes):
            return None
        args = fx.map_arg(node.args, values.__getitem__)
        try:
            return [entry for entry in self._entries(node, values[node], args) if entry is not None]
        except _StaysACall:
            return None

    def _entries(self, node: fx.Node, out: Tensor, args: tuple) -> Iterable[tuple | None]:
        target, kwargs = node.target, node.kwargs
        if target in _ARITHMETIC:
            x, y = args[:2]
            name, factor = _ARITHMETIC[target], float(kwargs.get("alpha", 1))
            _require(not self.exact or factor == 1)
            if type(y) in (int, float):
                y = self._constant(float(y))
            _require(isinstance(y, Tensor))
            if out.is_complex() and name == "MUL":
                _require(not self.exact)
                yield self._complex_product(out, x, y)
            else:
                _require(not out.is_complex() or name in ("ADD", "SUB"))
                yield self._each(name, out, x, y, a=factor)
        elif target is aten.neg.default:
            yield self._each("MUL", out, args[0], self._constant(-1 - 1j if out.is_complex() else -1.0))
        elif target is aten.pow.Tensor_Scalar:
            _require(args[1] == 2 and not out.is_complex())
            yield self._each("MUL", out, args[0], args[0])
        elif target is aten.tanh.default:
            yield self._each("TANH", out, args[0])
        elif target is aten.tanh_backward.default:
            yield self._each("TANH_BACKWARD", out, *args)
        elif target is aten.cat.default:
            axis, start = (args[1] if len(args) > 1 else 0), 0
            for x in args[0]:
                if x.shape != (0,):
                    yield self._each("COPY", out.narrow(axis, start, x.shape[axis]), x)
                    start += x.shape[axis]
        elif target in (aten.clone.default, aten._to_copy.default):
            if out.dtype == torch.complex64 and args[0].dtype == torch.float32:
                yield self._each("FILL", torch.view_as_real(out)[..., 1])
                out = torch.view_as_real(out)[..., 0]
            yield self._each("COPY", out, args[0])
        elif target in (aten.new_zeros.default, aten.zeros_like.default, aten.zeros.default):
            yield self._each("FILL", out)
        elif target in (aten.select_backward.default, aten.slice_backward.default):
            part = aten.select.int if target is aten.select_backward.default else aten.slice.Tensor
            yield self._each("FILL", out)
            yield self._each("COPY", part(out, *args[2:]), args[0])
        elif target in (aten.sum.dim_IntList, aten.mean.dim):
            yield self._sum(out, args[0], args[1], len(args) > 2 and args[2])
            if target is aten.mean.dim:
                yield self._each("DIV", out, out, self._constant(float(args[0].numel() // out.numel())))
        elif target is aten._fft_c2c.default:
            yield self._transform(out, args[0], args[2:])
        else:
            if len(args) == 3:
                yield self._each("COPY", out, args[0])
            _require(not kwargs)
            yield self._product(out, *args[-2:], float(len(args) == 3))

    # One entry -------------------------------------------------------------------------------------------------------

    def _each(self, name: str, out: Tensor, *operands: Tensor, a: float = 1.0, b: float = 1.0,
              pairs: bool = False) -> tuple | None:
        """The operation at each place of the result; FILL is with zeros."""
        _require(all(x.dtype == out.dtype for x in operands))
        values = [_real(x) for x in (out, *operands)]
        if pairs:
            values = [x[..., 0] for x in values]
        values[1:] = [x.expand(values[0].shape) for x in values[1:]]
        if out.numel() == 0 or name == "COPY" and out.data_ptr() == operands[0].data_ptr():
            return None
        axes = _merged(values, sort=True)
        return self._entry(name, values, [n for n, _ in axes], [[s[i] for _, s in axes] for i in range(len(values))],
                           a if name != "FILL" else 0.0, b, len(axes))

    def _complex_product(self, out: Tensor, x: Tensor, y: Tensor) -> tuple | None:
        _require(x.is_complex() and y.is_complex())
        signs = [-1.0 if v.is_conj() else 1.0 for v in (x, y)]
        x, y = (v.conj() if v.is_conj() else v for v in (x, y))
        return self._each("COMPLEX_MUL", out, x, y, a=signs[0], b=signs[1], pairs=True)

    def _sum(self, out: Tensor, x: Tensor, axes: list[int], keepdim: bool) -> tuple | None:
        _require(x.numel() > 0 and out.dtype == x.dtype == torch.float32)
        axes = sorted(axis % x.ndim for axis in axes or range(x.ndim))
        for axis in axes if not keepdim else ():
            out = out.unsqueeze(axis)
        summed = out.expand(x.shape)  # which has no stride along what is summed
        found = _merged([summed, x], sort=False)
        kinds = "".join("+" if strides[0] == 0 else "k" for _, strides in found)
        _require(kinds in ("+", "+k", "k+", "k+k"))
        found = [(1, (0, 0))] * (kinds[0] == "+") + found + [(1, (1, 1))] * (kinds[-1] == "+")
        return self._entry("SUM", [out, x], [n for n, _ in found], [[s[i] for _, s in found] for i in (0, 1)])

    def _product(self, out: Tensor, x: Tensor, y: Tensor, factor: float) -> tuple | None:
        _require(self.sgemm is not None and out.numel() > 0 and x.numel() > 0)
        if out.ndim == 2:
            out, x, y = out[None], x[None], y[None]
        count, (m, k), n = len(out), x.shape[1:], y.shape[2]
        strides = [[*_rows(v), v.stride(0)] for v in (out, x, y)]
        _require(not strides[0][1])
        return self._entry("GEMM", [out, x, y], [m, n, k, count], strides, 1.0, factor)

    def _transform(self, out: Tensor, x: Tensor, how: tuple) -> tuple | None:
        _require(x.is_contiguous() and out.is_contiguous() and not x.is_conj())
        n = out.shape[-1]
        matrix = self._constant(_transform_matrix(n, *how))[None]
        return self._product(torch.view_as_real(out).view(1, -1, 2 * n), torch.view_as_real(x).view(1, -1, 2 * n),
                             matrix, 0.0)

    def _entry(self, name: str, values: list[Tensor], n: list[int], strides: list[list[int]], a: float = 1.0,
               b: float = 0.0, num_axes: int = 0) -> tuple:
        _require(max(len(n), *map(len, strides)) <= 6)
        _require(all(x.dtype == torch.float32 and x.device.type == "cpu" and not x.is_neg() for x in values))
        pointers = [x.data_ptr() for x in values]
        return (CODES[name], num_axes, _padded(n, 6), _padded(pointers, 3),
                _padded([_padded(s, 6) for s in strides], 3, [0] * 6), a, b)

    def _constant(self, value: Tensor | complex) -> Tensor:
        if not isinstance(value, Tensor):
            dtype = torch.complex64 if isinstance(value, complex) else torch.float32
            value = torch.tensor(value, dtype=dtype, device="cpu")
        self.kept.append(value)
        return value

    # A call ----------------------------------------------------------------------------------------------------------

    def bound(self, entries: np.ndarray, arena: Tensor, memory: Tensor) -> functools.partial:
        """The call of entries that were made on an arena, on other memory."""
        moved, start = entries.copy(), arena.data_ptr()
        inside = (moved["p"] >= start) & (moved["p"] < start + arena.numel())
        moved["p"][inside] = moved["p"][inside] - np.uint64(start) + np.uint64(memory.data_ptr())
        call = functools.partial(self.library.run, moved.ctypes.data, len(moved), self.sgemm)
        call.entries = moved  # which live as long as they can be called
        return call


class _StaysACall(Exception):
    """The table has no entry for this operation in this layout."""


def _require(condition: bool) -> None:
    if not condition:
        raise _StaysACall


def _real(x: Tensor) -> Tensor:
    if not x.is_complex():
        return x
    _require(not x.is_conj())
    return torch.view_as_real(x)


def _padded(values: list, n: int, by=0) -> list:
    return [*values, *[by] * (n - len(values))]


def _merged(values: list[Tensor], sort: bool) -> list[tuple[int, tuple[int, ...]]]:
    """Sizes, with the strides of all, of as few axes as reach the same places."""
    axes = [(n, s) for n, s in zip(values[0].shape, zip(*(x.stride() for x in values))) if n != 1]
    if sort:
        axes.sort(key=lambda axis: -axis[1][0])
    merged: list[tuple[int, tuple[int, ...]]] = []
    for n, s in axes:
        if merged and all(outer == n * inner for outer, inner in zip(merged[-1][1], s)):
            n *= merged.pop()[0]
        merged.append((n, s))
    return merged or [(1, (0,) * len(values))]


def _rows(x: Tensor) -> tuple[int, int]:
    """The distance of its rows, or of its columns if those lie in one piece, and whether it is so."""
    (m, n), (row, column) = x.shape[1:], x.stride()[1:]
    row, column = row if m > 1 else n, column if n > 1 else 1
    if column == 1 and row >= n:
        return row, 0
    column = column if n > 1 else m
    _require((m == 1 or row == 1) and column >= m)
    return column, 1


@functools.cache
def _transform_matrix(n: int, *how) -> Tensor:
    """What multiplies a row of n complex numbers, as 2 n real ones, from the right."""
    one = torch.ops.aten._fft_c2c.default(torch.eye(n, dtype=torch.complex128), [1], *how)
    return torch.stack([torch.view_as_real(one).flatten(1), torch.view_as_real(1j * one).flatten(1)],
                       1).reshape(2 * n, 2 * n).float().contiguous()
