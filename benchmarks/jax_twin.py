"""The same solver, network and update in JAX (exponax and optax): what the recorded update is measured against."""

from collections.abc import Callable

import exponax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from torch import Tensor

from dpbook_utils.networks import ConvResNet

jax.config.update("jax_platforms", "cpu")


def array(x: Tensor) -> jax.Array:
    return jnp.asarray(x.detach().cpu().numpy())


def kuramoto_sivashinsky(num_points: int, length: float, dt: float, num_substeps: int) -> Callable:
    """ETD1 without dealiasing, in parts, on (batch, 1, x): what ``KuramotoSivashinsky(integrator=etd1)`` is."""
    stepper = exponax.stepper.KuramotoSivashinskyConservative(
        1, length, num_points, dt / num_substeps, order=1, dealiasing_fraction=1.0)
    return jax.vmap(exponax.repeat(stepper, num_substeps))


def burgers(length: float, num_points: int, dt: float, viscosity: float) -> Callable:
    """Central differences and explicit Euler on (batch, 1, x): what ``Burgers`` is."""
    dx = length / num_points

    def step(u):
        left, right = jnp.roll(u, 1, -1), jnp.roll(u, -1, -1)
        return u + dt * (viscosity * (left - 2 * u + right) / dx**2 - (right**2 - left**2) / (4 * dx))

    return step


def weights(network: ConvResNet) -> list[tuple[jax.Array, jax.Array]]:
    """Kernels (kernel_size, in, out) and biases (out,), layer by layer."""
    return [(array(layer.weight[0]), array(layer.bias.flatten())) for layer in network.layers]


def convolution(x, w, b):
    """XLA's convolution of (batch, in, x) with periodic padding."""
    x = jnp.concatenate([x[..., -1:], x, x[..., :1]], -1)
    return jax.lax.conv_general_dilated(x, w, (1,), "VALID", dimension_numbers=("NCH", "HIO", "NCH")) + b[:, None]


def matrix_convolution(x, w, b):
    """The same as one matrix product on the shifted copies."""
    columns = jnp.concatenate([jnp.roll(x, 1, -1), x, jnp.roll(x, -1, -1)], 1)
    return jnp.einsum("ko,bkx->box", w.reshape(-1, w.shape[-1]), columns) + b[:, None]


def network(conv: Callable) -> Callable:
    def apply(layers, u, condition):
        first, *hidden, last = layers
        h = conv(jnp.concatenate([u, jnp.broadcast_to(condition[:, None, None], u.shape)], 1), *first)
        for a, b in zip(hidden[::2], hidden[1::2]):
            h = h + conv(jnp.tanh(conv(jnp.tanh(h), *a)), *b)
        return conv(jnp.tanh(h), *last)

    return apply


class Update:
    """One jitted update: unrolled loss, gradient, clipping by norm, Adam."""

    def __init__(self, solver: Callable, conv: Callable, layers: list, num_steps: int, learning_rate: float,
                 clip_norm: float):
        apply = network(conv)
        optimizer = optax.chain(optax.clip_by_global_norm(clip_norm), optax.adam(learning_rate))
        self.layers, self.state = layers, optimizer.init(layers)

        def loss(layers, u, reference, condition):
            total = 0.0
            for k in range(num_steps):
                u = solver(u)
                u = u + apply(layers, u, condition)
                total = total + jnp.mean((u - reference[:, k])**2) / num_steps
            return total

        def update(layers, state, u, reference, condition):
            value, gradient = jax.value_and_grad(loss)(layers, u, reference, condition)
            change, state = optimizer.update(gradient, state)
            return optax.apply_updates(layers, change), state, value

        self.update = jax.jit(update)

    def __call__(self, u, reference, condition) -> float:
        self.layers, self.state, loss = self.update(self.layers, self.state, u, reference, condition)
        return float(np.asarray(loss))


def step_functions(step: Callable) -> tuple[Callable, Callable]:
    """``u -> u_next`` and ``u -> (u_next, gradient of |u_next|^2 / 2)``, jitted."""

    def both(u):
        value, pull_back = jax.vjp(step, u)
        return value, pull_back(value)[0]

    return jax.jit(step), jax.jit(both)


def tensors(arrays) -> list[Tensor]:
    return [torch.from_numpy(np.array(x)) for x in arrays]
