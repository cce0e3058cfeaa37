"""How all figures look: a white plate, Okabe-Ito colours, a dash pattern beside every colour."""

import base64
import functools
import inspect
import io
from collections.abc import Callable
from html import escape

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from .. import arguments

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))  # as many as do not divide the colours: 35 pairs
WIDTH = 5.4  # of a figure [inch]: all of it can be read on a phone
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


def grid(panels: int, height: float, *, columns: int | None = None, width: float = WIDTH,
         space: float = 0.0, **options) -> tuple[Figure, list]:
    """A figure of that many axes in rows of ``columns``, two by default; what is left over in a row stays empty.

    Args:
        height: of one row [inch].
        space: what a legend or labels need besides [inch].
    """
    columns = min(panels, columns or 2)
    rows = -(-panels // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(width, height * rows + space), layout="constrained",
                                squeeze=False, **options)
    for axis in axes.flat[panels:]:
        axis.set_visible(False)
    return figure, list(axes.flat[:panels])


def legend(figure: Figure, axes: list) -> None:
    """One for all axes, below them: each label once."""
    entries = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels())}
    if entries:
        longest = max(map(len, entries))
        figure.legend(entries.values(), entries.keys(), loc="outside lower center", handlelength=2.6,
                      ncols=min(len(entries), 4 if longest < 9 else 3 if longest < 18 else 2))


def image(figure: Figure, alt: str) -> str:
    """The figure as an element of HTML that holds it whole, for text that stands around it."""
    whole, small = io.BytesIO(), io.BytesIO()
    figure.savefig(whole, format="png", dpi=STYLE["figure.dpi"])
    picture = Image.open(whole).convert("RGB").quantize(16).convert("RGB")
    picture.save(small, "webp", lossless=True, quality=100, method=6)  # about half of what a PNG takes
    return f'<img alt="{escape(alt)}" src="data:image/webp;base64,{base64.b64encode(small.getvalue()).decode()}">'


def array(values) -> np.ndarray:
    return values.detach().cpu().numpy() if hasattr(values, "detach") else np.asarray(values)
