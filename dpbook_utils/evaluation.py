r"""Metrics of a roll-out against a reference.   Chapters: 03_unrolling, 08_wake_flow, 10_generalisation.

Trajectories are (batch, time, channels, *spatial) and aligned: entry i of both is the state i + 1 steps after the
start, as ``predict`` returns them. A state that is not finite has an infinite error and no correlation: blow-ups are
counted, never dropped.
"""

import functools
import math

import torch
from torch import Tensor, nn

from . import arguments, losses
from .calls import explained
from .networks import num_members
from .replay import replay
from .rollout import Rollout, in_mode


@torch.no_grad()
@explained
def predict(step: nn.Module, trajectories: Tensor, num_steps: int | None = None, *, trace: bool = False,
            **parameters: Tensor | float) -> tuple[Tensor, Tensor]:
    """Roll out from the first state of each trajectory: (prediction, reference), aligned in time.

    The step runs in ``.eval()`` mode (noise off) and is left in the mode it came in. An ensemble of S networks makes
    S predictions of every trajectory, member by member.

    Args:
        trajectories: (batch, time, channels, *spatial) with the initial state first, as from ``simulate``.
        num_steps: roll-out length; by default to the end of the trajectories.
        trace: record the step once as a graph and repeat that: several times as fast from some fifty steps on, equal up
            to rounding. A chaotic flow amplifies rounding.

    Shapes: -> twice (S * batch, num_steps, channels, *spatial).
    Raises: ValueError if the trajectories are shorter than num_steps + 1; TraceError if a traced step branches on data,
        draws random numbers or keeps a state from call to call; what ``Rollout`` raises.
    """
    arguments.operator("predict", "step", step)
    arguments.trajectory("predict", "trajectories", trajectories)
    num_steps = trajectories.shape[1] - 1 if num_steps is None else num_steps
    num_steps = arguments.whole("predict", "num_steps", num_steps, 0)
    if not 1 <= num_steps < trajectories.shape[1]:
        raise ValueError(f"predict: num_steps is {num_steps}; the trajectories hold {trajectories.shape[1]} states, so "
                         f"1 ... {trajectories.shape[1] - 1} steps can be compared")
    rollout = Rollout(step, num_steps)
    members = num_members(rollout)
    if members > 1:
        trajectories = torch.cat([trajectories] * members)
        parameters = {name: torch.cat([value] * members) if isinstance(value, Tensor) and value.ndim else value
                      for name, value in parameters.items()}
    with in_mode(rollout, training=False):
        rolled = functools.partial(replay, rollout) if arguments.flag("predict", "trace", trace) else rollout
        prediction = rolled(trajectories[:, 0], **parameters)
    return prediction, trajectories[:, 1:num_steps + 1]


def relative_l2(trajectory: Tensor, reference: Tensor) -> Tensor:
    """|u_i - r_i| / |r_i|, the L2 norm over channels and space: (batch, time). Infinite where u_i is not finite."""
    _check_pair("relative_l2", trajectory, reference)
    return losses.relative_l2(trajectory, reference).nan_to_num(nan=math.inf, posinf=math.inf)


def mean_over_horizon(error: Tensor, num_steps: int) -> Tensor:
    """(batch, time) -> (batch,): the mean of a metric over the first ``num_steps`` steps."""
    arguments.tensor("mean_over_horizon", "error", error, "(batch, time)", 2)
    num_steps = arguments.whole("mean_over_horizon", "num_steps", num_steps)
    if not 1 <= num_steps <= error.shape[1]:
        raise ValueError(f"mean_over_horizon: num_steps is {num_steps}, but the error has {error.shape[1]} steps")
    return error[:, :num_steps].mean(1)


def correlation(trajectory: Tensor, reference: Tensor) -> Tensor:
    r"""Pearson correlation of u_i and r_i over channels and space: (batch, time), in [-1, 1].

        <u - <u>, r - <r>> / (|u - <u>| |r - <r>|),   <.> the mean over space, of each channel

    Zero where u_i is not finite, and where u_i or r_i is constant.
    """
    _check_pair("correlation", trajectory, reference)
    u, r = (_unit_fluctuation(x) for x in (trajectory, reference))
    return (u * r).sum(2).clamp(-1, 1)


def time_to_decorrelation(correlations: Tensor, threshold: float = 0.8) -> Tensor:
    """(batch, time) -> (batch,): the first step, from 1, with a correlation below the threshold.

    num_steps + 1 where there is none: the true time is then longer than the roll-out (a lower bound).
    """
    label = "time_to_decorrelation"
    arguments.tensor(label, "correlations", correlations, "(batch, time)", 2)
    return _first(correlations < arguments.number(label, "threshold", threshold))


def blow_up_step(trajectory: Tensor, reference: Tensor, factor: float = 10.0) -> Tensor:
    """(batch,): the first step, from 1, at which the state has blown up; num_steps + 1 where it has not.

    Blown up: a value that is not finite, or further than ``factor`` times the reference's range (maximum minus minimum
    over time, channels and space) from the reference's mean. The reference may have another length.
    Raises: ValueError for a reference that is not finite or has no range.
    """
    arguments.trajectory("blow_up_step", "trajectory", trajectory)
    arguments.trajectory("blow_up_step", "reference", reference)
    factor = arguments.positive("blow_up_step", "factor", factor)
    if trajectory.shape[0] != reference.shape[0] or trajectory.shape[2:] != reference.shape[2:]:
        raise ValueError(f"blow_up_step: the trajectory has shape {tuple(trajectory.shape)}, the reference "
                         f"{tuple(reference.shape)}; give a reference that differs in its number of steps only")
    flat = reference.flatten(1)
    span = flat.amax(1) - flat.amin(1)
    if not (torch.isfinite(span) & (span > 0)).all():
        raise ValueError(f"blow_up_step: the reference's range is {span.tolist()}; it must be finite and positive")
    distance = (trajectory.flatten(2) - flat.mean(1)[:, None, None]).abs().amax(2)  # NaN propagates through amax
    return _first(~(distance <= factor * span[:, None]))


