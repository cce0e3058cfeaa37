"""E01: physics as a loss: an inverse problem, conservation, and a reconstruction.   Chapter: 01_physics_as_loss."""

from ...experiments.spec import Experiment
from . import conservation, inverse, reconstruction
from .verdict import CLAIMS_CONSERVATION, CLAIMS_INVERSE

EXPERIMENTS = (
    Experiment(inverse.SPEC, inverse.run, claims=CLAIMS_INVERSE),
    Experiment(conservation.SPEC, conservation.run, claims=CLAIMS_CONSERVATION, without_time_step=True),
    Experiment(reconstruction.SPEC, reconstruction.run),
)
