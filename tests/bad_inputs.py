"""Bad values for every argument of the public functions and classes, as data: what they are, and what may be accepted.

``python tests/bad_inputs.py`` counts how many inputs are tried and how many of them are refused, and writes it to
``results/inputs.json``, which the book shows.
"""

import functools
import inspect
import json
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from trainer_samples import trainer

import dpbook_utils
from dpbook_course.experiments.results import ResultError
from dpbook_course.explorer import Playground, explore
from dpbook_course.web import Library, Unsupported, export
from dpbook_utils import data, diagnostics, evaluation, gradients, losses, networks, noise, objectives, settings, setups
from dpbook_utils import training as loop
from dpbook_utils.coupling import Additive, AdditiveRHS, Multiplicative, Replace, SolverParameter
from dpbook_utils.physics import navier_stokes, obstacle, projection, wake
from dpbook_utils.physics.advection_diffusion import AdvectionDiffusion
from dpbook_utils.physics.burgers import Burgers
from dpbook_utils.physics.kuramoto_sivashinsky import KuramotoSivashinsky
from dpbook_utils.physics.trace import TraceError, trace
from dpbook_utils.rollout import Rollout, Sequential, repeat
from dpbook_utils.update import TracedGradients

ROOT = Path(dpbook_utils.__file__).parents[1]
PACKAGES = {ROOT / "dpbook_utils", ROOT / "dpbook_course"}
ERRORS = (TypeError, ValueError, TraceError, objectives.NoGradientPath, Unsupported, ResultError, IndexError)


def unrelated(*arguments, **options):
    """A function that does something else."""
    return "nothing"


# By name; no argument takes all of them, and most take none.
BAD = {
    "None": None, "text": "text", "empty text": "", "True": True, "-1": -1, "0": 0, "1.5": 1.5, "nan": float("nan"),
    "inf": float("inf"), "1e30": 10**30, "complex": 1j, "list": [], "tuple": (1, 2, 3), "texts": ["a", "b"], "dict": {},
    "class": nn.Conv1d, "function": unrelated, "object": object(), "array": np.ones((2, 1, 16)),
    "scalar array": np.array(2), "wrong rank": torch.ones(2, 2, 2, 2, 2, 2),
    "integers": torch.ones(2, dtype=torch.long),
    "complex tensor": torch.ones(2, 1, 16, dtype=torch.complex64), "empty tensor": torch.ones(0, 1, 16),
}


@dataclass(frozen=True)
class Case:
    """A function or class, arguments that it takes, and what is done with the result.

    Attributes:
        good: makes the arguments anew.   use: called with the result; None if the call itself shows all.
    """

    call: Callable
    good: Callable[[], dict]
    use: Callable | None = None

    @property
    def name(self) -> str:
        module = self.call.__module__.removeprefix("dpbook_utils.").removeprefix("dpbook_course.")
        return f"{module}.{self.call.__qualname__}"


class Outcome(NamedTuple):
    """What came of one bad value: ``error`` is None if it was taken."""

    case: Case
    argument: str
    value: str
    error: Exception | None


def u0(batch: int = 2, dtype=torch.float32):
    return torch.randn(batch, 1, 16, dtype=dtype, generator=torch.Generator().manual_seed(0))


def velocity():
    return data.random_velocity(2, (8, 8), modes=2, seed=0)


def states():
    return torch.randn(2, 4, 1, 16, generator=torch.Generator().manual_seed(1))


def network(seed: int = 0):
    return networks.ConvResNet(1, 1, 1, width=2, num_blocks=1, seed=seed)


def chain():
    return Sequential(Additive(network()))


def objective():
    return objectives.Objective(Rollout(chain(), 2), losses.TrajectoryLoss(losses.every_step))


def batch():
    return {"u0": u0(), "reference": states()[:, :2]}


def with_optimizer():
    ours = objective()
    return {"objective": ours, "optimizer": torch.optim.Adam(ours.parameters(), lr=1e-3)}


def sampler():
    return data.Sampler(initial, {"viscosity": (0.01, 0.02)})


def initial(num_samples, generator, values):
    return data.random_fourier(num_samples, 16, modes=3, seed=generator)


def spectrum():
    return torch.ones(2, 3, 9)


def burgers():
    return Burgers(16, 1.0, 0.001)


@functools.cache
def flow():
    return wake.Wake((20, 10), 0.01)


