r"""E07, first part: how gradients grow with the unroll length, and why.   Chapter: 06_long_horizons.

Two causes are kept apart. *Chaos*: the transposed Jacobians of m steps on the attractor multiply a gradient by
e^{m lambda}, lambda the leading Lyapunov exponent, whatever has been trained. *An unstable step*: a coarse solver with
a network that corrects nothing yet leaves the attractor, and its Jacobians then have nothing to do with the flow's. The
heat equation is the opposite case: every step shrinks a gradient by at least a factor that is known exactly.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dpbook_utils.coupling import Additive
from dpbook_utils.data import Windows, random_fourier, simulate
from dpbook_utils.diagnostics import gradient_growth, lyapunov_exponents
from dpbook_utils.losses import TrajectoryLoss, every_step, final_step
from dpbook_utils.networks import ConvResNet, Ensemble
from dpbook_utils.objectives import Objective
from dpbook_utils.physics.advection_diffusion import AdvectionDiffusion
from dpbook_utils.physics.solver import select
from dpbook_utils.rollout import Rollout, Sequential
from dpbook_utils.setups import train

from ...experiments.spec import Specification, Task
from ...problems import kuramoto_sivashinsky as ks
from . import horizons as e07
from .design import FIRST, HORIZONS

BATCH = 32
FACTOR = 1.0  # of the domain's length: an exponent belongs to one domain
HEAT = {"num_points": 16, "length": 1.0, "dt": 0.05, "diffusivity": 0.03, "modes": 4}
CASES = {
    "reference": "the reference solver, without a network",
    "trained": "P and a trained network: m=8 of E07, after its short budget",
    "untrained": "P and an untrained network with a last layer like the others",
    "untrained, small last layer": "P and an untrained network with a small last layer",
    "heat": "the heat equation, without a network",
    "heat, trained": "the heat equation with nine tenths of its diffusivity and a network, trained with m=1",
}

SPEC = Specification(
    id="e07_gradients", title="Gradients by horizon", chapter="06_long_horizons", variants=CASES,
    seeds=(0, 1, 2, 3, 4, 5), budgets={name: (e07.BUDGET if "trained" in name.split(", ") else 0,) for name in CASES},
    metrics={
        "adjoint": "|d<w, u_m>/du_0| with a random unit w, at each horizon; geometric mean over samples",
        "state": "|dL/du_0| of the training loss, at each horizon; geometric mean over samples",
        "weights": "|dL/dtheta| of the training loss, at each horizon; 0 without a network",
        "size": "largest |u_m| over the samples, divided by that of the reference's states",
        "exponent": "leading Lyapunov exponent on the same states, steps 17 ... 128 [1/step]; NaN if there is none",
    },
    settings={**ks.settings, "horizons": HORIZONS, "batch": BATCH, "factor": FACTOR, "heat": HEAT, "width": e07.WIDTH,
              "num_blocks": e07.NUM_BLOCKS, "first": FIRST,
              "trained": e07.combination(8)},
    checks=(Task("heat, trained", 8, (0, 1)),),
    checked=("state",))


def run(variant: str, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    """Measure one case; every metric has one entry per seed."""
    exponents = torch.full((len(seeds),), math.nan)
    if variant.startswith("heat"):
        step, batch = heat(seeds, budget)
        if variant == "heat":
            exponents = torch.full((len(seeds),), math.log(heat_factor()))
    else:
        step, batch = kuramoto_sivashinsky(variant, seeds, budget), states(seeds)
        if variant in ("reference", "trained"):
            exponents = exponent(step, seeds)
    return {**growth(step, batch, len(seeds)), "exponent": exponents}


def states(seeds: Sequence[int], num_steps: int = max(HORIZONS)) -> dict[str, Tensor]:
    """For each seed ``BATCH`` states on the attractor of one domain, with the reference that follows them."""
    data = ks.trajectories("train")
    chosen = data.length == ks.unit_length * FACTOR
    windows = Windows(data.states[chosen], num_steps, BATCH, seeds=[ks.batch_seed + s for s in seeds],
                      length=data.length[chosen])
    return windows[0]


def kuramoto_sivashinsky(variant: str, seeds: Sequence[int], budget: int) -> nn.Module:
    if variant == "reference":
        return Sequential(ks.reference_solver())
    step = ks.hybrid(e07.networks(seeds, e07.PLAIN if variant == "untrained" else e07.SMALL))
    if variant == "trained":
        e07.train(e07.combination(8), step, seeds, budget)
    return step


def heat(seeds: Sequence[int], budget: int) -> tuple[nn.Module, dict[str, Tensor]]:
    """The solver alone without a budget; else with a network that has learned what a tenth of the diffusivity adds."""
    solver = AdvectionDiffusion(HEAT["num_points"], HEAT["length"], HEAT["dt"])

    def decay(first_seed: int) -> dict[str, Tensor]:
        u0 = torch.cat([random_fourier(BATCH, HEAT["num_points"], modes=HEAT["modes"], seed=first_seed + s)
                        for s in seeds])
        states = simulate(solver, u0, max(HORIZONS), diffusivity=HEAT["diffusivity"])
        return {"u0": u0, "reference": states[:, 1:], "diffusivity": torch.full((len(u0),), HEAT["diffusivity"])}

    batch = decay(0)
    if budget == 0:
        return Sequential(solver), batch
    step = Sequential(solver, Additive(Ensemble([
        ConvResNet(1, 1, 1, width=e07.WIDTH, num_blocks=e07.NUM_BLOCKS, output_scale=e07.SMALL, seed=s)
        for s in seeds])))
    weaker = 0.9 * batch["diffusivity"]
    data = decay(ks.batch_seed)["reference"]
    pairs = [{"u0": data[:, k], "reference": data[:, k + 1:k + 2], "diffusivity": weaker} for k in range(40)]
    train(e07.combination(1).setup, e07.combination(1).setup.objective(step), pairs, budget)
    return step, {**batch, "diffusivity": weaker}


def heat_factor(diffusivity: float = HEAT["diffusivity"]) -> float:
    """By what the longest wave shrinks in one step: 1 - nu dt (2 - 2 cos(2 pi / n)) / dx^2, the slowest decay."""
    n = HEAT["num_points"]
    return 1 - diffusivity * HEAT["dt"] * (n / HEAT["length"])**2 * (2 - 2 * math.cos(2 * math.pi / n))


def growth(step: nn.Module, batch: dict[str, Tensor], num_seeds: int) -> dict[str, Tensor]:
    """Gradient norms of a linear functional of the last state, and of the training loss; (seeds, horizons) each."""
    directions = probe(batch["u0"])[:, None].expand_as(batch["reference"])
    functional = Objective(Rollout(step, 1), TrajectoryLoss(final_step, inner_product))
    loss = Objective(Rollout(step, 1), TrajectoryLoss(every_step))
    # A plain step belongs to all seeds; it is measured on all of their samples at once.
    adjoint = gradient_growth(functional, {**batch, "reference": directions}, HORIZONS)
    trained = gradient_growth(loss, batch, HORIZONS)
    weights = trained.weights.T.expand(num_seeds, -1)
    return {"adjoint": _mean(adjoint.state, num_seeds), "state": _mean(trained.state, num_seeds), "weights": weights,
            "size": _size(step, batch, num_seeds)}


def probe(u0: Tensor, seed: int = 0) -> Tensor:
    """Random unit vectors without a mean, which the heat equation would conserve; of the states' shape."""
    w = torch.randn(u0.shape, generator=torch.Generator().manual_seed(seed)).to(u0)
    w = w - w.mean(-1, keepdim=True)
    return w / w.flatten(1).norm(dim=1)[:, None, None]


