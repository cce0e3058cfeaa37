"""E15: two coupled oscillators that a network brings to rest by a force on one of them.   Chapter: 14_better_updates.

    x_1'' = - x_1 + F(x_2 - x_1),    x_2'' = - x_2 + F(x_1 - x_2) + 3 c(t),    F(d) = d (linear), d^3 (nonlinear)

The network sees the state at the start and gives 24 values of c, each for a time of 0.5; after a time of 12 the state,
two places and two velocities, is to be zero. The set-up is that of the public comparison of half-inverse gradients,
with the same network of 4, 20, 20, 20 and 24 numbers; there the nonlinear problem has a value of c for each of its 96
steps, here four steps share one, so that both problems have 1,444 weights.   Source: schnell2022hig.
"""

import functools

import torch
from torch import Tensor, nn

LAYERS = (4, 20, 20, 20, 24)
FORCE, DURATION = 3.0, 0.5
NUM_STEPS = {"linear oscillators": 24, "nonlinear oscillators": 96}
LARGEST = 1.0  # of a place or velocity at the start


class Perceptron(nn.Module):
    """Layers with tanh between them; weights have the axis of members that all networks of the course have."""

    num_members = 1

    def __init__(self, seed: int):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)

        def drawn(*shape: int) -> nn.Parameter:
            values = torch.randn(1, *shape, dtype=torch.float64, generator=generator)
            return nn.Parameter(values / shape[0]**0.5)

        self.weights = nn.ParameterList([drawn(i, o) for i, o in zip(LAYERS, LAYERS[1:])])
        self.biases = nn.ParameterList([nn.Parameter(torch.zeros(1, 1, o, dtype=torch.float64)) for o in LAYERS[1:]])

    def forward(self, x: Tensor) -> Tensor:
        h = x.unflatten(0, (self.weights[0].shape[0], -1))
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases)):
            h = torch.baddbmm(bias, torch.tanh(h) if i else h, weight)
        return h.flatten(0, 1)


class Oscillators(nn.Module):
    """(samples, 4) and (samples, 24) -> (samples, 4): the state after all values of the force, by Runge-Kutta."""

    def __init__(self, name: str):
        super().__init__()
        self.name, self.substeps = name, NUM_STEPS[name] // LAYERS[-1]
        self.dt = DURATION / self.substeps

    def slope(self, x: Tensor, force: Tensor) -> Tensor:
        places, velocities = x[:, :2], x[:, 2:]
        apart = places.flip(1) - places
        pull = apart if self.name == "linear oscillators" else apart**3
        return torch.cat([velocities, pull - places + force], 1)

    def step(self, x: Tensor, force: Tensor) -> Tensor:
        dt = self.dt
        k1 = self.slope(x, force)
        k2 = self.slope(x + dt / 2 * k1, force)
        k3 = self.slope(x + dt / 2 * k2, force)
        k4 = self.slope(x + dt * k3, force)
        return x + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)

    def forward(self, x: Tensor, control: Tensor) -> Tensor:
        for value in control.unbind(1):
            force = nn.functional.pad(FORCE * value[:, None], (1, 0))
            for _ in range(self.substeps):
                x = self.step(x, force)
        return x


class Rest(nn.Module):
    """Residuals: how far from rest the controlled state ends."""

    def __init__(self, name: str, network: nn.Module):
        super().__init__()
        self.physics, self.network = Oscillators(name), network

    def forward(self, x0: Tensor) -> Tensor:
        return self.physics(x0, self.network(x0))


@functools.cache
def starts(number: int, seed: int) -> Tensor:
    """(number, 4): places and velocities between 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    return LARGEST * torch.rand(number, 4, dtype=torch.float64, generator=generator)
