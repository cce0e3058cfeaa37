"""The wake of a cylinder: it moves, sheds above a critical Reynolds number, loses nothing to divergence; gradients."""

import pytest
import torch

from dpbook_utils.coupling import Additive, AdditiveRHS
from dpbook_utils.networks import PERIODIC, REPLICATE, ConvResNet
from dpbook_utils.physics.graph import record
from dpbook_utils.physics.navier_stokes import mac_cormack, semi_lagrangian
from dpbook_utils.physics.obstacle import ChannelDivergence, ChannelProjection
from dpbook_utils.physics.phiflow import from_staggered, precision_and_device
from dpbook_utils.physics.trace import trace
from dpbook_utils.physics.wake import Forces, Wake, vorticity
from dpbook_utils.rollout import Rollout, Sequential

SCHEMES = [semi_lagrangian, mac_cormack]
REYNOLDS = torch.tensor([80.0, 200.0, 400.0], dtype=torch.float64)
SMALL = (24, 18), 0.15, (4.0, 3.0), (1.5, 1.5)


def recorded(operator, v, **parameters):
    """Many steps at the cost of one in PhiFlow."""
    step = record(lambda v: [operator(v, **parameters)], [v])
    return lambda v: step(v)[0]


def developing(solver, dtype=torch.float64, disturbance=(0.3, -0.2, 0.1), num_steps=20):
    """A young wake in motion, without symmetry."""
    v = solver.start(torch.tensor(disturbance, dtype=dtype))
    step = recorded(solver, v, reynolds=REYNOLDS.to(dtype))
    for _ in range(num_steps):
        v = step(v)
    return v


@pytest.fixture(scope="module")
def long_run():
    """States of coarse wakes below and above the critical Reynolds number at every step up to t = 80, and forces."""
    solver, reynolds = Wake((64, 32), 0.1), torch.tensor([25.0, 200.0])
    v = solver.start(torch.full((2,), 0.3))
    step, states = trace(solver, v, reynolds=reynolds), []
    for _ in range(800):
        v = step(v, reynolds=reynolds)
        states.append(v)
    forces = [Forces(solver)(torch.cat(part), reynolds=reynolds.repeat(len(part))).unflatten(0, (-1, 2))
              for part in zip(*[iter(states)] * 100)]
    return torch.stack(states), torch.cat(forces)


def test_shedding_sets_in_above_the_critical_reynolds_number_and_not_below(long_run):
    """In an unbounded flow at 47; what a disturbance leaves at 25 decays, at 200 it grows into vortices of its own."""
    lift = long_run[1][:, :, 1]
    early, late = (part.std(0) for part in (lift[100:300], lift[-200:]))
    assert late[0] < 0.2 * early[0] and late[0] < 1e-3
    assert late[1] > 0.05


def test_vortices_are_shed_at_a_strouhal_number_of_about_a_fifth(long_run):
    lift = long_run[1][-500:, 1, 1]
    spectrum = torch.fft.rfft((lift - lift.mean()) * torch.hann_window(500), n=5000).abs()
    assert float(spectrum.argmax()) / 500 == pytest.approx(0.2, abs=0.03)


def test_the_drag_is_that_of_a_cylinder(long_run):
    """Unbounded: 1.3 to 1.4 at a Reynolds number of 200; five diameters between cylinders raise it."""
    drag = long_run[1][-500:, :, 0].mean(0)
    assert 1.3 < drag[1] < 2.2 and drag[0] > drag[1]


def test_no_step_leaves_divergence_and_nothing_grows_without_bound(long_run):
    states = long_run[0]
    assert ChannelDivergence((64, 32))(states.flatten(0, 1)).abs().max() < 1e-5
    assert states.abs().max() < 2.5


@pytest.mark.parametrize("advection", SCHEMES)
def test_the_flow_moves(advection):
    """What a puff adds to a stream of speed one is, two units of time later, about two diameters downstream."""
    solver = Wake((64, 32), 0.1, advection=advection)
    x, y = ((torch.arange(n) + 0.5) * d for n, d in zip((64, 32), solver.dx))
    swirl = torch.exp(-4 * ((x[:, None] - 5)**2 + (y - 2.5)**2))
    v = solver.start(torch.zeros(1))
    with_puff = solver.project(v + 0.05 * torch.stack([0 * swirl, swirl])[None])
    step = recorded(solver, v, reynolds=torch.tensor([400.0]))
    for _ in range(20):
        v, with_puff = step(v), step(with_puff)
    weight = (vorticity(with_puff, solver.dx) - vorticity(v, solver.dx)).square().sum((0, 1, 3))
    centre = float((weight * torch.arange(1, 64) * solver.dx[0]).sum() / weight.sum())
    assert centre == pytest.approx(7, abs=0.3)


@pytest.mark.parametrize("advection", SCHEMES)
def test_a_mirrored_flow_stays_mirrored(advection):
    solver = Wake((64, 32), 0.1, advection=advection)

    def mirror(v):  # y -> 5 - y: lower faces along y map to themselves
        return torch.stack([v[:, 0].flip(2), -v[:, 1].flip(2).roll(1, 2)], 1)

    v = developing(solver, num_steps=5)
    expected = mirror(solver(v, reynolds=REYNOLDS))
    assert torch.allclose(solver(mirror(v), reynolds=REYNOLDS), expected, rtol=0, atol=1e-12)
    forces = Forces(solver)
    lift = torch.tensor([1.0, -1.0], dtype=torch.float64)
    assert torch.allclose(forces(mirror(v), reynolds=REYNOLDS), forces(v, reynolds=REYNOLDS) * lift, rtol=0, atol=1e-9)


