"""The training loop: equal to a hand-written one, exact across interruptions, safe when it diverges."""

import itertools
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from torch import nn

from dpbook_utils import checkpoints
from dpbook_utils.coupling import Additive, Replace
from dpbook_utils.data import Windows
from dpbook_utils.losses import TrajectoryLoss, every_step
from dpbook_utils.networks import ConvResNet, Ensemble
from dpbook_utils.noise import GaussianNoise
from dpbook_utils.objectives import Objective
from dpbook_utils.rollout import Rollout, Sequential
from dpbook_utils.training import Diverged, Gradients, clip_gradients, fit, gradient_norms

TRAJECTORIES = torch.randn(3, 12, 1, 8, generator=torch.Generator().manual_seed(0))
WINDOWS = Windows(TRAJECTORIES, 3, 4, seed=0)


def resnet(seed=0):
    return ConvResNet(1, 1, 1, width=4, num_blocks=1, output_scale=0.3, seed=seed)


def ensemble(num_members):
    return Ensemble([resnet(seed) for seed in range(num_members)])


def conv(seed=0):
    torch.manual_seed(seed)
    return nn.Conv1d(1, 1, 3, padding=1)


def objective_of(network, num_steps=3, sigma=0.0):
    return Objective(Rollout(Sequential(GaussianNoise(sigma), Additive(network)), num_steps), TrajectoryLoss(every_step))


def adam(objective, lr=1e-2):
    return torch.optim.Adam(objective.parameters(), lr=lr)


def train(checkpoint=None, *, num_updates=30, seed=0, sigma=0.1, lr=1e-2, gamma=0.99, batches=WINDOWS, objective=None, **options):
    """One noisy training with a schedule: (objective, history)."""
    objective = objective_of(conv(seed), sigma=sigma) if objective is None else objective
    optimizer = adam(objective, lr)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma)
    torch.manual_seed(seed)
    options = {"clip_norm": 1.0, "checkpoint_every": 10, "progress": False, **options}
    return objective, fit(objective, batches, optimizer, num_updates=num_updates, schedule=schedule, checkpoint=checkpoint, **options)


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def same_history(a, b):
    names = ("losses", "gradient_norms", "learning_rates", "num_steps", "diverged_at")
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in names)


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
    from dpbook_utils.data import random_fourier, simulate
    from dpbook_utils.physics.burgers import Burgers
    from dpbook_utils.physics.trace import trace

    u0 = random_fourier(4, 32, modes=3, seed=0)
    solver = trace(Burgers(32, 1.0, 0.002), u0, viscosity=0.02)
    truth = simulate(solver, u0, 20, viscosity=0.1)
    torch.manual_seed(0)
    network = nn.Conv1d(1, 1, 3, padding=1, padding_mode="circular")
    objective = Objective(Rollout(Sequential(solver, Additive(network)), 2), TrajectoryLoss(every_step))
    losses = fit(objective, Windows(truth, 2, 4, seed=0, viscosity=0.02), adam(objective, 0.02), num_updates=150, progress=False).losses
    assert losses[-10:].mean() < 1e-2 * losses[:1].mean()


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

class Stream:
    """Iterable, not indexable."""

    def __init__(self, length):
        self.length = length

    def __iter__(self):
        return (WINDOWS[k] for k in range(self.length))


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
    ({0: 1, 29: 4}, "reference has 3 steps, the longest roll-out of this training 4")])
def test_refuses_a_curriculum_that_does_not_fit_before_training(curriculum, message):
    objective = objective_of(conv())
    with pytest.raises(ValueError, match=message):
        train(objective=objective, curriculum=curriculum)
    assert same(objective, objective_of(conv())) and objective.rollout.num_steps == 3


# Ensembles -----------------------------------------------------------------------------------------------------------

def test_an_ensemble_equals_separate_trainings():
    def batches(**seeds):
        return Windows(TRAJECTORIES.double(), 3, 4, **seeds)

    together, found = train(objective=objective_of(ensemble(3).double()), batches=batches(seeds=[5, 6, 7]), clip_norm=0.2)
    for s in range(3):
        objective = objective_of(resnet(s).double())
        alone, expected = train(objective=objective, batches=batches(seed=5 + s), clip_norm=0.2)
        for stacked, single in zip(together.parameters(), alone.parameters(), strict=True):
            assert torch.allclose(stacked[s], single[0], rtol=1e-10, atol=1e-14)
        assert torch.allclose(found.losses[:, s], expected.losses[:, 0], rtol=1e-10)
        assert torch.allclose(found.gradient_norms[:, s], expected.gradient_norms[:, 0], rtol=1e-10)
    assert (found.gradient_norms > 0.2).any() and not torch.allclose(found.losses[:, 0], found.losses[:, 1])