def step(solver, state, **parameters):
    Rollout(solver, 1)(state, **parameters)


CHANNEL = {"num_points": (20, 10), "length": (10.0, 5.0), "centre": (2.5, 2.5)}
CASES = [
    Case(settings.reproducible, lambda: {"seed": 0}),
    # Networks and couplings
    Case(networks.ConvResNet, lambda: {"ndim": 1, "channels_in": 1, "channels_out": 1, "width": 2, "num_blocks": 1,
                                       "kernel_size": 3, "padding": networks.ZERO, "conditions": {"a": (0.0, 1.0)},
                                       "output_scale": 0.1, "seed": 0},
         lambda made: made(u0(), **dict.fromkeys(made.conditions, 1.0))),
    Case(networks.Ensemble, lambda: {"networks": [network(0), network(1)]}, lambda made: made(u0())),
    Case(networks.Ensemble.member, lambda: {"self": networks.Ensemble([network(0), network(1)]), "index": 0}),
    Case(networks.ConvResNet.forward, lambda: {"self": network(), "u": u0()}),
    Case(networks.num_members, lambda: {"chain": chain()}),
    *[Case(kind, lambda: {"network": network()}, lambda made: made(u0()))
      for kind in (Replace, Additive, Multiplicative)],
    Case(AdditiveRHS, lambda: {"solver": burgers(), "network": network()}, lambda made: made(u0(), viscosity=0.01)),
    Case(SolverParameter, lambda: {"solver": burgers(), "network": network(), "name": "force", "transform": torch.tanh},
         lambda made: made(u0(), viscosity=0.01)),
    # Noise and gradients
    Case(noise.GaussianNoise, lambda: {"sigma": 0.1}, lambda made: made(u0())),
    Case(noise.ShapedNoise, lambda: {"sigma": 0.1, "spectrum": torch.ones(9), "num_points": 16},
         lambda made: made(u0())),
    Case(noise.RandomWalkNoise, lambda: {"sigma": 0.1, "num_frames": 1}, lambda made: made(u0())),
    Case(noise.Perturbed, lambda: {"batches": data.Windows(states(), 2, 2, seed=0), "noise": noise.GaussianNoise(0.1),
                                   "seed": 0}, lambda made: made[0]),
    Case(noise.GaussianNoise.forward, lambda: {"self": noise.GaussianNoise(0.1), "u": u0()}),
    Case(gradients.Truncated, lambda: {"every": 2}),
    # Roll-outs and objectives
    Case(repeat, lambda: {"operator": chain(), "num_steps": 2}, lambda made: Rollout(made, 1)(u0())),
    Case(Rollout, lambda: {"step": chain(), "num_steps": 2, "gradient": gradients.FullGradient(), "record_after": 0,
                           "checkpoint": False}, lambda made: made(u0())),
    Case(Rollout.forward, lambda: {"self": Rollout(chain(), 2), "u": u0()}),
    Case(losses.every_step, lambda: {"num_steps": 2}),
    Case(losses.final_step, lambda: {"num_steps": 2}),
    Case(losses.TrajectoryLoss, lambda: {"weights": losses.every_step, "metric": losses.mse},
         lambda made: made(states(), states())),
    Case(losses.TrajectoryLoss.forward, lambda: {"self": losses.TrajectoryLoss(losses.every_step),
                                                 "trajectory": states(), "reference": states()}),
    Case(objectives.from_solver, lambda: {"solver": chain(), "detach": True},
         lambda made: objectives.Objective(Rollout(chain(), 2), losses.TrajectoryLoss(losses.every_step), made)(u0())),
    Case(objectives.Objective, lambda: {"rollout": Rollout(chain(), 2),
                                        "loss": losses.TrajectoryLoss(losses.every_step),
                                        "targets": objectives.from_batch}, lambda made: made(**batch())),
    Case(objectives.Objective.forward, lambda: {"self": objective(), **batch()}),
    # Training
    Case(loop.Gradients, lambda: {"objective": objective()}, lambda made: made(batch())),
    Case(TracedGradients, lambda: {"objective": objective()}),
    Case(loop.fit, lambda: {**with_optimizer(), "batches": [batch()], "num_updates": 1, "clip_norm": 1.0,
                                "schedule": None, "curriculum": {0: 1}, "checkpoint": None, "checkpoint_every": 1,
                                "trace": False, "progress": False}),
    Case(setups.Setup, lambda: {"num_steps": 2, "placement": losses.every_step, "gradient": gradients.FullGradient(),
                                "sigma": 0.0, "learning_rate": 1e-3, "clip_norm": 1.0, "batch_size": 2,
                                "curriculum": ((0.0, 1),)}, lambda made: made.objective(chain())(**batch())),
    Case(setups.warm_up, lambda: {"num_steps": 2, "shortest": 1}),
    Case(setups.cosine, lambda: {"optimizer": with_optimizer()["optimizer"], "budget": 2}),
    Case(setups.train, lambda: {"setup": setups.Setup(2), "objective": objective(), "batches": [batch()], "budget": 1,
                                "schedule": setups.cosine, "noise_seed": 0, "trace": False, "progress": False}),
    # Data
    Case(data.random_fourier, lambda: {"num_samples": 2, "num_points": 16, "modes": 3, "seed": 0, "decay": 0.0,
                                       "dtype": torch.float32}),
    Case(data.random_velocity, lambda: {"num_samples": 2, "num_points": (8, 8), "modes": 2, "seed": 0,
                                        "lengths": (1.0, 1.0), "dtype": torch.float32}),
    Case(data.cell_averages, lambda: {"u": u0(), "num_points": 4}),
    Case(data.simulate, lambda: {"step": chain(), "u0": u0(), "num_steps": 2, "warmup": 0}),
    Case(data.Sampler, lambda: {"initial": initial, "bounds": {"viscosity": (0.01, 0.02)},
                                "logarithmic": ("viscosity",), "dtype": torch.float32}, lambda made: made(2, 0, 0)),
    Case(data.Sampler.__call__, lambda: {"self": sampler(), "num_samples": 2, "seed": 0, "k": 0}),
    Case(data.Windows, lambda: {"trajectories": states(), "num_steps": 2, "batch_size": 2, "seed": 0},
         lambda made: made[0]),
    Case(data.Windows, lambda: {"trajectories": states(), "num_steps": 2, "batch_size": 2, "seeds": [0, 1]},
         lambda made: made[0]),
    Case(data.Fresh, lambda: {"solver": burgers(), "sampler": sampler(), "num_steps": 2, "batch_size": 2, "seed": 0,
                              "warmup": 0, "observe": None, "transform": None, "device": "cpu"}, lambda made: made[0]),
    # Evaluation and diagnostics
    Case(evaluation.predict, lambda: {"step": chain(), "trajectories": states(), "num_steps": 2}),
    *[Case(metric, lambda: {"trajectory": states(), "reference": states()})
      for metric in (evaluation.relative_l2, evaluation.correlation)],
    Case(evaluation.mean_over_horizon, lambda: {"error": torch.ones(2, 4), "num_steps": 2}),
    Case(evaluation.time_to_decorrelation, lambda: {"correlations": torch.ones(2, 4), "threshold": 0.8}),
    Case(evaluation.blow_up_step, lambda: {"trajectory": states(), "reference": states(), "factor": 10.0}),
    Case(evaluation.survival, lambda: {"blow_up_steps": torch.tensor([1, 2]), "num_steps": 3}),
    Case(evaluation.energy_spectrum, lambda: {"trajectory": states()}),
    Case(evaluation.log_spectral_distance, lambda: {"spectrum": spectrum(), "reference": spectrum()}),
    Case(evaluation.long_time_statistics, lambda: {"trajectory": states(), "skip": 0}),
    Case(diagnostics.gradient_growth, lambda: {"objective": objective(), "batch": batch(), "horizons": [1, 2]}),
    Case(diagnostics.lyapunov_exponents, lambda: {"step": chain(), "u0": u0(), "num_steps": 2, "num_exponents": 1,
                                                  "warmup": 0, "dt": 1.0}),
    Case(diagnostics.gradient_check, lambda: {"function": torch.sin, "inputs": {"input": u0(dtype=torch.float64)},
                                              "num_directions": 1, "seed": 0}),
    # Physics
    Case(Burgers, lambda: {"num_points": 16, "length": 1.0, "dt": 0.001, "advection": burgers().advection},
         lambda made: step(made, u0()[..., :made.state_shape[1]], viscosity=0.01)),
    Case(Burgers.forward, lambda: {"self": burgers(), "u": u0(), "viscosity": 0.01}),
    Case(AdvectionDiffusion, lambda: {"num_points": 16, "length": 1.0, "dt": 0.001, "advection": burgers().advection},
         lambda made: step(made, torch.ones(2, *made.state_shape), diffusivity=0.0)),
    Case(KuramotoSivashinsky, lambda: {"num_points": 16, "dt": 0.1,
                                       "integrator": KuramotoSivashinsky(16, 0.1).integrator, "num_substeps": 1}),
    Case(navier_stokes.NavierStokes, lambda: {"num_points": (8, 8), "length": (1.0, 1.0), "dt": 0.01,
                                              "advection": navier_stokes.semi_lagrangian}),
    *[Case(kind, lambda: {"num_points": (8, 8), "length": (1.0, 1.0)}, lambda made: made(velocity()))
      for kind in (projection.Projection, projection.Divergence)],
    Case(projection.vorticity, lambda: {"v": velocity(), "length": (1.0, 1.0)}),
    Case(obstacle.ChannelProjection, lambda: CHANNEL),
    Case(wake.Wake, lambda: {**CHANNEL, "dt": 0.01, "advection": navier_stokes.semi_lagrangian}),
    Case(wake.Forces, lambda: {"solver": flow()}),
    Case(wake.vorticity, lambda: {"v": velocity(), "dx": (0.1, 0.1)}),
    Case(trace, lambda: {"solver": burgers(), "example": u0(), "viscosity": 0.01}),
    # Pages
    Case(explore, lambda: {"view": "coupling", "name": "c", "root": None, "m": 8}),
    Case(Playground, lambda: {"num_steps": 4, "pde": "Burgers", "noise": 0.0}),
    Case(trainer, lambda: {"name": "a", "m": 1, "policy": "full", "system": "waves", "noise": 0, "lr": 0.003}),
    Case(export, lambda: {**with_optimizer(), "example": batch(), "library": Library(), "clip_norm": 1.0}),
]

