"""The chain of a set-up as a picture: operators, loss, and the way of the gradient.   Chapter: 03_unrolling."""

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Patch
from matplotlib.path import Path

from ..objectives import Objective
from .diagram import Diagram, Edge, Node, diagram
from .style import COLOURS, grid, styled

FORWARD, BACKWARD, SOLVER, NETWORK, FAINT = "#333333", COLOURS[1], "#cfe3f2", "#fbd9bf", "#e6e6e6"
CROSS = {"color": "black", "marker": "x", "markersize": 8, "markeredgewidth": 2.4, "linestyle": "none"}
SYMBOLS = {"solver": "P", "noise": "ξ", "replace": "N", "inside": "P", "other": "F"}
PLAIN, COUPLED, STATE, GAP = 0.95, 1.4, 0.72, 1.0  # widths along the chain; a coupling has its network below
WIDTH = 6.4  # of the figure [inch]
ROW, ABOVE, BELOW, HALF, ASIDE = 3.25, 1.0, 0.95, 0.27, 0.13


@styled
def chains(objectives: Mapping[str, Objective]) -> Figure:
    """One row per set-up: the chain from left to right, the loss above it, and where the gradient flows back.

    All of it is read from the objectives, see ``diagram``. Unrolls longer than four steps are abbreviated.

    Args:
        objectives: ``{title: Objective}``.
    """
    found = {title: diagram(objective) for title, objective in objectives.items()}
    units = max(map(_units, found.values()))
    figure, (axis,) = grid(1, WIDTH * ROW * len(found) / units, width=WIDTH, space=0.7)
    axis.set(xlim=(0, units), ylim=(1.9 - ROW * len(found), 1.9), aspect="equal")
    axis.axis("off")
    for i, (title, shown) in enumerate(found.items()):
        _Row(axis, -ROW * i, shown).draw(title)
    figure.legend(handles=_legend(found.values()), loc="outside lower center", ncols=2, fontsize=9)
    return figure


def _slot(operator: str) -> float:
    return PLAIN if operator in ("solver", "noise", "other", "replace") else COUPLED


def _units(found: Diagram) -> float:
    gaps = sum(b > a + 1 for a, b in zip(found.shown, found.shown[1:]))
    return 0.55 + len(found.shown) * (sum(map(_slot, found.operators)) + STATE) + gaps * GAP


