"""Specifications: what cannot be meant is refused, and the fingerprint sees all that results depend on."""

import re
import subprocess
import sys
from dataclasses import dataclass, fields, replace
from inspect import cleandoc

import pytest

from dpbook_course.descriptions import describe
from dpbook_course.experiments.spec import Experiment, Specification, Task
from dpbook_course.experiments.tuning import Tuning
from dpbook_utils.gradients import FullGradient, Truncated
from dpbook_utils.losses import every_step, final_step


@dataclass(frozen=True)
class Row:
    rate: float
    placement: object = every_step


SPEC = Specification(
    id="e99", title="A title", chapter="03_unrolling", variants={"P": None, "ONE": Row(0.1), "WIG-3": Row(0.2)},
    budgets={"P": (0,), "ONE": (20, 10), "WIG-3": (10,)}, seeds=(4, 5, 6), metrics={"error": "", "curve": ""},
    settings={"dt": 0.1, "lengths": (1, 2)}, checks=(Task("ONE", 2, (4, 5)),), checked=("error",),
    baselines=frozenset({"P"}))


def test_tasks_are_every_variant_at_its_budgets_and_the_checks():
    all_seeds = (4, 5, 6)
    assert SPEC.tasks() == [Task("P", 0, (4,)), Task("ONE", 2, (4, 5)), Task("ONE", 10, all_seeds),
                            Task("WIG-3", 10, all_seeds), Task("ONE", 20, all_seeds)]
    assert {task.budget for task in SPEC.tasks(budget=20)} == {0, 2, 20}
    assert SPEC.tasks(num_seeds=5)[-1].seeds == (4, 5, 6, 7, 8) and SPEC.tasks(num_seeds=1)[-1].seeds == (4,)


def test_impossible_numbers_are_refused():
    with pytest.raises(ValueError, match="0 seeds were asked for; a number of at least 1"):
        SPEC.tasks(num_seeds=0)
    with pytest.raises(ValueError, match="no budget of 2 updates; it has 0, 10, 20"):
        SPEC.tasks(budget=2)


@pytest.mark.parametrize("change, message", [
    ({"budgets": {"P": (0,), "ONE": (10,)}}, "WIG-3"),
    ({"seeds": 6}, r"the seeds are 6; give a tuple of whole numbers, such as \(0, 1\)"), ({"seeds": ()}, "seeds are"),
    ({"budgets": {"P": (0,), "ONE": (20,), "WIG-3": 10}}, "the budgets of 'WIG-3' are 10; give a tuple"),
    ({"checks": (Task("TWO", 2, (4,)),)}, "its checks name 'TWO', which is no variant of it; it has P, ONE, WIG-3"),
    ({"checked": ("eror",)}, "its checked name 'eror', which is no metric of it; it has error, curve"),
    ({"baselines": frozenset({"Q"})}, "its baselines name 'Q', which is no variant of it; it has P, ONE, WIG-3"),
    ({"variants": {"P": 1, "wig 3": 2, "WIG-3": 3}, "budgets": {"P": (0,), "wig 3": (1,), "WIG-3": (1,)}, "checks": ()},
     "'wig 3', 'WIG-3' have the same name as files")])
def test_a_contradiction_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(SPEC, **change)


@pytest.mark.parametrize("change", [
    {"id": "e98"}, {"settings": {"dt": 0.2, "lengths": (1, 2)}}, {"settings": {"dt": 0.1, "lengths": (2, 1)}},
    {"variants": {**SPEC.variants, "ONE": Row(0.3)}}, {"variants": {**SPEC.variants, "ONE": Row(0.1, final_step)}},
    {"metrics": {"error": ""}}], ids=lambda change: next(iter(change)))
def test_the_fingerprint_depends_on_what_results_depend_on(change):
    assert replace(SPEC, **change).fingerprint("ONE") != SPEC.fingerprint("ONE")


def test_the_fingerprint_depends_on_nothing_else():
    other = replace(SPEC, title="Another", seeds=(0, 1), checks=(), metrics={"curve": "other words", "error": ""},
                    variants={**SPEC.variants, "WIG-3": Row(0.9)}, tolerance=0.1)
    assert other.fingerprint("ONE") == SPEC.fingerprint("ONE") != SPEC.fingerprint("WIG-3")
    with pytest.raises(ValueError, match="no variant 'TWO'; it has P, ONE, WIG-3"):
        SPEC.fingerprint("TWO")


def test_the_fingerprint_is_the_same_in_every_process():
    code = "import test_spec; print(*map(test_spec.SPEC.fingerprint, test_spec.SPEC.variants))"
    environment = {"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": "7"}
    printed = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert printed.stdout.split() == list(map(SPEC.fingerprint, SPEC.variants))


@pytest.mark.parametrize("kind", [Specification, Experiment, Tuning])
def test_what_a_study_states_is_explained_field_by_field(kind):
    explained = " ".join(re.findall(r"^    ([\w, ]+): ", cleandoc(kind.__doc__), re.MULTILINE))
    assert {field.name for field in fields(kind)} <= set(re.findall(r"\w+", explained))


def test_descriptions_say_what_an_object_is_made_of():
    assert describe(Row(0.1)) == {"type": "Row", "rate": 0.1, "placement": "every_step"}
    assert describe({"a": (1, [2.5, None]), 3: True}) == {"a": [1, [2.5, None]], "3": True}
    assert len({str(describe(gradient)) for gradient in (FullGradient(), Truncated(2), Truncated(4))}) == 3
    with pytest.raises(TypeError, match="has no description; give it a repr"):
        describe(object())
