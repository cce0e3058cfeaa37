"""What the two studies of E13 share: their rows, and how one is computed.   Chapter: 12_control."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dpbook_utils.losses import final_step
from dpbook_utils.setups import Setup

from ...experiments.tuning import at_rate
from ...problems.actuators import Randomised, Smoothed
from ...problems.control import Nothing
from ...problems.control import burgers_control as problem
from . import methods
from .design import LOOKS, QUALITIES, RIVALS, TASKS, WEIGHT, looks, name
from .methods import Agent, Looks, Row

SMOOTH, SIGMA = 0.1, 0.3  # width of a smoothed relay, noise on the command of a randomised one
EPISODES = 64  # that agents run side by side

CURVES = {
    "curve": "cost / cost of doing nothing, on validation instances, at 28 places of the training",
    "at": "solver steps forward at these places",
    **{f"to.{quality:g}": f"solver steps forward to the cost {quality:g}, on validation instances; infinite if it is "
       "not reached" for quality in QUALITIES},
    "seconds": "of the training, for each seed [s]",
    "diverged_at": "update at which the training diverged; -1 for none",
}


@dataclass(frozen=True)
class OpenLoop:
    """Commands for each instance, found by L-BFGS with the solver's gradient: the reachable optimum."""

    weight: float


@dataclass(frozen=True)
class Idle:
    """Doing nothing."""

    weight: float = WEIGHT


def trained(weights: Mapping[str, Sequence[float]]) -> dict[str, Row]:
    """Every method on every task at its weights, ``{task: weights}``, all with one learning rate."""
    actuators = {"proportional": problem.proportional(), "relay": problem.relay()}
    found = {}
    for task, actuator in actuators.items():
        for weight in weights.get(task, ()):
            found |= {name(method, task, weight): row for method, row in of(actuator, weight).items()
                      if method.startswith("DP") or method in RIVALS[task]}
            if task == "relay":
                bound, threshold = problem.bound, problem.threshold
                found |= {name(f"DP-8, {word}", task, weight): through_solver(8, weight, mended) for word, mended in (
                    ("smoothed", Smoothed(bound, threshold, SMOOTH)),
                    ("randomised", Randomised(bound, threshold, SIGMA)))}
    return found


def of(actuator: nn.Module, weight: float) -> dict[str, Row]:
    """All methods on one task."""
    def agent(method, options: dict) -> Agent:
        return Agent(method, Setup(batch_size=EPISODES), weight, actuator, options=options)

    return {"DP-8": through_solver(8, weight, actuator), "DP-64": through_solver(64, weight, actuator),
            "PPO": agent(methods.policy_gradient, methods.PPO), "SAC": agent(methods.soft_actor_critic, methods.SAC),
            "ES": Row(methods.evolution, Setup(batch_size=8), weight, actuator, 2 * methods.SAMPLES)}


def through_solver(batch: int, weight: float, actuator: nn.Module) -> Row:
    setup = Setup(problem.num_steps, placement=final_step, batch_size=batch)
    return Row(methods.differentiable, setup, weight, actuator)


def kind(row: str) -> str:
    """One learning rate for all weights of a method and a task: ``PPO, relay``."""
    return row.partition(", weight")[0]


def variants(weights: Mapping[str, Sequence[float]], rates: Mapping[str, float]) -> dict[str, Row | OpenLoop | Idle]:
    """All rows of a study: trained ones at their rates, the optimum and doing nothing."""
    rows = {key: at_rate(row, rates[kind(key)]) for key, row in trained(weights).items()}
    rows |= {name("L-BFGS", TASKS[0], weight): OpenLoop(weight) for weight in weights[TASKS[0]]}
    return rows | {"nothing": Idle()}


def budget_for(row: Row | OpenLoop | Idle, steps: int) -> int:
    """Updates of a row with so many steps of the solver; without a training 0."""
    return row.updates_for(problem, steps) if isinstance(row, Row) else 0


