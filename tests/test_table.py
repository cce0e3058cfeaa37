"""A plan with a table gives what the list gives: bit for bit where it is asked to, else up to a few roundings."""

import math

import pytest
import torch
from in_threads import in_threads
from test_plan import FUNCTIONS, planned, seeded, views

from dpbook_utils.coupling import Additive
from dpbook_utils.data import random_fourier
from dpbook_utils.graphs import compiler
from dpbook_utils.graphs.graph import record
from dpbook_utils.graphs.program import Program
from dpbook_utils.graphs.simplify import simplify
from dpbook_utils.graphs.table import Table
from dpbook_utils.losses import TrajectoryLoss, every_step
from dpbook_utils.networks import ConvResNet, Ensemble
from dpbook_utils.objectives import Objective
from dpbook_utils.physics.burgers import Burgers
from dpbook_utils.physics.kuramoto_sivashinsky import KuramotoSivashinsky
from dpbook_utils.physics.trace import trace
from dpbook_utils.rollout import Rollout, Sequential
from dpbook_utils.training import Gradients, fit
from dpbook_utils.update import TracedGradients

CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(compiler.library() is None, reason="no C compiler on this machine")


def tabled(function, *inputs, exact=False):
    graph = record(lambda *x: list(function(*x)), [x.detach() for x in inputs])
    simplify(graph)
    return Program(graph.fx, graph.constants, table=Table.on(CPU, exact))


def assert_close(expected, found, tolerance=2e-6, least=0.0):
    """Relative to each tensor's largest entry, or to ``least``: what would be zero consists of rounding."""
    for e, f in zip(expected, found, strict=True):
        assert e.dtype == f.dtype and e.shape == f.shape
        finite = e.isfinite() if e.is_floating_point() or e.is_complex() else torch.ones_like(e, dtype=torch.bool)
        assert torch.equal(e[~finite].nan_to_num(), f[~finite].nan_to_num())
        assert torch.equal(e.isnan(), f.isnan())
        if finite.any():
            e, f = (x[finite].to(torch.complex128) for x in (e, f))
            assert (e - f).abs().max() <= tolerance * e.abs().max().clamp_min(least)


def products_of_thin_and_wide_rows(u):
    columns = torch.cat([u[:, :-2], u[:, 1:-1], u[:, 2:]], -1)
    weight = torch.linspace(-1, 1, 3 * u.shape[-1] * 16, dtype=u.dtype).view(1, -1, 16).expand(len(u), -1, -1)
    bias = torch.linspace(0, 1, 16, dtype=u.dtype)
    squares = torch.bmm(u[:, 1:-1].transpose(1, 2), columns)
    return torch.baddbmm(bias, columns, weight).tanh(), torch.bmm(columns, weight), squares, squares.transpose(1, 2)


def sums(u):
    return (u.sum(0), u.sum(1), u.sum(-1, keepdim=True), u.sum((0, 1)), u.sum((1, 2)), u.mean((0, 2)),
            u.transpose(0, 1).sum(1), u.sum((0, 1, 2)), u[:, :1].sum(1), u.mean(-1) * 2)


def saturated(u):
    v = (20 * u).tanh()
    return v, (1e-3 * u).tanh(), torch.ops.aten.tanh_backward(u, u.tanh()), (u * 1e30) * 1e30 - u


def broadcast(u):
    row, column = u[:, :1], u[..., :1]
    return row * column, u - row / 3, u.T + u[0, 0, 0] if u.ndim == 2 else u.transpose(0, 2) + u[0, 0, 0], -(u ** 2)


def transformed(u):
    v = torch.fft.fft(u.to(torch.complex64 if u.dtype == torch.float32 else torch.complex128), norm="ortho")
    return torch.fft.ifft(v * v.conj()).real, (v + 2 * v) * v, torch.view_as_real(v.conj() * v[:1])[..., 0], -v


OWN = [products_of_thin_and_wide_rows, sums, saturated, broadcast, transformed]


CASES = [(f, (3, 4, 7)) for f in FUNCTIONS] + [(f, shape) for f in OWN for shape in ((3, 4, 7), (1, 6, 16), (5, 9, 33))]