# What arguments rightly take, although others do not: numbers where a number is meant, paths, functions of one's own.
_ACCEPTED = {
    "-1, 0": """
        rollout.Rollout record_after""",
    "-1, 0, 1.5, 1e30, scalar array": """
        data.initial.random_fourier decay;
        evaluation.time_to_decorrelation threshold; networks.ConvResNet output_scale""",
    "0": """
        explorer.playground.Playground noise; trainer_samples.trainer noise; networks.Ensemble.member index""",
    "0, 1.5, 1e30, scalar array": """
        setups.Setup sigma; noise.GaussianNoise sigma; noise.RandomWalkNoise sigma;
        noise.ShapedNoise sigma""",
    "0, scalar array": """
        data.fresh.Fresh seed; data.fresh.Fresh warmup; data.initial.random_fourier seed;
        data.initial.random_velocity seed; data.sampling.Sampler.__call__ k; data.sampling.Sampler.__call__ seed;
        data.trajectories.Windows seed; data.trajectories.simulate warmup; diagnostics.gradient_check seed;
        diagnostics.lyapunov_exponents warmup;
        evaluation.long_time_statistics skip; setups.train noise_seed; networks.ConvResNet num_blocks;
        networks.ConvResNet seed; noise.Perturbed seed; settings.reproducible seed""",
    "1.5": """
        physics.solver.Solver.forward viscosity; physics.trace.trace viscosity""",
    "1.5, 1e30, scalar array": """
        diagnostics.lyapunov_exponents dt; evaluation.blow_up_step factor;
        setups.Setup learning_rate; physics.advection_diffusion.AdvectionDiffusion dt;
        physics.advection_diffusion.AdvectionDiffusion length; physics.burgers.Burgers length;
        physics.kuramoto_sivashinsky.KuramotoSivashinsky dt; physics.navier_stokes.NavierStokes dt;
        physics.wake.Wake dt; training.fit clip_norm; web.export.export clip_norm""",
    "None, 1.5, 1e30, scalar array": """
        setups.Setup clip_norm""",
    "True": """
        setups.train progress; setups.train trace; objectives.from_solver detach;
        rollout.Rollout checkpoint; training.fit progress; training.fit trace""",
    "dict": """
        networks.ConvResNet conditions""",
    "empty tensor": """
        data.trajectories.cell_averages u""",
    "function": """
        physics.kuramoto_sivashinsky.KuramotoSivashinsky integrator; physics.navier_stokes.NavierStokes advection;
        physics.wake.Wake advection""",
    "integers": """
        data.initial.random_velocity lengths; evaluation.survival blow_up_steps;
        physics.navier_stokes.NavierStokes length; physics.navier_stokes.NavierStokes num_points;
        physics.projection.Divergence length; physics.projection.Projection length;
        physics.projection.vorticity length; physics.wake.vorticity dx""",
    "list": """
        data.sampling.Sampler logarithmic""",
    "scalar array": """
        data.fresh.Fresh batch_size; data.fresh.Fresh num_steps; data.initial.random_fourier modes;
        data.initial.random_fourier num_samples; data.initial.random_velocity modes;
        data.initial.random_velocity num_samples; data.sampling.Sampler.__call__ num_samples;
        data.trajectories.Windows batch_size; data.trajectories.Windows num_steps;
        data.trajectories.cell_averages num_points; data.trajectories.simulate num_steps;
        diagnostics.gradient_check num_directions; diagnostics.lyapunov_exponents num_exponents;
        diagnostics.lyapunov_exponents num_steps; evaluation.mean_over_horizon num_steps;
        evaluation.predict num_steps; evaluation.survival num_steps; setups.Setup batch_size;
        setups.Setup num_steps; setups.cosine budget; setups.train budget;
        setups.warm_up num_steps; setups.warm_up shortest; gradients.Truncated every;
        losses.every_step num_steps; losses.final_step num_steps; networks.ConvResNet channels_out;
        networks.ConvResNet width; physics.advection_diffusion.AdvectionDiffusion num_points;
        physics.burgers.Burgers num_points; physics.kuramoto_sivashinsky.KuramotoSivashinsky num_points;
        physics.kuramoto_sivashinsky.KuramotoSivashinsky num_substeps;
        rollout.Rollout num_steps; rollout.repeat num_steps;
        training.fit checkpoint_every; training.fit num_updates""",
    "text": """
        explorer.views.explore name; trainer_samples.trainer name; training.fit checkpoint""",
    "text, empty text": """
        trainer_samples.trainer worker""",
    "tuple": """
        data.trajectories.Windows seeds""",
    "wrong rank": """
        evaluation.energy_spectrum trajectory; evaluation.long_time_statistics trajectory; physics.wake.vorticity v""",
    "wrong rank, empty tensor": """
        noise.GaussianNoise.forward u""",
}
ACCEPTED = {argument.strip(): values for values, arguments in _ACCEPTED.items() for argument in arguments.split(";")}


