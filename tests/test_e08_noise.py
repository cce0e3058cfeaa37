"""E08: every row is the training that its name says, and its studies have the rows that the verdicts compare."""

import pytest
import torch

from dpbook_course.problems import frames, ks_history
from dpbook_course.problems import kuramoto_sivashinsky as ks
from dpbook_course.problems.problem import Trajectories
from dpbook_course.studies.e04 import unrolling as e04_unrolling
from dpbook_course.studies.e08 import noise as e08_noise
from dpbook_course.studies.e08 import periodic as e08_periodic
from dpbook_course.studies.e08 import rows as e08_rows
from dpbook_course.studies.e08 import small as e08_small
from dpbook_course.studies.e08 import verdict as verdicts
from dpbook_course.studies.e08.design import SIGMAS
from dpbook_course.studies.e08.rows import Noise, Phases, Variant
from dpbook_utils import evaluation
from dpbook_utils.data import random_fourier, simulate
from dpbook_utils.gradients import NoSolverGradient
from dpbook_utils.noise import GaussianNoise, RandomWalkNoise, ShapedNoise
from dpbook_utils.physics.trace import TracedSolver
from dpbook_utils.setups import Setup

SEEDS = (1, 2)
BEFORE = 2
SMALL_WIDTH = (4, 1)


@pytest.fixture(scope="module", autouse=True)
def small_problem():
    """Two short trajectories instead of 36 long ones, and solvers that are recorded once."""
    lengths = ks.unit_length * torch.tensor([0.9, 1.2])
    u0 = random_fourier(2, ks.num_points, modes=4, seed=0)
    coarse, reference = TracedSolver(ks.coarse_solver()), TracedSolver(ks.reference_solver())
    states = simulate(reference, u0, 24 + BEFORE, warmup=40, length=lengths)

    def shortened(name, before=0):
        return Trajectories(states[:, BEFORE - before:], {"length": lengths})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ks, "with_history", shortened)
        patch.setattr(ks, "trajectories", shortened)
        for problem in (ks, ks_history):
            patch.setattr(problem, "coarse_solver", lambda: coarse)
            patch.setattr(problem, "reference_solver", lambda: reference)
        patch.setattr(ks, "test_lengths", {"inside": ks.test_lengths["inside"]})
        ks_history.trajectories.cache_clear()
        yield
    ks_history.trajectories.cache_clear()
    e08_rows.error_spectrum.cache_clear()


@pytest.fixture(scope="module")
def batch():
    return ks.windows(SEEDS, 3, 2)[0]


@pytest.fixture(scope="module")
def networks():
    return ks.ensemble(SEEDS, *SMALL_WIDTH)


def total(error):
    """The sum over members of mean squared errors: (members * batch, ...) -> scalar."""
    return error.square().flatten(1).mean(1).unflatten(0, (len(SEEDS), -1)).mean(1).sum()


# Each row against a computation of its own


def test_white_noise_keeps_the_clean_next_state(batch, networks):
    row = e08_noise.noisy("white", 0.1)
    torch.manual_seed(0)
    loss = e08_rows.objective(ks, row, networks)(**batch)
    torch.manual_seed(0)
    sigma = 0.1 * float(ks.trajectories("train").states.std())
    u = ks.coarse_solver()(batch["u0"] + sigma * torch.randn_like(batch["u0"]), length=batch["length"])
    assert torch.allclose(loss, total(u + networks(u, length=batch["length"]) - batch["reference"][:, 0]), rtol=1e-4)


def test_a_moved_target_is_the_references_step_from_the_noisy_state(batch, networks):
    """The noise is in the data: the objective has none, and its target starts where the chain starts."""
    row = e08_noise.noisy("moved target", 0.1)
    objective = e08_rows.objective(ks, row, networks)
    assert not any(isinstance(module, GaussianNoise) for module in objective.modules())
    noisy = e08_rows.Perturbed(ks.windows(SEEDS, 3, 2), e08_rows.operator(ks, row.noise), seed=1)[0]
    deviation = (noisy["u0"] - batch["u0"]).std() / ks.trajectories("train").states.std()
    assert deviation == pytest.approx(0.1, rel=0.2)
    u = ks.coarse_solver()(noisy["u0"], length=noisy["length"])
    target = ks.reference_solver()(noisy["u0"], length=noisy["length"])
    assert torch.allclose(objective(**noisy), total(u + networks(u, length=noisy["length"]) - target), rtol=1e-4)
    assert not torch.allclose(target, noisy["reference"][:, 0], atol=0.05)


