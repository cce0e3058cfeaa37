"""E09: a network reduces the numerical errors of a wake.   Chapter: 08_wake_flow."""

from ...experiments.spec import Experiment
from . import cost, tuning, validation, wake
from .verdict import CLAIMS

EXPERIMENTS = (
    Experiment(wake.SPEC, wake.run, claims=CLAIMS),
    tuning.TUNING.experiment,
    Experiment(cost.SPEC, cost.run, without_time_step=True),
    Experiment(validation.SPEC, validation.run),
)
