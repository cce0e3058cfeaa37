"""E05: the problem, the couplings and their properties, the records."""

import pytest
import torch

from dpbook_course.problems import coarse_burgers as problem
from dpbook_course.studies.e05 import coupling as e05
from dpbook_utils.coupling import Additive
from dpbook_utils.data import cell_averages
from dpbook_utils.physics.advection import central, interpolated
from dpbook_utils.physics.burgers import Burgers
from dpbook_utils.rollout import Sequential

POINTS, NU = problem.num_points, 0.2


@pytest.fixture(scope="module")
def data():
    return problem.trajectories("validation")


def trained_a_little(coupling, scale=10.0):
    """Networks whose output is far from zero: with the spread of a trained one, and a mean."""
    networks = e05.ensemble(coupling, (0, 1))
    with torch.no_grad():
        last = networks.stacked.layers[-1]
        last.weight.mul_(scale)
        last.bias.add_(0.05 * torch.arange(1, last.bias.shape[-1] + 1))
    return networks


def roll_out(coupling, data, **options):
    prediction, _ = problem.predict(e05.chain(coupling, trained_a_little(coupling, **options)), data)
    return prediction


def mass_drift(prediction, data):
    start = torch.cat([data.states[:, 0]] * 2).mean((1, 2))
    return (prediction.mean((2, 3)) - start[:, None]).abs().amax(1)


def test_one_seed_gives_the_same_flow_on_every_grid():
    fine, coarse = problem.fine_trajectories("inside"), problem.trajectories("inside")
    assert fine.states.shape == (32, 101, 1, 256) and coarse.states.shape == (32, 101, 1, 32)
    assert torch.allclose(coarse.states.mean((2, 3)), fine.states.mean((2, 3)), atol=1e-6)
    assert torch.equal(coarse.states[0, 0, 0, 1], fine.states[0, 0, 0, 8:16].mean())


def test_regions_differ_in_viscosity_and_speed_only_and_test_states_are_new():
    for name in ("inside", "faster"):
        lowest, highest, speed = problem.regions[name]
        found = problem.trajectories(name)
        assert lowest <= found.viscosity.min() and found.viscosity.max() <= highest
        assert torch.allclose(problem.fine_trajectories(name).states[:, 0].square().mean(2).sqrt(),
                              torch.tensor(speed), rtol=1e-4)
    slow, fast = (problem.trajectories(name).states[:, 0] for name in ("inside", "faster"))
    assert torch.allclose(fast, 1.4 * slow, atol=1e-6)
    starts = [problem.trajectories(name).states[:, 0, 0] for name in ("train", "validation", "inside")]
    for a, b in [(0, 1), (0, 2), (1, 2)]:
        assert torch.cdist(starts[a], starts[b]).min() > 0.1


def test_refining_the_solver_approaches_the_reference():
    fine, errors = problem.fine_trajectories("inside"), []
    for points, substeps in [(POINTS, 1), (64, 2), (128, 4)]:
        states = cell_averages(fine.states[:, :31], points)
        step, u0 = problem.refined(points, substeps), states[:, 0]
        found = problem.judge_rollouts(*problem.predict(step, fine._replace(states=states)), u0, 1)
        errors.append(float(found["error"]))
    assert errors[0] > 3 * errors[1] > 9 * errors[2]


@pytest.mark.parametrize("coupling", e05.COUPLINGS)
def test_an_untrained_hybrid_is_nearly_the_solver(coupling, data):
    u, nu = data.states[:, 30], data.viscosity
    alone = problem.coarse_solver()(u, viscosity=nu)
    together = e05.chain(coupling, problem.ensemble((0,), 4 if coupling == "interpolation" else 1))(u, viscosity=nu)
    assert 0 < (together - alone).norm() < 0.02 * u.norm()


@pytest.mark.parametrize("coupling", e05.COUPLINGS)
def test_only_couplings_inside_the_fluxes_conserve_mass(coupling, data):
    soon = data._replace(states=data.states[:, :11])  # before weights that know nothing blow up
    drift = mass_drift(roll_out(coupling, soon, scale=3.0), soon)
    assert (drift.max() < 1e-5) == (coupling in e05.CONSERVING), float(drift.max())


def test_a_learned_viscosity_is_positive_stable_and_takes_energy():
    output = torch.linspace(-20, 20, 9)
    viscosity = e05.bounded_viscosity(output)
    largest = problem.length ** 2 / POINTS**2 / (2 * problem.dt)
    highest = max(high for _, high, _ in problem.regions.values())
    assert (viscosity > 0).all() and float(viscosity.max()) + highest < largest
    energy = roll_out("viscosity", problem.trajectories("validation"), scale=1000.0).square().mean((2, 3))
    assert (energy[:, 1:] <= energy[:, :-1] * (1 + 1e-5)).all()


def test_a_multiplicative_correction_leaves_zeros_where_the_others_do_not():
    u = torch.zeros(1, 1, POINTS)
    u[..., :8] = 1.0
    nu = torch.tensor([NU])
    networks = trained_a_little("multiplicative")
    after = problem.coarse_solver()(torch.cat([u] * 2), viscosity=nu.expand(2))
    corrected = e05.chain("multiplicative", networks)(torch.cat([u] * 2), viscosity=nu.expand(2))
    assert torch.equal(corrected == 0, after == 0) and (after[..., 20:30] == 0).all()
    assert (e05.chain("additive", networks)(torch.cat([u] * 2), viscosity=nu.expand(2))[..., 20:30] != 0).all()