@pytest.mark.parametrize("function, shape", CASES, ids=lambda x: x.__name__ if callable(x) else str(x))
def test_values_are_those_of_the_list(function, shape):
    inputs = [torch.randn(shape, generator=torch.Generator().manual_seed(k)) for k in range(3)]
    if function not in (transformed, products_of_thin_and_wide_rows):  # one NaN is everywhere there
        inputs[2][0, 0, :3] = torch.tensor([torch.nan, torch.inf, -torch.inf])
    plain, _ = planned(function, inputs[0])
    for exact in (True, False):
        program = tabled(function, inputs[0], exact=exact)
        for u in inputs:
            for x in (u, u.transpose(0, 2).contiguous().transpose(0, 2), torch.stack([u, u], -1)[..., 1]):
                assert_close(seeded(plain, x), seeded(program, x), 0 if exact else 2e-6, least=0.1)


@pytest.mark.parametrize("function", [products_of_thin_and_wide_rows, transformed], ids=lambda f: f.__name__)
def test_what_is_not_a_number_stays_where_it_belongs(function):
    u = torch.randn(4, 6, 16)
    program, (plain, _) = tabled(function, u), planned(function, u)
    u[1, 2, 3], u[2, 0, 0] = math.nan, math.inf
    for e, f in zip(seeded(plain, u), seeded(program, u), strict=True):
        assert torch.equal(e.isfinite().flatten(1).all(1), f.isfinite().flatten(1).all(1))
    assert all(f[0].isfinite().all() and f[3].isfinite().all() for f in seeded(program, u)[:1])


def test_small_numbers_are_not_flushed():
    def function(u):
        return (u * 0.5 + u * 0.25 + u * 0.125,)

    u = torch.full((64,), 2.0 ** -140)
    assert torch.equal(tabled(function, u)(u)[0], function(u)[0]) and function(u)[0].min() > 0


def test_most_lines_become_one():
    def function(u):
        for _ in range(10):
            u = torch.cat([u[..., -1:], u, u[..., :1]], -1).tanh()[..., 1:-1] + 0.5 * u
        return (u,)

    program = tabled(function, torch.randn(4, 16))
    assert program.run.source.count("table_") == 1 and program.run.source.count("\n") < 5


def test_a_table_of_a_few_entries_among_many_calls_is_the_list():
    def function(u):
        for _ in range(10):
            u = (u.exp() + 1).log().sin() / 2
        return (u,)

    assert tabled(function, u := torch.randn(4, 16)).run.table is None
    assert torch.equal(tabled(function, u)(u)[0], planned(function, u)[0](u)[0])


def test_float64_stays_the_list():
    u = torch.randn(1, 6, 16, dtype=torch.float64)
    program, (plain, _) = tabled(products_of_thin_and_wide_rows, u), planned(products_of_thin_and_wide_rows, u)
    assert program.run.table is None
    assert_close(plain(u), program(u), 1e-14)


def test_outputs_are_memory_of_their_own():
    u = torch.randn(3, 8, 16)
    program = tabled(products_of_thin_and_wide_rows, u)
    first = program(u)
    before = [x.clone() for x in first]
    program(-u)
    assert all(map(torch.equal, first, before))
    for x in first:
        x.zero_()
    assert all(map(torch.equal, program(u), before))


@pytest.mark.parametrize("function", [views, products_of_thin_and_wide_rows], ids=lambda f: f.__name__)
def test_threads_do_not_write_to_each_others_memory(function):
    inputs = [torch.randn(3, 8, 16) for _ in range(4)]
    program, wrong = tabled(function, inputs[0]), []
    expected = [program(u) for u in inputs]

    def work(u, right):
        for _ in range(50):
            if not all(map(torch.equal, right, program(u))):
                wrong.append(u)

    in_threads(work, zip(inputs, expected))
    assert not wrong


# Updates and steps ---------------------------------------------------------------------------------------------------

LENGTH = 50.0


def batch(size, num_steps, seed=0):
    u = 0.1 * random_fourier(size, 48, modes=8, seed=seed)
    reference = 0.1 * random_fourier(size * num_steps, 48, modes=8, seed=seed + 1).view(size, num_steps, 1, 48)
    return {"u0": u, "reference": reference, "length": torch.full((size,), LENGTH)}


