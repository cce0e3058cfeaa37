"""Outcomes: they never stop a run, their rate belongs to the code that was measured, and repetitions can be resumed."""

import ast
import json
import math
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import nbformat
import numpy as np
import pandas
import pytest
import torch

from dpbook_course.experiments import chapter_code, outcomes, repetitions
from dpbook_course.experiments.outcomes import Outcomes, Rate, rate, truth
from dpbook_course.experiments.repetitions import Repetition
from dpbook_course.experiments.results import ResultError

NAN = float("nan")
CELLS = ("%pip install nothing", "# seeds\nSEED, limit = 3, 0.5\nSEEDS = range(2)", 'held("a is small", SEED < limit)',
         "b = [SEED, *SEEDS]", 'held("b is long", len(b) > 2)', "after = 1")


def notebook(path, *sources):
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def repetition(number=0, held=True, code="c0de", chapter="tiny", failed=None):
    return Repetition(chapter, number, "as the machine does", failed, {"a is small": {"held": held, "code": code}},
                      {"seconds": 1.0})


@pytest.mark.parametrize("condition, expected", [
    (True, True), (False, False), (np.float64(1) < 2, True), (torch.tensor(1.0) < 2, True), (np.array([[True]]), True),
    (torch.tensor([False]), False), (pandas.Series([2]) > 1, True), (NAN, False), (torch.tensor(NAN), False),
    (torch.tensor(NAN) < 1, False), (np.nan > 1, False), (0 < torch.tensor(NAN) < 1, False)])
