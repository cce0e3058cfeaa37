"""The runner, on real clusters: nothing computed twice, whatever is killed; and its commands."""

import errno
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest
import tiny_experiment as tiny

from dpbook_course.experiments import __main__, cluster, provenance, results, runner
from dpbook_course.experiments.estimate import LEAP, Estimate, in_words
from dpbook_course.experiments.spec import Task

PATIENCE = 120.0  # what a busy machine may need for something that takes a second [s]

SPEC, TINY = tiny.SPEC, tiny.EXPERIMENTS[0]


class Study:
    """A folder in which the tiny experiment runs, and what happened there."""

    def __init__(self, folder: Path):
        self.folder, self.root, self.gate = folder, folder / "results", folder / "gate"

    def log(self, word: str) -> list[list[str]]:
        """[process, task] of every line that starts with ``start`` or ``end``."""
        path = self.folder / "log"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [line.split(" ", 2)[1:] for line in lines if line.startswith(f"{word} ")]

    def ended(self) -> Counter:
        return Counter(task for _, task in self.log("end"))

    def stored(self) -> set[str]:
        return {path.name for path in (self.root / "tiny").glob("*.json")}

    def numbers(self) -> dict:
        """Everything that must not depend on how often a run was interrupted."""
        records, problems = results.load(SPEC, self.root)
        assert not problems
        return {record.task: {name: record.metrics[name].tolist() for name in ("error", "curve")} for record in records}


def until(condition) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "nothing happened for too long"
        time.sleep(0.02)


def alive(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """(folder that the workers see, address): two processes behind a scheduler's address, as on a cluster."""
    from distributed import LocalCluster

    folder = tmp_path_factory.mktemp("shared")
    os.environ["TINY"] = str(folder)
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as workers:
        yield folder, workers.scheduler_address
    del os.environ["TINY"]


@pytest.fixture
def study(shared):
    """The workers' folder, emptied; the gate is open."""
    folder, _ = shared
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    found = Study(folder)
    found.gate.touch()
    return found


@pytest.fixture
def run(shared, study):
    def run(experiment=TINY, **options):
        return runner.run(experiment, scheduler=shared[1], root=study.root, **options)

    return run


@pytest.fixture(scope="module")
def expected() -> dict:
    """What an undisturbed run must give, from the experiment itself."""
    metrics = {task: tiny_numbers(task) for task in SPEC.tasks()}
    assert len(metrics) == 7
    return metrics


def tiny_numbers(task: Task) -> dict:
    error = [0.5 + SPEC.variants[task.variant] * seed / (1 + task.budget) for seed in task.seeds]
    return {"error": [float(f"{np.float32(x):.6g}") for x in error],
            "curve": [[seed + 1.0, 2.0 * (seed + 1), float("inf")] for seed in task.seeds]}


def test_an_undisturbed_run_and_more_seeds_later(study, run, expected):
    assert run() == []
    assert study.numbers() == expected and set(study.ended().values()) == {1} and len(study.ended()) == 7
    assert run() == [] and sum(study.ended().values()) == 7, "nothing is missing, nothing is computed"
    assert run(num_seeds=5, budget=10) == []
    more = study.ended() - Counter(dict.fromkeys(map(name, expected), 1))
    assert set(more) == {f"{variant}-10-(3, 4)" for variant in ("a", "b, wide", "waits")}
    frame = results.frame(SPEC, study.root)
    assert sorted(frame[(frame.variant == "a") & (frame.budget == 10)].seed) == [0, 1, 2, 3, 4]
    assert runner.status(SPEC, study.root)[:3] == (7, 7, 3)
    assert runner.check(TINY, study.root) == []


def name(task: Task) -> str:
    return f"{task.variant}-{task.budget}-{task.seeds}"


def test_a_killed_worker_changes_nothing(study, run, expected):
    study.gate.unlink()

    def kill():
        until(lambda: any("waits" in task for _, task in study.log("start")) and len(study.stored()) == 6)
        os.kill(int(next(process for process, task in study.log("start") if "waits" in task)), signal.SIGKILL)
        study.gate.touch()

    killer = threading.Thread(target=kill)
    killer.start()
    assert run() == []
    killer.join()
    assert study.numbers() == expected
    assert study.ended() == Counter(map(name, expected)), "every record is computed once"
    assert Counter(task for _, task in study.log("start"))["waits-10-(0, 1, 2)"] == 2, "the worker died in this one"


def test_an_interrupted_and_a_killed_run_go_on_where_they_were(study, run, expected):
    """By Ctrl-C, which every process of a terminal receives; then by SIGKILL, which leaves nobody to tidy up."""
    study.gate.unlink()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}

    def command(num_stored: int, which: int) -> tuple[int, str]:
        num_started = len(study.log("start"))
        with subprocess.Popen(
                [sys.executable, tiny.__file__, "run", "tiny"], env=environment, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True, start_new_session=True) as process:
            until(lambda: process.poll() is not None or len(study.stored()) == num_stored and any(
                "waits" in task for _, task in study.log("start")[num_started:]))
            if which == signal.SIGINT:
                os.killpg(process.pid, which)
            else:
                process.send_signal(which)
            return process.wait(PATIENCE), process.stdout.read()

    status, output = command(6, signal.SIGINT)
    assert status == 130 and "6 of the study's 7 tasks are stored" in output and "Traceback" not in output
    assert len(results.load(SPEC, study.root)[0]) == 6
    (study.root / "tiny" / "b_wide-10-0.json").unlink()
    status, _ = command(6, signal.SIGKILL)
    assert status == -signal.SIGKILL
    until(lambda: not any(alive(process) for process, task in study.log("start") if "waits" in task))
    assert len(results.load(SPEC, study.root)[0]) == 6 and not list(study.root.rglob("*.tmp"))
    study.gate.touch()
    assert run() == []
    assert study.numbers() == expected
    assert study.ended() == Counter(map(name, expected)) + Counter(["b, wide-10-(0, 1, 2)"])  # it was deleted


