"""E05: how should the network's output enter?   Chapter: 04_coupling."""

from ...experiments.spec import Experiment
from . import coupling, rollouts
from .verdict import CLAIMS

EXPERIMENTS = (
    Experiment(coupling.SPEC, coupling.run, claims=CLAIMS),
    coupling.TUNING.experiment,
    Experiment(rollouts.SPEC, rollouts.run, rollouts.cost),
)
