"""E03, first part: how a small difference between two states grows.   Chapter: 03_unrolling.

Pairs of states on the attractor, one of each pair perturbed by white noise of a relative size from 1e-8 to 1e-2,
advance with the reference solver in double precision. After a transient, in which the solver damps what it can, the
distance grows as e^{lambda k} until it is as large as the state; lambda is to be the leading Lyapunov exponent of the
same trajectories, which another method measures (tangents and QR factorisation). Nothing is trained here.

The states from which the pairs start are stored beside this file: the flow is chaotic, and the warm-up that leads to
them gives others on another processor. ``python -m dpbook_course.studies.e03 --write`` makes them
anew.
"""

import functools
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from dpbook_utils.data import random_fourier, simulate
from dpbook_utils.diagnostics import lyapunov_exponents
from dpbook_utils.evaluation import correlation, time_to_decorrelation

from ...experiments.spec import Specification, Task
from ...problems import kuramoto_sivashinsky as ks
from ...problems import restarts

SIZES = (1e-8, 1e-6, 1e-4, 1e-2)
SAMPLES, NUM_STEPS, WARMUP = 16, 500, 300
SETTLED = 20  # steps of transient: about a Lyapunov time
LARGE = 0.1  # above this relative distance growth saturates; no pair of a seed is there while its slope is taken
FEWEST = 15  # steps of exponential growth of all pairs, from which a slope is taken

SPEC = Specification(
    id="e03_perturbations", title="Growth of perturbations", chapter="03_unrolling",
    variants={f"size {size:g}": size for size in SIZES}, seeds=tuple(range(10)),
    budgets={f"size {size:g}": (0,) for size in SIZES},
    metrics={
        "distance": "relative distance after 0, 5, 10, ... 500 steps, geometric mean over 16 pairs",
        "slope": "growth of the mean of ln(distance), from step 20 until the first of the pairs is 0.1 apart [1/step]; "
                 "NaN for fewer than 15 steps",
        "exponent": "leading Lyapunov exponent on the same trajectories, over the same steps as the slope [1/step]; "
                    "over 200 if there is no slope",
        "decorrelation": "mean first step with correlation below 0.8, at most 501"},
    settings={**ks.settings, "samples": SAMPLES, "num_steps": NUM_STEPS, "warmup": WARMUP, "settled": SETTLED,
              "large": LARGE, "fewest": FEWEST, "factor": 1.0, "phase": "first pair"},
    checks=(Task("size 0.01", 0, (0, 1)),), checked=("exponent", "decorrelation"))


def run(variant: str, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    """Pairs of trajectories for every seed, all on the domain of the unit length."""
    solver, length = ks.reference_solver(), ks.unit_length
    reference = simulate(solver, torch.cat([_starts(seed) for seed in seeds]), NUM_STEPS, length=length)
    perturbed = simulate(solver, perturb(reference[:, 0], SPEC.variants[variant], seeds), NUM_STEPS, length=length)
    norm = (perturbed - reference).flatten(2).norm(dim=2) / reference.flatten(2).norm(dim=2)
    norm = norm.unflatten(0, (len(seeds), SAMPLES))
    phases = [exponential_phase(pairs) for pairs in norm]
    distance = norm.log().mean(1).exp()
    slopes = [slope(one, phase) for one, phase in zip(distance, phases)]
    decorrelated = time_to_decorrelation(correlation(perturbed[:, 1:], reference[:, 1:]), ks.decorrelation)
    return {"distance": distance[:, ::5], "slope": torch.tensor(slopes, dtype=torch.float64),
            "exponent": _exponents(solver, reference, phases, length),
            "decorrelation": decorrelated.double().unflatten(0, (len(seeds), SAMPLES)).mean(1)}


STATES = Path(__file__).with_suffix(".npz")
_MADE_WITH = {name: SPEC.settings[name] for name in ("num_points", "dt", "num_substeps", "unit_length", "modes",
                                                     "batch_seed", "samples", "warmup")} | {"seeds": SPEC.seeds}


def _starts(seed: int) -> Tensor:
    """(16, 1, x): the stored states of a seed of the study; of another one, what its warm-up gives here and now."""
    return _stored()[f"seed {seed}"][:, 0] if seed in SPEC.seeds else warmed_up(seed)


def warmed_up(seed: int) -> Tensor:
    """(16, 1, x): states on the attractor, in double precision."""
    u0 = random_fourier(SAMPLES, ks.num_points, modes=ks.modes,
                        seed=ks.batch_seed + seed, dtype=torch.float64)
    return simulate(ks.reference_solver(), u0, 1, warmup=WARMUP, length=ks.unit_length)[:, 0]


@functools.cache
def _stored() -> dict[str, Tensor]:
    return restarts.load(STATES, _MADE_WITH, "python -m dpbook_course.studies.e03 --write")


def perturb(u: Tensor, size: float, seeds: Sequence[int]) -> Tensor:
    """``u`` plus white noise whose L2 norm is ``size`` times that of u; the same directions for every size."""
    noise = torch.cat([torch.randn(u[:SAMPLES].shape, dtype=u.dtype, generator=torch.Generator().manual_seed(seed))
                       for seed in seeds])
    scale = u.flatten(1).norm(dim=1) / noise.flatten(1).norm(dim=1)
    return u + size * scale[:, None, None] * noise


def exponential_phase(distances: Tensor) -> tuple[int, int] | None:
    """(pairs, steps) -> first and last step in which all pairs grow; None if they are too few to measure a slope."""
    above = (distances > LARGE).any(0).nonzero()
    last = int(above[0, 0]) - 1 if len(above) else distances.shape[1] - 1
    return (SETTLED, last) if last - SETTLED >= FEWEST else None


def slope(distance: Tensor, phase: tuple[int, int] | None) -> float:
    """Least-squares slope of ln(distance) in the phase [1/step]; NaN without one."""
    if phase is None:
        return math.nan
    return log_slope(distance[phase[0]:phase[1] + 1].log())


def log_slope(logs: Tensor) -> float:
    """Least-squares slope of values at consecutive steps [1/step]."""
    k = torch.arange(len(logs), dtype=logs.dtype)
    k = k - k.mean()
    return float((k * logs).sum() / k.square().sum())


def _exponents(solver, reference: Tensor, phases: Sequence[tuple[int, int] | None], length: float) -> Tensor:
    """(seeds,): the mean over each seed's trajectories, over the steps of its own phase."""
    found = []
    for states, phase in zip(reference[:, 0].unflatten(0, (len(phases), SAMPLES)), phases):
        last = SETTLED + 200 if phase is None else phase[1]
        found.append(lyapunov_exponents(solver, states, last - SETTLED, warmup=SETTLED, length=length).mean())
    return torch.stack(found)


def make_states(path: Path = STATES) -> None:
    """Warm up the states of all seeds of the study, and store them."""
    restarts.save(path, _MADE_WITH, {f"seed {seed}": warmed_up(seed)[:, None] for seed in SPEC.seeds})

