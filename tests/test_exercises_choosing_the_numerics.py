"""The checks of chapter 09_choosing_the_numerics accept right answers, and say what is wrong with others."""

import pytest
import torch
from scipy import stats

from dpbook_course.exercises.choosing_the_numerics import check_ranks, check_slope, check_target


def minmod(a, b):
    return torch.where(a * b > 0, a.sign() * torch.minimum(a.abs(), b.abs()), 0)


def test_slope_is_right():
    assert check_slope(minmod).right


@pytest.mark.parametrize("answer, hint", [
    (None, "Replace None"), (lambda a: a, "cannot be applied"), (lambda a, b: 0.0, "one slope for each cell"),
    (lambda a, b: (a + b) / 2, "must be zero"), (lambda a, b: minmod(a, b).abs(), "falling state"),
    (lambda a, b: torch.where(a * b > 0, a.sign() * torch.maximum(a.abs(), b.abs()), 0), "the larger one"),
    (lambda a, b: torch.where(a * b > 0, (a + b) / 2, 0), "the mean of the two"),
    (lambda a, b: 0.5 * minmod(a, b), "smaller in size")])
def test_slope_says_what_is_wrong(answer, hint):
    feedback = check_slope(answer)
    assert not feedback.right and hint in feedback.message


def spearman(a, b):
    return stats.spearmanr(a, b).statistic



@pytest.mark.parametrize("answer, hint", [
    (None, "Replace None"), (lambda a: a, "cannot be applied"),
    (lambda a, b: stats.pearsonr(a, b).statistic, "correlation of the numbers"), (lambda a, b: 0.0, "1 and -1"),
    (lambda a, b: spearman(a, b)**3, "0.6 is right")])
def test_ranks_say_what_is_wrong(answer, hint):
    feedback = check_ranks(answer)
    assert not feedback.right and hint in feedback.message, feedback.message


def test_ranks_are_right():
    assert check_ranks(spearman).right


@pytest.mark.parametrize("answer, hint", [
    (None, "Replace None"), (lambda P, u: u, "cannot be applied"), (lambda P, u, v: 0.0, "every value"),
    (lambda P, u, v: v - u, "whole change"), (lambda P, u, v: P(u) - v, "The sign"),
    (lambda P, u, v: v - P(v), "starts from u"), (lambda P, u, v: v, "next state")])
def test_target_says_what_is_wrong(answer, hint):
    feedback = check_target(answer)
    assert not feedback.right and hint in feedback.message


def test_target_is_right():
    assert check_target(lambda P, u, u_next: u_next - P(u)).right
