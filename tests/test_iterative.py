"""The implicit step that is solved by iterations: against the exact solve, in K, and its refusals."""

import pytest
import torch
from phiml import math

from dpbook_course.problems import ks_schemes, ks_solves
from dpbook_utils.physics.iterative import IterativeKuramotoSivashinsky, conjugate_gradients
from dpbook_utils.physics.semi_implicit import SemiImplicitKuramotoSivashinsky

LENGTHS = torch.tensor([24.0, 33.0, 44.0], dtype=torch.float64)


def states(modes, amplitude=1.0):
    x = (torch.arange(48, dtype=torch.float64) + 0.5) / 48 * 2 * torch.pi
    waves = [torch.cos(k * x + k + s) for s in range(3) for k in modes]
    return amplitude * torch.stack(waves).unflatten(0, (3, len(modes))).sum(1)[:, None]


def change(solver, u, exact):
    return float((solver(u, length=LENGTHS) - exact).abs().max())


def test_as_many_iterations_as_there_are_waves_solve_the_system():
    """Waves so small that nothing is transported: w conjugate gradients solve for w of them, w - 1 do not."""
    u = states((2, 5, 9), 1e-9)
    exact = SemiImplicitKuramotoSivashinsky(48, 1.0)(u, length=LENGTHS)
    errors = [change(IterativeKuramotoSivashinsky(48, 1.0, 1, k), u, exact) / 1e-9 for k in (1, 2, 3)]
    assert errors[0] > 1e-3 and errors[1] > 1e-6 and errors[2] < 1e-8


def test_the_error_falls_to_rounding_and_faster_than_the_bound_of_the_method():
    u = states((1, 2, 3, 5, 8))
    exact = SemiImplicitKuramotoSivashinsky(48, 0.5)(u, length=LENGTHS)
    errors = [change(IterativeKuramotoSivashinsky(48, 0.5, 1, k), u, exact) for k in (1, 2, 4, 8, 16, 48)]
    assert all(later < earlier for earlier, later in zip(errors, errors[1:])) and errors[-1] < 1e-12
    largest = 4 / (LENGTHS.min() / 48)**2
    condition = float((1 + 0.5 * (largest**2 - largest)) / (1 - 0.5 / 4))
    rate = (condition**0.5 - 1) / (condition**0.5 + 1)
    start = float((u - exact).norm())
    assert errors[4] < 2 * condition**0.5 * rate**16 * 2 * start  # two systems, the second with the error of the first


def test_a_small_system_is_solved_as_by_elimination():
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(5, 5, generator=generator, dtype=torch.float64)
    b, matrix = torch.randn(5, generator=generator, dtype=torch.float64), root @ root.T + torch.eye(5).double()
    with math.precision(64):
        found = conjugate_gradients(
            lambda w: math.wrap(matrix @ w.native("x"), math.spatial("x")), math.wrap(b, math.spatial("x")),
            math.wrap(torch.zeros(5, dtype=torch.float64), math.spatial("x")), 5).native("x")
    assert torch.allclose(found, torch.linalg.solve(matrix, b), atol=1e-10)


@pytest.mark.parametrize("iterations", [1, 3])
def test_every_iteration_keeps_the_sum_and_a_state_at_rest(iterations):
    solver, u = IterativeKuramotoSivashinsky(48, 1.0, 2, iterations), states((1, 4, 7)) + 0.3
    assert (solver(u, length=LENGTHS).sum(2) - u.sum(2)).abs().max() < 1e-12
    rest = torch.zeros(3, 1, 48, dtype=torch.float64, requires_grad=True)
    at_rest = solver(rest, length=LENGTHS)
    (gradient,) = torch.autograd.grad(at_rest.square().sum(), rest)
    assert (at_rest == 0).all() and (gradient == 0).all()


def value_and_gradient(solver, u):
    u_next = solver(u, length=LENGTHS)
    return u_next.detach(), torch.autograd.grad(u_next.pow(3).sum(), u)[0]


def errors(waves, iterations):
    """Of the value and of the gradient, relative to those of the exact solve."""
    u = states(waves)
    u = (u / u.std()).requires_grad_()
    exact = value_and_gradient(SemiImplicitKuramotoSivashinsky(48, 0.5), u)
    found = value_and_gradient(IterativeKuramotoSivashinsky(48, 0.5, 1, iterations), u)
    return [float((a - b).norm() / b.norm()) for a, b in zip(found, exact)]


def test_the_gradient_converges_with_the_value_where_the_state_has_all_waves():
    values, gradients = zip(*[errors(range(1, 24), k) for k in (1, 24, 48)])
    assert values[0] > 0.1 and gradients[0] > 0.1 and values[2] < 1e-14 and gradients[2] < 1e-14
    assert max(values[1], gradients[1]) < 1e-6


def test_the_gradient_may_be_wrong_where_the_value_is_right():
    """The iterations fit the waves that the state has: a wave that it lacks is amplified instead of solved for."""
    value, gradient = errors((1, 2, 3, 5, 8), 16)
    assert value < 0.01 and gradient > 1e3


def test_the_problem_solves_the_system_of_the_chapter_with_so_many_iterations():
    for scheme, iterations in ks_solves.schemes.items():
        solver = ks_solves.coarse_solver(scheme).solver
        assert (solver.dt, solver.num_substeps) == (1.0, 2) and getattr(solver, "num_iterations", None) == iterations
    last = ks_solves.coarse_solver("converged").solver
    assert type(last) is type(ks_schemes.coarse_solver("differences, 2").solver) is SemiImplicitKuramotoSivashinsky
    assert torch.equal(ks_solves.data("inside", 3, 48).states, ks_schemes.data("inside", 3, 48).states)


@pytest.mark.parametrize("iterations", [0, 1.5])
def test_no_iterations_and_a_part_of_one_are_refused(iterations):
    with pytest.raises(ValueError, match="num_iterations is .*; give a whole number of at least 1"):
        IterativeKuramotoSivashinsky(48, 1.0, 2, iterations)
