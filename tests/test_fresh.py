"""Fresh data: the sampler covers its domain, and a stream is a function of its seed alone, workers or not."""

import functools
import math
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader
from trainings import adam, conv, same, same_history, train

from dpbook_utils.coupling import Additive
from dpbook_utils.data import Fresh, Sampler, cell_averages, random_fourier, random_velocity, simulate
from dpbook_utils.losses import TrajectoryLoss, every_step
from dpbook_utils.objectives import Objective
from dpbook_utils.physics.advection_diffusion import AdvectionDiffusion
from dpbook_utils.physics.burgers import Burgers
from dpbook_utils.physics.trace import TracedSolver
from dpbook_utils.rollout import Rollout, Sequential, repeat
from dpbook_utils.training import fit

BOUNDS = {"viscosity": (0.005, 0.05), "amplitude": (0.1, 0.4)}
SOLVER = Burgers(16, 1.0, 0.01)
TRACED = TracedSolver(SOLVER)


def waves(num_samples, generator, values):
    return values["amplitude"][:, None, None] * random_fourier(num_samples, 16, modes=3, seed=generator)


def forced(num_samples, generator, values):
    u0, force = (random_fourier(num_samples, 16, modes=3, seed=generator) for _ in range(2))
    return {"u0": 0.1 * u0, "force": values["amplitude"][:, None, None] * force}


SAMPLER = Sampler(waves, BOUNDS, logarithmic=("viscosity",))


def fresh(num_steps=3, batch_size=4, seed=0, **options):
    return Fresh(SOLVER, options.pop("sampler", SAMPLER), num_steps, batch_size, seed, **options)


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# Sampler -------------------------------------------------------------------------------------------------------------

def test_every_batch_and_every_beginning_of_the_stream_has_one_number_in_each_interval():
    drawn = [SAMPLER.values(16, 0, k) for k in range(8)]
    for name, (low, high) in BOUNDS.items():
        x = torch.stack([values[name].double() for values in drawn])
        place = (x.log() - math.log(low)) / math.log(high / low) if name == "viscosity" else (x - low) / (high - low)
        assert place.min() >= 0 and place.max() <= 1
        for cells, points in ((16, place[3]), (64, place[:4].flatten()), (128, place.flatten())):
            assert (points * cells).floor().unique().numel() == cells
    assert len(torch.stack([values["amplitude"] for values in drawn]).unique()) == 128


@pytest.mark.parametrize("num_samples", [1, 6, 16])
def test_a_batch_does_not_need_those_before_it(num_samples):
    whole = SAMPLER.values(num_samples * 8, 3, 0)
    for k in (5, 0, 7, 6, 1, 1):
        for name, values in SAMPLER.values(num_samples, 3, k).items():
            assert torch.equal(values, whole[name][k * num_samples:(k + 1) * num_samples])
    assert equal(pickle.loads(pickle.dumps(SAMPLER)).values(4, 3, 5), SAMPLER.values(4, 3, 5))


def test_seeds_and_batches_draw_different_samples():
    states = torch.cat([SAMPLER(4, seed, k)[0] for seed in (0, 1) for k in range(5)])
    numbers = torch.cat([SAMPLER(4, seed, k)[1]["viscosity"] for seed in (0, 1) for k in range(5)])
    assert len(states.unique(dim=0)) == len(numbers.unique()) == 40


def test_initial_sees_what_was_sampled_and_may_give_a_field():
    u0, values = SAMPLER(8, 0, 2)
    assert torch.allclose(u0.square().mean((1, 2)).sqrt(), values["amplitude"], rtol=1e-5)
    _, values = Sampler(forced, {**BOUNDS, "viscosity": 0.02})(8, 0, 2)
    assert torch.allclose(values["force"].square().mean((1, 2)).sqrt(), values["amplitude"], rtol=1e-5)
    assert torch.equal(values["viscosity"], torch.full((8,), 0.02))
    u0, values = Sampler(lambda n, rng, values: torch.zeros(n, 1, 4))(2, 0, 0)
    assert u0.shape == (2, 1, 4) and values == {}


def test_random_functions_take_numpy_generators():
    def normal(n):
        rng = np.random.default_rng(n)
        return random_fourier(2000, 8, modes=1, seed=rng), random_velocity(1, (8, 8), modes=1, seed=rng)

    assert all(torch.equal(a, b) for a, b in zip(normal(0), normal(0)))
    u, _ = normal(1)
    phase = torch.fft.rfft(u[:, 0])[:, 1].angle()
    assert (phase.cos().mean().abs() < 0.1) and (phase.sin().mean().abs() < 0.1)
    assert torch.allclose(u.square().mean(2), torch.ones(2000, 1), rtol=1e-5)


