"""One training in the playground, and how it compares.   Chapters: 03_unrolling, 04_coupling."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from dpbook_utils.data import Windows
from dpbook_utils.physics.solver import select
from dpbook_utils.setups import train as train_setup

from .choices import Choices, objection
from .problems import baselines

THRESHOLD = 0.5


class _Stopped(Exception):
    """Ends a training between two updates."""


@dataclass(frozen=True)
class Run:
    """What a training has given.

    Attributes:
        updates: how many were made.   ending: ``finished``, ``stopped`` or ``diverged``.
        seconds: wall-clock time of the training, data and pauses included [s].
        errors: (time,) as ``Playable.judge`` has it.
        rollout: (time, x) of the first test, the initial state included.
    """

    choices: Choices
    updates: int
    ending: str
    seconds: float
    errors: Tensor
    rollout: Tensor


class _Watched:
    """Batches for the step, with the physical parameters that it takes; each asks first whether to go on."""

    def __init__(self, batches: Windows, step: nn.Module, go_on: Callable[[int], bool]):
        self.batches, self.step, self.go_on, self.updates = batches, step, go_on, 0

    def __getitem__(self, k: int) -> dict[str, Tensor]:
        self.updates = k
        if not self.go_on(k):
            raise _Stopped
        batch = self.batches[k]
        return {"u0": batch["u0"], "reference": batch["reference"], **select(self.step, batch)}


def train(choices: Choices, go_on: Callable[[int], bool] = lambda updates: True) -> Run:
    """Train as chosen, from the same initial weights and with the same data for all choices, and judge the result.

    Args:
        go_on: called with the number of updates made, before each one; False ends the training there, and what has
            been learnt so far is judged.

    Raises: ValueError, with what ``objection`` says, for choices that do not go together.
    """
    reason = objection(choices)
    if reason is not None:
        raise ValueError(reason)
    started = time.perf_counter()
    step = choices.step()
    watched = _Watched(choices.problem.batches(), step, go_on)
    try:
        history = train_setup(choices.setup, choices.objective(step), watched, choices.budget)
        updates, ending = len(history), "finished" if len(history) == choices.budget else "diverged"
    except _Stopped:
        updates, ending = watched.updates, "stopped"
    seconds = time.perf_counter() - started
    return Run(choices, updates, ending, seconds, *choices.problem.judge(step))


def comparable(run: Run, previous: Run | None) -> bool:
    """Can both stand in one figure: the same PDE, hence the same tests and baselines?"""
    return previous is not None and previous.choices.pde == run.choices.pde


def summary(run: Run, previous: Run | None = None) -> str:
    """The result in numbers, as a sentence or two."""
    problem, known = run.choices.problem, baselines(run.choices.pde)
    rows = {"P alone": known["P alone"][0], "persistence": known["persistence"][0]}
    if comparable(run, previous):
        rows["the previous run"] = previous.errors
    ending = {"finished": f"Finished: {run.updates} updates",
              "stopped": f"Stopped after {run.updates} of {run.choices.budget} updates",
              "diverged": f"Diverged at update {run.updates + 1}; the weights are those before it. Unroll fewer steps"}
    horizon = problem.horizon
    errors = ", ".join(f"{name} {errors[:horizon].mean():.3g}" for name, errors in rows.items())
    passes = ", ".join(f"{name} {_first_above(errors)}" for name, errors in rows.items())
    return (f"{ending[run.ending]} ({run.seconds:.1f} s). Mean relative error over {horizon} steps: "
            f"{run.errors[:horizon].mean():.3g} ({errors}). Steps until the error passes {THRESHOLD:g}: "
            f"{_first_above(run.errors)} ({passes}).")


def _first_above(errors: Tensor) -> str:
    above = (errors > THRESHOLD).nonzero()
    return str(int(above[0]) + 1) if len(above) else f"more than {len(errors)}"
