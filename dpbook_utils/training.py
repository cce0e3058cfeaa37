"""The training loop: one for every set-up of the course.   Chapters: 01 ... 07."""

import itertools
import signal
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from . import arguments, checkpoints
from .calls import explained
from .files import present, writable
from .history import Diverged, History, State
from .objectives import Objective, check_length, from_batch
from .rollout import in_mode

__all__ = ["Diverged", "Gradients", "History", "clip_gradients", "fit", "gradient_norms"]


class Gradients:
    """``gradients(batch)``: the members' losses, detached (members,); sets ``.grad`` of every trainable weight."""

    def __init__(self, objective: Objective):
        self.objective = arguments.instance("Gradients", "objective", objective, Objective, "an Objective")

    def __call__(self, batch: Mapping[str, Tensor]) -> Tensor:
        self.objective.zero_grad(set_to_none=True)
        losses = self.objective.per_member(**batch)
        losses.sum().backward()  # of the sum: each member's gradient is that of its own training
        return losses.detach()


@explained
def fit(objective: Objective, batches: Iterable[Mapping[str, Tensor]], optimizer: torch.optim.Optimizer, *,
        num_updates: int, clip_norm: float | None = None, schedule: torch.optim.lr_scheduler.LRScheduler | None = None,
        curriculum: Mapping[int, int] | Callable[[int], int] | None = None, checkpoint: str | Path | None = None,
        checkpoint_every: int = 200, trace: bool = False, progress: bool = True) -> History:
    r"""Train the weights of an objective.

        theta_{k+1} = theta_k - step(g_k),    g_k = d/dtheta L(theta_k; batch_k),    k = 0 ... num_updates - 1

    with the step of the optimizer. An ``Ensemble`` of S networks in the chain trains as S separate trainings: the
    gradient is that of the sum of the losses, clipped per member, and a member that diverges stops at its last
    finite weights while the others go on.

    Args:
        objective: what is minimised; trained in ``.train()`` mode (noise on), left in the mode it came in.
        batches: dicts ``{"u0": ..., "reference": ..., **physical parameters}``. Update k gets batch k: ``batches[k]``
            where there is indexing (``Windows``, ``Fresh``, a list), else the k-th item of an iteration. A
            finite source starts over at its end (epochs). Iterating anew must give the same batches.
        optimizer: holds the objective's weights. Not L-BFGS, which evaluates the loss several times per step.
        num_updates: in total, those before a resume included.
        clip_norm: largest L2 norm of a member's gradient over all its weights; a longer one is scaled down to it.
        schedule: stepped once after every update.
        curriculum: unroll length by update, ``{0: 1, 500: 3, 1000: 8}`` (1 step from update 0 on, 3 from 500 on, ...)
            or a function of the update. ``every_step`` and ``final_step`` follow it; references must be long enough.
        checkpoint: file to write every ``checkpoint_every`` updates, at the end, and when an exception (Ctrl-C) ends
            the training. If it exists, training goes on from there, bit for bit as if it had never stopped; torch's
            random state is set to the stored one. The network must hold the weights it started from, or the file's.
        trace: record forward and backward pass once as one graph: faster, equal up to
            rounding.
        progress: show a bar with loss and time left; it does not change the result.

    Raises:
        Diverged: the loss or gradient is not finite; weights and checkpoint are those before the update that failed.
            Data that are not finite, or a reference of zeros that a relative error divides by, are a ValueError.
        checkpoints.CheckpointError: the checkpoint is damaged or belongs to another training; it is left as it is.
        OSError: the checkpoint cannot be read or, tried before the first update and again at the end, not written. One
            that cannot be written on the way is warned of: training goes on, and the file keeps an older state.
        NoGradientPath: the loss reaches no weight with this gradient policy.
        ValueError, TypeError: arguments that do not fit together.
    """
    num_updates = arguments.whole("fit", "num_updates", num_updates)
    checkpoint_every = arguments.whole("fit", "checkpoint_every", checkpoint_every)
    clip_norm = None if clip_norm is None else arguments.positive("fit", "clip_norm", clip_norm)
    trace, progress = arguments.flag("fit", "trace", trace), arguments.flag("fit", "progress", progress)
    weights = _check_arguments(objective, optimizer, schedule)
    _check_source(batches, checkpoint)
    steps_at = _curriculum(curriculum, objective.rollout.num_steps)
    longest = max(map(steps_at, range(num_updates)))
    state = State(objective, optimizer, schedule, num_updates, weights[0].device)
    path = None if checkpoint is None else arguments.path("fit", "checkpoint", checkpoint)
    if path is not None:
        first = _check_batch(next(_stream(batches, 0)), objective, longest)
        placement = objective.loss.weights_for(steps_at(0)).tolist()
        state.identify(first, clip_norm=clip_norm, trace=trace, placement=placement)
        if present(path):
            state.resume(path, steps_at)
        if state.update < num_updates:
            writable(path)
    stream = _stream(batches, state.update)
    gradients = _traced(objective) if trace else Gradients(objective)
    checkpoints.set_random_state(state.random_state, state.device)
    bar = tqdm(total=num_updates, initial=state.update, disable=not progress, desc="training", unit="update")
    with bar, _train_mode(objective), _interrupt_between_updates() as interrupted:
        try:
            while state.update < num_updates and not interrupted:
                started = time.perf_counter()
                objective.rollout.num_steps = steps_at(state.update)
                batch = _check_batch(next(stream), objective, longest)
                losses = gradients(batch)
                norms = gradient_norms(weights, objective.num_members)
                state.guard(losses, norms, batch)
                if clip_norm is not None:
                    clip_gradients(weights, norms, clip_norm)
                state.advance(weights, started)
                bar.set_postfix_str(state.summary, refresh=False)
                bar.update()
                if path is not None and state.update % checkpoint_every == 0:
                    state.try_to_save(path)
        except BaseException:
            if path is not None:
                state.try_to_save(path)
            raise
        if path is not None:
            state.save(path)
    if state.update < num_updates:
        raise KeyboardInterrupt
    return state.history


def gradient_norms(weights: list[Tensor], num_members: int) -> Tensor:
    """(members,): L2 norm of each member's gradient over all weights; several members are the weights' first axis."""
    norms = [torch.linalg.vector_norm(w.grad.reshape(num_members, -1), dim=1) for w in weights if w.grad is not None]
    return torch.linalg.vector_norm(torch.stack(norms), dim=0)


def clip_gradients(weights: list[Tensor], norms: Tensor, clip_norm: float) -> None:
    """Scale each member's gradient down to the norm ``clip_norm``: ``torch.nn.utils.clip_grad_norm_``, per member."""
    scale = (clip_norm / (norms + 1e-6)).clamp(max=1)
    for w in weights:
        if w.grad is not None:
            w.grad.mul_(scale.reshape(-1, *[1] * (w.ndim - 1)) if len(scale) > 1 else scale[0])


def _check_arguments(objective, optimizer, schedule) -> list[Tensor]:
    """The trainable weights, after checking that the arguments fit together."""
    arguments.instance("fit", "objective", objective, Objective, "an Objective(rollout, loss)")
    arguments.instance("fit", "optimizer", optimizer, torch.optim.Optimizer, "an optimiser that holds the weights, "
                       "such as torch.optim.Adam(objective.parameters(), lr=1e-3)")
    if schedule is not None:
        arguments.instance("fit", "schedule", schedule, torch.optim.lr_scheduler.LRScheduler, "a schedule of the "
                           "optimiser, such as torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.99), or None")
    if isinstance(optimizer, torch.optim.LBFGS):
        raise TypeError("fit: L-BFGS evaluates the loss several times per step; call optimizer.step(closure) in a loop "
                        "of your own")
    if isinstance(schedule, torch.optim.lr_scheduler.ReduceLROnPlateau):
        raise TypeError("fit: ReduceLROnPlateau needs a validation loss; use a schedule of the update number alone")
    if schedule is not None and schedule.optimizer is not optimizer:
        raise ValueError("fit: the schedule belongs to another optimizer; build it from the one given to fit")
    named = {name: w for name, w in objective.named_parameters() if w.requires_grad}
    if not named:
        raise ValueError("fit: the objective has no trainable weight; put a network into its chain, or call "
                         "network.requires_grad_()")
    held = {id(w) for group in optimizer.param_groups for w in group["params"]}
    missing = [name for name, w in named.items() if id(w) not in held]
    foreign = len(held - {id(w) for w in objective.parameters()})
    if missing or foreign:
        raise ValueError(f"fit: the optimizer lacks {len(missing)} of the objective's {len(named)} weight tensors "
                         f"({', '.join(missing[:3]) or 'none'}) and holds {foreign} that are not the objective's; "
                         "build it from objective.parameters() after the network, and freeze weights by "
                         "requires_grad_(False)")
    num_members = objective.num_members
    for name, w in named.items():
        if num_members > 1 and (w.ndim == 0 or w.shape[0] != num_members):
            raise ValueError(f"fit: the chain holds an ensemble of {num_members}, but the weight {name} has shape "
                             f"{tuple(w.shape)}; every weight needs a leading axis of {num_members} members")
    return list(named.values())


def _check_source(batches, checkpoint) -> None:
    if isinstance(batches, Mapping):
        raise TypeError("fit: batches is one dict; give a list [batch] to train on the same batch at every update")
    if callable(getattr(batches, "batches", None)) and not isinstance(batches, type):
        raise arguments.refusal("fit", "batches", batches, "what it makes of its windows: "
                                "stored.batches(batch_size, seed=0)")
    if isinstance(batches, (type, str, Tensor, np.ndarray)) or not hasattr(batches, "__getitem__") and not hasattr(
            batches, "__iter__"):
        raise arguments.refusal("fit", "batches", batches, "a source of dicts, such as Windows, Fresh or a "
                                "list; of a function, the list of what it returns")
    try:
        is_empty = len(batches) == 0
    except TypeError:  # endless: no length, or a DataLoader of a stream, which has a method that finds none
        is_empty = False
    if is_empty:
        raise ValueError("fit: batches is empty; give at least one batch")
    if checkpoint is not None and isinstance(batches, Iterator):
        raise TypeError("fit: batches is an iterator, which cannot start over when training resumes from its "
                        "checkpoint; give an object that can be iterated anew or indexed (a list, Windows)")


def _check_batch(batch, objective: Objective, longest: int) -> Mapping[str, Tensor]:
    if not isinstance(batch, Mapping) or "u0" not in batch:
        found = f"a dict of {sorted(batch)}" if isinstance(batch, Mapping) else f"a {type(batch).__name__}"
        raise TypeError(f"fit: a batch is {found}; it must be a dict with 'u0', usually 'reference', and the "
                        "physical parameters")
    for name, value in batch.items():
        if name in ("u0", "reference") and value is not None or not arguments.is_number(value):
            arguments.tensor("fit", f"the batch's {name}", value, "with one entry per sample")
    if len(batch["u0"]) % objective.num_members:
        raise ValueError(f"fit: the batch holds {len(batch['u0'])} states, which {objective.num_members} members "
                         "cannot share equally; give a multiple (Windows(..., seeds=[one per member]))")
    reference = batch.get("reference")
    if objective.targets is from_batch and reference is not None:
        check_length("fit", reference, batch["u0"], longest)
    return batch


def _curriculum(curriculum, num_steps: int) -> Callable[[int], int]:
    """Update -> unroll length, checked."""
    if curriculum is None:
        return lambda update: num_steps
    is_table = isinstance(curriculum, Mapping)
    if is_table:
        table = {arguments.whole("fit", "an update of curriculum", update, 0):
                 arguments.whole("fit", f"curriculum at update {update}", steps)
                 for update, steps in curriculum.items()}
        starts, lengths = zip(*sorted(table.items())) if table else ((), ())
        if not starts or starts[0] != 0:
            raise ValueError(f"fit: the curriculum {dict(curriculum)} does not say how many steps to unroll at update "
                             "0; begin it with {0: 1}")
    else:
        arguments.function("fit", "curriculum", curriculum, "a dict {update: steps}, such as {0: 1, 500: 3}, or a "
                           "function of the update", "update")

    def steps_at(update: int) -> int:
        if is_table:
            return lengths[bisect_right(starts, update) - 1]
        return arguments.whole("fit", f"curriculum at update {update}", curriculum(update))

    return steps_at


def _stream(batches, start: int) -> Iterator:
    """Batches from number ``start`` on; a finite source starts over at its end."""
    if hasattr(batches, "__getitem__"):
        return (batches[k % len(batches) if hasattr(batches, "__len__") else k] for k in itertools.count(start))
    stream = _epochs(batches)
    for _ in range(start):
        next(stream)
    return stream


def _epochs(batches) -> Iterator:
    position, passed = 0, -1
    while position > passed:
        passed = position
        for batch in batches:
            yield batch
            position += 1
    raise ValueError(f"fit: batches ended after {position} batches and cannot be iterated anew; give at least one "
                     "batch, in a list or another object that starts over, not in an iterator")


def _traced(objective: Objective):
    from .update import TracedGradients

    return TracedGradients(objective)


@contextmanager
def _train_mode(objective: Objective):
    """Noise on and, afterwards, every mode and the unroll length as they were."""
    num_steps = objective.rollout.num_steps
    try:
        with in_mode(objective, training=True):
            yield
    finally:
        objective.rollout.num_steps = num_steps


@contextmanager
def _interrupt_between_updates():
    """Collect Ctrl-C, so that it ends the training after the update under way; a second one ends it at once."""
    received: list[int] = []

    def handler(number, frame):
        if received:
            raise KeyboardInterrupt
        received.append(number)

    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield received
        return
    signal.signal(signal.SIGINT, handler)
    try:
        yield received
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
