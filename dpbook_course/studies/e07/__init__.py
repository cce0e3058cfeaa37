"""E07: what makes long horizons trainable, and how long is long enough?   Chapter: 06_long_horizons."""

from ...experiments.spec import Experiment
from . import cost, gradients, horizons
from .verdict import CLAIMS

EXPERIMENTS = (
    Experiment(horizons.SPEC, horizons.run, claims=CLAIMS),
    Experiment(gradients.SPEC, gradients.run),
    Experiment(cost.SPEC, cost.run, without_time_step=True),
)
