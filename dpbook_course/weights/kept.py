"""Which trainings of the studies are kept as weights, and how each is trained, put together and judged.

Training and judging are the studies' own functions. What is new here is a chain around one network: a study builds its
chain around an ensemble, in the same call that trains it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from dpbook_utils.networks import ConvResNet
from dpbook_utils.physics.advection import Interpolated

from ..problems import (
    coarse_burgers,
    forced_burgers,
    ks_history,
    kuramoto_sivashinsky,
    parametric_burgers,
    periodic_waves,
    wake_flow,
    wake_metrics,
)
from ..problems.ks import KuramotoSivashinskyProblem
from ..problems.problem import Problem
from ..studies.e02 import data as e02
from ..studies.e03 import growth as e03
from ..studies.e04 import forced as e04_forced
from ..studies.e04 import unrolling as e04
from ..studies.e05 import coupling as e05
from ..studies.e06 import placement as e06
from ..studies.e07 import horizons as e07
from ..studies.e08 import noise as e08
from ..studies.e08 import periodic as e08_periodic
from ..studies.e08 import rows as e08_rows
from ..studies.e08 import small as e08_small
from ..studies.e09 import wake as e09

SEEDS = (0, 1)  # whose networks are kept
ALL = (0, 1, 2, 3, 4, 5)  # of the studies: those that train together share the draws of their noise


@dataclass(frozen=True)
class Kept:
    """Trainings of one study whose networks are kept.

    Attributes:
        problem: by which ``course.load`` finds them.
        data: where their states come from: a name of ``course.problems``, or of a study.
        spec: of the study.
        setups: ``{variant: number of updates}``.
        network: ``(row, seed)``: an untrained one.
        chain: ``(row, network)``: the step with it.
        fitted: ``(row, seeds, budget)``: the step with the networks trained, as the study does.
        error: ``(step, num_seeds)``: (seeds,) of the study's metric ``metric``.
        short: the same measure on data that are ready in seconds.
        short_text: what it is.
        together: the seeds that train together, those of SEEDS first. As many as in the study where the set-up has
            noise; otherwise a network is the same, up to rounding, whatever trains beside it.
    """

    problem: str
    data: str
    spec: Any
    setups: Mapping[str, int]
    network: Callable[[Any, int], ConvResNet]
    chain: Callable[[Any, nn.Module], nn.Module]
    fitted: Callable[[Any, Sequence[int], int], nn.Module]
    error: Callable[[nn.Module, int], Tensor]
    short: Callable[[nn.Module, int], Tensor]
    short_text: str = "on the validation data"
    metric: str = "error.inside"
    together: tuple[int, ...] = SEEDS

    def row(self, setup: str) -> Any:
        return self.spec.variants[setup]


def _inside(problem: Problem) -> Callable[[nn.Module, int], Tensor]:
    """The study's error in the region inside."""
    return lambda step, num_seeds: problem.judge(step, problem.trajectories("inside"), num_seeds)["error"]


def _first(fitted: Callable) -> Callable[[Any, Sequence[int], int], nn.Module]:
    """Of (step, history) the step."""
    return lambda row, seeds, budget: fitted(row, seeds, budget)[0]


def _on(problem: Problem, name: str, data: str, spec: Any, setups: Mapping[str, int], **how) -> Kept:
    """Of a study on this problem: unless ``how`` says otherwise, with its hybrid and network and its error inside."""
    default = {"network": lambda row, seed: problem.network(seed), "error": _inside(problem),
               "chain": lambda row, network: problem.hybrid(network), "short": problem.validation_error}
    return Kept(name, data, spec, setups, **(default | how))


def _e04_chain(row: e04.Variant, network: nn.Module) -> nn.Module:
    return kuramoto_sivashinsky.predictor(network) if row.predictor else kuramoto_sivashinsky.hybrid(network)


def _e05_network(row: e05.Variant, seed: int) -> ConvResNet:
    return coarse_burgers.network(seed, len(Interpolated.offsets) if row.coupling == "interpolation" else 1)


def _e07_fitted(row: e07.Variant, seeds: Sequence[int], budget: int) -> nn.Module:
    step = kuramoto_sivashinsky.hybrid(e07.networks(seeds, row.output_scale))
    e07.train(row, step, seeds, budget)
    return step


