"""The checks of chapter 08's exercises accept what is right and say what is wrong."""

import numpy as np
import pytest
import torch

from dpbook_course.exercises.wake_flow import check_error, check_frequency, check_refinement


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


@pytest.mark.parametrize("error", [
    lambda p, t: aligned(p.double(), t.double()),
    lambda p, t: torch.sqrt((p - t[:, 1:p.shape[1] + 1]).square().mean((2, 3, 4)) /
                            t[:, 1:p.shape[1] + 1].square().mean((2, 3, 4))),
    lambda p, t: p.sub_(t[:, 1:p.shape[1] + 1]).flatten(2).norm(dim=2) /
    t[:, 1:p.shape[1] + 1].flatten(2).norm(dim=2)])
def test_a_right_error_is_right_in_every_precision_and_if_it_overwrites_its_arguments(error):
    assert check_error(error).right


@pytest.mark.parametrize("kind", [str, np.float32, np.float64, np.array, torch.tensor])
def test_right_numbers_are_right_in_every_type(kind):
    assert check_frequency(lambda lift, dt: np.float64(crossings(lift, dt))).right
    assert check_frequency(lambda lift, dt: torch.tensor(crossings(lift, dt))).right
    rounded = {1: 1, 2: 1.26, 3.4: 1.5, 8: 2}
    assert check_refinement({cost: kind(r) for cost, r in rounded.items()}).right


@pytest.mark.parametrize("error, message", [
    (None, "Replace None"), (3, "Give a function"), (lambda p, t: p.nothing, "fails"), (lambda p, t: p, "(2, 3)"),
    (lambda p, t: None, "The result is NoneType"), (lambda p, t: [[0.1] * 3] * 2, "The result is list"),
    (lambda p, t: aligned(p, t).numpy(), "The result is ndarray (2, 3)"),
    (lambda p, t: aligned(p, t).long(), "give real numbers"), (lambda p, t: aligned(p, t) * torch.nan, "find nan"),
    (lambda p, t: relative(p, t[:, 1:4]), "For a roll-out of 2 steps"),
    (lambda p, t: relative(p, t[:, :3]), "the state before it"),
    (lambda p, t: relative(p, t[:, 2:5]), "one step later"),
    (lambda p, t: aligned(p, t).square(), "the square"),
    (lambda p, t: aligned(p, t) if p.shape[1] == 3 else p, "two roll-outs give real numbers in a tensor (2, 2)"),
    (lambda p, t: (p - t[:, 1:4]).abs().flatten(2).sum(2) / t[:, 1:4].abs().flatten(2).sum(2), "one of the roll-outs"),
    (lambda p, t: (p - t[:, 1:4]).flatten(2).norm(dim=2) / p.flatten(2).norm(dim=2), "denominator")])
def test_errors_that_are_not_aligned_or_not_l2(error, message):
    found = check_error(error)
    assert not found.right and message in found.message


@pytest.mark.parametrize("frequency, message", [
    (None, "Replace None"), (0.2, "Give a function"), (lambda lift, dt: lift[9999], "fails"),
    (lambda lift, dt: crossings(lift, 1.0), "per step"), (lambda lift, dt: 2 * crossings(lift, dt), "both zero"),
    (lambda lift, dt: 2 * np.pi * crossings(lift, dt), "angular"), (lambda lift, dt: 1 / crossings(lift, dt), "period"),
    (lambda lift, dt: None, "gives NoneType; give one number"), (lambda lift, dt: lift, "gives ndarray (300,)"),
    (lambda lift, dt: torch.tensor(lift), "gives Tensor (300,)"), (lambda lift, dt: "0.2 or so", "gives str"),
    (lambda lift, dt: 0.2j, "gives complex"), (lambda lift, dt: np.nan, "find nan"),
    (lambda lift, dt: np.fft.rfftfreq(len(lift), dt)[1 + np.abs(np.fft.rfft(lift)[1:]).argmax()], "interpolate")])
def test_frequencies_that_are_wrong(frequency, message):
    found = check_frequency(frequency)
    assert not found.right and message in found.message


def with_the_mean(lift, dt):
    k = np.flatnonzero((lift[:-1] < 0) & (lift[1:] >= 0))
    return (len(k) - 1) / (k[-1] - k[0]) / dt if len(k) else 0.0


def transformed_with_the_mean(lift, dt):
    return np.fft.rfftfreq(2**16, dt)[np.abs(np.fft.rfft(lift, 2**16)).argmax()]


def failing_with_the_mean(lift, dt):
    k = np.flatnonzero((lift[:-1] < 0) & (lift[1:] >= 0))
    return (len(k) - 1) / (k[-1] - k[0]) / dt


@pytest.mark.parametrize("frequency", [with_the_mean, transformed_with_the_mean, failing_with_the_mean])
def test_who_leaves_the_mean_in_is_told_so(frequency):
    found = check_frequency(frequency)
    assert not found.right and "Take the mean off first" in found.message


@pytest.mark.parametrize("answer, message", [
    (None, "Replace None"), ({1.0: 1.0}, "one refinement for each"),
    ({c: c**0.5 for c in (1.0, 2.0, 3.4, 8.0)}, "count the cells"),
    ([1.0, 1.26, 1.5, 2.0], "you gave list"), (np.ones(4), "you gave ndarray (4,)"), (lambda c: c, "you gave function"),
    ({}, "give it for: none"), (dict.fromkeys("abcd", 1.0), "give it for: 'a'"), ({None: 1.0}, "give it for: None"),
    (dict.fromkeys((1.0, 2.0, 3.4, 8.0)), "no number"), (dict.fromkeys((1.0, 2.0, 3.4, 8.0), "twice"), "no number"),
    (dict.fromkeys((1.0, 2.0, 3.4, 8.0), [1.0]), "no number"), (dict.fromkeys((1, 2, 3.4, 8), np.ones(3)), "no number"),
    (dict.fromkeys((1, 2, 3.4, 8), torch.ones(3)), "no number"), (dict.fromkeys((1, 2, 3.4, 8), np.nan), "give nan"),
    ({c: c for c in (1.0, 2.0, 3.4, 8.0)}, "much more than"), ({1.0: 1.0, 2.0: 1.1, 3.4: 1.5, 8.0: 2.0}, "r^3")])
def test_refinements_that_are_wrong(answer, message):
    found = check_refinement(answer)
    assert not found.right and message in found.message
