"""The exercises' checks: the right answer passes, typical wrong ones get the fitting hint."""

import pytest
import torch
from torch import nn

from dpbook_course.exercises.physics_as_loss import check_branch, check_prior
from dpbook_course.exercises.solver_as_operator import check_advection_solver, check_viscosity_gradient
from dpbook_course.problems.reconstruction import Reconstruction
from dpbook_utils.physics.burgers import Burgers
from dpbook_utils.physics.solver import Solver
from dpbook_utils.physics.trace import trace
from dpbook_utils.rollout import Rollout

VISCOSITY, NUM_STEPS = 0.02, 10


@pytest.fixture(scope="module")
def burgers():
    u0 = torch.sin(2 * torch.pi * (torch.arange(32) + 0.5) / 32)[None, None].double()
    return trace(Burgers(32, 2.0, 1 / 64), u0, viscosity=VISCOSITY), u0


@pytest.fixture(scope="module")
def gradient(burgers):
    solver, u0 = burgers
    nu = torch.tensor([VISCOSITY], dtype=torch.float64, requires_grad=True)
    energy = Rollout(solver, NUM_STEPS)(u0, viscosity=nu)[:, -1].square().mean() / 2
    return torch.autograd.grad(energy, nu)[0]


@pytest.mark.parametrize("factor, right, hint", [
    (1, True, "energy falls"), (0, False, "requires_grad"), (-1, False, "sign is wrong"), (2, False, "Twice too large"),
    (VISCOSITY, False, "log"), (32, False, "mean over x"), (1.3, False, "last step only")])
def test_viscosity_gradient(burgers, gradient, factor, right, hint):
    feedback = check_viscosity_gradient(factor * gradient, *burgers, NUM_STEPS, VISCOSITY)
    assert feedback.right == right and hint in feedback.message


def test_an_exercise_not_yet_begun_is_told_what_to_do(burgers):
    assert "Replace None" in check_viscosity_gradient(None, *burgers, NUM_STEPS, VISCOSITY).message
    assert "Replace None" in check_advection_solver(None).message
    assert "Replace None" in check_prior(None, None).message
    assert "Replace None" in check_branch(None, None).message
    assert repr(check_branch(None, None)).startswith("Not yet.")


class Upwind(Solver):
    required = ("speed",)

    def __init__(self, num_points, length, dt):
        super().__init__(dt, (1, num_points))
        self.dx = length / num_points

    def step(self, u, *, speed):
        return u - speed[:, None, None] * self.dt / self.dx * (u - self.neighbour(u))

    def neighbour(self, u):
        return torch.roll(u, 1, -1)


class Downwind(Upwind):
    def step(self, u, *, speed):
        return u - speed[:, None, None] * self.dt / self.dx * (torch.roll(u, -1, -1) - u)


class WrongSpeed(Upwind):
    def step(self, u, *, speed):
        return super().step(u, speed=speed.mean().expand(len(u)))


class Detached(Upwind):
    def step(self, u, *, speed):
        return super().step(u.detach(), speed=speed)


class WithoutGradient(Upwind):
    def step(self, u, *, speed):
        with torch.no_grad():
            return super().step(u, speed=speed)


class PartlyDetached(Upwind):
    def neighbour(self, u):
        return torch.roll(u, 1, -1).detach()


class DetachedSpeed(Upwind):
    def step(self, u, *, speed):
        return super().step(u, speed=speed.detach())


class Forgetful(Upwind):
    def step(self, u, *, speed):
        super().step(u, speed=speed)


class Branching(Upwind):
    def neighbour(self, u):
        return torch.roll(u, 1 if float(u.detach().sum()) < 1e9 else 2, -1)


class Shorter(Upwind):
    def step(self, u, *, speed):
        return u[..., 1:]


class WithoutAxes(Upwind):
    def step(self, u, *, speed):
        return u - speed * u


class NoParameter(Upwind):
    required = ()


class NotASolver(nn.Module):
    def __init__(self, num_points, length, dt):
        super().__init__()


@pytest.mark.parametrize("make_solver, right, hint", [
    (Upwind, True, "everywhere in the course"), (Downwind, False, "downwind"),
    (WrongSpeed, False, "one value per sample"), (Detached, False, "respect to the state"),
    (WithoutGradient, False, "No gradient flows"),
    (PartlyDetached, False, "respect to the state"), (DetachedSpeed, False, "respect to the speed"),
    (Forgetful, False, "result of step is None; give"), (Upwind(32, 1.0, 0.01), False, "the class itself"),
    (Branching, False, "cannot be recorded"), (Shorter, False, "the result of step is a tensor of shape (2, 1, 31)"),
    (WithoutAxes, False, "cannot be built and called"), (NoParameter, False, "argument: 'speed'; give it"),
    (NotASolver, False, "does not inherit")])
def test_advection_solver(make_solver, right, hint):
    feedback = check_advection_solver(make_solver)
    assert feedback.right == right and hint in feedback.message


@pytest.fixture(scope="module")
def problem():
    return Reconstruction()


def test_prior(problem):
    truth = problem.truth[:1]
    assert check_prior(truth + 1e-4, problem).right
    for answer, hint in [(truth[0], "expected (1, 1, 128)"), (truth * float("nan"), "NaN"), (truth, "must not see"),
                         (0 * truth + 0.1, "misfit is still")]:
        feedback = check_prior(answer, problem)
        assert not feedback.right and hint in feedback.message


def test_l_bfgs_without_a_prior_explains_the_observation_and_fails(problem):
    u0 = torch.zeros(1, 1, 128, requires_grad=True)
    optimizer = torch.optim.LBFGS([u0], max_iter=20, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = problem.misfit(u0)[0]
        loss.backward()
        return loss

    optimizer.step(closure)
    feedback = check_prior(u0, problem)
    assert not feedback.right and "too weak" in feedback.message


def test_branch():
    u0 = 1 + 0.3 * torch.randn(20, 1, 32, generator=torch.Generator().manual_seed(0)).clamp(-2, 2)
    assert check_branch(u0, u0).right
    for answers, hint in [(-u0, "0% of the answers are positive"), (0.2 * u0, "still in the loss"),
                          (u0[:, 0], "expected (20, 1, 32)")]:
        feedback = check_branch(answers, u0)
        assert not feedback.right and hint in feedback.message
