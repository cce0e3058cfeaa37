"""E14: every way is the one that its name says, at the number of calls that is stated; the verdict, made up."""

import functools

import numpy as np
import pandas
import pytest
import torch

from dpbook_course.claims.claims import CONTRADICTED, SUPPORTED, UNDECIDED, UNDER_CONDITIONS, judge
from dpbook_course.studies.e14 import corrector, design, gradients, viscosity
from dpbook_course.studies.e14.verdict import CLAIMS, WITHOUT, WITHOUT_FEW
from dpbook_utils.gradients import NoSolverGradient

SEEDS = (0, 1, 2)  # 48 samples: with as many as there are points a solver is looked at more closely


@pytest.fixture
def calls(monkeypatch):
    """How many samples the black boxes have been called for."""
    counted = []
    for module in (corrector, viscosity):
        @functools.wraps(module.values)
        def values(u, *parameters, _values=module.values, **named):
            counted.append(len(u))
            return _values(u, *parameters, **named)

        monkeypatch.setattr(module, "values", values)
    return counted


def batch():
    return corrector.problem.windows(SEEDS, design.NUM_STEPS, design.BATCH)[0]


def gradient_of(way, seeds=SEEDS):
    networks = corrector.problem.ensemble(seeds)
    P = corrector.solver(way, seeds)
    return gradients.weights_gradient(P, networks, batch(), design.NUM_STEPS, len(seeds)), P


@pytest.mark.parametrize("name", design.ESTIMATES)
def test_an_update_of_the_corrector_takes_the_calls_that_are_stated(name, calls):
    way = design.corrector_ways()[name]
    _, P = gradient_of(way)
    calls.clear()
    gradients.weights_gradient(P, corrector.problem.ensemble(SEEDS), batch(), design.NUM_STEPS, len(SEEDS))
    assert sum(calls) == len(SEEDS) * design.calls_per_update(way)


@pytest.mark.parametrize("name", design.ESTIMATES)
def test_an_update_of_the_viscosity_takes_the_calls_that_are_stated(name, calls):
    way = design.viscosity_ways(design.FEW)[name]
    viscosity.fitted(way, SEEDS, 1)
    first = sum(calls)  # with two more, which look at whether the step is deterministic
    calls.clear()
    viscosity.fitted(way, SEEDS, 3)
    assert sum(calls) - first == 2 * len(SEEDS) * viscosity.PROBLEM["states"] * (1 + way.backward)


def test_equal_calls_are_equal():
    for way in design.corrector_ways().values():
        for updates, budget in zip(design.UPDATES, design.equal_calls(way)):
            wanted = updates * design.calls_per_update(design.corrector_ways()["adjoint"])
            found = way.pairs + budget * design.calls_per_update(way)
            assert wanted - design.calls_per_update(way) < found <= wanted
    for num in design.COEFFICIENTS:
        for way in design.viscosity_ways(num).values():
            for number in design.CALLS:
                found = way.pairs + design.viscosity_updates(way, number) * (1 + way.backward)
                assert number - (1 + way.backward) < found <= number


def test_differences_give_the_gradient_and_none_that_of_the_policy():
    ways = design.corrector_ways()
    true, _ = gradient_of(ways["adjoint"])
    found, _ = gradient_of(ways["finite differences"])
    assert (found - true).norm() < 1e-3 * true.norm()
    assert isinstance(ways["no solver gradient"].setup.gradient, NoSolverGradient)
    assert not isinstance(ways["SPSA-1"].setup.gradient, NoSolverGradient)


def test_the_black_box_has_the_values_of_the_solver():
    some = batch()
    P = corrector.solver(design.corrector_ways()["SPSA-1"], SEEDS)
    expected = corrector.problem.coarse_solver()(some["u0"], viscosity=some["viscosity"])
    assert torch.equal(P(some["u0"], viscosity=some["viscosity"]), expected)


def test_a_surrogate_learns_the_step_from_its_pairs_alone(calls, monkeypatch):
    monkeypatch.setitem(corrector.SURROGATE, "updates", 400)
    emulator = corrector.surrogate(64, SEEDS)
    assert sum(calls) == 64 * len(SEEDS)
    some = batch()
    with torch.no_grad():
        found = emulator(some["u0"], viscosity=some["viscosity"])
    expected = corrector.problem.coarse_solver()(some["u0"], viscosity=some["viscosity"])
    assert (found - expected).norm() < 0.5 * (some["u0"] - expected).norm()
    assert not any(w.requires_grad for w in emulator.parameters())


def test_the_viscosity_is_found():
    found, _ = viscosity.fitted(design.viscosity_ways(2)["adjoint"], SEEDS, 100)
    judged = viscosity.judge(found, SEEDS)
    assert (judged["error"] < 0.1 * judged["start"]).all()
    exact = viscosity.judge(torch.stack([viscosity.truth(2, seed) for seed in SEEDS]), SEEDS)
    assert (exact["error"] == 0).all() and (exact["misfit"] == 0).all()


def test_the_quality_of_an_estimate():
    """Draws around twice the gradient, one to either side: no bias but the factor, and a known spread."""
    true = torch.tensor([[3.0, 4.0]], dtype=torch.float64)
    noise = torch.tensor([[4.0, -3.0]], dtype=torch.float64)
    found = gradients.quality(torch.stack([2 * true + noise, 2 * true - noise]), true)
    assert found["bias"].item() == pytest.approx(1) and found["spread"].item() == pytest.approx(1)
    assert found["cosine"].item() == pytest.approx(2 / 5**0.5)


def frames(corrected=1.2, found=1.2, seeds=design.SEEDS):
    """Results in which every way without an adjoint has so many times its error."""
    random = np.random.default_rng(0)

    def rows(variant, budget, error):
        return [{"variant": variant, "budget": budget, "seed": seed, "error.inside": value, "error": value,
                 "diverged_at": -1} for seed, value in zip(seeds, error * random.normal(1, 0.002, len(seeds)))]

    many = rows("adjoint", design.UPDATES[-1], 1)
    for name in WITHOUT:
        many += rows(name, design.equal_calls(design.corrector_ways()[name])[-1], corrected)
    ways = design.viscosity_ways(design.FEW)
    few = [row for name in ("adjoint", *WITHOUT_FEW) for row in rows(
        f"{name}, {design.FEW}", design.viscosity_updates(ways[name], design.CALLS[-1]),
        1 if name == "adjoint" else found)]
    return {"e14": pandas.DataFrame(many), "e14_viscosity": pandas.DataFrame(few)}


@pytest.mark.parametrize("values, outcome", [
    ((1.2, 1.2), SUPPORTED), ((1.2, 1.0), UNDER_CONDITIONS), ((0.8, 1.2), UNDER_CONDITIONS),
    ((1.0, 0.8), CONTRADICTED)])
def test_the_verdict(values, outcome):
    assert judge(CLAIMS["C23"], frames(*values)).outcome == outcome


def test_one_way_that_is_as_good_on_each_task_contradicts():
    found = frames()
    many, few = found.values()
    many.loc[many.variant == "no solver gradient", "error.inside"] = 1.0
    few.loc[few.variant == f"surrogate, {design.FEW}", "error"] = 0.5
    assert judge(CLAIMS["C23"], found).outcome == CONTRADICTED


def test_without_results_or_with_few_seeds_it_is_undecided():
    assert judge(CLAIMS["C23"], {}).outcome == UNDECIDED
    assert judge(CLAIMS["C23"], frames(seeds=(0, 1, 2))).outcome == UNDECIDED
