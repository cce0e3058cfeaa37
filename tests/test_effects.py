"""Ratios, intervals and tests with known answers; blow-ups and too few seeds."""

import math

import numpy as np
import pytest
from scipy import stats

from dpbook_course.claims import effects as statistics
from dpbook_course.claims.effects import (
    AS_CLAIMED,
    MIN_SEEDS,
    NO_DIFFERENCE,
    OTHER_WAY,
    UNDECIDED,
    paired_ratio,
)
from dpbook_course.claims.wall_clock import at_time

B = np.array([0.1, 0.2, 0.3, 0.5, 0.8, 1.3])
HALF = B * np.array([0.4, 0.5, 0.625, 0.5, 0.45, 0.5 / 0.9])  # factors with geometric mean 1/2


def test_a_known_ratio():
    found = paired_ratio(HALF, B)
    assert found.ratio == pytest.approx(0.5)
    assert 0.4 < found.low < 0.5 < found.high < 0.625
    assert (found.num_pairs, found.wins, found.blown_up_a, found.blown_up_b) == (6, 6, 0, 0)
    assert found.p_value == pytest.approx(2 / 2**6) and found.reading == AS_CLAIMED
    turned = paired_ratio(B, HALF)
    assert turned.ratio == pytest.approx(2) and turned.wins == 0 and turned.p_value == found.p_value
    assert turned.reading == OTHER_WAY


def test_pairs_count_and_not_averages():
    """Seeds differ by a factor of 13, the set-ups by 10 %: paired, this is seen."""
    assert paired_ratio(0.9 * B, B).reading == AS_CLAIMED
    assert paired_ratio(0.9 * B[::-1], B).reading == UNDECIDED


def test_equal_values_are_ties():
    found = paired_ratio(B, B)
    assert (found.ratio, found.low, found.high, found.wins, found.p_value) == (1, 1, 1, 0, 1)
    assert found.reading == NO_DIFFERENCE
    one_differs = paired_ratio([0.5, *B[1:]], B)
    assert one_differs.p_value == 1, "ties are not counted as wins of anybody"


def test_a_constant_ratio_has_an_interval_of_one_point():
    found = paired_ratio(B / 2, B)
    assert (found.ratio, found.low, found.high) == pytest.approx((0.5,) * 3) and found.reading == AS_CLAIMED


def test_five_seeds_never_give_a_reading():
    found = paired_ratio(1e-6 * HALF[:5], B[:5])
    assert found.high < 1 and found.wins == 5 and found.p_value == 2 / 2**5 > 0.05
    assert found.reading == paired_ratio([1e-9], [1.0]).reading == ""
    assert MIN_SEEDS == 6 and stats.wilcoxon(range(1, 7)).pvalue < 0.05 < stats.wilcoxon(range(1, 6)).pvalue


@pytest.mark.parametrize("num_seeds", [6, 9, 12, 20])
def test_the_test_on_ranks_is_that_of_scipy(num_seeds):
    numbers = np.random.default_rng(0).normal(0.3, 1, (50, num_seeds))
    p, side = statistics.signed_rank(numbers)
    np.testing.assert_allclose(p, stats.wilcoxon(numbers, axis=-1, method="exact").pvalue)
    assert p[0] == statistics.signed_rank(numbers[0])[0] and set(side) <= {-1, 0, 1}


def test_the_test_on_ranks_is_exact_with_ties_and_zeros():
    numbers = np.round(2 * np.random.default_rng(0).normal(0.3, 1, (8, 8)))
    every = stats.PermutationMethod(n_resamples=2**8)
    expected = [stats.wilcoxon(row, method=every).pvalue for row in numbers]
    np.testing.assert_allclose(statistics.signed_rank(numbers)[0], expected)
    assert statistics.signed_rank(np.zeros(6)) == (1, 0)
    assert statistics.signed_rank([-1, -2, -3, 0, 0, 0.0])[0] == 2 / 2**3, "zeros are left out"


def test_a_seed_that_was_lost_has_the_highest_rank():
    numbers = np.array([-1.0, -2, -3, -4, -5, math.inf])
    assert statistics.signed_rank(numbers)[0] == statistics.signed_rank([-1.0, -2, -3, -4, -5, 6])[0] == 14 / 32
    shared = statistics.signed_rank([-1.0, -2, -3, -4, math.inf, math.inf, -math.inf, math.nan])
    assert shared[0] == statistics.signed_rank([-1.0, -2, -3, -4, 9, 9, -9, 0])[0]


def test_the_four_readings():
    """Where the interval lies within the margin, a difference that the test sees is none that matters."""
    def reading(numbers, question=statistics.RATIO):
        return statistics.READINGS[int(statistics.read(numbers, question).code)]

    spread = np.array([-0.02, -0.01, 0.0, 0.0, 0.01, 0.02])
    assert reading(spread - 0.2) == AS_CLAIMED and reading(spread + 0.2) == OTHER_WAY
    assert reading(spread - 0.03) == NO_DIFFERENCE and statistics.signed_rank(spread - 0.03)[0] < 0.05
    assert reading(spread - 0.05) == AS_CLAIMED, "it crosses the margin"
    assert reading(20 * spread - 0.1) == UNDECIDED
    assert reading(spread - 0.03, statistics.BELOW) == AS_CLAIMED, "no margin"
    assert reading(spread / 3 - 0.03, statistics.FRACTION) == NO_DIFFERENCE
    band = statistics.Question(-0.1, 0.1, inside=True)
    assert [reading(spread + x, band) for x in (0.0, 0.1, 0.3)] == [AS_CLAIMED, UNDECIDED, OTHER_WAY]