@pytest.mark.parametrize("family", ["WIG-3", "NOG-3"])
def test_noise_on_the_iterations_enters_every_step(batch, networks, family):
    row = e08_noise.noisy(family, 0.1)
    torch.manual_seed(0)
    loss = e08_rows.objective(ks, row, networks)(**batch)
    torch.manual_seed(0)
    u, errors, sigma = batch["u0"], [], 0.1 * float(ks.trajectories("train").states.std())
    for k in range(3):
        u = u + sigma * torch.randn_like(u)
        u = ks.coarse_solver()(u.detach() if family == "NOG-3" else u, length=batch["length"])
        u = u + networks(u, length=batch["length"])
        errors.append(u - batch["reference"][:, k])
    expected = sum(total(error) for error in errors) / 3
    assert torch.allclose(loss, expected, rtol=1e-4)
    weights = list(networks.parameters())
    found, wanted = (torch.cat([g.flatten() for g in torch.autograd.grad(x, weights)]) for x in (loss, expected))
    assert (found - wanted).norm() < 1e-3 * wanted.norm()


def test_shaped_noise_has_the_measured_spectrum_and_the_stated_deviation(monkeypatch):
    monkeypatch.setattr(e08_rows, "MEASURED", {"seeds": (100,), "updates": 2})
    e08_rows.error_spectrum.cache_clear()
    noise = e08_rows.operator(ks, Noise(0.1, "shaped"))
    assert isinstance(noise, ShapedNoise)
    torch.manual_seed(0)
    found = noise(torch.zeros(20_000, 1, ks.num_points))
    assert float(found.std()) == pytest.approx(0.1 * e08_rows.deviation(ks), rel=0.02)
    spectrum = evaluation.energy_spectrum(found.unsqueeze(1)).mean((0, 1))
    measured = e08_rows.error_spectrum(ks)
    assert torch.allclose(spectrum / spectrum.sum(), measured / measured.sum(), rtol=0.1, atol=1e-4)
    e08_rows.error_spectrum.cache_clear()


def test_one_step_errors_are_those_of_the_pairs(networks):
    data, step = ks.trajectories("train"), ks.hybrid(networks)
    error = e08_rows.one_step_error(ks, step, "train")
    assert error.shape == (len(SEEDS) * 2 * 24, 1, 1, ks.num_points)
    u = ks.coarse_solver()(data.states[1, 5:6], length=data.length[1:])
    member = networks.member(1)
    expected = u + member(u, length=data.length[1:]) - data.states[1, 6:7]
    assert torch.allclose(error[2 * 24 + 24 + 5], expected, atol=1e-5)


# The history


def test_histories_are_the_problems_states_with_those_before_them():
    own, theirs = ks_history.trajectories("train"), ks.trajectories("train")
    assert own.states.shape[:3] == (2, theirs.states.shape[1], frames.NUM_FRAMES)
    assert torch.equal(own.states[:, :, -1:], theirs.states)
    assert torch.equal(own.states[:, 1:, 1], theirs.states[:, :-1, 0])
    assert torch.equal(own.states[:, 2:, 0], theirs.states[:, :-2, 0])
    batch, other = (problem.windows(SEEDS, 3, 4)[0] for problem in (ks_history, ks))
    assert torch.equal(batch["u0"][:, -1:], other["u0"]) and torch.equal(batch["reference"][:, :, -1:],
                                                                         other["reference"])


def test_a_step_with_a_history_corrects_the_newest_and_drops_the_oldest():
    networks = ks_history.ensemble(SEEDS, *SMALL_WIDTH)
    batch = ks_history.windows(SEEDS, 1, 2)[0]
    u, length = batch["u0"], batch["length"]
    coarse = ks.coarse_solver()(u[:, -1:], length=length)
    correction = networks(torch.cat([u, coarse], 1), length=length)
    expected = torch.cat([u[:, 1:], coarse + correction], 1)
    step = ks_history.hybrid(networks)
    assert torch.allclose(step(u, length=length), expected, atol=1e-6)
    assert correction.abs().max() > 0
    loss = e08_rows.objective(ks_history, Variant(Setup()), networks)(**batch)
    assert torch.allclose(loss, total(expected[:, -1:] - batch["reference"][:, 0, -1:]), rtol=1e-4)


def test_the_walk_ends_at_sigma_of_the_data():
    noise = e08_rows.operator(ks_history, Noise(0.1, "walk"))
    assert isinstance(noise, RandomWalkNoise) and noise.num_frames == frames.NUM_FRAMES
    assert noise.sigma == pytest.approx(0.1 * float(ks.trajectories("train").states.std()))


def test_a_solver_with_a_history_refuses_what_the_solver_refuses():
    step = frames.Append(ks.coarse_solver(), 3)
    with pytest.raises(ValueError, match="length"):
        step(torch.zeros(1, 3, 48), length=-1.0)
    with pytest.raises(ValueError, match=r"expected \(batch, 3, 48\)"):
        step(torch.zeros(1, 1, 48), length=50.0)


