r"""E12, second part: how far a model's gradient is from the fine solver's.   Chapter: 11_forward_and_inverse.

    L_m(x) = 1/2 |u_m(x) - y_m|^2,   grad L_m = J_m^T r_m,   r_m = u_m(x) - y_m

with y_m the fine solver's state after m steps from the truth, and x near the truth. A model has two ways to be wrong:
its residual r_m, and its Jacobian J_m. So its gradient is computed with the fine solver's residual too.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...experiments.spec import Specification, Task
from ...problems import coarse_burgers as problem
from . import design
from .backward import CHECK_UPDATES, LONGEST, fitted
from .design import APART, HORIZONS, UPDATES, Physics
from .instances import Model, fine, solver, together, truths

_TRAINED, _PHYSICS = design.trained(), {name: row for name, row in design.physics().items() if name != "fine"}
CHECKED = "WIG-8, nearly untrained"
_VARIANTS = {**_TRAINED, **_PHYSICS, CHECKED: _TRAINED["WIG-8"]}
SPEC = Specification(
    id="e12_gradients", title="Gradients against the fine solver's", chapter="11_forward_and_inverse",
    variants=_VARIANTS, seeds=design.SEEDS,
    budgets={**dict.fromkeys(_TRAINED, (UPDATES,)), **dict.fromkeys(_PHYSICS, (0,)), CHECKED: (CHECK_UPDATES,)},
    metrics={"cosine": "with the fine solver's gradient after 1, 2, 4, ..., 64 steps, mean over instances",
             "size": "size of the gradient / that of the fine solver's, after as many steps, geometric mean",
             "cosine_same": "cosine after as many steps, given the fine solver's residual, mean over instances",
             "forward": "relative L2 error of the state after as many steps from the truth, mean over instances"},
    settings={**problem.settings, "longest": LONGEST, "horizons": HORIZONS, "number": design.NUM_GRADIENTS,
              "apart": APART, "waves": design.WAVES, "viscosities": design.VISCOSITIES,
              "first_seed": design.FIRST_SEED},
    checks=(Task("P", 0, (0, 1)), Task(CHECKED, CHECK_UPDATES, (0, 1))),
    checked=("cosine", "size", "cosine_same", "forward"))


def run(variant: str, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    """Train and compare; every metric has one entry per seed."""
    row = SPEC.variants[variant]
    models = [solver(row)] * len(seeds) if isinstance(row, Physics) else fitted(row, seeds, budget)[0]
    return together([compared(model, *points(seed)) for model, seed in zip(models, seeds)])


def points(seed: int) -> tuple[Tensor, Tensor]:
    """(truth, where the gradient is taken): some of each other instance's initial state is added."""
    truth = truths(seed, "tested")[:design.NUM_GRADIENTS]
    beside = truth.clone()
    beside[:, :-1] += APART * truth.roll(1, 0)[:, :-1]
    return truth, beside


def gradient(model: Model, x: Tensor, residual: Tensor, num_steps: int) -> tuple[Tensor, Tensor]:
    """(J^T residual with respect to the coefficients of u_0, u_m); without a residual given, of ``u_m`` itself."""
    x = x.detach().requires_grad_()
    u = model.states(x, num_steps)[:, -1]
    found, = torch.autograd.grad(u, x, residual)
    return found[:, :-1], u.detach()


def final(model: Model, x: Tensor, num_steps: int) -> Tensor:
    with torch.no_grad():
        return model.states(x, num_steps)[:, -1]


def compared(model: Model, truth: Tensor, x: Tensor, horizons: Sequence[int] = HORIZONS) -> dict[str, Tensor]:
    """The metrics of one model, each (horizons,)."""
    found = []
    for m in horizons:
        y, reached = (final(fine(), start, m) for start in (truth, x))
        residual = reached - y
        expected, _ = gradient(fine(), x, residual, m)
        own, _ = gradient(model, x, final(model, x, m) - y, m)
        same, _ = gradient(model, x, residual, m)
        wrong = (final(model, truth, m) - y).flatten(1).norm(dim=1) / y.flatten(1).norm(dim=1)
        found.append({"cosine": nn.functional.cosine_similarity(own, expected).mean(),
                      "size": (own.norm(dim=1) / expected.norm(dim=1)).log().mean().exp(),
                      "cosine_same": nn.functional.cosine_similarity(same, expected).mean(),
                      "forward": wrong.mean()})
    return together(found)


def cost(variant: str, budget: int) -> float:
    """In seconds of one core, roughly."""
    return 0.05 * budget + 120
