"""The checks of chapter 08's exercises accept what is right and say what is wrong."""

import numpy as np
import pytest

from dpbook_utils.exercises.wake_flow import check_error, check_frequency, check_refinement


def relative(prediction, reference):
    return (prediction - reference).flatten(2).norm(dim=2) / reference.flatten(2).norm(dim=2)


def aligned(prediction, trajectory):
    return relative(prediction, trajectory[:, 1:prediction.shape[1] + 1])


def crossings(lift, dt):
    lift = lift - lift.mean()
    k = np.flatnonzero((lift[:-1] < 0) & (lift[1:] >= 0))
    return (len(k) - 1) / (k[-1] - k[0]) / dt


def test_right_answers_are_right():
    assert check_error(aligned).right
    assert check_frequency(crossings).right
    assert check_refinement({cost: cost ** (1 / 3) for cost in (1.0, 2.0, 3.4, 8.0)}).right


@pytest.mark.parametrize("error, message", [
    (None, "Replace None"), (3, "Give a function"), (lambda p, t: p.nothing, "fails"), (lambda p, t: p, "(2, 3)"),
    (lambda p, t: relative(p, t[:, :3]), "the state before it"),
    (lambda p, t: relative(p, t[:, 2:5]), "one step later"),
    (lambda p, t: aligned(p, t).square(), "the square"),
    (lambda p, t: (p - t[:, 1:4]).abs().flatten(2).sum(2) / t[:, 1:4].abs().flatten(2).sum(2), "one of the roll-outs"),
    (lambda p, t: (p - t[:, 1:4]).flatten(2).norm(dim=2) / p.flatten(2).norm(dim=2), "denominator")])
def test_errors_that_are_not_aligned_or_not_l2(error, message):
    found = check_error(error)
    assert not found.right and message in found.message


@pytest.mark.parametrize("frequency, message", [
    (None, "Replace None"), (0.2, "Give a function"), (lambda lift, dt: lift[9999], "fails"),
    (lambda lift, dt: crossings(lift, 1.0), "per step"), (lambda lift, dt: 2 * crossings(lift, dt), "both zero"),
    (lambda lift, dt: 2 * np.pi * crossings(lift, dt), "angular"),
    (lambda lift, dt: np.fft.rfftfreq(len(lift), dt)[1 + np.abs(np.fft.rfft(lift)[1:]).argmax()], "interpolate")])
def test_frequencies_that_are_wrong(frequency, message):
    found = check_frequency(frequency)
    assert not found.right and message in found.message


@pytest.mark.parametrize("answer, message", [
    (None, "Replace None"), ({1.0: 1.0}, "one refinement for each"),
    ({c: c**0.5 for c in (1.0, 2.0, 3.4, 8.0)}, "count the cells"),
    ({c: c for c in (1.0, 2.0, 3.4, 8.0)}, "much more than"), ({1.0: 1.0, 2.0: 1.1, 3.4: 1.5, 8.0: 2.0}, "r^3")])
def test_refinements_that_are_wrong(answer, message):
    found = check_refinement(answer)
    assert not found.right and message in found.message
