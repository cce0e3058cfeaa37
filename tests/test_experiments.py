"""E00 and E01: the parts that the chapters run live."""

import pytest
import torch

from dpbook_course.problems.reconstruction import (
    PhysicsInformedNetwork,
    Reconstruction,
    finite_difference_closure,
    minimise,
)
from dpbook_course.studies.e00.gradients import cases
from dpbook_utils.diagnostics import gradient_check
from dpbook_utils.physics.trace import trace

CASES = cases()


@pytest.mark.parametrize("name", CASES)
def test_e00_gradients_equal_finite_differences(name):
    case = CASES[name]
    solver = trace(case.solver, case.u, **case.parameters)  # equals the eager step, checked when recorded
    assert max(gradient_check(solver, {"u": case.u} | case.parameters).values()) < 1e-6


@pytest.fixture(scope="module")
def problem():
    return Reconstruction(torch.float64)


def test_the_true_state_is_better_explained_than_another(problem):
    truth = problem.truth[:1]
    assert float(problem.misfit(truth)) < 1e-3 < float(problem.misfit(0.5 * truth))
    assert problem.error(truth) < 0.02 < problem.error(0.5 * truth)


def test_finite_differences_estimate_the_gradient_of_the_backward_pass(problem):
    u0 = (0.7 * problem.truth[:1]).requires_grad_()
    expected, = torch.autograd.grad(problem.misfit(u0), u0)
    unknown = u0.detach().clone()
    loss = finite_difference_closure(problem.misfit, unknown, eps=1e-6)()
    assert torch.allclose(loss, problem.misfit(unknown)[0])
    assert (unknown.grad - expected).norm() < 1e-4 * expected.norm()


def test_physics_informed_residual_equals_differences():
    pinn = PhysicsInformedNetwork(length=2.0, duration=1.0).double()
    x, t, h, nu = torch.tensor([0.3, 1.1]).double(), torch.tensor([0.2, 0.9]).double(), 1e-4, 0.05
    u = pinn(x, t)
    u_x = (pinn(x + h, t) - pinn(x - h, t)) / (2 * h)
    u_t = (pinn(x, t + h) - pinn(x, t - h)) / (2 * h)
    u_xx = (pinn(x + h, t) - 2 * u + pinn(x - h, t)) / h**2
    assert torch.allclose(pinn.residual(x, t, nu), u_t + u * u_x - nu * u_xx, atol=1e-5)
    assert torch.allclose(pinn(x, t), pinn(x + 2.0, t))  # periodic by construction


def test_physics_informed_training_reduces_loss_and_error():
    problem = Reconstruction()
    pinn = PhysicsInformedNetwork(length=2.0, duration=1.0)
    optimizer = torch.optim.Adam(pinn.parameters(), lr=3e-3)
    progress = minimise(pinn.closure(optimizer, problem), optimizer, lambda: pinn.error(problem), num_updates=150)
    assert progress.loss[-1] < 0.5 * progress.loss[0] and progress.error[-1] < 0.8 * progress.error[0]


def test_minimise_records_within_its_budget():
    w = torch.ones(1, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = w.square().sum()
        loss.backward()
        return loss

    progress = minimise(closure, optimizer, lambda: float(w.detach()), num_updates=100, records=10)
    assert progress.evaluations[-1] == 100 and 10 <= len(progress.error) <= 12
    assert progress.error == sorted(progress.error, reverse=True) and progress.seconds == sorted(progress.seconds)
    timed = minimise(closure, optimizer, lambda: float(w.detach()), seconds=0.05)
    assert timed.seconds[-1] >= 0.05
    with pytest.raises(ValueError, match="one of them"):
        minimise(closure, optimizer, lambda: 0.0)
    with pytest.raises(FloatingPointError, match="lower the learning rate"):
        optimizer.param_groups[0]["lr"] = 1e30
        minimise(closure, optimizer, lambda: 0.0, num_updates=50)
