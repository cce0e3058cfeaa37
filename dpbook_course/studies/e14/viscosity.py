"""E14, second part: the few coefficients of a viscosity, found through a simulator.   Chapter: 13_foreign_solvers.

    u_t + (u^2 / 2)_x = ((nu + nu_e) u_x)_x,    nu_e(x) = 1 / (1 + exp(1.5 - sum_j c_j phi_j(x)))  [m^2/s]

with phi_j = 1, cos, sin, cos, ... of rising wave number. What is called is the whole simulation, u_0 and c to the state
after 16 steps, so that a gradient has as many inputs as there are coefficients. Each seed has a viscosity of its own to
find, from its own 8 pairs of states: it is a data set of its own. There is no noise, so that an error can fall to zero.
"""

import functools
import math
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from dpbook_utils.bridges import black_box
from dpbook_utils.data import Windows, random_fourier
from dpbook_utils.estimates import EvolutionStrategies, FiniteDifferences, Simultaneous, Surrogate
from dpbook_utils.networks import ConvResNet, Ensemble
from dpbook_utils.physics.advection import upwind
from dpbook_utils.physics.burgers import Burgers
from dpbook_utils.physics.trace import TracedSolver
from dpbook_utils.setups import Setup, cosine, train

from ...experiments.spec import Specification, Task
from ...experiments.tuning import Tuning, at_rate
from .corrector import Joined
from .design import CALLS, COEFFICIENTS, FEW, SEEDS, Way, viscosity_updates, viscosity_ways

PROBLEM = {"num_points": 32, "length": 32.0, "dt": 0.2, "num_steps": 16, "viscosity": 0.1, "modes": 4, "states": 8,
           "tested": 16, "offset": 1.5, "size": 1.0}
SURROGATE = {"updates": 1500, "rate": 3e-3, "batch": 32, "width": 16, "num_blocks": 3, "kernel_size": 5}
TEST = 10**6  # between the seeds of the states to find from and of those to test with
CHECK_BUDGET = 8


def rows() -> dict[str, Way]:
    """The ways for every number of coefficients, all with one learning rate; a surrogate for the few alone."""
    return {f"{name}, {num}": way for num in COEFFICIENTS for name, way in viscosity_ways(num).items()
            if name != "surrogate" or num == FEW}


def way_of(name: str) -> str:
    """One learning rate for all numbers of coefficients."""
    return name.rpartition(", ")[0]


LEARNING_RATES = {"adjoint": 0.1, "finite differences": 0.1, "SPSA-1": 0.1, "SPSA-8": 0.3, "ES-8": 0.3,
                  "surrogate": 0.1}

_VARIANTS = {name: at_rate(way, LEARNING_RATES[way_of(name)]) for name, way in rows().items()}
SPEC = Specification(
    id="e14_viscosity", title="A viscosity through a simulator", chapter="13_foreign_solvers", variants=_VARIANTS,
    seeds=SEEDS,
    budgets={name: tuple(sorted({viscosity_updates(way, calls) for calls in CALLS}))
             for name, way in _VARIANTS.items()},
    metrics={"error": "|nu_e - that to be found| / |that to be found|",
             "misfit": "relative L2 distance of final states from those to be found, mean over 16 other initial states",
             "start": "the error before the first update",
             "seconds": "time of an update, all seeds together [s]"},
    settings={**PROBLEM, "surrogate": SURROGATE, "test": TEST},
    checks=tuple(Task(f"adjoint, {num}", CHECK_BUDGET, (0, 1)) for num in (FEW, COEFFICIENTS[-1])),
    checked=("error", "misfit"))


@functools.cache
def step() -> TracedSolver:
    return TracedSolver(Burgers(PROBLEM["num_points"], PROBLEM["length"], PROBLEM["dt"], upwind))


