"""E00: is the gradient of every solver the derivative of its values?   Chapter: 00_solver_as_operator."""

from ...experiments.spec import Experiment
from . import gradients
from .verdict import CLAIMS

EXPERIMENTS = (Experiment(gradients.SPEC, gradients.run, claims=CLAIMS, without_time_step=True),)
