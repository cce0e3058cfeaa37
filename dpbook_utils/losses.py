"""What a trajectory is compared with, and where along it.   Chapter: 05_loss_placement."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


def mse(u: Tensor, reference: Tensor) -> Tensor:
    """Mean squared error over channels and space: (batch, time, channels, *spatial) -> (batch, time)."""
    return (u - reference).square().flatten(2).mean(2)


def relative_l2(u: Tensor, reference: Tensor) -> Tensor:
    """``|u - reference| / |reference|`` in the L2 norm over channels and space: -> (batch, time)."""
    return (u - reference).flatten(2).norm(dim=2) / reference.flatten(2).norm(dim=2)


def every_step(num_steps: int) -> Tensor:
    """The mean over all steps."""
    return torch.full((num_steps,), 1 / num_steps, dtype=torch.float64)


def final_step(num_steps: int) -> Tensor:
    """The last step only."""
    return at_steps(num_steps)(num_steps)


def at_steps(*steps: int) -> Callable[[int], Tensor]:
    """The mean over the given steps, counted from 1."""

    def weights(num_steps: int) -> Tensor:
        if not steps or min(steps) < 1 or max(steps) > num_steps or len(set(steps)) < len(steps):
            raise ValueError(f"at_steps: steps {steps} do not lie in 1 ... {num_steps}, the steps of the roll-out, "
                             "each named once")
        result = torch.zeros(num_steps, dtype=torch.float64)
        result[torch.tensor(steps) - 1] = 1 / len(steps)
        return result

    return weights


class TrajectoryLoss(nn.Module):
    """``sum_k w_k metric(u_k, reference_k)`` with weights that sum to one.

    Args:
        weights: a placement (``every_step``, ``final_step``, ``at_steps(...)``), which follows the roll-out's
            length, or a tensor (num_steps,) with sum 1.
        metric: (batch, time, channels, *spatial) twice -> (batch, time).

    Shapes: trajectories -> (batch,), one loss per sample; ``Objective`` takes the mean.
    Raises: ValueError for weights that do not fit or do not sum to one, and for shapes that differ.
    """

    def __init__(self, weights: Callable[[int], Tensor] | Tensor, metric: Callable[[Tensor, Tensor], Tensor] = mse):
        super().__init__()
        self.weights, self.metric = weights, metric

    def forward(self, trajectory: Tensor, reference: Tensor) -> Tensor:
        if trajectory.shape != reference.shape:
            raise ValueError(f"TrajectoryLoss: the trajectory has shape {tuple(trajectory.shape)}, the reference "
                             f"{tuple(reference.shape)}; both are (batch, time, channels, *spatial)")
        return self.metric(trajectory, reference) @ self.weights_for(trajectory.shape[1]).to(trajectory)

    def weights_for(self, num_steps: int) -> Tensor:
        """(num_steps,): the weights of a roll-out of this length, checked."""
        weights = self.weights(num_steps) if callable(self.weights) else self.weights
        if weights.shape != (num_steps,) or not abs(float(weights.sum()) - 1) < 1e-5:
            raise ValueError(f"TrajectoryLoss: weights of shape {tuple(weights.shape)} and sum "
                             f"{float(weights.sum()):g}; a roll-out of {num_steps} steps needs ({num_steps},) "
                             "and sum 1")
        return weights