@pytest.mark.parametrize("advection", SCHEMES)
def test_gradients_equal_finite_differences(advection):
    """Directional derivatives of three steps, float64; small enough differences step over few kinks of the look-up."""
    solver = Wake(*SMALL, advection)
    v = developing(solver)
    inputs = [v, REYNOLDS, 0.1 * torch.randn(v.shape, dtype=v.dtype, generator=torch.Generator().manual_seed(2))]
    traced = trace(solver, v, reynolds=REYNOLDS, force=inputs[2])
    generator = torch.Generator().manual_seed(1)
    weights, *directions = (torch.randn(x.shape, dtype=x.dtype, generator=generator) for x in (v, *inputs))
    directions[0] *= solver.open  # the velocity at the cylinder is zero

    def loss(v, reynolds, force):
        for _ in range(3):
            v = traced(v, reynolds=reynolds, force=force)
        return (weights * v).sum()

    leaves = [x.clone().requires_grad_() for x in inputs]
    gradients = torch.autograd.grad(loss(*leaves), leaves)
    for i, (gradient, direction, eps) in enumerate(zip(gradients, directions, (1e-7, 1e-3, 1e-7))):
        above, below = ([x + sign * eps * direction if i == j else x for j, x in enumerate(inputs)] for sign in (1, -1))
        difference = float(loss(*above) - loss(*below)) / (2 * eps)
        assert float((gradient * direction).sum()) == pytest.approx(difference, rel=1e-6)


@pytest.mark.parametrize("advection", SCHEMES)
def test_traced_equals_eager_and_each_sample_has_its_own_reynolds_number(advection):
    solver = Wake(*SMALL, advection)
    v = developing(solver)
    together = solver(v, reynolds=REYNOLDS)
    traced = trace(solver, v, reynolds=REYNOLDS)
    assert torch.equal(traced(v, reynolds=REYNOLDS), together)
    alone = torch.cat([solver(v[i:i + 1], reynolds=float(re)) for i, re in enumerate(REYNOLDS)])
    assert torch.allclose(together, alone, rtol=0, atol=1e-13)
    assert (together - solver(v, reynolds=80.0)).abs().max() > 1e-3


def test_first_order_in_time_but_for_the_limiter():
    """Differences between runs with dt and dt / 2 fall like dt, the error of the grid drops out of them. The limiter
    of ``mac_cormack``, which jumps from cell to cell, breaks this where the grid does not resolve the boundary layer.
    """
    v, ends = developing(Wake(*SMALL)), []
    for count in (4, 8, 16, 32):
        step = recorded(Wake(SMALL[0], 0.6 / count, *SMALL[2:], semi_lagrangian), v, reynolds=REYNOLDS)
        end = v
        for _ in range(count):
            end = step(end)
        ends.append(end)
    differences = [float((a - b).norm()) for a, b in zip(ends, ends[1:])]
    assert all(a > 1.6 * b for a, b in zip(differences, differences[1:]))
    assert differences[0] / differences[-1] == pytest.approx(4, rel=0.2)


def test_a_force_acts_before_the_projection():
    """The gradient of a potential does nothing; a force across the stream pushes it."""
    solver = Wake(*SMALL)
    v = developing(solver)
    x, y = (torch.arange(n, dtype=torch.float64) for n in SMALL[0])
    potential = torch.cat([torch.sin(0.3 * x)[:, None] * torch.cos(2 * torch.pi * y / 18), torch.zeros(1, 18)])
    potential[-2:] = 0  # zero at the outflow, like the pressure
    gradient = torch.stack([potential.diff(dim=0) / solver.dx[0],
                            (potential - potential.roll(1, 1))[:-1] / solver.dx[1]])
    free = solver(v, reynolds=REYNOLDS)
    pushed = solver(v, reynolds=REYNOLDS, force=gradient.expand_as(v))
    assert torch.allclose(pushed, free, rtol=0, atol=1e-12)
    across = torch.zeros_like(v)
    across[:, 1, 12:] = 1.0
    moved = solver(v, reynolds=REYNOLDS, force=across) - free
    assert moved[:, 1, 18:].mean() > 0.5 * solver.dt


def test_a_hybrid_is_free_of_divergence_if_its_correction_comes_before_the_projection():
    solver, divergence = Wake((64, 32), 0.1), ChannelDivergence((64, 32))
    v, reynolds = solver.start(torch.tensor([0.3])), torch.tensor([100.0])
    network = ConvResNet(2, 2, 2, width=4, num_blocks=1, padding=(REPLICATE, PERIODIC), output_scale=1.0)
    after = Sequential(solver, Additive(network))
    chains = AdditiveRHS(solver, network), after, Sequential(after, ChannelProjection((64, 32)))
    with torch.no_grad():
        before, behind, again = (divergence(chain(v, reynolds=reynolds)).abs().max() for chain in chains)
    assert before < 1e-5 and behind > 0.1 and again < 1e-5


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
