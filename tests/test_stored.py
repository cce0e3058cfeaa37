"""Data on disk: what was written is what is read; killed, resumed, damaged or mistaken stores are told apart."""

import contextlib
import errno
import functools
import json
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from test_fresh import BOUNDS, SAMPLER, SOLVER, TRACED, Watched, equal, forced, fresh, waves
from torch.utils.data import DataLoader
from trainings import adam, conv, same

from dpbook_utils.coupling import Additive
from dpbook_utils.data import Fresh, Sampler, Stored, StoreError, Windows, cell_averages, store
from dpbook_utils.losses import TrajectoryLoss, every_step
from dpbook_utils.objectives import Objective
from dpbook_utils.physics.burgers import Burgers
from dpbook_utils.rollout import Rollout, Sequential
from dpbook_utils.training import fit

NUM_BATCHES = 5
write = functools.partial(store, num_batches=NUM_BATCHES, progress=False)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    path = tmp_path_factory.mktemp("stores") / "data"
    write(fresh(), path, description="Decaying waves.", units={"trajectories": "m/s", "viscosity": "m^2/s"})
    return path


@pytest.fixture
def folder(original, tmp_path):
    """A copy to damage."""
    return shutil.copytree(original, tmp_path / "data")


def chunk(path, k, name="trajectories"):
    return path / name / "c" / "/".join([str(k), *"0" * (3 if name == "trajectories" else 0)])


def files(path):
    return {file.relative_to(path): (file.read_bytes(), file.stat().st_mtime_ns)
            for file in path.rglob("*") if file.is_file()}


# Reading -------------------------------------------------------------------------------------------------------------

def test_what_is_read_is_what_was_generated(original):
    stored = Stored(original)
    assert len(stored) == 4 * NUM_BATCHES and stored.dt == SOLVER.dt
    for k, batch in enumerate(DataLoader(stored, batch_size=4)):
        assert equal(batch, fresh()[k])
    assert equal(stored[6], {name: values[2] for name, values in fresh()[1].items()})
    assert len(list(stored)) == len(stored)


