"""In whatever mode a recorded step is called, and whatever its caller does with what it returns."""

import sys
import threading

import pytest
import torch
from in_threads import in_threads
from torch import nn

from dpbook_utils.coupling import Additive
from dpbook_utils.graphs.graph import Graph, Recorder, current_recorder
from dpbook_utils.losses import TrajectoryLoss, every_step
from dpbook_utils.networks import ConvResNet
from dpbook_utils.objectives import Objective
from dpbook_utils.physics.advection import semi_lagrangian
from dpbook_utils.physics.burgers import Burgers
from dpbook_utils.physics.kuramoto_sivashinsky import KuramotoSivashinsky
from dpbook_utils.physics.solver import Solver
from dpbook_utils.physics.trace import TracedSolver, TraceError, agree, layouts, trace
from dpbook_utils.rollout import Rollout, Sequential
from dpbook_utils.update import TracedGradients


def state(batch=2):
    return torch.linspace(-1, 1, 8 * batch).view(batch, 1, 8)


def burgers():
    return Burgers(8, 1.0, 1e-3, semi_lagrangian)


def gradient(step):
    u = state().requires_grad_()
    return torch.autograd.grad(step(u, viscosity=0.01).square().sum(), u)[0]


MODES = {"inference": torch.inference_mode, "no grad": torch.no_grad, "device": lambda: torch.device("cpu"),
         "another device": lambda: torch.device("meta"), "autocast": lambda: torch.autocast("cpu", torch.bfloat16)}


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_first_recorded_in_any_mode_and_used_in_another(mode):
    solver = burgers()
    traced = TracedSolver(solver)
    u, more = state(), state(3)
    viscosity = torch.full((2,), 0.01)
    with mode():
        first = traced(u, viscosity=viscosity)
        assert torch.equal(first, solver(u, viscosity=viscosity)) and first.dtype == torch.float32
        assert traced(more, viscosity=torch.full((3,), 0.01, device="cpu")).shape == more.shape
    assert agree(gradient(solver), gradient(traced))
    with mode():
        assert torch.equal(traced(u, viscosity=viscosity), first)


def test_coefficients_made_in_inference_mode_serve_no_gradient():
    solver, length = KuramotoSivashinsky(8, 0.1), torch.full((2,), 10.0)
    traced = TracedSolver(solver)
    with torch.inference_mode():
        traced(state(), length=length), solver(state(), length=length)
    u = state().requires_grad_()
    expected, found = (torch.autograd.grad(step(u, length=length).sin().sum(), u)[0] for step in (solver, traced))
    assert agree(expected, found)


def test_anomaly_mode_and_deterministic_algorithms():
    solver = burgers()
    traced = trace(solver, state(), viscosity=0.01)
    torch.use_deterministic_algorithms(True)
    try:
        with torch.autograd.set_detect_anomaly(True):
            assert agree(gradient(solver), gradient(traced))
            assert agree(gradient(solver), gradient(TracedSolver(solver)))
    finally:
        torch.use_deterministic_algorithms(False)


def test_a_backward_pass_under_autocast_keeps_the_precision():
    solver = KuramotoSivashinsky(8, 0.1)
    traced = trace(solver, state(), length=10.0)

    def gradient_of(step):
        u = state().requires_grad_()
        return torch.autograd.grad(step(u, length=10.0).sin().sum(), u)[0]

    with torch.autocast("cpu", torch.bfloat16):
        found = gradient_of(traced)
    assert agree(gradient_of(solver), found)


def test_a_recorded_update_under_autocast_is_refused():
    ours = Objective(Rollout(Sequential(burgers(), Additive(ConvResNet(1, 1, 1, width=2, num_blocks=1))), 1),
                     TrajectoryLoss(every_step))
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(TraceError, match="autocast"):
        TracedGradients(ours)({"u0": state(), "reference": state()[:, None], "viscosity": 0.01})


def test_default_dtype_set_by_the_user():
    states = state().double(), state()
    torch.set_default_dtype(torch.float64)
    try:
        solver = burgers()
        traced = trace(solver, states[0], viscosity=0.01)
        for u in states:
            assert torch.equal(traced(u, viscosity=0.01), solver(u, viscosity=0.01))
            assert traced(u, viscosity=0.01).dtype == u.dtype
    finally:
        torch.set_default_dtype(torch.float32)


def test_vmap_over_states():
    solver = burgers()
    traced = trace(solver, state(), viscosity=0.01)
    viscosity = torch.full((2,), 0.01)
    many = torch.stack([state(), 2 * state(), -state()])
    found = torch.func.vmap(lambda u: traced.step(u, viscosity=viscosity))(many)
    assert torch.allclose(found, torch.stack([solver(u, viscosity=viscosity) for u in many]), rtol=1e-6)


def test_saved_tensors_may_come_back_in_another_layout():
    solver = burgers()
    traced = trace(solver, state(), viscosity=0.01)
    with torch.autograd.graph.save_on_cpu():
        found = gradient(traced)
    assert agree(gradient(solver), found)


