"""Ratios, intervals and tests with known answers; blow-ups and too few seeds."""

import math

import numpy as np
import pytest
from scipy import stats

from dpbook_course.claims import effects as statistics
from dpbook_course.claims.effects import MIN_SEEDS, paired_ratio

B = np.array([0.1, 0.2, 0.3, 0.5, 0.8, 1.3])
HALF = B * np.array([0.4, 0.5, 0.625, 0.5, 0.45, 0.5 / 0.9])  # factors with geometric mean 1/2


def test_a_known_ratio():
    found = paired_ratio(HALF, B)
    assert found.ratio == pytest.approx(0.5)
    assert 0.4 < found.low < 0.5 < found.high < 0.625
    assert (found.num_pairs, found.wins, found.blown_up_a, found.blown_up_b) == (6, 6, 0, 0)
    assert found.p_value == pytest.approx(2 / 2**6) and found.smaller
    turned = paired_ratio(B, HALF)
    assert turned.ratio == pytest.approx(2) and turned.wins == 0 and turned.p_value == found.p_value
    assert not turned.smaller
    assert paired_ratio(HALF, B) == found, "the resamples are fixed"


def test_pairs_count_and_not_averages():
    """Seeds differ by a factor of 13, the set-ups by 2 %: paired, this is seen."""
    assert paired_ratio(0.98 * B, B).smaller
    assert not paired_ratio(0.98 * B[::-1], B).smaller


def test_equal_values_are_ties():
    found = paired_ratio(B, B)
    assert (found.ratio, found.low, found.high, found.wins, found.p_value) == (1, 1, 1, 0, 1) and not found.smaller
    one_differs = paired_ratio([0.5, *B[1:]], B)
    assert one_differs.p_value == 1, "ties are not counted as wins of anybody"


def test_a_constant_ratio_has_an_interval_of_one_point():
    found = paired_ratio(B / 2, B)
    assert found.low == found.ratio == found.high == pytest.approx(0.5) and found.smaller


def test_five_seeds_never_give_a_verdict():
    found = paired_ratio(1e-6 * HALF[:5], B[:5])
    assert found.high < 1 and found.wins == 5 and found.p_value > 0.05
    assert not found.smaller and not paired_ratio([1e-9], [1.0]).smaller
    assert MIN_SEEDS == 6 and stats.binomtest(MIN_SEEDS, MIN_SEEDS).pvalue < 0.05 < stats.binomtest(5, 5).pvalue


def test_the_sign_test_without_wins_without_losses_and_with_ties():
    only_losses = paired_ratio(B, HALF)
    assert (only_losses.wins, only_losses.p_value) == (0, pytest.approx(2 / 2**6))
    only_wins = paired_ratio(HALF, B)
    assert (only_wins.wins, only_wins.p_value) == (6, pytest.approx(2 / 2**6))
    single = paired_ratio([1.0], [1.0])
    assert (single.wins, single.p_value) == (0, 1)
    # Six wins, no loss and six ties: the ties leave the sign test as it is, but a is smaller in no more than half.
    half_ties = paired_ratio([*HALF, *B], [*B, *B])
    assert (half_ties.num_pairs, half_ties.wins, half_ties.p_value) == (12, 6, pytest.approx(2 / 2**6))
    assert half_ties.high < 1 and not half_ties.smaller
    assert paired_ratio([*HALF, *B[:5]], [*B, *B[:5]]).smaller


@pytest.mark.parametrize("blown", [math.inf, math.nan])
def test_a_blow_up_cannot_be_dropped(blown):
    """The five other pairs would say that a is better; with the sixth, nothing is decided."""
    a = HALF.copy()
    a[2] = blown
    found = paired_ratio(a, B)
    assert (found.num_pairs, found.wins, found.blown_up_a, found.blown_up_b) == (6, 5, 1, 0)
    assert found.p_value == pytest.approx(14 / 64)
    assert found.high < 1 and not found.smaller
    assert found.ratio == pytest.approx(stats.gmean(np.delete(HALF / B, 2)))


def test_blow_ups_of_the_other_side_are_wins():
    found = paired_ratio(HALF, [*B[:4], math.inf, math.nan])
    assert (found.wins, found.blown_up_b) == (6, 2) and found.smaller
    none_left = paired_ratio(HALF, [math.inf] * 6)
    assert math.isnan(none_left.ratio) and none_left.smaller
    both = paired_ratio([math.inf] * 6, [math.inf] * 6)
    assert both.p_value == 1 and not both.smaller
    worse_where_seen = paired_ratio([*2 * HALF[:2], *HALF[2:]] * np.array([9, 9, 9, 9, 9, 9]), [math.inf] * 5 + [B[5]])
    assert not worse_where_seen.smaller


@pytest.mark.parametrize("a, b, message", [
    ([1.0, 2.0], [1.0], "same seeds"), ([], [], "one value per seed"), ([[1.0]], [[1.0]], "one value per seed"),
    ([0.0, 1.0], [1.0, 1.0], "a is .* positive"), ([1.0, 1.0], [-1.0, 1.0], "b is .* differences")])
def test_what_is_no_pair_is_refused(a, b, message):
    with pytest.raises(ValueError, match=message):
        paired_ratio(a, b)


def test_intervals_of_one_sample():
    found = statistics.mean_interval([1.0, 2.0, 3.0, 4.0])
    assert found.value == 2.5 and 1 < found.low < 2.5 < found.high < 4
    geometric = statistics.geometric_mean_interval([1.0, 10.0, 100.0])
    assert geometric.value == pytest.approx(10) and geometric.low < 10 < geometric.high
    alone = statistics.mean_interval([3.0])
    assert alone.value == 3 and math.isnan(alone.low)
    assert statistics.mean_interval([0.0, 0.0]) == (0, 0, 0)
    with pytest.raises(ValueError, match="number of blow-ups"):
        statistics.mean_interval([1.0, math.inf])
    with pytest.raises(ValueError, match="positive"):
        statistics.geometric_mean_interval([1.0, 0.0])


def test_how_often_intervals_of_six_contain_the_truth():
    samples = np.random.default_rng(0).normal(size=(300, 6))
    found = [statistics.mean_interval(sample) for sample in samples[:60]]
    hits = np.mean([interval.low <= 0 <= interval.high for interval in found])
    assert 0.75 < hits < 0.97  # about 0.87 in the long run, as the module says
    many = stats.bootstrap((samples,), np.mean, axis=1, n_resamples=999, method="BCa", rng=np.random.default_rng(1))
    assert 0.8 < np.mean((many.confidence_interval.low < 0) & (many.confidence_interval.high > 0)) < 0.92


def test_error_at_equal_time():
    seconds = [10.0, 100.0, 1000.0]
    errors = np.array([[1.0, 0.1, 0.01], [2.0, 1.0, math.inf]])  # the first: error = 10 / seconds
    assert statistics.at_time(seconds, errors, 50.0)[0] == pytest.approx(0.2)
    assert statistics.at_time(seconds, errors, 500.0) == pytest.approx([0.02, math.inf])
    assert statistics.at_time(seconds, errors, 100.0) == pytest.approx([0.1, 1.0])
    assert statistics.at_time(seconds, errors, 10.0) == pytest.approx([1.0, 2.0])
    for outside in (9.99, 1001.0):
        assert np.isnan(statistics.at_time(seconds, errors, outside)).all(), "nothing is extrapolated"
    with pytest.raises(ValueError, match="seconds increase"):
        statistics.at_time([1.0, 1.0], [[1.0, 1.0]], 1.0)
    with pytest.raises(ValueError, match="budgets"):
        statistics.at_time(seconds, errors.T, 1.0)