def inner_product(u: Tensor, w: Tensor) -> Tensor:
    """<w, u> over channels and space: a metric without a residual, whose gradient is that of the flow alone."""
    return (u * w).flatten(2).sum(2)


def _mean(norms: Tensor, num_seeds: int) -> Tensor:
    """Geometric mean over each seed's samples; infinite where one is not finite: (horizons, batch) -> (seeds, ...)."""
    logs = norms.double().log().nan_to_num(nan=math.inf, posinf=math.inf, neginf=-math.inf)
    return logs.unflatten(1, (num_seeds, -1)).mean(2).exp().T


@torch.no_grad()
def _size(step: nn.Module, batch: dict[str, Tensor], num_seeds: int) -> Tensor:
    largest = Rollout(step, max(HORIZONS))(batch["u0"], **select(step, batch)).abs().flatten(2).amax(2)
    largest = largest[:, [m - 1 for m in HORIZONS]].nan_to_num(nan=math.inf, posinf=math.inf)
    reference = batch["reference"].abs().flatten(1).amax(1)[:, None]
    return (largest / reference).unflatten(0, (num_seeds, -1)).amax(1)


def exponent(step: nn.Module, seeds: Sequence[int]) -> Tensor:
    """(seeds,): leading Lyapunov exponent over the same states and steps as the slopes, in double precision."""
    batch = {name: value.double() for name, value in states(seeds, 1).items()}
    try:
        found = lyapunov_exponents(step.double(), batch["u0"], max(HORIZONS) - FIRST, warmup=FIRST,
                                   length=batch["length"])
        return found[:, 0].unflatten(0, (len(seeds), -1)).mean(1)
    except ValueError:
        return torch.full((len(seeds),), math.nan)
    finally:
        step.float()
