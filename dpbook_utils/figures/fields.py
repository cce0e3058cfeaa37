"""Fields as images: space-time plots and maps."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from .style import array, grid, styled


@styled
def space_time(fields: Mapping[str, Sequence], *, length: float, duration: float, label: str = "u [m/s]",
               start: float = 0.0, xlabel: str = "x [m]", ylabel: str = "time [s]",
               limit: float | None = None, columns: int | None = None) -> Figure:
    """Fields (time, x) side by side or in rows: space to the right, time upwards, one symmetric colour scale.

    Args:
        length: extent of the domain, from ``start``.   duration: extent in time.   Both in the labels' units.
        limit: where the colour scale ends, so that a state that blows up does not fade the others; by default at the
            largest finite value.
        columns: fields in a row; two by default.
    """
    figure, _ = _images(fields, xlabel, ylabel, label, 2.6, limit, columns, aspect="auto",
                        extent=(start, start + length, 0, duration))
    return figure


@styled
def maps(fields: Mapping[str, Sequence], *, length: float, label: str,
         arrows: Mapping[str, Sequence] | None = None) -> Figure:
    """Scalar fields (x, y), two in a row, on one symmetric colour scale, with velocities (2, x, y) as arrows."""
    transposed = {title: array(field).T for title, field in fields.items()}  # x to the right, y upwards
    figure, axes = _images(transposed, "x [m]", "y [m]", label, 2.6, None, None, extent=(0, length, 0, length))
    for axis, velocity in zip(axes, (arrows or {}).values()):
        v = array(velocity)
        every = max(1, v.shape[1] // 16)
        places = (np.arange(0, v.shape[1], every) + 0.5) * length / v.shape[1]
        along_x, along_y = v[:, ::every, ::every]
        axis.quiver(places, places, along_x.T, along_y.T, color="#222222", width=0.005)
    return figure


def _images(fields: Mapping[str, Sequence], xlabel: str, ylabel: str, label: str, height: float,
            limit: float | None, columns: int | None, **options) -> tuple[Figure, list]:
    """Fields beside and below each other, on one symmetric colour scale that leaves out what is not finite."""
    values = {title: array(field) for title, field in fields.items()}
    scale = limit or max(np.abs(field, where=np.isfinite(field), out=np.zeros(field.shape)).max()
                         for field in values.values())
    figure, axes = grid(len(values), height, columns=columns, sharex=True, sharey=True)
    for i, (axis, (title, field)) in enumerate(zip(axes, values.items())):
        image = axis.imshow(field, origin="lower", vmin=-scale, vmax=scale, **options)
        place = axis.get_subplotspec()
        last = i + place.get_gridspec().ncols >= len(axes)  # nothing below it
        axis.set(title=title, xlabel=xlabel if last else "",
                 ylabel=ylabel if place.is_first_col() else "")
        axis.tick_params(labelbottom=last)
        axis.grid(False)
    figure.colorbar(image, ax=axes, label=label)
    return figure, axes
