"""A set-up and what is trained with it say the same."""

import pytest
import torch

import dpbook_utils as dp

R = torch.randn(4, 4, 1, 16, generator=torch.Generator().manual_seed(1))


def step(sigma=0.0):
    network = dp.Additive(dp.ConvResNet(1, 1, 1, width=2, num_blocks=1))
    return dp.Sequential(dp.GaussianNoise(sigma), network) if sigma else network


def objective(num_steps=2, placement=dp.every_step, sigma=0.0, **options):
    return dp.Objective(dp.Rollout(step(sigma), num_steps, **options), dp.TrajectoryLoss(placement))


def batches(batch_size=16):
    return dp.Windows(R, 3, batch_size, seed=0)


OTHERS = {
    "num_steps": (dp.Setup(3), "num_steps is 2 in the objective and 3 in the setup"),
    "placement": (dp.Setup(2, dp.final_step), r"placement is \[0.5, 0.5\] in the objective and \[0.0, 1.0\] in the"),
    "placement, later": (dp.Setup(2, dp.final_step, curriculum=((0.0, 1), (0.5, 3))), r"placement is \[0.33"),
    "gradient": (dp.Setup(2, gradient=dp.Truncated(1)), r"gradient is FullGradient\(\) .* and Truncated\(every=1\) in"),
    "sigma": (dp.Setup(2, sigma=0.1), "sigma is no noise in the objective and 0.1 in the setup"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_an_objective_that_contradicts_its_set_up_is_refused(name):
    setup, message = OTHERS[name]
    with pytest.raises(ValueError, match=f"^train: {message}.*; make the objective by setup.objective"):
        dp.train(setup, objective(), batches(), 1)


def test_noise_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"sigma is \[0.2\] in the objective and 0.1 in the setup"):
        dp.train(dp.Setup(2, sigma=0.1), objective(sigma=0.2), batches(), 1)


@pytest.mark.parametrize("setup, ours", [
    (dp.Setup(2), objective()), (dp.Setup(2, dp.at_steps(2)), objective(placement=dp.final_step)),
    (dp.Setup(2, gradient=dp.Truncated(1)), objective(gradient=dp.Truncated(1))),
    (dp.Setup(2, sigma=0.1), objective(sigma=0.1)), (dp.Setup(2), objective(sigma=0.3)),
    (dp.Setup(2, sigma=0.1), dp.Setup(2, sigma=0.1).objective(step())),
    (dp.Setup(torch.tensor(2), batch_size=torch.tensor(8)), objective())])
def test_an_objective_that_says_the_same_is_trained(setup, ours):
    assert len(dp.train(setup, ours, batches(), 1)) == 1
