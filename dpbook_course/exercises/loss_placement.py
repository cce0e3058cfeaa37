"""Checks for the exercises of chapter 05_loss_placement."""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from dpbook_utils.coupling import Additive
from dpbook_utils.gradients import FullGradient, NoSolverGradient, Truncated
from dpbook_utils.losses import TrajectoryLoss, at_steps
from dpbook_utils.objectives import NoGradientPath, Objective, from_batch, parameters_of
from dpbook_utils.physics.kuramoto_sivashinsky import KuramotoSivashinsky, etd1
from dpbook_utils.physics.solver import solvers
from dpbook_utils.rollout import Rollout, Sequential

from . import Feedback, not_yet, right

NUM_STEPS, PLACES = 8, (3, 6)
POLICIES = {"WIG": FullGradient(), "NOG": NoSolverGradient(), "TBPTT-4": Truncated(every=4)}


def check_reach(answers: Mapping[str, Iterable[int]] | None) -> Feedback:
    """Exercise 1: with losses at steps 3 and 6 of 8, the applications of N (counted from 1) that get a gradient.

    Args:
        answers: ``{"WIG": steps, "NOG": steps, "TBPTT-4": steps}`` for the chain "P, then N".
    """
    if answers is None:
        return not_yet('Replace None by your answers: {"WIG": [...], "NOG": [...], "TBPTT-4": [...]}.')
    if not isinstance(answers, Mapping) or set(answers) != set(POLICIES):
        return not_yet(f"Give one list for each of {', '.join(POLICIES)}.")
    for name, policy in POLICIES.items():
        found, expected = set(answers[name]), _reached(policy)
        beyond = {k for k in found if k > max(PLACES)}
        if beyond:
            return not_yet(f"{name}: application {max(beyond)} comes after the last loss, which cannot see it.")
        missing, wrong = expected - found, found - expected
        if missing and name == "NOG":
            return not_yet(f"NOG: application {min(missing)} has a loss at its own step, with no solver in between.")
        if wrong and name == "NOG":
            return not_yet(f"NOG: from a loss at a later step to application {min(wrong)}, which operators are passed?")
        if missing:
            return not_yet(f"{name}: application {min(missing)} is missing. Go back from each loss until a cut.")
        if wrong:
            return not_yet(f"{name}: Truncated(every=4) cuts between steps 4 and 5. On its side of the cut, "
                           f"application {min(wrong)} has no loss after it.")
    return right("Every loss reaches back to the nearest cut: the beginning, the solver of its own step, or step 5.")


def check_weights(late: Callable[[int], Tensor] | None) -> Feedback:
    """Exercise 2: a placement of one's own, whose weights grow in proportion to the step: ``late(num_steps)``."""
    if late is None:
        return not_yet("Replace None by your function, without calling it: check_weights(late).")
    if not callable(late):
        return not_yet("A placement is a function of the roll-out's length, so that it can follow a curriculum; you "
                       f"gave {type(late).__name__}.")
    for num_steps in (8, 3, 1):
        try:
            found = late(num_steps)
        except Exception as error:  # whatever a reader's function raises is part of the answer
            return not_yet(f"late({num_steps}) fails: {error}")
        if not isinstance(found, Tensor) or found.shape != (num_steps,):
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            return not_yet(f"late({num_steps}) gives {shape}; it must be a tensor ({num_steps},), one weight per step.")
        steps = torch.arange(1, num_steps + 1, dtype=found.dtype if found.is_floating_point() else torch.float32)
        if num_steps > 1 and torch.allclose(found.to(steps), steps):
            return not_yet(f"The weights of late({num_steps}) grow as they should, but sum to {float(found.sum()):g}. "
                           "Divide by the sum, or the size of the loss depends on the unroll length.")
        if num_steps > 1 and torch.allclose(found.to(steps), steps.flip(0) / steps.sum()):
            return not_yet("These weights fall with the step; later steps are to count more.")
        if num_steps > 1 and torch.allclose(found.to(steps), (steps - 1) / (steps - 1).sum()):
            return not_yet("Your first step has no weight: count the steps from 1.")
        if not torch.allclose(found.to(steps), steps / steps.sum(), atol=1e-6):
            return not_yet(f"late({num_steps}) gives {[round(w, 3) for w in found.tolist()]}; expected is weight k / "
                           f"(1 + 2 + ... + {num_steps}) at step k.")
    try:
        TrajectoryLoss(late)(torch.zeros(1, 4, 1, 2), torch.ones(1, 4, 1, 2))
    except (RuntimeError, ValueError, TypeError) as error:
        return not_yet(f"The numbers are right, but the loss cannot use them: {error}")
    return right("A placement is nothing but weights that sum to one.")


