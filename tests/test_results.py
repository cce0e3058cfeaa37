"""Records on disk: what is written is read, and whatever else lies there is refused with a way out."""

import errno
import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dpbook_course.experiments import provenance, results
from dpbook_course.experiments.spec import Specification, Task

SPEC = Specification(
    id="e99", title="", chapter="03_unrolling", variants={"ONE, small": 1, "WIG-3": 2},
    budgets={"ONE, small": (10,), "WIG-3": (10, 20)}, seeds=(0, 1), metrics={"error": "", "curve": ""}, settings={})
PROVENANCE = {"code": "1", "versions": {}, "device": "a processor", "seconds": 1.5, "finished": "today"}


def record(variant="WIG-3", budget=10, seeds=(0, 1), **changes) -> results.Record:
    metrics = {"error": np.array([0.123456789, np.inf] + [1.0] * (len(seeds) - 2))[:len(seeds)],
               "curve": np.arange(3.0 * len(seeds)).reshape(-1, 3)}
    return replace(results.Record("e99", variant, budget, seeds, SPEC.fingerprint(variant), metrics, PROVENANCE),
                   **changes)


@pytest.fixture
def path(tmp_path) -> Path:
    """One stored record; a second one lies beside it."""
    results.save(record("ONE, small"), tmp_path)
    return results.save(record(), tmp_path)


def refused(path: Path) -> str:
    """The message about the one file; the other one is still there."""
    records, (problem,) = results.load(SPEC, path.parents[1])
    assert [r.variant for r in records] == ["ONE, small"] and problem.path == path
    assert str(path) in str(problem) and "It was left as it is" in str(problem)
    with pytest.warns(UserWarning, match="It was left as it is"):
        assert len(results.frame(SPEC, path.parents[1])) == 2
    return str(problem)


def test_what_was_saved_is_read(path):
    assert path.name == "WIG_3-10-0.json"
    found = results.read(path, SPEC)
    assert found.task == Task("WIG-3", 10, (0, 1)) and found.provenance == PROVENANCE
    assert found.metrics["error"].tolist() == [0.123457, np.inf]
    assert np.array_equal(found.metrics["curve"], record().metrics["curve"])
    assert found.fingerprint == SPEC.fingerprint("WIG-3")


def test_a_frame_has_one_row_per_variant_budget_and_seed(path):
    results.save(record(budget=20, seeds=(0,)), path.parents[1])
    results.save(record(budget=20, seeds=(1, 2)), path.parents[1])
    frame = results.frame(SPEC, path.parents[1])
    assert len(frame) == 7 and not frame.duplicated(["variant", "budget", "seed"]).any()
    row = frame[(frame.variant == "WIG-3") & (frame.budget == 10) & (frame.seed == 1)].iloc[0]
    assert row.error == np.inf and row.curve.tolist() == [3, 4, 5] and frame.error.dtype == float


def test_no_results_at_all_say_how_to_get_some(tmp_path):
    assert results.load(SPEC, tmp_path) == ([], [])
    with pytest.raises(results.ResultError, match="run e99"):
        results.frame(SPEC, tmp_path)


def test_results_that_are_all_refused_are_not_called_absent(path):
    with pytest.raises(results.ResultError, match="(?s)results of e99 in .* are refused, 2 files; the first: .*other"):
        results.frame(replace(SPEC, settings={"dt": 1}), path.parents[1])


@pytest.mark.parametrize("num_bytes", [0, 1, 200, -3])
def test_a_truncated_file_is_refused(path, num_bytes):
    path.write_bytes(path.read_bytes()[:num_bytes])
    message = refused(path)
    assert "is truncated" in message and "git" not in message, "there is no repository"
    assert f"mv -n {path} {path}.old && python -m dpbook_course.experiments run e99" in message


@pytest.mark.parametrize("old, new", [("0.123457", "0.023457"), ('"WIG-3"', '"ONE, small"'), ("[0, 1]", "[0, 2]"),
                                      ('"seconds": 1.5', '"seconds": 0.5'), ('"inf"', "1.0")])
def test_an_edited_file_is_refused(path, old, new):
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    assert "was edited after it was written" in refused(path)


@pytest.mark.parametrize("content, message", [
    (b"[]", "is no file of records: the file"), (b"\xff\xfe", "is truncated, or no JSON"), (b'{"a": 1}', "no file of"),
    (b"null", "is no file of records"), (b"[" * 100_000, "is truncated, or no JSON")],
    ids=["list", "bytes", "other", "null", "deep"])
def test_foreign_content_is_refused(path, content, message):
    path.write_bytes(content)
    assert message in refused(path)