def test_an_outcome_says_whether_it_held_and_never_raises(condition, expected, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("DPBOOK_MODE", "full")
    assert Outcomes("tiny", tmp_path)("a is small", condition) is None
    word = "held" if expected else "did not hold"
    assert " ".join(capsys.readouterr().out.split()) == f"A is small: {word} in this run; not yet measured how often."
    assert repetitions.seen.pop() == ("a is small", expected)


@pytest.mark.parametrize("condition", [None, 1, 0.5, "yes", [True], torch.tensor([True, True]), np.array([True, False]),
                                       torch.tensor(1.0), pandas.Series([True, True])])
def test_what_is_no_truth_value_is_refused_in_one_sentence(condition):
    with pytest.raises(TypeError, match=r"^the outcome 'a' was given \w+ .* one\s*truth value is expected: .*all"):
        truth(condition, "a")


def test_a_rate_counts_the_repetitions_of_this_code_only():
    stored = [repetition(0), repetition(1, False), repetition(2), repetition(3, None, failed="cell 1: E"),
              repetition(4, code="older")]
    assert rate(stored, "a is small", "c0de") == Rate(2, 3, 1)
    assert str(Rate(2, 3, 1)) == "2 of 3; 1 more ended with an error before it"
    assert str(Rate(11, 12)) == "11 of 12" and str(Rate(0, 0, 2)) == "none of 2 came to it, an error ended them before"
    assert Rate(2, 3, 1).words(" when repeated") == "2 of 3 when repeated; 1 more ended with an error before it"
    assert rate(stored, "a is small", "newer") == rate(stored, "b", "c0de") == Rate()
    assert str(Rate()) == outcomes.UNKNOWN


def test_the_line_has_the_stored_rate_and_a_short_run_none(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(outcomes, "executed", lambda: ["SEED = 1"])
    for number, held in enumerate((True, True, False)):
        repetitions.save(repetition(number, held, chapter_code.fingerprint(["SEED = 1  # anything"])), tmp_path)
    for mode, said in (("full", "Sometimes, a is small: held in this run; 2 of 3 when repeated."),
                       ("short", "A is small: held in this short run; rates are those of full runs.")):
        monkeypatch.setenv("DPBOOK_MODE", mode)
        Outcomes("tiny", tmp_path)("a is small", True)
        assert " ".join(capsys.readouterr().out.split()) == said
    monkeypatch.setenv("DPBOOK_MODE", "full")
    monkeypatch.setattr(outcomes, "executed", lambda: ["SEED = 2"])
    Outcomes("tiny", tmp_path)("a is small", False)
    assert "did not hold in this run; not yet measured" in " ".join(capsys.readouterr().out.split())
    repetitions.seen.clear()


def test_a_long_line_is_folded(capsys, tmp_path):
    Outcomes("tiny", tmp_path)("a very " + "long " * 20 + "statement", True)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 1 and max(map(len, lines)) <= 78
    repetitions.seen.clear()


@pytest.mark.parametrize("source", ['held("a is small", 1)\nheld("a is small", 2)', 'held(f"a {b}", 1)', "held(a=1)"])
def test_an_outcome_has_a_name_of_its_own_that_is_written_out(source, tmp_path):
    with pytest.raises(ValueError, match="tiny.ipynb states the outcome held.* written out"):
        chapter_code.statements(notebook(tmp_path / "tiny.ipynb", source))


def changed(tmp_path, **replaced):
    """Which outcomes of ``CELLS`` keep their rate when cells are replaced."""
    before = chapter_code.statements(notebook(tmp_path / "tiny.ipynb", *CELLS))
    sources = [replaced.get(f"cell_{k}", source) for k, source in enumerate(CELLS)]
    after = chapter_code.statements(notebook(tmp_path / "tiny.ipynb", *sources))
    return [name for name in before if after[name] == before[name]]


def test_a_rate_is_lost_by_a_change_of_the_code_before_it(tmp_path):
    names = ["a is small", "b is long"]
    assert changed(tmp_path, cell_1='"""Said."""\nSEED, limit = (3, 0.5)  # other words\n\n\nSEEDS = range(2)') == names
    assert changed(tmp_path, cell_0="%pip install something", cell_5="after = 2") == names
    assert changed(tmp_path, cell_3="b = [*SEEDS, SEED]") == names[:1]
    assert changed(tmp_path, cell_1="SEED, limit = 4, 0.5\nSEEDS = range(2)") == []


def test_a_rate_is_lost_by_a_change_of_what_the_chapter_imports(tmp_path, monkeypatch):
    empty = ("dpbook_utils", "dpbook_utils/data", "dpbook_course", "dpbook_course/studies", "dpbook_course/studies/e90")
    texts = {**{f"{folder}/__init__": "" for folder in empty}, "dpbook_utils/near": "from .data import far\n",
             "dpbook_utils/data/far": "x = 1\n", "dpbook_utils/figures": "colour = 1\n",
             "dpbook_utils/other": "y = 1\n",
             "dpbook_course/studies/e90/verdict": "z = 1\n",
             "dpbook_course/studies/e90/noise": "from dpbook_utils.near import far\n"}
    monkeypatch.setattr(chapter_code, "ROOT", tmp_path)
    chapter_code._homes.cache_clear()

    def mark(**replaced):
        for name, text in {**texts, **replaced}.items():
            (tmp_path / f"{name}.py").parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / f"{name}.py").write_text(text)
        chapter_code._module.cache_clear()
        return chapter_code.fingerprint(["from dpbook_utils import figures\n"
                                         "from dpbook_course.studies.e90 import noise, verdict\nimport numpy"])

    first = mark()
    near, far = "dpbook_utils/near", "dpbook_utils/data/far"
    assert mark(**{near: '"""Said."""\nfrom .data import far  # why\n'}) == first
    assert mark(**{"dpbook_utils/figures": "colour = 2\n", "dpbook_utils/other": "y = 2\n",
                   "dpbook_course/studies/e90/verdict": "z = 2\n"}) == first
    assert mark(**{far: "x = 2\n"}) != first and mark(**{near: "from .data import far\ny = 1\n"}) != first
    assert mark() == first
    chapter_code._module.cache_clear()
    chapter_code._homes.cache_clear()


@pytest.mark.parametrize("code, same", [
    ("if x < 0:\n    raise ValueError('x')\ny = x\nheld('small', y < 1)", True),
    ("y = x\nheld('as small as that', y < 1)", True), ("y = x\nheld('small', y < 2)", False),
    ("if x < 0:\n    x = 0\ny = x\nheld('small', y < 1)", False)])
def test_a_rate_survives_checks_that_only_raise_and_other_words(code, same):
    assert (chapter_code.fingerprint([code]) == chapter_code.fingerprint(["y = x\nheld('small', y < 1)"])) == same


@pytest.mark.parametrize("code, modules", [
    ("dp.trace(dp.Burgers(8))", {"dpbook_utils.physics.trace", "dpbook_utils.physics.burgers"}),
    ("ks = course.problems.kuramoto_sivashinsky", {"dpbook_course.problems.ks"}),
    ("course.studies.e04.unrolling.SPEC.variants['ONE'].setup", {"dpbook_course.studies.e04.unrolling"}),
    ("dp.figures.curves(course.explore('e04'), course.verdict('C09'))", set()), ("np.dp.Burgers", set())])
def test_names_of_a_package_lead_to_their_modules(code, modules):
    tree = ast.parse(f"import dpbook_utils as dp\nimport dpbook_course as course\n{code}")
    assert chapter_code._used(tree, chapter_code._aliases(tree)) == modules
    both = ["import dpbook_utils as dp\nimport dpbook_course as course", code]
    assert (chapter_code.fingerprint(both) != chapter_code.fingerprint([*both[:1], "np"])) and (
        chapter_code.fingerprint([code]) != chapter_code.fingerprint(both))


def test_of_a_folder_of_studies_counts_what_is_used():
    start = "import dpbook_course as course\nproblem, e12 = course.problems.letter, course.studies.e12\n"
    tree = ast.parse(f"{start}e12.gradients.compared(problem)")
    known = chapter_code._aliases(tree)
    studies = chapter_code._studies(tree, known)
    assert studies == {"e12": "dpbook_course.studies.e12"}
    assert chapter_code._used(tree, known | studies) == {"dpbook_course.problems.letter",
                                                         "dpbook_course.studies.e12.gradients"}
    whole = ast.parse("import dpbook_course as course\nrun(course.studies.e12)")
    assert chapter_code._used(whole, chapter_code._aliases(whole)) == {"dpbook_course.studies.e12"}


def test_what_the_chapters_depend_on_is_found_in_the_package():
    names, waiting = set(), ["dpbook_course.studies.e06.placement"]
    while waiting:
        name = waiting.pop()
        if name not in names:
            names.add(name)
            waiting += chapter_code._module(name)[1]
    assert {"dpbook_course.problems.ks", "dpbook_utils.physics.trace", "dpbook_utils.physics.solver",
            "dpbook_utils.networks"} <= names
    assert not [name for name in names if name.split(".")[1] in chapter_code.LEFT_OUT or ".claims" in name]
    # Of what records a graph and runs it: the part that decides which values come, not how soon.
    assert {name for name in names if name.startswith("dpbook_utils.graphs.")} == {
        "dpbook_utils.graphs.graph", "dpbook_utils.graphs.simplify"}


def test_every_module_that_is_left_out_is_there():
    for part, modules in chapter_code.MODULES.items():
        folders = [chapter_code.ROOT / package / part for package in chapter_code.PACKAGES]
        assert modules <= {path.stem for folder in folders for path in folder.glob("*.py")}


def test_a_cell_that_is_run_again_changes_nothing(monkeypatch):
    history = SimpleNamespace(input_hist_raw=["", "a = 1", "held(...)", "b = 2", "held(...)"])
    shell = SimpleNamespace(history_manager=history)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    assert outcomes.executed() == ["a = 1", "held(...)"]
    assert chapter_code.fingerprint(["a = 1", "b = 2", "a = 1"]) == chapter_code.fingerprint(["a = 1", "b = 2"])
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))
    assert outcomes.executed() == []


