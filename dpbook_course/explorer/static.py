"""The static explorer: stored roll-outs as one self-contained piece of HTML, for pages without a kernel or a network.

The same output works in the built book, in JupyterLab and in Colab. It holds its data as JSON (errors to four digits,
fields as one byte a value) beside a script and a style whose text is the same in every output: nothing is fetched,
which pages opened from files would not allow, and no code stands in attributes, so that a page's policy can name by
their hashes the scripts that it allows, as the book's pages do.

Chapters: 01_physics_as_loss, 02_solver_as_data, 03_unrolling, 04_coupling, 05_loss_placement, 06_long_horizons,
07_noise.
"""

import base64
import hashlib
import html
import itertools
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files

import numpy as np

from . import still

# What the figure calls things, where a study has no other words for them.
WORDS = {"run": "hybrid", "solver": "solver alone", "still": "persistence", "seed": "Seed of weights and batches",
         "gradient": "Gradient of the weights against horizon"}
LARGEST_GROWTH = 1e6  # the axis of the gradients spans at most this: explosions leave it at the top

Key = tuple[str, ...]


@dataclass(frozen=True)
class Control:
    """What the reader chooses: ``{value in the address: text}``, as a list or as a slider."""

    id: str
    label: str
    values: Mapping[str, str]
    slider: bool = False


@dataclass(frozen=True)
class Region:
    """text: for people.   length: of the shown sample's domain.   sample: what else is special to that sample."""

    text: str
    length: float
    sample: str


@dataclass(frozen=True)
class Run:
    """Roll-outs of one training or of a baseline, which has one seed.

    Attributes:
        error: ``{region: (seeds, steps)}``.   field: ``{region: (seeds, rows, x)}`` of ``rollouts.quantised``.
        gradient: (seeds, horizons).   diverged: (seeds,), update at which a training diverged, or -1.
        note: where it comes from, for people.
    """

    error: Mapping[str, np.ndarray]
    field: Mapping[str, np.ndarray]
    gradient: np.ndarray
    diverged: Sequence[int]
    note: str = ""


