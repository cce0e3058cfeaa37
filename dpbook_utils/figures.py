"""Figures of the book. They draw what they are given and compute nothing.

Every function returns a ``matplotlib`` figure on a white plate, readable in a light and a dark page, in the
Okabe-Ito colours (distinguishable with colour-vision deficiency), each curve with its own dash pattern.
"""

import functools
from collections.abc import Callable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))  # as many as do not divide the colours: 35 pairs
STYLE = {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
         "grid.color": "#dddddd", "axes.axisbelow": True, "figure.facecolor": "white", "savefig.facecolor": "white",
         "figure.dpi": 150, "legend.frameon": False, "lines.linewidth": 1.8, "image.cmap": "RdBu_r"}


def _styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Draw in the book's style, and leave nothing open: the notebook shows the returned figure once."""

    @functools.wraps(draw)
    def styled(*args, **options) -> Figure:
        with plt.rc_context(STYLE):
            figure = draw(*args, **options)
        plt.close(figure)
        return figure

    return styled


def _axes(columns: int, width: float, height: float, **options) -> tuple[Figure, np.ndarray]:
    figure, axes = plt.subplots(1, columns, figsize=(width, height), layout="constrained", squeeze=False, **options)
    return figure, axes[0]


def _array(values) -> np.ndarray:
    return values.detach().cpu().numpy() if hasattr(values, "detach") else np.asarray(values)


def _draw(axis, series: Mapping[str, Sequence], order: list[str]) -> None:
    for label, (x, y, *band) in series.items():
        i = order.index(label)
        colour = COLOURS[i % len(COLOURS)]
        marker = "o" if len(_array(x)) <= 12 else None
        axis.plot(_array(x), _array(y), label=label, color=colour, linestyle=DASHES[i % len(DASHES)], marker=marker,
                  markersize=4)
        if band:
            axis.fill_between(_array(x), _array(band[0]), _array(band[1]), color=colour, alpha=0.2, linewidth=0)


@_styled
def curves(panels: Mapping[str, Mapping[str, Sequence]] | Mapping[str, Sequence], *, xlabel, ylabel: str,
           xlog: bool = False, ylog: bool = False, lines: Mapping[str, float] | None = None) -> Figure:
    """Curves over a common y axis, in one panel or several.

    Args:
        panels: ``{label: (x, y)}`` or ``{label: (x, y, low, high)}`` with a band; or ``{title: such a mapping}``
            for one panel each.
        xlabel: with the unit; one label, or one per panel.
        lines: horizontal lines to compare with, ``{label: y}``.
    """
    if not isinstance(next(iter(panels.values())), Mapping):
        panels = {"": panels}
    labels = [xlabel] * len(panels) if isinstance(xlabel, str) else list(xlabel)
    figure, axes = _axes(len(panels), 2.0 + max(5.0, 3.2 * len(panels)), 3.4, sharey=True)
    order = list(dict.fromkeys(label for series in panels.values() for label in series))  # one style in all panels
    for axis, label, (title, series) in zip(axes, labels, panels.items(), strict=True):
        _draw(axis, series, order)
        for j, (name, y) in enumerate((lines or {}).items()):
            axis.axhline(y, color="#555555", linestyle=DASHES[(j + 3) % len(DASHES)], linewidth=1.2, label=name)
        axis.set(xlabel=label, title=title, xscale="log" if xlog else "linear", yscale="log" if ylog else "linear")
    axes[0].set_ylabel(ylabel)
    entries = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels())}
    figure.legend(entries.values(), entries.keys(), loc="outside right upper")
    return figure


@_styled
def space_time(fields: Mapping[str, Sequence], *, length: float, duration: float, label: str = "u [m/s]",
               start: float = 0.0) -> Figure:
    """Fields (time, x) side by side: space to the right, time upwards, one symmetric colour scale.

    Args:
        length: extent of the domain [m], from ``start``.   duration: extent in time [s].
    """
    figure, _ = _images(fields, "time [s]", label, 3.4, aspect="auto", extent=(start, start + length, 0, duration))
    return figure


@_styled
def bars(values: Mapping[str, float], *, xlabel: str) -> Figure:
    """One horizontal bar per entry from zero, its value written beside it."""
    figure, (axis,) = _axes(1, 6.4, 0.8 + 0.42 * len(values))
    colours = [COLOURS[i % len(COLOURS)] for i in range(len(values))]
    drawn = axis.barh(list(values), [float(v) for v in values.values()], color=colours)
    axis.bar_label(drawn, fmt=" {:.3g}")
    axis.set(xlabel=xlabel)
    axis.margins(x=0.15)
    axis.invert_yaxis()
    return figure


@_styled
def maps(fields: Mapping[str, Sequence], *, length: float, label: str,
         arrows: Mapping[str, Sequence] | None = None) -> Figure:
    """Scalar fields (x, y) side by side on one symmetric colour scale, with velocities (2, x, y) as arrows."""
    transposed = {title: _array(field).T for title, field in fields.items()}  # x to the right, y upwards
    figure, axes = _images(transposed, "y [m]", label, 3.0, extent=(0, length, 0, length))
    for axis, velocity in zip(axes, (arrows or {}).values()):
        v = _array(velocity)
        every = max(1, v.shape[1] // 16)
        places = (np.arange(0, v.shape[1], every) + 0.5) * length / v.shape[1]
        along_x, along_y = v[:, ::every, ::every]
        axis.quiver(places, places, along_x.T, along_y.T, color="#222222", width=0.005)
    return figure


def _images(fields: Mapping[str, Sequence], ylabel: str, label: str, height: float,
            **options) -> tuple[Figure, np.ndarray]:
    """Fields side by side over x, on one symmetric colour scale that leaves out what is not finite."""
    values = {title: _array(field) for title, field in fields.items()}
    scale = max(np.abs(field, where=np.isfinite(field), out=np.zeros(field.shape)).max() for field in values.values())
    figure, axes = _axes(len(values), 1.0 + 3.0 * len(values), height, sharey=True)
    for axis, (title, field) in zip(axes, values.items()):
        image = axis.imshow(field, origin="lower", vmin=-scale, vmax=scale, **options)
        axis.set(xlabel="x [m]", title=title)
        axis.grid(False)
    axes[0].set_ylabel(ylabel)
    figure.colorbar(image, ax=list(axes), label=label)
    return figure, axes
