"""The ranges that the solvers state, at points on both sides: what is inside runs, what is outside blows up."""

import warnings
from math import pi

import pytest
import torch

from benchmarks import stability
from dpbook_course.problems import kuramoto_sivashinsky as ks
from dpbook_utils.data import simulate
from dpbook_utils.physics.advection import central, semi_lagrangian, upwind
from dpbook_utils.physics.advection_diffusion import AdvectionDiffusion
from dpbook_utils.physics.burgers import Burgers
from dpbook_utils.physics.kuramoto_sivashinsky import KuramotoSivashinsky, etd1, etdrk2
from dpbook_utils.rollout import Rollout


def measured(integrator, substep, spacing, num_points=48, **options):
    return stability.kuramoto_sivashinsky(integrator, substep, spacing, num_points, time=200, num_starts=24, **options)


@pytest.mark.parametrize("num_points", [32, 48])
@pytest.mark.parametrize("substep", [0.25, 0.5])
def test_the_longest_domain_depends_on_the_points_alone(num_points, substep):
    """Length pi/2 per point runs; 6 % more does not, and is refused from the limit on."""
    assert measured(etdrk2, substep, pi / 2, num_points) == 0
    assert measured(etdrk2, substep, 1.06 * pi / 2, num_points) == 1
    solver, u = KuramotoSivashinsky(num_points, substep), torch.zeros(2, 1, num_points)
    for dtype in (torch.float32, torch.float64):
        solver(u.to(dtype), length=torch.tensor([10.0, pi / 2 * num_points], dtype=dtype))
    for factor in (1.001, 1.6):
        with pytest.raises(ValueError, match=r"at most pi/2 num_points = .*developed states blow up.*more points"):
            solver(u, length=torch.tensor([10.0, factor * pi / 2 * num_points]))


def test_longest_substeps():
    assert measured(etdrk2, 0.6, 1.4) == 0 and measured(etdrk2, 1.5, 1.4) == 1
    assert measured(etd1, 0.125, 1.4) == 0 and measured(etd1, 0.5, 1.4) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        KuramotoSivashinsky(48, 0.6)
        KuramotoSivashinsky(48, 1.0, etd1)
        KuramotoSivashinsky(48, 1.2, num_substeps=2)
    with pytest.warns(UserWarning, match="sub-steps of 0.65; etdrk2 has been seen to blow up .* longer than 0.6"):
        KuramotoSivashinsky(48, 1.3, num_substeps=2)


def test_a_mean_velocity_shortens_the_substep():
    assert measured(etdrk2, 0.5, 1.4, mean=0.25) == 0 and measured(etdrk2, 0.5, 1.4, mean=2.0) == 1
    rollout, u = Rollout(KuramotoSivashinsky(48, 1.0, num_substeps=2), 1), torch.zeros(2, 1, 48)
    rollout(u + 0.25, length=60.0)
    Rollout(KuramotoSivashinsky(48, 1.0, etd1, 2), 1)(u + 2, length=60.0)
    with pytest.warns(UserWarning, match="mean velocity is 0.3; with sub-steps of 0.5 .* beyond 0.25. Subtract"):
        rollout(u - torch.tensor([0.1, 0.3]).view(2, 1, 1), length=60.0)


def test_the_courses_reference_is_inside_and_half_as_long_a_domain_again_is_refused():
    reference, u0 = ks.reference_solver(), 0.1 * torch.ones(1, 1, 48)
    longest = max(max(ks.train_lengths), *ks.test_lengths["above"])
    simulate(reference, u0, 2, length=longest * ks.unit_length)
    simulate(reference, u0, 2, length=1.5 * ks.unit_length)
    with pytest.raises(ValueError, match="length is 77.9"):
        simulate(reference, u0, 2, length=1.55 * ks.unit_length)


@pytest.mark.parametrize("peclet, ratio, expected", [(2, 1.0, (0, 0)), (16, 0.25, (0, 0)), (100, 1.0, (0.9, 1))])
def test_burgers_with_central_differences(peclet, ratio, expected):
    found = stability.burgers(central, peclet, ratio)
    assert expected[0] <= found <= expected[1], found


