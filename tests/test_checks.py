"""Stored results that the code no longer gives fail here: a cheap part of every experiment is repeated."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import tiny_experiment as tiny

from dpbook_course.experiments import __main__, checking, results, runner
from dpbook_course.experiments.checking import relative_difference
from dpbook_course.problems import kuramoto_sivashinsky as ks
from dpbook_utils.physics.kuramoto_sivashinsky import KuramotoSivashinsky, etd1
from dpbook_utils.physics.solver import Solver

EXPERIMENTS, TINY = runner.experiments(), tiny.EXPERIMENTS[0]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_code_gives_what_is_stored(name):
    assert "\n".join(runner.check(EXPERIMENTS[name])) == ""


QUICK = {"e02_tuning", "e03_perturbations", "e04_tuning", "e08_periodic"}  # the others: make portable
WITH_TIME_STEP = [pytest.param(name, marks=() if name in QUICK else pytest.mark.long)
                  for name, experiment in EXPERIMENTS.items() if not experiment.without_time_step]


@pytest.fixture
def longer_steps(monkeypatch):
    """Every solver made from here on takes time steps that are 1 % too long; what was made before is forgotten."""
    right = Solver.__init__

    def wrong(self, dt, state_shape):
        right(self, None if dt is None else 1.01 * dt, state_shape)

    forget()
    monkeypatch.setattr(Solver, "__init__", wrong)
    yield
    forget()


def forget() -> None:
    """Empty the caches of the problems' data and solvers."""
    for name, module in list(sys.modules.items()):
        if name.startswith(("dpbook_course.problems.", "dpbook_course.studies.")):
            classes = [value for value in vars(module).values() if isinstance(value, type)]
            for value in (value for home in (module, *classes) for value in vars(home).values()):
                if hasattr(value, "cache_clear") and value.__module__ == name:
                    value.cache_clear()


@pytest.mark.parametrize("name", WITH_TIME_STEP)
def test_a_constant_that_is_1_percent_off_is_far_beyond_the_tolerance(name, longer_steps):
    experiment = EXPERIMENTS[name]
    tolerance = checking.MARGIN * experiment.spec.tolerance
    found = runner.check(replace(experiment, spec=replace(experiment.spec, tolerance=tolerance)))
    assert found and all("the code no longer gives what is stored" in text for text in found)
    assert f"allowed {tolerance:g}" in found[0] and f"run {name}" in found[0]


def test_a_changed_constant_of_the_coarse_solver_alone_is_noticed(monkeypatch):
    """A coarse solver whose time step is 1 % too long; the data, which its reference makes, stay."""
    e04 = EXPERIMENTS["e04"]
    (task,) = [task for task in e04.spec.checks if task.variant == "WIG-3"]
    monkeypatch.setattr(ks, "coarse_solver",
                        lambda: KuramotoSivashinsky(ks.num_points, 1.01 * ks.dt, etd1, ks.num_substeps))
    (difference,) = runner.check(replace(e04, spec=replace(e04.spec, checks=(task,))))
    assert "e04, WIG-3, 8 updates, seeds 0, 1: the code no longer gives what is stored" in difference
    assert "one_step.inside, seed 1: " in difference and "allowed 0.0001" in difference and "run e04" in difference


@pytest.fixture
def stored(monkeypatch, tmp_path):
    """The tiny experiment with its check stored, and the folder of the results."""
    (tmp_path / "gate").touch()
    monkeypatch.setenv("TINY", str(tmp_path))
    monkeypatch.setattr(results, "folder", lambda: tmp_path / "results")
    monkeypatch.setattr(runner, "find", lambda _: TINY)
    results.save(runner.compute(TINY, "a", 2, (0, 1)))
    return tmp_path / "results" / "tiny" / "a-2-0.json"


def test_a_check_that_passes_says_so(stored, capsys):
    assert runner.check(TINY) == [] and __main__.main(["check", "tiny"]) == 0
    assert capsys.readouterr().out == "tiny: the code gives what is stored.\n"


def test_a_difference_is_stated_with_its_size_and_what_to_do(stored, capsys, monkeypatch):
    monkeypatch.setitem(tiny.SPEC.variants, "a", 1.01)
    monkeypatch.setattr(results, "load", load_as_if_nothing_had_changed(tiny.SPEC, results.load))
    curve = np.array([[1, 2, np.inf], [2, 4, 5.0]])
    monkeypatch.setattr(runner, "find", lambda _: replace(TINY, run=lambda *args: {**tiny.run(*args), "curve": curve}))
    assert __main__.main(["check", "tiny"]) == 1
    shown = capsys.readouterr().err
    assert "tiny, a, 2 updates, seeds 0, 1: the code no longer gives what is stored." in shown
    assert "  error, seed 1: 0.836667, stored 0.833333: relative difference 0.004, allowed 0.0001" in shown
    assert "  curve, seed 1: [2. 4. 5.], stored [ 2.  4. inf]: relative difference inf" in shown
    assert "seed 0:" not in shown and "run tiny" in shown and "1 problem." in shown


def load_as_if_nothing_had_changed(spec, load):
    """A change of the code that the specification does not see."""
    before = replace(spec, variants={**spec.variants, "a": 1.0})
    return lambda _, root: load(before, root)


def test_a_tolerance_is_kept(stored):
    for factor, num_differences in ((1 + 0.9e-4, 0), (1 + 1.1e-4, 1)):
        def off(*task, factor=factor):
            found = tiny.run(*task)
            return {**found, "error": found["error"] * factor}

        assert len(runner.check(replace(TINY, run=off))) == num_differences


def test_a_check_without_its_record_fails(stored):
    text = stored.read_text()
    stored.write_text(text.replace("0.833333", "0.9"))
    (message,) = runner.check(TINY)
    assert "cannot be checked" in message and "was edited" in message
    stored.unlink()
    (message,) = runner.check(TINY)
    assert "it is not stored. Compute it: python -m dpbook_course.experiments run tiny" in message


def test_an_experiment_without_checks_fails():
    without = replace(TINY, spec=replace(tiny.SPEC, checks=()))
    assert runner.check(without) == ["tiny has no checks: state some in its specification"]


@pytest.mark.parametrize("now, then, expected", [
    (1.01, 1.0, 0.01), (1.0, -1.0, 2.0), (0.0, 0.0, 0.0), (np.inf, np.inf, 0.0), (np.nan, np.nan, 0.0),
    (np.inf, 1.0, np.inf), (1.0, np.inf, np.inf), (np.nan, 1.0, np.inf), (-np.inf, np.inf, np.inf),
    ([1.0, 2.2], [1.0, 2.0], 0.1), ([1.0], [1.0, 2.0], np.inf), ([], [], 0.0)])
def test_relative_difference(now, then, expected):
    assert relative_difference(np.array(now), np.array(then)) == pytest.approx(expected)
