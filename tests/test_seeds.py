"""What the seeds of a variant say together, on made-up results with known answers."""

import math

import numpy as np
import pandas
import pytest
import torch

import dpbook_course as course
from dpbook_course.claims.effects import geometric_mean_interval, paired_ratio

ERRORS = np.array([1.0, 1.3, 0.8, 1.1, 0.6, 0.9])
LOST = np.array([-1, -1, 40, -1, -1, -1])  # the update at which a training diverged


def rows(variant, budget, errors, diverged_at, curves=None):
    return [{"variant": variant, "budget": budget, "seed": seed, "error.inside": error, "diverged_at": at,
             "curve.inside": error * np.array([1.0, 2.0, 4.0])}
            for seed, (error, at) in enumerate(zip(errors, diverged_at))]


WHOLE = np.full(6, -1)
FRAME = pandas.DataFrame(rows("ONE", 100, ERRORS, WHOLE) + rows("WIG-3", 100, ERRORS / 2, LOST)
                         + rows("WIG-3", 200, ERRORS / 4, WHOLE) + rows("P", 0, [3.0], [-1]))


def test_a_ratio_is_that_of_the_seeds_in_which_no_training_diverged():
    found = course.ratio(FRAME, "WIG-3", "ONE", 100)
    assert found[:3] == pytest.approx((0.5, 0.5, 0.5)) and found.seeds == pytest.approx([0.5] * 5)
    assert (found.num_pairs, found.blown_up_a, found.blown_up_b) == (6, 1, 0)
    assert f"{found}" == str(found) == "0.50 (0.50 to 0.50; 1 of 6 seeds lost)"
    assert found.drawn == (*found[:3], found.seeds)
    whole = course.ratio(FRAME, "WIG-3", "ONE", 100, last_finite=True)
    assert whole.num_pairs == 6 and f"{whole:.3f}" == "0.500 (0.500 to 0.500)"


def test_a_ratio_pairs_the_seeds_also_if_they_are_stored_in_another_order():
    frame = pandas.concat([FRAME[FRAME.variant == "ONE"], FRAME[FRAME.variant != "ONE"].iloc[::-1]])
    assert course.ratio(frame, "ONE", "WIG-3", 100, budget_b=200).seeds == pytest.approx([4.0] * 6)


def test_what_has_seeds_without_a_training_is_paired_by_them():
    """Such as a scheme alone, of which each seed has states of its own; a baseline is one number."""
    frame = pandas.concat([FRAME, pandas.DataFrame(rows("alone", 0, 2 * ERRORS, WHOLE))])
    assert course.ratio(frame, "ONE", "alone", 100, budget_b=0).seeds == pytest.approx([0.5] * 6)
    assert course.ratio(frame, "alone", "ONE", 0, budget_b=100).seeds == pytest.approx([2.0] * 6)


def test_a_baseline_is_one_number_for_all_seeds():
    expected = paired_ratio(np.full(6, 3.0), ERRORS)
    assert course.ratio(FRAME, "P", "ONE", 0, budget_b=100) == expected
    assert course.ratio(FRAME, "ONE", "P", 100, budget_b=0).seeds == pytest.approx(ERRORS / 3)
    assert course.ratio(FRAME, "P", "P", 0).num_pairs == 1


def test_a_ratio_without_results_is_of_no_pairs():
    found = course.ratio(FRAME, "WIG-8", "ONE", 100)
    assert math.isnan(found.ratio) and found.num_pairs == 0 and not found.reading
    with pytest.raises(KeyError, match=r"error\.above"):
        course.ratio(FRAME, "WIG-3", "ONE", 100, "error.above")


def test_an_interval_leaves_out_and_counts_what_diverged():
    found = course.interval(FRAME, "WIG-3", 100)
    kept = geometric_mean_interval(np.delete(ERRORS, 2) / 2)
    assert (found.value, found.low, found.high) == kept and (found.num_seeds, found.num_diverged) == (6, 1)
    assert str(found) == f"{kept.value:.3f} ({kept.low:.3f} to {kept.high:.3f}), 1 diverged"
    assert f"{found:.1f}".startswith(f"{kept.value:.1f} (")
    assert str(course.interval(FRAME, "P", 0)) == "3.000" and str(course.interval(FRAME, "WIG-8", 100)) == ""
    gone = pandas.DataFrame(rows("ONE", 100, [1.0, 2.0], [3, 4]))
    assert str(course.interval(gone, "ONE", 100)) == "2 diverged"


def test_an_interval_is_shown_as_its_text_in_a_table():
    table = pandas.DataFrame({"100 updates": {"ONE": course.interval(FRAME, "ONE", 100)}})
    assert str(course.interval(FRAME, "ONE", 100)) in table.to_string() and "SeedMean" not in table.to_html()


