"""Checks for the exercises of chapter 01_physics_as_loss."""

import torch
from torch import Tensor

from ..problems.reconstruction import Reconstruction
from . import Feedback, not_yet, right


def check_prior(u0: Tensor | None, problem: Reconstruction, largest_error: float = 0.02) -> Feedback:
    """Exercise 1: an initial state from L-BFGS with a smoothness prior, better than without."""
    if u0 is None:
        return not_yet("Replace None by the initial state that you reconstructed, of shape (1, 1, 128).")
    u0 = u0.detach()
    if u0.shape != problem.truth[:1].shape:
        return not_yet(f"The initial state has shape {tuple(u0.shape)}, expected {tuple(problem.truth[:1].shape)}.")
    if not torch.isfinite(u0).all():
        return not_yet("The state contains NaN: is the weight of the prior so large that the line search failed?")
    if torch.equal(u0, problem.truth[:1]):
        return not_yet("That is the truth itself, which the method must not see.")
    error, loss = problem.error(u0), float(problem.misfit(u0))
    if error <= largest_error:
        return right(f"Error {error:.4f} with a misfit of {loss:.2g}: "
                     "the prior chose among the states that explain the observation.")
    if loss > 0.01:
        return not_yet(f"The misfit is still {loss:.2g}: the prior is too strong, or there were too few updates.")
    return not_yet(f"The misfit is small ({loss:.2g}), but the error is {error:.3f}: the prior is too weak to choose. "
                   "Raise its weight by factors of ten.")


def check_branch(answers: Tensor | None, u0: Tensor) -> Feedback:
    """Exercise 2: answers of a network trained by DP that always chooses the positive branch.

    ``u0`` are the right ones.
    """
    if answers is None:
        return not_yet("Replace None by the network's answers for the test observations.")
    if answers.shape != u0.shape:
        return not_yet(f"The answers have shape {tuple(answers.shape)}, expected {tuple(u0.shape)}.")
    answers = answers.detach()
    positive = float((answers.mean((1, 2)) > 0).float().mean())
    error = float(((answers - u0.abs()).flatten(1).norm(dim=1) / u0.flatten(1).norm(dim=1)).mean())
    if positive < 0.95:
        return not_yet(f"Only {positive:.0%} of the answers are positive. "
                       "What could the loss, or the last layer, say about negative values?")
    if error > 0.35:
        return not_yet(f"The answers are positive, but {error:.0%} away from the truth: "
                       "is the physics still in the loss?")
    return right(f"{positive:.0%} positive, {error:.0%} from the truth: "
                 "the physics gives the size, your prior the sign.")