def test_the_p_of_a_band_is_that_of_its_interval():
    """As claimed at 5 % and p < 0.05 are the same: two one-sided tests."""
    numbers, band = np.random.default_rng(0).normal(0, 0.1, (200, 6)), statistics.Question(-0.1, 0.1, inside=True)
    found = statistics.read(numbers, band)
    assert np.array_equal(found.code == 0, found.p < 0.05) and 0.2 < (found.code == 0).mean() < 0.8


def test_holms_correction():
    assert statistics.corrected([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert statistics.corrected([[0.5, 0.001], [0.9, 0.9]]) == pytest.approx(np.array([[0.5, 0.002], [1, 1]]))
    assert statistics.corrected([0.02]) == pytest.approx([0.02])


def test_how_many_seeds_are_expected_to_decide():
    numbers = np.log([0.8, 0.85, 0.9, 0.95, 1.02, 0.84])
    assert statistics.paired_ratio(np.exp(numbers), np.ones(6)).reading == UNDECIDED
    six, twenty = (statistics.expected(numbers, statistics.RATIO, n) for n in (6, 20))
    assert six[0] == UNDECIDED and twenty[0] == AS_CLAIMED and twenty[1] < 0.01 < six[1]
    equal = numbers - numbers.mean()
    assert statistics.expected(equal, statistics.RATIO, 12)[0] == UNDECIDED
    assert statistics.expected(equal, statistics.RATIO, 64)[0] == NO_DIFFERENCE
    lost = np.array([*numbers[:3], math.inf, math.inf, math.inf])
    assert statistics.expected(lost, statistics.RATIO, 64)[0] == UNDECIDED, "half of the seeds is lost"


@pytest.mark.parametrize("blown", [math.inf, math.nan])
def test_a_blow_up_cannot_be_dropped(blown):
    """The five other pairs would say that a is better; with the sixth, nothing is decided."""
    a = HALF.copy()
    a[2] = blown
    found = paired_ratio(a, B)
    assert (found.num_pairs, found.wins, found.blown_up_a, found.blown_up_b) == (6, 5, 1, 0)
    assert found.p_value > 0.1 and found.high < 1 and found.reading == UNDECIDED
    assert found.ratio == pytest.approx(stats.gmean(np.delete(HALF / B, 2)))


def test_blow_ups_of_the_other_side_are_wins():
    found = paired_ratio(HALF, [*B[:4], math.inf, math.nan])
    assert (found.wins, found.blown_up_b) == (6, 2) and found.reading == AS_CLAIMED
    none_left = paired_ratio(HALF, [math.inf] * 6)
    assert math.isnan(none_left.ratio) and none_left.reading == AS_CLAIMED
    both = paired_ratio([math.inf] * 6, [math.inf] * 6)
    assert both.p_value == 1 and both.reading == UNDECIDED
    worse_where_seen = paired_ratio([*2 * HALF[:2], *HALF[2:]] * np.array([9, 9, 9, 9, 9, 9]), [math.inf] * 5 + [B[5]])
    assert worse_where_seen.reading != OTHER_WAY


@pytest.mark.parametrize("a, b, message", [
    ([1.0, 2.0], [1.0], "same seeds"), ([], [], "one value per seed"), ([[1.0]], [[1.0]], "one value per seed"),
    ([0.0, 1.0], [1.0, 1.0], "a is .* positive"), ([1.0, 1.0], [-1.0, 1.0], "b is .* differences")])
def test_what_is_no_pair_is_refused(a, b, message):
    with pytest.raises(ValueError, match=message):
        paired_ratio(a, b)


def test_intervals_of_one_sample():
    found = statistics.mean_interval([1.0, 2.0, 3.0, 4.0])
    assert found.value == 2.5
    assert (found.low, found.high) == pytest.approx(stats.t.interval(0.95, 3, 2.5, stats.sem([1, 2, 3, 4])))
    geometric = statistics.geometric_mean_interval([1.0, 10.0, 100.0])
    assert geometric.value == pytest.approx(10) and geometric.low < 10 < geometric.high
    alone = statistics.mean_interval([3.0])
    assert alone.value == 3 and math.isnan(alone.low)
    assert statistics.mean_interval([0.0, 0.0]) == (0, 0, 0)
    with pytest.raises(ValueError, match="number of blow-ups"):
        statistics.mean_interval([1.0, math.inf])
    with pytest.raises(ValueError, match="positive"):
        statistics.geometric_mean_interval([1.0, 0.0])


def test_error_at_equal_time():
    seconds = [10.0, 100.0, 1000.0]
    errors = np.array([[1.0, 0.1, 0.01], [2.0, 1.0, math.inf]])  # the first: error = 10 / seconds
    assert at_time(seconds, errors, 50.0)[0] == pytest.approx(0.2)
    assert at_time(seconds, errors, 500.0) == pytest.approx([0.02, math.inf])
    assert at_time(seconds, errors, 100.0) == pytest.approx([0.1, 1.0])
    assert at_time(seconds, errors, 10.0) == pytest.approx([1.0, 2.0])
    for outside in (9.99, 1001.0):
        assert np.isnan(at_time(seconds, errors, outside)).all(), "nothing is extrapolated"
    with pytest.raises(ValueError, match="seconds increase"):
        at_time([1.0, 1.0], [[1.0, 1.0]], 1.0)
    with pytest.raises(ValueError, match="budgets"):
        at_time(seconds, errors.T, 1.0)