def computed(row: Row | OpenLoop | Idle, seeds: Sequence[int], budget: int) -> dict[str, Tensor]:
    """Every metric of a row, one entry per seed."""
    if isinstance(row, Row):
        groups = [tuple(seeds)] if row.trains_together else [(seed,) for seed in seeds]
        found = [fitted(row, group, budget) for group in groups]
        judged = [{**problem.judge(networks, group, row.weight, row.actuator), **training}
                  for group, (networks, training) in zip(groups, found)]
    else:
        judged = [{**problem.judge(*without_training(row, seed)), **no_curves()} for seed in seeds]
    return {key: torch.cat([one[key] for one in judged]) for key in judged[0]}


def fitted(row: Row, seeds: Sequence[int], budget: int) -> tuple[nn.Module, dict[str, Tensor]]:
    """(policies of the seeds, all CURVES) after a training."""
    networks, places = problem.ensemble(seeds), looks(budget)
    costs: dict[int, Tensor] = {}

    def look(update: int) -> None:
        found = problem.judge(networks, seeds, row.weight, row.actuator, "validation", problem.regions[:1])
        costs[update] = found["cost.as trained"]

    watch = Looks(places, look)
    diverged_at = row.method(problem, row, seeds, budget, networks, watch)
    seconds, missing = watch.training(), torch.full((len(seeds),), math.nan, dtype=torch.float64)
    curve = torch.stack([costs.get(update, missing) for update in places], 1)
    at = row.steps_per_update(problem) * torch.tensor(places, dtype=torch.float64)
    to = {f"to.{quality:g}": torch.tensor([first(at, one, quality) for one in curve], dtype=torch.float64)
          for quality in QUALITIES}
    return networks, {"curve": padded(curve), "at": padded(at.expand_as(curve)), **to, "diverged_at": diverged_at,
                      "seconds": torch.full((len(seeds),), seconds / len(seeds), dtype=torch.float64)}


def first(at: Tensor, curve: Tensor, quality: float) -> float:
    """Solver steps at which a curve first comes down to a quality, between two looks by interpolation of the logarithm
    of the cost; infinite if it does not."""
    reached = (curve <= quality).nonzero()
    if not len(reached):
        return math.inf
    after = int(reached[0])
    if after == 0:
        return float(at[1])  # before the first update: as good as after it
    (a, b), (x, y) = at[after - 1:after + 1].tolist(), curve[after - 1:after + 1].log().tolist()
    found = b if not x > y else a + (b - a) * (x - math.log(quality)) / (x - y)
    return max(found, float(at[1]))


def padded(values: Tensor) -> Tensor:
    """(seeds, looks) -> (seeds, LOOKS): short budgets have fewer places."""
    return nn.functional.pad(values, (0, LOOKS - values.shape[1]), value=math.nan)


def no_curves() -> dict[str, Tensor]:
    """All CURVES of what is not trained, for one seed."""
    nothing = torch.full((1, LOOKS), math.nan)
    return {key: {"curve": nothing, "at": nothing, "diverged_at": torch.tensor([-1])}.get(
        key, torch.full((1,), math.nan)) for key in CURVES}


def without_training(row: OpenLoop | Idle, seed: int) -> tuple[nn.Module, tuple[int], float]:
    """What ``judge`` takes: (policy, seeds, weight)."""
    policy = Nothing() if isinstance(row, Idle) else methods.open_loop(
        problem, problem.instances("test", seed), row.weight)[0]
    return policy, (seed,), row.weight


def validation_cost(row: Row, seeds: Sequence[int], budget: int) -> Tensor:
    """(seeds,): at the end of a training; infinite costs of diverged ones are capped, as a mean of logarithms needs."""
    groups = [tuple(seeds)] if row.trains_together else [(seed,) for seed in seeds]
    found = [problem.judge(fitted(row, group, budget)[0], group, row.weight, row.actuator, "validation",
                           problem.regions[:1])["cost.as trained"] for group in groups]
    return torch.cat(found).nan_to_num(10.0).clamp(max=10.0)


def weight_of(row: Row | OpenLoop | Idle, budget: int) -> float:
    """What a task costs, about in seconds of a quiet core for twelve seeds: to estimate the time that is left."""
    if not isinstance(row, Row):
        return 90.0 if isinstance(row, OpenLoop) else 5.0
    per_step = {"differentiable": 5e-5, "evolution": 4e-5, "policy_gradient": 3e-4, "soft_actor_critic": 5e-4}
    return 30 + 12 * budget * row.steps_per_update(problem) * per_step[row.method.__name__]
