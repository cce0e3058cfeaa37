"""What a trajectory is compared with, and where along it.   Chapter: 05_loss_placement."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from . import arguments
from .calls import Explained
from .graphs.graph import current_recorder


def mse(u: Tensor, reference: Tensor) -> Tensor:
    """Mean squared error over channels and space: (batch, time, channels, *spatial) -> (batch, time)."""
    return (u - reference).square().flatten(2).mean(2)


def relative_l2(u: Tensor, reference: Tensor) -> Tensor:
    """``|u - reference| / |reference|`` in the L2 norm over channels and space: -> (batch, time).

    Raises: ValueError for a reference that is zero, which no error can be relative to.
    """
    size = reference.flatten(2).norm(dim=2)
    if current_recorder() is None and bool((size == 0).any()):
        sample, step = (size == 0).nonzero()[0].tolist()
        raise ValueError(f"relative_l2: the reference is zero everywhere in sample {sample} at step {step + 1}, and an "
                         "error relative to it is infinite; use mse, or leave such samples out")
    return (u - reference).flatten(2).norm(dim=2) / size


def every_step(num_steps: int) -> Tensor:
    """The mean over all steps."""
    num_steps = arguments.whole("every_step", "num_steps", num_steps)
    return torch.full((num_steps,), 1 / num_steps, dtype=torch.float64)


def final_step(num_steps: int) -> Tensor:
    """The last step only."""
    num_steps = arguments.whole("final_step", "num_steps", num_steps)
    return at_steps(num_steps)(num_steps)


def at_steps(*steps: int) -> Callable[[int], Tensor]:
    """The mean over the given steps, counted from 1."""
    steps = tuple(arguments.whole("at_steps", "a step", step) for step in steps)
    if not steps:
        raise ValueError("at_steps: no steps are given; give at least one, as in at_steps(2, 4)")

    def weights(num_steps: int) -> Tensor:
        num_steps = arguments.whole("at_steps", "num_steps", num_steps)
        if max(steps) > num_steps or len(set(steps)) < len(steps):
            raise ValueError(f"at_steps: steps {steps} do not lie in 1 ... {num_steps}, the steps of the roll-out, "
                             "each named once")
        result = torch.zeros(num_steps, dtype=torch.float64)
        result[torch.tensor(steps) - 1] = 1 / len(steps)
        return result

    return weights


class TrajectoryLoss(Explained, nn.Module):
    """``sum_k w_k metric(u_k, reference_k)`` with weights that sum to one.

    Args:
        weights: a placement (``every_step``, ``final_step``, ``at_steps(...)``), which follows the roll-out's
            length, or a tensor (num_steps,) with sum 1.
        metric: (batch, time, channels, *spatial) twice -> (batch, time).

    Shapes: trajectories -> (batch,), one loss per sample; ``Objective`` takes the mean.
    Raises: TypeError for weights or a metric of another kind, a reference of another dtype or on another device;
        ValueError for weights that do not fit or do not sum to one, for shapes that differ, and for a metric of
        another shape.
    """

    def __init__(self, weights: Callable[[int], Tensor] | Tensor, metric: Callable[[Tensor, Tensor], Tensor] = mse):
        super().__init__()
        expected = "a placement, such as every_step, or a tensor (num_steps,) of weights that sum to 1"
        if not isinstance(weights, Tensor):
            arguments.function("TrajectoryLoss", "weights", weights, expected, "num_steps")
        self.weights = weights
        self.metric = arguments.function("TrajectoryLoss", "metric", metric, "a metric such as mse or relative_l2",
                                         "u", "reference")

    def forward(self, trajectory: Tensor, reference: Tensor) -> Tensor:
        arguments.tensor("TrajectoryLoss", "trajectory", trajectory, "(batch, time, channels, *spatial)")
        arguments.tensor("TrajectoryLoss", "reference", reference, "(batch, time, channels, *spatial)")
        arguments.like("TrajectoryLoss", "reference", reference, trajectory, "trajectory")
        if trajectory.shape != reference.shape:
            raise ValueError(f"TrajectoryLoss: the trajectory has shape {tuple(trajectory.shape)}, the reference "
                             f"{tuple(reference.shape)}; both are (batch, time, channels, *spatial)")
        values = self.metric(trajectory, reference)
        if not isinstance(values, Tensor) or values.shape != trajectory.shape[:2]:
            found = tuple(values.shape) if isinstance(values, Tensor) else arguments.shown(values)
            raise ValueError(f"TrajectoryLoss: the metric {arguments.shown(self.metric)} gives {found}, expected "
                             f"(batch, time) = {tuple(trajectory.shape[:2])}; take the mean over channels and space "
                             "only, as mse does")
        return values @ self.weights_for(trajectory.shape[1]).to(trajectory)

    def weights_for(self, num_steps: int) -> Tensor:
        """(num_steps,): the weights of a roll-out of this length, checked."""
        weights = self.weights(num_steps) if callable(self.weights) else self.weights
        arguments.tensor("TrajectoryLoss", "weights", weights, f"({num_steps},) with sum 1")
        if weights.shape != (num_steps,) or not abs(float(weights.sum()) - 1) < 1e-5:
            raise ValueError(f"TrajectoryLoss: weights of shape {tuple(weights.shape)} and sum "
                             f"{float(weights.sum()):g}; a roll-out of {num_steps} steps needs ({num_steps},) "
                             "and sum 1")
        return weights
