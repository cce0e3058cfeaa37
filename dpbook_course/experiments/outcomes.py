"""Outcomes: statements about what is trained, timed or chaotic on the spot, with how often they hold.

A notebook states two kinds of facts. An *identity* holds on every machine by construction (equal gradients, values bit
for bit, mass to rounding, what stored results say): an ``assert``. An *outcome* is a random event: the seed, the
processor and its rounding decide with. It is stated like this, says whether it held, and stops nothing:

    held = outcomes.of("03_unrolling")
    held("after one step ONE is ahead of WIG-3 in every seed", (first["ONE"] < first["WIG-3"]).all())

    After one step ONE is ahead of WIG-3 in every seed: held in this run; 11 of 12 when repeated.

The rate comes from the stored repetitions of the chapter (``repetitions``), and belongs to the code that they ran
(``chapter_code``): after a change of a constant, or of the package below, it is "not yet measured".

    python -m dpbook_course.experiments.outcomes run [CHAPTER ...]    measures what is missing
    python -m dpbook_course.experiments.outcomes show                 all outcomes with their rates
"""

import argparse
import math
import sys
import textwrap
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dpbook_utils import settings
from dpbook_utils.files import writable_folder

from ..commands import INTERRUPTED, program
from . import repetitions
from .chapter_code import fingerprint, statements
from .repetitions import Repetition

UNKNOWN = "not yet measured"
HEDGES = ((0.95, ""), (0.75, "usually"), (0.25, "sometimes"))  # from which share of the repetitions on


@dataclass(frozen=True)
class Rate:
    """``held`` of ``reached`` repetitions; ``ended`` more were stopped by an error before they came to it."""

    held: int = 0
    reached: int = 0
    ended: int = 0

    def __str__(self) -> str:
        return self.words()

    def words(self, when: str = "") -> str:
        """``11 of 12``; ``when`` says of what."""
        if not self.reached:
            return f"none of {self.ended} came to it{when}, an error ended them before" if self.ended else UNKNOWN
        ended = f"; {self.ended} more ended with an error before it" if self.ended else ""
        return f"{self.held} of {self.reached}{when}{ended}"

    def hedged(self, statement: str) -> str:
        """The statement as what it is: with "usually" or "sometimes" in front, if it held in fewer than 95 %."""
        share = self.held / self.reached if self.reached else 1.0
        word = next((word for least, word in HEDGES if share >= least), "rarely")
        return f"{word}, {statement}" if word else statement


def rate(stored: list[Repetition], statement: str, code: str) -> Rate:
    """How often a statement held in the repetitions that ran this very code."""
    found = [one.outcomes[statement]["held"] for one in stored
             if one.outcomes.get(statement, {}).get("code") == code]
    return Rate(found.count(True), len(found) - found.count(None), found.count(None))


class Outcomes:
    """States the outcomes of one chapter, see ``of``."""

    def __init__(self, chapter: str, root: Path | None = None):
        self.chapter = chapter
        self.stored, problems = repetitions.load(chapter, root)
        for problem in problems:
            warnings.warn(str(problem), stacklevel=3)

    def __call__(self, statement: str, condition) -> None:
        """Print whether the statement holds now, and how often it did when repeated.

        Args:
            condition: True or False, or a tensor, an array or a series with one truth value; NaN counts as False.
        Raises: TypeError for anything else, never because the statement does not hold.
        """
        value = truth(condition, statement)
        repetitions.seen.append((statement, value))
        run, often = "this short run", "rates are those of full runs"
        if settings.mode() == "full":
            found = rate(self.stored, statement, fingerprint(executed()))
            run, often = "this run", f"{UNKNOWN} how often" if found == Rate() else found.words(" when repeated")
            statement = found.hedged(statement)
        text = f"{statement[:1].upper()}{statement[1:]}: {'held' if value else 'did not hold'} in {run}; {often}."
        print(textwrap.fill(text, 78, subsequent_indent="    "))


def of(chapter: str) -> Outcomes:
    """What states the outcomes of a chapter, such as "03_unrolling"; call it ``held``. Warns of damaged records."""
    return Outcomes(chapter)


