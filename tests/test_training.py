"""The training loop: equal to a hand-written one, whatever shows its progress or feeds it."""

import pytest
import torch
from torch import nn
from trainings import TRAJECTORIES, WINDOWS, Stream, adam, conv, ensemble, objective_of, same, train

from dpbook_utils.coupling import Additive
from dpbook_utils.data import Windows, random_fourier, simulate
from dpbook_utils.losses import TrajectoryLoss, every_step
from dpbook_utils.objectives import Objective
from dpbook_utils.physics.burgers import Burgers
from dpbook_utils.physics.trace import trace
from dpbook_utils.rollout import Rollout, Sequential
from dpbook_utils.training import Gradients, clip_gradients, fit, gradient_norms

# The loop ------------------------------------------------------------------------------------------------------------

def test_equals_a_hand_written_loop_bit_for_bit():
    trained, found = train(clip_norm=None)
    objective = objective_of(conv(), sigma=0.1)
    optimizer, losses = adam(objective), []
    torch.manual_seed(0)
    for k in range(30):
        optimizer.param_groups[0]["lr"] = found.learning_rates[k].item()
        optimizer.zero_grad()
        loss = objective(**WINDOWS[k])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert same(trained, objective)
    assert found.losses[:, 0].tolist() == losses
    assert torch.allclose(found.learning_rates, 1e-2 * 0.99 ** torch.arange(30.0).double())


def test_learns_what_the_solver_lacks():
    u0 = random_fourier(4, 32, modes=3, seed=0)
    solver = trace(Burgers(32, 1.0, 0.002), u0, viscosity=0.02)
    truth = simulate(solver, u0, 20, viscosity=0.1)
    torch.manual_seed(0)
    network = nn.Conv1d(1, 1, 3, padding=1, padding_mode="circular")
    objective = Objective(Rollout(Sequential(solver, Additive(network)), 2), TrajectoryLoss(every_step))
    windows = Windows(truth, 2, 4, seed=0, viscosity=0.02)
    losses = fit(objective, windows, adam(objective, 0.02), num_updates=150, progress=False).losses
    assert losses[-10:].mean() < 1e-2 * losses[:1].mean()


