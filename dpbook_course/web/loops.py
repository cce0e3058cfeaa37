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
        functions = [f"(M,{','.join(_NAMES[:n])})=>{{{_replaced(text, 'let')}}}" for n, text in self.texts]
        return "[" + ",\n".join(functions) + "]"


    def c(self) -> str:
        """The same as functions ``k0, k1, ...`` of C in single precision, of pointers; but those with pow or log1p, for
        which that is too coarse.
        """
        functions = []
        for i, (n, text) in enumerate(self.texts):
            if not re.search(r"\b(pow|log1p)\(", text):
                places = ", ".join(f"float *restrict {name}" for name in _NAMES[:n])
                functions.append(f"KERNEL({i}) k{i}({places}) {{{_as_c(text)}}}\n")
        return "".join(functions)


def _as_c(text: str) -> str:
    text = re.sub(r"M\[(\w+)(?:\+([^\]]*))?\]", lambda found: f"{found[1]}[{found[2] or 0}]", text)
    text = re.sub(r"(?<![\w.])(\d+\.\d*(?:e[+-]?\d+)?|\d+e[+-]?\d+)", r"\1f", text)
    return _replaced(text, "float", "int")


_NAMES = [*"abcdefhopqrstuvw", *(f"p{n}" for n in range(64))]  # of places
_LOOPS = "ijklmn"


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
    places = [f"M[{_index(_NAMES[n], a + b)}]" for n, (a, b) in enumerate(zip(outer[1], inner[1]))]
    text = value.text(dict(zip(leaves, places[1:])))
    heads = [f"for(INT {_LOOPS[n]}=0;{_LOOPS[n]}<{size};{_LOOPS[n]}++)" for n, size in enumerate(sizes)]
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


def _index(name: str, strides: Sequence[int], loops: Sequence[str] = _LOOPS) -> str:
    terms = [loop if stride == 1 else f"{stride}*{loop}" for loop, stride in zip(loops, strides) if stride]
    return "+".join([name, *terms])


def product(kernels: Kernels, out: View, a: View, b: View, bias: View | None) -> tuple[int, list[View]]:
    """``out = bias + a b`` for (batch, n, k) and (batch, k, m); a block of entries of the output at once."""
    (groups, n, inner), m = a.shape, b.shape[2]
    tall, wide = _largest(n, (8, 4, 2, 1)), _largest(m, (4, 3, 2, 1))
    block = list(itertools.product(range(tall), range(wide)))

    def at(name: str, view: View, loops: Sequence[str], shifts: Sequence[int]) -> str:
        offset = sum(s * stride for s, stride in zip(shifts, view.strides))
        strides = (view.strides[0] if groups > 1 else 0, *view.strides[1:])
        return f"M[{_index(name, strides, loops)}{f'+{offset}' if offset else ''}]"

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


def correlated(kernels: Kernels, out: View, source: View, weight: View, bias: View | None,
               row: int) -> tuple[int, list[View]]:
    """``out[b, o, t] = bias[o] + sum_cij weight[o, c, i, j] source[b, c, t + i row + j]``: a convolution on planes
    whose rows, padding included, lie in one line. A block of channels and of consecutive t at once; the last one
    overlaps.
    """
    (batch, channels, size), (_, inner, height, width) = out.shape, weight.shape
    tall, wide = _largest(channels, (4, 2, 1)), _largest(min(size, 8), (8, 1))
    block = list(itertools.product(range(tall), range(wide)))
    places = [out, source, weight, *([] if bias is None else [bias])]

    def at(place: int, strides: Sequence[int], loops: str, shift: int = 0) -> str:
        return f"M[{_index(_NAMES[place], strides, loops)}{f'+{shift}' if shift else ''}]"

    def output(o: int, t: int) -> str:
        return at(0, out.strides, "gos", o * out.strides[1] + t * out.strides[2])

    start = [f"x{o}_{t}={0 if bias is None else at(3, bias.strides, 'o', o * bias.strides[0])}" for o, t in block]
    loads = [f"w{o}={at(2, weight.strides, 'okij', o * weight.strides[0])}" for o in range(tall)]
    loads += [f"h{t}={at(1, (*source.strides[:2], 1, row, 1), 'gksij', t)}" for t in range(wide)]
    text = f"for(INT g=0;g<{batch};g++)for(INT o=0;o<{channels};o+={tall})for(INT t=0;t<{size};t+={wide})" \
        f"{{INT s=min(t,{size - wide});REAL {','.join(start)};for(INT k=0;k<{inner};k++)for(INT i=0;i<{height};i++)" \
        f"for(INT j=0;j<{width};j++){{REAL {','.join(loads)};" + "".join(f"x{o}_{t}+=w{o}*h{t};" for o, t in block) \
        + "}" + "".join(f"{output(o, t)}=x{o}_{t};" for o, t in block) + "}"
    return kernels.number(len(places), text), places