@pytest.mark.parametrize("bounds, logarithmic, message", [
    ({"a": (1.0, 1.0)}, (), "a is bounded by 1.0 and 1.0"), ({"a": (0.0, math.inf)}, (), "two finite numbers"),
    ({"a": (0.0, 1.0)}, ("a",), "logarithm from 0.0"), ({"a": 1.0}, ("a",), "logarithmic names a")])
def test_refuses_bounds_out_of_order(bounds, logarithmic, message):
    with pytest.raises(ValueError, match=message):
        Sampler(waves, bounds, logarithmic)


@pytest.mark.parametrize("drawn, found", [
    (torch.zeros(3, 1, 4), r"u0 as \(3, 1, 4\)"), (torch.zeros(2, 1, 4).double(), "float64"), (None, "NoneType"),
    ({"force": torch.zeros(2, 1, 4)}, "u0 as NoneType")])
def test_refuses_initial_states_that_do_not_fit(drawn, found):
    with pytest.raises(ValueError, match=f"{found}.*expected a tensor"):
        Sampler(lambda n, rng, values: drawn)(2, 0, 0)


# Stream --------------------------------------------------------------------------------------------------------------

def test_a_batch_is_the_trajectory_of_what_was_sampled():
    stream = fresh(warmup=2)
    u0, values = SAMPLER(4, 0, 5)
    trajectory = simulate(SOLVER, u0, 5, viscosity=values["viscosity"])
    batch = stream[5]
    assert batch.keys() == {"u0", "reference", "viscosity"}
    assert torch.equal(batch["u0"], trajectory[:, 2]) and torch.equal(batch["reference"], trajectory[:, 3:])
    assert torch.equal(batch["viscosity"], values["viscosity"])


def test_batch_k_is_a_function_of_seed_and_k():
    expected = [fresh()[k] for k in range(4)]
    assert all(equal(batch, e) for batch, e in zip(fresh(), expected))
    assert equal(fresh()[3], expected[3]) and not equal(fresh(seed=1)[3], expected[3])


def test_members_of_an_ensemble_get_what_their_seed_alone_would_get():
    batch = Fresh(SOLVER, SAMPLER, 3, 4, seeds=[7, 0, 7])[2]
    for s, seed in enumerate([7, 0, 7]):
        alone = fresh(seed=seed)[2]
        assert all(torch.allclose(values[4 * s:4 * s + 4], alone[name], atol=1e-6) for name, values in batch.items())
        assert torch.equal(batch["u0"][4 * s:4 * s + 4], alone["u0"])


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than this machine has cores
@pytest.mark.parametrize("num_workers", [0, 2, 3])
def test_workers_together_give_the_same_stream(num_workers):
    stream = pickle.loads(pickle.dumps(fresh()))  # what a worker gets that is not forked
    for k, batch in zip(range(8), DataLoader(stream, batch_size=None, num_workers=num_workers)):
        assert equal(batch, fresh()[k])


def test_data_seen_on_a_coarser_grid():
    solver = repeat(Burgers(16, 1.0, 0.005), 2)
    sampler = Sampler(forced, {"viscosity": 0.02, "amplitude": (0.1, 0.2)})
    fine, coarse = (Fresh(solver, sampler, 3, 4, 0, observe=observe)
                    for observe in (None, functools.partial(cell_averages, num_points=8)))
    assert fine.dt == coarse.dt == 0.01
    for name, values in coarse[1].items():
        assert torch.equal(values, fine[1][name] if values.ndim == 1 else cell_averages(fine[1][name], 8))


def test_a_parameter_of_two_axes_is_no_field():
    """The velocity (batch, 2) of a flow in two dimensions stays as it is when states are seen on a coarser grid."""
    def initial(num_samples, generator, values):
        u0 = 0.1 * random_fourier(num_samples, (8, 8), modes=2, seed=generator)
        return {"u0": u0, "velocity": values["speed"][:, None] * torch.tensor([1.0, -0.5])}

    solver, sampler = AdvectionDiffusion((8, 8), (1.0, 1.0), 0.01), Sampler(initial, {"diffusivity": 0.05,
                                                                                    "speed": (0.1, 0.5)})
    fine, coarse = (Fresh(solver, sampler, 2, 4, 0, observe=observe)[1]
                    for observe in (None, functools.partial(cell_averages, num_points=4)))
    assert coarse["velocity"].shape == (4, 2) and torch.equal(coarse["velocity"], fine["velocity"])
    assert torch.equal(coarse["reference"], cell_averages(fine["reference"], 4))
    with pytest.raises(ValueError, match=r"batch 1, sample 0 \(seed 0, diffusivity 0.05, speed 0.\d+\): u0 is not"):
        Fresh(solver, sampler, 2, 4, 0, transform=lambda batch: {**batch, "u0": batch["u0"] / 0})[1]