@functools.cache
def basis(num: int) -> Tensor:
    """(num, x): 1, cos, sin, cos, ... at the faces."""
    x = 2 * math.pi * torch.arange(PROBLEM["num_points"], dtype=torch.float64) / PROBLEM["num_points"]
    waves = [(torch.cos if j % 2 else torch.sin)((j + 1) // 2 * x) for j in range(1, num)]
    return torch.stack([torch.ones_like(x), *waves]).float()


def viscosity(coefficients: Tensor) -> Tensor:
    """(batch, num) -> (batch, 1, x): nu_e [m^2/s], between 0 and 1."""
    return torch.sigmoid(coefficients @ basis(coefficients.shape[1]) - PROBLEM["offset"]).unsqueeze(1)


def simulated(u: Tensor, coefficients: Tensor) -> Tensor:
    """The state after all steps."""
    local = viscosity(coefficients)
    for _ in range(PROBLEM["num_steps"]):
        u = step()(u, viscosity=PROBLEM["viscosity"], local_viscosity=local)
    return u


def values(u: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """The same as a black box."""
    with torch.no_grad():
        return simulated(torch.tensor(u), torch.tensor(coefficients)).numpy()


class Emulator(nn.Module):
    """A network that has learnt the simulation; it sees nu_e, whose formula is known."""

    parameter_names = ("coefficients",)

    def __init__(self, networks: nn.Module):
        super().__init__()
        self.networks = networks

    def forward(self, u: Tensor, coefficients: Tensor) -> Tensor:
        return u + self.networks(u, local_viscosity=viscosity(coefficients))


def initial(number: int, seed: int) -> Tensor:
    return random_fourier(number, PROBLEM["num_points"], modes=PROBLEM["modes"], seed=seed)


def truth(num: int, seed: int) -> Tensor:
    """(num,): coefficients to be found, or that may be; sum_j c_j phi_j has about the size 1 for every number."""
    generator = torch.Generator().manual_seed(seed)
    return PROBLEM["size"] * torch.randn(num, generator=generator) * math.sqrt(2 / (num + 1))


def simulator(way: Way, seeds: Sequence[int]) -> Callable[[Tensor, Tensor], Tensor]:
    """``(u, coefficients) -> state after all steps`` with the gradient of a way."""
    if way.gradient is None and not way.pairs:
        return simulated
    num = way.num_coefficients
    gradient = Surrogate(surrogate(way, seeds)) if way.pairs else scaled(way.gradient)
    box = black_box(values, (1, PROBLEM["num_points"]), gradient=gradient, shapes={"coefficients": (num,)})
    return lambda u, coefficients: box(u, coefficients=coefficients)


def scaled(estimate):
    """An estimate that knows the size of the coefficients, which all begin at zero."""
    sizes = {"coefficients": PROBLEM["size"]}
    if isinstance(estimate, FiniteDifferences):
        return FiniteDifferences(sizes=sizes)
    if isinstance(estimate, Simultaneous):
        return Simultaneous(estimate.num_samples, sizes=sizes)
    return EvolutionStrategies(estimate.num_samples, estimate.sigma, sizes=sizes)


def surrogate(way: Way, seeds: Sequence[int]) -> nn.Module:
    """From ``way.pairs`` random coefficients for each of the states that are looked at."""
    sources = []
    for seed in seeds:
        u = initial(PROBLEM["states"], seed).repeat(way.pairs, 1, 1)
        generator = torch.Generator().manual_seed(2 * TEST + seed)
        size = PROBLEM["size"] * math.sqrt(2 / (way.num_coefficients + 1))
        coefficients = size * torch.randn(len(u), way.num_coefficients, generator=generator)
        u_next = torch.from_numpy(values(u.numpy(), coefficients.numpy()))
        sources.append(Windows(torch.stack([u, u_next], 1), 1, SURROGATE["batch"], seed=seed,
                               coefficients=coefficients))
    emulator = Emulator(Ensemble([ConvResNet(
        1, 1, 1, width=SURROGATE["width"], num_blocks=SURROGATE["num_blocks"], kernel_size=SURROGATE["kernel_size"],
        conditions={"local_viscosity": (0.25, 0.2, 1)}, output_scale=0.1, seed=seed) for seed in seeds]))
    setup = Setup(learning_rate=SURROGATE["rate"])
    train(setup, setup.objective(emulator), Joined(sources), SURROGATE["updates"])
    return emulator.eval().requires_grad_(False)


def fitted(way: Way, seeds: Sequence[int], budget: int) -> tuple[Tensor, float]:
    """((seeds, num) coefficients after Adam, whose rate a cosine takes to zero; seconds of an update)."""
    num, states = way.num_coefficients, PROBLEM["states"]
    u = torch.cat([initial(states, seed) for seed in seeds])
    targets = torch.stack([truth(num, seed) for seed in seeds])
    with torch.no_grad():
        reference = simulated(u, targets.repeat_interleave(states, 0))
    call = simulator(way, seeds)
    weights = torch.zeros(len(seeds), num, requires_grad=True)
    optimizer = torch.optim.Adam([weights], lr=way.setup.learning_rate)
    schedule = cosine(optimizer, budget)
    torch.manual_seed(seeds[0])
    start = time.perf_counter()
    for _ in range(budget):
        u_next = call(u, weights.repeat_interleave(states, 0))
        loss = (u_next - reference).square().mean((1, 2)).sum() / states
        weights.grad, = torch.autograd.grad(loss, weights)
        optimizer.step()
        schedule.step()
    return weights.detach(), (time.perf_counter() - start) / budget


def run(variant: str, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    """Find the coefficients of all seeds at once and judge them."""
    found, seconds = fitted(SPEC.variants[variant], seeds, budget)
    return {**judge(found, seeds), "seconds": torch.full((len(seeds),), seconds)}


def judge(found: Tensor, seeds: Sequence[int]) -> dict[str, Tensor]:
    targets = torch.stack([truth(found.shape[1], seed) for seed in seeds])
    tested = PROBLEM["tested"]
    u = torch.cat([initial(tested, TEST + seed) for seed in seeds])
    with torch.no_grad():
        states, expected = (simulated(u, c.repeat_interleave(tested, 0)).flatten(1) for c in (found, targets))
    misfit = (states - expected).norm(dim=1) / expected.norm(dim=1)
    return {"error": distance(found, targets), "misfit": misfit.view(len(seeds), -1).mean(1),
            "start": distance(torch.zeros_like(found), targets)}


def distance(found: Tensor, targets: Tensor) -> Tensor:
    """(seeds,): of the viscosities, relative."""
    nu, expected = (viscosity(c).flatten(1).double() for c in (found, targets))
    return (nu - expected).norm(dim=1) / expected.norm(dim=1)


def validation_error(way: Way, seeds: Sequence[int], budget: int) -> Tensor:
    """(seeds,): misfit, which needs no knowledge of the viscosity that is looked for."""
    return judge(fitted(way, seeds, budget)[0], seeds)["misfit"]


def cost(variant: str, budget: int) -> float:
    """In updates of the adjoint."""
    way = SPEC.variants[variant]
    return budget * (1 + way.backward / 20) + 1000 * bool(way.pairs)


TUNING = Tuning(
    SPEC, rows(), validation_error, "misfit at other initial states",
    budget=lambda way: viscosity_updates(way, CALLS[1]), check=Task(f"adjoint, {FEW}, rate 0.03", CHECK_BUDGET,
                                                                     (100, 101)),
    grid=(0.03, 0.1, 0.3), seeds=(100, 101), shared=way_of)
