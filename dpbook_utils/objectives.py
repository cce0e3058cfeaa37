"""A roll-out, a loss, and what the loss compares with: what ``fit`` minimises.   Chapters: 01 ... 07."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from . import arguments
from .calls import Explained
from .graphs.graph import current_recorder
from .losses import TrajectoryLoss
from .networks import num_members
from .physics.solver import select
from .rollout import Rollout


class NoGradientPath(RuntimeError):
    """The loss does not depend on any weight: training would do nothing."""


def parameters_of(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The physical parameters of a batch: all but its states, ``u0`` and ``reference``."""
    return {name: value for name, value in batch.items() if name not in ("u0", "reference")}


def check_length(label: str, reference: Tensor, u0: Tensor, num_steps: int) -> None:
    """Raise ValueError for a reference without an axis of time, or with fewer steps than the roll-out."""
    if reference.ndim != u0.ndim + 1:
        raise ValueError(f"{label}: the reference has shape {tuple(reference.shape)}, the states {tuple(u0.shape)}; "
                         "give (batch, time, channels, *spatial), of one step by reference.unsqueeze(1)")
    if reference.shape[1] < num_steps:
        raise ValueError(f"{label}: the reference has {reference.shape[1]} steps, the longest roll-out {num_steps}; "
                         "give longer references (Windows(num_steps=...)), a shorter roll-out or a shorter curriculum")


def from_batch(u0: Tensor, trajectory: Tensor, reference: Tensor | None, parameters: dict) -> Tensor:
    """The reference that comes with the batch, as long as the roll-out: supervised training."""
    if reference is None:
        raise ValueError("Objective: this objective compares with the batch's reference; "
                         "call it with reference=(batch, time, channels, *spatial)")
    arguments.tensor("Objective", "reference", reference, "(batch, time, channels, *spatial)")
    arguments.like("Objective", "reference", reference, trajectory)
    check_length("Objective", reference, u0, trajectory.shape[1])
    reference = reference[:, :trajectory.shape[1]]
    if current_recorder() is None and not torch.isfinite(reference).all():
        broken = (~torch.isfinite(reference)).flatten(2).any(2)
        sample, step = broken.nonzero()[0].tolist()
        raise ValueError(f"Objective: the reference holds NaN or infinity, first in sample {sample} at step "
                         f"{step + 1}; check the data: the solver that made it may have blown up")
    return reference


def from_input(u0: Tensor, trajectory: Tensor, reference: Tensor | None, parameters: dict) -> Tensor:
    """The input of the chain, at every step: with N before P this asks that P undoes N (an inverse problem)."""
    return u0.unsqueeze(1).expand_as(trajectory)


def from_solver(solver: nn.Module, *, detach: bool = True) -> nn.Module:
    """The solver applied to the states that the chain itself has reached (diverted chain, Koehler et al. 2024).

    The target of step k+1 is ``solver(u_k)``, so data is generated at the network's own states.

    Args:
        detach: treat the targets as data. False lets the gradient flow through them too.
    """
    return _FromSolver(arguments.operator("from_solver", "solver", solver),
                       arguments.flag("from_solver", "detach", detach))


class _FromSolver(nn.Module):
    """A module, so that whoever looks through an objective's parts finds the solver."""

    def __init__(self, solver: nn.Module, detach: bool):
        super().__init__()
        self.solver, self.detach = solver, detach

    def forward(self, u0: Tensor, trajectory: Tensor, reference: Tensor | None, parameters: dict) -> Tensor:
        starts = torch.cat([u0.unsqueeze(1), trajectory[:, :-1]], 1)
        num_steps = starts.shape[1]
        repeated = {name: value.repeat_interleave(num_steps, 0) if isinstance(value, Tensor) and value.ndim else value
                    for name, value in select(self.solver, parameters).items()}
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.detach):
            target = self.solver(starts.flatten(0, 1), **repeated)
        if not isinstance(target, Tensor) or target.shape != starts.flatten(0, 1).shape:
            raise arguments.refusal("from_solver", "the solver's result", target, "a solver that returns the next "
                                    f"state, {tuple(starts.flatten(0, 1).shape)}", ValueError)
        return target.unflatten(0, starts.shape[:2])


