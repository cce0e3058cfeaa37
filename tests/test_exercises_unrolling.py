"""The checks of chapter 03: the right answer passes, typical wrong ones get the fitting hint."""

import math

import pytest
import torch

from dpbook_course.exercises.unrolling import check_cut, check_decorrelation, check_pushforward
from dpbook_course.problems import kuramoto_sivashinsky as ks
from dpbook_utils.gradients import FullGradient, NoSolverGradient, PhysicsPath, Pushforward, Truncated
from dpbook_utils.losses import mse
from dpbook_utils.rollout import Rollout


@pytest.fixture(scope="module")
def step():
    return ks.hybrid(ks.network(0, 4, 1))


@pytest.fixture(scope="module")
def batch():
    data = ks.trajectories("validation")
    return {"u0": data.states[:4, 0], "reference": data.states[:4, 1:], "length": data.length[:4]}


def by_hand(step, u0, reference, m, **parameters):
    with torch.no_grad():
        pushed = Rollout(step, m - 1)(u0, **parameters)[:, -1]
    return mse(Rollout(step, 1)(pushed, **parameters), reference[:, m - 1:m]).mean()


def detached(step, u0, reference, m, **parameters):
    for _ in range(m - 1):
        u0 = step(u0, **parameters).detach()
    return (step(u0, **parameters) - reference[:, m - 1]).square().mean()


def one_step(step, u0, reference, m, **parameters):
    return mse(Rollout(step, 1)(u0, **parameters), reference[:, :1]).mean()


def every(step, u0, reference, m, **parameters):
    return mse(Rollout(step, m)(u0, **parameters), reference[:, :m]).mean()


def terminal(step, u0, reference, m, **parameters):
    return mse(Rollout(step, m)(u0, **parameters), reference[:, :m])[:, -1].mean()


def first_reference(step, u0, reference, m, **parameters):
    return mse(Rollout(step, m)(u0, **parameters)[:, -1:], reference[:, :1]).mean()


def summed(step, u0, reference, m, **parameters):
    return 48 * by_hand(step, u0, reference, m, **parameters)


def without_graph(step, u0, reference, m, **parameters):
    with torch.no_grad():
        return by_hand(step, u0, reference, m, **parameters)


def one_detach(step, u0, reference, m, **parameters):
    pushed = step(u0.detach(), **parameters).detach()
    return mse(Rollout(step, m - 1)(pushed, **parameters)[:, -1:], reference[:, m - 1:m]).mean()


@pytest.mark.parametrize("loss, passes, hint", [
    (by_hand, True, "Pushforward()"), (detached, True, "Pushforward()"), (one_step, False, "one step from the data"),
    (every, False, "at every step"), (terminal, False, "that of all steps"),
    (first_reference, False, "reference[:, 2]"), (summed, False, "It is the mean"),
    (without_graph, False, "nothing is left to train"),
    (one_detach, False, "not that of the last step alone"), (None, False, "Replace None"),
    (lambda step, u0: u0.mean(), False, "cannot be called"), (lambda *a, **p: a[1], False, "as one number")])
def test_pushforward(loss, passes, hint, step, batch):
    feedback = check_pushforward(loss, step, batch)
    assert feedback.right == passes and hint in feedback.message


EXPONENT, ERROR, LARGEST = 0.066, 0.006, math.sqrt(0.4)
SUMMED = math.log(1 + LARGEST / ERROR * math.expm1(EXPONENT)) / EXPONENT


def test_the_expected_time_is_that_of_the_sum():
    error, steps = 0.0, 0
    while error < LARGEST:
        error = error * math.exp(EXPONENT) + ERROR
        steps += 1
    assert abs(steps - SUMMED) < 1


@pytest.mark.parametrize("time, passes, hint", [
    (SUMMED, True, "35 steps"), (math.ceil(SUMMED), True, "logarithm"), (None, False, "Replace None"),
    (float("nan"), False, "positive"), (-3, False, "positive"),
    (math.log(LARGEST / ERROR) / EXPONENT, False, "Every step adds"),
    (math.log10(LARGEST / ERROR) / EXPONENT, False, "natural logarithm"),
    (math.log(1 + 1 / ERROR * math.expm1(EXPONENT)) / EXPONENT, False, "Which error belongs"),
    (math.log(0.2 / ERROR) / EXPONENT, False, "Which error belongs"), (500, False, "Sum e_1")])
def test_decorrelation(time, passes, hint):
    feedback = check_decorrelation(time, ERROR, EXPONENT)
    assert feedback.right == passes and hint in feedback.message


class BetweenSteps(FullGradient):
    def enter(self, u, step, num_steps):
        return u.detach()


@pytest.mark.parametrize("policy, passes, hint", [
    (Truncated(1), True, "is the same"), (BetweenSteps(), True, "is the same"), (None, False, "Replace None"),
    (NoSolverGradient(), False, "itself"), (Truncated, False, "a class"), ("NOG", False, "of type str"),
    (FullGradient(), False, "nothing is cut"), (Truncated(2), False, "inside its 2 steps"),
    (Pushforward(), False, "cannot be trained"), (PhysicsPath(), False, "which edges")])
def test_cut(policy, passes, hint, step, batch):
    feedback = check_cut(policy, step, batch)
    assert feedback.right == passes and hint in feedback.message
