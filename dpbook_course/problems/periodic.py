"""The Kuramoto-Sivashinsky correction where the flow is periodic, ``periodic_waves``."""

from collections.abc import Callable

from dpbook_utils.data import random_fourier, simulate
from dpbook_utils.physics.trace import TracedSolver

from .data_sets import cached_per_set, seed_here
from .ks import KuramotoSivashinskyProblem, kuramoto_sivashinsky
from .problem import Trajectories


class PeriodicWaves(KuramotoSivashinskyProblem):
    r"""The correction of a coarse Kuramoto-Sivashinsky solver where the flow is periodic instead of chaotic.

    On domains of length 17.5 ... 17.8 every trajectory settles on a limit cycle, waves whose energy oscillates: on one
    and the same up to a shift in most cases, on a second one in about one of twenty. Their leading Lyapunov exponents
    vanish (``tests/test_periodic_waves.py``), so errors do not grow exponentially and no states need to be stored.
    Otherwise the problem is that of ``kuramoto_sivashinsky``: steps, integrators, network and measures; 24 points are
    enough for the shorter domain.

    Chapter: 07_noise.
    """

    unit_length = 1.0

    def solver(self, integrator: Callable, num_substeps: int | None = None) -> TracedSolver:
        return TracedSolver(super().solver(integrator, num_substeps))

    @cached_per_set
    def trajectories(self, name: str) -> Trajectories:
        """``train``, ``validation`` (the same lengths, other states), or ``inside`` (other lengths)."""
        lengths, num_steps, seed = self.described(name)
        u0 = random_fourier(len(lengths), self.num_points, modes=self.modes, seed=seed_here(seed))
        states = simulate(self.reference_solver(), u0, num_steps, warmup=self.warmup, length=lengths)
        return Trajectories(states, {"length": lengths})


periodic_waves = PeriodicWaves(
    num_points=24, dt=1.0, num_substeps=2, train_lengths=(17.55, 17.59, 17.63, 17.67, 17.71, 17.75),
    trajectories_per_length=6, train_steps=200, warmup=1500, modes=3,
    data_seeds={"train": 0, "validation": 1, "test": 2},
    test_lengths={"inside": (17.57, 17.69)}, tests_per_length=16, test_steps=kuramoto_sivashinsky.test_steps,
    horizon=kuramoto_sivashinsky.horizon, condition=(17.65, 0.1), output_scale=0.01, batch_seed=1000)