class Objective(Explained, nn.Module):
    """``(u0, reference=None, **parameters) -> scalar``: the loss of a roll-out against its targets.

    With an ``Ensemble`` of S networks in the chain the batch is S groups of states, one group per member, and the
    scalar is the *sum* of the members' losses: each member's gradient is the one of its own training.

    Args:
        rollout: the chain and how often it is applied.
        loss: where the loss sits and which metric it uses.
        targets: ``from_batch``, ``from_input`` or ``from_solver(...)``.

    Raises: NoGradientPath if the loss does not depend on any trainable weight; TypeError, ValueError for arguments that
        do not fit, a reference that is not finite or not like the states, and ensembles of different sizes.
    """

    its_step = "objective.rollout.step"

    def __init__(self, rollout: Rollout, loss: TrajectoryLoss, targets: Callable = from_batch):
        super().__init__()
        self.rollout = arguments.instance("Objective", "rollout", rollout, Rollout, "a Rollout, as in "
                                          "Objective(Rollout(step, m), TrajectoryLoss(every_step))")
        self.loss = arguments.instance("Objective", "loss", loss, TrajectoryLoss, "a TrajectoryLoss, such as "
                                       "TrajectoryLoss(every_step)")
        expected = "from_batch, from_input or from_solver(solver)"
        if targets is from_solver:
            raise arguments.refusal("Objective", "targets", targets, f"what it returns: {expected}")
        taken = ("u0", "trajectory", "reference", "parameters")
        self.targets = arguments.function("Objective", "targets", targets, f"{expected}, or a function of "
                                          f"({', '.join(taken)})", *taken)
        num_members(rollout)  # refuses ensembles of different sizes

    @property
    def num_members(self) -> int:
        return num_members(self.rollout)

    def forward(self, u0: Tensor, reference: Tensor | None = None, **parameters: Tensor | float) -> Tensor:
        return self.per_member(u0, reference, **parameters).sum()

    def per_member(self, u0: Tensor, reference: Tensor | None = None, **parameters: Tensor | float) -> Tensor:
        """(members,): the loss of each network of an ensemble; one entry without an ensemble."""
        if torch.is_grad_enabled():
            self._check_placement()
        trajectory = self.rollout(u0, **parameters)
        losses = self.loss(trajectory, self.targets(u0, trajectory, reference, parameters))
        if torch.is_grad_enabled() and not losses.requires_grad and any(p.requires_grad for p in self.parameters()):
            raise NoGradientPath(
                f"the loss does not depend on any weight: with {self.rollout.gradient!r} and the state recorded after "
                f"operator {self.rollout.record_after} of the step, no path leads from the network to the loss. "
                "Let the network act last (Sequential(solver, Additive(network))); or, with the solver last and its "
                "gradient cut, put the loss before it (Rollout(..., record_after=...)); or use FullGradient() with the "
                "state recorded after the network.")
        return losses.unflatten(0, (self.num_members, -1)).mean(1)

    def _check_placement(self) -> None:
        """Raise ValueError if the loss weighs a step for which the gradient policy builds no graph."""
        gradient, num_steps = self.rollout.gradient, self.rollout.num_steps
        untracked = [k for k in range(num_steps) if not gradient.tracks(k, num_steps)]
        if not untracked:
            return
        weights = self.loss.weights_for(num_steps)
        blind = [k + 1 for k in untracked if weights[k] != 0]
        if blind:
            raise ValueError(
                f"Objective: the loss weighs step {blind[0]} of {num_steps}, for which {gradient!r} builds no graph, "
                "so it would change the loss and not the gradient. Place the loss where there is one: "
                "TrajectoryLoss(final_step) with Pushforward()")
