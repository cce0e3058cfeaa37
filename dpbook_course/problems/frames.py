"""A hybrid whose network sees a history of states, for the random walk of noise over it.   Chapter: 07_noise.

The problem is ``ks_history``; its state is three states in the channels, oldest first.
A step appends what P makes of the newest, and N, which sees them all, corrects that; the oldest is dropped:

    (u_{k-2}, u_{k-1}, u_k)  ->  (u_{k-2}, u_{k-1}, u_k, P(u_k))  ->  (u_{k-1}, u_k, P(u_k) + N(all four))

Source: sanchez2020.
"""

import torch
from torch import Tensor, nn

from dpbook_utils.coupling import Coupling
from dpbook_utils.losses import mse
from dpbook_utils.networks import ConvResNet
from dpbook_utils.physics.solver import Solver
from dpbook_utils.rollout import Sequential

from .data_sets import cached_per_set
from .ks import KuramotoSivashinskyProblem, kuramoto_sivashinsky
from .problem import Trajectories

NUM_FRAMES = 3  # states that the network sees, besides P's result


class Append(Solver):
    """The solver's step from the newest frame, as one more frame.

    Shapes: (batch, num_frames, points) -> (batch, num_frames + 1, points).
    Raises: what the solver raises.
    """

    def __init__(self, solver: Solver, num_frames: int):
        super().__init__(solver.dt, (num_frames, *solver.state_shape[1:]))
        self.solver, self.required = solver, solver.required

    @property
    def result_shape(self) -> tuple[int, ...]:
        return self.state_shape[0] + 1, *self.state_shape[1:]

    def check_parameters(self, **parameters: Tensor) -> None:
        self.solver.check_parameters(**parameters)

    def check_state(self, u: Tensor, **parameters: Tensor) -> None:
        self.solver.check_state(u[:, -1:], **parameters)

    def step(self, u: Tensor, **parameters: Tensor) -> Tensor:
        return torch.cat([u, self.solver(u[:, -1:], **parameters)], 1)


class CorrectNewest(Coupling):
    """``(u_1, ..., u_h, u_{h+1}) -> (u_2, ..., u_h, u_{h+1} + N(all))``."""

    def couple(self, u: Tensor, output: Tensor, **parameters: Tensor) -> Tensor:
        return torch.cat([u[:, 1:-1], u[:, -1:] + output], 1)


def newest_mse(trajectory: Tensor, reference: Tensor) -> Tensor:
    """Mean squared error of the newest frame: the older ones are inputs, and their noise no error of the step."""
    return mse(trajectory[:, :, -1:], reference[:, :, -1:])


class KSHistory(KuramotoSivashinskyProblem):
    """The problem of ``kuramoto_sivashinsky``, and a state of three states in the channels, oldest first.

    Chapter: 07_noise.
    """

    def network(self, seed: int, width: int, num_blocks: int) -> ConvResNet:
        return ConvResNet(1, NUM_FRAMES + 1, 1, width=width, num_blocks=num_blocks, seed=seed,
                          conditions={"length": self.condition}, output_scale=self.output_scale)

    def hybrid(self, networks: nn.Module) -> Sequential:
        """P on the newest state, then N on all."""
        return Sequential(Append(self.coarse_solver(), NUM_FRAMES), CorrectNewest(networks))

    @cached_per_set
    def trajectories(self, name: str) -> Trajectories:
        """Those of ``kuramoto_sivashinsky``, each state with those before it: (samples, time, NUM_FRAMES, x)."""
        states, parameters = kuramoto_sivashinsky.with_history(name, NUM_FRAMES - 1)
        num_times = states.shape[1] - NUM_FRAMES + 1
        return Trajectories(torch.cat([states[:, i:i + num_times] for i in range(NUM_FRAMES)], 2), parameters)

    def observed(self, states: Tensor) -> Tensor:
        """The newest frames."""
        return states[:, :, -1:]


ks_history = KSHistory(**kuramoto_sivashinsky.settings)
