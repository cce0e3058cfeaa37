"""Every scheme in one table: error and order against an exact solution, conservation, precision, gradients."""

from collections.abc import Callable
from dataclasses import dataclass
from math import pi

import numpy as np
import pytest
import torch
from phiml import math

from dpbook_utils.physics.advection import central, semi_lagrangian, upwind
from dpbook_utils.physics.advection_diffusion import AdvectionDiffusion
from dpbook_utils.physics.burgers import Burgers
from dpbook_utils.physics.exact import ColeHopf, FourierMode, GrowingMode, Sawtooth, cell_centres
from dpbook_utils.physics.iterative import IterativeKuramotoSivashinsky
from dpbook_utils.physics.kuramoto_sivashinsky import KuramotoSivashinsky, etd1, etdrk2
from dpbook_utils.physics.limited import Limited, limited
from dpbook_utils.physics.semi_implicit import SemiImplicitKuramotoSivashinsky
from dpbook_utils.physics.solver import Solver
from dpbook_utils.physics.spectral import SpectralBurgers
from dpbook_utils.physics.trace import trace

K = 2 * pi


@dataclass(frozen=True)
class Scheme:
    """A solver, an exact solution, and what the scheme promises about both.

    With ``dt(n)`` the error falls with ``order`` in 1 / n (None: it is at rounding on every grid) and is at most
    ``error`` on the finest of the grids, relative to the solution's maximum. On one grid it falls with ``time_order``
    in dt (None: a semi-Lagrangian error grows again for small dt).
    """

    name: str
    make: Callable[[int, float], Solver]
    parameters: dict[str, float | tuple[float, ...]]
    exact: Callable
    dt: Callable[[int], float]
    order: float | None
    error: float
    time_order: float | None
    time: float
    grids: tuple[int, ...]
    length: tuple[float, ...] = (1.0,)
    conserves_mass: bool = True

    def __str__(self):
        return self.name

    def state(self, n: int, t: float) -> torch.Tensor:
        points = tuple(round(n * extent / self.length[0]) for extent in self.length)
        return self.exact(cell_centres(points, self.length), t)

    def per_sample(self, values: int, dtype=torch.float64) -> dict[str, torch.Tensor]:
        """The parameters for a batch, lower from sample to sample (within every stability limit of the table)."""
        scale = 1 - 0.1 * torch.arange(values, dtype=dtype)
        return {name: torch.stack([torch.tensor(value, dtype=dtype) * s for s in scale])
                for name, value in self.parameters.items()}

    def run(self, n: int, dt: float, u: torch.Tensor) -> torch.Tensor:
        parameters = self.per_sample(1)
        solver = trace(self.make(n, dt), u, **parameters)
        for _ in range(round(self.time / dt)):
            u = solver(u, **parameters)
        return u


def burgers(advection):
    return lambda n, dt: Burgers(n, 1.0, dt, advection=advection)


def spectral(integrator):
    return lambda n, dt: SpectralBurgers(n, 1.0, dt, integrator)


def transport(advection):
    return lambda n, dt: AdvectionDiffusion(n, 1.0, dt, advection=advection)


