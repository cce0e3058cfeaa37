"""All claims of the course, decided or not: the one list that the pages of the book show.

A claim that an experiment decides (``claims.Claim``) takes its text from here.
"""

import functools
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from .claims import OUTCOMES, Verdict

OPEN = "open"  # no experiment decides it yet
STANDINGS = (*OUTCOMES, OPEN)

CHAPTERS = {  # all that are planned; the book links those that it has
    "00_solver_as_operator": "A solver as an operator",
    "01_physics_as_loss": "Physics as a loss",
    "02_solver_as_data": "The solver as a source of data",
    "03_unrolling": "Unrolling",
    "04_coupling": "Coupling",
    "05_loss_placement": "Loss placement",
    "06_long_horizons": "Long horizons",
    "07_noise": "Noise",
    "08_wake_flow": "Wake flow",
    "09_choosing_the_numerics": "Choosing the numerics",
    "10_generalisation": "Generalisation",
    "11_forward_and_inverse": "Forward and inverse problems",
    "12_control": "Control",
    "13_foreign_solvers": "Simulators without gradients",
    "14_better_updates": "Better updates",
}


class Statement(NamedTuple):
    """A claim before its verdict.

    Attributes:
        studies: the experiments that decide it, or will.
        chapter: where it is decided, or will be: a key of CHAPTERS.
    """

    id: str
    text: str
    studies: tuple[str, ...]
    chapter: str


STATEMENTS = {statement.id: statement for statement in (
    Statement(
        "C01", "A solver in the chain gives N a gradient that tells how its output changes the simulated outcome, and "
        "this gradient is right", ("E00",), "00_solver_as_operator"),
    Statement(
        "C02", "With P after N, the solver acts as a loss without weights; it trains N where labelled answers are "
        "missing or ambiguous", ("E01",), "01_physics_as_loss"),
    Statement(
        "C03", "Such a loss can impose a conservation law (divergence-free velocity) on the output of N", ("E01",),
        "01_physics_as_loss"),
    Statement(
        "C04", "With P before N the solver is a data generator: N does not influence it, so stored solver outputs give "
        "the same training, bit for bit", ("E02",), "02_solver_as_data"),
    Statement(
        "C05", "Drawing fresh, randomised solver parameters at each update samples the domain better than a fixed data "
        "set of equal cost and gives more accurate, more stable networks", ("E02",), "02_solver_as_data"),
    Statement(
        "C06", "Generating on the fly removes storage and can be faster than loading", ("E02",), "02_solver_as_data"),
    Statement(
        "C07", "In a time-stepping loop errors grow exponentially with the number of steps, and a one-step error "
        "hardly shows it", ("E03", "E04"), "03_unrolling"),
    Statement(
        "C08", "States seen in unrolled training depend on N, so they cannot be precomputed: networks trained on "
        "stored states meet a shifted distribution", ("E03",), "03_unrolling"),
    Statement(
        "C09", "Feedback through unrolled steps gives more accurate, more stable long roll-outs than one-step training",
        ("E04",), "03_unrolling"),
    Statement(
        "C10", "The gradient through the solver is what makes the difference, not the unrolling alone", ("E04",),
        "03_unrolling"),
    Statement(
        "C11", "Additive coupling is one choice of several: multiplicative or parameter coupling is better in some "
        "settings", ("E05",), "04_coupling"),
    Statement(
        "C12", "The loss may be evaluated in one or many places of the chain; the best placement depends on the "
        "problem", ("E06", "E04"), "05_loss_placement"),
    Statement("C13", "Many steps make training hard: gradients vanish or explode", ("E07",), "06_long_horizons"),
    Statement(
        "C14", "Curriculum, small initial corrections, clipping, truncation and checkpointing make long horizons "
        "practical", ("E07",), "06_long_horizons"),
    Statement(
        "C15", "Perturbing inputs and iterations with noise helps against overfitting and drift", ("E08",), "07_noise"),
    Statement(
        "C16", "Undirected noise is less accurate than training on the simulation's actual evolution", ("E08",),
        "07_noise"),
    Statement(
        "C17", "Noise is a good start for training that overfits, to be followed by DP", ("E08",), "07_noise"),
    Statement(
        "C18", "Efficiency and accuracy of the numerical method chosen for P carry over to training; the right method "
        "improves the trained result", ("E10",), "09_choosing_the_numerics"),
    Statement(
        "C19", "A hybrid (coarse P + N) improves a forward solve: less error at equal cost", ("E09", "E12"),
        "08_wake_flow"),
    Statement(
        "C20", "The trained hybrid improves backward (inverse) solves", ("E12",), "11_forward_and_inverse"),
    Statement(
        "C21", "Solver interaction improves generalisation: P carries large-scale changes of the data distribution, N "
        "learns local structure", ("E11",), "10_generalisation"),
    Statement(
        "C22", "Networks without the solver specialise on the training distribution, and simple training variants "
        "deteriorate over recurrent steps", ("E04", "E11"), "03_unrolling"),
    Statement(
        "C23", "Not every simulator can be used: it must give gradients (and what to do when it does not)", ("E14",),
        "13_foreign_solvers"),
    Statement(
        "C24", "DP needs heavier machinery: its cost in time and memory over supervised training", ("E07", "E09"),
        "06_long_horizons"),
    Statement(
        "C25", "For control, DP needs fewer simulations than model-free learning", ("E13",), "12_control"),
    Statement("C26", "Better update directions than plain gradients exist for these problems", ("E15",),
              "14_better_updates"),
)}


class Earlier(NamedTuple):
    """What the rule before the present one said.

    Attributes:
        until: the day on which it was changed, after results had been seen.
        rule: its wording.
        readings: how many comparisons read how.
        outcomes: of the claims.
    """

    until: str
    rule: str
    readings: dict[str, int]
    outcomes: dict[str, str]


@functools.cache
def earlier() -> Earlier:
    """The outcomes before the rule was changed, from ``earlier.json``: stored, since no code computes them any more."""
    return Earlier(**json.loads(Path(__file__).with_name("earlier.json").read_text(encoding="utf-8")))


def standing(claim_id: str, found: Mapping[str, Verdict]) -> str:
    """The outcome of a claim among the verdicts, or "open".

    Raises: KeyError for an id that the course does not have.
    """
    if claim_id not in STATEMENTS:
        raise KeyError(f"no claim {claim_id!r}; the course states {', '.join(STATEMENTS)}")
    return found[claim_id].outcome if claim_id in found else OPEN


def counts(found: Mapping[str, Verdict]) -> dict[str, int]:
    """How many claims stand how: every standing once, in the order of STANDINGS."""
    number = Counter(standing(claim_id, found) for claim_id in STATEMENTS)
    return {name: number[name] for name in STANDINGS}
