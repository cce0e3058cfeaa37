"""Exact solutions satisfy their equations: spectral derivatives in space, sixth-order differences in time."""

from math import pi

import pytest
import torch
from scipy.special import ive

from dpbook_utils.physics.exact import (
    ColeHopf,
    FourierMode,
    GrowingMode,
    Sawtooth,
    TaylorGreen,
    cell_centres,
    lower_faces,
)

K = 2 * pi


def time_derivative(solution, x, t, h):
    weights = {1: 3 / 4, 2: -3 / 20, 3: 1 / 60}
    return sum(w * (solution(x, t + i * h) - solution(x, t - i * h)) for i, w in weights.items()) / h


def space_derivative(u, order, axis=-1, length=1.0):
    k = 2 * pi / length * torch.fft.fftfreq(u.shape[axis], 1 / u.shape[axis], dtype=torch.float64)
    factor = (1j * k) ** order
    return torch.fft.ifft(torch.fft.fft(u, dim=axis) * factor.reshape(-1, *(1,) * (-1 - axis)), dim=axis).real


def assert_small(residual, term, tolerance):
    assert residual.abs().max() < tolerance * term.abs().max()


def test_cell_centres():
    x = cell_centres((4, 2), (2.0, 6.0))
    assert x.shape == (2, 4, 2) and x.dtype == torch.float64
    assert x[0, :, 0].tolist() == [0.25, 0.75, 1.25, 1.75] and x[1, 0].tolist() == [1.5, 4.5]
    assert torch.equal(cell_centres(4, 2.0), x[:1, :, 0])


@pytest.mark.parametrize("velocity", [(), (0.7,)])
def test_fourier_mode(velocity):
    solution, x, t = (
        FourierMode((2 * K,), 0.03, velocity, amplitude=2.0, mean=0.4, phase=0.3),
        cell_centres(32, 1.0),
        0.2,
    )
    u_t, u = time_derivative(solution, x, t, 1e-3), solution(x, t)
    c = velocity[0] if velocity else 0.0
    assert_small(u_t + c * space_derivative(u, 1) - 0.03 * space_derivative(u, 2), u_t, 1e-10)
    assert u.shape == (1, 1, 32) and u.dtype == torch.float64 and float(u.mean()) == pytest.approx(0.4)


def test_fourier_mode_in_two_dimensions():
    solution, x, t = FourierMode((K, 2 * K), 0.03, (0.7, -0.4), phase=1.0), cell_centres((32, 16), (1.0, 0.5)), 0.2
    u_t, u = time_derivative(solution, x, t, 1e-3), solution(x, t)
    u_x, u_xx = (space_derivative(u, order, -2) for order in (1, 2))
    u_y, u_yy = (space_derivative(u, order, -1, 0.5) for order in (1, 2))
    assert u.shape == (1, 1, 32, 16)
    assert_small(u_t + 0.7 * u_x - 0.4 * u_y - 0.03 * (u_xx + u_yy), u_t, 1e-10)


@pytest.mark.parametrize("viscosity, points", [(0.05, 128), (0.01, 256), (0.002, 2048)])
@pytest.mark.parametrize("t", [0.02, 0.3, 1.0])
def test_cole_hopf_satisfies_burgers(viscosity, points, t):
    solution, x = ColeHopf(K, viscosity, amplitude=0.8, mean=0.3), cell_centres(points, 1.0)
    u = solution(x, t)
    u_t = time_derivative(solution, x, t, 2e-4)
    residual = u_t + space_derivative(u**2 / 2, 1) - viscosity * space_derivative(u, 2)
    assert_small(residual, u_t, 1e-8)


