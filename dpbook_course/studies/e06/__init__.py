"""E06: where along the chain does the loss sit?   Chapter: 05_loss_placement."""

from ...experiments.spec import Experiment
from . import placement, tuning
from .verdict import CLAIMS

EXPERIMENTS = (
    Experiment(placement.SPEC, placement.run, claims=CLAIMS),
    Experiment(tuning.SPEC, tuning.run),
)
