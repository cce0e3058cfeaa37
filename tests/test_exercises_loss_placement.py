"""The checks of chapter 05_loss_placement accept right answers, and say what is wrong with others."""

import pytest
import torch

from dpbook_course.exercises.loss_placement import check_mended, check_reach, check_weights
from dpbook_course.studies.e06.placement import from_step_before
from dpbook_utils.coupling import Additive
from dpbook_utils.gradients import NoSolverGradient
from dpbook_utils.losses import TrajectoryLoss, every_step, final_step
from dpbook_utils.networks import ConvResNet
from dpbook_utils.objectives import Objective, from_batch, from_input
from dpbook_utils.physics.kuramoto_sivashinsky import KuramotoSivashinsky, etd1
from dpbook_utils.rollout import Rollout, Sequential

RIGHT = {"WIG": range(1, 7), "NOG": [3, 6], "TBPTT-4": [1, 2, 3, 5, 6]}


def test_reach_is_right():
    assert check_reach(RIGHT).right
    assert check_reach({name: set(steps) for name, steps in RIGHT.items()}).right


@pytest.mark.parametrize("answers, hint", [
    (None, "Replace None"),
    ({"WIG": [1]}, "one list for each of WIG, NOG, TBPTT-4"),
    ([1, 2], "one list for each"),
    ({**RIGHT, "WIG": range(1, 9)}, "application 8 comes after the last loss"),
    ({**RIGHT, "WIG": [3, 6]}, "application 1 is missing"),
    ({**RIGHT, "NOG": [6]}, "application 3 has a loss at its own step"),
    ({**RIGHT, "NOG": range(1, 7)}, "to application 1, which operators are passed"),
    ({**RIGHT, "TBPTT-4": range(1, 7)}, "application 4 has no loss after it"),
    ({**RIGHT, "TBPTT-4": [3, 6]}, "Go back from each loss until a cut"),
])
def test_reach_says_what_is_wrong(answers, hint):
    feedback = check_reach(answers)
    assert not feedback.right and hint in feedback.message


def late(num_steps):
    steps = torch.arange(1.0, num_steps + 1)
    return steps / steps.sum()


def test_weights_are_right():
    assert check_weights(late).right


def fails(num_steps):
    raise KeyError("an answer's own mistake")


@pytest.mark.parametrize("answer, hint", [
    (None, "Replace None"),
    (late(8), "a function of the roll-out's length"),
    (fails, "fails: \"an answer's own mistake\""),
    (lambda m: late(m).tolist(), "gives list"),
    (lambda m: late(8), "gives (8,)"),
    (lambda m: torch.arange(1.0, m + 1), "sum to 36"),
    (lambda m: late(m).flip(0), "later steps are to count more"),
    (lambda m: torch.arange(float(m)) / max(1, m * (m - 1) / 2), "count the steps from 1"),
    (every_step, "expected is weight k / (1 + 2 + ... + 8)"),
])
def test_weights_say_what_is_wrong(answer, hint):
    feedback = check_weights(answer)
    assert not feedback.right and hint in feedback.message


@pytest.fixture(scope="module")
def batch():
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(2, 4, 1, 16, generator=generator)
    return {"u0": states[:, 0], "reference": states[:, 1:], "length": torch.tensor([16.0, 20.0])}


SOLVER = KuramotoSivashinsky(16, 0.1, etd1)
NETWORK = ConvResNet(1, 1, 1, width=4, num_blocks=1, output_scale=0.5)
LAST = Sequential(Additive(NETWORK), SOLVER)


def objective(step=LAST, placement=final_step, targets=from_step_before, **options):
    rollout = Rollout(step, 3, **{"gradient": NoSolverGradient(), "record_after": 0, **options})
    return Objective(rollout, TrajectoryLoss(placement), targets)


def test_mended_is_right(batch):
    assert check_mended(objective(), batch).right


def from_elsewhere(u0, trajectory, reference, parameters):
    return reference[:, :1].expand_as(trajectory)


def broken(u0, trajectory, reference, parameters):
    return reference[:, :-1]


@pytest.mark.parametrize("answer, hint", [
    (None, "Replace None"),
    (LAST, "you gave Sequential"),
    (objective(Sequential(SOLVER, Additive(NETWORK))), 'Keep the order "N, then P"'),
    (objective(Additive(NETWORK)), 'Keep the order "N, then P"'),
    (Objective(Rollout(LAST, 3, record_after=0), TrajectoryLoss(final_step)), "The policy is FullGradient()"),
    (objective(placement=every_step), "at the last step only"),
    (objective(record_after=-1), "Record the state before it"),
    (objective(targets=from_batch), "Shift the target by one step"),
    (objective(targets=from_input), "not the reference of the step before"),
    (objective(targets=from_elsewhere), "which is reference[:, 1] for the last of 3"),
    (objective(targets=broken), "cannot be evaluated"),
])
def test_mended_says_what_is_wrong(answer, hint, batch):
    feedback = check_mended(answer, batch)
    assert not feedback.right and hint in feedback.message
