"""Kuramoto-Sivashinsky: growth rates, accuracy, coefficients, gradients to the length, another implementation."""

from math import pi
from unittest.mock import Mock

import mpmath
import numpy as np
import pytest
import torch
from phiml import math

from dpbook_utils.physics.exact import GrowingMode, cell_centres, kuramoto_sivashinsky_growth_rate
from dpbook_utils.physics.kuramoto_sivashinsky import KuramotoSivashinsky, etd1, etdrk2, phi_functions
from dpbook_utils.physics.phiflow import precision_and_device
from dpbook_utils.physics.trace import trace
from dpbook_utils.rollout import Rollout

LENGTH = 16 * pi
FLOAT64 = {"dtype": torch.float64}


def waves(num_points, length=LENGTH):
    """Three waves of size 1, none near the highest that the grid holds."""
    x = cell_centres(num_points, length)[0]
    return (torch.sin(2 * pi * x / length) + torch.cos(6 * pi * x / length) - 0.5 * torch.sin(10 * pi * x / length))[
        None, None
    ]


def march(solver, u, num_steps, length=LENGTH):
    length = torch.full(u.shape[:1], length, dtype=u.dtype)
    solver = trace(solver, u, length=length)
    for _ in range(num_steps):
        u = solver(u, length=length)
    return u


@pytest.mark.parametrize("integrator", [etd1, etdrk2])
@pytest.mark.parametrize("mode", [1, 4, 6, 8, 9, 12])
def test_small_waves_grow_at_the_published_rate(integrator, mode):
    exact = GrowingMode(LENGTH, mode, amplitude=1e-8)
    x = cell_centres(48, LENGTH)
    u = march(KuramotoSivashinsky(48, 0.5, integrator), exact(x, 0.0), 10)
    amplitude = 2 * torch.fft.rfft(u[0, 0]).abs()[mode] / 48
    rate = float(torch.log(amplitude / 1e-8)) / 5
    assert rate == pytest.approx(kuramoto_sivashinsky_growth_rate(2 * pi * mode / LENGTH), abs=1e-6)


def test_the_fastest_wave_grows_at_one_quarter():
    k = torch.linspace(0, 1, 10_001, **FLOAT64)
    rates = kuramoto_sivashinsky_growth_rate(k)
    assert float(rates.max()) == pytest.approx(0.25, abs=1e-7) and float(k[rates.argmax()]) == pytest.approx(
        0.5**0.5, abs=1e-4
    )


def test_spectral_accuracy_in_space():
    """The error falls faster than any power: by 1e3 and more for each doubling until it is at rounding."""
    start = [waves(n) for n in (32, 64, 128, 256)]
    finest = march(KuramotoSivashinsky(256, 0.01), start[-1], 100)

    def interpolated(u):  # to the finest grid's cell centres: both grids are shifted by half a cell of their own
        n = u.shape[-1]
        k = torch.fft.rfftfreq(n, 1 / n, **FLOAT64)
        shift = torch.exp(2j * pi * k * (0.5 / 256 - 0.5 / n))
        return torch.fft.irfft(torch.fft.rfft(u) * shift, n=256) * (256 / n)

    errors = [
        float((interpolated(march(KuramotoSivashinsky(u.shape[-1], 0.01), u, 100)) - finest).abs().max())
        for u in start[:-1]
    ]
    assert errors[1] < 1e-3 * errors[0] and errors[2] < 1e-10, errors


