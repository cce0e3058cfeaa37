r"""A round blob of smoke that has to become a letter.   Chapter: 11_forward_and_inverse.

    find psi:   v_0 = (d psi / dy, -d psi / dx),   smoke after num_steps steps = letter

The stream function psi is a sum of waves with at most ``MODES`` periods along each axis, so that its coefficients are
the same unknowns on every grid and for every scheme, and what was found with one can be tried with another.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from dpbook_utils import arguments
from dpbook_utils.physics.navier_stokes import mac_cormack, semi_lagrangian
from dpbook_utils.physics.smoke import Smoke
from dpbook_utils.physics.trace import TracedSolver

from .inversion import Minimum, check_trajectory, minimise

SCHEMES = {"semi-Lagrangian": semi_lagrangian, "MacCormack": mac_cormack}
MODES = 6
TIME, NUM_STEPS, VISCOSITY = 1.0, 40, 2e-4  # [s], -, [m^2/s]; the box is 1 m wide
EDGE = 0.015  # half width of what is between smoke and none [m]
ENERGY = 0.002  # weight of the initial kinetic energy
# Letters of one piece without a hole, as smoke of one piece can become; five by seven squares.
LETTERS = {
    "C": ".###. #...# #.... #.... #.... #...# .###.", "E": "##### #.... #.... ####. #.... #.... #####",
    "L": "#.... #.... #.... #.... #.... #.... #####", "S": ".#### #.... #.... .###. ....# ....# ####.",
    "T": "##### ..#.. ..#.. ..#.. ..#.. ..#.. ..#..", "U": "#...# #...# #...# #...# #...# #...# .###.",
    "Z": "##### ....# ...#. ..#.. .#... #.... #####",
}


def centres(num_points: int) -> tuple[Tensor, Tensor]:
    """x and y of the cells, each (num_points, num_points)."""
    x = (torch.arange(num_points, dtype=torch.float64) + 0.5) / num_points
    return torch.meshgrid(x, x, indexing="ij")


def letter(character: str, num_points: int, height: float = 0.6) -> Tensor:
    """(1, 1, x, y), 1 within the letter and 0 outside, with soft edges. Raises ValueError for a letter not in LETTERS.

    Args:
        height: of the letter, in units of the box.
    """
    if not arguments.is_number(num_points) or num_points != int(num_points) or num_points < 1:
        raise arguments.refusal("letter", "num_points", num_points, "a whole number of at least 1", ValueError)
    if not arguments.is_number(height) or not 0 < height <= 1:
        raise arguments.refusal("letter", "height", height, "a number of 0 ... 1, the part of the box", ValueError)
    rows = LETTERS[arguments.choice("letter", "character", character, LETTERS)].split()
    square = height / len(rows)
    x, y = centres(num_points)
    found = torch.zeros_like(x)
    for row, line in enumerate(rows):
        for column, mark in enumerate(line):
            if mark == "#":
                middle = (0.5 + (column - (len(line) - 1) / 2) * square, 0.5 + ((len(rows) - 1) / 2 - row) * square)
                inside = [torch.sigmoid((square / 2 - (axis - place).abs()) / (EDGE / 2))
                          for axis, place in zip((x, y), middle)]
                found = found + inside[0] * inside[1]
    return found.clamp(max=1)[None, None]


def blob(like: Tensor) -> Tensor:
    """(1, 1, x, y): a round one in the middle with as much smoke as a letter has, for the flow keeps its area."""
    x, y = centres(like.shape[-1])
    radius = math.sqrt(float(like.mean()) / math.pi)
    return torch.sigmoid((radius - ((x - 0.5).square() + (y - 0.5).square()).sqrt()) / (EDGE / 2))[None, None]


def num_unknowns() -> int:
    return 4 * MODES * (MODES + 1)


def velocity(unknowns: Tensor, num_points: int) -> Tensor:
    """(samples, unknowns) -> (samples, 2, x, y), the initial velocity on the cells' faces [m/s]; free of divergence."""
    if not isinstance(unknowns, Tensor) or unknowns.shape[1:] != (num_unknowns(),):
        raise arguments.refusal("velocity", "unknowns", unknowns, f"a tensor (samples, {num_unknowns()})", ValueError)
    at = torch.arange(num_points, dtype=torch.float64) / num_points
    waves = [(k, m) for k in range(-MODES, MODES + 1) for m in range(MODES + 1) if m > 0 or k > 0]
    k, m = torch.tensor(waves, dtype=torch.float64).T
    size = (k.square() + m.square()).sqrt()  # of the velocity all waves have the same share
    a, b = (unknowns / (2 * math.pi * size.repeat(2))).chunk(2, 1)
    # cos and sin of 2 pi (k x + m y), by the products of those of k x and m y
    (cx, sx), (cy, sy) = (((2 * math.pi * wave[:, None] * at).cos(), (2 * math.pi * wave[:, None] * at).sin())
                          for wave in (k, m))
    psi = (torch.einsum("nk,kx,ky->nxy", a, cx, cy) - torch.einsum("nk,kx,ky->nxy", a, sx, sy)
           + torch.einsum("nk,kx,ky->nxy", b, sx, cy) + torch.einsum("nk,kx,ky->nxy", b, cx, sy))
    return num_points * torch.stack([psi.roll(-1, 2) - psi, psi - psi.roll(-1, 1)], 1)


