"""Checkpoints: resuming is exact, damage and mismatch are refused, and no file is lost."""

import errno
import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler
from trainings import TRAJECTORIES, WINDOWS, Stream, adam, conv, objective_of, resnet, same, same_history, train

from dpbook_utils import checkpoints
from dpbook_utils.data import Windows
from dpbook_utils.training import fit


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
        parts = [lr_scheduler.LinearLR(optimizer, total_iters=4), lr_scheduler.MultiStepLR(optimizer, [3, 6])]
        schedule = lr_scheduler.SequentialLR(optimizer, parts, [5])
        torch.manual_seed(0)
        fit(objective, Stream(7), optimizer, num_updates=num_updates, schedule=schedule, checkpoint=checkpoint,
            progress=False)
        return objective

    run(tmp_path / "t.pt", 9)
    assert same(run(tmp_path / "t.pt", 20), run(None, 20))


def test_running_the_cell_again_goes_on_with_the_same_objects(tmp_path):
    objective = objective_of(conv(), sigma=0.1)
    optimizer = adam(objective)
    schedule = lr_scheduler.ExponentialLR(optimizer, 0.99)
    torch.manual_seed(0)
    for num_updates in (12, 30):
        fit(objective, WINDOWS, optimizer, num_updates=num_updates, schedule=schedule, clip_norm=1.0,
            checkpoint=tmp_path / "t.pt", progress=False)
    assert same(objective, train()[0])


SCRIPT = """
import sys, time, torch
sys.path.insert(0, {tests!r})
from trainings import WINDOWS, train
torch.set_num_threads({threads})

class Slow:
    def __getitem__(self, k):
        time.sleep(0.004 if k < 250 else 3600)  # it is killed before the end, however busy the machine
        return WINDOWS[k]

train({file!r}, num_updates=300, batches=Slow())
"""


def test_resuming_after_sigkill_gives_the_undisturbed_training_bit_for_bit(tmp_path):
    file = tmp_path / "t.pt"
    script = SCRIPT.format(tests=os.path.dirname(__file__), file=str(file), threads=torch.get_num_threads())
    child = subprocess.Popen([sys.executable, "-c", script])
    while not file.exists():
        assert child.poll() is None
        time.sleep(0.01)
    time.sleep(0.2)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert 0 < checkpoints.load(file)["update"] < 300
    resumed, found = train(file, num_updates=300)
    whole, expected = train(num_updates=300)
    assert same(resumed, whole) and same_history(found, expected)


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


def test_weights_between_two_updates_are_never_written(tmp_path):
    class Stopped(torch.optim.SGD):
        def step(self, closure=None):
            self.updates = getattr(self, "updates", 0) + 1
            if self.updates == 18:
                self.param_groups[0]["params"][0].data += 1
                raise KeyboardInterrupt  # the second Ctrl-C does not wait for the end of an update
            super().step()

    def run(optimizer_class, num_updates, checkpoint):
        objective = objective_of(conv())
        fit(objective, WINDOWS, optimizer_class(objective.parameters(), 1e-2), num_updates=num_updates,
            checkpoint=checkpoint, checkpoint_every=10, progress=False)
        return objective

    with pytest.raises(KeyboardInterrupt):
        run(Stopped, 30, tmp_path / "t.pt")
    stored = checkpoints.load(tmp_path / "t.pt")
    assert stored["update"] == 10
    expected = run(torch.optim.SGD, 10, None).state_dict()
    assert all(torch.equal(stored["weights"][name], w) for name, w in expected.items())


@pytest.mark.parametrize("first", [7, 13])
def test_resuming_a_traced_training_is_exact_too(tmp_path, first):
    def run(checkpoint, num_updates, trace=True):
        objective = objective_of(resnet(), sigma=0.1)
        return train(checkpoint, objective=objective, num_updates=num_updates, curriculum={0: 1, 10: 3}, trace=trace)[0]

    run(tmp_path / "t.pt", first)
    assert same(run(tmp_path / "t.pt", 20), run(None, 20))
    with pytest.raises(checkpoints.CheckpointError, match="trace: True in the file, False now"):
        run(tmp_path / "t.pt", 20, trace=False)


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
    ({"lr": 2e-2}, "lr=0.01.* in the file, .*lr=0.02.* now"), ({"sigma": 0.2}, "sigma=0.1.*sigma=0.2"),
    ({"clip_norm": None}, "clip_norm: 1.0 in the file, None now"), ({"gamma": 0.9}, "gamma=0.99.*gamma=0.9"),
    ({"batches": Windows(TRAJECTORIES, 3, 4, seed=1)}, "first batch"), ({"seed": 1}, "started from other weights"),
    ({"num_updates": 9}, "holds 10 updates"),
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


class Disk:
    """Fails with an error as the nth write reaches the disk, and at all later ones until it is mended."""

    def __init__(self, monkeypatch, number, first):
        self.number, self.left, self.fsync = number, first, os.fsync
        monkeypatch.setattr(os, "fsync", self)

    def __call__(self, file):
        self.left -= 1
        if self.left < 0:
            raise OSError(self.number, os.strerror(self.number))
        self.fsync(file)


class Failing:
    def __getitem__(self, k):
        return WINDOWS[k] if k < 8 else 1 / 0


