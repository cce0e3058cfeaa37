"""E02: a fixed data set, or fresh samples at every update?   Chapter: 02_solver_as_data."""

from ...experiments.spec import Experiment
from . import data, equality, rollouts, throughput
from .verdict import CLAIMS

EXPERIMENTS = (
    Experiment(data.SPEC, data.run, claims=CLAIMS),
    Experiment(equality.SPEC, equality.run, without_time_step=True),
    Experiment(throughput.SPEC, throughput.run, without_time_step=True),
    Experiment(rollouts.SPEC, rollouts.run),
    data.TUNING.experiment,
)