def test_tracing_changes_nothing_but_the_rounding():
    windows = Windows(TRAJECTORIES.double(), 3, 4, seeds=[0, 1])

    def run(trace):
        objective = objective_of(ensemble(2).double(), sigma=0.1)
        return train(objective=objective, batches=windows, curriculum={0: 1, 10: 3}, clip_norm=0.1, trace=trace)

    (eager, expected), (traced, found) = run(False), run(True)
    assert torch.allclose(found.losses, expected.losses, rtol=1e-10)
    for a, b in zip(traced.parameters(), eager.parameters(), strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("clip_norm", [0.1, 1e3])
def test_clipping_equals_torch_for_one_network(clip_norm):
    batch = {name: value.double() for name, value in WINDOWS[0].items()}
    ours, theirs = objective_of(conv().double()), objective_of(conv().double())
    weights = list(ours.parameters())
    Gradients(ours)(batch)
    norms = gradient_norms(weights, 1)
    clip_gradients(weights, norms, clip_norm)
    theirs(**batch).backward()
    expected = nn.utils.clip_grad_norm_(theirs.parameters(), clip_norm)
    assert torch.allclose(norms[0], expected, rtol=1e-14)
    for a, b in zip(weights, theirs.parameters()):
        assert torch.allclose(a.grad, b.grad, rtol=1e-14)


def test_history_says_what_happened():
    _, found = train(num_updates=5, curriculum={0: 1, 3: 2})
    assert len(found) == 5 and found.losses.shape == found.gradient_norms.shape == (5, 1)
    assert found.num_steps.tolist() == [1, 1, 1, 2, 2]
    assert (found.seconds > 0).all() and found.diverged_at.tolist() == [-1]


def test_noise_is_on_while_training_and_modes_are_restored():
    quiet, _ = train(num_updates=3, sigma=0.0)
    objective = objective_of(conv(), sigma=0.5)
    objective.rollout.eval()
    train(num_updates=3, objective=objective)
    assert not same(quiet, objective)
    assert objective.training and not any(module.training for module in objective.rollout.modules())


def test_progress_shows_the_loss_and_changes_nothing(capsys):
    quiet, _ = train(num_updates=5)
    assert capsys.readouterr() == ("", "")
    shown, found = train(num_updates=5, progress=True)
    assert f"loss {found.losses[-1, 0]:.3e}" in capsys.readouterr().err
    assert same(quiet, shown)


# Batches -------------------------------------------------------------------------------------------------------------

def test_a_finite_source_starts_over():
    whole, _ = train(num_updates=6, batches=[WINDOWS[k % 4] for k in range(6)])
    for source in ([WINDOWS[k] for k in range(4)], Stream(4)):
        assert same(train(num_updates=6, batches=source)[0], whole)


@pytest.mark.parametrize("batches, message", [
    (WINDOWS[0], r"give a list \[batch\]"), ([], "at least one batch"), (Stream(0), "at least one batch"),
    (iter([WINDOWS[0]]), "ended after 1 batches"), ([WINDOWS[0]["u0"]], "it must be a dict with 'u0'"),
    ([{"reference": WINDOWS[0]["reference"]}], "it must be a dict with 'u0'")])
def test_refuses_batches_it_cannot_use(batches, message):
    with pytest.raises((TypeError, ValueError), match=message):
        train(num_updates=3, batches=batches)


# Curriculum ----------------------------------------------------------------------------------------------------------

def test_curriculum_sets_the_unroll_length_and_restores_it():
    table, _ = train(num_updates=6, curriculum={0: 1, 2: 2, 4: 3})
    function, found = train(num_updates=6, curriculum=lambda k: 1 + k // 2)
    assert same(table, function) and found.num_steps.tolist() == [1, 1, 2, 2, 3, 3]
    assert table.rollout.num_steps == 3
    assert not same(table, train(num_updates=6)[0])


@pytest.mark.parametrize("curriculum, message", [
    ({}, "at update 0"), ({5: 2}, "at update 0"), ({0: 0}, "at least 1"), (lambda k: 1.0, "at least 1"),
    ({0: 1, 29: 4}, "reference has 3 steps, the longest roll-out 4")])
def test_refuses_a_curriculum_that_does_not_fit_before_training(curriculum, message):
    objective = objective_of(conv())
    with pytest.raises(ValueError, match=message):
        train(objective=objective, curriculum=curriculum)
    assert same(objective, objective_of(conv())) and objective.rollout.num_steps == 3


# Arguments -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("options, message", [
    ({"num_updates": 0}, "num_updates is 0"), ({"num_updates": 2.0}, "num_updates is 2.0"),
    ({"clip_norm": 0}, "clip_norm is 0"), ({"clip_norm": float("nan")}, "clip_norm is nan"),
    ({"checkpoint_every": 0}, "checkpoint_every is 0")])
def test_refuses_numbers_that_make_no_sense(options, message):
    with pytest.raises(ValueError, match=message):
        train(**options)


def test_refuses_an_optimizer_or_schedule_of_something_else():
    objective, other = objective_of(conv()), objective_of(conv())
    right, schedules = adam(objective), torch.optim.lr_scheduler
    wrong = [(adam(other), None, ValueError, "lacks 2 of the objective's 2 .* holds 2 that are not"),
             (torch.optim.Adam([objective.rollout.step[1].network.weight]), None, ValueError, "lacks 1 of .*bias"),
             (torch.optim.LBFGS(objective.parameters()), None, TypeError, "L-BFGS"),
             (right, schedules.ExponentialLR(adam(objective), 0.9), ValueError, "another optimizer"),
             (right, schedules.ReduceLROnPlateau(right), TypeError, "validation loss")]
    for optimizer, schedule, error, message in wrong:
        with pytest.raises(error, match=message):
            fit(objective, WINDOWS, optimizer, num_updates=1, schedule=schedule)
    frozen = objective_of(conv().requires_grad_(False))
    with pytest.raises(ValueError, match="no trainable weight"):
        fit(frozen, WINDOWS, adam(objective), num_updates=1)
