"""Projection around a cylinder: PhiFlow's own with a direct solve, adjoint, restriction, rounding limits, errors."""

import re

import pytest
import torch
from phi.geom import Sphere
from phi.physics import fluid
from phiml import math
from phiml.math import Solve
from torch import nn

from dpbook_utils.coupling import Additive
from dpbook_utils.physics.obstacle import INFLOW, ChannelDivergence, ChannelProjection
from dpbook_utils.physics.phiflow import box, from_staggered, staggered
from dpbook_utils.physics.trace import trace
from dpbook_utils.rollout import Sequential

LENGTH, CENTRE = (4.0, 3.0), (1.5, 1.4)
GRID = (24, 15), LENGTH, CENTRE  # cells that are not square, a cylinder that is not symmetric to the grid


def velocity(resolution, dtype=torch.float64, batch=3):
    """The inflow, and white noise in [-1, 1]: all waves of the grid, the shortest ones included."""
    noise = torch.rand(batch, 2, *resolution, dtype=dtype, generator=torch.Generator().manual_seed(0))
    return 2 * noise - torch.tensor([0.0, 1.0]).to(dtype)[:, None, None]


def phiflows(v, action):
    """``action(field, cylinder)`` of PhiFlow in NumPy, whose sparse matrices raise no warning."""
    with math.precision(64):
        field = staggered(v.numpy(), box(dict(zip("xy", LENGTH))), INFLOW)
        return torch.as_tensor(from_staggered(action(field, Sphere(**dict(zip("xy", CENTRE)), radius=0.5))))


@pytest.mark.parametrize("dtype, limit", [(torch.float32, 1e-5), (torch.float64, 1e-11)])
@pytest.mark.parametrize("resolution", [(64, 32), (128, 64)])
def test_the_projected_velocity_is_free_of_divergence(resolution, dtype, limit):
    projection, divergence = ChannelProjection(resolution), ChannelDivergence(resolution)
    v = velocity(resolution, dtype)
    v_next = projection(v)
    assert v_next.dtype == dtype
    assert divergence(v).abs().max() > 10
    assert divergence(v_next).abs().max() < limit
    assert torch.equal(v_next * projection.open.to(dtype), v_next)  # nothing flows at the cylinder


def test_equals_phiflows_projection_with_a_direct_solve():
    """PhiFlow also multiplies with its own mask of the cylinder: ours is given that product, PhiFlow ours."""
    projection, v = ChannelProjection(*GRID), velocity(GRID[0])
    masked = phiflows(v, fluid.apply_boundary_conditions)
    assert (masked - v).abs().max() > 0.1
    solve = Solve("scipy-direct", 1e-13, 1e-13)
    expected = phiflows(v * projection.open, lambda *args: fluid.make_incompressible(*args, solve)[0])
    assert torch.allclose(projection(masked), expected, rtol=0, atol=1e-12)


def test_divergence_is_the_outflow_of_each_cell_of_the_fluid():
    divergence, v = ChannelDivergence(*GRID), velocity(GRID[0])
    dx, dy = divergence.dx
    left = torch.cat([torch.ones_like(v[:, 0, :1]), v[:, 0, :-1]], 1)
    outflow = (v[:, 0] - left) / dx + (v[:, 1].roll(-1, 2) - v[:, 1]) / dy
    assert torch.allclose(divergence(v)[:, 0], outflow * divergence.fluid, rtol=1e-13, atol=1e-12)


def test_the_cylinder_is_where_it_should_be():
    projection = ChannelProjection((200, 150), LENGTH, CENTRE)
    dx, dy = projection.dx
    solid = 1 - projection.fluid
    assert float(solid.sum() * dx * dy) == pytest.approx(torch.pi / 4, rel=0.01)
    x, y = ((torch.arange(n) + 0.5) * d for n, d in zip((200, 150), (dx, dy)))
    assert float((solid.sum(1) * x).sum() / solid.sum()) == pytest.approx(CENTRE[0], abs=0.2 * dx)
    assert float((solid.sum(0) * y).sum() / solid.sum()) == pytest.approx(CENTRE[1], abs=0.2 * dy)


def test_is_the_orthogonal_projection():
    """Idempotent, and what it takes off is orthogonal to the differences of what it leaves."""
    projection, v = ChannelProjection(*GRID), velocity(GRID[0])
    v_next = projection(v)
    assert torch.allclose(projection(v_next), v_next, rtol=0, atol=1e-12)
    assert abs(float(((v - v_next)[0] * (v_next[0] - v_next[1])).mean())) < 1e-13


