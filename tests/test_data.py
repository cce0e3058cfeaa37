"""Initial conditions, trajectories and windows: exact statistics, exact alignment, exact streams."""

import math

import pytest
import torch
from torch import nn

from dpbook_utils.data import Windows, cell_averages, random_fourier, random_velocity, simulate
from dpbook_utils.physics.burgers import Burgers
from dpbook_utils.physics.trace import trace

# trajectory n, time t, position x -> 1000 n + t + x / 100: every value says where it is from
TRAJECTORIES = 1000.0 * torch.arange(3).view(3, 1, 1, 1) + torch.arange(10.0).view(10, 1, 1) + torch.arange(4) / 100


# Initial conditions --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("num_points", [64, (32, 24)])
@pytest.mark.parametrize("decay", [0.0, 2.0])
def test_random_fourier_has_zero_mean_unit_deviation_and_only_its_modes(num_points, decay):
    u = random_fourier(5, num_points, modes=4, seed=0, decay=decay, dtype=torch.float64)
    assert u.shape == (5, 1, *((num_points,) if isinstance(num_points, int) else num_points))
    assert torch.allclose(u.flatten(1).mean(1), torch.zeros(5).double(), atol=1e-13)
    assert torch.allclose(u.flatten(1).square().mean(1), torch.ones(5).double(), rtol=1e-12)
    spectrum = torch.fft.fftn(u[:, 0], dim=list(range(1, u.ndim - 1))).abs() / u[0].numel()
    axes = [torch.fft.fftfreq(n, 1 / n) for n in u.shape[2:]]
    radius = sum(k.square() for k in torch.meshgrid(*axes, indexing="ij")).sqrt()
    assert spectrum[:, radius > 4].max() < 1e-14
    assert spectrum[:, (radius > 0) & (radius <= 4)].min() > 0


def test_one_seed_is_the_same_function_on_every_grid():
    """Cell averages of pairs of fine cells are not point values, so compare every third fine centre with the coarse."""
    fine = random_fourier(3, 96, modes=5, seed=1, dtype=torch.float64)
    coarse = random_fourier(3, 32, modes=5, seed=1, dtype=torch.float64)
    assert torch.allclose(fine[..., 1::3], coarse, atol=1e-12)
    assert torch.allclose(coarse, random_fourier(3, 32, modes=5, seed=1).double(), atol=1e-6)
    assert not torch.allclose(coarse, random_fourier(3, 32, modes=5, seed=2, dtype=torch.float64), atol=0.1)


def test_a_decay_makes_functions_smoother():
    def slope(decay):
        u = random_fourier(50, 128, modes=8, seed=0, decay=decay)
        return (u.roll(-1, -1) - u).std()

    assert slope(2.0) < 0.6 * slope(0.0)


def test_a_generator_goes_on_where_it_was():
    rng = torch.Generator().manual_seed(3)
    first, second = (random_fourier(2, 16, modes=3, seed=rng) for _ in range(2))
    assert torch.equal(first, random_fourier(2, 16, modes=3, seed=3)) and not torch.equal(first, second)


@pytest.mark.parametrize("dtype, bound", [(torch.float64, 1e-14), (torch.float32, 1e-6)])
def test_random_velocity_is_divergence_free_and_has_unit_speed(dtype, bound):
    lengths, shape = (2.0, 1.0), (64, 48)
    v = random_velocity(4, shape, modes=5, seed=0, lengths=lengths, dtype=dtype)
    dx, dy = lengths[0] / shape[0], lengths[1] / shape[1]
    divergence = (v[:, 0].roll(-1, 1) - v[:, 0]) / dx + (v[:, 1].roll(-1, 2) - v[:, 1]) / dy
    assert divergence.abs().max() < bound * v.abs().max() / dy * 4
    assert torch.allclose(v.mean((2, 3)), torch.zeros(4, 2).to(dtype), atol=1e-6)
    speed = v.square().sum(1).mean((1, 2)).sqrt()
    assert (speed < 1).all() and (speed > 1 - (math.pi * 5 / 48) ** 2 / 6).all()


