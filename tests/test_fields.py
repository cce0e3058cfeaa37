"""Parameters that are fields: declared by a solver, known to a network, carried per sample by the data."""

import pytest
import torch
from torch import nn

from dpbook_utils.coupling import Additive, SolverParameter
from dpbook_utils.data import Fresh, Sampler, Windows, random_fourier, simulate
from dpbook_utils.diagnostics import gradient_check
from dpbook_utils.evaluation import predict
from dpbook_utils.losses import TrajectoryLoss, every_step
from dpbook_utils.networks import ConvResNet, Ensemble
from dpbook_utils.objectives import Objective
from dpbook_utils.physics.burgers import Burgers
from dpbook_utils.physics.solver import Solver
from dpbook_utils.physics.trace import trace
from dpbook_utils.rollout import Rollout, Sequential
from dpbook_utils.training import fit


class Damped(Solver):
    """u_t = -rate m(x) u + f in two channels, by forward Euler; m is one channel."""

    required = ("rate", "mask")
    optional = ("force",)
    fields = {"mask": 1}

    def step(self, u, *, rate, mask, force=0.0):
        return u + self.dt * (force - rate.view(-1, *[1] * (u.ndim - 1)) * mask * u)


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


GRIDS = pytest.mark.parametrize("grid", [(8,), (6, 5)], ids=str)
RATE = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)


@GRIDS
def test_a_solver_takes_what_it_declares(grid):
    solver, u, mask, force = Damped(0.1, (2, *grid)), random(3, 2, *grid), random(3, 1, *grid, seed=1), random(
        3, 2, *grid, seed=2)
    each = RATE.view(-1, *[1] * (u.ndim - 1))
    for candidate in (solver, trace(solver, u, rate=1.0, mask=mask), trace(solver, u, rate=1.0, mask=0.5, force=1.0)):
        assert torch.allclose(candidate(u, rate=RATE, mask=mask), u - 0.1 * each * mask * u, rtol=1e-14)
        assert torch.allclose(candidate(u, rate=2.0, mask=0.5, force=force), u + 0.1 * (force - u), rtol=1e-14)
        assert torch.equal(Rollout(candidate, 1)(u, rate=2.0, mask=0.5)[:, 0], candidate(u, rate=2.0, mask=0.5))


@GRIDS
def test_gradient_with_respect_to_a_field(grid):
    solver, inputs = Damped(0.1, (2, *grid)), {"rate": RATE, "mask": random(3, 1, *grid, seed=1)}
    u = random(3, 2, *grid)
    for candidate in (solver, trace(solver, u, **inputs)):
        errors = gradient_check(lambda **x: Rollout(candidate, 3)(x.pop("u"), **x), {"u": u, **inputs})  # noqa: B023
        assert set(errors) == {"u", "rate", "mask"} and max(errors.values()) < 1e-8
    mask = inputs["mask"].requires_grad_()
    (gradient,) = torch.autograd.grad(solver(u, **inputs).sum(), mask)
    exact = -0.1 * RATE.view(-1, *[1] * (u.ndim - 1)) * u.sum(1, keepdim=True)
    assert torch.allclose(gradient, exact, rtol=1e-13)


@pytest.mark.parametrize("mask", [random(3, 8), random(3, 2, 8), random(2, 1, 8), random(3, 1, 4), random(3)], ids=str)
def test_a_field_of_another_shape_is_refused(mask):
    with pytest.raises(ValueError, match=r"Damped: parameter mask has shape .*, expected \(3, 1, 8\)"):
        Damped(0.1, (2, 8))(random(3, 2, 8), rate=RATE, mask=mask)


def test_a_field_where_none_is_declared_is_refused_with_the_remedy():
    with pytest.raises(ValueError, match=r"expected \(3,\); give one value per sample.* the solver's attribute fields"):
        Damped(0.1, (2, 8))(random(3, 2, 8), rate=random(3, 1, 8), mask=1.0)


