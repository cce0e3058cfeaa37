"""The Navier-Stokes step written by hand in torch: what ``trace`` of the PhiFlow step is measured against.

    python benchmarks/handwritten_navier_stokes.py      # ms per step at 64 x 64, batch 4, one thread, float32

The same scheme, operation for operation where that matters for rounding; components are handled in one batch, and the
projection uses the real Fourier transform. Only benchmarks may write physics a second time.
"""

import argparse
import statistics
import time
from functools import partial

import torch
from torch import Tensor

from dpbook_course.commands import program
from dpbook_utils import settings
from dpbook_utils.physics.navier_stokes import NavierStokes, mac_cormack, semi_lagrangian
from dpbook_utils.physics.trace import trace


class HandwrittenNavierStokes:
    """``(v, viscosity) -> v_next`` for one grid, batch size, dtype and scheme; constants are computed once."""

    def __init__(self, v: Tensor, length: tuple[float, float], dt: float, limited_second_order: bool):
        batch, _, nx, ny = v.shape
        self.dt, self.second_order = dt, limited_second_order
        self.dx = (length[0] / nx, length[1] / ny)
        i, j = (torch.arange(n, dtype=v.dtype, device=v.device) for n in (nx, ny))
        self.i, self.j = i[:, None], j[None, :]
        kx, ky = torch.pi * torch.fft.fftfreq(nx).to(v)[:, None], torch.pi * torch.fft.rfftfreq(ny).to(v)
        symbol = -4 * (kx.sin()**2 / self.dx[0]**2 + ky.sin()**2 / self.dx[1]**2)
        symbol[0, 0] = torch.inf
        self.inverse = 1 / symbol

    def __call__(self, v: Tensor, viscosity: Tensor) -> Tensor:
        (dx, dy), dt = self.dx, self.dt
        v = self.advect(v)
        laplace = (v.roll(1, 2) + v.roll(-1, 2) - 2 * v) / dx**2 + (v.roll(1, 3) + v.roll(-1, 3) - 2 * v) / dy**2
        v = v + dt * viscosity[:, None, None, None] * laplace
        vx, vy = v.unbind(1)
        divergence = (vx.roll(-1, 1) - vx) / dx + (vy.roll(-1, 2) - vy) / dy
        p = torch.fft.irfft2(torch.fft.rfft2(divergence) * self.inverse, s=divergence.shape[1:])
        return torch.stack([vx - (p - p.roll(1, 1)) / dx, vy - (p - p.roll(1, 2)) / dy], 1)

    def advect(self, v: Tensor) -> Tensor:
        vx, vy = v.unbind(1)
        vy_at_x = (vy + vy.roll(1, 1) + vy.roll(-1, 2) + vy.roll((1, -1), (1, 2))) / 4
        vx_at_y = (vx + vx.roll(-1, 1) + vx.roll(1, 2) + vx.roll((-1, 1), (1, 2))) / 4
        # Paths in cells of both components' points, (batch * component, x, y).
        move_i = torch.stack([vx, vx_at_y], 1).flatten(0, 1) * (self.dt / self.dx[0])
        move_j = torch.stack([vy_at_x, vy], 1).flatten(0, 1) * (self.dt / self.dx[1])
        start = v.flatten(0, 1)
        there = self.look_up(start, self.i - move_i, self.j - move_j)
        if not self.second_order:
            return there.view_as(v)
        back = self.look_up(there, self.i + move_i, self.j + move_j)
        around = self.neighbours(start, self.i - move_i, self.j - move_j)
        return (there + (start - back) / 2).clamp(around.amin(0), around.amax(0)).view_as(v)

    def look_up(self, u: Tensor, i: Tensor, j: Tensor) -> Tensor:
        nx, ny = u.shape[1:]
        u = torch.cat([u[:, -1:], u, u[:, :1]], 1)
        u = torch.cat([u[:, :, -1:], u, u[:, :, :1]], 2)
        i, j = torch.remainder(i, nx) + 1, torch.remainder(j, ny) + 1
        points = torch.stack([2 * j / (ny + 1) - 1, 2 * i / (nx + 1) - 1], -1)
        return torch.nn.functional.grid_sample(u[:, None], points, align_corners=True)[:, 0]

    def neighbours(self, u: Tensor, i: Tensor, j: Tensor) -> Tensor:
        nx, ny = u.shape[1:]
        i, j = i.floor().long(), j.floor().long()
        i, i_next, j, j_next = i % nx, (i + 1) % nx, j % ny, (j + 1) % ny
        corners = [(a * ny + b).flatten(1) for a in (i, i_next) for b in (j, j_next)]
        return torch.stack([u.flatten(1).gather(1, corner).view_as(u) for corner in corners])


