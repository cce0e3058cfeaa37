"""Whatever a step can read besides its inputs, and whatever mode it is called in: right, recorded anew, or refused."""

import array
import collections
import copy
import functools
import gc
import types
import weakref

import numpy as np
import pytest
import torch
from torch import nn

from dpbook_utils.coupling import Additive
from dpbook_utils.graphs.watch import Latest, Watch
from dpbook_utils.losses import TrajectoryLoss, every_step
from dpbook_utils.networks import ConvResNet
from dpbook_utils.objectives import Objective
from dpbook_utils.physics.solver import Solver
from dpbook_utils.physics.trace import TracedSolver, TraceError, trace
from dpbook_utils.rollout import Rollout
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
        self.space, self.queue = types.SimpleNamespace(rate=0.5), collections.deque([0.5])
        self.frozen = nn.Parameter(torch.tensor(0.5), requires_grad=False)
        self.part = nn.Linear(1, 1).requires_grad_(False)
        self.mapping, self.list = collections.UserDict(rate=0.5), collections.UserList([0.5])
        self.chain = collections.ChainMap({"rate": 0.5})
        self.normal, self.polynomial = torch.distributions.Normal(0.5, 1.0), np.poly1d([0.5])
        self.bytes, self.buffered, self.named = bytearray([1]), array.array("d", [0.5]), Named()
        self.named.rate = self.tensor.rate = 0.5

    def times(self, rate):
        return rate

    half = functools.partialmethod(times, 0.5)
    config = CONFIG

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


class Named(list):
    """A list with an attribute."""


def with_rate():
    """A function with an attribute."""


def replaced():
    return 0.5


ORIGINAL = replaced.__code__
with_rate.rate = 0.5


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
    "namespace": (lambda P: P.space.rate, lambda P: setattr(P.space, "rate", 4.0)),
    "queue": (lambda P: P.queue[0], lambda P: P.queue.appendleft(4.0)),
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
    "module as an attribute": (lambda P: P.config.rate, lambda P: setattr(P.config, "rate", 4.0)),
    "attribute of a function": (lambda P: with_rate.rate, lambda P: setattr(with_rate, "rate", 4.0)),
    "code of a function": (lambda P: replaced(), lambda P: setattr(replaced, "__code__", (lambda: 4.0).__code__)),
    "user's dictionary": (lambda P: P.mapping["rate"], lambda P: P.mapping.update(rate=4.0)),
    "user's list": (lambda P: P.list[0], lambda P: P.list.__setitem__(0, 4.0)),
    "chain of dictionaries": (lambda P: P.chain["rate"], lambda P: P.chain.maps[0].update(rate=4.0)),
    "distribution": (lambda P: P.normal.loc.item(), lambda P: setattr(P.normal, "loc", torch.tensor(4.0))),
    "polynomial": (lambda P: float(P.polynomial(0)), lambda P: P.polynomial.coeffs.__setitem__(0, 4.0)),
    "bytes": (lambda P: P.bytes[0] / 2, lambda P: P.bytes.__setitem__(0, 8)),
    "numbers in a buffer": (lambda P: P.buffered[0], lambda P: P.buffered.__setitem__(0, 4.0)),
    "attribute of a list": (lambda P: P.named.rate, lambda P: setattr(P.named, "rate", 4.0)),
    "attribute of a tensor": (lambda P: P.tensor.rate, lambda P: setattr(P.tensor, "rate", 4.0)),
    "partial method": (lambda P: P.half(), lambda P: setattr(Decay, "half", functools.partialmethod(Decay.times, 4.0))),
    "default dtype": (lambda P: torch.ones(1).element_size() / 8, lambda P: torch.set_default_dtype(torch.float64)),
}


@pytest.fixture(autouse=True)
def as_before():
    yield
    globals().update(RATE=0.5, TENSOR=torch.tensor(0.5))
    SETTINGS["rate"] = CONFIG.rate = Decay.of_the_class = with_rate.rate = 0.5
    Decay.half, replaced.__code__ = functools.partialmethod(Decay.times, 0.5), ORIGINAL
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


def test_hooks_are_refused_also_later():
    solver = Decay(lambda P: P.buffer)
    traced = trace(solver, state())
    hook = solver.register_forward_hook(lambda module, inputs, output: 2 * output)
    for again in (lambda: traced(state()), lambda: trace(solver, state())):
        with pytest.raises(TraceError, match="has forward hooks, which a graph would not run. Remove them"):
            again()
    hook.remove()
    assert torch.equal(traced(state()), solver(state()))


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


def test_a_module_of_a_users_package_may_import_the_package(tmp_path, monkeypatch):
    package = tmp_path / "userpackage"
    package.mkdir()
    (package / "__init__.py").write_text("from . import rates\n")
    (package / "rates.py").write_text("import userpackage\n\nRATE = 0.5\n\n\n"
                                      "def half(u):\n    return userpackage.rates.RATE * u\n")
    (tmp_path / "users_step.py").write_text("import userpackage\n\n\n"
                                            "def step(u):\n    return userpackage.rates.half(u)\n")
    monkeypatch.syspath_prepend(tmp_path)
    from users_step import step, userpackage

    watch = Watch(step)
    assert watch.unchanged()
    userpackage.rates.RATE = 0.25
    assert not watch.unchanged()