def test_windows_start_at_every_time(original):
    stored = Stored(original, 2)
    assert len(stored) == 20 * 2
    for i in range(40):
        whole, window = Stored(original)[i // 2], stored[i]
        states = torch.cat([whole["u0"][None], whole["reference"]])
        assert torch.equal(window["u0"], states[i % 2])
        assert torch.equal(window["reference"], states[i % 2 + 1:i % 2 + 3])
        assert window["viscosity"] == whole["viscosity"]
    with pytest.raises(IndexError):
        stored[40]


def test_batches_from_disk_are_those_from_memory(original):
    stored = Stored(original, 2)
    from_disk, in_memory = stored.batches(6, seeds=[3, 1]), stored.load(6, seeds=[3, 1])
    assert isinstance(in_memory, Windows)
    for k in (7, 0):
        assert equal(from_disk[k], in_memory[k]) and len(from_disk[k]["u0"]) == 12
    assert equal(next(iter(from_disk)), in_memory[0])


def test_a_batch_reads_each_chunk_once_and_opening_reads_none(original, monkeypatch):
    read = []
    get = zarr.storage.LocalStore.get
    monkeypatch.setattr(zarr.storage.LocalStore, "get",
                        lambda self, key, *rest, **options: read.append(key) or get(self, key, *rest, **options))
    stored = Stored(original)
    assert {key.rpartition("/")[2] for key in read} == {"zarr.json"}
    stored.batch([0])
    read.clear()
    stored.batch([0, 3, 16, 1, 19, 0])
    assert sorted(read) == ["trajectories/c/0/0/0/0", "trajectories/c/4/0/0/0"]


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_open_the_store_for_themselves(original, context):
    stored = Stored(original)
    stored[0]  # opened here, and its threads started
    loader = DataLoader(stored, batch_size=4, num_workers=2, multiprocessing_context=context)
    for k, batch in enumerate(loader):
        assert equal(batch, fresh()[k])
    assert len(pickle.dumps(stored)) < 1000


def test_a_stranger_can_read_it(original):
    """Everything is in the folder, without this package."""
    group = zarr.open_group(original, mode="r")
    assert group.attrs["format"] == "dpbook trajectories" and group.attrs["version"] == 1
    assert group.attrs["description"] == "Decaying waves." and group.attrs["dt"] == SOLVER.dt
    assert group.attrs["settings"]["seeds"] == "[0]" and "0.005, 0.05" in group.attrs["settings"]["bounds"]
    assert group.attrs["settings"]["operator solver"].startswith("Burgers(") and "torch" in group.attrs["libraries"]
    states = group["trajectories"]
    assert states.metadata.dimension_names == ("sample", "time", "channel", "x") and states.attrs["units"] == "m/s"
    assert np.array_equal(states[4:8, 0], fresh()[1]["u0"].numpy())
    assert np.array_equal(group["viscosity"][4:8], fresh()[1]["viscosity"].numpy())
    assert len(chunk(original, 0).read_bytes()) == states[:4].nbytes + 4
    total = sum(file.stat().st_size for file in original.rglob("*.*"))
    assert states[:].nbytes / 20 < Stored(original).bytes_per_sample < states[:].nbytes / 20 + 500 + total


def test_fields_coarse_grids_and_pairs_are_stored_too(tmp_path):
    def swapped(batch):
        return {**batch, "u0": batch["reference"][:, -1], "reference": batch["u0"].unsqueeze(1)}

    coarse = functools.partial(cell_averages, num_points=8)
    stream = fresh(sampler=Sampler(forced, {**BOUNDS, "viscosity": 0.02}), observe=coarse, transform=swapped)
    stored = write(stream, tmp_path / "pairs")
    assert equal(stored.batch(range(8, 12)), stream[2]) and stored[0]["force"].shape == (1, 8)
    longer = write(fresh(transform=lambda batch: {**batch, "u0": -batch["u0"]}), tmp_path / "longer")
    assert longer.num_steps == 3
    with pytest.raises(StoreError, match="answers of 3 steps that are no trajectories.*windows of 2. .*Ask for 3"):
        Stored(longer.path, 2)
    with pytest.raises(ValueError, match="states of one shape"):
        write(fresh(transform=lambda batch: {**batch, "u0": batch["u0"][..., :8]}), tmp_path / "other")


# Training ------------------------------------------------------------------------------------------------------------

def test_stored_and_fresh_solver_outputs_train_the_same_weights_and_no_graph_is_built_through_the_solver(tmp_path):
    """The chain (P, N) on fresh states; N alone on P(u0) computed anew; N alone on P(u0) from disk."""
    watched = Watched()

    def first_step(batch):
        return {"u0": watched(batch["u0"], viscosity=batch["viscosity"]), "reference": batch["reference"]}

    states = Fresh(TRACED, SAMPLER, 1, 4, 0, observe=torch.tanh)
    outputs = Fresh(TRACED, SAMPLER, 1, 4, 0, observe=torch.tanh, transform=first_step)
    stored = store(outputs, tmp_path / "outputs", 100, progress=False)
    trained = []
    for batches, solver in ((states, [watched]), (outputs, []), (DataLoader(stored, batch_size=4), [])):
        objective = Objective(Rollout(Sequential(*solver, Additive(conv())), 1), TrajectoryLoss(every_step))
        fit(objective, batches, adam(objective), num_updates=100, progress=False)
        trained.append(objective)
    assert same(trained[0], trained[1]) and same(trained[1], trained[2])
    assert not torch.equal(next(trained[0].parameters()), next(conv().parameters()))
    assert {(requires_grad, has_graph) for requires_grad, has_graph, _ in watched.seen} == {(False, False)}


# Interrupted generation ----------------------------------------------------------------------------------------------

KILLED = """
import itertools, sys, time
from test_fresh import fresh
from test_stored import write
calls = itertools.count()
def noting(batch):
    if next(calls) == 3:
        print("in the middle of batch 3", flush=True)
        time.sleep(600)
    return batch
write(fresh(transform=noting), sys.argv[1])
"""


class Noting:
    """Like the function of the killed process, by name too; notes which batches are generated."""

    def __init__(self):
        self.__qualname__, self.generated = "noting", []

    def __call__(self, batch):
        self.generated.append(next(k for k in range(NUM_BATCHES) if equal(batch, fresh()[k])))
        return batch


def test_generation_that_was_killed_resumes_at_the_first_missing_batch(tmp_path, root):
    path = tmp_path / "data"
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(path)], cwd=root / "tests", stdout=subprocess.PIPE)
    process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    with pytest.raises(StoreError, match=r"is incomplete: 2 of 5 batches are missing, the first is 3. .* Call store"):
        Stored(path)
    before, noting = files(path), Noting()
    stored = write(fresh(transform=noting), path)
    assert noting.generated == [0, 3, 4]
    after = files(path)
    assert {name: after[name] for name in before} == before
    assert all(equal(batch, fresh()[k]) for k, batch in enumerate(DataLoader(stored, batch_size=4)))


