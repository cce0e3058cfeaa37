"""The repository as a whole: imports, sources, pinned requirements, addresses."""

import ast
import re
import subprocess
import sys
import tomllib
from graphlib import TopologicalSorter
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

import dpbook_utils

ROOT = Path(__file__).parents[1]
PACKAGES = ("dpbook_utils", "dpbook_course")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

# Each line may import from itself and from the lines above it.
LAYERS = [
    {"settings", "names", "files", "arguments", "calls"},
    {"graphs"},
    {"physics"},
    {"convolutions"},
    {"networks"},
    {"coupling", "noise", "gradients", "estimates"},
    {"foreign", "bridges"},
    {"rollout"},
    {"losses"},
    {"objectives"},
    {"data", "checkpoints", "history", "update", "training", "least_squares"},
    {"replay"},
    {"evaluation", "diagnostics", "setups"},
    {"figures"},
]
COURSE = [
    {"commands", "descriptions"},
    {"problems"},
    {"experiments"},
    {"claims"},
    {"studies"},
    {"exercises", "weights"},
    {"explorer", "web"},
]
CHAPTERS = {
    "00_solver_as_operator", "01_physics_as_loss", "02_solver_as_data", "03_unrolling", "04_coupling",
    "05_loss_placement", "06_long_horizons", "07_noise", "08_wake_flow", "09_choosing_the_numerics",
    "10_generalisation", "11_forward_and_inverse", "12_control", "13_foreign_solvers", "14_better_updates",
}
PINS = ("requirements.txt", "requirements-bench.txt", "requirements-mutants.txt")
HOSTS = {"github.com", "dpbook.github.io", "colab.research.google.com", "mybinder.org", "arxiv.org", "doi.org",
         "pytorch.org", "www.w3.org"}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> set[str]:
    """Absolute names of the modules that a file of the package imports, wherever in the file it does."""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    found = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for block in ast.walk(tree):  # imported for annotations, never when it runs
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING":
            block.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[:len(package) - node.level + 1] if node.level else []
            base = ".".join([*base, *filter(None, [node.module])])
            submodules = {f"{base}.{alias.name}" for alias in node.names} & set(map(module_name, MODULES))
            found |= submodules or {base}
    return found


def layer(name: str) -> int:
    """Place of a module in the order of the layers: the course stands above all of the utilities."""
    package, part, *_ = name.split(".")
    layers = [*LAYERS, *COURSE] if package == "dpbook_course" else LAYERS
    places = [place for place, parts in enumerate(layers) if part in parts and (
        parts in COURSE or package == "dpbook_utils")]
    assert places, f"{package}.{part} has no place in the order of imports: add it to LAYERS or COURSE"
    return places[0]


def text_files() -> list[Path]:
    """What is written by hand in this repository and read as text."""
    folders = [*PACKAGES, "notebooks", "book", "benchmarks", "tests", ".github", ".ci", "results"]
    files = [path for folder in folders for path in (ROOT / folder).rglob("*")] + list(ROOT.iterdir())
    known = "py md yml yaml toml txt cff bib ipynb svg css js json".split()
    return [path for path in files if path.is_file() and (path.suffix[1:] in known or path.name == "Makefile")
            and not {"mathjax", ".ipynb_checkpoints"} & set(path.parts)]


def test_imports_point_one_way():
    """Programs stand above everything of their package."""
    modules = [path for path in MODULES if path.parent.name not in PACKAGES or path.name != "__init__.py"]
    upward = {(module_name(path), name) for path in modules if path.name != "__main__.py" for name in imports(path)
              if name.split(".")[0] in PACKAGES and "." in name and layer(name) > layer(module_name(path))}
    assert not upward, "\n".join(f"{module} imports {name}, which stands above it" for module, name in sorted(upward))


def test_the_utilities_never_import_the_course():
    """Nor does the page on the reader's own solver, but to say how often its training succeeds."""
    for path in MODULES:
        if module_name(path).startswith("dpbook_utils"):
            assert "dpbook_course" not in path.read_text(encoding="utf-8"), f"{path} names the course"
    page = (ROOT / "book/own_solver.md").read_text(encoding="utf-8")
    assert re.findall(r".*dpbook_course.*", page) == ["from dpbook_course.experiments import outcomes"]


def test_imports_have_no_cycle():
    TopologicalSorter({module_name(path): imports(path) - {module_name(path)} for path in MODULES}).prepare()


@pytest.mark.parametrize("libraries, parts", [
    ({"phi", "phiml"}, {"physics"}), ({"matplotlib"}, {"figures", "explorer"})], ids=["phi", "matplotlib"])
