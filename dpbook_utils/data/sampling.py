"""Samples of initial conditions and physical parameters.   Chapter: 02_solver_as_data."""

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from .. import arguments


@dataclass(frozen=True)
class Sampler:
    """``sampler(num_samples, seed, k) -> (u0, parameters)``: batch k of the stream of a seed, computed from both alone.

    Numbers are spread by a scrambled Sobol sequence, one dimension for each pair of ``bounds``; batch k takes the
    points k * num_samples, ... Every beginning of the stream covers the domain evenly, a fixed data set of its first
    points too, and if num_samples is a power of two so does each batch. Latin hypercubes drawn batch by batch would
    cover it in each batch only. Initial states come from a generator of their own for every (seed, k). Both are drawn
    on the CPU: the stream does not depend on the device.

    Args:
        initial: ``initial(num_samples, generator, values) -> u0 (num_samples, channels, *spatial)``, drawn from a NumPy
            generator such as ``random_fourier(..., seed=generator)`` takes. ``values`` has the sampled numbers by name,
            each (num_samples,): ``values["amplitude"][:, None, None] * random_fourier(...)``. For a parameter that is a
            field, return ``{"u0": u0, "force": force}``.
        bounds: lowest and highest value of every sampled number, or one number for what is the same in all samples.
            What the solver does not take, such as an amplitude, serves ``initial`` alone.
        logarithmic: names of those that are spread evenly in their logarithm.
        dtype: of states and numbers.

    Shapes: parameters holds name: (num_samples,) for every number and what ``initial`` returns besides u0.
    Raises: ValueError for bounds out of order, or an initial state of another dtype, another number of samples.
    Source: sobol1967, owen1998.
    """

    initial: Callable[[int, np.random.Generator, Mapping[str, Tensor]], Tensor | Mapping[str, Tensor]]
    bounds: Mapping[str, tuple[float, float] | float] = field(default_factory=dict)
    logarithmic: tuple[str, ...] = ()
    dtype: torch.dtype = torch.float32

    def __post_init__(self):
        expected = "a function (num_samples, generator, values) -> u0"
        arguments.function("Sampler", "initial", self.initial, expected, "num_samples", "generator", "values")
        arguments.mapping("Sampler", "bounds", self.bounds, "a dict {name: (lowest, highest)}")
        arguments.dtype("Sampler", "dtype", self.dtype)
        if not isinstance(self.logarithmic, (tuple, list)):
            raise arguments.refusal("Sampler", "logarithmic", self.logarithmic, "a tuple of names, such as "
                                    "('viscosity',)")
        for name in self.logarithmic:
            arguments.text("Sampler", "a name in logarithmic", name)
        numbers = "two finite numbers, the lower one first, or a single number"
        bounds = {name: _number("Sampler", f"bounds of {name}", value) if arguments.is_number(value) else
                  arguments.pair("Sampler", f"bounds of {name}", value, _number, numbers)
                  for name, value in self.bounds.items()}
        object.__setattr__(self, "bounds", bounds)
        for name, (low, high) in self.varied.items():
            if not low < high:
                raise ValueError(f"Sampler: {name} is bounded by {low} and {high}; give {numbers}")
            if name in self.logarithmic and not low > 0:
                raise ValueError(f"Sampler: {name} is spread in its logarithm from {low} on; give a positive bound")
        if unknown := sorted(set(self.logarithmic) - set(self.varied)):
            raise ValueError(f"Sampler: logarithmic names {', '.join(unknown)}, which has no pair of bounds; "
                             f"those that have one: {', '.join(self.varied) or 'none'}")

    @property
    def varied(self) -> dict[str, tuple[float, float]]:
        return {name: bounds for name, bounds in self.bounds.items() if isinstance(bounds, tuple)}

    def __call__(self, num_samples: int, seed: int, k: int) -> tuple[Tensor, dict[str, Tensor]]:
        num_samples = arguments.whole("Sampler", "num_samples", num_samples)
        seed, k = arguments.whole("Sampler", "seed", seed, 0), arguments.whole("Sampler", "k", k, 0)
        values = self.values(num_samples, seed, k)
        # Counter-based, as in Windows; another counter word, so that both may use the same seed.
        generator = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 1, k]))
        drawn = self.initial(num_samples, generator, values)
        drawn = {"u0": None, **drawn} if isinstance(drawn, Mapping) else {"u0": drawn}
        for name, value in drawn.items():
            if not isinstance(value, Tensor) or len(value) != num_samples or value.dtype != self.dtype:
                found = f"{tuple(value.shape)} {value.dtype}" if isinstance(value, Tensor) else type(value).__name__
                raise ValueError(f"Sampler: initial gave {name} as {found}; expected a tensor ({num_samples}, ...) of "
                                 f"{self.dtype}, one entry per sample")
        return drawn.pop("u0"), {**values, **drawn}

    def values(self, num_samples: int, seed: int, k: int) -> dict[str, Tensor]:
        """The sampled numbers of batch k, each (num_samples,)."""
        values = {name: torch.full((num_samples,), float(bounds), dtype=self.dtype)
                  for name, bounds in self.bounds.items() if name not in self.varied}
        points = _sobol(len(self.varied), seed, k * num_samples, num_samples) if self.varied else np.empty((0, 0))
        for (name, bounds), x in zip(self.varied.items(), points.T):
            is_logarithmic = name in self.logarithmic
            low, high = map(math.log, bounds) if is_logarithmic else bounds
            x = low + (high - low) * x
            values[name] = torch.from_numpy(np.exp(x) if is_logarithmic else x).to(self.dtype)
        return values


def _number(label: str, name: str, value) -> float:
    """As it is written, if Python's: a store remembers 1 and 1.0 as different settings."""
    number = arguments.number(label, name, value)
    return value if type(value) in (int, float) else number


def _sobol(dimensions: int, seed: int, start: int, count: int) -> np.ndarray:
    """(count, dimensions): points of a scrambled Sobol sequence from number ``start`` on."""
    engine = _engine(dimensions, seed)
    if start < engine.num_generated:
        engine.reset()
    if start > engine.num_generated:
        engine.fast_forward(start - engine.num_generated)
    # The first points drawn must be a power of two, or scipy warns that their balance is lost; what is over is dropped.
    return engine.random(count if start else 1 << (count - 1).bit_length())[:count]


@functools.lru_cache(maxsize=64)
def _engine(dimensions: int, seed: int):
    from scipy.stats import qmc  # half a second, which only those pay who sample

    return qmc.Sobol(dimensions, scramble=True, rng=seed)
