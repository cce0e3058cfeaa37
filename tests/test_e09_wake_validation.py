"""The wake beside what others measured, from the stored runs; and that the runs measure what they say."""

import math

import pytest
import torch

from dpbook_course.experiments import results
from dpbook_course.studies.e09 import validation
from dpbook_course.studies.e09.validation import ONSET, SHEDDING, SPEC, Case

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


def test_in_the_wide_box_the_frequency_is_within_a_tenth_of_the_published_one_and_the_drag_near_its_range(stored):
    """he1997, unbounded flow: Strouhal numbers of 0.161 and 0.179, drag 1.3 to 1.4. Found is more, on a middle grid."""
    wide = stored.loc["wide"]
    for found, published in zip(wide.strouhal, (0.161, 0.179)):
        assert published < found < 1.1 * published
    assert all(1.3 < drag < 1.5 for drag in wide.drag)


def test_frequency_and_drag_fall_in_a_box_with_more_room_on_all_sides(stored):
    """Neighbours, inflow and outflow all move away: what each of them does is not known."""
    wide, narrow = stored.loc["wide"], stored.loc["128 x 64"]
    assert all(0.8 < far / near < 0.95 for far, near in zip(wide.strouhal, narrow.strouhal))
    assert all(0.75 < far / near < 0.9 for far, near in zip(wide.drag, narrow.drag))


def test_from_grid_to_grid_the_frequency_settles_the_drag_wavers_and_the_lift_grows(stored):
    """From 6.4 to 25.6 cells per diameter, at each Reynolds number. The lift is not converged, nor is the drag."""
    coarse, middle, fine = (stored.loc[name] for name in GRIDS)
    for i, reynolds in enumerate(SHEDDING):
        assert abs(middle.strouhal[i] / fine.strouhal[i] - 1) < 0.01 < 0.03 < 1 - coarse.strouhal[i] / fine.strouhal[i]
        assert middle.drag[i] < coarse.drag[i] < 1.05 * middle.drag[i], reynolds
        assert 1.04 * middle.drag[i] < fine.drag[i] < 1.15 * middle.drag[i], reynolds
        assert middle.lift_rms[i] > 1.3 * coarse.lift_rms[i] and fine.lift_rms[i] > 1.3 * middle.lift_rms[i], reynolds


def test_growth_is_that_of_the_standard_deviation():
    time = 0.1 * torch.arange(500)[:, None]
    for rate in (0.0, 0.02, -0.05):
        lift = (torch.tensor([0.3, 2.0]) * torch.exp(rate * time) * torch.sin(2 * torch.pi * 0.2 * time + 1)).double()
        assert validation.growth(lift, 0.1).tolist() == pytest.approx([rate] * 2, abs=1e-3)
    before = lift.clone()
    before[:50] = 1e3  # what settles after a change of grids
    before[250:300] = -1e3  # between the windows
    assert torch.equal(validation.growth(before, 0.1), validation.growth(lift, 0.1))


def test_growth_is_refused_for_a_run_in_which_its_windows_overlap():
    with pytest.raises(ValueError, match="a run of 49.8 units of time; two windows of 20 after the first 5 units need"):
        validation.growth(torch.ones(498, 1), 0.1)
    assert all(case.end >= 50 for name, case in SPEC.variants.items() if name != "convergence")


def test_the_table_has_all_flows_by_grid_and_box(stored):
    table = validation.table()
    assert list(table.columns) == ["cells", "spacing", "strouhal", "drag", "lift_rms", "growth"]
    assert table.index.is_unique and len(table) == 4 * len(SHEDDING) + len(ONSET) + 2
    assert table.loc[("256 x 128", 150.0), "lift_rms"] == stored.loc["256 x 128", "lift_rms"][1]
    assert table.loc["wide", ["cells", "spacing"]].drop_duplicates().values.tolist() == [[12.8, 20.0]]
    assert table.loc["64 x 32", ["cells", "spacing"]].drop_duplicates().values.tolist() == [[6.4, 5.0]]


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
