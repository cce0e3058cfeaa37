"""E05: how should the network's output enter?   Chapter: 04_coupling."""

from ...experiments.spec import Experiment
from . import coupling, rollouts, tuning
from .verdict import CLAIMS

EXPERIMENTS = (
    Experiment(coupling.SPEC, coupling.run, claims=CLAIMS),
    Experiment(tuning.SPEC, tuning.run),
    Experiment(rollouts.SPEC, rollouts.run, rollouts.cost),
)
