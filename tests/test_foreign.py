"""Foreign steps as solvers: their gradients, their place in chains, and what is refused.

Exact gradients are held against finite differences. Estimators are held against the exact gradient with bounds that a
right one exceeds with a probability below 1e-6.
"""

import ctypes
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.autograd import forward_ad

import dpbook_utils as dp
from dpbook_utils.__main__ import main

ROOT = Path(__file__).parents[1]
SHAPE = (1, 12)
ESTIMATES = {"differences": dp.FiniteDifferences(), "simultaneous": dp.Simultaneous(3),
             "strategies": dp.EvolutionStrategies(3), "surrogate": dp.Surrogate(
                 dp.Additive(dp.ConvResNet(1, 1, 1, conditions={"viscosity": (0.1, 0.1)})))}


def laplacian(u):
    return np.roll(u, 1, -1) - 2 * u + np.roll(u, -1, -1)


def step(u, viscosity):
    """Heat with a source u^2, so that the gradient depends on the state."""
    return u + viscosity[:, None, None] * laplacian(u) + u.dtype.type(0.05) * u**2


def vjp(u, g, viscosity):
    return {"u": g + viscosity[:, None, None] * laplacian(g) + u.dtype.type(0.1) * u * g,
            "viscosity": (g * laplacian(u)).sum((1, 2))}


def jvp(u, v, viscosity):
    return v + viscosity[:, None, None] * laplacian(v) + u.dtype.type(0.1) * u * v


class InTorch(dp.Solver):
    """The same step, as torch sees it."""

    required = ("viscosity",)

    def step(self, u, *, viscosity):
        return u + viscosity[:, None, None] * (u.roll(1, -1) - 2 * u + u.roll(-1, -1)) + 0.05 * u**2


def solver(**options):
    return dp.from_numpy(step, SHAPE, **options)


def example(batch=3, dtype=torch.float64):
    u = dp.random_fourier(batch, SHAPE[1], modes=3, seed=0, dtype=dtype)
    return u, torch.linspace(0.1, 0.3, batch, dtype=dtype)


def pulled(P, u, viscosity, g):
    """The gradients of <g, P(u)> with respect to state and viscosity."""
    leaves = [x.clone().requires_grad_() for x in (u, viscosity)]
    return torch.autograd.grad(P(leaves[0], viscosity=leaves[1]), leaves, g)


@pytest.mark.parametrize("P", [solver(vjp=vjp), dp.black_box(step, SHAPE, gradient=dp.FiniteDifferences())],
                         ids=["vjp", "differences"])
def test_exact_gradients_are_those_of_finite_differences(P):
    u, viscosity = example()
    assert max(dp.gradient_check(P, {"u": u, "viscosity": viscosity}).values()) < 1e-6


def test_a_gradient_put_together_from_forward_derivatives():
    u, viscosity = example()
    P = solver(jvp=jvp)

    def of_state(u):
        return P(u, viscosity=viscosity)

    assert dp.gradient_check(of_state, {"u": u})["u"] < 1e-6
    with pytest.raises(dp.ForeignError, match="moves the state alone"):
        pulled(P, u, viscosity, torch.ones_like(u))


def test_differences_in_single_precision():
    u, viscosity = example(dtype=torch.float32)
    g = torch.randn(u.shape, generator=torch.Generator().manual_seed(1))
    exact = pulled(InTorch(1.0, SHAPE), u, viscosity, g)
    found = pulled(dp.black_box(step, SHAPE, gradient=dp.FiniteDifferences()), u, viscosity, g)
    for e, f in zip(exact, found):
        assert (e - f).norm() < 1e-3 * e.norm()


def test_many_inputs_are_differenced_in_parts(monkeypatch):
    u, viscosity = example()
    P = dp.black_box(step, SHAPE, gradient=dp.FiniteDifferences())
    whole = pulled(P, u, viscosity, u)
    monkeypatch.setattr("dpbook_utils.estimates.NUMBERS", 5 * u.numel())
    assert all(torch.equal(a, b) for a, b in zip(whole, pulled(P, u, viscosity, u)))