def test_libraries_stay_where_they_belong(libraries, parts):
    for path in MODULES:
        used = {name.split(".")[0] for name in imports(path)} & libraries
        assert not used or module_name(path).split(".")[1] in parts, f"{module_name(path)} imports {', '.join(used)}"


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, dpbook_utils; print({'torch', 'phi', 'numpy', 'matplotlib'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


def docstrings():
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                yield module_name(path), ast.get_docstring(node) or ""


def test_sources_named_in_docstrings_are_in_the_references():
    references = (ROOT / "book/references.bib").read_text(encoding="utf-8")
    known = re.findall(r"^@\w+\{(\w+),", references, re.MULTILINE)
    assert known == sorted(set(known)), "one entry a key, in the order of the alphabet"
    named = {(name, key) for name, text in docstrings() for line in re.findall(r"Sources?:([^\n]*)", text)
             for key in re.findall(r"[a-z]+\d{4}\w*", line)}
    assert len(named) >= 10
    assert {key for _, key in named} <= set(known), sorted(pair for pair in named if pair[1] not in known)


def test_chapters_named_in_docstrings_exist():
    named = [(name, chapter) for name, text in docstrings() for chapter in re.findall(r"Chapters?:[^.]*", text)]
    assert len(named) >= 10
    for name, chapter in named:
        unknown = set(re.findall(r"\b\d\d_\w+", chapter)) - CHAPTERS
        assert not unknown, f"{name} names the chapter {', '.join(unknown)}"


def test_requirements_are_pinned_and_installed():
    # Markers ("; sys_platform ...") follow the version; another platform's requirement is not installed here.
    for file in PINS:
        lines = [line for line in (ROOT / file).read_text(encoding="utf-8").splitlines() if "=" in line]
        assert len({line.split("==")[0].lower() for line in lines}) == len(lines)
        for line in lines:  # names and versions: no hosts, no local build tags
            name, pin = re.fullmatch(r"([\w.-]+)==([\w.]+)(?:; .+)?", line).groups()
            if file == "requirements.txt" and ";" not in line:
                assert version(name).split("+")[0] == pin, f"{name} {version(name)} is installed, {pin} is pinned"


def test_the_package_asks_for_little_and_agrees_with_the_pins():
    pins = dict(line.split(";")[0].split("==") for file in PINS
                for line in (ROOT / file).read_text(encoding="utf-8").splitlines() if "==" in line)
    required = PROJECT["project"]["dependencies"]
    names = {re.split(r"[<=>]", entry)[0] for entry in required}
    assert not {"torch", "numpy"} & names, "the user's own builds must stay"
    for entry in sum(PROJECT["project"]["optional-dependencies"].values(), required):
        name, pin = re.fullmatch(r"([\w-]+)(?:==([\w.]+)|[<>]=?\d+)?", entry).groups()
        assert name in pins, f"{name} is required by pyproject.toml and not pinned"
        assert pin in (None, pins[name])


def test_tools_of_the_commit_hooks_are_the_pinned_ones():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    pins = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert {pin for hook in hooks for pin in hook["additional_dependencies"]} <= set(pins)


def test_version_and_address_agree_everywhere(book_config):
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == dpbook_utils.__version__
    address = book_config["repository"]["url"]
    assert citation["repository-code"] == address
    owner = address.split("/")[-2]
    for path in text_files():
        if path.name != Path(__file__).name:
            for found in re.findall(rf"https://github\.com/{owner}/[\w.-]+", path.read_text(encoding="utf-8")):
                assert found.removesuffix(".git") == address, f"{path.relative_to(ROOT)} has the address {found}"


LEFTOVERS = {
    r"<{7} |>{7} |\bTODO\b|\bFIXME\b|OWNER/": "something left over",
    r"/(home|Users|root|work|opt)/\w|[A-Z]:\\Users": "a path of somebody's machine",
    r"--(extra-)?index-url|--find-links": "a package index, which is the user's choice",
}


def leftovers(path: Path, text: str) -> list[str]:
    """What must not be in a file, one line each."""
    found = [f"{what}: {match.group()}" for pattern, what in LEFTOVERS.items() if (match := re.search(pattern, text))]
    hosts = set() if path.suffix == ".bib" else set(re.findall(r"https?://([\w.-]+)", text)) - HOSTS
    return [f"{path.relative_to(ROOT)}: {line}" for line in [*found, *(f"a link to {host}" for host in sorted(hosts))]]


def test_text_is_free_of_leftovers():
    files = [path for path in text_files() if path.name != Path(__file__).name]
    found = [line for path in files for line in leftovers(path, path.read_text(encoding="utf-8"))]
    assert len(files) > 500 and not found, "\n".join(found)


@pytest.mark.parametrize("text, what", [
    ("a = 1  # TODO: more", "something left over: TODO"), ("x\n<<<<<<< HEAD", "something left over: <<<<<<< "),
    ("/home/me/file", "a path of somebody's machine: /home/m"),
    ("pip install --index-url x", "a package index, which is the user's choice: --index-url"),
    ("see https://example.com/a", "a link to example.com")])
def test_what_is_left_over_is_named(text, what):
    assert leftovers(ROOT / "book/page.md", text) == [f"book/page.md: {what}"]
    assert leftovers(ROOT / "book/page.md", "see https://doi.org/1") == []


def test_a_file_is_one_concept():
    """Much over 250 lines is two."""
    lengths = {module_name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert not {name: length for name, length in lengths.items() if length > 300}


def test_the_linter_is_content():
    lint = [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format", "concise", "."]
    result = subprocess.run(lint, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout
