"""E15: better updates than plain gradients, at equal time and equal solver calls.   Chapter: 14_better_updates."""

from ...experiments.spec import Experiment
from . import spectra, trainings
from .verdict import CLAIMS

EXPERIMENTS = (
    Experiment(trainings.SPEC, trainings.run, trainings.cost, claims=CLAIMS),
    trainings.TUNING.experiment,
    Experiment(spectra.SPEC, spectra.run),
)
