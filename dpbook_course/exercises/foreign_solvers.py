"""Checks for the exercises of chapter 13_foreign_solvers."""

import math
from collections.abc import Callable

import numpy as np

from . import Feedback, not_yet, right


def check_calls(forward: int | None, differences: int | None, num_inputs: int, num_steps: int) -> Feedback:
    """Exercise 1: calls of the solver for one sample and one update of "P, then N", unrolled.

    Args:
        forward, differences: the answers: without a gradient, and with central differences for every one of them.
        num_inputs: numbers in one state.
        num_steps: of the unroll.
    """
    if forward is None or differences is None:
        return not_yet("Replace both None by numbers of calls.")
    if forward != num_steps:
        return not_yet("Without a gradient the solver is called once in each step of the unroll.")
    if differences == num_steps * (1 + num_inputs):
        return not_yet("Central differences move every number up and down: two calls for each.")
    if differences == num_steps * (1 + 2 * num_inputs):
        return not_yet("Almost: the first step's solver acts on data. No gradient has to go through it.")
    if differences == (num_steps - 1) * 2 * num_inputs:
        return not_yet("That is the backward pass alone; the forward pass calls the solver too.")
    if differences != num_steps + (num_steps - 1) * 2 * num_inputs:
        return not_yet("In each step but the first, two calls for every number of the state, and the forward passes.")
    return right(f"An adjoint would need a few calls per step; differences need {2 * num_inputs:,}.")


def check_adjoint(adjoint: Callable | None) -> Feedback:
    """Exercise 2: the vjp of u -> u - 0.1 u (roll(u, -1) - u), periodic in the last axis."""
    if adjoint is None:
        return not_yet("Replace None by your function my_adjoint(u, g).")
    generator = np.random.default_rng(0)
    u, g = generator.normal(size=(2, 2, 1, 16))
    try:
        found = np.asarray(adjoint(u, g), float)
    except Exception as error:  # whatever a reader's function raises is part of the answer
        return not_yet(f"Your function cannot be called: {error}")
    if found.shape != u.shape:
        return not_yet(f"It returns the shape {found.shape}; the gradient with respect to u has that of u, {u.shape}.")
    after, before = np.roll(u, -1, -1), np.roll(u, 1, -1)
    expected = g - 0.1 * (g * (after - 2 * u) + np.roll(g, 1, -1) * before)
    if np.allclose(found, g - 0.1 * (g * (after - u) + u * (np.roll(g, -1, -1) - g))):
        return not_yet("This is the derivative along g, J g. The adjoint is the transposed matrix, J^T g: what step i "
                       "takes from its neighbour i + 1 comes back from i - 1.")
    if np.allclose(found, g - 0.1 * g * (after - 2 * u)):
        return not_yet("Each u is used twice: at its own place, and as the neighbour of the one before.")
    if not np.allclose(found, expected):
        return not_yet("It is not the gradient. Write down for one u[j] in which of the outputs it appears.")
    return right("The product with any v says so too: <g, J v> = <J^T g, v>.")


def check_samples(num_samples: float | None, num_inputs: int, cosine: float) -> Feedback:
    """Exercise 3: samples of simultaneous perturbation for a cosine with the true gradient.

    With K samples and n inputs the estimate is the gradient and, at a right angle in the mean, noise of the relative
    size sqrt((n - 1) / K).
    """
    if num_samples is None:
        return not_yet("Replace None by a number of samples.")
    wanted = (num_inputs - 1) * cosine**2 / (1 - cosine**2)
    if math.isclose(num_samples, 2 * wanted, rel_tol=0.02):
        return not_yet("That is the number of calls, two for each sample.")
    if not math.isclose(num_samples, wanted, rel_tol=0.05):
        return not_yet("With noise of the relative size r at a right angle the cosine is 1 / sqrt(1 + r^2). Which r "
                       "gives the cosine that is asked for, and how many samples have it?")
    return right(f"About {2 * wanted:,.0f} calls, where central differences need {2 * num_inputs:,} for all of it: "
                 "when the direction itself has to be right, chance does not save calls.")