def test_a_member_that_diverges_leaves_the_others_alone():
    windows = Windows(TRAJECTORIES, 3, 4, seeds=[0, 0, 0])
    broken, healthy = objective_of(ensemble(3)), objective_of(ensemble(3))
    with torch.no_grad():
        broken.rollout.step[1].network.stacked.layers[-1].weight[1] *= 1e30
    before = [w[1].clone() for w in broken.parameters()]
    _, found = train(objective=broken, batches=windows)
    _, expected = train(objective=healthy, batches=windows)
    assert found.diverged_at.tolist() == [-1, 0, -1]
    assert found.losses[1:, 1].isnan().all()
    for s in (0, 2):
        assert torch.equal(found.losses[:, s], expected.losses[:, s])
        assert all(torch.equal(a[s], b[s]) for a, b in zip(broken.parameters(), healthy.parameters()))
    assert all(torch.equal(w[1], b) for w, b in zip(broken.parameters(), before))


def test_a_member_that_diverges_late_keeps_its_last_finite_weights(tmp_path):
    """Momentum and weight decay must not move it either, also after a resume."""
    poisoned = [dict(WINDOWS[k], u0=WINDOWS[k]["u0"].clone()) for k in range(12)]
    poisoned[6]["u0"][2:] = 1e38  # the states of member 1
    before, _ = train(objective=objective_of(ensemble(2)), batches=poisoned, num_updates=6)
    after, found = train(objective=objective_of(ensemble(2)), batches=poisoned, num_updates=12)
    train(tmp_path / "t.pt", objective=objective_of(ensemble(2)), batches=poisoned, num_updates=8)
    resumed, again = train(tmp_path / "t.pt", objective=objective_of(ensemble(2)), batches=poisoned, num_updates=12)
    assert found.diverged_at.tolist() == [-1, 6] and found.losses[6:, 1].isnan().sum() >= 5
    for a, b in zip(after.parameters(), before.parameters()):
        assert torch.equal(a[1], b[1]) and not torch.equal(a[0], b[0])
    assert same(after, resumed) and again.diverged_at.tolist() == [-1, 6]


def test_refuses_batches_and_weights_that_members_cannot_share():
    objective = objective_of(ensemble(3))
    with pytest.raises(ValueError, match="4 states, which 3 members cannot share"):
        train(objective=objective)
    objective.scale = nn.Parameter(torch.ones(1))
    with pytest.raises(ValueError, match="leading axis of 3 members"):
        train(objective=objective)


# Divergence ----------------------------------------------------------------------------------------------------------

class Amplify(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, u):
        return self.factor * u


@pytest.mark.parametrize("factor, first_step", [(1e15, 3), (1e25, 2), (1e30, 2)])
def test_divergence_names_the_step_at_which_the_state_stopped_being_finite(factor, first_step):
    objective = Objective(Rollout(Replace(Amplify(factor)), 4), TrajectoryLoss(every_step))
    batch = {"u0": torch.ones(2, 1, 8), "reference": torch.ones(2, 4, 1, 8)}
    with pytest.raises(Diverged, match=rf"update 0, unroll length 4: the state is not finite from step {first_step} .*curriculum") as e:
        fit(objective, [batch], adam(objective), num_updates=5, progress=False)
    assert (e.value.update, e.value.num_steps, e.value.first_step) == (0, 4, first_step)
    assert objective.rollout.num_steps == 4 and objective.rollout.step.network.factor == factor


def test_divergence_tells_overflowing_losses_and_broken_references_apart():
    objective = Objective(Rollout(Replace(Amplify(1e25)), 1), TrajectoryLoss(every_step))
    batch = {"u0": torch.ones(2, 1, 8), "reference": torch.ones(2, 1, 1, 8)}
    with pytest.raises(Diverged, match=r"stays finite \(largest value 1e\+25\), but not its loss"):
        fit(objective, [batch], adam(objective), num_updates=1, progress=False)
    objective = Objective(Rollout(Replace(Amplify(1.0)), 1), TrajectoryLoss(every_step))
    batch["reference"][0, 0, 0, 3] = torch.nan
    with pytest.raises(Diverged, match="reference holds NaN"):
        fit(objective, [batch], adam(objective), num_updates=1, progress=False)


def test_a_gradient_that_is_not_finite_is_divergence():
    def metric(u, reference):  # sqrt has value 0 and an infinite slope at 0
        return (u - reference).abs().sqrt().flatten(2).mean(2)

    objective = Objective(Rollout(Replace(Amplify(1.0)), 1), TrajectoryLoss(every_step, metric))
    batch = {"u0": torch.ones(2, 1, 8), "reference": torch.ones(2, 1, 1, 8)}
    with pytest.raises(Diverged, match="but not its gradient"):
        fit(objective, [batch], adam(objective), num_updates=1, progress=False)
    assert objective.rollout.step.network.factor == 1


