"""Checks for the exercises of chapter 11_forward_and_inverse."""

from collections.abc import Mapping

import torch

from . import Feedback, not_yet, right


def check_cost(adjoint: int | None, differences: int | None, evaluations: int, num_steps: int, num_unknowns: int
               ) -> Feedback:
    """Exercise 1: calls of the solver in a search for one initial state.

    Args:
        adjoint, differences: the answers: with a backward sweep, which counts as two calls a step, and with central
            differences of the misfit.
        evaluations: of the misfit and its gradient.   num_steps: from the initial state to the last observation.
    """
    if adjoint is None or differences is None:
        return not_yet("Replace both None by numbers of calls.")
    one = evaluations * num_steps
    if adjoint == one:
        return not_yet("Those are the forward passes alone. The backward sweep goes through every step again, and "
                       "counts as two calls.")
    if adjoint != 3 * one:
        return not_yet("One evaluation with the adjoint is one call forward and two backward, for each step.")
    if differences == one * (1 + num_unknowns):
        return not_yet("Central differences move every unknown up and down: two simulations for each.")
    if differences == one * 2 * num_unknowns:
        return not_yet("Almost: the misfit itself is needed too, one simulation more.")
    if differences != one * (1 + 2 * num_unknowns):
        return not_yet("One evaluation is a simulation for the misfit and two for each unknown.")
    return right(f"{differences / adjoint:.0f} times as many. The adjoint's price does not depend on the number of "
                 "unknowns.")


def wiggled(amplitude: float, wave_number: float) -> tuple[float, float]:
    """(forward error of the hybrid / that of P, cosine of its gradient) for exercise 2.

    The truth is u -> 0.9 u, P is u -> 0.8 u, the hybrid u -> 0.9 u + a sin(k u), at 2,000 normal values.
    """
    u, residual = torch.randn(2, 2000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u.requires_grad_()
    step = 0.9 * u + amplitude * (wave_number * u).sin()
    gradient, = torch.autograd.grad(step, u, residual)
    error = (step - 0.9 * u).detach().norm() / (0.1 * u.detach()).norm()
    return float(error), float(torch.cosine_similarity(gradient, 0.9 * residual, dim=0))


def check_wiggle(amplitude: float | None, wave_number: float | None) -> Feedback:
    """Exercise 2: a hybrid with at most a tenth of P's error in a step, and a cosine below 0.9; P's cosine is 1."""
    if amplitude is None or wave_number is None:
        return not_yet("Replace both None by numbers.")
    error, cosine = wiggled(amplitude, wave_number)
    seen = f"Its error is {error:.3g} times that of P, and its gradient has a cosine of {cosine:.3f}. "
    if error > 0.1:
        return not_yet(seen + "The error is that of the values, which the wave number hardly changes: make the "
                              "amplitude smaller.")
    if cosine >= 0.9:
        return not_yet(seen + "What enters the gradient is the derivative of what is added, a k cos(k u). Which of the "
                              "two numbers can make it large while the values stay small?")
    return right(seen + "A loss of values bounds the amplitude a. The gradient has the product a k, and nothing in "
                        "that loss bounds k: a network may fit every state that it was shown and be rough in between.")


def check_weight(weight: float | None, misfits: Mapping[float, float]) -> Feedback:
    """Exercise 3: the discrepancy principle. ``misfits``: {weight of the prior: misfit in units of the noise}."""
    if weight is None:
        return not_yet("Replace None by one of the weights.")
    if weight not in misfits:
        return not_yet(f"{weight!r} is none of the weights {', '.join(f'{w:g}' for w in misfits)}.")
    allowed = [w for w, misfit in misfits.items() if misfit <= 1]
    best = max(allowed) if allowed else min(misfits)
    if misfits[weight] > 1 and weight != best:
        return not_yet(f"With it the misfit is {misfits[weight]:.2f} times the noise: the prior overrules what was "
                       "observed.")
    if weight != best:
        return not_yet(f"Its misfit of {misfits[weight]:.2f} is below the noise: part of the noise is fitted as if it "
                       "were the state. A larger weight explains the observations just as well.")
    return right("The largest weight that still explains the observations up to their noise. It needs no truth to "
                 "compare with; but it takes the solver for right, and a coarse one is not.")