def test_generation_killed_before_anything_was_written_starts_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(zarr.Group, "create_array", lambda *arguments, **options: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write(fresh(), tmp_path / "data")
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "data").mkdir()
    assert equal(write(fresh(), tmp_path / "data").batch([0, 1, 2, 3]), fresh()[0])


def test_another_process_may_begin_the_same_store_at_the_same_moment(original, tmp_path, monkeypatch):
    rename = Path.rename

    def too_late(source, target):
        shutil.copytree(original, target)
        chunk(target, 4).unlink()
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", too_late)
    assert equal(write(fresh(), tmp_path / "data").batch(range(16, 20)), fresh()[4])
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_complete_store_is_left_alone(folder, capsys):
    before = files(folder)
    assert len(write(fresh(), folder)) == 20
    assert files(folder) == before
    store(fresh(), folder, NUM_BATCHES)
    assert "storing" not in capsys.readouterr().err
    chunk(folder, 2).unlink()
    store(fresh(), folder, NUM_BATCHES)
    assert "storing: 100%" in capsys.readouterr().err
    assert {name: content for name, (content, _) in files(folder).items()} == {
        name: content for name, (content, _) in before.items()}


@pytest.mark.parametrize("stream, num_batches, message", [
    (lambda: fresh(seed=1), 5, r"seeds: \[0\] in the folder, \[1\] now"),
    (lambda: fresh(), 6, "num_batches: 5 in the folder, 6 now"),
    (lambda: fresh(2), 5, "num_steps: 3 in the folder, 2 now"),
    (lambda: fresh(warmup=1), 5, "warmup: 0 in the folder, 1 now"),
    (lambda: fresh(sampler=Sampler(waves, {**BOUNDS, "amplitude": (0.1, 0.3)}, ("viscosity",))), 5,
     r"bounds: .*amplitude=.\(0.1, 0.4\).* in the folder, .*amplitude=.\(0.1, 0.3\).* now"),
    (lambda: Fresh(Burgers(16, 1.0, 0.02), SAMPLER, 3, 4, 0), 5, "dt: 0.01 in the folder, 0.02 now"),
    (lambda: Fresh(Burgers(16, 1.1, 0.01), SAMPLER, 3, 4, 0), 5, "operator solver: .*length=1.0.*length=1.1.* now"),
    (lambda: fresh(observe=torch.tanh), 5, "observe: None in the folder, .*tanh now")])
def test_a_store_begun_with_other_settings_is_refused(folder, stream, num_batches, message):
    chunk(folder, 2).unlink()
    before = files(folder)
    with pytest.raises(StoreError, match=f"begun with other settings.*{message}.*left as it is. Give another folder"):
        store(stream(), folder, num_batches, progress=False)
    assert files(folder) == before


def test_a_store_of_the_same_settings_and_other_code_is_refused(folder):
    def others(num_samples, generator, values):
        return 1.01 * waves(num_samples, generator, values)

    others.__qualname__ = "waves"
    with pytest.raises(StoreError, match="holds another stream: trajectories of batch 0 .* Did initial, observe"):
        write(fresh(sampler=Sampler(others, BOUNDS, ("viscosity",))), folder)


# Damage --------------------------------------------------------------------------------------------------------------

