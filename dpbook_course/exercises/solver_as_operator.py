"""Checks for the exercises of chapter 00_solver_as_operator."""

import torch
from torch import Tensor

from dpbook_utils.physics.solver import Solver
from dpbook_utils.physics.trace import TraceError, trace
from dpbook_utils.rollout import Rollout

from . import Feedback, not_yet, right


def check_viscosity_gradient(answer, solver: Solver, u0: Tensor, num_steps: int, viscosity: float) -> Feedback:
    """Exercise 1: dE/dnu of the final kinetic energy E = mean(u_m^2) / 2, against central differences."""
    if answer is None:
        return not_yet("Replace None by your answer: one number, the derivative of E with respect to the viscosity.")
    try:
        answer = float(torch.as_tensor(answer).detach().sum())
    except (TypeError, ValueError, RuntimeError):
        return not_yet(f"Your answer is a {type(answer).__name__}; give one number or a tensor with one value.")

    def energy(nu: float) -> float:
        with torch.no_grad():
            return float(Rollout(solver, num_steps)(u0.double(), viscosity=nu)[:, -1].square().mean() / 2)

    step = 1e-4 * viscosity
    expected = (energy(viscosity + step) - energy(viscosity - step)) / (2 * step)

    def close(a: float, b: float) -> bool:
        return abs(a - b) <= 1e-3 * abs(b)

    if close(answer, expected):
        return right(f"dE/dnu = {expected:.5g}: energy falls when the viscosity grows.")
    if answer == 0:
        return not_yet("Your gradient is zero. "
                       "Does the viscosity tensor have requires_grad=True, and is it the one given to the roll-out?")
    if close(-answer, expected):
        return not_yet("The sign is wrong: more viscosity means less energy.")
    if close(answer, 2 * expected):
        return not_yet("Twice too large: the energy is mean(u^2) / 2.")
    if close(answer, expected * viscosity):
        return not_yet("This is the derivative with respect to log(nu). Divide by nu.")
    if close(answer, expected * u0.shape[-1]):
        return not_yet("Too large by the number of points: take the mean over x, not the sum.")
    return not_yet(f"You have {answer:.5g}. Check that E is taken after the last step only: trajectory[:, -1].")


def check_advection_solver(make_solver) -> Feedback:
    """Exercise 2: a reader's own ``Solver`` for u_t + c u_x = 0 by first-order upwind differences, c > 0."""
    if make_solver is None:
        return not_yet("Replace None by your class: check_advection_solver(Advection).")
    if not isinstance(make_solver, type):
        return not_yet("Give the class itself, not an object of it: check_advection_solver(Advection).")
    num_points, length, dt = 32, 1.0, 0.01
    if not issubclass(make_solver, Solver):
        return not_yet(f"{make_solver.__name__} does not inherit from Solver, so nothing checks its inputs.")
    u = torch.randn(2, 1, num_points, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    speed = torch.tensor([0.5, 1.0], dtype=torch.float64)
    try:
        solver = make_solver(num_points, length, dt)
        found = solver(u, speed=speed)
    except (ValueError, TypeError, RuntimeError) as error:
        return not_yet(f"The solver cannot be built and called as solver(u, speed=...): {error}")

    def upwind(shift: int, u: Tensor = u, speed: Tensor = speed) -> Tensor:
        return u - speed[:, None, None] * dt * num_points / length * shift * (u - torch.roll(u, shift, -1))

    if torch.allclose(found, upwind(-1)):
        return not_yet("You took the downwind neighbour, which is unstable: "
                       "with c > 0 the information comes from the left, torch.roll(u, 1, -1).")
    if not torch.allclose(found, upwind(1)):
        difference = float((found - upwind(1)).abs().max())
        return not_yet(f"The values differ from u - c dt/dx (u - u_left) by up to {difference:.2g}. "
                       "Is the speed one value per sample, of shape (batch,), and dx = length / num_points?")
    leaves = {"state": u.clone().requires_grad_(), "speed": speed.clone().requires_grad_()}
    result = solver(leaves["state"], speed=leaves["speed"])
    if not result.requires_grad:
        return not_yet("No gradient flows from the result to the state: "
                       "is there a .detach(), torch.no_grad() or NumPy in the step?")
    gradients = [torch.autograd.grad(end.square().sum(), list(leaves.values()), materialize_grads=True)
                 for end in (result, upwind(1, *leaves.values()))]
    for name, own, correct in zip(leaves, *gradients):
        if not torch.allclose(own, correct):
            return not_yet(f"The values are right, the gradient with respect to the {name} is not: "
                           "is a part of the step detached?")
    try:
        trace(solver, u, speed=speed)
    except TraceError as error:
        return not_yet(f"Values and gradients are right, but the step cannot be recorded: {error}")
    return right("Values, gradient and trace agree. This class now works everywhere in the course.")
