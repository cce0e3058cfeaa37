"""Sets of data: independent draws of a problem, what is repeated on them, and that they count instead of the seeds."""

import numpy as np
import pandas
import pytest
import torch

from dpbook_course import problems
from dpbook_course.claims import findings, seeds, sources
from dpbook_course.claims.claims import Effect, Verdict
from dpbook_course.claims.comparisons import Lower, Smaller
from dpbook_course.claims.effects import RATIO
from dpbook_course.experiments import results
from dpbook_course.experiments.spec import Experiment, Replication, Specification, Task
from dpbook_course.experiments.tasks import compute, experiments
from dpbook_course.problems import ks as ks_module
from dpbook_course.problems import kuramoto_sivashinsky as ks
from dpbook_course.problems.data_sets import cached_per_set, current, data_set, seed_here
from dpbook_course.studies.e03 import growth as e03
from dpbook_utils.data import simulate

KS = ("kuramoto_sivashinsky", "ks_history")
PROBLEMS = (*KS, "periodic_waves", "coarse_burgers", "forced_burgers", "parametric_burgers")


@pytest.mark.parametrize("name", PROBLEMS)
def test_every_set_has_other_trajectories_of_the_same_kind(name):
    problem, names = getattr(problems, name), ("validation", "inside")
    mine = {each: problem.trajectories(each) for each in names}
    for number in (1, 2):
        with data_set(number):
            found = {each: problem.trajectories(each) for each in names}
        for each in names:
            here, there = mine[each].states, found[each].states
            assert here.shape == there.shape and here.dtype == there.dtype and torch.isfinite(there).all()
            assert (here - there).std() > 0.5 * here.std(), "unrelated states"
            assert 0.5 < there.std() / here.std() < 2
        mine = found
    assert current() == 0 and problem.trajectories("inside") is not mine["inside"]


def test_training_data_of_a_set_are_its_own():
    with data_set(5):
        there = ks.trajectories("train").states
    here = ks.trajectories("train").states
    assert here.shape == there.shape and (here - there).std() > 0.5 * here.std()
    assert ks.trajectories("train").states is here, "kept, and the sets apart"


def test_the_states_of_further_sets_are_trajectories_of_the_reference():
    """From each stored state to the next in double precision, on whatever processor."""
    for number in (1, 12):
        with data_set(number):
            lengths, *_ = ks.described("validation")
            states = ks.restarts()["inside"]
            lengths, *_ = ks.described("inside")
        assert states.dtype == torch.float64
        u = simulate(ks.reference_solver(), states[:, 0], 1, warmup=ks_module.FURTHER_EVERY - 1,
                     length=lengths.double())[:, -1]
        assert ((u - states[:, 1]).flatten(1).norm(dim=1) / u.flatten(1).norm(dim=1)).max() < 1e-8


def test_sets_that_do_not_exist_are_refused():
    with data_set(13), pytest.raises(ValueError, match=r"data set 13 of .*: there are 0 \.\.\. 12; make more"):
        ks.restarts()
    with pytest.raises(ValueError, match="got -1"), data_set(-1):
        pass


def test_seeds_and_caches_are_those_of_the_set():
    calls = []

    @cached_per_set
    def drawn(name):
        calls.append((name, current()))
        return seed_here(3)

    with data_set(2), data_set(1):
        assert drawn("a") == drawn("a") == 10_003
    assert drawn("a") == 3 and calls == [("a", 1), ("a", 0)]


def spec(**changed) -> Specification:
    given = {"id": "e90", "title": "", "chapter": "", "variants": {"a": 1, "P": 0}, "budgets": {"a": (5, 9), "P": (0,)},
             "seeds": (0, 1), "metrics": {"x": ""}, "settings": {}, "baselines": frozenset({"P"}),
             "replication": Replication({"a": (9,), "P": (0,)}, num_sets=8)}
    return Specification(**given | changed)


