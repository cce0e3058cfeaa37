"""What the course claims, and how stored results decide it.

An experiment has its claims, with their criteria; a claim that needs several experiments belongs to one of them and
names the others. Verdicts are computed, never typed:

    claims.verdict("C09")       one verdict, which a notebook shows as ``shown`` says
    claims.verdicts()           all of them
    claims.weighed()            all of them, and what is wrong: python -m dpbook_course.experiments claims
"""

import functools
import math
import textwrap
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pandas

from ..experiments import results
from ..experiments.spec import Experiment
from ..experiments.tasks import STUDIES, StudyError, experiments, loaded, slip
from . import shown
from .effects import AS_CLAIMED, MIN_SEEDS, UNDECIDED, Question
from .shown import command

SUPPORTED, UNDER_CONDITIONS, CONTRADICTED = "supported", "supported under conditions", "contradicted"
OUTCOMES = (SUPPORTED, UNDER_CONDITIONS, CONTRADICTED, UNDECIDED)
LOST = "blown up or diverged"  # how many seeds of the first and of the second set-up


@dataclass(frozen=True)
class Effect:
    """One number of a verdict with its 95 % interval.

    Attributes:
        name: what it is, such as "error inside, WIG-3 / ONE".
        reading: one of ``effects.READINGS``; empty for a number that is only shown, or could not be computed.
        p: of the comparison by itself; NaN for a fact, which needs no test.
        corrected: the same, corrected for all comparisons that decide the claim (Holm).
        blown_up: seeds of the first and of the second set-up that blew up, or whose training diverged; they are not in
            ``value``, but decide with.
        sets: how many sets of data were compared; 0 if the seeds were, on one set or without any.
        numbers, question: what ``effects.read`` has read.
        alike: where sets of data were compared, the numbers of the seeds that share the first one.
    """

    name: str
    value: float
    low: float
    high: float
    reading: str = ""
    p: float = math.nan
    corrected: float = math.nan
    blown_up: tuple[int, int] = (0, 0)
    sets: int = 0
    numbers: tuple[float, ...] = field(default=(), repr=False)
    alike: tuple[float, ...] = field(default=(), repr=False)
    question: Question | None = field(default=None, repr=False)

    @property
    def holds(self) -> bool | None:
        """Whether it is as the claim says; None for a number that decides nothing."""
        return self.reading == AS_CLAIMED if self.reading else None