def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def truncate(file):
    file.write_bytes(file.read_bytes()[:len(file.read_bytes()) // 2])


def empty(file):
    file.write_bytes(b"")


@pytest.mark.parametrize("damage", [flip, truncate, empty])
@pytest.mark.parametrize("name", ["trajectories", "viscosity"])
def test_a_damaged_chunk_is_named_when_it_is_read_and_made_anew(folder, damage, name):
    damage(chunk(folder, 3, name))
    stored = Stored(folder)
    if name == "trajectories":
        assert equal(stored.batch(range(4, 12)), {key: torch.cat([fresh()[1][key], fresh()[2][key]])
                                                  for key in ("u0", "reference", "viscosity")})
    file = chunk(folder, 3, name).relative_to(folder)
    for read in (lambda: stored[13], lambda: stored.batch([13, 0, 5]), lambda: stored.load(4, 0)):
        with pytest.raises(StoreError, match=f"is damaged: {file} cannot be read .*move it away and call store"):
            read()
    (folder / file).rename(folder / "kept")
    write(fresh(), folder)
    assert equal(Stored(folder).batch(range(12, 16)), fresh()[3])


def test_a_chunk_that_vanishes_is_refused_on_opening_and_on_reading(folder):
    stored = Stored(folder)
    chunk(folder, 0).unlink()
    with pytest.raises(StoreError, match="is incomplete: 1 of 5 batches are missing, the first is 0"):
        Stored(folder)
    with pytest.raises(StoreError, match=r"incomplete: trajectories/c/0/0/0/0 is missing.*call store"):
        stored[1]


def fail(error):
    def failing(*_, **__):
        raise error

    return failing


@pytest.mark.parametrize("error", [
    OSError(errno.EMFILE, "Too many open files"), OSError(errno.EIO, "Input/output error"), MemoryError("no room"),
    PermissionError(errno.EACCES, "Permission denied"), RuntimeError("can't start new thread")],
    ids=lambda error: type(error).__name__ + str(getattr(error, "errno", "")))
def test_what_is_no_damage_is_raised_as_it_is(folder, monkeypatch, error):
    stored = Stored(folder)
    monkeypatch.setattr(zarr.storage.LocalStore, "get", fail(error))
    for read in (lambda: stored[3], lambda: stored.batch([3, 9]), lambda: stored.load(4, 0), lambda: Stored(folder),
                 lambda: write(fresh(), folder)):
        with pytest.raises(type(error)) as found:
            read()
        assert found.value is error
    monkeypatch.undo()
    assert equal(stored.batch(range(12, 16)), fresh()[3]), "the next attempt reads it"


def test_no_descriptor_left_is_no_damage(folder):
    stored = Stored(folder)
    stored[0]
    before, held = resource.getrlimit(resource.RLIMIT_NOFILE), []
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
    try:
        with contextlib.suppress(OSError):
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))
        with pytest.raises(OSError, match="Too many open files.*trajectories/c/4") as found:
            stored[19]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for number in held:
            os.close(number)
    assert found.value.errno == errno.EMFILE
    assert equal(stored.batch(range(16, 20)), fresh()[4])


@pytest.mark.parametrize("index, kind, message", [
    (20, IndexError, "no window 20; give numbers from 0 to 19"), (-1, IndexError, "no window -1"),
    (10**30, IndexError, "no window 10+; give"), (0.5, TypeError, "windows [0.5] are asked for; give a sequence of"),
    (1.0, TypeError, "integers"), (True, TypeError, "windows [True]"), ("3", TypeError, "integers"),
    (None, TypeError, "integers"), (slice(0, 3), TypeError, "integers")])
def test_a_wrong_index_is_named_and_no_data_are_blamed(original, index, kind, message):
    stored = Stored(original)
    with pytest.raises(kind, match=message.replace("[", r"\[").replace("]", r"\]")):
        stored[index]
    with pytest.raises(kind):
        stored.batch([3, index])


@pytest.mark.parametrize("indices", [
    [], 3, 2.5, np.array([0.0, 1.0]), torch.tensor([0.5]), torch.tensor([True, False]), np.array([True]), [3, True],
    torch.tensor(3), torch.tensor([[1, 2]]), np.zeros((2, 2), int), [torch.tensor(True), 2], [[1, 2], [3, 4]], "12",
    torch.empty(0), torch.empty(0, dtype=torch.long)], ids=repr)
def test_windows_that_are_no_sequence_of_integers_are_refused(original, indices):
    with pytest.raises(TypeError, match="give a sequence of integers, at least one, from 0 to 19"):
        Stored(original).batch(indices)


@pytest.mark.parametrize("indices", [
    (3, 9), range(3, 10, 6), np.array([3, 9], np.uint8), torch.tensor([3, 9], dtype=torch.int16),
    [np.int64(3), torch.tensor(9)]], ids=repr)
def test_integers_of_every_kind_are_windows(original, indices):
    stored = Stored(original)
    assert equal(stored.batch(indices), stored.batch([3, 9]))
    assert equal(stored[indices[1]], stored[9])


# Folders that cannot be written --------------------------------------------------------------------------------------

@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("begun", [False, True])
def test_a_folder_that_cannot_be_written_is_found_before_anything_is_computed(folder, monkeypatch, number, begun):
    path = folder if begun else folder.parent / "new"
    chunk(folder, 4).unlink()
    before, noting = files(folder.parent), Noting()
    monkeypatch.setattr(os, "fsync", fail(OSError(number, os.strerror(number))))
    with pytest.raises(OSError, match=rf"cannot be written \({os.strerror(number)}\): ") as found:
        write(fresh(transform=noting), path)
    assert str(path if begun else path.parent) in str(found.value) and found.value.errno == number
    assert noting.generated == [] and files(folder.parent) == before


def test_a_complete_store_needs_no_folder_that_can_be_written(folder, monkeypatch):
    monkeypatch.setattr(os, "fsync", fail(OSError(errno.EROFS, "Read-only file system")))
    assert len(write(fresh(), folder)) == 20


