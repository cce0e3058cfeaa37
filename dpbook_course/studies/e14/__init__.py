"""E14: simulators without gradients, and the ways to use them all the same.   Chapter: 13_foreign_solvers."""

from ...experiments.spec import Experiment
from . import corrector, gradients, viscosity
from .verdict import CLAIMS

EXPERIMENTS = (
    Experiment(corrector.SPEC, corrector.run, corrector.cost, claims=CLAIMS),
    corrector.TUNING.experiment,
    Experiment(viscosity.SPEC, viscosity.run, viscosity.cost),
    viscosity.TUNING.experiment,
    Experiment(gradients.SPEC, gradients.run, gradients.cost),
)
