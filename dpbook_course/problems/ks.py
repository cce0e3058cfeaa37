"""The Kuramoto-Sivashinsky correction, ``kuramoto_sivashinsky``, and its stored states."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from dpbook_utils import evaluation
from dpbook_utils.data import random_fourier, simulate
from dpbook_utils.networks import ConvResNet
from dpbook_utils.physics.kuramoto_sivashinsky import KuramotoSivashinsky, etd1, etdrk2

from . import restarts
from .data_sets import cached_per_set, current, data_set, seed_here
from .problem import Problem, Trajectories
from .steps import Persistence

STATES = Path(__file__).with_suffix(".npz")
EVERY = 12  # steps from one stored state to the next
FURTHER_STATES = Path(__file__).with_name("ks_further.npz")  # of the data sets 1, 2, ..., in double precision
FURTHER_SETS, FURTHER_EVERY = 12, 96
BEFORE = 2  # steps from the first one to the first state of a trajectory
UNIT_SEED = 3  # ``unit``: more test states, on the domain of the unit length alone
COMMAND = "python -m dpbook_course.problems.ks --write"
MADE_WITH = ("num_points", "dt", "num_substeps", "unit_length", "train_lengths", "trajectories_per_length",
             "train_steps", "warmup", "modes", "data_seeds", "test_lengths", "tests_per_length", "test_steps",
             "horizon")


class KuramotoSivashinskyProblem(Problem):
    r"""The correction of a coarse Kuramoto-Sivashinsky solver: the problem of E03, E04, E06, E07 and E08.

    After List et al. 2025: 48 points, two sub-steps of 0.5 per step, the reference by ETDRK2 and the coarse solver by
    ETD1 on the same grid; domains of length 16 pi times six factors, the length known to the network. Tested on shorter
    (0.85), longer (1.4) and intermediate (0.93, 1.15) domains that no training sees.

    The flow is chaotic, so its trajectories are data: ``ks.npz`` holds every 12th state of each, and the reference
    solver runs between them; ``ks_further.npz`` has every 96th of twelve more data sets, in double precision, whose
    rounding takes longer to matter. ``python -m dpbook_course.problems.ks --write`` makes the files anew; on another
    processor that gives other trajectories, for which no study has been computed.

    Chapters: 03_unrolling, 05_loss_placement, 06_long_horizons, 07_noise.   Source: list2025.
    """

    where = "domains {} the training range"
    measures = {
        "one_step": "relative L2 error after one step",
        "error": "mean relative L2 error over 12 steps, at most 2 at each",
        "curve": "relative L2 error at steps 1 ... 24, at most 2, geometric mean over samples",
        "decorrelation": "mean first step with correlation below 0.8, at most 401",
        "blown_up": "fraction of roll-outs of 400 steps that blow up",
        "survival": "first step at which each roll-out has blown up; 401 for none",
        "spectrum": "RMS log distance of the mean energy spectrum, steps 101 ... 400; infinite after a blow-up",
        "variance": "long-time variance divided by the reference's, steps 101 ... 400; infinite after a blow-up",
    }
    decorrelation, statistics_after = 0.8, 100

    @property
    def regions(self) -> tuple[str, ...]:
        return tuple(self.test_lengths)

    def solver(self, integrator: Callable, num_substeps: int | None = None) -> KuramotoSivashinsky:
        return KuramotoSivashinsky(self.num_points, self.dt, integrator, num_substeps or self.num_substeps)

    def reference_solver(self) -> KuramotoSivashinsky:
        return self.solver(etdrk2)

    def coarse_solver(self, num_substeps: int | None = None) -> KuramotoSivashinsky:
        """P, or the same with another number of sub-steps."""
        return self.solver(etd1, num_substeps)

    @cached_per_set
    def trajectories(self, name: str) -> Trajectories:
        """``train``, ``validation`` (the same lengths, other states), a test region, or ``unit`` (``UNIT_SEED``)."""
        return self.with_history(name, 0)

    def with_history(self, name: str, before: int) -> Trajectories:
        """The same with ``before`` more states in front of the first, at most 2: a history that leads to it.

        Raises: RestartError for a missing, damaged or foreign file of states.
        """
        if before > BEFORE:
            raise ValueError(f"with_history: {before} states before the first; {BEFORE} are stored")
        lengths, num_steps, _ = self.described(name)
        stored, every = self.restarts(), FURTHER_EVERY if current() else EVERY
        states = restarts.between(self.reference_solver(), stored[name], every, num_steps + 1 + BEFORE, length=lengths)
        return Trajectories(states[:, BEFORE - before:].float(), {"length": lengths})

    def described(self, name: str) -> tuple[Tensor, int, int]:
        """(lengths of the domains, number of steps, seed of the initial conditions) of one set of trajectories."""
        factors, per_length, num_steps, seed = (1.0,), self.tests_per_length, self.test_steps, UNIT_SEED
        if name in self.test_lengths:
            factors, seed = self.test_lengths[name], self.data_seeds["test"]
        elif name != "unit":
            factors, per_length, seed = self.train_lengths, self.trajectories_per_length, self.data_seeds[name]
            num_steps = self.train_steps if name == "train" else self.horizon
        return self.unit_length * torch.tensor(factors).repeat_interleave(per_length), num_steps, seed

    @cached_per_set
    def restarts(self) -> dict[str, Tensor]:
        """The stored states of the present data set. Raises ValueError for a set of which none are stored."""
        if not current():
            return restarts.load(STATES, self.made_with(), COMMAND)
        if current() > FURTHER_SETS:
            raise ValueError(f"data set {current()} of {type(self).__name__}: there are 0 ... {FURTHER_SETS}; make "
                             f"more with a larger FURTHER_SETS and `{COMMAND}`")
        found = self.further_restarts()
        return {name: found[f"{name} {current()}"] for name in self.set_names}

    @functools.cache
    def further_restarts(self) -> dict[str, Tensor]:
        """The stored states of the data sets 1, 2, ...: ``{"train 1": (samples, restarts, 1, x)}``."""
        return restarts.load(FURTHER_STATES, self.further_made_with(), COMMAND)

    @property
    def set_names(self) -> tuple[str, ...]:
        return "train", "validation", *self.regions, "unit"

    def made_with(self) -> dict:
        """The settings that the stored states depend on."""
        return {**{name: getattr(self, name) for name in MADE_WITH}, "every": EVERY, "before": BEFORE,
                "unit_seed": UNIT_SEED}

    def further_made_with(self) -> dict:
        """The same for the data sets 1, 2, ..."""
        return {**self.made_with(), "every": FURTHER_EVERY, "sets": FURTHER_SETS}

    def make_states(self, path: Path = STATES) -> None:
        """Simulate all trajectories from random initial conditions; store some of their states, and beside that file
        those of the further data sets."""
        restarts.save(path, self.made_with(), {name: self._made(name, EVERY) for name in self.set_names})
        self.make_further_states(path.with_name(FURTHER_STATES.name))

    def make_further_states(self, path: Path = FURTHER_STATES) -> None:
        """The same for the data sets 1, 2, ..."""
        further = {}
        for number in range(1, FURTHER_SETS + 1):
            with data_set(number):
                further |= {f"{name} {number}": self._made(name, FURTHER_EVERY, torch.float64)
                            for name in self.set_names}
        restarts.save(path, self.further_made_with(), further)

    def _made(self, name: str, every: int, dtype: torch.dtype = torch.float32) -> Tensor:
        lengths, num_steps, seed = self.described(name)
        u0 = random_fourier(len(lengths), self.num_points, modes=self.modes, seed=seed_here(seed), dtype=dtype)
        states = simulate(self.reference_solver(), u0, num_steps + BEFORE, warmup=self.warmup - BEFORE,
                          length=lengths.to(dtype))
        return states[:, ::every].clone()

    def network(self, seed: int, width: int, num_blocks: int, output_scale: float | None = None) -> ConvResNet:
        scale = self.output_scale if output_scale is None else output_scale
        return ConvResNet(1, 1, 1, width=width, num_blocks=num_blocks, conditions={"length": self.condition},
                          output_scale=scale, seed=seed)

    def judge(self, step: nn.Module, data: Trajectories, num_seeds: int) -> dict[str, Tensor]:
        """The ``measures`` of a step on a test set, each with a leading axis of seeds."""
        return self.judge_rollouts(*map(self.observed, self.predict(step, data)), num_seeds)

    def judge_rollouts(self, prediction: Tensor, reference: Tensor, num_seeds: int) -> dict[str, Tensor]:
        """The same from what is ``observed`` of a prediction and its reference, (seeds * samples, 400, 1, x) each."""
        error = self.capped_error(prediction, reference)
        decorrelated = evaluation.time_to_decorrelation(evaluation.correlation(prediction, reference),
                                                        self.decorrelation)
        blown = evaluation.blow_up_step(prediction, reference)

        def per_seed(values: Tensor) -> Tensor:
            return values.unflatten(0, (num_seeds, -1))

        late = slice(self.statistics_after, None)
        spectra = [per_seed(evaluation.energy_spectrum(u[:, late])).mean((1, 2)) for u in (prediction, reference)]
        variances = [per_seed(evaluation.long_time_statistics(u, self.statistics_after)[1]).mean((1, 2))
                     for u in (prediction, reference)]
        whole = (per_seed(blown) > self.test_steps).all(1)
        return {
            "one_step": per_seed(error[:, 0]).mean(1),
            "error": per_seed(evaluation.mean_over_horizon(error, self.horizon)).mean(1),
            "curve": per_seed(error[:, :2 * self.horizon]).log().mean(1).exp(),
            "decorrelation": per_seed(decorrelated).double().mean(1),
            "blown_up": (per_seed(blown) <= self.test_steps).double().mean(1),
            "survival": per_seed(blown),
            "spectrum": evaluation.log_spectral_distance(*spectra).where(whole, math.inf),
            "variance": (variances[0] / variances[1]).where(whole, math.inf),
        }


kuramoto_sivashinsky = KuramotoSivashinskyProblem(
    num_points=48, dt=1.0, num_substeps=2, unit_length=16 * math.pi, train_lengths=(0.9, 0.95, 1.0, 1.1, 1.2, 1.3),
    trajectories_per_length=6, train_steps=1000, warmup=200, modes=4,
    data_seeds={"train": 0, "validation": 1, "test": 2},
    test_lengths={"inside": (0.93, 1.15), "below": (0.85,), "above": (1.4,)}, tests_per_length=16, test_steps=400,
    horizon=12, largest_error=2.0, decorrelation=0.8, statistics_after=100, condition=(1.1 * 16 * math.pi, 8.0),
    output_scale=0.01, batch_seed=1000)


@dataclass(frozen=True)
class Baseline:
    """A row without a network: ``num_substeps`` of ETD1, or none for a state that stays as it is."""

    num_substeps: int | None

    def step(self) -> nn.Module:
        return Persistence() if self.num_substeps is None else kuramoto_sivashinsky.coarse_solver(self.num_substeps)


if __name__ == "__main__":
    restarts.command(STATES, kuramoto_sivashinsky.make_states, KuramotoSivashinskyProblem.__doc__)