def test_checks_are_sent_out_first_and_then_the_longest():
    check, short, long = SPEC.checks[0], Task("a", 10, (0, 1, 2)), Task("a", 20, (0, 1, 2))
    assert list(runner.in_order(SPEC, {short: 10.0, long: 20.0, check: 2.0})) == [check, long, short]


def test_a_failing_task_names_itself_and_the_others_go_on(study, run, capsys):
    (study.folder / "broken").write_text("b, wide")
    failures = sorted(run())  # in the order in which they ended
    assert len(failures) == 2 and len(study.stored()) == 5
    assert failures[1] == "tiny, b, wide, 20 updates, seeds 0, 1, 2 failed: ArithmeticError: b, wide is broken"
    assert "in run" in capsys.readouterr().err, "its own lines are shown"
    (study.folder / "broken").unlink()
    assert run() == [] and len(study.stored()) == 7


def test_a_file_in_the_way_is_not_overwritten(study, run, capsys):
    assert run(budget=10) == []
    broken, foreign = study.root / "tiny" / "a-10-0.json", study.root / "tiny" / "notes.json"
    broken.write_text(broken.read_text()[:200])
    foreign.write_text("{}")
    (failure,) = run(budget=10)
    assert "its file is in the way" in failure and str(broken) in failure and f"mv -n {broken} {broken}.old" in failure
    assert len(broken.read_text()) == 200 and foreign.read_text() == "{}"
    assert f"Not used: {foreign}" in capsys.readouterr().err
    broken.unlink()
    assert run(budget=10) == [] and study.ended()["a-10-(0, 1, 2)"] == 2


def test_other_code_on_the_workers_is_noticed(study, run, monkeypatch):
    failures = run(budget=0, experiment=replace(TINY, spec=replace(SPEC, settings={"offset": 0.6})))
    assert len(failures) == 2 and all("another version of this package" in failure for failure in failures)
    assert not study.stored()


@pytest.mark.parametrize("wrong, message", [
    ({"error": np.zeros(2)}, "curve is missing; seconds is missing"),
    ({"error": np.zeros(3), "curve": np.zeros((2, 3)), "seconds": np.zeros(2)}, r"error has shape \(3,\)"),
    ({"error": np.zeros(2), "curve": np.zeros((2, 3)), "seconds": np.zeros(2), "x": np.zeros(2)}, "x is none of")])
