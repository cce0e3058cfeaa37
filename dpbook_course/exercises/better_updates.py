"""Checks for the exercises of chapter 14_better_updates."""

import math
from collections.abc import Callable

import torch

from . import Feedback, not_yet, right


def check_sizes(passes: int | None, megabytes: float | None, samples: int, residuals: int, weights: int) -> Feedback:
    """Exercise 1: backward passes for the Jacobian of a batch, and the memory of it in double precision.

    Args:
        passes, megabytes: the answers.
        samples, residuals, weights: of the batch, of one sample, of the network.
    """
    if passes is None or megabytes is None:
        return not_yet("Replace both None by numbers.")
    if passes == samples * residuals:
        return not_yet("Almost: with a copy of the weights for each sample, one pass gives a row for every sample.")
    if passes == weights:
        return not_yet("One pass for each weight would be forward mode. Backward passes count residuals.")
    if passes != residuals:
        return not_yet("One backward pass gives one row of the Jacobian, here for all samples at once.")
    expected = samples * residuals * weights * 8 / 1e6
    if math.isclose(megabytes, expected / 2, rel_tol=0.05):
        return not_yet("A number in double precision has eight bytes.")
    if math.isclose(megabytes, expected / samples, rel_tol=0.05):
        return not_yet("That is the Jacobian of one sample; those of all samples lie below each other.")
    if not math.isclose(megabytes, expected, rel_tol=0.05):
        return not_yet("The Jacobian has a row for each residual of each sample, and a column for each weight.")
    return right(f"A gradient would need {weights * 8 / 1e6:,.1f} MB and one pass.")


def check_damped(step: Callable | None) -> Feedback:
    """Exercise 2: dw = - (J^T J + lambda I)^(-1) J^T r, of r (n,), J (n, p) and lambda."""
    if step is None:
        return not_yet("Replace None by your function my_step(r, J, damping).")
    generator = torch.Generator().manual_seed(0)
    r = torch.randn(6, dtype=torch.float64, generator=generator)
    J = torch.randn(6, 4, dtype=torch.float64, generator=generator)
    try:
        found = torch.as_tensor(step(r, J, 0.5))
    except Exception as error:  # whatever a reader's function raises is part of the answer
        return not_yet(f"Your function cannot be called: {error}")
    if found.shape != (4,):
        return not_yet(f"It returns the shape {tuple(found.shape)}; there are four weights, so (4,).")
    eye = torch.eye(4, dtype=torch.float64)
    expected = -torch.linalg.solve(J.T @ J + 0.5 * eye, J.T @ r)
    if torch.allclose(found, -expected):
        return not_yet("The size is right. Does it go downhill?")
    if torch.allclose(found, -torch.linalg.solve(J.T @ J, J.T @ r)):
        return not_yet("That is Gauss-Newton: the damping is missing.")
    if torch.allclose(found, -torch.linalg.solve(J.T @ J + 0.25 * eye, J.T @ r)):
        return not_yet("The damping is lambda itself, not its square.")
    if not torch.allclose(found, expected):
        return not_yet("It is another step. With lambda very large it must be the gradient -J^T r divided by lambda.")
    return right("With fewer residuals than weights, J^T (J J^T + lambda I)^(-1) r is the same and cheaper.")


def check_left(left: Callable | None) -> Feedback:
    """Exercise 3: what part of a residual along a singular vector is left after one step, as a function of sigma.

    ``left(sigma, f)`` of a singular value and of the weighing f(sigma) of an update: 1 - sigma^2 f.
    """
    if left is None:
        return not_yet("Replace None by your function my_left(sigma, f).")
    cases = {"Gauss-Newton": (0.3, 0.3**-2, 0.0), "the half-inverse": (0.25, 0.25**-1.5, 0.5),
             "gradient descent": (0.5, 1.0, 0.75)}
    for name, (sigma, f, expected) in cases.items():
        try:
            found = float(left(sigma, f))
        except Exception as error:
            return not_yet(f"Your function cannot be called: {error}")
        if math.isclose(found, 1 - expected, abs_tol=1e-9) and name != "the half-inverse":
            return not_yet("That is the part which is removed.")
        if math.isclose(found, 1 - sigma * f, abs_tol=1e-9) and not math.isclose(sigma * f, sigma**2 * f):
            return not_yet("The gradient J^T r brings one sigma, and the change J dw of the residuals another one.")
        if not math.isclose(found, expected, abs_tol=1e-9):
            return not_yet(f"With sigma = {sigma:g}, {name} leaves {expected:g} of it; your function says {found:g}. "
                           "How do the residuals change, to first order, when the weights do?")
    return right("Where sigma^2 f is above 2 the step makes that part larger than it was: the half-inverse does so for "
                 "sigma above 4.")
