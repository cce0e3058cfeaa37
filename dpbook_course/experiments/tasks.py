"""Which experiments there are, which of their tasks are missing, and one task computed, here and now."""

import difflib
import importlib
import re
import time
from pathlib import Path
from typing import NamedTuple

import pandas

from . import results
from .spec import Experiment, Specification, Task

STUDIES = Path(__file__).parents[1] / "studies"


def experiments(folder: str = "e[0-9][0-9]") -> dict[str, Experiment]:
    """``{id: experiment}`` of all folders of studies, in order: what their packages name in ``EXPERIMENTS``."""
    names = sorted(path.parent.name for path in STUDIES.glob(f"{folder}/__init__.py"))
    found = [experiment for name in names
             for experiment in importlib.import_module(f"dpbook_course.studies.{name}").EXPERIMENTS]
    return dict(sorted((experiment.spec.id, experiment) for experiment in found))


def find(experiment: str) -> Experiment:
    """The experiment of an id, in capitals or not. Raises LookupError for an unknown one: lists the ids."""
    name = experiment.strip().lower()
    found = experiments(name[:3]) if re.match(r"e\d\d", name) else {}
    if name not in found:
        ids = list(experiments())
        near = difflib.get_close_matches(name, ids, n=3)
        meant = f"did you mean {' or '.join(near)}? All: " if near else "there are "
        raise LookupError(f"no experiment {experiment!r}; {meant}{', '.join(ids)}")
    return found[name]


def measured(experiment: str) -> pandas.DataFrame:
    """What is stored of an experiment: one row per variant, budget and seed, one column per metric.

    Raises: LookupError for an unknown id, ResultError if nothing is stored.
    """
    return results.frame(find(experiment).spec)


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
    """One task, in this process. Raises ValueError if the metrics are not those of the experiment."""
    import torch

    spec, threads = experiment.spec, torch.get_num_threads()
    torch.set_num_threads(1)  # one task per core; and how many threads share a sum changes its rounding
    try:
        start = time.perf_counter()
        found = experiment.run(variant, tuple(seeds), budget)
        metrics = {name: torch.as_tensor(values).detach().cpu().numpy() for name, values in found.items()}
        provenance = results.provenance(time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    if wrong := results.wrong_metrics(metrics, len(seeds), spec):
        alone = len(seeds) > 1 and all(values.shape[:1] == (1,) for values in metrics.values())
        remedy = (f". If {variant!r} draws nothing, so that one entry stands for all seeds, name it in the "
                  "specification: baselines=frozenset({" + repr(variant) + "})") * alone
        raise ValueError(f"{spec.id}: run({variant!r}, {tuple(seeds)}, {budget}): {wrong}{remedy}")
    return results.Record(spec.id, variant, budget, tuple(seeds), spec.fingerprint(variant), metrics, provenance)
