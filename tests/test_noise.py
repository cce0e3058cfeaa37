"""Noise: active in training only, with the stated standard deviation."""

import pytest
import torch

from dpbook_utils.noise import GaussianNoise, RandomWalkNoise

U = torch.zeros(64, 4, 100)


@pytest.mark.parametrize("noise", [GaussianNoise(0.3), RandomWalkNoise(0.3, 4)])
def test_inactive_in_evaluation(noise):
    assert torch.equal(noise.eval()(U), U)
    assert not torch.equal(noise.train()(U), U)


def test_gaussian_noise_has_the_stated_deviation():
    torch.manual_seed(0)
    assert abs(GaussianNoise(0.3)(U).std() / 0.3 - 1) < 0.02


def test_random_walk_ends_at_sigma_and_grows_like_a_square_root():
    torch.manual_seed(0)
    walk = RandomWalkNoise(0.3, 4)(U)
    deviation = walk.std((0, 2))
    assert torch.allclose(deviation, 0.3 * (torch.arange(1, 5) / 4).sqrt(), rtol=0.04)
    increments = walk.diff(dim=1)
    assert abs((increments[:, 0] * increments[:, 1]).mean()) < 0.05 * increments.var()


def test_random_walk_with_one_frame_is_gaussian_noise():
    torch.manual_seed(0)
    a = GaussianNoise(0.3)(U)
    torch.manual_seed(0)
    assert torch.equal(RandomWalkNoise(0.3, 1)(U), a)


def test_same_seed_same_noise():
    draws = []
    for _ in range(2):
        torch.manual_seed(4)
        draws.append(GaussianNoise(1.0)(U))
    assert torch.equal(*draws)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="sigma is -1"):
        GaussianNoise(-1)
    with pytest.raises(ValueError, match="num_frames is 0"):
        RandomWalkNoise(1.0, 0)
    with pytest.raises(ValueError, match="4 channels cannot hold 3 frames"):
        RandomWalkNoise(1.0, 3)(U)