def truth(condition, statement: str) -> bool:
    """The truth value of a condition; see ``Outcomes.__call__``."""
    try:
        value = condition.item() if hasattr(condition, "item") else condition
    except (RuntimeError, ValueError):  # more than one element, as torch and NumPy put it
        value = condition
    if isinstance(value, bool):
        return value
    if isinstance(value, float) and math.isnan(value):
        return False
    raise TypeError(f"the outcome {statement!r} was given {type(condition).__name__} {str(condition)[:60]!r} where one "
                    "truth value is expected: compare, and end a comparison of arrays with .all() or .any()")


def executed() -> list[str]:
    """The cells that this kernel has run, up to the first run of the present one; none outside of IPython."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    history = list(getattr(getattr(shell, "history_manager", None), "input_hist_raw", []))[1:]
    return history[:history.index(history[-1]) + 1] if history else []


def rates(page: Path, root: Path | None = None) -> dict[str, Rate]:
    """Every outcome of a chapter, with the rate of the code as it is now."""
    stored, _ = repetitions.load(page.stem, root)
    return {statement: rate(stored, statement, code) for statement, code in statements(page).items()}


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 0: all is well; 1: something is not; 2: a wrong command; 130: interrupted."""
    parser = argparse.ArgumentParser(prog="python -m dpbook_course.experiments.outcomes",
                                     description="How often the outcomes that the chapters state hold when repeated.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="run | show")
    run = commands.add_parser("run", help="measure what is missing; interrupt it whenever you like")
    run.add_argument("chapters", nargs="*", metavar="CHAPTER", help="such as 03_unrolling; without any, all")
    run.add_argument("--repeats", type=int, default=repetitions.REPEATS, metavar="N", help="of each chapter")
    run.add_argument("--workers", type=int, default=repetitions.WORKERS, metavar="N", help="chapters at a time")
    commands.add_parser("show", help="all outcomes with their rates")
    options, known = parser.parse_args(arguments), repetitions.chapters()
    if not known:
        parser.error("there are no chapters beside the package: call it in a copy of the repository")
    if options.command == "show":
        return show(known)
    for name in options.chapters:
        if name not in known:
            run.error(f"no chapter {name!r} states outcomes; choose from {', '.join(known)}")
    if options.repeats < 1 or options.workers < 1:
        run.error(f"--repeats {options.repeats} and --workers {options.workers} must both be at least 1")
    return measure([known[name] for name in options.chapters or known], options.repeats, options.workers)


def show(pages: Mapping[str, Path], root: Path | None = None) -> int:
    """Print all outcomes with their rates; returns the exit status."""
    problems = []
    for name, page in pages.items():
        problems += repetitions.load(name, root)[1]
        try:
            lines = [f"  {often}: {statement}" for statement, often in rates(page, root).items()]
        except ValueError as error:  # as in ``repetitions.measure``
            lines, problems = [], [*problems, error]
        print(name, *lines, sep="\n")
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def measure(pages: list[Path], repeats: int, workers: int, root: Path | None = None) -> int:
    """Run what is missing, with a line for each repetition; returns the exit status."""
    problems = []
    try:
        writable_folder(repetitions.folder(root))
        for done in repetitions.measure(pages, repeats, workers, root):
            if isinstance(done, str):
                problems.append(done)
                print(done, file=sys.stderr)
                continue
            results = [one["held"] for one in done.outcomes.values()]
            print(f"{done.chapter}, repetition {done.repetition}: {results.count(True)} of {len(results)} held, "
                  f"{done.provenance['seconds']:.0f} s{f'; ended by {done.failed}' if done.failed else ''}", flush=True)
    except KeyboardInterrupt:
        print("\nInterrupted. What is finished is stored, but for repetitions that an error ended at a place that no "
              "other one has got past yet; the same command goes on from there.", file=sys.stderr)
        return INTERRUPTED
    except OSError as error:
        print(error.strerror, file=sys.stderr)
        return 1
    return 1 if problems else 0


if __name__ == "__main__":
    program(main)