# Networks ------------------------------------------------------------------------------------------------------------

def network(ndim=1, seed=0, **arguments):
    arguments = {"conditions": {"rate": (2.0, 0.5), "mask": (0.3, 2.0, 1), "map": (0.0, 1.0, 2)}, "width": 4,
                 "num_blocks": 1, "output_scale": 1.0, **arguments}
    return ConvResNet(ndim, 2, 2, seed=seed, **arguments).double()


@GRIDS
def test_a_condition_that_is_a_field_enters_as_channels(grid):
    """The same weights in a network whose state has the normalised conditions as channels."""
    ours, u, mask, coefficients = network(len(grid)), *(random(3, c, *grid, seed=c) for c in (2, 1, 2))
    plain = ConvResNet(len(grid), 2 + 1 + 1 + 2, 2, width=4, num_blocks=1, output_scale=1.0, seed=0).double()
    rate = RATE.view(-1, *[1] * (u.ndim - 1)).expand_as(mask)
    expected = plain(torch.cat([u, (rate - 2) / 0.5, (mask - 0.3) / 2, coefficients], 1))
    assert torch.equal(ours(u, rate=RATE, mask=mask, map=coefficients), expected)
    constant = torch.full_like(mask, 0.7)
    for value in (0.7, torch.tensor(0.7, dtype=torch.float64), torch.full((3,), 0.7, dtype=torch.float64)):
        found = ours(u, rate=RATE, mask=value, map=coefficients)
        assert torch.equal(found, ours(u, rate=RATE, mask=constant, map=coefficients))


@pytest.mark.parametrize("given, message", [
    ({"mask": random(3, 8)}, r"condition mask has shape \(3, 8\), expected \(3, 1, 8\): a field on the state's"),
    ({"mask": random(3, 2, 8)}, r"condition mask has shape \(3, 2, 8\), expected \(3, 1, 8\)"),
    ({"mask": random(1, 1, 8)}, r"condition mask has shape \(1, 1, 8\), expected \(3, 1, 8\)"),
    ({"map": random(3, 1, 8)}, r"condition map has shape \(3, 1, 8\), expected \(3, 2, 8\)"),
    ({"rate": random(3, 1, 8)}, r"condition rate .*expected \(3,\): one value per sample; a field has its number of")])
def test_conditions_that_do_not_fit_are_refused(given, message):
    fitting = {"rate": RATE, "mask": random(3, 1, 8), "map": random(3, 2, 8)}
    with pytest.raises(ValueError, match=message):
        network()(random(3, 2, 8), **{**fitting, **given})


@pytest.mark.parametrize("condition", [(0.0,), (0.0, 1.0, 0), (0.0, 1.0, 1.5), (0.0, 1.0, 1, 1)])
def test_a_condition_says_how_many_channels_it_has(condition):
    message = r"condition mask is \(.*\(centre, scale, channels\)|the channels of condition mask is"
    with pytest.raises(ValueError, match=message):
        network(conditions={"mask": condition})


@GRIDS
def test_members_of_an_ensemble_see_the_fields_of_their_samples(grid):
    networks = [network(len(grid), seed) for seed in range(3)]
    u, mask, coefficients = (random(6, c, *grid, seed=c) for c in (2, 1, 2))
    together = Ensemble(networks)(u, rate=RATE.repeat(2), mask=mask, map=coefficients)
    for i, alone in enumerate(networks):
        group = slice(2 * i, 2 * i + 2)
        expected = alone(u[group], rate=RATE.repeat(2)[group], mask=mask[group], map=coefficients[group])
        assert (together[group] - expected).abs().max() < 1e-13
    with pytest.raises(ValueError, match="differ in more than their weights"):
        Ensemble([network(conditions={"mask": (0.0, 1.0, 1)}), network(conditions={"mask": (0.0, 1.0, 2)})])


# Together ------------------------------------------------------------------------------------------------------------