@pytest.mark.parametrize("held, reached, said", [
    (0, 0, "it holds"), (12, 12, "it holds"), (19, 20, "it holds"), (11, 12, "usually, it holds"),
    (9, 12, "usually, it holds"), (8, 12, "sometimes, it holds"), (2, 12, "rarely, it holds")])
def test_what_does_not_hold_nearly_always_is_worded_as_what_it_is(held, reached, said):
    assert outcomes.Rate(held, reached).hedged("it holds") == said


def test_seeds_are_shifted_behind_the_cell_that_states_them():
    source = "SEED, WIDTH = 3, 8\nSEEDS = range(2, 5)\ngenerator = dp.reproducible(SEED)"
    names = {"dp": SimpleNamespace(reproducible=lambda seed: ("seeded", seed))}
    exec(source + repetitions.shifted(source, 2000), names)
    assert (names["SEED"], names["SEEDS"], names["generator"], names["WIDTH"]) == (
        2003, range(2002, 2005), ("seeded", 2003), 8)
    assert repetitions.shifted(source, 0) == repetitions.shifted("for k in SEEDS:\n    SEED", 1000) == ""
    assert repetitions.shifted("%pip install", 1000) == ""


@pytest.mark.parametrize("damage, reason", [
    (lambda text: text[:-20], "truncated"), (lambda text: text.replace("true", "false"), "edited"),
    (lambda text: text.replace('"outcomes"', '"income"'), "no repetition"), (lambda text: "[1]", "no repetition"),
    (lambda text: text.replace('"repetition": 0', '"repetition": 1'), "edited")])
