"""From the rows of a frame to a verdict: comparisons, each with its effect, and the rule that joins them.

A claim's ``decide`` is a list of findings that it requires and a list of which one is enough for "under conditions".
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
import pandas

from dpbook_utils import arguments
from dpbook_utils.names import meant

from . import effects as statistics
from .claims import OUTCOMES, SUPPORTED, Effect, Verdict
from .effects import AS_CLAIMED, MIN_SEEDS, OTHER_WAY, READINGS, UNDECIDED, Question
from .rule import Finding, Group, Rule
from .wall_clock import at_time

# For the criteria.
RULE = ("Where one of several is enough, it must be as claimed also after Holm's correction for all comparisons that "
        "decide the claim. Contradicted if everything of which one is enough, and something that is required, reads "
        '"the other way" or "no difference". Undecided otherwise.')
SMALLER = ('"Smaller" and "longer" mean that a paired ratio reads "as claimed": over at least six seeds, the '
           "exact test on ranks has p below 0.05 on that side, and the 95 % interval (Student's t on logarithms) does "
           'not lie on the other one. An interval between 1 / 1.05 and 1.05 reads "no difference" instead. ' + RULE)
DIVERGED = " A training that diverged counts as an infinite error."


def per_seed(frame: pandas.DataFrame, variant: str, budget: int, metric: str) -> pandas.Series:
    """The metric of a variant at a budget, by seed, or by (set of data, seed); empty if it has not been computed.

    Raises: KeyError for a metric that the frame does not have, TypeError for another kind of argument or a metric that
        is an array, ValueError if a seed occurs twice.
    """
    arguments.instance("per_seed", "frame", frame, pandas.DataFrame, "a frame of results, as course.measured('e04')")
    if variant is not None:  # one that cannot be chosen yet
        arguments.text("per_seed", "variant", variant, "the name of a variant, a text")
    if not arguments.is_number(budget):
        raise arguments.refusal("per_seed", "budget", budget, "a number of updates")
    chosen = ((frame["variant"] == variant) & (frame["budget"] == budget)).to_numpy()
    if not chosen.any():
        return pandas.Series(dtype=float)
    column(frame, metric)
    index = frame.loc[chosen, "seed"].to_numpy()
    if "data_set" in frame:
        index = pandas.MultiIndex.from_frame(frame.loc[chosen, ["data_set", "seed"]])
    values = frame[metric].to_numpy()[chosen]
    if any(np.ndim(value) for value in values):
        raise TypeError(f"per_seed: {metric} is an array for each seed; give a metric that is one number, or take "
                        "course.stacked(frame, variant, budget, metric)")
    found = pandas.Series(values.astype(float), index)
    if not found.index.is_unique:
        raise ValueError(f"{variant}, budget {budget}: a seed occurs twice in the results; move one of the two files "
                         "of records away")
    return found


def column(frame: pandas.DataFrame, metric: str) -> pandas.Series:
    """The column of a metric.   Raises: KeyError, which says what may be meant."""
    if not isinstance(metric, str) or metric not in frame:
        known = [name for name in frame if isinstance(name, str)]
        raise KeyError(f"no metric {metric!r}; {meant(str(metric), known)}the frame has {', '.join(known)}")
    return frame[metric]


def judged(frame: pandas.DataFrame, variant: str, budget: int, metric: str) -> pandas.Series:
    """An error by seed, infinite for a training that diverged: what its last finite weights do is no result of its own.

    With it a comparison counts that seed as lost, against any training that did not diverge, and its ratio is that of
    the seeds in which neither did (``statistics.read``). A frame without ``diverged_at`` has no trainings.
    """
    values = per_seed(frame, variant, budget, metric)
    if values.empty or "diverged_at" not in frame:
        return values
    return values.where(per_seed(frame, variant, budget, "diverged_at") < 0, math.inf)


def for_each_seed(baseline: pandas.Series, like: pandas.Series) -> pandas.Series:
    """What has no seeds of its own, one number or one per set of data, for every seed of another series; without the
    seeds whose set it lacks."""
    if like.index.nlevels == 1:
        return pandas.Series(float(baseline.iloc[0]), like.index)
    of_set = baseline.groupby(level="data_set").first()
    found = of_set.reindex(like.index.get_level_values("data_set")).to_numpy()
    return pandas.Series(found, like.index)[~np.isnan(found)]


def first_set(numbers: pandas.Series) -> pandas.Series:
    """Those of the first set of data, whose seeds train together."""
    if numbers.index.nlevels == 1 or numbers.empty:
        return numbers
    sets = numbers.index.get_level_values("data_set")
    return numbers[sets == sets.min()]


def units(numbers: pandas.Series) -> pandas.Series:
    """What counts once in a test and in an interval: the seeds; or, with six sets of data or more, the sets.

    Seeds that share their data also share what is particular in it, so that they are one observation of the problem:
    their median, which one lost seed does not move. With fewer sets those of the first one alone are looked at.
    """
    if numbers.index.nlevels == 1:
        return numbers
    if numbers.index.get_level_values("data_set").nunique() < MIN_SEEDS:
        return first_set(numbers)
    return numbers.groupby(level="data_set").median()


def common_seeds(*series: pandas.Series) -> list[pandas.Series]:
    """The series in the order of the seeds, without those that one of them lacks: before they are divided."""
    seeds = sorted(set.intersection(*(set(values.index) for values in series)))
    return [values.loc[seeds] for values in series]


def smaller(name: str, a: pandas.Series, b: pandas.Series | float) -> Finding:
    """That ``a`` is smaller than ``b``, as a paired ratio a/b; b may be one number (a baseline without seeds)."""
    a, b = _pairs(a, b)
    if a.empty:
        return _missing(name)
    logs = pandas.Series(statistics.log_ratios(a, b), a.index)
    return _read(name, logs, statistics.RATIO, math.exp, statistics.lost(a, b))


def lower(name: str, a: pandas.Series, b: pandas.Series | float, question: Question = statistics.FRACTION) -> Finding:
    """That ``a`` is below ``b``, as a paired difference a - b of what can be zero, such as a fraction of blow-ups."""
    a, b = _pairs(a, b)
    return _missing(name) if a.empty else _read(name, a - b, question, float)


def between(name: str, values: pandas.Series, low: float, high: float) -> Finding:
    """That the geometric mean of one positive number per seed lies between two limits.

    As claimed if its 95 % interval does; the other way if the interval lies outside, undecided if it crosses a limit.
    """
    if values.empty or not np.isfinite(values).all():
        return _missing(name)
    return _read(name, np.log(values), Question(math.log(low), math.log(high), inside=True), math.exp)


def fact(name: str, value: float, holds: bool, num_seeds: int) -> Finding:
    """A number that is what it is, without a test: a count of trainings, or whether weights are equal."""
    reading = (AS_CLAIMED if holds else OTHER_WAY) if num_seeds >= MIN_SEEDS else ""
    return Finding(Effect(name, value, math.nan, math.nan, reading), num_seeds)


def all_of(findings: Iterable["Finding | Group"]) -> Group:
    """Several as one, which holds if all do, and is refuted if one is."""
    return Group(tuple(findings), together=True)


def any_of(findings: Iterable["Finding | Group"]) -> Group:
    """Several as one, which holds if one does after the correction, and is refuted if all are."""
    return Group(tuple(findings), together=False)


def at_equal_time(frame: pandas.DataFrame, a: str, budgets_a: Sequence[int], b: str, budgets_b: Sequence[int],
                  metric: str) -> tuple[pandas.Series, pandas.Series]:
    """The metric of two variants at equal wall-clock: the longest time that the budgets of both reach.

    An update takes what ``seconds_per_update`` says of a variant's least disturbed training. Between budgets the metric
    is interpolated (``wall_clock.at_time``), never extrapolated; between two trainings of which one diverged it is
    infinite (``judged``). Both are empty if a budget is missing.
    """
    for name, budgets in (("budgets_a", budgets_a), ("budgets_b", budgets_b)):
        if not isinstance(budgets, Sequence) or isinstance(budgets, str) or not budgets:
            raise arguments.refusal("at_equal_time", name, budgets, "all numbers of updates, such as (1500, 6000)")
    series = [_by_time(frame, variant, budgets, metric) for variant, budgets in ((a, budgets_a), (b, budgets_b))]
    if any(errors.empty for _, errors in series):
        return pandas.Series(dtype=float), pandas.Series(dtype=float)
    time = min(seconds[-1] for seconds, _ in series)
    found = [pandas.Series(at_time(seconds, errors.to_numpy(), time), errors.index)
             for seconds, errors in series]
    empty = any(values.isna().any() for values in found)  # one takes longer for its smallest budget
    return tuple(values[:0] if empty else values for values in found)


def conclude(required: Iterable[Finding | Group], enough: Iterable[Finding | Group], budget: str, *,
             shown: Iterable[Finding] = (), note: str = "", main: Finding | None = None) -> Verdict:
    """The rule of the course's verdicts.

    undecided: a required finding lacks results or has fewer than six seeds. supported: all required ones hold; since
    none may fail, their number needs no correction. supported under conditions: one of those in ``enough`` holds, also
    after Holm's correction for all comparisons that decide. contradicted: all of those in ``enough``, and one of the
    required ones, read the other way or no difference. undecided: otherwise.

    Args:
        shown: further numbers that decide nothing.
        main: the one that the ledger shows; by default the first.
    """
    rule = Rule(all_of(required), any_of(enough))
    found = {f.effect.name: f.effect for f in rule.comparisons}
    p = rule.corrected({name: effect.p for name, effect in found.items()})
    found = {name: replace(effect, corrected=float(p[name])) for name, effect in found.items()}
    must, may = ([found[f.effect.name] for f in leaves]
                 for leaves in (rule.required.leaves(together=True), rule.enough.leaves()))
    lacking = [f.effect.name for f in rule.required.leaves() if not f.effect.reading]
    if lacking:
        outcome, said = UNDECIDED, [f"missing, or fewer than {MIN_SEEDS} seeds: {_listed(lacking)}."]
    else:
        outcome = OUTCOMES[int(rule.outcome({name: effect.reading for name, effect in found.items()}, p))]
        said = [_required(must) if must else "", _enough(may) if may and outcome != SUPPORTED else ""]
    effects = found | {f.effect.name: replace(f.effect, reading="") for f in shown if f.effect.name not in found}
    return Verdict(outcome, tuple(effects.values()), min((f.num_seeds for f in rule.required.leaves()), default=0),
                   budget, " ".join(filter(None, [*said, note])), required=tuple(effect.name for effect in must),
                   main=main.effect.name if main else "", rule=None if lacking else rule)


def _required(effects: Sequence[Effect]) -> str:
    """Which of those that must all hold do not."""
    failing = {word: [e.name for e in effects if e.reading == word] for word in READINGS if word != AS_CLAIMED}
    number = sum(map(len, failing.values()))
    if not number:
        return f"all {len(effects)} required comparisons are as claimed."
    listed = (f"{word.capitalize()}: {_listed(names)}." for word, names in failing.items() if names)
    verb = "is" if number == 1 else "are"
    return " ".join([f"{number} of {len(effects)} required comparisons {verb} not as claimed.", *listed])


def _enough(effects: Sequence[Effect]) -> str:
    """How those read of which one may be enough, and whether one of them outlasts the correction."""
    effects = list({effect.name: effect for effect in effects}.values())
    held = [e.corrected for e in effects if e.reading == AS_CLAIMED]
    others = ", ".join(f"{word}: {number}" for word in READINGS if word != AS_CLAIMED
                       if (number := sum(e.reading == word for e in effects)))
    tested = [p for p in held if not math.isnan(p)]
    best = f"; the smallest corrected p among these is {min(tested):.2g}" if tested else ""
    return (f"Of {len(effects)} comparisons of which one or some are enough for \"under conditions\", {len(held)} "
            f"{'is' if len(held) == 1 else 'are'} as claimed by {'itself' if len(held) == 1 else 'themselves'}"
            f"{best}{f' ({others})' if others else ''}.")


def _pairs(a: pandas.Series, b: pandas.Series | float) -> list[pandas.Series]:
    if not isinstance(b, pandas.Series):
        b = pandas.Series(float(b), a.index)
    return common_seeds(a, b)


def _read(name: str, numbers: pandas.Series, question: Question, scale: Callable[[float], float],
          lost: tuple[int, int] = (0, 0)) -> Finding:
    """What one number per seed says; ``scale`` turns them into what is shown."""
    alike, numbers = first_set(numbers), units(numbers)
    sets = len(numbers) if numbers.index.name == "data_set" else 0
    found = statistics.read(numbers, question)
    reading = READINGS[int(found.code)] if len(numbers) >= MIN_SEEDS else ""
    shown = [scale(float(x)) for x in (found.mean, found.low, found.high)]
    return Finding(Effect(name, *shown, reading, float(found.p), blown_up=lost, sets=sets,
                          numbers=tuple(map(float, numbers)), question=question,
                          alike=tuple(map(float, alike)) if sets else ()), len(numbers))


def _missing(name: str) -> Finding:
    return Finding(Effect(name, *[float("nan")] * 3), 0)


def _by_time(frame: pandas.DataFrame, variant: str, budgets: Sequence[int], metric: str):
    """Times [s] of the budgets and the metric (seeds, budgets)."""
    errors = pandas.concat([judged(frame, variant, n, metric) for n in budgets], axis=1, join="inner")
    per_update = pandas.concat([first_set(per_seed(frame, variant, n, "seconds_per_update")) for n in budgets]).min()
    if errors.empty or not per_update > 0:  # NaN if every training diverged at its first update
        return None, errors[:0]
    return np.array(budgets) * per_update, errors


def _listed(names: Sequence[str], most: int = 6) -> str:
    rest = len(names) - most
    return "; ".join(names[:most]) + (f"; and {rest} more" if rest > 0 else "")
