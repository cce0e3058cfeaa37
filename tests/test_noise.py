"""Noise: active in training only, with the stated standard deviation and spectrum, in the chain or in the data."""

import itertools

import pytest
import torch
from torch import nn

from dpbook_utils.coupling import Additive
from dpbook_utils.data import Windows
from dpbook_utils.evaluation import energy_spectrum
from dpbook_utils.losses import TrajectoryLoss, every_step
from dpbook_utils.noise import GaussianNoise, Perturbed, RandomWalkNoise, ShapedNoise
from dpbook_utils.objectives import Objective, from_batch, from_solver
from dpbook_utils.physics.burgers import Burgers
from dpbook_utils.rollout import Rollout, Sequential
from dpbook_utils.update import TracedGradients

U = torch.zeros(64, 4, 100)
SPECTRUM = 1 / (1.0 + torch.arange(51)) ** 2


@pytest.mark.parametrize("noise", [GaussianNoise(0.3), RandomWalkNoise(0.3, 4), ShapedNoise(0.3, SPECTRUM, 100)])
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
    with pytest.raises(ValueError, match=r"the spectrum has shape \(51,\).* 64 points need \(33,\) values"):
        ShapedNoise(1.0, SPECTRUM, 64)
    with pytest.raises(ValueError, match="smallest value -0.04"):
        ShapedNoise(1.0, -SPECTRUM / 25, 100)
    with pytest.raises(ValueError, match="sum 0;"):
        ShapedNoise(1.0, 0 * SPECTRUM, 100)
    with pytest.raises(ValueError, match=r"expected \(batch, channels, 100\)"):
        ShapedNoise(1.0, SPECTRUM, 100)(U[:, :, :50])
    with pytest.raises(TypeError, match="batches is a list of 1; give an endless source"):
        Perturbed([{"u0": U}], GaussianNoise(1.0))


# Shaped noise


@pytest.mark.parametrize("num_points", [12, 13])
def test_shaped_noise_has_the_stated_deviation_and_spectrum(num_points):
    torch.manual_seed(0)
    spectrum = torch.arange(1.0, num_points // 2 + 2).pow(-1.5)
    spectrum[2] = 0.0
    noise = ShapedNoise(0.3, spectrum, num_points)(torch.zeros(40_000, 2, num_points))
    deviations = noise.std(0)  # at every point, of both channels
    assert (deviations / 0.3 - 1).abs().max() < 0.02
    found = energy_spectrum(noise.unsqueeze(1)).mean((0, 1)) / 2  # two channels
    expected = 0.3**2 / 2 * spectrum.double() / spectrum.sum()
    assert found[2] < 1e-12
    assert torch.allclose(found, expected, rtol=0.03, atol=1e-9)
    assert abs((noise[:, 0] * noise[:, 1]).mean()) < 0.01 * 0.3**2


def test_noise_with_the_spectrum_of_white_noise_is_white():
    flat = torch.full((51,), 1.0)
    flat[[0, -1]] = 0.5
    torch.manual_seed(0)
    expected = GaussianNoise(0.3)(U)
    torch.manual_seed(0)
    assert torch.allclose(ShapedNoise(0.3, flat, 100)(U), expected, atol=1e-6)


# In the chain or in the data

P = Burgers(16, 1.0, 0.004)
STATES = torch.randn(2, 6, 1, 16, generator=torch.Generator().manual_seed(0))
WINDOWS = Windows(STATES, 2, 4, seed=3, viscosity=torch.tensor([0.01, 0.02]))


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Conv1d(1, 1, 3, padding=1)


def test_perturbed_batches_are_a_function_of_seed_and_number():
    perturbed = Perturbed(WINDOWS, GaussianNoise(0.1), seed=1)
    before = torch.get_rng_state()
    first = [batch["u0"] for batch in itertools.islice(perturbed, 3)]
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(perturbed[2]["u0"], first[2])
    noise = [u0 - WINDOWS[k]["u0"] for k, u0 in enumerate(first)]
    assert not torch.allclose(noise[0], noise[1], atol=1e-2)
    other = Perturbed(WINDOWS, GaussianNoise(0.1), seed=2)[0]
    assert not torch.allclose(other["u0"], first[0], atol=1e-2)
    assert {name: torch.equal(other[name], WINDOWS[0][name]) for name in other} == {
        "u0": False, "reference": True, "viscosity": True}


def test_noise_in_the_chain_and_in_the_data_ask_for_the_same_clean_state(network):
    """With the batch's reference as target it makes no difference where the noise of one step is added."""
    batch, sigma = WINDOWS[0], 0.1
    in_data = Perturbed(WINDOWS, GaussianNoise(sigma), seed=1)[0]
    xi = (in_data["u0"] - batch["u0"]) / sigma

    class Fixed(GaussianNoise):
        def draw(self, u):
            return xi

    step = Sequential(P, Additive(network))
    losses = [Objective(Rollout(chain, 1), TrajectoryLoss(every_step))(**inputs)
              for chain, inputs in ((Sequential(Fixed(sigma), step), batch), (step, in_data))]
    u = P(batch["u0"] + sigma * xi, viscosity=batch["viscosity"])
    by_hand = (u + network(u) - batch["reference"][:, 0]).square().mean()
    assert torch.allclose(losses[0], by_hand) and torch.allclose(losses[1], by_hand)


def test_a_target_from_the_solver_moves_with_noise_in_the_data_alone(network):
    batch = Perturbed(WINDOWS, GaussianNoise(0.1), seed=1)[0]
    step = Sequential(P, Additive(network))
    moved = Objective(Rollout(step, 1), TrajectoryLoss(every_step), from_solver(P))(**batch)
    u = P(batch["u0"], viscosity=batch["viscosity"])
    assert torch.allclose(moved, network(u).square().mean())  # the chain's own P is the solver: N has nothing to add
    clean = Objective(Rollout(step, 1), TrajectoryLoss(every_step), from_batch)(**batch)
    assert not torch.allclose(moved, clean)


@pytest.mark.parametrize("noise", [GaussianNoise(0.1), ShapedNoise(0.1, SPECTRUM[:9], 16)])
def test_a_recorded_update_draws_new_noise(network, noise):
    objective = Objective(Rollout(Sequential(noise, P, Additive(network)), 1), TrajectoryLoss(every_step))
    gradients = TracedGradients(objective)
    torch.manual_seed(0)
    first, second = (float(gradients(WINDOWS[0])) for _ in range(2))
    torch.manual_seed(0)
    assert first == float(gradients(WINDOWS[0])) != second


def test_noise_of_size_zero_draws_nothing():
    state = torch.random.get_rng_state()
    assert torch.equal(GaussianNoise(0.0).train()(U), U) and torch.equal(torch.random.get_rng_state(), state)


def test_the_seed_of_perturbed_batches_is_0_unless_given():
    batches = Windows(torch.randn(2, 5, 1, 8), 1, 2, seeds=[0])
    default, zero, other = (Perturbed(batches, GaussianNoise(0.1), **seed)[3]["u0"]
                            for seed in ({}, {"seed": 0}, {"seed": 1}))
    assert torch.equal(default, zero) and not torch.equal(default, other)
