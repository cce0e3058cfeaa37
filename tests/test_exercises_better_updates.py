"""The checks of chapter 14_better_updates accept right answers, and say what is wrong with others."""

import pytest
import torch

from dpbook_course.exercises.better_updates import check_damped, check_left, check_sizes

SIZES = {"samples": 16, "residuals": 100, "weights": 1000}


@pytest.mark.parametrize("answer, hint", [
    ((None, 1), "Replace both None"), ((1600, 12.8), "a row for every sample"), ((1000, 12.8), "forward mode"),
    ((7, 12.8), "gives one row"), ((100, 6.4), "eight bytes"), ((100, 0.8), "of one sample"),
    ((100, 99), "a row for each residual")])
def test_sizes_say_what_is_wrong(answer, hint):
    feedback = check_sizes(*answer, **SIZES)
    assert not feedback.right and hint in feedback.message


def test_sizes_are_right():
    assert check_sizes(100, 12.8, **SIZES).right


def damped(r, J, damping, sign=-1):
    return sign * torch.linalg.solve(J.T @ J + damping * torch.eye(J.shape[1], dtype=J.dtype), J.T @ r)


@pytest.mark.parametrize("answer, hint", [
    (None, "Replace None"), (lambda r: r, "cannot be called"), (lambda r, J, damping: r, "the shape"),
    (lambda r, J, damping: damped(r, J, damping, 1), "downhill"), (lambda r, J, damping: damped(r, J, 0), "missing"),
    (lambda r, J, damping: damped(r, J, damping**2), "not its square"),
    (lambda r, J, damping: J.T @ r, "another step")])
def test_damped_says_what_is_wrong(answer, hint):
    feedback = check_damped(answer)
    assert not feedback.right and hint in feedback.message


def test_damped_is_right():
    assert check_damped(damped).right
    assert check_damped(lambda r, J, damping: -J.T @ torch.linalg.solve(
        J @ J.T + damping * torch.eye(len(r), dtype=r.dtype), r)).right


@pytest.mark.parametrize("answer, hint", [
    (None, "Replace None"), (lambda sigma: 1, "cannot be called"), (lambda sigma, f: sigma**2 * f, "is removed"),
    (lambda sigma, f: 1 - sigma * f, "another one"), (lambda sigma, f: 0, "leaves 0.5")])
def test_left_says_what_is_wrong(answer, hint):
    feedback = check_left(answer)
    assert not feedback.right and hint in feedback.message


def test_left_is_right():
    assert check_left(lambda sigma, f: 1 - sigma**2 * f).right
