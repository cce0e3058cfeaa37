"""How all figures look: a white plate, Okabe-Ito colours, a dash pattern beside every colour."""

import functools
import inspect
from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from .. import arguments

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))  # as many as do not divide the colours: 35 pairs
STYLE = {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
         "grid.color": "#dddddd", "axes.axisbelow": True, "figure.facecolor": "white", "savefig.facecolor": "white",
         "figure.dpi": 150, "legend.frameon": False, "lines.linewidth": 1.8, "image.cmap": "RdBu_r"}


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Draw in the book's style, and leave nothing open: the notebook shows the returned figure once.

    What is drawn is a mapping by labels, and not empty: else TypeError or ValueError.
    """
    name, what = draw.__name__, next(iter(inspect.signature(draw).parameters))

    @functools.wraps(draw)
    def in_style(drawn, **options) -> Figure:
        arguments.mapping(name, what, drawn, "a mapping from labels to what is drawn")
        if not drawn:
            raise arguments.refusal(name, what, drawn, "at least one entry", ValueError)
        with plt.rc_context(STYLE):
            figure = draw(drawn, **options)
        plt.close(figure)
        return figure

    return in_style


def grid(panels: int, width: float, height: float, *, columns: int | None = None, **options) -> tuple[Figure, list]:
    """A figure of that many axes, side by side or in rows of ``columns``; what is left over in a row stays empty."""
    columns = min(panels, columns or panels)
    figure, axes = plt.subplots(-(-panels // columns), columns, figsize=(width, height), layout="constrained",
                                squeeze=False, **options)
    for axis in axes.flat[panels:]:
        axis.set_visible(False)
    return figure, list(axes.flat[:panels])


def array(values) -> np.ndarray:
    return values.detach().cpu().numpy() if hasattr(values, "detach") else np.asarray(values)