def survival(blow_up_steps: Tensor, num_steps: int) -> Tensor:
    """(num_steps,): the fraction of samples that have not blown up by the end of step 1, 2, ..."""
    if not isinstance(blow_up_steps, Tensor) or blow_up_steps.ndim != 1:
        raise arguments.refusal("survival", "blow_up_steps", blow_up_steps, "a tensor (batch,), as from blow_up_step")
    num_steps = arguments.whole("survival", "num_steps", num_steps)
    steps = torch.arange(1, num_steps + 1, device=blow_up_steps.device)
    return (blow_up_steps[:, None] > steps).double().mean(0)


def energy_spectrum(trajectory: Tensor) -> Tensor:
    r"""Energy by wave number: (batch, time, channels, *spatial) -> (batch, time, wave numbers 0, 1, 2, ...).

        E(k) = 1/2 sum_{k - 1/2 <= |kappa| < k + 1/2} |u_kappa|^2,   u_kappa the Fourier coefficients

    summed over channels, so that sum_k E(k) = mean_x |u|^2 / 2 (Parseval). k counts waves along the longest side of a
    grid with equal spacing along all axes. In two dimensions shells up to the corner of the square are included; those
    above half the points of a side are incomplete. Computed in double precision; NaN for a state that is not finite.
    """
    arguments.trajectory("energy_spectrum", "trajectory", trajectory)
    spatial = trajectory.shape[3:]
    axes = tuple(range(3, trajectory.ndim))
    coefficients = torch.fft.fftn(trajectory.double(), dim=axes, norm="forward")
    waves = [torch.fft.fftfreq(n, 1 / max(spatial), dtype=torch.float64) for n in spatial]
    radius = sum(k.square() for k in torch.meshgrid(*waves, indexing="ij")).sqrt()
    shell = (radius + 0.5).floor().long().flatten().to(trajectory.device)
    energy = (coefficients.abs().square().sum(2) / 2).flatten(2)  # (batch, time, points)
    return energy.new_zeros(*energy.shape[:2], int(shell.max()) + 1).index_add(2, shell, energy)


def log_spectral_distance(spectrum: Tensor, reference: Tensor) -> Tensor:
    r"""Root mean square over k >= 1 of ln(E(k) / E_ref(k)): (..., wave numbers) -> (...).

    0.1 means about 10 % in energy per shell. Energies below 1e-12 of the reference's total are raised to it, so that
    rounding does not count. Infinite where the spectrum is not finite.
    """
    for name, value in (("spectrum", spectrum), ("reference", reference)):
        if arguments.tensor("log_spectral_distance", name, value, "(..., wave numbers)").ndim == 0:
            raise arguments.refusal("log_spectral_distance", name, value, "a tensor (..., wave numbers)", ValueError)
    if spectrum.shape[-1] != reference.shape[-1]:
        raise ValueError(f"log_spectral_distance: {spectrum.shape[-1]} and {reference.shape[-1]} wave numbers; compare "
                         "on one grid")
    lowest = 1e-12 * reference.sum(-1, keepdim=True)
    ratio = spectrum.maximum(lowest) / reference.maximum(lowest)
    return ratio[..., 1:].log().square().mean(-1).sqrt().nan_to_num(nan=math.inf, posinf=math.inf)


def long_time_statistics(trajectory: Tensor, skip: int = 0) -> tuple[Tensor, Tensor]:
    """Mean and variance over time and space, of each channel, after ``skip`` steps: twice (batch, channels)."""
    arguments.trajectory("long_time_statistics", "trajectory", trajectory)
    skip = arguments.whole("long_time_statistics", "skip", skip, 0)
    if not skip < trajectory.shape[1]:
        raise ValueError(f"long_time_statistics: skip is {skip}, but the trajectory has {trajectory.shape[1]} steps")
    values = trajectory[:, skip:].transpose(1, 2).flatten(2).double()
    return values.mean(2), values.var(2, correction=0)


def _unit_fluctuation(u: Tensor) -> Tensor:
    """(batch, time, points) with zero mean per channel and unit norm; zero where that is impossible."""
    u = u.double().flatten(3)  # (batch, time, channels, points)
    u = u.where(torch.isfinite(u).all(3, keepdim=True).all(2, keepdim=True), 0.0)
    u = u / u.abs().amax((2, 3), keepdim=True).clamp(min=1e-300)  # squares of large values would overflow
    u = (u - u.mean(3, keepdim=True)).flatten(2)
    norm = u.norm(dim=2, keepdim=True)
    # What is left of a constant state is rounding, whose direction means nothing.
    return (u / norm).where(norm > 1e-12 * u.shape[2] ** 0.5, 0.0)


def _first(mask: Tensor) -> Tensor:
    """(batch, time) -> (batch,): number of the first True, from 1; time + 1 without one."""
    return torch.where(mask.any(1), mask.int().argmax(1), mask.shape[1]) + 1


def _check_pair(name: str, trajectory: Tensor, reference: Tensor) -> None:
    arguments.trajectory(name, "trajectory", trajectory)
    arguments.trajectory(name, "reference", reference)
    if trajectory.shape != reference.shape:
        raise ValueError(f"{name}: the trajectory has shape {tuple(trajectory.shape)}, the reference "
                         f"{tuple(reference.shape)}; both are (batch, time, channels, *spatial), state i with state i")
    if not torch.isfinite(reference).all():
        raise ValueError(f"{name}: the reference contains NaN or infinity; simulate it again with a stable solver")
