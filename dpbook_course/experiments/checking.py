"""Whether the code still gives the results that are stored."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from . import results
from .spec import Experiment, Specification, Task
from .tasks import compute, title

MARGIN = 30  # a constant of a solver that is 1 % off differs by at least this many tolerances
SMALLEST = 1e-12  # differences are relative to the stored value, but not to less than this


def check(experiment: Experiment, root: Path | None = None) -> list[str]:
    """Repeat an experiment's cheap tasks, here and now, and compare with what is stored.

    Returns: one text per task that differs by more than the specification's tolerance, or that is not stored; it says
        what differs, by how much and what to do. Empty if all is well.
    """
    spec = experiment.spec
    records, problems = results.load(spec, root)
    stored = {(*record.task[:2], seed): {name: values[i] for name, values in record.metrics.items()}
              for record in records for i, seed in enumerate(record.seeds)}
    again = f"python -m dpbook_course.experiments run {spec.id}"
    found = [] if spec.checks and spec.checked else [f"{spec.id} has no checks: state some in its specification"]
    for task in spec.checks:
        if any((*task[:2], seed) not in stored for seed in task.seeds):
            refused = {problem.path.name: str(problem) for problem in problems}
            reason = refused.get(results.file_name(task), f"it is not stored. Compute it: {again}")
            found.append(f"{title(spec, task)} cannot be checked: {reason}")
        elif lines := _compare(spec, task, compute(experiment, *task).metrics, stored):
            folder = results.study_folder(spec.id, root)
            found.append("\n".join([f"{title(spec, task)}: the code no longer gives what is stored.", *lines,
                                    f"Mend the code, or, if the change is meant: {results.aside(folder)} && {again}"]))
    return found


def _compare(spec: Specification, task: Task, metrics: Mapping, stored: Mapping) -> list[str]:
    lines = []
    for name in spec.checked:
        for seed, now in zip(task.seeds, metrics[name]):
            then = stored[(*task[:2], seed)][name]
            difference = relative_difference(now, then)
            if difference > spec.tolerance:
                lines.append(f"  {name}, seed {seed}: {_short(now)}, stored {_short(then)}: "
                             f"relative difference {difference:.2g}, allowed {spec.tolerance:g}")
    return lines


def relative_difference(now: np.ndarray, then: np.ndarray) -> float:
    """The largest one; infinities equal themselves, and so do missing values."""
    now, then = np.asarray(now, float), np.asarray(then, float)
    if now.shape != then.shape:
        return float("inf")
    same = (now == then) | (np.isnan(now) & np.isnan(then))
    with np.errstate(invalid="ignore"):
        relative = np.abs(now - then) / np.maximum(np.abs(then), SMALLEST)
    return float(np.where(same, 0.0, np.nan_to_num(relative, nan=np.inf, posinf=np.inf)).max(initial=0.0))


def _short(values: np.ndarray) -> str:
    values = np.asarray(values)
    return f"{values:.6g}" if values.ndim == 0 else np.array2string(values, precision=4, threshold=6, edgeitems=2)