def objective(num_seeds, num_steps=3, **arguments):
    networks = [ConvResNet(1, 1, 1, conditions={"length": (LENGTH, 8.0)}, seed=s, **arguments)
                for s in range(num_seeds)]
    network = networks[0] if num_seeds == 1 else Ensemble(networks)
    return Objective(Rollout(Sequential(KuramotoSivashinsky(48, 1.0, num_substeps=2), Additive(network)), num_steps),
                     TrajectoryLoss(every_step))


def losses_and_gradients(gradients, batch):
    return [gradients(batch), *(w.grad for w in gradients.objective.parameters())]


@pytest.mark.parametrize("num_seeds, size, arguments", [(1, 5, {}), (1, 16, {"width": 8, "kernel_size": 5}),
                                                        (3, 4, {"width": 32, "num_blocks": 1})])
def test_an_update_is_that_of_the_list_and_of_the_eager_pass(monkeypatch, num_seeds, size, arguments):
    ours = objective(num_seeds, **arguments)
    with_table, data = TracedGradients(ours), [batch(size * num_seeds, 3, seed) for seed in range(3)]
    found = [losses_and_gradients(with_table, x) for x in data]
    monkeypatch.setattr(compiler, "library", lambda: None)
    with_list = TracedGradients(ours)
    tables = [next(iter(traced._recorded.values())).program.run.table for traced in (with_table,)]
    for x, (losses, *gradients) in zip(data, found):
        expected_losses, *expected = losses_and_gradients(with_list, x)
        assert_close([expected_losses], [losses], 2e-6)
        # One scale for all of them: a gradient whose parts cancel has only that.
        assert_close([torch.cat([e.flatten() for e in expected])], [torch.cat([g.flatten() for g in gradients])], 4e-6)
        assert_close(losses_and_gradients(Gradients(ours), x)[:1], [losses], 1e-5)
    tables.append(next(iter(with_list._recorded.values())).program.run.table)
    assert tables[0] is not None and tables[1] is None


def test_an_update_is_the_same_at_every_call_and_goes_on_bit_for_bit(tmp_path):
    ours, data = objective(1), batch(4, 3)
    traced = TracedGradients(ours)
    first, again = (losses_and_gradients(traced, data) for _ in range(2))
    assert all(map(torch.equal, first, again))
    trained = []
    for stops in ([6], [3, 6]):
        ours = objective(1)
        for num_updates in stops:
            path = tmp_path / f"{len(stops)}.pt"
            fit(ours, [batch(4, 3, k) for k in range(6)], torch.optim.Adam(ours.parameters(), 1e-3),
                num_updates=num_updates, trace=True, progress=False, checkpoint=path)
        trained.append([w.detach().clone() for w in ours.parameters()])
    assert all(map(torch.equal, *trained))


def test_a_nan_stays_in_its_member():
    ours, data = objective(3), batch(6, 3)
    traced = TracedGradients(ours)
    traced(data)
    with torch.no_grad():
        next(ours.parameters())[1] = math.nan
    losses, *gradients = losses_and_gradients(traced, data)
    assert losses.isnan().tolist() == [False, True, False]
    assert all(g[[0, 2]].isfinite().all() for g in gradients)


def test_a_traced_step_gives_the_steps_own_bits():
    solver, u = Burgers(64, 1.0, 0.002), random_fourier(4, 64, modes=8, seed=0)
    traced = trace(solver, u, viscosity=0.01)
    found = []
    for step in (solver, traced):
        leaf, viscosity = u.clone().requires_grad_(), torch.full((4,), 0.01, requires_grad=True)
        value = step(leaf, viscosity=viscosity)
        found.append([value.detach(), *torch.autograd.grad(value, [leaf, viscosity], u.cos())])
    assert torch.equal(found[0][0], found[1][0])
    assert_close(found[0], found[1], 1e-6)
    plans = [program.run for pair in traced._replayed[1].programs.values() for program in pair if program]
    assert plans and all(plan.table is not None for plan in plans)
