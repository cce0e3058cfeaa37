"""The checks of chapter 13_foreign_solvers accept right answers, and say what is wrong with others."""

import numpy as np
import pytest

from dpbook_course.exercises.foreign_solvers import check_adjoint, check_calls, check_samples


@pytest.mark.parametrize("answer, hint", [
    ((None, 3), "Replace both None"), ((1, 50), "once in each step"), ((3, 33), "up and down"),
    ((3, 63), "acts on data"), ((3, 40), "the backward pass alone"), ((3, 50), "In each step but the first")])
def test_calls_say_what_is_wrong(answer, hint):
    feedback = check_calls(*answer, num_inputs=10, num_steps=3)
    assert not feedback.right and hint in feedback.message


def test_calls_are_right():
    assert check_calls(3, 43, num_inputs=10, num_steps=3).right


def step(u):
    return u - 0.1 * u * (np.roll(u, -1, -1) - u)


def adjoint(u, g):
    return g - 0.1 * (g * (np.roll(u, -1, -1) - 2 * u) + np.roll(g * u, 1, -1))


def along(u, g):
    after = np.roll(u, -1, -1)
    return g - 0.1 * (g * (after - u) + u * (np.roll(g, -1, -1) - g))


def test_the_adjoint_is_that_of_the_step():
    u, g, v = np.random.default_rng(1).normal(size=(3, 1, 1, 8))
    difference = (g * (step(u + 1e-6 * v) - step(u - 1e-6 * v))).sum() / 2e-6
    assert np.isclose((adjoint(u, g) * v).sum(), difference, rtol=1e-6)
    assert np.isclose((along(u, v) * g).sum(), difference, rtol=1e-6)


@pytest.mark.parametrize("answer, hint", [
    (None, "Replace None"), (lambda u: u, "cannot be called"), (lambda u, g: g[..., 1:], "the shape"),
    (along, "the derivative along g"), (lambda u, g: g - 0.1 * g * (np.roll(u, -1, -1) - 2 * u), "used twice"),
    (lambda u, g: g, "not the gradient")])
def test_adjoint_says_what_is_wrong(answer, hint):
    feedback = check_adjoint(answer)
    assert not feedback.right and hint in feedback.message


def test_adjoint_is_right():
    assert check_adjoint(adjoint).right


@pytest.mark.parametrize("answer, hint", [
    (None, "Replace None"), (2 * 99 * 0.25 / 0.75, "two for each sample"), (10, "Which r")])
def test_samples_say_what_is_wrong(answer, hint):
    feedback = check_samples(answer, num_inputs=100, cosine=0.5)
    assert not feedback.right and hint in feedback.message


def test_samples_are_right():
    assert check_samples(33, num_inputs=100, cosine=0.5).right
