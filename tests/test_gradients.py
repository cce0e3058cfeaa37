"""Gradient policies against hand-written loops, and the facts that the composition exposes. float64 throughout."""

import pytest
import torch
from torch import nn

from dpbook_utils.coupling import Additive, AdditiveRHS, SolverParameter
from dpbook_utils.gradients import FullGradient, NoSolverGradient, PhysicsPath, Pushforward, Truncated
from dpbook_utils.losses import TrajectoryLoss, at_steps, every_step, final_step
from dpbook_utils.objectives import NoGradientPath, Objective
from dpbook_utils.physics.burgers import Burgers
from dpbook_utils.physics.trace import trace
from dpbook_utils.rollout import Rollout, Sequential

VISCOSITY = 0.02
NUM_STEPS = 4


@pytest.fixture
def u0():
    return torch.randn(2, 1, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def reference():
    return torch.randn(2, NUM_STEPS, 1, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def solver(u0):
    return trace(Burgers(12, 1.0, 0.01), u0, viscosity=VISCOSITY)


@pytest.fixture
def network():
    torch.manual_seed(2)
    return nn.Sequential(nn.Conv1d(1, 3, 3, padding=1), nn.Tanh(), nn.Conv1d(3, 1, 3, padding=1)).double()


def gradients(network, loss):
    return torch.autograd.grad(loss, list(network.parameters()))


def objective(step, policy=FullGradient(), weights=every_step, num_steps=NUM_STEPS):
    return Objective(Rollout(step, num_steps, gradient=policy), TrajectoryLoss(weights))


def equal(found, expected):
    return all(torch.equal(f, e) for f, e in zip(found, expected, strict=True))


def close(found, expected, tolerance=1e-13):
    return all((f - e).abs().max() <= tolerance * e.abs().max() for f, e in zip(found, expected, strict=True))


POLICIES = [FullGradient(), Truncated(1), Truncated(2), NoSolverGradient(), Pushforward(), PhysicsPath()]


@pytest.mark.parametrize("policy", POLICIES, ids=repr)
def test_policies_change_no_value(u0, solver, network, policy):
    step = Sequential(solver, Additive(network))
    expected = Rollout(step, NUM_STEPS)(u0, viscosity=VISCOSITY)
    assert torch.equal(Rollout(step, NUM_STEPS, gradient=policy)(u0, viscosity=VISCOSITY), expected)


def by_hand(policy, u, reference, solver, network):
    """The unrolled loss with every cut written out."""
    losses = []
    for k in range(NUM_STEPS):
        if isinstance(policy, Truncated) and k > 0 and k % policy.every == 0:
            u = u.detach()
        if isinstance(policy, Pushforward) and k < NUM_STEPS - 1:
            with torch.no_grad():
                u = solver(u, viscosity=VISCOSITY)
                u = u + network(u)
        else:
            u = solver(u, viscosity=VISCOSITY)
            if isinstance(policy, NoSolverGradient):
                u = u.detach()
            u = u + network(u.detach() if isinstance(policy, PhysicsPath) else u)
        losses.append((u - reference[:, k]).square().mean())
    return losses[-1] if isinstance(policy, Pushforward) else sum(losses) / NUM_STEPS


@pytest.mark.parametrize("policy", POLICIES, ids=repr)
def test_gradient_equals_the_loop_written_out(u0, reference, solver, network, policy):
    placement = final_step if isinstance(policy, Pushforward) else every_step
    found = objective(Sequential(solver, Additive(network)), policy, placement)(u0, reference, viscosity=VISCOSITY)
    expected = by_hand(policy, u0, reference, solver, network)
    assert torch.allclose(found, expected, rtol=1e-14)
    assert close(gradients(network, found), gradients(network, expected))


def test_one_step_with_the_solver_first_is_training_on_stored_data(u0, reference, solver, network):
    """P then N: the same gradient as from stored P(u0), bit for bit, and no graph is built through P."""
    calls = []

    class Watched(nn.Module):
        parameter_names = ("viscosity",)

        def forward(self, u, **parameters):
            u_next = solver(u, **parameters)
            calls.append(u_next.requires_grad)
            return u_next

    target = reference[:, :1]
    on_the_fly = objective(Sequential(Watched(), Additive(network)), num_steps=1)(u0, target, viscosity=VISCOSITY)
    stored = solver(u0, viscosity=VISCOSITY).detach()
    from_store = objective(Additive(network), num_steps=1)(stored, target)
    assert equal(gradients(network, on_the_fly), gradients(network, from_store))
    assert calls == [False]


def test_cutting_at_the_solver_is_truncation_after_every_step_if_the_network_acts_last(u0, reference, solver, network):
    step = Sequential(solver, Additive(network))
    found = {name: gradients(network, objective(step, policy)(u0, reference, viscosity=VISCOSITY))
             for name, policy in {"nog": NoSolverGradient(), "every": Truncated(1), "full": FullGradient()}.items()}
    assert equal(found["nog"], found["every"])
    assert not close(found["nog"], found["full"], tolerance=1e-3)


def test_cutting_at_the_solver_changes_nothing_for_one_step(u0, reference, solver, network):
    step = Sequential(solver, Additive(network))
    nog, full = (gradients(network, objective(step, policy, num_steps=1)(u0, reference, viscosity=VISCOSITY))
                 for policy in (NoSolverGradient(), FullGradient()))
    assert equal(nog, full)


def test_cutting_at_the_solver_with_solver_and_loss_last_is_refused(u0, reference, solver, network):
    step = Sequential(Additive(network), solver)
    with pytest.raises(NoGradientPath, match="record_after"):
        objective(step, NoSolverGradient(), final_step)(u0, reference, viscosity=VISCOSITY)
    rollout = Rollout(step, NUM_STEPS, gradient=NoSolverGradient(), record_after=0)
    remedy = Objective(rollout, TrajectoryLoss(every_step))
    assert any(g.abs().max() > 0 for g in gradients(network, remedy(u0, reference, viscosity=VISCOSITY)))


def network_sets_viscosity(solver, network):
    one_number = nn.Sequential(network, nn.Flatten(), nn.Linear(12, 1).double(), nn.Flatten(0))
    return SolverParameter(solver, one_number, "viscosity")


@pytest.mark.parametrize("couple", [AdditiveRHS, network_sets_viscosity])
def test_cutting_at_the_solver_is_refused_where_the_network_acts_through_it(u0, solver, network, couple):
    with pytest.raises(ValueError, match="only through the solver"):
        step = couple(solver, network)
        parameters = {} if isinstance(step, SolverParameter) else {"viscosity": VISCOSITY}
        Rollout(step, 2, gradient=NoSolverGradient())(u0, **parameters)


def test_a_solver_inside_another_module_is_cut_too(u0, reference, solver, network):
    class Wrapped(nn.Module):
        parameter_names = ("viscosity",)

        def __init__(self, *operators):
            super().__init__()
            self.operators = nn.ModuleList(operators)

        def forward(self, u, viscosity):
            for operator in self.operators:
                u = operator(u, viscosity=viscosity) if operator is solver else operator(u)
            return u

    wrapped, plain = (gradients(network, objective(Sequential(p, Additive(network)), NoSolverGradient())(
        u0, reference, viscosity=VISCOSITY)) for p in (Wrapped(solver), solver))
    assert equal(wrapped, plain)
    with pytest.raises(ValueError, match="Wrapped: it holds a solver and a network"):
        objective(Wrapped(solver, network), NoSolverGradient())(u0, reference, viscosity=VISCOSITY)


def test_pushforward_is_the_one_step_gradient_at_the_pushed_state(u0, reference, solver, network):
    step = Sequential(solver, Additive(network))
    found = objective(step, Pushforward(), final_step)(u0, reference, viscosity=VISCOSITY)
    with torch.no_grad():
        pushed = Rollout(step, NUM_STEPS - 1)(u0, viscosity=VISCOSITY)[:, -1]
    one = objective(step, num_steps=1)(pushed, reference[:, -1:], viscosity=VISCOSITY)
    assert close(gradients(network, found), gradients(network, one), tolerance=1e-15)


@pytest.mark.parametrize("weights", [every_step, at_steps(1, 2)])
def test_a_loss_on_a_step_without_a_graph_is_refused(u0, reference, solver, network, weights):
    goal = objective(Sequential(solver, Additive(network)), Pushforward(), weights)
    with pytest.raises(ValueError, match="loss weighs step 1 of 4"):
        goal(u0, reference, viscosity=VISCOSITY)
    with torch.no_grad():
        assert torch.isfinite(goal(u0, reference, viscosity=VISCOSITY))


def test_physics_path_must_see_the_network(u0, reference, solver, network):
    with pytest.raises(ValueError, match="cannot see the network inside Conv1d"):
        objective(Sequential(solver, network), PhysicsPath())(u0, reference, viscosity=VISCOSITY)


def test_zero_weights_are_no_pushforward(u0, reference, solver, network):
    """A loss on the last step alone still runs back through every step: its gradient is another one."""
    step = Sequential(solver, Additive(network))
    zero_weights, pushforward = (
        gradients(network, objective(step, policy, final_step)(u0, reference, viscosity=VISCOSITY))
        for policy in (FullGradient(), Pushforward()))
    assert not close(zero_weights, pushforward, tolerance=1e-3)


def test_chain_rule_with_explicit_jacobians_equals_autograd(u0, reference, solver, network):
    """dL/dtheta = sum_k dL/du_k sum_j (prod_{i=j+1..k} J_i) du_j/dtheta, with every Jacobian formed."""
    u0, target = u0[:1], reference[:1]
    solver(u0, viscosity=VISCOSITY)  # record the graph for batch 1 before functorch transforms it
    step = Sequential(solver, Additive(network))
    n = u0.numel()
    names = [name for name, _ in network.named_parameters()]
    weights = tuple(p.detach() for p in network.parameters())

    def one_step(u, *weights):
        u = solver(u.view(1, 1, n), viscosity=VISCOSITY)
        return (u + torch.func.functional_call(network, dict(zip(names, weights)), (u,))).flatten()

    u, sensitivity, total = u0.flatten(), None, None
    for k in range(NUM_STEPS):
        jacobian_u, *jacobian_w = torch.func.jacrev(one_step, argnums=tuple(range(len(weights) + 1)))(u, *weights)
        direct = torch.cat([j.flatten(1) for j in jacobian_w], 1)  # (n, weights)
        sensitivity = direct if sensitivity is None else jacobian_u @ sensitivity + direct
        u = one_step(u, *weights)
        dloss_du = 2 * (u - target[0, k].flatten()) / n / NUM_STEPS
        total = dloss_du @ sensitivity if total is None else total + dloss_du @ sensitivity
    found = gradients(network, objective(step)(u0, target, viscosity=VISCOSITY))
    assert close([torch.cat([g.flatten() for g in found])], [total])


def test_objective_gradient_equals_finite_differences(u0, reference, solver, network):
    goal = objective(Sequential(solver, Additive(network)))
    flat = torch.nn.utils.parameters_to_vector(network.parameters()).detach()
    direction = torch.randn(flat.shape, dtype=flat.dtype, generator=torch.Generator().manual_seed(5))

    def loss_at(vector):
        torch.nn.utils.vector_to_parameters(vector, network.parameters())
        return goal(u0, reference, viscosity=VISCOSITY)

    slope = torch.cat([g.flatten() for g in gradients(network, loss_at(flat))]) @ direction
    step = 1e-5
    difference = (loss_at(flat + step * direction) - loss_at(flat - step * direction)) / (2 * step)
    assert abs(slope - difference) < 1e-7 * abs(slope)


def test_truncation_length_must_be_positive():
    with pytest.raises(ValueError, match="every is 0"):
        Truncated(0)
