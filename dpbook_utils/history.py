"""What a training has done so far, and where it left the finite numbers.   Chapter: 06_long_horizons."""

import math
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch
from torch import Tensor

from . import checkpoints
from .objectives import Objective, parameters_of


@dataclass(repr=False)
class History:
    """What happened at each update; tensors on the CPU, so that ``plt.semilogy(history.losses)`` just works.

    Attributes:
        losses: (updates, members) loss before the update; NaN once a member has diverged.
        gradient_norms: (updates, members) L2 norm of the gradient over all weights, before clipping.
        learning_rates: (updates,) of the optimizer's first group.
        num_steps: (updates,) unroll length m.
        seconds: (updates,) wall-clock time, the batch included [s].
        diverged_at: (members,) number of the update, counted from 0, at which a member diverged; -1 if it did not.
    """

    losses: Tensor
    gradient_norms: Tensor
    learning_rates: Tensor
    num_steps: Tensor
    seconds: Tensor
    diverged_at: Tensor

    @classmethod
    def empty(cls, num_updates: int, num_members: int) -> "History":
        def nan(*shape):
            return torch.full(shape, math.nan, dtype=torch.float64)

        return cls(nan(num_updates, num_members), nan(num_updates, num_members), nan(num_updates),
                   torch.zeros(num_updates, dtype=torch.long), nan(num_updates), torch.full((num_members,), -1))

    def __len__(self) -> int:
        return len(self.num_steps)

    def __repr__(self) -> str:
        updates, members = self.losses.shape
        size = f"{updates} update{'s' * (updates != 1)}"
        of = f", mean of {members} members" * (members > 1)
        losses = self.losses[[0, -1]].nanmean(1).tolist() if updates else [math.nan] * 2
        gone = int((self.diverged_at >= 0).sum())
        return (f"History({size}, loss {losses[0]:.3g} at first, {losses[1]:.3g} at last{of}"
                f"{f', {gone} diverged' * (gone > 0)})")

    def first(self, num_updates: int) -> "History":
        """The history of the first ``num_updates`` updates."""
        cut = {field.name: getattr(self, field.name)[:num_updates].clone() for field in fields(self)}
        return replace(self, **{**cut, "diverged_at": self.diverged_at.clone()})


class Diverged(RuntimeError):
    """The loss or its gradient is not finite (for an ensemble: that of every member). No update was made from it.

    Attributes:
        update: number of the update that failed, counted from 0; the weights are those before it.
        num_steps: unroll length m at that update.
        first_step: first step of the roll-out, counted from 1, whose state is not finite; None if all are.
        history: History up to that update.
    """

    def __init__(self, message: str, update: int, num_steps: int, first_step: int | None, history: History):
        super().__init__(message)
        self.update, self.num_steps, self.first_step, self.history = update, num_steps, first_step, history


