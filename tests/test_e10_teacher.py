"""E10, teachers: what they show, how their pupils are judged, and what is read from results that are made up."""

import numpy as np
import pandas
import pytest
import torch

from dpbook_course.problems import burgers_schemes as truth
from dpbook_course.problems.taught import taught
from dpbook_course.studies.e10 import burgers, design, readings, rows, teacher
from dpbook_utils.data import cell_averages

SEEDS = (3, 7)


def test_the_rows_are_pairs_with_both_trainings_at_the_rates_of_the_study_before():
    for of, schemes in teacher.PAIRS.items():
        for scheme in schemes:
            for training in design.TRAININGS:
                row = teacher.SPEC.variants[teacher.pupil(scheme, of, training)]
                same = burgers.SPEC.variants[design.name(scheme, 32, training)]
                assert (row.teacher, row.scheme, row.setup) == (of, scheme, same.setup)
        assert teacher.SPEC.variants[design.name(of, 64, "alone")] == rows.Alone(of, 64)
    assert len(teacher.SPEC.variants) == 12 + 6 and teacher.SPEC.seeds == tuple(range(12))


def test_a_teacher_starts_where_the_resolved_solution_does_and_errs_from_there():
    problem = taught["upwind"]
    shown, parameters = problem.data("inside", 3, 32)
    resolved, same = truth.data("inside", 3, 32)
    assert torch.equal(parameters["viscosity"], same["viscosity"])
    error = problem.capped_error(shown, resolved).mean(0)
    assert error[0] < 5e-3 and 2e-3 < error[1] < 0.02 and 0.03 < error[-1] < 0.2


def test_a_teacher_is_the_scheme_of_its_name_by_hand():
    problem = taught["semi-Lagrangian"]
    u = problem.fine_data("inside", 3).states[:, 0]
    viscosity = problem.fine_data("inside", 3).viscosity
    for _ in range(2):  # two sub-steps of half a step on 64 points
        u = problem.coarse_solver("semi-Lagrangian", 64)[0](u, viscosity=viscosity)
    assert torch.equal(cell_averages(u, 32), problem.data("inside", 3, 32).states[:, 1])


def test_a_teacher_alone_has_no_distance_from_itself_and_the_error_of_its_own_states():
    problem = taught["upwind"]
    found = problem.judged(problem.alone("upwind", 64), SEEDS, 64)
    assert found["distance"].max() < 1e-6 and found["curve.inside"].shape == (2, problem.horizon)
    assert (found["error.inside"] > 0.03).all() and (found["one_step.inside"] < found["error.inside"]).all()
    states = torch.cat([problem.data("inside", seed, 32).states for seed in SEEDS])[:, 1:]
    resolved = torch.cat([truth.data("inside", seed, 32).states for seed in SEEDS])[:, 1:]
    near = problem.capped_error(states, resolved).unflatten(0, (2, -1)).mean((1, 2))
    assert torch.allclose(found["error.inside"], near, rtol=0.02)  # they start from values at centres, not averages


def test_a_pupil_comes_nearer_to_its_teacher():
    row = teacher.SPEC.variants[teacher.pupil("upwind", "upwind", "ONE")]
    problem = taught[row.teacher]
    networks, history = teacher.fitted(row, SEEDS, 300)
    after = problem.judged(problem.hybrid(networks, row.scheme, 32), SEEDS, 32)
    before = problem.judged(problem.alone(row.scheme, 32), SEEDS, 32)
    assert (after["distance"] < 0.7 * before["distance"]).all() and len(history) == 300


# What is read from it -----------------------------------------------------------------------------------------------


def frame(hybrid, without=()):
    """Teachers err by 1; ``hybrid(scheme, teacher, training)`` says what pupils do, in that unit, and P alone."""
    made = []
    for key, row in teacher.SPEC.variants.items():
        if key in without:
            continue
        if isinstance(row, rows.Alone):
            value, budget = 1.0 if row.num_points == 64 else hybrid(row.scheme, None, "alone"), 0
        else:
            value, budget = hybrid(row.scheme, row.teacher, key.rpartition(", ")[2]), teacher.BUDGET
        made += [{"variant": key, "budget": budget, "seed": seed, "diverged_at": -1,
                  "error.inside": value * (1 + 0.01 * np.sin(7 * seed + len(key)))} for seed in range(12)]
    return pandas.DataFrame(made)


def test_pupils_behind_their_teachers_are_counted():
    said = readings.pupils(frame(lambda scheme, of, training: 1.5))
    assert said == "0 of 12 hybrids have a smaller error than the scheme that made their data, and 12 a larger one."


def test_a_hybrid_that_is_ahead_with_a_p_that_is_behind_is_named():
    def one(scheme, of, training):
        return 0.5 if (scheme, of, training) == ("central", "upwind", "WIG-8") else 2.0

    said = readings.pupils(frame(one))
    assert said.startswith("1 of 12 hybrids have a smaller error") and "and 11 a larger one" in said
    assert "1 have a P that alone is behind the teacher: central with upwind's data (WIG-8), 0.50 (" in said
    assert "with P alone 2.00 times" in said


def test_a_hybrid_that_is_ahead_with_a_better_p_is_not():
    def better(scheme, of, training):
        return 0.4 if training == "alone" else 0.7 if scheme == "limited" else 1.0

    said = readings.pupils(frame(better))
    assert said.startswith("4 of 12") and "and 0 a larger one" in said
    assert "All those that are ahead have a P that alone is not behind the teacher." in said
    assert "The furthest ahead is limited with" in said


@pytest.mark.parametrize("of", teacher.PAIRS)
def test_without_the_teacher_nothing_is_read(of):
    part = frame(lambda *one: 0.5, without=(design.name(of, 64, "alone"),))
    assert readings.beside_teacher(part, "central", of, "ONE").num_pairs == 0
    assert readings.pupils(part).startswith("6 of 12")
