"""E00 and E01: what their claims need, and the trainings of E01."""

import pandas
import pytest
import torch

from dpbook_course.claims import claims
from dpbook_course.problems import rod
from dpbook_course.studies.e00 import gradients as e00_gradients
from dpbook_course.studies.e00 import verdict as verdicts_e00
from dpbook_course.studies.e01 import conservation as e01_conservation
from dpbook_course.studies.e01 import inverse as e01_inverse
from dpbook_course.studies.e01 import verdict as verdicts_e01

SCATTER = (1.0, 1.1, 0.9, 1.05, 0.95, 1.0)


def frame_of(values, budgets, **constant):
    """``{variant: {metric: value}}`` at all budgets, with twelve seeds; ``constant``: at budget 0, one seed."""
    rows = [{"variant": name, "budget": n, "seed": seed, **{k: v * SCATTER[seed % 6] for k, v in metrics.items()}}
            for name, metrics in values.items() for n in budgets for seed in range(12)]
    return pandas.DataFrame(rows + [{"variant": name, "budget": 0, "seed": 0, **v} for name, v in constant.items()])


def test_the_solvers_whose_gradients_are_checked_are_all_of_them():
    assert set(verdicts_e00.SOLVERS) == set(e00_gradients.cases())


def test_a_wrong_gradient_is_noticed():
    frame = frame_of({name: {"solver": 1e-9, "network": 1e-8} for name in verdicts_e00.SOLVERS}, (0,))
    claim, wrong = verdicts_e00.CLAIMS["C01"], frame.variant == "Burgers, Upwind"
    assert claims.judge(claim, {"e00": frame}).outcome == "supported"
    assert claims.judge(claim, {"e00": frame[~wrong]}).outcome == "undecided"
    verdict = claims.judge(claim, {"e00": frame.assign(solver=frame.solver.where(~wrong, 1e-3))})
    assert verdict.outcome == "supported under conditions"
    assert "by state and parameters / 1e-06, Burgers, Upwind" in verdict.note
    six, wrong_once = frame.seed < 6, frame.solver.where(~wrong | (frame.seed != 3), 1e-5)
    verdict = claims.judge(claim, {"e00": frame.assign(solver=wrong_once)[six]})
    assert verdict.outcome == "undecided" and "seeds would decide it: supported." in verdict.needed
    assert claims.judge(claim, {"e00": frame.assign(solver=1e-3, network=1e-3)}).outcome == "contradicted"


@pytest.mark.parametrize("physics, outcome", [
    ({"distance": 0.1, "misfit": 0.1}, "supported"), ({"distance": 0.7, "misfit": 0.1}, "supported under conditions"),
    ({"distance": 2.0, "misfit": 3.0}, "contradicted")])
def test_labels(physics, outcome):
    values = {"physics": physics, "supervised, one answer": {"distance": 0.01, "misfit": 0.01},
              "supervised, two answers": {"distance": 1.0, "misfit": 1.0}}
    verdict = claims.judge(verdicts_e01.CLAIMS_INVERSE["C02"],
                           {"e01_inverse": frame_of(values, verdicts_e01.INVERSE_BUDGETS)})
    assert verdict.outcome == outcome
    shown = verdict.effect("distance to the nearest answer, supervised, one answer / physics, 300 updates")
    assert shown.value == pytest.approx(0.01 / physics["distance"]) and shown.holds is None


@pytest.mark.parametrize("law, outcome", [
    ({"divergence": 0.1, "error": 0.5}, "supported"), ({"divergence": 0.3, "error": 0.5}, "supported under conditions"),
    ({"divergence": 0.9, "error": 0.5}, "contradicted")])
def test_law(law, outcome):
    values = {"law": law, "labels": {"divergence": 0.5, "error": 0.3},
              "labels, then projection": {"divergence": 1e-7, "error": 0.2}}
    baselines = {"measurement": {"divergence": 1.0, "error": 0.7}, "projection": {"divergence": 1e-7, "error": 0.5}}
    frame = frame_of(values, verdicts_e01.LAW_BUDGETS, **baselines)
    claim = verdicts_e01.CLAIMS_CONSERVATION["C03"]
    assert claims.judge(claim, {"e01_conservation": frame}).outcome == outcome
    assert claims.judge(claim, {"e01_conservation": frame[frame.budget > 0]}).outcome == "undecided"


def test_the_sensor_cannot_tell_the_two_data_sets_apart():
    plus, both = (rod.states(8, 3, ambiguous) for ambiguous in (False, True))
    measure = rod.measurement(8)
    assert (plus > 0).all() and not torch.equal(plus, both) and torch.equal(plus, both.abs())
    assert torch.equal(*(measure(u0, diffusivity=rod.DIFFUSIVITY) for u0 in (plus, both)))


@pytest.mark.parametrize("module, variant", [
    (e01_inverse, "supervised, two answers"), (e01_conservation, "labels, then projection")],
    ids=["inverse", "conservation"])
def test_a_seed_trains_the_same_alone(module, variant):
    together, alone = module.run(variant, (0, 1), 3), module.run(variant, (1,), 3)
    for name, values in together.items():
        assert values[1] == pytest.approx(float(alone[name][0]), rel=1e-3, abs=1e-6)
        assert values[0] != values[1]


def test_the_projection_obeys_the_law_and_the_measurement_does_not():
    found = {name: e01_conservation.run(name, (0,), 0) for name in ("projection", "measurement")}
    assert found["projection"]["divergence"] < 1e-6 * found["measurement"]["divergence"]
    assert found["projection"]["error"] < found["measurement"]["error"]
