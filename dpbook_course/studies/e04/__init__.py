"""E04: one step or many?   Chapter: 03_unrolling."""

from ...experiments.spec import Experiment
from . import forced, forced_tuning, rollouts, tuning, unrolling
from .verdict import CLAIMS

EXPERIMENTS = (
    Experiment(unrolling.SPEC, unrolling.run, claims=CLAIMS),
    Experiment(tuning.SPEC, tuning.run),
    Experiment(rollouts.SPEC, rollouts.run, rollouts.cost),
    Experiment(forced.SPEC, forced.run),
    Experiment(forced_tuning.SPEC, forced_tuning.run),
)