def solver(scheme: str, num_points: int) -> TracedSolver:
    """One step; on a finer grid than 64 a step of the same length is taken in parts (``smoke``)."""
    if not arguments.is_number(num_points) or num_points != int(num_points) or num_points < 1:
        raise arguments.refusal("letter.solver", "num_points", num_points, "a whole number of at least 1", ValueError)
    advection = SCHEMES[arguments.choice("letter.solver", "scheme", scheme, SCHEMES)]
    return TracedSolver(Smoke((num_points, num_points), (1.0, 1.0), TIME / steps(num_points), advection))


def steps(num_points: int) -> int:
    """Steps to the end: as many paths of a cell on every grid."""
    return NUM_STEPS * max(1, num_points // 64)


def smoke(step: Callable, unknowns: Tensor, start: Tensor) -> Tensor:
    """(samples, times, 3, x, y): velocity and smoke at all times, the initial ones first."""
    num_points = start.shape[-1]
    v = velocity(unknowns, num_points)
    states = [torch.cat([v, start.to(v).expand(len(v), -1, -1, -1)], 1)]
    nu = v.new_full((len(v),), VISCOSITY)
    for _ in range(steps(num_points)):
        states.append(step(states[-1], viscosity=nu))
    return torch.stack(states, 1)


def overlap(found: Tensor, wanted: Tensor) -> Tensor:
    """(samples,): the cosine of the angle between two pictures of smoke; 1 if they are alike."""
    if found.shape[1:] != wanted.shape[1:]:
        raise ValueError(f"overlap: the pictures have shapes {tuple(found.shape)} and {tuple(wanted.shape)}; give two "
                         "of one grid")
    return torch.cosine_similarity(found.flatten(1).double(), wanted.flatten(1).double(), dim=1)


def shape(step: Callable, wanted: Tensor, evaluations: int, watch: Callable[[int, Tensor], None] | None = None,
          guess: Tensor | None = None) -> Minimum:
    """The initial velocity for which the smoke becomes what is wanted, with little kinetic energy.

    Args:
        guess: unknowns to begin with; by default a weak random flow.

    Raises: InversionError with the step at which the flow of the first guess stopped being finite.
    """
    start, scale = blob(wanted), wanted.square().mean()

    def loss(x: Tensor) -> Tensor:
        states = smoke(step, x, start)
        wrong = (states[:, -1, 2:] - wanted).square().mean((1, 2, 3)) / scale
        return wrong + ENERGY * states[:, 0, :2].square().sum(1).mean((1, 2))

    if guess is None:
        generator = torch.Generator().manual_seed(0)
        guess = 0.02 * torch.randn(1, num_unknowns(), generator=generator, dtype=torch.float64)
    with torch.no_grad():
        check_trajectory(smoke(step, guess, start), "the flow of the first guess")
    return minimise(loss, guess, evaluations=evaluations, first=0.5, watch=watch)
