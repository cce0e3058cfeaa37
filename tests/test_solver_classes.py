"""Slips in a solver of one's own: in its class, and in what its step returns."""

import itertools

import pytest
import torch

import dpbook_utils as dp

U = torch.randn(4, 1, 16, generator=torch.Generator().manual_seed(0))
R = torch.randn(4, 2, 1, 16, generator=torch.Generator().manual_seed(1))


def own(step=lambda self, u: u.clone(), **attributes):
    return type("Mine", (dp.Solver,), {"step": step, **attributes})


def built(step=lambda self, u: u.clone(), **attributes):
    return own(step, **attributes)(0.1, (1, 16))


# The class -----------------------------------------------------------------------------------------------------------

CLASSES = {
    "no super().__init__": (lambda: own(__init__=lambda self: None)(), "__init__ lacks a call; begin it with super"),
    "required, not in step": (lambda: built(required=("nu",)), r"step cannot be called as step\(u, nu\), got an une"),
    "in step, not required": (lambda: built(lambda self, u, nu: u), r"called as step\(u\), missing .* 'nu'; give it"),
    "optional, no default": (lambda: built(lambda self, u, nu: u, optional=("nu",)), r"step\(u\), missing .* default"),
    "step without self": (lambda: built(lambda u: u), r"as step\(u\), too many positional arguments; give"),
    "a parameter named u": (lambda: built(lambda self, u: u, required=("u",)), "multiple values for argument 'u'"),
    "a batch's key": (lambda: built(lambda self, u, u0: u, required=("u0",)), "another name than a batch's own u0"),
    "check_parameters of others": (lambda: built(lambda self, u, nu: u, required=("nu",),
                                                 check_parameters=lambda self, *, mu: None), "check_parameters cannot"),
    "precompute of others": (lambda: built(lambda self, u, mu: u, required=("nu",), precompute=lambda self, mu: {}),
                             r"precompute cannot be called as precompute\(nu\)"),
    "required in a text": (lambda: built(required="nu"), "required is 'nu'; give the names of parameters"),
    "fields in a list": (lambda: built(lambda self, u, a: u, required=("a",), fields=["a"]), r"fields is \['a'\]"),
    "an unknown field": (lambda: built(lambda self, u, mask: u, required=("mask",), fields={"mas": 1}),
                         "unknown name in fields mas; did you mean mask[?] it takes mask"),
    "a field's channels": (lambda: built(lambda self, u, a: u, required=("a",), fields={"a": "1"}), "is '1'; give a"),
    "state_shape, a number": (lambda: own()(0.1, 32), r"state_shape is 32; give .* such as \(1, 32\)"),
    "state_shape, none": (lambda: own()(0.1, None), "state_shape is None; give whole numbers .channels"),
    "dt": (lambda: own()((1, 16), 0.1), r"dt is \(1, 16\); give a positive number"),
}


@pytest.mark.parametrize("name", CLASSES)
def test_slips_in_a_class_are_named_when_it_is_built(name):
    build, message = CLASSES[name]
    with pytest.raises((TypeError, ValueError), match=f"^Mine: .*{message}"):
        build()


def test_classes_that_fit_are_built():
    assert built(lambda self, u, **all: u, required=("nu",), optional=("force",)).parameter_names == ("nu", "force")
    computes = built(lambda self, u, factor: factor[:, None, None] * u, required=("nu",),
                     precompute=lambda self, nu: {"factor": 2 * nu})
    assert torch.equal(computes(U, nu=3.0), 6 * U)

    class Later(dp.Solver):
        def __init__(self):
            super().__init__(0.1, (1, 16))
            self.optional = ("force",)  # as a scheme may ask for

        def step(self, u, force=None):
            return u if force is None else u + force

    assert torch.equal(Later()(U, force=U), 2 * U)

    class Narrow(dp.Burgers):
        """Its step does without the optional parameters of the class above it."""

        def step(self, u, *, viscosity):
            return super().step(u, viscosity=viscosity) / 2

    solver = dp.Burgers(16, 1.0, 0.01)
    assert torch.equal(Narrow(16, 1.0, 0.01)(0.1 * U, viscosity=0.1), solver(0.1 * U, viscosity=0.1) / 2)


# What a step returns -------------------------------------------------------------------------------------------------

RESULTS = {
    "a tuple": (lambda self, u: (u, u), "a tuple of 2"),
    "nothing": (lambda self, u: None, "None"),
    "an array": (lambda self, u: u.detach().numpy(), "a NumPy array of shape .4, 1, 16. and float32"),
    "another dtype": (lambda self, u: u.double(), "a tensor of shape .4, 1, 16. and torch.float64"),
    "another shape": (lambda self, u: u.mean(-1, keepdim=True), "a tensor of shape .4, 1, 1. and torch.float32"),
    "no axis of samples": (lambda self, u: u[0], "a tensor of shape .1, 16. and"),
    "no axis of channels": (lambda self, u: u[:, 0], "a tensor of shape .4, 16. and"),
}


