"""E06: where along the chain does the loss sit?   Chapter: 05_loss_placement."""

from ...experiments.spec import Experiment
from . import placement
from .verdict import CLAIMS

EXPERIMENTS = (
    Experiment(placement.SPEC, placement.run, claims=CLAIMS),
    placement.TUNING.experiment,
)
