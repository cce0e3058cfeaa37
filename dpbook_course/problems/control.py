"""Burgers' equation as something to be controlled, ``burgers_control``.   Chapter: 12_control."""

import functools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from dpbook_utils import arguments
from dpbook_utils.calls import Explained
from dpbook_utils.data import simulate
from dpbook_utils.losses import TrajectoryLoss, final_step
from dpbook_utils.networks import ConvResNet, Ensemble
from dpbook_utils.objectives import Objective, from_input
from dpbook_utils.physics.advection import semi_lagrangian
from dpbook_utils.physics.burgers import Burgers
from dpbook_utils.physics.limited import limited
from dpbook_utils.physics.trace import TracedSolver
from dpbook_utils.rollout import Rollout, in_mode, repeat

from .actuators import Proportional, Relay

STATE = ("u", "target", "time", "effort")  # channels; a policy sees the first three
SETS = ("train", "validation", "test")


class Instances(NamedTuple):
    """Where to begin and where to end: ``u0`` and ``target``, each (instances, 1, x) [m/s]."""

    u0: Tensor
    target: Tensor

    def start(self) -> Tensor:
        """(instances, 4, x): the states at time zero."""
        zero = torch.zeros_like(self.u0)
        return torch.cat([self.u0, self.target, zero, zero], 1)


class Plant(Explained, nn.Module):
    """What is controlled: a state and a command for every cell to the state a step later.

        u_next = P(u; force),   force = actuator(command),   effort_next = effort + mean_x(force^2) / num_steps

    Args:
        solver: operator ``(u, viscosity, force) -> u_next``.   actuator: from commands to forces.
        viscosity: [m^2/s], of all instances.   num_steps: of an episode; ``time`` counts them from 0 to 1.

    Shapes: state (batch, 4, x) with the channels u, target, time, effort; command (batch, 1, x) -> (batch, 4, x).
    """

    def __init__(self, solver: nn.Module, actuator: nn.Module, viscosity: float, num_steps: int):
        super().__init__()
        if not callable(actuator) or isinstance(actuator, type):
            raise arguments.refusal("Plant", "actuator", actuator, "what makes a force of a command, Proportional(2.0)")
        self.solver, self.actuator = solver, actuator
        self.viscosity, self.num_steps = viscosity, num_steps

    def forward(self, state: Tensor, command: Tensor) -> Tensor:
        u, target, time, effort = state.split(1, 1)
        force = self.actuator(command)
        u_next = self.solver(u, viscosity=self.viscosity, force=force)
        used = force.square().mean(2, keepdim=True) / self.num_steps
        return torch.cat([u_next, target, time + 1 / self.num_steps, effort + used], 1)


class Controlled(Explained, nn.Module):
    """A step of the plant under a policy, ``state -> state``: what a ``Rollout`` repeats.

    Args:
        plant: as above.   policy: network (batch, 3, x) -> (batch, 1, x); tanh makes commands of its output.
        sensor_noise: standard deviation of what the policy sees of u [m/s]; torch's random numbers.
    """

    def __init__(self, plant: Plant, policy: nn.Module, sensor_noise: float = 0.0):
        super().__init__()
        if not callable(policy) or isinstance(policy, type):
            raise arguments.refusal("Controlled", "policy", policy, "a network (batch, 3, x) -> (batch, 1, x)")
        self.plant, self.policy, self.sensor_noise = plant, policy, sensor_noise

    def command(self, state: Tensor) -> Tensor:
        """(batch, 1, x), between -1 and 1."""
        seen = state[:, :3]
        if self.sensor_noise:
            seen = torch.cat([seen[:, :1] + self.sensor_noise * torch.randn_like(seen[:, :1]), seen[:, 1:]], 1)
        return torch.tanh(self.policy(seen))

    def forward(self, state: Tensor) -> Tensor:
        return self.plant(state, self.command(state))


class Nothing(nn.Module):
    """The policy that does nothing."""

    def forward(self, seen: Tensor) -> Tensor:
        return torch.zeros_like(seen[:, :1])


class ControlLoss:
    """``|u - target|^2 + weight * effort``, means over space, divided by ``scale``: a metric of ``TrajectoryLoss``.

    Args:
        weight: of the mean squared force, [s^4] as velocities are in m/s.
        scale: so that doing nothing costs about 1 [m^2/s^2].
    """

    def __init__(self, weight: float, scale: float):
        if not arguments.is_number(weight) or not 0 <= weight < float("inf"):
            raise arguments.refusal("ControlLoss", "weight", weight, "a number of at least 0", ValueError)
        self.weight, self.scale = weight, scale

    def __call__(self, trajectory: Tensor, reference: Tensor) -> Tensor:
        distance = (trajectory[:, :, 0] - reference[:, :, 1]).square().mean(2)
        return (distance + self.weight * trajectory[:, :, 3].mean(2)) / self.scale

    def __repr__(self) -> str:
        return f"ControlLoss(weight={self.weight}, scale={self.scale})"


