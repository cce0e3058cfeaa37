"""The periodic flow of E08 is periodic: it moves, its leading exponents vanish, and P alone goes astray on it."""

import pytest
import torch

from dpbook_course.problems import kuramoto_sivashinsky as ks
from dpbook_course.problems import periodic_waves as waves
from dpbook_utils import evaluation
from dpbook_utils.diagnostics import lyapunov_exponents
from dpbook_utils.networks import Ensemble
from dpbook_utils.physics.kuramoto_sivashinsky import KuramotoSivashinsky, etdrk2


@pytest.fixture(scope="module")
def data():
    return waves.trajectories("inside")


def test_it_does_not_rest(data):
    energy = data.states.square().mean((2, 3))
    assert (energy.std(1) / energy.mean(1)).min() > 0.03


def test_its_energy_repeats(data):
    """The energy of a wave pattern does not see a shift: after a period it is back, in each of 400 steps."""
    energy = data.states[:8, :, 0].double().square().mean(2)
    lags = torch.stack([(energy[:, lag:] - energy[:, :-lag]).abs().amax(1) for lag in range(5, 120)])
    assert (lags.amin(0) < 0.1 * (energy.amax(1) - energy.amin(1))).all()


def test_its_leading_exponents_vanish_and_those_of_the_chaotic_flow_do_not(data):
    """The exponents of the two shifts, in space and in mean, are zero; over T steps they are found as ln(T) / T."""
    solver = KuramotoSivashinsky(waves.num_points, waves.dt, etdrk2,
                                 waves.num_substeps)
    some = slice(None, None, 4)
    u0, length = data.states[some, 0].double(), data.length[some].double()
    found = lyapunov_exponents(solver, u0, 400, warmup=50, length=length)
    assert found.abs().max() < 0.008
    chaotic = ks.trajectories("validation")
    u0, length = chaotic.states[::6, 0].double(), chaotic.length[::6].double()
    assert lyapunov_exponents(ks.solver(etdrk2), u0, 200, warmup=50, length=length).mean() > 0.05


def test_the_coarse_solver_needs_a_correction_and_an_untrained_network_changes_little(data):
    prediction, reference = evaluation.predict(waves.coarse_solver(), data.states, 12, **data.parameters)
    error = evaluation.relative_l2(prediction, reference).mean(0)
    assert 0.01 < error[0] < 0.1 and error[-1] > 0.3
    networks = waves.ensemble((0, 1), 4, 1)
    assert isinstance(networks, Ensemble)
    step = waves.hybrid(networks)
    ours = evaluation.predict(step, data.states[:2], 1, length=data.length[:2])[0].unflatten(0, (2, 2))
    assert (ours - prediction[:2, :1]).norm() < 0.05 * prediction[:2, :1].norm()


def test_training_lengths_enclose_the_test_lengths_and_initial_states_differ():
    assert min(waves.train_lengths) < min(waves.test_lengths["inside"])
    assert max(waves.test_lengths["inside"]) < max(waves.train_lengths)
    assert len(set(waves.data_seeds.values())) == 3
    batch = waves.windows((0, 1), 3, 4)[0]
    assert batch["u0"].shape == (8, 1, waves.num_points) and batch["reference"].shape[1] == 3