def test_cole_hopf_equals_its_series_where_the_series_is_accurate():
    x, n = cell_centres(64, 1.0), torch.arange(1, 60, dtype=torch.float64)[:, None]
    for t in (0.0, 0.1, 1.0):
        z = 1 / (2 * 0.1 * K)
        weights = torch.from_numpy(ive(n.numpy(), z)) * torch.exp(-0.1 * (n * K) ** 2 * t)
        theta = ive(0, z) + 2 * (weights * torch.cos(n * K * x)).sum(0)
        series = 4 * 0.1 * K * (n * weights * torch.sin(n * K * x)).sum(0) / theta
        assert (ColeHopf(K, 0.1)(x, t)[0, 0] - series).abs().max() < 1e-13


@pytest.mark.parametrize("viscosity", [1e-5, 1e-3, 10.0])
def test_cole_hopf_is_robust_for_every_viscosity(viscosity):
    """Finite, within the bounds of the initial state, with its mean, and close to it after a very short time."""
    solution, x = ColeHopf(K, viscosity, mean=0.3), cell_centres(100, 1.0)
    for t in (1e-9, 0.1, 3.0):
        u = solution(x, t)
        assert -0.7 <= float(u.min()) <= float(u.max()) <= 1.3
        # The odd part about the carried wave's node cancels in the mean on cells that mirror each other about it.
        mirrored = cell_centres(100, 1.0) + 0.3 * t
        assert float(solution(mirrored, t).mean()) == pytest.approx(0.3, abs=1e-12)
    assert (solution(x, 1e-9) - solution(x, 0.0)).abs().max() < 1e-6


def test_sawtooth_is_a_ramp_with_a_shock_at_the_mean_speed():
    solution, x = Sawtooth(2.0, slope=1.5, mean=0.5), cell_centres(400, 2.0)
    t = 0.4
    u, u_t = solution(x, t)[0, 0], time_derivative(solution, x, t, 1e-4)[0, 0]
    shock = int((u[1:] - u[:-1]).argmin())
    assert float(x[0, shock]) == pytest.approx(1 + 0.5 * t, abs=2.0 / 400)
    left, right = float(u[shock]), float(u[shock + 1])
    assert left > right and (left + right) / 2 == pytest.approx(0.5, abs=0.02)  # Rankine-Hugoniot
    smooth = torch.ones(400, dtype=torch.bool)
    smooth[shock - 1 : shock + 3] = False
    u_x = (torch.roll(u, -1) - torch.roll(u, 1)) / (2 * 2.0 / 400)
    assert_small((u_t + u * u_x)[smooth], u_t, 1e-9)


@pytest.mark.parametrize("mode", [3, 12])
def test_growing_mode(mode):
    length = 16 * pi
    solution, x = GrowingMode(length, mode), cell_centres(48, length)
    u_t, u = time_derivative(solution, x, 1.0, 1e-3), solution(x, 1.0)
    assert_small(u_t + space_derivative(u, 2, length=length) + space_derivative(u, 4, length=length), u_t, 1e-9)


@pytest.mark.parametrize("solution, good", [
    (FourierMode((K,), 0.1), cell_centres(8, 1.0)), (FourierMode((K, K), 0.1), cell_centres((8, 6), 1.0)),
    (ColeHopf(K, 0.1), cell_centres(8, 1.0)), (Sawtooth(1.0, 1.0), cell_centres(8, 1.0)),
    (TaylorGreen((K, K), 0.1), lower_faces((8, 6), (1.0, 1.0))), (GrowingMode(20.0, 1), cell_centres(8, 20.0))])
def test_points_of_another_shape_are_refused_in_one_sentence(solution, good):
    assert solution(good, 0.1).isfinite().all()
    for wrong in (good[0], good[None], torch.tensor(0.5)):
        with pytest.raises(ValueError, match=rf"^{type(solution).__name__}: x .*give points .*, as from"):
            solution(wrong, 0.1)
    with pytest.raises(TypeError, match=rf"^{type(solution).__name__}: x is "):
        solution([0.1, 0.2], 0.1)


def test_cole_hopf_needs_a_viscosity():
    with pytest.raises(ValueError, match="ColeHopf: viscosity is 0"):
        ColeHopf(K, 0)