def hybrid(num_members=1):
    conditions = {"mask": (0.5, 0.5, 1)}
    networks = [ConvResNet(1, 2, 2, width=4, num_blocks=1, conditions=conditions, seed=s) for s in range(num_members)]
    return Sequential(Damped(0.1, (2, 8)), Additive(networks[0] if num_members == 1 else Ensemble(networks)))


def data(count=5, num_steps=6):
    """Trajectories of a faster decay than P's, each under its own mask."""
    mask = random(count, 1, 8, seed=3, dtype=torch.float32).abs()
    u0 = random(count, 2, 8, dtype=torch.float32)
    return simulate(Damped(0.1, (2, 8)), u0, num_steps, rate=2.0, mask=mask), mask


def test_windows_carry_the_field_of_their_trajectory():
    states, mask = data()
    batch = Windows(states, 2, 16, 0, rate=2.0, mask=mask)[3]
    assert batch["mask"].shape == (16, 1, 8) and batch["rate"].shape == (16,)
    again = Damped(0.1, (2, 8))(batch["u0"], rate=batch["rate"], mask=batch["mask"])
    assert torch.equal(again, batch["reference"][:, 0])


def test_fresh_data_carry_the_field_of_their_sample():
    def initial(num_samples, generator, values):
        u0, mask = (random_fourier(2 * num_samples, 8, modes=2, seed=generator).view(num_samples, 2, 8) for _ in "um")
        return {"u0": u0, "mask": values["depth"][:, None, None] * mask[:, :1]}

    batch = Fresh(Damped(0.1, (2, 8)), Sampler(initial, {"rate": (1.0, 2.0), "depth": (0.5, 1.0)}), 2, 4, 0)[1]
    assert batch.keys() == {"u0", "reference", "rate", "mask"} and batch["mask"].shape == (4, 1, 8)
    again = Damped(0.1, (2, 8))(batch["u0"], rate=batch["rate"], mask=batch["mask"])
    assert torch.equal(again, batch["reference"][:, 0])


@pytest.mark.parametrize("num_members", [1, 2])
def test_a_traced_training_learns_what_an_eager_one_does(num_members):
    states, mask = data()
    seeds = {"seed": 0} if num_members == 1 else {"seeds": [0, 1]}
    trained = []
    for traced in (False, True):
        step = hybrid(num_members)
        windows = Windows(states, 3, 4, **seeds, rate=1.0, mask=mask)
        objective = Objective(Rollout(step, 3), TrajectoryLoss(every_step))
        history = fit(objective, windows, torch.optim.Adam(objective.parameters(), lr=1e-2), num_updates=20,
                      trace=traced, progress=False)
        assert history.losses[-1].max() < history.losses[0].min()
        trained.append(list(objective.parameters()))
    for eager, recorded in zip(*trained, strict=True):
        assert (eager - recorded).abs().max() < 1e-4
    prediction, reference = predict(step, states, rate=1.0, mask=mask)
    assert prediction.shape == (num_members * 5, 6, 2, 8)
    alone, _ = predict(step, states[2:3].repeat(1, 1, 1, 1), rate=1.0, mask=mask[2:3])
    assert torch.allclose(prediction[2], alone[0], atol=1e-6)


def test_a_network_may_set_a_field():
    class Viscosity(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv1d(1, 1, 3, padding=1, padding_mode="circular")

        def forward(self, u):
            return 1e-3 * self.conv(u)

    chain, u = SolverParameter(Burgers(8, 1.0, 0.005), Viscosity(), "local_viscosity"), random(3, 1, 8).float()
    u_next = Rollout(chain, 2)(u, viscosity=0.1)
    expected = u
    for _ in range(2):
        value = nn.functional.softplus(chain.network(expected))
        expected = Burgers(8, 1.0, 0.005)(expected, viscosity=0.1, local_viscosity=value)
    assert torch.equal(u_next[:, -1], expected)
