"""Incompressible flow: exact solutions, orders, what is kept and what decays, gradients, limits."""

from math import log, pi

import numpy as np
import pytest
import torch
from phi.physics import advect

from dpbook_utils.graphs.graph import record
from dpbook_utils.physics.exact import TaylorGreen, lower_faces
from dpbook_utils.physics.navier_stokes import NavierStokes, mac_cormack, semi_lagrangian
from dpbook_utils.physics.phiflow import box, from_staggered, precision_and_device, staggered
from dpbook_utils.physics.projection import Divergence, Projection
from dpbook_utils.physics.trace import trace
from dpbook_utils.rollout import Rollout

SCHEMES = [semi_lagrangian, mac_cormack]
LENGTH = (2 * pi, 2 * pi)
VISCOSITY = torch.tensor([0.0, 0.01, 0.05], dtype=torch.float64)


def flow(n=16, batch=3, mean=(0.0, 0.0), dtype=torch.float64):
    """Smooth divergence-free velocities of size 1: waves of length 2 pi / 3 and more."""
    noise = torch.randn(batch, 2, n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    waves = torch.fft.fftfreq(n, 1 / n)[:, None]**2 + torch.fft.rfftfreq(n, 1 / n)**2
    v = Projection((n, n), LENGTH)(torch.fft.irfft2(torch.fft.rfft2(noise) * (waves <= 9) * (waves > 0)))
    return (v / v.abs().max() + torch.tensor(mean, dtype=torch.float64)[:, None, None]).to(dtype)


def kolmogorov_force(amplitude, n, waves=4):
    """Along x and sinusoidal in y, on the faces where the velocity lives."""
    along_x = (waves * lower_faces((n, n), LENGTH)[0, 1]).sin() * amplitude[:, None, None]
    return torch.stack([along_x, torch.zeros_like(along_x)], 1)


def advance(solver, v, num_steps, **parameters):
    """Many steps at the cost of one in PhiFlow: recorded once, then replayed."""
    step = record(lambda v: [solver(v, **parameters)], [v])
    for _ in range(num_steps):
        v, = step(v)
    return v


def observed_order(sizes, errors):
    """Slope of log(error) over log(size)."""
    return np.polyfit([log(size) for size in sizes], [log(error) for error in errors], 1)[0]


def taylor_green_error(n, num_steps, advection):
    """Relative error of decaying vortices that a mean flow carries, after one unit of time."""
    solution = TaylorGreen((1.0, 1.0), viscosity=0.01, mean=(1.0, 0.7))
    x = lower_faces((n, n), LENGTH)
    solver = NavierStokes((n, n), LENGTH, 1 / num_steps, advection)
    error = advance(solver, solution(x, 0.0), num_steps, viscosity=0.01) - solution(x, 1.0)
    return float(error.norm() / (solution(x, 1.0) - solution(x, 1.0).mean((2, 3), keepdim=True)).norm())


def test_mac_cormack_is_second_order_in_space():
    """dt shrinks with dx^2, so that the first order in time shows as second."""
    sizes = [16, 24, 32]
    errors = [taylor_green_error(n, n**2 // 32, mac_cormack) for n in sizes]
    assert -observed_order(sizes, errors) == pytest.approx(2, abs=0.15)


def test_semi_lagrangian_is_first_order_at_a_fixed_courant_number():
    sizes = [16, 32, 64]
    errors = [taylor_green_error(n, n // 2, semi_lagrangian) for n in sizes]
    assert -observed_order(sizes, errors) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("advection", SCHEMES)
def test_first_order_in_time_on_a_fixed_grid(advection):
    """Differences between runs with dt and dt / 2 fall like dt; the error of the grid drops out of them."""
    v, counts = flow(), [4, 8, 16, 32]
    ends = [advance(NavierStokes((16, 16), LENGTH, 1 / m, advection), v, m, viscosity=0.05) for m in counts]
    differences = [float((a - b).norm()) for a, b in zip(ends, ends[1:])]
    assert -observed_order(counts[:-1], differences) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("advection", SCHEMES)
@pytest.mark.parametrize("direction", [1, -1])
def test_the_flow_moves(advection, direction):
    """A uniform flow carries a shear wave half a wavelength; by then a frozen one is wrong by twice its size."""
    x = lower_faces((32, 32), LENGTH)[1, 0]
    along = torch.full_like(x, float(direction))
    wave = torch.stack([along, x.sin()])[None]
    exact = torch.stack([along, (x - direction * pi).sin()])[None]
    v = advance(NavierStokes((32, 32), LENGTH, pi / 20, advection), wave, 20, viscosity=0.0)
    error = (v - exact).norm() / x.sin().norm()
    assert error < (0.1 if advection is semi_lagrangian else 0.01)


@pytest.mark.parametrize("advection", SCHEMES)
def test_a_mirrored_flow_stays_mirrored(advection):
    def mirror(v):  # x -> -x: lower faces along x map to themselves, cells in reverse order
        return torch.stack([-v[:, 0].flip(1).roll(1, 1), v[:, 1].flip(1)], 1)

    v, solver = flow(mean=(0.5, 0.2)), NavierStokes((16, 16), LENGTH, 0.1, advection)
    expected = mirror(solver(v, viscosity=VISCOSITY))
    assert torch.allclose(solver(mirror(v), viscosity=VISCOSITY), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("advection", SCHEMES)
def test_advection_is_phiflows_on_each_component(advection):
    """Against the same scheme on a centred grid, to whose cells the velocity is sampled."""
    v = flow()
    with precision_and_device(v):
        field = staggered(v, box(dict(zip("xy", LENGTH))))
        found = from_staggered(advection(field, 0.1))
        for c, axis in enumerate("xy"):
            expected = getattr(advect, advection.__name__)(field.vector[axis], field.at(field.vector[axis]), 0.1)
            assert torch.allclose(found[:, c], expected.values.native("b,x,y"), rtol=0, atol=1e-14)


def test_a_shear_flow_decays_by_viscosity_alone():
    """v^x(y) is moved along lines on which it is constant: every step multiplies it with 1 - dt nu k^2 (discrete k)."""
    y = lower_faces((8, 16), LENGTH)[0, 1]
    v = torch.stack([(2 * y).sin(), torch.zeros_like(y)])[None].expand(3, -1, -1, -1)
    square = (2 - 2 * np.cos(2 * LENGTH[1] / 16)) / (LENGTH[1] / 16)**2
    v_end = advance(NavierStokes((8, 16), LENGTH, 0.1), v, 10, viscosity=VISCOSITY)
    expected = v * ((1 - 0.1 * VISCOSITY * square)**10)[:, None, None, None]
    assert torch.allclose(v_end, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("advection", SCHEMES)
def test_kinetic_energy_decays_with_the_viscosity(advection):
    """Taylor-Green loses energy at the rate 2 nu |k|^2. What a scheme takes without viscosity falls with dx and dt."""
    viscosity, lost = torch.tensor([0.0, 0.05], dtype=torch.float64), []
    for n in (16, 32):
        v = TaylorGreen((1.0, 1.0), viscosity=0.0)(lower_faces((n, n), LENGTH), 0.0).repeat(2, 1, 1, 1)
        v_end = advance(NavierStokes((n, n), LENGTH, 10 / (16 * n), advection), v, n, viscosity=viscosity)
        lost.append(-(v_end.square().mean((1, 2, 3)) / v.square().mean((1, 2, 3))).log())
    coarse, fine = lost
    assert 0 < fine[0] < 0.6 * coarse[0]
    assert float(fine[1] - fine[0]) == pytest.approx(4 * 0.05 * 10 / 16, rel=0.04)
    assert fine[0] < (0.2 if advection is semi_lagrangian else 0.03)


@pytest.mark.parametrize("advection, limit", [(semi_lagrangian, 4e-3), (mac_cormack, 2e-4)])
def test_momentum_is_kept_up_to_the_error_of_the_advection(advection, limit):
    """The drift of the mean in one unit of time, for velocities of size 1: 2.8e-3 and 8.4e-5 on 32^2 when written."""
    coarse, fine = ((advance(NavierStokes((n, n), LENGTH, dt, advection), v, round(1 / dt), viscosity=0.01) - v)
                    .mean((2, 3)).abs().max() for n, dt, v in ((16, 0.1, flow(16)), (32, 0.05, flow(32))))
    assert fine < limit and fine < 0.6 * coarse


def test_a_uniform_force_accelerates_the_mean_velocity():
    v, force = flow(), torch.zeros(3, 2, 16, 16, dtype=torch.float64)
    force[:, 1] = 2.0
    solver = NavierStokes((16, 16), LENGTH, 0.1)
    difference = solver(v, viscosity=VISCOSITY, force=force) - solver(v, viscosity=VISCOSITY)
    assert torch.allclose(difference, 0.1 * force, rtol=0, atol=1e-14)


@pytest.mark.parametrize("dtype, limit", [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("advection", SCHEMES)
def test_divergence_stays_at_rounding(advection, dtype, limit):
    v = flow(64, batch=1, dtype=dtype)
    v = advance(NavierStokes((64, 64), LENGTH, 0.05, advection), v, 10, viscosity=0.01)
    assert v.dtype == dtype
    assert Divergence((64, 64), LENGTH)(v).abs().max() < limit


def test_fluid_at_rest_takes_up_the_kolmogorov_force():
    amplitude = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    force = kolmogorov_force(amplitude, 16)
    v = NavierStokes((16, 16), LENGTH, 0.1)(torch.zeros_like(force), viscosity=VISCOSITY, force=force)
    assert torch.allclose(v[:, 0], 0.1 * force[:, 0], rtol=0, atol=1e-15)
    assert v[:, 1].abs().max() < 1e-15


@pytest.mark.parametrize("advection", SCHEMES)
def test_kolmogorov_flow_is_steady_where_viscosity_balances_the_force(advection):
    force = kolmogorov_force(torch.ones(3, dtype=torch.float64), 16, waves=2)
    square = (2 - 2 * np.cos(2 * LENGTH[1] / 16)) / (LENGTH[1] / 16)**2
    v = force / (0.1 * square)
    v_end = advance(NavierStokes((16, 16), LENGTH, 0.1, advection), v, 10, viscosity=0.1, force=force)
    assert torch.allclose(v_end, v, rtol=0, atol=1e-13)


@pytest.mark.parametrize("advection", SCHEMES)
def test_gradients_equal_finite_differences(advection):
    """Directional derivatives of three steps, paths within a cell (the look-up has kinks at its edges), float64."""
    v = flow(mean=(2.0, 1.8))
    inputs = [v, torch.full((3,), 0.03, dtype=torch.float64), 0.1 * flow(mean=(0.1, 0.1)).flip(2)]
    solver = trace(NavierStokes((16, 16), LENGTH, 0.1, advection), v, viscosity=inputs[1], force=inputs[2])
    generator = torch.Generator().manual_seed(1)
    weights, *directions = (torch.randn(x.shape, dtype=x.dtype, generator=generator) for x in (v, *inputs))

    def loss(v, viscosity, force):
        for _ in range(3):
            v = solver(v, viscosity=viscosity, force=force)
        return (weights * v).sum()

    leaves = [x.clone().requires_grad_() for x in inputs]
    gradients = torch.autograd.grad(loss(*leaves), leaves)
    for i, (gradient, direction) in enumerate(zip(gradients, directions)):
        eps = 1e-6
        above, below = ([x + sign * eps * direction if i == j else x for j, x in enumerate(inputs)] for sign in (1, -1))
        difference = float(loss(*above) - loss(*below)) / (2 * eps)
        assert float((gradient * direction).sum()) == pytest.approx(difference, rel=1e-6)


@pytest.mark.parametrize("advection", SCHEMES)
def test_traced_equals_eager(advection):
    v, force = flow(), kolmogorov_force(VISCOSITY, 16)
    eager = NavierStokes((16, 16), LENGTH, 0.1, advection)
    traced = trace(eager, v, viscosity=VISCOSITY, force=force)
    assert torch.equal(traced(v, viscosity=VISCOSITY, force=force), eager(v, viscosity=VISCOSITY, force=force))


def test_each_sample_has_its_own_viscosity():
    v, solver = flow(), NavierStokes((16, 16), LENGTH, 0.1)
    together = solver(v, viscosity=VISCOSITY)
    alone = torch.cat([solver(v[i:i + 1], viscosity=float(nu)) for i, nu in enumerate(VISCOSITY)])
    assert torch.allclose(together, alone, rtol=0, atol=1e-15)


@pytest.mark.parametrize("advection", SCHEMES)
def test_long_paths_are_stable(advection):
    """Twelve cells per step: what is carried does not grow."""
    v = flow(mean=(6.0, -8.0))
    v_end = advance(NavierStokes((16, 16), LENGTH, 0.5, advection), v, 20, viscosity=0.0)
    mean = v.mean((2, 3), keepdim=True)
    assert (v_end - mean).norm() < (v - mean).norm()


@pytest.mark.parametrize("resolution", [(16, 16), (15, 16), (9, 7)])
def test_any_resolution_and_cells_that_are_not_square(resolution):
    length = (2 * pi, 3.0)
    solution = TaylorGreen((1.0, 2 * pi / 3), viscosity=0.0)
    v = solution(lower_faces(resolution, length), 0.0)
    v_end = NavierStokes(resolution, length, 0.01)(v, viscosity=0.0)
    assert (v_end - v).abs().max() < 0.01
    assert Divergence(resolution, length)(v_end).abs().max() < 1e-12


def test_an_unstable_viscosity_is_refused():
    solver = NavierStokes((16, 32), (1.0, 1.0), 0.01)
    limit = 1 / (2 * 0.01 * (16**2 + 32**2))
    solver.check_parameters(viscosity=torch.tensor([limit]))
    with pytest.raises(ValueError, match=f"viscosity is .* stable is 0 .* = {limit:.6g}; .*dt <="):
        solver(torch.zeros(1, 2, 16, 32), viscosity=1.01 * limit)
    with pytest.raises(ValueError, match="make it positive"):
        solver(torch.zeros(1, 2, 16, 32), viscosity=-0.001)


def test_paths_that_cross_are_refused_before_the_first_step():
    v = flow()
    with pytest.raises(ValueError, match="paths cross; expected at most 1. Build the solver with dt <="):
        Rollout(NavierStokes((16, 16), LENGTH, 2.0), 1)(v, viscosity=0.0)


def test_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"has shape \(1, 2, 16, 8\), expected \(batch, 2, 8, 16\)"):
        NavierStokes((8, 16), LENGTH, 0.1)(torch.zeros(1, 2, 16, 8), viscosity=0.0)


def test_phiflows_own_staggered_mac_cormack_still_freezes():
    """Why ``mac_cormack`` takes the components apart; when this fails, PhiFlow can be used as it is."""
    x = lower_faces((16, 16), LENGTH)
    wave = torch.stack([x[0, 0].sin(), x[1, 0].sin()])[None]
    with precision_and_device(wave):
        domain = box(dict(zip("xy", LENGTH)))
        carrier = staggered(torch.stack([-torch.ones(1, 16, 16), torch.zeros(1, 16, 16)], 1).double(), domain)
        field = staggered(wave, domain)
        for _ in range(10):
            field = advect.mac_cormack(field, carrier, pi / 20)  # 0.4 cells: a quarter of the wavelength in all
        moved = from_staggered(field)
    expected = torch.stack([x[0, 0].cos(), x[1, 0].cos()])[None]
    assert (moved[:, 1] - expected[:, 1]).norm() < 0.1 * expected[:, 1].norm()
    assert (moved[:, 0] - expected[:, 0]).norm() > 1.0 * expected[:, 0].norm()
