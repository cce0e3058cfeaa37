"""E12, fourth part: smoke that becomes a letter, and what other solvers make of what was found.

A search sees one scheme on one grid. What it finds is also run by the other scheme, and on a finer grid: an answer that
is right for the equations would look the same there. A search through MacCormack begins where one through the
semi-Lagrangian scheme has ended: from a weak flow it finds no letter in as many evaluations.

Chapter: 11_forward_and_inverse.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...experiments.spec import Specification, Task
from ...problems import letter
from . import design

TRIED = (("semi-Lagrangian", 64), ("MacCormack", 64), ("MacCormack", 128))
CHARACTERS = ("S", "U", "Z")
EVALUATIONS = 80


@dataclass(frozen=True)
class Found:
    """A letter, and the solver that it is looked for with.

    Attributes:
        tried: (scheme, cells) of the solvers that the answer is run with.
        evaluations: of the search.
    """

    character: str
    scheme: str
    num_points: int
    tried: tuple[tuple[str, int], ...] = TRIED
    evaluations: int = EVALUATIONS


def name(character: str, scheme: str, num_points: int) -> str:
    return f"{character}, {scheme}, {num_points}"


CHECKED = "U, semi-Lagrangian, 32, 3 evaluations"
_VARIANTS = {**{name(character, scheme, points): Found(character, scheme, points)
                for character in CHARACTERS for scheme, points in TRIED if points == 64 or character == "S"},
             CHECKED: Found("U", "semi-Lagrangian", 32, (("MacCormack", 32),) * 3, 3)}
SPEC = Specification(
    id="e12_letters", title="A letter from its smoke", chapter="11_forward_and_inverse", variants=_VARIANTS,
    seeds=design.SEEDS[:1], budgets=dict.fromkeys(_VARIANTS, (0,)), baselines=frozenset(_VARIANTS),
    metrics={"unknowns": "coefficients of the stream function [m/s]",
             "overlap": "cosine between the smoke at the end and the letter, by the solver of the search",
             "elsewhere": "the same by semi-Lagrangian and MacCormack on 64 cells, and MacCormack on 128",
             "speed": "root mean square of the initial velocity [m/s]",
             "evaluations": "of the misfit and its gradient", "seconds": "of an evaluation [s]"},
    settings={"modes": letter.MODES, "time": letter.TIME, "num_steps": letter.NUM_STEPS,
              "viscosity": letter.VISCOSITY, "edge": letter.EDGE, "energy": letter.ENERGY, "letters": letter.LETTERS},
    checks=(Task(CHECKED, 0, (0,)),), checked=("overlap", "elsewhere", "speed"))


def run(variant: str, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    """Search, and try what was found; one entry for the one seed."""
    row = SPEC.variants[variant]
    guess, times = None, []
    if row.scheme == "MacCormack":
        guess = letter.shape(letter.solver("semi-Lagrangian", 64), letter.letter(row.character, 64), row.evaluations).x
    found = letter.shape(letter.solver(row.scheme, row.num_points), letter.letter(row.character, row.num_points),
                         row.evaluations, lambda number, x: times.append(time.perf_counter()), guess)
    seen = [ending(found.x, row.character, scheme, points) for scheme, points in (
        (row.scheme, row.num_points), *row.tried)]
    v = letter.velocity(found.x, row.num_points)
    return {"unknowns": found.x, "overlap": seen[0][None], "elsewhere": torch.stack(seen[1:])[None],
            "speed": v.square().sum(1).mean((1, 2)).sqrt(), "evaluations": found.evaluations.double(),
            "seconds": torch.tensor(times).diff().min().double()[None]}


@torch.no_grad()
def ending(unknowns: Tensor, character: str, scheme: str, num_points: int) -> Tensor:
    """The overlap with the letter at the end, by a solver."""
    wanted = letter.letter(character, num_points)
    states = letter.smoke(letter.solver(scheme, num_points), unknowns, letter.blob(wanted))
    return letter.overlap(states[:, -1, 2:], wanted)[0]


def cost(variant: str, budget: int) -> float:
    """In seconds of one core, roughly."""
    row = SPEC.variants[variant]
    return 30 + 0.3 * row.evaluations * (row.num_points / 64)**3
