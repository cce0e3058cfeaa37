"""Loops over one array, as text that is JavaScript and C at once: what a page runs instead of tensor operations.

A kernel is a function of places in one array ``M``; shapes and strides are numbers in its text, so that equal
operations share one kernel, in whatever model they occur. The words INT and REAL stand for the types of each language.
"""

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import reduce

Sizes = tuple[int, ...]


@dataclass(eq=False)
class Buffer:
    """A piece of memory: ``offset`` within the region ``slot``, both set by the plan unless it is given."""

    size: int
    slot: str | None = None
    offset: int = 0


@dataclass(frozen=True)
class View:
    """A strided array in a buffer, as torch's tensors are."""

    buffer: Buffer
    shape: Sizes
    strides: Sizes
    offset: int = 0

    @staticmethod
    def contiguous(buffer: Buffer, shape: Sequence[int], offset: int = 0) -> "View":
        return View(buffer, tuple(shape), row_major(shape), offset)

    @property
    def is_contiguous(self) -> bool:
        return all(n == 1 or s == expected for n, s, expected in zip(self.shape, self.strides, row_major(self.shape)))

    def expanded(self, shape: Sequence[int]) -> "View":
        """Broadcast as in torch; -1 keeps a size."""
        added = len(shape) - len(self.shape)
        old = (1,) * added + self.shape
        sizes = tuple(n if m == -1 else m for n, m in zip(old, shape))
        strides = (0,) * added + self.strides
        return View(self.buffer, sizes, tuple(0 if n == 1 and m != 1 else s for n, m, s in zip(old, sizes, strides)),
                    self.offset)


@dataclass(frozen=True)
class Expression:
    """A value that is not stored: ``form`` with the parts put in, entry by entry. Parts broadcast to the shape."""

    form: str
    parts: tuple
    shape: Sizes

    def leaves(self) -> list[View]:
        found = (part.leaves() if isinstance(part, Expression) else [part] for part in self.parts)
        return list(dict.fromkeys(itertools.chain(*found)))

    def text(self, names: dict[View, str]) -> str:
        return self.form.format(*(part.text(names) if isinstance(part, Expression) else names[part]
                                  for part in self.parts))


Value = View | Expression


def row_major(shape: Sequence[int]) -> Sizes:
    return tuple(reduce(int.__mul__, shape[i + 1:], 1) for i in range(len(shape)))


def as_expression(value: Value) -> Expression:
    return value if isinstance(value, Expression) else Expression("{0}", (value,), value.shape)


@dataclass
class Kernels:
    """All kernels of a page, each text once."""

    texts: dict[tuple[int, str], int] = field(default_factory=dict)

    def number(self, num_places: int, text: str) -> int:
        return self.texts.setdefault((num_places, text), len(self.texts))

    def javascript(self) -> str:
        """A list of functions ``(M, ...places)``, as the source text of an expression."""
        functions = [f"(M,{','.join(NAMES[:n])})=>{{{_replaced(text, 'let')}}}" for n, text in self.texts]
        return "[" + ",\n".join(functions) + "]"


    def c(self) -> str:
        """The same as functions ``k0, k1, ...`` of C in single precision, of pointers; but those with pow or log1p, for
        which that is too coarse.
        """
        functions = []
        for i, (n, text) in enumerate(self.texts):
            if not re.search(r"\b(pow|log1p)\(", text):
                places = ", ".join(f"float *restrict {name}" for name in NAMES[:n])
                functions.append(f"KERNEL({i}) k{i}({places}) {{{_as_c(text)}}}\n")
        return "".join(functions)


def _as_c(text: str) -> str:
    text = re.sub(r"M\[(\w+)(?:\+([^\]]*))?\]", lambda found: f"{found[1]}[{found[2] or 0}]", text)
    text = re.sub(r"(?<![\w.])(\d+\.\d*(?:e[+-]?\d+)?|\d+e[+-]?\d+)", r"\1f", text)
    return _replaced(text, "float", "int")


NAMES = [*"abcdefhopqrstuvw", *(f"p{n}" for n in range(64))]  # of places
LOOPS = "ijklmn"


def _replaced(text: str, real: str, integer: str = "let") -> str:
    return re.sub(r"\bINT\b", integer, re.sub(r"\bREAL\b", real, text))


def store(kernels: Kernels, out: View, value: Value) -> tuple[int, list[View]]:
    """The call (kernel, places) for ``out = value``."""
    return _elementwise(kernels, out, as_expression(value), (), lambda at, text: f"{at}={text};")


def added(kernels: Kernels, out: View, value: Value) -> tuple[int, list[View]]:
    """``out += value``."""
    return _elementwise(kernels, out, as_expression(value), (), lambda at, text: f"{at}+={text};")


def reduced(kernels: Kernels, out: View, value: Value, axes: Sequence[int], scale: float) -> tuple[int, list[View]]:
    """``out = scale * sum(value, axes)``; the shape of out has no reduced axes."""
    return _elementwise(kernels, out, as_expression(value), tuple(axes),
                        lambda at, text: f"{at}=z{'' if scale == 1 else f'*{number(scale)}'};")


