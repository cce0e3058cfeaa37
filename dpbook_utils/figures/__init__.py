"""Figures of the book. They draw what they are given and compute nothing.

Every function returns a ``matplotlib`` figure on a white plate, readable in a light and a dark page, in the
Okabe-Ito colours (distinguishable with colour-vision deficiency), each curve with its own dash pattern.
"""

from .chains import chains
from .fields import maps, space_time
from .plots import bars, curves, forest, scatter
from .style import COLOURS, DASHES, image

__all__ = ["COLOURS", "DASHES", "bars", "chains", "curves", "forest", "image", "maps", "scatter", "space_time"]
