"""Stored states of chaotic problems: what was written is read, all else is refused, the flow leads along them."""

import json
import shutil
import sys

import numpy as np
import pytest
import torch

from dpbook_course.problems import ks as problem
from dpbook_course.problems import kuramoto_sivashinsky as ks
from dpbook_course.problems import restarts
from dpbook_course.studies.e03 import perturbations as e03_perturbations
from dpbook_utils.data import random_fourier, simulate
from dpbook_utils.physics.kuramoto_sivashinsky import KuramotoSivashinsky, etdrk2

SETTINGS = {"dt": 0.5, "lengths": (1.0, 2.0)}
COMMAND = "python -m make_states"
SETS = ("train", "validation", *ks.test_lengths, "unit")


@pytest.fixture
def path(tmp_path):
    states = {"a": torch.rand(2, 3, 1, 8), "b": torch.rand(1, 1, 1, 8).double()}
    restarts.save(tmp_path / "states.npz", SETTINGS, states)
    return tmp_path / "states.npz"


def refusal(path, settings=SETTINGS) -> str:
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(restarts.RestartError) as caught:
        restarts.load(path, settings, COMMAND)
    assert (path.read_bytes() if path.exists() else None) == before, "it is left as it is"
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_what_was_saved_is_loaded(path):
    found = restarts.load(path, SETTINGS, COMMAND)
    assert {name: (tuple(x.shape), x.dtype) for name, x in found.items()} == {
        "a": ((2, 3, 1, 8), torch.float32), "b": ((1, 1, 1, 8), torch.float64)}


def test_a_missing_file_is_named(path):
    path.unlink()
    assert "is missing; take the file from the repository" in refusal(path)


@pytest.mark.parametrize("share", [0, 0.5, 0.95])
def test_a_truncated_file_is_refused(path, share):
    path.write_bytes(path.read_bytes()[:int(share * path.stat().st_size)])
    assert "is damaged or no file of restart states" in refusal(path)


def test_a_file_of_something_else_is_refused(path):
    np.savez(path, a=np.zeros(3))
    assert "is damaged or no file of restart states" in refusal(path)
    path.write_text("a text")
    assert "is damaged or no file of restart states" in refusal(path)


def test_one_changed_number_is_noticed(path):
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    arrays["a"][1, 2, 0, 3] += 1e-6
    np.savez(path, **arrays)
    assert "do not have the checksum" in refusal(path)


def test_a_renamed_setting_in_the_file_is_noticed(path):
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    about = json.loads(str(arrays["about"]))
    about["settings"]["dt"] = 0.25
    np.savez(path, **{**arrays, "about": np.array(json.dumps(about))})
    assert "do not have the checksum" in refusal(path, {**SETTINGS, "dt": 0.25})


def test_whichever_bit_is_flipped_it_is_the_right_refusal_or_harmless(path):
    """A flipped bit can say that the archive is encrypted, or name an unknown compression."""
    content = path.read_bytes()
    refused = 0
    for place in [*range(0, 200), *range(len(content) - 400, len(content))]:
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1:])
        try:
            restarts.load(path, SETTINGS, COMMAND)
        except restarts.RestartError:
            refused += 1
    assert refused > 100


def test_the_command_replaces_the_states_only_if_it_is_asked_to(path, monkeypatch, capsys):
    made = []
    for options, status in (([], 2), (["--help"], 0), (["--write"], 0)):
        monkeypatch.setattr(sys, "argv", ["make_states", *options])
        with pytest.raises(SystemExit) as end:
            restarts.command(path, made.append, "What it is.")
        assert end.value.code == status and made == [path] * ("--write" in options)
    assert "Move the stored results" in capsys.readouterr().out


def test_other_settings_of_the_problem_are_refused_with_both_values(path):
    message = refusal(path, {**SETTINGS, "dt": 0.25})
    assert "was made with dt = 0.5, the problem states 0.25" in message and COMMAND in message
    assert "was made with points = None, the problem states 8" in refusal(path, {**SETTINGS, "points": 8})


