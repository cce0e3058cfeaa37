"""Projection and divergence: PhiFlow's own operators, adjoints, rounding limits in both precisions."""

import pytest
import torch
from phi.physics import fluid
from phiml import math
from phiml.math import Solve
from torch import nn

from dpbook_utils.coupling import Replace
from dpbook_utils.physics.exact import TaylorGreen, cell_centres, lower_faces
from dpbook_utils.physics.phiflow import box, from_staggered, staggered
from dpbook_utils.physics.projection import Divergence, Projection, vorticity
from dpbook_utils.physics.trace import trace
from dpbook_utils.rollout import Sequential

GRID = (12, 9), (1.5, 0.7)  # even and odd, cells that are not square


def velocity(resolution, dtype=torch.float64, batch=3):
    """White noise in [-1, 1]: all waves of the grid, the shortest ones included."""
    return 2 * torch.rand(batch, 2, *resolution, dtype=dtype, generator=torch.Generator().manual_seed(0)) - 1


@pytest.mark.parametrize("dtype, limit", [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_the_projected_velocity_is_free_of_divergence(dtype, limit):
    grid = (64, 64), (2 * torch.pi, 2 * torch.pi)
    v = velocity(grid[0], dtype)
    v_next = Projection(*grid)(v)
    assert v_next.dtype == dtype
    assert Divergence(*grid)(v).abs().max() > 10
    assert Divergence(*grid)(v_next).abs().max() < limit


def test_equals_phiflows_iterative_projection():
    v = velocity(GRID[0])
    with math.precision(64):  # in NumPy, whose sparse matrices raise no warning
        field = staggered(v.numpy(), box(dict(zip("xy", GRID[1]))))
        expected, _ = fluid.make_incompressible(field, solve=Solve("CG", 1e-14, 1e-14, rank_deficiency=0))
    expected = torch.as_tensor(from_staggered(expected))
    assert torch.allclose(Projection(*GRID)(v), expected, rtol=0, atol=1e-13)


def test_is_the_orthogonal_projection():
    """Idempotent, keeps the mean, and what it takes off is orthogonal to what it leaves: the nearest such velocity."""
    v = velocity(GRID[0])
    v_next = Projection(*GRID)(v)
    assert torch.allclose(Projection(*GRID)(v_next), v_next, rtol=0, atol=1e-14)
    assert torch.allclose(v_next.mean((2, 3)), v.mean((2, 3)), rtol=0, atol=1e-15)
    assert ((v - v_next) * v_next).mean((1, 2, 3)).abs().max() < 1e-15


def test_divergence_is_the_outflow_of_each_cell():
    v, dx, dy = velocity(GRID[0]), 1.5 / 12, 0.7 / 9
    outflow = (v[:, :1].roll(-1, 2) - v[:, :1]) / dx + (v[:, 1:].roll(-1, 3) - v[:, 1:]) / dy
    assert torch.allclose(Divergence(*GRID)(v), outflow, rtol=1e-13, atol=1e-12)


@pytest.mark.parametrize("operator", [Projection(*GRID), Divergence(*GRID)])
def test_traces_and_differentiates(operator):
    v = velocity(GRID[0])
    traced = trace(operator, v)
    assert torch.equal(traced(v), operator(v))
    assert torch.autograd.gradcheck(traced, v.requires_grad_(), eps=1e-4, atol=1e-7, fast_mode=True)


def test_the_projection_is_its_own_adjoint():
    projection, v = Projection(*GRID), velocity(GRID[0]).requires_grad_()
    weights = torch.randn_like(v)
    gradient, = torch.autograd.grad(projection(v), v, weights)
    assert torch.allclose(gradient, projection(weights), rtol=0, atol=1e-13)


def test_as_a_loss_and_as_a_hard_constraint_on_a_network():
    """N then P: the divergence trains the network; behind the projection nothing is left to train away."""
    v = velocity(GRID[0], torch.float32)
    network = nn.Conv2d(2, 2, 3, padding=1)
    loss = Sequential(Replace(network), Divergence(*GRID))(v).square().mean()
    assert all(g.abs().max() > 0 for g in torch.autograd.grad(loss, [network.weight]))
    constrained = Sequential(Replace(network), Projection(*GRID))(v)
    assert Divergence(*GRID)(constrained).abs().max() < 1e-5
    assert torch.autograd.grad(constrained.square().mean(), network.weight)[0].abs().max() > 0


def test_vorticity_of_taylor_green_is_second_order():
    k = (2 * torch.pi, 4 * torch.pi)
    solution, errors = TaylorGreen(k, viscosity=0.0), []
    for n in (16, 32):
        x, y = cell_centres((n, n), (1.0, 1.0)) - 0.5 / n  # the lower corners
        exact = -(k[0]**2 / k[1] + k[1]) * (k[0] * x).cos() * (k[1] * y).cos()
        errors.append((vorticity(solution(lower_faces((n, n), (1.0, 1.0)), 0.0), (1.0, 1.0))[0, 0] - exact).abs().max())
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.05)


@pytest.mark.parametrize("operator", [Projection(*GRID), Divergence(*GRID)])
def test_another_shape_is_refused(operator):
    with pytest.raises(ValueError, match=r"has shape \(3, 2, 9, 12\), expected \(batch, 2, 12, 9\)"):
        operator(velocity((9, 12)))