# Training in phases, and what the records hold


def test_two_phases_are_two_trainings_one_after_the_other(monkeypatch):
    calls = []

    def train(setup, objective, batches, budget, **options):
        calls.append((setup.num_steps, objective.rollout.num_steps, budget,
                      any(isinstance(module, GaussianNoise) for module in objective.modules())))
        return e08_rows.History.empty(budget, len(SEEDS))

    monkeypatch.setattr(e08_rows, "train", train)
    row = e08_noise.phases(e08_noise.noisy("white", 0.01), 1e-3)
    assert isinstance(row, Phases) and row.then.setup.learning_rate == 1e-3
    e08_rows.train_phases(ks, row, ks.ensemble(SEEDS, *SMALL_WIDTH), SEEDS, 100, None)
    assert calls == [(1, 1, 125, True), (3, 3, 50, False)]


def test_a_row_gives_all_metrics_of_its_study(monkeypatch):
    monkeypatch.setattr(ks, "statistics_after", 5)
    monkeypatch.setattr(ks, "test_steps", 24)
    for row in (e08_noise.noisy("white", 0.01), e08_noise.phases(Variant(e08_noise.ONE), 1e-3)):
        found = e08_rows.run(ks, row, SEEDS, 4, None)
        expected = set(ks.metrics) | set(e08_rows.extra_metrics(ks.regions))
        assert set(found) == expected
        assert {len(value) for value in found.values()} == {len(SEEDS)}
        assert found["diverged_at"].tolist() == [-1, -1] and (found["drift.inside"] <= 2).all()


def test_drift_is_the_change_of_the_mean(monkeypatch):
    class Lift(torch.nn.Module):
        def forward(self, u):
            return u + 0.001

    monkeypatch.setattr(ks, "statistics_after", 5)
    found = e08_rows.measured(ks, Lift(), 1)
    assert float(found["drift.inside"]) == pytest.approx(0.024 / e08_rows.deviation(ks), rel=0.01)


# The specifications


@pytest.mark.parametrize("module", [e08_noise, e08_periodic, e08_small])
def test_rows_differ_from_their_base_in_the_noise_alone(module):
    variants = module.SPEC.variants
    for family, base in verdicts.BASE.items():
        for sigma in SIGMAS:
            row = variants.get(verdicts.name(family, sigma))
            if row is None:
                continue
            base_row = variants[base] if base in variants else variants["WIG-3, rate 0.003"]
            assert row.setup == base_row.setup and row.setup.sigma == 0
            assert row.noise.sigma == sigma and base_row.noise is None
            assert (row.noise.target == "moved") == (family == "moved target")
            assert row.noise.kind == (family if family in ("shaped", "walk") else "white")


def test_references_are_those_of_e04():
    for name in ("ONE", "NOG-3", "WIG-3", "WIG-8"):
        ours, theirs = e08_noise.SPEC.variants[name], e04_unrolling.SPEC.variants[name]
        for field in ("num_steps", "placement", "learning_rate", "clip_norm", "batch_size", "curriculum"):
            assert getattr(ours.setup, field) == getattr(theirs.setup, field), (name, field)
        assert type(ours.setup.gradient) is type(theirs.setup.gradient)
    assert isinstance(e08_noise.SPEC.variants["NOG-3"].setup.gradient, NoSolverGradient)
    assert (e08_rows.WIDTH, e08_rows.NUM_BLOCKS) == (theirs.width, theirs.num_blocks)
    assert e08_noise.LONGEST == e04_unrolling.LONGEST


def test_every_comparison_of_the_verdicts_is_in_a_specification():
    for grid, module in ((verdicts.GRID, e08_noise), (verdicts.PERIODIC_GRID, e08_periodic),
                         (verdicts.SMALL_GRID, e08_small)):
        for family, budgets in grid.items():
            for budget, sigmas in budgets.items():
                for sigma in sigmas:
                    assert budget in module.SPEC.budgets[verdicts.name(family, sigma)]
    for first in ("", "ONE", *(verdicts.name("white", sigma) for sigma in verdicts.FIRST)):
        for rate in verdicts.DP_RATES:
            assert e08_small.SPEC.budgets[verdicts.dp_name(first, rate)] == (verdicts.DP_BUDGET,)


def test_the_study_on_one_set_of_data_fits_into_an_hour_and_a_half_of_a_core():
    seconds = sum(module.cost(task.variant, task.budget) for module in (e08_noise, e08_periodic, e08_small)
                  for task in module.SPEC.tasks(len(module.SPEC.seeds)))
    assert seconds < 90 * 60