def test_a_right_hand_side_correction_is_a_state_correction_times_dt_in_one_euler_step(data):
    networks, u = trained_a_little("right-hand side"), torch.cat([data.states[:, 20]] * 2)
    nu = torch.cat([data.viscosity] * 2)
    expected = problem.coarse_solver()(u, viscosity=nu) + problem.dt * networks(u, viscosity=nu)
    assert torch.allclose(e05.chain("right-hand side", networks)(u, viscosity=nu), expected, atol=1e-6)


@pytest.mark.parametrize("coupling", ["additive", "multiplicative"])
def test_times_dt_is_the_same_coupling_with_a_smaller_output(coupling, data):
    networks, nu = trained_a_little(coupling), torch.cat([data.viscosity] * 2)
    after = problem.coarse_solver()(torch.cat([data.states[:, 20]] * 2), viscosity=nu)
    plain, scaled = (e05.chain(name, networks)(torch.cat([data.states[:, 20]] * 2), viscosity=nu)
                     for name in (coupling, f"{coupling}, times dt"))
    assert torch.allclose(scaled - after, problem.dt * (plain - after), atol=1e-6)


def test_interpolation_without_a_network_is_central_and_conserves_with_any_weights(data):
    u, nu = data.states[:4, 30].double(), data.viscosity[:4].double()
    schemes = [Burgers(POINTS, 32.0, 0.1, scheme) for scheme in (central, interpolated)]
    assert torch.equal(schemes[0](u, viscosity=nu), schemes[1](u, viscosity=nu))
    weights = torch.randn(4, 4, POINTS, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    constant = torch.ones_like(u)
    assert torch.allclose(schemes[1](constant, viscosity=nu, interpolation=weights), constant, atol=1e-14)
    changed = schemes[1](u, viscosity=nu, interpolation=weights)
    assert (changed.sum(2) - u.sum(2)).abs().max() < 1e-13 and (changed - u).abs().max() > 0.1
    # Each face's flux by hand: the weights (0, 1/2, 1/2, 0) + d - mean(d) of the cells -1, 0, 1, 2.
    w = weights - weights.mean(1, keepdim=True) + torch.tensor([0, 0.5, 0.5, 0], dtype=torch.float64)[:, None]
    flux = sum(w[:, k] * (u[:, 0] ** 2 / 2).roll(-j, -1) for k, j in enumerate((-1, 0, 1, 2)))
    diffusion = nu[:, None] * (u[:, 0].roll(-1, -1) - 2 * u[:, 0] + u[:, 0].roll(1, -1))
    assert torch.allclose(changed[:, 0], u[:, 0] + 0.1 * (diffusion - flux + flux.roll(1, -1)), atol=1e-13)


def test_a_local_viscosity_acts_at_faces():
    u = torch.randn(2, 1, POINTS, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    solver, nu = Burgers(POINTS, 32.0, 0.1, central), torch.full((2,), NU, dtype=torch.float64)
    same = solver(u, viscosity=2 * nu)
    assert torch.allclose(solver(u, viscosity=nu, local_viscosity=torch.full_like(u, NU)), same, atol=1e-14)
    one_face = torch.zeros_like(u)
    one_face[..., 5] = 1.0
    change = solver(u, viscosity=nu, local_viscosity=one_face) - solver(u, viscosity=nu)
    assert change[..., [5, 6]].abs().min() > 0 and torch.allclose(change.sum(2), torch.zeros(2, 1).double(), atol=1e-14)
    assert change.count_nonzero() == 4  # two samples, two cells


@pytest.mark.parametrize("value, message", [(-0.1, "make it positive"), (6.0, "stable is 0")])
def test_a_local_viscosity_out_of_range_is_refused(value, message):
    u = torch.zeros(1, 1, POINTS)
    with pytest.raises(ValueError, match=message):
        Burgers(POINTS, 32.0, 0.1, central)(u, viscosity=NU, local_viscosity=torch.full_like(u, value))


def test_a_scheme_without_weights_does_not_take_them():
    u = torch.zeros(1, 1, POINTS)
    with pytest.raises(ValueError, match="unknown parameter interpolation"):
        Burgers(POINTS, 32.0, 0.1, central)(u, viscosity=NU, interpolation=torch.zeros(1, 4, POINTS))
    with pytest.raises(ValueError, match=r"expected \(1, 4, 32\)"):
        Burgers(POINTS, 32.0, 0.1, interpolated)(u, viscosity=NU, interpolation=torch.zeros(1, 3, POINTS))


def test_blow_ups_are_counted_and_capped(data):
    networks = problem.ensemble((0, 1))
    with torch.no_grad():
        networks.stacked.layers[-1].bias[1] += 50.0  # the second member adds 50 m/s at every step
    rollouts = problem.predict(Sequential(problem.coarse_solver(), Additive(networks)), data)
    found = problem.judge_rollouts(*rollouts, data.states[:, 0], 2)
    assert found["blown_up"].tolist() == [0.0, 1.0] and float(found["error"][1]) == 2.0
    assert float(found["mass"][1]) == 10.0 and float(found["energy"][1]) > 0.9
    assert all(torch.isfinite(value).all() for value in found.values())


def test_every_record_has_every_metric():
    for variant, seeds, budget in (("additive, times dt, ONE", (0,), 2), ("persistence", (0,), 0)):
        found = e05.run(variant, seeds, budget)
        assert set(found) == set(e05.SPEC.metrics) and all(len(value) == len(seeds) for value in found.values())


def test_tuning_has_the_studys_variants_with_every_rate_and_other_seeds():
    assert len(e05.TUNING.spec.variants) == len(e05.TUNING.grid) * len(e05.rows())
    assert not set(e05.TUNING.spec.seeds) & set(e05.SEEDS)
    assert set(e05.LEARNING_RATES) in (set(), set(e05.rows()))
