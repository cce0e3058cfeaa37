"""The systems that a page trains on, and the text of its worker.   Chapters: 01 ... 08, and the playground.

A system is what ``problems.js`` takes: a batch size, programs, and how its data are made. ``about`` is for the page.
"""

import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from dpbook_utils.coupling import Replace
from dpbook_utils.data import cell_averages, random_fourier, random_velocity, simulate
from dpbook_utils.losses import TrajectoryLoss, every_step, final_step
from dpbook_utils.networks import ConvResNet
from dpbook_utils.noise import GaussianNoise
from dpbook_utils.objectives import Objective, from_batch, from_input
from dpbook_utils.physics.advection import interpolated
from dpbook_utils.physics.burgers import Burgers
from dpbook_utils.physics.navier_stokes import mac_cormack, semi_lagrangian
from dpbook_utils.physics.trace import TracedSolver
from dpbook_utils.rollout import Rollout, Sequential

from ..problems import coarse_burgers, rod
from ..problems import kuramoto_sivashinsky as ks
from ..studies.e01 import inverse as e01_inverse
from ..studies.e05 import coupling as e05
from .bundle import as_json, runtime, text
from .compiled import binary
from .export import Library, export, forward
from .matrices import KuramotoSivashinskyMatrices, NavierStokesMatrices

BATCH, WIDTH, NUM_BLOCKS = 8, 16, 1  # 1,700 weights, less than half of the chapters', for a fast start
VISCOSITIES = (0.06, 0.12)  # [m^2/s], below those of E05: sharper fronts, at which the coarse solver fails visibly
OUTPUT_SCALE = 1e-3  # an untrained network leaves a hundred steps as they are
LEARNING_RATE, CLIP = 3e-3, 1.0
NUM_STEPS, MOST_STEPS = 4, 16
POLICIES = ("full", "cut", "truncated", "pushforward")

COUPLINGS = {name: e05.COUPLINGS[name] for name in ("additive", "right-hand side", "multiplicative", "viscosity")}
TEXTS = {
    "additive": "u + N(u) after the solver", "right-hand side": "N(u) as a force inside the solver",
    "multiplicative": "u (1 + N(u)) after the solver", "viscosity": "N(u) as a local viscosity of the solver",
    "supervised": "supervised: the loss sees one of the two answers",
    "physics": "physics: the loss sees what the answer would measure",
}


def worker_source(compiled: bool = True, names: Sequence[str] | None = None) -> str:
    """All that runs in the page's Web Worker, as one classic script.

    Args:
        compiled: with the kernels as WebAssembly, if they have been compiled for these systems (``PAGES``).
        names: of the systems; all by default.
    """
    return _source(compiled, _names(names))


def systems(names: Sequence[str] | None = None) -> dict[str, dict]:
    """What the page is told of each system: ``text``, ``kind`` ("correction", "flow" or "inverse"), ``couplings`` and
    their texts, ``policies`` and ``weights`` for each of them, ``m`` (least and most), ``start`` (settings), ``dx``,
    ``dt``, ``T`` (steps of a roll-out), ``units``; of a correction also ``deviation``, the standard deviation of its
    states.
    """
    return {name: system["about"] for name, system in exported(names)[1].items()}


def exported(names: Sequence[str] | None = None) -> tuple[Library, dict[str, dict]]:
    """Systems, and the kernels and constants that they share."""
    return _exported(_names(names))


def _names(names: Sequence[str] | None) -> tuple[str, ...]:
    return tuple(SYSTEMS) if names is None else tuple(names)


@functools.cache
def _exported(names: tuple[str, ...]) -> tuple[Library, dict[str, dict]]:
    library = Library()
    return library, {name: SYSTEMS[name](library) for name in names}


@functools.cache
def _source(compiled: bool, names: tuple[str, ...]) -> str:
    library, found = exported(names)
    kernels = runtime(library, binary(library) if compiled else "")
    return "\n".join([kernels, text("problems.js"), f"const SYSTEMS = {as_json(found)};", text("worker.js")])


def correction(step: nn.Module, num_steps: int = NUM_STEPS) -> Objective:
    """Noise, if any, before the step; a loss at every step."""
    return Objective(Rollout(Sequential(GaussianNoise(0.0), step), num_steps), TrajectoryLoss(every_step))


def _model(library: Library, objective: Objective, example: dict[str, Tensor], lr: float = LEARNING_RATE) -> dict:
    optimizer = torch.optim.Adam(objective.parameters(), lr=lr)
    return export(objective, optimizer, example, library, clip_norm=CLIP)


def burgers_solvers() -> tuple[TracedSolver, TracedSolver]:
    """The coarse solver of E05, and one sub-step of its reference."""
    s = coarse_burgers
    return tuple(TracedSolver(Burgers(points, s.length, s.dt / substeps, interpolated))
                 for points, substeps in ((s.num_points, 1), (s.fine_points, s.fine_substeps)))


