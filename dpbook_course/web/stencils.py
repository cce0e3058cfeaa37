"""Convolutions, look-ups and indices of a page: rules of the transpiler, and the kernels that they call.

A rule gets the program that is being written, the node, and the node's arguments as values.
"""

import itertools
from collections.abc import Sequence

import torch

from . import loops
from .loops import LOOPS, NAMES, Expression, Kernels, View, address, largest, number
from .operations import Unsupported, flipped

aten = torch.ops.aten


def convolution(program, node, source, weight, bias, *layout) -> View:
    _check_convolution(node, *layout)
    source, weight = program.stored(source, contiguous=True), program.stored(weight)
    bias = None if bias is None else program.stored(bias)
    batch, channels, height, width = node.meta["like"][0]
    row = source.shape[3]
    lines = program.new((batch, channels, (height - 1) * row + width))
    program.calls.append(_correlated(program.kernels, lines, _in_lines(source), weight, bias, row))
    return View(lines.buffer, node.meta["like"][0], (*lines.strides[:2], row, 1))


def convolution_back(program, node, gradient, source, weight, _, *layout) -> list[View | None]:
    *layout, wanted = layout
    _check_convolution(node, *layout)
    source, weight = program.stored(source, contiguous=True), program.stored(weight)
    batch, channels, height, width = gradient.shape
    row, size = source.shape[3], source.shape[2] * source.shape[3]
    margin = (weight.shape[2] - 1) * row + weight.shape[3] - 1
    # The gradient among zeros, its rows as far apart as the source's: both products read along one line.
    among = program.new((batch, channels, size + margin))
    inside = View(among.buffer, gradient.shape, (*among.strides[:2], row, 1), margin)
    program.calls.append(loops.store(program.kernels, among, Expression("0", (), among.shape)))
    program.calls.append(loops.store(program.kernels, inside, gradient))
    found: list[View | None] = [None, None, None]
    if wanted[0]:
        found[0] = program.new(source.shape)
        turned = flipped(View(weight.buffer, tuple(weight.shape[i] for i in (1, 0, 2, 3)),
                              tuple(weight.strides[i] for i in (1, 0, 2, 3)), weight.offset), (2, 3))
        program.calls.append(_correlated(program.kernels, _in_lines(found[0]), among, turned, None, row))
    if wanted[1]:
        found[1] = program.new(weight.shape)
        line = View(among.buffer, (batch, channels, size - margin), among.strides, margin)
        program.calls.append(_correlation(program.kernels, found[1], line, _in_lines(source), row))
    if wanted[2]:
        found[2] = program.new((channels,))
        program.calls.append(loops.reduced(program.kernels, found[2], inside, (0, 2, 3), 1))
    return found


def sampled(program, node, image, positions, *how) -> View:
    _check_sampler(node, image, *how)
    out = program.new(node.meta["like"][0])
    program.calls.append(_sampled(program.kernels, out, program.stored(image), program.stored(positions)))
    return out


def sampled_back(program, node, gradient, image, positions, *how) -> list[View]:
    *how, _ = how
    _check_sampler(node, image, *how)
    image, positions = program.stored(image), program.stored(positions)
    found = [program.new(image.shape), program.new(positions.shape)]
    program.calls.append(loops.store(program.kernels, found[0], Expression("0", (), found[0].shape)))
    program.calls.append(_sampled_back(program.kernels, *found, program.stored(gradient), image, positions))
    return found


def gathered(program, node, source, indices) -> View:
    if any(index is None for index in indices):
        raise Unsupported(f"an index of some axes only (as in {node.format_node()}); index the first ones")
    found = [program.stored(program.values[index]) for index in indices]
    shape = torch.broadcast_shapes(*(index.shape for index in found))
    out = program.new(node.meta["like"][0])
    program.calls.append(_gathered(program.kernels, out, program.stored(source), [x.expanded(shape) for x in found]))
    return out


