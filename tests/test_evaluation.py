"""Metrics: alignment in time, known values, Parseval, and blow-ups that are counted without a warning."""

import math
import warnings

import pytest
import torch
from torch import nn

from dpbook_utils.coupling import Additive
from dpbook_utils.data import random_fourier, random_velocity, simulate
from dpbook_utils.evaluation import (
    blow_up_step,
    correlation,
    energy_spectrum,
    log_spectral_distance,
    long_time_statistics,
    mean_over_horizon,
    predict,
    relative_l2,
    survival,
    time_to_decorrelation,
)
from dpbook_utils.networks import ConvResNet, Ensemble
from dpbook_utils.noise import GaussianNoise
from dpbook_utils.rollout import Sequential

RNG = torch.Generator().manual_seed(0)
X = 2 * math.pi * torch.arange(32, dtype=torch.float64) / 32


class Shift(nn.Module):
    """A wave that travels one cell per step."""

    def forward(self, u):
        return u.roll(1, -1)


def wave(num_steps, k=1):
    return simulate(Shift(), torch.sin(k * X).view(1, 1, 32), num_steps)


# Alignment -----------------------------------------------------------------------------------------------------------

def test_the_exact_step_has_no_error_at_any_step():
    prediction, reference = predict(Shift(), wave(10))
    assert prediction.shape == (1, 10, 1, 32) and torch.equal(prediction, reference)
    assert torch.equal(relative_l2(prediction, reference), torch.zeros(1, 10).double())


def test_a_shift_in_time_has_the_error_of_the_wave_that_lags():
    """|sin(x - d) - sin(x)| / |sin| = 2 sin(d / 2) and correlation cos(d), at every step, for a lag of one cell d."""
    prediction, _ = predict(Shift(), wave(10))
    d = 2 * math.pi / 32
    lagging = wave(10)[:, :-1]
    assert torch.allclose(relative_l2(prediction, lagging), torch.full((1, 10), 2 * math.sin(d / 2)).double())
    assert torch.allclose(correlation(prediction, lagging), torch.full((1, 10), math.cos(d)).double())


def test_predict_turns_noise_off_and_restores_it():
    step = Sequential(GaussianNoise(1.0), Shift())
    prediction, reference = predict(step, wave(10), 4)
    assert prediction.shape[1] == 4 and torch.equal(prediction, reference)
    assert step.training and step[0].training and not prediction.requires_grad


def test_an_ensemble_predicts_every_trajectory_member_by_member():
    networks = [ConvResNet(1, 1, 1, width=4, num_blocks=1, conditions={"nu": (0.0, 1.0)}, seed=s) for s in (1, 2, 3)]
    trajectories, nu = torch.randn(2, 4, 1, 16, generator=RNG), torch.tensor([0.1, 0.2])
    together, reference = predict(Additive(Ensemble(networks)), trajectories, nu=nu)
    assert together.shape == (6, 3, 1, 16)
    for s, network in enumerate(networks):
        alone, expected = predict(Additive(network), trajectories, nu=nu)
        assert torch.allclose(together[2 * s:2 * s + 2], alone, atol=1e-6)
        assert torch.equal(reference[2 * s:2 * s + 2], expected)


@pytest.mark.parametrize("num_steps", [0, 11])
def test_predict_refuses_more_steps_than_there_are(num_steps):
    with pytest.raises(ValueError, match=r"1 \.\.\. 10 steps"):
        predict(Shift(), wave(10), num_steps)


# Values --------------------------------------------------------------------------------------------------------------

def test_errors_are_those_of_a_loop():
    u, r = (torch.randn(3, 4, 2, 5, 6, generator=RNG) for _ in range(2))
    for b in range(3):
        for i in range(4):
            difference = u[b, i] - r[b, i]
            assert torch.isclose(relative_l2(u, r)[b, i], (difference**2).sum().sqrt() / (r[b, i] ** 2).sum().sqrt())
            a, c = (x[b, i] - x[b, i].mean((1, 2), keepdim=True) for x in (u, r))
            assert torch.isclose(correlation(u, r)[b, i].float(), (a * c).sum() / (a.norm() * c.norm()))
    error = relative_l2(u, r)
    assert torch.allclose(mean_over_horizon(error, 3), error[:, :3].sum(1) / 3)
    with pytest.raises(ValueError, match="5, but the error has 4"):
        mean_over_horizon(error, 5)


