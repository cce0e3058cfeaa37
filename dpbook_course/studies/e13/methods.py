"""How E13 finds a policy: through the solver, by evolution strategies, by agents of a library, or for one instance.

Each method trains networks in place, and is looked at on the way; the time of the looks is no part of its own.
Chapter: 12_control.

Source: salimans2017 (evolution strategies), schulman2017 (PPO), haarnoja2018 (SAC).
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from dpbook_utils.networks import Ensemble
from dpbook_utils.setups import Setup, train

from ...problems.control import BurgersControl, Instances

SAMPLES, SIGMA = 8, 0.05  # of evolution strategies: pairs of weights, and how far they are apart
PPO = {"log_std": -1.0, "batch_size": 1024, "n_epochs": 4, "gae_lambda": 0.95}
SAC = {"log_std": -1.0, "batch_size": 128, "learning_starts": 2048, "buffer_size": 100_000, "train_freq": 1,
       "gradient_steps": 1}
OPEN_LOOP = 60  # iterations of L-BFGS


@dataclass(frozen=True)
class Row:
    """A method and what it is applied to.

    Attributes:
        method: one of the functions below: ``method(problem, row, seeds, budget, look)``.
        setup: its learning rate, and as ``batch_size`` the episodes that it runs side by side for each policy.
        weight: of the mean squared force.
        actuator: in training and at test.
        policies: of which each runs these episodes in an update: more than one with evolution strategies.
    """

    method: Callable
    setup: Setup
    weight: float
    actuator: nn.Module
    policies: int = 1

    def steps_per_update(self, problem: BurgersControl) -> int:
        """Of the solver, forward. An update of SAC is one step of all its episodes, of the others an episode."""
        steps = 1 if self.method is soft_actor_critic else problem.num_steps
        return self.policies * self.setup.batch_size * steps

    @property
    def trains_together(self) -> bool:
        """All seeds at once, or one after the other."""
        return self.method not in (policy_gradient, soft_actor_critic)

    def updates_for(self, problem: BurgersControl, steps: int) -> int:
        """Updates with so many steps of the solver, forward."""
        return max(1, steps // self.steps_per_update(problem))


@dataclass(frozen=True)
class Agent(Row):
    """An agent of the library.

    Attributes:
        options: of the library, but for those that the row states.
    """

    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Looks:
    """Looks at policies during a training, and the clock that leaves them out.

    Attributes:
        numbers: updates before which to look; the last one is the end.   look: ``look(update)``.
    """

    numbers: Sequence[int]
    look: Callable[[int], None]
    seconds: float = 0.0
    started: float = field(default_factory=time.perf_counter)

    def at(self, update: int) -> None:
        start = time.perf_counter()
        if update in self.numbers:
            self.look(update)
        self.seconds += time.perf_counter() - start

    def training(self) -> float:
        """Seconds since the beginning, without the looks."""
        return time.perf_counter() - self.started - self.seconds


class _Looked:
    """Batches of which the k-th one is drawn after the look before update k."""

    def __init__(self, batches, looks: Looks):
        self.batches, self.looks = batches, looks

    def __getitem__(self, k: int) -> dict[str, Tensor]:
        self.looks.at(k)
        return self.batches[k]


# Trainings -----------------------------------------------------------------------------------------------------------

def differentiable(problem: BurgersControl, row: Row, seeds: Sequence[int], budget: int, networks: Ensemble,
                   looks: Looks) -> Tensor:
    """Differentiable physics: the gradient of an episode's cost, through all of its steps; all seeds together."""
    objective = problem.objective(networks, row.weight, row.actuator)
    batches = problem.batches(seeds, row.setup.batch_size)
    history = train(row.setup, objective, _Looked(batches, looks), budget, noise_seed=seeds[0])
    looks.at(budget)
    return history.diverged_at


def evolution(problem: BurgersControl, row: Row, seeds: Sequence[int], budget: int, networks: Ensemble,
              looks: Looks) -> Tensor:
    """Evolution strategies: the cost of weights that are moved at random, and back by as much; Adam on the estimate."""
    num, members = len(seeds), row.policies  # weights of a seed, and of its moved copies
    population = Ensemble([problem.network(seed) for seed in seeds for _ in range(members)]).requires_grad_(False)
    objective = problem.objective(population, row.weight, row.actuator).eval()
    weights, moved = list(networks.parameters()), list(population.parameters())
    optimizer = torch.optim.Adam(weights, row.setup.learning_rate)
    batches, generator = problem.batches(seeds, row.setup.batch_size), torch.Generator().manual_seed(seeds[0])
    for k in range(budget):
        looks.at(k)
        half = [torch.randn(num, members // 2, *w.shape[1:], generator=generator) for w in weights]
        moves = [torch.cat([e, -e], 1) for e in half]
        for w, e, many in zip(weights, moves, moved):
            many.copy_((w.detach()[:, None] + SIGMA * e).flatten(0, 1))
        u0 = batches[k]["u0"].unflatten(0, (num, 1, -1)).expand(num, members, *[-1] * 3).flatten(0, 2)
        with torch.no_grad():
            cost = objective.per_member(u0).view(num, members)
        cost = (cost - cost.mean(1, keepdim=True)) / (cost.std(1, keepdim=True) + 1e-8)
        for w, e in zip(weights, moves):
            w.grad = torch.einsum("sm,sm...->s...", cost, e) / (members * SIGMA)
        optimizer.step()
    looks.at(budget)
    return torch.full((num,), -1)


def policy_gradient(problem: BurgersControl, row: Agent, seeds: Sequence[int], budget: int, networks: Ensemble,
                    looks: Looks) -> Tensor:
    """PPO, one seed: an update is an episode of all environments, and the library's epochs on it."""
    from . import agents

    return agents.trained(agents.ppo, problem, row, seeds[0], budget, networks, looks)


def soft_actor_critic(problem: BurgersControl, row: Agent, seeds: Sequence[int], budget: int, networks: Ensemble,
                      looks: Looks) -> Tensor:
    """SAC, one seed: an update is a step of all environments, and one of the library's."""
    from . import agents

    return agents.trained(agents.sac, problem, row, seeds[0], budget, networks, looks)


# The optimum of one instance -----------------------------------------------------------------------------------------

class Playing(nn.Module):
    """A policy that plays commands, whatever it sees.

    Shapes: commands (time, instances, 1, x), before tanh.
    """

    def __init__(self, commands: Tensor):
        super().__init__()
        self.commands = nn.Parameter(commands)

    def forward(self, seen: Tensor) -> Tensor:
        return self.commands[round(seen[0, 2, 0].item() * len(self.commands))]


def open_loop(problem: BurgersControl, instances: Instances, weight: float, iterations: int = OPEN_LOOP
              ) -> tuple[Playing, int]:
    """(the best commands that L-BFGS finds for each instance, solver steps forward that each of them took)."""
    policy = Playing(torch.zeros(problem.num_steps, *instances.u0.shape))
    objective, start = problem.objective(policy, weight), instances.start()
    optimizer = torch.optim.LBFGS(policy.parameters(), max_iter=iterations, history_size=20,
                                  line_search_fn="strong_wolfe")
    evaluations = 0

    def closure() -> Tensor:
        nonlocal evaluations
        evaluations += 1
        optimizer.zero_grad()
        loss = len(start) * objective(start)  # of the sum: each instance has its own commands
        loss.backward()
        return loss

    optimizer.step(closure)
    return policy.requires_grad_(False), evaluations * problem.num_steps
