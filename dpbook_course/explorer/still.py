"""Still pictures, for pages and notebooks without scripts: errors against steps, and the seeds of some rows."""

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


def dots(rows: Mapping[str, tuple[Sequence[float], tuple[float, float, float]]], label: str) -> str:
    """An SVG with a line for each row: its values, their mean and its interval, over a logarithmic axis.

    Args:
        rows: ``{name: (values, (mean, low, high))}``; what is not finite is not drawn.
        label: of the axis.
    """
    known = [y for values, mean in rows.values() for y in (*values, *mean) if 0 < y < math.inf]
    low, high = math.log10(min(known)), math.log10(max(known))
    left, height = 12 + 7 * max(map(len, rows)), 18 * len(rows) + 40
    width = left + 300

    def x(value: float) -> float:
        return left + 10 + (math.log10(value) - low) / (high - low or 1) * 270

    parts = [_text(x(y), height - 22, f"{y:.3g}", "middle") for y in (min(known), max(known))]
    parts.append(_text(left + 145, height - 6, label, "middle"))
    for k, (name, (values, interval)) in enumerate(rows.items()):
        y = 12 + 18 * k
        seeds = "".join(f"M{x(value):.0f},{y}h0" for value in values if value < math.inf)
        parts.append(f'<path d="{seeds}" stroke="currentColor" stroke-opacity="0.4" stroke-width="6" '
                     'stroke-linecap="round"/>')
        mean, *limits = (x(value) if value > 0 else math.nan for value in interval)
        ends = [mean, mean] if math.isnan(limits[0]) else limits
        parts += [f'<path d="M{ends[0]:.1f},{y}H{ends[1]:.1f}M{mean:.1f},{y - 6}v12" stroke="{STYLES[0][0]}" '
                  'stroke-width="2"/>', _text(left, y + 4, name, "end")]
    told = "; ".join(f"{name}: {interval[0]:.3g}" for name, (_, interval) in rows.items())
    return (f'<svg role="img" aria-label="{escape(f"{label}, geometric means: {told}")}" '
            f'viewBox="0 0 {width} {height}" width="{width}">{"".join(parts)}</svg>')


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
