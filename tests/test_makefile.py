"""The Makefile, with stand-ins for Python: which one it takes, what it says, and that every part of the tests runs."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="no make: README.md has the plain commands")
SHIM = "#!/bin/sh\necho 'this version is not installed' >&2\nexit 127\n"
STAND_IN = """\
#!/bin/sh
echo "$PYTHONPATH: $*" >> "$LOG"
case "$*" in
    *version_info*) echo {version};;
    "-m venv .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python;;
    *"--target .bench"*) mkdir .bench;;
    *"--target .mutants"*) mkdir .mutants;;
    "-m pip"*) exit {pip};;
esac
"""


@pytest.fixture
def folder(root, tmp_path) -> Path:
    """A folder with the Makefile alone, and an empty one for stand-ins."""
    for path in (root / "Makefile", root / "pyproject.toml", *root.glob("requirements*.txt")):
        shutil.copy(path, tmp_path)
    (tmp_path / "bin").mkdir()
    return tmp_path


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def stand_in(version: str, pip: int = 0) -> str:
    return STAND_IN.format(version=version, pip=pip)


def make(folder: Path, *words: str) -> tuple[int, str]:
    """Run make with the stand-ins in front of every name of a Python that this machine may have."""
    for version in ("3.11", "3.12", "3.13"):
        if not (folder / f"bin/python{version}").exists():
            put(folder / f"bin/python{version}", SHIM)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHON" and "MAKE" not in name}
    environment |= {"PYTHONPATH": "", "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "LOG": str(folder / "log")}
    result = subprocess.run(["make", *words], cwd=folder, env=environment, capture_output=True, text=True)
    return result.returncode, result.stdout + result.stderr


def test_the_newest_python_that_works_is_taken_and_named(folder):
    for version in ("3.11", "3.12"):
        put(folder / f"bin/python{version}", stand_in(version))
    status, told = make(folder, ".venv/.ready")
    assert status == 0 and "Taking Python 3.12: python3.12\n" in told
    assert "not installed" not in told, "what a shim says is of no use"
    assert " -m pip install -r requirements.txt\n" in (folder / "log").read_text()


def test_another_python_can_be_named(folder):
    put(folder / "bin/python3.12", stand_in("3.12"))
    put(folder / "bin/mine", stand_in("3.11"))
    status, told = make(folder, ".venv/.ready", "PYTHON=mine")
    assert status == 0 and "Taking Python 3.11: mine\n" in told


def test_an_environment_that_is_there_is_kept(folder):
    put(folder / "bin/python3.13", stand_in("3.13"))
    put(folder / ".venv/bin/python", stand_in("3.11"))
    status, told = make(folder, ".venv/.ready")
    assert status == 0 and "Taking Python 3.11: .venv/bin/python\n" in told
    assert "venv .venv" not in (folder / "log").read_text()


@pytest.mark.parametrize("version", ("2.7", "3.10", "3.14"))
def test_too_old_or_too_new_a_python_is_refused(folder, version):
    put(folder / "bin/mine", stand_in(version))
    status, told = make(folder, "book", "PYTHON=mine")
    assert status != 0 and not (folder / ".venv").exists()
    assert f"mine is Python {version}, and one of 3.13 3.12 3.11 is needed: make book PYTHON=/path/to/python3" in told


def test_no_python_at_all(folder):
    status, told = make(folder, "book")
    assert status != 0 and "No Python of 3.13 3.12 3.11" in told and "make book PYTHON=/path/to/python3" in told
    status, told = make(folder, "book", "PYTHON=unknown")
    assert status != 0 and "unknown cannot be run: name a Python of 3.13 3.12 3.11" in told


def test_an_environment_that_cannot_be_set_up_is_said_and_tried_again(folder):
    put(folder / "bin/python3.13", stand_in("3.13", pip=1))
    for _ in range(2):
        status, told = make(folder, "book")
        assert status != 0 and "could not be set up, for the reason above" in told and "needs 2 GB" in told


def test_every_part_of_the_tests_runs_and_has_a_line(folder):
    put(folder / "bin/python3.13", stand_in("3.13"))
    with (folder / "Makefile").open("a") as file:
        file.write("\nPARTS := fine broken last\nfine last:\n\t@echo running $@\nbroken:\n\t@false\n")
    status, told = make(folder, "test")
    assert status != 0
    assert told.count("running") == 2
    ending = re.sub(r"\d+ s", "0 s", told.split("\n\n")[-1]).splitlines()[:3]
    assert ending == ["fine: passed in 0 min 0 s", "broken: FAILED in 0 min 0 s", "last: passed in 0 min 0 s"]


def test_the_parts_of_the_tests_are_commands(root):
    text = (root / "Makefile").read_text(encoding="utf-8")
    parts, = (line.split(":=")[1].split() for line in text.splitlines() if line.startswith("PARTS :="))
    assert len(parts) >= 3 and all(f"\n{part}: " in text for part in parts)


def test_benchmarks_leave_the_environment_as_it_was(folder):
    put(folder / "bin/python3.13", stand_in("3.13"))
    assert make(folder, ".venv/.ready")[0] == 0
    (folder / "log").unlink()
    assert make(folder, "bench")[0] == 0
    *installed, ran = (folder / "log").read_text().splitlines()
    assert [line.split(" -m ")[1] for line in installed] == [
        "pip install --no-deps --target .bench -r requirements-bench.txt"]
    assert ran == ".bench: -m benchmarks"


def test_mutants_leave_the_environment_as_it_was(folder):
    put(folder / "bin/python3.13", stand_in("3.13"))
    assert make(folder, ".venv/.ready")[0] == 0
    (folder / "log").unlink()
    assert make(folder, "mutants", "MODULE=losses", "NUMBER=5")[0] == 0
    *installed, ran = (folder / "log").read_text().splitlines()
    assert [line.split(" -m ")[1] for line in installed] == [
        "pip install --no-deps --target .mutants -r requirements-mutants.txt"]
    assert ran == ": -m tests.mutants losses --number 5"
