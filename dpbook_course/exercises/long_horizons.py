"""Checks for the exercises of chapter 06_long_horizons."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dpbook_utils.gradients import FullGradient, Truncated
from dpbook_utils.losses import TrajectoryLoss, every_step
from dpbook_utils.objectives import Objective
from dpbook_utils.rollout import Rollout

from . import Feedback, not_yet, right


def check_tenfold(answer: float | None, exponent: float, tolerance: float = 0.1) -> Feedback:
    """Exercise 1: the number of steps in which chaos multiplies a gradient by ten, from the exponent per step."""
    if answer is None:
        return not_yet("Replace None by a number of steps.")
    answer, exponent = float(answer), float(exponent)
    expected = math.log(10) / exponent
    known = {math.log(2) / exponent: "That is the time in which a gradient doubles. Solve e^(lambda m) = 10 for m.",
             1 / exponent: "That is the Lyapunov time, in which a gradient grows by e, not by ten.",
             1 / (exponent * math.log(10)): "Solve e^(lambda m) = 10 for m: ln 10 belongs into the numerator.",
             10 / exponent: "The growth is exponential, not proportional to m: take the logarithm of ten.",
             10 * exponent: "Steps times exponent is the logarithm of the growth: divide by the exponent."}
    if abs(answer - expected) <= tolerance * expected:
        return right(f"About {expected:.0f} steps; and another ten times for every further {expected:.0f}.")
    for wrong, hint in known.items():
        if abs(answer - wrong) <= 0.02 * abs(wrong):
            return not_yet(hint)
    return not_yet(f"After {answer:g} steps a gradient has grown by e^({exponent:.3g} x {answer:g}) = "
                   f"{math.exp(min(exponent * answer, 700)):.3g}, not by 10.")


def check_curriculum(curriculum: Mapping[int, int] | None, num_updates: int, num_steps: int) -> Feedback:
    """Exercise 2: ``{update: unroll length}`` from 1 step to ``num_steps`` within a third of the cost of no curriculum.

    No stage is more than three times as long as the one before, each stage has at least 5 % of the updates, and the
    full length at least 10 %.
    """
    if curriculum is None:
        return not_yet("Replace None by a dict such as {0: 1, 500: 3}: the unroll length from that update on.")
    if not isinstance(curriculum, Mapping) or not all(isinstance(x, int) for pair in curriculum.items() for x in pair):
        return not_yet("Give a dict of whole numbers, {update: unroll length}.")
    starts = sorted(curriculum)
    lengths = [curriculum[start] for start in starts]
    if not starts or starts[0] != 0 or lengths[0] != 1:
        return not_yet("At update 0 the network knows nothing: begin with {0: 1}.")
    if starts[-1] >= num_updates or lengths[-1] != num_steps:
        return not_yet(f"The training ends after {num_updates} updates; the last stage must begin before and unroll "
                       f"{num_steps} steps.")
    for before, after in zip(lengths, lengths[1:]):
        if after <= before:
            return not_yet(f"From {before} to {after} steps is no progress.")
        if after > 3 * before:
            return not_yet(f"From {before} to {after} steps is a long jump: a network that has learned {before} steps "
                           "may leave the attractor on the way. Put a stage between, at most three times as long.")
    shares = [(b - a) / num_updates for a, b in zip(starts, [*starts[1:], num_updates])]
    if min(shares) < 0.05:
        return not_yet(f"One stage has only {min(shares):.0%} of the updates: too few to learn from it.")
    if shares[-1] < 0.1:
        return not_yet(f"The full length has only {shares[-1]:.0%} of the updates, while the learning rate goes to "
                       "zero.")
    cost = sum(share * m for share, m in zip(shares, lengths)) / num_steps
    if cost > 1 / 3:
        return not_yet(f"It takes {cost:.0%} of the steps of a training without a curriculum; a third was asked for. "
                       "Let the short stages last longer.")
    return right(f"From 1 to {num_steps} steps in {len(lengths)} stages, for {cost:.0%} of the cost.")


def truncation_cosine(step: nn.Module, batch: Mapping[str, Tensor], num_steps: int, every: int) -> float:
    """cos of the angle between the truncated and the full gradient over all weights."""
    found = []
    for policy in (Truncated(every), FullGradient()):
        objective = Objective(Rollout(step, num_steps, gradient=policy), TrajectoryLoss(every_step))
        found.append(_gradient(objective, batch))
    return float(torch.nn.functional.cosine_similarity(*found, dim=0))


def check_cosine(answer: float | None, step: nn.Module, batch: Mapping[str, Tensor], num_steps: int,
                 every: int) -> Feedback:
    """Exercise 3: the cosine between the gradients of all weights under ``Truncated(every)`` and ``FullGradient()``."""
    if answer is None:
        return not_yet("Replace None by the cosine of the two gradients.")
    answer = float(answer)
    if not -1.001 <= answer <= 1.001:
        return not_yet(f"{answer:.3g} is no cosine: divide the product of the two gradients by both of their norms.")
    expected = truncation_cosine(step, batch, num_steps, every)
    if abs(answer - expected) < 0.005:
        return right(f"{expected:.3f}: the direction that truncation leaves.")
    if abs(answer - 1) < 1e-6:
        return not_yet("The two gradients are the same: did the policy reach Rollout(step, m, gradient=...), and is "
                       "`every` smaller than the number of steps?")
    if abs(answer - truncation_cosine(step, batch, num_steps, 1)) < 0.005:
        return not_yet(f"That is the cosine for Truncated(1); cut every {every} steps.")
    return not_yet(f"You found {answer:.3f}. Flatten the gradients of all weights into one vector each, with the loss "
                   "at every step, and set them to None in between: backward() adds.")


def _gradient(objective: Objective, batch: Mapping[str, Tensor]) -> Tensor:
    weights = [w for w in objective.parameters() if w.requires_grad]
    return torch.cat([g.flatten() for g in torch.autograd.grad(objective(**batch), weights)])
