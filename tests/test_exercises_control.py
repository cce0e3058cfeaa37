"""The checks of chapter 12_control accept right answers, and say what is wrong with others."""

import math

import pytest
import torch

from dpbook_course.exercises.control import check_slope, check_smoothed, check_units
from dpbook_course.problems.actuators import Smoothed

BOUND, THRESHOLD = 2.0, 0.3


def ramp(width):
    def force(command):
        up, down = (torch.sigmoid((sign * command - THRESHOLD) / width) for sign in (1, -1))
        return BOUND * (up - down)

    return force


@pytest.mark.parametrize("answer, hint", [
    (None, "Replace None"), (lambda: 1, "cannot be called"), (lambda c: c.sum(), "same shape"),
    (lambda c: BOUND * ((c > THRESHOLD).float() - (c < -THRESHOLD).float()), "No gradient leads"),
    (lambda c: BOUND * torch.sign(c) * (c.abs() > THRESHOLD), "zero everywhere"),
    (lambda c: (c - c).sqrt(), "not finite"), (ramp(2.0), "has to rise"),
    (lambda c: 2 * BOUND * c, "another actuator")])
def test_smoothed_says_what_is_wrong(answer, hint):
    feedback = check_smoothed(answer, BOUND, THRESHOLD)
    assert not feedback.right and hint in feedback.message


def test_smoothed_is_right():
    assert check_smoothed(ramp(0.05), BOUND, THRESHOLD).right
    assert check_smoothed(Smoothed(BOUND, THRESHOLD, 0.05), BOUND, THRESHOLD).right


SLOPE = 2 * BOUND * math.exp(-0.5) / math.sqrt(2 * math.pi) / 0.3


@pytest.mark.parametrize("answer, hint", [
    (None, "Replace None"), (0, "own slope"), (SLOPE / 2, "one of the two"), (0.3 * SLOPE, "phi"), (1.0, "above")])
def test_slope_says_what_is_wrong(answer, hint):
    feedback = check_slope(answer, BOUND, THRESHOLD, 0.3)
    assert not feedback.right and hint in feedback.message


def test_slope_is_right():
    assert check_slope(SLOPE, BOUND, THRESHOLD, 0.3).right


@pytest.mark.parametrize("answer, hint", [
    ((None, "DP", "DP"), "Replace every None"), (("SAC", "DP", "DP"), "not 'SAC'"), (("PPO", "DP", "DP"), "not less"),
    (("DP", "DP", "DP"), "in steps forward:"), (("PPO", "PPO", "PPO"), "in hours:")])
def test_units_say_what_is_wrong(answer, hint):
    feedback = check_units(*answer)
    assert not feedback.right and hint in feedback.message


def test_units_are_right():
    assert check_units("PPO", "PPO", "DP").right