class Counted:
    def __init__(self):
        self.asked = []

    def __getitem__(self, k):
        self.asked.append(k)
        return WINDOWS[k]


@pytest.mark.parametrize("number, remedy", [(errno.ENOSPC, "free some space"), (errno.EROFS, "not read-only"),
                                            (errno.EACCES, "writable"), (errno.EDQUOT, "free"), (errno.EIO, "another")])
def test_a_checkpoint_that_cannot_be_written_is_found_before_the_first_update(tmp_path, monkeypatch, number, remedy):
    file, batches = tmp_path / "t.pt", Counted()
    train(file, num_updates=10)
    before = file.read_bytes()
    Disk(monkeypatch, number, 0)
    for path in (file, tmp_path / "new" / "t.pt"):
        message = rf"{path} cannot be written \({os.strerror(number)}\): .*{remedy}.*; what was there is unchanged"
        with pytest.raises(OSError, match=message) as found:
            train(path, batches=batches)
        assert found.value.errno == number and set(batches.asked) <= {0}, "only looked at, not trained on"
    assert file.read_bytes() == before and not [path for path in tmp_path.rglob("*") if path.is_file() and path != file]
    train(file, num_updates=10)  # what is finished needs no disk


def test_a_disk_that_is_full_for_a_while_ends_no_training(tmp_path, monkeypatch):
    file = tmp_path / "t.pt"
    disk = Disk(monkeypatch, errno.ENOSPC, 2)  # the trial and the first checkpoint
    problem = f"{file} cannot be written .No space left on device.: free some space"
    with pytest.warns(UserWarning, match=f"after 10 updates {problem}") as told:
        with pytest.raises(OSError, match=problem):
            train(file, num_updates=14, checkpoint_every=5)
    assert len(told) == 1 and checkpoints.load(file)["update"] == 5 and [f.name for f in tmp_path.iterdir()] == ["t.pt"]
    disk.left = 10**9
    assert same(train(file)[0], train()[0])


def test_an_error_is_not_hidden_by_a_full_disk(tmp_path, monkeypatch):
    Disk(monkeypatch, errno.ENOSPC, 1)
    with pytest.warns(UserWarning, match="No space left"), pytest.raises(ZeroDivisionError):
        train(tmp_path / "t.pt", batches=Failing())


def test_the_reason_of_torch_s_failed_write_is_told(tmp_path):
    """On a file system that is really full: ``torch.save`` alone says "enforce fail at inline_container"."""
    full = tmp_path / "full"
    full.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", full]).returncode:
        pytest.skip("a file system cannot be mounted here")
    try:
        checkpoints.save(full / "t.pt", {"weights": torch.zeros(100)})
        with pytest.raises(OSError, match=r"t.pt cannot be written \(No space left on device\): free some space"):
            checkpoints.save(full / "t.pt", {"weights": torch.zeros(100_000)})
        assert len(checkpoints.load(full / "t.pt")["weights"]) == 100 and len(list(full.iterdir())) == 1
        (full / "rest").write_bytes(bytes(os.statvfs(full).f_bavail * os.statvfs(full).f_bsize))
        with pytest.raises(OSError, match="new.pt cannot be written .No space left on device.: free some space"):
            train(full / "new.pt")
    finally:
        subprocess.run(["umount", full], check=True)


@pytest.mark.parametrize("error", [OSError(errno.EMFILE, "Too many open files"), OSError(errno.EIO, "I/O error"),
                                   PermissionError(errno.EACCES, "Permission denied")], ids=repr)
def test_a_file_that_cannot_be_read_is_not_called_damaged(tmp_path, monkeypatch, error):
    train(tmp_path / "t.pt", num_updates=10)

    def fail(_):
        raise error

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(type(error)) as found:
        train(tmp_path / "t.pt")
    assert found.value is error


@pytest.mark.parametrize("error", [MemoryError("no room"), RuntimeError(
    "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried to allocate 40 bytes")])
def test_no_memory_is_no_damage(tmp_path, monkeypatch, error):
    train(tmp_path / "t.pt", num_updates=10)

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(type(error)) as found:
        checkpoints.load(tmp_path / "t.pt")
    assert found.value is error


@pytest.mark.parametrize("name, message", [
    ("folder", "cannot be written .Is a directory.: it is a folder, so choose the name of a file in it"),
    ("file/t.pt", "a part of the path is a file"), ("file/a/t.pt", "a part of the path"),
    ("x" * 300, "File name too long.: choose a shorter name"), ("y" * 254 + "/t.pt", None), ("z" * 255, None)])
def test_paths_that_cannot_be_are_explained_before_the_first_update(tmp_path, name, message):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    if message is None:
        train(tmp_path / name, num_updates=2)
        assert checkpoints.load(tmp_path / name)["update"] == 2
        return
    batches = Counted()
    with pytest.raises(OSError, match=message) as found:
        train(tmp_path / name, batches=batches)
    assert str(tmp_path / name) in str(found.value) and set(batches.asked) <= {0}


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    train("~/new/t.pt", num_updates=2)
    assert checkpoints.load("~/new/t.pt")["update"] == 2 and [f.name for f in tmp_path.iterdir()] == ["new"]


def test_an_iterator_cannot_be_resumed(tmp_path):
    with pytest.raises(TypeError, match="cannot start over"):
        train(tmp_path / "t.pt", batches=itertools.repeat(WINDOWS[0]))
