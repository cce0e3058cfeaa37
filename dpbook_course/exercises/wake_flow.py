"""Checks for the exercises of chapter 08_wake_flow."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from . import Feedback, not_yet, right

COSTS = (1.0, 2.0, 3.4, 8.0)  # of a step, in steps of the source


def check_error(error: Callable[[Tensor, Tensor], Tensor] | None) -> Feedback:
    """Exercise 1: ``error(prediction, trajectory)``, relative L2 of a roll-out, aligned in time.

    prediction (batch, m, 2, x, y) holds the states after 1 ... m steps; trajectory (batch, at least m + 1, 2, x, y) the
    reference's, with the initial state first. Result: (batch, m).
    """
    if error is None:
        return not_yet("Replace None by your function, without calling it: check_error(aligned).")
    if not callable(error):
        return not_yet(f"Give a function of prediction and trajectory; you gave {type(error).__name__}.")
    trajectory = _travelling(6)
    prediction = trajectory[:, 1:4] * 1.1
    found = _error_of(error, prediction, trajectory)
    if isinstance(found, Feedback):
        return found
    for shift, advice in ((0, "You compare step i with the state before it: the trajectory begins with the initial "
                              "state, the prediction does not."),
                          (2, "You compare step i with the reference one step later. A perfect solver would seem to "
                              "err as far as the flow moves in a step.")):
        if torch.allclose(found, _relative(prediction, trajectory[:, shift:shift + 3]), rtol=1e-4):
            return not_yet(advice)
    expected = _relative(prediction, trajectory[:, 1:4])
    if torch.allclose(found, expected.square(), rtol=1e-3):
        return not_yet("This is the square of the relative error: take the root of both sums.")
    absolute = (prediction - trajectory[:, 1:4]).abs().flatten(2).sum(2) / trajectory[:, 1:4].abs().flatten(2).sum(2)
    if torch.allclose(found, absolute, rtol=1e-4) and not torch.allclose(found, expected, rtol=1e-4):
        return not_yet("This is the relative L1 error, of absolute values; L2 is the root of a sum of squares.")
    # A scaled reference has the same relative error in every norm; a shifted one does not. The last has fewer steps.
    for prediction in (trajectory[:, 1:4] * 1.1, trajectory[:, :3], trajectory[:, 1:3] + 0.2):
        expected = _relative(prediction, trajectory[:, 1:1 + prediction.shape[1]])
        found = _error_of(error, prediction, trajectory)
        if isinstance(found, Feedback):
            return found
        if not torch.allclose(found, expected, rtol=1e-4):
            return not_yet(f"For one of the roll-outs the error at step 1 is {float(expected[0, 0]):.4g}, and you find "
                           f"{float(found[0, 0]):.4g}. Is the norm the L2 norm over components and space, and the "
                           "reference's the denominator?")
    return right("A roll-out that is exact has the error 0, and one that is a step late has not.")


def check_frequency(frequency: Callable[[np.ndarray, float], float] | None) -> Feedback:
    """Exercise 2: ``frequency(lift, dt)``, the shedding frequency from a series of lift coefficients."""
    if frequency is None:
        return not_yet("Replace None by your function, without calling it: check_frequency(frequency).")
    if not callable(frequency):
        return not_yet(f"Give a function of lift and dt; you gave {type(frequency).__name__}.")
    for true, offset, phase in ((0.183, 0.0, 0.3), (0.17, 0.0, 2.0), (0.213, 0.5, 1.0)):
        dt = 0.1
        time = dt * np.arange(300)
        lift = offset + 0.3 * np.sin(2 * np.pi * true * time + phase)
        where = f"a sine of frequency {true:g} with the mean {offset:g}, 300 values {dt:g} apart"
        mean_off = "Take the mean off first: this lift never changes its sign."
        try:
            answer = frequency(lift, dt)
        except Exception as problem:
            return not_yet(f"For {where} frequency(lift, dt) fails: {problem}. {mean_off if offset else ''}".rstrip())
        found = _number(answer)
        if found is None:
            return not_yet(f"frequency(lift, dt) gives {_kind(answer)}; give one number.")
        for factor, reason in ((dt, "Divide by dt: you count per step."), (2.0, "You count both zero crossings of a "
                               "period."), (2 * np.pi, "This is the angular frequency."),
                               (true**-2, "This is the period.")):
            if abs(found / (factor * true) - 1) < 0.02:
                return not_yet(f"For {where} you find {found:.4g}. {reason}")
        if not abs(found / true - 1) < 0.02:
            hint = mean_off if offset else (
                "The nearest frequency of a Fourier transform of 30 time units is up to 0.017 away: interpolate, or "
                "measure between the first and the last upward zero crossing.")
            return not_yet(f"For {where} you find {found:.4g}. {hint}")
    return right("Within two per cent, on six periods.")


def check_refinement(refinements: Mapping[float, float] | None) -> Feedback:
    """Exercise 3: ``{cost: refinement}``, how much finer a grid the source could afford instead of a network.

    In two dimensions and at a fixed Courant number; cost of a step over the source's time step, in steps of the source.
    """
    if refinements is None:
        return not_yet(f"Replace None by a dict with the refinement for each of the costs {COSTS}.")
    if not isinstance(refinements, Mapping):
        return not_yet(f"Give a dict {{cost: refinement}} with the costs {COSTS}; you gave {_kind(refinements)}.")
    numbers = {_number(cost): _number(found) for cost, found in refinements.items()}
    if set(numbers) != set(COSTS):
        yours = ", ".join(map(repr, refinements)) or "none"
        return not_yet(f"Give one refinement for each of the costs {COSTS}; those you give it for: {yours}.")
    for cost, found in numbers.items():
        if found is None:
            return not_yet(f"For {cost:g} you give no number; give how many times finer the grid is.")
        if abs(found - cost**0.5) < 0.01 * cost**0.5 and cost > 1:
            return not_yet(f"For {cost:g} you count the cells, r^2. A finer grid needs shorter time steps, too.")
        if abs(found - cost) < 0.01 * cost and cost > 1:
            return not_yet(f"A grid {cost:g} times finer costs much more than {cost:g} times as much.")
        if not abs(found - cost ** (1 / 3)) < 0.01 * cost ** (1 / 3):
            return not_yet(f"For {cost:g} you give {found:.4g}. r times finer along both axes and in time costs r^3.")
    return right("A network that doubles the cost competes with a grid that is only a quarter finer.")


def _error_of(error: Callable, prediction: Tensor, trajectory: Tensor) -> Tensor | Feedback:
    """What the reader's function finds, in the precision of the prediction, or what is wrong with it."""
    steps = prediction.shape[1]
    try:
        found = error(prediction.clone(), trajectory.clone())  # a function that overwrites them spoils nothing
    except Exception as problem:  # whatever a reader's function raises is part of the answer
        return not_yet(f"For a roll-out of {steps} steps error(prediction, trajectory) fails: {problem}")
    if not isinstance(found, Tensor) or found.shape != (2, steps) or not found.is_floating_point():
        return not_yet(f"The result is {_kind(found)}; {steps} steps of two roll-outs give real numbers in a tensor "
                       f"(2, {steps}).")
    return found.detach().to(prediction)


def _number(value) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):  # RuntimeError: torch, of a tensor with several values
        return None


def _kind(value) -> str:
    shape = f" {tuple(value.shape)}" if isinstance(value, (Tensor, np.ndarray)) else ""
    return f"{type(value).__name__}{shape}"


def _relative(prediction: Tensor, reference: Tensor) -> Tensor:
    return (prediction - reference).flatten(2).norm(dim=2) / reference.flatten(2).norm(dim=2)


def _travelling(num_states: int) -> Tensor:
    """(2, num_states, 2, 8, 4): waves that move, of both components."""
    x = torch.arange(8.0)[:, None] + 0.3 * torch.arange(4.0)
    phase = 0.7 * torch.arange(float(num_states))[:, None, None, None]
    wave = torch.cat([torch.sin(x - phase) + 1, torch.cos(0.5 * x - phase)], 1)
    return torch.stack([wave, 2 * wave.flip(1)])
