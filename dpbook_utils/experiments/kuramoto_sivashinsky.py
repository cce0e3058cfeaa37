r"""The correction of a coarse Kuramoto-Sivashinsky solver: the problem of E03, E04, E06, E07 and E08.

After List et al. 2025: 48 points, two sub-steps of 0.5 per step, the reference by ETDRK2 and the coarse solver by ETD1
on the same grid; domains of length 16 pi times six factors, the length known to the network. Tested on shorter
(0.85), longer (1.4) and intermediate (0.93, 1.15) domains that no training sees.

Chapters: 03_unrolling, 05_loss_placement, 06_long_horizons, 07_noise.   Source: list2025.
"""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .. import evaluation
from ..coupling import Additive
from ..data import Windows, random_fourier, simulate
from ..networks import ConvResNet, Ensemble
from ..physics.kuramoto_sivashinsky import KuramotoSivashinsky, etd1, etdrk2
from ..physics.solver import select
from ..rollout import Sequential
from .steps import Persistence

SETTINGS = {
    "num_points": 48, "dt": 1.0, "num_substeps": 2, "unit_length": 16 * math.pi,
    "train_lengths": (0.9, 0.95, 1.0, 1.1, 1.2, 1.3), "trajectories_per_length": 6, "train_steps": 1000, "warmup": 200,
    "modes": 4, "data_seeds": {"train": 0, "validation": 1, "test": 2},
    "test_lengths": {"inside": (0.93, 1.15), "below": (0.85,), "above": (1.4,)}, "tests_per_length": 16,
    "test_steps": 400, "horizon": 12, "largest_error": 2.0, "decorrelation": 0.8, "statistics_after": 100,
    "condition": (1.1 * 16 * math.pi, 8.0), "output_scale": 0.01, "batch_seed": 1000,
}

METRICS = {
    f"{name}.{region}": f"{text}; domains {region} the training range" for region in SETTINGS["test_lengths"]
    for name, text in {
        "one_step": "relative L2 error after one step",
        "error": "mean relative L2 error over 12 steps, at most 2 at each",
        "curve": "relative L2 error at steps 1 ... 24, at most 2, geometric mean over samples",
        "decorrelation": "mean first step with correlation below 0.8, at most 401",
        "blown_up": "fraction of roll-outs of 400 steps that blow up",
        "survival": "first step at which each roll-out has blown up; 401 for none",
        "spectrum": "RMS log distance of the mean energy spectrum, steps 101 ... 400; infinite after a blow-up",
        "variance": "long-time variance divided by the reference's, steps 101 ... 400; infinite after a blow-up",
    }.items()
}


class Trajectories(NamedTuple):
    """states (samples, time, 1, x), lengths (samples,)."""

    states: Tensor
    lengths: Tensor

    def windows(self, seeds: Sequence[int], num_steps: int, batch_size: int, batch_seed: int) -> Windows:
        """Batches of windows, one stream for each seed, which is counted from ``batch_seed``."""
        return Windows(self.states, num_steps, batch_size, seeds=[batch_seed + s for s in seeds], length=self.lengths)


def solver(integrator: Callable, num_substeps: int = SETTINGS["num_substeps"]) -> KuramotoSivashinsky:
    return KuramotoSivashinsky(SETTINGS["num_points"], SETTINGS["dt"], integrator, num_substeps)


def reference_solver() -> KuramotoSivashinsky:
    return solver(etdrk2)


def coarse_solver() -> KuramotoSivashinsky:
    return solver(etd1)


@dataclass(frozen=True)
class Baseline:
    """A row without a network: ``num_substeps`` of ETD1, or none for a state that stays as it is."""

    num_substeps: int | None

    def step(self) -> nn.Module:
        return Persistence() if self.num_substeps is None else solver(etd1, self.num_substeps)


@functools.cache
def trajectories(name: str) -> Trajectories:
    """``train``, ``validation`` (the same lengths, other states), or one of the test regions."""
    return simulated(name)


def simulated(name: str, before: int = 0) -> Trajectories:
    """The same, simulated anew, with ``before`` more states in front of the first: a history that leads to it."""
    s = SETTINGS
    if name in s["test_lengths"]:
        factors, per_length, num_steps, seed = s["test_lengths"][name], s["tests_per_length"], s["test_steps"], "test"
    else:
        factors, per_length, seed = s["train_lengths"], s["trajectories_per_length"], name
        num_steps = s["train_steps"] if name == "train" else s["horizon"]
    lengths = s["unit_length"] * torch.tensor(factors).repeat_interleave(per_length)
    u0 = random_fourier(len(lengths), s["num_points"], modes=s["modes"], seed=s["data_seeds"][seed])
    states = simulate(reference_solver(), u0, num_steps + before, warmup=s["warmup"] - before, length=lengths)
    return Trajectories(states, lengths)


