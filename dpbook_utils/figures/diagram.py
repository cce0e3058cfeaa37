"""What the diagram of a set-up shows: its operators, and along which of its edges a gradient flows.

Nothing here knows the names of set-ups. The objective's own gradient policy, loss placement and targets act on a chain
of stand-ins, one number each in place of a solver, a network or noise, and automatic differentiation says what arrived.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..coupling import Additive, Coupling, Multiplicative, Replace, SolverCoupling
from ..gradients import FullGradient
from ..noise import GaussianNoise
from ..objectives import Objective, from_batch, from_input
from ..physics.solver import Solver, solvers
from ..rollout import Rollout, operators


class Node(NamedTuple):
    """A part of one step, counted from 1, or the initial state ``Node(0)``.

    ``part`` is ``operator`` or ``network`` (at a place of the step's chain), ``loss`` or ``target``.
    """

    step: int
    place: int = 0
    part: str = "operator"


class Edge(NamedTuple):
    start: Node
    end: Node


@dataclass(frozen=True)
class Diagram:
    """A set-up as drawn.

    Attributes:
        num_steps: unroll length m.
        operators: the step's chain: ``solver``, ``noise``, ``+``, ``×``, ``replace`` (couplings), ``inside`` (a
            network inside a solver's call) or ``other``.
        recorded: place in the chain whose output the loss sees.
        edges: all edges on which numbers move forward.
        gradient: those on which the loss's gradient comes back in training, on its way to a weight.
        cut: those at which the policy stops it.
        tracked: for each step, whether a graph is built.
        weights: of the loss, for each step.
        policy: its ``repr``.
        target: ``batch``, ``input``, ``solver`` or ``other``.
        shown: the steps worth drawing: all up to four, else the ends and what lies around the first cut.
    """

    num_steps: int
    operators: tuple[str, ...]
    recorded: int
    edges: frozenset[Edge]
    gradient: frozenset[Edge]
    cut: frozenset[Edge]
    tracked: tuple[bool, ...]
    weights: tuple[float, ...]
    policy: str
    target: str
    shown: tuple[int, ...]


def diagram(objective: Objective) -> Diagram:
    """The diagram of an objective.   Raises: what the policy raises for a chain that it cannot cut."""
    rollout, policy = objective.rollout, objective.rollout.gradient
    # With a weight everywhere, a gradient is wherever one would arrive, were there something to train before.
    everywhere = _probe(objective, policy, True)
    arrives = {edge.start for edge, u in everywhere.items() if _arrived(u)}
    uncut = _probe(objective, FullGradient(), False)
    cut = frozenset(edge for edge, u in everywhere.items()
                    if _arrived(uncut[edge]) and not u.requires_grad and edge.end in arrives)
    trained = _probe(objective, policy, False)
    num_steps = rollout.num_steps
    return Diagram(
        num_steps, tuple(map(kind, operators(rollout.step))), rollout.record_after, frozenset(trained),
        frozenset(edge for edge, u in trained.items() if _arrived(u)), cut,
        tuple(policy.tracks(k, num_steps) for k in range(num_steps)),
        tuple(objective.loss.weights_for(num_steps).tolist()), repr(policy), _target(objective), _shown(num_steps, cut))


def _arrived(u: Tensor) -> bool:
    """All weights are 1, so that nothing cancels: a gradient of zero did not come from the loss."""
    return u.grad is not None and bool(u.grad.any())


def kind(operator: nn.Module) -> str:
    if isinstance(operator, Coupling):
        known = {Additive: "+", Multiplicative: "×", Replace: "replace", SolverCoupling: "inside"}
        return next((name for cls, name in known.items() if isinstance(operator, cls)), "other")
    if isinstance(operator, GaussianNoise):
        return "noise"
    return "solver" if next(solvers(operator), None) is not None else "other"


def _target(objective: Objective) -> str:
    known = {from_batch: "batch", from_input: "input"}
    return "solver" if hasattr(objective.targets, "solver") else known.get(objective.targets, "other")


def _shown(num_steps: int, cut: frozenset[Edge]) -> tuple[int, ...]:
    if num_steps <= 4:
        return tuple(range(1, num_steps + 1))
    first = min((edge.end.step for edge in cut if edge.end.step > 1), default=2)
    return tuple(sorted({1, max(first - 1, 1), first, num_steps}))


def _probe(objective: Objective, policy: FullGradient, everywhere: bool) -> dict[Edge, Tensor]:
    """``{edge: the number that passed it}`` after a backward pass.

    Args:
        everywhere: every operator has a weight, those that have none in truth a hidden one.
    """
    rollout, targets = objective.rollout, objective.targets
    places = [_Place(i, operator, everywhere) for i, operator in enumerate(operators(rollout.step))]
    passed: dict[Edge, Tensor] = {}
    last = Node(0)

    def pass_on(end: Node, u: Tensor, start: Node | None = None) -> Tensor:
        """Note a number on its way to a node, by default from the operator that ran last."""
        nonlocal last
        u = u * 1.0
        if u.requires_grad:
            u.retain_grad()
        passed[Edge(start or last, end)] = u
        if end.part == "operator":
            last = end
        return u

    chain = nn.Sequential(*[place.stand_in(pass_on) for place in places])
    states = Rollout(chain, rollout.num_steps, gradient=policy, record_after=rollout.record_after)(torch.ones(1, 1))
    loss = torch.zeros(())
    for k, weight in enumerate(objective.loss.weights_for(rollout.num_steps).tolist(), start=1):
        if weight != 0:
            loss = loss + pass_on(Node(k, part="loss"), states[:, k - 1], Node(k, rollout.record_after)).sum()
            if _target(objective) == "solver" and k > 1:
                start = states[:, k - 2].detach() if targets.detach else states[:, k - 2]
                before = Node(k - 1, rollout.record_after)
                loss = loss + pass_on(Node(k, part="target"), start, before).sum()
    if loss.requires_grad:
        loss.backward()
    return passed


class _Place:
    """One operator of the chain: what stands in for it, and how often that was called."""

    def __init__(self, place: int, operator: nn.Module, everywhere: bool):
        self.place, self.operator, self.everywhere, self.calls = place, operator, everywhere, 0

    def stand_in(self, pass_on) -> nn.Module:
        trainable = any(w.requires_grad for w in self.operator.parameters())
        weight = _Weight(trainable, trainable or self.everywhere)
        made = (_CouplingStandIn if isinstance(self.operator, Coupling) else _OperatorStandIn)(self, weight, pass_on)
        if kind(self.operator) in ("solver", "inside"):
            made.solver = Solver(1.0, (1,))  # what policies look for
        return made

    def node(self, part: str = "operator") -> Node:
        return Node(self.calls, self.place, part)


class _Weight(nn.Module):
    """Multiplies by a weight. Policies may look at ``parameters()``: one that the original does not have is hidden."""

    def __init__(self, trainable: bool, needs_gradient: bool):
        super().__init__()
        weight = torch.ones((), requires_grad=needs_gradient)
        self.values = nn.ParameterList([weight]) if trainable else [weight]

    def forward(self, u: Tensor) -> Tensor:
        return u * self.values[0]


class _OperatorStandIn(nn.Module):
    def __init__(self, place: _Place, weight: _Weight, pass_on):
        super().__init__()
        self.place, self.weight, self.pass_on = place, weight, pass_on

    def forward(self, u: Tensor) -> Tensor:
        self.place.calls += 1
        return self.weight(self.pass_on(self.place.node(), u))


class _CouplingStandIn(Coupling):
    def __init__(self, place: _Place, weight: _Weight, pass_on):
        super().__init__(weight)
        self.place, self.pass_on = place, pass_on

    def output(self, u: Tensor, **parameters: Tensor) -> Tensor:
        self.place.calls += 1
        return self.network(self.pass_on(self.place.node("network"), u))

    def couple(self, u: Tensor, output: Tensor, **parameters: Tensor) -> Tensor:
        here = self.place.node()
        if kind(self.place.operator) == "replace":
            return self.pass_on(here, output, self.place.node("network"))
        return self.pass_on(here, u) + self.pass_on(here, output, self.place.node("network"))
