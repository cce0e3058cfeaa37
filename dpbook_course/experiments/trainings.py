"""What the records of the studies keep of a training, next to what it led to."""

import math

import torch
from torch import Tensor

from dpbook_utils.history import History

PLACES = 32  # of the training loss
TRAINING_METRICS = {
    "seconds_per_update": "time of an undisturbed update, all seeds together [s]",
    "losses": "training loss at 32 updates, evenly spaced in the logarithm",
    "diverged_at": "update at which the training diverged; -1 for none",
}


def training_metrics(history: History, budget: int, num_seeds: int) -> dict[str, Tensor]:
    """All TRAINING_METRICS of a training, also of one that ended early."""
    return {"seconds_per_update": torch.full((num_seeds,), undisturbed_seconds(history)),
            "losses": losses(history, budget, num_seeds), "diverged_at": history.diverged_at}


def no_training() -> dict[str, Tensor]:
    """All TRAINING_METRICS of a baseline, which is not trained and has one seed."""
    return {"seconds_per_update": torch.zeros(1), "losses": torch.full((1, PLACES), math.nan),
            "diverged_at": torch.full((1,), -1)}


def losses(history: History, budget: int, num_seeds: int) -> Tensor:
    """(seeds, 32): the training loss along the budget, evenly spaced in the logarithm; NaN after the training's end."""
    places = torch.logspace(0, math.log10(budget), PLACES).round().long().clamp(max=budget) - 1
    found = torch.full((budget, num_seeds), math.nan, dtype=torch.float64)
    found[:len(history)] = history.losses
    return found[places].T


def undisturbed_seconds(history: History) -> float:
    """Mean time of an update when nothing else runs [s]: for each unroll length the fastest tenth stands for all."""
    total = sum(float(history.seconds[chosen].quantile(0.1)) * int(chosen.sum())
                for chosen in (history.num_steps == m for m in history.num_steps.unique()))
    return total / len(history) if len(history) else math.nan