def test_correlation_of_scaled_shifted_and_constant_states():
    u = torch.randn(1, 1, 1, 32, generator=RNG)
    assert torch.allclose(correlation(3 * u + 7, u), torch.ones(1, 1).double())
    assert torch.allclose(correlation(-1e30 * u, u), -torch.ones(1, 1).double())
    assert correlation(torch.full_like(u, 0.1), u) == 0


def test_time_to_decorrelation_is_the_first_step_below_and_a_bound_without_one():
    correlations = torch.tensor([[0.9, 0.79, 0.95, 0.1], [0.9, 0.8, 0.81, 0.9], [0.1, 1.0, 1.0, 1.0]])
    assert time_to_decorrelation(correlations).tolist() == [2, 5, 1]
    assert time_to_decorrelation(correlations, 0.5).tolist() == [4, 5, 1]


def test_blow_ups_are_found_and_counted_without_a_warning():
    reference = wave(6).repeat(5, 1, 1, 1)[:, 1:].float()
    u = reference.clone()
    u[1, 2:] = math.nan
    u[2, 4:, :, 3] = -math.inf
    u[3, 1:, :, 0] = 1e25  # finite, its square is not
    u[4, 5] *= 19
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        steps = blow_up_step(u, reference, 10.0)
        error, corr = relative_l2(u, reference), correlation(u, reference)
        distance = log_spectral_distance(energy_spectrum(u).mean(1), energy_spectrum(reference).mean(1))
    assert steps.tolist() == [7, 3, 5, 2, 7]
    assert blow_up_step(u, reference, 9.0).tolist() == [7, 3, 5, 2, 6]
    assert torch.equal(blow_up_step(u + 100, reference + 100, 10.0), steps)  # measured from the reference's mean
    assert survival(steps, 6).tolist() == pytest.approx([1, 0.8, 0.6, 0.6, 0.4, 0.4])
    assert error.isinf().sum(1).tolist() == [0, 4, 2, 5, 0] and not error.isnan().any()
    assert mean_over_horizon(error, 2).tolist() == pytest.approx([0, 0, 0, math.inf, 0])
    assert time_to_decorrelation(corr).tolist() == [7, 3, 5, 2, 7]
    assert distance[0] < 1e-3 and distance[1:3].isinf().all() and distance[3:].isfinite().all()


@pytest.mark.parametrize("metric", [relative_l2, correlation])
def test_refuses_a_reference_of_another_shape_or_one_that_blew_up(metric):
    u = torch.randn(2, 3, 1, 8, generator=RNG)
    with pytest.raises(ValueError, match=r"\(2, 3, 1, 8\), the reference \(2, 2, 1, 8\)"):
        metric(u, u[:, :2])
    with pytest.raises(ValueError, match="reference contains NaN"):
        metric(u, u / 0)
    with pytest.raises(ValueError, match="range"):
        blow_up_step(u, torch.ones_like(u))


# Spectra -------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("shape", [(2, 3, 1, 32), (2, 3, 1, 33), (2, 2, 2, 16, 16), (1, 2, 2, 24, 16)])
def test_the_spectrum_sums_to_the_energy(shape):
    u = torch.randn(shape, generator=RNG)
    assert torch.allclose(energy_spectrum(u).sum(2), u.double().square().sum(2).flatten(2).mean(2) / 2, rtol=1e-12)


def test_a_wave_of_amplitude_a_has_energy_a_squared_over_four_at_its_wave_number():
    spectrum = energy_spectrum(0.5 * wave(3, k=5))
    expected = torch.zeros(17).double()
    expected[5] = 0.25 / 4
    assert torch.allclose(spectrum, expected.expand(1, 4, 17), atol=1e-15)


