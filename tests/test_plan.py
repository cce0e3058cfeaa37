"""A plan gives bit for bit what its graph gives, call after call, and its memory never shows."""


import pytest
import torch
from in_threads import in_threads

from dpbook_utils.graphs import memory, plan
from dpbook_utils.graphs.graph import record
from dpbook_utils.graphs.program import Program, copy_graph
from dpbook_utils.graphs.simplify import own_outputs, simplify


def planned(function, *inputs, owned=None):
    """The program of a function, and its graph run operation by operation."""
    graph = record(lambda *x: list(function(*x)), [x.detach() for x in inputs])
    simplify(graph)
    plain = copy_graph(graph.fx)
    own_outputs(plain, owned)
    return Program(graph.fx, graph.constants, owned), torch.fx.GraphModule(graph.constants, plain)


def seeded(function, *inputs):
    with torch.no_grad(), torch.random.fork_rng([]):
        torch.manual_seed(3)
        return function(*inputs)


def elementwise(u):
    v = u * 0.1 + 2 - u / 3
    return torch.where(v > 0, v.tanh(), v.sigmoid() - 1), v.abs().sqrt(), (v - 0.5).exp().log()


def views(u):
    wide = torch.cat([u[..., -1:], u, u[..., :1]], -1)
    return wide[..., 2:] + wide[..., :-2], u.flip(-1).transpose(0, 1).reshape(-1), torch.stack([u, -u], 1).sum(0)


def parts(u):
    first, second = u.unbind(0)[:2]
    low, where = u.min(-1)
    return first * second, low, where, *u.split(3, -1), u.expand(2, *u.shape).mean((0, 1))


def products(u):
    square = torch.bmm(u, u.transpose(1, 2))
    return square, torch.baddbmm(u[..., :4], u, u.transpose(1, 2)), u[0] @ u[1].T, u[0] @ u[0, 0]


def spectra(u):
    transformed = torch.fft.fft(u.to(torch.complex64 if u.dtype == torch.float32 else torch.complex128))
    return torch.fft.ifft(transformed * 1j).real, torch.fft.ifft2(transformed.conj()).imag, torch.fft.rfft(u).abs()


def written(u):
    v = u.new_zeros(u.shape)
    v[..., 1:].copy_(u[..., :-1])
    v.masked_fill_(u > 1, 7.0)
    return v, v + 1, v.index_put((torch.tensor([0, 2]),), u[:2] * 2)


def random(u):
    return torch.randn_like(u) + u, torch.rand(3, dtype=u.dtype)


def of_inputs(u):
    return u, u[1:], u.transpose(0, 1), u.new_ones(3), torch.zeros_like(u)


FUNCTIONS = [elementwise, views, parts, products, spectra, written, random, of_inputs]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_values_are_those_of_the_graph_bit_for_bit(function, dtype):
    inputs = [torch.randn(3, 4, 7, generator=torch.Generator().manual_seed(k), dtype=dtype) for k in range(3)]
    inputs[2][0, 0, :3] = torch.tensor([torch.nan, torch.inf, -torch.inf], dtype=dtype)
    program, graph = planned(function, inputs[0])
    results = []
    for u in inputs:
        for x in (u, u.transpose(0, 2).contiguous().transpose(0, 2), torch.stack([u, u], -1)[..., 1]):
            expected, found = seeded(graph, x.contiguous()), seeded(program, x)
            for e, f in zip(expected, found, strict=True):
                assert e.dtype == f.dtype and torch.equal(e.nan_to_num(0.5), f.nan_to_num(0.5))
                assert torch.equal(e.isnan(), f.isnan())
            results.append((found, [f.clone() for f in found]))
    for found, copies in results:  # none has been written to since
        assert all(torch.equal(f.nan_to_num(), c.nan_to_num()) for f, c in zip(found, copies))


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_outputs_are_memory_of_their_own(function):
    u = torch.randn(3, 4, 7)
    program, _ = planned(function, u)
    before = u.clone()
    for result in seeded(program, u):
        result.zero_()
    assert torch.equal(u, before)
    expected = seeded(planned(function, u)[0], u)
    assert all(torch.equal(e, f) for e, f in zip(expected, seeded(program, u), strict=True))


def test_outputs_that_are_not_owned_may_be_the_callers_input():
    program, _ = planned(lambda u: (u * 2, u, u[1:]), u := torch.randn(4, 5), owned=1)
    double, same, part = program(u)
    assert same is u and part.data_ptr() == u[1:].data_ptr() and double.data_ptr() != u.data_ptr()


def test_values_that_are_never_needed_together_share_a_place():
    def chain(u):
        for _ in range(50):
            u = (u + 1).tanh()
        return (u,)

    program, _ = planned(chain, torch.randn(1000))
    assert program.run.num_bytes <= 4 * 4096


def test_memory_is_shared_by_plans_and_grows_once(monkeypatch):
    made = []
    arenas = memory.Arenas()
    monkeypatch.setattr(plan, "arenas", arenas)
    programs = [planned(lambda u: ((u + 1).exp().sum(),), torch.randn(n)) for n in (10, 100_000, 20)]
    for _ in range(3):
        for (program, graph), n in zip(programs, (10, 100_000, 20)):
            u = torch.randn(n)
            assert torch.equal(program(u)[0], graph(u)[0])
            made.append(arenas.free[torch.device("cpu"), None][-1].numel())
    assert len(set(made[1:])) == 1 and made[0] < made[1] <= 2**20
    assert len(arenas.free[torch.device("cpu"), None]) == 1


def test_threads_do_not_write_to_each_others_memory():
    program, graph = planned(views, torch.randn(3, 4, 7))
    inputs = [torch.randn(3, 4, 7) for _ in range(8)]
    expected, wrong = [graph(u) for u in inputs], []

    def work(u, right):
        with torch.no_grad():  # of this thread
            for _ in range(200):
                if not all(torch.equal(e, f) for e, f in zip(right, program(u), strict=True)):
                    wrong.append(u)

    in_threads(work, zip(inputs, expected))
    assert not wrong


def test_a_failed_call_gives_its_memory_back(monkeypatch):
    monkeypatch.setattr(plan, "arenas", memory.Arenas())
    program, graph = planned(elementwise, u := torch.randn(4, 5))
    with pytest.raises(RuntimeError):
        program(torch.randn(3, 7))
    assert all(torch.equal(e, f) for e, f in zip(graph(u), program(u), strict=True))
    assert len(plan.arenas.free[torch.device("cpu"), None]) == 1


def test_first_called_under_inference_mode_and_then_without():
    program, graph = planned(elementwise, u := torch.randn(4, 5))
    with torch.inference_mode():
        program(u)
    assert all(torch.equal(e, f) for e, f in zip(graph(u), program(u), strict=True))


def test_large_results_that_stand_outside_the_shared_memory_are_given_up_when_they_were_needed_last():
    def function(u):
        for _ in range(6):
            u = torch.nn.functional.pad(u, (1, 1))[..., 1:-1].cumsum(-1)
        return (u,)

    program, _ = planned(function, torch.randn(4, 5))
    assert program.run.source.count("= None") >= 5
