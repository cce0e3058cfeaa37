"""Members of an ensemble train on their own, and divergence is named and does no damage."""

import pytest
import torch
from torch import nn
from trainings import TRAJECTORIES, WINDOWS, adam, conv, ensemble, objective_of, resnet, same, train

from dpbook_utils import checkpoints
from dpbook_utils.coupling import Additive, Replace
from dpbook_utils.data import Windows
from dpbook_utils.losses import TrajectoryLoss, every_step, mse, relative_l2
from dpbook_utils.networks import ConvResNet
from dpbook_utils.objectives import Objective
from dpbook_utils.rollout import Rollout
from dpbook_utils.training import Diverged, fit

# Ensembles -----------------------------------------------------------------------------------------------------------

def test_an_ensemble_equals_separate_trainings():
    def batches(**seeds):
        return Windows(TRAJECTORIES.double(), 3, 4, **seeds)

    objective = objective_of(ensemble(3).double())
    together, found = train(objective=objective, batches=batches(seeds=[5, 6, 7]), clip_norm=0.2)
    for s in range(3):
        objective = objective_of(resnet(s).double())
        alone, expected = train(objective=objective, batches=batches(seed=5 + s), clip_norm=0.2)
        for stacked, single in zip(together.parameters(), alone.parameters(), strict=True):
            assert torch.allclose(stacked[s], single[0], rtol=1e-10, atol=1e-14)
        assert torch.allclose(found.losses[:, s], expected.losses[:, 0], rtol=1e-10)
        assert torch.allclose(found.gradient_norms[:, s], expected.gradient_norms[:, 0], rtol=1e-10)
    assert (found.gradient_norms > 0.2).any() and not torch.allclose(found.losses[:, 0], found.losses[:, 1])


def test_a_member_that_diverges_leaves_the_others_alone():
    windows = Windows(TRAJECTORIES, 3, 4, seeds=[0, 0, 0])
    broken, healthy = objective_of(ensemble(3)), objective_of(ensemble(3))
    with torch.no_grad():
        broken.rollout.step[1].network.stacked.layers[-1].weight[1] *= 1e30
    before = [w[1].clone() for w in broken.parameters()]
    _, found = train(objective=broken, batches=windows)
    _, expected = train(objective=healthy, batches=windows)
    assert found.diverged_at.tolist() == [-1, 0, -1]
    assert found.losses[1:, 1].isnan().all()
    for s in (0, 2):
        assert torch.equal(found.losses[:, s], expected.losses[:, s])
        assert all(torch.equal(a[s], b[s]) for a, b in zip(broken.parameters(), healthy.parameters()))
    assert all(torch.equal(w[1], b) for w, b in zip(broken.parameters(), before))


def test_a_member_that_diverges_late_keeps_its_last_finite_weights(tmp_path):
    """Momentum and weight decay must not move it either, also after a resume."""
    poisoned = [dict(WINDOWS[k], u0=WINDOWS[k]["u0"].clone()) for k in range(12)]
    poisoned[6]["u0"][2:] = 1e38  # the states of member 1
    before, _ = train(objective=objective_of(ensemble(2)), batches=poisoned, num_updates=6)
    after, found = train(objective=objective_of(ensemble(2)), batches=poisoned, num_updates=12)
    train(tmp_path / "t.pt", objective=objective_of(ensemble(2)), batches=poisoned, num_updates=8)
    resumed, again = train(tmp_path / "t.pt", objective=objective_of(ensemble(2)), batches=poisoned, num_updates=12)
    assert found.diverged_at.tolist() == [-1, 6] and found.losses[6:, 1].isnan().sum() >= 5
    for a, b in zip(after.parameters(), before.parameters()):
        assert torch.equal(a[1], b[1]) and not torch.equal(a[0], b[0])
    assert same(after, resumed) and again.diverged_at.tolist() == [-1, 6]


def test_refuses_batches_and_weights_that_members_cannot_share():
    objective = objective_of(ensemble(3))
    with pytest.raises(ValueError, match="4 states, which 3 members cannot share"):
        train(objective=objective)
    objective.scale = nn.Parameter(torch.ones(1))
    with pytest.raises(ValueError, match="leading axis of 3 members"):
        train(objective=objective)


# Divergence ----------------------------------------------------------------------------------------------------------

class Amplify(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, u):
        return self.factor * u


@pytest.mark.parametrize("factor, first_step", [(1e15, 3), (1e25, 2), (1e30, 2)])
def test_divergence_names_the_step_at_which_the_state_stopped_being_finite(factor, first_step):
    objective = Objective(Rollout(Replace(Amplify(factor)), 4), TrajectoryLoss(every_step))
    batch = {"u0": torch.ones(2, 1, 8), "reference": torch.ones(2, 4, 1, 8)}
    message = f"update 0, unroll length 4: the state is not finite from step {first_step} .*curriculum"
    with pytest.raises(Diverged, match=message) as e:
        fit(objective, [batch], adam(objective), num_updates=5, progress=False)
    assert (e.value.update, e.value.num_steps, e.value.first_step) == (0, 4, first_step)
    assert objective.rollout.num_steps == 4 and objective.rollout.step.network.factor == factor


