"""E10: does the accuracy of the solver carry over to the trained hybrid?   Chapter: 09_choosing_the_numerics."""

from ...experiments.spec import Experiment
from . import burgers, inner, ks, rollouts, teacher
from .verdict import CLAIMS

EXPERIMENTS = (
    Experiment(burgers.SPEC, burgers.run, burgers.cost, claims=CLAIMS),
    burgers.TUNING.experiment,
    Experiment(ks.SPEC, ks.run, ks.cost),
    ks.TUNING.experiment,
    Experiment(rollouts.SPEC, rollouts.run, rollouts.cost),
    Experiment(inner.SPEC, inner.run, inner.cost),
    Experiment(teacher.SPEC, teacher.run, teacher.cost),
)
