r"""The viscous Burgers equation in Fourier space.   Chapter: 09_choosing_the_numerics."""

from phiml import math
from phiml.math import batch, channel, spatial
from torch import Tensor

from .. import arguments
from .kuramoto_sivashinsky import KuramotoSivashinsky, etdrk2, phi_functions
from .phiflow import precision_and_device
from .solver import Solver


class SpectralBurgers(Solver):
    r"""One step of the viscous Burgers equation, periodic in x, by the pseudo-spectral method.

        u_t + (u^2 / 2)_x = nu u_xx

    The viscous term is exact, the product is taken at the points and differentiated in Fourier space, without the
    waves above two thirds of the highest one (the others would be polluted by products that the grid cannot hold).

    Args:
        num_points: number of cells.
        length: of the domain.
        dt: time step, taken in ``num_substeps`` equal parts.
        integrator: ``etdrk2`` (second order in time) or ``etd1`` (first order).
        num_substeps: number of parts.

    Shapes: (batch, 1, x) -> (batch, 1, x); viscosity (batch,).
    Units: length [m], dt [s], u [m/s], viscosity nu [m^2/s].
    Order: 2 or 1 in time, spectral in space where the fronts are resolved, of a width of nu / |u|.
    Stable: there is no sharp limit. The product is explicit, so that ``|u| dt / dx`` of a sub-step should stay below
        about 1; where fronts are not resolved the state wiggles, and viscosity must take what piles up.
    Behaviour: as ``Burgers``; wiggles of one cell beside every front that is narrower than the cells.
    Good values: num_points 64, length 1, dt 0.001 ... 0.004 and viscosity 0.005 ... 0.02 for velocities of root mean
        square 0.5. In cells of 1 m: num_points 32, length 32, dt 0.1, viscosity 0.15 ... 0.6.
    Raises: ValueError, TypeError as ``Solver``; ValueError for a negative viscosity.
    Source: orszag1971, cox2002.
    """

    required = ("viscosity",)

    def __init__(self, num_points: int, length: float, dt: float, integrator=etdrk2, num_substeps: int = 1):
        self.num_points = arguments.whole(self.label, "num_points", num_points)
        super().__init__(arguments.positive(self.label, "dt", dt), (1, self.num_points))
        self.length = arguments.positive(self.label, "length", length)
        self.num_substeps = arguments.whole(self.label, "num_substeps", num_substeps)
        self.integrator = arguments.function(self.label, "integrator", integrator, "etdrk2 or etd1")

    def precompute(self, *, viscosity: Tensor) -> dict[str, Tensor]:
        """Operators in Fourier space that act on u and on u^2, each (batch, 1, num_points)."""
        with precision_and_device(viscosity):
            dt = self.dt / self.num_substeps
            n = math.fftfreq(spatial(x=self.num_points), dx=1 / self.num_points).vector["x"]
            k = 2 * math.PI * n / self.length
            z = -math.wrap(viscosity, batch("b")) * k**2 * dt
            phi1, phi2 = phi_functions(z)
            half_derivative = math.where(math.abs(n) < self.num_points / 3, -0.5j * k, 0)
            operators = dict(linear=math.to_complex(math.exp(z)), product=dt * phi1 * half_derivative,
                             correction=dt * phi2 * half_derivative)
            return {name: math.expand(operator, channel(c=1)).native("b,c,x") for name, operator in operators.items()}

    step = KuramotoSivashinsky.step  # the integrator's sub-steps; the operators say of which equation

    def check_parameters(self, *, viscosity: Tensor) -> None:
        if float(viscosity.min()) < 0:
            raise ValueError(f"{self.label}: viscosity is as low as {float(viscosity.min()):g} m^2/s; make it positive")
