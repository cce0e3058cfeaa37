"""A composition made ready for the browser: operator by operator, forward and backward.

One graph for every unroll length, gradient policy and placement would be hundreds. Instead each operator of the chain
is recorded once, with its vector-Jacobian product; so are the metric with its gradient and the update of the optimiser.
``runtime.js`` chains them as ``Rollout`` and the gradient policies do.   Chapters: 03_unrolling ... 07_noise.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from dpbook_utils import arguments
from dpbook_utils.gradients import FullGradient, NoSolverGradient, Pushforward, Truncated
from dpbook_utils.graphs.graph import canonical, record, traceable_padding
from dpbook_utils.graphs.simplify import simplify
from dpbook_utils.losses import every_step, final_step
from dpbook_utils.noise import GaussianNoise
from dpbook_utils.objectives import Objective, from_batch, from_input, parameters_of
from dpbook_utils.physics.solver import select, solvers
from dpbook_utils.rollout import operators

from .loops import Kernels
from .operations import Unsupported
from .transpile import Constants, Place, transpile

POLICIES = {FullGradient: "full", NoSolverGradient: "cut", Truncated: "truncated", Pushforward: "pushforward"}
PLACEMENTS = {every_step: "every", final_step: "final"}
TARGETS = {from_batch: "reference", from_input: "input"}


@dataclass
class Library:
    """What the models of a page share: kernels and constants."""

    kernels: Kernels = field(default_factory=Kernels)
    constants: Constants = field(default_factory=Constants)

    def program(self, function: Callable, inputs: Mapping[str, Tensor], outputs: Sequence[str],
                first: int | None = None) -> dict:
        """The program of ``function(*tensors) -> [tensors]``; its regions have the names of inputs and outputs."""
        values = [canonical(x.detach().clone()) for x in inputs.values()]
        return self.traced(function, values, [(name, 0) for name in inputs], [(name, 0) for name in outputs], first)

    def traced(self, function: Callable, inputs: Sequence[Tensor], places: Sequence[Place], outputs: Sequence[Place],
               first: int | None) -> dict:
        """The program of a function whose inputs lie at ``places``: tensors of their own, or weights that it holds.

        An output may lie where an input does if no later output is computed from that input.
        """
        with traceable_padding():
            graph = record(function, inputs)
        simplify(graph)
        return vars(transpile(graph, places, outputs, self.kernels, self.constants, first))

    def operator(self, operator: nn.Module, u: Tensor, parameters: Mapping[str, Tensor],
                 places: Mapping[Tensor, int]) -> dict:
        """``first``: (u, parameters, weights) -> value; ``second``: (g, what first has kept) -> (gu, gw).

        Args:
            places: of the weights within the region "weights", and of their gradients within "gw".
        """
        weights = [w for w in operator.parameters() if w.requires_grad]

        def joint(g, u, *others):
            values = dict(zip(parameters, others))
            with torch.enable_grad():
                u = u.detach().requires_grad_()
                value = operator(u, **select(operator, values))
                return [value.detach(), *torch.autograd.grad(value, [u, *weights], g, materialize_grads=True)]

        # The weights themselves: the operator holds them. All else is its own tensor, by which its node is found.
        inputs = [*(canonical(x.detach().clone()) for x in (u, u, *parameters.values())),
                  *weights]
        return self.traced(joint, inputs, [("g", 0), ("u", 0), *((name, 0) for name in parameters),
                                           *(("weights", places[w]) for w in weights)],
                           [("value", 0), ("gu", 0), *(("gw", places[w]) for w in weights)], first=1)


def export(objective: Objective, optimizer: torch.optim.Optimizer, example: Mapping[str, Tensor], library: Library, *,
           clip_norm: float | None = None) -> dict:
    """A model for ``runtime.js``: the objective's chain for states like those of the example, a batch.

    Unroll length, gradient policy, placement, noise and learning rate are what the page starts with; all of them can be
    changed there. Weights start as normal numbers of each tensor's present size (root mean square).

    Raises: Unsupported for what a page cannot do, and names it; TypeError, ValueError for arguments that do not fit.
    """
    clip_norm = None if clip_norm is None else arguments.positive("export", "clip_norm", clip_norm)
    _check_arguments(objective, optimizer, example, library)
    u, rollout = example["u0"], objective.rollout
    chain = list(operators(rollout.step))
    if rollout.record_after != len(chain) - 1 or objective.num_members > 1:
        raise Unsupported("export: the state must be recorded at the end of the step, and the chain hold no ensemble")
    parameters = rollout.prepare(u, parameters_of(example))
    weights = [w for w in objective.parameters() if w.requires_grad]
    ends = torch.tensor([0, *(w.numel() for w in weights)]).cumsum(0).tolist()
    places = dict(zip(weights, ends))
    exported, known, sigma = [], {}, 0.0
    for operator in chain:
        if isinstance(operator, GaussianNoise):
            if type(operator) is not GaussianNoise or exported:
                raise Unsupported(f"export: {type(operator).__name__} at place {len(exported)} of the chain; a page "
                                  "has GaussianNoise at its start")
            sigma = operator.sigma
            continue
        if operator not in known:  # a solver that is applied several times is one program
            known[operator] = {
                "trained": any(w.requires_grad for w in operator.parameters()),
                "solver": next(solvers(operator), None) is not None,
                "program": library.operator(operator, u, select(operator, parameters), places)}
        exported.append(known[operator])
    return {
        "batch": len(u), "shape": list(u.shape[1:]), "parameters": {name: x.numel() for name, x in parameters.items()},
        "weights": [[w.numel(), float(w.detach().square().mean().sqrt())] for w in weights],
        "operators": exported, "targets": _known(TARGETS, objective.targets, "targets"),
        "metric": _metric(library, objective.loss.metric, u),
        "update": _update(library, optimizer, ends[-1], clip_norm),
        "start": {"m": rollout.num_steps, "policy": _known(POLICIES, type(rollout.gradient), "gradient policy"),
                  "truncation": getattr(rollout.gradient, "every", 4), "noise": sigma,
                  "placement": _known(PLACEMENTS, objective.loss.weights, "placement"),
                  "lr": optimizer.param_groups[0]["lr"]}}


def _check_arguments(objective, optimizer, example, library) -> None:
    arguments.instance("export", "objective", objective, Objective, "an Objective(rollout, loss)")
    arguments.instance("export", "optimizer", optimizer, torch.optim.Optimizer, "a torch.optim.Adam of its weights")
    arguments.instance("export", "library", library, Library, "a Library()")
    arguments.mapping("export", "example", example, "a batch, {'u0': states, **physical parameters}")
    if "u0" not in example:
        raise arguments.refusal("export", "example", dict(example), "a batch with its states, {'u0': states, ...}",
                                ValueError)
    weights = {id(w) for w in objective.parameters() if w.requires_grad}
    held = [id(w) for group in optimizer.param_groups for w in group["params"]]
    if not weights:
        raise ValueError("export: the objective has no trainable weight; put a network into its chain, or call "
                         "network.requires_grad_()")
    if weights != set(held):
        raise ValueError(f"export: the optimiser holds {len(weights & set(held))} of the objective's {len(weights)} "
                         f"trainable weight tensors and {len(set(held) - weights)} others; build it from "
                         "objective.parameters()")
    if len(optimizer.param_groups) > 1:
        raise Unsupported(f"export: the optimiser has {len(optimizer.param_groups)} parameter groups; a page has one "
                          "learning rate, so build it from objective.parameters()")


def forward(library: Library, operator: Callable, u: Tensor, **parameters: Tensor) -> dict:
    """The program ``value = operator(u, **parameters)``, without a gradient."""
    def function(u, *values):
        with torch.no_grad():
            return [operator(u, **dict(zip(parameters, values)))]

    return library.program(function, {"u": u, **parameters}, ["value"])


def _known(names: Mapping, value, what: str) -> str:
    if value not in names:
        raise Unsupported(f"export: the {what} {getattr(value, '__name__', value)} is not offered in a page; there are "
                          f"{', '.join(x.__name__ for x in names)}")
    return names[value]


def _metric(library: Library, metric: Callable, u: Tensor) -> dict:
    """(u, target, weight, g) -> loss = weight * mean over the batch, and g + its gradient."""
    def function(u, target, weight, g):
        with torch.enable_grad():
            u = u.detach().requires_grad_()
            loss = weight * metric(u.unsqueeze(1), target.unsqueeze(1)).mean()
            return [loss.detach(), g + torch.autograd.grad(loss, u)[0]]

    inputs = {"u": u, "target": 0.5 * u, "weight": torch.ones((), dtype=u.dtype), "g": u}
    return library.program(function, inputs, ["loss", "gu"])


def _update(library: Library, optimizer: torch.optim.Optimizer, size: int, clip_norm: float | None) -> dict:
    """(weights, gw, mean, square, lr, count) -> the same after an update of Adam, and the gradient's norm."""
    group, = optimizer.param_groups
    plain = {"weight_decay": 0, "amsgrad": False, "maximize": False}
    if type(optimizer) is not torch.optim.Adam or any(group[name] != value for name, value in plain.items()):
        raise Unsupported(f"export: the optimiser is {optimizer}; a page has plain torch.optim.Adam")
    (beta, beta_square), eps = group["betas"], group["eps"]

    def function(w, g, mean, square, lr, count):
        norm = g.square().sum().sqrt()
        if clip_norm is not None:
            g = g * (clip_norm / (norm + 1e-6)).clamp(max=1)
        mean = beta * mean + (1 - beta) * g
        square = beta_square * square + (1 - beta_square) * g * g
        scale = lr / (1 - beta ** count)
        size = square.sqrt() / (1 - beta_square ** count).sqrt() + eps
        return [w - scale * mean / size, mean, square, norm]

    vector, one = torch.ones(size), torch.ones(())
    inputs = {"weights": vector, "gw": vector, "mean": vector, "square": vector, "lr": one, "count": one}
    return library.program(function, inputs, ["weights", "mean", "square", "norm"])
