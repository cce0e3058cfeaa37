"""Checks for the exercises of chapter 10_generalisation."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from . import Feedback, not_yet, right


def check_moving(moving: Callable[[Tensor, int, float, float], Tensor] | None) -> Feedback:
    """Exercise 1: a trajectory as somebody sees it who moves: ``moving(states, cells, dx, dt)``.

    Shapes: (time, x) -> (time, x); the observer's velocity is -cells dx / dt: everything gains cells dx / dt.
    """
    if moving is None:
        return not_yet("Replace None by your function moving_as(states, cells, dx, dt).")
    states = torch.randn(4, 16, generator=torch.Generator().manual_seed(0))
    try:
        found = moving(states, 2, 0.5, 0.1)
    except Exception as error:  # whatever a reader's function raises is part of the answer
        return not_yet(f"Your function cannot be called: {error}")
    if not isinstance(found, Tensor) or found.shape != states.shape:
        return not_yet("Give a tensor of the shape of the states, (time, x).")
    carried = torch.stack([u.roll(2 * n) for n, u in enumerate(states)])

    def near(wanted: Tensor) -> bool:
        return torch.allclose(found, wanted, atol=1e-4)

    if near(states + 10.0):
        return not_yet("The velocity is added, but nothing is carried along: after n steps a wave has moved by n times "
                       "so many cells.")
    if near(carried):
        return not_yet("Everything is carried along; but u is a velocity itself, so the mean velocity is added to it.")
    if near(torch.stack([u.roll(-2 * n) for n, u in enumerate(states)]) + 10.0):
        return not_yet("It is carried to the wrong side: what moves with a positive velocity is found further right, "
                       "at larger x.")
    if near(carried + 2.0) or near(carried + 1.0):
        return not_yet("The velocity is a distance divided by a time: so many cells of the width dx in each dt.")
    if not near(carried + 10.0):
        return not_yet("State n is rolled by n times so many cells, and the velocity cells dx / dt is added to it.")
    return right("With whole cells per step this solution is exact, so the reference of a moving flow costs nothing.")


def check_gain(gain: float | None, solver: float, hybrid: float, direct: float) -> Feedback:
    """Exercise 2: by which factor learning has made the solver's relative error smaller.

    Args:
        solver, hybrid, direct: published mean squared errors of the solver alone, with a learned part, and of a
            network that has seen three samples.
    """
    if gain is None:
        return not_yet("Replace None by a factor.")
    if gain <= 0:
        return not_yet("A factor is a positive number.")
    if gain < 1:
        gain = 1 / gain
    if math.isclose(gain, direct / hybrid, rel_tol=0.05):
        return not_yet("That is the headline: it compares with a network that saw three samples. What would the "
                       "solver have had without any learning?")
    if math.isclose(gain, math.sqrt(direct / hybrid), rel_tol=0.05):
        return not_yet("The square root is right, for the numbers are mean squares. But the baseline is the weak one.")
    if math.isclose(gain, solver / hybrid, rel_tol=0.05):
        return not_yet("The right baseline. These are mean squared errors, though; the error itself is the root.")
    if not math.isclose(gain, math.sqrt(solver / hybrid), rel_tol=0.05):
        return not_yet("Divide the error of the best that was there without learning by that of the learned one, and "
                       "mind that the numbers are mean squares.")
    return right(f"A factor of {math.sqrt(solver / hybrid):.1f}, not of {direct / hybrid:,.0f}. It may still be worth "
                 "its cost: that is the next question to ask.")


def check_reach(network: int | None, unrolled: int | None, num_layers: int, kernel_size: int, stencil: int,
                num_steps: int) -> Feedback:
    """Exercise 3: how many cells to one side an output can depend on.

    Args:
        network, unrolled: the answers: for one application of N, and for so many steps of "P, then N".
        num_layers, kernel_size: of the convolutions, one after the other.
        stencil: cells to one side that P looks at.
        num_steps: of the unroll.
    """
    if network is None or unrolled is None:
        return not_yet("Replace both None by numbers of cells.")
    radius = num_layers * (kernel_size // 2)
    if network in (num_layers * kernel_size, num_layers * (kernel_size - 1)):
        return not_yet(f"A kernel of {kernel_size} looks {kernel_size // 2} to each side, and the question is about "
                       "one side.")
    if network != radius:
        return not_yet("Every convolution adds half of its kernel, rounded down, to each side.")
    if unrolled == num_steps * radius:
        return not_yet("That is N alone. In each step P looks at neighbours too.")
    if unrolled == radius + stencil:
        return not_yet("That is one step. In the next one, the neighbours' neighbours come in.")
    if unrolled != num_steps * (radius + stencil):
        return not_yet("Each step adds the reach of P and that of N.")
    return right("It is what an output *can* depend on. What it does depend on is measured by a gradient, as in part "
                 "6, and is much less.")
