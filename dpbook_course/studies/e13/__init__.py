"""E13: control through the solver's gradient, and without it.   Chapter: 12_control."""

from ...experiments.spec import Experiment
from . import front, policies
from .verdict import CLAIMS

EXPERIMENTS = (
    Experiment(policies.SPEC, policies.run, policies.cost, claims=CLAIMS),
    policies.TUNING.experiment,
    Experiment(front.SPEC, front.run, front.cost),
)
