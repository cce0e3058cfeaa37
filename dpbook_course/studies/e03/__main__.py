"""Compute the states from which perturbed trajectories start: ``python -m dpbook_course.studies.e03 --write``."""

from ...problems import restarts
from .perturbations import STATES, make_states

restarts.command(STATES, make_states, __doc__)
