r"""An implicit step whose system is solved by a few iterations.   Chapter: 09_choosing_the_numerics."""

from collections.abc import Callable

from phiml import math
from phiml.math import batch, channel, spatial
from torch import Tensor

from .. import arguments
from .advection import shifted
from .phiflow import like_state
from .semi_implicit import SemiImplicitKuramotoSivashinsky

TINY = 1e-36  # keeps 0 / 0 away where a residual has vanished; added to sums of squares


class IterativeKuramotoSivashinsky(SemiImplicitKuramotoSivashinsky):
    r"""The step of ``SemiImplicitKuramotoSivashinsky``, its systems A w = b solved by conjugate gradients.

        K times:   a = r.r / p.A p,   w + a p -> w,   r - a A p -> r,   p' = r + (r.r / r_old.r_old) p

    w starts from the state that the sub-step starts from, and for the second system from the first one's solution;
    r = b - A w and p = r. A is symmetric and has a positive spectrum, up to dt (s^2 - s) + 1 with s = 4 / dx^2. The
    gradient goes through the iterations: it is that of the step as it is taken, not that of a step which is solved. The
    two may differ by much more than the values: what the iterations have not met in the state is not solved for.

    Args:
        num_points: number of cells.
        dt: time step, taken in ``num_substeps`` equal parts.
        num_substeps: number of parts.
        num_iterations: K, of each of the two systems of a part.

    Shapes: (batch, 1, x) -> (batch, 1, x); length of the domain (batch,).
    Units: none; the equation is in its usual scaling, where waves shorter than 2 pi decay.
    Order: 1 in time, 2 in space, once the iterations have converged.
    Stable: as ``SemiImplicitKuramotoSivashinsky`` once they have. Few amplify the short waves that they do not fit,
        those of rounding too: with four and sub-steps of 0.5 a state blew up within 42 units of time, with the good
        values none within 200.
    Behaviour: with w waves in the residual K = w iterations solve a system exactly, one of them if there is one wave;
        else its error falls by (sqrt(k) - 1) / (sqrt(k) + 1) with each, k the ratio of A's extreme eigenvalues. The
        sum over the cells is kept by every iteration.
    Good values: num_points 48, length 22 ... 45, dt 0.5 ... 1, num_substeps 2, num_iterations 8 ... 16.
    Raises: ValueError, TypeError as ``SemiImplicitKuramotoSivashinsky``; ValueError for no iterations.
    Source: kassam2005 (the equation), hestenes1952 (the iteration), bhatia2025 (few of them in training).
    """

    def __init__(self, num_points: int, dt: float, num_substeps: int = 1, num_iterations: int = 8):
        super().__init__(num_points, dt, num_substeps)
        self.num_iterations = arguments.whole(self.label, "num_iterations", num_iterations)

    def precompute(self, *, length: Tensor) -> dict[str, Tensor]:
        """dt / dx, (batch, 1, num_points), as ``SemiImplicitKuramotoSivashinsky`` has it."""
        return {"ratio": super().precompute(length=length)["ratio"]}

    @like_state
    def step(self, u: Tensor, *, ratio: Tensor) -> Tensor:
        dims = batch("b"), channel("c"), spatial("x")
        values, ratio = (math.wrap(x, *dims) for x in (u, ratio))
        dt = self.dt / self.num_substeps

        def operator(w):  # 1 + dt (D2 + D2 D2)
            curved = _second(w, ratio, dt)
            return w + dt * (curved + _second(curved, ratio, dt))

        for _ in range(self.num_substeps):
            flow = self.transport(values, ratio)
            guess = conjugate_gradients(operator, values + flow, values, self.num_iterations)
            right_hand_side = values + (flow + self.transport(guess, ratio)) / 2
            values = conjugate_gradients(operator, right_hand_side, guess, self.num_iterations)
        return values.native("b,c,x")


def conjugate_gradients(operator: Callable, right_hand_side, start, num_iterations: int):
    """The iterate after so many iterations, sample by sample.

    Args:
        operator: symmetric and positive, from values to values.

    Source: hestenes1952.
    """
    w, residual = start, right_hand_side - operator(start)
    direction, size = residual, _dot(residual, residual)
    for k in range(num_iterations):
        image = operator(direction)
        along = size / (_dot(direction, image) + TINY)
        w = w + along * direction
        if k + 1 < num_iterations:  # else nobody asks for the rest
            residual, before = residual - along * image, size
            size = _dot(residual, residual)
            direction = residual + size / (before + TINY) * direction
    return w


def _dot(a, b):
    return math.sum(a * b, spatial)


def _second(values, ratio, dt):
    """The second difference, over dx^2."""
    return (ratio / dt)**2 * (shifted(values, 1, "x") - 2 * values + shifted(values, -1, "x"))
