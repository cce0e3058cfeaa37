"""The checks of chapter 11_forward_and_inverse accept right answers, and say what is wrong with others."""

import pytest

from dpbook_course.exercises.forward_and_inverse import check_cost, check_weight, check_wiggle, wiggled

MISFITS = {1.0: 0.7, 10.0: 0.98, 100.0: 1.6}


@pytest.mark.parametrize("answer, hint", [
    ((None, 1), "Replace both None"), ((20, 1), "forward passes alone"), ((50, 1), "two backward"),
    ((60, 20 * 9), "up and down"), ((60, 20 * 16), "the misfit itself"), ((60, 7), "two for each unknown")])
def test_cost_says_what_is_wrong(answer, hint):
    feedback = check_cost(*answer, evaluations=5, num_steps=4, num_unknowns=8)
    assert not feedback.right and hint in feedback.message


def test_cost_is_right():
    assert check_cost(60, 20 * 17, evaluations=5, num_steps=4, num_unknowns=8).right


@pytest.mark.parametrize("answer, hint", [
    ((None, 1), "Replace both None"), ((0.5, 100), "make the amplitude smaller"), ((0.01, 1), "a k cos(k u)")])
def test_wiggle_says_what_is_wrong(answer, hint):
    feedback = check_wiggle(*answer)
    assert not feedback.right and hint in feedback.message


def test_wiggle_is_right_and_its_numbers_are_those_of_theory():
    assert check_wiggle(0.01, 100).right
    error, cosine = wiggled(0.01, 100)
    assert error == pytest.approx(0.01 / 2**0.5 / 0.1, rel=0.05)
    assert cosine == pytest.approx(0.9 / (0.81 + 0.5)**0.5, rel=0.05)
    assert wiggled(0, 1) == (0, pytest.approx(1))


@pytest.mark.parametrize("answer, hint", [
    (None, "Replace None"), (3.0, "none of the weights"), (100.0, "overrules"), (1.0, "below the noise")])
def test_weight_says_what_is_wrong(answer, hint):
    feedback = check_weight(answer, MISFITS)
    assert not feedback.right and hint in feedback.message


def test_weight_is_right():
    assert check_weight(10.0, MISFITS).right
    assert check_weight(1.0, {1.0: 1.2, 10.0: 1.5}).right  # where none explains the observations
