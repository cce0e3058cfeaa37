"""What changes the last bits of the course's arithmetic: the settings of libraries that stand for other processors.

A library chooses among kernels by what the processor can do; a setting of the environment makes it choose as on an
older or another one. Each setting runs in a process of its own, on the same inputs, and is compared with none.

``python -m benchmarks.rounding [--write]``
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from dpbook_course.commands import program

from .measure import environment

ROOT = Path(__file__).parents[1]
STORED = ROOT / "results" / "rounding.json"
OTHER_FFT = str(Path(__file__).parent / "other_fft")
NO_AVX = "glibc.cpu.hwcaps=-AVX512F,-AVX2,-AVX,-FMA,-FMA4"  # for the functions of the C library

# name: variables of the environment
SETTINGS = {
    "none, once more": {},
    "two threads": {"OMP_NUM_THREADS": "2"},
    "ATEN_CPU_CAPABILITY=avx2": {"ATEN_CPU_CAPABILITY": "avx2"},
    "ATEN_CPU_CAPABILITY=default": {"ATEN_CPU_CAPABILITY": "default"},
    "MKL_CBWR=AVX2": {"MKL_CBWR": "AVX2"},
    "MKL_CBWR=AVX": {"MKL_CBWR": "AVX"},
    "MKL_CBWR=SSE4_2": {"MKL_CBWR": "SSE4_2"},
    "MKL_CBWR=COMPATIBLE": {"MKL_CBWR": "COMPATIBLE"},
    "MKL_ENABLE_INSTRUCTIONS=AVX2": {"MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "MKL_ENABLE_INSTRUCTIONS=SSE4_2": {"MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
    "MKL_DEBUG_CPU_TYPE=5": {"MKL_DEBUG_CPU_TYPE": "5"},
    "ONEDNN_MAX_CPU_ISA=AVX2": {"ONEDNN_MAX_CPU_ISA": "AVX2"},
    "ONEDNN_MAX_CPU_ISA=SSE41": {"ONEDNN_MAX_CPU_ISA": "SSE41"},
    "TORCH_MKLDNN=off": {"WITHOUT_ONEDNN": "1"},
    "OPENBLAS_CORETYPE=Zen": {"OPENBLAS_CORETYPE": "Zen"},
    "OPENBLAS_CORETYPE=Prescott": {"OPENBLAS_CORETYPE": "Prescott"},
    "NPY_DISABLE_CPU_FEATURES=X86_V3 ...": {"NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR"},
    "GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX ...": {"GLIBC_TUNABLES": NO_AVX},
    "FFT in another order": {"PYTHONPATH": OTHER_FFT},
}

# What stands for a kind of processor in the tests.
PROFILES = {
    # On another maker's processor MKL takes its generic kernels for Fourier transforms and functions.
    "amd": {"MKL_CBWR": "COMPATIBLE", "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2",
            "OPENBLAS_CORETYPE": "Zen", "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR"},
    "avx2": {"MKL_CBWR": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2",
             "OPENBLAS_CORETYPE": "Haswell", "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR"},
    "sse": {"MKL_CBWR": "SSE4_2", "ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41",
            "OPENBLAS_CORETYPE": "Prescott", "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
            "GLIBC_TUNABLES": NO_AVX},
}

# Builds without MKL, as for other makers' processors, have another Fourier transform, too; and there is no C compiler.
PROFILES["fft"] = {**PROFILES["sse"], "PYTHONPATH": OTHER_FFT, "OMP_NUM_THREADS": "2", "DPBOOK_COMPILED": "off"}


def variables(settings: dict[str, str]) -> dict[str, str]:
    """The environment of a process under these settings, which imports from the repository."""
    path = os.pathsep.join(filter(None, [settings.get("PYTHONPATH"), str(ROOT)]))
    return {**os.environ, "OMP_NUM_THREADS": "1", **settings, "PYTHONPATH": path}


def kernels() -> dict[str, Callable[[], list]]:
    """Calculations on fixed inputs, each a function that returns tensors or arrays."""
    import scipy.sparse.linalg
    import torch

    from dpbook_utils.data import simulate
    from dpbook_utils.networks import ConvResNet
    from dpbook_utils.physics.advection import central, semi_lagrangian
    from dpbook_utils.physics.burgers import Burgers
    from dpbook_utils.physics.kuramoto_sivashinsky import KuramotoSivashinsky
    from dpbook_utils.physics.navier_stokes import NavierStokes
    from dpbook_utils.physics.wake import Wake

    def random(*shape, dtype=torch.float32):  # NumPy's generator uses integers only until the last step
        values = np.random.default_rng(sum(shape)).standard_normal(shape)
        return torch.from_numpy(values).to(dtype)

    def ks(num_steps, dtype):
        x = torch.arange(48, dtype=dtype) * (2 * np.pi / 48)
        u0 = torch.stack([(k * x).cos() + (x + k).sin() for k in (1, 2, 3)])[:, None]
        length = torch.tensor([22.0, 30.0, 38.0], dtype=dtype)
        return [simulate(KuramotoSivashinsky(48, 0.5), u0, num_steps, length=length)[:, -1]]

    def burgers(scheme):
        u = random(8, 1, 64)
        return [Burgers(64, 8.0, 0.02, scheme)(u, viscosity=torch.full((8,), 0.05))]

    def navier_stokes():
        v = 0.1 * random(2, 2, 32, 32)
        return [NavierStokes((32, 32), (1.0, 1.0), 0.05)(v, viscosity=torch.full((2,), 1e-3))]

    def wake():
        solver = Wake((64, 32), 0.1)
        return [solver(solver.start(torch.tensor([0.3, -0.2])), reynolds=torch.tensor([100.0, 200.0]))]

    def network(ndim):
        net = ConvResNet(ndim, 1, 1, width=24, num_blocks=2, output_scale=1.0, seed=0)
        u = random(20, 1, *(48, 16)[:ndim]).requires_grad_()
        value = net(u)
        gradients = torch.autograd.grad(value.square().sum(), [u, *net.parameters()])
        return [value.detach(), *gradients]

    def functions():
        x = random(10000)
        return [x.exp(), x.sin(), x.tanh(), x.cos(), x.double().exp(), x.double().sin(), x.double().tanh()]

    def products():
        a, b = random(16, 24, 72), random(16, 72, 48)
        return [a[0] @ b[0], torch.bmm(a, b), torch.baddbmm(b[:, :24], a, b), a[0].double() @ b[0].double()]

    def sums():
        x = random(64, 1000)
        return [x.sum(1), x.mean(), x.double().std(1), (x * x).sum()]

    def fft():
        x = random(8, 48).cfloat()
        return [torch.fft.fft(x), torch.fft.ifft(x), torch.fft.fft(x.cdouble())]

    def numpy_functions():
        x = random(10000).numpy()
        return [np.exp(x), np.sin(x), np.tanh(x), np.exp(x.astype(float)), np.sin(x.astype(float)), x.sum(),
                np.fft.fft(x)]

    def linear_algebra():
        a = random(60, 60, dtype=torch.float64).numpy()
        b = random(60, dtype=torch.float64).numpy()
        sparse = scipy.sparse.csc_matrix(a * (abs(a) > 1) + 10 * np.eye(60))
        return [a @ a, np.linalg.solve(a, b), np.linalg.eigvalsh(a + a.T), scipy.sparse.linalg.splu(sparse).solve(b)]

    return {
        "FFT of 48 values": fft,
        "KS, 1 step": lambda: ks(1, torch.float32),
        "KS, 200 steps": lambda: ks(200, torch.float32),
        "KS, 200 steps, float64": lambda: ks(200, torch.float64),
        "Burgers, central": lambda: burgers(central),
        "Burgers, semi-Lagrangian": lambda: burgers(semi_lagrangian),
        "Navier-Stokes": navier_stokes,
        "wake": wake,
        "ConvResNet in 1D and gradients": lambda: network(1),
        "ConvResNet in 2D and gradients": lambda: network(2),
        "exp, sin, cos, tanh": functions,
        "matrix products": products,
        "sums": sums,
        "NumPy's functions": numpy_functions,
        "SciPy's linear algebra": linear_algebra,
    }


def calculate(path: str) -> None:
    """All kernels here and now; their values go into a file."""
    import torch

    torch.backends.mkldnn.enabled = "WITHOUT_ONEDNN" not in os.environ
    np.savez(path, **{f"{name}|{i}": np.asarray(value) for name, kernel in kernels().items()
                      for i, value in enumerate(kernel())})


def under(settings: dict[str, str]) -> dict[str, np.ndarray]:
    """The values of all kernels in a process with these variables of the environment."""
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "values.npz")
        subprocess.run([sys.executable, "-c", f"from benchmarks import rounding; rounding.calculate({file!r})"],
                       env=variables(settings), cwd=ROOT, check=True)
        with np.load(file) as values:
            return dict(values)


def compare(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> dict[str, tuple[float, float]]:
    """``{kernel: (share of values that differ, largest difference relative to the largest value)}``."""
    result: dict[str, tuple[float, float]] = {}
    for name in dict.fromkeys(key.split("|")[0] for key in expected):
        pairs = [(found[key], expected[key]) for key in expected if key.split("|")[0] == name]
        differ = sum(int((a != b).sum()) for a, b in pairs) / sum(b.size for _, b in pairs)
        result[name] = differ, max(float(abs(a - b).max() / abs(b).max()) for a, b in pairs)
    return result


def measure() -> dict:
    expected = under({})
    rows = {}
    for name, settings in {**SETTINGS, **{f"profile {name}": profile for name, profile in PROFILES.items()}}.items():
        rows[name] = compare(under(settings), expected)
        print(name, {kernel: f"{share:.0%} {size:.0e}" for kernel, (share, size) in rows[name].items() if share},
              flush=True)
    return {"environment": environment(), "differences": rows}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rounding", description="What changes the last bits.")
    parser.add_argument("--write", action="store_true", help=f"write {STORED.relative_to(ROOT)}")
    options = parser.parse_args(arguments)
    results = measure()
    if options.write:
        STORED.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    program(main)
