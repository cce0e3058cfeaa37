"""E03: how the error of a trained step grows, and at which states it is made.   Chapter: 03_unrolling."""

from ...experiments.spec import Experiment
from . import growth, perturbations
from .verdict import CLAIMS

EXPERIMENTS = (
    Experiment(growth.SPEC, growth.run, claims=CLAIMS),
    Experiment(perturbations.SPEC, perturbations.run),
)