def test_random_velocity_is_staggered_as_phiflow_staggers():
    from phi import field

    from dpbook_utils.physics.phiflow import box, precision_and_device, staggered

    v = random_velocity(2, (16, 12), modes=4, seed=0, dtype=torch.float64)
    with precision_and_device(v):
        divergence = field.divergence(staggered(v, box({"x": 1.0, "y": 1.0}))).values.native(["b", "x", "y"])
        other = field.divergence(staggered(v.roll(1, 2), box({"x": 1.0, "y": 1.0}))).values.native(["b", "x", "y"])
        wrong = field.divergence(staggered(v.flip(1), box({"x": 1.0, "y": 1.0}))).values.native(["b", "x", "y"])
    assert divergence.abs().max() < 1e-12 and other.abs().max() < 1e-12 and wrong.abs().max() > 1


def test_refuses_modes_that_the_grid_does_not_resolve():
    for modes in (0, 8):
        with pytest.raises(ValueError, match=rf"modes is {modes}, but 16 points resolve 1 ... 7"):
            random_fourier(1, 16, modes=modes, seed=0)
        with pytest.raises(ValueError, match=rf"modes is {modes}, but 16 points"):
            random_velocity(1, (16, 32), modes=modes, seed=0)
    random_fourier(1, 16, modes=7, seed=0)


# Trajectories --------------------------------------------------------------------------------------------------------

def test_simulate_is_the_step_repeated_and_drops_the_warm_up():
    u0 = random_fourier(3, 16, modes=3, seed=0)
    solver, viscosity = trace(Burgers(16, 1.0, 0.004), u0, viscosity=0.01), torch.tensor([0.01, 0.02, 0.03])
    trajectory = simulate(solver, u0.requires_grad_(), 5, viscosity=viscosity)
    assert trajectory.shape == (3, 6, 1, 16) and not trajectory.requires_grad
    assert torch.equal(trajectory[:, 0], u0)
    for k in range(5):
        assert torch.equal(trajectory[:, k + 1], solver(trajectory[:, k], viscosity=viscosity))
    assert torch.equal(simulate(solver, u0, 3, warmup=2, viscosity=viscosity), trajectory[:, 2:])


class Square(nn.Module):
    def forward(self, u):
        return u * u


@pytest.mark.parametrize("warmup", [0, 2, 6])
def test_simulate_says_where_it_blew_up(warmup):
    u0 = torch.tensor([1.0, 1e3, 0.5]).view(3, 1, 1)  # 10^(3 2^k) overflows at k = 4
    with pytest.raises(ValueError, match=r"not finite from step 4 on .* first in samples \[1\] of 3"):
        simulate(Square(), u0, 8, warmup=warmup)
    simulate(Square(), u0, 2, warmup=1)


def test_simulate_refuses_what_no_roll_out_could_start_from():
    u0 = random_fourier(2, 16, modes=3, seed=0)
    for arguments, parameters, message in [((0,), {}, "num_steps is 0"), ((2,), {}, "viscosity is missing"),
                                           ((2,), {"viscosity": 0.01, "speed": 1.0}, "unknown parameter speed")]:
        with pytest.raises(ValueError, match=message):
            simulate(Burgers(16, 1.0, 0.004), u0, *arguments, **parameters)


# Windows -------------------------------------------------------------------------------------------------------------

def test_a_window_is_a_state_and_the_states_that_follow_it():
    batch = Windows(TRAJECTORIES, 3, 50, seed=0, viscosity=torch.tensor([0.1, 0.2, 0.3]), length=2.0)[7]
    u0, reference = batch["u0"], batch["reference"]
    assert u0.shape == (50, 1, 4)
    assert reference.shape == (50, 3, 1, 4)
    for i in range(3):
        assert torch.allclose(reference[:, i], u0 + i + 1)
    which, start = u0[:, 0, 0] // 1000, u0[:, 0, 0] % 1000
    assert torch.allclose(batch["viscosity"], 0.1 * (1 + which))
    assert torch.equal(batch["length"], torch.full((50,), 2.0))
    assert set(which.tolist()) == {0, 1, 2} and set(start.tolist()) == set(range(7))


