"""The explorers of the book: stored roll-outs of E04's set-ups and of E05's couplings.

    explore("unrolling", m=8, policy="cut")      Kuramoto-Sivashinsky: unroll length, gradient, loss placement, noise
    explore("coupling", coupling="viscosity")    Burgers: coupling, unroll length

Chapters: 03_unrolling, 04_coupling, 05_loss_placement, 06_long_horizons, 07_noise.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..experiments import coarse_burgers, e04_rollouts, e05_rollouts, results, rollouts
from ..experiments import kuramoto_sivashinsky as ks
from ..experiments.spec import Specification
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


@dataclass(frozen=True)
class View:
    """How one experiment's records are shown; ``length`` and ``sample`` speak of a region's parameter."""

    title: str
    spec: Specification
    budget: int
    controls: tuple[Control, ...]
    variants: Mapping[Key, str]
    nearest: Callable[[Key], tuple[Key, str, bool] | None]
    scale: float
    dt: float
    length: Callable[[float], float]
    sample: Callable[[float], str]
    words: Mapping[str, str]


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
        "Explore: correcting a coarse Kuramoto-Sivashinsky solver", e04_rollouts.SPEC, e04_rollouts.BUDGET, WAVES,
        {(str(c.m), c.policy, c.placement, str(c.noise)): c.name for c in e04_rollouts.CHOICES}, _nearest_waves,
        e04_rollouts.SCALE, ks.SETTINGS["dt"], lambda value: value, lambda value: f"length {value:.3g}",
        {"x": "x", "time": "", "u": "u", "region": "Domain lengths of the test"}),
    "coupling": View(
        "Explore: how the network enters a coarse Burgers solver", e05_rollouts.SPEC, e05_rollouts.BUDGET, FRONTS,
        {(c.coupling, str(c.m)): c.name for c in e05_rollouts.CHOICES}, lambda key: None,
        e05_rollouts.SCALE, coarse_burgers.SETTINGS["dt"], lambda value: coarse_burgers.SETTINGS["length"],
        lambda value: f"viscosity {value:.3g} m^2/s",
        {"x": "x [m]", "time": " s", "u": "u [m/s]", "region": "Viscosities of the test"}),
}
REGIONS = {"inside": "inside the training range", "below": "below the training range",
           "above": "above the training range"}


def explore(view: str, name: str | None = None, root: Path | None = None, **start: str | int) -> Explorer:
    """An interactive figure of stored results.

    Args:
        view: ``unrolling`` or ``coupling``.
        name: its name in the page's address, the view's by default; give another one to a second one on a page.
        root: folder of the results.   start: values with which it opens, such as ``m=8, region="above"``.

    Raises: ValueError for an unknown view or value; ResultError if nothing is stored, or no baseline.
    """
    if view not in VIEWS:
        raise ValueError(f"explore: there is no view {view!r}; choose one of {', '.join(VIEWS)}")
    shown = VIEWS[view]
    spec, again = shown.spec, f"python -m dpbook_utils.experiments run {shown.spec.id}"
    results.frame(spec, root)  # warns of damaged files, and raises if there are none
    records = {(record.variant, record.budget): record for record in results.load(spec, root)[0]}
    missing = [name for name in ("reference", "P", "persistence") if (name, 0) not in records]
    runs = {key: _run(records[variant, shown.budget]) for key, variant in shown.variants.items()
            if (variant, shown.budget) in records and records[variant, shown.budget].seeds == spec.seeds}
    if missing or not runs:
        raise results.ResultError(f"{spec.id} has no results of {', '.join(missing) or 'any training'} yet. "
                                  f"Compute them: {again}")
    reference = records["reference", 0]
    values = {region: float(reference.metrics[f"parameter.{region}"][0]) for region in REGIONS}
    return Explorer(
        name or view, shown.title, shown.controls, runs, shown.nearest, _run(reference), _run(records["P", 0]),
        _run(records["persistence", 0]),
        {region: Region(text, shown.length(values[region]), shown.sample(values[region]))
         for region, text in REGIONS.items()},
        spec.seeds, rollouts.NUM_STEPS, rollouts.EVERY, shown.dt, rollouts.HORIZONS, shown.scale, shown.words,
        {"Experiment": f"{spec.id}: {spec.title}; {shown.budget} updates, seeds {', '.join(map(str, spec.seeds))}",
         "Errors": "relative L2, at most 2, geometric mean over the region's samples; persistence: the first state",
         "Fields": f"the first sample of each region, every second step, one byte a value: {shown.words['u']} is off "
                   f"by at most {shown.scale / (2 * rollouts.LEVELS):.2g}, and values beyond {shown.scale:g} are shown "
                   f"as {shown.scale:g}",
         "Gradients": "norm of the training loss's gradient in the weights, noise off, with the gradient policy and "
                      "loss placement shown; beyond the axis it is drawn at its end",
         "Repeat": again},
        {"t": 20, **start})


def _run(record: results.Record) -> Run:
    made, metrics = record.provenance, record.metrics
    return Run({region: metrics[f"error.{region}"] for region in REGIONS},
               {region: metrics[f"field.{region}"] for region in REGIONS},
               metrics["gradient"], metrics["diverged_at"].astype(int).tolist(),
               f"results/{record.experiment}/{results.file_name(record.task)}, code {made['code']}, "
               f"{made['finished'][:10]}, {made['seconds']:.0f} s on {made['device']}")
