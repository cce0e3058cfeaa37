"""A slip in one study: the commands say in a sentence where it is and what, and the other studies go on."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dpbook_course import studies
from dpbook_course.experiments import results, tasks
from dpbook_course.experiments.spec import Experiment, Specification

ROOT = Path(__file__).parents[1]
INIT = """from ...experiments.spec import Experiment
from . import toy
from .verdict import CLAIMS

EXPERIMENTS = (Experiment(toy.SPEC, toy.run, claims=CLAIMS),)
"""
TOY = """from ...experiments.spec import Specification, Task

RATES = {"a": 0.5, "b": 1.0}
NAMES = ("a", "b")
SPEC = Specification(
    id="e98", title="A toy", chapter="03_unrolling", seeds=(0, 1, 2, 3, 4, 5), metrics={"error": "a number"},
    variants={name: RATES[name] for name in NAMES}, budgets=dict.fromkeys(NAMES, (10,)), settings={},
    checks=(Task("a", 1, (0,)),), checked=("error",))


def run(variant, seeds, budget):
    return {"error": [SPEC.variants[variant] * (1 + 0.01 * seed) for seed in seeds]}
"""
VERDICT = """from ...claims.claims import Claim
from ...claims.findings import conclude, per_seed, smaller
from ...claims.ledger import STATEMENTS


def decide(frames):
    return conclude([smaller("a / b", *(per_seed(frames["e98"], name, 10, "error") for name in "ab"))], [], "10")


