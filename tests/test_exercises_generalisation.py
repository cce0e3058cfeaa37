"""The checks of chapter 10_generalisation accept right answers, and say what is wrong with others."""

import pytest
import torch

from dpbook_course.exercises.generalisation import check_gain, check_moving, check_reach
from dpbook_course.problems import burgers_shifts as problem


def moving(states, cells, dx, dt, sign=1):
    return torch.stack([u.roll(sign * n * cells) for n, u in enumerate(states)]) + cells * dx / dt


@pytest.mark.parametrize("answer, hint", [
    (None, "Replace None"), (lambda u: u, "cannot be called"), (lambda u, *rest: u[1:], "shape of the states"),
    (lambda u, cells, dx, dt: u + cells * dx / dt, "nothing is carried"),
    (lambda u, cells, dx, dt: moving(u, cells, dx, dt) - cells * dx / dt, "is a velocity itself"),
    (lambda *given: moving(*given, sign=-1), "the wrong side"),
    (lambda u, cells, dx, dt: moving(u, cells, dx, dt) - cells * dx / dt + cells, "a distance divided by a time"),
    (lambda u, *rest: u, "rolled by n times")])
def test_moving_says_what_is_wrong(answer, hint):
    feedback = check_moving(answer)
    assert not feedback.right and hint in feedback.message


def test_moving_is_right_and_what_the_problem_does():
    assert check_moving(moving).right
    still, seen = (problem.fine_data(name, 0).states[0, :, 0] for name in ("inside", "moving"))
    dx = problem.length / problem.fine_points
    assert torch.allclose(moving(still, 1, dx, problem.dt), seen, atol=1e-4)


@pytest.mark.parametrize("answer, hint", [
    (None, "Replace None"), (-1.0, "positive"), (1e4, "saw three samples"), (100.0, "the weak one"),
    (4.0, "mean squared errors"), (0.25, "mean squared errors"), (3.0, "without learning")])
def test_gain_says_what_is_wrong(answer, hint):
    feedback = check_gain(answer, solver=4e-6, hybrid=1e-6, direct=1e-2)
    assert not feedback.right and hint in feedback.message


def test_gain_is_right_either_way_round():
    assert check_gain(2.0, 4e-6, 1e-6, 1e-2).right and check_gain(0.5, 4e-6, 1e-6, 1e-2).right


@pytest.mark.parametrize("answer, hint", [
    ((None, 3), "Replace both None"), ((24, 1), "about one side"), ((16, 1), "about one side"), ((7, 1), "half of its"),
    ((8, 24), "N alone"), ((8, 10), "That is one step"), ((8, 11), "Each step adds")])
def test_reach_says_what_is_wrong(answer, hint):
    feedback = check_reach(*answer, num_layers=8, kernel_size=3, stencil=2, num_steps=3)
    assert not feedback.right and hint in feedback.message


def test_reach_is_right():
    assert check_reach(8, 30, num_layers=8, kernel_size=3, stencil=2, num_steps=3).right
