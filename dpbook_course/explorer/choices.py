"""What the playground offers, and what does not go together.   Chapters: 03_unrolling, 04_coupling."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from dpbook_utils import arguments
from dpbook_utils.coupling import Additive, Replace
from dpbook_utils.gradients import FullGradient, NoSolverGradient, PhysicsPath, Pushforward, Truncated
from dpbook_utils.losses import every_step, final_step
from dpbook_utils.objectives import Objective
from dpbook_utils.physics.advection import Interpolated
from dpbook_utils.rollout import Sequential
from dpbook_utils.setups import WARM_UP, Setup, warm_up

from ..studies.e05.coupling import COUPLINGS
from .problems import PROBLEMS, Playable


@dataclass(frozen=True)
class Composition:
    """One way to put solver P and network N into a step.

    Attributes:
        text: the step in words and symbols.   code: in Python.   build: ``(P, N) -> step``.
        sets: parameter of the solver that the network provides, if any; both are then one operator.
        solver_last: True if a solver without a network ends the step.
        channels: of the network's output.
    """

    text: str
    code: str
    build: Callable[[nn.Module, nn.Module], nn.Module]
    sets: str | None = None
    solver_last: bool = False
    channels: int = 1


COMPOSITIONS = {
    "additive": Composition("P, then u + N(u)", "Sequential(P, Additive(N))", COUPLINGS["additive"]),
    "multiplicative": Composition("P, then u (1 + N(u))", "Sequential(P, Multiplicative(N))",
                                  COUPLINGS["multiplicative"]),
    "replace": Composition("P, then N(u) in place of u", "Sequential(P, Replace(N))",
                           lambda P, N: Sequential(P, Replace(N))),
    "additive, N first": Composition("u + N(u), then P", "Sequential(Additive(N), P)", COUPLINGS["additive, N first"],
                                     solver_last=True),
    "multiplicative, N first": Composition("u (1 + N(u)), then P", "Sequential(Multiplicative(N), P)",
                                           COUPLINGS["multiplicative, N first"], solver_last=True),
    "right-hand side": Composition("P with the force N(u)", "AdditiveRHS(P, N)", COUPLINGS["right-hand side"], "force"),
    "viscosity": Composition(
        "P with a local viscosity from N(u)", 'SolverParameter(P, N, "local_viscosity", bounded_viscosity)',
        COUPLINGS["viscosity"], "local_viscosity"),
    "interpolation": Composition(
        "P with weights from N(u)", 'SolverParameter(P, N, "interpolation", as_it_is)',
        COUPLINGS["interpolation"], "interpolation", channels=len(Interpolated.offsets)),
    "no solver": Composition("u + N(u), without P", "Sequential(Additive(N))", lambda P, N: Sequential(Additive(N))),
}
GRADIENTS = {
    "full": FullGradient(), "cut every 2 steps": Truncated(2), "not through the solver": NoSolverGradient(),
    "last step only": Pushforward(), "through the solver only": PhysicsPath(),
}
PLACEMENTS = {"every step": every_step, "final step": final_step}
UNROLLS = (1, 2, 3, 4, 6, 8, 12, 16)
NOISES = (0.0, 0.003, 0.01, 0.03, 0.1)
BUDGETS = (100, 300, 1000, 3000)
LEARNING_RATE = 3e-3


@dataclass(frozen=True)
class Choices:
    """One position of all controls.

    Attributes:
        pde: a key of ``PROBLEMS``.   coupling: of ``COMPOSITIONS``.   gradient: of ``GRADIENTS``.
        placement: of ``PLACEMENTS``.
        num_steps: unroll length m, one of ``UNROLLS``.
        noise: on the state that enters each step, in standard deviations of the data; one of ``NOISES``.
        budget: number of updates, one of ``BUDGETS``.

    Raises: ValueError for a value that is not offered.
    """

    pde: str = "Kuramoto-Sivashinsky"
    coupling: str = "additive"
    num_steps: int = 4
    gradient: str = "full"
    placement: str = "every step"
    noise: float = 0.0
    budget: int = 300

    def __post_init__(self):
        for name, offered in OFFERED.items():
            arguments.choice("Playground", name, getattr(self, name), offered)

    @property
    def problem(self) -> Playable:
        return PROBLEMS[self.pde]

    @property
    def composition(self) -> Composition:
        return COMPOSITIONS[self.coupling]

    @property
    def setup(self) -> Setup:
        curriculum = None if self.num_steps == 1 else warm_up(self.num_steps)
        return Setup(self.num_steps, PLACEMENTS[self.placement], GRADIENTS[self.gradient],
                     sigma=self.noise * self.problem.deviation, learning_rate=LEARNING_RATE, curriculum=curriculum)

    def step(self, seed: int = 0) -> nn.Module:
        """The chain with an untrained network."""
        problem, composition = self.problem, self.composition
        return composition.build(problem.solver(), problem.network(seed, composition.channels))

    def objective(self, step: nn.Module) -> Objective:
        return self.setup.objective(step)

    @property
    def code(self) -> str:
        """The set-up as a line of Python, as the chapters write it."""
        step, gradient = self.composition.code, GRADIENTS[self.gradient]
        if self.noise:
            step = f"Sequential(GaussianNoise({self.setup.sigma:.3g}), {step})"
        policy = "" if gradient is GRADIENTS["full"] else f", gradient={gradient!r}"
        placement = PLACEMENTS[self.placement].__name__
        return f"Objective(Rollout({step}, {self.num_steps}{policy}), TrajectoryLoss({placement}))"


OFFERED = {"pde": tuple(PROBLEMS), "coupling": tuple(COMPOSITIONS), "num_steps": UNROLLS, "gradient": tuple(GRADIENTS),
           "placement": tuple(PLACEMENTS), "noise": NOISES, "budget": BUDGETS}


def objection(choices: Choices) -> str | None:
    """Why these choices cannot be trained, and what to change; None if they can."""
    composition, gradient = choices.composition, GRADIENTS[choices.gradient]
    takes = choices.problem.takes
    if composition.sets is not None and composition.sets not in takes:
        others = " or ".join(name for name, other in PROBLEMS.items() if composition.sets in other.takes)
        return (f"The {choices.pde} solver takes no {composition.sets.replace('_', ' ')} (it takes "
                f"{', '.join(takes)}), so the network has nothing to set. Choose {others}, or a coupling that acts on "
                "the state, such as additive.")
    if isinstance(gradient, NoSolverGradient) and composition.sets is not None:
        return ("Here the network acts inside the solver's call, and its output reaches the loss only through the "
                "solver. With the gradient cut there, nothing would be left to train it. Choose another gradient "
                "policy, or a coupling that lets the network act after the solver, such as additive.")
    if isinstance(gradient, NoSolverGradient) and composition.solver_last:
        return ("The solver is the last operator of the step and its gradient is cut, so no path leads from the "
                "network to the loss. Let the network act last (additive), or let the gradient through the solver "
                "(full).")
    if isinstance(gradient, Pushforward) and PLACEMENTS[choices.placement] is every_step and choices.num_steps > 1:
        return (f"With this policy only the last of the {choices.num_steps} steps has a gradient. A loss at the "
                "earlier ones would change the number that is printed and nothing that is learnt. Place the loss at "
                "the final step, or choose another gradient policy.")
    return None


def remarks(choices: Choices) -> list[str]:
    """What is worth knowing before training: choices that make no difference here."""
    gradient, m = GRADIENTS[choices.gradient], choices.num_steps
    found = []
    if m == 1 and (choices.gradient, choices.placement) != ("full", "every step"):
        found.append("With one step there is nothing to cut and one place for the loss: all gradient policies and both "
                     "placements are the same training.")
    elif isinstance(gradient, Truncated) and m <= gradient.every:
        found.append(f"The roll-out has {m} steps, so a cut every {gradient.every} steps cuts nothing: this is the "
                     "full gradient.")
    elif choices.coupling == "no solver" and isinstance(gradient, NoSolverGradient):
        found.append("Without a solver in the chain there is no solver to cut: this is the full gradient.")
    elif choices.coupling == "no solver" and isinstance(gradient, PhysicsPath):
        found.append("Without a solver the gradient has one path from step to step, the identity in u + N(u).")
    elif choices.coupling == "additive" and isinstance(gradient, NoSolverGradient):
        found.append("With the network last, this cuts the gradient between any two steps: the unrolling gives the "
                     "states, and no feedback.")
    if m > 1:
        found.append(f"The first {WARM_UP:.0%} of the updates unroll one step, the rest {m}.")
    return found