def test_input_and_answer_may_change_places():
    def swapped(batch):
        return {**batch, "u0": batch["reference"][:, -1], "reference": batch["u0"].unsqueeze(1)}

    batch, inverse = fresh()[1], fresh(transform=swapped)[1]
    assert torch.equal(inverse["u0"], batch["reference"][:, 2]) and torch.equal(inverse["reference"][:, 0], batch["u0"])
    assert torch.equal(inverse["viscosity"], batch["viscosity"])


class Watched(nn.Module):
    """A solver that notes whether a graph could be built through it."""

    parameter_names = ("viscosity",)

    def __init__(self):
        super().__init__()
        self.seen = set()

    def forward(self, u, *, viscosity):
        u_next = TRACED(u, viscosity=viscosity)
        self.seen.add((u.requires_grad, u_next.requires_grad, torch.is_grad_enabled()))
        return u_next


def test_no_graph_is_built():
    solver, gain = Watched(), torch.ones(1, 1, 1, requires_grad=True)
    sampler = Sampler(lambda n, rng, values: gain * waves(n, rng, values), BOUNDS)
    with torch.enable_grad():
        batch = Fresh(solver, sampler, 3, 4, 0, observe=lambda u: gain * u, transform=lambda batch: {
            **batch, "u0": gain * batch["u0"]})[0]
    assert solver.seen == {(False, False, False)}
    assert not any(values.requires_grad for values in batch.values())


def corrected():
    """P, then N."""
    return Objective(Rollout(Sequential(TRACED, Additive(conv())), 3), TrajectoryLoss(every_step))


def test_a_training_resumes_in_the_middle_of_the_stream(tmp_path):
    def training(batches, **options):
        return train(batches=batches, objective=corrected(), num_updates=20, **options)

    whole, history = training(fresh())
    with pytest.raises(InterruptedError):
        training(Stopping(fresh(), 11), checkpoint=tmp_path / "training.pt")
    resumed, history_of_resumed = training(fresh(), checkpoint=tmp_path / "training.pt")
    assert same(whole, resumed) and same_history(history, history_of_resumed)


class Stopping:
    def __init__(self, batches, last):
        self.batches, self.last = batches, last

    def __getitem__(self, k):
        if k == self.last:
            raise InterruptedError
        return self.batches[k]


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than this machine has cores
def test_a_training_takes_batches_from_workers():
    results = []
    for batches in (fresh(), DataLoader(fresh(), batch_size=None, num_workers=2)):
        objective = corrected()
        fit(objective, batches, adam(objective), num_updates=5, progress=False)
        results.append(objective)
    assert same(*results)


# Refusals ------------------------------------------------------------------------------------------------------------

class Explodes(nn.Module):
    parameter_names = ("viscosity",)

    def forward(self, u, *, viscosity):
        return u / (viscosity > 0.01)[:, None, None].to(u)


def test_a_blow_up_names_batch_sample_seed_and_parameters():
    stream = Fresh(Explodes(), SAMPLER, 2, 4, seeds=[5, 6])
    values = [SAMPLER.values(4, seed, 3) for seed in (5, 6)]
    viscosity, amplitude = (torch.cat([v[name] for v in values]) for name in ("viscosity", "amplitude"))
    sample = int((viscosity <= 0.01).nonzero()[0])
    with pytest.raises(ValueError, match=rf"batch 3, sample {sample} \(seed {5 + sample // 4}, viscosity "
                       rf"{viscosity[sample]:.6g}, amplitude {amplitude[sample]:.6g}\): .*not finite from step 1"):
        stream[3]


def test_what_the_solver_refuses_is_refused_with_the_batch():
    with pytest.raises(ValueError, match=r"batch 2 of seeds \(0,\) cannot be simulated: Burgers: .*viscosity"):
        fresh(sampler=Sampler(waves, {**BOUNDS, "viscosity": (1.0, 2.0)}))[2]
    with pytest.raises(ValueError, match=r"batch 0 of seeds \(0,\) cannot be simulated: .*viscosity is missing"):
        fresh(sampler=Sampler(waves, {"amplitude": (0.1, 0.2)}))[0]


@pytest.mark.parametrize("options", [{"observe": lambda u: u / 0}, {"transform": lambda b: {**b, "u0": b["u0"] / 0}}])
def test_a_division_by_zero_on_the_way_out_is_refused(options):
    with pytest.raises(ValueError, match=r"batch 1, sample 0 \(seed 0, viscosity .*\): u0 is not finite after observe"):
        fresh(**options)[1]


@pytest.mark.parametrize("arguments, options, message", [
    ((0, 4), {"seed": 0}, "num_steps is 0"), ((1, 0), {"seed": 0}, "batch_size is 0"),
    ((1, 4), {"seed": 0, "warmup": -1}, "warmup is -1"), ((1, 4), {}, "Fresh: seed is None, seeds is None"),
    ((1, 4), {"seed": -1}, "of at least 0")])
def test_refuses_arguments_that_do_not_fit(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        Fresh(SOLVER, SAMPLER, *arguments, **options)