def burgers_chains() -> dict[str, nn.Module]:
    """The coarse solver of E05 with a small network, by coupling."""
    coarse, _ = burgers_solvers()
    network = ConvResNet(1, 1, 1, width=WIDTH, num_blocks=NUM_BLOCKS, output_scale=OUTPUT_SCALE,
                         conditions={"viscosity": (sum(VISCOSITIES) / 2, VISCOSITIES[1] - VISCOSITIES[0])})
    return {name: couple(coarse, network) for name, couple in COUPLINGS.items()}


def burgers(library: Library) -> dict:
    """The correction of E05: central on 32 cells against the same on 256 cells with 32 sub-steps."""
    s, steps = coarse_burgers, 64
    coarse, fine = burgers_solvers()
    u, u_fine = (random_fourier(BATCH, points, modes=s.modes, seed=0)
                 for points in (s.num_points, s.fine_points))
    viscosity = torch.linspace(*VISCOSITIES, BATCH)
    models = {name: _model(library, correction(step), {"u0": u, "viscosity": viscosity})
              for name, step in burgers_chains().items()}
    return {
        "batch": BATCH, "points": s.num_points, "models": models,
        "reference": forward(library, fine, u_fine, viscosity=viscosity),
        "observe": forward(library, functools.partial(cell_averages, num_points=s.num_points), u_fine),
        "solver": forward(library, coarse, u, viscosity=viscosity),
        "data": {"points": s.fine_points, "modes": s.modes, "decay": 0, "amplitude": s.train[2], "warmup": 0,
                 "substeps": s.fine_substeps, "lots": 4, "steps": steps, "testSteps": s.num_steps,
                 "parameters": {"viscosity": list(VISCOSITIES)}},
        "about": _about("Burgers", models, dx=s.length / s.num_points, dt=s.dt, T=s.num_steps,
                        deviation=_deviation(simulate(coarse, u, steps, viscosity=viscosity)),
                        units={"x": "m", "t": "s", "u": "m/s"})}


def ks_solvers() -> tuple[KuramotoSivashinskyMatrices, KuramotoSivashinskyMatrices]:
    """The coarse and the reference solver of E04, on a domain of length 16 pi."""
    length = ks.unit_length
    return tuple(KuramotoSivashinskyMatrices(solver, length) for solver in (ks.coarse_solver(), ks.reference_solver()))


def ks_chains() -> dict[str, nn.Module]:
    network = ConvResNet(1, 1, 1, width=WIDTH, num_blocks=NUM_BLOCKS, output_scale=OUTPUT_SCALE)
    coarse, _ = ks_solvers()
    return {name: COUPLINGS[name](coarse, network) for name in ("additive", "multiplicative")}


def kuramoto_sivashinsky(library: Library) -> dict:
    """The correction of E04 on one domain: ETD1 against ETDRK2."""
    s = ks
    coarse, reference = ks_solvers()
    u = random_fourier(BATCH, s.num_points, modes=s.modes, seed=0)
    models = {name: _model(library, correction(step), {"u0": u}) for name, step in ks_chains().items()}
    steps, test_steps = 200, 40  # chaos: after some 30 units of time the start is forgotten
    states = simulate(reference, u, steps, warmup=s.warmup)
    return {
        "batch": BATCH, "points": s.num_points, "models": models, "observe": None,
        "reference": forward(library, reference, u), "solver": forward(library, coarse, u),
        "data": {"points": s.num_points, "modes": s.modes, "decay": 0, "amplitude": 1, "warmup": s.warmup,
                 "substeps": 1, "lots": 4, "steps": steps, "testSteps": test_steps, "parameters": {}},
        "about": _about("Kuramoto-Sivashinsky", models, deviation=_deviation(states),
                        dx=s.unit_length / s.num_points, dt=s.dt, T=test_steps,
                        units={"x": "", "t": "", "u": ""})}


FLOW_BATCH, FLOW_WIDTH = 4, 8
FLOW = {"modes": 2, "viscosity": 5e-4, "steps": 80}  # vortices of half the box [m^2/s]; chaos is slow enough for 2 s
FLOW_RATE = 1e-3
CELLS, FINE_CELLS, FLOW_DT, FLOW_SUBSTEPS = 32, 64, 0.025, 2


def flow_solvers() -> tuple[TracedSolver, TracedSolver]:
    """A coarse solver that smooths, and one sub-step of its reference, which has cells of half the size."""
    coarse = NavierStokesMatrices((CELLS, CELLS), (1.0, 1.0), FLOW_DT, semi_lagrangian)
    fine = NavierStokesMatrices((FINE_CELLS, FINE_CELLS), (1.0, 1.0), FLOW_DT / FLOW_SUBSTEPS, mac_cormack)
    return TracedSolver(coarse), TracedSolver(fine)


def flow_chains() -> dict[str, nn.Module]:
    network = ConvResNet(2, 2, 2, width=FLOW_WIDTH, num_blocks=NUM_BLOCKS, output_scale=OUTPUT_SCALE)
    coarse, _ = flow_solvers()
    return {name: COUPLINGS[name](coarse, network) for name in ("additive", "right-hand side")}