@dataclass(frozen=True)
class BurgersControl:
    r"""Lead a state of Burgers' equation to a target, with little force: the problem of E13.

        u_t + (u^2 / 2)_x = nu u_xx + f,   |f| <= bound,   minimise  mean_x (u(T) - target)^2 + weight mean_{x,t} f^2

    on 32 cells of a periodic domain of 1 m, in 32 steps of 0.03 s, semi-Lagrangian as Courant numbers reach 3. An
    initial state is two Gaussians, the left one moving to the right and the right one to the left. A target is the
    state that another such state under a constant Gaussian force would have at the end: it is within reach, and that
    force is one way and not the best one. Nothing is added at the end: what a policy misses is its error.

    Every seed has instances of its own: 1,024 to train with and 64 each for validation and test. Tested as trained,
    and with three times the viscosity, with noise on what the policy sees, and with a solver at run time that is finer.

    Source: holl2020control (the task; here without its correction at the end).   Chapter: 12_control.
    """

    num_points: int = 32
    length: float = 1.0
    dt: float = 0.03
    num_steps: int = 32
    viscosity: float = 0.003
    bound: float = 2.0
    threshold: float = 0.3
    largest: float = 10.0
    num_train: int = 1024
    num_test: int = 64
    data_seed: int = 13_000
    width: int = 12
    num_blocks: int = 2
    kernel_size: int = 5
    output_scale: float = 0.1
    scale: float = 0.25
    other_viscosity: float = 0.009
    sensor_noise: float = 0.05
    finer_substeps: int = 16

    def __post_init__(self):
        for name in ("num_points", "num_steps", "num_train", "num_test"):
            arguments.whole("BurgersControl", name, getattr(self, name))
        for name in ("length", "dt", "viscosity", "bound", "largest", "scale"):
            arguments.positive("BurgersControl", name, getattr(self, name))

    @property
    def settings(self) -> dict:
        """As a specification states them."""
        return asdict(self)

    @property
    def regions(self) -> tuple[str, ...]:
        return "as trained", "other viscosity", "noisy sensors", "finer solver"

    @property
    def metrics(self) -> dict[str, str]:
        """What ``judge`` finds: ``{name.region: text}``."""
        measures = {"cost": "squared error + weight * squared force, divided by that of doing nothing",
                    "error": "root mean square of u(T) - target / root mean square of the target",
                    "force": "root mean square of the force [m/s^2]"}
        return {f"{name}.{region}": f"{text}; {region}" for region in self.regions for name, text in measures.items()}

    @functools.cache
    def solver(self) -> TracedSolver:
        """P."""
        return TracedSolver(Burgers(self.num_points, self.length, self.dt, semi_lagrangian))

    @functools.cache
    def finer_solver(self) -> nn.Module:
        """Limited differences with sub-steps, for the time of one step."""
        substep = Burgers(self.num_points, self.length, self.dt / self.finer_substeps, limited)
        return repeat(TracedSolver(substep), self.finer_substeps)

    def proportional(self) -> Proportional:
        return Proportional(self.bound)

    def relay(self) -> Relay:
        return Relay(self.bound, self.threshold)

    def plant(self, actuator: nn.Module | None = None, region: str = "as trained") -> Plant:
        """With the proportional actuator by default."""
        if region not in self.regions:
            raise ValueError(f"BurgersControl: region is {region!r}; choose one of {', '.join(self.regions)}")
        solver = self.finer_solver() if region == "finer solver" else self.solver()
        viscosity = self.other_viscosity if region == "other viscosity" else self.viscosity
        return Plant(solver, actuator or self.proportional(), viscosity, self.num_steps)

    @functools.cache
    def instances(self, name: str, seed: int) -> Instances:
        """Those of a seed: ``train``, ``validation`` or ``test``."""
        if name not in SETS or not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
            raise ValueError(f"BurgersControl: no instances {name!r} of seed {seed!r}; give one of {', '.join(SETS)}, "
                             "and an int of at least 0")
        number = self.num_train if name == "train" else self.num_test
        generator = torch.Generator().manual_seed(self.data_seed + len(SETS) * seed + SETS.index(name))
        x = (torch.arange(self.num_points) + 0.5) / self.num_points

        def bump(places, sizes, widths):
            place, size, width = (low + (high - low) * torch.rand(number, 1, 1, generator=generator)
                                  for low, high in (places, sizes, widths))
            return size * torch.exp(-((x - place) / width).square() / 2)

        u0 = bump((0.2, 0.4), (0, 3), (0.05, 0.15)) + bump((0.6, 0.8), (-3, 0), (0.05, 0.15))
        force = bump((0.4, 0.6), (-0.8 * self.bound, 0.8 * self.bound), (0.1, 0.4))
        states = simulate(self.solver(), u0, self.num_steps, viscosity=self.viscosity, force=force)
        return Instances(u0, states[:, -1])

    def batches(self, seeds: Sequence[int], batch_size: int) -> "Batches":
        """Batches of training instances, one group for each seed."""
        return Batches([self.instances("train", seed) for seed in seeds], seeds, batch_size)

    def network(self, seed: int) -> ConvResNet:
        """About 3,000 weights: u, target and time to what becomes a command for each cell, ten cells around."""
        return ConvResNet(1, 3, 1, width=self.width, num_blocks=self.num_blocks, kernel_size=self.kernel_size,
                          output_scale=self.output_scale, seed=seed)

    def ensemble(self, seeds: Sequence[int]) -> Ensemble:
        return Ensemble([self.network(seed) for seed in seeds])

    def objective(self, policy: nn.Module, weight: float, actuator: nn.Module | None = None) -> Objective:
        """The expected cost of a policy: an episode is a roll-out, the loss sits at its end."""
        rollout = Rollout(Controlled(self.plant(actuator), policy), self.num_steps)
        return Objective(rollout, TrajectoryLoss(final_step, ControlLoss(weight, self.scale)), from_input)

    @torch.no_grad()
    def episode(self, policy: nn.Module, instances: Instances, actuator: nn.Module | None = None,
                region: str = "as trained") -> Tensor:
        """(instances, time, 4, x): the states of an episode, the initial one first."""
        if not isinstance(instances, Instances):
            raise arguments.refusal("BurgersControl", "instances", instances, "what .instances(name, seed) gives")
        noise = self.sensor_noise if region == "noisy sensors" else 0.0
        step = Controlled(self.plant(actuator, region), policy, noise)
        with in_mode(step, training=False), torch.random.fork_rng([]):
            torch.manual_seed(self.data_seed)
            return simulate(step, instances.start(), self.num_steps)

    def judge(self, policy: nn.Module, seeds: Sequence[int], weight: float, actuator: nn.Module | None = None,
              name: str = "test", regions: Sequence[str] | None = None) -> dict[str, Tensor]:
        """The ``metrics``, one entry per seed; the policy has a member for each of them, or is the same for all."""
        if not isinstance(seeds, Sequence | range) or isinstance(seeds, str) or not seeds:
            raise arguments.refusal("BurgersControl", "seeds", seeds, "a list of seeds, such as [0, 1]")
        measures = {}
        for region in regions or self.regions:
            last = self.ends(policy, name, tuple(seeds), actuator, region)
            target, error = last[:, :, 1].square().mean((1, 2)), missed(last)
            effort, nothing = last[:, :, 3].mean((1, 2)), self.missed_by_nothing(name, tuple(seeds), region)
            measures |= {f"cost.{region}": (error + weight * effort) / nothing,
                         f"error.{region}": (error / target).sqrt(), f"force.{region}": effort.sqrt()}
        return measures

    def ends(self, policy: nn.Module, name: str, seeds: tuple[int, ...], actuator: nn.Module | None, region: str
             ) -> Tensor:
        """(seeds, instances, 4, x): the last states of the episodes from all instances of a set, in float64."""
        found = [self.instances(name, seed) for seed in seeds]
        together = Instances(*(torch.cat(parts) for parts in zip(*found)))
        return self.episode(policy, together, actuator, region)[:, -1].double().unflatten(0, (len(seeds), -1))

    @functools.cache
    def missed_by_nothing(self, name: str, seeds: tuple[int, ...], region: str) -> Tensor:
        """(seeds,): what doing nothing costs."""
        return missed(self.ends(Nothing(), name, seeds, None, region))


def missed(last: Tensor) -> Tensor:
    """(seeds, instances, 4, x) -> (seeds,): mean squared distance of u from the target."""
    return (last[:, :, 0] - last[:, :, 1]).square().mean((1, 2))


class Batches:
    """Batches of instances for ``fit``: batch k is a function of the seeds and k alone, as with ``Windows``."""

    def __init__(self, instances: Sequence[Instances], seeds: Sequence[int], batch_size: int):
        self.states, self.seeds, self.batch_size = [one.start() for one in instances], tuple(seeds), batch_size

    def __getitem__(self, k: int) -> dict[str, Tensor]:
        drawn = [np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 2, k])).integers(
            len(states), size=self.batch_size) for seed, states in zip(self.seeds, self.states)]
        return {"u0": torch.cat([states[torch.from_numpy(which)] for which, states in zip(drawn, self.states)])}


burgers_control = BurgersControl()
