"""The explorers of the book: stored roll-outs of what was trained in E02, E04, E05 and E10, and of E01's flows.

    explore("unrolling", m=8, policy="cut")          Kuramoto-Sivashinsky: unroll length, gradient, placement, noise
    explore("coupling", coupling="viscosity")        Burgers: coupling, unroll length
    explore("data", data="16", updates=6000)         Burgers: stored or fresh data, loss, updates
    explore("numerics", scheme="upwind")             Burgers: scheme of the solver, training of the network behind it
    explore("reconstruction", optimizer="L-BFGS")    Burgers: an initial state from a later one

Chapters: 01_physics_as_loss, 02_solver_as_data, 03_unrolling, 04_coupling, 05_loss_placement, 06_long_horizons,
07_noise, 09_choosing_the_numerics.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dpbook_utils import arguments

from ..experiments import results, rollouts
from ..experiments.spec import Specification
from ..problems import burgers_schemes, coarse_burgers, parametric_burgers
from ..problems import kuramoto_sivashinsky as ks
from ..problems.reconstruction import Reconstruction
from ..studies.e01 import reconstruction as e01_reconstruction
from ..studies.e02 import rollouts as e02_rollouts
from ..studies.e04 import rollouts as e04_rollouts
from ..studies.e05 import rollouts as e05_rollouts
from ..studies.e10 import design as e10
from ..studies.e10 import rollouts as e10_rollouts
from .static import Control, Explorer, Key, Region, Run

WAVES = (
    Control("m", "Unroll length m", {"1": "1 step", "3": "3 steps", "8": "8 steps"}, slider=True),
    Control("policy", "Gradient policy", {
        "full": "full gradient", "cut": "cut at the solver", "push": "push-forward"}),
    Control("placement", "Loss placement", {"every": "loss at every step", "final": "loss at the final step"}),
    Control("noise", "Noise on the states in training", {"0": "no noise", "1": "noise, 1 % of the data's deviation"}),
)
FRONTS = (
    Control("coupling", "Coupling of N to P", {
        "additive": "additive: P, then u + N(u)", "right-hand side": "right-hand side: P with the force N(u)",
        "multiplicative": "multiplicative: P, then u (1 + N(u))", "viscosity": "parameter: a local viscosity from N(u)",
        "interpolation": "parameter: interpolation weights from N(u)"}),
    Control("m", "Unroll length m", {"1": "1 step", "8": "8 steps"}, slider=True),
)
SAMPLES = (
    Control("data", "Training data", {
        **{str(size): f"{size:,} stored trajectories" for size in e02_rollouts.SIZES},
        "fresh": "fresh trajectories at every update"}),
    Control("loss", "Loss", {"supervised": "one step: supervised", "DP": "four steps: differentiable physics"}),
    Control("updates", "Updates", {str(n): f"{n:,} updates" for n in e02_rollouts.BUDGETS}, slider=True),
)
SCHEMES = (
    Control("scheme", "Scheme of the solver P", {scheme: scheme for scheme in burgers_schemes.schemes}),
    Control("training", "Network behind it", {
        e10.ALONE: "none: P alone", "ONE": "trained on one step", "WIG-8": "trained through eight steps"}),
)
STATES = (
    Control("optimizer", "Optimiser", {"Adam": "Adam", "L-BFGS": "L-BFGS"}),
    Control("iterations", "Effort", {str(n): f"{n} iterations" for n in e01_reconstruction.ITERATIONS}, slider=True),
    Control("prior", "Preference for smooth states", {
        "0": "no preference", "1e-05": "weak preference, w = 1e-5 s^2", "0.0001": "stronger preference, w = 1e-4 s^2"}),
    Control("noise", "Noise of the observation", {"0": "no noise", "0.05": "noise of 0.05 m/s"}),
)
REGIONS = {"inside": "inside the training range", "below": "below the training range",
           "above": "above the training range"}


@dataclass(frozen=True)
class View:
    """How one experiment's records are shown.

    Attributes:
        variants: ``{values of the controls: (variant, budget)}``.
        length, sample: of a region's parameter: the domain, and what else to say of the shown sample.
        work: what the budgets are.   regions: with their texts.   baselines: reference, solver alone, persistence.
        words, source: beside those of all views, or in their place.
    """

    title: str
    spec: Specification
    work: str
    controls: tuple[Control, ...]
    variants: Mapping[Key, tuple[str, int]]
    nearest: Callable[[Key], tuple[Key, str, bool] | None]
    scale: float
    dt: float
    length: Callable[[float], float]
    sample: Callable[[float], str]
    words: Mapping[str, str]
    regions: Mapping[str, str] = field(default_factory=lambda: REGIONS)
    steps: int = rollouts.NUM_STEPS
    baselines: tuple[str, str, str] = ("reference", "P", "persistence")
    source: Mapping[str, str] = field(default_factory=dict)


def _nearest_waves(key: Key) -> tuple[Key, str, bool] | None:
    m, policy, placement, noise = key
    if m == "1" and (policy, placement) != ("full", "every"):
        reason = "With one step all gradient policies and loss placements are one and the same training."
        return (m, "full", "every", noise), reason, True
    if policy == "push" and placement == "every" and noise == "0":
        reason = "The only step of a push-forward with a gradient is its last, so its loss sits there."
        return (m, "push", "final", noise), reason, True
    if policy == "cut" and placement == "final" and noise == "0":
        reason = "Cut at the solver, a loss at the final step reaches N at that step only: this is push-forward."
        return (m, "push", "final", noise), reason, True
    if noise == "1":
        if policy != "push":
            return (m, policy, "every", noise), "noise goes with losses at every step here.", False
        return (m, "push", "final", "0"), "noise goes with losses at every step here, and push-forward has one.", False
    return None


VIEWS = {
    "unrolling": View(
        "Explore: correcting a coarse Kuramoto-Sivashinsky solver", e04_rollouts.SPEC, f"{e04_rollouts.BUDGET} updates",
        WAVES, {(str(c.m), c.policy, c.placement, str(c.noise)): (c.name, e04_rollouts.BUDGET)
                for c in e04_rollouts.CHOICES}, _nearest_waves,
        e04_rollouts.SCALE, ks.dt, lambda value: value, lambda value: f"length {value:.3g}",
        {"x": "x", "time": "", "u": "u", "region": "Domain lengths of the test"}),
    "coupling": View(
        "Explore: how the network enters a coarse Burgers solver", e05_rollouts.SPEC, f"{e05_rollouts.BUDGET} updates",
        FRONTS, {(c.coupling, str(c.m)): (c.name, e05_rollouts.BUDGET) for c in e05_rollouts.CHOICES}, lambda key: None,
        e05_rollouts.SCALE, coarse_burgers.dt, lambda value: coarse_burgers.length,
        lambda value: f"viscosity {value:.3g} m^2/s",
        {"x": "x [m]", "time": " s", "u": "u [m/s]", "region": "Viscosities of the test"}),
    "data": View(
        "Explore: stored or fresh data for a coarse Burgers solver", e02_rollouts.SPEC,
        f"{' or '.join(map(str, e02_rollouts.BUDGETS))} updates", SAMPLES,
        {(data.split()[0], loss, str(n)): (f"{data}, {loss}", n)
         for data in e02_rollouts.DATA for loss in e02_rollouts.LOSSES for n in e02_rollouts.BUDGETS}, lambda key: None,
        e02_rollouts.SCALE, parametric_burgers.dt, lambda value: parametric_burgers.length,
        lambda value: f"viscosity {value:.3g} m^2/s",
        {"x": "x [m]", "time": " s", "u": "u [m/s]", "region": "Viscosities and amplitudes of the test"},
        {"inside": "inside the sampled domain", "edge": "on its edge", "outside": "outside"}),
    "numerics": View(
        "Explore: five Burgers solvers, alone and with the same network behind them", e10_rollouts.SPEC,
        f"{e10_rollouts.BUDGET} updates", SCHEMES,
        {(scheme, training): (e10.name(scheme, e10_rollouts.POINTS, training), 0 if training == e10.ALONE else
                              e10_rollouts.BUDGET)
         for scheme in burgers_schemes.schemes for training in (e10.ALONE, *e10.TRAININGS)}, lambda key: None,
        e10_rollouts.SCALE, burgers_schemes.dt, lambda value: burgers_schemes.length,
        lambda value: f"viscosity {value:.3g} m^2/s",
        {"x": "x [m]", "time": " s", "u": "u [m/s]", "region": "Viscosities of the test", "run": "shown",
         "solver": f"{e10_rollouts.BEST} alone"},
        {name: REGIONS[name] for name in burgers_schemes.regions}, burgers_schemes.horizon,
        (e10_rollouts.REFERENCE, e10.name(e10_rollouts.BEST, e10_rollouts.POINTS, e10.ALONE),
         e10_rollouts.PERSISTENCE)),
    "reconstruction": View(
        "Explore: an initial state reconstructed from a later one", e01_reconstruction.SPEC,
        f"{', '.join(map(str, e01_reconstruction.ITERATIONS))} iterations", STATES,
        {(c.optimizer, str(n), f"{c.weight:g}", f"{c.noise:g}"): (c.name, n)
         for c in e01_reconstruction.CHOICES for n in e01_reconstruction.ITERATIONS}, lambda key: None,
        e01_reconstruction.SCALE, Reconstruction.dt, lambda value: Reconstruction.length,
        lambda value: f"viscosity {value:.2g} m^2/s",
        {"x": "x [m]", "time": " s", "u": "u [m/s]", "region": "Flow", "run": "reconstruction",
         "solver": "P from the truth", "still": "P from the observation", "seed": "Seed of start and noise",
         "gradient": "Gradient from an observation at a later step"},
        {"inside": "viscous Burgers, observed at step 16"}, Reconstruction.num_steps,
        ("reference", "true start", "observed start"),
        {"Errors": "relative L2 distance of the flow from the reconstructed state to the exact solution, at most 2; P "
                   "from the truth: the solver's own error; P from the observation: that taken for the initial state",
         "Gradients": "norm of the gradient of mse(P^k(u) - truth) in the initial state u, k steps later"}),
}


def explore(view: str, name: str | None = None, root: str | Path | None = None, **start: str | int) -> Explorer:
    """An interactive figure of stored results.

    Args:
        view: ``unrolling``, ``coupling``, ``data``, ``numerics`` or ``reconstruction``.
        name: its name in the page's address, the view's by default; give another one to a second one on a page.
        root: folder of the results.   start: values with which it opens, such as ``m=8, region="above"``.

    Raises: ValueError for an unknown view or value; ResultError if nothing is stored, or no baseline.
    """
    arguments.choice("explore", "view", view, VIEWS)
    name = view if name is None else arguments.text("explore", "name", name)
    root = None if root is None else arguments.path("explore", "root", root)
    arguments.values_of_controls("explore", start)
    shown = VIEWS[view]
    spec, again = shown.spec, f"python -m dpbook_course.experiments run {shown.spec.id}"
    results.frame(spec, root)  # warns of damaged files, and raises if there are none
    records = {(record.variant, record.budget): record for record in results.load(spec, root)[0]}
    missing = [name for name in shown.baselines if (name, 0) not in records]
    runs = {key: _run(records[task], shown.regions, len(spec.seeds)) for key, task in shown.variants.items()
            if task in records and (task[0] in spec.baselines or records[task].seeds == spec.seeds)}
    if missing or not runs:
        raise results.ResultError(f"{spec.id} has no results of {', '.join(missing) or 'any training'} yet. "
                                  f"Compute them: {again}")
    baselines = [_run(records[name, 0], shown.regions, 1) for name in shown.baselines]
    parameters = records[shown.baselines[0], 0].metrics
    values = {region: float(parameters[f"parameter.{region}"][0]) for region in shown.regions}
    return Explorer(
        name, shown.title, shown.controls, runs, shown.nearest, *baselines,
        {region: Region(text, shown.length(values[region]), shown.sample(values[region]))
         for region, text in shown.regions.items()},
        spec.seeds, shown.steps, rollouts.EVERY, shown.dt, rollouts.HORIZONS, shown.scale, shown.words,
        {"Experiment": f"{spec.id}: {spec.title}; {shown.work}, seeds {', '.join(map(str, spec.seeds))}",
         "Errors": "relative L2, at most 2, geometric mean over the region's samples; persistence: the first state",
         "Fields": f"the first sample of each region, every second step, one byte a value: {shown.words['u']} is off "
                   f"by at most {shown.scale / (2 * rollouts.LEVELS):.2g}, and values beyond {shown.scale:g} are shown "
                   f"as {shown.scale:g}",
         "Gradients": "norm of the training loss's gradient in the weights, noise off, with the gradient policy and "
                      "loss placement shown; beyond the axis it is drawn at its end",
         **shown.source, "Repeat": again},
        {"t": 20, **start})


def _run(record: results.Record, regions: Iterable[str], num_seeds: int) -> Run:
    """What draws nothing has one seed, and stands for all of them."""
    made, metrics = record.provenance, record.metrics
    if num_seeds > 1 == len(record.seeds):
        metrics = {name: np.repeat(values, num_seeds, 0) for name, values in metrics.items()}
    return Run({region: metrics[f"error.{region}"] for region in regions},
               {region: metrics[f"field.{region}"] for region in regions},
               metrics["gradient"], metrics["diverged_at"].astype(int).tolist(),
               f"results/{record.experiment}/{results.file_name(record.task)}, code {made['code']}, "
               f"{made['finished'][:10]}, {made['seconds']:.0f} s on {made['device']}")
