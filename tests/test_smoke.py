"""Smoke in a flow, and the letter that it becomes."""

import math

import pytest
import torch

from dpbook_course.problems import letter
from dpbook_utils.data import random_velocity
from dpbook_utils.diagnostics import gradient_check
from dpbook_utils.physics.navier_stokes import NavierStokes, mac_cormack, semi_lagrangian
from dpbook_utils.physics.projection import Divergence
from dpbook_utils.physics.smoke import Smoke
from dpbook_utils.physics.trace import TracedSolver

SCHEMES = (semi_lagrangian, mac_cormack)
schemes = pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.__name__)


def swirled(cells=(12, 8), seed=0, dtype=torch.float64):
    v = 0.5 * random_velocity(2, cells, modes=2, seed=seed, dtype=dtype)
    s = torch.rand(2, 1, *cells, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return torch.cat([v, s], 1)


@schemes
def test_a_uniform_flow_carries_the_smoke_and_changes_nothing_else(scheme):
    """Exact: by whole cells a step, whatever the smoke looks like."""
    u = swirled()
    u[:, 0], u[:, 1] = 1.0, -2.0
    solver = Smoke((12, 8), (12.0, 8.0), 1.0, scheme)
    found = solver(u, viscosity=0.0)
    assert torch.allclose(found[:, 2], u[:, 2].roll((1, -2), (1, 2)), atol=1e-12)
    assert torch.allclose(found[:, :2], u[:, :2], atol=1e-12)


@schemes
def test_the_flow_is_that_of_navier_stokes_and_does_not_feel_the_smoke(scheme):
    u, other = swirled(), swirled()
    other[:, 2] = 0
    solver, flow = (kind((12, 8), (1.0, 1.0), 0.02, scheme) for kind in (Smoke, NavierStokes))
    expected = flow(u[:, :2], viscosity=0.01)
    assert torch.equal(solver(u, viscosity=0.01)[:, :2], expected)
    assert torch.equal(solver(other, viscosity=0.01)[:, :2], expected)


@schemes
def test_there_are_no_new_extrema_and_uniform_smoke_stays(scheme):
    u = swirled()
    uniform = u.clone()
    uniform[:, 2] = 0.3
    solver = Smoke((12, 8), (1.0, 1.0), 0.02, scheme)
    for _ in range(10):
        u, uniform = (solver(state, viscosity=0.01) for state in (u, uniform))
        assert u[:, 2].min() >= 0 and u[:, 2].max() <= 1
    assert torch.allclose(uniform[:, 2], torch.full_like(uniform[:, 2], 0.3), atol=1e-12)


def test_the_sum_of_the_smoke_is_nearly_kept():
    """Values are moved, not fluxes: to some per mille for a smooth blob."""
    start, x = letter.blob(letter.letter("L", 32)), torch.zeros(1, letter.num_unknowns(), dtype=torch.float64)
    x[0, :20] = 0.05
    states = letter.smoke(letter.solver("MacCormack", 32), x, start)
    total = states[0, :, 2].sum((1, 2))
    assert (total / total[0] - 1).abs().max() < 0.02


@schemes
def test_the_gradient_is_that_of_differences(scheme):
    solver = TracedSolver(Smoke((8, 6), (1.5, 1.0), 0.05, scheme))

    def after(u, viscosity):
        for _ in range(3):
            u = solver(u, viscosity=viscosity)
        return u

    nu = torch.tensor([0.001, 0.003], dtype=torch.float64)
    errors = gradient_check(after, {"u": swirled((8, 6)), "viscosity": nu})
    assert max(errors.values()) < 1e-6


def test_what_smoke_cannot_be_built_with_is_told():
    with pytest.raises(ValueError, match="change"):
        Smoke((8, 8), (1.0, 1.0), 2.0).check_state(swirled((8, 8)), viscosity=torch.zeros(2))
    with pytest.raises(ValueError, match=r"shape"):
        Smoke((8, 8), (1.0, 1.0), 0.1)(torch.zeros(1, 2, 8, 8), viscosity=0.0)
    with pytest.raises(ValueError, match="mac_cormack or semi_lagrangian"):
        Smoke((8, 8), (1.0, 1.0), 0.1, lambda velocity, dt: velocity)


def test_the_initial_velocity_has_no_divergence_and_is_the_same_on_every_grid():
    x = torch.randn(1, letter.num_unknowns(), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    coarse, fine = letter.velocity(x, 32), letter.velocity(x, 96)
    assert Divergence((32, 32), (1.0, 1.0))(coarse).abs().max() < 1e-10
    same = fine[:, 0, ::3, 1::3]  # the middle of three faces lies where that of the coarse grid does
    assert (coarse[:, 0] - same).abs().max() < 0.1 * coarse.abs().max()
    speed = coarse.square().sum(1).mean().sqrt()
    assert 0.5 < speed / math.sqrt(letter.num_unknowns() / 2) < 1.5


@pytest.mark.parametrize("character", letter.LETTERS)
def test_a_letter_and_its_blob_have_as_much_smoke(character):
    wanted = letter.letter(character, 64)
    start = letter.blob(wanted)
    assert 0 <= wanted.min() and wanted.max() <= 1 and wanted.max() > 0.9
    assert float(start.sum()) == pytest.approx(float(wanted.sum()), rel=0.02)
    assert letter.overlap(wanted, wanted) == pytest.approx(1) and letter.overlap(start, wanted) < 0.85


def test_a_search_draws_the_smoke_towards_the_letter():
    wanted = letter.letter("L", 16)
    step = letter.solver("semi-Lagrangian", 16)
    seen = []
    found = letter.shape(step, wanted, 6, lambda number, x: seen.append(x.clone()))
    ends = [letter.overlap(letter.smoke(step, x, letter.blob(wanted))[:, -1, 2:], wanted).item()
            for x in (seen[0], found.x)]
    assert ends[1] > ends[0] and len(seen) == 6


def test_an_unknown_letter_or_scheme_is_told():
    with pytest.raises(ValueError, match="character"):
        letter.letter("Q", 32)
    with pytest.raises(ValueError, match="scheme"):
        letter.solver("upwind", 32)


def test_a_time_step_that_was_changed_for_the_smoke_alone_is_refused():
    solver = Smoke((8, 8), (1.0, 1.0), 0.05)
    u = torch.rand(1, 3, 8, 8)
    solver(u, viscosity=0.001)
    solver.dt = 0.1
    with pytest.raises(ValueError, match="Smoke: dt is 0.1 and that of its flow 0.05; build another solver"):
        solver(u, viscosity=0.001)


@pytest.mark.parametrize("slip, message", [
    (lambda: letter.letter("S", 1.5), "letter: num_points is 1.5; give a whole number"),
    (lambda: letter.letter("S", 0), "letter: num_points is 0; give"),
    (lambda: letter.letter("S", 16, 0), "letter: height is 0; give a number of 0 ... 1"),
    (lambda: letter.letter("S", 16, math.nan), "letter: height is nan; give"),
    (lambda: letter.solver("MacCormack", None), "letter.solver: num_points is None; give"),
    (lambda: letter.velocity(torch.zeros(2, 5), 8), r"velocity: unknowns is a tensor .* a tensor \(samples, 168\)"),
    (lambda: letter.velocity(None, 8), "velocity: unknowns is None; give"),
    (lambda: letter.overlap(torch.ones(1, 1, 8, 8), torch.ones(1, 1, 4, 4)), "the pictures have shapes .*; give two")])
def test_slips_with_letters_are_named(slip, message):
    with pytest.raises(ValueError, match=message):
        slip()
