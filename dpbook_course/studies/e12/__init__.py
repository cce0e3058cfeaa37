"""E12: forward and backward with a trained hybrid.   Chapter: 11_forward_and_inverse."""

from ...experiments.spec import Experiment
from . import backward, forward, gradients, letters, posterior, tangents
from .verdict import CLAIMS

EXPERIMENTS = (
    Experiment(backward.SPEC, backward.run, backward.cost, claims=CLAIMS),
    Experiment(forward.SPEC, forward.run, forward.cost),
    Experiment(gradients.SPEC, gradients.run, gradients.cost),
    Experiment(letters.SPEC, letters.run, letters.cost),
    Experiment(posterior.SPEC, posterior.run, posterior.cost),
    Experiment(tangents.SPEC, tangents.run, tangents.cost),
)