def _of_e08(problem: KuramotoSivashinskyProblem, name: str, data: str, spec: Any, setups: Mapping[str, int],
            longest: int | None, **how) -> Kept:
    """Noise, on one of its problems."""
    def fitted(row: Any, seeds: Sequence[int], budget: int) -> nn.Module:
        networks = problem.ensemble(seeds, e08_rows.WIDTH, e08_rows.NUM_BLOCKS)
        e08_rows.train_phases(problem, row, networks, seeds, budget, longest)
        return problem.hybrid(networks)

    return _on(problem, name, data, spec, setups, fitted=fitted, **how,
               network=lambda row, seed: problem.network(seed, e08_rows.WIDTH, e08_rows.NUM_BLOCKS))


def _each(updates: int, *setups: str) -> dict[str, int]:
    return dict.fromkeys(setups, updates)


_ks, _KS = kuramoto_sivashinsky, ("ks", "kuramoto_sivashinsky")
KEPT = (
    _on(_ks, *_KS, e04.SPEC,
        _each(1500, "ONE", "WIG-3", "NOG-3", "WIG-8", "NOG-8", "predictor, ONE", "predictor, WIG-3"),
        network=lambda row, seed: _ks.network(seed, row.width, row.num_blocks), chain=_e04_chain,
        fitted=_first(e04.fitted)),
    _on(coarse_burgers, "burgers", "coarse_burgers", e05.SPEC,
        _each(1500, *(f"{coupling}, {setup}" for coupling in ("additive", "interpolation", "multiplicative",
                                                              "right-hand side", "viscosity")
                      for setup in ("ONE", "WIG-8"))),
        network=_e05_network, chain=lambda row, network: e05.chain(row.coupling, network), fitted=_first(e05.fitted)),
    Kept("wake", "wake_flow", e09.SPEC, _each(400, "SOL-8", "ONE"),
         network=lambda row, seed: wake_flow.network(seed, row.width), chain=e09.step_of, fitted=_first(e09.fitted),
         error=lambda step, num_seeds: wake_metrics.evaluate(step, num_seeds)["error.inside"],
         short=lambda step, num_seeds: wake_metrics.short(step, num_seeds, e09.small_flows(),
                                                          e09.SMALL["horizon"])["error.inside"],
         short_text="over ten steps of the first second of three flows, whose reference is twice as fine"),
    _on(parametric_burgers, "burgers_parametric", "parametric_burgers", e02.SPEC,
        _each(1500, *(f"{data}, {loss}" for data in ("16 stored", "1024 stored", "fresh")
                      for loss in ("DP", "supervised"))), fitted=_first(e02.fitted)),
    _on(forced_burgers, "burgers_forced", "forced_burgers", e04_forced.SPEC,
        _each(1500, "ONE", "WIG-3", "NOG-3", "WIG-8", "NOG-8"), fitted=_first(e04_forced.fitted),
        network=lambda row, seed: forced_burgers.network(seed, e04_forced.WIDTH, e04_forced.NUM_BLOCKS)),
    _of_e08(_ks, *_KS, e08.SPEC, _each(1500, "white, sigma 0.01", "moved target, sigma 0.01", "WIG-3, sigma 0.01"),
            e08.LONGEST, together=ALL),
    _of_e08(_ks, *_KS, e08.SPEC, _each(1500, "ONE, then WIG-3"), e08.LONGEST),
    _of_e08(ks_history, "ks_history", "ks_history", e08.SPEC, _each(1500, "history"), e08.LONGEST),
    _of_e08(periodic_waves, "waves", "periodic_waves", e08_periodic.SPEC, _each(1500, "ONE", "WIG-3"), e08.LONGEST),
    _of_e08(e08_small.little_data, "ks_little_data", "kuramoto_sivashinsky", e08_small.SPEC,
            {"ONE": 6300, "WIG-3, rate 0.001": 2520}, None),
    _on(_ks, *_KS, e07.SPEC, _each(1500, "m=1", "m=8", "m=16"), fitted=_e07_fitted,
        network=lambda row, seed: _ks.network(seed, e07.WIDTH, e07.NUM_BLOCKS, row.output_scale)),
    _on(_ks, *_KS, e06.SPEC, _each(1500, "sparse, WIG", "residual, WIG", "N first, after N, WIG",
                                   "N first, after P, WIG"), fitted=_first(e06.fitted), chain=e06.tested_step,
        network=lambda row, seed: _ks.network(seed, e06.WIDTH, e06.NUM_BLOCKS)),
    _on(_ks, *_KS, e03.SPEC, _each(1500, "FRESH-8", "STORED-8"), fitted=_first(e03.fitted), metric="one_step",
        network=lambda row, seed: _ks.network(seed, e03.WIDTH, e03.NUM_BLOCKS),
        error=lambda step, num_seeds: e03.judge(step, num_seeds)["one_step"]),
)