def test_what_decides_is_repeated_on_every_set():
    assert [task for task in spec().tasks() if task.seeds[0] > 1] == [
        Task("P", 0, (2, 3, 4, 5, 6, 7)), Task("P", 0, (8, 9)),
        Task("a", 9, (2, 3, 4, 5, 6, 7)), Task("a", 9, (8, 9))]
    assert [spec().data_set(seed) for seed in (0, 1, 2, 9)] == [0, 0, 1, 8]
    assert all(task.seeds[-1] <= 3 for task in spec().tasks(num_seeds=4)), "asked for seeds, not for sets"
    assert spec(replication=None).data_set(7) == 0
    assert spec().fingerprint("a") == spec(replication=None).fingerprint("a"), "no record is orphaned by more of them"
    with pytest.raises(ValueError, match="its replication repeats 'a' at 7 updates"):
        spec(replication=Replication({"a": (7,)}))


def test_a_seed_with_data_of_its_own_trains_alone_in_its_set():
    calls = []

    def run(variant, group, budget):
        calls.append((group, current()))
        return {"x": torch.tensor([100.0 * current() + seed for seed in group])}

    record = compute(Experiment(spec(), run), "a", 9, (0, 1, 2, 3))
    assert calls == [((0, 1), 0), ((2,), 1), ((3,), 2)] and current() == 0
    assert record.metrics["x"].tolist() == [0, 1, 102, 203]
    assert list(results.rows(spec(), [record])["data_set"]) == [0, 0, 1, 2]
    assert "data_set" not in results.rows(spec(replication=None), [record])


def frame(num_sets: int, seeds_of_first: int = 6) -> pandas.DataFrame:
    """Where a / b is 0.5 times a factor of the seed on the first set, and 0.8 on all others; P differs by set."""
    rows = []
    for seed in range(seeds_of_first + num_sets):
        number = max(0, seed - seeds_of_first + 1)
        factor = (1 + 0.01 * seed) * (0.5 if number == 0 else 0.8 + 0.001 * number)
        rows += [{"variant": name, "budget": 10, "seed": seed, "data_set": number, "error.inside": value,
                  "blown_up": value, "diverged_at": -1.0} for name, value in (("a", factor), ("b", 1.0))]
        if number or seed == 0:
            rows.append({"variant": "P", "budget": 0, "seed": seed, "data_set": number, "error.inside": 2.0 + number,
                         "diverged_at": -1.0})
    return pandas.DataFrame(rows)


def test_sets_count_once_there_are_six_of_them():
    comparison = Smaller("error", "inside", "a", "b", 10)
    few, many = (comparison.finding(frame(number)) for number in (4, 5))
    assert few.num_seeds == 6 and few.effect.sets == 0 and few.effect.value == pytest.approx(0.5125, rel=1e-3)
    assert many.num_seeds == 6 and many.effect.sets == 6
    first = 0.5 * np.sqrt(1.02 * 1.03)  # the median of its six seeds
    others = [(1 + 0.01 * (5 + k)) * (0.8 + 0.001 * k) for k in range(1, 6)]
    assert many.effect.value == pytest.approx(np.exp(np.log([first, *others]).mean()))
    assert seeds.ratio(frame(5), "a", "b", 10).ratio == pytest.approx(many.effect.value)
    assert seeds.interval(frame(5), "a", 10).value == pytest.approx(many.effect.value)
    assert many.effect.alike == pytest.approx(np.log([0.5 * (1 + 0.01 * seed) for seed in range(6)]))
    assert Lower("blown_up", "", "a", "b", 10).finding(frame(5)).num_seeds == 6


def test_a_lost_seed_of_the_first_set_does_not_lose_the_set():
    lost = frame(6)
    lost.loc[(lost.variant == "a") & (lost.seed == 3), "diverged_at"] = 7
    found = Smaller("error", "inside", "a", "b", 10, diverged=True).finding(lost).effect
    assert found.blown_up == (1, 0) and np.isfinite(found.numbers).all() and found.reading == "as claimed"


