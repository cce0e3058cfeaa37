"""Verdicts and comparisons as MyST, for the pages that are computed when the book is built."""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import pandas

from . import ledger, simulation
from .claims import CONTRADICTED, LOST, UNDER_CONDITIONS, Effect, Verdict, command
from .effects import AS_CLAIMED, MIN_SEEDS, NO_DIFFERENCE, OTHER_WAY, READINGS, UNDECIDED
from .findings import smaller

MISSING = "not computed yet"


class Comparison(NamedTuple):
    """A ratio a / b of paired results, read in both directions by the rule of the course."""

    effect: Effect
    num_seeds: int

    @property
    def name(self) -> str:
        return self.effect.name

    @property
    def word(self) -> str:
        """How a compares with b: smaller, larger, no difference, undecided; empty if it is not known yet."""
        return {AS_CLAIMED: "smaller", OTHER_WAY: "larger"}.get(self.effect.reading, self.effect.reading)

    @property
    def reading(self) -> str:
        """The same in words, with the factor."""
        value, (a, b) = self.effect.value, self.effect.blown_up
        if not self.word:
            return MISSING if not self.num_seeds else f"{self.num_seeds} seeds, {MIN_SEEDS} are needed"
        words = self.word
        if words in ("smaller", "larger") and not math.isnan(value):
            words = f"{1 / value if words == 'smaller' else value:.3g} times {words}"
        return f"{words}; {LOST}: {a} / {b}" if a or b else words


def compare(name: str, a: pandas.Series, b: pandas.Series | float) -> Comparison:
    """``a`` against ``b``, seed by seed (``findings.smaller``); empty series are results that are missing."""
    return Comparison(*smaller(name, a, b))


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


def interval(effect: Effect) -> str:
    """``0.75 (0.71 ... 0.78)``; the value alone if it has no interval, a dash if it is missing."""
    if math.isnan(effect.value):
        return "-"
    value = f"{effect.value:.3g}"
    return value if math.isnan(effect.low) else f"{value} ({effect.low:.3g} ... {effect.high:.3g})"


def main_effect(verdict: Verdict) -> Effect | None:
    """The first effect, in the order of the criterion, that has been computed and has an interval.

    Of a verdict that names its main effect, that one.
    """
    known = [e for e in verdict.effects if math.isfinite(e.value) and math.isfinite(e.low)]
    return next((e for e in known if verdict.main in ("", e.name)), None)


def summary(found: Mapping[str, Verdict]) -> str:
    """How many claims stand how, as one sentence."""
    numbers = [f"**{number}** {name}" for name, number in ledger.counts(found).items()]
    return f"Of {len(ledger.STATEMENTS)} claims: {', '.join(numbers)}."


def link(claim_id: str, found: Mapping[str, Verdict]) -> str:
    """A link to the claim's section, from any page of the book, and how the claim stands."""
    return f"{{ref}}`{claim_id} <{claim_id.lower()}>`: {ledger.standing(claim_id, found)}"


def items(claim_ids: Iterable[str], found: Mapping[str, Verdict]) -> str:
    """A list of claims, each with its link, its standing, its statement and its evidence in short."""
    return "\n".join(f"- {link(key, found)}. {ledger.STATEMENTS[key].text}. {_evidence(found.get(key))}".rstrip()
                     for key in claim_ids)


def overview(found: Mapping[str, Verdict], chapter: Callable[[str], str]) -> str:
    """The ledger: one row per claim.

    Args:
        chapter: a key of ``ledger.CHAPTERS`` to its link, or its name where the book does not have it yet.
    """
    lines = [":::{list-table} The claims of the course and what the stored results say of them", ":header-rows: 1",
             ":widths: 20 80", "", "* - claim", "  - statement and main effect"]
    for key, statement in ledger.STATEMENTS.items():
        lines += [f"* - [{key}](#{key.lower()})", "", f"    **{ledger.standing(key, found)}**",
                  f"  - {statement.text}", "",
                  f"    {_evidence(found.get(key))} {_where(statement, chapter, key in found)}"]
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
    """What can be unfolded: criterion, effects, note, seeds, budget, chapter and the commands that repeat it."""
    statement, verdict = ledger.STATEMENTS[claim_id], found.get(claim_id)
    # Browsers unfold what holds the target of a link, so the target stands inside.
    lines = [f"::::{{dropdown}} {claim_id}: {ledger.standing(claim_id, found)}", "", f"({claim_id.lower()})=",
             f"**{statement.text}.** {_where(statement, chapter, verdict is not None)}", ""]
    if verdict is not None:
        rows = [[*(plain(str(cell)) for cell in row), _role(effect, verdict)]
                for row, effect in zip(verdict.table().values, verdict.effects)]
        repeat = "\n".join(map(command, verdict.claim.experiments))
        lines += [f"*Criterion.* {plain(verdict.claim.criterion)}", "",
                  f"*Seeds:* {verdict.num_seeds}. *Budget:* {verdict.budget}.", ""]
        if verdict.note:
            lines += [f"*Note.* {plain(' '.join(filter(None, (verdict.note, verdict.needed))))}", ""]
        if rows:
            lines.append(table(f"{claim_id}: all effects", [*verdict.table().columns, "role"], rows))
        lines += ["To repeat it:", "", f"```bash\n{repeat}\n```"]
    return "\n".join([*lines, "::::", ""])


def plain(text: str) -> str:
    """Text that MyST shows as it is."""
    return re.sub(r"([\\`*_\[\]<>|$^{}~])", r"\\\1", text)


def _evidence(verdict: Verdict | None) -> str:
    if verdict is None:
        return ""
    if not verdict.effects:
        return "No results yet."
    effect = main_effect(verdict)
    number = f"{plain(effect.name)}: {interval(effect)}. " if effect else ""
    seeds = f"{verdict.num_seeds} seeds" if verdict.num_seeds else "some comparisons are not computed yet"
    return f"{number}{_claimed(verdict)}; {seeds}; budget: {verdict.budget}."


def _claimed(verdict: Verdict) -> str:
    """``As claimed: 3 of 5 required comparisons (the other way: 1), 0 of 2 further ones``."""
    required = [e.reading for e in verdict.effects if e.name in verdict.required]
    others = [e.reading for e in verdict.effects if e.name not in verdict.required and e.reading]
    if not others and not any(required):
        return "No comparison is complete"
    counted = {"required comparisons": required, "further ones" if required else "comparisons": others}
    parts = []
    for what, readings in counted.items():
        rest = ", ".join(f"{word}: {readings.count(word)}" for word in READINGS[1:] if word in readings)
        if readings:
            parts.append(f"{readings.count(AS_CLAIMED)} of {len(readings)} {what}" + (f" ({rest})" if rest else ""))
    return f"As claimed: {', '.join(parts)}"


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


def _role(effect: Effect, verdict: Verdict) -> str:
    if effect.name in verdict.required:
        return "required"
    return "shown" if not effect.reading else "further" if verdict.required else "deciding"


def _where(statement: ledger.Statement, chapter: Callable[[str], str], decided: bool) -> str:
    studies = " and ".join(statement.studies)
    return f"Chapter: {chapter(statement.chapter)}." if decided else (
        f"To be decided by {studies}. Chapter: {chapter(statement.chapter)}.")
