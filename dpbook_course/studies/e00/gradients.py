"""E00: is the gradient of every solver the derivative of its values?   Chapter: 00_solver_as_operator.

Central differences in double precision against the backward pass: for the recorded solver alone, by its state and all
of its parameters, and for a network that stands before the solver in a chain of two steps, by the network's weights.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.utils import parameters_to_vector

from dpbook_utils.coupling import Additive
from dpbook_utils.diagnostics import gradient_check
from dpbook_utils.networks import ConvResNet
from dpbook_utils.physics.advection import central, interpolated, semi_lagrangian, upwind
from dpbook_utils.physics.advection_diffusion import AdvectionDiffusion
from dpbook_utils.physics.burgers import Burgers
from dpbook_utils.physics.kuramoto_sivashinsky import KuramotoSivashinsky, etd1, etdrk2
from dpbook_utils.physics.navier_stokes import NavierStokes, mac_cormack
from dpbook_utils.physics.navier_stokes import semi_lagrangian as staggered_semi_lagrangian
from dpbook_utils.physics.solver import Solver
from dpbook_utils.physics.trace import trace
from dpbook_utils.physics.wake import Wake
from dpbook_utils.rollout import Rollout, Sequential

from ...experiments.spec import Specification, Task
from .design import SOLVERS, TOLERANCE

NUM_STEPS, WIDTH, NUM_BLOCKS = 2, 4, 1  # of the chain with a network


class Case(NamedTuple):
    """A solver with a state and parameters in float64 to check it on."""

    solver: Solver
    u: Tensor
    parameters: dict[str, Tensor]


def cases(seed: int = 0) -> dict[str, Case]:
    """Every solver and scheme of the package, each with all of its parameters, on two different samples."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=torch.float64, generator=generator)

    def values(*numbers: float) -> Tensor:
        return torch.tensor(numbers, dtype=torch.float64)

    u, force = 0.5 * random(2, 1, 32), random(2, 1, 32)
    plane, velocity = random(2, 1, 12, 12), 0.5 * random(2, 2, 16, 16)
    found = {}
    for scheme in (central, upwind, semi_lagrangian):
        name = type(scheme).__name__
        found[f"Burgers, {name}"] = Case(
            Burgers(32, 1.0, 0.005, scheme), u, {"viscosity": values(0.02, 0.03), "force": force})
        found[f"AdvectionDiffusion, {name}"] = Case(
            AdvectionDiffusion((12, 12), (1.0, 1.0), 0.01, scheme), plane,
            {"diffusivity": values(0.05, 0.03), "velocity": values(0.7, -0.4, 0.3, 0.5).view(2, 2),
             "force": random(2, 1, 12, 12)})
    # What a network may set at every face (chapter 04).
    found["Burgers, Interpolated"] = Case(
        Burgers(32, 1.0, 0.005, interpolated), u,
        {"viscosity": values(0.02, 0.03), "local_viscosity": 0.01 * (1 + random(2, 1, 32).abs()),
         "interpolation": random(2, 4, 32)})
    for integrator in (etd1, etdrk2):
        found[f"KuramotoSivashinsky, {integrator.__name__}"] = Case(
            KuramotoSivashinsky(32, 0.1, integrator), random(2, 1, 32), {"length": values(20.0, 30.0)})
    for scheme in (staggered_semi_lagrangian, mac_cormack):
        found[f"NavierStokes, {scheme.__name__}"] = Case(
            NavierStokes((16, 16), (1.0, 1.0), 0.01, scheme), velocity,
            {"viscosity": values(0.01, 0.02), "force": random(2, 2, 16, 16)})
    stream = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1) + 0.2 * random(2, 2, 32, 16)
    for scheme in (staggered_semi_lagrangian, mac_cormack):
        found[f"Wake, {scheme.__name__}"] = Case(
            Wake((32, 16), 0.05, advection=scheme), stream,
            {"reynolds": values(100.0, 200.0), "force": random(2, 2, 32, 16)})
    return found


def solver_error(case: Case, seed: int) -> float:
    """The largest relative error among the gradients by the state and by each parameter."""
    solver = trace(case.solver, case.u, **case.parameters)
    return max(gradient_check(solver, {"u": case.u} | case.parameters, seed=seed).values())


def network_error(case: Case, seed: int) -> float:
    """The relative error of the gradient by the weights of a network before the solver."""
    channels = case.u.shape[1]
    network = ConvResNet(case.u.ndim - 2, channels, channels, width=WIDTH, num_blocks=NUM_BLOCKS, seed=seed).double()
    chain = Rollout(Sequential(Additive(network), trace(case.solver, case.u, **case.parameters)), NUM_STEPS)
    shapes = {name: weight.shape for name, weight in chain.named_parameters()}

    def simulated(weights: Tensor) -> Tensor:
        parts = weights.split([shape.numel() for shape in shapes.values()])
        named = {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts)}
        return functional_call(chain, named, (case.u,), case.parameters)

    weights = parameters_to_vector(chain.parameters()).detach()
    return gradient_check(simulated, {"weights": weights}, seed=seed)["weights"]


SPEC = Specification(
    id="e00", title="Gradients against finite differences", chapter="00_solver_as_operator",
    variants={name: name for name in SOLVERS}, budgets=dict.fromkeys(SOLVERS, (0,)), seeds=(0, 1, 2, 3, 4, 5),
    metrics={"solver": "largest relative error of the gradients by state and parameters",
             "network": "relative error of the gradient by the weights of a network before the solver, two steps",
             "right": f"1 if both are below {TOLERANCE:g}, else 0"},
    settings={"num_steps": NUM_STEPS, "network": (WIDTH, NUM_BLOCKS), "tolerance": TOLERANCE},
    checks=(Task("Burgers, Central", 0, (0, 1)),), checked=("right",))  # the errors themselves are rounding


def run(variant: str, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    """Check one solver; a seed draws states, parameters, weights and directions."""
    chosen = [cases(seed)[variant] for seed in seeds]
    errors = {name: torch.tensor([check(case, seed) for case, seed in zip(chosen, seeds)], dtype=torch.float64)
              for name, check in (("solver", solver_error), ("network", network_error))}
    return {**errors, "right": (torch.stack([*errors.values()]) < TOLERANCE).all(0).double()}
