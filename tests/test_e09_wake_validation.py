"""The wake beside what others measured, from the stored runs; and that the runs measure what they say."""

import math

import pytest
import torch

from dpbook_utils.experiments import e09_wake_validation as validation
from dpbook_utils.experiments import results
from dpbook_utils.experiments.e09_wake_validation import ONSET, SHEDDING, SPEC, Case

GRIDS = ("64 x 32", "128 x 64", "256 x 128")


@pytest.fixture(scope="module")
def stored():
    frame = results.frame(SPEC).set_index("variant")
    assert set(frame.index) == set(SPEC.variants), "some runs are missing"
    return frame


def test_shedding_sets_in_above_a_critical_reynolds_number(stored):
    """47 in an unbounded flow. Neighbours and a coarse grid's own viscosity raise it, a finer grid lowers it again."""
    lift = stored.loc["onset, 64 x 32", "lift_rms"]
    growth = stored.loc["onset, 64 x 32", "growth"]
    assert all(x < 1e-3 for x, re in zip(lift, ONSET) if re <= 50) and lift[-1] > 0.01
    assert all(x < 0 for x, re in zip(growth, ONSET) if re in (40, 50, 60))  # at 30 nothing is left but rounding
    fine = stored.loc["onset, 128 x 64"]
    assert fine.growth[0] < 0 and fine.growth[1] > growth[ONSET.index(60)]


@pytest.mark.parametrize("name", [*GRIDS, "wide"])
def test_the_frequency_rises_with_the_reynolds_number_and_the_drag_falls(stored, name):
    strouhal, drag = stored.loc[name, "strouhal"], stored.loc[name, "drag"]
    assert all(0.1 < a < b < 0.3 for a, b in zip(strouhal, strouhal[1:]))
    assert all(1 < b < a < 2.5 for a, b in zip(drag, drag[1:]))


def test_far_neighbours_give_the_published_values(stored):
    """Strouhal numbers of he1997 for an unbounded flow, and the range of its drag; five diameters raise both."""
    wide, narrow = stored.loc["wide"], stored.loc["128 x 64"]
    published = dict(zip(SHEDDING, (0.161, 0.179)))
    for found, expected in zip(wide.strouhal, published.values()):
        assert found == pytest.approx(expected, rel=0.1)
    assert all(1.2 < drag < 1.6 for drag in wide.drag)
    assert all(far < near for far, near in zip(wide.strouhal, narrow.strouhal))
    assert all(far < near for far, near in zip(wide.drag, narrow.drag))


def test_no_divergence_on_any_grid(stored):
    assert all(stored.loc[name, "divergence"] < 1e-5 for name in SPEC.variants if name != "convergence")


def test_about_first_order(stored):
    """From grid to grid irregular, as the staircase of the cylinder changes its shape; in the mean about one."""
    differences = stored.loc["convergence", "differences"]
    assert 0.5 < math.log2(differences[0] / differences[-1]) / (len(differences) - 1) < 1.6


def test_a_coarse_start_is_a_state_of_the_fine_grid():
    case = Case((128, 64), 0.05, 1, (100.0,), spin_up=0.2, coarsening=2)
    solver = validation.Wake(case.num_points, case.dt)
    v = validation.grown(solver, case)
    assert v.shape == (1, 2, 128, 64) and torch.isfinite(v).all()
    assert torch.equal(v * solver.open.to(v), v)
    with torch.no_grad():
        coarse = validation.Wake((64, 32), 0.1)
        expected = coarse.start(torch.full((1,), validation.DISTURBANCE))
        for _ in range(2):
            expected = coarse(expected, reynolds=100.0)
    assert (coarse.restrict(v) - expected).norm() < 0.1 * expected.norm()


def test_states_come_at_equal_times():
    solver, reynolds = validation.Wake((24, 18), 0.05, (4.0, 3.0), (1.5, 1.5)), torch.tensor([100.0])
    v = solver.start(torch.full((1,), 0.3))
    chunks = list(validation._chunks(solver, v, reynolds, 3))
    expected = v
    with torch.no_grad():
        for _ in range(6):
            expected = solver(expected, reynolds=reynolds)
    assert [len(states) for states in chunks] == [3]
    assert torch.allclose(chunks[0][-1], expected, rtol=0, atol=1e-6)
