"""A player of fields that move: one self-contained piece of HTML, as ``static.Explorer`` is.

Chapter: 08_wake_flow.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .static import _text, framed, packed, rounded, still_picture

LEVELS, HIDDEN = 127, 255  # as in plots.js: 0 ... 254 from -scale to scale, and grey


@dataclass(frozen=True)
class Player:
    """Fields in space side by side, one time at a time; the keys that move a slider move the time.

    Nothing moves before the reader starts it. A notebook or a page shows the player as the last line of a cell.

    Attributes:
        name: in the address, ``#play-NAME:t=12``: lower-case letters, digits, hyphens.
        fields: ``{title: (times, x, y)}``, all of one shape, y upwards.
        errors: ``{title: (times,)}`` of what is plotted below, such as the error of some of the fields; none, no plot.
        dt: between two times.   scale: values from -scale to scale have colours, others that of the nearer end.
        label: of the fields, with the unit.   unit: of the time.
        hidden: (x, y), true where there is nothing to see, such as inside an obstacle.

    Raises: ValueError for a name that cannot be in an address, or shapes that differ.
    """

    name: str
    title: str
    fields: Mapping[str, np.ndarray]
    errors: Mapping[str, np.ndarray]
    dt: float
    scale: float
    label: str
    unit: str
    hidden: np.ndarray

    def __post_init__(self):
        if not re.fullmatch(r"[a-z][a-z0-9-]*", self.name):
            raise ValueError(f"Player: the name is {self.name!r}; use lower-case letters, digits and hyphens, because "
                             "it stands in the page's address")
        if not self.scale > 0:
            raise ValueError(f"Player {self.name}: the scale is {self.scale}; it must be positive")
        shapes = {title: np.shape(field) for title, field in self.fields.items()}
        times = next(iter(shapes.values()))[0] if shapes else 0
        if not shapes or len(set(shapes.values())) > 1 or len(next(iter(shapes.values()))) != 3:
            raise ValueError(f"Player {self.name}: the fields have the shapes {shapes}; give one or more of one shape "
                             "(times, x, y)")
        wrong = {title: np.shape(error) for title, error in self.errors.items() if np.shape(error) != (times,)}
        if wrong or np.shape(self.hidden) != next(iter(shapes.values()))[1:]:
            raise ValueError(f"Player {self.name}: the errors {wrong} or hidden, {np.shape(self.hidden)}, do not fit "
                             f"fields (times, x, y) = {next(iter(shapes.values()))}")

    def data(self) -> dict:
        """What the page gets, as JSON can hold it."""
        times, width, height = np.shape(next(iter(self.fields.values())))
        errors = {title: rounded(np.asarray(error, float)) for title, error in self.errors.items()}
        largest = max((x for error in errors.values() for x in error if x is not None), default=1.0)
        return {"name": self.name, "times": times, "width": width, "height": height, "dt": self.dt,
                "scale": self.scale, "label": self.label, "unit": self.unit, "errors": errors,
                "hidden": bool(np.asarray(self.hidden).any()),
                "largest": float(f"{1.1 * largest:.2g}") or 1.0,
                "fields": {title: packed(self.levels(field)) for title, field in self.fields.items()}}

    def levels(self, field: np.ndarray) -> np.ndarray:
        """Whole numbers 0 ... 254, and 255 where there is nothing to see or no number."""
        field = np.asarray(field, float)
        missing = ~np.isfinite(field) | np.asarray(self.hidden, bool)
        found = np.round(LEVELS * (1 + np.clip(np.where(missing, 0, field) / self.scale, -1, 1)))
        return np.where(missing, HIDDEN, found)

    def _repr_html_(self) -> str:
        caption = "Relative error of what is played."
        picture = still_picture(self.errors, "time, in order", caption) if self.errors else ""
        return framed("player", self.title, self.data(), self.summary(), _text("player.js"), _text("player.css"),
                      picture=picture)

    def summary(self) -> str:
        """What a reader without scripts gets."""
        last = "; ".join(f"{title}: {np.asarray(error)[-1]:.3g}" for title, error in self.errors.items())
        ends = f" Errors at the end: {last}." if last else ""
        times = len(next(iter(self.fields.values())))
        return (f"This figure needs JavaScript. It plays {self.label} of {', '.join(self.fields)} over "
                f"{(times - 1) * self.dt:g} {self.unit}.{ends}")

    def __repr__(self) -> str:
        return f"Player {self.name!r}: {', '.join(self.fields)}; it is shown on HTML pages"