def _check_convolution(node, stride, padding, dilation, transposed, _, groups) -> None:
    if len(stride) != 2 or {*stride, *dilation} != {1} or any(padding) or transposed or groups != 1:
        raise Unsupported(f"a convolution with strides, padding, dilation or groups, or not in two dimensions (as in "
                          f"{node.format_node()}); pad before it, as ConvResNet does, one network at a time")


def _check_sampler(node, image, mode, padding, aligned) -> None:
    if (mode, padding, aligned) != (0, 1, True) or min(image.shape[2:]) < 2:
        raise Unsupported(f"a look-up that is not linear, between two points at least, with the edge's values outside "
                          f"and the corners aligned (as in {node.format_node()})")


def _in_lines(view: View) -> View:
    """The rows of each plane as one."""
    return View(view.buffer, (*view.shape[:2], view.shape[2] * view.shape[3]), (*view.strides[:2], 1), view.offset)


RULES = {
    aten.convolution.default: convolution, aten.convolution_backward.default: convolution_back,
    aten.grid_sampler_2d.default: sampled, aten.grid_sampler_2d_backward.default: sampled_back,
    aten.index.Tensor: gathered,
}


def _correlated(kernels: Kernels, out: View, source: View, weight: View, bias: View | None,
               row: int) -> tuple[int, list[View]]:
    """``out[b, o, t] = bias[o] + sum_cij weight[o, c, i, j] source[b, c, t + i row + j]``: a convolution on planes
    whose rows, padding included, lie in one line. A block of channels and of consecutive t at once; the last one
    overlaps.
    """
    (batch, channels, size), (_, inner, height, width) = out.shape, weight.shape
    tall, wide = largest(channels, (4, 2, 1)), largest(min(size, 8), (8, 1))
    block = list(itertools.product(range(tall), range(wide)))
    places = [out, source, weight, *([] if bias is None else [bias])]

    def at(place: int, strides: Sequence[int], loops: str, shift: int = 0) -> str:
        return f"M[{address(NAMES[place], strides, loops)}{f'+{shift}' if shift else ''}]"

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


def _correlation(kernels: Kernels, out: View, gradient: View, source: View, row: int) -> tuple[int, list[View]]:
    """``out[o, c, i, j] = sum_bt gradient[b, o, t] source[b, c, t + i row + j]``: of the weights of ``_correlated``."""
    (channels, inner, height, width), (batch, _, size) = out.shape, gradient.shape
    tall = largest(channels, (2, 1))
    block = list(itertools.product(range(tall), range(width)))
    sums = [f"x{o}_{j}" for o, j in block]
    loads = [f"y{o}=M[{address('b', (*gradient.strides[:2], 1), 'got')}+{o * gradient.strides[1]}]"
             for o in range(tall)]
    loads += [f"h{j}=M[{address('c', (*source.strides[:2], 1, row), 'gkti')}+{j}]" for j in range(width)]
    ends = [f"M[{address('a', out.strides[:3], 'oki')}+{o * out.strides[0] + j * out.strides[3]}]=x{o}_{j};"
            for o, j in block]
    text = f"for(INT o=0;o<{channels};o+={tall})for(INT k=0;k<{inner};k++)for(INT i=0;i<{height};i++)" \
        f"{{REAL {','.join(f'{x}=0' for x in sums)};for(INT g=0;g<{batch};g++)for(INT t=0;t<{size};t++)" \
        f"{{REAL {','.join(loads)};{''.join(f'x{o}_{j}+=y{o}*h{j};' for o, j in block)}}}{''.join(ends)}}}"
    return kernels.number(3, text), [out, gradient, source]


def _sampled(kernels: Kernels, out: View, image: View, positions: View) -> tuple[int, list[View]]:
    """``out[b, c, i, j]``: the image (batch, channels, y, x) at ``positions[b, i, j] = (x, y)``, where -1 and 1 are the
    first and the last point, by linear interpolation; outside, its edge.
    """
    corners, weights = _corners("b", image), _WEIGHTS
    text = _at_positions("c", image, positions) + f"for(INT k=0;k<{image.shape[1]};k++)" \
        f"M[{address('a', out.strides, 'gkij')}]={'+'.join(f'{w}*{c}' for w, c in zip(weights, corners))};}}"
    return kernels.number(3, text), [out, image, positions]