def test_a_baseline_is_that_of_the_seeds_own_set():
    found = Smaller("error", "inside", "a", "P", 10, budget_b=0).finding(frame(6))
    assert np.exp(found.effect.numbers[-1]) == pytest.approx((1 + 0.11) * 0.806 / 8)
    without = frame(6)
    without = without[~((without.variant == "P") & (without.data_set == 6))]
    assert len(Smaller("error", "inside", "a", "P", 10, budget_b=0).finding(without).effect.numbers) == 6
    assert findings.for_each_seed(pandas.Series([3.0]), pandas.Series([1.0, 2.0])).tolist() == [3, 3]


def test_a_network_alone_in_its_set_has_another_to_disagree_with(monkeypatch):
    """E03: on a further set of data one seed trains; its states are compared with those of one more network."""
    given = []

    def fitted(row, trained, budget):
        given.append(tuple(trained))
        return None, type("History", (), {"diverged_at": torch.arange(len(trained))})

    monkeypatch.setattr(e03, "fitted", fitted)
    monkeypatch.setattr(e03, "judge", lambda step, number: {"x": torch.arange(number)})
    assert e03.run("ONE", (7,), 8)["x"].tolist() == [0] and e03.run("ONE", (0, 1), 8)["x"].tolist() == [0, 1]
    assert given == [(7, 107), (0, 1)]


def test_every_replication_is_possible():
    """No study asks for more sets than are stored."""
    for experiment in experiments().values():
        replication = experiment.spec.replication
        if replication:
            assert replication.num_sets <= ks_module.FURTHER_SETS, experiment.spec.id


def test_the_spread_over_sets_is_told_from_that_over_seeds():
    generator = np.random.default_rng(0)

    def verdict(of_set: float) -> Verdict:
        own = generator.normal(0, of_set, 13)
        effects = []
        for number in range(8):
            seeds_alike = own[0] + generator.normal(0, 0.1, 6)
            numbers = [float(np.median(seeds_alike)), *(own[1:] + generator.normal(0, 0.1, 12))]
            effects.append(Effect(f"{number}", 1, 1, 1, sets=13, numbers=tuple(numbers), alike=tuple(seeds_alike),
                                  question=RATIO))
        return Verdict("undecided", (*effects, Effect("other", 1, 1, 1)), 13, "")

    same, apart = (sources.spreads([verdict(of_set)]) for of_set in (0.0, 1.0))
    assert len(same) == len(apart) == 8 and (apart.p < 0.01).all() and (same.p > 0.01).all()
    assert np.allclose(apart.seeds, 0.1, rtol=1) and (apart.sets > 0.4).all()
    assert "8 spread more over the sets than over the seeds of one set, 8 of them by more" in sources.in_words(apart)
    assert sources.in_words(sources.spreads([])).startswith("No comparison has been repeated")


def test_what_the_further_sets_say_is_told_from_what_the_first_one_said():
    """Six seeds of the first set, and twelve further sets with a seed each, read by themselves."""
    def effect(name: str, first: float, further: float, noise: float = 0.01) -> Effect:
        apart = np.linspace(-noise, noise, 12) + further
        alike = np.linspace(-noise, noise, 6) + first
        return Effect(name, 1, 1, 1, "as claimed", sets=13, numbers=(float(np.median(alike)), *apart),
                      alike=tuple(alike), question=RATIO)

    effects = (effect("same", -0.3, -0.2), effect("turned", -0.3, 0.3), effect("equal", 0.3, 0.0),
               effect("wide", -0.1, -0.1, 1.0), Effect("on one set", 1, 1, 1, "as claimed"))
    table = sources.repeated([Verdict("undecided", effects, 13, "")])
    assert dict(table["first"]) == {"same": "as claimed", "turned": "as claimed", "equal": "the other way",
                                    "wide": "undecided"}
    assert dict(table["further"]) == {"same": "as claimed", "turned": "the other way", "equal": "no difference",
                                      "wide": "undecided"}
    assert "Of 4 comparisons" in sources.replicated(table) and "3 were decided" in sources.replicated(table)
    assert "1 of these read the same again, and 1 the opposite way" in sources.replicated(table)
    counts = sources.replication(table)
    assert counts.to_numpy().sum() == 4 and counts.loc["as claimed", "the other way"] == 1
    assert sources.replicated(sources.repeated([])).startswith("No comparison has enough")
