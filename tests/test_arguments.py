"""Bad values are refused in one sentence that says what was given, what is expected and what to do."""

import json
import re
from collections import defaultdict

import bad_inputs
import numpy as np
import pytest
import torch
from torch import nn

from dpbook_course.web import Library, Unsupported, export
from dpbook_utils import arguments
from dpbook_utils.coupling import Additive
from dpbook_utils.data import Fresh, Sampler, Windows, random_fourier
from dpbook_utils.gradients import Truncated
from dpbook_utils.losses import TrajectoryLoss, every_step, mse, relative_l2
from dpbook_utils.networks import REPLICATE, ConvResNet, Ensemble
from dpbook_utils.objectives import Objective, from_solver
from dpbook_utils.physics.advection import central
from dpbook_utils.physics.burgers import Burgers
from dpbook_utils.physics.navier_stokes import NavierStokes, semi_lagrangian
from dpbook_utils.physics.phiflow import precision_and_device
from dpbook_utils.physics.trace import trace
from dpbook_utils.rollout import Rollout, Sequential, repeat
from dpbook_utils.training import fit

U = torch.randn(4, 1, 16, generator=torch.Generator().manual_seed(0))
R = torch.randn(4, 2, 1, 16, generator=torch.Generator().manual_seed(1))
P = Burgers(16, 1.0, 0.001)


def network(**options):
    return ConvResNet(1, 1, 1, width=2, num_blocks=1, **options)


def objective(ours=None, metric=mse):
    return Objective(Rollout(Sequential(Additive(ours or network())), 2), TrajectoryLoss(every_step, metric))


def training(batches, ours=None, **options):
    ours = ours or objective()
    return fit(ours, batches, torch.optim.Adam(ours.parameters()), num_updates=1, progress=False, **options)


# Every argument of every function, one bad value at a time ------------------------------------------------------------

BY_NAME = defaultdict(list)
for case in bad_inputs.CASES:
    BY_NAME[case.name].append(case)


@pytest.mark.parametrize("name", BY_NAME)
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_bad_values_are_refused_in_one_sentence(name):
    found = list(bad_inputs.outcomes(BY_NAME[name]))
    tried, refused = bad_inputs.count(found)
    assert tried >= 20 and refused >= tried / 2
    for outcome in found:
        said = f"{name}({outcome.argument}={outcome.value}): {type(outcome.error).__name__}: {outcome.error}"
        if outcome.error is None:
            assert bad_inputs.allowed(outcome), f"{said} is accepted"
            continue
        assert not bad_inputs.accepted_by_name(outcome), f"{said} is refused"
        assert isinstance(outcome.error, bad_inputs.ERRORS), said
        assert bad_inputs.raised_by_the_package(outcome.error), said
        assert re.fullmatch(r"\w[\w ./]*: [^\n]+; [^\n]+|there are no results [^\n]+", str(outcome.error)), said


# Slips of one kind ----------------------------------------------------------------------------------------------------

