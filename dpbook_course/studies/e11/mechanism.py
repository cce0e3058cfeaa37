"""What N does when the data change: how far its output moves, in which waves it acts, and how far it looks.

All on one step, at states of the reference (``ShiftsProblem.probe``). Of P without a network it is its increment
P(u) - u that is looked at.

Chapter: 10_generalisation.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dpbook_utils.physics.solver import select
from dpbook_utils.rollout import in_mode

from ...problems.changes import ShiftsProblem
from ...problems.problem import Trajectories
from ...problems.schemes import together

MECHANISM_METRICS = {
    "moved": "|N(u') - N(u)| / |N(u)| for each region: u' is u with the region's change; of P alone its increment",
    "asked": "the same of what N should give: the reference's next state minus what N corrects",
    "spectrum": "root-mean-square amplitude of N's output by wave number, inside [m/s]",
    "asked_spectrum": "the same of what N should give [m/s]",
    "reach": "|dN(u)_0 / du_d| by distance d in cells, mean over samples and both sides, divided by its sum",
}


def mechanism(problem: ShiftsProblem, P: nn.Module | None, networks: nn.Module | None, seeds: Sequence[int]
              ) -> dict[str, Tensor]:
    """All MECHANISM_METRICS, one entry per seed.

    Args:
        P: None for a predictor, and where only errors are looked at.
        networks: None for P alone.
    """
    waves = problem.num_points // 2 + 1
    if P is None and networks is None:
        sizes = dict.fromkeys(("moved", "asked"), len(problem.regions)) | dict.fromkeys(
            ("spectrum", "asked_spectrum", "reach"), waves)
        return {key: torch.full((len(seeds), size), math.nan, dtype=torch.float64) for key, size in sizes.items()}
    found = {region: acted(problem, P, networks, region, seeds) for region in problem.regions}
    given, wanted = (torch.stack([found[region][place].double() for region in problem.regions], 1) for place in (0, 1))
    place = problem.regions.index("inside")
    return {"moved": distance(given, place), "asked": distance(wanted, place),
            "spectrum": amplitudes(given[:, place]), "asked_spectrum": amplitudes(wanted[:, place]),
            "reach": reach(problem, P, networks, seeds)}


def states(problem: ShiftsProblem, region: str, seeds: Sequence[int]) -> Trajectories:
    """The probes of all seeds, group after group."""
    found = [problem.probe(region, seed) for seed in seeds]
    return Trajectories(torch.cat([one.states for one in found]), together([one.parameters for one in found]))


@torch.no_grad()
def acted(problem: ShiftsProblem, P: nn.Module | None, networks: nn.Module | None, region: str, seeds: Sequence[int]
          ) -> tuple[Tensor, Tensor]:
    """(what N gives, what it should give) at the probes of a region, each (seeds, samples, x)."""
    probes = states(problem, region, seeds)
    u, u_next = probes.states[:, 0], probes.states[:, 1]
    entering = u if P is None or networks is None else P(u, **select(P, probes.parameters))
    given = output(P, networks, entering, probes.parameters)
    return tuple(x.view(len(seeds), -1, x.shape[-1]) for x in (given, u_next - entering))


def output(P: nn.Module | None, networks: nn.Module | None, u: Tensor, parameters: dict[str, Tensor]) -> Tensor:
    """N(u), or the increment of P alone."""
    if networks is None:
        return P(u, **select(P, parameters)) - u
    with in_mode(networks, training=False):
        return networks(u, **select(networks, parameters))


def distance(values: Tensor, place: int) -> Tensor:
    """(seeds, regions, samples, x) -> (seeds, regions): from those at the place, relative to their size."""
    apart, size = values - values[:, place:place + 1], values[:, place]
    return apart.square().mean((2, 3)).sqrt() / size.square().mean((1, 2)).sqrt()[:, None]


def amplitudes(values: Tensor) -> Tensor:
    """(seeds, samples, x) -> (seeds, x // 2 + 1)."""
    return (torch.fft.rfft(values) / values.shape[-1]).abs().square().mean(1).sqrt()


def reach(problem: ShiftsProblem, P: nn.Module | None, networks: nn.Module | None, seeds: Sequence[int]) -> Tensor:
    """(seeds, x // 2 + 1): how strongly the output at one point depends on the state so many cells away."""
    probes = states(problem, "inside", seeds)
    u = probes.states[:, 0]
    with torch.no_grad():
        u = u if P is None or networks is None else P(u, **select(P, probes.parameters))
    u = u.clone().requires_grad_()
    value = output(P, networks, u, probes.parameters)[..., 0].sum()
    gradient, = torch.autograd.grad(value, u)
    sizes = gradient.detach().double().abs().view(len(seeds), -1, u.shape[-1]).mean(1)
    n = sizes.shape[1]
    both = torch.stack([(sizes[:, d] + sizes[:, -d % n]) / 2 for d in range(n // 2 + 1)], 1)
    return both / both.sum(1, keepdim=True)
