"""Verdicts and comparisons as MyST, for the pages that are computed when the book is built."""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np
import pandas

from ..experiments import tasks
from . import findings, ledger, shown, simulation
from .claims import CONTRADICTED, UNDER_CONDITIONS, Effect, Verdict
from .effects import AS_CLAIMED, MIN_SEEDS, NO_DIFFERENCE, OTHER_WAY, READINGS, UNDECIDED
from .shown import interval

MISSING = "not computed yet"


class Comparison(NamedTuple):
    """A ratio a / b of paired results, read in both directions by the rule of the course.

    Attributes:
        lost: the seeds of a, and of b, that diverged or blew up: they decide with the others, and are in no ratio.
    """

    effect: Effect
    num_seeds: int
    lost: tuple[tuple, tuple] = ((), ())

    @property
    def name(self) -> str:
        return self.effect.name

    @property
    def word(self) -> str:
        """How a compares with b: smaller, larger, no difference, undecided; empty if it is not known yet."""
        return {AS_CLAIMED: "smaller", OTHER_WAY: "larger"}.get(self.effect.reading, self.effect.reading)

    @property
    def reading(self) -> str:
        """The same in words, with the factor, and which seeds are lost."""
        value = self.effect.value
        if not self.word:
            return MISSING if not self.num_seeds else f"{self.num_seeds} seeds, {MIN_SEEDS} are needed"
        words = self.word
        if words in ("smaller", "larger") and not math.isnan(value):
            words = f"{1 / value if words == 'smaller' else value:.3g} times {words}"
        return "; ".join(filter(None, (words, self.losses)))

    @property
    def losses(self) -> str:
        """Which seeds are lost, and what the ratio is then about; empty if there are none."""
        parts = [f"the {which} set-up lost seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
                 for which, seeds in zip(("first", "second"), self.lost) if seeds]
        rest = 0 if self.effect.sets else self.num_seeds - len(set().union(*self.lost))
        if not parts:
            return ""
        return f"{' and '.join(parts)} (diverged or blown up)" + (f", the ratio is of the other {rest}" if rest else "")


def compare(name: str, a: pandas.Series, b: pandas.Series | float) -> Comparison:
    """``a`` against ``b``, seed by seed (``findings.smaller``); empty series are results that are missing."""
    sides = findings.common_seeds(a, b if isinstance(b, pandas.Series) else pandas.Series(float(b), a.index))
    finding = findings.smaller(name, *sides)
    return Comparison(*finding, tuple(_lost(values, bool(finding.effect.sets)) for values in sides))


def _lost(values: pandas.Series, by_sets: bool) -> tuple:
    """The seeds whose value is not finite, among those that are looked at; with sets of data, ``3 on set 0``."""
    if not by_sets:
        values = findings.first_set(values)
    seeds = values.index[~np.isfinite(values.to_numpy(float))]
    return tuple(f"{seed[1]} on set {seed[0]}" if by_sets else seed[1] if values.index.nlevels > 1 else seed
                 for seed in seeds)


