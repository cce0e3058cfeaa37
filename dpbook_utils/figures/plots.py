"""Curves, bars and effects with their intervals."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from .style import COLOURS, DASHES, array, grid, styled

GUIDE = "#555555"
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
        columns: panels in a row; the legend then stands below. By default all are side by side.
    """
    if not isinstance(next(iter(panels.values())), Mapping):
        panels = {"": panels}
    labels = [xlabel] * len(panels) if isinstance(xlabel, str) else list(xlabel)
    if columns is None:
        size = (2.0 + max(5.0, 3.2 * len(panels)), 3.4)
    else:
        size = (2.9 * min(columns, len(panels)) + 0.4, 2.6 * -(-len(panels) // columns) + 0.8)
    figure, axes = grid(len(panels), *size, columns=columns, sharey=True)
    order = list(dict.fromkeys(label for series in panels.values() for label in series))
    for axis, label, (title, series) in zip(axes, labels, panels.items(), strict=True):
        _draw(axis, series, order)
        for j, (name, line) in enumerate((lines or {}).items()):
            _guide(axis, name, line, DASHES[(j + 3) % len(DASHES)])
        axis.set(xlabel=label, title=title, xscale="log" if xlog else "linear", yscale="log" if ylog else "linear")
    for i, axis in enumerate(axes):
        if isinstance(xlabel, str) and i + (columns or 0) < len(axes) and columns:
            axis.set_xlabel("")  # the panel below has it
        if axis.get_subplotspec().is_first_col():
            axis.set_ylabel(ylabel)
        for direction, is_log in ((axis.xaxis, xlog), (axis.yaxis, ylog)):
            if is_log:
                _readable_ticks(direction)
    entries = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels())}
    place = {"loc": "outside right upper"} if columns is None else {
        "loc": "outside lower center", "ncols": 2 if columns < 3 else 4}
    figure.legend(entries.values(), entries.keys(), handlelength=2.6, **place)
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
    figure, (axis,) = grid(1, 7.0, 3.8)
    for i, (label, (x, y)) in enumerate(points.items()):
        axis.plot(array(x), array(y), MARKERS[i % len(MARKERS)], label=label, color=COLOURS[i % len(COLOURS)],
                  markersize=5, alpha=0.85)
    axis.set(xlabel=xlabel, ylabel=ylabel, xscale="log" if xlog else "linear", yscale="log" if ylog else "linear")
    for direction, is_log in ((axis.xaxis, xlog), (axis.yaxis, ylog)):
        if is_log:
            _readable_ticks(direction)
    figure.legend(loc="outside right upper")
    return figure


@styled
def bars(values: Mapping[str, float], *, xlabel: str) -> Figure:
    """One horizontal bar per entry from zero, its value written beside it."""
    figure, (axis,) = grid(1, 6.4, 0.8 + 0.42 * len(values))
    colours = [COLOURS[i % len(COLOURS)] for i in range(len(values))]
    drawn = axis.barh(list(values), [float(v) for v in values.values()], color=colours)
    axis.bar_label(drawn, fmt=" {:.3g}")
    axis.set(xlabel=xlabel)
    axis.margins(x=0.15)
    axis.invert_yaxis()
    return figure


@styled
def forest(panels: Mapping, *, xlabel: str, others: Mapping[str, Mapping] | None = None) -> Figure:
    """Ratios with their intervals on a logarithmic axis, one row each, in one panel or several with the same rows.

    Args:
        panels: ``{label: (value, low, high)}`` or ``{label: (value, low, high, per_seed)}``, whose single values are
            drawn as dots; or ``{title: such a mapping}``. The value is written above its interval, and its mark is
            open if the interval holds 1.
        others: values without an interval, in the same or in further rows, for instance published ones:
            ``{name: {label: value}}``, or ``{name: {title: {label: value}}}`` for panels.
    """
    others = others or {}
    if not isinstance(next(iter(panels.values())), Mapping):
        panels, others = {"": panels}, {name: {"": values} for name, values in others.items()}
    drawn = [*panels.values(), *(values for panel in others.values() for values in panel.values())]
    rows = list(dict.fromkeys(label for effects in drawn for label in effects))
    figure, axes = grid(len(panels), 1.6 + max(4.6, 2.6 * len(panels)), 1.1 + 0.45 * len(rows), sharey=True)
    for axis, (title, effects) in zip(axes, panels.items()):
        axis.axvline(1, color=GUIDE, linewidth=1.2)
        for label, (value, low, high, *seeds) in effects.items():
            _effect(axis, rows.index(label), value, low, high, seeds[0] if seeds else (), low <= 1 <= high)
        for colour, (name, values) in zip(COLOURS[1:], others.items()):
            for label, value in values.get(title, {}).items():
                axis.plot(value, rows.index(label), "D", color=colour, markersize=5, label=name, zorder=5)
                _value(axis, value, rows.index(label))
        axis.set(xlabel=xlabel, title=title, xscale="log", yticks=range(len(rows)),
                 yticklabels=rows, ylim=(len(rows) - 0.5, -0.7))
        axis.margins(x=0.1)
        axis.grid(axis="y", visible=False)
        _readable_ticks(axis.xaxis)
    if others:
        entries = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels())}
        figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=3)
    return figure


def _effect(axis, y: int, value: float, low: float, high: float, seeds: Sequence[float], is_open: bool) -> None:
    axis.plot(array(seeds), [y + 0.2] * len(seeds), "o", color=COLOURS[5], markersize=3.5, alpha=0.8, zorder=2)
    axis.plot([low, high], [y, y], color=COLOURS[0], linewidth=2.2, zorder=3)
    axis.plot(value, y, "s", color=COLOURS[0], markersize=6, markerfacecolor="white" if is_open else COLOURS[0],
              zorder=4)
    _value(axis, value, y)


def _value(axis, value: float, y: int) -> None:
    axis.annotate(f"{value:.2f}", (value, y), (0, 5), textcoords="offset points", ha="center", fontsize=9)


def _readable_ticks(axis) -> None:
    """On less than two decades of a logarithmic axis plain numbers, not powers of ten."""
    low, high = axis.get_view_interval()
    axis.set_minor_formatter(NullFormatter())
    if high < 100 * low:
        narrow = MaxNLocator(5) if high < 2 * low else LogLocator(subs=(1, 1.5, 2, 3, 5, 7))
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)) if high > 5 * low else narrow)
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
