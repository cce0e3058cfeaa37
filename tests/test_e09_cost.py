"""E09, second part: what is timed is what is judged."""

import torch

from dpbook_course.problems import wake_flow as wake
from dpbook_course.studies.e09 import cost as e09_cost
from dpbook_course.studies.e09 import wake as e09_wake


def test_rows_of_the_study_are_timed_in_equal_batches():
    assert set(e09_cost.WAYS) <= set(e09_wake.SPEC.variants)
    ways = {name: e09_cost.Way(torch.nn.Identity(), refinement) for name, refinement in (("P", 1), ("finer", 2))}
    assert {len(way.wakes) for way in ways.values()} == {18}
    assert torch.allclose(wake.grid(1).restrict(ways["finer"].wakes), ways["P"].wakes, atol=0.5)


def test_turns_are_timed_per_sample_and_the_first_is_not():
    calls = []

    def way():
        calls.append(sum(i for i in range(10**6 if not calls else 10)))
        return torch.zeros(18)

    found = e09_cost.take_turns({"way": way}, 5)
    assert len(calls) == 6 and 0 <= found["way"] < 1e-4


def test_another_step_is_not_equal():
    row = e09_wake.SPEC.variants["SOL-8"]
    networks = wake.ensemble(e09_cost.SEEDS)
    with torch.no_grad():
        networks.stacked.layers[-1].weight.mul_(100)
    assert e09_cost._equal(e09_cost.Way(wake.before(networks), 1), row, networks)
    assert not e09_cost._equal(e09_cost.Way(wake.before(wake.ensemble(e09_cost.SEEDS)), 1), row, networks)


def test_every_round_has_its_times(monkeypatch):
    monkeypatch.setattr(e09_cost, "TURNS", 3)
    found = e09_cost.run(e09_cost.FEW, (0, 1), 0)
    assert set(found) == set(e09_cost.SPEC.metrics) and found["P, 128x64"].isnan().all()
    assert found["equal"].tolist() == [1, 1] and (0 < found["P"]).all() and (found["P"] < found["SOL-8"]).all()
