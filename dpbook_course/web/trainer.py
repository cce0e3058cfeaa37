"""The page that trains: a network learns in the reader's browser, with the solver in the loop, without a kernel.

    train(preset="one-step")            a story with its choices
    train(system="burgers", m=4)        choices of your own
    train(systems=("flow",))            only what these systems need, for a light page

The output is one piece of HTML and works in the built book, in JupyterLab and in Colab, from a file and without a
network. The worker's text, in which all models stand, is the same in every output: it is marked, so that a page that
holds several trainers needs it once.

Chapters: 01_physics_as_loss, 03_unrolling, 04_coupling, 06_long_horizons, 07_noise.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from dpbook_utils import arguments

from ..explorer.static import Control, data_block, framed
from . import choices
from .picture import chain, described
from .stories import STORIES, Story
from .systems import SYSTEMS, worker_source
from .systems import systems as described_systems

TITLE = "Train a network here, solver in the loop"
STEPS = {str(m): "1 step" if m == 1 else f"{m} steps" for m in range(1, 17)}
RATES = ("0.0001", "0.0003", "0.001", "0.003", "0.01", "0.03")
SETTINGS = (
    Control("m", "Unroll length m", STEPS, slider=True),
    Control("policy", "Gradient policy", {
        "full": "full gradient (WIG)", "cut": "cut at the solver (NOG)",
        "truncated": "truncated: cut after every k steps (TBPTT)",
        "pushforward": "push-forward: last step only"}),
    Control("truncation", "Steps k between two cuts", dict(list(STEPS.items())[:8]), slider=True),
    Control("placement", "Loss placement", {"every": "loss at every step", "final": "loss at the final step"}),
    Control("noise", "Noise in training", {
        "0": "none", **{f"{sigma / 100:g}": f"{sigma:g} % of the data's deviation" for sigma in (0.3, 1, 3, 10)}},
        slider=True),
    Control("lr", "Learning rate", {rate: rate for rate in RATES}, slider=True),
    Control("seed", "Seed", {str(seed): str(seed) for seed in range(6)}, slider=True),
)


@dataclass(frozen=True)
class Trainer:
    """An interactive training; a notebook or a page shows it as the last line of a cell.

    Attributes:
        name: in the address, ``#train-NAME:m=8;...``: lower-case letters, digits, hyphens; unlike others on the page.
        start: choices with which it opens: ``{control: value}``.
        systems: what can be trained, as ``web.systems()`` has it.
        worker: the worker's text.   stories: ``{name: Story}``.
        measured: what single changes of a story's choices are worth, as ``choices.told`` has it; None: nothing is said.

    Raises: ValueError for a name that cannot be in an address, for values that are not offered, and for those that do
        not go together.
    """

    name: str
    start: Mapping[str, str | int | float]
    systems: Mapping[str, Mapping]
    worker: str
    stories: Mapping[str, Story]
    measured: Mapping | None = None

    def __post_init__(self):
        arguments.text("Trainer", "name", self.name)
        if not re.fullmatch(r"[a-z][a-z0-9-]*", self.name):
            raise ValueError(f"Trainer: the name is {self.name!r}; use lower-case letters, digits and hyphens, because "
                             "it stands in the page's address")
        arguments.values_of_controls("train", self.start)
        offered = {control.id: control.values for control in self.controls()}
        offered["coupling"] = self.systems.get(self.start["system"], {"couplings": {}})["couplings"]
        for control, value in self.start.items():
            if _text(value) not in offered.get(control, ()):
                known = f"choose one of {', '.join(offered[control])}" if control in offered else \
                    f"there are {', '.join(offered)}"
                raise ValueError(f"train: {control} = {value!r} is not offered; {known}")
        self._check_combination()

    def _check_combination(self) -> None:
        """Raise ValueError for a training that the page would not do."""
        start, system = self.texts(), self.systems[self.start["system"]]
        coupling, (least, most) = start["coupling"], system["m"]
        policies = system["policies"][coupling]
        if start["policy"] not in policies:
            raise ValueError(f"train: policy = {start['policy']!r} does not go with coupling = {coupling!r} of system "
                             f"= {start['system']!r}, where the network acts inside the solver or there is no chain; "
                             f"choose one of {', '.join(policies)}")
        if not least <= int(start["m"]) <= most:
            raise ValueError(f"train: m = {start['m']} does not go with system = {start['system']!r}; choose "
                             f"{least} ... {most}")
        if most == 1 and float(start["noise"]) != 0:
            raise ValueError(f"train: noise = {start['noise']} does not go with system = {start['system']!r}, which "
                             "has no chain of steps; choose 0")

    def controls(self) -> list[Control]:
        couplings = {name: text for system in self.systems.values() for name, text in system["couplings"].items()}
        stories = {name: story.text for name, story in self.stories.items()}
        return [Control("story", "Story", {**stories, "": "none: choices of your own"}),
                Control("system", "System", {name: system["text"] for name, system in self.systems.items()}),
                Control("coupling", "Coupling of N to P", couplings), *SETTINGS]

    def data(self) -> dict:
        """What the page gets, as JSON can hold it."""
        return {"name": self.name, "worker": self._mark(), "systems": dict(self.systems),
                "controls": [{"id": c.id, "label": c.label, "slider": c.slider, "values": list(c.values.items())}
                             for c in self.controls()],
                "stories": {name: vars(story) for name, story in self.stories.items()},
                "measured": self.measured, "start": self.texts()}

    def texts(self) -> dict[str, str]:
        """The choices with which it opens, as the controls have them."""
        return {control: _text(value) for control, value in self.start.items()}

    def _mark(self) -> str:
        return hashlib.sha256(self.worker.encode()).hexdigest()[:12]

    def _repr_html_(self) -> str:
        start = self.texts()
        worker = data_block(self.worker).replace("<script ", f'<script data-shared="{self._mark()}" ', 1)
        picture = f'<figure class="picture">{chain(start)}<figcaption>{described(start)}</figcaption></figure>\n'
        scripts = "".join(_file(f"{name}.js") for name in ("views", "flow", "trainer"))
        return framed("trainer", TITLE, self.data(), self.summary(), scripts, _file("trainer.css"),
                      picture=picture, more=f"{worker}\n")

    def summary(self) -> str:
        """What a reader without scripts gets."""
        start, m = self.texts(), self.systems[self.start["system"]]["m"][1]
        texts = [f"{control.label}: {control.values[start[control.id]]}" for control in self.controls()[1:]
                 if control.id not in unused(start, m)]
        return f"This figure trains a network in the browser and needs JavaScript. It begins with: {'; '.join(texts)}."

    def __repr__(self) -> str:
        return f"Trainer {self.name!r}: it trains on HTML pages"


def train(preset: str | None = None, name: str | None = None, systems: Sequence[str] | None = None,
          **start: str | int | float) -> Trainer:
    """A training on the page, in the reader's browser.

    Args:
        preset: the story it opens with, one of ``STORIES``.
        name: its name in the page's address, the preset's by default; unlike others on the page.
        systems: what can be trained, of ``SYSTEMS``; all by default. The fewer, the lighter the page. The kernels of
            all of them, and those of "flow" alone, are compiled; a page with others trains in plain JavaScript.
        start: values with which it opens, such as ``m=8, policy="cut"``; they go before the preset's.

    Raises: ValueError for an unknown preset, system, control or value.
    """
    names = tuple(SYSTEMS if systems is None else systems)
    if isinstance(systems, str) or not names:
        raise arguments.refusal("train", "systems", systems, 'names of systems, such as ("flow",)', ValueError)
    for one in names:
        arguments.choice("train", "systems", one, SYSTEMS)
    if preset is not None:
        arguments.choice("train", "preset", preset, STORIES)
    if name is not None:
        arguments.text("train", "name", name)
    arguments.values_of_controls("train", start)
    known = described_systems(names)
    told = {key: story for key, story in STORIES.items() if story.settings["system"] in known}
    if preset is not None and preset not in told:
        raise ValueError(f"train: the story {preset!r} is of system = {STORIES[preset].settings['system']!r}, which is "
                         f"not among systems = {names}; add it")
    given = {**(STORIES[preset].settings if preset else {}), **start}
    system = known.get(given.get("system", next(iter(known))), {"start": {}})
    defaults = {"story": preset or "", "system": next(iter(known)), **system["start"]}
    name = preset or "free" if name is None else name
    measured = choices.told() if names == (choices.STORY,) else None
    return Trainer(name, {**defaults, **given}, known, worker_source(names=names), told, measured)


def unused(start: Mapping[str, str], longest: int) -> set[str]:
    """Controls without a meaning for these choices: of a system without a chain, of one step, of other policies."""
    found = {"m", "noise"} if longest == 1 else set()
    found |= {"policy", "placement"} if start["m"] == "1" else set()
    return found | ({"truncation"} if start["m"] == "1" or start["policy"] != "truncated" else set())


def _text(value: str | int | float) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _file(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