def test_arrays_are_stacked_in_the_order_of_the_seeds():
    found = course.stacked(FRAME.iloc[::-1], "ONE", 100, "curve.inside")
    assert found == pytest.approx(ERRORS[:, None] * np.array([1.0, 2.0, 4.0]))
    with pytest.raises(LookupError, match=r"'ONE' at budget 7; there are those at \[100\]"):
        course.stacked(FRAME, "ONE", 7, "curve.inside")
    with pytest.raises(LookupError, match="the variants are ONE, WIG-3, P"):
        course.stacked(FRAME, "WIG-8", 100, "curve.inside")


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_a_band_is_the_geometric_mean_and_the_range(kind):
    x, middle, low, high = course.band(kind([[1.0, 4.0], [4.0, 9.0]]))
    assert x.tolist() == [1, 2] and middle == pytest.approx([2.0, 6.0])
    assert low.tolist() == [1.0, 4.0] and high.tolist() == [4.0, 9.0]
    assert course.band(kind([[1.0, 4.0]]), [16, 32])[0].tolist() == [16, 32]


def test_a_band_has_a_gap_where_a_seed_is_not_finite_and_bears_zeros():
    _, middle, low, high = course.band([[1.0, math.inf, 0.0], [4.0, 9.0, 1.0]])
    assert middle[[0, 2]].tolist() == pytest.approx([2.0, 0.0])
    assert np.isnan([middle[1], low[1], high[1]]).all()


@pytest.mark.parametrize("values, x, message", [
    ([1.0, 2.0], None, r"shape \(2,\); give \(seeds, points\)"), ([[1.0, -2.0]], None, "some of them negative"),
    ([[1.0, 2.0]], [1], r"\(1,\) places for 2 points")])
def test_what_is_no_band_is_refused(values, x, message):
    with pytest.raises(ValueError, match=message):
        course.band(values, x)


# Slips ----------------------------------------------------------------------------------------------------------------

SIX = pandas.DataFrame([{"variant": v, "budget": 100, "seed": s, "error.inside": 1.0 + s, "diverged_at": -1,
                           "curve.inside": np.ones(3)} for v in "AB" for s in range(6)])


@pytest.mark.parametrize("slip, message", [
    (lambda: course.interval(SIX, "A", 100, "error.insde"), "no metric 'error.insde'; did you mean error.inside"),
    (lambda: course.stacked(SIX, "A", 100, "curve"), "no metric 'curve'; did you mean curve.inside"),
    (lambda: course.per_seed(SIX, "A", 100, "curve.inside"), r"an array for each seed; .* course.stacked\("),
    (lambda: course.interval(SIX, "A", "100"), "budget is '100'; give a number of updates"),
    (lambda: course.ratio(SIX, "A", 100, "B"), "budget is 'B'; give a number of updates"),
    (lambda: course.interval(SIX, ["A"], 100), r"variant is \['A'\]; give the name of a variant"),
    (lambda: course.interval("e04", "A", 100), "frame is 'e04'; give a frame of results, as course.measured"),
    (lambda: course.stacked(None, "A", 100, "curve.inside"), "frame is None; give a frame of results"),
    (lambda: course.at_equal_time(SIX, "A", 100, "B", (100,), "error.inside"), "budgets_a is 100; give all"),
    (lambda: course.at_equal_time(SIX, "A", (100,), "B", (), "error.inside"), r"budgets_b is \(\); give all"),
    (lambda: course.band(np.ones((0, 4))), r"band: got values of shape \(0, 4\)"),
    (lambda: course.band("ab"), "band: values is 'ab'; give real numbers"),
    (lambda: course.band(1j * np.ones((3, 4))), "give real numbers"),
    (lambda: course.measured(None), "experiment is None; give the id of an experiment"),
    (lambda: course.complete(3), "experiment is 3; give the id of an experiment")])
def test_slips_are_named(slip, message):
    with pytest.raises((KeyError, TypeError, ValueError), match=message):
        slip()


def test_a_seed_that_both_sides_lost_counts_once():
    a, b = SIX.copy(), SIX.copy()
    a.loc[a.seed == 0, "diverged_at"] = 3  # of both
    assert "1 of 6 seeds lost" in str(course.ratio(a, "A", "B", 100))
    b.loc[(b.seed == 0) & (b.variant == "A") | (b.seed == 1) & (b.variant == "B"), "diverged_at"] = 3
    assert "2 of 6 seeds lost" in str(course.ratio(b, "A", "B", 100))


def test_a_curve_with_a_gradient_is_drawn():
    assert course.band(torch.ones(3, 4, requires_grad=True))[1].tolist() == [1.0] * 4
