"""E00: is the gradient of every solver the derivative of its values?   Chapter: 00_solver_as_operator."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..physics.advection import central, interpolated, semi_lagrangian, upwind
from ..physics.advection_diffusion import AdvectionDiffusion
from ..physics.burgers import Burgers
from ..physics.kuramoto_sivashinsky import KuramotoSivashinsky, etd1, etdrk2
from ..physics.navier_stokes import NavierStokes, mac_cormack
from ..physics.navier_stokes import semi_lagrangian as staggered_semi_lagrangian
from ..physics.solver import Solver


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
    return found