def table(caption: str, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table with a caption. Cells are MyST."""
    lines = [" | ".join(row) for row in (columns, *rows)]
    lines.insert(1, " | ".join("---" for _ in lines[0].split(" | ")))
    return "\n".join([f"```{{table}} {caption}", *(f"| {line} |" for line in lines), "```", ""])


def comparisons(caption: str, found: Iterable[Comparison]) -> str:
    """One row per comparison: the ratio with its interval, and how to read it."""
    return table(caption, ("compared", "ratio (95 % interval)", "reading"),
                 ([plain(one.name), interval(one.effect), one.reading] for one in found))


def tally(found: Iterable[Comparison]) -> str:
    """``smaller in 2 of 5 comparisons, larger in 3``."""
    words = [one.word for one in found]
    texts = {"smaller": "smaller", "larger": "larger", NO_DIFFERENCE: "not different", UNDECIDED: "undecided",
             "": MISSING}
    parts = [f"{text} in {words.count(word)}" for word, text in texts.items() if word in words]
    return ", ".join([f"{parts[0]} of {len(words)} comparisons", *parts[1:]])


def summary(found: Mapping[str, Verdict]) -> str:
    """How many claims stand how, as one sentence."""
    numbers = [f"**{number}** {name}" for name, number in ledger.counts(found).items()]
    return f"Of {len(ledger.STATEMENTS)} claims: {', '.join(numbers)}."


def link(claim_id: str, found: Mapping[str, Verdict]) -> str:
    """A link to the claim's section, from any page of the book, and how the claim stands."""
    return f"{{ref}}`{claim_id} <{claim_id.lower()}>`: {ledger.standing(claim_id, found)}"


def items(claim_ids: Iterable[str], found: Mapping[str, Verdict]) -> str:
    """A list of claims, each with its link, its standing, its statement and its evidence in short."""
    return "\n".join(f"- {link(key, found)}. {ledger.STATEMENTS[key].text}. "
                     f"{plain(shown.sentence(found[key])) if key in found else ''}".rstrip() for key in claim_ids)


def overview(found: Mapping[str, Verdict]) -> str:
    """The ledger: one row per claim."""
    lines = [":::{list-table} The claims of the course and what the stored results say of them", ":header-rows: 1",
             ":widths: 20 80", "", "* - claim", "  - statement"]
    for key, statement in ledger.STATEMENTS.items():
        lines += [f"* - [{key}](#{key.lower()})", "", f"    {shown.badge(ledger.standing(key, found))}",
                  f"  - {statement.text}"]
    return "\n".join([*lines, ":::", ""])


def changes(found: Mapping[str, Verdict]) -> str:
    """Every claim under the rule before and under this one, and why the two differ."""
    rows = ([f"[{key}](#{key.lower()})", before, ledger.standing(key, found), _why(before, found[key])]
            for key, before in ledger.earlier().outcomes.items() if key in found)
    return table("The outcomes before and after the change of the rule", ("claim", "before", "now", "why"), rows)


def errors(simulated: pandas.DataFrame, spread: float, freedom: int) -> str:
    """The rule's errors and power, by number of seeds (``simulation.errors``)."""
    rows = []
    for seeds, of_claims in simulated.groupby("seeds"):
        alone = [f"{simulation.single(spread, int(seeds), effect, freedom):.0%}" for effect in simulation.EFFECTS]
        powers = [of_claims[f"power, {effect:.0%}"].median() for effect in simulation.EFFECTS]
        wrong = max(of_claims[f"contradicted, {effect:.0%}"].max() for effect in simulation.EFFECTS)
        rows.append([str(seeds), *alone, f"{of_claims['false'].max():.1f} %", *(f"{power:.0f} %" for power in powers),
                     f"{wrong:.1f} %"])
    effects = [f"{effect:.0%}" for effect in simulation.EFFECTS]
    return table(
        "How often the rule errs, and what it sees, by simulation",
        ("seeds", *(f"one comparison sees {effect}" for effect in effects),
         "a claim supported without any difference (largest of all claims)",
         *(f"a claim supported at {effect} (median)" for effect in effects),
         "a claim contradicted that is true (largest)"), rows)


def coverage(simulated: pandas.DataFrame) -> str:
    """How often intervals contain the truth (``simulation.coverage``)."""
    rows = ([str(seeds), name, *(f"{share:.1f} %" for share in row)]
            for (seeds, name), row in zip(simulated.index, simulated.values))
    columns = ("seeds", "distribution", *simulated.columns)
    return table("How often a 95 % interval contains the true mean", columns, rows)


def section(claim_id: str, found: Mapping[str, Verdict], chapter: Callable[[str], str]) -> str:
    """A claim with its verdict (``shown.whole``) or, while it is open, its statement; and its chapter.

    Args:
        chapter: a key of ``ledger.CHAPTERS`` to its link, or its name where the book does not have it yet.
    """
    statement, verdict = ledger.STATEMENTS[claim_id], found.get(claim_id)
    text = (shown.whole(verdict) if verdict else
            f"<p>{shown.badge(ledger.OPEN)} <strong>{claim_id}.</strong> {statement.text}.</p>")
    studies = " and ".join(statement.studies)
    where = "" if verdict else f"To be decided by {studies}. "
    lines = [f"({claim_id.lower()})=", "::::{div}", "```{raw} html", text, "```", "",
             f"{where}Chapter: {chapter(statement.chapter)}.", "::::", ""]
    return "\n".join(lines)


def studies(described: Mapping[str, str]) -> str:
    """The studies that a page reads: what each has, how much of it is stored, and what a reader can do about the rest.

    Args:
        described: ``{id: what it has}``.
    """
    stored = {name: tasks.complete(name) is not None for name in described}
    counts = {name: tasks.status(tasks.find(name).spec) for name in described}
    rows = ([f"`{name}`", what, "all" if stored[name] else f"{counts[name].done:,} of {counts[name].total:,} runs"]
            for name, what in described.items())
    first = next((name for name in described if not stored[name]), next(iter(described)))
    text = f"`{shown.command(first)}` repeats a study, or computes what is lacking."
    if not all(stored.values()):
        text += (" Where a result needs a study that is not complete, its place below says *not measured yet*; what is "
                 "asked there, and how, does not depend on it.")
    return table("The studies of this page", ("study", "what it has", "stored"), rows) + "\n" + text


def plain(text: str) -> str:
    """Text that MyST shows as it is."""
    return re.sub(r"([\\`*_\[\]<>|$^{}~])", r"\\\1", text)


def _why(before: str, verdict: Verdict) -> str:
    """Why a claim has another outcome than before, from its comparisons."""
    now = verdict.outcome
    if now == before or verdict.rule is None:
        return "-"
    readings = [f.effect.reading for f in verdict.rule.enough.leaves()]
    counted = ", ".join(f"{word}: {readings.count(word)}" for word in READINGS if word in readings)
    tested = sum(f.effect.question is not None for f in verdict.rule.comparisons)
    if now == CONTRADICTED:
        return f"nothing is left that could be enough ({counted})"
    if before == UNDER_CONDITIONS:
        floor = min(2 * 0.5**verdict.num_seeds * tested, 1.0)
        return (f"one of {tested} comparisons is no evidence with {verdict.num_seeds} seeds, of which no corrected p "
                f"can be below {floor:.2g}. {verdict.needed}")
    return f"neither shown nor refuted ({counted}). {verdict.needed}"
