r"""Roll-outs of trained networks, small enough to travel inside a page: what the book's explorer shows.

Of every network: its error against time in each test region, the roll-out of the region's first sample as a quantised
picture, and how the gradient that trains it grows with the horizon. A picture stores

    q = 127 + round(127 u / U)   for |u| <= U,   0 or 254 beyond,   255 where |u| > 2 U, blown up,

in one byte, and u is off by at most U / 254 within the scale U.

Chapters: 01_physics_as_loss, 02_solver_as_data, 03_unrolling, 04_coupling, 06_long_horizons, 07_noise,
09_choosing_the_numerics.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from dpbook_utils import evaluation
from dpbook_utils.diagnostics import gradient_growth
from dpbook_utils.physics.solver import select
from dpbook_utils.rollout import Sequential
from dpbook_utils.setups import Setup

from ..problems.problem import Trajectories
from ..problems.steps import Bounded, Persistence

Regions = Mapping[str, tuple[Tensor, Tensor, Tensor, Tensor]]  # {region: (prediction, reference, u0, parameter)}
REGIONS = ("inside", "below", "above")
NUM_STEPS = 100
EVERY = 2  # steps between two rows of a picture
HORIZONS = (1, 2, 4, 8, 16, 32)
BATCH = 16
LARGEST_ERROR = 2.0
LEVELS = 127
BLOWN_UP = 255
BASELINES = {"reference": "the reference itself", "P": "the solver alone", "persistence": "the state stays as it is"}
SETTINGS = {"num_steps": NUM_STEPS, "every": EVERY, "horizons": HORIZONS, "batch": BATCH,
            "largest_error": LARGEST_ERROR, "levels": LEVELS}


def metrics(parameter: str, regions: Sequence[str] = REGIONS, num_steps: int = NUM_STEPS) -> dict[str, str]:
    """What is stored of every variant; ``parameter`` is the name and unit of what the regions differ in."""
    found = {"gradient": "|dL/dtheta| of the training loss without noise, by the variant's own placement and gradient "
                         f"policy, at the horizons {', '.join(map(str, HORIZONS))}; NaN without a network",
             "diverged_at": "update at which the training diverged; -1 for none"}
    for region in regions:
        found |= {
            f"error.{region}": f"relative L2 error at steps 1 ... {num_steps}, at most 2, geometric mean over samples; "
                               f"region: {region}",
            f"field.{region}": f"u of the first sample at steps 0, {EVERY}, ... {num_steps}, one byte each; "
                               f"region: {region}",
            f"parameter.{region}": f"{parameter} of that sample; region: {region}"}
    return found


def quantised(u: Tensor, scale: float) -> Tensor:
    """u on the scale -U ... U as whole numbers 0 ... 254; 255 where it has blown up: |u| > 2 U, or no number at all."""
    levels = (u / scale).clamp(-1, 1).nan_to_num().mul(LEVELS).round().add(LEVELS)
    return levels.where(u.abs() <= 2 * scale, torch.tensor(float(BLOWN_UP))).to(torch.uint8)


def predicted(step: nn.Module, tests: Mapping[str, Trajectories], num_steps: int = NUM_STEPS) -> Regions:
    """What ``measured`` takes, of a step on test sets; a blown-up state stays at a bound."""
    found, bounded = {}, Sequential(step, Bounded())
    for region, (states, parameters) in tests.items():
        (parameter,) = parameters.values()
        pair = evaluation.predict(bounded, states, num_steps, **select(bounded, parameters))
        found[region] = (*pair, states[:, 0], parameter)
    return found


def itself(tests: Mapping[str, Trajectories], num_steps: int = NUM_STEPS) -> Regions:
    """The same of the reference, which no solver on the coarse grid may give."""
    return {region: (states[:, 1:num_steps + 1], states[:, 1:num_steps + 1], states[:, 0], *parameters.values())
            for region, (states, parameters) in tests.items()}


def measured(regions: Regions, num_seeds: int, scale: float) -> dict[str, Tensor]:
    """The metrics of each region.

    Args:
        regions: ``{region: (prediction, reference, u0, parameter)}``; prediction and reference
            (seeds * samples, steps, 1, x) from ``evaluation.predict``, u0 (samples, 1, x), the same for
            all seeds, or (seeds * samples, 1, x), parameter (samples,).
        scale: U of the pictures.
    """
    found = {}
    for region, (prediction, reference, u0, parameter) in regions.items():
        error = evaluation.relative_l2(prediction, reference).clamp(max=LARGEST_ERROR).double()
        # The reference against itself has no error at all, and a logarithm needs one.
        found[f"error.{region}"] = error.unflatten(0, (num_seeds, -1)).clamp(min=1e-12).log().mean(1).exp()
        shown = prediction.unflatten(0, (num_seeds, -1))[:, 0, :, 0]
        first = u0.unflatten(0, (-1, len(prediction) // num_seeds))[:, 0].expand(num_seeds, -1, -1)
        states = torch.cat([first, shown], 1)[:, ::EVERY]
        found[f"field.{region}"] = quantised(states, scale)
        found[f"parameter.{region}"] = parameter[:1].expand(num_seeds)
    return found


def gradient_norms(setup: Setup, step: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """(seeds, horizons): of the weights, with the set-up's placement and policy but without its noise."""
    return gradient_growth(replace(setup, sigma=0.0).objective(step), batch, HORIZONS).weights.T


def without_training(regions: Regions, scale: float) -> dict[str, Tensor]:
    """All metrics of a baseline."""
    return {**measured(regions, 1, scale), "gradient": torch.full((1, len(HORIZONS)), torch.nan),
            "diverged_at": torch.full((1,), -1)}


def of_baseline(variant: str, problem, tests: Mapping[str, Trajectories], scale: float) -> dict[str, Tensor]:
    """All metrics of one of BASELINES, for a problem whose reference is on a finer grid."""
    if variant == "reference":
        return without_training(itself(tests), scale)
    step = problem.coarse_solver() if variant == "P" else Persistence()
    return without_training(predicted(step, tests), scale)


def trained(setup: Setup, step: nn.Module, history, batch: Mapping[str, Tensor], regions: Regions,
            seeds: Sequence[int], scale: float) -> dict[str, Tensor]:
    """All metrics of a trained step."""
    return {**measured(regions, len(seeds), scale), "gradient": gradient_norms(setup, step, batch),
            "diverged_at": history.diverged_at}