def network(seed: int, width: int, num_blocks: int, output_scale: float = SETTINGS["output_scale"]) -> ConvResNet:
    return ConvResNet(1, 1, 1, width=width, num_blocks=num_blocks, conditions={"length": SETTINGS["condition"]},
                      output_scale=output_scale, seed=seed)


def ensemble(seeds: Sequence[int], width: int, num_blocks: int,
             output_scale: float = SETTINGS["output_scale"]) -> Ensemble:
    return Ensemble([network(seed, width, num_blocks, output_scale) for seed in seeds])


def hybrid(networks: nn.Module) -> Sequential:
    """P, then N: the coarse step and its correction."""
    return Sequential(coarse_solver(), Additive(networks))


def predictor(networks: nn.Module) -> Sequential:
    """N alone: u + N(u), without a solver."""
    return Sequential(Additive(networks))


def windows(seeds: Sequence[int], num_steps: int, batch_size: int) -> Windows:
    """Batches of the training data: the same windows for all set-ups with the same longest unroll."""
    return trajectories("train").windows(seeds, num_steps, batch_size, SETTINGS["batch_seed"])


def validation_error(step: nn.Module, num_seeds: int) -> Tensor:
    """(seeds,): mean relative L2 error over the horizon, on the validation data."""
    data = trajectories("validation")
    prediction, reference = evaluation.predict(step, data.states, **_parameters(step, data))
    return _capped_error(prediction, reference).unflatten(0, (num_seeds, -1)).mean((1, 2))


def evaluate(step: nn.Module, num_seeds: int) -> dict[str, Tensor]:
    """All METRICS of a step with ``num_seeds`` members, each with a leading axis of seeds."""
    found = {}
    for region in SETTINGS["test_lengths"]:
        data = trajectories(region)
        judged = judge(*evaluation.predict(step, data.states, **_parameters(step, data)), num_seeds)
        found.update({f"{name}.{region}": value for name, value in judged.items()})
    return found


def judge(prediction: Tensor, reference: Tensor, num_seeds: int) -> dict[str, Tensor]:
    """METRICS of one region from what ``evaluation.predict`` gives; (num_seeds * samples, 400, 1, x) each."""
    s = SETTINGS
    error = _capped_error(prediction, reference)
    decorrelated = evaluation.time_to_decorrelation(evaluation.correlation(prediction, reference), s["decorrelation"])
    blown = evaluation.blow_up_step(prediction, reference)

    def per_seed(values: Tensor) -> Tensor:
        return values.unflatten(0, (num_seeds, -1))

    late = slice(s["statistics_after"], None)
    spectra = [per_seed(evaluation.energy_spectrum(u[:, late])).mean((1, 2)) for u in (prediction, reference)]
    variances = [per_seed(evaluation.long_time_statistics(u, s["statistics_after"])[1]).mean((1, 2))
                 for u in (prediction, reference)]
    whole = (per_seed(blown) > s["test_steps"]).all(1)
    return {
        "one_step": per_seed(error[:, 0]).mean(1),
        "error": per_seed(evaluation.mean_over_horizon(error, s["horizon"])).mean(1),
        "curve": per_seed(error[:, :2 * s["horizon"]]).log().mean(1).exp(),
        "decorrelation": per_seed(decorrelated).double().mean(1),
        "blown_up": (per_seed(blown) <= s["test_steps"]).double().mean(1),
        "survival": per_seed(blown),
        "spectrum": evaluation.log_spectral_distance(*spectra).where(whole, math.inf),
        "variance": (variances[0] / variances[1]).where(whole, math.inf),
    }


def _capped_error(prediction: Tensor, reference: Tensor) -> Tensor:
    """A decorrelated state has an error of about 1.4, one that blew up counts as 2: it must not outweigh all others."""
    return evaluation.relative_l2(prediction, reference).clamp(max=SETTINGS["largest_error"])


def _parameters(step: nn.Module, data: Trajectories) -> dict[str, Tensor]:
    return select(step, {"length": data.lengths})
