"""What a fluid dynamicist asks of a wake: errors aligned in time, vortices, shedding, drag, divergence.

Chapter: 08_wake_flow.
"""

import functools
import math
import time
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from dpbook_utils import evaluation
from dpbook_utils.physics.obstacle import ChannelDivergence
from dpbook_utils.physics.solver import select
from dpbook_utils.physics.wake import Forces, vorticity

from . import wake_flow as wake
from .wake_flow import SETTINGS, Flows

REGIONS = ("inside", "below", "above")
LARGEST_ERROR = 2.0
SETTLED = 100  # steps before shedding and drag are measured
LONG = SETTINGS["flows"]["inside"][1]
EVERY = 10  # steps between two values of a long curve
FORCES_EVERY = 4  # steps between two values of drag and lift
SMALLEST_LIFT = 1e-3  # root mean square of the lift coefficient of a wake that sheds

METRICS = {
    f"{name}.{region}": f"{text}; Reynolds numbers {region} those of the training" for region in REGIONS
    for name, text in {
        "error": "mean relative L2 error of the velocity over 100 steps, at most 2 at each",
        "one_step": "relative L2 error of the velocity after one step",
        "curve": "relative L2 error of the velocity at steps 1 ... 100, at most 2, geometric mean over roll-outs",
        "correlation": "correlation of the vorticity with the reference's at step 100, mean over roll-outs",
        "divergence": "largest divergence in a cell of the fluid, steps 10, 20, ..., 100, mean over roll-outs [U/D]",
    }.items()
} | {
    "long": "mean relative L2 error of the velocity over 500 steps, at most 2 at each; inside",
    "long_curve": "the same at steps 10, 20, ..., 500, geometric mean over flows",
    "blown_up": "fraction of the roll-outs of 500 steps that blow up; inside",
    # Forces are those on the projected state (``forces``).
    "strouhal": "shedding frequency [U/D] of the lift in steps 101 ... 500, by flow; 0 without shedding; inside",
    "drag": "mean drag coefficient in steps 101 ... 500, of the projected states, by flow; infinite after a blow-up; "
            "inside",
    "lift": "lift coefficient at steps 4, 8, ..., 500 of the flow in the middle, of the projected states; inside",
    "lift_rms": "root mean square of the lift coefficient in steps 101 ... 500, of the projected states, by flow; "
                "infinite after a blow-up",
    "seconds_per_step": "processor time of one step for one sample of one seed, in the roll-outs of 500 steps: of "
                        "3 samples for a step without networks, 18 with. For costs see e09_cost [s]",
}


def evaluate(step: nn.Module, num_seeds: int, refinement: int = 1) -> dict[str, Tensor]:
    """All METRICS of a step on the grid of this refinement, each with a leading axis of seeds."""
    found, horizon = {}, SETTINGS["horizon"]
    long = predicted(step, _flows("inside", refinement), LONG, refinement)
    for region in REGIONS:
        data, starts = _flows(region, refinement), SETTINGS["starts"][region]
        runs = [long._replace(prediction=long.prediction[:, :horizon], reference=long.reference[:, :horizon])]
        # As many roll-outs at once as in the long ones: another batch size would be recorded anew.
        chunks = [(start,) for start in starts] if region == "inside" else [starts]
        runs = (runs if region == "inside" else []) + [
            predicted(step, beginning(data, chunk), horizon, refinement) for chunk in chunks]
        found |= {f"{name}.{region}": value for name, value in _judge(runs, num_seeds).items()}
    return found | _judge_long(long, num_seeds) | {"seconds_per_step": torch.full((num_seeds,), long.seconds)}


def validation_error(step: nn.Module, num_seeds: int) -> Tensor:
    """(seeds,): mean relative L2 error of the velocity over 100 steps, on validation data."""
    run = predicted(step, beginning(wake.seen("validation"), SETTINGS["starts"]["validation"]), SETTINGS["horizon"])
    return _per_seed(capped_error(run.prediction, run.reference), num_seeds).mean((1, 2))


def short(step: nn.Module, num_seeds: int, data: Flows, horizon: int) -> dict[str, Tensor]:
    """The errors over a short horizon as those inside, and no other metric: for a check of seconds."""
    run = predicted(step, data, horizon)
    error = _per_seed(capped_error(run.prediction, run.reference), num_seeds).double()
    nothing = {name: torch.full((num_seeds,), math.nan) for name in METRICS}
    return nothing | {"error.inside": error.mean((1, 2)), "one_step.inside": error[:, :, 0].mean(1)}


def capped_error(prediction: Tensor, reference: Tensor) -> Tensor:
    """Relative L2 of the velocity, (batch, time); a blow-up counts as 2: it must not outweigh all others."""
    return evaluation.relative_l2(prediction, reference).clamp(max=LARGEST_ERROR)


def vorticity_correlation(prediction: Tensor, reference: Tensor) -> Tensor:
    """(batch, time); zero after a blow-up."""
    dx = wake.grid(1).dx
    return evaluation.correlation(vorticity(prediction, dx), vorticity(reference, dx))


