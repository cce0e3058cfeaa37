"""Checks for the exercises of chapter 12_control."""

import math
from collections.abc import Callable

import torch

from . import Feedback, not_yet, right


def check_smoothed(force: Callable | None, bound: float, threshold: float) -> Feedback:
    """Exercise 1: a force that is almost the relay's, and has a gradient near its steps.

    Args:
        force: ``force(command)``, on tensors.
        bound, threshold: of the relay.
    """
    if force is None:
        return not_yet("Replace None by your function my_force(command).")
    command = torch.tensor([-1.0, -threshold, 0.0, threshold, 1.0], requires_grad=True)
    try:
        found = force(command)
    except Exception as error:  # whatever a reader's function raises is part of the answer
        return not_yet(f"Your function cannot be called: {error}")
    if not isinstance(found, torch.Tensor) or found.shape != command.shape:
        return not_yet("It must return one force for each command, as a tensor of the same shape.")
    wanted = torch.tensor([-bound, math.nan, 0.0, math.nan, bound])
    apart = (found.detach() - wanted)[[0, 2, 4]].abs().max().item()
    if not found.requires_grad:
        return not_yet("No gradient leads from the force to the command: a comparison has none. Replace the step "
                       "by something that rises.")
    slope, = torch.autograd.grad(found.sum(), command)
    if not torch.isfinite(slope).all():
        return not_yet("The gradient is not finite; a ramp has a width.")
    if (slope == 0).all():
        return not_yet("The gradient is zero everywhere, as the relay's is: torch.sign is flat on both sides.")
    if not (slope[[1, 3]] > 0.5 * bound).all():
        return not_yet(f"At the thresholds, {-threshold:g} and {threshold:g}, the force has to rise; its gradient "
                       f"there is {slope[1]:.2g} and {slope[3]:.2g}.")
    if apart > 0.1 * bound:
        return not_yet(f"Away from the thresholds it is another actuator: at the commands -1, 0 and 1 the force is "
                       f"{', '.join(f'{value:.2f}' for value in found.detach()[[0, 2, 4]].tolist())}, and the relay's "
                       f"{-bound:g}, 0 and {bound:g}. Make the ramp narrower.")
    return right("Between its steps it is the relay, and near them it says in which direction the step is.")


def check_slope(slope: float | None, bound: float, threshold: float, sigma: float) -> Feedback:
    """Exercise 2: the derivative at command 0 of the relay's mean under normal noise of the size sigma.

        E f(c + sigma e) = bound (Phi((c - threshold) / sigma) - Phi((-c - threshold) / sigma))

    whose derivative at c = 0 is 2 bound phi(threshold / sigma) / sigma.
    """
    if slope is None:
        return not_yet("Replace None by a number.")
    density = math.exp(-((threshold / sigma) ** 2) / 2) / math.sqrt(2 * math.pi)
    wanted = 2 * bound * density / sigma
    if slope == 0:
        return not_yet("That is the relay's own slope. Its mean over the noise rises: the larger the command, the more "
                       "often the noise lifts it over the threshold.")
    if math.isclose(slope, wanted / 2, rel_tol=0.02):
        return not_yet("That is one of the two steps; with a larger command the one below is passed less often, too.")
    if math.isclose(slope, wanted * sigma, rel_tol=0.02):
        return not_yet("The derivative of Phi(x / sigma) is phi(x / sigma) / sigma.")
    if not math.isclose(slope, wanted, rel_tol=0.02):
        return not_yet("Write the mean force as bound times the probability to be above the threshold, minus bound "
                       "times that to be below it, and differentiate at command 0.")
    return right("A noise that is small beside the threshold leaves almost nothing of it: the density decides.")


def check_units(forward: str | None, backward: str | None, hours: str | None) -> Feedback:
    """Exercise 3: who needs less to bring a validation force below 800, by the stored logs of a public notebook.

    Steps forward: 5.0 million with the gradient, 3.7 million by PPO; hours: 0.20 and 4.2.
    """
    answers = {"steps forward": forward, "steps forward and backward": backward, "hours": hours}
    if None in answers.values():
        return not_yet('Replace every None by "DP" or "PPO".')
    if unknown := [answer for answer in answers.values() if answer not in ("DP", "PPO")]:
        return not_yet(f'The answers are "DP" or "PPO", not {unknown[0]!r}.')
    wrong = [unit for (unit, answer), wanted in zip(answers.items(), ("PPO", "PPO", "DP")) if answer != wanted]
    if wrong == ["steps forward and backward"]:
        return not_yet("With the steps backward counted, the gradient costs more than before, not less.")
    if wrong:
        return not_yet(f"Compare the numbers once more in {wrong[0]}: fewer is better.")
    return right("One log, two winners. An agent spends its time on its own epochs, and not on the solver: whether "
                 "that matters depends on what a step costs.")
