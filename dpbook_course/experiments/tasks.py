"""Which experiments there are, which of their tasks are missing, and one task computed, here and now."""

import difflib
import importlib
import itertools
import re
import traceback
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas

from dpbook_utils import arguments

from . import results
from .spec import Experiment, Specification, Task

STUDIES = Path(__file__).parents[1] / "studies"


class StudyError(RuntimeError):
    """A study that cannot be used. The message names it, the file and the line, and says what is wrong there."""

    def __init__(self, study: str, reason: str):
        super().__init__(f"the study {study} cannot be used: {reason}")
        self.study = study


def loaded(folder: str = "e[0-9][0-9]") -> tuple[dict[str, Experiment], list[StudyError]]:
    """``{id: experiment}`` of all folders of studies, in order: what their packages name in ``EXPERIMENTS``; and what
    is wrong with the studies that cannot be used, which leave the others as they are."""
    found, problems = {}, []
    for name in sorted(path.parent.name for path in STUDIES.glob(f"{folder}/__init__.py")):
        try:
            found |= _study(name)
        except StudyError as problem:
            problems.append(problem)
    return dict(sorted(found.items())), problems


def experiments() -> dict[str, Experiment]:
    """``{id: experiment}`` of all studies. Warns of those that cannot be used."""
    found, problems = loaded()
    for problem in problems:
        warnings.warn(str(problem), stacklevel=2)
    return found


def _study(name: str) -> dict[str, Experiment]:
    """The experiments of one folder. Raises StudyError if they cannot be used."""
    home = STUDIES / name
    try:
        named = getattr(importlib.import_module(f"dpbook_course.studies.{name}"), "EXPERIMENTS", None)
        if not isinstance(named, tuple) or not all(isinstance(one, Experiment) for one in named):
            raise TypeError(f"EXPERIMENTS is {str(named)[:60]}, where a tuple of Experiment(...) is expected; with one "
                            "of them too it ends with a comma")
        ids = [experiment.spec.id for experiment in named]
        for key in ids:
            if key != name and not key.startswith(f"{name}_") or ids.count(key) > 1:
                raise ValueError(f"EXPERIMENTS has the ids {', '.join(ids)}; each must be {name!r} or begin with "
                                 f"'{name}_', and be there once")
        for experiment in named:
            for variant in experiment.spec.variants:
                experiment.spec.fingerprint(variant)  # settings that have no description show here
    except Exception as error:
        raise StudyError(name, slip(error, home)) from error
    return dict(zip(ids, named))


def slip(error: Exception, home: Path) -> str:
    """Where in the code of a study an error comes from, and what it is, in a line.

    The place is the innermost one that is in the study's folder, or in the top level of a module that it imports.
    """
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).is_relative_to(home)
              or frame.name == "<module>" and Path(frame.filename).is_relative_to(STUDIES.parent)]
    file, line, text = (frames[-1].filename, frames[-1].lineno, frames[-1].line) if frames else (
        str(home / "__init__.py"), None, None)
    said = " ".join(str(error).split())
    if isinstance(error, SyntaxError):
        file, line, text, said = error.filename or file, error.lineno, error.text, error.msg
    path = Path(file)
    shown = path.relative_to(STUDIES.parents[1]) if path.is_relative_to(STUDIES.parents[1]) else path
    place = f"{shown}, line {line}" if line else str(shown)
    code = " ".join((text or "").split())
    return f"{place}: {type(error).__name__}: {said}" + f", in `{code[:100]}`" * bool(code)


def find(experiment: str) -> Experiment:
    """The experiment of an id, in capitals or not.

    Raises: LookupError for an unknown one: lists the ids; StudyError if its study cannot be used.
    """
    name = arguments.text("find", "experiment", experiment, "the id of an experiment, such as 'e04'").strip().lower()
    found, problems = loaded(name[:3]) if re.match(r"e\d\d", name) else ({}, [])
    for problem in problems:
        raise problem
    if name not in found:
        ids = list(loaded()[0])
        near = difflib.get_close_matches(name, ids, n=3)
        meant = f"did you mean {' or '.join(near)}? All: " if near else "there are "
        raise LookupError(f"no experiment {experiment!r}; {meant}{', '.join(ids)}")
    return found[name]


def measured(experiment: str) -> pandas.DataFrame:
    """What is stored of an experiment: one row per variant, budget and seed, one column per metric.

    Raises: LookupError for an unknown id, StudyError for a study that cannot be used, ResultError if nothing is stored.
    """
    return results.frame(find(experiment).spec)