def test_every_window_is_equally_likely():
    windows = Windows(TRAJECTORIES, 3, 100, seed=0)
    drawn = torch.cat([windows[k]["u0"][:, 0, 0] for k in range(210)])
    counts = torch.stack([(drawn == 1000 * n + t).sum() for n in range(3) for t in range(7)])
    assert counts.sum() == 21000 and (counts - 1000).abs().max() < 5 * 1000**0.5


def test_batch_k_is_a_function_of_seed_and_k():
    one, again, other = (Windows(TRAJECTORIES, 3, 16, seed=s) for s in (0, 0, 1))
    expected = [one[k]["u0"] for k in range(5)]
    assert torch.equal(again[4]["u0"], expected[4])
    assert all(torch.equal(batch["u0"], e) for batch, e in zip(one, expected))
    batches = torch.stack(expected + [other[k]["u0"] for k in range(5)]).flatten(1)
    assert len(batches.unique(dim=0)) == 10


def test_the_length_of_the_window_does_not_shift_the_stream_of_an_ensemble():
    stacked = Windows(TRAJECTORIES, 3, 8, seeds=[4, 0, 4], nu=torch.arange(3.0))[5]
    for s, seed in enumerate([4, 0, 4]):
        alone = Windows(TRAJECTORIES, 3, 8, seed=seed, nu=torch.arange(3.0))[5]
        assert all(torch.equal(value[8 * s:8 * s + 8], alone[name]) for name, value in stacked.items())


def test_windows_of_the_whole_trajectory_start_at_its_beginning():
    assert set((Windows(TRAJECTORIES, 9, 20, seed=0)[0]["u0"][:, 0, 0] % 1000).tolist()) == {0}


def test_one_thousand_batches_are_drawn_in_a_moment():
    import time

    windows = Windows(torch.randn(6, 1000, 1, 48), 8, 16, seed=0)
    started = time.process_time()
    for k in range(1000):
        windows[k]
    assert time.process_time() - started < 5


@pytest.mark.parametrize("arguments, options, message", [
    ((10, 4), {"seed": 0}, r"at least num_steps \+ 1 = 11"), ((0, 4), {"seed": 0}, "num_steps is 0"),
    ((3, 0), {"seed": 0}, "batch_size is 0"), ((3, 4), {}, "exactly one"),
    ((3, 4), {"seed": 0, "seeds": [1]}, "exactly one"), ((3, 4), {"seeds": []}, "whole numbers"),
    ((3, 4), {"seed": -1}, "of at least 0"),
    ((3, 4), {"seed": 0, "nu": torch.ones(2)}, r"parameter nu is .*\(2,\).*3 trajectories"),
    ((3, 4), {"seed": 0, "nu": [1, 2, 3]}, r"parameter nu is \[1, 2, 3\]")])
def test_refuses_windows_that_do_not_fit(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        Windows(TRAJECTORIES, *arguments, **options)


def test_refuses_trajectories_that_blew_up():
    with pytest.raises(ValueError, match="NaN or infinity"):
        Windows(TRAJECTORIES / 0, 3, 4, seed=0)


def test_a_number_keeps_the_precision_of_the_trajectories():
    trajectories = torch.zeros(2, 5, 1, 4, dtype=torch.float64)
    windows = Windows(trajectories, 2, 3, seed=0, viscosity=0.02)
    assert torch.equal(windows[0]["viscosity"], torch.full((3,), 0.02, dtype=torch.float64))


def test_cell_averages_are_means_of_equal_groups():
    u = torch.arange(12.0).view(1, 2, 6)
    assert torch.equal(cell_averages(u, 3), torch.tensor([[[0.5, 2.5, 4.5], [6.5, 8.5, 10.5]]]))
    for wrong in (u[..., :5], torch.tensor(1.0)):
        with pytest.raises(ValueError, match="whose cells make no 3 equal groups"):
            cell_averages(wrong, 3)
