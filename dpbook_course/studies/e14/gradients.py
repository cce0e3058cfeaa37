"""E14, third part: how far every estimate of the gradient is from the true one.   Chapter: 13_foreign_solvers.

The gradient is that of the training loss with respect to the weights of a network that the adjoint has trained for 500
updates, on one batch, through m steps. A budget is the number of draws, each from other random numbers. What ``check``
repeats is trained for a few updates only, whose rounding has not grown.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dpbook_utils.bridges import black_box
from dpbook_utils.coupling import Additive
from dpbook_utils.estimates import EvolutionStrategies, FiniteDifferences, Simultaneous, Surrogate
from dpbook_utils.gradients import NoSolverGradient
from dpbook_utils.losses import TrajectoryLoss, every_step
from dpbook_utils.objectives import Objective
from dpbook_utils.rollout import Rollout, Sequential

from ...experiments.spec import Specification, Task
from ...problems import coarse_burgers as problem
from .corrector import SPEC as CORRECTOR
from .corrector import SURROGATE, fitted, surrogate, values
from .design import BATCH, SEEDS, UPDATES

DRAWS = 64
LENGTHS = (2, 3, 8)
PAIRS = (16, 64, 256, 1024, 4096)
SIGMAS = (0.01, 0.1, 0.3)
GRADIENTS = {
    "finite differences": FiniteDifferences(), "no solver gradient": NoSolverGradient(),
    **{f"SPSA-{n}": Simultaneous(n) for n in (1, 8, 64)},
    **{f"ES-8, sigma {s:g}": EvolutionStrategies(8, s) for s in SIGMAS},
    **{f"surrogate, {pairs} pairs": pairs for pairs in PAIRS}}
CHECKED = "no solver gradient, m={}, nearly untrained"
_VARIANTS = {
    **{f"{name}, m={m}": (gradient, m, UPDATES[0]) for name, gradient in GRADIENTS.items() for m in LENGTHS},
    **{CHECKED.format(m): (NoSolverGradient(), m, 8) for m in LENGTHS[1:]}}


def is_random(gradient) -> bool:
    return isinstance(gradient, (Simultaneous, EvolutionStrategies))


SPEC = Specification(
    id="e14_gradients", title="Estimates of the gradient", chapter="13_foreign_solvers", variants=_VARIANTS,
    seeds=SEEDS,
    budgets={name: (DRAWS if is_random(gradient) else 1,) for name, (gradient, *_) in _VARIANTS.items()},
    metrics={"cosine": "cosine of one draw with the true gradient of the weights, mean over draws",
             "bias": "|mean over draws - true gradient| / |true gradient|",
             "floor": "what the bias of an unbiased estimate would be, from the spread and the number of draws",
             "spread": "root mean square of |draw - mean over draws| / |true gradient|",
             "norm": "Euclidean norm of the true gradient",
             "value": "relative L2 error of the surrogate's next state on the batch; 0 for the others"},
    settings={**problem.settings, "surrogate": SURROGATE, "batch": BATCH,
              "trained": CORRECTOR.variants["adjoint"]},
    checks=tuple(Task(CHECKED.format(m), 1, (0, 1)) for m in LENGTHS[1:]), checked=("cosine", "bias", "norm"))


def run(variant: str, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    """One entry per seed; every seed has its own weights and its own batch."""
    gradient, num_steps, updates = SPEC.variants[variant]
    step, _ = fitted(CORRECTOR.variants["adjoint"], seeds, updates)
    networks = step[-1].network
    batch = problem.windows(seeds, max(LENGTHS), BATCH)[UPDATES[0]]
    true = weights_gradient(problem.coarse_solver(), networks, batch, num_steps, len(seeds))
    value = torch.zeros(len(seeds))
    if isinstance(gradient, int):
        emulator = surrogate(gradient, seeds)
        gradient = Surrogate(emulator)
        with torch.no_grad():
            found, expected = (P(batch["u0"], viscosity=batch["viscosity"]).view(len(seeds), -1)
                               for P in (emulator, problem.coarse_solver()))
        value = (found - expected).norm(dim=1) / expected.norm(dim=1)
    P = black_box(values, (1, problem.num_points), gradient=gradient)
    torch.manual_seed(seeds[0])
    draws = torch.stack([weights_gradient(P, networks, batch, num_steps, len(seeds)) for _ in range(budget)])
    return {**quality(draws, true), "norm": true.norm(dim=1), "value": value}


def weights_gradient(P: nn.Module, networks: nn.Module, batch: dict[str, Tensor], num_steps: int, num_seeds: int
                     ) -> Tensor:
    """(seeds, weights)."""
    rollout = Rollout(Sequential(P, Additive(networks)), num_steps)
    weights = list(networks.parameters())
    loss = Objective(rollout, TrajectoryLoss(every_step))(**batch)
    return torch.cat([g.reshape(num_seeds, -1) for g in torch.autograd.grad(loss, weights)], 1).double()


def quality(draws: Tensor, true: Tensor) -> dict[str, Tensor]:
    """Of draws (draws, seeds, weights) of the true gradient (seeds, weights)."""
    size, mean = true.norm(dim=1), draws.mean(0)
    spread = (draws - mean).square().sum(2).mean(0).sqrt() / size
    return {"cosine": nn.functional.cosine_similarity(draws, true[None], dim=2).mean(0),
            "bias": (mean - true).norm(dim=1) / size, "spread": spread, "floor": spread / max(1, len(draws) - 1)**0.5}


def cost(variant: str, budget: int) -> float:
    return 10 * budget + 1000