def _elementwise(kernels: Kernels, out: View, value: Expression, axes: Sizes, assign: Callable):
    leaves = value.leaves()
    # The loops that are reduced come last, and the output does not move along them; the others follow its memory.
    kept = [i for i in range(len(value.shape)) if i not in axes]
    along = dict(zip(kept, out.strides))
    kept.sort(key=lambda i: -abs(along[i]))
    order = kept + list(axes)
    shape = [value.shape[i] for i in order]
    strides = [[along[i] for i in kept] + [0] * len(axes)]
    strides += [[leaf.expanded(value.shape).strides[i] for i in order] for leaf in leaves]
    outer, inner = _merged(shape[:len(kept)], [s[:len(kept)] for s in strides]), \
        _merged(shape[len(kept):], [s[len(kept):] for s in strides])
    sizes = outer[0] + inner[0]
    places = [f"M[{address(NAMES[n], a + b)}]" for n, (a, b) in enumerate(zip(outer[1], inner[1]))]
    text = value.text(dict(zip(leaves, places[1:])))
    heads = [f"for(INT {LOOPS[n]}=0;{LOOPS[n]}<{size};{LOOPS[n]}++)" for n, size in enumerate(sizes)]
    body = assign(places[0], text)
    if axes:
        body = f"{{REAL z=0;{''.join(heads[len(outer[0]):])}z+={text};{body}}}"
        heads = heads[:len(outer[0])]
    return kernels.number(1 + len(leaves), "".join(heads) + body), [out, *leaves]


def _merged(shape: list[int], strides: list[list[int]]) -> tuple[list[int], list[list[int]]]:
    """As few loops as possible: axes of one entry dropped, neighbours joined where all operands allow it."""
    sizes, steps = [], [[] for _ in strides]
    for axis in reversed([i for i, n in enumerate(shape) if n != 1]):
        if sizes and all(s[axis] == step[0] * sizes[0] for s, step in zip(strides, steps)):
            sizes[0] *= shape[axis]
        else:
            sizes.insert(0, shape[axis])
            for s, step in zip(strides, steps):
                step.insert(0, s[axis])
    return sizes, steps


def address(name: str, strides: Sequence[int], loops: Sequence[str] = LOOPS) -> str:
    terms = [loop if stride == 1 else f"{stride}*{loop}" for loop, stride in zip(loops, strides) if stride]
    return "+".join([name, *terms])


def product(kernels: Kernels, out: View, a: View, b: View, bias: View | None) -> tuple[int, list[View]]:
    """``out = bias + a b`` for (batch, n, k) and (batch, k, m); a block of entries of the output at once."""
    (groups, n, inner), m = a.shape, b.shape[2]
    tall, wide = largest(n, (8, 4, 2, 1)), largest(m, (4, 3, 2, 1))
    block = list(itertools.product(range(tall), range(wide)))

    def at(name: str, view: View, loops: Sequence[str], shifts: Sequence[int]) -> str:
        offset = sum(s * stride for s, stride in zip(shifts, view.strides))
        strides = (view.strides[0] if groups > 1 else 0, *view.strides[1:])
        return f"M[{address(name, strides, loops)}{f'+{offset}' if offset else ''}]"

    places = [out, a, b] if bias is None else [out, a, b, bias.expanded(out.shape)]
    start = [f"x{r}{c}={at('d', places[3], 'gij', (0, r, c)) if bias is not None else 0}" for r, c in block]
    loads = [f"a{r}={at('b', a, 'gik', (0, r, 0))}" for r in range(tall)]
    loads += [f"b{c}={at('c', b, 'gkj', (0, 0, c))}" for c in range(wide)]
    text = f"for(INT i=0;i<{n};i+={tall})for(INT j=0;j<{m};j+={wide}){{REAL {','.join(start)};" \
        f"for(INT k=0;k<{inner};k++){{REAL {','.join(loads)};" \
        + "".join(f"x{r}{c}+=a{r}*b{c};" for r, c in block) + "}" \
        + "".join(f"{at('a', out, 'gij', (0, r, c))}=x{r}{c};" for r, c in block) + "}"
    text = f"for(INT g=0;g<{groups};g++){text}" if groups > 1 else text
    return kernels.number(len(places), text), places


def largest(size: int, choices: Sequence[int]) -> int:
    return next(c for c in choices if size % c == 0)


def number(value: float) -> str:
    """A number as both languages write it."""
    value = float(value)
    if value != value or abs(value) == float("inf"):
        raise ValueError(f"the number {value} cannot be written into a kernel; compute it from finite ones")
    text = repr(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)
    return f"({text})" if text[0] == "-" else text


def plan(calls: Sequence[tuple[int, list[View]]], cut: int) -> tuple[int, int]:
    """Give every buffer its place; sizes of the scratch and of the kept region."""
    times: dict[Buffer, list[int]] = {}
    for time, (_, views) in enumerate(calls):
        for buffer in (view.buffer for view in views):
            if buffer.slot is None:
                times.setdefault(buffer, []).append(time)
    kept, scratch = 0, 0
    placed: list[Buffer] = []
    for buffer, used in times.items():
        if used[0] < cut <= used[-1]:
            buffer.slot, buffer.offset = "kept", kept
            kept += buffer.size
            continue
        beside = sorted((b for b in placed if times[b][-1] >= used[0] and used[-1] >= times[b][0]),
                        key=lambda b: b.offset)
        offset = 0
        for b in beside:
            if b.offset - offset >= buffer.size:
                break
            offset = max(offset, b.offset + b.size)
        buffer.slot, buffer.offset = "scratch", offset
        scratch = max(scratch, offset + buffer.size)
        placed.append(buffer)
    return scratch, kept
