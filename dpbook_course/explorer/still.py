"""Errors against steps as a still picture, for pages and notebooks without scripts."""

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 480, 230, 52, 34, 34
STYLES = (("#0072B2", "none"), ("#D55E00", "7 4"), ("#009E73", "9 3 2 3"))  # as in plots.js


def curves(lines: Mapping[str, Sequence[float]], label: str) -> str:
    """An SVG in the colours of the page: up to three curves, over a logarithmic axis of whole decades.

    Args:
        lines: ``{name: values at steps 1, 2, ...}``; what is not finite or not positive leaves a gap.
        label: of the horizontal axis.
    """
    known = [y for values in lines.values() for y in values if 0 < y < math.inf] or [0.1, 1.0]
    low, high = math.floor(math.log10(min(known))), max(math.ceil(math.log10(max(known))), 0)
    low = min(low, high - 1)
    longest = max(len(values) for values in lines.values())

    def x(step: int) -> float:
        return LEFT + (step - 1) / max(longest - 1, 1) * (WIDTH - LEFT - 10)

    def y(power: float) -> float:
        return TOP + (high - power) / (high - low) * (HEIGHT - TOP - BOTTOM)

    parts = []
    for power in range(low, high + 1, math.ceil((high - low) / 5)):
        parts += [f'<path d="M{LEFT},{y(power):.1f}H{WIDTH - 10}" stroke="currentColor" stroke-opacity="0.2"/>',
                  _text(LEFT - 6, y(power) + 4, f"{10.0 ** power:g}", "end")]
    for step in (1, longest):
        parts.append(_text(x(step), HEIGHT - BOTTOM + 16, str(step), "middle"))
    parts.append(_text((LEFT + WIDTH) / 2, HEIGHT - 6, label, "middle"))
    for k, (name, values) in enumerate(lines.items()):
        colour, dash = STYLES[k % len(STYLES)]
        pen = f'fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"'
        place = LEFT + k * (WIDTH - LEFT) / len(lines)
        parts += [f'<path d="{_path(values, x, y)}" {pen}/>', f'<path d="M{place:.0f},12h26" {pen}/>',
                  _text(place + 31, 16, name, "start")]
    ends = "; ".join(f"{name}: {values[0]:.3g} at first, {values[-1]:.3g} at the end" for name, values in lines.items())
    return (f'<svg role="img" aria-label="{escape(ends)}" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}">'
            f'{"".join(parts)}</svg>')


def _path(values: Sequence[float], x, y) -> str:
    """The curve, with a new beginning after every gap."""
    parts, pen = [], "M"
    for step, value in enumerate(values, 1):
        if 0 < value < math.inf:
            parts.append(f"{pen}{x(step):.1f},{y(math.log10(value)):.1f}")
        pen = "L" if 0 < value < math.inf else "M"
    return "".join(parts) or "M0,0"


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" fill="currentColor">{escape(text)}</text>'