def test_a_field_of_another_type_is_named(path):
    path.write_text(json.dumps(json.loads(path.read_text()) | {"seeds": [0, -1]}))
    assert "is no file of records: seeds[1] must be bigger than or equal to 0" in refused(path)


def test_a_folder_in_the_place_of_a_file_is_refused(path):
    path.unlink()
    path.mkdir()
    assert "cannot be read" in refused(path)


def test_a_record_of_another_experiment_is_refused(path):
    other = results.save(record(experiment="e98"), path.parents[1])
    os.replace(other, path)
    message = refused(path)
    assert "belongs to e98, not to e99" in message and "checkout" not in message


def test_a_record_of_a_variant_that_is_gone_is_refused(path):
    smaller = replace(SPEC, variants={"ONE, small": 1}, budgets={"ONE, small": (10,)})
    assert "holds the variant 'WIG-3', which e99 does not have" in str(results.load(smaller, path.parents[1])[1][0])


def test_a_record_made_under_other_settings_is_refused(path):
    other = replace(SPEC, variants={**SPEC.variants, "WIG-3": 3})
    results.save(record(fingerprint=other.fingerprint("WIG-3")), path.parents[1])
    message = refused(path)
    assert "was computed under other settings" in message and SPEC.fingerprint("WIG-3") in message
    assert f"mv -n {path} {path}.old && python -m" in message and "checkout" not in message


@pytest.mark.parametrize("metrics, message", [
    ({"error": np.zeros(2)}, "curve is missing"),
    ({"error": np.zeros(3), "curve": np.zeros((2, 3))}, r"error has shape (3,)"),
    ({"error": np.zeros(2), "curve": np.zeros((2, 3)), "more": np.zeros(2)}, "more is none of its metrics")])
def test_metrics_that_do_not_fit_are_refused(path, metrics, message):
    results.save(record(metrics=metrics), path.parents[1])
    assert message in refused(path)


def test_a_copied_file_is_refused(path):
    copy = path.with_name("WIG_3 (copy).json")
    shutil.copy(path, copy)
    records, (problem,) = results.load(SPEC, path.parents[1])
    assert len(records) == 2 and problem.path == copy and "WIG_3-10-0.json should hold" in str(problem)


def test_seeds_that_two_files_hold_are_used_once(path):
    again = results.save(record(seeds=(1, 2)), path.parents[1])
    records, (problem,) = results.load(SPEC, path.parents[1])
    assert problem.path == again and "repeats seeds that WIG_3-10-0.json holds" in str(problem)
    assert sum(record.variant == "WIG-3" for record in records) == 1


def test_an_interrupted_write_leaves_what_was_there(path, monkeypatch):
    before = path.read_bytes()
    for step in ("fsync", "replace"):
        def interrupt(*_):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(os, step, interrupt)
            results.save(record(metrics={"error": np.zeros(2), "curve": np.zeros(2)}), path.parents[1])
        assert path.read_bytes() == before and len(list(path.parent.iterdir())) == 2


def test_what_a_killed_write_leaves_is_no_record(path):
    (path.parent / "WIG_3-10-0.jsonabc.tmp").write_text("{")
    assert results.load(SPEC, path.parents[1])[1] == []


def proposed(message: str, word: str) -> str:
    """The command that a message gives after a word."""
    return message.partition(f"{word}: ")[2].splitlines()[0]


@pytest.fixture
def repository(path, monkeypatch) -> Path:
    """The folder of the results as a repository in which they are committed; the reader is there."""
    monkeypatch.chdir(path.parents[1])
    for command in ("init -q", "add .", "-c user.name=a -c user.email=a@b commit -qm records"):
        subprocess.run(["git", *command.split()], check=True)
    return path.parents[1]


def test_the_proposed_repair_works_and_loses_nothing(path, repository):
    before = path.read_bytes()
    path.write_text("edited")
    with pytest.raises(results.ResultError) as found:
        results.read(Path.cwd() / "e99" / path.name, SPEC)
    command = proposed(str(found.value), "Restore it")
    assert command.endswith("git -C e99 checkout -- WIG_3-10-0.json"), "short, where the reader is"
    subprocess.run(command, shell=True, check=True)
    assert path.read_bytes() == before and path.with_name(f"{path.name}.old").read_text() == "edited"
    assert results.load(SPEC, repository)[1] == []