def transport_2d(advection):
    return lambda n, dt: AdvectionDiffusion((n, n // 2), (1.0, 0.5), dt, advection=advection)


def kuramoto_sivashinsky(integrator):
    return lambda n, dt: KuramotoSivashinsky(n, dt, integrator, num_substeps=2)


def semi_implicit(n, dt):
    return SemiImplicitKuramotoSivashinsky(n, dt, num_substeps=2)


def iterative(n, dt):
    return IterativeKuramotoSivashinsky(n, dt, num_iterations=4)


NU, HEAT = {"viscosity": 0.05}, {"diffusivity": 0.05}
C, C2 = HEAT | {"velocity": 0.7}, HEAT | {"velocity": (0.7, -0.4)}
SHARP, SHARP_C, SHARP_C2 = {"viscosity": 0.002}, C | {"diffusivity": 0.002}, C2 | {"diffusivity": 0.001}
SINE, SHARP_SINE = ColeHopf(K, 0.05, mean=0.3), ColeHopf(K, 0.002, mean=0.3)
WAVE, SHARP_WAVE = (FourierMode((K,), nu, (0.7,), mean=0.5) for nu in (0.05, 0.002))
WAVE_2D, SHARP_WAVE_2D = (FourierMode((K, 2 * K), nu, (0.7, -0.4), mean=0.5) for nu in (0.05, 0.001))
LENGTH = 16 * pi


def diffusive(n):
    return 4 / n**2  # nu dt / dx^2 = 0.2


def diffusive_2d(n):
    return 2 / n**2


def courant(n):
    return 0.64 / n


ROWS_2D = {"length": (1.0, 0.5)}
SCHEMES = [
    # name, solver, parameters, exact solution, dt(n), order, error, order in dt, time, grids
    Scheme("burgers-central", burgers(central), NU, SINE, diffusive, 2, 1e-3, 1, 0.03125, (32, 64, 128)),
    Scheme("burgers-upwind", burgers(upwind), NU, SINE, diffusive, 1, 2e-2, 1, 0.03125, (64, 128, 256)),
    Scheme("burgers-semi-lagrangian", burgers(semi_lagrangian), SHARP, SHARP_SINE, courant, 1, 2e-2, None, 0.04,
           (64, 128, 256), conserves_mass=False),
    Scheme("burgers-limited", burgers(limited), NU, SINE, diffusive, 2, 1e-3, 1, 0.03125, (64, 128, 256)),
    Scheme("burgers-spectral-etd1", spectral(etd1), NU, SINE, courant, 1, 2e-2, 1, 0.04, (32, 64, 128)),
    Scheme("burgers-spectral-etdrk2", spectral(etdrk2), NU, SINE, courant, 2, 1e-3, 2, 0.04, (32, 64, 128)),
    Scheme("advection-central", transport(central), C, WAVE, diffusive, 2, 1e-3, 1, 0.03125, (32, 64, 128)),
    Scheme("advection-upwind", transport(upwind), C, WAVE, diffusive, 1, 2e-2, 1, 0.03125, (32, 64, 128)),
    Scheme("advection-semi-lagrangian", transport(semi_lagrangian), SHARP_C, SHARP_WAVE, courant, 1, 2e-2, None, 0.16,
           (64, 128, 256)),
    Scheme("advection-limited", transport(limited), C, WAVE, diffusive, 2, 1e-3, 1, 0.03125, (32, 64, 128)),
    Scheme("heat", transport(central), HEAT, FourierMode((K,), 0.05), diffusive, 2, 1e-3, 1, 0.03125, (32, 64, 128)),
    Scheme("advection-2d-central", transport_2d(central), C2, WAVE_2D, diffusive_2d, 2, 1e-3, 1, 0.03125, (16, 32, 64),
           **ROWS_2D),
    Scheme("advection-2d-upwind", transport_2d(upwind), C2, WAVE_2D, diffusive_2d, 1, 2e-2, 1, 0.03125, (16, 32, 64),
           **ROWS_2D),
    Scheme("advection-2d-semi-lagrangian", transport_2d(semi_lagrangian), SHARP_C2, SHARP_WAVE_2D, courant, 1, 2e-2,
           None, 0.08, (32, 64, 128), **ROWS_2D),
    Scheme("advection-2d-limited", transport_2d(limited), C2, WAVE_2D, diffusive_2d, 2, 1e-2, 1, 0.03125, (16, 32),
           **ROWS_2D),
    Scheme("heat-2d", transport_2d(central), HEAT, FourierMode((K, 2 * K), 0.05), diffusive_2d, 2, 1e-3, 1, 0.03125,
           (16, 32, 64), **ROWS_2D),
    Scheme("ks-etd1", kuramoto_sivashinsky(etd1), {"length": LENGTH}, GrowingMode(LENGTH, 5), lambda n: 0.5, None, 1e-5,
           1, 2.0, (48,), (LENGTH,)),
    Scheme("ks-etdrk2", kuramoto_sivashinsky(etdrk2), {"length": LENGTH}, GrowingMode(LENGTH, 5), lambda n: 0.5, None,
           1e-5, 2, 2.0, (48,), (LENGTH,)),
    Scheme("ks-semi-implicit", semi_implicit, {"length": LENGTH}, GrowingMode(LENGTH, 5), lambda n: 0.5 * (48 / n)**2,
           2, 1e-3, 1, 2.0, (48, 96, 192), (LENGTH,)),
    Scheme("ks-iterative", iterative, {"length": LENGTH}, GrowingMode(LENGTH, 5), lambda n: 0.25 * (48 / n)**2,
           2, 1e-3, 1, 2.0, (48, 96, 192), (LENGTH,)),
]
every_scheme = pytest.mark.parametrize("scheme", SCHEMES, ids=str)


def relative_error(u, reference):
    return float((u - reference).abs().max() / reference.abs().max())


def observed_order(sizes, errors):
    return np.polyfit(np.log(sizes), np.log(errors), 1)[0]


@every_scheme
def test_error_and_order_against_the_exact_solution(scheme):
    errors = [relative_error(scheme.run(n, scheme.dt(n), scheme.state(n, 0.0)), scheme.state(n, scheme.time))
              for n in scheme.grids]
    assert errors[-1] < scheme.error
    if scheme.order is not None:
        assert observed_order([1 / n for n in scheme.grids], errors) == pytest.approx(scheme.order, abs=0.15), errors


@pytest.mark.parametrize("scheme", [s for s in SCHEMES if s.time_order], ids=str)
def test_order_in_time(scheme):
    n, dt = scheme.grids[0], scheme.dt(scheme.grids[0])
    start = scheme.state(n, 0.0)
    start = start / start.abs().max()  # a small wave of Kuramoto-Sivashinsky is linear and would have no error in time
    steps = [dt, dt / 2, dt / 4, dt / 8]
    runs = [scheme.run(n, step, start) for step in steps]
    changes = [relative_error(coarse, fine) for coarse, fine in zip(runs, runs[1:])]
    assert observed_order(steps[:-1], changes) == pytest.approx(scheme.time_order, abs=0.15), changes


def example(scheme, dtype=torch.float64, samples=3):
    """A small grid, a rough state of both signs with no value near 0 (where upwind has a kink), and parameters."""
    n = 36
    shape = scheme.state(n, 0.0).shape[1:]
    generator = torch.Generator().manual_seed(0)
    u = torch.randn((samples, *shape), generator=generator, dtype=torch.float64)
    u = (0.2 * u.sign() + 0.2 * u).to(dtype)
    parameters = scheme.per_sample(samples, dtype)
    solver = scheme.make(n, scheme.dt(n))
    if "force" in solver.parameter_names:
        parameters["force"] = torch.randn(u.shape, generator=generator, dtype=torch.float64).to(dtype)
    return solver, u, parameters


@every_scheme
def test_mass_is_kept_to_rounding(scheme):
    solver, u, parameters = example(scheme)
    expected = u.flatten(1).sum(1)
    if "force" in parameters:  # a source adds its own mass, dt times its sum
        expected = expected + solver.dt * parameters["force"].flatten(1).sum(1)
    change = (solver(u, **parameters).flatten(1).sum(1) - expected).abs().max()
    assert (change < 1e-13) == scheme.conserves_mass, float(change)


@every_scheme
@pytest.mark.parametrize("global_precision", [16, 64])
def test_precision_follows_the_state(scheme, global_precision):
    exact = example(scheme)
    reference = exact[0](exact[1], **exact[2])
    before = math.get_precision()
    math.set_global_precision(global_precision)
    try:
        solver, u, parameters = example(scheme, torch.float32)
        u_next = solver(u, **parameters)
        again = solver(exact[1], **exact[2])
    finally:
        math.set_global_precision(before)
    # A semi-Lagrangian scheme rounds positions, which are up to 36 cells in size.
    tolerance = 1e-5 if scheme.name.endswith("semi-lagrangian") else 2e-6
    assert u_next.dtype == torch.float32 and relative_error(u_next.double(), reference) < tolerance
    assert again.dtype == torch.float64 and torch.equal(again, reference)


@every_scheme
def test_traced_equals_eager(scheme):
    solver, u, parameters = example(scheme)
    traced = trace(solver, torch.zeros_like(u), **parameters)
    other = {name: 0.9 * value for name, value in parameters.items()}
    assert torch.equal(traced(u, **other), solver(u, **other))


@every_scheme
def test_parameters_act_per_sample(scheme):
    solver, u, parameters = example(scheme)
    together = solver(u, **parameters)
    for i in range(2):
        alone = solver(u[i:i + 1], **{name: value[i:i + 1] for name, value in parameters.items()})
        assert relative_error(alone, together[i:i + 1]) < 1e-14
    for name, value in parameters.items():
        swapped = solver(u, **parameters | {name: torch.cat([value[:2], value[:1]])})
        assert torch.equal(swapped[:2], together[:2]) and relative_error(swapped[2:], together[2:]) > 1e-4, name


@every_scheme
def test_gradients_against_finite_differences(scheme):
    """Relative error below 1e-6 for the state and every parameter, each entry by its own central difference."""
    solver, u, parameters = example(scheme, samples=2)
    weights = torch.randn(u.shape, generator=torch.Generator().manual_seed(1), dtype=u.dtype)
    names = list(parameters)
    leaves = [x.clone().requires_grad_() for x in (u, *parameters.values())]

    def loss(u, *values):
        return (weights * solver(u, **dict(zip(names, values))).square()).sum()

    gradients = torch.autograd.grad(loss(*leaves), leaves)
    for place, (name, gradient) in enumerate(zip(["u", *names], gradients)):
        values = [leaf.detach() for leaf in leaves]
        step = 1e-5 * float(values[place].abs().max())
        for index in np.random.default_rng(0).permutation(gradient.numel())[:8]:
            shift = torch.zeros(gradient.numel(), dtype=u.dtype)
            shift[index] = step
            shift = shift.view(gradient.shape)
            up, down = (loss(*values[:place], values[place] + sign * shift, *values[place + 1:]) for sign in (1, -1))
            difference = (up - down) / (2 * step)
            assert abs(difference - gradient.flatten()[index]) < 1e-6 * gradient.abs().max(), name


def test_upwind_moves_a_shock_at_the_right_speed_and_semi_lagrangian_does_not():
    """A ramp and a shock at the mean speed 1, without viscosity: error in the mean over cells, order 1 for upwind."""
    exact = Sawtooth(1.0, slope=1.0, mean=1.0)

    def error(advection, n):
        solver, u = Burgers(n, 1.0, 0.5 / n, advection), exact(cell_centres(n, 1.0), 0.0)
        solver = trace(solver, u, viscosity=0.0)
        for _ in range(n):
            u = solver(u, viscosity=0.0)
        return float((u - exact(cell_centres(n, 1.0), 0.5)).abs().mean())

    sizes = [64, 128, 256]
    assert observed_order([1 / n for n in sizes], [error(upwind, n) for n in sizes]) == pytest.approx(1, abs=0.15)
    # Semi-Lagrangian does not converge: a finite error in the shock's place.
    assert error(semi_lagrangian, 256) > 0.9 * error(semi_lagrangian, 128) > 0.03


def test_limited_without_slopes_is_upwind():
    u = 0.5 * torch.randn(3, 1, 36, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    flat = Limited(slope=lambda behind, ahead: 0 * ahead)
    ours, theirs = (Burgers(36, 1.0, 0.005, scheme)(u, viscosity=0.01) for scheme in (flat, upwind))
    assert torch.equal(ours, theirs)


def test_limited_moves_a_shock_at_the_right_speed_makes_no_extremum_and_is_sharper_than_upwind():
    exact, n = Sawtooth(1.0, slope=1.0, mean=1.0), 128
    errors, start = {}, exact(cell_centres(n, 1.0), 0.0)
    for scheme in (upwind, limited):
        u = start
        solver = trace(Burgers(n, 1.0, 0.5 / n, scheme), u, viscosity=0.0)
        for _ in range(n):
            u_next = solver(u, viscosity=0.0)
            assert u_next.max() <= u.max() + 1e-12 and u_next.min() >= u.min() - 1e-12
            u = u_next
        errors[scheme] = float((u - exact(cell_centres(n, 1.0), 0.5)).abs().mean())
    assert errors[limited] < 0.5 * errors[upwind]


def test_the_differences_of_the_semi_implicit_scheme_keep_the_energy_of_what_they_move():
    """What the transport adds to u^2, before the linear terms act, is of second order in its step."""
    u = torch.randn(1, 1, 48, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    left, right = u.roll(1, 2), u.roll(-1, 2)
    with math.precision(64):
        values = math.wrap(u, math.batch("b"), math.channel("c"), math.spatial("x"))
        moved = SemiImplicitKuramotoSivashinsky.transport(values, 0.1).native("b,c,x")
    assert relative_error(moved, 0.1 / 6 * (left - right) * (left + u + right)) < 1e-14
    assert abs(float((u * moved).sum())) < 1e-13 and abs(float(moved.sum())) < 1e-13


def test_a_large_batch_of_the_semi_implicit_scheme_is_recorded():
    """The cotangents with which a recording is checked vary little over the cells of one sample of many."""
    solver = SemiImplicitKuramotoSivashinsky(48, 1.0, 8)
    u = torch.randn(768, 1, 48, generator=torch.Generator().manual_seed(0)).cumsum(2)
    u, length = u - u.mean(2, keepdim=True), torch.linspace(22.0, 45.0, 768)
    assert torch.equal(trace(solver, u, length=length)(u, length=length), solver(u, length=length))


def test_refusals_of_the_new_solvers():
    with pytest.raises(ValueError, match="viscosity is as low as -1 m\\^2/s; make it positive"):
        SpectralBurgers(16, 1.0, 0.01)(torch.zeros(1, 1, 16), viscosity=-1.0)
    with pytest.raises(ValueError, match="sub-steps of 4; from 4 on"):
        SemiImplicitKuramotoSivashinsky(48, 8.0, 2)
    with pytest.raises(ValueError, match="products of growing waves are not resolved"):
        SemiImplicitKuramotoSivashinsky(48, 1.0, 2)(torch.zeros(1, 1, 48), length=80.0)
    with pytest.raises(TypeError, match="integrator"):
        SpectralBurgers(16, 1.0, 0.01, "etdrk2")


@pytest.mark.parametrize("slope", [None, "van_leer", 1.0, Limited])
def test_a_slope_that_is_no_function_is_refused(slope):
    with pytest.raises(TypeError, match="Limited: slope is .*; give a function of the differences"):
        Limited(slope)
