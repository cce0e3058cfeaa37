"""Commands in every console: a closed pipe, an ASCII terminal, Ctrl-C, a full disk, wrong words."""

import errno
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import __main__ as bench
from benchmarks import report
from dpbook_course.web import __main__ as web

ROOT = Path(__file__).parents[1]
PROGRAM = "import signal, sys; from dpbook_course.commands import program; program(lambda: {})"


def shell(command: str, **environment) -> subprocess.CompletedProcess:
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "PY": sys.executable, **environment}
    return subprocess.run(["bash", "-c", command], cwd=ROOT, env=variables, capture_output=True, encoding="utf-8")


def program(body: str, after: str = "", **environment) -> subprocess.CompletedProcess:
    """A command whose ``main`` is this expression."""
    return shell(f'"$PY" -c "$CODE" {after}', CODE=PROGRAM.format(body), **environment)


@pytest.mark.parametrize("command, reader", [
    ("-m dpbook_course.experiments list", "head -1"), ("-m dpbook_course.experiments --help", "true"),
    ("-m benchmarks --help", "true"), ("-m dpbook_course.web --help", "true")])
def test_a_closed_pipe_ends_a_command_silently(command, reader):
    done = shell(f'set -o pipefail; "$PY" {command} | {reader}')
    assert done.stderr == "" and done.returncode in (0, 141)  # 0 if all of it was written before the reader ended


def test_a_reader_who_leaves_is_no_error():
    done = program("print('x' * 10**6)", "| head -c 5; exit ${PIPESTATUS[0]}")
    assert (done.stdout, done.stderr, done.returncode) == ("xxxxx", "", 141)
    done = program("print('x' * 10**6, file=sys.stderr)", "2>&1 | head -c 5; exit ${PIPESTATUS[0]}")
    assert (done.stdout, done.returncode) == ("xxxxx", 141)


def test_output_that_cannot_be_written_is_said():
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    done = program("print('x')", "> /dev/full")
    assert done.returncode == 1 and "No space left on device" in done.stderr and "Traceback" not in done.stderr


def test_an_ascii_console_gets_escapes():
    done = program("print('\\u00b1 1')", PYTHONIOENCODING="ascii")
    assert (done.stdout, done.stderr, done.returncode) == ("\\xb1 1\n", "", 0)


@pytest.mark.parametrize("command, environment", [
    ("claims", {"PYTHONIOENCODING": "ascii"}), ("run e99", {"PYTHONIOENCODING": "ascii"}),
    ("list", {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"})])
def test_every_command_runs_in_an_ascii_console(command, environment):
    done = shell(f'"$PY" -m dpbook_course.experiments {command}', **environment)
    assert "Traceback" not in done.stderr and done.returncode == (2 if "e99" in command else 0)
    assert done.stdout.isascii() and len(done.stdout + done.stderr) > 100


def test_an_interrupted_command_says_so():
    done = program("signal.raise_signal(signal.SIGINT)")
    assert (done.stdout, done.stderr, done.returncode) == ("", "\nInterrupted.\n", 130)


@pytest.mark.parametrize("body, status", [("0", 0), ("1", 1), ("sys.exit(2)", 2), ("{}", 0), ("None", 0)])
def test_a_command_ends_with_the_status_of_its_function(body, status):
    assert program(body).returncode == status


def test_an_error_of_the_file_system_is_one_sentence():
    done = program("open('/nowhere/x')")
    assert done.returncode == 1
    assert done.stderr == f"[Errno {errno.ENOENT}] No such file or directory: '/nowhere/x'\n"


def test_a_bug_keeps_its_traceback():
    assert "ZeroDivisionError" in program("1 / 0").stderr


@pytest.mark.parametrize("arguments", [["--write", "now"], ["write"]])
@pytest.mark.parametrize("main", [bench.main, web.main])
def test_wrong_words_are_refused_before_anything_is_done(main, arguments, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2 and "unrecognized arguments" in capsys.readouterr().err


def test_a_compiler_that_is_missing_is_named(monkeypatch, capsys):
    monkeypatch.setattr(web, "find_spec", lambda _: None)
    assert web.main([]) == 1 and "pip install ziglang" in capsys.readouterr().err


@pytest.fixture
def read_only(monkeypatch):
    def fail(_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "fsync", fail)


def test_kernels_that_cannot_be_written_are_not_compiled(read_only, monkeypatch):
    monkeypatch.setattr(web, "find_spec", lambda _: True)
    systems = importlib.import_module("dpbook_course.web.systems")
    monkeypatch.setattr(systems, "exported", lambda: pytest.fail("compiled"))
    with pytest.raises(OSError, match="kernels.json cannot be written .Read-only file system.: choose a place"):
        web.main([])


@pytest.mark.parametrize("name", ["benchmarks.__main__", "benchmarks.wake"])
def test_measurements_that_cannot_be_written_are_not_made(name, read_only, monkeypatch, tmp_path):
    module = importlib.import_module(name)
    monkeypatch.setattr("dpbook_utils.settings.reproducible", lambda _: pytest.fail("measured"))
    with pytest.raises(OSError, match="benchmarks(_wake)?.json cannot be written"):
        module.main(["--write"])
    monkeypatch.undo()
    monkeypatch.setattr("dpbook_utils.settings.reproducible", lambda _: pytest.fail("measured"))
    monkeypatch.setattr(report, "ROOT", tmp_path)
    (tmp_path / "README.md").write_text("no marks")
    with pytest.raises(ValueError, match="no place for the table"):
        module.main(["--write"])
    assert (tmp_path / "README.md").read_text() == "no marks"


def test_measurements_are_written_with_their_table(monkeypatch, tmp_path):
    monkeypatch.setattr(report, "ROOT", tmp_path)
    (tmp_path / "README.md").write_text("± <!-- wake:begin -->\nold\n<!-- wake:end -->\n", encoding="utf-8")
    report.prepare("wake")
    report.write({"a": 1}, "new", "wake")
    assert (tmp_path / "README.md").read_bytes().decode() == "± <!-- wake:begin -->\nnew\n<!-- wake:end -->\n"
    assert (tmp_path / "results" / "benchmarks_wake.json").read_text() == '{\n "a": 1\n}\n'