@pytest.mark.parametrize("kind, spread", [(dp.Simultaneous, -1), (dp.EvolutionStrategies, 1)])
def test_estimators_are_unbiased_and_as_noisy_as_stated(kind, spread):
    """Repeated on many equal samples, each entry's mean lies within 6 standard errors: false alarms 2e-9 a piece.

    Along the state alone, where n = 12: the relative error of one draw is sqrt(n + spread).
    """
    repeats, n = 4000, SHAPE[1]
    u = dp.random_fourier(1, n, modes=3, seed=0, dtype=torch.float64)
    g = torch.randn(u.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    viscosity = torch.full((repeats,), 0.2, dtype=torch.float64)
    exact = pulled(InTorch(1.0, SHAPE), u, viscosity[:1], g)[0].flatten()
    torch.manual_seed(2)
    P = dp.black_box(step, SHAPE, gradient=kind(1))
    x = u.repeat(repeats, 1, 1).requires_grad_()
    draws, = torch.autograd.grad(P(x, viscosity=viscosity), x, g.repeat(repeats, 1, 1))
    draws = draws.flatten(1)
    error = (draws.mean(0) - exact).abs() / (draws.std(0) / math.sqrt(repeats))
    assert error.max() < 6
    squared = (draws - exact).square().sum(1) / exact.square().sum()
    assert abs(squared.mean() - (n + spread)) < 6 * squared.std() / math.sqrt(repeats)


def test_more_samples_are_the_mean_of_as_many():
    u, viscosity = example(1)
    exact = pulled(InTorch(1.0, SHAPE), u, viscosity, u)
    for kind in (dp.Simultaneous, dp.EvolutionStrategies):
        torch.manual_seed(0)
        P = dp.black_box(step, SHAPE, gradient=kind(20_000, 0.01, sizes={"viscosity": 1.0}))
        found = pulled(P, u, viscosity, u)
        for e, f in zip(exact, found):  # 13 numbers in all: a relative error of 0.03 for all of them together
            assert (e - f).norm() < 8 * math.sqrt(14 / 20_000) * math.hypot(*(float(x.norm()) for x in exact))


def test_finite_perturbations_estimate_the_gradient_of_the_smoothed_step():
    """Of u^3: E[3 (u + s e)^2] = 3 u^2 + 3 s^2, where SPSA with a small h has 3 u^2."""
    repeats, sigma = 20_000, 0.5
    u = torch.ones(repeats, 1, 1, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(0)
    P = dp.black_box(lambda u: u**3, (1, 1), gradient=dp.EvolutionStrategies(1, sigma, sizes={"u": 1.0}))
    found, = torch.autograd.grad(P(u).sum(), u)
    assert abs(found.mean() - (3 + 3 * sigma**2)) < 6 * found.std() / math.sqrt(repeats)
    assert abs(found.mean() - 3) > 6 * found.std() / math.sqrt(repeats)


def test_a_surrogate_lends_its_gradient_and_not_its_values():
    u, viscosity = example()
    other = InTorch(1.0, SHAPE)
    P = dp.black_box(lambda u, viscosity: 2 * step(u, viscosity), SHAPE, gradient=dp.Surrogate(other))
    assert torch.equal(P(u, viscosity=viscosity), torch.from_numpy(2 * step(u.numpy(), viscosity.numpy())))
    for e, f in zip(pulled(other, u, viscosity, u), pulled(P, u, viscosity, u)):
        assert torch.equal(e, f)
    assert not list(P.parameters())
    wrong = dp.black_box(step, SHAPE, gradient=dp.Surrogate(lambda u: u[:, :, :3]))
    with pytest.raises(ValueError, match="the network's result is a tensor of shape .* returns what the step does"):
        pulled(wrong, u, viscosity, u)


def test_without_a_solver_gradient_there_is_no_graph():
    u, viscosity = example()
    P = dp.black_box(step, SHAPE, gradient=dp.NoSolverGradient())
    assert not P(u.requires_grad_(), viscosity=viscosity).requires_grad


def training(P, dtype=torch.float64):
    N = dp.ConvResNet(1, 1, 1, width=8, num_blocks=1, seed=0).to(dtype)
    u, viscosity = example(4, dtype)
    reference = torch.stack([u * 0.9, u * 0.8], 1)
    objective = dp.Objective(dp.Rollout(dp.Sequential(P, dp.Additive(N)), 2), dp.TrajectoryLoss(dp.every_step))
    return objective, {"u0": u, "reference": reference, "viscosity": viscosity}


def trained(P):
    objective, batch = training(P)
    optimizer = torch.optim.Adam(objective.parameters(), lr=1e-3)
    dp.fit(objective, [batch], optimizer, num_updates=3, progress=False)
    return torch.cat([w.detach().flatten() for w in objective.parameters()])


def test_a_training_with_a_foreign_step_is_that_with_the_step_in_torch():
    expected = trained(InTorch(1.0, SHAPE))
    assert (trained(solver(vjp=vjp)) - expected).abs().max() < 1e-9
    assert (trained(dp.black_box(step, SHAPE, gradient=dp.FiniteDifferences())) - expected).abs().max() < 1e-6


def test_no_solver_gradient_is_the_policy_of_that_name():
    box, batch = training(dp.black_box(step, SHAPE, gradient=dp.NoSolverGradient()))
    policy, _ = training(InTorch(1.0, SHAPE))
    policy.rollout.gradient = dp.NoSolverGradient()
    for objective in (box, policy):
        objective(**batch).backward()
    assert all(torch.allclose(a.grad, b.grad, rtol=1e-12) for a, b in zip(box.parameters(), policy.parameters()))


@pytest.mark.parametrize("name", ESTIMATES)
def test_every_estimate_trains_in_a_chain(name):
    torch.manual_seed(0)
    objective, batch = training(dp.black_box(step, SHAPE, gradient=ESTIMATES[name]), torch.float32)
    before = [w.detach().clone() for w in objective.parameters()]
    optimizer = torch.optim.Adam(objective.parameters(), lr=1e-3)
    history = dp.fit(objective, [batch], optimizer, num_updates=2, progress=False, clip_norm=1.0)
    assert len(history) == 2
    assert any(not torch.equal(a, b) for a, b in zip(before, objective.parameters()))


def test_a_parameter_that_a_network_sets():
    """The gradient reaches the network through the foreign step alone."""

    class Guess(nn.Module):
        def __init__(self):
            super().__init__()
            self.value = nn.Parameter(torch.tensor(0.1, dtype=torch.float64))

        def forward(self, u):
            return self.value.expand(len(u))

    u, _ = example()
    found = []
    for P in (solver(vjp=vjp), InTorch(1.0, SHAPE)):
        chain = dp.Rollout(dp.SolverParameter(P, Guess(), "viscosity"), 3)
        chain(u).square().sum().backward()
        found.append(chain.step.network.value.grad)
    assert torch.allclose(*found, rtol=1e-10)


@pytest.mark.parametrize("name", ESTIMATES)
def test_the_number_of_calls_is_what_is_stated(name):
    u, viscosity = example()
    calls = []

    def counted(u, viscosity):
        calls.append(len(u))
        return step(u, viscosity)

    estimate, inputs = ESTIMATES[name], {"u": u.float(), "viscosity": viscosity.float()}
    P = dp.black_box(counted, SHAPE, gradient=estimate)
    P.pull_back(inputs, u.float(), ["u", "viscosity"])
    assert sum(calls) == len(u) * estimate.num_calls(inputs, ["u", "viscosity"])


def broken(result, **options):
    return dp.from_numpy(lambda u: result(u), (1, 8), **options)


RANDOM = np.random.default_rng(0)
WRONG = {
    "raises": (broken(lambda u: u[100]), "raised IndexError"),
    "NaN": (broken(lambda u: u * np.nan), "holds NaN or infinity for sample 0 of 2"),
    "another shape": (broken(lambda u: u[:, :, :4]), r"a tensor of shape \(2, 1, 4\)"),
    "another dtype": (broken(lambda u: u.astype(np.float64)), "torch.float64; let it return"),
    "whole numbers": (broken(lambda u: u.astype(int)), "let it return a NumPy array"),
    "no array": (broken(lambda u: None), "let it return a NumPy array"),
    "random": (broken(lambda u: u + RANDOM.normal(size=u.shape).astype(u.dtype)), "two calls of the step"),
    "writes": (broken(lambda u: np.add(u, 1, out=u)), "read-only"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_next_state_is_named(name):
    P, message = WRONG[name]
    with pytest.raises(dp.ForeignError, match=message) as caught:
        P(torch.ones(2, 1, 8))
    assert "from_numpy(<lambda>)" in str(caught.value) or "from_numpy(broken" in str(caught.value)


def test_compiled_code_that_writes_to_its_state_is_noticed():
    def careless(u):
        ctypes.memset(u.ctypes.data, 0, u.nbytes)
        return np.ones_like(u)

    with pytest.raises(dp.ForeignError, match="writes to the state"):
        dp.from_numpy(careless, (1, 8))(torch.ones(2, 1, 8))


def test_a_buffer_that_compiled_code_uses_again_is_copied():
    buffer = np.zeros((2, 1, 8), np.float32)

    def reusing(u):
        np.add(u, 1, out=buffer)
        return buffer

    P = dp.from_numpy(reusing, (1, 8))
    first = P(torch.zeros(2, 1, 8))
    P(first)
    assert torch.equal(first, torch.ones(2, 1, 8))


def test_a_nan_that_is_given_is_passed_on():
    assert broken(lambda u: u)(torch.full((2, 1, 8), torch.nan)).isnan().all()


def test_wrong_gradients_are_named():
    u, viscosity = example()
    for wrong, message in ((lambda u, g, viscosity: g[:, :, :3], "gradient with respect to u is a tensor of shape"),
                           (lambda u, g, viscosity: g, "no gradient with respect to viscosity"),
                           (lambda u, g, viscosity: 1 / 0, "its vjp raised ZeroDivisionError"),
                           (lambda u, g, viscosity: g * np.nan, "gradient with respect to u holds NaN"),
                           (None, r"from_numpy\(step\): it has no derivative; give vjp")):
        with pytest.raises(dp.ForeignError, match=message):
            pulled(solver(vjp=wrong), u, viscosity, u)


def test_second_derivatives_are_refused():
    u, viscosity = example()
    x = u.clone().requires_grad_()
    for P in (solver(vjp=vjp), dp.black_box(step, SHAPE, gradient=dp.FiniteDifferences())):
        first, = torch.autograd.grad(P(x, viscosity=viscosity).square().sum(), x, create_graph=True)
        with pytest.raises(dp.ForeignError, match="a second derivative was asked for"):
            first.sum().backward()
    with pytest.raises(dp.ForeignError, match="torch.func cannot look into"):
        torch.func.grad(lambda u: P(u, viscosity=viscosity).sum())(u)


def test_they_cannot_be_traced_and_say_so():
    u, viscosity = example()
    with pytest.raises(dp.TraceError, match="foreign, and what it does is no list of torch's operations; use it as it"):
        dp.trace(solver(vjp=vjp), u, viscosity=viscosity)
    objective, batch = training(solver(vjp=vjp))
    optimizer = torch.optim.Adam(objective.parameters())
    with pytest.raises(dp.TraceError, match="Train with fit"):
        dp.fit(objective, [batch], optimizer, num_updates=1, trace=True, progress=False)


def test_what_a_step_takes_is_read_from_its_signature():
    P = dp.from_numpy(lambda u, nu, force=None: u, (1, 8), dt=0.5, shapes={"force": (1, 8)})
    assert (P.required, P.optional, P.dt, P.parameter_shape("force")) == (("nu",), ("force",), 0.5, (1, 8))
    for wrong in (lambda: 0, lambda u, *more: u, lambda u, **more: u, 3):
        with pytest.raises(TypeError, match="from_numpy: step is"):
            dp.from_numpy(wrong, (1, 8))
    with pytest.raises(ValueError, match="unknown name in shapes"):
        dp.from_numpy(lambda u: u, (1, 8), shapes={"nu": (3,)})
    with pytest.raises(TypeError, match="a way to get a gradient, such as"):
        dp.black_box(step, SHAPE, gradient="differences")


HEAT = r"""
void step(const double *u, double *next, int rows, int n) {
    for (int r = 0; r < rows; r++, u += n, next += n)
        for (int i = 0; i < n; i++)
            next[i] = u[i] + 0.2 * (u[(i + n - 1) % n] - 2 * u[i] + u[(i + 1) % n]);
}
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_a_compiled_step(tmp_path):
    (tmp_path / "heat.c").write_text(HEAT)
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", "heat.so", "heat.c"], cwd=tmp_path, check=True)
    library = ctypes.CDLL(str(tmp_path / "heat.so"))

    def compiled(u):
        u_next = np.empty_like(u)
        pointers = (x.ctypes.data_as(ctypes.c_void_p) for x in (u, u_next))
        library.step(*pointers, len(u), u.shape[-1])
        return u_next

    u, _ = example()
    P = dp.from_numpy(compiled, SHAPE, vjp=lambda u, g: compiled(g))  # symmetric
    assert torch.allclose(P(u), u + 0.2 * torch.from_numpy(laplacian(u.numpy())), rtol=1e-14)
    assert dp.gradient_check(P, {"u": u})["u"] < 1e-6


def test_jax_is_missed_in_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax", None)
    with pytest.raises(ImportError, match="from_jax: JAX is not installed; pip install jax, or"):
        dp.from_jax(lambda u: u, (1, 8))


@pytest.fixture
def jax():
    """JAX in double precision, and as it was afterwards."""
    jax = pytest.importorskip("jax")
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield jax
    jax.config.update("jax_enable_x64", before)


def in_jax(jax):
    """One state of one channel, as JAX's steppers take it."""
    numpy = jax.numpy

    def one(u, viscosity):
        return u + viscosity * (numpy.roll(u, 1, -1) - 2 * u + numpy.roll(u, -1, -1)) + 0.05 * u**2

    return one


def test_jax_gives_its_own_gradient(jax):
    u, viscosity = example()
    P = dp.from_jax(jax.vmap(in_jax(jax)), SHAPE)
    assert max(dp.gradient_check(P, {"u": u, "viscosity": viscosity}).values()) < 1e-6
    assert (trained(P) - trained(InTorch(1.0, SHAPE))).abs().max() < 1e-9


def test_jax_shares_memory(jax):
    P = dp.from_jax(jax.vmap(in_jax(jax)), SHAPE)
    u = torch.zeros(64, *SHAPE, dtype=torch.float64)
    array = P.array(u)
    assert array.unsafe_buffer_pointer() == u.data_ptr()
    assert P.tensor("", array, u, {"u": u}).data_ptr() == u.data_ptr()


def test_what_jax_returns_is_looked_at(jax):
    u, viscosity = example()
    cases = ((in_jax(jax), r"Then give jax.vmap\(step\)\) raised"),
             (lambda u, viscosity: u * jax.numpy.nan, "holds NaN"),
             (lambda u, viscosity: u.astype("float32"), "torch.float32; let it"),
             (lambda u, viscosity: u[:, :, :2], r"of shape \(3, 1, 2\)"))
    for wrong, message in cases:
        with pytest.raises(dp.ForeignError, match=message):
            dp.from_jax(wrong, SHAPE)(u, viscosity=viscosity)
    P = dp.from_jax(jax.vmap(in_jax(jax)), SHAPE)
    x = u.clone().requires_grad_()
    first, = torch.autograd.grad(P(x, viscosity=viscosity).square().sum(), x, create_graph=True)
    with pytest.raises(dp.ForeignError, match="a second derivative was asked for"):
        first.sum().backward()
    jax.config.update("jax_enable_x64", False)
    with pytest.raises(dp.ForeignError, match="jax_enable_x64"):
        P(u, viscosity=viscosity)


def test_the_command_tells_whether_a_gradient_is_right(tmp_path, monkeypatch, capsys):
    (tmp_path / "my_steps.py").write_text(
        "import dpbook_utils as dp, torch\n"
        "from test_foreign import SHAPE, step, vjp\n"
        "P = dp.from_numpy(step, SHAPE, vjp=vjp)\n"
        "wrong = dp.from_numpy(step, SHAPE, vjp=lambda u, g, viscosity: {**vjp(u, g, viscosity), 'u': g})\n"
        "nothing = dp.from_numpy(step, SHAPE)\n"
        "state = torch.linspace(1, 2, 8).view(1, 1, 8)\n"
        "def square(u): return u**2\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    given = ["--set", "viscosity=0.2"]
    assert main(["check_gradient", "my_steps:P", *given]) == 0
    assert "The gradient is right." in capsys.readouterr().out
    assert main(["check_gradient", "my_steps:square", "--state", "state"]) == 0
    assert main(["check_gradient", "my_steps:wrong", *given]) == 1
    assert ", over 1e-06" in capsys.readouterr().out
    for words, message in ((["my_steps:nothing", *given], "it has no derivative"),
                           (["my_steps"], "such as my_solver:P"), (["my_steps:Q"], "has no Q; it has"),
                           (["my_steps:square"], "give --state NAME"),
                           (["no_such_module:P"], "No module named"), (["my_steps:P"], "viscosity")):
        with pytest.raises(SystemExit) as end:
            main(["check_gradient", *words])
        assert end.value.code == 1 and message in capsys.readouterr().err
    help = subprocess.run([sys.executable, "-m", "dpbook_utils", "check_gradient", "--help"], cwd=ROOT,
                          capture_output=True, text=True, check=True)
    assert "MODULE:STEP" in help.stdout


# Slips ----------------------------------------------------------------------------------------------------------------

def number(u, nu):
    return u * nu[:, None, None]


def states(batch: int = 3):
    return torch.randn(batch, 1, 8, generator=torch.Generator().manual_seed(0))


def backward(P, u=None, **parameters):
    u = (states() if u is None else u).clone().requires_grad_()
    P(u, **parameters).sum().backward()
    return u.grad


def of(step, gradient, **parameters):
    """The gradient of a black box in its state."""
    return backward(dp.black_box(step, (1, 8), gradient=gradient), **parameters)


def square(u):
    return u**2


@pytest.mark.parametrize("make, message", [
    (lambda: dp.from_numpy(number, (1, 8), shapes={"nu": 5}), r"shapes\['nu'\] is 5; give one whole number"),
    (lambda: dp.from_numpy(number, (1, 8), shapes={"nu": (-5,)}), r"shapes\['nu'\] is \(-5,\); give"),
    (lambda: dp.from_numpy(number, (1, 8), shapes={"nu": "ab"}), r"shapes\['nu'\] is 'ab'; give"),
    (lambda: dp.from_numpy(lambda v, u: v, (1, 8)), "parameters are not called as the states, .* this one has u"),
    (lambda: dp.from_numpy(lambda u, u0: u, (1, 8)), "this one has u0"),
    (lambda: dp.from_numpy(lambda u, function: u, (1, 8)), "or function or what; this one has function"),
    (lambda: dp.from_numpy(number, (1, 8), vjp=lambda u, g: g), r"a function called as vjp\(u, g, nu\), where this"),
    (lambda: dp.from_numpy(square, (1, 8), jvp=lambda g: g), r"a function called as jvp\(u, g\), where this"),
    (lambda: of(square, dp.FiniteDifferences(sizes={"state": 1.0})), "a name in the gradient's sizes is 'state'; give"),
    (lambda: dp.Surrogate(dp.FiniteDifferences()), "network is a FiniteDifferences; give .*, of one argument")])
def test_slips_in_building_a_foreign_solver_are_named(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()


@pytest.mark.parametrize("step", [
    lambda u: np.ma.masked_array(u, mask=u > 0), lambda u: u[..., ::-1], lambda u: u.astype(">f4"),
    lambda u: u.astype(np.longdouble)])
def test_arrays_that_torch_would_misread_are_refused(step):
    with pytest.raises(dp.ForeignError, match=r"result of the step is a NumPy array .*; let it return .* without a"):
        dp.from_numpy(step, (1, 8))(states())


@pytest.mark.parametrize("make", [
    lambda step: dp.from_numpy(step, (1, 8)), lambda step: dp.black_box(step, (1, 8), gradient=dp.Simultaneous())])
@pytest.mark.parametrize("step", [
    lambda u: u - u.mean(), lambda u: u / np.abs(u).max(), lambda u: u - np.roll(u, 1, 0), lambda u: u + u[::-1]])
def test_steps_that_mix_samples_are_refused(make, step):
    with pytest.raises(dp.ForeignError, match="the result of the step for sample 0 changes with the other samples"):
        make(step)(states())
    make(step)(states(1))


@pytest.mark.parametrize("gradient, scale", [
    (dp.FiniteDifferences(1e-30), 1), (dp.FiniteDifferences(sizes={"u": 1e-30}), 1), (dp.FiniteDifferences(), 1e30),
    (dp.EvolutionStrategies(8, 1e-30), 1), (dp.Simultaneous(8, 1e-30), 1), (dp.Simultaneous(8), 1e30)])
def test_moves_that_are_lost_in_rounding_or_beyond_all_numbers_are_refused(gradient, scale):
    with pytest.raises(ValueError, match="u is moved by .*, which is nothing beside numbers of up to"):
        of(lambda u: 0.5 * u, gradient, u=scale * states())


def test_a_blown_up_state_still_gives_nan():
    assert of(square, dp.FiniteDifferences(), u=states() * math.nan).isnan().all()


@pytest.mark.parametrize("network, message", [
    (lambda u: None, "the network's result is None; give"), (lambda u: u.double(), "is a tensor .*float64; give"),
    (lambda u: u.detach(), "has no gradient with respect to what it is given"),
    (lambda u: torch.ones_like(u), "has no gradient with respect to")])
def test_what_a_surrogate_cannot_lend_is_refused(network, message):
    with pytest.raises(ValueError, match=f"Surrogate: .*{message}"):
        of(square, dp.Surrogate(network))


def test_a_surrogate_lends_no_gradient_in_what_it_does_not_take():
    """It would be zero, which a search for that parameter takes for the optimum."""
    P = dp.black_box(number, (1, 8), gradient=dp.Surrogate(dp.Additive(dp.ConvResNet(1, 1, 1, width=2))))
    with pytest.raises(ValueError, match=r"respect to nu was asked for, .* give one that names nu, or nu.detach\(\)"):
        backward(P, nu=torch.ones(3, requires_grad=True))
    backward(P, nu=torch.ones(3))


def test_ways_that_do_not_lead_into_foreign_steps_say_so():
    P, u = dp.from_numpy(square, (1, 8), vjp=lambda u, g: 2 * u * g), states()
    with pytest.raises(dp.ForeignError, match="updates that need the whole Jacobian"), forward_ad.dual_level():
        P(forward_ad.make_dual(u, u))
    with pytest.raises(dp.ForeignError, match="many gradients at once"):
        torch.autograd.functional.jacobian(P, u, vectorize=True)
    x = u.clone().requires_grad_()
    with pytest.raises(dp.ForeignError, match=r"g.resolve_neg\(\)"):
        torch.autograd.grad(P(x), x, torch._neg_view(u))
    with pytest.raises(dp.ForeignError, match=r"give x.resolve_neg\(\)"):
        P(torch._neg_view(u))


SLIPS = """
import numpy as np, torch, dpbook_utils as dp
P = dp.Burgers(16, 1.0, 0.001)
small = dp.Burgers(2, 1.0, 0.001)
array, integers, state = np.ones((2, 1, 16)), torch.ones(2, 1, 16, dtype=torch.long), torch.randn(2, 1, 16)
def raises(u): return {}["a"]
"""


@pytest.mark.parametrize("words, message", [
    (["slips:P"], "Burgers: parameter viscosity is missing"), (["slips.py:P"], "give a module as for import"),
    (["./slips:P"], "give a module as for import"), (["slips:Q"], "slips has no Q; it has"),
    (["slips:dp"], "slips:dp is a module; give an operator"), (["slips:P", "--set", "viscosity"], "--set is visc"),
    (["slips:P", "--set", "viscosity=a"], "--set is viscosity=a; give a parameter's name and a number"),
    (["slips:P", "--set", "u=1"], "the state is given by --state"), (["slips:P", "--tolerance", "nan"], "tolerance is"),
    (["slips:P", "--state", "array"], r"array is a NumPy array .* as torch.from_numpy\(array\) makes it"),
    (["slips:P", "--state", "integers"], r"as .float\(\) makes them"), (["slips:P", "--state", "no"], "slips has no"),
    (["slips:small"], "no solver on a grid of at least three points per axis"),
    (["slips:raises", "--state", "state"], "the step raised KeyError: 'a'; mend it"),
    (["ends:P"], r"ends cannot be imported from .* \(it ends the program, sys.exit: 0\)"),
    (["misspelt:P"], r"misspelt cannot be imported .* \(SyntaxError: "), (["nothing:P"], "No module named 'nothing'")])
def test_the_command_says_what_is_wrong_in_one_line(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", sys.path)
    for name, text in (("slips", SLIPS), ("ends", "import sys; sys.exit(0)"), ("misspelt", "def f(:")):
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(SystemExit) as end:
        main(["check_gradient", *words])
    assert end.value.code == 1
    said = capsys.readouterr().err
    assert re.search(message, said) and said.count("\n") == 1


def test_the_command_sets_a_field_to_a_number(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "slips", raising=False)
    (tmp_path / "slips.py").write_text(SLIPS, encoding="utf-8")
    assert main(["check_gradient", "slips:P", "--set", "viscosity=0.01", "--set", "force=0.1"]) == 0
    assert "force: relative error" in capsys.readouterr().out
