"""Checks for the exercises of chapter 04_coupling."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from dpbook_utils.coupling import Coupling
from dpbook_utils.physics.advection import interpolated, upwind
from dpbook_utils.physics.burgers import Burgers

from . import Feedback, not_yet, right


class _Bumps(nn.Module):
    """A stand-in for a trained network: an output with a mean, different for every state."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.3))

    def forward(self, u: Tensor) -> Tensor:
        return self.scale * (1 + u + 0.5 * u.roll(2, -1) ** 2)


def _states() -> Tensor:
    return torch.randn(3, 1, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def check_conserving(make_coupling: Callable[[nn.Module], nn.Module] | None) -> Feedback:
    """Exercise 1: an additive coupling that keeps the sum over cells, whatever its network says."""
    if make_coupling is None:
        return not_yet("Replace None by your class, which takes a network: check_conserving(MyCoupling).")
    if not isinstance(make_coupling, type) or not issubclass(make_coupling, Coupling):
        return not_yet("Give the class itself, a subclass of Coupling, not an instance.")
    network, u = _Bumps().double(), _states()
    try:
        u_next = make_coupling(network)(u)
    except Exception as error:
        return not_yet(f"It cannot be applied to a state of shape (3, 1, 32): {type(error).__name__}: {error}")
    if not isinstance(u_next, Tensor) or u_next.shape != u.shape:
        found = tuple(u_next.shape) if isinstance(u_next, Tensor) else type(u_next).__name__
        return not_yet(f"It turns a state of shape {tuple(u.shape)} into {found}; it must keep the shape.")
    if not torch.isfinite(u_next).all():
        return not_yet("What comes out is not finite.")
    change = (u_next - u).detach()
    drift = float(change.sum(2).abs().max())
    if drift > 1e-10:
        together = change.sum().abs() < 1e-10
        hint = ("The sum over the whole batch is kept, but not that of each sample: take the mean over x only."
                if together else "What a correction adds in one cell, it must take from others.")
        return not_yet(f"The sum over cells changes by up to {drift:.2g}. {hint}")
    if change.abs().max() < 1e-6:
        return not_yet("The sum is kept because nothing is corrected at all.")
    gradient = None
    if u_next.requires_grad:
        gradient, = torch.autograd.grad(u_next.square().sum(), network.scale, allow_unused=True)
    if gradient is None or gradient == 0:
        return not_yet("No gradient reaches the network: is its output detached?")
    return right("The sum over cells is kept to rounding for any network, and a gradient reaches it.")


def check_transform(transform: Callable[[Tensor], Tensor] | None, largest: float) -> Feedback:
    """Exercise 2: a map of any output into viscosities from 0 to ``largest`` [m^2/s] that starts near zero."""
    if transform is None:
        return not_yet("Replace None by your function from outputs to viscosities.")
    if not callable(transform):
        return not_yet(f"Give a function from a tensor to a tensor, not {type(transform).__name__}.")
    outputs = torch.linspace(-8, 8, 33, dtype=torch.float64, requires_grad=True)
    given = outputs, *torch.tensor([[1e3], [0.0]], dtype=torch.float64)
    try:
        found = [transform(tensor) for tensor in given]
    except Exception as error:
        return not_yet(f"It cannot be applied to a tensor of outputs: {type(error).__name__}: {error}")
    if any(not isinstance(one, Tensor) or one.shape != tensor.shape for one, tensor in zip(found, given)):
        return not_yet("It must turn a tensor into a tensor of the same shape.")
    viscosity, far, start = found
    known = viscosity.detach()
    if not torch.isfinite(known).all() or known.min() < 0:
        return not_yet(f"For outputs from -8 to 8 the viscosity is as low as {float(known.min()):.3g}: negative "
                       "diffusion is unstable on every grid.")
    far, start = float(far), float(start)
    if not far <= largest * (1 + 1e-9):
        return not_yet(f"An output of 1000 gives a viscosity of {far:.3g} m^2/s, beyond {largest:g}, where the "
                       "explicit solver is unstable. A network in training may say anything: bound it.")
    if start > 0.1 * largest:
        return not_yet(f"An untrained network says nearly 0, which gives {start:.3g} m^2/s: the hybrid then starts far "
                       "from P alone. Shift the output, so that it starts below a tenth of the largest value.")
    slope = None
    if viscosity.requires_grad:
        slope, = torch.autograd.grad(viscosity.sum(), outputs, allow_unused=True)
    if slope is None:
        return not_yet("No gradient reaches the output: is the viscosity detached, or a constant?")
    flat = (slope == 0)[(outputs.detach().abs() <= 4)]
    if flat.any():
        return not_yet(f"The slope is exactly zero at {int(flat.sum())} of the {len(flat)} outputs between -4 and 4: "
                       "there no gradient reaches the network, and it cannot come back. Use a smooth function.")
    if slope.min() < 0:
        return not_yet("It falls somewhere: let a larger output mean a larger viscosity.")
    return right(f"Between 0 and {largest:g} m^2/s for every output, {start:.3g} at the start, and a gradient in "
                 "between.")


def check_upwind_numbers(numbers: Tensor | list | None) -> Feedback:
    """Exercise 3: four numbers d that make the interpolated flux the upwind one where u > 0."""
    if numbers is None:
        return not_yet("Replace None by four numbers, for the cells i - 1, i, i + 1 and i + 2 of the face i + 1/2.")
    try:
        numbers = torch.as_tensor(numbers, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        return not_yet(f"Give four numbers, as a list or a tensor; {numbers!r} cannot be read as numbers.")
    if numbers.shape != (4,):
        return not_yet(f"Give four numbers; this has the shape {tuple(numbers.shape)}.")
    if not torch.isfinite(numbers).all():
        return not_yet(f"Give finite numbers, not {numbers.tolist()}.")
    u = 1 + 0.5 * torch.sin(2 * torch.pi * (torch.arange(32, dtype=torch.float64) + 0.5) / 32)[None, None]
    expected = Burgers(32, 32.0, 0.1, upwind)(u, viscosity=0.2)
    mirrored = Burgers(32, 32.0, 0.1, upwind)(-u, viscosity=0.2)
    solver, d = Burgers(32, 32.0, 0.1, interpolated), numbers.view(1, 4, 1).expand(1, 4, 32)
    if torch.allclose(solver(u, viscosity=0.2, interpolation=d), expected, atol=1e-12):
        return right("The weights are (0, 1, 0, 0): what crosses the face comes from the cell on its left.")
    if torch.allclose(solver(-u, viscosity=0.2, interpolation=d), mirrored, atol=1e-12):
        return not_yet("That is upwind for a flow to the left. Where u > 0 the upwind cell of a face is the left one.")
    weights = torch.tensor([0, 0.5, 0.5, 0], dtype=torch.float64) + numbers - numbers.mean()
    listed = ", ".join(f"{w:.3g}" for w in weights.tolist())
    return not_yet(f"These numbers give the weights ({listed}). Upwind takes the flux of the cell i alone.")
