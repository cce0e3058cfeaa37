"""E01: reconstruct an initial state by four methods.   Chapter: 01_physics_as_loss.

The problem is the one of thuerey2021pbdl: viscous Burgers with u(x, 0) = sin(pi x) on a periodic domain of
length 2 m, viscosity 0.01 / pi m^2/s, 128 points, 32 steps of 1/32 s; known is only the state at step 16. The
error is the mean absolute difference to the exact solution over all 33 states.
"""

import math
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

from dpbook_utils.physics.advection import semi_lagrangian
from dpbook_utils.physics.burgers import Burgers
from dpbook_utils.physics.exact import ColeHopf, cell_centres
from dpbook_utils.physics.trace import trace
from dpbook_utils.rollout import Rollout, repeat


class Reconstruction:
    """The problem: what is observed, what is true, and how an answer is judged.

    Attributes:
        truth: (33, 1, 128) the exact solution at all times.   observed: (1, 1, 128), its state at step 16.
        x: (128,) points [m].
        solver: semi-Lagrangian Burgers, which is not exact: even from the true initial state it misses the truth.
    """

    num_points, length, dt, viscosity = 128, 2.0, 1 / 32, 0.01 / math.pi
    num_steps, observed_step = 32, 16

    def __init__(self, dtype: torch.dtype = torch.float32):
        exact = ColeHopf(wave_number=math.pi, viscosity=self.viscosity)
        centres = cell_centres(self.num_points, self.length)
        self.x = centres[0].to(dtype)
        self.truth = torch.cat([exact(centres, k * self.dt) for k in range(self.num_steps + 1)]).to(dtype)
        self.observed = self.truth[self.observed_step:self.observed_step + 1]
        burgers = Burgers(self.num_points, self.length, self.dt, semi_lagrangian)
        self.solver = trace(burgers, self.observed, viscosity=self.viscosity)

    def misfit(self, u0: Tensor) -> Tensor:
        """Mean squared difference to the observation that each initial state leads to: (batch, 1, 128) -> (batch,)."""
        found = repeat(self.solver, self.observed_step)(u0, viscosity=self.viscosity)
        return (found - self.observed).square().mean((1, 2))

    def sequence(self, u0: Tensor) -> Tensor:
        """(33, 1, 128): all states that follow from an initial state."""
        with torch.no_grad():
            return torch.cat([u0, Rollout(self.solver, self.num_steps)(u0, viscosity=self.viscosity)[0]])

    def error(self, u0: Tensor) -> float:
        """Mean absolute difference to the truth over all 33 states [m/s]."""
        return float((self.sequence(u0) - self.truth).abs().mean())


class Progress(NamedTuple):
    """What a minimisation went through, one entry per record.

    Attributes:
        evaluations: of the gradient so far; a line search takes several per update.
        seconds: of wall-clock, without those for the error.
        loss, error: of the last update; the loss is that of the state before it, the error that of the state after it.
    """

    evaluations: list[int]
    seconds: list[float]
    loss: list[float]
    error: list[float]


def minimise(closure: Callable[[], Tensor], optimizer: torch.optim.Optimizer, error: Callable[[], float], *,
             num_updates: int | None = None, seconds: float | None = None, records: int = 40) -> Progress:
    """Run an optimiser for a number of updates or a wall-clock budget, and record loss and error on the way.

    Args:
        closure: sets the gradients and returns the loss, as ``torch.optim`` expects it.
        error: the distance to the truth, which no method sees.
        num_updates, seconds: exactly one of them.

    Raises: ValueError if both or none of the budgets are given; FloatingPointError for a loss that is not finite.
    """
    if (num_updates is None) == (seconds is None):
        raise ValueError("minimise: give num_updates or seconds, one of them")
    total = num_updates if seconds is None else seconds
    progress, used, next_record, evaluations = Progress([], [], [], []), 0.0, 0.0, 0

    def counted() -> Tensor:
        nonlocal evaluations
        evaluations += 1
        return closure()

    with tqdm(total=total, bar_format="{percentage:3.0f}%|{bar}| {remaining} left", mininterval=1) as bar:
        update = 0
        while (update if seconds is None else used) < total:
            start = time.perf_counter()
            loss = float(optimizer.step(counted).detach())
            used += time.perf_counter() - start
            update += 1
            if not math.isfinite(loss):
                raise FloatingPointError(f"minimise: the loss is {loss} after update {update}; lower the learning rate")
            reached = update if seconds is None else min(used, total)
            bar.update(reached - bar.n)
            if reached >= next_record or reached == total:
                next_record += total / records
                for column, value in zip(progress, (evaluations, used, loss, error())):
                    column.append(value)
    return progress