def test_a_disk_that_fills_up_names_itself_and_loses_no_batch(folder, monkeypatch):
    for k in (1, 3):
        chunk(folder, k).unlink()
    written, put = [], zarr.storage.LocalStore.set

    def fill(self, key, *rest):
        if written:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(key)
        return put(self, key, *rest)

    monkeypatch.setattr(zarr.storage.LocalStore, "set", fill)
    with pytest.raises(OSError, match=rf"{folder} cannot be written \(No space left on device\): free some space"):
        write(fresh(), folder)
    monkeypatch.undo()
    with pytest.raises(StoreError, match="1 of 5 batches are missing, the first is 3"):
        Stored(folder)
    assert equal(write(fresh(), folder).batch(range(12, 16)), fresh()[3])


@pytest.mark.parametrize("name, message", [("x" * 300, "File name too long.*choose a shorter name"),
                                           ("file/data", "a part of the path is a file")])
def test_a_path_that_cannot_be_is_explained(tmp_path, name, message):
    (tmp_path / "file").touch()
    noting = Noting()
    with pytest.raises(OSError, match=message):
        write(fresh(transform=noting), tmp_path / name)
    assert noting.generated == []


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert write(fresh(), "~/stores/data").path == tmp_path / "stores" / "data"
    assert len(Stored("~/stores/data")) == 20 and not (tmp_path / "~").exists()


def edit(file, change):
    described = json.loads(file.read_text())
    change(described)
    file.write_text(json.dumps(described))


@pytest.mark.parametrize("damage, message", [
    (lambda path: truncate(path / "zarr.json"), "descriptions cannot be read"),
    (lambda path: truncate(path / "trajectories/zarr.json"), "descriptions cannot be read"),
    (lambda path: empty(path / "viscosity/zarr.json"), "descriptions cannot be read"),
    (lambda path: (path / "viscosity/zarr.json").unlink(), "descriptions cannot be read.*viscosity"),
    (lambda path: (path / "zarr.json").unlink(), "is no store of trajectories"),
    (lambda path: edit(path / "zarr.json", lambda d: d["attributes"].update(version=2)), "this version.*2.*expected"),
    (lambda path: edit(path / "zarr.json", lambda d: d["attributes"].pop("arrays")), "attributes lack arrays"),
    (lambda path: edit(path / "zarr.json", lambda d: d["attributes"].pop("settings")), "attributes lack settings"),
    (lambda path: edit(path / "zarr.json", lambda d: d["attributes"].clear()), "is no store of this version"),
    (lambda path: edit(path / "trajectories/zarr.json", lambda d: d.update(shape=[20, 5, 1, 16])), "is damaged: traj"),
    (lambda path: edit(path / "viscosity/zarr.json", lambda d: d.update(data_type="float64")), "is damaged: visc"),
    (lambda path: edit(path / "trajectories/zarr.json",
                       lambda d: d["chunk_grid"]["configuration"].update(chunk_shape=[2, 4, 1, 16])), "is damaged")])
def test_damaged_descriptions_are_refused(folder, damage, message):
    damage(folder)
    before = files(folder)
    for refused in (lambda: Stored(folder), lambda: write(fresh(), folder)):
        with pytest.raises(StoreError, match=rf"{message}.*left as it is. Give another folder, or move this one away"):
            refused()
    assert files(folder) == before


def test_a_foreign_folder_is_refused_and_kept(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    zarr.create_group(tmp_path / "other")
    for path, message in ((tmp_path, "has no zarr.json"), (tmp_path / "other", "no store of this version"),
                          (tmp_path / "thesis.txt", "has no zarr.json")):
        with pytest.raises(StoreError, match=message):
            write(fresh(), path)
    with pytest.raises(StoreError, match="has no zarr.json"):
        Stored(tmp_path / "nowhere")
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "thesis.txt"]


@pytest.mark.parametrize("asked, message", [
    (4, "trajectories of 3 steps, asked for windows of 4"), (0, "asked for windows of 0")])
def test_what_a_store_does_not_have_is_refused(original, asked, message):
    with pytest.raises(StoreError, match=message):
        Stored(original, asked)


def test_refuses_arguments_that_do_not_fit(original, tmp_path):
    for call, message in ((lambda: store(fresh(), tmp_path / "data", 0), "num_batches is 0"),
                          (lambda: Stored(original).batches(0, 0), "batch_size is 0"),
                          (lambda: Stored(original).batches(4), "exactly one")):
        with pytest.raises(ValueError, match=message):
            call()
    assert not (tmp_path / "data").exists()
