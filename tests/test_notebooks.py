"""The form of the chapters. That they run is tested by executing them (``make notebooks``)."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from dpbook_course.experiments import chapter_code

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MAX_LINES, MAX_COLUMNS = 14, 78  # of a cell that fits the page and the eye; about 12 lines is the aim
LONGEST = 70  # cells
LESSONS = dict.fromkeys(("03_unrolling", "07_noise", "09_choosing_the_numerics", "10_generalisation",
                         "11_forward_and_inverse", "12_control", "13_foreign_solvers", "14_better_updates"),
                        (50, 350))  # cells and lines of code
ALIVE = re.compile(r"course\.(explore|web\.train|Playground)\(")  # what a reader can play with at once
BEGINS_ALIVE = {"01_physics_as_loss", "03_unrolling", "04_coupling", "06_long_horizons", "07_noise"}
EARLY = 0.15  # of the cells: the first screen and a half
CONSTANT = re.compile(r"[A-Z][A-Z0-9_]+")  # P and N are the solver and the network

SETUP = """\
# On Colab this installs the course's package; elsewhere it does nothing.
import importlib.util
import sys

if "google.colab" in sys.modules and not importlib.util.find_spec("dpbook_utils"):
    %pip install --quiet git+{address}"""

pytestmark = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path: Path, kind: str, without: str | None = None) -> list[str]:
    """Sources of the code or markdown cells, those with the tag ``without`` left out."""
    return [cell.source for cell in nbformat.read(path, as_version=4).cells
            if cell.cell_type == kind and without not in cell.metadata.get("tags", [])]


def code(path: Path) -> list[ast.Module]:
    """Every code cell but the set-up, parsed."""
    return [ast.parse(source) for source in cells(path, "code")[1:]]


def assigned(tree: ast.Module) -> set[str]:
    """Names that the statements of a cell (not those inside functions) assign."""
    targets = [target for statement in tree.body if isinstance(statement, ast.Assign) for target in statement.targets]
    return {node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)}


def test_is_committed_without_outputs(path):
    command = ["nbstripout", "--keep-id"]
    result = subprocess.run([sys.executable, "-m", *command, "--verify", path], capture_output=True)
    assert result.returncode == 0, f"run: {' '.join(command)} {path.relative_to(ROOT)}"


def test_runs_with_the_environments_own_kernel(path):
    assert nbformat.read(path, as_version=4).metadata.kernelspec.name == "python3"


def test_starts_with_the_same_setup_cell(path, book_config):
    assert cells(path, "code")[0] == SETUP.format(address=book_config["repository"]["url"])


def test_has_one_title(path):
    titles = [line for text in cells(path, "markdown") for line in text.splitlines() if line.startswith("# ")]
    assert len(titles) == 1 and cells(path, "markdown")[0].startswith("# ")


def test_states_its_constants_in_one_cell(path):
    constants = [{name for name in assigned(tree) if CONSTANT.fullmatch(name)} for tree in code(path)]
    constants = [names for names in constants if names]
    assert len(constants) == 1, f"cells that assign constants: {constants}"
    assert any("SEED" in name for name in constants[0])


def test_cells_are_short(path):
    for source in cells(path, "code", without="hide-input"):
        lines = source.splitlines()
        assert sum(bool(line.strip()) for line in lines) <= MAX_LINES, f"more than {MAX_LINES} lines:\n{source}"
        assert max(map(len, lines)) <= MAX_COLUMNS, f"more than {MAX_COLUMNS} columns:\n{source}"


def test_can_be_finished(path):
    """Numbers of cells and of lines of code, which CONTRIBUTING.md tells."""
    num_cells = len(nbformat.read(path, as_version=4).cells)
    num_lines = sum(bool(line.strip()) for source in cells(path, "code") for line in source.splitlines())
    most_cells, most_lines = LESSONS.get(path.stem, (LONGEST, None))
    assert num_cells <= most_cells, f"{num_cells} cells; what is not needed for the lesson belongs to the study's page"
    assert most_lines is None or num_lines <= most_lines, f"{num_lines} lines of code"
    row = f"| {path.stem} | {num_cells} of {most_cells} | {num_lines}{f' of {most_lines}' if most_lines else ''} |"
    assert row in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines(), f"the table should have: {row}"


def test_begins_with_something_alive(path):
    if path.stem in BEGINS_ALIVE:
        sources = [cell.source for cell in nbformat.read(path, as_version=4).cells]
        first = next(place for place, source in enumerate(sources) if ALIVE.search(source))
        assert first <= EARLY * len(sources), f"cell {first} of {len(sources)}"


def test_folds_its_imports_and_takes_from_one_place_what_seeds_say_together(path):
    imports = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"][1]
    assert "import dpbook_course as course" in imports.source and imports.metadata.get("tags") == ["hide-input"]
    again = {node.name for tree in code(path) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert not again & {"ratio", "interval", "band"}, "use course.ratio and the others"


def test_imports_by_name_and_hides_no_warnings(path):
    for tree in code(path):
        for node in ast.walk(tree):
            assert not (isinstance(node, ast.ImportFrom) and node.names[0].name == "*"), "star import"
            assert not (isinstance(node, ast.Attribute) and node.attr in ("filterwarnings", "simplefilter")), "a filter"


def test_asserts_what_holds_everywhere_and_without_conditions(path):
    asserts = [node for tree in code(path) for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    assert asserts, "facts that the prose states are asserts in cells"
    for tree in code(path):
        for node in ast.walk(tree):
            conditional = isinstance(node, ast.If) and any(isinstance(inner, ast.Assert) for inner in ast.walk(node))
            assert not conditional, f"an assert that depends on something is an outcome:\n{ast.unparse(node)}"
            asked = isinstance(node, ast.Attribute) and node.attr == "mode" or isinstance(node, ast.Name) and (
                node.id == "FULL")
            assert not asked, f"what a short run may miss is an outcome, not a guarded assert:\n{ast.unparse(tree)}"


def test_states_its_outcomes_by_one_function_and_by_names_of_their_own(path):
    assert chapter_code.statements(path), "what is trained or timed on the spot is stated by held(...)"
    made = [node for tree in code(path) for node in ast.walk(tree) if isinstance(node, ast.Assign)
            and "held" in {target.id for target in node.targets if isinstance(target, ast.Name)}]
    assert [ast.unparse(node.value) for node in made] == [f"course.outcomes.of({path.stem!r})"]


def test_derives_only_the_generator_from_its_seeds_beside_the_constants(path):
    """A repetition shifts the seeds behind the cell of constants."""
    cell = next(tree for tree in code(path) if "SEED" in assigned(tree))
    users = [statement for statement in cell.body for node in ast.walk(statement) if isinstance(node, ast.Name)
             and node.id in ("SEED", "SEEDS") and isinstance(node.ctx, ast.Load)]
    assert [ast.unparse(statement) for statement in users] == ["generator = dp.reproducible(SEED)"]
