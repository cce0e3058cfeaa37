"""The good values that docstrings of solvers state: each solver runs with them, and does what its docstring says."""

import inspect
import re

import pytest
import torch

import dpbook_utils as dp

SCHEMES = (dp.central, dp.interpolated, dp.upwind, dp.semi_lagrangian, dp.limited)


def waves(num_points, size=1.0):
    return size * dp.random_fourier(8, num_points, modes=4, seed=0)


def among(*values) -> torch.Tensor:
    """Every one of the values for some of eight samples."""
    return torch.tensor(values, dtype=torch.float64).repeat(8 // len(values)).float()


def burgers():
    for advection in SCHEMES:
        for dt in (0.001, 0.004):
            yield dp.Burgers(64, 1, dt, advection), waves(64, 0.5), {"viscosity": among(0.005, 0.02)}, 300
        yield dp.Burgers(32, 32, 0.1, advection), waves(32, 0.5), {"viscosity": among(0.15, 0.6)}, 300
    for advection in (dp.upwind, dp.semi_lagrangian):
        yield dp.Burgers(64, 1, 0.004, advection), waves(64, 0.5), {"viscosity": 0.0}, 300


def advection_diffusion():
    diffusivity, velocity = among(0.005, 0.05), among(-1, -1, 1, 1)
    for advection in (dp.central, dp.upwind, dp.semi_lagrangian):
        parameters = {"diffusivity": diffusivity, "velocity": velocity}
        yield dp.AdvectionDiffusion(64, 1, 0.002, advection), waves(64), parameters, 200
        parameters = {"diffusivity": diffusivity, "velocity": torch.stack([velocity, velocity.flip(0)], 1)}
        yield dp.AdvectionDiffusion((64, 64), (1, 1), 0.001, advection), waves((64, 64)), parameters, 20


def kuramoto_sivashinsky():
    for dt in (0.5, 1):
        yield dp.KuramotoSivashinsky(48, dt, num_substeps=2), waves(48), {"length": among(22, 75)}, 200
    yield dp.KuramotoSivashinsky(48, 0.5, dp.etd1, 8), waves(48), {"length": among(22, 75)}, 200


def spectral_burgers():
    for dt in (0.001, 0.004):
        yield dp.SpectralBurgers(64, 1, dt), waves(64, 0.5), {"viscosity": among(0.005, 0.02)}, 300
    yield dp.SpectralBurgers(32, 32, 0.1), waves(32, 0.5), {"viscosity": among(0.15, 0.6)}, 300


def semi_implicit():
    for dt, num_substeps in ((0.5, 2), (1, 2), (1, 8)):
        solver = dp.SemiImplicitKuramotoSivashinsky(48, dt, num_substeps)
        yield solver, waves(48), {"length": among(22, 45)}, 200


def iterative():
    for dt, num_iterations in ((0.5, 8), (1, 8)):
        solver = dp.IterativeKuramotoSivashinsky(48, dt, 2, num_iterations)
        yield solver, waves(48), {"length": among(22, 45)}, 200


def navier_stokes():
    for n, dt in ((64, 0.01), (32, 0.02)):
        v = dp.random_velocity(2, (n, n), modes=4, seed=0)
        yield dp.NavierStokes((n, n), (1, 1), dt), v, {"viscosity": among(0.0001, 0.005)[:2]}, 50


def smoke():
    v = 0.5 * dp.random_velocity(2, (64, 64), modes=4, seed=0)
    start = torch.cat([v, torch.stack([v.new_zeros(64, 64), v.new_ones(64, 64)])[:, None]], 1)
    yield dp.Smoke((64, 64), (1, 1), 0.025), start, {"viscosity": among(0.0001, 0.002)[:2]}, 40


def wake():
    for cells, dt, reynolds in (((64, 32), 0.05, (20, 400)), ((32, 16), 0.1, (50, 200))):
        solver = dp.Wake(cells, dt)
        yield solver, solver.start(torch.tensor([0.1, 0.1])), {"reynolds": torch.tensor(reynolds).float()}, 150


# Solver, its good values, and the largest size that a state of it has in units of the first one's.
STATED = {
    dp.Burgers: (burgers, 1.05), dp.AdvectionDiffusion: (advection_diffusion, 1.01), dp.Wake: (wake, 1.1),
    dp.KuramotoSivashinsky: (kuramoto_sivashinsky, 2), dp.SpectralBurgers: (spectral_burgers, 1.1),
    dp.SemiImplicitKuramotoSivashinsky: (semi_implicit, 2),
    dp.IterativeKuramotoSivashinsky: (iterative, 2), dp.NavierStokes: (navier_stokes, 1.01),
    dp.Smoke: (smoke, 1.01)}


def stated(solver) -> str:
    return re.search(r"Good values: (.*(?:\n +.*)*)", inspect.getdoc(solver))[1]


@pytest.mark.parametrize("solver", STATED, ids=lambda solver: solver.__name__)
def test_a_solver_is_stable_with_the_good_values_of_its_docstring(solver):
    values, growth = STATED[solver]
    tried = set()
    for built, u, parameters, num_steps in values():
        states = dp.simulate(dp.trace(built, u, **parameters), u, num_steps, **parameters)  # refuses what is not finite
        assert states.abs().max() <= growth * u.abs().max(), (built.dt, parameters)
        given = (built.dt, *built.state_shape[1:], *parameters.values())
        tried |= {f"{float(x):.4g}" for value in given for x in torch.as_tensor(value).abs().flatten() if x > 0}
    assert tried <= set(re.findall(r"\d+(?:\.\d+)?", stated(solver))), "tried here, but not in the docstring"


def test_every_solver_states_good_values_and_what_to_expect():
    classes = {value for name in dir(dp) if isinstance(value := getattr(dp, name), type)}
    solvers = {value for value in classes if issubclass(value, dp.Solver)}
    assert solvers - {dp.Solver} == set(STATED)
    for solver in STATED:
        sections = set(re.findall(r"^([A-Z][a-z ]+): ", inspect.getdoc(solver), re.MULTILINE))
        assert {"Shapes", "Units", "Order", "Stable", "Behaviour", "Good values", "Raises"} <= sections, solver


def test_chaos_parts_neighbours_as_fast_as_the_docstring_says():
    u = waves(48).double()[:4]
    for length, time in ((22, 19), (75, 9)):
        step = dp.trace(dp.KuramotoSivashinsky(48, 1.0, num_substeps=2), u, length=length)
        exponent = dp.lyapunov_exponents(step, u, 250, warmup=100, length=length).mean()
        assert abs(1 / exponent - time) < 0.3 * time
