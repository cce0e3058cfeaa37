"""Curves, bars and effects with their intervals."""

import itertools
import textwrap
from collections.abc import Collection, Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from .style import COLOURS, DASHES, array, grid, legend, styled

GUIDE, BAND = "#555555", "#e8e8e8"
LINE = 76  # characters of a label that stands above its interval
MARKERS = "os^Dv*XPh"  # as many as do not divide the colours


@styled
def curves(panels: Mapping[str, Mapping[str, Sequence]] | Mapping[str, Sequence], *, xlabel, ylabel: str,
           xlog: bool = False, ylog: bool = False, lines: Mapping[str, float | Sequence] | None = None,
           columns: int | None = None) -> Figure:
    """Curves over a common y axis, in one panel or several.

    Args:
        panels: ``{label: (x, y)}`` or ``{label: (x, y, low, high)}`` with a band; or ``{title: such a mapping}``
            for one panel each. A label has the same style in all panels.
        xlabel: with the unit; one label, or one per panel.
        lines: what the curves are compared with, in every panel: ``{label: y}`` for a horizontal line,
            ``{label: (x, y)}`` for another one.
        columns: panels in a row; two by default.
    """
    if not isinstance(next(iter(panels.values())), Mapping):
        panels = {"": panels}
    labels = [xlabel] * len(panels) if isinstance(xlabel, str) else list(xlabel)
    order = list(dict.fromkeys(label for series in panels.values() for label in series))
    figure, axes = grid(len(panels), 3.2 if len(panels) == 1 else 2.5, columns=columns, space=0.7, sharey=True)
    for axis, label, (title, series) in zip(axes, labels, panels.items(), strict=True):
        _draw(axis, series, order)
        for j, (name, line) in enumerate((lines or {}).items()):
            _guide(axis, name, line, DASHES[(j + 3) % len(DASHES)])
        axis.set(xlabel=label, title=title, xscale="log" if xlog else "linear", yscale="log" if ylog else "linear")
    for i, axis in enumerate(axes):
        place = axis.get_subplotspec()
        if isinstance(xlabel, str) and i + place.get_gridspec().ncols < len(axes):
            axis.set_xlabel("")  # the panel below has it
        if place.is_first_col():
            axis.set_ylabel(ylabel)
        for direction, is_log in ((axis.xaxis, xlog), (axis.yaxis, ylog)):
            if is_log:
                _readable_ticks(direction)
    legend(figure, axes)
    return figure


def _draw(axis, series: Mapping[str, Sequence], order: list[str]) -> None:
    for label, (x, y, *band) in series.items():
        i = order.index(label)
        colour = COLOURS[i % len(COLOURS)]
        marker = "o" if len(array(x)) <= 12 else None
        axis.plot(array(x), array(y), label=label, color=colour, linestyle=DASHES[i % len(DASHES)], marker=marker,
                  markersize=4)
        if band:
            axis.fill_between(array(x), array(band[0]), array(band[1]), color=colour, alpha=0.2, linewidth=0)


def _guide(axis, name: str, line, dash) -> None:
    style = {"color": GUIDE, "linestyle": dash, "linewidth": 1.2, "label": name}
    if isinstance(line, Sequence):
        axis.plot(array(line[0]), array(line[1]), **style)
    else:
        axis.axhline(line, **style)


@styled
def scatter(points: Mapping[str, Sequence], *, xlabel: str, ylabel: str, xlog: bool = False,
            ylog: bool = False) -> Figure:
    """Points ``{label: (x, y)}``, each label with its own colour and marker."""
    figure, (axis,) = grid(1, 3.8, space=0.7)
    for i, (label, (x, y)) in enumerate(points.items()):
        axis.plot(array(x), array(y), MARKERS[i % len(MARKERS)], label=label, color=COLOURS[i % len(COLOURS)],
                  markersize=5, alpha=0.85)
    axis.set(xlabel=xlabel, ylabel=ylabel, xscale="log" if xlog else "linear", yscale="log" if ylog else "linear")
    for direction, is_log in ((axis.xaxis, xlog), (axis.yaxis, ylog)):
        if is_log:
            _readable_ticks(direction)
    legend(figure, [axis])
    return figure


@styled
def bars(values: Mapping[str, float], *, xlabel: str) -> Figure:
    """One horizontal bar per entry from zero, its value written beside it."""
    figure, (axis,) = grid(1, 0.42 * len(values), space=0.8)
    colours = [COLOURS[i % len(COLOURS)] for i in range(len(values))]
    drawn = axis.barh(list(values), [float(v) for v in values.values()], color=colours)
    axis.bar_label(drawn, fmt=" {:.3g}")
    axis.set(xlabel=xlabel)
    axis.margins(x=0.15)
    axis.invert_yaxis()
    return figure


