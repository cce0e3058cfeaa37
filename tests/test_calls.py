"""Calls that do not fit: one sentence with what was given and how it is called; names that there are not."""

import inspect

import bad_inputs
import pytest
import torch
from torch import nn

import dpbook_course as course
import dpbook_utils as dp

U = torch.randn(4, 1, 16, generator=torch.Generator().manual_seed(0))
R = torch.randn(4, 3, 1, 16, generator=torch.Generator().manual_seed(1))
P = dp.Burgers(16, 1.0, 0.001)
V = torch.zeros(2, 2, 8, 8)


def network(**options):
    return dp.ConvResNet(1, 1, 1, width=2, num_blocks=1, **options)


def objective(step=None):
    return dp.Objective(dp.Rollout(step or dp.Additive(network()), 2), dp.TrajectoryLoss(dp.every_step))


def hybrid():
    return dp.Sequential(P, dp.Additive(network()))


def fit(batch, ours=None, **options):
    ours = ours or objective()
    return dp.fit(ours, [batch], torch.optim.Adam(ours.parameters()), num_updates=1, progress=False, **options)


def refused(call, error, message):
    with pytest.raises(error, match=message) as found:
        call()
    assert bad_inputs.raised_by_the_package(found.value) and "\n" not in str(found.value)


CALLS = {
    "a parameter by place": (lambda: P(U, 0.01), r"Burgers: too many positional arguments, given a tensor of .*, 0.01; "
                             r"call it as \(u, viscosity=\.\.\., force="),
    "by place, recorded": (lambda: dp.trace(P, U, viscosity=0.01)(U, 0.01), "Burgers: too many .*viscosity="),
    "by place, a chain": (lambda: hybrid()(U, 0.01), "Sequential: too many .* call it as .u, viscosity="),
    "by place, a roll-out": (lambda: dp.Rollout(P, 2)(U, 0.01), r"Rollout: too many .* \(u, \*\*parameters\)"),
    "no state": (lambda: P(viscosity=0.01), "Burgers: missing a required argument: 'u', given viscosity=0.01"),
    "solver and network": (lambda: dp.Additive(P, network()), r"given a Burgers, a ConvResNet; call .* Additive\(netw"),
    "no name": (lambda: dp.SolverParameter(P, network()), r"'name', given .* SolverParameter\(solver, network, na"),
    "no steps": (lambda: dp.Rollout(P), r"'num_steps', given a Burgers; call .* Rollout\(step, num_steps, \*"),
    "a chain unjoined": (lambda: dp.Rollout(P, network(), 2), "given a Burgers, a ConvResNet, 2; call it as Rollout"),
    "unlisted networks": (lambda: dp.Ensemble(network(), network()), r"call it as Ensemble\(networks\)"),
    "no example": (lambda: dp.trace(P), r"trace: missing a required argument: 'example', given a Burgers; call"),
    "example by place": (lambda: dp.trace(P, U, 0.01), r"trace: too many .* trace\(solver, example, \*\*parameters\)"),
    "no loss": (lambda: dp.Objective(dp.Rollout(P, 2)), "'loss', given a Rollout; call it as Objective.rollout, loss"),
    "too few numbers": (lambda: dp.Burgers(64), r"given 64; call it as Burgers\(num_points, length, dt, advection="),
    "a misspelt option": (lambda: dp.Rollout(P, 2, steps=1), "unexpected keyword argument 'steps', given a Burgers, 2"),
    "predict by place": (lambda: dp.predict(P, R, 2, 0.01), "predict: too many .* call it as predict.step, traj"),
    "inputs by other names": (lambda: dp.gradient_check(P, {"input": U.double()}), "inputs has input, missing a requ"),
    "noise with a parameter": (lambda: dp.GaussianNoise(0.1)(U, viscosity=1.0), "GaussianNoise: got an unexpected"),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls_that_do_not_fit_say_what_was_given_and_how_it_is_called(name):
    call, message = CALLS[name]
    refused(call, TypeError, message)


def test_errors_inside_a_call_that_fits_are_their_own():
    class Broken(dp.Coupling):
        def couple(self, u, output):
            return len(3)

    with pytest.raises(TypeError, match="object of type 'int' has no len"):
        Broken(network())(U)


def test_explained_calls_look_as_they_were_written():
    assert list(inspect.signature(dp.Rollout).parameters) == ["step", "num_steps", "gradient", "record_after",
                                                             "checkpoint"]
    assert list(inspect.signature(dp.trace).parameters) == ["solver", "example", "parameters"]
    assert dp.trace.__name__ == "trace" and dp.Additive.__init__.__qualname__ == "Coupling.__init__"


@pytest.mark.parametrize("package, name, message", [
    (dp, "Burger", "there is no Burger; did you mean Burgers[?]"), (dp, "burgers", "did you mean Burgers"),
    (dp, "xyz", r"there is no xyz; dir\(dpbook_utils\) lists"), (course, "verdit", "did you mean verdict[?]"),
    (course.problems, "kuramoto", "did you mean"), (course.studies, "e4", "dir.dpbook_course.studies. lists")])
def test_names_that_there_are_not_say_which_may_be_meant(package, name, message):
    with pytest.raises(AttributeError, match=message) as found:
        getattr(package, name)
    assert found.value.name == name and not hasattr(package, "__path")


@pytest.mark.parametrize("take", [
    lambda x: dp.predict(x, R), lambda x: dp.simulate(x, U, 2), lambda x: dp.Rollout(x, 2), lambda x: dp.repeat(x, 2),
    lambda x: dp.lyapunov_exponents(x, U, 2), dp.Sequential, dp.Additive, dp.from_solver])
@pytest.mark.parametrize("whole, step", [(dp.Rollout(P, 2), "rollout.step"), (objective(), "objective.rollout.step")])
def test_what_repeats_a_step_is_no_step(take, whole, step):
    refused(lambda: take(whole), TypeError, f"is an? {type(whole).__name__}; give the step that it repeats, {step}")


BATCHES = {
    "no axis of time": (lambda: fit({"u0": U, "reference": U}), r"reference has shape \(4, 1, 16\), .*unsqueeze\(1"),
    "no axis of time, called": (lambda: objective()(U, U), r"reference has shape \(4, 1, 16\), .*unsqueeze\(1"),
    "target": (lambda: fit({"u0": U, "target": R}), "unknown parameter target; it takes none; .* 'u0', 'reference'"),
    "nu": (lambda: fit({"u0": U, "reference": R, "viscosty": 1.0}, objective(hybrid())), "did you mean viscosity"),
    "none": (lambda: fit({"u0": U, "reference": R}, objective(hybrid())), "viscosity is missing; give .* in the batch"),
    "none, recorded": (lambda: fit({"u0": U, "reference": R}, objective(hybrid()), trace=True), "viscosity is missing"),
    "none, for a trace": (lambda: dp.trace(P, U), "Burgers: parameter viscosity is missing; give viscosity=... in the"),
    "unknown, a chain": (lambda: hybrid()(U, viscosty=0.01), "Sequential: unknown parameter viscosty; did you mean"),
    "unknown, a coupling": (lambda: dp.Additive(network())(U, a=0.01), "Additive: unknown parameter a; it takes none"),
}


@pytest.mark.parametrize("name", BATCHES)
def test_keys_and_axes_of_a_batch_that_do_not_fit(name):
    call, message = BATCHES[name]
    refused(call, ValueError, message)


@pytest.mark.parametrize("call, message", [
    (lambda: P(U.double(), viscosity=torch.full((4,), 0.01)), r"is torch.float32 .* or u.to\(viscosity\) if the"),
    (lambda: objective()(U.double(), R.double()), "the state is torch.float64, the weights are torch.float32; use u"),
    (lambda: objective()(U, R.double()), r"use reference.to\(u0\), or u0.to\(reference\)")])
def test_precisions_that_differ_are_told_with_both_remedies(call, message):
    refused(call, TypeError, message)


def test_a_branch_on_data_is_trained_without_a_trace():
    class Branch(dp.Solver):
        def step(self, u):
            return 2 * u if u.max() > 0 else u

    ours = objective(dp.Sequential(Branch(0.1, (1, 16)), dp.Additive(network())))
    with pytest.raises(dp.TraceError, match=r"a branch on data.*Train with fit\(..., trace=False\)"):
        fit({"u0": U, "reference": R}, ours, trace=True)
    assert len(fit({"u0": U, "reference": R}, ours)) == 1


def test_a_network_for_another_grid_is_named():
    refused(lambda: dp.Additive(dp.ConvResNet(1, 2, 2, width=2))(V), ValueError,
            r"shape \(2, 2, 8, 8\); expected \(batch, 2, x\), as the network has ndim=1; build it with the ndim")
    with pytest.raises(RuntimeError) as found:
        dp.Additive(nn.Conv1d(2, 2, 3))(V)
    assert found.value.__notes__ == ["Additive: in the network, a Conv1d, given u: a tensor of shape (2, 2, 8, 8) and "
                                     "torch.float32"]


def test_functions_of_other_arguments_are_refused_at_once():
    refused(lambda: dp.TrajectoryLoss(dp.mse), TypeError, "weights is the function mse; .* of one argument")
    refused(lambda: dp.TrajectoryLoss(dp.every_step, dp.every_step), TypeError, "every_step; .* of two arguments")
    refused(lambda: dp.Setup(placement=dp.mse), TypeError, "placement is the function mse; .* of one argument")
    refused(lambda: dp.Objective(dp.Rollout(P, 1), dp.TrajectoryLoss(dp.every_step), dp.mse), TypeError,
            "targets is the function mse; .* of four arguments")


# What is shown of objects --------------------------------------------------------------------------------------------

def test_the_repr_of_an_operator_has_what_it_was_built_with():
    burgers = dp.Burgers(64, 1.0, 0.01, dp.upwind)
    assert repr(burgers) == "Burgers(num_points=64, length=1.0, dt=0.01, advection=Upwind())"
    flow = dp.NavierStokes((8, 8), (1.0, 2.0), 0.1)
    assert repr(flow) == "NavierStokes(num_points=(8, 8), length=(1.0, 2.0), dt=0.1, advection=mac_cormack)"
    assert "num_steps=3, gradient=Truncated(every=2), record_af" in repr(dp.Rollout(P, 3, gradient=dp.Truncated(2)))
    assert repr(dp.TrajectoryLoss(dp.every_step)) == "TrajectoryLoss(weights=every_step, metric=mse)"
    assert repr(dp.GaussianNoise(0.5)) == "GaussianNoise(sigma=0.5)"


def test_the_repr_of_a_history_is_one_line():
    shown = repr(fit({"u0": U, "reference": R}))
    assert shown.startswith("History(1 update, loss ") and "\n" not in shown and "tensor" not in shown
    assert repr(dp.History.empty(0, 1)) == "History(0 updates, loss nan at first, nan at last)"