@dataclass(frozen=True)
class Explorer:
    """An interactive figure of stored roll-outs; a notebook or a page shows it as the last line of a cell.

    Attributes:
        name: in the address, ``#explore-NAME:m=8;...``: lower-case letters, digits, hyphens; unlike others on the page.
        controls: of the grid.   runs: ``{one value of each control: Run}``; not all combinations need to be there.
        nearest: ``values -> (values of a run, reason, same)`` for a combination without a run: which one to show and
            why; ``same`` if both are one training. None for no opinion: then the run with the fewest other values.
        reference, solver, persistence: the baselines.   regions, seeds: of all runs.
        steps, every, dt, horizons, scale: as in ``rollouts``: steps of a roll-out, steps between two rows of a field,
            time of a step, horizons of the gradients, U of the fields.
        words: labels of ``x``, ``u`` and ``region``, and the unit after a ``time``; others than ``WORDS``.
        source: ``{term: text}``, where all numbers come from.
        start: values with which it opens, also of region, seed and t (step shown); the first of each by default.

    Raises: ValueError for a name that cannot be in an address, values that are not offered, arrays that do not fit.
    """

    name: str
    title: str
    controls: Sequence[Control]
    runs: Mapping[Key, Run]
    nearest: Callable[[Key], tuple[Key, str, bool] | None]
    reference: Run
    solver: Run
    persistence: Run
    regions: Mapping[str, Region]
    seeds: Sequence[int]
    steps: int
    every: int
    dt: float
    horizons: Sequence[int]
    scale: float
    words: Mapping[str, str]
    source: Mapping[str, str]
    start: Mapping[str, str | int] = field(default_factory=dict)

    def __post_init__(self):
        if not re.fullmatch(r"[a-z][a-z0-9-]*", self.name):
            raise ValueError(f"Explorer: the name is {self.name!r}; use lower-case letters, digits and hyphens, "
                             "because it stands in the page's address")
        if not self.runs:
            raise ValueError(f"Explorer {self.name}: there are no runs to show; compute the results first")
        offered = self._offered()
        for control, value in self.start.items():
            if str(value) not in offered.get(control, ()):
                known = f"choose one of {', '.join(offered[control])}" if control in offered else \
                    f"there are {', '.join(offered)}"
                raise ValueError(f"Explorer {self.name}: start has {control} = {value!r}; {known}")
        for key, run in self.runs.items():
            if len(key) != len(self.controls) or any(v not in c.values for v, c in zip(key, self.controls)):
                raise ValueError(f"Explorer {self.name}: the run {key} is no choice of "
                                 f"{', '.join(control.id for control in self.controls)}")
            self._check(" ".join(key), run, len(self.seeds))
        for name in ("reference", "solver", "persistence"):
            self._check(name, getattr(self, name), 1)

    def _check(self, name: str, run: Run, num_seeds: int) -> None:
        rows, width = self.steps // self.every + 1, np.shape(next(iter(self.reference.field.values())))[-1]
        expected = {"error": (num_seeds, self.steps), "field": (num_seeds, rows, width)}
        for what, shape in expected.items():
            for region in self.regions:
                found = np.shape(getattr(run, what)[region])
                if found != shape:
                    raise ValueError(f"Explorer {self.name}: {what} of {name}, {region}, has the shape {found}; "
                                     f"{shape} is needed")

    def _offered(self) -> dict[str, list[str]]:
        steps = range(0, self.steps + 1, self.every)
        return {**{control.id: list(control.values) for control in self.controls}, "region": list(self.regions),
                "seed": [str(s) for s in self.seeds], "t": [str(k) for k in steps]}

    def shown(self, key: Key) -> tuple[Key, str, bool]:
        """(values of a run, reason, same): what is shown for a combination; no reason if it is there itself."""
        if key in self.runs:
            return key, "", True
        found = self.nearest(key)
        if found is not None and found[0] in self.runs:
            return found
        fewest = min(self.runs, key=lambda run: sum(a != b for a, b in zip(key, run)))
        return fewest, "this combination has no stored results.", False

    def data(self) -> dict:
        """What the page gets, as JSON can hold it."""
        offered = self._offered()
        start = {control: str(self.start.get(control, values[0])) for control, values in offered.items()}
        combinations = itertools.product(*(control.values for control in self.controls))
        return {
            "name": self.name, "title": self.title, "start": start, "steps": self.steps, "every": self.every,
            "dt": self.dt, "horizons": list(self.horizons), "scale": self.scale, "seeds": list(self.seeds),
            "width": int(np.shape(next(iter(self.reference.field.values())))[-1]), "words": self._words(),
            "controls": [{"id": c.id, "label": c.label, "slider": c.slider,
                          "values": [[value, text] for value, text in c.values.items()]} for c in self.controls],
            "regions": {name: vars(region) for name, region in self.regions.items()},
            "grid": {"|".join(key): ["|".join(run), reason, same]
                     for key in combinations for run, reason, same in [self.shown(key)]},
            "runs": {"|".join(key): self._packed(run) for key, run in self.runs.items()},
            **{name: self._packed(getattr(self, name)) for name in ("reference", "solver", "persistence")},
            "axes": self._axes(), "source": dict(self.source),
        }

    def _words(self) -> dict[str, str]:
        return {**WORDS, **self.words}

    def _packed(self, run: Run) -> dict:
        return {"error": {region: rounded(run.error[region]) for region in self.regions},
                "field": {region: [packed(one) for one in run.field[region]] for region in self.regions},
                "gradient": rounded(run.gradient), "diverged": [int(k) for k in run.diverged], "note": run.note}

    def _axes(self) -> dict[str, dict[str, float]]:
        """The same for all choices, so that the curves move and not the axes."""
        errors = np.concatenate([np.ravel(run.error[region]) for region in self.regions
                                 for run in (*self.runs.values(), self.solver, self.persistence)])
        norms = np.concatenate([np.ravel(run.gradient) for run in self.runs.values()])
        norms = norms[np.isfinite(norms) & (norms > 0)]
        if not len(norms):
            norms = np.ones(1)
        largest = min(norms.max(), LARGEST_GROWTH * norms.min())
        return {"error": {"from": _power(errors.min(), math.floor), "to": 2.0},
                "gradient": {"from": _power(norms.min(), math.floor), "to": _power(1.01 * largest, math.ceil)}}

    def _repr_html_(self) -> str:
        picture = still_picture(self._curves(), "step", f"Relative error: {self._opening()}.")
        return framed("rollouts", self.title, self.data(), self.summary(), _text("explorer.js"), picture=picture)

    def _first(self) -> tuple[Key, str, int]:
        """The run, the region and the place of the seed with which it opens."""
        offered = self._offered()
        start = {control: str(self.start.get(control, values[0])) for control, values in offered.items()}
        key, _, _ = self.shown(tuple(start[control.id] for control in self.controls))
        return key, start["region"], offered["seed"].index(start["seed"])

    def _curves(self) -> dict[str, np.ndarray]:
        words, (key, region, seed) = self._words(), self._first()
        return {words["run"]: self.runs[key].error[region][seed], words["solver"]: self.solver.error[region][0],
                words["still"]: self.persistence.error[region][0]}

    def _opening(self) -> str:
        key, region, seed = self._first()
        chosen = [control.values[value] for control, value in zip(self.controls, key)]
        return ", ".join([*chosen, self.regions[region].text, f"seed {self.seeds[seed]}"])

    def summary(self) -> str:
        """What a reader without scripts gets."""
        region = next(iter(self.regions))
        rows = [f"{', '.join(c.values[v] for c, v in zip(self.controls, key))}: {run.error[region].mean():.3g}"
                for key, run in self.runs.items()]
        return (f"This figure needs JavaScript. Its mean relative errors over {self.steps} steps, "
                f"{self.regions[region].text}, mean over seeds: {'; '.join(rows)}; "
                f"{self._words()['solver']}: {self.solver.error[region].mean():.3g}.")

    def __repr__(self) -> str:
        return f"Explorer {self.name!r}: {len(self.runs)} trainings, {len(self.seeds)} seeds; it is shown on HTML pages"


