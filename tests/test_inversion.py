"""Searches: the minimum is found for every sample by itself; what is wrong with observations and starts is said."""

import math

import pytest
import torch

from dpbook_course.problems.inversion import InversionError, Sensors, check_trajectory, minimise

STARTS = torch.tensor([[-1.2, 1.0], [0.0, 0.0], [3.0, -2.0]], dtype=torch.float64)


def valley(x):
    """Rosenbrock's; the minimum is at (1, 1)."""
    return (1 - x[:, 0]).square() + 100 * (x[:, 1] - x[:, 0].square()).square()


def test_every_sample_finds_the_minimum_and_stops():
    found = minimise(valley, STARTS, evaluations=200, tolerance=1e-10)
    assert (found.x - 1).abs().max() < 1e-5 and found.stopped.all()
    assert found.evaluations.unique().numel() == 3 and (found.evaluations < 100).all()


def test_samples_do_not_see_each_other_and_a_search_repeats_bit_for_bit():
    together = minimise(valley, STARTS, evaluations=30)
    again = minimise(valley, STARTS, evaluations=30)
    alone = minimise(valley, STARTS[1:2], evaluations=30)
    assert torch.equal(together.x, again.x) and torch.equal(together.value, again.value)
    assert (alone.x[0] - together.x[1]).abs().max() < 1e-9


def test_a_parabola_is_found_like_by_the_library():
    generator = torch.Generator().manual_seed(0)
    factor = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    matrix, b = factor @ factor.T + torch.eye(6), torch.randn(6, generator=generator, dtype=torch.float64)
    found = minimise(lambda x: ((x @ matrix) * x).sum(1) / 2 - x @ b, torch.zeros(1, 6, dtype=torch.float64),
                     evaluations=200, tolerance=1e-14)
    assert (found.x[0] - torch.linalg.solve(matrix, b)).abs().max() < 1e-5


def test_a_step_into_a_blow_up_is_taken_back():
    def cliff(x):  # finite left of 1 only, smallest at 0.9
        return torch.where(x[:, 0] < 1, (x[:, 0] - 0.9).square(), math.nan)

    found = minimise(cliff, torch.tensor([[-5.0]], dtype=torch.float64), first=20.0)
    assert found.x.item() == pytest.approx(0.9)


def test_the_watch_sees_every_evaluation_and_the_budget_ends():
    seen = []
    found = minimise(valley, STARTS, evaluations=7, watch=lambda number, x: seen.append((number, float(valley(x)[0]))))
    assert [number for number, _ in seen] == list(range(1, 8)) and not found.stopped.any()
    values = [value for _, value in seen]
    assert values == sorted(values, reverse=True) and found.value[0].item() == values[-1]


def test_what_a_search_cannot_begin_with_is_told():
    with pytest.raises(InversionError, match=r"where the search begins, sample 1 has the value nan.*Use a smaller"):
        minimise(lambda x: torch.where(x[:, 0] > 1, math.nan, x[:, 0]), torch.tensor([[0.0], [2.0]]).double())
    with pytest.raises(TypeError, match=r"needs torch.float64. Call .double\(\)"):
        minimise(valley, STARTS.float())
    with pytest.raises(ValueError, match=r"one number per sample"):
        minimise(lambda x: valley(x).sum(), STARTS)
    with pytest.raises(ValueError, match="start"):
        minimise(valley, STARTS[0])


def test_a_roll_out_that_ends_says_at_which_step():
    states = torch.zeros(2, 5, 1, 8)
    assert check_trajectory(states) is states
    states[1, 3, 0, 2] = math.inf
    with pytest.raises(InversionError, match="not finite from step 4 of 5 on, in sample 1 and 0 others. Use a smaller"):
        check_trajectory(states)


def test_sensors_see_their_cells_and_steps():
    trajectory = torch.arange(2 * 4 * 8.0).view(2, 4, 1, 8)
    seen = Sensors(8, (1, 5), (2, 4))(trajectory)
    assert seen.shape == (2, 2, 2) and seen[1, 0].tolist() == [trajectory[1, 1, 0, 1], trajectory[1, 1, 0, 5]]
    assert Sensors(8, range(0, 8, 2), (1,)).cells == (0, 2, 4, 6)


@pytest.mark.parametrize("cells, steps, said", [
    ((0, 8), (1,), "cells is"), ((-1, 2), (1,), "at least 0"), ((2, 1), (1,), "rising"), ((), (1,), "cells is"),
    ((0, 1), (0,), "at least 1"), ((0, 1), (3, 3), "steps is")])
def test_sensors_outside_the_domain_are_told(cells, steps, said):
    with pytest.raises(ValueError, match=said):
        Sensors(8, cells, steps)


def test_observations_that_do_not_fit_are_told():
    sensors = Sensors(8, (0, 4), (2,))
    good = torch.zeros(3, 1, 2)
    assert sensors.check(good) is good
    with pytest.raises(ValueError, match=r"have the shape \(3, 2, 2\); expected \(batch, 1, 2\): 1 times, 2 cells"):
        sensors.check(torch.zeros(3, 2, 2))
    good[0, 0, 1] = math.nan
    with pytest.raises(ValueError, match="1 of the observations are NaN or infinite; leave out"):
        sensors.check(good)
    with pytest.raises(ValueError, match="with at least 2 steps"):
        sensors(torch.zeros(1, 1, 1, 8))
    with pytest.raises(ValueError, match="Average it to the sensors' grid"):
        sensors(torch.zeros(1, 2, 1, 16))


@pytest.mark.parametrize("function, options, message", [
    (None, {}, "function is None; give a function"), (torch.nn.Linear, {}, "function is the class Linear; give"),
    (lambda x: valley(x.detach()), {}, "the function's value is a tensor .*; give real numbers that depend on"),
    (lambda x: valley(x) + 0j, {}, "give real numbers"), (valley, {"watch": 3}, "watch is 3; give a function"),
    (valley, {"watch": lambda: None}, "watch is the function <lambda>; give a function of the number")])
def test_slips_are_named(function, options, message):
    with pytest.raises((TypeError, ValueError), match=f"minimise: .*{message}"):
        minimise(function, STARTS, **options)


def test_in_inference_mode_there_is_no_search():
    with torch.inference_mode(), pytest.raises(RuntimeError, match=r"which torch.inference_mode\(\) forbids"):
        minimise(valley, STARTS)
