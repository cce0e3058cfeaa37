"""A verdict as every page shows it: a badge, a sentence, its comparisons as a picture, and everything else folded.

HTML without styles of its own. The classes are those of sphinx-design, which the book has; where they are unknown, as
in JupyterLab and Colab, the badge is bold text and what is folded unfolds all the same.
"""

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from . import effects as statistics
from .effects import AS_CLAIMED, READINGS, UNDECIDED

if TYPE_CHECKING:
    from .claims import Effect, Verdict

COLOURS = {"supported": "success", "supported under conditions": "info", "contradicted": "danger",
           UNDECIDED: "warning", "open": "light"}
RATIO, DIFFERENCE = "ratio, with its 95 % interval", "difference, with its 95 % interval"


def badge(standing: str) -> str:
    """The outcome of a claim, or "open", as a coloured label."""
    colour = COLOURS[standing]
    return f'<strong class="sd-sphinx-override sd-badge sd-bg-{colour} sd-bg-text-{colour}">{standing}</strong>'


def whole(verdict: "Verdict") -> str:
    """The verdict with its claim."""
    claim = f" <strong>{verdict.claim.id}.</strong> {escape(verdict.claim.text)}." if verdict.claim else ""
    return (f'<div class="verdict"><p>{badge(verdict.outcome)}{claim}</p><p>{escape(sentence(verdict))}</p>'
            f"{''.join(pictures(verdict))}{folded(verdict)}</div>")


def sentence(verdict: "Verdict") -> str:
    """How many comparisons are as claimed, and the first number."""
    if not verdict.effects:
        return "There are no results yet."
    effect = main_effect(verdict)
    seeds = verdict.sample if verdict.num_seeds else "some comparisons are not computed yet"
    number = f"; the main effect, {effect.name}, is {interval(effect)}" if effect else ""
    return f"{_counted(verdict)} ({seeds}; {verdict.budget}){number}."


def pictures(verdict: "Verdict") -> list[str]:
    """Forest plots of the comparisons that decide: of ratios, and of differences if there are any."""
    from dpbook_utils import figures  # what only decides needs no plots

    shown, found = _deciding(verdict), []
    ratios = [e for e in shown if e.value > 0 and _is_ratio(e)]
    differences = [e for e in shown if math.isfinite(e.value) and e.question is not None and not _is_ratio(e)]
    for chosen, label, equal in ((ratios, RATIO, 1.0), (differences, DIFFERENCE, 0.0)):
        if chosen:
            figure = figures.forest(
                {_row(e): (e.value, e.low, e.high) for e in chosen}, xlabel=label, equal=equal,
                bands={_row(e): limits for e in chosen if (limits := _limits(e))},
                undecided=[_row(e) for e in chosen if e.reading not in READINGS[:3]])
            found.append(figures.image(figure, _described(chosen, equal)))
    if found:
        found.append("<p><small>Filled: decided; hollow: undecided. The grey band is what counts as no difference, or "
                     "the range that is claimed.</small></p>")
    return found


def folded(verdict: "Verdict") -> str:
    """Criterion, seeds, budget, note, all numbers, and the commands that repeat it."""
    facts = [f"<p>Sample: {verdict.sample}. Budget: {escape(verdict.budget)}.</p>"]
    if verdict.claim:
        facts.insert(0, f"<p><em>Criterion.</em> {escape(verdict.claim.criterion)}</p>")
    if note := " ".join(filter(None, (verdict.note, verdict.needed, verdict.remedy))):
        facts.append(f"<p><em>Note.</em> {escape(note)}</p>")
    if verdict.effects:
        table = verdict.table()
        rows = [[*map(str, row), role(effect, verdict)] for row, effect in zip(table.values, verdict.effects)]
        facts.append(_table([*table.columns, "role"], rows))
    if verdict.claim:
        facts.append("<p>To repeat it:</p>" + "".join(f"<p><code>{command(name)}</code></p>"
                                                      for name in verdict.claim.experiments))
    return ('<details class="sd-sphinx-override sd-dropdown sd-card sd-mb-3"><summary class="sd-summary-title '
            'sd-card-header">Criterion, all numbers, and how to repeat it</summary><div class="sd-summary-content '
            f'sd-card-body">{"".join(facts)}</div></details>')


def command(experiment: str) -> str:
    """What computes the results of an experiment."""
    return f"python -m dpbook_course.experiments run {experiment}"


def main_effect(verdict: "Verdict") -> "Effect | None":
    """The first effect, in the order of the criterion, that has been computed and has an interval.

    Of a verdict that names its main effect, that one.
    """
    known = [e for e in verdict.effects if math.isfinite(e.value) and math.isfinite(e.low)]
    return next((e for e in known if verdict.main in ("", e.name)), None)


def interval(effect: "Effect") -> str:
    """``0.75 (0.71 ... 0.78)``; the value alone if it has no interval, a dash if it is missing."""
    if math.isnan(effect.value):
        return "-"
    value = f"{effect.value:.3g}"
    return value if math.isnan(effect.low) else f"{value} ({effect.low:.3g} ... {effect.high:.3g})"


def role(effect: "Effect", verdict: "Verdict") -> str:
    """Whether a claim requires an effect, or what else it is there for."""
    if effect.name in verdict.required:
        return "required"
    return "shown" if not effect.reading else "further" if verdict.required else "deciding"


def _deciding(verdict: "Verdict") -> list["Effect"]:
    """The required effects, or for a rule of another form all that are read."""
    return [e for e in verdict.effects if (e.name in verdict.required if verdict.required else e.reading)]


def _is_ratio(effect: "Effect") -> bool:
    return effect.question is not None and (effect.question.inside or effect.question == statistics.RATIO)


def _limits(effect: "Effect") -> tuple[float, float] | None:
    low, high = effect.question[:2]
    if math.isnan(low):
        return None
    return (math.exp(low), math.exp(high)) if _is_ratio(effect) else (low, high)


def _row(effect: "Effect") -> str:
    lost = sum(effect.blown_up)
    return f"{effect.name} ({lost} seed{'s' * (lost > 1)} lost)" if lost else effect.name


def _described(chosen: Sequence["Effect"], equal: float) -> str:
    """What a picture says, for those who do not see it."""
    axis = "Forest plot, logarithmic axis with 1 marked" if equal else "Forest plot, axis with 0 marked"
    return f"{axis}. " + "; ".join(f"{_row(e)}: {interval(e)}, {e.reading or 'missing'}" for e in chosen)


def _counted(verdict: "Verdict") -> str:
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


def _table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<table class="table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