def test_an_overflowing_loss_is_divergence():
    objective = Objective(Rollout(Replace(Amplify(1e25)), 1), TrajectoryLoss(every_step))
    batch = {"u0": torch.ones(2, 1, 8), "reference": torch.ones(2, 1, 1, 8)}
    with pytest.raises(Diverged, match=r"stays finite \(largest value 1e\+25\), but not its loss"):
        fit(objective, [batch], adam(objective), num_updates=1, progress=False)


NAN = float("nan")
ONES = {"u0": torch.ones(2, 1, 8), "reference": torch.ones(2, 3, 1, 8)}


@pytest.mark.parametrize("trace", [False, True])
@pytest.mark.parametrize("metric, changed, message", [
    (mse, {"reference": ONES["reference"].index_fill(1, torch.tensor(1), NAN)},
     "the reference holds NaN or infinity, first in sample 0 at step 2; check the data"),
    (relative_l2, {"reference": ONES["reference"].index_fill(0, torch.tensor(1), 0)},
     "relative_l2: the reference is zero everywhere in sample 1 at step 1.* use mse"),
    (mse, {"u0": NAN * ONES["u0"]}, "initial state has 16 values that are NaN"),
    (mse, {"shift": torch.tensor([0.0, NAN])}, "parameter shift contains NaN or infinity; check where it is computed"),
])
def test_broken_data_are_no_divergence(metric, changed, message, trace):
    """No smaller learning rate mends them, so none is advised."""
    network = ConvResNet(1, 1, 1, width=4, num_blocks=1, conditions={"shift": (0.0, 1.0)})
    objective = Objective(Rollout(Additive(network), 3), TrajectoryLoss(every_step, metric))
    batch = {**ONES, "shift": torch.zeros(2), **changed}
    with pytest.raises(ValueError, match=message) as e:
        fit(objective, [batch], adam(objective), num_updates=1, trace=trace, progress=False)
    assert "learning rate" not in str(e.value) and "clip_norm" not in str(e.value)


def test_remedies_are_those_that_can_have_helped():
    """Before the first update there is no learning rate to lower; later there is."""
    objective = Objective(Rollout(Replace(Amplify(1e15)), 4), TrajectoryLoss(every_step))
    with pytest.raises(Diverged, match=r"curriculum=\{0: 1, 500: 4\}") as e:
        fit(objective, [ONES | {"reference": torch.ones(2, 4, 1, 8)}], adam(objective), num_updates=5, progress=False)
    assert "learning rate" not in str(e.value)
    objective = Objective(Rollout(Replace(Amplify(1.0)), 1), TrajectoryLoss(every_step))
    with pytest.raises(Diverged, match="update 1.*a smaller learning rate") as e:
        fit(objective, [dict(ONES, reference=2 * ONES["reference"])], adam(objective, lr=1e30), num_updates=5,
            progress=False)
    assert "curriculum" not in str(e.value), "one step cannot become fewer"
    with torch.no_grad():
        objective.rollout.step.network.factor.fill_(NAN)
    with pytest.raises(ValueError, match="factor holds NaN or infinity before the first update; build the network"):
        fit(objective, [ONES], adam(objective), num_updates=5, progress=False)


def test_a_gradient_that_is_not_finite_is_divergence():
    def metric(u, reference):  # sqrt has value 0 and an infinite slope at 0
        return (u - reference).abs().sqrt().flatten(2).mean(2)

    objective = Objective(Rollout(Replace(Amplify(1.0)), 1), TrajectoryLoss(every_step, metric))
    batch = {"u0": torch.ones(2, 1, 8), "reference": torch.ones(2, 1, 1, 8)}
    with pytest.raises(Diverged, match="but not its gradient"):
        fit(objective, [batch], adam(objective), num_updates=1, progress=False)
    assert objective.rollout.step.network.factor == 1


def test_divergence_keeps_the_last_good_weights_in_the_network_and_in_the_checkpoint(tmp_path):
    good, _ = train(num_updates=13)
    poisoned = [dict(WINDOWS[k], u0=WINDOWS[k]["u0"] * (1e38 if k == 13 else 1)) for k in range(30)]
    poisoned[13]["u0"] *= 10
    poisoned[13]["u0"] = poisoned[13]["u0"].clamp(-3e38, 3e38)
    for _ in range(2):  # the second time from the checkpoint
        objective = objective_of(conv(), sigma=0.1)
        with pytest.raises(Diverged, match="update 13") as e:
            train(tmp_path / "t.pt", objective=objective, batches=poisoned)
        assert same(objective, good) and len(e.value.history) == 13
        assert checkpoints.load(tmp_path / "t.pt")["update"] == 13