@dataclass(frozen=True)
class Verdict:
    """What the results say of a claim.

    Attributes:
        outcome: one of OUTCOMES.
        num_seeds: the smallest number of seeds, or of sets of data, that any deciding comparison has.
        budget: at which budget, in words.
        note: what holds and what does not, or what is missing.
        remedy: what to run, if results are missing: set by the functions of this module.
        claim: set by the functions of this module.
        required: the names of the effects that must all be as claimed for "supported"; empty for a rule of another
            form.
        main: the name of the effect that the ledger shows; empty for the first one.
        rule: the ``rule.Rule`` that decided; None if results are missing, or for a rule of another form.
    """

    outcome: str
    effects: tuple[Effect, ...]
    num_seeds: int
    budget: str
    note: str = ""
    claim: "Claim | None" = None
    required: tuple[str, ...] = ()
    main: str = ""
    remedy: str = ""
    rule: Any = field(default=None, repr=False, compare=False)

    def __post_init__(self):
        if self.outcome not in OUTCOMES:
            raise ValueError(f"Verdict: the outcome is {self.outcome!r}; it must be one of {', '.join(OUTCOMES)}")

    @property
    def sample(self) -> str:
        """What was compared, in words: ``13 sets of data``, ``6 seeds``, or both."""
        sets = {effect.sets for effect in self.effects if effect.reading}
        if not any(sets):
            return f"{self.num_seeds} seeds"
        of_sets = f"{min(filter(None, sets))} sets of data"
        return of_sets if all(sets) else f"{of_sets}; of some comparisons {self.num_seeds} seeds on one set"

    @functools.cached_property
    def needed(self) -> str:
        """How many seeds would decide what is undecided; empty where that is not the question."""
        return self.rule.would_decide() if self.rule and self.outcome == UNDECIDED else ""

    def effect(self, name: str) -> Effect:
        """The effect of this name. Raises KeyError, which lists the names."""
        for effect in self.effects:
            if effect.name == name:
                return effect
        raise KeyError(f"no effect {name!r}; there are: {', '.join(effect.name for effect in self.effects)}")

    def table(self) -> pandas.DataFrame:
        """One row per effect."""
        found = pandas.DataFrame(
            [(e.name, _number(e.value), f"{_number(e.low)} ... {_number(e.high)}", e.reading, _number(e.p),
              _number(e.corrected), "{} / {}".format(*e.blown_up)) for e in self.effects],
            columns=["effect", "value", "95 % interval", "reading", "p", "p, corrected", LOST])
        return found if any(any(e.blown_up) for e in self.effects) else found.drop(columns=LOST)

    def __str__(self) -> str:
        head, claim = [self.outcome], self.claim
        if claim:
            head = [f"{claim.id}  {self.outcome}", claim.text, "", f"Criterion: {claim.criterion}"]
        rows = self.table().to_string(index=False, justify="left").splitlines() if self.effects else []
        lines = [textwrap.fill(line, 110) for line in (*head, *self._facts())]
        return "\n".join([*lines, "", *rows]).rstrip() + "\n"

    def _repr_html_(self) -> str:
        return shown.whole(self)

    def _facts(self) -> list[str]:
        facts = [f"Sample: {self.sample}. Budget: {self.budget}."]
        if self.note or self.remedy:
            facts.append(" ".join(filter(None, ("Note:", self.note, self.needed, self.remedy))))
        if self.claim:
            facts.append("Repeat: " + "; ".join(f"`{command(name)}`" for name in self.claim.experiments))
        return facts


@dataclass(frozen=True)
class Claim:
    """A statement of the course and the rule that decides it.

    Attributes:
        id: ``C09``.
        chapter: ``03_unrolling``.
        experiments: ids of those whose results ``decide`` needs.
        criterion: the rule in words, fixed before the results are seen.
        decide: ``{id: frame}`` (``results.frame``) to a verdict. The frame of an experiment without results is empty,
            so ``decide`` must bear missing rows; fewer than six seeds become "undecided" whatever it returns.
    """

    id: str
    text: str
    chapter: str
    experiments: tuple[str, ...]
    criterion: str
    decide: Callable[[Mapping[str, pandas.DataFrame]], Verdict]


def judge(claim: Claim, frames: Mapping[str, pandas.DataFrame], refused: Mapping[str, str] | None = None) -> Verdict:
    """The verdict on a claim from the frames of its experiments; a missing or empty frame means no results.

    No verdict without six seeds: with fewer, or without any results, it is undecided and says what to run.

    Args:
        refused: ``{experiment: why}`` of results that are there, all or some, and cannot be used.
    """
    nothing, refused = pandas.DataFrame({"variant": [], "budget": [], "seed": []}), refused or {}
    missing = [name for name in claim.experiments if name not in frames or frames[name].empty]
    frames = {name: nothing if name in missing else frames[name] for name in claim.experiments}
    if len(missing) == len(frames):
        verdict = Verdict(UNDECIDED, (), 0, "none")
    else:
        verdict = claim.decide(frames)
    if verdict.outcome != UNDECIDED and verdict.num_seeds < MIN_SEEDS:
        verdict = replace(verdict, outcome=UNDECIDED, note=f"{verdict.num_seeds} seeds; a verdict needs {MIN_SEEDS}. "
                                                           f"{verdict.note}".rstrip())
    if verdict.outcome == UNDECIDED and verdict.rule is None:
        reasons = [refused[name] for name in claim.experiments if name in refused]
        reasons += [f"There are no results of {name}: {command(name)}." for name in missing if name not in refused]
        verdict = replace(verdict, remedy=" ".join(reasons) or
                          f"Compute what is missing: {'; '.join(map(command, frames))}.")
    return replace(verdict, claim=claim)


