"""E02, first part: the same training from stored and from fresh outputs of P?   Chapter: 02_solver_as_data.

one step: N is trained on fresh samples with P before it in the chain, and on outputs of P for the same samples that
were written to the disk and read again, without P.
four steps, a control: the chain is unrolled, so that P meets what N did. Outputs of P for states of the reference are
all that can be stored before; they are those of one step.
"""

import tempfile
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dpbook_utils.coupling import Additive
from dpbook_utils.data import Fresh
from dpbook_utils.rollout import Sequential
from dpbook_utils.setups import Setup, train

from ...experiments.spec import Specification, Task
from ...problems import parametric_burgers as problem
from .design import EQUALITY_BUDGET, SEEDS

PER_BATCH = problem.num_steps * problem.trajectories_per_batch
_VARIANTS = {"one step": 1, "four steps": 4}

SPEC = Specification(
    id="e02_equality", title="Stored and fresh outputs of the solver", chapter="02_solver_as_data",
    variants=_VARIANTS, seeds=SEEDS, budgets=dict.fromkeys(_VARIANTS, (EQUALITY_BUDGET,)),
    metrics={"equal": "1 if all weights are equal, bit for bit, to those trained on stored outputs of P, else 0",
             "graph": "1 if what enters N in training with P in the chain ever has a graph, else 0",
             "distance": "norm of the difference of the weights, divided by the norm of their change in training"},
    settings=problem.settings, checks=(Task("one step", 8, (0, 1)),), checked=("equal", "graph"))


def run(variant: str, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    """Train both ways, seed by seed."""
    found = [difference(SPEC.variants[variant], seed, budget) for seed in seeds]
    return {name: torch.tensor([one[name] for one in found]) for name in found[0]}


def difference(num_steps: int, seed: int, budget: int) -> dict[str, float]:
    """All metrics for one seed."""
    from dpbook_utils.data import store  # zarr takes time, which only those pay who store

    with_solver, graphs = train_fresh(num_steps, seed, budget)
    with tempfile.TemporaryDirectory() as folder:
        stored = store(solved(seed), f"{folder}/outputs", budget, progress=False)
        without = train_stored(stored, seed, budget)
    start = flat(problem.network(seed))
    return {"equal": float(torch.equal(with_solver, without)), "graph": float(any(graphs)),
            "distance": float((with_solver - without).norm() / (with_solver - start).norm())}


def solved(seed: int) -> Fresh:
    """The study's samples, P applied to every state: pairs of what enters N and the answer."""
    stream = problem.fresh([seed], 1)
    solver, cut = problem.coarse_solver(), stream.transform

    def after_solver(batch: dict[str, Tensor]) -> dict[str, Tensor]:
        pairs = cut(batch)
        return {**pairs, "u0": solver(pairs["u0"], viscosity=pairs["viscosity"])}

    stream.transform = after_solver
    return stream


def train_fresh(num_steps: int, seed: int, budget: int) -> tuple[Tensor, list[bool]]:
    """P, then N on fresh samples: all weights, and for every call of N whether its input has a graph."""
    network = problem.network(seed)
    step, graphs = problem.hybrid(network), []
    step[-1].register_forward_pre_hook(lambda module, inputs: graphs.append(inputs[0].requires_grad))
    _train(step, problem.fresh([seed], num_steps), num_steps, budget)
    return flat(network), graphs


def train_stored(stored: Dataset, seed: int, budget: int) -> Tensor:
    """N alone on stored outputs of P, in the order in which they were written: all weights."""
    network = problem.network(seed)
    _train(Sequential(Additive(network)), DataLoader(stored, batch_size=PER_BATCH), 1, budget)
    return flat(network)


def flat(network: torch.nn.Module) -> Tensor:
    """All weights in one row."""
    return torch.nn.utils.parameters_to_vector(network.parameters()).detach().clone()


def _train(step: Sequential, batches, num_steps: int, budget: int) -> None:
    setup = Setup(num_steps, learning_rate=3e-3)
    train(setup, setup.objective(step), batches, budget, trace=False)