def test_shells_are_isotropic_and_follow_the_longest_side():
    x, y = torch.meshgrid(2 * math.pi * torch.arange(32.0) / 32, 2 * math.pi * torch.arange(16.0) / 16, indexing="ij")
    for kx, ky, shell in [(3, 0, 3), (0, 2, 4), (3, 2, 5)]:  # a wave along the short side is twice as short
        spectrum = energy_spectrum(torch.cos(kx * x + ky * y).view(1, 1, 1, 32, 16))[0, 0]
        assert spectrum.argmax() == shell and torch.isclose(spectrum[shell], torch.tensor(0.25).double())


def test_a_spectrum_is_the_same_on_a_finer_grid():
    coarse, fine = (random_velocity(1, (n, n), modes=3, seed=0, dtype=torch.float64) for n in (64, 256))
    a, b = (energy_spectrum(v.unsqueeze(1))[0, 0, :4] for v in (coarse, fine))
    assert torch.allclose(a, b, rtol=0.01)


def test_log_spectral_distance_is_the_logarithm_of_the_energy_ratio():
    u = random_fourier(2, 64, modes=20, seed=0, dtype=torch.float64).unsqueeze(1)
    spectrum = energy_spectrum(u)
    assert torch.equal(log_spectral_distance(spectrum, spectrum), torch.zeros(2, 1).double())
    distance = log_spectral_distance(energy_spectrum(2 * u), spectrum)  # 20 of 32 shells hold energy
    assert torch.allclose(distance, torch.full((2, 1), math.log(4) * math.sqrt(20 / 32)).double(), rtol=1e-6)
    with pytest.raises(ValueError, match="one grid"):
        log_spectral_distance(spectrum, spectrum[..., :-1])


def test_long_time_statistics():
    deviation, centre = torch.tensor([1.0, 3.0]).view(2, 1), torch.tensor([5.0, 0.0]).view(2, 1)
    u = centre + deviation * torch.randn(2, 500, 2, 50, generator=RNG)
    u[:, :10] = 1e6
    mean, variance = long_time_statistics(u, skip=10)
    assert mean.shape == variance.shape == (2, 2)
    assert torch.allclose(mean, torch.tensor([5.0, 0.0]).double(), atol=0.1)
    assert torch.allclose(variance, torch.tensor([1.0, 9.0]).double(), rtol=0.05)
    with pytest.raises(ValueError, match="skip is 500"):
        long_time_statistics(u, skip=500)


def test_more_steps_than_there_are_states_are_refused_with_the_number_that_there_is():
    for num_steps in (0, 5, 9):
        with pytest.raises(ValueError, match=r"the trajectories hold 5 states, so 1 \.\.\. 4 steps"):
            predict(nn.Identity(), torch.ones(2, 5, 1, 8), num_steps)


def test_spectra_and_statistics_that_do_not_fit_are_refused_with_their_sizes():
    with pytest.raises(ValueError, match="5 and 4 wave numbers"):
        log_spectral_distance(torch.ones(2, 5), torch.ones(2, 4))
    with pytest.raises(ValueError, match="wave numbers"):
        log_spectral_distance(torch.tensor(1.0), torch.ones(4))
    with pytest.raises(ValueError, match="skip is 7, but the trajectory has 7 steps"):
        long_time_statistics(torch.ones(2, 7, 1, 8), 7)


def test_the_rounding_of_a_constant_state_is_no_direction():
    """0.1 has no exact mean: what is left of it after subtraction points somewhere."""
    constant = torch.full((1, 1, 1, 100), 0.1, dtype=torch.float64) * torch.linspace(1, 1 + 1e-15, 100).double()
    wave = torch.linspace(0, 1, 100, dtype=torch.float64).view(1, 1, 1, 100)
    assert float(correlation(constant, wave)) == 0 and float(correlation(wave, wave)) == pytest.approx(1)
