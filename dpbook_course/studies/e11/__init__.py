"""E11: what a network keeps when the data change, with a solver and without.   Chapter: 10_generalisation."""

from ...experiments.spec import Experiment
from . import burgers, ks
from .verdict import CLAIMS

EXPERIMENTS = (
    Experiment(burgers.SPEC, burgers.run, burgers.cost, claims=CLAIMS),
    burgers.TUNING.experiment,
    Experiment(ks.SPEC, ks.run, ks.cost),
    ks.TUNING.experiment,
)
