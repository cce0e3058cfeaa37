"""The checks of chapter 07_noise accept right answers, and say what is wrong with others."""

import math

import pytest
import torch

from dpbook_course.exercises.noise import check_conserving, check_moved, check_walk
from dpbook_utils.coupling import Additive
from dpbook_utils.data import Windows
from dpbook_utils.losses import TrajectoryLoss, every_step, final_step
from dpbook_utils.networks import ConvResNet
from dpbook_utils.noise import GaussianNoise, Perturbed
from dpbook_utils.objectives import Objective, from_batch, from_solver
from dpbook_utils.physics.kuramoto_sivashinsky import KuramotoSivashinsky, etd1, etdrk2
from dpbook_utils.rollout import Rollout, Sequential

STEP = 0.1 / math.sqrt(5)


@pytest.mark.parametrize("answer, hint", [
    ((None, 1.0), "Replace None"), ((0.02, 0.02), "variances do"), ((0.1, 0.1), "more than sigma"),
    ((0.3, 0.3), "Which s"), ((STEP, 0.0), "carries an error"), ((STEP, 0.1), "gathered one of them")])
def test_walk_says_what_is_wrong(answer, hint):
    feedback = check_walk(*answer, sigma=0.1, num_frames=5)
    assert not feedback.right and hint in feedback.message


def test_walk_is_right():
    assert check_walk(STEP, STEP, sigma=0.1, num_frames=5).right


class ZeroMean(GaussianNoise):
    def draw(self, u):
        xi = super().draw(u)
        n = u.shape[-1]
        return (xi - xi.mean(-1, keepdim=True)) * (n / (n - 1)) ** 0.5


class Smaller(GaussianNoise):
    def draw(self, u):
        xi = super().draw(u)
        return xi - xi.mean(-1, keepdim=True)


class OverTheBatch(GaussianNoise):
    def draw(self, u):
        xi = super().draw(u)
        return xi - xi.mean(0)


class Louder(ZeroMean):
    def draw(self, u):
        return 2 * super().draw(u)


class Upwards(GaussianNoise):
    def draw(self, u):
        return super().draw(u).abs()


class Always(ZeroMean):
    def forward(self, u):
        return u + self.sigma * self.draw(u)


class Nothing(GaussianNoise):
    def draw(self, u):
        return 0 * u


class Broken(GaussianNoise):
    def draw(self, u):
        raise KeyError("an answer's own mistake")


@pytest.mark.parametrize("answer, hint", [
    (None, "Replace None"), (ZeroMean(0.1), "a subclass of GaussianNoise"), (int, "a subclass of GaussianNoise"),
    (GaussianNoise, "mean over the last axis"), (OverTheBatch, "mean over the last axis"),
    (Upwards, "mean over the last axis"), (Smaller, "sqrt(n / (n - 1))"), (Louder, "standard deviation is 1.0"),
    (Always, "in .eval() mode too"), (Nothing, "does not change the state"), (Broken, "an answer's own mistake")])
def test_conserving_says_what_is_wrong(answer, hint):
    feedback = check_conserving(answer)
    assert not feedback.right and hint in feedback.message


def test_conserving_is_right():
    assert check_conserving(ZeroMean).right


P, REFERENCE = KuramotoSivashinsky(16, 0.1, etd1), KuramotoSivashinsky(16, 0.1, etdrk2)
STATES = torch.randn(2, 6, 1, 16, generator=torch.Generator().manual_seed(0))
WINDOWS = Windows(STATES, 3, 2, seed=0, length=torch.tensor([16.0, 20.0]))
NOISY = Perturbed(WINDOWS, GaussianNoise(0.05))
NETWORK = ConvResNet(1, 1, 1, width=4, num_blocks=1, output_scale=0.5)
CHAIN = Sequential(P, Additive(NETWORK))


def objective(chain=CHAIN, num_steps=3, placement=every_step, targets=from_solver(REFERENCE)):
    return Objective(Rollout(chain, num_steps), TrajectoryLoss(placement), targets)


def broken(u0, trajectory, reference, parameters):
    raise KeyError("an answer's own mistake")


@pytest.mark.parametrize("answer, batches, hint", [
    (None, NOISY, "Replace both None"), (objective(), None, "Replace both None"), (CHAIN, NOISY, "you gave Sequential"),
    (objective(num_steps=1), NOISY, "unroll three or more"),
    (objective(Sequential(GaussianNoise(0.05), CHAIN)), WINDOWS, "Put it into the data"),
    (objective(), WINDOWS, "Wrap them in Perturbed"),
    (objective(), Perturbed(WINDOWS, GaussianNoise(0.1)), "has sigma = 0.1, asked is 0.05"),
    (objective(targets=from_batch), NOISY, "do not know of the noise"),
    (objective(placement=final_step), NOISY, "Compare every step"),
    (objective(targets=from_solver(P)), NOISY, "Compare every step"),
    (objective(targets=broken), NOISY, "an answer's own mistake")])
def test_moved_says_what_is_wrong(answer, batches, hint):
    feedback = check_moved(answer, batches, REFERENCE, 0.05)
    assert not feedback.right and hint in feedback.message


def test_moved_is_right():
    assert check_moved(objective(), NOISY, REFERENCE, 0.05).right