def train(solver, **options):
    step = dp.Sequential(solver, dp.Additive(dp.ConvResNet(1, 1, 1, width=2, num_blocks=1)))
    ours = dp.Objective(dp.Rollout(step, 2), dp.TrajectoryLoss(dp.every_step))
    dp.fit(ours, [{"u0": U, "reference": R}], torch.optim.Adam(ours.parameters()), num_updates=1, progress=False,
           **options)


USES = {"called": lambda P: P(U), "rolled out": lambda P: dp.Rollout(P, 2)(U), "traced": lambda P: dp.trace(P, U),
        "trained": train, "simulated": lambda P: dp.simulate(P, U, 2)}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("name", RESULTS)
def test_what_is_no_next_state_is_named_where_it_is_made(name, use):
    step, shown = RESULTS[name]
    message = rf"^Mine: the result of step is {shown}.*; give the next state, a tensor of shape \(4, 1, 16\) and"
    with pytest.raises(TypeError, match=message):
        USES[use](built(step))


@pytest.mark.parametrize("name", ["a tuple", "another dtype", "another shape"])
def test_a_recorded_training_names_it_too(name):
    with pytest.raises(TypeError, match="^Mine: the result of step is"):
        train(built(RESULTS[name][0]), trace=True)


def test_another_size_of_batch_is_checked_again():
    solver = built(lambda self, u: u if len(u) == 4 else u[:1])
    assert solver(U).shape == U.shape
    with pytest.raises(TypeError, match=r"shape \(1, 1, 16\) .*; give the next state, a tensor of shape \(2, 1, 16\)"):
        solver(U[:2])


def test_a_result_of_another_shape_can_be_declared():
    means = built(lambda self, u: u.mean(-1, keepdim=True), result_shape=(1, 1))
    assert torch.equal(means(U), U.mean(-1, keepdim=True))


@pytest.mark.parametrize("batch, shape", [(16, (1, 16)), (2, (2, 16))], ids=["points", "channels"])
@pytest.mark.parametrize("use", [lambda P, u, nu: P(u, nu=nu), lambda P, u, nu: dp.Rollout(P, 2)(u, nu=nu),
                                 lambda P, u, nu: dp.trace(P, u, nu=nu)], ids=["called", "rolled out", "traced"])
def test_a_number_per_sample_that_passes_for_one_per_point_is_refused(batch, shape, use):
    """As many samples as points or channels: the shapes fit, the values are other samples' ones."""
    u, nu = torch.randn(batch, *shape), torch.linspace(1, 2, batch)
    wrong = nu.view(-1, 1) if batch == 2 else nu
    for slip in (lambda self, u, nu: nu.view(wrong.shape) * u, lambda self, u, nu: u + 0.1 * nu.view(wrong.shape)):
        with pytest.raises(ValueError, match=r"sample 0 changes with the nu of other samples; .* nu.view\(-1, 1, 1\)"):
            use(own(slip, required=("nu",))(0.1, shape), u, nu)
    right = own(lambda self, u, nu: nu.view(-1, 1, 1) * u, required=("nu",))(0.1, shape)
    assert torch.equal(right(u, nu=nu), nu.view(-1, 1, 1) * u)
    use(right, u, nu)


def test_looking_at_samples_costs_two_steps_per_kind_of_call():
    calls = itertools.count()
    solver = own(lambda self, u, nu: (next(calls), nu.view(-1, 1, 1) * u)[1], required=("nu",))(0.1, (1, 16))
    for k in range(3):
        solver(torch.randn(16, 1, 16), nu=torch.linspace(1, 2 + k, 16))
    assert next(calls) == 3 + 2


def test_random_steps_are_not_blamed():
    solver = own(lambda self, u, nu: u + torch.rand_like(u), required=("nu",))(0.1, (1, 16))
    assert solver(torch.zeros(16, 1, 16), nu=torch.linspace(1, 2, 16)).shape == (16, 1, 16)


def test_an_error_of_torch_in_a_step_says_what_the_step_was_given():
    solver = built(lambda self, u: u @ torch.eye(16))
    with pytest.raises(RuntimeError, match="same dtype") as found:
        solver(U.double())
    assert found.value.__notes__ == ["Mine: in a step, given u: a tensor of shape (4, 1, 16) and torch.float64"]


def test_a_single_call_passes_nan_on_and_a_roll_out_refuses_it():
    """As the docstring of ``Solver`` says."""
    u = U.clone()
    u[0, 0, 0] = float("nan")
    assert built()(u).isnan().sum() == 1
    with pytest.raises(ValueError, match="NaN or infinite"):
        dp.Rollout(built(), 1)(u)


@pytest.mark.parametrize("u, parameters, message", [
    (U, {"viscosity": None}, "Burgers: parameter viscosity is None; give a number or a tensor"),
    (U.to_sparse(), {"viscosity": 0.01}, "and no torch.sparse_coo; convert it")])
def test_calls_with_nothing_in_them_are_refused_also_after_a_good_one(u, parameters, message):
    P = dp.Burgers(16, 1.0, 0.001)
    P(U, viscosity=0.01)
    with pytest.raises(TypeError, match=message):
        P(u, **parameters)
