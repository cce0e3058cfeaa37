"""An implicit P whose systems are solved by few iterations: ``ks_solves``.   Chapter: 09_choosing_the_numerics."""

import functools

from dpbook_utils.physics.iterative import IterativeKuramotoSivashinsky
from dpbook_utils.physics.semi_implicit import SemiImplicitKuramotoSivashinsky
from dpbook_utils.physics.trace import TracedSolver

from .problem import Trajectories
from .schemes import KuramotoSivashinskySchemes, ks_schemes


class KuramotoSivashinskySolves(KuramotoSivashinskySchemes):
    r"""The correction of one implicit solver whose systems are solved by K iterations: the problem of E10's inner loop.

    P is the semi-implicit one of ``ks_schemes`` with two sub-steps, ``differences, 2``. Its two systems in each of them
    are solved by K conjugate gradients, or exactly, in Fourier space. Everything else is that of ``ks_schemes``.

    Chapter: 09_choosing_the_numerics.
    """

    regions = ("inside",)
    schemes = {"1 iteration": 1, "2 iterations": 2, "4 iterations": 4, "8 iterations": 8, "converged": None}
    num_substeps = 2

    @functools.cache
    def coarse_solver(self, scheme: str | None = None, num_points: int | None = None) -> TracedSolver:
        iterations, points = self.schemes[scheme or "converged"], num_points or self.num_points
        return TracedSolver(
            SemiImplicitKuramotoSivashinsky(points, self.dt, self.num_substeps) if iterations is None else
            IterativeKuramotoSivashinsky(points, self.dt, self.num_substeps, iterations))

    def data(self, name: str, seed: int, num_points: int) -> Trajectories:
        return ks_schemes.data(name, seed, num_points)


ks_solves = KuramotoSivashinskySolves(**ks_schemes.settings)
