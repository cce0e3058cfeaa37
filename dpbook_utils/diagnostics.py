"""Gradients under the microscope: are they right, how do they grow, and how fast does chaos make them grow.

Chapters: 00_solver_as_operator (gradient check), 03_unrolling (Lyapunov exponents), 06_long_horizons (gradient norms).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from . import arguments
from .calls import explained
from .objectives import Objective
from .physics.solver import Solver
from .physics.trace import layouts


class GradientNorms(NamedTuple):
    """Gradient norms by horizon.

    Attributes:
        num_steps: (horizons,) unroll length m.
        state: (horizons, batch) |d l_b / d u0_b|, l_b the loss of sample b alone.
        weights: (horizons, members) |d L_s / d theta_s|, L_s the loss of member s; over all its weights.
    """

    num_steps: Tensor
    state: Tensor
    weights: Tensor


@explained
def gradient_growth(objective: Objective, batch: Mapping[str, Tensor], horizons: Sequence[int]) -> GradientNorms:
    """L2 norm of the loss's gradient with respect to the initial state and the weights, for each unroll length m.

    The loss placement and the gradient policy are the objective's; a path that the policy cuts has norm 0, and so have
    the weights of a chain without any. Norms that overflow are infinite or NaN, as they would be in training. Noise is
    drawn anew for each m, if the chain has any.
    Raises: NoGradientPath; ValueError for a horizon that the batch's reference does not cover.
    """
    label = "gradient_growth"
    arguments.instance(label, "objective", objective, Objective, "an Objective")
    arguments.tensor(label, "u0", arguments.mapping(label, "batch", batch, "a batch, {'u0': states, ...}").get("u0"),
                     "(batch, channels, *spatial) in the batch")
    if not isinstance(horizons, Sequence) or isinstance(horizons, str) or not horizons:
        raise arguments.refusal(label, "horizons", horizons, "a list of numbers of steps", ValueError)
    horizons = [arguments.whole(label, "one of horizons", num_steps) for num_steps in horizons]
    weights = [w for w in objective.parameters() if w.requires_grad]
    num_members, before = objective.num_members, objective.rollout.num_steps
    u0 = batch["u0"].detach().requires_grad_()
    state_norms, weight_norms = [], []
    try:
        for num_steps in horizons:
            objective.rollout.num_steps = num_steps
            loss = objective(**{**batch, "u0": u0})
            for_state, *for_weights = torch.autograd.grad(loss, [u0, *weights], materialize_grads=True)
            # The loss is the mean over a member's samples: undo it, so that the norm does not depend on the batch size.
            state_norms.append(for_state.flatten(1).norm(dim=1) * (len(u0) // num_members))
            norms = [g.reshape(num_members, -1).norm(dim=1) for g in for_weights]
            weight_norms.append(torch.stack([u0.new_zeros(num_members), *norms]).norm(dim=0))
    finally:
        objective.rollout.num_steps = before
    return GradientNorms(torch.tensor(list(horizons)), torch.stack(state_norms), torch.stack(weight_norms))


@explained
def lyapunov_exponents(step: Callable, u0: Tensor, num_steps: int, *, num_exponents: int = 1, warmup: int = 0,
                       dt: float = 1.0, **parameters: Tensor | float) -> Tensor:
    r"""Leading Lyapunov exponents of a step by propagation of tangents and repeated QR factorisation (Benettin).

        V_0 random orthonormal;   J(u_i) V_i = V_{i+1} R_{i+1};   lambda_j = sum_i ln |R_i[j, j]| / (num_steps dt)

    J v is exact, by automatic differentiation (``torch.autograd.functional.jvp``). Every sample has its own trajectory
    and its own estimate; their spread over samples shows the uncertainty of the mean.

    Args:
        step: operator ``u -> u_next`` that treats samples independently, differentiable.
        u0: (batch, ...) initial states; use float64.
        num_steps: steps to average over, after ``warmup`` steps in which the state reaches the attractor and the
            tangents turn to the growing directions.
        num_exponents: how many, largest first.
        dt: time of one step; with 1 the exponents are per step.

    Shapes: -> (batch, num_exponents), in units of 1 / dt.
    Raises: ValueError for more exponents than dimensions, and if the trajectory does not stay finite.
    Source: benettin1980.
    """
    label = "lyapunov_exponents"
    arguments.operator(label, "step", step)
    if arguments.tensor(label, "u0", u0, "(batch, ...)").ndim < 2 or u0.numel() == 0:
        raise arguments.refusal(label, "u0", u0, "a tensor (batch, ...) that is not empty", ValueError)
    num_exponents, num_steps, warmup = (arguments.whole(label, name, value, 0) for name, value in (
        ("num_exponents", num_exponents), ("num_steps", num_steps), ("warmup", warmup)))
    dt = arguments.positive(label, "dt", dt)
    size, k = u0[0].numel(), num_exponents
    if not 1 <= k <= size or num_steps < 1:
        raise ValueError(f"lyapunov_exponents: num_exponents is {k}, num_steps {num_steps}; a state of {size} values "
                         f"has 1 ... {size} exponents, estimated over at least 1 step")
    parameters = {name: value.repeat_interleave(k, 0) if isinstance(value, Tensor) and value.ndim else value
                  for name, value in parameters.items()}
    generator = torch.Generator().manual_seed(0)
    tangents = torch.randn(len(u0), size, k, generator=generator, dtype=u0.dtype).to(u0)
    tangents = torch.linalg.qr(tangents).Q  # (batch, size, k)
    u, total = u0.detach(), torch.zeros(len(u0), k, dtype=u0.dtype, device=u0.device)

    def next_state(x: Tensor) -> Tensor:
        y = step(x, **parameters)
        if not isinstance(y, Tensor) or y.shape != x.shape:
            raise arguments.refusal(label, "the result of step", y, f"a step that keeps the shape {tuple(u0.shape)}",
                                    ValueError)
        return y

    for i in range(warmup + num_steps):
        # k copies of each sample, each with one tangent, make one batch.
        stacked = tangents.mT.reshape(len(u) * k, *u.shape[1:])
        copies = u.repeat_interleave(k, 0)
        copies, stacked = torch.autograd.functional.jvp(next_state, copies, stacked)
        u = copies[::k]
        tangents, r = torch.linalg.qr(stacked.reshape(len(u), k, size).mT)
        if i >= warmup:
            total += r.diagonal(dim1=1, dim2=2).abs().log()
    if not torch.isfinite(total).all():
        raise ValueError("lyapunov_exponents: the trajectory or its tangents left the finite numbers within "
                         f"{warmup + num_steps} steps; use a stable solver (for a singular Jacobian, fewer exponents)")
    return total / (num_steps * dt)


@explained
def gradient_check(function: Callable[..., Tensor], inputs: Mapping[str, Tensor], *, num_directions: int = 3,
                   seed: int = 0) -> dict[str, float]:
    r"""Relative error of autograd's gradient against central finite differences, for each input.

        F(x) = <w, function(x)>,   D_i = (F(x + h v_i) - F(x - h v_i)) / (2 h),   error = |D - (v_i . grad F)_i| / |D|

    with a random w of the output's shape and random unit directions v_i of the input's shape, all seeded. h runs over
    |x| 10^{-2, -2.5, ..., -7} (with 1 for |x| = 0); the one whose D differs least from its neighbour's is taken, as
    larger h truncate and smaller ones round. Autograd's value plays no part in that choice. A right gradient of a
    smooth function gives 1e-8 or less; what is not smooth (a limiter, an upwind switch) gives more.

    A gradient must not depend on how tensors lie in memory: the same inputs and w, transposed, sliced, and with odd
    strides on axes of size 1, and an expanded w, must give the same gradient, and so must the first sample alone if the
    function is a ``Solver``. The error is that of the worst of all these.

    Args:
        function: called as ``function(**inputs)``; deterministic, with a tensor as output.
        inputs: float64 tensors by name, each checked with the others fixed.

    Raises: TypeError for inputs that are not float64; ValueError if the function is not finite or not deterministic.
    Chapter: 00_solver_as_operator.
    """
    arguments.function("gradient_check", "function", function, "a function of the inputs")
    if not arguments.mapping("gradient_check", "inputs", inputs, "a dict {name: float64 tensor}"):
        raise arguments.refusal("gradient_check", "inputs", inputs, "a dict {name: float64 tensor}", ValueError)
    if reason := arguments.misfit(getattr(function, "forward", function), **inputs):
        raise TypeError(f"gradient_check: inputs has {', '.join(inputs)}, {reason}; name the inputs as the function's "
                        "arguments, such as {'u': state, 'viscosity': viscosity} for a solver")
    num_directions = arguments.whole("gradient_check", "num_directions", num_directions)
    seed = arguments.whole("gradient_check", "seed", seed, 0)
    for name, value in inputs.items():
        if not isinstance(value, Tensor) or value.dtype != torch.float64:
            found = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise TypeError(f"gradient_check: {name} is {found}, expected a torch.float64 tensor; differences need "
                            "double precision (tensor.double(), network.double())")
    generator = torch.Generator().manual_seed(seed)

    def random_like(x: Tensor) -> Tensor:
        return torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x.device)

    def gradients(w: Tensor, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        leaves = {name: x.detach().requires_grad_() for name, x in inputs.items()}
        return torch.autograd.grad(function(**leaves), list(leaves.values()), w, materialize_grads=True)

    output = function(**{name: value.detach().clone().requires_grad_() for name, value in inputs.items()})
    if not isinstance(output, Tensor) or not output.requires_grad:
        raise arguments.refusal("gradient_check", "the function's result", output, "a function that computes a tensor "
                                "from its inputs, by operations that have a gradient", ValueError)
    weight = random_like(output.detach())
    found = gradients(weight, inputs)
    ones = torch.ones_like(weight, memory_format=torch.contiguous_format)
    pairs = [(gradients(ones, inputs), gradients(weight.new_ones(()).expand(weight.shape), inputs))]
    for name, w in layouts(weight).items():
        pairs.append((found, gradients(w, {key: layouts(x)[name] for key, x in inputs.items()})))
    if isinstance(function, Solver):
        pairs.append(([g[:1] for g in found], gradients(weight[:1], {name: x[:1] for name, x in inputs.items()})))
    apart = [max(_relative(g - h, g) for g, h in each) for each in zip(*(zip(*pair) for pair in pairs))]

    def value_at(**changed: Tensor) -> float:
        with torch.no_grad():
            return float((weight * function(**{**inputs, **changed})).sum())

    reference = value_at()
    if not abs(reference) < float("inf") or reference != value_at():
        raise ValueError(f"gradient_check: the function's value is {reference:g} and then {value_at():g}; it must be "
                         "finite and the same at every call (noise off: .eval())")
    return {name: max(differs, _relative_error(value_at, name, x.detach(), gradient,
                                               [random_like(x) for _ in range(num_directions)]))
            for (name, x), gradient, differs in zip(inputs.items(), found, apart)}


def _relative(error: Tensor, value: Tensor) -> float:
    return float(error.norm() / value.norm()) if error.any() else 0.0


def _relative_error(value_at: Callable, name: str, x: Tensor, gradient: Tensor, directions: list[Tensor]) -> float:
    scale = float(x.norm()) or 1.0
    differences, products = [], []
    for v in directions:
        v = v / v.norm()
        steps = [scale * 10 ** (-2 - j / 2) for j in range(11)]
        ladder = [(value_at(**{name: x + h * v}) - value_at(**{name: x - h * v})) / (2 * h) for h in steps]
        ladder = torch.tensor(ladder, dtype=torch.float64)
        differences.append(ladder[int((ladder[1:] - ladder[:-1]).abs().argmin())])
        products.append((v * gradient).sum().cpu())
    differences, products = torch.stack(differences), torch.stack(products)
    error, size = (differences - products).norm(), differences.norm()
    return float(error / size) if size > 0 else float(error)