def test_a_damaged_file_is_named_refused_and_left(damage, reason, tmp_path, capsys):
    page = notebook(tmp_path / "tiny.ipynb", 'held("a is small", True)')
    repetitions.save(repetition(), tmp_path)
    path = repetitions.file("tiny", 0, tmp_path)
    assert repetitions.read(path) == repetition()
    path.write_text(damage(path.read_text()))
    left = path.read_bytes()
    with pytest.raises(ResultError, match=rf"00\.json .*{reason}.*(?s:.)*left as it is.*mv -n .*run tiny"):
        repetitions.read(path)
    assert outcomes.measure([page], 1, 1, tmp_path) == 1
    assert path.read_bytes() == left and "00.json" in capsys.readouterr().err
    with pytest.warns(UserWarning, match=reason):
        assert not Outcomes("tiny", tmp_path).stored


def test_a_file_under_another_name_is_refused(tmp_path):
    repetitions.save(repetition(), tmp_path)
    moved = repetitions.file("tiny", 0, tmp_path).rename(repetitions.file("tiny", 7, tmp_path))
    with pytest.raises(ResultError, match="holds repetition 0 of tiny, so it was renamed"):
        repetitions.read(moved)


def test_repetitions_are_run_once_with_their_own_seeds_and_rounding(tmp_path, capsys):
    constants = "import os\nfrom dpbook_course.experiments import outcomes\nSEED, SEEDS = 0, range(2)\n"
    constants += 'held = outcomes.of("tiny")'
    page = notebook(tmp_path / "tiny.ipynb", "%pip --version", constants,
                    'held("the seed is small", SEED + SEEDS[1] < 9)',
                    'held("rounding is usual", "ATEN_CPU_CAPABILITY" not in os.environ)', "assert SEED < 9",
                    'held("the seed is small again", os.environ["DPBOOK_MODE"] == "full")', "after_the_last = 1 / 0")
    assert outcomes.measure([page], 2, 2, tmp_path) == 0
    assert "ended by code cell 5: AssertionError" in capsys.readouterr().out
    first, second = (repetitions.read(repetitions.file("tiny", k, tmp_path)) for k in (0, 1))
    assert [one["held"] for one in first.outcomes.values()] == [True, True, True] and first.failed is None
    assert [one["held"] for one in second.outcomes.values()] == [False, False, None]
    assert (first.rounding, second.rounding) == tuple(repetitions.ROUNDINGS)
    assert list(map(str, outcomes.rates(page, tmp_path).values())) == [
        "1 of 2", "1 of 2", "1 of 1; 1 more ended with an error before it"]
    assert repetitions.missing(page, 3, tmp_path) == ([2], [])  # it goes on where it was
    old = page.read_text()
    page.write_text(old.replace("range(2)", "range(3)"))
    assert repetitions.missing(page, 2, tmp_path) == ([0, 1], [])
    assert set(map(str, outcomes.rates(page, tmp_path).values())) == {outcomes.UNKNOWN}


@pytest.mark.parametrize("fatal, said", [
    ("import os\nos._exit(7)", "exit status 7"),
    ("import os\nos.kill(os.getpid(), 9)", "killed by signal 9; the same command runs it again")])
def test_a_process_that_dies_is_told_and_stores_nothing(fatal, said, tmp_path, capsys):
    page = notebook(tmp_path / "tiny.ipynb", fatal, 'held("a is small", True)')
    assert outcomes.measure([page], 1, 1, tmp_path) == 1
    assert f"tiny, repetition 0, stored nothing ({said})" in capsys.readouterr().err
    assert not repetitions.file("tiny", 0, tmp_path).exists()


