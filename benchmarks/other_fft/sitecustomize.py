"""Put this folder on PYTHONPATH, and torch computes Fourier transforms in another order of operations.

Python runs a file of this name when it starts, so that notebooks' kernels and workers do it too; torch is changed when
it is first imported. The transforms are equal in exact arithmetic and as accurate: Cooley and Tukey's recursion over
the prime factors of the length. PyTorch's own come from a library that orders them by what the processor can do.
"""

import functools
import importlib.abc
import importlib.util
import math
import sys


def smallest_factor(n: int) -> int:
    return next((p for p in range(2, math.isqrt(n) + 1) if n % p == 0), n)


def transformed(x, sign: float):
    """sum_j e^(sign 2 pi i j k / n) x_j over the last axis, k = 0 ... n - 1."""
    n = x.shape[-1]
    p = smallest_factor(n)
    across = waves(p, p, x.dtype, sign)
    if p == n:
        return x @ across
    # x_{p m + r}: of every r the transform over m, turned, then the transform over r.
    parts = transformed(x.unflatten(-1, (n // p, p)).transpose(-1, -2), sign) * waves(n, p, x.dtype, sign)[:, :n // p]
    return (across @ parts).flatten(-2)


@functools.cache
def waves(n: int, rows: int, dtype, sign: float):
    """e^(sign 2 pi i r k / n), (rows, n)."""
    import torch

    phase = (torch.arange(rows)[:, None] * torch.arange(n) + n // 2) % n - n // 2  # small angles are the exacter ones
    angle = 2 * math.pi * phase.double() / n
    return torch.complex(angle.cos(), sign * angle.sin()).to(dtype)


def scaled(x, axes, norm: int):
    """``norm`` as in ATen: 0 nothing, 1 by the root of the number of points, 2 by the number."""
    points = math.prod(x.shape[axis] for axis in axes)
    return x if norm == 0 else x / (math.sqrt(points) if norm == 1 else points)


def complex_to_complex(x, axes, norm, forward):
    result = x.resolve_conj()
    for axis in axes:
        result = transformed(result.movedim(axis, -1), -1.0 if forward else 1.0).movedim(-1, axis)
    return scaled(result, axes, norm).contiguous()


def real_to_complex(x, axes, norm, onesided):
    result = complex_to_complex(x.to(x.dtype.to_complex()), axes, norm, True)
    return result.narrow(axes[-1], 0, x.shape[axes[-1]] // 2 + 1).contiguous() if onesided else result


def complex_to_real(x, axes, norm, last):
    """``last`` real values along the last of the axes, of whose transform x is one half."""
    import torch

    axis = axes[-1]
    half = complex_to_complex(x, axes[:-1], 0, False)
    mirrored = half.narrow(axis, 1, (last - 1) // 2).flip(axis).conj()
    whole = complex_to_complex(torch.cat([half, mirrored], axis), axes[-1:], 0, False)
    return scaled(whole, axes, norm).real.contiguous()


def install(torch) -> None:
    """In place of the kernels for CPUs: eager operations, replayed ones and derivatives all come by here."""
    library = torch.library.Library("aten", "IMPL")
    for name, kernel in (("_fft_c2c", complex_to_complex), ("_fft_r2c", real_to_complex),
                         ("_fft_c2r", complex_to_real)):
        library.impl(name, kernel, "CPU")
    torch.other_fft = library  # the kernels are there as long as the library


class WithTorch(importlib.abc.MetaPathFinder):
    """Installs the kernels once torch has been imported."""

    def find_spec(self, name, path, target=None):
        if name != "torch":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec("torch")
        loader = spec.loader
        execute = loader.exec_module

        def exec_module(module):
            execute(module)
            import warnings

            with warnings.catch_warnings(action="ignore"):  # that kernels are replaced
                install(module)

        loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, WithTorch())
