"""One test for each kind of bad input of a solver: the error names what was given, what was expected and what to do."""

import functools
from math import pi

import pytest
import torch

from dpbook_utils.physics.advection import central, semi_lagrangian, upwind
from dpbook_utils.physics.advection_diffusion import AdvectionDiffusion
from dpbook_utils.physics.burgers import Burgers
from dpbook_utils.physics.kuramoto_sivashinsky import KuramotoSivashinsky
from dpbook_utils.physics.trace import trace
from dpbook_utils.rollout import Rollout

BURGERS, TRANSPORT, KS = (
    Burgers(16, 1.0, 0.01),
    AdvectionDiffusion((8, 4), (2.0, 1.0), 0.01),
    KuramotoSivashinsky(48, 0.5),
)
SOLVERS = [(BURGERS, {"viscosity": 0.01}), (TRANSPORT, {"diffusivity": 0.01}), (KS, {"length": 16 * pi})]
every_solver = pytest.mark.parametrize("solver, parameters", SOLVERS, ids=[solver.label for solver, _ in SOLVERS])


def state(solver, batch=2, dtype=torch.float32):
    return torch.ones(batch, *solver.state_shape, dtype=dtype)


@functools.cache
def traced(solver):
    return trace(solver, state(solver), **dict(SOLVERS)[solver])


def refused(solver, u, parameters, message, error=ValueError):
    """Refused by the solver and by its trace, which was made from good input."""
    for candidate in (solver, traced(solver)):
        with pytest.raises(error, match=f"{solver.label}: .*{message}"):
            candidate(u, **parameters)


@every_solver
def test_wrong_rank(solver, parameters):
    refused(solver, state(solver)[0], parameters, r"state has shape .*, expected \(batch, 1, .*; reshape it")


@every_solver
def test_wrong_number_of_channels(solver, parameters):
    refused(solver, torch.cat([state(solver)] * 2, 1), parameters, r"state has shape \(2, 2, .*expected \(batch, 1")


@every_solver
def test_wrong_number_of_points(solver, parameters):
    refused(solver, state(solver)[..., :-1], parameters, "build the solver for this grid")


@every_solver
@pytest.mark.parametrize("dtype", [torch.int64, torch.float16, torch.complex64])
def test_wrong_dtype(solver, parameters, dtype):
    refused(
        solver,
        state(solver).to(dtype),
        parameters,
        f"state has dtype {dtype}, expected torch.float32 or torch.float64",
        TypeError,
    )


@every_solver
def test_state_that_is_no_tensor(solver, parameters):
    refused(solver, state(solver).numpy(), parameters, "state is a ndarray; give a torch.Tensor of shape", TypeError)


@every_solver
def test_unknown_parameter(solver, parameters):
    refused(
        solver,
        state(solver),
        parameters | {"reynolds": 100.0},
        "unknown parameter reynolds; it takes " + solver.required[0],
    )


@every_solver
def test_missing_parameter(solver, parameters):
    name = solver.required[0]
    refused(solver, state(solver), {}, f"parameter {name} is missing; give {name}=... in the call, or '{name}' in the")


@every_solver
def test_parameter_of_another_dtype(solver, parameters):
    name, value = next(iter(parameters.items()))
    other = torch.full((2,), value, dtype=torch.float64)
    refused(
        solver,
        state(solver),
        {name: other},
        rf"{name} is torch.float64 .* states are torch.float32 .*use {name}.to\(u\)",
        TypeError,
    )


@every_solver
def test_parameter_that_is_no_tensor(solver, parameters):
    name, value = next(iter(parameters.items()))
    refused(
        solver,
        state(solver),
        {name: [value, value]},
        f"parameter {name} is a list; give a number or a tensor",
        TypeError,
    )


@every_solver
def test_parameter_with_a_wrong_batch(solver, parameters):
    name, value = next(iter(parameters.items()))
    refused(
        solver, state(solver), {name: torch.full((3,), value)}, rf"parameter {name} has shape \(3,\), expected \(2,\)"
    )


@every_solver
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_parameter_that_is_not_finite(solver, parameters, bad):
    name, value = next(iter(parameters.items()))
    refused(solver, state(solver), {name: torch.tensor([value, bad])}, f"parameter {name} contains NaN or infinity")


@every_solver
def test_negative_parameter(solver, parameters):
    name, value = next(iter(parameters.items()))
    refused(
        solver, state(solver), {name: torch.tensor([value, -value])}, f"{name} is -{value:g} ... {value:g}.*positive"
    )