def counting(tmp_path, source, *more):
    """A chapter whose second cell counts the runs, and the function that says how many there were."""
    path = tmp_path / "runs"
    count = f"SEED = 0\nwith open({str(path)!r}, 'a') as file:\n    file.write('x')"
    start = 'from dpbook_course.experiments import outcomes\nheld = outcomes.of("tiny")'
    return notebook(tmp_path / "tiny.ipynb", start, count, source, *more), lambda: len(path.read_text())


def test_an_error_that_every_repetition_meets_is_no_outcome(tmp_path, capsys):
    page, runs = counting(tmp_path, 'held("a is small", True)\nassert SEED < 0', 'held("b is small", True)')
    for repeats in (1, 6):
        assert outcomes.measure([page], repeats, 1, tmp_path) == 1
        said = capsys.readouterr()
        assert "tiny: an error ended" in said.err and "repetition 0: code cell 3: AssertionError" in said.err
        assert not said.out and not list(tmp_path.rglob("0*.json"))
    assert runs() - 1 - repetitions.ENOUGH in (0, 1), "further ones would only repeat it, but one may have begun"
    assert set(map(str, outcomes.rates(page, tmp_path).values())) == {outcomes.UNKNOWN}


def test_an_error_that_another_repetition_does_not_meet_counts(tmp_path, capsys):
    page, runs = counting(tmp_path, "assert SEED > 0", 'held("a is small", True)')
    assert outcomes.measure([page], 1, 1, tmp_path) == 1
    assert outcomes.measure([page], 3, 1, tmp_path) == 0, "the second gets past what ended the first"
    assert "tiny, repetition 0: 0 of 1 held, 0 s; ended by code cell 3: AssertionError" in " ".join(
        capsys.readouterr().out.replace("1 s", "0 s").split())
    assert str(*outcomes.rates(page, tmp_path).values()) == "2 of 2; 1 more ended with an error before it"
    assert runs() == 4 and repetitions.missing(page, 3, tmp_path) == ([], [])


@pytest.mark.parametrize("source, said", [
    ("no_such_name", "code cell 3: NameError: name 'no_such_name' is not defined"),
    ("from dpbook_utils import nothing", "code cell 3: ImportError: cannot import"), ("1 +", "code cell 3: SyntaxErr"),
    ("open('/nowhere/x')", "code cell 3: FileNotFoundError"), ("raise SystemExit", "code cell 3: SystemExit"),
    ("if False:\n    held('b', True)", "it stated 1 outcomes, where the chapter has 2")])
def test_a_defect_is_no_outcome(source, said, tmp_path, capsys):
    page, runs = counting(tmp_path, source, 'held("a is small", True)')
    assert outcomes.measure([page], 5, 1, tmp_path) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("tiny, repetition 0, is no outcome and not stored. ") and said in line
    assert runs() == 1 and not list(tmp_path.rglob("0*.json"))


FULL = """
import errno, os
before, calls = os.fsync, []


def fsync(number):
    calls.append(number)
    if len(calls) <= {}:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    before(number)


os.fsync = fsync"""