def check_mended(objective: Objective | None, batch: Mapping[str, Tensor]) -> Feedback:
    """Exercise 3: train N in the order "N, then P" with NoSolverGradient and a loss at the last step."""
    if objective is None:
        return not_yet("Replace None by your objective.")
    if not isinstance(objective, Objective):
        return not_yet(f"Give an Objective(rollout, loss, targets); you gave {type(objective).__name__}.")
    rollout = objective.rollout
    operators = list(rollout.step) if isinstance(rollout.step, nn.Sequential) else [rollout.step]
    if len(operators) != 2 or next(solvers(operators[-1]), None) is None:
        return not_yet('Keep the order "N, then P": Sequential(Additive(network), solver).')
    if not isinstance(rollout.gradient, NoSolverGradient):
        return not_yet(f"The policy is {rollout.gradient!r}; the task is to train without the solver's gradient.")
    weights = objective.loss.weights_for(rollout.num_steps)
    if not torch.equal(weights, torch.eye(rollout.num_steps).to(weights)[-1]):
        return not_yet("The loss is to sit at the last step only: TrajectoryLoss(final_step).")
    if rollout.record_after != 0:
        return not_yet("The loss lies behind the solver, and no path leads from there to N. Record the state "
                       "before it.")
    try:
        loss = objective(**batch)
    except (NoGradientPath, ValueError, TypeError, RuntimeError) as error:
        return not_yet(f"The objective cannot be evaluated: {error}")
    with torch.no_grad():
        parameters = parameters_of(batch)
        trajectory = rollout(batch["u0"], **parameters)

    def against(target: Tensor) -> Tensor:
        return (trajectory[:, -1] - target).square().mean()

    m = rollout.num_steps
    before = batch["reference"][:, m - 2] if m > 1 else batch["u0"]
    if torch.allclose(loss, against(batch["reference"][:, m - 1])) and objective.targets is from_batch:
        return not_yet(f"A state before P of step {m} has the time of step {m - 1}, and you compare it with the "
                       f"reference of step {m}. Shift the target by one step.")
    if not torch.allclose(loss, against(before), rtol=1e-4):
        return not_yet(f"The target is not the reference of the step before, which is reference[:, {m - 2}] for the "
                       f"last of {m}.")
    return right("One application of N is trained, the last, and its target has the right time.")


def _reached(policy: FullGradient) -> set[int]:
    """The applications of N at whose outputs a gradient arrives, found by one backward pass on stand-ins."""
    network = nn.Conv1d(1, 1, 1).double()
    outputs = []
    network.register_forward_hook(lambda _, inputs, output: outputs.append(output) or output.retain_grad())
    step = Sequential(KuramotoSivashinsky(16, 0.1, etd1), Additive(network))
    objective = Objective(Rollout(step, NUM_STEPS, gradient=policy), TrajectoryLoss(at_steps(*PLACES)))
    generator = torch.Generator().manual_seed(0)
    u0 = torch.randn(1, 1, 16, dtype=torch.float64, generator=generator)
    objective(u0, torch.zeros(1, NUM_STEPS, 1, 16, dtype=torch.float64), length=16.0).backward()
    return {k for k, output in enumerate(outputs, 1) if output.grad is not None and output.grad.any()}
