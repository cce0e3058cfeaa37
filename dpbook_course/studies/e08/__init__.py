"""E08: noise instead of unrolling, and noise beside it.   Chapter: 07_noise."""

from ...experiments.spec import Experiment
from . import noise, periodic, small
from .verdict import CLAIMS

EXPERIMENTS = (
    Experiment(noise.SPEC, noise.run, noise.cost, claims=CLAIMS),
    Experiment(periodic.SPEC, periodic.run, periodic.cost),
    Experiment(small.SPEC, small.run, small.cost),
)
