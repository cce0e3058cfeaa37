"""The chain diagrams show what automatic differentiation does with the real solver and network."""

from collections import Counter

import pytest
import torch
from matplotlib.colors import to_hex

from dpbook_course.problems import kuramoto_sivashinsky as ks
from dpbook_utils import figures
from dpbook_utils.coupling import Additive, AdditiveRHS, Replace
from dpbook_utils.figures.chains import BACKWARD
from dpbook_utils.figures.diagram import Edge, Node, diagram
from dpbook_utils.gradients import FullGradient, NoSolverGradient, PhysicsPath, Pushforward, Truncated
from dpbook_utils.losses import TrajectoryLoss, at_steps, every_step, final_step
from dpbook_utils.networks import ConvResNet
from dpbook_utils.objectives import Objective, from_input, from_solver
from dpbook_utils.physics.burgers import Burgers
from dpbook_utils.rollout import Rollout, Sequential
from dpbook_utils.setups import Setup


class OddSteps(FullGradient):
    """A reader's own policy: the network of every other step runs without a graph."""

    def tracks(self, step, num_steps):
        return step % 2 == 0


def tap(passed: dict, edge_of_call, u):
    u = u * 1.0
    if u.requires_grad:
        u.retain_grad()
    passed[edge_of_call] = u
    return u


def real_gradients(objective: Objective, place_of: dict) -> set[Edge]:
    """Edges at which a gradient arrives when the real objective is differentiated, noted by wrapped methods."""
    passed, calls, last = {}, Counter(), {"node": Node(0)}

    def note(operator, part, start=None):
        """The edge into an operator's part at its current call."""
        end = Node(calls[operator], place_of[operator], part)
        return Edge(start or last["node"], end)

    for operator in place_of:
        if hasattr(operator, "couple"):
            def output(u, operator=operator, original=operator.output, **parameters):
                calls[operator] += 1
                return original(tap(passed, note(operator, "network"), u), **parameters)

            def couple(u, value, operator=operator, original=operator.couple, **parameters):
                here = Node(calls[operator], place_of[operator])
                if not isinstance(operator, Replace):
                    u = tap(passed, note(operator, "operator"), u)
                value = tap(passed, Edge(here._replace(part="network"), here), value)
                last["node"] = here
                return original(u, value, **parameters)

            operator.output, operator.couple = output, couple
        else:
            def step(u, operator=operator, original=operator.step, **parameters):
                calls[operator] += 1
                u = tap(passed, note(operator, "operator"), u)
                last["node"] = Node(calls[operator], place_of[operator])
                return original(u, **parameters)

            operator.step = step

    original_loss, num_steps = objective.loss.forward, objective.rollout.num_steps

    def loss(trajectory, reference):
        states = [tap(passed, Edge(Node(k + 1, objective.rollout.record_after), Node(k + 1, part="loss")), u)
                  for k, u in enumerate(trajectory.unbind(1))]
        return original_loss(torch.stack(states, 1), reference)

    objective.loss.forward = loss
    data = ks.trajectories("validation")
    objective(data.states[:2, 0], data.states[:2, 1:num_steps + 1], length=data.length[:2]).backward()
    return {edge for edge, u in passed.items() if u.grad is not None and u.grad.abs().max() > 0}


POLICIES = [FullGradient(), Truncated(1), Truncated(2), NoSolverGradient(), Pushforward(), PhysicsPath(), OddSteps()]


def network(seed=0):
    return ks.network(seed, 4, 1)


@pytest.mark.parametrize("policy", POLICIES, ids=repr)
@pytest.mark.parametrize("num_steps", [1, 3])
@pytest.mark.parametrize("placement", [every_step, final_step, at_steps(1)], ids=["every", "final", "first"])
def test_an_edge_is_drawn_with_a_gradient_if_one_flows(policy, num_steps, placement):
    solver, coupling = ks.coarse_solver(), Additive(network())
    objective = Setup(num_steps, placement, policy).objective(Sequential(solver, coupling))
    if any(w and not policy.tracks(k, num_steps) for k, w in enumerate(placement(num_steps))):
        pytest.skip("Objective refuses a loss where no graph is built")
    found = diagram(objective)
    assert found.gradient == real_gradients(objective, {solver: 0, coupling: 1})


@pytest.mark.parametrize("make", [
    lambda P, N: Sequential(Additive(N), P), lambda P, N: Sequential(Replace(N), P),
    lambda P, N: Sequential(P, Replace(N)), lambda P, N: Sequential(Additive(N))],
    ids=["N P", "replace P", "P replace", "N"])
@pytest.mark.parametrize("policy", [FullGradient(), PhysicsPath(), Truncated(2)], ids=repr)
def test_other_chains_too(make, policy):
    step = make(ks.coarse_solver(), network())
    objective = Objective(Rollout(step, 3, gradient=policy), TrajectoryLoss(every_step))
    found = diagram(objective)
    assert found.gradient == real_gradients(objective, {operator: i for i, operator in enumerate(step)})


def edges(start_place, end_place, part, steps):
    return {Edge(Node(k, start_place), Node(k, end_place, part)) for k in steps}


@pytest.mark.parametrize("setup, cut", [
    (Setup(3), set()),
    (Setup(1, gradient=NoSolverGradient()), set()),
    (Setup(3, gradient=NoSolverGradient()), edges(0, 1, "operator", (2, 3)) | edges(0, 1, "network", (2, 3))),
    (Setup(3, gradient=PhysicsPath()), edges(0, 1, "network", (2, 3))),
    (Setup(3, final_step, Pushforward()), {Edge(Node(2, 1), Node(3, 0))}),
    (Setup(5, gradient=Truncated(2)), {Edge(Node(2, 1), Node(3, 0)), Edge(Node(4, 1), Node(5, 0))}),
    (Setup(3, at_steps(1), Truncated(1)), set())])  # nothing comes from behind, so nothing is cut
def test_the_cut_is_where_the_policy_puts_it(setup, cut):
    assert diagram(setup.objective(ks.hybrid(network()))).cut == cut


def test_a_cut_takes_gradient_away_and_nothing_else():
    full = diagram(Setup(3).objective(ks.hybrid(network())))
    for policy in POLICIES:
        found = diagram(Setup(3, final_step, policy).objective(ks.hybrid(network())))
        assert found.edges <= full.edges and found.gradient <= full.gradient and not found.cut & found.gradient
    assert full.tracked == (True,) * 3 and diagram(
        Setup(3, final_step, Pushforward()).objective(ks.hybrid(network()))).tracked == (False, False, True)


def test_the_gradient_through_targets_is_shown():
    step, fine = ks.hybrid(network()), ks.reference_solver()
    detached = diagram(Setup(2).objective(step, from_solver(fine)))
    edge = Edge(Node(1, 1), Node(2, part="target"))
    assert detached.target == "solver" and edge in detached.edges - detached.gradient
    assert edge in diagram(Setup(2).objective(step, from_solver(fine, detach=False))).gradient
    assert diagram(Setup(2).objective(step, from_input)).target == "input"
    assert diagram(Setup(2).objective(step, lambda *batch: batch[2])).target == "other"


def test_long_unrolls_show_their_ends_and_the_first_cut():
    step = ks.hybrid(network())
    assert diagram(Setup(8).objective(step)).shown == (1, 2, 8)
    assert diagram(Setup(8, gradient=Truncated(4)).objective(step)).shown == (1, 4, 5, 8)
    assert diagram(Setup(8, final_step, Pushforward()).objective(step)).shown == (1, 7, 8)


def test_a_network_inside_the_solver_cannot_be_cut_from_it():
    burgers = Burgers(16, 1.0, 0.01)
    step = Sequential(AdditiveRHS(burgers, ConvResNet(1, 1, 1, width=4, num_blocks=1)))
    assert diagram(Objective(Rollout(step, 2), TrajectoryLoss(every_step))).operators == ("inside",)
    with pytest.raises(ValueError, match="holds a solver and a network"):
        diagram(Objective(Rollout(step, 2, gradient=NoSolverGradient()), TrajectoryLoss(every_step)))


def test_the_picture_shows_the_diagram():
    step = ks.hybrid(network())
    objectives = {"WIG-2": Setup(2).objective(step), "NOG-2": Setup(2, gradient=NoSolverGradient()).objective(step)}
    axis, = figures.chains(objectives).axes
    backward = [patch for patch in axis.patches if to_hex(patch.get_edgecolor()) == BACKWARD.lower()]
    # WIG-2: of each step L -> u, u -> N (2 lines); between them u1 -> P, P -> fork, fork -> +, and N's own input.
    assert len(backward) == (2 * 3 + 4) + 2 * 3
    crosses = [line for line in axis.get_lines() if line.get_marker() == "x"]
    assert len(crosses) == 1  # of the two edges behind the second P, on their common line
    written = {text.get_text() for text in axis.texts}
    assert {*objectives, "FullGradient()", "NoSolverGradient()", "P", "N", "+", "L/2", "$u_{2}$", "$r_{1}$"} <= written


def test_every_kind_of_chain_can_be_drawn():
    step, burgers = ks.hybrid(network()), Burgers(16, 1.0, 0.01)
    inside = Sequential(AdditiveRHS(burgers, ConvResNet(1, 1, 1, width=4, num_blocks=1)))
    objectives = {
        "noise": Setup(sigma=0.1).objective(step),
        "diverted": Setup(3).objective(step, from_solver(ks.reference_solver())),
        "pushforward": Setup(8, final_step, Pushforward()).objective(step),
        "N then P": Objective(Rollout(Sequential(Replace(network()), ks.coarse_solver()), 1),
                              TrajectoryLoss(final_step), targets=from_input),
        "inside": Objective(Rollout(inside, 2), TrajectoryLoss(every_step)),
        "before P": Objective(Rollout(Sequential(Additive(network()), ks.coarse_solver()), 2, record_after=0),
                              TrajectoryLoss(every_step))}
    axis, = figures.chains(objectives).axes
    assert {"ξ", "R", "no graph", "···", "$u_0$"} <= {text.get_text() for text in axis.texts}