def test_is_its_own_adjoint():
    """Affine because of the inflow; its linear part is what it does to differences."""
    projection, v = ChannelProjection(*GRID), velocity(GRID[0]).requires_grad_()
    weights = torch.randn(v.shape, dtype=v.dtype, generator=torch.Generator().manual_seed(1))
    gradient, = torch.autograd.grad(projection(v), v, weights)
    assert torch.allclose(gradient, projection(weights) - projection(0 * weights), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", [ChannelProjection, ChannelDivergence])
def test_traces_and_differentiates(kind):
    operator, v = kind(*GRID), velocity(GRID[0])
    traced = trace(operator, v)
    assert torch.equal(traced(v), operator(v))
    v.requires_grad_()
    assert torch.autograd.gradcheck(traced, v, eps=1e-4, atol=1e-7, fast_mode=True)
    assert torch.autograd.gradgradcheck(traced, v, eps=1e-4, atol=1e-7, fast_mode=True)


def test_as_a_hard_constraint_on_a_network():
    network, grid = nn.Conv2d(2, 2, 3, padding=1), ((64, 32),)
    hybrid = Sequential(Additive(network), ChannelProjection(*grid))
    v = velocity(*grid, torch.float32)
    assert ChannelDivergence(*grid)(hybrid(v)).abs().max() < 1e-5
    assert torch.autograd.grad(hybrid(v).square().mean(), network.weight)[0].abs().max() > 0


def test_restriction_keeps_what_flows_through_each_coarse_face():
    """Away from the cylinder, whose coarse cells differ from the fine ones, the means over the faces stay."""
    fine, coarse = ChannelProjection((256, 128)), ChannelProjection((64, 32))
    y = (torch.arange(128, dtype=torch.float64) + 0.5) / 128 * 2 * torch.pi
    wavy = torch.stack([1 + 0.3 * y.sin().expand(256, -1), 0.3 * y.cos().expand(256, -1)])[None]
    v = fine(wavy)
    found = coarse.restrict(v)
    x_faces = v[:, 0, 3::4].unflatten(-1, (32, 4)).mean(-1)
    y_faces = v[:, 1, :, ::4].unflatten(-2, (64, 4)).mean(-2)
    means = torch.stack([x_faces, y_faces], 1)
    assert ChannelDivergence((64, 32))(means).abs().max() < 1e-10  # the means alone are free of divergence
    assert ChannelDivergence((64, 32))(found).abs().max() < 1e-12
    assert (found - means)[:, :, 32:].abs().max() < 0.01 < (found - means).abs().max()
    assert torch.allclose(coarse.restrict(v.expand(5, 1, -1, -1, -1)), found, rtol=0, atol=1e-13)


@pytest.mark.parametrize("shape", [(1, 2, 100, 64), (1, 2, 128, 32), (1, 1, 128, 64)])
def test_only_whole_factors_restrict(shape):
    with pytest.raises(ValueError, match=r"states of shape \(..., 2, k \* 64, k \* 32\) with an integer k; given"):
        ChannelProjection((64, 32)).restrict(torch.zeros(shape))


@pytest.mark.parametrize("centre", [(0.5, 2.5), (9.8, 2.5), (2.5, 0.3), (2.5, 4.5)])
def test_a_cylinder_outside_the_channel_is_refused(centre):
    with pytest.raises(ValueError, match="is not inside the channel with two cells to spare; expected 0.8"):
        ChannelProjection((64, 32), centre=centre)


def test_a_grid_that_does_not_resolve_the_cylinder_is_refused():
    with pytest.raises(ValueError, match="do not resolve the cylinder; give at least 20 cells along x"):
        ChannelProjection((16, 16))


CELLS, SIDES = "two whole numbers, cells along x and y", "two positive numbers, the sides"
POINT = "two numbers, the cylinder's x and y"


@pytest.mark.parametrize("name, value, message", [
    ("num_points", 64, f"is 64; give {CELLS}"), ("num_points", (64.0, 32.0), f"is (64.0, 32.0); give {CELLS}"),
    ("num_points", (64, 32, 32), CELLS), ("length", 10.0, f"is 10.0; give {SIDES}"),
    ("length", (10.0, 5.0, 5.0), SIDES), ("length", (float("inf"), 5.0), SIDES),
    ("length", ("long", 5.0), SIDES), ("length", None, SIDES),
    ("centre", (2.5,), f"is (2.5,); give {POINT}"), ("centre", (2.5, 2.5, 1.0), POINT),
    ("centre", (float("nan"), 2.5), POINT), ("centre", 2.5, POINT)])
def test_what_is_no_pair_is_refused(name, value, message):
    with pytest.raises(ValueError, match=f"ChannelProjection: {name} .*{re.escape(message)}"):
        ChannelProjection(**{"num_points": (64, 32), name: value})


@pytest.mark.parametrize("kind", [ChannelProjection, ChannelDivergence])
def test_another_shape_is_refused(kind):
    with pytest.raises(ValueError, match=r"has shape \(3, 2, 15, 24\), expected \(batch, 2, 24, 15\)"):
        kind(*GRID)(velocity((15, 24)))
