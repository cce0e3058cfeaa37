"""E04: one step or many?   Chapter: 03_unrolling."""

from ...experiments.spec import Experiment
from . import forced, rollouts, unrolling
from .verdict import CLAIMS

EXPERIMENTS = (
    Experiment(unrolling.SPEC, unrolling.run, claims=CLAIMS),
    unrolling.TUNING.experiment,
    Experiment(rollouts.SPEC, rollouts.run, rollouts.cost),
    Experiment(forced.SPEC, forced.run),
    forced.TUNING.experiment,
)
