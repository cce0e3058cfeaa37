"""python -m benchmarks.stability [name ...]: where the solvers run and where they blow up, beyond what they refuse.

The limits of linear schemes are exact (``tests/test_physics_errors.py`` has both sides of each). What a flow does that
makes its own waves is measured here: the fraction of random starts that blow up. The solvers' docstrings quote it.
"""

import argparse
from collections.abc import Iterator
from math import pi

import torch
from torch import Tensor

from dpbook_course.commands import program
from dpbook_utils.data import random_fourier, random_velocity
from dpbook_utils.physics.advection import central, semi_lagrangian, upwind
from dpbook_utils.physics.burgers import Burgers
from dpbook_utils.physics.kuramoto_sivashinsky import KuramotoSivashinsky, etd1, etdrk2
from dpbook_utils.physics.navier_stokes import NavierStokes, mac_cormack
from dpbook_utils.physics.navier_stokes import semi_lagrangian as semi_lagrangian_2d
from dpbook_utils.physics.solver import Solver
from dpbook_utils.physics.trace import TracedSolver
from dpbook_utils.physics.wake import Wake


@torch.no_grad()
def blown_up(solver: Solver, u: Tensor, num_steps: int, largest: float, **parameters: Tensor) -> float:
    """Fraction of starts with a value beyond ``largest`` within ``num_steps``; without the solver's own checks."""
    step, taken = TracedSolver(solver).step, solver.precompute(**parameters)
    failed = torch.zeros(len(u), dtype=torch.bool)
    for _ in range(num_steps):
        u = step(u, **taken)
        failed |= ~(u.flatten(1).abs().amax(1) <= largest)
    return float(failed.double().mean())


def kuramoto_sivashinsky(integrator, substep: float, spacing: float, num_points: int = 48, time: float = 400,
                         num_starts: int = 64, mean: float = 0.0) -> float:
    """From four waves to developed states (|u| about 3), on cells of the size ``spacing``."""
    u = mean + random_fourier(num_starts, num_points, modes=4, seed=0)
    length = torch.full((num_starts,), spacing * num_points)
    solver = KuramotoSivashinsky(num_points, substep / 4, integrator)  # a short one: no warning
    solver.dt = substep
    return blown_up(solver, u, round(time / substep), 100.0, length=length)


def burgers(advection, peclet: float, ratio: float, num_points: int = 64, num_starts: int = 64) -> float:
    """Four waves of root mean square velocity c until they have travelled once round; fronts form and decay.

    Args:
        peclet: c dx / nu.
        ratio: dt c^2 / (2 nu), the part of the limit of central differences that is used. The steps stay within the
            other limits, dt <= dx^2 / (2 nu) and the Courant limit of the fastest start.
    """
    u = random_fourier(num_starts, num_points, modes=4, seed=0, dtype=torch.float64)
    dx, fastest = 1 / num_points, float(u.abs().max())
    viscosity = dx / peclet
    dt = min(2 * ratio * viscosity, 0.5 / (fastest / (2 * dx) + viscosity / dx**2))
    return blown_up(Burgers(num_points, 1.0, dt, advection), u, min(round(1 / dt), 4000), 2 * fastest,
                    viscosity=torch.full((num_starts,), viscosity, dtype=u.dtype))


def navier_stokes(advection, crossing: float, part: float, num_points: int = 16, num_starts: int = 8) -> float:
    """Random vortices for 100 steps.

    Args:
        crossing: largest change of the velocity between neighbouring faces, in cells per step.
        part: of the largest viscosity that is stable.
    """
    v = random_velocity(num_starts, (num_points, num_points), modes=4, seed=0, dtype=torch.float64)
    dx = 1 / num_points
    dt = crossing * dx / max(float((v - v.roll(1, axis)).abs().max()) for axis in (2, 3))
    viscosity = torch.full((num_starts,), part * dx**2 / (4 * dt), dtype=v.dtype)
    solver = NavierStokes((num_points, num_points), (1.0, 1.0), dt, advection)
    return blown_up(solver, v, 100, 2 * float(v.abs().max()), viscosity=viscosity)


def wake(advection, dt: float, reynolds: float, num_points: tuple[int, int] = (64, 32), num_steps: int = 200) -> float:
    """From a start with a puff behind the cylinder; the fastest flow beside the cylinder has about twice the inflow."""
    solver = Wake(num_points, dt, advection=advection)
    v = solver.start(torch.tensor([0.2, 0.3, -0.25, 0.35]))
    return blown_up(solver, v, num_steps, 10.0, reynolds=torch.full((len(v),), float(reynolds)))


def tables() -> dict[str, Iterator[str]]:
    """Lines by name, measured as they are asked for."""
    return {
        "kuramoto_sivashinsky": (
            f"{integrator.__name__}, sub-steps of {substep:g}, dx {spacing:.4f}, {n} points, mean {mean:g}: "
            f"{kuramoto_sivashinsky(integrator, substep, spacing, n, mean=mean):.1%}"
            for integrator, substep, n, mean in [
                (etdrk2, 0.125, 48, 0), (etdrk2, 0.25, 96, 0), (etdrk2, 0.5, 48, 0), (etdrk2, 0.5, 96, 0),
                (etdrk2, 0.6, 48, 0), (etdrk2, 0.7, 48, 0), (etdrk2, 1.0, 48, 0), (etdrk2, 1.5, 48, 0),
                (etdrk2, 0.5, 48, 1), (etdrk2, 0.5, 48, 2), (etdrk2, 0.5, 48, 3),
                (etd1, 0.0625, 48, 0), (etd1, 0.125, 48, 0), (etd1, 0.25, 48, 0), (etd1, 0.5, 48, 0)]
            for spacing in (0.7, 1.05, 1.4, pi / 2, 1.6, 1.65, 2.0)),
        "burgers": (
            f"{type(scheme).__name__}, c dx / nu = {peclet:g}, dt c^2 / (2 nu) = {ratio:g}: "
            f"{burgers(scheme, peclet, ratio):.1%}"
            for scheme in (central, upwind, semi_lagrangian) for peclet in (2, 4, 8, 16, 32, 100)
            for ratio in (0.25, 0.5, 0.75, 1.0)),
        "navier_stokes": (
            f"{scheme.__name__}, paths cross by {crossing:g} cells, {part:g} of the largest viscosity: "
            f"{navier_stokes(scheme, crossing, part):.1%}"
            for scheme in (mac_cormack, semi_lagrangian_2d) for crossing in (0.5, 1, 2, 4, 8)
            for part in (1e-3, 0.1, 1.0)),
        "wake": (
            f"{scheme.__name__}, dt {dt:g}, Re {reynolds:g}: {wake(scheme, dt, reynolds):.1%}"
            for scheme in (mac_cormack, semi_lagrangian_2d)
            for dt, reynolds in [(0.05, 20), (0.05, 200), (0.05, 2e3), (0.1, 200), (0.2, 200), (0.4, 200), (0.4, 1e4)]),
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stability", description="Fractions that blow up.")
    known = tables()
    parser.add_argument("names", nargs="*", help=f"of {', '.join(known)}; all without any")
    for name in parser.parse_args(arguments).names or known:
        print(f"\n{name}")
        for line in known[name]:
            print(line, flush=True)


if __name__ == "__main__":
    program(main)
