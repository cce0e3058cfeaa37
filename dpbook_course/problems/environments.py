"""The control problem as others see it: a ``gymnasium`` environment, and many of them as one for stable-baselines3.

    observation (3, x): u [m/s], target [m/s], time of 0 ... 1;   action (x,): commands of -1 ... 1
    reward of a step: minus its part of the cost; the squared error at the end of the episode

Both libraries are optional, and this module needs them when it is imported.   Chapter: 12_control.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from dpbook_utils import arguments

from .control import BurgersControl, Instances

try:
    import gymnasium
    from stable_baselines3.common.vec_env import VecEnv
except ImportError as error:
    raise ImportError(f"the environments of the control problem need {error.name}, which is not installed; install it "
                      "by: pip install stable-baselines3 (gymnasium comes with it)", name=error.name) from error


class Unstable(RuntimeError):
    """The simulation has left the range in which an episode goes on."""


class Step(NamedTuple):
    """What a step of several episodes at once gives; ``ended`` holds for all of them."""

    state: Tensor
    rewards: np.ndarray
    ended: bool


class Episodes:
    """So many episodes side by side: all begin and end together. What both environments are made of.

    Args:
        problem: whose plant it is.
        instances: from which every episode draws one.
        num_episodes: at a time.   weight: of the force.   actuator: by default the proportional one.

    Raises: ValueError for actions of another shape, outside -1 ... 1 or not finite; RuntimeError for a step without a
        ``reset`` before it, or after the end; ``Unstable`` for velocities above ``problem.largest`` or none at all.
    """

    def __init__(self, problem: BurgersControl, instances: Instances, num_episodes: int, weight: float,
                 actuator: nn.Module | None = None):
        if not isinstance(problem, BurgersControl):
            raise arguments.refusal("Episodes", "problem", problem, "a problem, such as burgers_control")
        if not isinstance(instances, Instances):
            raise arguments.refusal("Episodes", "instances", instances, "what problem.instances('train', seed) gives")
        if arguments.is_number(weight) and weight < 0:
            raise arguments.refusal("Episodes", "weight", weight, "a number of at least 0", ValueError)
        self.problem, self.instances, self.weight = problem, instances, arguments.number("Episodes", "weight", weight)
        self.num_episodes = arguments.whole("Episodes", "num_episodes", num_episodes)
        self.plant = problem.plant(actuator).eval()
        self.state, self.number = None, 0

    def reset(self, generator: np.random.Generator) -> Tensor:
        which = torch.from_numpy(generator.integers(len(self.instances.u0), size=self.num_episodes))
        self.state, self.number = self.instances.start()[which], 0
        return self.state

    @torch.no_grad()
    def step(self, actions: np.ndarray) -> Step:
        """Actions (episodes, x)."""
        before, num_steps = self.state, self.problem.num_steps
        if before is None or self.number == num_steps:
            raise RuntimeError("the episode has not begun; call reset() before step(action)" if before is None else
                               f"the episode has ended after its {num_steps} steps; call reset() to begin another one")
        self.state, self.number = self.plant(before, self.commands(actions)), self.number + 1
        fastest = self.state[:, 0].abs().amax().item()
        if not fastest <= self.problem.largest:
            raise Unstable(f"step {self.number} of {num_steps}: the largest velocity is {fastest:.3g} m/s, and an "
                           f"episode goes up to {self.problem.largest:g}; take a smaller dt, a solver that is stable "
                           "there, or less force")
        cost = self.weight * (self.state[:, 3] - before[:, 3]).mean(1)
        if self.number == num_steps:
            cost = cost + (self.state[:, 0] - self.state[:, 1]).square().mean(1)
        return Step(self.state, -cost.numpy() / self.problem.scale, self.number == num_steps)

    def commands(self, actions: np.ndarray) -> Tensor:
        """(episodes, x) -> (episodes, 1, x), checked."""
        if np.asarray(actions).dtype.kind not in "fiuO":
            raise arguments.refusal("the actions", "what was given", actions, "real numbers of -1 ... 1")
        expected = (self.num_episodes, self.problem.num_points)
        actions = np.asarray(actions, np.float32)
        if actions.shape != expected:
            raise ValueError(f"the actions have the shape {actions.shape}; give one command for each of the "
                             f"{self.problem.num_points} cells, {expected}")
        if not np.isfinite(actions).all():
            raise ValueError(f"{int((~np.isfinite(actions)).sum())} of {actions.size} commands are NaN or infinite; "
                             "look at the policy's weights: its training may have diverged")
        if np.abs(actions).max() > 1:
            raise ValueError(f"the commands reach from {actions.min():.3g} to {actions.max():.3g}; give commands of "
                             "-1 ... 1, which the actuator multiplies by its bound (clip them)")
        return torch.from_numpy(actions)[:, None]


def spaces(problem: BurgersControl) -> tuple[gymnasium.spaces.Box, gymnasium.spaces.Box]:
    """(observations, actions)."""
    largest = np.full((3, problem.num_points), problem.largest, np.float32)
    largest[2] = 1
    lowest = -largest
    lowest[2] = 0
    return gymnasium.spaces.Box(lowest, largest), gymnasium.spaces.Box(-1, 1, (problem.num_points,), np.float32)


def seen(state: Tensor) -> np.ndarray:
    """What a policy sees of the states (episodes, 4, x): (episodes, 3, x)."""
    observation = state[:, :3].numpy().copy()
    observation[:, 2] = observation[:, 2].clip(0, 1)  # a sum of 32 parts of 1 / 32, rounded
    return observation


class BurgersEnv(gymnasium.Env):
    """One episode at a time, as ``gymnasium`` has it.

    Args:
        weight: of the force.   seed: of the training instances.   problem, actuator: as in ``Episodes``.
    """

    metadata = {"render_modes": []}

    def __init__(self, problem: BurgersControl, weight: float = 0.01, actuator: nn.Module | None = None, seed: int = 0):
        if not isinstance(problem, BurgersControl):
            raise arguments.refusal("BurgersEnv", "problem", problem, "a problem, such as burgers_control")
        self.episodes = Episodes(problem, problem.instances("train", seed), 1, weight, actuator)
        self.observation_space, self.action_space = spaces(problem)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        return seen(self.episodes.reset(self.np_random))[0], {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        if isinstance(action, Tensor) and action.requires_grad:
            raise arguments.refusal("BurgersEnv", "action", action, "numbers without a gradient, action.detach()")
        found = self.episodes.step(np.asarray(action)[None])
        return seen(found.state)[0], float(found.rewards[0]), found.ended, False, {}


class ManyEpisodes(VecEnv):
    """Many episodes as stable-baselines3 has them; when they end, all begin anew.

    Args: as in ``Episodes``.   seed: of what is drawn.
    """

    def __init__(self, problem: BurgersControl, instances: Instances, num_episodes: int, weight: float,
                 actuator: nn.Module | None = None, seed: int = 0):
        self.episodes = Episodes(problem, instances, num_episodes, weight, actuator)
        self.generator, self.actions = np.random.default_rng(seed), None
        super().__init__(num_episodes, *spaces(problem))

    def reset(self) -> np.ndarray:
        return seen(self.episodes.reset(self.generator))

    def step_async(self, actions: np.ndarray) -> None:
        self.actions = actions

    def step_wait(self) -> tuple:
        state, rewards, ended = self.episodes.step(self.actions)
        observations, infos = seen(state), [{} for _ in range(self.num_envs)]
        if ended:
            infos = [{"terminal_observation": last, "TimeLimit.truncated": False} for last in observations]
            observations = self.reset()
        return observations, rewards, np.full(self.num_envs, ended), infos

    def close(self) -> None:
        pass

    def get_attr(self, attr_name: str, indices=None) -> list:
        return [getattr(self.episodes, attr_name, None)] * len(self._get_indices(indices))

    def set_attr(self, attr_name: str, value, indices=None) -> None:
        raise NotImplementedError("the episodes are set up when they are built; build other ones")

    def env_method(self, method_name: str, *method_args, indices=None, **method_kwargs) -> list:
        raise NotImplementedError("the episodes are stepped together; use reset and step")

    def env_is_wrapped(self, wrapper_class, indices=None) -> list[bool]:
        return [False] * len(self._get_indices(indices))
