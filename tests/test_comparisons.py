"""Comparisons as data find themselves and make their labels, and no verdict depends on what a label says."""

import contextlib
import random
import re
import string
from dataclasses import FrozenInstanceError, replace

import pandas
import pytest
from test_repository import MODULES, imports, module_name

from dpbook_course.claims import claims, shown
from dpbook_course.claims.claims import Effect
from dpbook_course.claims.comparisons import Lower, Smaller, SmallerInTime, cross, found_in
from dpbook_course.experiments import results, tasks

SCATTER = (1.0, 1.3, 0.8, 1.1, 0.6, 0.9)
STUDIES = [path for path in MODULES if re.search(r"/studies/e\d\d/", path.as_posix())]


def frame(values, budgets=(10, 100), **columns):
    """Errors of variants inside, the same at all budgets; P is a baseline of one seed."""
    rows = [{"variant": name, "budget": n, "seed": seed, "error.inside": value * scatter,
             "decorrelation.inside": 1 / (value * scatter), "blown_up": value, "diverged_at": -1.0,
             "seconds_per_update": 0.01}
            for name, value in values.items() for n in budgets for seed, scatter in enumerate(SCATTER)]
    return pandas.DataFrame(rows + [{"variant": "P", "budget": 0, "seed": 0, "error.inside": 1.0, "diverged_at": -1}])


def test_a_comparison_is_found_and_labelled():
    data = frame({"A": 0.2, "B": 0.4})
    half = Smaller("error", "inside", "A", "B", 100)
    assert half.label == "error inside, A / B, 100 updates"
    found = half.finding(data)
    assert found.effect.name == half.label and found.effect.value == pytest.approx(0.5) and found.effect.holds
    assert replace(half, a="B", b="A").finding(data).effect.reading == "the other way"
    assert replace(half, a=None).finding(data).num_seeds == 0, "not chosen yet"
    assert replace(half, b="P", budget_b=0).finding(data).effect.value == pytest.approx(0.2 * 0.926, rel=0.01)
    other = replace(half, words="distance", names=(None, "the rest"), ending="")
    assert other.label == "distance, A / the rest" and other.finding(data).effect.value == found.effect.value
    with pytest.raises(FrozenInstanceError):
        half.budget = 10


def test_fractions_and_equal_time_are_labelled_as_what_they_are():
    data = frame({"A": 0.2, "B": 0.4})
    fraction = Lower("blown_up", "", "A", "B", 100)
    assert fraction.label == "fraction blown up, A - B, 100 updates"
    assert fraction.finding(data).effect.value == pytest.approx(-0.2) and fraction.finding(data).effect.holds
    timed = SmallerInTime("error", "inside", "A", "B", (10, 100))
    assert timed.label == "error inside, A / B, equal wall-clock"
    assert timed.finding(data).effect.value == pytest.approx(0.5)
    assert replace(timed, budget_b=(10, 1000)).finding(data).num_seeds == 0, "one of its budgets is missing"


def test_a_training_that_diverged_has_an_infinite_error_and_no_time():
    data = frame({"A": 0.2, "B": 0.4})
    data.loc[(data.variant == "A") & (data.seed == 3), "diverged_at"] = 7.0
    error = Smaller("error", "inside", "A", "B", 100, diverged=True)
    time = Smaller("decorrelation", "inside", "B", "A", 100, diverged=True)  # that B's is shorter
    for each in (error, time):
        effect = each.finding(data).effect
        assert effect.blown_up == (1, 0) and effect.value == pytest.approx(0.5), each.label
    assert time.label == "time to decorrelation inside, B / A, 100 updates"
    assert replace(error, diverged=False).finding(data).effect.blown_up == (0, 0)


def test_the_crossing_has_every_combination_in_order():
    found = cross(Smaller, "error", ["inside", "below"], "A", "B", [10, 100], ending="")
    assert [(c.region, c.budget) for c in found] == [
        ("inside", 10), ("inside", 100), ("below", 10), ("below", 100)] and {c.ending for c in found} == {""}
    data = frame({"A": 0.2, "B": 0.4})
    assert list(found_in(data, found[:2])) == found[:2]
    named = cross(SmallerInTime, "error", "inside", ["A", "B"], "B", (10, 100), names=("x", None))
    assert [c.a for c in named] == ["A", "B"] and named[0].budget == (10, 100) and named[0].label.startswith("error")


