"""E04 on the forced Burgers equation: the problem is what it claims to be, and its ratios are paired."""

import pandas
import pytest
import torch

from dpbook_course.descriptions import describe
from dpbook_course.experiments import results
from dpbook_course.problems import forced_burgers as problem
from dpbook_course.problems.steps import Persistence
from dpbook_course.studies.e04 import forced as e04_forced
from dpbook_course.studies.e04 import unrolling as e04
from dpbook_utils import evaluation
from dpbook_utils.data import cell_averages, random_fourier, simulate


@pytest.fixture(scope="module")
def pair():
    """Two states under one force, simulated by the reference."""
    u0 = problem.initial_amplitude * random_fourier(2, 128, modes=6, seed=7)
    force = 0.25 * random_fourier(1, 128, modes=6, seed=8).expand(2, -1, -1)
    viscosity = torch.full((2,), problem.viscosity)
    return simulate(problem.reference_solver(), u0, 200, viscosity=viscosity, force=force), force


def test_the_flow_is_driven_and_not_chaotic(pair):
    """Two solutions under one force never move apart in the L1 norm, and neither comes to rest."""
    (a, b), _ = pair
    distance = (a - b).abs().mean((1, 2))
    assert (distance[1:] <= distance[:-1] * (1 + 1e-3)).all() and distance[-1] < 0.5 * distance[0]
    assert a[-1].std() > 0.5 and (a[-1] - a[-2]).norm() < 0.3 * (a[1] - a[0]).norm()  # fronts that hardly move


def test_cell_averages_keep_the_mean(pair):
    (states, _), force = pair
    averaged = cell_averages(states, 32)
    assert averaged.shape == (201, 1, 32)
    assert torch.allclose(averaged.mean(-1), states.mean(-1), atol=1e-6)
    assert torch.equal(averaged[0, 0, 3], states[0, 0, 12:16].mean())


def test_the_coarse_solver_is_stable_and_a_finer_one_is_better():
    coarse = problem.evaluate(problem.coarse_solver(), 1)
    finer = problem.evaluate(problem.finer_solver(), 1, 64)
    for region in problem.test_forces:
        assert coarse[f"blown_up.{region}"] == finer[f"blown_up.{region}"] == 0
        assert 0.03 < float(finer[f"error.{region}"]) < 0.8 * float(coarse[f"error.{region}"]) < 0.2
    assert set(coarse) == set(problem.metrics)


def test_persistence_is_the_worst():
    held = problem.evaluate(Persistence(), 1)
    data = problem.trajectories("inside")
    states = data.states
    expected = evaluation.relative_l2(states[:, :1].expand(-1, 12, -1, -1), states[:, 1:13])
    assert float(held["error.inside"]) == pytest.approx(float(expected.mean()), rel=1e-5)
    assert float(held["error.inside"]) > 0.3


def test_training_and_test_data_share_no_state_or_force():
    sets = [problem.fine_trajectories(name) for name in ("train", "validation", "inside")]
    for i, a in enumerate(sets):
        for b in sets[i + 1:]:
            for x, y in ((a.states[:, 0], b.states[:, 0]), (a.force, b.force)):
                unit = [u.flatten(1) / u.flatten(1).norm(dim=1, keepdim=True) for u in (x, y)]
                assert (unit[0] @ unit[1].T).abs().max() < 0.99


def test_windows_hand_the_force_of_their_trajectory_to_the_solver():
    batch = problem.windows((0, 1), 8, 4)[0]
    assert batch["u0"].shape == (8, 1, 32) and batch["force"].shape == (8, 1, 32)
    assert batch["viscosity"].tolist() == pytest.approx([problem.viscosity] * 8)
    step = problem.coarse_solver()
    own = step(batch["u0"], viscosity=batch["viscosity"], force=batch["force"]) - batch["reference"][:, 0]
    others = step(batch["u0"], viscosity=batch["viscosity"], force=batch["force"].flip(0)) - batch["reference"][:, 0]
    assert own.norm() < others.norm()


def test_the_set_ups_are_those_of_e04():
    rows = e04.rows()
    for name, setup in e04_forced.rows().items():
        assert describe(setup) == describe(rows[name].setup)
    assert {"ONE", "NOG-3", "WIG-3", "WIG-8"} <= set(e04_forced.rows()) and e04_forced.LONGEST == e04.LONGEST


def test_run_gives_every_metric_for_every_seed():
    found = e04_forced.run("ONE", (0, 1), 3)
    assert set(found) == set(e04_forced.SPEC.metrics)
    assert all(len(values) == 2 for values in found.values()) and found["losses"].shape == (2, 32)
    assert found["curve.inside"].shape == (2, len(problem.curve_steps))


def test_the_learning_rates_are_those_that_the_tuning_chose():
    assert e04_forced.LEARNING_RATES == e04_forced.TUNING.best(results.frame(e04_forced.TUNING.spec))


def test_ratios_pair_the_seeds():
    rows = [{"variant": name, "budget": 6000, "seed": seed, "error.inside": value * (1 + seed)}
            for name, value, seeds in (("ONE", 0.2, range(6)), ("WIG-8", 0.1, reversed(range(6)))) for seed in seeds]
    found = e04_forced.ratios(pandas.DataFrame(rows))
    assert set(found) == {6000} and found[6000].ratio == pytest.approx(0.5) and found[6000].num_pairs == 6
    assert found[6000].wins == 6
    assert e04_forced.ratios(pandas.DataFrame(rows), "NOG-3") == {}
