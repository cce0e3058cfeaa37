"""What an experiment is before it runs: variants, budgets, seeds, settings and metrics, all fixed.

A specification is data. Its fingerprint of a variant goes into every record, so that a record that was made under other
settings is recognised and refused.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..descriptions import describe, plain_name

TOGETHER = 6  # further sets of data in one task


class Task(NamedTuple):
    """What one call of an experiment's ``run`` computes, and one file of records holds."""

    variant: str
    budget: int
    seeds: tuple[int, ...]


class Replication(NamedTuple):
    """What is repeated on further sets of data, each with one seed of its own.

    Attributes:
        budgets: ``{name of a variant: numbers of updates}``: those that decide a claim, and the baselines of those.
        num_sets: how many, beside the one that the study's seeds share.
    """

    budgets: Mapping[str, tuple[int, ...]]
    num_sets: int = 12


@dataclass(frozen=True)
class Specification:
    """One experiment.

    Attributes:
        id: ``e04``; ``results/e04`` holds its records. One of several of a folder adds a name: ``e04_tuning``.
        title, chapter: for people.
        variants: ``{name: description}``; a description is whatever ``run`` builds the variant from (a ``Setup``, a
            number, ...), told apart by ``describe``.
        budgets: ``{name of a variant: numbers of updates}``; 0 for a baseline without training.
        seeds: those of the study, which share one set of data; a verdict needs six.
        replication: what is repeated on further sets of data: the seed after the study's last one sees the set 1 of
            the problem (``problems.data_sets``), the next one the set 2, ... Without it all seeds are alike.
        baselines: names of those variants that draw nothing, as a solver without a network. They are computed once, for
            the first seed, with the budget 0; ``run`` returns one entry per metric for them.
        metrics: ``{name: what it is, with its unit}``. Every record holds all of them, one value (or array) per seed.
        settings: everything else that the results depend on.
        checks: tasks that ``check`` repeats: cheap, and run with the study like all others.
        checked: metrics that ``check`` compares.
        tolerance: largest relative difference that ``check`` allows: rounding differs from one processor to another.
            A constant of a solver that is 1 % off must differ by thirty times as much (``checking.MARGIN``).
    """

    id: str
    title: str
    chapter: str
    variants: Mapping[str, Any]
    budgets: Mapping[str, tuple[int, ...]]
    seeds: tuple[int, ...]
    metrics: Mapping[str, str]
    settings: Mapping[str, Any]
    checks: tuple[Task, ...] = ()
    checked: tuple[str, ...] = ()
    tolerance: float = 1e-4
    baselines: frozenset[str] = field(default_factory=frozenset)
    replication: Replication | None = None

    def __post_init__(self):
        if set(self.budgets) != set(self.variants):
            raise ValueError(f"{self.id}: budgets are stated for {sorted(set(self.budgets) ^ set(self.variants))}, "
                             "which are not in both tables; give one entry per variant")
        numbers = {"seeds": self.seeds} | {f"budgets of {name!r}": given for name, given in self.budgets.items()}
        for what, given in numbers.items():
            if not isinstance(given, tuple) or not given or not all(isinstance(number, int) for number in given):
                raise ValueError(f"{self.id}: the {what} are {given!r}; give a tuple of whole numbers, such as (0, 1)")
        for name, budgets in self.replication.budgets.items() if self.replication else ():
            if unknown := set(budgets) - set(self.budgets.get(name, ())):
                raise ValueError(f"{self.id}: its replication repeats {name!r} at {', '.join(map(str, unknown))} "
                                 "updates; give variants and budgets of the study itself")
        for place, names, what, known in (("checks", [task.variant for task in self.checks], "variant", self.variants),
                                          ("baselines", self.baselines, "variant", self.variants),
                                          ("checked", self.checked, "metric", self.metrics)):
            if unknown := sorted(set(names) - set(known)):
                raise ValueError(f"{self.id}: its {place} name {', '.join(map(repr, unknown))}, which is no {what} of "
                                 f"it; it has {', '.join(known)}")
        files = [plain_name(name).lower() for name in self.variants]
        alike = [name for name, file in zip(self.variants, files) if files.count(file) > 1]
        if alike:
            raise ValueError(f"{self.id}: {', '.join(map(repr, alike))} have the same name as files; rename one")

    def tasks(self, num_seeds: int | None = None, budget: int | None = None) -> list[Task]:
        """The whole study, its checks included, cheapest budgets first.

        Args:
            num_seeds: another number of seeds, counted from the study's first, and no replication.
            budget: only this one, the baselines and the checks.
        Raises: ValueError for fewer than one seed, or a budget that no variant has.
        """
        if num_seeds is not None and num_seeds < 1:
            raise ValueError(f"{self.id}: {num_seeds} seeds were asked for; a number of at least 1 is needed")
        known = sorted({b for budgets in self.budgets.values() for b in budgets})
        if budget is not None and budget not in known:
            raise ValueError(f"{self.id} has no budget of {budget} updates; it has {', '.join(map(str, known))}")
        seeds = self.seeds if num_seeds is None else tuple(range(self.seeds[0], self.seeds[0] + num_seeds))
        tasks = [Task(name, b, seeds[:1] if name in self.baselines else seeds)
                 for name, budgets in self.budgets.items() for b in budgets
                 if budget is None or b in (0, budget)]
        if num_seeds is None and self.replication:
            further = tuple(seeds[-1] + number for number in range(1, self.replication.num_sets + 1))
            tasks += [Task(name, b, further[start:start + TOGETHER])
                      for name, budgets in self.replication.budgets.items() for b in budgets
                      if budget is None or b in (0, budget) for start in range(0, len(further), TOGETHER)]
        return sorted(dict.fromkeys([*self.checks, *tasks]), key=lambda task: task.budget)

    def data_set(self, seed: int) -> int:
        """The number of the set of data that a seed sees."""
        return max(0, seed - self.seeds[-1]) if self.replication else 0

    def fingerprint(self, variant: str) -> str:
        """A hash of all that a record of this variant depends on: the settings, the variant, the metrics' names."""
        if variant not in self.variants:
            raise ValueError(f"{self.id} has no variant {variant!r}; it has {', '.join(self.variants)}")
        content = {"id": self.id, "settings": describe(self.settings), "variant": variant,
                   "description": describe(self.variants[variant]), "metrics": sorted(self.metrics)}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Experiment:
    """A study: what it is, and how one of its tasks is computed. The package of its folder names it in ``EXPERIMENTS``.

    Attributes:
        spec: variants, budgets, seeds, metrics, settings: fixed before it runs.
        run: ``run(variant, seeds, budget)``: ``{metric: one value or array per seed}``, a function of one of the
            folder's modules.
        cost: ``cost(variant, budget)`` in any unit, to estimate the time that is left; default: the number of updates.
        claims: ``{id: claims.Claim}``, those that this study decides, alone or with others that they name.
        without_time_step: that no time step of a solver enters what is checked, but an identity, a number of bytes or a
            measurement matrix. Of all others a test sees that ``check`` notices a step that is 1 % too long.
    """

    spec: Specification
    run: Callable[[str, Sequence[int], int], Mapping[str, Any]]
    cost: Callable[[str, int], float] | None = None
    claims: Mapping[str, Any] = field(default_factory=dict)
    without_time_step: bool = False

    @property
    def home(self) -> str:
        """The package that names it in ``EXPERIMENTS``: where another process finds it, with the code that it has."""
        return self.run.__module__.rpartition(".")[0] or self.run.__module__