def complete(experiment: str) -> pandas.DataFrame | None:
    """What ``measured`` gives, of a study of which every row is stored at every budget; further data sets may follow.
    None of one that still lacks a row.

    Raises: LookupError for an unknown id, StudyError for a study that cannot be used.
    """
    spec = find(experiment).spec
    stored = stored_seeds(results.load(spec)[0])
    rows = ((variant, budget) for variant, budgets in spec.budgets.items() for budget in budgets)
    return results.frame(spec) if all(row in stored for row in rows) else None


class Status(NamedTuple):
    """What is stored of a study: finished tasks, all tasks, the fewest seeds of a finished one, refused files."""

    done: int
    total: int
    num_seeds: int
    problems: list[results.ResultError]


def status(spec: Specification, root: Path | None = None) -> Status:
    records, problems = results.load(spec, root)
    stored, tasks = stored_seeds(records), spec.tasks()
    done = [task for task in tasks if set(task.seeds) <= stored.get(task[:2], set())]
    counts = [len(stored[task[:2]]) for task in done if task.variant not in spec.baselines and task not in spec.checks]
    return Status(len(done), len(tasks), min(counts, default=0), problems)


def missing(spec: Specification, records: list[results.Record], num_seeds: int | None = None,
            budget: int | None = None) -> list[Task]:
    """The tasks whose seeds are not all stored, reduced to those that are not."""
    stored, found = stored_seeds(records), []
    for task in spec.tasks(num_seeds, budget):
        known = stored.setdefault(task[:2], set())
        seeds = tuple(seed for seed in task.seeds if seed not in known)
        if seeds:
            found.append(task._replace(seeds=seeds))
            known.update(seeds)  # a check and the study may share a budget
    return found


def stored_seeds(records: list[results.Record]) -> dict[tuple[str, int], set[int]]:
    """``{(variant, budget): seeds}``."""
    found: dict[tuple[str, int], set[int]] = {}
    for record in records:
        found.setdefault(record.task[:2], set()).update(record.seeds)
    return found


def cost(experiment: Experiment, task: Task) -> float:
    """What a task costs, in the experiment's own unit: its ``cost(variant, budget)``, else the number of updates."""
    return float(experiment.cost(task.variant, task.budget) if experiment.cost else task.budget)


def title(spec: Specification, task: Task) -> str:
    seeds = f"seed {task.seeds[0]}" if len(task.seeds) == 1 else f"seeds {', '.join(map(str, task.seeds))}"
    return f"{spec.id}, {task.variant}, {task.budget} updates, {seeds}"


def compute_there(home: str, id: str, *task) -> results.Record:
    """``compute`` in another process, with the experiment as that process has it."""
    (experiment,) = [known for known in importlib.import_module(home).EXPERIMENTS if known.spec.id == id]
    return compute(experiment, *task)


def compute(experiment: Experiment, variant: str, budget: int, seeds: tuple[int, ...]) -> results.Record:
    """One task, in this process; seeds with data of their own one after the other.

    Raises: ValueError if the metrics are not those of the experiment.
    """
    import torch

    from ..problems.data_sets import data_set

    spec, threads = experiment.spec, torch.get_num_threads()
    groups = {number: tuple(group) for number, group in itertools.groupby(seeds, spec.data_set)}
    torch.set_num_threads(1)  # one task per core; and how many threads share a sum changes its rounding
    try:
        provenance, parts = results.provenance(), []
        for number, group in groups.items():
            with data_set(number):
                found = experiment.run(variant, group, budget)
            parts.append({name: torch.as_tensor(values).detach().cpu().numpy() for name, values in found.items()})
            _fits(parts[-1], spec, variant, group, budget)
        about = provenance()
    finally:
        torch.set_num_threads(threads)
    metrics = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return results.Record(spec.id, variant, budget, tuple(seeds), spec.fingerprint(variant), metrics, about)


def _fits(metrics: dict, spec: Specification, variant: str, seeds: tuple[int, ...], budget: int) -> None:
    """Raises ValueError if what ``run`` returned is not what the specification says."""
    if wrong := results.wrong_metrics(metrics, len(seeds), spec):
        if len(seeds) > 1 and all(values.shape[:1] == (1,) for values in metrics.values()):
            wrong = (f"every metric has one entry, where there must be one for each of the {len(seeds)} seeds. If "
                     f"{variant!r} draws nothing, so that one stands for all, name it in the specification: "
                     f"baselines=frozenset({{{variant!r}}})")
        raise ValueError(f"{spec.id}: run({variant!r}, {seeds}, {budget}): {wrong}")
