"""Objectives: the four set-ups of the course, and where their targets come from."""

import pytest
import torch
from torch import nn

from dpbook_utils.coupling import Additive, Replace
from dpbook_utils.losses import TrajectoryLoss, every_step, final_step, mse
from dpbook_utils.noise import GaussianNoise
from dpbook_utils.objectives import Objective, from_batch, from_input, from_solver
from dpbook_utils.physics.burgers import Burgers
from dpbook_utils.physics.trace import trace
from dpbook_utils.rollout import Rollout, Sequential, repeat

U = torch.randn(4, 1, 16, generator=torch.Generator().manual_seed(0))
REFERENCE = torch.randn(4, 3, 1, 16, generator=torch.Generator().manual_seed(1))
P = trace(Burgers(16, 1.0, 0.004), U, viscosity=0.01)
ONE = TrajectoryLoss(final_step)
MANY = TrajectoryLoss(every_step)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Conv1d(1, 1, 3, padding=1)


def test_the_four_set_ups_are_one_line_each(network):
    physics_as_loss = Objective(Rollout(Sequential(Replace(network), P), 1), ONE, targets=from_input)
    solver_as_data = Objective(Rollout(Sequential(P, Additive(network)), 1), ONE)
    unrolled = Objective(Rollout(Sequential(P, Additive(network)), 3), MANY)
    with_noise = Objective(Rollout(Sequential(GaussianNoise(0.1), P, Additive(network)), 1), ONE)
    for objective in (physics_as_loss, solver_as_data, unrolled, with_noise):
        loss = objective(U, REFERENCE, viscosity=0.01)
        assert loss.ndim == 0 and torch.isfinite(loss)
        assert all(torch.isfinite(g).all() for g in torch.autograd.grad(loss, list(network.parameters())))


def test_from_input_asks_the_solver_to_undo_the_network(network):
    inverse = Objective(Rollout(Sequential(Replace(network), repeat(P, 4)), 1), ONE, targets=from_input)
    assert torch.allclose(inverse(U, viscosity=0.01), (repeat(P, 4)(network(U), viscosity=0.01) - U).square().mean())


def test_from_solver_starts_from_the_states_that_the_network_has_reached(network):
    step = Sequential(P, Additive(network))
    viscosity = torch.tensor([0.01, 0.02, 0.03, 0.04])
    loss = Objective(Rollout(step, 3), MANY, targets=from_solver(P))(U, viscosity=viscosity)
    u, expected = U, 0
    for _ in range(3):
        target = P(u, viscosity=viscosity).detach()
        u = step(u, viscosity=viscosity)
        expected = expected + (u - target).square().mean() / 3
    assert torch.allclose(loss, expected)
    detached = torch.autograd.grad(loss, network.weight)[0]
    through = Objective(Rollout(step, 3), MANY, targets=from_solver(P, detach=False))(U, viscosity=viscosity)
    assert torch.allclose(through, loss)
    assert not torch.allclose(torch.autograd.grad(through, network.weight)[0], detached)


def test_a_longer_reference_is_cut_to_the_roll_out(network):
    objective = Objective(Rollout(Additive(network), 2), MANY)
    trajectory = objective.rollout(U)
    assert torch.allclose(objective(U, REFERENCE), mse(trajectory, REFERENCE[:, :2]).mean())


@pytest.mark.parametrize("reference, message", [
    (None, "compares with the batch's reference"), (REFERENCE[:, :1], "has 1 steps, the longest roll-out"),
    (REFERENCE[:, 0], "give .batch, time, channels")])
def test_a_reference_that_does_not_fit_is_refused(network, reference, message):
    with pytest.raises(ValueError, match=message):
        Objective(Rollout(Additive(network), 2), MANY, targets=from_batch)(U, reference)


def test_what_is_not_finite_is_named_as_far_as_the_roll_out_reaches(network):
    objective, broken = Objective(Rollout(Additive(network), 2), MANY), REFERENCE.clone()
    broken[3, 2] = float("inf")
    assert torch.equal(objective(U, broken), objective(U, REFERENCE))
    broken[2, 1] = float("nan")
    with pytest.raises(ValueError, match="first in sample 2 at step 2;"):
        objective(U, broken)


def test_evaluation_without_gradients_is_allowed(network):
    with torch.no_grad():
        assert torch.isfinite(Objective(Rollout(Additive(network), 2), MANY)(U, REFERENCE))


def test_an_inverse_problem_without_a_network_optimises_its_input():
    u0 = U.clone().requires_grad_()
    loss = Objective(Rollout(P, 3), ONE)(u0, REFERENCE, viscosity=0.01)
    assert torch.autograd.grad(loss, u0)[0].abs().max() > 0


def test_what_the_targets_of_a_state_with_two_channels_are():
    u0 = torch.randn(3, 2, 8, generator=torch.Generator().manual_seed(2))
    trajectory = torch.zeros(3, 4, 2, 8)
    targets = from_input(u0, trajectory, None, {})
    assert targets.shape == trajectory.shape
    assert all(torch.equal(targets[:, k], u0) for k in range(4))


def test_the_first_state_of_a_reference_that_is_not_finite_is_named():
    reference = REFERENCE.clone()
    reference[1, 2] = reference[3, 0] = torch.nan
    with pytest.raises(ValueError, match="first in sample 1 at step 3;"):
        from_batch(U, REFERENCE, reference, {})


@pytest.mark.parametrize("detach", [True, False])
def test_targets_of_a_solver_follow_the_trajectory_unless_they_are_detached(detach):
    trajectory = REFERENCE.clone().requires_grad_()
    targets = from_solver(P, detach=detach)(U, trajectory, None, {"viscosity": torch.full((4,), 0.01)})
    assert targets.requires_grad != detach
    assert torch.equal(targets[:, 1], P(REFERENCE[:, 0], viscosity=0.01))
