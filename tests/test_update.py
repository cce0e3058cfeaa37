"""The recorded update against the eager one, and what it must notice or refuse. float64 throughout."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from dpbook_utils.coupling import Additive
from dpbook_utils.gradients import FullGradient, NoSolverGradient, PhysicsPath, Pushforward, Truncated
from dpbook_utils.losses import TrajectoryLoss, every_step, final_step
from dpbook_utils.networks import ConvResNet, Ensemble
from dpbook_utils.noise import GaussianNoise
from dpbook_utils.objectives import NoGradientPath, Objective, from_input, from_solver
from dpbook_utils.physics.burgers import Burgers
from dpbook_utils.physics.trace import trace
from dpbook_utils.rollout import Rollout, Sequential
from dpbook_utils.training import Gradients, fit
from dpbook_utils.update import TracedGradients, TraceError

N, M, VISCOSITY = 12, 3, 0.02


def network(seed=0, **arguments):
    return ConvResNet(1, 1, 1, width=4, num_blocks=1, output_scale=0.5, seed=seed, **arguments).double()


def batch(size=4, num_steps=M, seed=0):
    generator = torch.Generator().manual_seed(seed)
    u0 = torch.randn(size, 1, N, dtype=torch.float64, generator=generator)
    reference = torch.randn(size, num_steps, 1, N, dtype=torch.float64, generator=generator)
    return {"u0": u0, "reference": reference, "viscosity": torch.linspace(0.01, 0.03, size, dtype=torch.float64)}


@pytest.fixture(scope="module")
def solver():
    return trace(Burgers(N, 1.0, 0.01), batch()["u0"], viscosity=VISCOSITY)


def objective(*step, policy=FullGradient(), weights=every_step, num_steps=M, **arguments):
    return Objective(Rollout(Sequential(*step), num_steps, gradient=policy), TrajectoryLoss(weights), **arguments)


def losses_and_gradients(gradients, batch):
    losses = gradients(batch)
    assert not losses.requires_grad
    return [losses, *(w.grad.clone() for w in gradients.objective.parameters() if w.grad is not None)]


def assert_agree(objective, traced, batch, tolerance=1e-13):
    expected, found = losses_and_gradients(Gradients(objective), batch), losses_and_gradients(traced, batch)
    for e, f in zip(expected, found, strict=True):
        assert (e - f).abs().max() <= tolerance * e.abs().max()


POLICIES = [FullGradient(), Truncated(2), NoSolverGradient(), Pushforward(), PhysicsPath()]


@pytest.mark.parametrize("policy", POLICIES, ids=repr)
def test_every_policy(solver, policy):
    placement = final_step if isinstance(policy, Pushforward) else every_step
    ours = objective(solver, Additive(network()), policy=policy, weights=placement)
    traced = TracedGradients(ours)
    for seed in range(2):
        assert_agree(ours, traced, batch(seed=seed))
    assert len(traced._recorded) == 1


TARGETS = [from_input, from_solver(Burgers(N, 1.0, 0.01)), from_solver(Burgers(N, 1.0, 0.01), detach=False)]


@pytest.mark.parametrize("targets", TARGETS, ids=["input", "diverted", "diverted, not detached"])
def test_targets_without_a_reference(solver, targets):
    ours = objective(solver, Additive(network()), targets=targets)
    assert_agree(ours, TracedGradients(ours), {**batch(), "reference": None})


def test_the_untraced_solver_is_recorded_too():
    ours = objective(Burgers(N, 1.0, 0.01), Additive(network()))
    assert_agree(ours, TracedGradients(ours), batch())


def test_an_ensemble_gets_the_losses_and_gradients_of_each_member(solver):
    ours = objective(solver, Additive(Ensemble([network(seed) for seed in range(3)])))
    assert_agree(ours, TracedGradients(ours), batch(6))


def test_a_nan_stays_in_its_member(solver):
    ensemble = Ensemble([network(seed) for seed in range(3)])
    with torch.no_grad():
        ensemble.stacked.layers[0].weight[1] = math.nan
    losses, *gradients = losses_and_gradients(TracedGradients(objective(solver, Additive(ensemble))), batch(6))
    assert losses.isnan().tolist() == [False, True, False]
    assert all(g[[0, 2]].isfinite().all() and not g[1].isfinite().any() for g in gradients)


def test_what_changes_is_recorded_anew(solver):
    step = Sequential(solver, Additive(network()))
    ours = Objective(Rollout(step, M), TrajectoryLoss(every_step))
    traced = TracedGradients(ours)
    assert_agree(ours, traced, batch())
    for change in [lambda: setattr(ours.rollout, "num_steps", 2),
                   lambda: setattr(ours.rollout, "gradient", Truncated(1)),
                   lambda: setattr(ours.rollout.gradient, "every", 2),
                   lambda: setattr(ours.loss, "weights", final_step),
                   lambda: setattr(solver.solver, "dt", 0.005),
                   lambda: step[1].network.layers[0].bias.requires_grad_(False)]:
        count = len(traced._recorded)
        change()
        assert_agree(ours, traced, batch())
        assert len(traced._recorded) == count + 1
    solver.solver.dt = 0.01
    assert_agree(ours, traced, batch(6))
    assert_agree(ours, traced, {**batch(), "viscosity": 0.015})
    step.float()
    single = {name: x.float() for name, x in batch().items()}
    assert_agree(ours, traced, single, tolerance=1e-5)


def test_weights_are_read_at_every_call(solver):
    ours = objective(solver, Additive(network()))
    traced = TracedGradients(ours)
    assert_agree(ours, traced, batch())
    with torch.no_grad():
        for w in ours.parameters():
            w.add_(0.1)
    assert_agree(ours, traced, batch())


def test_frozen_weights_get_no_gradient(solver):
    ours = objective(solver, Additive(network()))
    frozen = next(ours.parameters()).requires_grad_(False)
    TracedGradients(ours)(batch())
    assert frozen.grad is None and all(w.grad is not None for w in ours.parameters() if w is not frozen)


def test_noise_stays_random_and_equals_the_eager_noise(solver):
    ours = objective(GaussianNoise(0.1), solver, Additive(network())).train()
    traced, data = TracedGradients(ours), batch()
    torch.manual_seed(0)
    first, second = traced(data), traced(data)
    torch.manual_seed(0)
    expected = [Gradients(ours)(data), Gradients(ours)(data)]
    assert not torch.equal(first, second)
    assert torch.allclose(torch.stack([first, second]), torch.stack(expected), rtol=1e-13)
    ours.eval()
    assert torch.equal(traced(data), traced(data))


def test_fit_trains_the_same(solver):
    trained = []
    for trace_update in (False, True):
        ours = objective(solver, Additive(network()))
        optimizer = torch.optim.Adam(ours.parameters(), 1e-2)
        fit(ours, [batch(), batch(seed=1)], optimizer, num_updates=6, clip_norm=0.1, curriculum={0: 1, 3: 3},
            trace=trace_update, progress=False)
        trained.append(torch.cat([w.detach().flatten() for w in ours.parameters()]))
    assert (trained[0] - trained[1]).abs().max() < 1e-12


class Branches(nn.Module):
    def forward(self, u):
        return 0.9 * u if u.mean() > 0 else 1.1 * u


class Counts(nn.Module):
    def __init__(self):
        super().__init__()
        self._calls = 0

    def forward(self, u):
        self._calls += 1
        return u * (1 + 0.1 * self._calls)


class NumpyNoise(nn.Module):
    def forward(self, u):
        return u + float(np.random.default_rng().normal())


REFUSED = [(Branches(), "branch on data"), (Counts(), "a counter"), (NumpyNoise(), "NumPy")]


@pytest.mark.parametrize("operator, reason", REFUSED, ids=["branch", "counter", "numpy"])
def test_what_cannot_be_recorded_is_refused(solver, operator, reason):
    with pytest.raises(TraceError, match=reason):
        TracedGradients(objective(solver, operator, Additive(network())))(batch())


def test_checkpointing_is_refused(solver):
    ours = Objective(Rollout(Sequential(solver, Additive(network())), M, checkpoint=True), TrajectoryLoss(every_step))
    with pytest.raises(TraceError, match="checkpoint=False"):
        TracedGradients(ours)(batch())


def test_errors_of_the_objective_come_through(solver):
    ours = objective(Additive(network()), solver, policy=NoSolverGradient(), num_steps=1)
    with pytest.raises(NoGradientPath):
        TracedGradients(ours)(batch())
    traced = TracedGradients(objective(solver, Additive(network())))
    traced(batch())
    with pytest.raises(ValueError, match="NaN or infinite"):
        traced({**batch(), "u0": torch.full((4, 1, N), math.nan, dtype=torch.float64)})
    with pytest.raises(ValueError, match="stable is"):
        traced({**batch(), "viscosity": torch.full((4,), 9.0, dtype=torch.float64)})


def test_a_change_of_the_targets_solver_is_followed(solver):
    fine = Burgers(N, 1.0, 0.01)
    ours = objective(solver, Additive(network()), targets=from_solver(fine))
    traced = TracedGradients(ours)
    assert_agree(ours, traced, {**batch(), "reference": None})
    fine.dt = 0.005
    assert_agree(ours, traced, {**batch(), "reference": None})


def test_a_network_that_changes_its_buffers_is_refused_and_left_as_it_was(solver):
    net = nn.Sequential(network(), nn.BatchNorm1d(1)).double()
    traced = TracedGradients(objective(solver, Additive(net)).train())
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    with pytest.raises(TraceError, match="running_mean"):
        traced(batch())
    assert all(torch.equal(buffer, before[name]) for name, buffer in net.named_buffers())
