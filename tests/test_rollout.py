"""Roll-outs against hand-written loops: values and gradients, float64."""

from collections import OrderedDict

import pytest
import torch
from torch import nn

from dpbook_utils.coupling import Additive, AdditiveRHS, Replace
from dpbook_utils.gradients import Truncated
from dpbook_utils.noise import GaussianNoise
from dpbook_utils.physics.burgers import Burgers
from dpbook_utils.physics.trace import trace
from dpbook_utils.rollout import Rollout, Sequential, repeat

VISCOSITY = torch.tensor([0.01, 0.02, 0.03], dtype=torch.float64)


@pytest.fixture
def u0():
    return torch.randn(3, 1, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def solver(u0):
    return trace(Burgers(16, 1.0, 0.004), u0, viscosity=VISCOSITY)


@pytest.fixture
def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv1d(1, 4, 3, padding=1), nn.Tanh(), nn.Conv1d(4, 1, 3, padding=1)).double()


def weight_gradients(loss, network):
    return torch.autograd.grad(loss, list(network.parameters()))


def assert_equal(found, expected):
    assert all(torch.equal(f, e) for f, e in zip(found, expected, strict=True))


def test_equals_a_hand_written_loop(u0, solver, network):
    trajectory = Rollout(Sequential(solver, Additive(network)), 4)(u0, viscosity=VISCOSITY)
    u, states = u0, []
    for _ in range(4):
        u = solver(u, viscosity=VISCOSITY)
        u = u + network(u)
        states.append(u)
    assert trajectory.shape == (3, 4, 1, 16)
    assert torch.equal(trajectory, torch.stack(states, 1))
    assert_equal(weight_gradients(trajectory.square().sum(), network),
                 weight_gradients(torch.stack(states, 1).square().sum(), network))


def test_record_after_chooses_the_place_in_the_chain(u0, solver, network):
    step = Sequential(solver, Additive(network))
    after_solver = Rollout(step, 2, record_after=0)(u0, viscosity=VISCOSITY)
    after_network = Rollout(step, 2)(u0, viscosity=VISCOSITY)
    assert torch.equal(after_solver[:, 1], solver(after_network[:, 0], viscosity=VISCOSITY))
    with pytest.raises(ValueError, match="record_after is 2; give a whole number of -2 ... 1"):
        Rollout(step, 2, record_after=2)


def test_checkpointing_gives_the_same_gradient_bit_for_bit(u0, solver, network):
    step = Sequential(solver, GaussianNoise(0.1), Additive(network))
    gradients = []
    for checkpoint in (False, True):
        torch.manual_seed(3)
        trajectory = Rollout(step, 6, checkpoint=checkpoint)(u0, viscosity=VISCOSITY)
        gradients.append(weight_gradients(trajectory.square().mean(), network))
    assert_equal(*gradients)


def test_repeat_is_one_operator(u0, solver):
    three = repeat(solver, 3)
    expected = Rollout(solver, 6)(u0, viscosity=VISCOSITY)
    assert torch.equal(Rollout(three, 2)(u0, viscosity=VISCOSITY), expected[:, 2::3])
    assert torch.equal(three(u0, viscosity=VISCOSITY), expected[:, 2])
    assert torch.equal(repeat(solver, 1)(u0, viscosity=VISCOSITY), expected[:, 0])


def test_nested_chains_lie_flat_for_policies_and_recording(u0, solver, network):
    nested = Sequential(Sequential(solver), Sequential(Additive(network)))
    flat = Sequential(solver, Additive(network))
    for options in ({}, {"record_after": 0}, {"gradient": Truncated(1)}):
        a, b = (Rollout(step, 3, **options)(u0, viscosity=VISCOSITY) for step in (nested, flat))
        assert torch.equal(a, b)


def test_a_number_stands_for_one_value_per_sample(u0, solver):
    tensor = torch.full((3,), 0.02, dtype=torch.float64)
    assert torch.equal(Rollout(solver, 2)(u0, viscosity=0.02), Rollout(solver, 2)(u0, viscosity=tensor))


def test_parameters_reach_every_operator_that_takes_them(u0, solver):
    class Forcing(nn.Module):
        parameter_names = ("viscosity",)

        def forward(self, u, viscosity):
            return viscosity[:, None, None] * torch.ones_like(u)

    forced = Rollout(AdditiveRHS(solver, Forcing()), 1)(u0, viscosity=VISCOSITY)
    expected = solver(u0, viscosity=VISCOSITY, force=Forcing()(u0, VISCOSITY))
    assert torch.equal(forced[:, 0], expected)


