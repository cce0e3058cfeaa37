"""Every way in which a recorded step could be silently wrong: it must be right, recorded anew, or refused."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from dpbook_utils.graphs.graph import Graph, Recorder, current_recorder, record
from dpbook_utils.graphs.program import Program
from dpbook_utils.graphs.simplify import simplify
from dpbook_utils.physics.burgers import Burgers
from dpbook_utils.physics.kuramoto_sivashinsky import KuramotoSivashinsky
from dpbook_utils.physics.navier_stokes import NavierStokes
from dpbook_utils.physics.solver import Solver
from dpbook_utils.physics.trace import TracedSolver, TraceError, agree, trace

N = 16


def state(batch=3, dtype=torch.float64, seed=0):
    return torch.randn(batch, 1, N, dtype=dtype, generator=torch.Generator().manual_seed(seed))


class Custom(Solver):
    """``function(u, a)`` as a solver."""

    required = ("a",)

    def __init__(self, function):
        super().__init__(0.1, (1, N))
        self.function = function

    def step(self, u, *, a):
        return self.function(u, a[:, None, None])


def value_and_gradients(solver, u, needed=(True, True), **parameters):
    inputs = [u, *parameters.values()]
    leaves = [x.clone().requires_grad_(need) for x, need in zip(inputs, needed)]
    value = solver(leaves[0], **dict(zip(parameters, leaves[1:])))
    gradients = torch.autograd.grad(value.sin().sum(), [x for x in leaves if x.requires_grad])
    return [value.detach(), *gradients]


def assert_equal(solver, traced, u, needed=(True, True), **parameters):
    expected = value_and_gradients(solver, u, needed, **parameters)
    found = value_and_gradients(traced, u, needed, **parameters)
    assert torch.equal(expected[0], found[0])
    assert all(agree(e, f) for e, f in zip(expected, found, strict=True))


CASES = {
    "burgers": (lambda: Burgers(N, 1.0, 0.01), state(),
                {"viscosity": torch.tensor([0.01, 0.02, 0.03], dtype=torch.float64)}),
    "ks": (lambda: KuramotoSivashinsky(N, 0.5), state(),
           {"length": torch.tensor([20.0, 22.0, 24.0], dtype=torch.float64)}),
    "navier-stokes": (lambda: NavierStokes((8, 8), (6.0, 6.0), 0.01),
                      torch.randn(2, 2, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0)),
                      {"viscosity": torch.tensor([0.01, 0.02], dtype=torch.float64)}),
}


@pytest.mark.parametrize("case", CASES)
def test_value_and_every_set_of_gradients(case):
    make, u, parameters = CASES[case]
    solver = make()
    traced = trace(solver, u, **parameters)
    for needed in [(True, False), (False, True), (True, True)]:
        assert_equal(solver, traced, u, needed, **parameters)
    with torch.no_grad():
        assert torch.equal(traced(u, **parameters), solver(u, **parameters))


@pytest.fixture(scope="module")
def solver():
    return Burgers(N, 1.0, 0.01)


@pytest.fixture(scope="module")
def traced(solver):
    return trace(solver, state(), viscosity=0.02)


def test_another_batch_size_or_dtype_is_recorded_anew(solver, traced):
    for u in (state(1), state(5), state(dtype=torch.float32)):
        found = traced(u, viscosity=0.02)
        assert found.shape == u.shape and found.dtype == u.dtype
        assert torch.equal(found, solver(u, viscosity=0.02))


def test_values_of_parameters_are_inputs(solver, traced):
    count = len(traced._graphs)
    assert torch.equal(traced(state(), viscosity=0.01), solver(state(), viscosity=0.01))
    assert len(traced._graphs) == count
    force = torch.ones(3, 1, N, dtype=torch.float64)
    assert torch.equal(traced(state(), viscosity=0.01, force=force), solver(state(), viscosity=0.01, force=force))
    assert len(traced._graphs) == count + 1


def test_a_changed_attribute_is_noticed():
    solver = Burgers(N, 1.0, 0.01)
    traced = trace(solver, state(), viscosity=0.01)
    solver.dt = 0.005
    assert torch.equal(traced(state(), viscosity=0.01), solver(state(), viscosity=0.01))
    assert not torch.equal(traced(state(), viscosity=0.01), Burgers(N, 1.0, 0.01)(state(), viscosity=0.01))


def test_a_changed_tensor_of_the_solver_is_noticed():
    factor = torch.full((N,), 2.0, dtype=torch.float64)
    solver = Custom(lambda u, a: u * factor + a)
    solver.register_buffer("offset", torch.zeros(N, dtype=torch.float64))
    solver.function = lambda u, a: u * (factor * factor) + solver.offset + a
    traced = trace(solver, state(), a=1.0)
    for change in (lambda: factor.mul_(3), lambda: setattr(solver, "offset", torch.ones(N, dtype=torch.float64))):
        change()
        assert torch.equal(traced(state(), a=1.0), solver(state(), a=1.0))


class Scale:
    value = 1.0


@pytest.mark.parametrize("make, change", [
    (lambda: [2.0], lambda solver: solver.held.append(3.0)),
    (lambda: {"a": 2.0}, lambda solver: solver.held.update(a=3.0)),
    (lambda: ([2.0], 1.0), lambda solver: solver.held[0].append(3.0)),
    (lambda: Scale(), lambda solver: setattr(solver.held, "value", 3.0)),
    (lambda: torch.ones(()), lambda solver: solver.held.add_(1)),
    (lambda: 2.0, lambda solver: setattr(solver, "held", 2)),
    (lambda: 2.0, lambda solver: setattr(solver, "added", 2.0)),
    (lambda: nn.Identity(), lambda solver: setattr(solver, "held", nn.Identity().requires_grad_(False).eval())),
    (lambda: nn.Identity(), lambda solver: setattr(solver.held, "value", 2.0)),
], ids=["list", "dictionary", "list in a tuple", "object", "tensor", "type", "new", "module", "within a module"])
def test_every_change_is_met_with_a_new_graph(make, change):
    solver = Custom(lambda u, a: u + a)
    solver.held = make()
    traced = trace(solver, state(), a=1.0)
    for _ in range(2):
        traced(state(), a=1.0)
    assert len(traced._graphs) == 1
    change(solver)
    traced(state(), a=1.0)
    assert len(traced._graphs) == 2


def test_strided_states_are_no_other_states(solver, traced):
    u = torch.randn(3, N, 2, dtype=torch.float64).transpose(1, 2)[:, 1:]
    assert not u.is_contiguous()
    assert torch.equal(traced(u, viscosity=0.02), solver(u, viscosity=0.02))


def test_used_twice_in_one_graph_and_backward_twice(solver, traced):
    def gradients(step):
        u = state().requires_grad_()
        value = (step(step(u, viscosity=0.02), viscosity=0.01) * step(u, viscosity=0.02)).sum()
        first, = torch.autograd.grad(value, u, retain_graph=True)
        again, = torch.autograd.grad(value, u)
        assert torch.equal(first, again)
        return first

    assert agree(gradients(solver), gradients(traced))


def test_higher_derivatives_and_function_transforms(solver, traced):
    u, nu = state(2), torch.tensor([0.01, 0.02], dtype=torch.float64)
    leaves = (u.requires_grad_(), nu.requires_grad_())
    assert torch.autograd.gradgradcheck(lambda u, nu: traced(u, viscosity=nu), leaves, fast_mode=True)
    u = u.detach()
    expected = torch.autograd.functional.jacobian(lambda u: solver(u, viscosity=0.02), u)
    for jacobian in (torch.func.jacrev, torch.func.jacfwd):
        assert agree(expected, jacobian(lambda u: traced(u, viscosity=0.02))(u))


def test_recorded_without_gradients_it_still_has_them(solver):
    with torch.no_grad():
        traced = trace(solver, state(), viscosity=0.02)
    assert_equal(solver, traced, state(), viscosity=torch.full((3,), 0.02, dtype=torch.float64))


def test_copies_and_device_moves(solver, traced):
    for other in (copy.deepcopy(traced), pickle.loads(pickle.dumps(traced)), traced.to("cpu")):
        assert torch.equal(other(state(), viscosity=0.02), solver(state(), viscosity=0.02))


def test_the_plain_graph_is_the_step(solver, traced):
    module = traced.graph(state(), viscosity=torch.full((3,), 0.02, dtype=torch.float64))
    found, = module(state(seed=4), torch.full((3,), 0.01, dtype=torch.float64))
    assert torch.equal(found, solver(state(seed=4), viscosity=0.01))
    targets = {node.target for node in module.graph.nodes if node.op == "call_function"}
    assert all(getattr(target, "namespace", "") == "aten" and not target._schema.is_mutable for target in targets)


def test_noise_free_constants_are_folded(traced, solver):
    nodes = traced.graph(state(), viscosity=torch.full((3,), 0.02, dtype=torch.float64)).graph.nodes
    for node in nodes:
        assert node.op != "call_function" or any(x.op != "get_attr" for x in node.all_input_nodes)


def test_first_met_inside_a_checkpointed_step(solver):
    def gradient(checkpointed):
        fresh, u = TracedSolver(solver), state().requires_grad_()
        def step(u):
            return fresh(u, viscosity=0.02).sin()
        value = checkpoint(step, u, use_reentrant=False) if checkpointed else step(u)
        return torch.autograd.grad(value.sum(), u)[0]

    assert torch.equal(gradient(True), gradient(False))


WEIGHT = torch.ones((), dtype=torch.float64, requires_grad=True)


class Doubled(torch.autograd.Function):
    """Value 2 u; backward 7, which no differentiation of the value finds."""

    @staticmethod
    def forward(ctx, u):
        return 2 * u

    @staticmethod
    def backward(ctx, g):
        return 7 * g


class Calls:
    count = 0

    def __call__(self, u, a):
        self.count += 1
        return u * self.count + a


def iterative_solve(u, a):
    x = torch.zeros_like(u)
    while (u - 3 * x).abs().max() > 1e-8:
        x = x + 0.2 * (u - 3 * x)
    return x + a


REFUSED = {
    "if": (lambda u, a: u + a if u.mean() > 0 else u - a, "branch on data"),
    "float": (lambda u, a: u * float(u.max()) + a, "branch on data"),
    "item": (lambda u, a: u / u[0, 0, 0].item() + a, "branch on data"),
    "mask": (lambda u, a: u + u[u > 0].sum() + a, "branch on data"),
    "numpy branch": (lambda u, a: u + a if u.detach().numpy().mean() > -10 else u, "NumPy"),
    "tolist": (lambda u, a: u * u.detach().tolist()[0][0][0] + a, "NumPy"),
    "custom backward": (lambda u, a: Doubled.apply(u) + a, "torch.autograd.Function"),
    "iterative solve": (iterative_solve, "branch on data"),
    "random numbers": (lambda u, a: u + torch.randn_like(u) + a, "random numbers"),
    "numpy's random numbers": (lambda u, a: u + np.random.default_rng().normal() + a, "random numbers"),
    "counter": (Calls(), "counter"),
    "in place": (lambda u, a: u.mul_(2) + a, "in place"),
    "a weight from elsewhere": (lambda u, a: u * WEIGHT + a, "needs a gradient"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_recorded_is_refused_with_the_reason(name):
    function, reason = REFUSED[name]
    with pytest.raises(TraceError, match=reason):
        trace(Custom(function), state(), a=1.0)
    assert current_recorder() is None


def test_an_operation_of_ones_own_keeps_its_backward():
    @torch.library.custom_op("dpbook_test::doubled", mutates_args=())
    def doubled(u: torch.Tensor) -> torch.Tensor:
        return 2 * u

    doubled.register_autograd(lambda ctx, g: 7 * g)
    solver = Custom(lambda u, a: doubled(u) + a)
    assert_equal(solver, trace(solver, state(), a=1.0), state(), a=torch.ones(3, dtype=torch.float64))


def in_place(u, a):
    result = torch.zeros_like(u)
    result[..., 1:] = u[..., :-1] * a
    before = result + 0  # must not become the value after the next line
    result.mul_(2)
    return before + result


def test_writes_in_place_stay_in_order():
    solver = Custom(in_place)
    assert_equal(solver, trace(solver, state(), a=1.0), state(), a=torch.ones(3, dtype=torch.float64))


def test_simplify_shares_folds_and_drops():
    ones = torch.ones(N)
    graph = record(lambda u: [(u + 1) * (u + 1) + (ones + 1) * 1.0, torch.randn(2), torch.randn(2)], [torch.zeros(N)])
    simplify(graph)
    operations = [str(node.target) for node in graph.fx.nodes if node.op == "call_function"]
    assert operations == ["aten.add.Tensor", "aten.mul.Tensor", "aten.add.Tensor", *["aten.randn.default"] * 2]
    value, first, second = Program(graph.fx, graph.constants)(torch.full((N,), 2.0))
    assert torch.equal(value, torch.full((N,), 11.0)) and not torch.equal(first, second)


def test_views_read_at_once_are_the_same_values():
    def views(u):
        v = u + 1
        return [v.transpose(0, 1)[1:, 2].unsqueeze(0) * 2, torch.fft.fft(v).conj().imag.T * 2]

    u = torch.randn(4, 6)
    graph = record(views, [u])
    simplify(graph)
    assert all(torch.equal(e, f) for e, f in zip(views(u), Program(graph.fx, graph.constants)(u), strict=True))


def test_programs_are_bit_for_bit_what_was_recorded():
    weights, mask = torch.tensor([0.3, 0.7]), torch.tensor([[True], [False]])

    def function(u):
        v = torch.remainder(u * 1.7, weights) / weights + weights
        chosen = torch.where(mask.T, v, -v)
        first, second = chosen.permute(1, 0, 2).unbind(-1)
        return [v, first * 2, second * 2, torch.where(mask.T, v, -v) * 2]

    u = torch.randn(5, 6, 2)
    graph = record(function, [u])
    simplify(graph)
    program = Program(graph.fx, graph.constants)
    assert all(torch.equal(e, f) for e, f in zip(function(u), program(u), strict=True))
    assert program.run.source.count("where(") == 1 and "unbind" not in program.run.source


def test_the_recorder_leaves_no_trace_after_an_error():
    with pytest.raises(KeyError), Recorder(Graph()):
        assert current_recorder() is not None
        raise KeyError
    assert current_recorder() is None and isinstance(torch.ones(1) + 1, torch.Tensor)


def test_modules_within_a_solver_are_part_of_its_identity():
    solver = Custom(None)
    solver.scale = nn.Identity()
    solver.scale.value = 2.0
    solver.function = lambda u, a: u * solver.scale.value + a
    traced = trace(solver, state(), a=1.0)
    solver.scale.value = 3.0
    assert torch.equal(traced(state(), a=1.0), 3 * state() + 1)


def test_a_changed_attribute_reaches_what_was_computed_before():
    """The coefficients of Kuramoto-Sivashinsky are computed once for the same parameters, but not for another dt."""
    u, length = torch.randn(2, 1, 32, dtype=torch.float64), torch.tensor([20.0, 30.0], dtype=torch.float64)
    solver = KuramotoSivashinsky(32, 0.1)
    traced = trace(solver, u, length=length)
    for step in (solver, traced):
        solver.dt = 0.1
        step(u, length=length)
        solver.dt = 0.2
        assert torch.equal(step(u, length=length), KuramotoSivashinsky(32, 0.2)(u, length=length))


def test_a_changed_attribute_makes_the_parameters_be_checked_again():
    u, viscosity = torch.randn(2, 1, 32), torch.tensor([0.01, 0.01])
    solver = Burgers(32, 1.0, 0.01)
    solver(u, viscosity=viscosity)
    solver.dt = 1.0
    with pytest.raises(ValueError, match="stable"):
        solver(u, viscosity=viscosity)


def test_attributes_are_set_on_the_solver_that_was_recorded():
    traced = trace(Burgers(32, 1.0, 0.01), torch.randn(2, 1, 32), viscosity=0.01)
    with pytest.raises(AttributeError, match="traced.solver.dt"):
        traced.dt = 0.02
    traced.solver.dt = 0.005
    assert torch.equal(traced(torch.ones(2, 1, 32), viscosity=0.01), torch.ones(2, 1, 32))


def test_private_and_numpy_attributes_are_part_of_what_is_recorded():
    class Scaled(Solver):
        def __init__(self):
            super().__init__(0.1, (1, 4))
            self._factor, self.profile = 1.0, np.ones(4)

        def step(self, u):
            return self._factor * u * torch.as_tensor(self.profile).to(u)

    solver, u = Scaled(), torch.ones(1, 1, 4)
    traced = trace(solver, u)
    solver._factor = 3.0
    assert torch.equal(traced(u), 3 * u)
    solver.profile = 2 * np.ones(4)
    assert torch.equal(traced(u), 6 * u)