@styled
def forest(panels: Mapping, *, xlabel: str, others: Mapping[str, Mapping] | None = None, equal: float = 1.0,
           bands: Mapping[str, tuple[float, float]] | None = None, undecided: Collection[str] | None = None) -> Figure:
    """Effects with their intervals, one row each, in one panel or several with the same rows.

    The value stands beside its label, or above its interval where several panels share the labels. A mark is filled
    where something is decided.

    Args:
        panels: ``{label: (value, low, high)}`` or ``{label: (value, low, high, per_seed)}``, whose single values are
            drawn as dots; or ``{title: such a mapping}``.
        others: values without an interval, in the same or in further rows, for instance published ones:
            ``{name: {label: value}}``, or ``{name: {title: {label: value}}}`` for panels.
        equal: where the line stands: 1 for ratios, on a logarithmic axis; 0 for differences, on a linear one.
        bands: for each label, the range that is shaded, such as what counts as no difference.
        undecided: labels whose marks are open; by default those whose interval holds ``equal``.
    """
    others = others or {}
    if not isinstance(next(iter(panels.values())), Mapping):
        panels, others = {"": panels}, {name: {"": values} for name, values in others.items()}
    drawn = [*panels.values(), *(values for panel in others.values() for values in panel.values())]
    rows = list(dict.fromkeys(label for effects in drawn for label in effects))
    alone = len(panels) == 1
    texts = [textwrap.fill(_above(label, drawn[0]), LINE) if alone else label for label in rows]
    ends = list(itertools.accumulate(1 + text.count("\n") * 0.45 for text in texts))  # the label is above the interval
    places = {label: end - 1 for label, end in zip(rows, ends)}
    figure, axes = grid(len(panels), 0.4 * ends[-1] + (0 if alone else 0.6), space=0.8, sharey=True)
    for axis, (title, effects) in zip(axes, panels.items()):
        axis.axvline(equal, color=GUIDE, linewidth=1.2)
        for label, (value, low, high, *seeds) in effects.items():
            is_open = low <= equal <= high if undecided is None else label in undecided
            _effect(axis, places[label], value, low, high, seeds[0] if seeds else (), is_open)
            if not alone:
                _value(axis, value, places[label])
        for label, limits in (bands or {}).items():
            axis.fill_betweenx([places[label] - 0.28, places[label] + 0.28], *limits, color=BAND, linewidth=0)
        for colour, (name, values) in zip(COLOURS[1:], others.items()):
            for label, value in values.get(title, {}).items():
                axis.plot(value, places[label], "D", color=colour, markersize=5, label=name, zorder=5)
                _value(axis, value, places[label])
        axis.set(xlabel=xlabel, title=title, xscale="log" if equal else "linear", yticks=list(places.values()),
                 yticklabels=[] if alone else rows, ylim=(ends[-1] - 0.5, -0.9))
        axis.margins(x=0.1)
        axis.grid(axis="y", visible=False)
        if equal:
            _readable_ticks(axis.xaxis)
        if alone:
            axis.tick_params(axis="y", length=0)
            for text, y in zip(texts, places.values()):
                axis.annotate(text, (0, y - 0.3), xycoords=("axes fraction", "data"), va="bottom", fontsize=9,
                              linespacing=1.0, bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.4})
    legend(figure, axes)
    return figure


def _above(label: str, effects: Mapping[str, Sequence]) -> str:
    """What stands above an interval: a label may be long, and leaves the width to the intervals."""
    return f"{label}: {_number(effects[label][0])}" if label in effects else label


def _effect(axis, y: int, value: float, low: float, high: float, seeds: Sequence[float], is_open: bool) -> None:
    axis.plot(array(seeds), [y + 0.2] * len(seeds), "o", color=COLOURS[5], markersize=3.5, alpha=0.8, zorder=2)
    axis.plot([low, high], [y, y], color=COLOURS[0], linewidth=2.2, zorder=3)
    axis.plot(value, y, "s", color=COLOURS[0], markersize=6, markerfacecolor="white" if is_open else COLOURS[0],
              zorder=4)


def _value(axis, value: float, y: int) -> None:
    axis.annotate(_number(value), (value, y), (0, 5), textcoords="offset points", ha="center", fontsize=9)


def _number(value: float) -> str:
    return f"{value:.2f}" if 0.1 <= abs(value) < 100 or value == 0 else f"{value:.2g}"


def _readable_ticks(axis) -> None:
    """On less than two decades of a logarithmic axis plain numbers, not powers of ten."""
    low, high = axis.get_view_interval()
    axis.set_minor_formatter(NullFormatter())
    if high < 100 * low:
        narrow = MaxNLocator(5, steps=[1, 2, 5, 10]) if high < 2 * low else LogLocator(subs=(1, 1.5, 2, 3, 5, 7))
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)) if high > 5 * low else narrow)
        axis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))


def _short(value: float) -> str:
    """2e5 for 200000, of which several would overlap."""
    return f"{value:g}" if value < 1e5 else f"{value:.4g}".replace("e+0", "e").replace("e+", "e")