class _Row:
    """One diagram, its main line at the height ``y``."""

    def __init__(self, axis: Axes, y: float, found: Diagram):
        self.axis, self.y, self.found = axis, y, found

    def draw(self, title: str) -> None:
        self.axis.annotate(title, (0.05, self.y + 1.62), fontweight="bold", va="center")
        self.axis.annotate(self.found.policy, (1, self.y + 1.62), xycoords=("axes fraction", "data"), ha="right",
                           va="center", fontsize=8.5, family="monospace", color="#444444")
        x, previous = 0.2, 0
        self.state(x, 0)
        for step in self.found.shown:
            if step > previous + 1:
                self.line([(x, 0), (x + 0.4, 0)], self.into(previous + 1))
                self.write(x + GAP / 2 + 0.1, 0, "···")
                x += GAP - 0.2
            x, previous = self.step(x, step), step

    def end_of(self, step: int) -> Node:
        return Node(step, len(self.found.operators) - 1) if step else Node(0)

    def into(self, step: int) -> list[Edge]:
        """The edges into a step."""
        return [edge for edge in self.found.edges if edge.start == self.end_of(step - 1) and edge.end.step == step
                and edge.end.part != "target"]

    def step(self, start: float, step: int) -> float:
        """Draw one step from the state at ``start``; returns where its result is."""
        found, before = self.found, self.end_of(step - 1)
        end = start + sum(map(_slot, found.operators)) + STATE
        if not found.tracked[step - 1]:
            self.box((start + end) / 2 + 0.05, -0.42, (end - start) / 2 - 0.12, "", FAINT, tall=0.88, edge="none")
            self.write(start + 0.25, -1.15, "no graph", fontsize=8, ha="left")
        x, leaves = start, 0.0
        for place, name in enumerate(found.operators):
            here, x = Node(step, place), x + _slot(name)
            self.operator(x - _slot(name) + leaves, x, name, before, here)
            before, leaves = here, HALF if name in SYMBOLS else 0.19
            if place == found.recorded:
                recorded = end if place == len(found.operators) - 1 else x + 0.45
        self.line([(x + leaves, 0), (end, 0)], [edge for edge in found.edges if edge.start == before], mark=False)
        self.state(end, step)
        self.loss(start, recorded, step)
        return end

    def operator(self, left: float, x: float, name: str, before: Node, here: Node) -> None:
        network = here._replace(part="network")
        direct, branch, back = Edge(before, here), Edge(before, network), Edge(network, here)
        if name == "replace" or _slot(name) == PLAIN:
            self.line([(left, 0), (x - HALF, 0)], [branch if name == "replace" else direct])
            colour = {"solver": SOLVER, "replace": self.network_colour(back)}.get(name, "white")
            self.box(x, 0, HALF, SYMBOLS[name], colour)
            return
        fork, both_cut = x - 0.78, {direct, branch} <= self.found.cut
        self.line([(left, 0), (fork, 0)], [direct, branch], arrow=False, mark=both_cut)
        radius = HALF if name in SYMBOLS else 0.19
        self.line([(fork, 0), (x - radius, 0)], [direct], mark=not both_cut)
        self.line([(fork, 0), (fork, -BELOW), (x - HALF, -BELOW)], [branch], aside=(-ASIDE, -ASIDE), mark=not both_cut)
        self.line([(x, -BELOW + HALF), (x, -radius)], [back], aside=(ASIDE, 0))
        self.box(x, -BELOW, HALF, "N", self.network_colour(back))
        if name in SYMBOLS:
            self.box(x, 0, HALF, SYMBOLS[name], SOLVER)
        else:
            self.axis.add_patch(Circle((x, self.y), radius, facecolor="white", edgecolor=FORWARD, zorder=4))
            self.write(x, 0, name)

    def loss(self, start: float, x: float, step: int) -> None:
        weight = Fraction(self.found.weights[step - 1]).limit_denominator(99)
        if weight == 0:
            return
        recorded, before = Node(step, self.found.recorded), Node(step - 1, self.found.recorded) if step > 1 else Node(0)
        self.line([(x, 0), (x, ABOVE - HALF)], [Edge(recorded, Node(step, part="loss"))], aside=(ASIDE, 0))
        share = ("" if weight.numerator == 1 else str(weight.numerator)) + "L"
        self.box(x, ABOVE, HALF + 0.06, share if weight == 1 else f"{share}/{weight.denominator}", "white", round_=True)
        there = x - 1.0
        if self.found.target == "solver":
            self.line([(start, 0), (start + 0.47, 0.4), (start + 0.47, ABOVE), (there - HALF, ABOVE)],
                      [Edge(before, Node(step, part="target"))], aside=(ASIDE, -ASIDE))
            self.box(there, ABOVE, HALF, "R", SOLVER)
        else:
            text = {"batch": f"$r_{{{step}}}$", "input": "$u_0$"}.get(self.found.target, "target")
            self.write(there + HALF - 0.08, ABOVE, text, ha="right")
        self.line([(there + HALF - 0.02, ABOVE), (x - HALF - 0.06, ABOVE)], [])

    def network_colour(self, back: Edge) -> str:
        return NETWORK if back in self.found.gradient else "white"

    def state(self, x: float, step: int) -> None:
        self.axis.plot(x, self.y, "o", color=FORWARD, markersize=3.5, zorder=5)
        self.write(x + 0.05, -0.36, f"$u_{{{step}}}$")

    def line(self, points: Sequence, edges: Iterable[Edge], *, aside=(0, -ASIDE), arrow: bool = True,
             mark: bool = True) -> None:
        """A line forward and, beside it, the gradient's way back if one of the edges carries it."""
        edges = set(edges)
        points = [(x, self.y + y) for x, y in points]
        style = {"mutation_scale": 9, "shrinkA": 0, "shrinkB": 0}
        self.axis.add_patch(FancyArrowPatch(path=Path(points), arrowstyle="-|>" if arrow else "-", color=FORWARD,
                                            linewidth=1.0, zorder=2, **style))
        if edges & self.found.gradient:
            shifted = [(x + aside[0], y + aside[1]) for x, y in reversed(points)]
            self.axis.add_patch(FancyArrowPatch(path=Path(shifted), arrowstyle="-|>", color=BACKWARD, linewidth=1.9,
                                                linestyle=(0, (3, 1.2)), zorder=3, **style))
        if mark and edges & self.found.cut:
            (x0, y0), (x1, y1) = points[:2]
            self.axis.plot((x0 + x1) / 2, (y0 + y1) / 2, **CROSS, zorder=6)

    def box(self, x: float, y: float, half: float, text: str, colour: str, *, tall: float = HALF, edge: str = FORWARD,
            round_: bool = False) -> None:
        shape = f"round,pad=0,rounding_size={tall if round_ else 0.06}"
        self.axis.add_patch(FancyBboxPatch((x - half, self.y + y - tall), 2 * half, 2 * tall, boxstyle=shape,
                                           facecolor=colour, edgecolor=edge, zorder=4 if text else 1))
        self.write(x, y, text)

    def write(self, x: float, y: float, text: str, *, fontsize: float = 9.5, ha: str = "center") -> None:
        self.axis.annotate(text, (x, self.y + y), ha=ha, va="center", fontsize=fontsize, zorder=7)


def _legend(found: Iterable[Diagram]) -> list:
    found = list(found)
    entries = [Line2D([], [], color=FORWARD, linewidth=1.0, label="forward: P solver, N network, u state"),
               Line2D([], [], color=BACKWARD, linewidth=1.9, linestyle=(0, (3, 1.2)), label="gradient, backward")]
    if any(shown.cut for shown in found):
        entries.append(Line2D([], [], **CROSS, label="the policy cuts the gradient"))
    entries.append(Patch(facecolor=NETWORK, edgecolor=FORWARD, label="this use of N gets a gradient"))
    if any("noise" in shown.operators for shown in found):
        entries.append(Line2D([], [], linestyle="none", marker="$ξ$", color="black", label="noise"))
    targets = {shown.target for shown in found}
    if "batch" in targets:
        entries.append(Line2D([], [], linestyle="none", marker="$r$", color="black", label="reference of the batch"))
    if "solver" in targets:
        entries.append(Patch(facecolor=SOLVER, edgecolor=FORWARD, label="R: reference solver, at own states"))
    return entries
