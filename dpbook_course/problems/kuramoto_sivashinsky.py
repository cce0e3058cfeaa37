r"""The correction of a coarse Kuramoto-Sivashinsky solver: the problem of E03, E04, E06, E07 and E08.

After List et al. 2025: 48 points, two sub-steps of 0.5 per step, the reference by ETDRK2 and the coarse solver by ETD1
on the same grid; domains of length 16 pi times six factors, the length known to the network. Tested on shorter
(0.85), longer (1.4) and intermediate (0.93, 1.15) domains that no training sees.

The flow is chaotic, so its trajectories are data: ``kuramoto_sivashinsky.npz`` holds every 12th state of each, and the
reference solver runs between them. ``python -m dpbook_course.problems.kuramoto_sivashinsky --write`` makes the file
anew; on another processor that gives other trajectories, for which no study has been computed.

Chapters: 03_unrolling, 05_loss_placement, 06_long_horizons, 07_noise.   Source: list2025.
"""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dpbook_utils import evaluation
from dpbook_utils.coupling import Additive
from dpbook_utils.data import Windows, random_fourier, simulate
from dpbook_utils.networks import ConvResNet, Ensemble
from dpbook_utils.physics.kuramoto_sivashinsky import KuramotoSivashinsky, etd1, etdrk2
from dpbook_utils.physics.solver import select
from dpbook_utils.rollout import Sequential

from . import restarts
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
    """``train``, ``validation`` (the same lengths, other states), one of the test regions, or ``unit`` (see below)."""
    return with_history(name, 0)


def with_history(name: str, before: int) -> Trajectories:
    """The same with ``before`` more states in front of the first, at most 2: a history that leads to it.

    Raises: RestartError for a missing, damaged or foreign file of states.
    """
    if before > BEFORE:
        raise ValueError(f"with_history: {before} states before the first; {BEFORE} are stored")
    lengths, num_steps, _ = _described(name)
    states = restarts.between(reference_solver(), _restarts()[name], EVERY, num_steps + 1 + BEFORE, length=lengths)
    return Trajectories(states[:, BEFORE - before:], lengths)


STATES = Path(__file__).with_suffix(".npz")
EVERY = 12  # steps from one stored state to the next
BEFORE = 2  # steps from the first one to the first state of a trajectory
UNIT_SEED = 3  # ``unit``: more test states, on the domain of the unit length alone
COMMAND = "python -m dpbook_course.problems.kuramoto_sivashinsky --write"


def _described(name: str) -> tuple[Tensor, int, int]:
    """(lengths of the domains, number of steps, seed of the initial conditions) of one set of trajectories."""
    s = SETTINGS
    factors, per_length, num_steps, seed = (1.0,), s["tests_per_length"], s["test_steps"], UNIT_SEED
    if name in s["test_lengths"]:
        factors, seed = s["test_lengths"][name], s["data_seeds"]["test"]
    elif name != "unit":
        factors, per_length, seed = s["train_lengths"], s["trajectories_per_length"], s["data_seeds"][name]
        num_steps = s["train_steps"] if name == "train" else s["horizon"]
    return s["unit_length"] * torch.tensor(factors).repeat_interleave(per_length), num_steps, seed


@functools.cache
def _restarts() -> dict[str, Tensor]:
    return restarts.load(STATES, _made_with(), COMMAND)


def _made_with() -> dict:
    names = ("num_points", "dt", "num_substeps", "unit_length", "train_lengths", "trajectories_per_length",
             "train_steps", "warmup", "modes", "data_seeds", "test_lengths", "tests_per_length", "test_steps",
             "horizon")
    return {**{name: SETTINGS[name] for name in names}, "every": EVERY, "before": BEFORE, "unit_seed": UNIT_SEED}


def make_states(path: Path = STATES) -> None:
    """Simulate all trajectories from random initial conditions and store every ``EVERY``-th state."""
    found = {}
    for name in ("train", "validation", *SETTINGS["test_lengths"], "unit"):
        lengths, num_steps, seed = _described(name)
        u0 = random_fourier(len(lengths), SETTINGS["num_points"], modes=SETTINGS["modes"], seed=seed)
        warmup = SETTINGS["warmup"] - BEFORE
        states = simulate(reference_solver(), u0, num_steps + BEFORE, warmup=warmup, length=lengths)
        found[name] = states[:, ::EVERY].clone()
    restarts.save(path, _made_with(), found)


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


if __name__ == "__main__":
    restarts.command(STATES, make_states, __doc__)
