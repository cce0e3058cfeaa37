"""Computes what is missing of an experiment, on the cores of this machine or of a cluster.

    python -m dpbook_course.experiments list | run ID | check ID | claims

The engine is ``dask.distributed``. A task is one variant at one budget with all of its seeds; its record is written by
this process when it is done. So a killed worker loses the task in flight, and a killed run no finished record.
"""

import contextlib
import shlex
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tqdm import tqdm

from dpbook_utils.files import writable_folder

from . import results
from .checking import check
from .estimate import Estimate, in_words
from .spec import Experiment, Specification, Task
from .tasks import StudyError, compute, compute_there, cost, experiments, find, loaded, missing, status, title

__all__ = ["StudyError", "check", "compute", "experiments", "find", "loaded", "missing", "run", "status"]


def run(experiment: Experiment, num_seeds: int | None = None, budget: int | None = None, scheduler: str | None = None,
        root: Path | None = None) -> list[str]:
    """Compute and store what is missing of an experiment.

    What is stored is not computed again. More seeds than before are tasks of their own: the seeds of a task train
    together and may share random numbers such as the noise.

    Args:
        num_seeds, budget: see ``Specification.tasks``.
        scheduler: address of a dask scheduler, whose workers must have this package; default: this machine's cores.
        root: folder of the results.
    Returns: what went wrong, one text per task that has no record; empty if nothing did.
    Raises: ValueError for a wrong number of seeds or budget, ConnectionError if the scheduler does not answer (any
        more), another OSError, before anything is computed, if the results cannot be written.
    """
    spec = experiment.spec
    records, problems = results.load(spec, root)
    refused = {problem.path.name: problem for problem in problems}
    todo, failures = {}, []
    for task in missing(spec, records, num_seeds, budget):
        if problem := refused.pop(results.file_name(task), None):
            failures.append(f"{title(spec, task)} was not computed, its file is in the way: {problem}")
        else:
            todo[task] = cost(experiment, task)
    for problem in refused.values():
        print(f"Not used: {problem}", file=sys.stderr)
    if todo:
        writable_folder(results.study_folder(spec.id, root))
        measured = [(cost(experiment, record.task), record.provenance["seconds"]) for record in records]
        from .cluster import connect  # dask takes its time to import, and the other commands do without

        with connect(scheduler) as client:
            failures += _compute(experiment, in_order(spec, todo), Estimate(measured), client, root)
    return failures


def in_order(spec: Specification, costs: dict[Task, float]) -> dict[Task, float]:
    """Checks first, they show mistakes early; then the longest, so that none of them is left alone at the end."""
    checks = {check[:2] for check in spec.checks}
    return dict(sorted(costs.items(), key=lambda item: (item[0][:2] not in checks, -item[1])))


def _compute(experiment: Experiment, costs: dict[Task, float], estimate: Estimate, client,
             root: Path | None) -> list[str]:
    """Compute tasks, the first one first, and store each as it is done; returns the failures."""
    from distributed import CancelledError, wait

    spec, failures, spent, start = experiment.spec, [], 0.0, None
    futures = {client.submit(compute_there, experiment.home, spec.id, *task, pure=False, priority=-place): task
               for place, task in enumerate(costs)}
    bar = tqdm(total=len(futures), desc=spec.id,
               bar_format="{desc}: {n_fmt}/{total_fmt} tasks |{bar:30}| {elapsed}{postfix}")
    with bar, _Store(spec, root, failures) as stored:
        while futures:
            with contextlib.suppress(TimeoutError, CancelledError):
                wait(list(futures), timeout=1.0, return_when="FIRST_COMPLETED")
            if client.status not in ("running", "connecting"):
                raise ConnectionError(f"it no longer answers, {len(futures)} tasks are not computed")
            for future in [future for future in futures if future.done()]:
                task = futures.pop(future)
                try:
                    record = future.result()
                    if record.fingerprint != spec.fingerprint(task.variant):
                        raise RuntimeError("the worker has another version of this package; install the same one there")
                    stored.save(record)
                except Exception as error:
                    failures.append(f"{title(spec, task)} failed: {type(error).__name__}: {error}")
                    bar.write("".join([*traceback.format_exception(error), failures[-1]]), file=sys.stderr)
                else:
                    seconds = record.provenance["seconds"]
                    start = start or time.monotonic() - seconds  # not before the workers have loaded their libraries
                    spent += seconds
                    estimate.add(costs[task], seconds)
                future.release()  # stored: not to be computed again if its worker dies
                bar.update()
            rest = estimate.seconds(costs[task] for task in futures.values())
            workers = max(1, min(sum(client.nthreads().values()), len(costs)))
            elapsed = time.monotonic() - start if start else 0.0
            left = None if rest is None else (spent + rest) / workers - elapsed
            bar.set_postfix_str(in_words(left) if futures else "", refresh=sys.stderr.isatty() or not futures)
    return failures


class _Store:
    """Writes records as they come. What cannot be written is held, tried again with every later record and at the end,
    and kept among the temporary files if that fails too: a disk that fills up costs no record that was computed."""

    def __init__(self, spec: Specification, root: Path | None, failures: list[str]):
        self.spec, self.root, self.failures, self.held = spec, root, failures, []

    def save(self, record: results.Record) -> None:
        self.held.append(record)
        try:
            self._write()
        except Exception:
            self.held.pop()  # the new one: no disk fails, it is no record
            raise
        if self.held and self.held[-1] is record:
            self._say(f"{title(self.spec, record.task)} is computed, but {self.problem.strerror}. It is tried again.")

    def _write(self) -> None:
        for record in list(self.held):
            try:
                results.save(record, self.root)
            except OSError as error:
                self.problem = error
                continue
            self.held = [other for other in self.held if other is not record]

    def _say(self, text: str) -> None:
        tqdm.write(text, file=sys.stderr)

    def __enter__(self) -> "_Store":
        return self

    def __exit__(self, *_) -> None:
        self._write()
        elsewhere = Path(tempfile.mkdtemp(prefix="dpbook-")) if self.held else None
        for record in self.held:
            try:
                kept = results.save(record, elsewhere)
            except OSError as error:
                end = f"it is lost, for {error.strerror}"
            else:
                there = results.study_folder(self.spec.id, self.root) / kept.name
                end = f"its record is kept. To store it: mv -n {shlex.quote(str(kept))} {shlex.quote(str(there))}"
            self.failures.append(f"{title(self.spec, record.task)} was computed, but {self.problem.strerror}; {end}")
            self._say(self.failures[-1])