CLAIMS = {"C26": Claim("C26", STATEMENTS["C26"].text, "03_unrolling", ("e98",), "a < b", decide)}
"""
SLIPS = {  # file, what is there, what stands there by mistake, the sentence
    "unknown metric": ("toy.py", 'checked=("error",)', 'checked=("eror",)',
                       "toy.py, line 5: ValueError: e98: its checked name 'eror', which is no metric of it; it has"),
    "missing rate": ("toy.py", ', "b": 1.0', "", "toy.py, line 7: KeyError: 'b', in `variants={name: RATES[name]"),
    "unknown claim": ("verdict.py", 'STATEMENTS["C26"]', 'STATEMENTS["C99"]',
                      "verdict.py, line 10: KeyError: 'C99', in `CLAIMS = {\"C26\""),
    "no tuple": ("__init__.py", "CLAIMS),)", "CLAIMS))",
                 "__init__.py: TypeError: EXPERIMENTS is Experiment(spec=Specification("),
    "missing comma": ("__init__.py", "toy.SPEC, toy.run", "toy.SPEC toy.run",
                      "__init__.py, line 5: SyntaxError: invalid syntax. Perhaps you forgot a comma?"),
    "syntax": ("toy.py", "def run(variant, seeds, budget):", "def run(variant, seeds, budget)",
               "toy.py, line 11: SyntaxError: expected ':', in `def run(variant, seeds, budget)`"),
    "wrong import": ("verdict.py", "import conclude,", "import concluded,",
                     "verdict.py, line 2: ImportError: cannot import name 'concluded' from"),
    "no experiments": ("__init__.py", "EXPERIMENTS", "EXPERIMENT", "__init__.py: TypeError: EXPERIMENTS is None"),
    "another folder's id": ("toy.py", 'id="e98"', 'id="e97"',
                            "__init__.py: ValueError: EXPERIMENTS has the ids e97; each must be 'e98' or begin with"),
    "no description": ("toy.py", "settings={}", 'settings={"a": object()}', "__init__.py: TypeError: "),
    "one budget": ("toy.py", "(10,))", "10)", "ValueError: e98: the budgets of 'a' are 10; give a tuple"),
}


def written(folder):
    """The toy study in a folder, without a slip."""
    folder.mkdir()
    for name, text in (("__init__", INIT), ("toy", TOY), ("verdict", VERDICT)):
        (folder / f"{name}.py").write_text(text)
    return folder


@pytest.fixture
def study(tmp_path, monkeypatch):
    """The folder of the toy study, the only one that this process finds."""
    (tmp_path / "studies").mkdir()
    monkeypatch.setattr(tasks, "STUDIES", tmp_path / "studies")
    monkeypatch.setattr(studies, "__path__", [*studies.__path__, str(tmp_path / "studies")])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield written(tmp_path / "studies" / "e98")
    for name in [name for name in sys.modules if name.startswith("dpbook_course.studies.e98")]:
        del sys.modules[name]


def slipped(study, name):
    """Make the slip; returns what the commands are to say."""
    file, right, wrong, said = SLIPS[name]
    text = (study / file).read_text()
    assert right in text
    (study / file).write_text(text.replace(right, wrong))
    return said


def test_without_a_slip_the_toy_is_a_study(study):
    found, problems = tasks.loaded()
    assert not problems and list(found) == ["e98"] and list(found["e98"].claims) == ["C26"]


@pytest.mark.parametrize("name", SLIPS)
def test_a_slip_is_told_in_a_sentence(study, name):
    said = slipped(study, name)
    found, (problem,) = tasks.loaded()
    assert not found and problem.study == "e98" and "\n" not in str(problem)
    start = f"the study e98 cannot be used: {study.relative_to(study.parents[2])}/"
    assert str(problem).startswith(start) and said in str(problem)
    with pytest.raises(tasks.StudyError, match="the study e98 cannot be used"):
        tasks.find("E98_tuning")
    with pytest.warns(UserWarning, match="the study e98 cannot be used"):
        assert not tasks.experiments()


@pytest.fixture
def copy(tmp_path):
    """The toy study in a copy of the course, beside the others."""
    for name in ("dpbook_course", "dpbook_utils"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.rmtree(tmp_path / "dpbook_course" / "studies" / "e15")  # whose claim the toy states
    (tmp_path / "results").symlink_to(ROOT / "results")
    return written(tmp_path / "dpbook_course" / "studies" / "e98")


def command(study, words):
    folder = study.parents[2]
    done = subprocess.run([sys.executable, "-m", "dpbook_course.experiments", *words.split()], cwd=folder,
                          env={**os.environ, "PYTHONPATH": str(folder)}, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    return done


def test_the_commands_say_it_and_the_other_studies_go_on(copy):
    said = "dpbook_course/studies/e98/" + slipped(copy, "missing rate")
    for words in ("list", "run e98", "check E98_tuning", "claims"):
        done = command(copy, words)
        assert done.returncode == 1 and said in done.stderr and len(done.stderr.strip().splitlines()) == 3, words
        assert ("e04_tuning" if words == "list" else "C12  " if words == "claims" else "") in done.stdout
    done = command(copy, "check e00")
    assert (done.returncode, done.stdout) == (0, "e00: the code gives what is stored.\n")


def test_the_verdicts_of_other_studies_stand(copy):
    """Whether two studies state one claim, or the rule of a claim fails."""
    verdict = copy / "verdict.py"
    verdict.write_text(VERDICT.replace("C26", "C12"))
    done = command(copy, "claims")
    assert done.returncode == 1 and "e06 and e98 both state C12, so it has no verdict" in done.stderr
    assert "\nC12  " not in done.stdout and "\nC09  " in done.stdout
    verdict.write_text(VERDICT.replace('"ab"))]', '"ab"), frames["eror"])]').replace('("e98",)', '("e98", "e04")'))
    done = command(copy, "claims")
    assert done.returncode == 1 and "\nC09  " in done.stdout and "C26  undecided" in done.stdout
    assert ("C26 of e98 cannot be judged: dpbook_course/studies/e98/verdict.py, line 7: KeyError: 'eror', in `return"
            in done.stderr)


def test_a_study_is_complete_when_every_row_is_stored_at_every_budget(tmp_path, monkeypatch):
    spec = Specification(id="e99", title="", chapter="03_unrolling", variants={"a": 1, "b": 2}, seeds=(0,),
                         budgets={"a": (10,), "b": (10, 20)}, metrics={"error": ""}, settings={})
    toy = Experiment(spec, lambda variant, seeds, budget: {"error": [1.0]})
    monkeypatch.setattr(tasks, "find", lambda experiment: toy)
    monkeypatch.setattr(results, "folder", lambda: tmp_path)
    for task in spec.tasks():
        assert tasks.complete("e99") is None
        results.save(tasks.compute(toy, *task))
    assert sorted(zip(tasks.complete("e99").variant, tasks.complete("e99").budget)) == [("a", 10), ("b", 10), ("b", 20)]