class State:
    """Everything an update changes, as it is after ``update`` updates, and how it goes to the disk and back."""

    def __init__(self, objective: Objective, optimizer, schedule, num_updates: int, device: torch.device):
        self.objective, self.optimizer, self.schedule, self.device = objective, optimizer, schedule, device
        self.update = 0
        self.history = History.empty(num_updates, objective.num_members)
        self.random_state = checkpoints.random_state(device)
        self.identity: dict[str, str] = {}
        self.start = ""  # digest of the initial weights
        self.saved_at = 0
        self.whole = True  # False while weights, optimizer and history are between two updates

    def guard(self, losses: Tensor, norms: Tensor, batch: Mapping[str, Tensor]) -> None:
        """Record losses and norms; note the members that diverged, raise Diverged when none is left."""
        losses, norms = torch.stack([losses, norms.to(losses)]).double().cpu()  # the update's one wait for the device
        alive = self.history.diverged_at < 0
        failed = alive & ~(torch.isfinite(losses) & torch.isfinite(norms))
        if failed.equal(alive):
            member = int(failed.nonzero()[0])
            raise self._diverged(batch, member, "gradient" if losses[member].isfinite() else "loss")
        self.history.losses[self.update] = losses.where(alive, math.nan)
        self.history.gradient_norms[self.update] = norms.where(alive, math.nan)
        self.history.diverged_at[failed] = self.update

    def advance(self, weights: list[Tensor], started: float) -> None:
        """Apply the gradients, but not to members that have diverged, and move on to the next update."""
        frozen = (self.history.diverged_at >= 0).nonzero()[:, 0].to(self.device)
        kept = [w.detach()[frozen] for w in weights] if len(frozen) else []
        rate = float(self.optimizer.param_groups[0]["lr"])
        self.whole = False
        self.optimizer.step()
        with torch.no_grad():
            for w, values in zip(weights, kept):
                w[frozen] = values
        if self.schedule is not None:
            self.schedule.step()
        self.history.learning_rates[self.update] = rate
        self.history.num_steps[self.update] = self.objective.rollout.num_steps
        self.history.seconds[self.update] = time.perf_counter() - started
        self.random_state = checkpoints.random_state(self.device)
        self.update += 1
        self.whole = True

    @property
    def summary(self) -> str:
        """For the progress bar: mean loss of the members that are alive."""
        alive = self.history.diverged_at < 0
        text = f"loss {float(self.history.losses[self.update - 1][alive].mean()):.3e}"
        return text if alive.all() else f"{text}, {int((~alive).sum())} of {len(alive)} members diverged"

    def identify(self, first_batch: Mapping[str, Tensor], **settings) -> None:
        """Take the identity of this training, before anything is changed."""
        self.identity = checkpoints.identity(self.objective, self.optimizer, self.schedule, first_batch, settings)
        self.start = checkpoints.digest(checkpoints.learned(self.objective))

    def save(self, path: Path) -> None:
        """Write what the last whole update left, unless it is on the disk already."""
        if not self.whole or self.update == self.saved_at:
            return
        checkpoints.save(path, {
            "fingerprint": self.identity, "start": self.start, "update": self.update,
            "weights": checkpoints.learned(self.objective), "optimizer": self.optimizer.state_dict(),
            "schedule": None if self.schedule is None else self.schedule.state_dict(),
            "random_state": self.random_state, "history": vars(self.history.first(self.update))})
        self.saved_at = self.update

    def try_to_save(self, path: Path) -> None:
        """Save, or warn: a disk that is full for a while ends no training, and hides no error that does."""
        try:
            self.save(path)
        except OSError as error:
            warnings.warn(f"after {self.update} updates {error.strerror}", stacklevel=3)

    def resume(self, path: Path, steps_at: Callable[[int], int]) -> None:
        """Take over what ``path`` holds, after checking that it belongs to this training."""
        stored = checkpoints.load(path)
        checkpoints.compare(path, stored["fingerprint"], self.identity)
        if self.start not in (stored["start"], checkpoints.digest(stored["weights"])):
            raise checkpoints.refusal(path, "belongs to a training that started from other weights than the network's",
                                      "Build the network with the same seed to resume, or give another file.")
        history, done = History(**stored["history"]), stored["update"]
        if done > len(self.history):
            raise checkpoints.refusal(path, f"holds {done} updates, more than num_updates = {len(self.history)}",
                                      "Raise num_updates, or give another file.")
        for k, found in enumerate(history.num_steps.tolist()):
            if found != steps_at(k):
                raise checkpoints.refusal(path, f"belongs to another training. Unroll length at update {k}: {found} in "
                                                f"the file, {steps_at(k)} now")
        self.objective.load_state_dict(stored["weights"], strict=False)  # names and shapes are in the identity
        self.optimizer.load_state_dict(stored["optimizer"])
        if self.schedule is not None:
            self.schedule.load_state_dict(stored["schedule"])
        for field in fields(History):
            values = getattr(history, field.name)
            getattr(self.history, field.name)[:len(values)] = values
        self.random_state, self.start = stored["random_state"], stored["start"]
        self.update = self.saved_at = done

    def _diverged(self, batch: Mapping[str, Tensor], member: int, what: str) -> Diverged:
        """Run the roll-out again, without a graph and with the same noise, to say where it went wrong."""
        rollout, num_members = self.objective.rollout, self.objective.num_members
        parameters = parameters_of(batch)
        if self.update == 0:  # later ones come from the updates
            for name, w in self.objective.named_parameters():
                if not torch.isfinite(w).all():
                    raise ValueError(f"fit: the weight {name} holds NaN or infinity before the first update; build the "
                                     "network anew, or load other weights")
        checkpoints.set_random_state(self.random_state, self.device)
        with torch.no_grad():
            trajectory = rollout(batch["u0"], **parameters)
            # Data that no training could use are refused here, where a recorded graph has looked at no values.
            targets = self.objective.targets(batch["u0"], trajectory, batch.get("reference"), parameters)
            self.objective.loss(trajectory, targets)
            trajectory = trajectory.unflatten(0, (num_members, -1))[member]
        broken = ~torch.isfinite(trajectory).flatten(2).all(2).all(0)  # (num_steps,)
        first_step = int(broken.nonzero()[0]) + 1 if broken.any() else None
        if first_step is not None:
            where = f"the state is not finite from step {first_step} of the roll-out on"
        else:
            where = f"the roll-out stays finite (largest value {float(trajectory.abs().max()):.3g}), but not its {what}"
        remedies = [f"fewer steps first (curriculum={{0: 1, 500: {rollout.num_steps}}})"] * (rollout.num_steps > 1)
        if self.update == 0:  # no update has been made, so neither learning rate nor clipping can have a part in it
            remedies += ["a smaller last layer of the network"]
        else:
            remedies += ["clip_norm=1.0", "a smaller learning rate", "a smaller last layer of the network"]
        if first_step is None and what == "gradient":
            remedies += ["a metric and a network with a derivative everywhere (a root has none at 0)"]
        who = "" if num_members == 1 else f" with the last of {num_members} members (number {member})"
        return Diverged(
            f"training diverged at update {self.update}, unroll length {rollout.num_steps}{who}: {where}. "
            f"The weights are those before this update. Remedies: {', '.join(remedies)}.",
            self.update, rollout.num_steps, first_step, self.history.first(self.update))
