"""Every composition that the prose shows runs, and reaches the network's weights."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from dpbook_utils.coupling import Additive, AdditiveRHS, Multiplicative, Replace, SolverParameter
from dpbook_utils.gradients import NoSolverGradient, PhysicsPath, Pushforward, Truncated
from dpbook_utils.losses import TrajectoryLoss, every_step, final_step
from dpbook_utils.noise import GaussianNoise
from dpbook_utils.objectives import Objective, from_input, from_solver
from dpbook_utils.physics.burgers import Burgers
from dpbook_utils.rollout import Rollout, Sequential, repeat

ROOT = Path(__file__).parents[1]
PIECES = {piece.__name__: piece for piece in (
    Additive, AdditiveRHS, GaussianNoise, Multiplicative, NoSolverGradient, Objective, PhysicsPath, Pushforward,
    Replace, Rollout, Sequential, SolverParameter, TrajectoryLoss, Truncated, every_step, final_step, from_input,
    from_solver)}
VISCOSITY = torch.tensor([0.01, 0.02], dtype=torch.float64)


def compositions(page: str) -> dict[str, str]:
    """Objectives on a page: named by the first words of their table row, or by their place on the page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    rows = re.findall(r"^\| \*\*([\w-]+)\*\*.*\| `(Objective\(.*\))` \|$", text, re.MULTILINE)
    lines = re.findall(r"^(?:\w+ = )?(Objective\(.*?\))(?: +#.*)?$", text, re.MULTILINE)
    return dict(rows) | {f"{page} {place}": line for place, line in enumerate(lines, 1)}


ALL = compositions("book/notation.md") | compositions("book/intro.md") | compositions("README.md")


@pytest.fixture
def names():
    torch.manual_seed(0)
    P = Burgers(16, 1.0, 0.004)
    N = nn.Conv1d(1, 1, 3, padding=1).double()
    step = Sequential(P, Additive(N))
    one, many = TrajectoryLoss(final_step), TrajectoryLoss(every_step)
    return PIECES | {"P": P, "N": N, "step": step, "m": 4, "k": 2, "sigma": 0.1, "one": one, "many": many,
                     "fine": repeat(Burgers(16, 1.0, 0.002), 2)}


def test_the_pages_show_all_setups():
    setups = {"ONE", "NOISE", "PUSHFORWARD", "NOG", "TBPTT", "PHYSICS-PATH", "WIG", "TERMINAL", "DIVERTED", "PRE"}
    assert setups == {name for name in ALL if " " not in name}
    assert sum(name.startswith("book/intro.md") for name in ALL) == 3
    assert sum(name.startswith("README.md") for name in ALL) == 4


@pytest.mark.parametrize("name", ALL)
def test_setup_trains_the_network(name, names):
    objective = eval(ALL[name], names)
    takes_viscosity = "viscosity" in getattr(objective.rollout.step, "parameter_names", ())
    parameters = {"viscosity": VISCOSITY} if takes_viscosity else {}
    u0 = torch.randn(2, 1, 16, dtype=torch.float64)
    reference = torch.randn(2, objective.rollout.num_steps, 1, 16, dtype=torch.float64)
    objective(u0, reference, **parameters).backward()
    weights = names["N"].weight
    assert torch.isfinite(weights.grad).all() and weights.grad.abs().max() > 0


def small(N, v):
    """One number per sample, which softplus turns into a viscosity that the scheme can take."""
    return N(v).mean((1, 2)) - 6


@pytest.mark.parametrize("coupling, result", [
    ("Replace(N)", lambda P, N, v: N(v)),
    ("Additive(N)", lambda P, N, v: v + N(v)),
    ("Multiplicative(N)", lambda P, N, v: v * (1 + N(v))),
    ("AdditiveRHS(P, N)", lambda P, N, v: P(v, viscosity=VISCOSITY, force=N(v))),
    ('SolverParameter(P, G, "viscosity")', lambda P, N, v: P(v, viscosity=nn.functional.softplus(small(N, v)))),
], ids=lambda value: value if isinstance(value, str) else "")
def test_couplings_compute_what_the_table_says(coupling, result, names):
    v = torch.randn(2, 1, 16, dtype=torch.float64)
    P, N = names["P"], names["N"]
    assert f"`{coupling.replace('G', 'N')}`" in (ROOT / "book/notation.md").read_text(encoding="utf-8")
    names["G"] = lambda v: small(N, v)
    operator = eval(coupling, names)
    u = operator(v, viscosity=VISCOSITY) if coupling.startswith("AdditiveRHS") else operator(v)
    assert torch.equal(u, result(P, N, v))
