"""The package as others get it: a wheel, installed beside whatever torch and numpy are there. And the workflows."""

import json
import shutil
import subprocess
import sys
import venv
from importlib.metadata import version
from pathlib import Path

import pytest

NUMPY = "2.3.5"  # any release that is not the pinned one
TORCH = "2.9.1"  # a stand-in of this version, because the real one is large
FILES = ("pyproject.toml", "setup.py", "README.md", "LICENSE")
WORKFLOWS = sorted(Path(__file__).parents[1].glob(".github/workflows/*.yml"))
STAND_IN = f"""\
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "torch"
version = "{TORCH}"
"""


def pip(*command: object) -> str:
    """Run this environment's pip; what it says is the message of a failure."""
    words = ["pip", *map(str, command)]
    result = subprocess.run([sys.executable, "-m", *words, "--no-input"], capture_output=True, text=True)
    assert result.returncode == 0, f"{' '.join(words)}\n{result.stdout[-2000:]}\n{result.stderr[-2000:]}"
    return result.stdout


@pytest.fixture(scope="module")
def wheel(root, tmp_path_factory) -> Path:
    """Built from the files that git knows, so that nothing of an earlier build gets in."""
    folder = tmp_path_factory.mktemp("wheel")
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=root, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in names:
        if name.startswith(("dpbook_utils/", "dpbook_course/", "results/")) or name in FILES:
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, folder / "source" / name)
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, folder / "source")
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def foreign(wheel, root, tmp_path_factory) -> Path:
    """The Python of an environment that had another numpy and another torch before the wheel came."""
    folder = tmp_path_factory.mktemp("foreign")
    (folder / "torch").mkdir()
    (folder / "torch/pyproject.toml").write_text(STAND_IN, encoding="utf-8")
    (folder / "torch/torch.py").touch()
    # Of everything else the pinned versions: this test is about the two.
    pins = (root / "requirements.txt").read_text(encoding="utf-8").splitlines()
    rest = [pin for pin in pins if not pin.startswith(("torch==", "numpy=="))]
    (folder / "constraints.txt").write_text("\n".join(rest), encoding="utf-8")
    venv.create(folder / "env", with_pip=False)
    python = folder / "env" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    pip("--python", python, "install", "setuptools", f"numpy=={NUMPY}")
    pip("--python", python, "install", "--no-build-isolation", "--no-deps", folder / "torch")
    pip("--python", python, "install", "--constraint", folder / "constraints.txt", wheel)
    return python


def test_a_wheel_leaves_torch_and_numpy_as_they_were(foreign):
    assert version("numpy") != NUMPY and version("torch") != TORCH, "choose other versions: these are the pinned ones"
    found = json.loads(pip("--python", foreign, "list", "--format=json"))
    listed = {entry["name"]: entry["version"] for entry in found}
    assert (listed["numpy"], listed["torch"]) == (NUMPY, TORCH)
    assert listed["phiflow"] == version("phiflow")


def test_a_wheel_holds_code_scripts_and_results(foreign, root, tmp_path):
    ask = ("import dpbook_utils, json, pathlib; home = pathlib.Path(dpbook_utils.__file__).parents[1]; "
           "print(json.dumps([p.relative_to(home).as_posix() for p in home.glob('dpbook_*/**/*') if p.is_file()]))")
    found = subprocess.run([foreign, "-c", ask], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    installed = {name for name in json.loads(found) if not name.endswith(".pyc") and ".dist-info/" not in name}
    source = {path.relative_to(root).as_posix() for package in ("dpbook_utils", "dpbook_course")
              for path in (root / package).rglob("*")
              if path.suffix in (".py", ".pyi", ".js", ".css", ".json", ".npz", ".c", ".safetensors")}
    stored = {f"dpbook_course/{path.relative_to(root).as_posix()}" for path in (root / "results").rglob("*.json")}
    assert installed == source | stored


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_fit_their_schema(path):
    """Their expressions are checked by actionlint, which runs on the repository's own machines (test.yml)."""
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", path]
    result = subprocess.run(check, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout
