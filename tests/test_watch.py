"""Whatever a step can read besides its inputs, and whatever mode it is called in: right, recorded anew, or refused."""

import copy
import functools
import gc
import threading
import types
import weakref

import numpy as np
import pytest
import torch
from torch import nn

from dpbook_utils.coupling import Additive
from dpbook_utils.losses import TrajectoryLoss, every_step
from dpbook_utils.networks import ConvResNet
from dpbook_utils.objectives import Objective
from dpbook_utils.physics.advection import semi_lagrangian
from dpbook_utils.physics.burgers import Burgers
from dpbook_utils.physics.graph import Recorder
from dpbook_utils.physics.kuramoto_sivashinsky import KuramotoSivashinsky
from dpbook_utils.physics.solver import Solver
from dpbook_utils.physics.trace import TracedSolver, TraceError, agree, trace
from dpbook_utils.physics.watch import Latest, Watch
from dpbook_utils.rollout import Rollout, Sequential
from dpbook_utils.training import Gradients
from dpbook_utils.update import TracedGradients

RATE, TENSOR, SETTINGS = 0.5, torch.tensor(0.5), {"rate": 0.5}
FOUR = torch.tensor(4.0)
CONFIG = types.ModuleType("config_of_a_user")
CONFIG.rate = 0.5


def state(batch=2):
    return torch.linspace(-1, 1, 8 * batch).view(batch, 1, 8)


class Scheme:
    def __init__(self, rate):
        self.rate = rate

    def __call__(self, u):
        return self.rate * u


class Slots:
    __slots__ = ("rate",)

    def __init__(self, rate):
        self.rate = rate


class Decay(Solver):
    """``u_next = u - dt rate(self) u``."""

    of_the_class = 0.5

    def __init__(self, rate):
        super().__init__(0.1, (1, 8))
        self.rate = rate
        self.register_buffer("buffer", torch.tensor(0.5))
        self.register_buffer("many", torch.full((5000,), 0.5))
        self.register_buffer("nothing", torch.tensor(float("nan")))
        self.array, self.tensor, self.numbers = np.array([0.5], np.float32), torch.tensor([0.5]), [0.5]
        self.shared = torch.from_numpy(self.array)
        self.scheme, self.slots, self.partial = Scheme(0.5), Slots(0.5), functools.partial(max, 0.5)
        self.frozen = nn.Parameter(torch.tensor(0.5), requires_grad=False)
        self.part = nn.Linear(1, 1).requires_grad_(False)

    def step(self, u):
        return u - self.dt * self.rate(self) * u

    def replace(self, name, value):
        setattr(self, name, value)


def enclosed(value):
    def rate(solver):
        return value

    def change(new):
        nonlocal value
        value = new

    return rate, change


def of_the_module(solver):
    return RATE


ENCLOSED = enclosed(0.5)
CHANGES = {
    "buffer read by item": (lambda P: P.buffer.item(), lambda P: P.buffer.fill_(4.0)),
    "buffer read by float": (lambda P: float(P.buffer * 2) / 2, lambda P: P.buffer.fill_(4.0)),
    "buffer read by tolist": (lambda P: P.tensor.tolist()[0], lambda P: P.tensor.fill_(4.0)),
    "buffer read by numpy": (lambda P: P.tensor.numpy()[0], lambda P: P.tensor.fill_(4.0)),
    "buffer read by bool": (lambda P: 0.5 if P.buffer < 1 else 4.0, lambda P: P.buffer.fill_(4.0)),
    "buffer through data": (lambda P: P.buffer, lambda P: P.buffer.data.fill_(4.0)),
    "data replaced": (lambda P: P.buffer.item(), lambda P: setattr(P.buffer, "data", torch.tensor(4.0))),
    "data read": (lambda P: P.buffer.data, lambda P: P.buffer.fill_(4.0)),
    "many through data": (lambda P: P.many.mean(), lambda P: P.many.data.fill_(4.0)),
    "buffer replaced": (lambda P: P.buffer.item(), lambda P: P.replace("buffer", torch.tensor(4.0))),
    "state loaded": (lambda P: P.buffer.item(), lambda P: P.load_state_dict({**P.state_dict(), "buffer": FOUR})),
    "frozen weight": (lambda P: P.frozen, lambda P: P.frozen.fill_(4.0)),
    "weight of a part": (lambda P: P.part.weight.item() * 0 + P.part.bias, lambda P: P.part.bias.fill_(4.0)),
    "array": (lambda P: float(P.array[0]), lambda P: P.array.fill(4.0)),
    "array shared with a tensor": (lambda P: P.shared, lambda P: P.array.fill(4.0)),
    "list": (lambda P: P.numbers[0], lambda P: P.numbers.__setitem__(0, 4.0)),
    "attribute": (lambda P: P.dt * 5, lambda P: P.replace("dt", 0.2)),
    "class": (lambda P: P.of_the_class, lambda P: setattr(Decay, "of_the_class", 4.0)),
    "callable object": (lambda P: P.scheme(1.0), lambda P: setattr(P.scheme, "rate", 4.0)),
    "slots": (lambda P: P.slots.rate, lambda P: setattr(P.slots, "rate", 4.0)),
    "partial": (lambda P: P.partial(0), lambda P: P.replace("partial", functools.partial(max, 4.0))),
    "number of the module": (of_the_module, lambda P: globals().update(RATE=4.0)),
    "tensor of the module": (lambda P: TENSOR, lambda P: globals().update(TENSOR=torch.tensor(4.0))),
    "dictionary of the module": (lambda P: SETTINGS["rate"], lambda P: SETTINGS.update(rate=4.0)),
    "another module": (lambda P: CONFIG.rate, lambda P: setattr(CONFIG, "rate", 4.0)),
    "closure": (ENCLOSED[0], lambda P: ENCLOSED[1](4.0)),
    "default dtype": (lambda P: torch.ones(1).element_size() / 8, lambda P: torch.set_default_dtype(torch.float64)),
}


@pytest.fixture(autouse=True)
def as_before():
    yield
    globals().update(RATE=0.5, TENSOR=torch.tensor(0.5))
    SETTINGS["rate"] = CONFIG.rate = Decay.of_the_class = 0.5
    ENCLOSED[1](0.5)
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("name", CHANGES)
def test_whatever_changes_is_followed(name):
    read, change = CHANGES[name]
    solver = Decay(read)
    traced = trace(solver, state())
    before = traced(state())
    assert torch.equal(before, solver(state())) and len(traced._graphs) == 1
    traced(state())
    assert len(traced._graphs) == 1  # and what has not changed is not recorded anew
    with torch.no_grad():
        change(solver)
    assert torch.equal(traced(state()), solver(state()))
    assert not torch.equal(traced(state()), before)


def test_coefficients_computed_once_are_followed_too():
    class Precomputed(Decay):
        required = ("a",)

        def precompute(self, a):
            return {"factor": self.buffer * a}

        def step(self, u, factor):
            return u * factor[:, None, None]

    solver, a = Precomputed(None), torch.ones(2)
    traced = trace(solver, state(), a=a)
    for change in (lambda: solver.buffer.fill_(4.0), lambda: solver.load_state_dict(Precomputed(None).state_dict())):
        change()
        assert torch.equal(solver(state(), a=a), state() * solver.buffer)
        assert torch.equal(traced(state(), a=a), state() * solver.buffer)


def test_weights_within_are_refused_by_name_also_later():
    solver = Decay(lambda P: P.frozen)
    traced = trace(solver, state())
    solver.frozen.requires_grad_(True)
    with pytest.raises(TraceError, match="trainable weight, frozen,.*requires_grad_"):
        traced(state())
    with pytest.raises(TraceError, match="trainable weight, frozen,"):
        trace(solver, state())
    gradient, = torch.autograd.grad(solver(state(1)[..., :4].repeat(1, 1, 2)).sum(), solver.frozen)
    assert gradient > 0  # the eager solver trains it
    solver.frozen.requires_grad_(False)
    assert torch.equal(traced(state()), solver(state()))


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


# Modes ---------------------------------------------------------------------------------------------------------------

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
    torch.set_default_dtype(torch.float64)
    solver = burgers()
    traced = trace(solver, state().double(), viscosity=0.01)
    for u in (state().double(), state().float()):
        assert torch.equal(traced(u, viscosity=0.01), solver(u, viscosity=0.01))
        assert traced(u, viscosity=0.01).dtype == u.dtype


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
    threads = [threading.Thread(target=work, args=(numbers,)) for numbers in (batches, batches[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(len(found[n]) == 6 and all(torch.equal(x, expected[n]) for x in found[n]) for n in batches)
    assert torch.nn.functional.pad is padding


def test_another_dispatch_mode_sees_the_step():
    from torch.utils.flop_counter import FlopCounterMode

    solver = burgers()
    with FlopCounterMode(display=False):
        assert torch.equal(TracedSolver(solver)(state(), viscosity=0.01), solver(state(), viscosity=0.01))


# Bounds --------------------------------------------------------------------------------------------------------------

def test_the_graphs_used_last_are_kept():
    solver = Decay(lambda P: 1.0)
    traced = TracedSolver(solver)
    for n in range(1, Latest.size + 5):
        traced(state(n)), traced(state(1))
    assert len(traced._graphs) == Latest.size
    first = traced._graphs
    count = len(first)
    hot = list(first.values())[-1]
    traced(state(1))
    assert list(first.values())[-1] is hot and len(first) == count


def test_the_graphs_of_an_update_are_bounded_and_go_with_it():
    network = ConvResNet(1, 1, 1, width=2, num_blocks=1)
    ours = Objective(Rollout(Additive(network), 1), TrajectoryLoss(every_step))
    traced = TracedGradients(ours)
    for n in range(1, Latest.size + 3):
        traced({"u0": state(n), "reference": state(n)[:, None]})
    assert len(traced._recorded) == Latest.size
    gone = weakref.ref(next(iter(traced._recorded.values())))
    del traced
    gc.collect()
    assert gone() is None


def test_an_update_follows_what_its_callables_read():
    def metric(u, target):
        return SETTINGS["rate"] * (u - target).square().flatten(2).mean(2)

    network = ConvResNet(1, 1, 1, width=2, num_blocks=1)
    ours = Objective(Rollout(Additive(network), 1), TrajectoryLoss(every_step, metric))
    traced, batch = TracedGradients(ours), {"u0": state(), "reference": state()[:, None]}
    traced(batch)
    for _ in range(2):
        assert torch.allclose(traced(batch), Gradients(ours)(batch), rtol=1e-5)
        SETTINGS["rate"] = 4.0


def test_equal_surroundings_have_equal_keys_and_copies_none_in_common():
    first = Decay(of_the_module)
    assert Watch(first).key == Watch(first).key and hash(Watch(first).key) == hash(Watch(first).key)
    assert Watch(first).key != Watch(copy.deepcopy(first)).key
    assert Watch(first).unchanged()


def test_a_recorder_is_its_threads_own():
    seen = []

    def other():
        from dpbook_utils.physics.graph import current_recorder

        seen.append(current_recorder())

    from dpbook_utils.physics.graph import Graph
    with Recorder(Graph()):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert seen == [None]