def _sampled_back(kernels: Kernels, of_image: View, of_positions: View, gradient: View, image: View,
                 positions: View) -> tuple[int, list[View]]:
    """Gradients of ``_sampled``: to that of the image it is added; where a position was outside, its own is zero."""
    height, width = image.shape[2:]
    low_left, low_right, high_left, high_right = _corners("d", image)
    adds = "".join(f"{c}+=z*{w};" for w, c in zip(_WEIGHTS, _corners("a", of_image)))
    text = _at_positions("e", image, positions) + f"REAL r=0,s=0;for(INT k=0;k<{image.shape[1]};k++)" \
        f"{{REAL z=M[{address('c', gradient.strides, 'gkij')}];{adds}" \
        f"r+=z*((1-v)*({low_right}-{low_left})+v*({high_right}-{high_left}));" \
        f"s+=z*((1-u)*({high_left}-{low_left})+u*({high_right}-{low_right}));}}"
    for n, (name, slope, size) in enumerate((("x", "r", width), ("y", "s", height))):
        text += f"M[{address('b', of_positions.strides[:3], 'gij')}+{n * of_positions.strides[3]}]=" \
            f"{name}>0&&{name}<{size - 1}?{slope}*{number((size - 1) / 2)}:0;"
    return kernels.number(5, text + "}"), [of_image, of_positions, gradient, image, positions]


_WEIGHTS = ("(1-v)*(1-u)", "(1-v)*u", "v*(1-u)", "v*u")


def _at_positions(name: str, image: View, positions: View) -> str:
    """Loops over positions; in them the place (x, y), the point (q, p) before it, and the way (u, v) from there."""
    text = "".join(f"for(INT {loop}=0;{loop}<{n};{loop}++)" for loop, n in zip("gij", positions.shape)) + "{"
    for n, (x, size) in enumerate(zip("xy", (image.shape[3], image.shape[2]))):
        at = f"M[{address(name, positions.strides[:3], 'gij')}+{n * positions.strides[3]}]"
        text += f"REAL {x}=max(0,min({size - 1},({at}+1)*{number((size - 1) / 2)}));"
    height, width = image.shape[2:]
    return text + f"INT q=min({width - 2},floor(x)),p=min({height - 2},floor(y));REAL u=x-q,v=y-p;"


def _corners(name: str, image: View) -> list[str]:
    batch, channels, down, right = image.strides
    at = address(name, (batch, channels, down, right), "gkpq")
    return [f"M[{at}{f'+{shift}' if shift else ''}]" for shift in (0, right, down, down + right)]


def _gathered(kernels: Kernels, out: View, source: View, indices: Sequence[View]) -> tuple[int, list[View]]:
    """``out = source[indices]``, whole numbers for its first axes, of one shape; negative ones count from the end."""
    rank, count = len(indices[0].shape), len(indices)
    loops, rest = LOOPS[:len(out.shape)], LOOPS[rank:len(out.shape)]
    heads = "".join(f"for(INT {loop}=0;{loop}<{n};{loop}++)" for loop, n in zip(loops, out.shape))
    places = [out, source, *indices]
    reads = ",".join(f"z{n}=M[{address(NAMES[2 + n], index.strides, loops)}]" for n, index in enumerate(indices))
    along = enumerate(zip(source.strides, source.shape[:count]))
    at = "+".join([address("b", source.strides[count:], rest),
                   *(f"{stride}*(z{n}<0?z{n}+{size}:z{n})" for n, (stride, size) in along)])
    text = f"{heads}{{INT {reads};M[{address('a', out.strides, loops)}]=M[{at}];}}"
    return kernels.number(len(places), text), places
