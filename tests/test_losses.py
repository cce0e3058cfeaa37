"""Losses and their placement along the trajectory."""

import pytest
import torch

from dpbook_utils.losses import TrajectoryLoss, at_steps, every_step, final_step, mse, relative_l2

U = torch.randn(2, 5, 1, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
V = torch.randn(2, 5, 1, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_metrics_by_hand():
    assert torch.allclose(mse(U, V)[1, 2], ((U[1, 2] - V[1, 2]) ** 2).mean())
    assert torch.allclose(relative_l2(U, V)[1, 2], torch.linalg.norm(U[1, 2] - V[1, 2]) / torch.linalg.norm(V[1, 2]))


def test_no_error_is_relative_to_zero():
    reference = V.clone()
    reference[1, 3] = 0
    with pytest.raises(ValueError, match="zero everywhere in sample 1 at step 4"):
        relative_l2(U, reference)


@pytest.mark.parametrize("placement, expected", [
    (every_step, [0.2] * 5), (final_step, [0, 0, 0, 0, 1.0]), (at_steps(1, 4), [0.5, 0, 0, 0.5, 0])])
def test_placements(placement, expected):
    weights = torch.tensor(expected, dtype=torch.float64)
    assert torch.allclose(TrajectoryLoss(placement)(U, V), mse(U, V) @ weights)
    assert torch.allclose(TrajectoryLoss(weights)(U, V), mse(U, V) @ weights)


def test_a_placement_follows_the_length_of_the_roll_out():
    loss = TrajectoryLoss(every_step)
    assert torch.allclose(loss(U[:, :2], V[:, :2]), mse(U, V)[:, :2].mean(1))
    assert torch.allclose(loss(U, V), mse(U, V).mean(1))


@pytest.mark.parametrize("weights", [torch.ones(5), torch.full((4,), 0.25), torch.full((5,), float("nan"))])
def test_weights_that_do_not_fit_are_refused(weights):
    with pytest.raises(ValueError, match="a roll-out of 5 steps needs"):
        TrajectoryLoss(weights)(U, V)


def test_steps_outside_the_roll_out_are_refused():
    with pytest.raises(ValueError, match="do not lie in 1 ... 5"):
        TrajectoryLoss(at_steps(6))(U, V)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="the trajectory has shape"):
        TrajectoryLoss(every_step)(U, V[:, :3])


def test_another_placement_takes_effect_at_once():
    loss = TrajectoryLoss(every_step)
    loss(U, V)
    loss.weights = final_step
    assert torch.allclose(loss(U, V), mse(U, V)[:, -1])


def test_a_metric_of_the_wrong_shape_is_named_with_it():
    states = torch.ones(2, 3, 1, 4)
    with pytest.raises(ValueError, match=r"gives \(2, 3, 1\), expected \(batch, time\) = \(2, 3\)"):
        TrajectoryLoss(every_step, metric=lambda u, reference: (u - reference).mean(-1))(states, states)