def test_velocity_and_force_of_a_wrong_shape():
    u = state(TRANSPORT)
    refused(
        TRANSPORT, u, {"diffusivity": 0.01, "velocity": torch.ones(2)}, r"velocity has shape \(2,\), expected \(2, 2\)"
    )
    refused(
        TRANSPORT,
        u,
        {"diffusivity": 0.01, "force": torch.ones(2, 1, 4, 8)},
        r"force has shape \(2, 1, 4, 8\), expected \(2, 1, 8, 4\)",
    )


@pytest.mark.parametrize(
    "make",
    [lambda: Burgers(16, 1.0, 0.0), lambda: AdvectionDiffusion(16, 1.0, -0.1), lambda: KuramotoSivashinsky(48, 0.0)],
)
def test_time_step_that_is_not_positive(make):
    with pytest.raises(ValueError, match="dt is .*; give a positive number"):
        make()


def test_bad_grids():
    with pytest.raises(ValueError, match=r"num_points is \(8, 4\) and length 1.0; give one value each, or two each"):
        AdvectionDiffusion((8, 4), 1.0, 0.01)
    with pytest.raises(ValueError, match="num_substeps is 0"):
        KuramotoSivashinsky(48, 0.5, num_substeps=0)
    with pytest.raises(ValueError, match="length is 76 ... 76; .* at most pi/2 num_points = 75.3982.*take more points"):
        KS(state(KS), length=76.0)
    KS(state(KS), length=24 * pi)  # exactly the limit, in float32


# Stability: every limit is the last stable value, and beyond it the scheme really is unstable.


def grows(solver, u, num_steps, **parameters):
    """Does the state grow when the solver's step is repeated without its checks?"""
    first = u.abs().max()
    parameters = {
        name: torch.as_tensor(value, dtype=u.dtype).expand(1, *solver.parameter_shape(name))
        for name, value in parameters.items()
    }
    harmless = {name: 1e-3 + 0 * value for name, value in parameters.items()}
    step = trace(solver, u, **harmless).step
    for _ in range(num_steps):
        u = step(u, **parameters)
    return not bool(u.abs().max() < 2 * first)