@torch.no_grad()
def forces(states: Tensor, reynolds: Tensor) -> Tensor:
    """(batch, time, 2): drag and lift of states (batch, time, 2, x, y), projected first, by the same coarse solver.

    A state with divergence or a flow through the cylinder loses it at its next step's projection. That impulse is no
    force of the flow on the cylinder, and would count as one.
    """
    flat = states.nan_to_num(nan=math.inf, posinf=math.inf).flatten(0, 1)
    projected = wake.grid(1).project(flat.clamp(-1e3, 1e3))
    found = _forces()(projected, reynolds=reynolds.repeat_interleave(states.shape[1]))
    alive = torch.isfinite(flat).flatten(1).all(1)
    return found.where(alive[:, None], math.inf).unflatten(0, states.shape[:2])


def frequency(lift: Tensor, dt: float) -> Tensor:
    """(batch, time) -> (batch,): of upward zero crossings, interpolated in time; 0 for a lift that hardly moves."""
    found = []
    for series in np.asarray(lift, float):
        series = series - series.mean() if np.isfinite(series).all() else np.zeros_like(series)
        k = np.flatnonzero((series[:-1] < 0) & (series[1:] >= 0))
        crossings = k + series[k] / (series[k] - series[k + 1])
        sheds = len(k) > 1 and np.sqrt(np.mean(series**2)) > SMALLEST_LIFT
        found.append((len(k) - 1) / (crossings[-1] - crossings[0]) / dt if sheds else 0.0)
    return torch.tensor(found, dtype=torch.float64)


class Reference(nn.Module):
    """Stands for the reference in a table: its roll-outs are the stored states."""


class Run(NamedTuple):
    """prediction, reference (batch, time, 2, x, y) on the source's grid, aligned; seconds of a step for one sample."""

    prediction: Tensor
    reference: Tensor
    reynolds: Tensor
    seconds: float


def predicted(step: nn.Module, data: Flows, num_steps: int, refinement: int = 1) -> Run:
    """Roll-outs from the first states."""
    parameters = select(step, {"reynolds": data.reynolds})
    reference, seconds = data.states[:, 1:num_steps + 1], 0.0
    prediction = reference
    if not isinstance(step, Reference):
        evaluation.predict(step, data.states, 1, **parameters)  # what is recorded at the first call is no step's cost
        start = time.process_time()
        prediction, reference = evaluation.predict(step, data.states, num_steps, **parameters)
        seconds = (time.process_time() - start) / len(prediction) / num_steps
    if refinement > 1:
        prediction, reference = wake.grid(1).restrict(prediction), wake.grid(1).restrict(reference)
    return Run(prediction, reference, torch.cat([data.reynolds] * (len(prediction) // len(data.reynolds))), seconds)


def beginning(data: Flows, starts: tuple[int, ...]) -> Flows:
    """The flows from each of these steps on, as far as the horizon."""
    states = [data.states[:, start:start + SETTINGS["horizon"] + 1] for start in starts]
    return Flows(torch.cat(states), torch.cat([data.reynolds] * len(starts)))


def _flows(region: str, refinement: int) -> Flows:
    return wake.seen(region) if refinement == 1 else wake.flows(region)


def _judge(runs: list[Run], num_seeds: int) -> dict[str, Tensor]:
    errors, correlations, divergences = [], [], []
    for prediction, reference, *_ in runs:
        errors.append(_per_seed(capped_error(prediction, reference), num_seeds))
        correlations.append(_per_seed(vorticity_correlation(prediction[:, -1:], reference[:, -1:]), num_seeds))
        sampled = prediction[:, EVERY - 1::EVERY]
        outflow = _divergence()(sampled.flatten(0, 1)).abs().flatten(1).amax(1).unflatten(0, sampled.shape[:2])
        divergences.append(_per_seed(outflow.nan_to_num(nan=math.inf).amax(1, keepdim=True), num_seeds))
    errors, correlations, divergences = (torch.cat(x, 1).double() for x in (errors, correlations, divergences))
    return {"error": errors.mean((1, 2)), "one_step": errors[:, :, 0].mean(1),
            "curve": errors.clamp(min=1e-12).log().mean(1).exp(), "correlation": correlations.mean((1, 2)),
            "divergence": divergences.mean((1, 2))}


def _judge_long(run: Run, num_seeds: int) -> dict[str, Tensor]:
    prediction, reference, reynolds, _ = run
    error = _per_seed(capped_error(prediction, reference), num_seeds).double()
    drag, lift = forces(prediction[:, FORCES_EVERY - 1::FORCES_EVERY], reynolds).double().unbind(2)
    first = SETTLED // FORCES_EVERY
    settled = lift[:, first:]
    blown = evaluation.blow_up_step(prediction, reference) <= LONG
    middle = len(SETTINGS["flows"]["inside"][0]) // 2
    return {
        "long": error.mean((1, 2)), "long_curve": error[:, :, EVERY - 1::EVERY].clamp(min=1e-12).log().mean(1).exp(),
        "blown_up": _per_seed(blown.double(), num_seeds).mean(1),
        "strouhal": _per_seed(frequency(settled, FORCES_EVERY * SETTINGS["dt"]), num_seeds),
        "drag": _per_seed(drag[:, first:].mean(1), num_seeds),
        "lift": _per_seed(lift, num_seeds)[:, middle],
        "lift_rms": _per_seed(settled.square().mean(1).sqrt(), num_seeds),
    }


def _per_seed(values: Tensor, num_seeds: int) -> Tensor:
    return values.unflatten(0, (num_seeds, -1))


@functools.cache
def _forces() -> Forces:
    return Forces(wake.grid(1))


@functools.cache
def _divergence() -> ChannelDivergence:
    return ChannelDivergence(SETTINGS["num_points"])