def outcomes(cases: list[Case] = CASES) -> Iterator[Outcome]:
    """Every bad value in the place of every argument, one at a time."""
    for case in cases:
        for argument in case.good().keys() - {"self"}:
            for name, value in BAD.items():
                with tempfile.TemporaryDirectory() as folder, chdir(folder):  # "text" is a path, too
                    yield Outcome(case, argument, name, _error(case, {**case.good(), argument: value}))


def _error(case: Case, arguments: dict) -> Exception | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a warning is no refusal
            made = case.call(**arguments)
            if case.use is not None:
                case.use(made)
    except Exception as error:
        return error
    return None


def count(found: list[Outcome] | None = None) -> tuple[int, int]:
    """(inputs tried, inputs refused)."""
    found = list(outcomes()) if found is None else found
    return len(found), sum(outcome.error is not None for outcome in found)


def allowed(outcome: Outcome) -> bool:
    """May the argument take this value? ``None`` where it is the default, and what ``ACCEPTED`` says."""
    parameters = inspect.signature(outcome.case.call).parameters
    default = getattr(parameters.get(outcome.argument), "default", inspect.Parameter.empty)
    return accepted_by_name(outcome) or outcome.value == "None" and default is None


def accepted_by_name(outcome: Outcome) -> bool:
    return outcome.value in ACCEPTED.get(f"{outcome.case.name} {outcome.argument}", "").split(", ")


def raised_by_the_package(error: Exception) -> bool:
    """Is the last line of the traceback one of ours?"""
    return bool(PACKAGES & set(Path(traceback.extract_tb(error.__traceback__)[-1].filename).parents))


STORED = ROOT / "results" / "inputs.json"

if __name__ == "__main__":
    tried, refused = count()
    called = {case.name for case in CASES}
    STORED.write_text(json.dumps({"functions": len(called), "values": len(BAD), "tried": tried, "refused": refused},
                                 indent=1) + "\n", encoding="utf-8")
    print(f"{tried} bad inputs of {len(called)} functions and classes tried, {refused} refused")