def test_metrics_that_do_not_fit_are_no_record(wrong, message):
    with pytest.raises(ValueError, match=message):
        runner.compute(replace(TINY, run=lambda *_: wrong), "a", 10, (0, 1))


def test_a_baseline_that_was_given_all_seeds_is_named():
    once = {"error": np.zeros(1), "curve": np.zeros((1, 3)), "seconds": np.zeros(1)}
    without = replace(TINY, spec=replace(SPEC, baselines=frozenset()), run=lambda *_: once)
    (task,) = [task for task in without.spec.tasks() if task.variant == "base"]
    assert task.seeds == SPEC.seeds
    with pytest.raises(ValueError, match=r"one entry, where .* 3 seeds. If 'base' draws nothing, .*: baselines="
                                         r"frozenset\({'base'}\)$"):
        runner.compute(without, task.variant, task.budget, task.seeds)
    (task,) = [task for task in SPEC.tasks() if task.variant == "base"]
    assert runner.compute(replace(TINY, run=lambda *_: once), "base", 0, task.seeds).seeds == (0,)


def test_missing_tasks_share_seeds_with_checks_of_the_same_budget():
    spec = replace(SPEC, checks=(Task("a", 10, (0, 1)),))
    tasks = [task for task in runner.missing(spec, []) if task[:2] == ("a", 10)]
    assert tasks == [Task("a", 10, (0, 1)), Task("a", 10, (2,))]


def test_estimate_recovers_overhead_and_rate():
    estimate = Estimate([(10, 3 + 0.1 * 10), (100, 3 + 0.1 * 100)])
    assert estimate.seconds([50, 200, 0]) == pytest.approx(3 * 3 + 0.1 * 250)
    assert estimate.seconds([]) == 0
    assert estimate.seconds([LEAP * 100 + 1]) is None, "too far from what was measured"
    assert Estimate().seconds([1]) is None
    assert in_words(None) == "no estimate yet" and in_words(0) == "longer than estimated"
    assert [in_words(x) for x in (30, 600, 36000)] == ["about 30 s left", "about 10 min left", "about 10.0 h left"]


def test_the_costliest_tasks_start_first_after_the_checks(study, run):
    costs = {"base": 5, "a": 1, "b, wide": 2, "waits": 99}
    assert run(replace(TINY, cost=lambda variant, budget: costs[variant] * (1 + budget))) == []
    started = [task for _, task in study.log("start")]
    assert set(started[:2]) == {"a-2-(0, 1)", "waits-10-(0, 1, 2)"} and started[-1].startswith(("base", "a-10"))


def test_the_list_shows_what_is_stored_and_what_is_wrong(study, run, monkeypatch, capsys):
    monkeypatch.setattr(results, "folder", lambda: study.root)
    monkeypatch.setattr(runner, "loaded", lambda: ({"tiny": TINY}, []))
    assert __main__.main(["list"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:3] == ["tiny", "0/7", "0"]
    assert run(num_seeds=2) == []
    (study.root / "tiny" / "a-10-0.json").write_text("")
    assert __main__.main(["list"]) == 1
    shown = capsys.readouterr()
    assert shown.out.splitlines()[1].split() == ["tiny", "2/7", "0", *SPEC.title.split()]
    assert "a-10-0.json is truncated" in shown.err and "1 problem." in shown.err


@pytest.mark.parametrize("arguments, message", [
    (["run", "e99"], "no experiment 'e99'; did you mean e09? All: e00, e0"),
    (["check", "unrolling"], "no experiment 'unrolling'"),
    (["run", "e04", "--seeds", "0"], "a number of at least 1 is needed"),
    (["run", "e04", "--seeds", "six"], "invalid int value"),
    (["run", "e04", "--budget", "7"], "e04 has no budget of 7 updates; it has 0, "),
    (["run", "e4"], "did you mean e"), (["run", "e04-forced"], "did you mean e04_forced"),
    (["check", ""], "there are e0"),
    (["run"], "ID"), (["claim"], "no command 'claim'; did you mean claims?"), ([], "required"),
    (["outcome", "run"], "did you mean python -m dpbook_course.experiments.outcomes run | show?"),
    (["e04"],
     "no command 'e04'; there are list, run, check, claims, weights, and python -m dpbook_course.experiments.outcomes"),
    (["run", "e04", "--workers", "0"], "unrecognized arguments: --workers 0")])
def test_wrong_commands_are_explained(arguments, message, capsys):
    with pytest.raises(SystemExit) as end:
        __main__.main(arguments)
    assert end.value.code == 2 and message in capsys.readouterr().err


def test_an_id_may_be_in_capitals():
    assert runner.find("E04").spec.id == "e04" and runner.find(" E04_Forced ").spec.id == "e04_forced"


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC, errno.EACCES])
def test_results_that_cannot_be_written_are_noticed_before_anything_is_computed(study, run, monkeypatch, number):
    def fail(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=rf"{study.root / 'tiny'} cannot be written \({os.strerror(number)}\): "):
        run()
    assert not study.log("start") and not list(study.root.rglob("*.*"))