def finite_difference_closure(loss: Callable[[Tensor], Tensor], unknown: Tensor,
                              eps: float = 1e-3) -> Callable[[], Tensor]:
    """A closure that estimates the gradient by forward differences: one extra solve for each unknown.

    Args:
        loss: states (batch, channels, x) -> (batch,), so that all perturbed solves run as one batch.
        unknown: (1, channels, x), the leaf to be optimised.
    """
    directions = torch.eye(unknown.numel(), dtype=unknown.dtype).view(-1, *unknown.shape[1:])

    def closure() -> Tensor:
        with torch.no_grad():
            values = loss(torch.cat([unknown, unknown + eps * directions]))
            unknown.grad = ((values[1:] - values[0]) / eps).view_as(unknown)
        return values[0]

    return closure


class PhysicsInformedNetwork(nn.Module):
    """u(x, t) as a network that knows no grid and no solver, trained on the residual of the PDE.

        residual = u_t + u u_x - nu u_xx,    loss = mse(u(x_i, t_obs) - u_i) + mse(residual at random points)

    The coordinate enters as sin and cos, so that the solution is periodic by construction.
    Shapes: x (n,), t (n,) -> (n,).   Units: x, length [m], t, duration [s].   Source: raissi2019pinn.
    """

    def __init__(self, length: float, duration: float, width: int = 20, depth: int = 4, seed: int = 0):
        super().__init__()
        self.length, self.duration = length, duration
        sizes = [3] + [width] * depth
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            layers = [part for a, b in zip(sizes, sizes[1:]) for part in (nn.Linear(a, b), nn.Tanh())]
            self.network = nn.Sequential(*layers, nn.Linear(width, 1))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        angle = 2 * math.pi * x / self.length
        return self.network(torch.stack([angle.sin(), angle.cos(), 2 * t / self.duration - 1], -1))[..., 0]

    def residual(self, x: Tensor, t: Tensor, viscosity: float) -> Tensor:
        x, t = x.detach().requires_grad_(), t.detach().requires_grad_()
        u = self(x, t)
        u_x, u_t = torch.autograd.grad(u.sum(), (x, t), create_graph=True)
        u_xx = torch.autograd.grad(u_x.sum(), x, create_graph=True)[0]
        return u_t + u * u_x - viscosity * u_xx

    def closure(self, optimizer: torch.optim.Optimizer, problem: Reconstruction, num_collocation: int = 500,
                seed: int = 0) -> Callable[[], Tensor]:
        """The loss on the observation, and on fresh collocation points in every update."""
        x, observed, t_observed = problem.x, problem.observed[0, 0], problem.observed_step * problem.dt
        generator = torch.Generator().manual_seed(seed)

        def random_points(extent: float) -> Tensor:
            return extent * torch.rand(num_collocation, generator=generator)

        def closure() -> Tensor:
            optimizer.zero_grad()
            misfit = (self(x, torch.full_like(x, t_observed)) - observed).square().mean()
            residual = self.residual(random_points(self.length), random_points(self.duration), problem.viscosity)
            loss = misfit + residual.square().mean()
            loss.backward()
            return loss.detach()

        return closure

    def sequence(self, problem: Reconstruction) -> Tensor:
        """The network on all points of the problem's grid: (33, 1, 128)."""
        t, x = torch.meshgrid(torch.arange(problem.num_steps + 1) * problem.dt, problem.x, indexing="ij")
        with torch.no_grad():
            return self(x, t).unsqueeze(1)

    def error(self, problem: Reconstruction) -> float:
        """Mean absolute difference to the truth over all 33 states [m/s]."""
        return float((self.sequence(problem) - problem.truth).abs().mean())