def test_divergence_keeps_the_last_good_weights_in_the_network_and_in_the_checkpoint(tmp_path):
    good, _ = train(num_updates=13)
    poisoned = [dict(WINDOWS[k], u0=WINDOWS[k]["u0"] * (1e38 if k == 13 else 1)) for k in range(30)]
    poisoned[13]["u0"] *= 10
    poisoned[13]["u0"] = poisoned[13]["u0"].clamp(-3e38, 3e38)
    for _ in range(2):  # the second time from the checkpoint
        objective = objective_of(conv(), sigma=0.1)
        with pytest.raises(Diverged, match="update 13") as e:
            train(tmp_path / "t.pt", objective=objective, batches=poisoned)
        assert same(objective, good) and len(e.value.history) == 13
        assert checkpoints.load(tmp_path / "t.pt")["update"] == 13


# Checkpoints ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("first", [10, 13, 29])
def test_resuming_gives_the_undisturbed_training_bit_for_bit(tmp_path, first):
    whole, expected = train()
    train(tmp_path / "new folder" / "t.pt", num_updates=first)
    resumed, found = train(tmp_path / "new folder" / "t.pt")
    assert same(whole, resumed) and same_history(expected, found)
    assert [f.name for f in (tmp_path / "new folder").iterdir()] == ["t.pt"]
    finished, again = train(tmp_path / "new folder" / "t.pt")
    assert same(whole, finished) and same_history(expected, again)


def test_resuming_works_with_an_iterable_and_a_table_schedule(tmp_path):
    def run(checkpoint, num_updates):
        objective = objective_of(conv(), sigma=0.1)
        optimizer = torch.optim.AdamW(objective.parameters(), 1e-2)
        schedule = torch.optim.lr_scheduler.SequentialLR(optimizer, [
            torch.optim.lr_scheduler.LinearLR(optimizer, total_iters=4), torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 6])], [5])
        torch.manual_seed(0)
        fit(objective, Stream(7), optimizer, num_updates=num_updates, schedule=schedule, checkpoint=checkpoint, progress=False)
        return objective

    run(tmp_path / "t.pt", 9)
    assert same(run(tmp_path / "t.pt", 20), run(None, 20))


def test_running_the_cell_again_goes_on_with_the_same_objects(tmp_path):
    objective = objective_of(conv(), sigma=0.1)
    optimizer = adam(objective)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.99)
    torch.manual_seed(0)
    for num_updates in (12, 30):
        fit(objective, WINDOWS, optimizer, num_updates=num_updates, schedule=schedule, clip_norm=1.0,
            checkpoint=tmp_path / "t.pt", progress=False)
    assert same(objective, train()[0])


SCRIPT = """
import sys, time, torch
sys.path.insert(0, {tests!r})
from test_training import WINDOWS, train
torch.set_num_threads(1)

class Slow:
    def __getitem__(self, k):
        time.sleep(0.004)
        return WINDOWS[k]

objective, _ = train({file!r}, num_updates=300, batches=Slow())
torch.save(objective.state_dict(), {file!r} + ".weights")
"""


def test_resuming_after_sigkill_gives_the_undisturbed_training_bit_for_bit(tmp_path):
    file = tmp_path / "t.pt"
    script = SCRIPT.format(tests=os.path.dirname(__file__), file=str(file))
    child = subprocess.Popen([sys.executable, "-c", script])
    while not file.exists():
        assert child.poll() is None
        time.sleep(0.01)
    time.sleep(0.2)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert 0 < checkpoints.load(file)["update"] < 300
    subprocess.run([sys.executable, "-c", script], check=True)
    whole, _ = train(num_updates=300)
    resumed = torch.load(f"{file}.weights")
    assert all(torch.equal(resumed[name], value) for name, value in whole.state_dict().items())


class Interrupting:
    """Presses Ctrl-C while batch 17 is made; the stream of ``WINDOWS`` otherwise."""

    def __init__(self, presses):
        self.presses = presses

    def __getitem__(self, k):
        while k == 17 and self.presses:
            self.presses -= 1
            signal.raise_signal(signal.SIGINT)
        return WINDOWS[k]


@pytest.mark.parametrize("presses, done", [(1, 18), (2, 17)])
def test_an_interrupt_writes_the_checkpoint_and_is_raised_again(tmp_path, presses, done):
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "t.pt", batches=Interrupting(presses))
    assert signal.getsignal(signal.SIGINT) is handler
    assert checkpoints.load(tmp_path / "t.pt")["update"] == done
    assert same(train(tmp_path / "t.pt", batches=Interrupting(0))[0], train()[0])


