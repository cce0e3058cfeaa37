"""PPO and SAC of stable-baselines3 on the control problem, with the very network that differentiable physics trains.

    a = tanh(N(observation)) + noise (PPO);   a = tanh(N(observation) + noise) (SAC);   at test a = tanh(N(observation))

What learns beside N is the library's: a value function (PPO), two critics (SAC), all perceptrons. The library is
optional, and this module needs it when it is imported.   Chapter: 12_control.

Source: schulman2017, haarnoja2018, raffin2021.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ...problems import environments  # first: it says what is missing
from ...problems.control import BurgersControl

# isort: split
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.sac.policies import SACPolicy

VALUE_WIDTH = 64


class Commands(nn.Module):
    """(batch, 3 x) -> (batch, x): the network on flat observations; ``squash`` says whether tanh follows here."""

    def __init__(self, network: nn.Module, squash: bool):
        super().__init__()
        self.network, self.squash = network, squash

    def forward(self, seen: Tensor) -> Tensor:
        found = self.network(seen.unflatten(1, (3, -1)))[:, 0]
        return torch.tanh(found) if self.squash else found


class Heads(nn.Module):
    """What ``ActorCriticPolicy`` calls its extractor: commands, and what the value is a linear function of."""

    def __init__(self, network: nn.Module, num_points: int):
        super().__init__()
        self.latent_dim_pi, self.latent_dim_vf = num_points, VALUE_WIDTH
        self.commands = Commands(network, squash=True)
        self.value = nn.Sequential(nn.Linear(3 * num_points, VALUE_WIDTH), nn.Tanh(),
                                   nn.Linear(VALUE_WIDTH, VALUE_WIDTH), nn.Tanh())

    def forward(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        return self.commands(seen), self.value(seen)

    def forward_actor(self, seen: Tensor) -> Tensor:
        return self.commands(seen)

    def forward_critic(self, seen: Tensor) -> Tensor:
        return self.value(seen)


class PPOPolicy(ActorCriticPolicy):
    """The mean of the actions is what the network commands."""

    def __init__(self, *given, network: nn.Module, **named):
        self.given_network = [network]  # in a list, so that it is no module before nn.Module.__init__
        super().__init__(*given, **named)

    def _build_mlp_extractor(self) -> None:
        self.mlp_extractor = Heads(self.given_network[0], self.action_space.shape[0])

    def _build(self, lr_schedule: Callable) -> None:
        super()._build(lr_schedule)
        self.action_net = nn.Identity()
        self.optimizer = self.optimizer_class(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)


class Spread(nn.Module):
    """log of the standard deviation of the actions: one number for each cell, whatever is observed."""

    def __init__(self, num_points: int, initial: float):
        super().__init__()
        self.value = nn.Parameter(torch.full((num_points,), initial))

    def forward(self, commands: Tensor) -> Tensor:
        return self.value.expand_as(commands)


class SACActor(SACPolicy):
    """The mean before tanh is what the network gives."""

    def __init__(self, *given, network: nn.Module, log_std: float, **named):
        self.given_network, self.log_std = [network], log_std
        super().__init__(*given, **named)

    def make_actor(self, features_extractor=None):
        actor = super().make_actor(features_extractor)
        actor.latent_pi, actor.mu = Commands(self.given_network[0], squash=False), nn.Identity()
        actor.log_std = Spread(self.action_space.shape[0], self.log_std)
        return actor.to(self.device)


class Looking(BaseCallback):
    """Looks before every update, and at the end."""

    def __init__(self, steps_per_update: int, looks):
        super().__init__()
        self.steps_per_update, self.looks = steps_per_update, looks

    def _on_rollout_start(self) -> None:
        self.looks.at(self.num_timesteps // self.steps_per_update)

    def _on_training_end(self) -> None:
        self._on_rollout_start()

    def _on_step(self) -> bool:
        return True


def ppo(problem: BurgersControl, episodes: environments.ManyEpisodes, network: nn.Module, rate: float, seed: int,
        log_std: float, **settings) -> PPO:
    """A PPO agent whose actor is the network. A roll-out is one episode of each environment."""
    options = {"network": network, "log_std_init": log_std, "ortho_init": False}
    return PPO(PPOPolicy, episodes, learning_rate=rate, n_steps=problem.num_steps, gamma=1.0, seed=seed, device="cpu",
               policy_kwargs=options, **settings)


def sac(problem: BurgersControl, episodes: environments.ManyEpisodes, network: nn.Module, rate: float, seed: int,
        log_std: float, **settings) -> SAC:
    """A SAC agent whose actor is the network."""
    options = {"network": network, "log_std": log_std, "net_arch": [VALUE_WIDTH, VALUE_WIDTH]}
    return SAC(SACActor, episodes, learning_rate=rate, gamma=1.0, seed=seed, device="cpu", policy_kwargs=options,
               **settings)


def trained(agent: Callable, problem: BurgersControl, row, seed: int, budget: int, network: nn.Module, looks
            ) -> Tensor:
    """Train the network of a seed; (1,): the update at which that diverged, or -1. A diverged policy does nothing."""
    per_update, diverged_at = row.steps_per_update(problem), -1
    episodes = environments.ManyEpisodes(problem, problem.instances("train", seed), row.setup.batch_size, row.weight,
                                         row.actuator, seed)
    learner = agent(problem, episodes, network, row.setup.learning_rate, seed, **row.options)
    try:
        learner.learn(budget * per_update, callback=Looking(per_update, looks))
    except (ValueError, environments.Unstable):  # NaN in a distribution or in an action
        diverged_at = learner.num_timesteps // per_update
        with torch.no_grad():
            for w in network.parameters():
                w.zero_()
    return torch.tensor([diverged_at])
