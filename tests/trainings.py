"""Small trainings that the tests of the training loop share."""

import torch
from torch import nn

from dpbook_utils.coupling import Additive
from dpbook_utils.data import Windows
from dpbook_utils.losses import TrajectoryLoss, every_step
from dpbook_utils.networks import ConvResNet, Ensemble
from dpbook_utils.noise import GaussianNoise
from dpbook_utils.objectives import Objective
from dpbook_utils.rollout import Rollout, Sequential
from dpbook_utils.training import fit

TRAJECTORIES = torch.randn(3, 12, 1, 8, generator=torch.Generator().manual_seed(0))
WINDOWS = Windows(TRAJECTORIES, 3, 4, seed=0)


def resnet(seed=0):
    return ConvResNet(1, 1, 1, width=4, num_blocks=1, output_scale=0.3, seed=seed)


def ensemble(num_members):
    return Ensemble([resnet(seed) for seed in range(num_members)])


def conv(seed=0):
    torch.manual_seed(seed)
    return nn.Conv1d(1, 1, 3, padding=1)


def objective_of(network, num_steps=3, sigma=0.0):
    step = Sequential(GaussianNoise(sigma), Additive(network))
    return Objective(Rollout(step, num_steps), TrajectoryLoss(every_step))


def adam(objective, lr=1e-2):
    return torch.optim.Adam(objective.parameters(), lr=lr)


def train(checkpoint=None, *, num_updates=30, seed=0, sigma=0.1, lr=1e-2, gamma=0.99, batches=WINDOWS, objective=None,
          **options):
    """One noisy training with a schedule: (objective, history)."""
    objective = objective_of(conv(seed), sigma=sigma) if objective is None else objective
    optimizer = adam(objective, lr)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma)
    torch.manual_seed(seed)
    options = {"clip_norm": 1.0, "checkpoint_every": 10, "progress": False, **options}
    history = fit(objective, batches, optimizer, num_updates=num_updates, schedule=schedule, checkpoint=checkpoint,
                  **options)
    return objective, history


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def same_history(a, b):
    names = ("losses", "gradient_norms", "learning_rates", "num_steps", "diverged_at")
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in names)


class Stream:
    """Iterable, not indexable."""

    def __init__(self, length):
        self.length = length

    def __iter__(self):
        return (WINDOWS[k] for k in range(self.length))