SLIPS = {
    "trace a chain": (lambda: trace(Sequential(P, Additive(network())), U, viscosity=0.01), "give a solver, .* one by"),
    "trace a repetition": (lambda: trace(repeat(P, 8), U, viscosity=0.01), "trace: solver is a Sequential"),
    "trace a network": (lambda: trace(network(), U), r"trace: solver is a ConvResNet; .*fit\(..., trace=True\)"),
    "trace a class": (lambda: trace(Burgers, U), r"solver is the class Burgers; give an object of it, Burgers\("),
    "one length for two": (lambda: NavierStokes((8, 8), 1.0, 0.01), "length is 1.0; give two positive numbers"),
    "three lengths": (lambda: NavierStokes((8, 8), (1.0, 2.0, 3.0), 0.01), r"length is \(1.0, 2.0, 3.0\); give two"),
    "one number of points": (lambda: NavierStokes(8, (1.0, 1.0), 0.01), "num_points is 8; give two whole numbers"),
    "a scheme's name": (lambda: Burgers(16, 1.0, 0.01, "upwind"), "advection is 'upwind'; give a scheme: central"),
    "the other scheme": (lambda: Burgers(16, 1.0, 0.01, semi_lagrangian), "is the function semi_lagrangian; give a"),
    "a scheme for scalars": (lambda: NavierStokes((8, 8), (1.0, 1.0), 0.01, central), "this scheme is one for scalars"),
    "infinite length": (lambda: Burgers(16, float("inf"), 0.01), "length is inf; give a positive number"),
    "a parameter that is True": (lambda: P(U, viscosity=True), "parameter viscosity is a bool; give a number"),
    "a padding's name": (lambda: network(padding="periodic"), "padding is 'periodic'; give PERIODIC, REPLICATE or"),
    "a wide kernel": (lambda: network(kernel_size=19)(U[..., :8]), "19 points, and a periodic axis of 8 takes at most"),
    "no blocks": (lambda: ConvResNet(1, 1, 1, num_blocks=-1), "num_blocks is -1; give a whole number of at least 0"),
    "an empty batch": (lambda: network()(U[:0]), "give at least one sample"),
    "scale 0": (lambda: network(conditions={"a": (1.0, 0.0)}), r"condition a is \(1.0, 0.0\); give .* the scale not 0"),
    "scale NaN": (lambda: network(conditions={"a": (1.0, float("nan"))}), r"condition a is \(1.0, nan\); give two"),
    "other networks": (lambda: Ensemble([nn.Conv1d(1, 1, 3)]), "network 0 is a Conv1d; give a list of ConvResNets"),
    "partly frozen": (lambda: Ensemble([network(), network().requires_grad_(False)]), "freeze and convert all of them"),
    "ensembles of two sizes": (lambda: objective_of_two(), "ensembles of 2 and 3 networks, .* would be mixed; give"),
    "a list of operators": (lambda: Rollout([P], 2), r"joined by Sequential\("),
    "a solver's class": (lambda: Rollout(Burgers, 2), "step is the class Burgers; give an operator built from it"),
    "steps as text": (lambda: Rollout(P, "2"), "num_steps is '2'; give a whole number"),
    "steps with a point": (lambda: Rollout(P, 2.0), "num_steps is 2.0; give a whole number"),
    "half an operator": (lambda: Rollout(P, 2, record_after=0.5), "record_after is 0.5; give a whole number of -1"),
    "truncated": (lambda: Truncated(2.5), "every is 2.5; give a whole number of at least 1"),
    "weights in a list": (lambda: TrajectoryLoss([0.5, 0.5]), r"weights is \[0.5, 0.5\]; give a placement"),
    "torch's metric": (lambda: objective(metric=nn.functional.mse_loss)(U, R), r"mse_loss gives \(\), expected"),
    "targets by name": (lambda: Objective(Rollout(P, 1), TrajectoryLoss(every_step), "batch"), "give from_batch"),
    "targets not made": (lambda: Objective(Rollout(P, 1), TrajectoryLoss(every_step), from_solver), "what it returns"),
    "double reference": (lambda: objective()(U, R.double()), r"reference is torch.float64 .* use reference.to\(u0\)"),
    "NumPy's reference": (lambda: objective()(U, R.numpy()), r"NumPy array of .*, as torch.from_numpy\(reference\)"),
    "fit, NumPy's reference": (lambda: training([{"u0": U, "reference": R.numpy()}]), "reference is a NumPy array"),
    "zero reference": (lambda: objective(metric=relative_l2)(U, 0 * R), "zero everywhere in sample 0 at step 1"),
    "NaN in the reference": (lambda: objective()(U, R * float("nan")), "NaN or infinity, first in sample 0 at step 1"),
    "batches from a function": (lambda: training(lambda k: {"u0": U}), "is the function <lambda>; give a source"),
    "curriculum in a list": (lambda: training([{"u0": U, "reference": R}], curriculum=[1, 2]), "give a dict {update:"),
    "three bounds": (lambda: Sampler(print, {"a": (1, 2, 3)}), r"bounds of a is \(1, 2, 3\); give two finite numbers"),
    "initial of two arguments": (lambda: Sampler(lambda n, rng: None), "initial is the function <lambda>; give a "
                                 r"function .num_samples, generator, values. -> u0, of three arguments"),
    "logarithmic text": (lambda: Sampler(print, {"a": (1, 2)}, "a"), "logarithmic is 'a'; give a tuple of names"),
    "a solver's class for data": (lambda: Fresh(Burgers, Sampler(print), 1, 1, seed=0), "solver is the class Burgers"),
}


def objective_of_two():
    two, three = (Ensemble([network(seed=s) for s in range(n)]) for n in (2, 3))
    return Objective(Rollout(Sequential(Additive(two), Additive(three)), 1), TrajectoryLoss(every_step))


@pytest.mark.parametrize("name", SLIPS)
def test_slips_are_named_with_a_remedy(name):
    slip, message = SLIPS[name]
    with pytest.raises((TypeError, ValueError), match=message) as error:
        slip()
    assert bad_inputs.raised_by_the_package(error.value) and "\n" not in str(error.value)


def test_windows_of_a_store_are_no_batches():
    class Stored:
        def batches(self, batch_size, seed):
            """As ``data.Stored`` has it."""

        def __getitem__(self, i):
            return {"u0": U[i], "reference": R[i]}

    with pytest.raises(TypeError, match=r"batches is a Stored; give .*stored.batches\(batch_size, seed=0\)"):
        training(Stored())


