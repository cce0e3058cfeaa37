"""The exercises of chapter 06: the right answer passes, typical wrong ones get the fitting hint."""

import math

import pytest
import torch

from dpbook_course.exercises.long_horizons import check_cosine, check_curriculum, check_tenfold, truncation_cosine
from dpbook_course.problems import kuramoto_sivashinsky as ks
from dpbook_course.studies.e07 import horizons as e07
from dpbook_utils.data import random_fourier

EXPONENT = 0.07


@pytest.mark.parametrize("answer, right, hint", [
    (math.log(10) / EXPONENT, True, "33 steps"), (33, True, "33 steps"), (None, False, "Replace None"),
    (1 / EXPONENT, False, "Lyapunov time"), (math.log(2) / EXPONENT, False, "doubles"),
    (10 / EXPONENT, False, "not proportional"), (10 * EXPONENT, False, "divide by the exponent"),
    (5, False, "not by 10"),
    (1 / (EXPONENT * math.log(10)), False, "numerator"), (10**9, False, "not by 10")])
def test_tenfold(answer, right, hint):
    feedback = check_tenfold(answer, EXPONENT)
    assert feedback.right == right and hint in feedback.message


@pytest.mark.parametrize("curriculum, right, hint", [
    ({0: 1, 400: 3, 700: 8, 900: 16}, True, "4 stages"), (None, False, "Replace None"), ([1, 3], False, "dict"),
    ({}, False, "begin with"), ({0: 16}, False, "begin with"), ({100: 1}, False, "begin with"),
    ({0: 1, 500: 8}, False, "16 steps"), ({0: 1, 1000: 16}, False, "ends after 1000"),
    ({0: 1, 500: 16}, False, "long jump"), ({0: 1, 300: 3, 500: 2, 900: 16}, False, "no progress"),
    ({0: 1, 300: 3, 600: 8, 620: 16}, False, "only 2%"), ({0: 1, 300: 3, 600: 8, 940: 16}, False, "only 6%"),
    ({0: 1, 100: 3, 200: 8, 300: 16}, False, "a third"), ({0: 1.5}, False, "whole numbers")])
def test_curriculum(curriculum, right, hint):
    feedback = check_curriculum(curriculum, num_updates=1000, num_steps=16)
    assert feedback.right == right and hint in feedback.message


def test_cosine():
    step = ks.hybrid(e07.networks([0], e07.SMALL))
    u0 = 0.5 * random_fourier(4, 48, modes=4, seed=0)
    batch = {"u0": u0, "reference": u0[:, None].expand(-1, 4, -1, -1).contiguous(), "length": torch.full((4,), 50.0)}
    expected = truncation_cosine(step, batch, 4, 2)
    assert 0 < expected < 0.999
    for answer, right, hint in [
            (expected, True, "direction"), (None, False, "Replace None"), (1.0, False, "the same"),
            (3.0, False, "no cosine"), (truncation_cosine(step, batch, 4, 1), False, "every 2 steps"),
            (-0.7, False, "Flatten")]:
        feedback = check_cosine(answer, step, batch, 4, 2)
        assert feedback.right == right and hint in feedback.message


def test_truncation_longer_than_the_unroll_changes_nothing():
    step = ks.hybrid(e07.networks([0], e07.SMALL))
    u0 = 0.5 * random_fourier(2, 48, modes=4, seed=1)
    batch = {"u0": u0, "reference": u0[:, None].expand(-1, 3, -1, -1).contiguous(), "length": torch.full((2,), 50.0)}
    assert truncation_cosine(step, batch, 3, 3) == pytest.approx(1.0, abs=1e-6)