def test_the_problem_refuses_a_damaged_file(path, monkeypatch):
    shutil.copy(problem.STATES, path)
    monkeypatch.setattr(ks, "warmup", 300)
    with pytest.raises(restarts.RestartError, match="made with warmup = 200, the problem states 300"):
        restarts.load(path, ks.made_with(), problem.COMMAND)


def test_between_restarts_the_solver_runs():
    """Against one long run without restarts, in double precision."""
    solver, lengths = KuramotoSivashinsky(32, 1.0, etdrk2, 2), torch.tensor([30.0, 33.0]).double()
    whole = simulate(solver, random_fourier(2, 32, modes=3, seed=0, dtype=torch.float64), 20, length=lengths)
    for every in (1, 4, 7, 30):
        found = restarts.between(solver, whole[:, ::every], every, 18, length=lengths)
        assert found.shape == (2, 18, 1, 32) and found.dtype == torch.float64
        assert torch.allclose(found, whole[:, :18], rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="3 restart states, 7 steps apart, give 21 states; 22 were asked for"):
        restarts.between(solver, whole[:, ::7], 7, 22, length=lengths)


@pytest.mark.parametrize("name", SETS)
def test_the_stored_states_are_a_trajectory_of_the_reference(name):
    """From each to the next in double precision; single precision made them. A time step 1 % off is noticed."""
    lengths, *_ = ks.described(name)
    states = ks.restarts()[name].double()
    if states.shape[1] == 1:
        pytest.skip("its only stored state is the first")
    number = states.shape[1] - 1
    lengths = lengths.double().repeat_interleave(number)

    def largest_gap(solver) -> float:
        u = simulate(solver, states[:, :-1].flatten(0, 1), 1, warmup=problem.EVERY - 1, length=lengths)[:, -1]
        then = states[:, 1:].flatten(0, 1)
        return float(((u - then).flatten(1).norm(dim=1) / then.flatten(1).norm(dim=1)).max())

    assert largest_gap(ks.reference_solver()) < 2e-4
    assert largest_gap(KuramotoSivashinsky(ks.num_points, 1.01 * ks.dt, etdrk2, ks.num_substeps)) > 1e-2


def test_single_precision_between_restarts_would_give_nearly_the_same():
    states, lengths = ks.trajectories("inside").states, ks.trajectories("inside").length
    first = problem.EVERY - problem.BEFORE  # a stored one
    u = simulate(ks.reference_solver(), states[:, first], problem.EVERY - 1, length=lengths)
    apart = (u - states[:, first:first + problem.EVERY]).flatten(2).norm(dim=2) / u.flatten(2).norm(dim=2)
    assert 0 < apart.max() < 2e-4


def test_shapes_histories_and_sets():
    for name in SETS:
        states, lengths = ks.trajectories(name).states, ks.trajectories(name).length
        earlier = ks.with_history(name, 2).states
        assert torch.equal(earlier[:, 2:], states) and len(lengths) == len(states) and states.dtype == torch.float32
    assert ks.trajectories("train").states.shape == (36, ks.train_steps + 1, 1, ks.num_points)
    assert ks.trajectories("unit").states.shape == (16, ks.test_steps + 1, 1, ks.num_points)
    with pytest.raises(ValueError, match="3 states before the first; 2 are stored"):
        ks.with_history("train", 3)


def test_starts_of_perturbed_pairs_are_stored_for_the_seeds_of_the_study():
    assert set(e03_perturbations._stored()) == {f"seed {seed}" for seed in e03_perturbations.SPEC.seeds}
    assert e03_perturbations._starts(0).shape == (e03_perturbations.SAMPLES, 1, ks.num_points)
    assert torch.isfinite(e03_perturbations._starts(99)).all()  # of another seed: here and now