@pytest.mark.parametrize("layout", ["transposed", "sliced", "with short strides", "with long strides"])
def test_second_derivatives_in_every_layout(layout):
    solver = burgers()
    traced, v = trace(solver, state(1).double(), viscosity=0.01), layouts(state(1).double())[layout]

    def curvature(step):
        u = layouts(state(1).double())[layout].requires_grad_()
        slope, = torch.autograd.grad(step(u, viscosity=0.01), u, v, create_graph=True)
        return torch.autograd.grad(slope, u, v)[0]

    assert agree(curvature(solver), curvature(traced))


@pytest.mark.parametrize("share", [lambda x: (x, x), lambda x: (x[:1], x[1:])], ids=["the same", "two views"])
def test_inputs_that_share_memory(share):
    solver = burgers()
    traced = trace(solver, state(1), viscosity=0.01)

    def gradient_of(step):
        x = state(4)[:2].clone().requires_grad_()
        u, force = share(x)
        return torch.autograd.grad(step(u, viscosity=0.01, force=force).square().sum(), x)[0]

    assert agree(gradient_of(solver), gradient_of(traced))


def test_a_state_that_is_the_imaginary_part_of_a_conjugate():
    solver = burgers()
    u = torch.complex(state(), -state()).conj().imag
    assert u.is_neg() and torch.equal(u, state())
    traced = trace(solver, u, viscosity=0.01)
    assert torch.equal(traced(u, viscosity=0.01), solver(state(), viscosity=0.01))


def test_two_threads_at_once():
    solver = burgers()
    traced, expected, found = TracedSolver(solver), {}, {}
    batches = [1, 2, 3, 4]
    for n in batches:
        expected[n] = solver(state(n), viscosity=0.01)

    def work(numbers):
        for _ in range(3):
            for n in numbers:
                found.setdefault(n, []).append(traced(state(n), viscosity=0.01))

    padding = torch.nn.functional.pad
    in_threads(work, [(batches,), (batches[::-1],)])
    assert all(len(found[n]) == 6 and all(torch.equal(x, expected[n]) for x in found[n]) for n in batches)
    assert torch.nn.functional.pad is padding


def test_another_dispatch_mode_sees_the_step():
    from torch.utils.flop_counter import FlopCounterMode

    solver = burgers()
    with FlopCounterMode(display=False):
        assert torch.equal(TracedSolver(solver)(state(), viscosity=0.01), solver(state(), viscosity=0.01))


class Returns(Solver):
    """The result of a function of the solver and the state; the parameter plays no part."""

    required = ("a",)

    def __init__(self, function):
        super().__init__(0.1, (1, 8))
        self.function = function
        self.register_buffer("ones", torch.ones(2, 1, 8))

    def step(self, u, *, a):
        return self.function(self, u)


RETURNED = {"input": lambda P, u: u, "copy": lambda P, u: u.clone(), "view": lambda P, u: u[:, :, :],
            "buffer": lambda P, u: P.ones, "view of a buffer": lambda P, u: P.ones[:1].expand(u.shape)}


@pytest.mark.parametrize("name", RETURNED)
@pytest.mark.parametrize("needs", [False, True])
def test_what_is_returned_belongs_to_the_caller(name, needs):
    traced, u = trace(Returns(RETURNED[name]), state(), a=1.0), state().requires_grad_(needs)
    expected = Returns(RETURNED[name])(state(), a=1.0).clone()
    for _ in range(2):
        found = traced(u, a=1.0)
        assert torch.equal(found, expected)
        found.detach().add_(1)
    assert torch.equal(u, state())


def test_a_gradient_belongs_to_the_caller():
    traced, a = trace(Returns(lambda P, u: 2 * u), state(), a=1.0), torch.ones(2, requires_grad=True)
    value = traced(state().requires_grad_(), a=a)
    for _ in range(2):
        found, = torch.autograd.grad(value.sum(), a, retain_graph=True)
        assert torch.equal(found, torch.zeros(2))
        found.add_(1)


def test_equal_gradients_of_two_weights_are_two_tensors():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))

        def forward(self, u):
            return 0 * u + self.a + self.b

    ours = Objective(Rollout(Additive(Twice()), 1), TrajectoryLoss(every_step))
    TracedGradients(ours)({"u0": state(), "reference": torch.zeros(2, 1, 1, 8)})
    a, b = (w.grad for w in ours.parameters())
    a.mul_(2)
    assert torch.equal(a, 2 * b) and b != 0


def test_a_recorder_is_its_threads_own():
    seen = []
    with Recorder(Graph()):
        thread = threading.Thread(target=lambda: seen.append(current_recorder()))
        thread.start()
        thread.join()
    assert seen == [None]


def test_threads_that_share_a_traced_solver_get_their_own_results():
    """Other batch sizes and parameters, and coefficients that are computed once for the same parameters."""
    solver = KuramotoSivashinsky(16, 0.1)
    lengths = [torch.full((n,), 10.0 + n) for n in (1, 2, 3, 4)]
    states = [torch.randn(len(length), 1, 16) for length in lengths]
    traced = trace(solver, states[0], length=lengths[0])
    expected, wrong = [solver(u, length=length) for u, length in zip(states, lengths)], []

    def work(u, length, right):
        for _ in range(100):
            try:
                same = torch.equal(traced(u, length=length), right)
            except Exception as error:
                same = wrong.append(error)
            if not same:
                wrong.append(len(u))

    switching = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        in_threads(work, zip(states, lengths, expected))
    finally:
        sys.setswitchinterval(switching)
    assert not wrong
