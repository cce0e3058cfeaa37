"""What the solver of the wake refuses, and how its paths cross the periodic sides."""

import pytest
import torch

from dpbook_utils.physics.navier_stokes import semi_lagrangian
from dpbook_utils.physics.phiflow import from_staggered, precision_and_device
from dpbook_utils.physics.wake import Wake
from dpbook_utils.rollout import Rollout

SMALL = (24, 18), 0.15, (4.0, 3.0), (1.5, 1.5)


def test_an_unstable_time_step_is_refused():
    solver = Wake((64, 32), 0.1)
    limit = 2 * 0.1 * 2 * 6.4**2
    with pytest.raises(ValueError, match=f"reynolds is 10; viscosity is stable .* = {limit:.4g} on; .*dt <= 0.061"):
        solver(solver.start(torch.zeros(1)), reynolds=10.0)
    with pytest.raises(ValueError, match="make it positive"):
        solver(solver.start(torch.zeros(1)), reynolds=-100.0)


def test_paths_that_cross_are_refused_before_the_first_step():
    solver = Wake((64, 32), 0.5)
    v = solver.start(torch.full((1,), 0.3))
    with pytest.raises(ValueError, match="their paths cross; expected at most 2. Build the solver with dt <="):
        Rollout(solver, 1)(v, reynolds=400.0)
    assert torch.isfinite(solver(v, reynolds=400.0)).all()  # a single call, of any solver, does not look at the state


@pytest.mark.parametrize("component, cells", [(0, slice(0, 3)), (0, slice(-3, None)), (1, slice(-3, None))])
def test_a_jump_across_the_periodic_sides_is_one(component, cells):
    solver = Wake(*SMALL)
    v = torch.zeros(1, 2, 24, 18)
    v[:, 0] = 1.0
    v[:, component] += torch.linspace(-1.5, 1.5, 18)
    with pytest.raises(ValueError, match="changes by 2.7 cells per step between neighbouring faces"):
        solver.check_state(v, reynolds=torch.tensor([100.0]))
    v = torch.ones(1, 2, 24, 18) * torch.tensor([4.0, 0.0])[:, None, None]
    with pytest.raises(ValueError, match="changes by 2.7 cells per step"):  # 3 more than the inflow
        solver.check_state(v, reynolds=torch.tensor([100.0]))


@pytest.mark.parametrize("given", [0.3, torch.tensor(0.3), torch.zeros(2, 1)])
def test_a_start_needs_one_disturbance_per_sample(given):
    with pytest.raises((TypeError, ValueError), match=r"disturbance is .*; give a tensor \(batch,\), one speed per"):
        Wake(*SMALL).start(given)


def carried_along_y(cells):
    """What semi-Lagrangian advection by so many cells along y makes of a wave, and linear interpolation of it."""
    solver = Wake(*SMALL, semi_lagrangian)
    y = (torch.arange(18, dtype=torch.float64) + 0.5) / 18
    wave = 1 + 0.1 * torch.sin(2 * torch.pi * y).expand(1, 24, 18)
    v = torch.stack([wave, torch.full_like(wave, cells * solver.dx[1] / solver.dt)], 1)
    with precision_and_device(v):
        found = from_staggered(semi_lagrangian(solver.velocity(v), solver.dt))
    share = cells % 1
    near, far = (wave.roll(int(cells // 1) + i, 2) for i in (0, 1))
    return found[:, 0, 3:-3], ((1 - share) * near + share * far)[:, 3:-3]


@pytest.mark.parametrize("cells", [0.3, -0.9, 1.0])
def test_short_paths_cross_the_periodic_sides(cells):
    found, expected = carried_along_y(cells)
    assert torch.allclose(found, expected, rtol=0, atol=1e-12)


def test_longer_paths_across_the_sides_are_refused_as_phiflow_still_loses_them():
    found, expected = carried_along_y(2.5)
    assert (found - expected)[..., 4:-4].abs().max() < 1e-12 < 0.01 < (found - expected).abs().max()
    solver = Wake(*SMALL)
    v = torch.ones(1, 2, 24, 18, dtype=torch.float64) * torch.tensor([1.0, 2.5])[:, None, None]
    with pytest.raises(ValueError, match="across the periodic sides .* by a factor of 4.5. .* with dt <= 0.0333"):
        solver.check_state(v, reynolds=torch.tensor([100.0]))
    v[:, 1, :, :3] = v[:, 1, :, -3:] = 0.5  # far from the sides long paths are no harm
    solver.check_state(v, reynolds=torch.tensor([100.0]))


def test_reynolds_numbers_of_another_batch_are_refused():
    solver = Wake(*SMALL)
    with pytest.raises(ValueError, match=r"parameter reynolds has shape \(2,\), expected \(3,\)"):
        solver(solver.start(torch.zeros(3)), reynolds=torch.tensor([100.0, 200.0]))
    with pytest.raises(ValueError, match="reynolds is missing"):
        solver(solver.start(torch.zeros(3)))