def framed(kind: str, title: str, data: dict, summary: str, own_script: str, own_style: str = "", *,
           picture: str = "", more: str = "") -> str:
    """The HTML of an interactive figure, which is complete in itself.

    Args:
        kind: its class, by which its script finds it, beside the one that all have; and the first word of its id.
        summary: what a reader without scripts gets.
        picture, more: elements after the title, and after the data.
    """
    payload = data_block(data)
    name = hashlib.sha256(payload.encode()).hexdigest()[:12]
    return (f'<div class="explorer {kind}" id="{kind}-{name}" role="group" aria-label="{html.escape(title)}">\n'
            f'<style>{style(own_style)}</style>\n<p class="title">{html.escape(title)}</p>\n{picture}'
            f"<noscript><p>{html.escape(summary)}</p></noscript>\n{payload}\n{more}"
            f'<script type="module">{script(own_script)}</script>\n</div>')


def still_picture(lines: Mapping[str, Sequence[float]], label: str, caption: str) -> str:
    """Curves for readers without scripts; where scripts run, it is hidden."""
    return (f'<figure class="picture">{still.curves(lines, label)}<figcaption>{html.escape(caption)}</figcaption>'
            "</figure>\n")


def script(own: str) -> str:
    """A figure's module: what all interactive figures share, then its own text."""
    return _text("common.js") + _text("plots.js") + own


def style(own: str = "") -> str:
    """The look that all interactive figures share, then what a figure adds to it."""
    return _text("explorer.css") + own


def data_block(payload) -> str:
    """A script element that holds JSON; whatever a text in it holds, none ends the element: no "<" is left."""
    text = json.dumps(payload, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return '<script type="application/json">' + text.replace("<", "\\u003c") + "</script>"


def rounded(values) -> list:
    """Nested lists of numbers to four digits; None for what is not finite."""
    if isinstance(values, np.ndarray):
        values = values.tolist()
    if isinstance(values, list):
        return [rounded(v) for v in values]
    return float(f"{values:.4g}") if math.isfinite(values) else None


def packed(levels: np.ndarray) -> str:
    """Whole numbers 0 ... 255 as base64, row by row. Raises ValueError for other numbers."""
    levels = np.asarray(levels)
    if levels.size and not (levels == levels.astype(np.uint8)).all():
        raise ValueError(f"a field holds {levels.min():g} ... {levels.max():g}; it needs whole numbers 0 ... 255, as "
                         "rollouts.quantised gives them")
    return base64.b64encode(levels.astype(np.uint8).tobytes()).decode()


def _power(value: float, towards: Callable[[float], int]) -> float:
    return 10.0 ** towards(math.log10(max(float(value), 1e-12)))


def _text(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