def test_a_scheduler_is_not_blamed_for_the_disk(monkeypatch, tmp_path):
    (tmp_path / "results").touch()
    monkeypatch.setattr(results, "folder", lambda: tmp_path / "results")
    monkeypatch.setattr(runner, "find", lambda _: TINY)
    with pytest.raises(OSError, match="results/tiny cannot be written .Not a directory.: a part of the path is a file"):
        __main__.main(["run", "tiny", "--scheduler", "tcp://127.0.0.1:9"])


def filling(monkeypatch, fails):
    """``results.save`` fails as on a full disk while ``fails(calls so far, root)``."""
    save, calls = results.save, []

    def full(record, root=None):
        calls.append(record.task)
        if fails(len(calls), root):
            raise OSError(errno.ENOSPC, "the disk is full")
        return save(record, root)

    monkeypatch.setattr(results, "save", full)


def test_a_disk_that_is_full_for_a_while_costs_no_record(study, run, monkeypatch, capsys, expected):
    filling(monkeypatch, lambda calls, _: 2 <= calls <= 4)
    assert run() == []
    assert study.numbers() == expected and set(study.ended().values()) == {1}
    assert "is computed, but the disk is full. It is tried again." in capsys.readouterr().err


def test_records_are_kept_elsewhere_if_the_disk_stays_full(study, run, monkeypatch, tmp_path, expected):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    filling(monkeypatch, lambda calls, root: calls > 3 and root == study.root)
    failures = run()
    assert len(failures) == 4 and len(study.stored()) == 3 and sum(study.ended().values()) == 7
    for failure in failures:
        assert "was computed, but the disk is full; its record is kept" in failure
        subprocess.run(failure.partition("To store it: ")[2], shell=True, check=True)
    monkeypatch.undo()
    assert study.numbers() == expected


def test_a_record_that_can_be_kept_nowhere_is_said_to_be_lost(study, run, monkeypatch):
    filling(monkeypatch, lambda calls, _: True)
    failures = run(budget=10)
    assert failures and all("it is lost, for the disk is full" in failure for failure in failures)


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(cluster, "PATIENCE", 0.5)
    monkeypatch.setattr(results, "folder", lambda: tmp_path)
    monkeypatch.setattr(runner, "find", lambda _: TINY)
    assert __main__.main(["run", "tiny", "--scheduler", "tcp://127.0.0.1:9"]) == 1
    assert "scheduler at tcp://127.0.0.1:9 cannot be reached" in capsys.readouterr().err


def test_what_is_missing_of_the_libraries_shows_before_anything_is_computed(monkeypatch):
    """An environment that is being set up anew, for example: hours of computing would be lost at their end."""
    def gone(name):
        raise PackageNotFoundError(name)

    ran = []
    monkeypatch.setattr(provenance, "version", gone)
    with pytest.raises(PackageNotFoundError):
        runner.compute(replace(TINY, run=lambda *task: ran.append(task)), "a", 2, (0,))
    assert ran == []