def smooth_velocity(n: int, batch: int, dtype: torch.dtype) -> Tensor:
    """Velocities of unit variance whose spectrum falls off beyond four waves in the box."""
    k = torch.fft.fftfreq(n, 1 / n)[:, None]**2 + torch.fft.rfftfreq(n, 1 / n)[None, :]**2
    noise = torch.randn(batch, 2, n, n, generator=torch.Generator().manual_seed(0))
    v = torch.fft.irfft2(torch.fft.rfft2(noise) * torch.exp(-k / 16), s=(n, n))
    return (v / v.std()).to(dtype)


def value_and_gradient(step, v: Tensor, viscosity: Tensor) -> list[Tensor]:
    leaves = [v.clone().requires_grad_(), viscosity.clone().requires_grad_()]
    v_next = step(*leaves)
    return [v_next.detach(), *torch.autograd.grad(v_next.square().sum() / 2 + v_next.sin().sum(), leaves)]


def milliseconds(functions: dict, repeats: int) -> dict[str, float]:
    """Median times, the functions taken in turn so that other load on the machine hits all of them."""
    times = {name: [] for name in functions}
    for _ in range(repeats + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(values[1:]) for name, values in times.items()}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--repeats", type=int, default=15)
    repeats = arguments.parse_args().repeats
    settings.reproducible(0)
    length, dt = (6.28, 6.28), 0.02
    v, viscosity = smooth_velocity(64, 4, torch.float32), torch.full((4,), 0.01)
    for scheme in (semi_lagrangian, mac_cormack):
        name, solver = scheme.__name__, NavierStokes((64, 64), length, dt, scheme)
        traced = trace(solver, v, viscosity=viscosity)
        steps = {"PhiFlow": partial(call, solver), "traced": partial(call, traced),
                 "by hand": HandwrittenNavierStokes(v, length, dt, limited_second_order=scheme is mac_cormack)}
        expected = value_and_gradient(steps["PhiFlow"], v, viscosity)
        for found in (value_and_gradient(step, v, viscosity) for step in steps.values()):
            # Look-ups near the edge of a cell may fall on its other side in float32: 1e-4 of the largest gradient.
            assert all(float((f - e).abs().max()) < 1e-4 * float(e.abs().max()) for f, e in zip(found, expected))
        forward = milliseconds({key: partial(step, v, viscosity) for key, step in steps.items()}, repeats)
        both = milliseconds({key: partial(value_and_gradient, step, v, viscosity)
                             for key, step in steps.items()}, repeats)
        for key in steps:
            print(f"{name}: {key:8} forward {forward[key]:7.2f} ms   forward and backward {both[key]:7.2f} ms")
        print(f"{name}: forward and backward, PhiFlow / traced = {both['PhiFlow'] / both['traced']:.1f}, "
              f"traced / by hand = {both['traced'] / both['by hand']:.2f}")


def call(solver, v: Tensor, viscosity: Tensor) -> Tensor:
    return solver(v, viscosity=viscosity)


if __name__ == "__main__":
    program(main)
