"""E10, inner iterations: the rows, the gradient's error by hand, and what is read from results that are made up."""

import numpy as np
import pandas
import pytest
import torch

from dpbook_course.experiments.tasks import compute
from dpbook_course.problems import ks_solves as problem
from dpbook_course.studies import e10
from dpbook_course.studies.e10 import design, inner, ks, readings, rows

SEEDS = (3, 7)


def test_the_rows_are_all_counts_with_both_trainings_at_the_rates_of_the_study_before():
    assert list(problem.schemes.values()) == [1, 2, 4, 8, None]
    for scheme in problem.schemes:
        for training in design.TRAININGS:
            row = inner.SPEC.variants[design.name(scheme, 48, training)]
            same = ks.SPEC.variants[design.name("differences, 2", 48, training)]
            assert row.scheme == scheme and row.setup == same.setup
        assert inner.SPEC.variants[design.name(scheme, 48, "alone")] == rows.Alone(scheme, 48)
    assert len(inner.SPEC.variants) == 15 and inner.SPEC.seeds == tuple(range(12))


def test_the_training_behind_the_converged_solver_is_that_of_the_study_before():
    networks, history = rows.fitted(problem, inner.SPEC.variants["converged, 48 points, ONE"], SEEDS, 2)
    others, before = rows.fitted(ks.problem, ks.SPEC.variants["differences, 2, 48 points, ONE"], SEEDS, 2)
    assert torch.equal(history.losses, before.losses)
    assert all(torch.equal(a, b) for a, b in zip(networks.parameters(), others.parameters()))


def test_the_error_of_the_gradient_is_that_of_each_seed_and_none_behind_the_converged_solver():
    networks, row = problem.ensemble(SEEDS), inner.SPEC.variants["1 iteration, 48 points, ONE"]
    together = inner.gradient_error(row, networks, SEEDS)
    alone = inner.gradient_error(row, problem.ensemble(SEEDS[1:]), SEEDS[1:])
    assert together.shape == (2,) and float(together.min()) > 0.01
    assert torch.allclose(together[1:], alone, rtol=1e-3)
    converged = inner.SPEC.variants["converged, 48 points, ONE"]
    assert inner.gradient_error(converged, networks, SEEDS).tolist() == [0, 0]


def test_the_gradient_is_that_of_finite_differences():
    """Along a direction in the weights, in double precision, through one step and its iterations."""
    networks, row = problem.ensemble((3,)).double(), inner.SPEC.variants["2 iterations, 48 points, ONE"]
    batch = {name: value.double() for name, value in problem.batches((3,), 8, 4, 48)[0].items()}
    step = inner.Sequential(problem.coarse_solver("2 iterations").solver, inner.Additive(networks))
    objective, weights = row.setup.objective(step), list(networks.parameters())
    generator = torch.Generator().manual_seed(0)
    along = [torch.randn(x.shape, generator=generator, dtype=torch.float64) for x in weights]
    gradient = torch.autograd.grad(objective(**batch), weights)
    expected = float(sum((g * a).sum() for g, a in zip(gradient, along)))

    def moved(size):
        with torch.no_grad():
            for weight, a in zip(weights, along):
                weight += size * a
            return float(objective(**batch))

    up, down = moved(1e-5), moved(-2e-5)
    assert (up - down) / 2e-5 == pytest.approx(expected, rel=1e-5)


def test_without_a_network_there_is_no_gradient_and_every_solver_has_its_own_error():
    experiment, = (one for one in e10.EXPERIMENTS if one.spec is inner.SPEC)
    found = compute(experiment, "1 iteration, 48 points, alone", 0, SEEDS).metrics
    assert np.isnan(found["gradient.start"]).all() and (found["error.inside"] != found["converged.inside"]).all()
    step = problem.alone("converged", 48)
    assert np.allclose(found["converged.inside"], problem.own_error(step, "inside", SEEDS, 48))


# What is read from it -----------------------------------------------------------------------------------------------


def frame(ratios, seconds=(1.0, 2.0, 4.0, 8.0, 1.0), spread=0.01):
    """The error behind the converged solver, by count, in units of that of the converged training."""
    made = []
    for training in design.TRAININGS:
        for scheme, value, time in zip(problem.schemes, (*ratios, 1.0), seconds):
            made += [{"variant": design.name(scheme, 48, training), "budget": inner.BUDGET, "seed": seed,
                      "converged.inside": value * (1 + spread * np.sin(7 * seed + 3 * len(scheme))),
                      "seconds_per_update": time, "diverged_at": -1} for seed in range(12)]
    return pandas.DataFrame(made)


@pytest.mark.parametrize("ratios, expected", [
    ((3.0, 1.0, 1.0, 1.0), "2 iterations"), ((1.0, 1.0, 1.0, 1.0), "1 iteration"), ((3.0, 2.0, 1.5, 1.2), None),
    ((1.0, 2.0, 1.0, 1.0), "4 iterations"),  # one that is enough by chance, where more are not, does not count
    ((0.5, 0.5, 0.5, 0.5), "1 iteration")])
def test_how_many_are_enough(ratios, expected):
    assert readings.enough(frame(ratios), "ONE") == expected


def test_the_reading_says_what_an_update_takes():
    assert "2 iterations are enough" in (said := readings.iterations(frame((3.0, 1.0, 1.0, 1.0))))
    assert "25% of the time with 8 iterations, 75% less, no less than the published saving" in said
    slow = readings.iterations(frame((3.0, 1.0, 1.0, 1.0), seconds=(4.0, 6.0, 7.0, 8.0, 4.0)))
    assert "75% of the time with 8 iterations, 25% less, short of the published saving" in slow
    assert "1 iteration is enough" in readings.iterations(frame((1.0, 1.0, 1.0, 1.0)))
    assert "not even 8 iterations are enough: behind the converged solver the error is 1.20" in readings.iterations(
        frame((3.0, 2.0, 1.5, 1.2)))


def test_a_training_that_diverged_and_results_that_are_missing_are_not_enough():
    made = frame((1.0, 1.0, 1.0, 1.0))
    part = made[made.variant != "8 iterations, 48 points, ONE"]
    assert readings.enough(part, "ONE") is None and readings.enough(part, "WIG-8") == "1 iteration"
    wide = frame((1.0, 1.0, 1.0, 1.0), spread=0.5)
    assert readings.enough(wide, "ONE") is None