def exchanged(frame, generator):
    """The same records under each other's names, among variants with equal budgets and seeds: other outcomes."""
    alike = {}
    for (variant, budget), rows in frame.groupby(["variant", "budget"]):
        alike.setdefault((budget, len(rows)), []).append(variant)
    names = {(budget, old): new for (budget, _), variants in alike.items()
             for old, new in zip(variants, generator.sample(variants, len(variants)))}
    return frame.assign(variant=[names[key] for key in zip(frame.budget, frame.variant)])


def twice(frame):
    """Every seed again under another number: with six, a rule that picks one of many never finds one."""
    return pandas.concat([frame, frame.assign(seed=frame.seed + 100)], ignore_index=True)


@pytest.fixture(scope="module")
def stored():
    """All claims, with the frames of their experiments as they are, and with exchanged records of twice the seeds."""
    known, generator = claims.all_claims(), random.Random(1)
    studies = tasks.experiments()
    names = {name for claim in known.values() for name in claim.experiments}
    frames = {name: results.frame(studies[name].spec) for name in sorted(names) if results.load(studies[name].spec)[0]}
    return known, [frames, {
        name: twice(exchanged(frame, generator)) for name, frame in frames.items()}]


def judged(known, frames):
    """``{id: verdict}`` of the claims whose rule can be applied: exchanged records may have no logarithm."""
    found = {}
    for key, claim in known.items():
        with contextlib.suppress(ValueError, RuntimeWarning):
            found[key] = claims.judge(claim, frames)
    return found


@pytest.mark.parametrize("which", [0, 1], ids=["stored", "exchanged"])
def test_no_verdict_reads_its_labels(stored, which, monkeypatch):
    """Every label is replaced by random letters as soon as it is made: only labels and notes may change."""
    known, frames = stored[0], stored[1][which]
    plain = judged(known, frames)
    letters, renamed, make = random.Random(0), {}, Effect.__init__

    def scrambled(self, name, *values, **fields):
        if name not in renamed.values():
            name = renamed.setdefault(name, "".join(letters.choices(string.ascii_letters, k=20)))
        make(self, name, *values, **fields)

    monkeypatch.setattr(Effect, "__init__", scrambled)
    again = judged(known, frames)
    assert set(again) == set(plain) and len(plain) >= 15
    for key, before in plain.items():
        after = again[key]
        assert (after.outcome, after.num_seeds, after.budget) == (before.outcome, before.num_seeds, before.budget), key
        assert after.required == tuple(renamed[name] for name in before.required), key
        assert after.main == renamed.get(before.main, ""), key
        assert [e.name for e in after.effects] == [renamed[e.name] for e in before.effects], key
        for one, other in zip(before.effects, after.effects):
            for field in ("value", "low", "high", "reading", "p", "corrected", "blown_up"):
                was, now = getattr(one, field), getattr(other, field)
                assert was == now or (was != was and now != now), (key, one.name, field)
        mains = [shown.main_effect(verdict) for verdict in (before, after)]
        assert mains == [None, None] or mains[1].name == renamed[mains[0].name], key
    outcomes = {key: verdict.outcome for key, verdict in plain.items()}
    assert which == 0 or outcomes["C16"] == claims.UNDER_CONDITIONS, "a rule that picks those that are enough"


def study(name):
    """``e04`` of ``dpbook_course.studies.e04.rollouts``; None of what belongs to no study."""
    found = re.match(r"dpbook_course\.studies\.(e\d\d)", name)
    return found and found[1]


@pytest.mark.parametrize("path", STUDIES, ids=module_name)
def test_no_study_imports_another_ones_insides(path):
    """Nor the rules that judge it: only the package of its folder brings the two together."""
    own = study(module_name(path))
    for module in imports(path):
        assert study(module) in (None, own), f"{module_name(path)} imports {module}: give what both need another home"
        if path.name != "__init__.py":
            assert not module.endswith(".verdict"), f"{module_name(path)} imports {module}"


def test_what_studies_share_imports_no_study():
    parts = {"problems", "experiments", "claims"}
    shared = [path for path in MODULES if parts & set(module_name(path).split(".")[1:2])]
    assert len(shared) > 20 and not [(path, name) for path in shared for name in imports(path) if study(name)]
