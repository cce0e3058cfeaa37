"""The checks of chapter 02_solver_as_data accept right answers, and say what is wrong with others."""

import math

import pytest

from dpbook_course.exercises.solver_as_data import check_passes, check_sampler, check_storable
from dpbook_utils.data import Sampler, random_fourier

STORABLE = {"P, then N": True, "N, then P": False, "twice P, then N": True, "P, then N, four steps": False,
            "P, then N, four steps, NOG": False}


def test_storable_is_right():
    assert check_storable(STORABLE).right


@pytest.mark.parametrize("answers, hint", [
    (None, "Replace None"),
    ({"P, then N": True}, "one answer for each of"),
    ({**STORABLE, "twice P, then N": False}, "Does it pass N before"),
    ({**STORABLE, "N, then P": True}, "N changes at every update"),
    ({**STORABLE, "P, then N, four steps": True}, "N changes at every update"),
    ({**STORABLE, "P, then N, four steps, NOG": True}, "not the states"),
])
def test_storable_says_what_is_wrong(answers, hint):
    feedback = check_storable(answers)
    assert not feedback.right and hint in feedback.message


def passes(generating, writing, reading):
    return (generating + writing) / (generating - reading) if generating > reading else math.inf


def test_passes_are_right():
    assert check_passes(passes).right
    assert check_passes(lambda g, w, r: math.ceil(passes(g, w, r)) if g > r else math.inf).right


def fails(generating, writing, reading):
    raise KeyError("an answer's own mistake")


@pytest.mark.parametrize("answer, hint", [
    (None, "Replace None"),
    (3.0, "You gave float"),
    (fails, "an answer's own mistake"),
    (lambda g, w, r: (g + w) / g, "Reading costs too"),
    (lambda g, w, r: g / (g - r) if g > r else math.inf, "Writing costs too"),
    (lambda g, w, r: (g + w) / (g - r) if g != r else -1, "it never pays"),
    (lambda g, w, r: (g + w + r) / g, "They are equal at n ="),
])
def test_passes_say_what_is_wrong(answer, hint):
    feedback = check_passes(answer)
    assert not feedback.right and hint in feedback.message


def initial(num_samples, generator, values):
    waves = random_fourier(num_samples, 64, modes=4, seed=generator)
    return values["amplitude"][:, None, None] * waves


BOUNDS = {"viscosity": (0.05, 0.5), "amplitude": (0.2, 0.8)}


def test_sampler_is_right():
    assert check_sampler(Sampler(initial, BOUNDS, logarithmic=("viscosity",))).right


def size_one(num_samples, generator, values):
    return random_fourier(num_samples, 64, modes=4, seed=generator)


def same_waves(num_samples, generator, values):
    return values["amplitude"][:, None, None] * random_fourier(num_samples, 64, modes=4, seed=0)


def too_few_cells(num_samples, generator, values):
    return random_fourier(num_samples, 32, modes=4, seed=generator)


@pytest.mark.parametrize("answer, hint", [
    (None, "Replace None"),
    (initial, "You gave function"),
    (Sampler(fails, BOUNDS), "an answer's own mistake"),
    (Sampler(size_one, {"viscosity": (0.05, 0.5)}), "No amplitude is sampled"),
    (Sampler(initial, {**BOUNDS, "viscosity": (0.1, 0.5)}), "viscosity is bounded by (0.1, 0.5)"),
    (Sampler(initial, BOUNDS), "evenly in its logarithm"),
    (Sampler(too_few_cells, BOUNDS, ("viscosity",)), "expected (64, 1, 64)"),
    (Sampler(size_one, BOUNDS, ("viscosity",)), "Multiply waves of size 1"),
    (Sampler(same_waves, BOUNDS, ("viscosity",)), "The next batch has the same waves"),
])
def test_sampler_says_what_is_wrong(answer, hint):
    feedback = check_sampler(answer)
    assert not feedback.right and hint in feedback.message