def through_faces(v: Tensor, factor: int) -> Tensor:
    """A periodic staggered velocity on cells ``factor`` times as long: means over their faces, which keep the outflow.

    Shapes: (batch, 2, x, y) -> (batch, 2, x / factor, y / factor).
    """
    x = v[:, 0, ::factor].unflatten(-1, (-1, factor)).mean(-1)
    y = v[:, 1, :, ::factor].unflatten(-2, (-1, factor)).mean(-2)
    return torch.stack([x, y], 1)


def flow(library: Library) -> dict:
    """Vortices in a periodic box: semi-Lagrangian on 32 x 32 cells against MacCormack on 64 x 64, two sub-steps."""
    coarse, fine = flow_solvers()
    v, v_fine = (random_velocity(FLOW_BATCH, (n, n), modes=FLOW["modes"], seed=0) for n in (CELLS, FINE_CELLS))
    viscosity, steps = torch.full((FLOW_BATCH,), FLOW["viscosity"]), FLOW["steps"]
    models = {name: _model(library, correction(step), {"u0": v, "viscosity": viscosity}, FLOW_RATE)
              for name, step in flow_chains().items()}
    observe = functools.partial(through_faces, factor=FINE_CELLS // CELLS)
    return {
        "batch": FLOW_BATCH, "points": v[0].numel(), "models": models,
        "reference": forward(library, fine, v_fine, viscosity=viscosity), "observe": forward(library, observe, v_fine),
        "solver": forward(library, coarse, v, viscosity=viscosity),
        "data": {"points": v_fine[0].numel(), "cells": FINE_CELLS, "modes": FLOW["modes"], "amplitude": 1, "warmup": 0,
                 "substeps": FLOW_SUBSTEPS, "lots": 3, "steps": steps, "testSteps": steps,
                 "parameters": {"viscosity": [FLOW["viscosity"]] * 2}},
        "about": _about("Vortices in two dimensions", models, kind="flow", cells=CELLS, dx=1 / CELLS, dt=FLOW_DT,
                        T=steps, deviation=_deviation(v), units={"x": "m", "t": "s", "u": "m/s"})}


def inverse_objectives() -> dict[str, Objective]:
    """Those of E01: trained on one of two answers, or through the measurement."""
    network = ConvResNet(1, 1, 1, kernel_size=5, num_blocks=2, output_scale=0.3)
    measure, one = rod.measurement(e01_inverse.BATCH), TrajectoryLoss(final_step)
    return {"supervised": Objective(Rollout(Sequential(Replace(network)), 1), one, targets=from_batch),
            "physics": Objective(Rollout(Sequential(Replace(network), measure), 1), one, targets=from_input)}


def inverse(library: Library) -> dict:
    """The sensor of E01, blind to the sign of a temperature."""
    number, points = e01_inverse.BATCH, rod.NUM_POINTS
    u, diffusivity = rod.states(number, 0, ambiguous=False), torch.full((number,), rod.DIFFUSIVITY)
    examples = {"supervised": {"u0": u}, "physics": {"u0": u, "diffusivity": diffusivity}}
    models = {name: _model(library, objective, examples[name]) for name, objective in inverse_objectives().items()}

    def start(shape: Tensor, sign: Tensor) -> Tensor:
        return (0.4 * shape).exp() * sign[:, None, None]

    return {
        "batch": number, "points": points, "models": models,
        "start": forward(library, start, u, sign=torch.ones(number)),
        "measure": forward(library, rod.measurement(number), u, diffusivity=diffusivity),
        "data": {"modes": 3, "decay": 0.5, "parameters": {"diffusivity": diffusivity.tolist()}},
        "about": _about("Two answers", models, kind="inverse", m=[1, 1], policies=dict.fromkeys(models, ["full"]),
                        dx=1 / points, dt=rod.DT, T=1, units={"x": "m", "t": "s", "u": "K"})}


SYSTEMS: dict[str, Callable[[Library], dict]] = {
    "burgers": burgers, "ks": kuramoto_sivashinsky, "inverse": inverse, "flow": flow}
PAGES = (tuple(SYSTEMS), ("flow",))  # systems that are compiled together


def _deviation(states: Tensor) -> float:
    return float(f"{states.std():.3g}")


def _about(title: str, models: dict, **others) -> dict:
    """What the page is told of a system."""
    def policies(model: dict) -> list[str]:
        whole = any(operator["solver"] and operator["trained"] for operator in model["operators"])
        return [policy for policy in POLICIES if policy != "cut" or not whole]

    first = next(iter(models))
    return {"text": title, "kind": "correction", "couplings": {name: TEXTS[name] for name in models},
            "policies": {name: policies(model) for name, model in models.items()}, "m": [1, MOST_STEPS],
            "weights": {name: sum(n for n, _ in model["weights"]) for name, model in models.items()},
            "start": {"coupling": first, **models[first]["start"], "seed": 0}, **others}
