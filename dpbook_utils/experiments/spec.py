"""What an experiment is before it runs: variants, budgets, seeds, settings and metrics, all fixed.

A specification is data. Its fingerprint of a variant goes into every record, so that a record that was made under other
settings is recognised and refused.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, NamedTuple


class Task(NamedTuple):
    """What one call of an experiment's ``run`` computes, and one file of records holds."""

    variant: str
    budget: int
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Specification:
    """One experiment.

    Attributes:
        id: ``e04``; the module's name starts with it, and ``results/e04`` holds its records.
        title, chapter: for people.
        variants: ``{name: description}``; a description is whatever ``run`` builds the variant from (a ``Setup``, a
            number, ...), told apart by ``describe``.
        budgets: ``{name of a variant: numbers of updates}``; 0 for a baseline without training.
        seeds: those of the study; a verdict needs six. Baselines that draw nothing use the first alone.
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

    def __post_init__(self):
        if set(self.budgets) != set(self.variants):
            raise ValueError(f"{self.id}: budgets are stated for {sorted(set(self.budgets) ^ set(self.variants))}, "
                             "which are not in both tables; give one entry per variant")
        unknown = {task.variant for task in self.checks} - set(self.variants) | set(self.checked) - set(self.metrics)
        if unknown or not self.baselines <= set(self.variants):
            raise ValueError(f"{self.id}: {', '.join(sorted(unknown | self.baselines - set(self.variants)))} "
                             "is no variant or metric of it")
        files = [plain_name(name).lower() for name in self.variants]
        alike = [name for name, file in zip(self.variants, files) if files.count(file) > 1]
        if alike:
            raise ValueError(f"{self.id}: {', '.join(map(repr, alike))} have the same name as files; rename one")

    def tasks(self, num_seeds: int | None = None, budget: int | None = None) -> list[Task]:
        """The whole study, its checks included, cheapest budgets first.

        Args:
            num_seeds: another number of seeds, counted from the study's first.
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
        return sorted(dict.fromkeys([*self.checks, *tasks]), key=lambda task: task.budget)

    def fingerprint(self, variant: str) -> str:
        """A hash of all that a record of this variant depends on: the settings, the variant, the metrics' names."""
        if variant not in self.variants:
            raise ValueError(f"{self.id} has no variant {variant!r}; it has {', '.join(self.variants)}")
        content = {"id": self.id, "settings": describe(self.settings), "variant": variant,
                   "description": describe(self.variants[variant]), "metrics": sorted(self.metrics)}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def plain_name(name: str) -> str:
    """The name as part of a file's name."""
    return re.sub(r"[^A-Za-z0-9.]+", "_", name)


def describe(value) -> Any:
    """The value as JSON: equal for equal descriptions, in every process."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return {str(key): describe(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [describe(v) for v in value]
    if is_dataclass(value):
        return {"type": type(value).__name__, **{f.name: describe(getattr(value, f.name)) for f in fields(value)}}
    if callable(value) and hasattr(value, "__qualname__"):
        return value.__qualname__
    if type(value).__repr__ is object.__repr__:
        raise TypeError(f"describe: a {type(value).__name__} has no description; give it a repr that states its "
                        "arguments, or use numbers, strings, dataclasses and named functions")
    return repr(value)