def rough(*shape):
    return torch.randn(1, 1, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("advection", [central, upwind, semi_lagrangian])
def test_diffusive_limit(advection):
    solver, limit = Burgers(16, 1.0, 0.01, advection), (1 / 16) ** 2 / 0.02
    solver(state(solver), viscosity=limit)
    with pytest.raises(
        ValueError,
        match=r"viscosity is 0.2 ... 0.2 m\^2/s, stable is 0 ... dx\^2 / \(2 dt\) = 0.195312; .* dt <= 0.00976562",
    ):
        solver(state(solver), viscosity=0.2)
    heat = AdvectionDiffusion(16, 1.0, 0.01, advection)
    assert grows(heat, rough(16), 500, diffusivity=1.02 * limit) and not grows(heat, rough(16), 500, diffusivity=limit)


def test_diffusive_limit_in_two_dimensions():
    solver = AdvectionDiffusion((16, 8), (1.0, 1.0), 0.01)
    limit = 1 / (2 * 0.01 * (16**2 + 8**2))
    solver(state(solver), diffusivity=limit)
    with pytest.raises(
        ValueError, match=r"diffusivity is 0.16 ... 0.16 .*1 / \(2 dt \(1/dx\^2 \+ 1/dy\^2\)\) = 0.15625"
    ):
        solver(state(solver), diffusivity=0.16)
    assert grows(solver, rough(16, 8), 500, diffusivity=1.02 * limit) and not grows(
        solver, rough(16, 8), 500, diffusivity=limit
    )


@pytest.mark.parametrize("points, length, velocity", [(16, 1.0, 0.8), ((16, 12), (1.0, 0.75), (0.8, 0.6))])
def test_central_differences_need_diffusion_to_balance_the_velocity(points, length, velocity):
    solver = AdvectionDiffusion(points, length, 0.02)
    squared = 0.64 if velocity == 0.8 else 1.0
    limit, shape, c = (
        0.02 * squared / 2,
        solver.state_shape[1:],
        torch.tensor(velocity).expand(1, *solver.parameter_shape("velocity")),
    )
    solver(state(solver, 1), diffusivity=limit, velocity=c)
    for diffusivity in (0.9 * limit, 0.0):
        with pytest.raises(
            ValueError, match=r"need diffusivity >= dt c\^2 / 2 = .*unstable for every dt.*advection=upwind"
        ):
            solver(state(solver, 1), diffusivity=diffusivity, velocity=c)
    assert grows(solver, rough(*shape), 2000, diffusivity=0.5 * limit, velocity=velocity)
    assert grows(solver, rough(*shape), 2000, diffusivity=0.0, velocity=velocity)
    assert not grows(solver, rough(*shape), 2000, diffusivity=limit, velocity=velocity)
    still = state(solver, 1)
    assert torch.equal(solver(still, diffusivity=0.0), still)  # without a velocity there is nothing to balance


def test_upwind_limit_couples_velocity_and_diffusion():
    solver = AdvectionDiffusion((16, 8), (1.0, 1.0), 0.01, upwind)
    velocity = torch.tensor([[2.0, -3.0]], dtype=torch.float64)
    limit = (1 - 0.01 * (2 * 16 + 3 * 8)) / (2 * 0.01 * (16**2 + 8**2))
    solver(state(solver, 1, torch.float64), diffusivity=limit, velocity=velocity)
    with pytest.raises(
        ValueError,
        match=r"dt \(\|c\| / dx \+ 2 nu / dx\^2\) is 1.\d+ in sample 0, stable is at most 1; build .* dt <= 0.00",
    ):
        solver(state(solver, 1, torch.float64), diffusivity=1.05 * limit, velocity=velocity)
    assert grows(solver, rough(16, 8), 500, diffusivity=1.05 * limit, velocity=velocity)
    assert not grows(solver, rough(16, 8), 500, diffusivity=limit, velocity=velocity)


def test_semi_lagrangian_takes_every_velocity():
    solver = AdvectionDiffusion(16, 1.0, 0.1, semi_lagrangian)
    assert not grows(solver, rough(16), 100, diffusivity=0.01, velocity=7.3)
    solver(state(solver), diffusivity=0.01, velocity=7.3)


def test_burgers_without_viscosity():
    with pytest.raises(
        ValueError,
        match="viscosity is 0, and central differences .* unstable without it for every dt; .* advection=upwind",
    ):
        BURGERS(state(BURGERS), viscosity=0.0)
    for advection in (upwind, semi_lagrangian):
        solver = Burgers(16, 1.0, 0.01, advection)
        assert torch.equal(solver(state(solver), viscosity=0.0), state(solver))


def test_initial_state_too_fast_for_the_time_step():
    """Checked where a roll-out starts; the worst sample of the batch is named."""
    u = torch.tensor([0.1, 5.0]).reshape(2, 1, 1) * state(BURGERS)
    with pytest.raises(ValueError, match=r"need viscosity >= dt c\^2 / 2 = 0.125 .*sample 1 has 0.01"):
        Rollout(BURGERS, 2)(u, viscosity=0.01)
    with pytest.raises(ValueError, match=r"dt \(\|c\| / dx \+ 2 nu / dx\^2\) is .* in sample 1"):
        Rollout(Burgers(16, 1.0, 0.02, upwind), 2)(u, viscosity=0.01)
    spike = torch.zeros(1, 1, 16)
    spike[..., 3] = 7.0
    with pytest.raises(ValueError, match=r"dt \(\|c\| / dx\) is 1.12 in sample 0"):
        Rollout(BURGERS, 2)(spike, viscosity=0.19)
    Rollout(Burgers(16, 1.0, 0.02, semi_lagrangian), 2)(u, viscosity=0.01)


@pytest.mark.parametrize("mean, amplitude", [(2.0, 0.1), (1.0, 1.0)])
def test_burgers_central_limit_is_about_the_mean_square_velocity(mean, amplitude):
    """At twice the stable viscosity the run decays, at half of it it blows up."""
    x = (torch.arange(64, dtype=torch.float64) + 0.5) / 64
    u = (mean + amplitude * torch.sin(2 * pi * x))[None, None]
    dt = 0.004
    needed = dt * float(u.square().mean()) / 2
    solver = Burgers(64, 1.0, dt)
    assert not grows(solver, u, 1500, viscosity=2 * needed) and grows(solver, u, 1500, viscosity=needed / 2)


@pytest.mark.parametrize("num_points, length", [(0, 1.0), (8, 0.0), (8, -1.0)])
def test_a_grid_without_points_or_extent_is_refused(num_points, length):
    with pytest.raises(ValueError, match="whole number of at least 1|positive number"):
        Burgers(num_points, length, 0.1)