def test_git_is_proposed_only_where_it_helps(path, repository, monkeypatch):
    """Not for a file that it does not know, that it knows as damaged as it is, or without git."""
    untracked = path.with_name("notes (1).json")
    untracked.write_text("{}")
    path.write_text("")
    subprocess.run(["git", "add", path], check=True)
    assert not any("git" in str(problem) for problem in results.load(SPEC, repository)[1])
    path.write_text("other")
    assert "git -C" in "".join(map(str, results.load(SPEC, repository)[1]))
    monkeypatch.setenv("PATH", "")
    assert not any("git" in str(problem) for problem in results.load(SPEC, repository)[1])


def test_paths_in_commands_are_quoted_and_nothing_is_overwritten(path):
    root = path.parents[1] / "my results; rm -rf"
    other = results.save(record(), root)
    kept = other.with_name(f"{other.name}.old")
    kept.write_text("an older one")
    other.write_text("")
    (problem,) = results.load(SPEC, root)[1]
    subprocess.run(proposed(str(problem), "again").partition(" && ")[0], shell=True)
    assert kept.read_text() == "an older one" and other.exists()
    kept.unlink()
    subprocess.run(proposed(str(problem), "again").partition(" && ")[0], shell=True, check=True)
    assert kept.read_text() == "" and not other.exists() and path.exists()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EACCES, errno.EIO])
def test_a_file_that_cannot_be_read_is_neither_restored_nor_computed_again(path, monkeypatch, number):
    read = Path.read_bytes

    def fail(self):
        if self == path:
            raise OSError(number, os.strerror(number))
        return read(self)

    monkeypatch.setattr(Path, "read_bytes", fail)
    message = refused(path)
    assert f"cannot be read ({os.strerror(number)})" in message and "mended" in message
    assert not any(word in message for word in ("git", "mv ", "rm ", "again"))


@pytest.mark.parametrize("there", [True, False])
def test_a_renamed_file_is_renamed_back_unless_that_would_overwrite(path, there):
    other = path.with_name("renamed.json")
    (shutil.copy if there else os.replace)(path, other)
    (problem,) = results.load(SPEC, path.parents[1])[1]
    subprocess.run(proposed(str(problem), "Move it away" if there else "Rename it"), shell=True, check=True)
    records, problems = results.load(SPEC, path.parents[1])
    assert len(records) == 2 and problems == [] and other.with_name("renamed.json.old").exists() == there


def test_no_memory_is_no_damage(path, monkeypatch):
    def fail(_):
        raise MemoryError

    monkeypatch.setattr(results.json, "loads", fail)
    with pytest.raises(MemoryError):
        results.load(SPEC, path.parents[1])


def test_the_folder_may_be_text_with_a_tilde(path, monkeypatch):
    monkeypatch.setenv("HOME", str(path.parents[2]))
    root = f"~/{path.parents[1].name}"
    assert len(results.frame(SPEC, root)) == 4 and results.save(record(), root) == path


def test_provenance_says_which_code_on_which_machine(monkeypatch, tmp_path):
    found = results.provenance()()
    assert found["seconds"] == round(found["seconds"], 2) >= 0 and found["device"] and found["threads"] >= 1
    assert {"python", "torch", "phiflow"} <= set(found["versions"]) and found["finished"].endswith("+00:00")
    repository = (Path(__file__).parents[1] / ".git").exists()
    assert ("+" in found["code"]) == repository
    # Installed: the repository around it, if there is one, is somebody else's.
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "a" / "dpbook_course" / "experiments" / "provenance.py"))
    assert "+" not in results.provenance()()["code"]


def test_an_installed_package_brings_the_results(tmp_path):
    """As on Colab, which installs the package without its repository."""
    root, source = Path(__file__).parents[1], tmp_path / "source"
    for name in ("dpbook_utils", "dpbook_course", "results"):
        shutil.copytree(root / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.tmp"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(root / name, source)
    wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*wheel, "--wheel-dir", str(tmp_path), str(source)], check=True)
    (built,) = tmp_path.glob("*.whl")
    content = {name for name in zipfile.ZipFile(built).namelist() if not name.startswith("dpbook_utils-")}
    expected = {f"dpbook_course/{path.relative_to(source).as_posix()}" for path in (source / "results").rglob("*.json")}
    expected |= {path.relative_to(source).as_posix() for path in source.glob("dpbook_*/**/*.py")}
    assert expected <= content and "dpbook_course/results/benchmarks.json" in content


def test_results_are_found_beside_the_package_or_inside_it(monkeypatch, tmp_path):
    assert results.folder() == Path(__file__).parents[1] / "results"
    installed = tmp_path / "dpbook_course" / "results"
    installed.mkdir(parents=True)
    monkeypatch.setattr(results, "__file__", str(tmp_path / "dpbook_course" / "experiments" / "results.py"))
    assert results.folder() == installed