def test_a_damaged_checkpoint_is_refused_and_left_alone(tmp_path):
    file, rng = tmp_path / "t.pt", torch.Generator().manual_seed(0)
    train(file, num_updates=10)
    whole = file.read_bytes()
    state = checkpoints.load(file)
    damaged = [whole[:size] for size in (0, 1, 100, len(whole) // 2, len(whole) - 1)] + [b"no archive at all"]
    for place in torch.randint(len(whole), (100,), generator=rng).tolist():
        damaged.append(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1:])
    refused = 0
    for content in damaged:
        file.write_bytes(content)
        try:
            found = checkpoints.load(file)
        except checkpoints.CheckpointError as error:
            assert str(file) in str(error) and "move it away" in str(error)
            with pytest.raises(checkpoints.CheckpointError):
                train(file)
            refused += 1
        else:  # the flipped byte is padding
            assert all(torch.equal(value, found["weights"][name]) for name, value in state["weights"].items())
        assert file.read_bytes() == content
    assert refused > 50


@pytest.mark.parametrize("change, named", [
    ({"lr": 2e-2}, "lr=0.01.* in the file, .*lr=0.02.* now"), ({"clip_norm": None}, "clip_norm: 1.0 in the file, None now"),
    ({"sigma": 0.2}, "sigma=0.1.*sigma=0.2"), ({"gamma": 0.9}, "gamma=0.99.*gamma=0.9"), ({"seed": 1}, "started from other weights"),
    ({"batches": Windows(TRAJECTORIES, 3, 4, seed=1)}, "first batch"), ({"num_updates": 9}, "holds 10 updates"),
    ({"curriculum": {0: 3, 9: 2}}, "Unroll length at update 9: 3 in the file, 2 now"),
    ({"objective": objective_of(nn.Conv1d(1, 1, 5, padding=2), sigma=0.1)}, r"\(1, 1, 3\).* in the file, \(1, 1, 5\)"),
    ({"objective": objective_of(conv(), num_steps=2, sigma=0.1)}, "num_steps=3")])
def test_a_checkpoint_of_another_training_is_refused_and_left_alone(tmp_path, change, named):
    file = tmp_path / "t.pt"
    train(file, num_updates=10)
    before = file.read_bytes()
    with pytest.raises(checkpoints.CheckpointError, match=named) as error:
        train(file, **change)
    assert str(file) in str(error.value) and "no training was started" in str(error.value)
    assert file.read_bytes() == before


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    file = tmp_path / "t.pt"
    train(file, num_updates=10)
    before = file.read_bytes()

    def half(state, f):
        f.write(before[:100])
        raise OSError("no space left on device")

    monkeypatch.setattr(checkpoints.torch, "save", half)
    with pytest.raises(OSError, match="no space left"):
        train(file)
    assert file.read_bytes() == before and [f.name for f in tmp_path.iterdir()] == ["t.pt"]


def test_an_iterator_cannot_be_resumed(tmp_path):
    with pytest.raises(TypeError, match="cannot start over"):
        train(tmp_path / "t.pt", batches=itertools.repeat(WINDOWS[0]))


# Arguments -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("options, message", [
    ({"num_updates": 0}, "num_updates is 0"), ({"num_updates": 2.0}, "num_updates is 2.0"), ({"clip_norm": 0}, "clip_norm is 0"),
    ({"clip_norm": float("nan")}, "clip_norm is nan"), ({"checkpoint_every": 0}, "checkpoint_every is 0")])
def test_refuses_numbers_that_make_no_sense(options, message):
    with pytest.raises(ValueError, match=message):
        train(**options)


def test_refuses_an_optimizer_or_schedule_of_something_else():
    objective, other = objective_of(conv()), objective_of(conv())
    wrong = [(adam(other), None, ValueError, "lacks 2 of the objective's 2 .* holds 2 that are not"),
             (torch.optim.Adam([objective.rollout.step[1].network.weight]), None, ValueError, "lacks 1 of .*bias"),
             (adam(objective), torch.optim.lr_scheduler.ExponentialLR(adam(objective), 0.9), ValueError, "another optimizer"),
             (torch.optim.LBFGS(objective.parameters()), None, TypeError, "L-BFGS")]
    for optimizer, schedule, error, message in wrong:
        with pytest.raises(error, match=message):
            fit(objective, WINDOWS, optimizer, num_updates=1, schedule=schedule)
    optimizer = adam(objective)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    with pytest.raises(TypeError, match="validation loss"):
        fit(objective, WINDOWS, optimizer, num_updates=1, schedule=plateau)
    frozen = objective_of(conv().requires_grad_(False))
    with pytest.raises(ValueError, match="no trainable weight"):
        fit(frozen, WINDOWS, adam(objective), num_updates=1)