def correlation(kernels: Kernels, out: View, gradient: View, source: View, row: int) -> tuple[int, list[View]]:
    """``out[o, c, i, j] = sum_bt gradient[b, o, t] source[b, c, t + i row + j]``: of the weights of ``correlated``."""
    (channels, inner, height, width), (batch, _, size) = out.shape, gradient.shape
    tall = _largest(channels, (2, 1))
    block = list(itertools.product(range(tall), range(width)))
    sums = [f"x{o}_{j}" for o, j in block]
    loads = [f"y{o}=M[{_index('b', (*gradient.strides[:2], 1), 'got')}+{o * gradient.strides[1]}]" for o in range(tall)]
    loads += [f"h{j}=M[{_index('c', (*source.strides[:2], 1, row), 'gkti')}+{j}]" for j in range(width)]
    ends = [f"M[{_index('a', out.strides[:3], 'oki')}+{o * out.strides[0] + j * out.strides[3]}]=x{o}_{j};"
            for o, j in block]
    text = f"for(INT o=0;o<{channels};o+={tall})for(INT k=0;k<{inner};k++)for(INT i=0;i<{height};i++)" \
        f"{{REAL {','.join(f'{x}=0' for x in sums)};for(INT g=0;g<{batch};g++)for(INT t=0;t<{size};t++)" \
        f"{{REAL {','.join(loads)};{''.join(f'x{o}_{j}+=y{o}*h{j};' for o, j in block)}}}{''.join(ends)}}}"
    return kernels.number(3, text), [out, gradient, source]


def sampled(kernels: Kernels, out: View, image: View, positions: View) -> tuple[int, list[View]]:
    """``out[b, c, i, j]``: the image (batch, channels, y, x) at ``positions[b, i, j] = (x, y)``, where -1 and 1 are the
    first and the last point, by linear interpolation; outside, its edge.
    """
    corners, weights = _corners("b", image), _WEIGHTS
    text = _at_positions("c", image, positions) + f"for(INT k=0;k<{image.shape[1]};k++)" \
        f"M[{_index('a', out.strides, 'gkij')}]={'+'.join(f'{w}*{c}' for w, c in zip(weights, corners))};}}"
    return kernels.number(3, text), [out, image, positions]


def sampled_back(kernels: Kernels, of_image: View, of_positions: View, gradient: View, image: View,
                 positions: View) -> tuple[int, list[View]]:
    """Gradients of ``sampled``: to that of the image it is added; where a position was outside, its own is zero."""
    height, width = image.shape[2:]
    low_left, low_right, high_left, high_right = _corners("d", image)
    adds = "".join(f"{c}+=z*{w};" for w, c in zip(_WEIGHTS, _corners("a", of_image)))
    text = _at_positions("e", image, positions) + f"REAL r=0,s=0;for(INT k=0;k<{image.shape[1]};k++)" \
        f"{{REAL z=M[{_index('c', gradient.strides, 'gkij')}];{adds}" \
        f"r+=z*((1-v)*({low_right}-{low_left})+v*({high_right}-{high_left}));" \
        f"s+=z*((1-u)*({high_left}-{low_left})+u*({high_right}-{low_right}));}}"
    for n, (name, slope, size) in enumerate((("x", "r", width), ("y", "s", height))):
        text += f"M[{_index('b', of_positions.strides[:3], 'gij')}+{n * of_positions.strides[3]}]=" \
            f"{name}>0&&{name}<{size - 1}?{slope}*{number((size - 1) / 2)}:0;"
    return kernels.number(5, text + "}"), [of_image, of_positions, gradient, image, positions]


_WEIGHTS = ("(1-v)*(1-u)", "(1-v)*u", "v*(1-u)", "v*u")


def _at_positions(name: str, image: View, positions: View) -> str:
    """Loops over positions; in them the place (x, y), the point (q, p) before it, and the way (u, v) from there."""
    text = "".join(f"for(INT {loop}=0;{loop}<{n};{loop}++)" for loop, n in zip("gij", positions.shape)) + "{"
    for n, (x, size) in enumerate(zip("xy", (image.shape[3], image.shape[2]))):
        at = f"M[{_index(name, positions.strides[:3], 'gij')}+{n * positions.strides[3]}]"
        text += f"REAL {x}=max(0,min({size - 1},({at}+1)*{number((size - 1) / 2)}));"
    height, width = image.shape[2:]
    return text + f"INT q=min({width - 2},floor(x)),p=min({height - 2},floor(y));REAL u=x-q,v=y-p;"


def _corners(name: str, image: View) -> list[str]:
    batch, channels, down, right = image.strides
    at = _index(name, (batch, channels, down, right), "gkpq")
    return [f"M[{at}{f'+{shift}' if shift else ''}]" for shift in (0, right, down, down + right)]


def gathered(kernels: Kernels, out: View, source: View, indices: Sequence[View]) -> tuple[int, list[View]]:
    """``out = source[indices]``, whole numbers for its first axes, of one shape; negative ones count from the end."""
    rank, count = len(indices[0].shape), len(indices)
    loops, rest = _LOOPS[:len(out.shape)], _LOOPS[rank:len(out.shape)]
    heads = "".join(f"for(INT {loop}=0;{loop}<{n};{loop}++)" for loop, n in zip(loops, out.shape))
    places = [out, source, *indices]
    reads = ",".join(f"z{n}=M[{_index(_NAMES[2 + n], index.strides, loops)}]" for n, index in enumerate(indices))
    along = enumerate(zip(source.strides, source.shape[:count]))
    at = "+".join([_index("b", source.strides[count:], rest),
                   *(f"{stride}*(z{n}<0?z{n}+{size}:z{n})" for n, (stride, size) in along)])
    text = f"{heads}{{INT {reads};M[{_index('a', out.strides, loops)}]=M[{at}];}}"
    return kernels.number(len(places), text), places


def _largest(size: int, choices: Sequence[int]) -> int:
    return next(c for c in choices if size % c == 0)


def number(value: float) -> str:
    """A number as both languages write it."""
    value = float(value)
    if value != value or abs(value) == float("inf"):
        raise ValueError(f"the number {value} cannot be written into a kernel; compute it from finite ones")
    text = repr(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)
    return f"({text})" if text[0] == "-" else text
