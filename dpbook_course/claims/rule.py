"""The rule that joins comparisons to the outcome of a claim: on what was measured, and on what is made up to test it.

A comparison has three states: it holds (as claimed), is refuted (the other way, or no difference) or is open. Several
that must all hold are refuted by one; several of which one is enough are refuted if all of them are. Where all must
hold, chance does not gain by their number; where one is enough it does, so that this one must hold after a correction
(``effects.corrected``) for all comparisons that decide the claim.
"""

import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from . import effects as statistics
from .claims import CONTRADICTED, OUTCOMES, SUPPORTED, UNDER_CONDITIONS, Effect
from .effects import AS_CLAIMED, LEVEL, NO_DIFFERENCE, OTHER_WAY, READINGS, UNDECIDED

SIZES = (8, 10, 12, 16, 20, 24, 32, 48, 64, 96, 128)  # numbers of seeds that ``Rule.would_decide`` tries

IF_TRUE = "If the measured means and spreads are the true ones,"


class Finding(NamedTuple):
    """One comparison and the number of seeds that it has; 0 if its results are missing."""

    effect: Effect
    num_seeds: int


class Group(NamedTuple):
    """Several comparisons as one.

    Attributes:
        together: whether all of them must hold, or one is enough.
    """

    members: tuple["Finding | Group", ...]
    together: bool

    def leaves(self, together: bool = False) -> Iterator[Finding]:
        """The single comparisons; ``together``: those alone that must all hold."""
        for member in self.members if self.together or not together else ():
            if isinstance(member, Group):
                yield from member.leaves(together)
            else:
                yield member


class Rule(NamedTuple):
    """What a claim requires, and of what one thing is enough for "under conditions"."""

    required: Group
    enough: Group

    @property
    def comparisons(self) -> list[Finding]:
        """All that decide, each once."""
        found: dict[str, Finding] = {}
        for part in self:
            for finding in part.leaves():
                found.setdefault(finding.effect.name, finding)
        return list(found.values())

    def corrected(self, p: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Holm's correction for all comparisons that decide; facts, whose p is NaN, are certain and no part of it."""
        tested = [name for name, value in p.items() if not np.isnan(value).any()]
        found = statistics.corrected(np.stack([p[name] for name in tested], -1)) if tested else np.zeros(0)
        return {name: found[..., tested.index(name)] if name in tested else np.nan for name in p}

    def outcome(self, readings: Mapping[str, "str | np.ndarray"], p: Mapping[str, np.ndarray]) -> np.ndarray:
        """The number of the outcome in OUTCOMES.

        Args:
            readings: of all comparisons, or arrays of their numbers in READINGS.
            p: corrected.
        """
        codes = {name: [*READINGS, ""].index(reading) if isinstance(reading, str) else reading
                 for name, reading in readings.items()}

        def holds(part: Finding | Group, picked: bool = False) -> np.ndarray:
            if isinstance(part, Group):
                return _join([holds(each, picked or not part.together) for each in part.members], part.together)
            claimed = np.equal(codes[part.effect.name], READINGS.index(AS_CLAIMED))
            return claimed & ~np.greater_equal(p[part.effect.name], 1 - LEVEL) if picked else claimed

        def refuted(part: Finding | Group) -> np.ndarray:
            if isinstance(part, Group):
                return _join(map(refuted, part.members), not part.together)
            return np.isin(codes[part.effect.name], [READINGS.index(word) for word in (OTHER_WAY, NO_DIFFERENCE)])

        cases = {SUPPORTED: holds(self.required), UNDER_CONDITIONS: holds(self.enough),
                 CONTRADICTED: refuted(self.required) & refuted(self.enough)}
        return np.select(list(cases.values()), list(map(OUTCOMES.index, cases)), OUTCOMES.index(UNDECIDED))

    def would_decide(self) -> str:
        """How many seeds would decide what is undecided, and how, if what was measured is the truth."""
        findings = self.comparisons
        for num_seeds in SIZES:
            if num_seeds <= min(f.num_seeds for f in findings):
                continue
            readings, p = {}, {}
            for effect, seeds in findings:
                readings[effect.name], p[effect.name] = effect.reading, effect.p
                if effect.question is not None and seeds < num_seeds:
                    readings[effect.name], p[effect.name] = statistics.expected(
                        effect.numbers, effect.question, num_seeds)
            outcome = OUTCOMES[int(self.outcome(readings, self.corrected(p)))]
            if outcome != UNDECIDED:
                return f"{IF_TRUE} about {num_seeds} seeds would decide it: {outcome}."
        return f"{IF_TRUE} not even {SIZES[-1]} seeds would decide it."


def _join(states: Iterable[np.ndarray], together: bool) -> np.ndarray:
    return functools.reduce(np.logical_and if together else np.logical_or, states, np.bool_(together))
