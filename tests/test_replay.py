"""Roll-outs that repeat a recorded step: against the eager ones, and what cannot be recorded."""

import pytest
import torch
from torch import nn

from dpbook_course.problems import coarse_burgers
from dpbook_course.problems import kuramoto_sivashinsky as ks
from dpbook_course.problems.problem import LONG, predicted
from dpbook_utils import evaluation
from dpbook_utils.coupling import Additive, Multiplicative
from dpbook_utils.graphs.graph import TraceError
from dpbook_utils.networks import ConvResNet, Ensemble
from dpbook_utils.noise import GaussianNoise
from dpbook_utils.replay import replay
from dpbook_utils.rollout import Rollout, Sequential

SEEDS = (0, 1)


def both(step, states, **parameters):
    return [evaluation.predict(step, states, trace=traced, **parameters)[0] for traced in (True, False)]


def ensemble():
    return ks.ensemble(SEEDS, 8, 1)


def test_a_hybrid_gives_what_it_gives_step_by_step():
    """Over few steps, in which an untrained hybrid amplifies the roundings by a hundred."""
    data = ks.trajectories("inside")
    fast, slow = both(ks.hybrid(ensemble()), data.states[:5, :6], length=data.length[:5])
    assert fast.shape == slow.shape == (10, 5, 1, 48) and torch.allclose(fast, slow, rtol=1e-4, atol=1e-4)


def test_in_double_precision_it_is_the_same_bit_for_bit():
    """Also what has blown up: infinities and what is no number stand at the same places."""
    data, step = ks.trajectories("inside"), ks.hybrid(ensemble().double())
    fast, slow = both(step, data.states[:3, :31].double(), length=data.length[:3].double())
    torch.testing.assert_close(fast, slow, rtol=0, atol=0, equal_nan=True)
    assert not fast.isfinite().all() and not fast.requires_grad


@pytest.mark.parametrize("coupling", (Additive, Multiplicative))
@pytest.mark.parametrize("place", (0, 1))
def test_what_is_recorded_of_a_step_may_be_the_solvers_state(coupling, place):
    data, network = ks.trajectories("inside"), ConvResNet(1, 1, 1, width=4, seed=0)
    rollout = Rollout(Sequential(ks.coarse_solver(), coupling(network)), 3, record_after=place)
    u, length = data.states[:2, 0].double(), data.length[:2].double()
    rollout.double()
    with torch.no_grad():
        assert torch.equal(replay(rollout, u, length=length), rollout(u, length=length))


@pytest.mark.parametrize("u", (torch.randn(48, 1, 3).transpose(0, 2), torch.randn(6, 1, 96)[::2, :, ::2],
                               torch.randn(1, 1, 48).expand(3, 1, 48)))
def test_states_may_lie_in_memory_in_any_way(u):
    rollout, length = Rollout(ks.hybrid(ConvResNet(1, 1, 1, width=4, seed=0)), 4), torch.tensor([22.0, 30.0, 40.0])
    with torch.no_grad():
        assert torch.allclose(replay(rollout, u, length=length), rollout(u.clone(), length=length), atol=1e-4)


def test_a_state_that_blows_up_is_the_same_infinity_or_nan():
    class Squared(nn.Module):
        def forward(self, u):
            return u * u * u

    states = torch.full((2, 12, 1, 4), 3.0)
    fast, slow = both(Squared(), states)
    assert torch.equal(fast, slow) and torch.isinf(fast[:, -1]).all()


def test_noise_stays_off_the_mode_stays_and_random_numbers_go_on():
    step = Sequential(GaussianNoise(0.5), Additive(ConvResNet(1, 1, 1, width=4, seed=0))).train()
    states = torch.randn(2, 6, 1, 16)
    torch.manual_seed(0)
    fast, slow = both(step, states)
    drawn = torch.randn(3)
    torch.manual_seed(0)
    assert step.training and torch.allclose(fast, slow, atol=1e-5) and torch.equal(drawn, torch.randn(3))


# What cannot be recorded --------------------------------------------------------------------------------------------


class Counting(nn.Module):
    """Another step at every call: by so little that a comparison of close numbers would let it pass."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def forward(self, u):
        self.count += 1
        return u + 1e-6 * self.count


class Counted(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.zeros(()))

    def forward(self, u):
        self.count += 1
        return u + self.count


class Random(nn.Module):
    def forward(self, u):
        return u + torch.randn_like(u)


class Branching(nn.Module):
    def forward(self, u):
        return u / 2 if u.max() > 1 else u


class InNumpy(nn.Module):
    def forward(self, u):
        return torch.from_numpy(u.numpy() / 2)


@pytest.mark.parametrize("step", (Counting, Counted, Random, Branching, InNumpy))
def test_a_step_that_is_not_one_sequence_of_operations_is_refused_and_predicted_goes_on_without(step):
    states = torch.randn(2, LONG + 1, 1, 8, generator=torch.Generator().manual_seed(0))
    with pytest.raises(TraceError, match=r"predict: .*Use predict\(\.\.\., trace=False\)"):
        evaluation.predict(step(), states, trace=True)
    assert predicted(step(), states)[0].shape == (2, LONG, 1, 8)


def test_an_error_of_the_step_is_told_as_it_is():
    class Wrong(nn.Module):
        def forward(self, u):
            return u @ torch.ones(3, 3)

    with pytest.raises(RuntimeError, match="mat|size") as error:
        evaluation.predict(Wrong(), torch.randn(2, 60, 1, 8), trace=True)
    assert not isinstance(error.value, TraceError)


def test_trace_is_a_flag():
    with pytest.raises(TypeError, match="predict: trace is 'yes'"):
        evaluation.predict(Random(), torch.randn(2, 60, 1, 8), trace="yes")


def test_long_roll_outs_of_the_problems_are_replayed_and_timed_ones_are_not(monkeypatch):
    asked = []
    predict = evaluation.predict
    monkeypatch.setattr(evaluation, "predict", lambda *given, **named: asked.append(named.get("trace", False))
                        or predict(*given, **named))
    ks.predict(ks.hybrid(ensemble()), ks.trajectories("inside"))
    ks.predict(ks.hybrid(ensemble()), ks.trajectories("inside").pairs(torch.arange(0, 9, 3)))
    step = coarse_burgers.hybrid(Ensemble([coarse_burgers.network(0)]))
    coarse_burgers.predict(step, coarse_burgers.trajectories("inside"))
    assert asked == [True, False, False]