def all_claims() -> dict[str, Claim]:
    """The claims of all experiments, in the order of their ids. Warns of those that cannot be used: a claim belongs to
    one study, under its id."""
    found, problems = _claims(experiments())
    _warn(problems)
    return found


def _claims(known: Mapping[str, Experiment]) -> tuple[dict[str, Claim], list[str]]:
    """The claims of experiments, and what is wrong with those that are none."""
    stated, problems = {}, []
    for name, experiment in known.items():
        for key, claim in experiment.claims.items():
            if key != claim.id:
                problems.append(f"{name} states {claim.id} as {key!r}: give it the key {claim.id!r} in its CLAIMS")
            else:
                stated.setdefault(key, {})[name] = claim
    for key, by in list(stated.items()):
        if len(by) > 1 and any(claim is not next(iter(by.values())) for claim in by.values()):
            problems.append(f"{' and '.join(by)} both state {key}, so it has no verdict: a claim belongs to one study; "
                            "take it out of the other one's CLAIMS")
            del stated[key]
    return {key: next(iter(by.values())) for key, by in sorted(stated.items())}, problems


def weighed() -> tuple[dict[str, Verdict], list[str]]:
    """``{id: verdict}`` of all claims, by the stored results; and what is wrong with studies, claims and results.

    Whatever is wrong with one study leaves the claims that do not need it as they are.
    """
    known, broken = loaded()
    stated, problems = _claims(known)
    frames, refused, more = _stored({name for claim in stated.values() for name in claim.experiments}, known, broken)
    found, problems = {}, [*map(str, broken), *problems, *more]
    for key, claim in stated.items():
        try:
            found[key] = judge(claim, frames, refused)
        except Exception as error:  # in the study's own rule
            study = next(name[:3] for name, experiment in known.items() if experiment.claims.get(key) is claim)
            problems.append(f"{key} of {study} cannot be judged: {slip(error, STUDIES / study)}")
            found[key] = Verdict(UNDECIDED, (), 0, "none", f"{problems[-1]}.", claim)
    return found, problems


def verdicts() -> dict[str, Verdict]:
    """``{id: verdict}`` of all claims, by the stored results. Warns of what is wrong (``weighed``)."""
    found, problems = weighed()
    _warn(problems)
    return found


def verdict(claim_id: str) -> Verdict:
    """One verdict. Raises KeyError for an unknown id, and whatever the claim's own rule raises."""
    known, broken = loaded()
    stated, problems = _claims(known)
    if claim_id not in stated:
        wrong = "".join(f"; {problem}" for problem in [*map(str, broken), *problems])
        raise KeyError(f"no claim {claim_id!r}; the experiments decide {', '.join(stated)}{wrong}")
    frames, refused, more = _stored(stated[claim_id].experiments, known, broken)
    _warn(more)
    return judge(stated[claim_id], frames, refused)


def report(found: Mapping[str, Verdict]) -> str:
    """Verdicts as text, a summary first."""
    summary = [textwrap.fill(f"{key}  {v.outcome:<26} {v.claim.text}", 110, subsequent_indent=" " * 32)
               for key, v in found.items()]
    return "\n".join([*summary, "", *map(str, found.values())])


def _stored(names: Collection[str], known: Mapping[str, Experiment], broken: Iterable[StudyError]
            ) -> tuple[dict[str, pandas.DataFrame], dict[str, str], list[str]]:
    """The results of experiments that have any; why those of others cannot be used; every file that is refused."""
    frames, problems = {}, []
    refused = {name: f"The results of {name} cannot be read: {problem}." for name in names for problem in broken
               if problem.study == name[:3]}
    for name in sorted(set(names) & set(known)):
        records, wrong = results.load(known[name].spec)
        if records:
            frames[name] = results.rows(known[name].spec, records)
        if wrong:
            refused[name] = f"Results of {name} are there, but refused, {results.refused(wrong)}."
            problems += map(str, wrong)
    return frames, refused, problems


def _warn(problems: Iterable[str]) -> None:
    for problem in problems:
        warnings.warn(problem, stacklevel=3)


def _number(x: float) -> str:
    return "-" if math.isnan(x) else f"{x:.3g}"