@pytest.mark.parametrize("advection", [upwind, semi_lagrangian])
def test_burgers_with_the_other_schemes(advection):
    assert stability.burgers(advection, 100, 1.0, num_points=32, num_starts=16) == 0


# The margins of the exact limits: what rounding may add is taken, more is refused. ---------------------------------

INSIDE, OUTSIDE = 1 + 5e-7, 1 + 2e-6


def taken(solver, **parameters):
    u = torch.ones(2, *solver.state_shape, dtype=torch.float64)
    solver(u, **{name: torch.as_tensor(value, dtype=torch.float64).expand(2, *solver.parameter_shape(name))
                 for name, value in parameters.items()})


@pytest.mark.parametrize("points, length", [(16, 0.4), (16, 3.0), ((16, 10), (0.4, 3.0))])
def test_diffusive_limit(points, length):
    """2 nu dt sum_d 1 / dx_d^2 <= 1, with cells of any size."""
    solver = AdvectionDiffusion(points, length, 0.01)
    squares = [(n / side)**2 for n, side in zip(solver.state_shape[1:], solver.length)]
    limit = 1 / (2 * 0.01 * sum(squares))
    taken(solver, diffusivity=limit * INSIDE)
    with pytest.raises(ValueError, match=f"= {limit:g}; lower it, or build the solver with dt <= 0.005"):
        taken(solver, diffusivity=2 * limit)
    with pytest.raises(ValueError, match="lower it"):
        taken(solver, diffusivity=limit * OUTSIDE)


@pytest.mark.parametrize("points, length, velocity", [
    (16, 0.4, 2.0), (16, 3.0, -2.0), ((16, 10), (0.4, 3.0), (2.0, -5.0))])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_upwind_limit(points, length, velocity, share):
    """dt sum_d (|c_d| / dx_d + 2 nu / dx_d^2) <= 1; ``share`` is the part of the diffusion."""
    spacing = AdvectionDiffusion(points, length, 1.0).dx
    speeds = (velocity,) if isinstance(velocity, float) else velocity
    advective = sum(abs(c) / dx for c, dx in zip(speeds, spacing))
    rate = advective / (1 - share)
    diffusivity = (rate - advective) / sum(2 / dx**2 for dx in spacing)
    for factor in (1.0, INSIDE):
        taken(AdvectionDiffusion(points, length, factor / rate, upwind), diffusivity=diffusivity, velocity=velocity)
    for factor in (OUTSIDE, 1.05):
        with pytest.raises(ValueError, match=rf"dt \(\|c\| / dx \+ 2 nu / dx\^2\) is {factor:.3g} in sample 0"):
            taken(AdvectionDiffusion(points, length, factor / rate, upwind), diffusivity=diffusivity, velocity=velocity)


def test_courant_limit_without_diffusion():
    for factor in (1.0, INSIDE):
        taken(AdvectionDiffusion(16, 0.4, factor * 0.025 / 2, upwind), diffusivity=0.0, velocity=2.0)
    with pytest.raises(ValueError, match=r"dt \(\|c\| / dx\) is 1 in sample 0"):
        taken(AdvectionDiffusion(16, 0.4, OUTSIDE * 0.025 / 2, upwind), diffusivity=0.0, velocity=2.0)


def test_central_limit():
    """dt c^2 <= 2 nu."""
    for factor in (1.0, INSIDE):
        taken(AdvectionDiffusion(16, 0.4, 1e-3), diffusivity=2e-3 / factor, velocity=2.0)
    with pytest.raises(ValueError, match=r"need diffusivity >= dt c\^2 / 2 = 0.002 m\^2/s"):
        taken(AdvectionDiffusion(16, 0.4, 1e-3), diffusivity=2e-3 / OUTSIDE, velocity=2.0)


def test_a_local_viscosity_counts_at_its_largest():
    solver, limit = Burgers(16, 0.4, 1e-3), 0.025**2 / 2e-3
    field = torch.zeros(2, 1, 16, dtype=torch.float64)
    field[1, 0, 3] = limit / 2
    taken(solver, viscosity=limit / 2, local_viscosity=field)
    with pytest.raises(ValueError, match=r"viscosity \+ local_viscosity is .* lower it"):
        taken(solver, viscosity=limit / 2, local_viscosity=field * (1 + 1e-5))