def test_a_disk_that_is_full_costs_no_repetition(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # of the processes that are started
    page, _ = counting(tmp_path, FULL.format(1), 'held("a is small", True)')
    assert outcomes.measure([page], 1, 1, tmp_path) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "cannot be written (No space left on device)" in line and "; the repetition is kept. To store it: mv" in line
    subprocess.run(line.partition("To store it: ")[2], shell=True, check=True)
    assert str(*outcomes.rates(page, tmp_path).values()) == "1 of 1"
    page, _ = counting(tmp_path, FULL.format(9), "other = 1", 'held("a is small", True)')
    assert outcomes.measure([page], 1, 1, tmp_path) == 1
    assert "No space left on device" in (said := capsys.readouterr().err) and "the repetition is lost" in said


def test_nothing_is_run_where_nothing_can_be_stored(tmp_path, capsys):
    page, _ = counting(tmp_path, 'held("a is small", True)')
    repetitions.folder(tmp_path).mkdir()
    (repetitions.folder(tmp_path) / "tiny").touch()
    assert outcomes.measure([page], 3, 1, tmp_path) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("tiny, repetition 0, was not run: ") and "cannot be written" in line
    assert not (tmp_path / "runs").exists()


def test_an_interrupted_measurement_goes_on_where_it_was(tmp_path):
    gate, waits = tmp_path / "gate", tmp_path / "waits"
    wait = (f"import time\nfrom pathlib import Path\nif SEED:\n    Path({str(waits)!r}).touch()\n"
            f"while SEED and not Path({str(gate)!r}).exists():\n    time.sleep(0.02)")
    page, runs = counting(tmp_path, wait, 'held("a is small", True)')
    code = "from pathlib import Path; from dpbook_course.experiments import outcomes; import sys; "
    code += "sys.exit(outcomes.measure([Path(sys.argv[1])], 2, 1, Path(sys.argv[2])))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", code, str(page), str(tmp_path)], stdout=subprocess.PIPE, text=True,
                          stderr=subprocess.STDOUT, start_new_session=True, env=environment) as process:
        end = time.monotonic() + 120
        while not waits.exists() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(120) == 130
        said = process.stdout.read()
    assert "Interrupted. What is finished is stored" in said and "Traceback" not in said
    assert repetitions.missing(page, 2, tmp_path) == ([1], []) and not list(tmp_path.rglob("*.tmp"))
    gate.touch()
    assert outcomes.measure([page], 2, 1, tmp_path) == 0 and runs() == 3


def test_a_kernel_shows_the_rate_of_its_own_cells(tmp_path, monkeypatch):
    from nbclient import NotebookClient

    monkeypatch.setenv("DPBOOK_MODE", "full")
    made = ("from pathlib import Path\nfrom dpbook_course.experiments.outcomes import Outcomes\n"
            f"held = Outcomes('tiny', Path({str(tmp_path)!r}))")
    page = notebook(tmp_path / "tiny.ipynb", "%pip --version", made, 'held("a is small", False)', "1 + 1")
    code = chapter_code.statements(page)["a is small"]
    for number in range(2):
        repetitions.save(repetition(number, held=not number, code=code), tmp_path)
    shown = NotebookClient(nbformat.read(page, 4), kernel_name="python3").execute()
    assert shown.cells[2].outputs[0].text == "Sometimes, a is small: did not hold in this run; 1 of 2 when repeated.\n"


def test_a_slip_in_one_chapter_leaves_the_others(tmp_path, capsys):
    slip = notebook(tmp_path / "slip.ipynb", 'held("a", True)\nheld("a", True)')
    page, runs = counting(tmp_path, 'held("a is small", True)')
    said = "slip.ipynb states the outcome held('a', True); give it a text"
    assert outcomes.measure([slip, page], 1, 1, tmp_path) == 1 and runs() == 1
    shown = capsys.readouterr()
    assert said in shown.err and "tiny, repetition 0: 1 of 1 held" in shown.out
    assert outcomes.show({"slip": slip, "tiny": page}, tmp_path) == 1
    shown = capsys.readouterr()
    assert said in shown.err and shown.out.splitlines() == ["slip", "tiny", "  1 of 1: a is small"]


def test_commands_say_what_is_wrong(tmp_path, capsys, monkeypatch):
    with pytest.raises(SystemExit) as stopped:
        outcomes.main(["run", "99_nothing"])
    assert stopped.value.code == 2 and "no chapter '99_nothing'" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        outcomes.main(["run", "--repeats", "0"])
    assert stopped.value.code == 2 and "at least 1" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert outcomes.measure([], 1, 1, tmp_path / "file") == 1
    assert "cannot be written (Not a directory)" in capsys.readouterr().err

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(repetitions, "measure", interrupted)
    assert outcomes.measure([], 1, 1, tmp_path) == 130 and "goes on" in capsys.readouterr().err


def test_every_stored_repetition_is_sound_and_of_a_chapter():
    chapters = repetitions.chapters()
    assert "03_unrolling" in chapters and "own_solver" in chapters
    for path in repetitions.folder().rglob("*.json"):
        stored = repetitions.read(path)
        assert stored.chapter in chapters, f"{path} belongs to no chapter: delete it"
        assert json.loads(path.read_text())["provenance"]["device"] and math.isfinite(stored.provenance["seconds"])
