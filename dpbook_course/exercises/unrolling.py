"""Checks for the exercises of chapter 03_unrolling."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from dpbook_utils.gradients import FullGradient, NoSolverGradient, Pushforward, Truncated
from dpbook_utils.losses import TrajectoryLoss, every_step, final_step
from dpbook_utils.objectives import Objective, parameters_of
from dpbook_utils.rollout import Rollout

from . import Feedback, not_yet, right


def check_pushforward(loss: Callable | None, step: nn.Module, batch: Mapping[str, Tensor],
                      num_steps: int = 3) -> Feedback:
    """Exercise 1: push-forward training by hand, ``loss(step, u0, reference, num_steps, **parameters) -> scalar``."""
    if loss is None:
        return not_yet("Replace None by your function: loss(step, u0, reference, num_steps, **parameters).")
    u0, reference = batch["u0"], batch["reference"]
    parameters = parameters_of(batch)
    try:
        found = loss(step, u0, reference, num_steps, **parameters)
    except (TypeError, ValueError, RuntimeError) as error:
        return not_yet(f"Your function cannot be called as loss(step, u0, reference, {num_steps}, **parameters): "
                       f"{error}")
    if not isinstance(found, Tensor) or found.ndim:
        return not_yet("The function must return the loss as one number, a tensor without axes.")

    def built(gradient: FullGradient, m: int = num_steps, placement=final_step, truth: Tensor = reference) -> Tensor:
        objective = Objective(Rollout(step, m, gradient=gradient), TrajectoryLoss(placement))
        return objective(u0, truth, **parameters)

    if _close(found, built(FullGradient(), 1)):
        return not_yet(f"This is one step from the data. First push the state {num_steps - 1} steps with the step "
                       "itself.")
    if _close(found, built(FullGradient(), num_steps, every_step)):
        return not_yet("This is the loss at every step; push-forward looks at the last one only.")
    if _close(found, built(FullGradient(), truth=reference[:, :1].expand_as(reference))):
        return not_yet(f"You compare with the reference at the first step; the state is the one after {num_steps}: "
                       f"reference[:, {num_steps - 1}].")
    if not _close(found, built(Pushforward())):
        return not_yet(f"The loss is {found.item():.4g}, that of push-forward {built(Pushforward()).item():.4g}. It is "
                       "the mean of the squared difference to the reference after the last step.")
    if not found.requires_grad:
        return not_yet("The value is right, but the last step too ran without a graph: nothing is left to train.")
    own, pushed, full = (_gradient(value, step) for value in (found, built(Pushforward()), built(FullGradient())))
    if not _close(own, pushed):
        return not_yet("The value is right, the gradient is that of all steps: run those before the last inside "
                       "torch.no_grad(), or detach the state." if _close(own, full) else
                       "The value is right, but the gradient is not that of the last step alone.")
    return right("Value and gradient are those of Pushforward(), bit for bit or nearly so.")


def check_decorrelation(time: float | None, one_step_error: float, exponent: float,
                        threshold: float = 0.8) -> Feedback:
    r"""Exercise 2: the step at which the correlation falls below the threshold, if every step adds the same error.

        e_1 (exp(lambda t) - 1) / (exp(lambda) - 1) = sqrt(2 (1 - threshold))

    Args:
        one_step_error: e_1, relative.   exponent: lambda, per step.
    """
    if time is None:
        return not_yet("Replace None by the number of steps that you expect.")
    time = float(time)
    if not math.isfinite(time) or time <= 0:
        return not_yet(f"You have {time}; give a positive number of steps.")
    largest = math.sqrt(2 * (1 - threshold))

    def steps(error: float, accumulated: bool = True, base: float = math.e) -> float:
        grown = error / one_step_error
        return math.log(1 + grown * math.expm1(exponent) if accumulated else grown, base) / exponent

    def close(a: float, b: float) -> bool:
        return abs(a - b) <= 0.02 * b + 0.5  # a whole number of steps is an answer too

    expected = steps(largest)
    if close(time, expected):
        return right(f"{expected:.0f} steps. The error enters as a logarithm: ten times less of it at every step gains "
                     f"{math.log(10) / exponent:.0f} steps.")
    if close(time, steps(largest, accumulated=False)):
        return not_yet("That is one error, made at the first step, which then grows. Every step adds another one of "
                       "the same size: sum them.")
    if close(time, steps(largest, base=10)) or close(time, steps(largest, accumulated=False, base=10)):
        return not_yet("exp(lambda t) asks for the natural logarithm, torch.log or math.log.")
    if any(close(time, steps(e, a)) for e in (1.0, 1 - threshold) for a in (True, False)):
        return not_yet(f"Which error belongs to a correlation of {threshold}? For two states of equal size "
                       "|u - r|^2 = 2 |r|^2 (1 - correlation).")
    return not_yet(f"You have {time:.1f} steps. Sum e_1 exp(lambda k) over the steps k, and ask when the sum is the "
                   f"error that belongs to a correlation of {threshold}.")


def check_cut(policy: FullGradient | None, step: nn.Module, batch: Mapping[str, Tensor],
              num_steps: int = 3) -> Feedback:
    """Exercise 3: another policy with the gradients of ``NoSolverGradient`` on a chain in which N acts last."""
    if policy is None:
        return not_yet("Replace None by a policy object.")
    if isinstance(policy, NoSolverGradient):
        return not_yet("That is NoSolverGradient itself. Find a cut that knows nothing of solvers.")
    if not isinstance(policy, FullGradient):
        found = "a class; give an object of it" if isinstance(policy, type) else f"of type {type(policy).__name__}"
        return not_yet(f"Your policy is {found}; it must be one like FullGradient() or Pushforward().")

    def gradient(cut: FullGradient) -> Tensor:
        objective = Objective(Rollout(step, num_steps, gradient=cut), TrajectoryLoss(every_step))
        return _gradient(objective(**batch), step)

    try:
        own = gradient(policy)
    except ValueError as error:
        return not_yet(f"With a loss at every step this cannot be trained. {error}")
    if _close(own, gradient(NoSolverGradient())):
        return right("Where N acts last, all ways from one step into an earlier one lead through the solver: to cut at "
                     "it, or to cut between the steps, is the same.")
    if _close(own, gradient(FullGradient())):
        return not_yet("This is the full gradient; nothing is cut.")
    if isinstance(policy, Truncated):
        return not_yet(f"Truncated({policy.every}) still leads through the solver, inside its {policy.every} steps.")
    return not_yet("The gradients differ. In the diagram of NOG, which edges between two steps carry a gradient?")


def _gradient(loss: Tensor, step: nn.Module) -> Tensor:
    weights = [w for w in step.parameters() if w.requires_grad]
    found = torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)
    return torch.cat([g.flatten() for g in found])


def _close(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).norm() <= 1e-4 * b.norm())
