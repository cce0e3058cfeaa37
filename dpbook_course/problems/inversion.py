r"""What was not observed, found by minimising a misfit: many small problems at once, each for itself.

Chapter: 11_forward_and_inverse.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from dpbook_utils import arguments
from dpbook_utils.calls import Explained, explained

ARMIJO, SHORTER, SHORTEST = 1e-4, 0.3, 1e-10
STEP = "a smaller first step, a start nearer to what is looked for, a larger prior, or fewer steps of the solver"


class InversionError(RuntimeError):
    """The misfit or its gradient has no finite value where the search begins."""


class Minimum(NamedTuple):
    """What ``minimise`` found.

    Attributes:
        x: (samples, unknowns), the best seen.
        value: (samples,) of the function there.
        evaluations: (samples,) of value and gradient together until the sample stopped.
        stopped: (samples,) whether the stopping rule ended it, and not the budget.
    """

    x: Tensor
    value: Tensor
    evaluations: Tensor
    stopped: Tensor


class Sensors(Explained):
    """What is seen of a trajectory: some cells of a one-dimensional grid, after some steps.

    Args:
        num_points: cells of the grid.
        cells: numbers of the cells that are seen, from 0.
        steps: after which they are seen, from 1, rising.

    Shapes: (batch, time, 1, num_points) -> (batch, len(steps), len(cells)); entry i of a trajectory is the state after
        i + 1 steps.
    Raises: ValueError for cells outside the grid, or a trajectory that is too short or on another grid.
    """

    def __init__(self, num_points: int, cells: Sequence[int], steps: Sequence[int]):
        self.num_points = arguments.whole("Sensors", "num_points", num_points)
        self.cells = _rising("cells", cells, 0, self.num_points - 1)
        self.steps = _rising("steps", steps, 1)

    def __call__(self, trajectory: Tensor) -> Tensor:
        arguments.trajectory("Sensors", "trajectory", trajectory)
        shape, longest = tuple(trajectory.shape), self.steps[-1]
        if shape[2:] != (1, self.num_points) or shape[1] < longest:
            raise ValueError(f"Sensors: the trajectory has the shape {shape}; expected (batch, time, 1, "
                             f"{self.num_points}) with at least {longest} steps. Average it to the sensors' grid, or "
                             "roll out further")
        return trajectory[:, [step - 1 for step in self.steps], 0][:, :, list(self.cells)]

    def check(self, observed: Tensor) -> Tensor:
        """The observations as they are. Raises ValueError for another shape, NaN or infinite values."""
        arguments.tensor("Sensors", "observed", observed, "(batch, steps, cells)", 3)
        if observed.shape[1:] != (len(self.steps), len(self.cells)):
            raise ValueError(f"Sensors: the observations have the shape {tuple(observed.shape)}; expected (batch, "
                             f"{len(self.steps)}, {len(self.cells)}): {len(self.steps)} times, {len(self.cells)} cells")
        if missing := int((~torch.isfinite(observed)).sum()):
            raise ValueError(f"Sensors: {missing} of the observations are NaN or infinite; leave out the cells or "
                             "steps that are missing")
        return observed


def _rising(name: str, given: Sequence[int], least: int, most: float = math.inf) -> tuple[int, ...]:
    expected = f"rising whole numbers, at least {least}" + (f" and at most {most}" if most < math.inf else "")
    if not isinstance(given, (Sequence, range)) or isinstance(given, str) or len(given) == 0:
        raise arguments.refusal("Sensors", name, given, expected, ValueError)
    found = tuple(arguments.whole("Sensors", f"one of {name}", number, least) for number in given)
    if list(found) != sorted(set(found)) or found[-1] > most:
        raise arguments.refusal("Sensors", name, given, expected, ValueError)
    return found


@dataclass(frozen=True)
class _Pairs:
    """The last steps and changes of the gradient, (pairs, samples, unknowns), newest last; unused ones are zero."""

    steps: Tensor
    changes: Tensor

    def with_pair(self, step: Tensor, change: Tensor, taken: Tensor) -> "_Pairs":
        """For the samples that moved, if their curvature is positive."""
        taken = taken & ((step * change).sum(1) > 1e-12 * change.square().sum(1))
        keep = taken[None, :, None]
        found = [torch.where(keep, torch.cat([old[1:], new[None]]), old)
                 for old, new in ((self.steps, step), (self.changes, change))]
        return _Pairs(*found)

    def direction(self, gradient: Tensor) -> Tensor:
        """Minus the gradient times an approximate inverse Hessian: the two loops of L-BFGS, sample by sample."""
        curvature = (self.steps * self.changes).sum(2, keepdim=True)
        rho = torch.where(curvature > 0, 1 / curvature.clamp(min=1e-300), 0.0)
        q, alphas = gradient, []
        for s, y, r in reversed(list(zip(self.steps, self.changes, rho))):
            alphas.append(r * (s * q).sum(1, keepdim=True))
            q = q - alphas[-1] * y
        newest = self.changes[-1].square().sum(1, keepdim=True)
        q = q * torch.where(newest > 0, curvature[-1] / newest.clamp(min=1e-300), 1.0)
        for s, y, r, alpha in zip(self.steps, self.changes, rho, reversed(alphas)):
            q = q + s * (alpha - r * (y * q).sum(1, keepdim=True))
        return -q


@explained
def minimise(function: Callable[[Tensor], Tensor], start: Tensor, *, evaluations: int = 100, tolerance: float = 1e-5,
             first: float = 0.1, memory: int = 10, watch: Callable[[int, Tensor], None] | None = None) -> Minimum:
    r"""The unknowns of every sample for which a function is smallest, by L-BFGS, each sample for itself.

        x <- x + t d,   d = -H grad f(x),   t = 1, or shorter until f(x + t d) <= f(x) + 1e-4 t d . grad f(x)

    Every sample has its own H, t and end; all are evaluated together, as one batch. What is not finite counts as too
    large, so that a step into a blow-up is taken back. A sample stops when an accepted step has lowered its value by
    less than ``tolerance`` of itself, twice in a row, or when no step is short enough.

    Args:
        function: ``(samples, unknowns) -> (samples,)``; a value must depend on its own row alone.
        start: (samples, unknowns), float64: in single precision rounding ends the search early.
        evaluations: of value and gradient, at most.
        tolerance: of the stopping rule.
        first: length of the first step of each sample.
        memory: number of pairs that H is made from.
        watch: called after each evaluation with its number, from 1, and the best x of every sample so far.

    Raises: InversionError if the value or gradient at the start is not finite; TypeError for another precision;
        ValueError for another shape.
    Source: liu1989.
    """
    label = "minimise"
    arguments.tensor(label, "start", start, "(samples, unknowns)", 2)
    if start.dtype != torch.float64:
        raise TypeError(f"{label}: start has the dtype {start.dtype}; the search needs torch.float64. Call .double() "
                        "on it, and on the networks")
    if not callable(function) or isinstance(function, type):
        raise arguments.refusal(label, "function", function, "a function (samples, unknowns) -> (samples,)")
    if watch is not None and (not callable(watch) or arguments.misfit(watch, 1, start)):
        raise arguments.refusal(label, "watch", watch, "a function of the number of the evaluation and x")
    if torch.is_inference_mode_enabled():
        raise RuntimeError(f"{label}: it needs gradients, which torch.inference_mode() forbids; call it outside")
    evaluations, memory = (arguments.whole(label, *given) for given in (
        ("evaluations", evaluations), ("memory", memory)))
    tolerance, first = (arguments.positive(label, *given) for given in (("tolerance", tolerance), ("first", first)))
    x = start.detach().clone()
    value, gradient = _evaluated(label, function, x)
    _begins(label, value, gradient)
    if watch is not None:
        watch(1, x)
    pairs = _Pairs(*[x.new_zeros(memory, *x.shape)] * 2)
    d = -first * gradient / gradient.norm(dim=1, keepdim=True).clamp(min=1e-300)
    t, quiet, count = torch.ones_like(value), torch.zeros_like(value), torch.ones_like(value, dtype=torch.long)
    active = gradient.norm(dim=1) > 0
    for number in range(2, evaluations + 1):
        if not active.any():
            break
        step = torch.where(active, t, 0.0)[:, None] * d
        new, slope = _evaluated(label, function, x + step)
        count += active
        enough = new <= value + ARMIJO * t * (d * gradient).sum(1)
        taken = active & enough & torch.isfinite(slope).all(1)
        quiet = torch.where(taken, torch.where(value - new <= tolerance * value.abs(), quiet + 1, 0.0), quiet)
        pairs = pairs.with_pair(step, slope - gradient, taken)
        x = torch.where(taken[:, None], x + step, x)
        gradient, value = torch.where(taken[:, None], slope, gradient), torch.where(taken, new, value)
        d = torch.where(taken[:, None], _downhill(pairs, gradient), d)
        t = torch.where(taken, 1.0, SHORTER * t)
        active = active & (quiet < 2) & (t > SHORTEST)
        if watch is not None:
            watch(number, x)
    return Minimum(x, value, count, ~active)


def _downhill(pairs: _Pairs, gradient: Tensor) -> Tensor:
    d = pairs.direction(gradient)
    return torch.where((d * gradient).sum(1, keepdim=True) < 0, d, -gradient)


def _evaluated(label: str, function: Callable, x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        value = function(x)
        if not isinstance(value, Tensor) or value.shape != (len(x),):
            raise arguments.refusal(label, "the function's value", value, f"one number per sample, ({len(x)},)",
                                    ValueError)
        if not value.is_floating_point() or not value.requires_grad:
            raise arguments.refusal(label, "the function's value", value.detach(), "real numbers that depend on its "
                                    "argument by operations of torch, without detach()", ValueError)
        gradient, = torch.autograd.grad(value.sum(), x)
    return value.detach(), gradient


def _begins(label: str, value: Tensor, gradient: Tensor) -> None:
    finite = torch.isfinite(value) & torch.isfinite(gradient).all(1)
    if not finite.all():
        worst = int((~finite).nonzero()[0])
        raise InversionError(f"{label}: where the search begins, sample {worst} has the value {float(value[worst]):g} "
                             f"and {int((~torch.isfinite(gradient[worst])).sum())} entries of its gradient are not "
                             f"finite, as have {int((~finite).sum())} of {len(finite)} samples. Use {STEP}")


@explained
def check_trajectory(trajectory: Tensor, label: str = "the roll-out") -> Tensor:
    """The trajectory as it is. Raises InversionError that says at which step it stopped being finite."""
    arguments.trajectory("check_trajectory", "trajectory", trajectory)
    broken = ~torch.isfinite(trajectory).flatten(2).all(2)
    if broken.any():
        sample = int(broken.any(1).nonzero()[0])
        step = int(broken[sample].int().argmax()) + 1
        raise InversionError(f"{label} is not finite from step {step} of {trajectory.shape[1]} on, in sample {sample} "
                             f"and {int(broken.any(1).sum()) - 1} others. Use {STEP}")
    return trajectory