@pytest.mark.parametrize("num_steps", [0, -1])
def test_num_steps_must_be_positive(solver, num_steps):
    with pytest.raises(ValueError, match="num_steps is"):
        Rollout(solver, num_steps)
    with pytest.raises(ValueError, match="num_steps is"):
        repeat(solver, num_steps)


def test_unknown_parameter_is_refused(u0, solver, network):
    with pytest.raises(ValueError, match="unknown parameter reynolds; it takes viscosity"):
        Rollout(Sequential(solver, Additive(network)), 1)(u0, viscosity=0.01, reynolds=100.0)


def test_missing_parameter_is_refused(u0, solver):
    with pytest.raises(ValueError, match="parameter viscosity is missing"):
        Rollout(solver, 1)(u0)


def test_a_state_with_nan_is_refused(u0, solver):
    u0[1, 0, 3] = float("nan")
    with pytest.raises(ValueError, match="initial state has 1 values that are NaN or infinite"):
        Rollout(solver, 1)(u0, viscosity=0.01)


def test_a_roll_out_that_blows_up_returns_what_it_computed(u0):
    """Blow-ups are counted by the evaluation, so the roll-out itself must not raise in the middle."""

    class Exploding(nn.Module):
        def forward(self, u):
            return u * 1e200

    trajectory = Rollout(Exploding(), 3)(u0)
    assert torch.isfinite(trajectory[:, 0]).all() and torch.isinf(trajectory[:, 2]).any()


def test_an_unstable_viscosity_is_refused_before_the_first_step(u0, solver):
    with pytest.raises(ValueError, match="viscosity"):
        Rollout(solver, 1)(u0, viscosity=10.0)


def test_a_number_takes_the_shape_of_its_parameter(u0, solver):
    forced = Rollout(solver, 2)(u0, viscosity=0.02, force=0.5)
    assert torch.equal(forced, Rollout(solver, 2)(u0, viscosity=0.02, force=torch.full_like(u0, 0.5)))


def test_an_unstable_initial_state_is_refused_wherever_the_solver_sits(u0, solver, network):
    for step in (solver, Sequential(GaussianNoise(0.1), solver), AdditiveRHS(solver, network), repeat(solver, 2)):
        with pytest.raises(ValueError, match="stable|need viscosity"):
            Rollout(step, 1)(1000 * u0, viscosity=0.01)


def test_a_state_that_the_network_makes_is_not_judged_by_its_input(u0, solver):
    class Still(nn.Module):
        def forward(self, u):
            return 0 * u

    assert torch.equal(Rollout(Sequential(Replace(Still()), solver), 1)(1000 * u0, viscosity=0.01), 0 * u0[:, None])


@pytest.mark.parametrize("state, error, message", [
    ([1.0, 2.0], TypeError, r"initial state is \[1.0, 2.0\]; give a tensor"),
    (torch.zeros(1, 1, 16, dtype=torch.long), TypeError, "torch.int64"),
    (torch.zeros(0, 1, 16), ValueError, "at least one sample"), (torch.zeros(3), ValueError, "it must be")])
def test_what_is_no_state_is_refused(solver, state, error, message):
    with pytest.raises(error, match=message):
        Rollout(solver, 1)(state, viscosity=0.01)


def test_an_empty_chain_is_refused():
    with pytest.raises(ValueError, match="empty chain"):
        Rollout(Sequential(), 1)


def test_operators_may_be_named_as_those_of_nn_sequential(u0, solver, network):
    named = Sequential(OrderedDict(P=solver, N=Additive(network)))
    assert torch.equal(named(u0, viscosity=VISCOSITY), Sequential(solver, Additive(network))(u0, viscosity=VISCOSITY))
    assert named.N.network is network
    with pytest.raises(TypeError, match="operator 0"):
        Sequential(OrderedDict(P=solver), OrderedDict(N=network))


@pytest.mark.parametrize("checkpoint, times", [(False, 1), (True, 2)])
def test_only_a_checkpointed_roll_out_computes_its_steps_again(u0, network, checkpoint, times):
    calls = []
    network.register_forward_pre_hook(lambda *_: calls.append(1))
    Rollout(Additive(network), 5, checkpoint=checkpoint)(u0).sum().backward()
    assert len(calls) == 5 * times


def test_a_state_may_have_no_axes_of_space():
    assert Rollout(nn.Identity(), 2)(torch.ones(3, 4)).shape == (3, 2, 4)


def test_the_initial_state_is_checked_whatever_else_the_chain_is_given(u0):
    fast = 1e3 * u0
    with pytest.raises(ValueError, match="Burgers"):
        Rollout(Burgers(16, 1.0, 0.004), 2)(fast, viscosity=VISCOSITY, force=torch.zeros_like(u0))
