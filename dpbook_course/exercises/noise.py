"""Checks for the exercises of chapter 07_noise."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dpbook_utils.noise import GaussianNoise, Perturbed
from dpbook_utils.objectives import Objective, parameters_of
from dpbook_utils.physics.solver import Solver, select

from . import Feedback, not_yet, right


def check_walk(increment: float | None, oldest: float | None, sigma: float, num_frames: int) -> Feedback:
    """Exercise 1: the standard deviation of one increment of a random walk that ends at sigma, and of its first frame.

    Args:
        increment, oldest: the answers; with independent increments the two are related.
    """
    if increment is None or oldest is None:
        return not_yet("Replace None by two numbers, in units of the state.")
    wanted = sigma / math.sqrt(num_frames)
    if math.isclose(increment, sigma / num_frames, rel_tol=1e-3):
        return not_yet("Standard deviations of independent increments do not add; their variances do.")
    if math.isclose(increment, sigma, rel_tol=1e-3):
        return not_yet(f"Then the newest of {num_frames} frames would have more than sigma: it has gathered all "
                       f"{num_frames} increments.")
    if not math.isclose(increment, wanted, rel_tol=1e-2):
        return not_yet(f"{num_frames} independent increments of variance s^2 have together the variance "
                       f"{num_frames} s^2. Which s makes that sigma^2?")
    if oldest == 0:
        return not_yet("The oldest frame has its increment too: it is a state of the roll-out like the others, and "
                       "carries an error.")
    if not math.isclose(oldest, wanted, rel_tol=1e-2):
        return not_yet("The increment is right. The oldest frame has gathered one of them.")
    return right("Variances add, so the noise grows with the square root of time, and the newest frame has sigma.")


def check_conserving(noise: type[GaussianNoise] | None) -> Feedback:
    """Exercise 2: a subclass of ``GaussianNoise`` that leaves the mean over space as it is and keeps sigma."""
    if noise is None:
        return not_yet("Replace None by your class, without calling it: check_conserving(ZeroMeanNoise).")
    if not isinstance(noise, type) or not issubclass(noise, GaussianNoise):
        return not_yet("Give a subclass of GaussianNoise, so that it is switched off by .eval() like the others.")
    u = torch.full((4000, 2, 8), 3.0)
    try:
        operator = noise(0.5)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            change = operator(u) - u
            resting = operator.eval()(u)
    except Exception as error:  # whatever a reader's class raises is part of the answer
        return not_yet(f"Your noise cannot be applied: {error}")
    if not torch.equal(resting, u):
        return not_yet("It changes the state in .eval() mode too. Override draw, which returns noise of standard "
                       "deviation 1, and leave forward as it is.")
    if not change.any():
        return not_yet("It does not change the state.")
    if change.mean(-1).abs().max() > 1e-3:
        return not_yet("A sample's mean over space still changes: subtract the noise's mean over the last axis, for "
                       "each sample and channel on its own (keepdim=True).")
    deviation = float(change.std())
    if abs(deviation / 0.5 - math.sqrt(7 / 8)) < 0.01:
        return not_yet(f"The mean stays, but with sigma = 0.5 the standard deviation is {deviation:.3f}: subtracting "
                       "the mean of n values takes away one part in n of the variance. Multiply by sqrt(n / (n - 1)).")
    if abs(deviation / 0.5 - 1) > 0.02:
        return not_yet(f"The mean stays, but with sigma = 0.5 the standard deviation is {deviation:.3f}.")
    return right("This noise never asks the network to correct a mean that the equation keeps.")


def check_moved(objective: Objective | None, batches, reference: Solver, sigma: float) -> Feedback:
    """Exercise 3: unrolled training on noisy initial states, each target the reference solver's step from there.

    Args:
        objective: over three steps or more, without noise in its chain.
        batches: ``Perturbed`` windows, with noise of standard deviation sigma.
        reference: the solver that makes the targets.
    """
    if objective is None or batches is None:
        return not_yet("Replace both None: the objective, and the batches that it trains on.")
    if not isinstance(objective, Objective):
        return not_yet(f"Give an Objective(rollout, loss, targets); you gave {type(objective).__name__}.")
    if objective.rollout.num_steps < 3:
        return not_yet(f"The roll-out has {objective.rollout.num_steps} step(s); unroll three or more.")
    if any(isinstance(module, GaussianNoise) for module in objective.modules()):
        return not_yet("There is noise in the chain, behind the state from which the target is computed. Put it into "
                       "the data: Perturbed(batches, GaussianNoise(sigma)).")
    if not isinstance(batches, Perturbed):
        return not_yet(f"The batches are {type(batches).__name__}: without noise. Wrap them in Perturbed.")
    if not math.isclose(batches.noise.sigma, sigma, rel_tol=1e-3):
        return not_yet(f"The noise has sigma = {batches.noise.sigma:g}, asked is {sigma:g}.")
    batch = batches[0]
    try:
        with torch.no_grad():
            loss, expected, stored = (float(x) for x in _losses(objective, batch, reference))
    except Exception as error:  # whatever a reader's objective raises is part of the answer
        return not_yet(f"The objective cannot be evaluated: {error}")
    if math.isclose(loss, stored, rel_tol=1e-4):
        return not_yet("Your targets are the stored states, which do not know of the noise. Let the reference solver "
                       "make them: targets=from_solver(...).")
    if not math.isclose(loss, expected, rel_tol=1e-4):
        return not_yet("Compare every step, each with the reference solver's step from the state before: "
                       "TrajectoryLoss(every_step) and from_solver(reference).")
    return right("Noise widens the set of initial states, and the targets are right for every state of the roll-out.")


def _losses(objective: Objective, batch: Mapping[str, Tensor], reference: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
    """The objective's own loss, that of a moved target at every step, and that of the stored states."""
    parameters = parameters_of(batch)
    trajectory = objective.rollout(batch["u0"], **parameters)
    before = torch.cat([batch["u0"].unsqueeze(1), trajectory[:, :-1]], 1)
    targets = torch.stack([reference(before[:, k], **select(reference, parameters))
                           for k in range(before.shape[1])], 1)
    stored = batch["reference"][:, :before.shape[1]]
    return objective(**batch), (trajectory - targets).square().mean(), (trajectory - stored).square().mean()