def test_substeps_are_steps():
    u = waves(48)
    assert torch.equal(
        march(KuramotoSivashinsky(48, 0.5, num_substeps=2), u, 3), march(KuramotoSivashinsky(48, 0.25), u, 6)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_coefficients_and_their_derivatives_are_accurate_at_and_around_zero(dtype):
    """Against 1F1(1; n + 1; z) / n! in 50 digits, with d phi_n / dz = phi_n - n phi_(n+1)."""
    z = torch.tensor(
        [0.0, 1e-16, -1e-12, 1e-7, -1e-4, 0.03, -0.5, 0.999, -0.999, 1.001, -1.001, -3.0, 3.0, -30.0, -300.0],
        dtype=dtype,
    )
    z.requires_grad_()
    with precision_and_device(z):
        results = [phi.native("z") for phi in phi_functions(math.wrap(z, math.batch("z")))]

    def exact(n):
        with mpmath.workdps(50):
            phi, following = (
                [mpmath.hyp1f1(1, m + 1, x) / mpmath.factorial(m) for x in z.tolist()] for m in (n, n + 1)
            )
            slope = [a - n * b for a, b in zip(phi, following)]
            return (torch.tensor([float(value) for value in values], dtype=torch.float64) for values in (phi, slope))

    for n, phi in enumerate(results, 1):
        (slope,) = torch.autograd.grad(phi.sum(), z, retain_graph=True)
        expected, expected_slope = exact(n)
        assert (phi.double() / expected - 1).abs().max() < 10 * torch.finfo(dtype).eps
        assert (slope.double() / expected_slope - 1).abs().max() < 20 * torch.finfo(dtype).eps


@pytest.mark.parametrize("integrator", [etd1, etdrk2])
@pytest.mark.parametrize("length", [LENGTH, 40.0, 60.3])
def test_gradient_to_the_length_through_a_rollout(integrator, length):
    """Relative error below 1e-6 against a central difference; on 16 pi the wave k = 1 has a coefficient 0 / 0."""
    solver = KuramotoSivashinsky(48, 0.25, integrator)
    u = waves(48)
    traced = trace(solver, u, length=length)

    def loss(value, step=traced):
        return Rollout(step, 4)(u, length=value).square().mean()

    value = torch.tensor([length], requires_grad=True, **FLOAT64)
    (gradient,) = torch.autograd.grad(loss(value), value)
    h = 1e-4
    difference = (loss(value.detach() + h) - loss(value.detach() - h)) / (2 * h)
    assert float(gradient) == pytest.approx(float(difference), rel=1e-6)
    (eager,) = torch.autograd.grad(loss(value, solver), value)
    assert float(gradient) == pytest.approx(float(eager), rel=1e-12)


def test_float32_gradient_to_the_length():
    u = waves(48)
    gradients = []
    for dtype in (torch.float32, torch.float64):
        length = torch.tensor([LENGTH], dtype=dtype, requires_grad=True)
        loss = Rollout(KuramotoSivashinsky(48, 0.25), 4)(u.to(dtype), length=length).square().mean()
        gradients.append(float(torch.autograd.grad(loss, length)[0]))
    assert gradients[0] == pytest.approx(gradients[1], rel=1e-4)


def test_operators_are_computed_once_for_a_constant_length_and_never_kept_for_a_learned_one():
    solver = KuramotoSivashinsky(16, 0.25)
    solver.precompute = Mock(wraps=solver.precompute)
    u, length = waves(16, 22.0), torch.tensor([22.0], **FLOAT64)
    for _ in range(3):
        u_next = solver(u, length=length)
    assert solver.precompute.call_count == 1
    length += 1.0  # in place: the same tensor, another value
    assert not torch.equal(solver(u, length=length), u_next) and solver.precompute.call_count == 2
    length.requires_grad_()
    for _ in range(2):  # a second backward pass must not meet the first one's freed graph
        solver(u, length=length).sum().backward()
    assert solver.precompute.call_count == 4
    with torch.inference_mode():
        inside = solver(u, length=torch.tensor([22.0], **FLOAT64))
    u.requires_grad_()
    solver(u, length=torch.tensor([22.0], **FLOAT64)).sum().backward()
    assert torch.equal(inside, u_next)


@pytest.mark.parametrize("order, integrator, dt", [(1, etd1, 0.25), (2, etdrk2, 0.5)])
def test_agrees_with_exponax(order, integrator, dt):
    """50 steps in float64 to better than 1e-6, with its dealiasing switched off."""
    jax = pytest.importorskip("jax")
    exponax = pytest.importorskip("exponax")
    start = 0.2 * waves(48)
    with jax.enable_x64(True):
        stepper = exponax.stepper.KuramotoSivashinskyConservative(
            1, LENGTH, 48, dt, order=order, dealiasing_fraction=1.0
        )
        theirs = jax.numpy.array(start[0].numpy())
        for _ in range(50):
            theirs = stepper(theirs)
        theirs = np.asarray(theirs)
    ours = march(KuramotoSivashinsky(48, dt, integrator), start, 50)[0].numpy()
    assert np.abs(theirs).max() > 1 and np.abs(ours - theirs).max() < 1e-6


def test_etd1_with_the_long_step_blows_up_on_developed_states_and_etdrk2_does_not():
    """When is chance, as every single state of a chaotic flow is: of 16 it was after 26 to 232 steps when written."""
    noise = torch.randn(16, 1, 48, generator=torch.Generator().manual_seed(0), **FLOAT64)
    u = march(KuramotoSivashinsky(48, 0.25), waves(48) + 1e-3 * noise, 400)
    with np.errstate(all="ignore"):
        finite = torch.isfinite(march(KuramotoSivashinsky(48, 0.5, etd1), u, 500)).all(2)
    assert finite.sum() < 8
    assert march(KuramotoSivashinsky(48, 0.25, etd1), u, 500).abs().max() < 5
    assert march(KuramotoSivashinsky(48, 0.5, etdrk2), u, 500).abs().max() < 5