def exporting(groups=1, example=None, held=None, **options):
    ours = options.pop("ours", None) or objective()
    weights = list((held or ours).parameters())
    half = len(weights) // groups
    adam = torch.optim.Adam([{"params": weights[i:i + half]} for i in range(0, len(weights), half)], lr=1e-3)
    return export(ours, adam, {"u0": U} if example is None else example, Library(), **options)


@pytest.mark.parametrize("options, message", [
    ({"groups": 2}, "has 2 parameter groups; a page has one"), ({"example": {}}, r"give a batch with its states"),
    ({"clip_norm": -1}, "clip_norm is -1; give a positive number"), ({"held": network()}, "holds 0 of the"),
    ({"ours": objective(network().requires_grad_(False))}, "no trainable weight; put a network into its chain, or")])
def test_what_no_page_can_train_is_not_exported(options, message):
    with pytest.raises((ValueError, Unsupported), match=f"export: .*{message}"):
        exporting(**options)


# What is right stays right --------------------------------------------------------------------------------------------

@pytest.mark.parametrize("two", [np.int64(2), np.uint8(2), torch.tensor(2), np.array(2)])
def test_whole_numbers_of_other_libraries_are_whole_numbers(two):
    ours, batch = objective(), {"u0": U, "reference": R}
    adam = torch.optim.Adam(ours.parameters())
    assert len(fit(ours, [batch], adam, num_updates=two, curriculum={0: 1, 1: two}, progress=False)) == 2
    assert torch.equal(random_fourier(2, 16, modes=two, seed=two), random_fourier(2, 16, modes=2, seed=2))
    assert torch.equal(next(network(seed=two).parameters()), next(network(seed=2).parameters()))
    windows = Windows(R, 1, two, seed=two)
    assert torch.equal(windows[0]["u0"], Windows(R, 1, 2, seed=2)[0]["u0"])


def test_numbers_of_numpy_are_numbers():
    low, high = np.float32(0.25), np.float32(0.5)
    values = Sampler(print, {"a": (low, high), "b": low}).values(4, 0, 0)
    assert torch.equal(values["a"], Sampler(print, {"a": (0.25, 0.5)}).values(4, 0, 0)["a"])
    assert values["b"].tolist() == [0.25] * 4
    solver = Burgers(np.int32(16), np.float32(1), np.float64(0.001))
    assert torch.equal(solver(U, viscosity=np.float32(0.5) / 64), P(U, viscosity=0.5 / 64))
    assert (type(solver.dt), type(solver.length), type(solver.state_shape[1])) == (float, float, int)


def test_frozen_networks_stay_frozen_in_an_ensemble():
    ensemble = Ensemble([network(seed=s).requires_grad_(False) for s in range(2)])
    assert not any(w.requires_grad for w in [*ensemble.parameters(), *ensemble.member(0).parameters()])
    assert all(w.requires_grad for w in Ensemble([network()]).parameters())


def test_the_widest_kernel_goes_round_a_periodic_axis_once():
    assert network(kernel_size=17)(U[..., :8]).shape == (4, 1, 8)
    assert network(kernel_size=19, padding=REPLICATE)(U[..., :8]).shape == (4, 1, 8)


# Devices --------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("device", ["mps", "meta", "xpu:0", torch.device("mps", 0)])
def test_devices_other_than_cpu_and_cuda_are_refused(device):
    name = str(device)
    with pytest.raises(ValueError, match=f"Wake: the device is '{name}'; CPU and CUDA are supported, so move states"):
        arguments.device("Wake", device)
    assert arguments.device("Wake", "cuda:1") == torch.device("cuda", 1)


def test_states_on_another_device_are_refused_wherever_they_enter():
    u = U.to("meta")
    with pytest.raises(ValueError, match="Fresh: the device is 'mps'; CPU and CUDA"):
        Fresh(P, Sampler(print), 1, 1, seed=0, device="mps")
    for call in (lambda: P(u, viscosity=0.01), lambda: trace(P, u, viscosity=0.01),
                 lambda: Rollout(P, 1)(u, viscosity=0.01), lambda: precision_and_device(u).__enter__()):
        with pytest.raises(ValueError, match="the device is 'meta'; CPU and CUDA are supported"):
            call()


def test_the_count_that_the_book_shows_is_of_these_inputs():
    """``python tests/bad_inputs.py`` counts anew."""
    stored = json.loads(bad_inputs.STORED.read_text(encoding="utf-8"))
    arguments = sum(len(case.good().keys() - {"self"}) for case in bad_inputs.CASES)
    assert stored["tried"] == arguments * len(bad_inputs.BAD) and stored["values"] == len(bad_inputs.BAD)
    assert 0.5 < stored["refused"] / stored["tried"] < 1
