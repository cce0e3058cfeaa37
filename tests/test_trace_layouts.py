"""Recorded steps and updates against the eager ones, for inputs that lie in memory in every way.

Properties, tried on examples that hypothesis draws: always the same few in a normal run; ``DPBOOK_EXAMPLES=200`` tries
that many others of each, new ones every time.
"""

import functools
import os

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dpbook_utils.coupling import Additive, AdditiveRHS, Multiplicative
from dpbook_utils.gradients import FullGradient, NoSolverGradient, PhysicsPath, Pushforward, Truncated
from dpbook_utils.graphs.graph import canonical
from dpbook_utils.losses import TrajectoryLoss, every_step, final_step
from dpbook_utils.networks import ConvResNet
from dpbook_utils.objectives import Objective
from dpbook_utils.physics import navier_stokes
from dpbook_utils.physics.advection import central, interpolated, semi_lagrangian, upwind
from dpbook_utils.physics.advection_diffusion import AdvectionDiffusion
from dpbook_utils.physics.burgers import Burgers
from dpbook_utils.physics.kuramoto_sivashinsky import KuramotoSivashinsky, etd1, etdrk2
from dpbook_utils.physics.navier_stokes import NavierStokes
from dpbook_utils.physics.obstacle import ChannelDivergence, ChannelProjection
from dpbook_utils.physics.projection import Divergence, Projection
from dpbook_utils.physics.trace import TracedSolver, layouts
from dpbook_utils.physics.wake import Forces, Wake
from dpbook_utils.rollout import Rollout, Sequential
from dpbook_utils.training import Gradients
from dpbook_utils.update import TracedGradients

MANY = int(os.environ.get("DPBOOK_EXAMPLES", 0))


def examples(few):
    """As many examples as fit into a normal run, always the same; or many others."""
    return settings(max_examples=MANY or few, derandomize=not MANY, deadline=None, database=None,
                    suppress_health_check=list(HealthCheck))


def wake(advection):
    return Wake((20, 10), 0.05, advection=advection)


SOLVERS = {
    **{f"burgers, {name}": functools.partial(Burgers, 12, 1.0, 0.01, scheme)
       for name, scheme in {"central": central, "upwind": upwind, "semi-Lagrangian": semi_lagrangian,
                            "interpolated": interpolated}.items()},
    **{f"advection in {d}D, {name}": functools.partial(AdvectionDiffusion, (8, 6)[:d], (1.0, 2.0)[:d], 0.002, scheme)
       for d in (1, 2) for name, scheme in {"central": central, "upwind": upwind,
                                            "semi-Lagrangian": semi_lagrangian}.items()},
    "ks, etdrk2": functools.partial(KuramotoSivashinsky, 12, 0.1, etdrk2),
    "ks, etd1 in parts": functools.partial(KuramotoSivashinsky, 12, 0.1, etd1, 2),
    "navier-stokes, MacCormack": functools.partial(NavierStokes, (6, 4), (3.0, 2.0), 0.05, navier_stokes.mac_cormack),
    "navier-stokes, semi-Lagrangian": functools.partial(NavierStokes, (6, 4), (3.0, 2.0), 0.05,
                                                        navier_stokes.semi_lagrangian),
    "projection": functools.partial(Projection, (6, 4), (3.0, 2.0)),
    "divergence": functools.partial(Divergence, (6, 4), (3.0, 2.0)),
    "wake, semi-Lagrangian": functools.partial(wake, navier_stokes.semi_lagrangian),
    "wake, MacCormack": functools.partial(wake, navier_stokes.mac_cormack),
    "forces": lambda: Forces(wake(navier_stokes.semi_lagrangian)),
    "channel, projection": functools.partial(ChannelProjection, (20, 10)),
    "channel, divergence": functools.partial(ChannelDivergence, (20, 10)),
}
VALUES = {"viscosity": 0.03, "diffusivity": 0.02, "length": 15.0, "reynolds": 90.0, "local_viscosity": 0.02}
LAYOUTS = ["contiguous", "transposed", "sliced", "with short strides", "with long strides", "expanded"]


@functools.cache
def solver(name):
    return SOLVERS[name]()


@functools.cache
def traced(name):
    return TracedSolver(solver(name))


def randn(shape, dtype, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def laid_out(x, layout):
    """Expanded: the first sample for all."""
    return x[:1].expand(x.shape) if layout == "expanded" else layouts(x)[layout]


def parameters_of(solver, names, batch, dtype, seed):
    found = {}  # near these values, others at random
    for i, name in enumerate(names):
        random = randn((batch, *solver.parameter_shape(name)), dtype, seed + i + 1)
        found[name] = VALUES[name] * (1 + 0.1 * random.tanh()) if name in VALUES else 0.3 * random
    return found


def assert_close(expected, found, tolerance):
    assert expected.shape == found.shape and expected.dtype == found.dtype
    assert (expected - found).abs().max() <= tolerance * expected.abs().max()


def assert_the_step(name, batch, double, data):
    eager, dtype, seed = solver(name), torch.float64 if double else torch.float32, data.draw(st.integers(0, 99))
    u = 0.3 * randn((batch, *eager.state_shape), dtype, seed)
    optional = data.draw(st.lists(st.sampled_from(eager.optional), unique=True)) if eager.optional else []
    inputs = {"u": u, **parameters_of(eager, [*eager.required, *optional], batch, dtype, seed)}
    inputs = {key: laid_out(x, data.draw(st.sampled_from(LAYOUTS))) for key, x in inputs.items()}
    needed = data.draw(st.lists(st.sampled_from(list(inputs)), unique=True))
    eps = torch.finfo(dtype).eps
    leaves = [{key: move(x).detach().requires_grad_(key in needed) for key, x in inputs.items()}
              for move in (canonical, lambda x: x)]
    values = [step(**given) for step, given in zip((eager, traced(name)), leaves)]
    assert_close(*(value.detach() for value in values), 16 * eps)
    for layout in LAYOUTS if needed else ():
        g = laid_out(randn(values[0].shape, dtype, seed + 7), layout)
        expected, found = (
            torch.autograd.grad(value, [given[key] for key in needed], x, retain_graph=True, materialize_grads=True)
            for value, given, x in zip(values, leaves, (canonical(g), g)))
        for e, f in zip(expected, found, strict=True):
            assert_close(e, f, 1e-12 if double else 1e4 * eps)


LARGE = [name for name in SOLVERS if name.startswith(("wake", "forces", "channel", "navier"))]
draws = given(batch=st.sampled_from([1, 2, 3]), double=st.booleans(), data=st.data())


@pytest.mark.parametrize("name", [name for name in SOLVERS if name not in LARGE])
@examples(6)
@draws
def test_a_recorded_step_is_the_step_in_every_layout(name, batch, double, data):
    assert_the_step(name, batch, double, data)


@pytest.mark.parametrize("name", LARGE)
@examples(2)
@draws
def test_a_recorded_step_is_the_step_also_if_recording_takes_long(name, batch, double, data):
    assert_the_step(name, batch, double, data)


TRAINED = ["burgers, central", "burgers, semi-Lagrangian", "advection in 1D, semi-Lagrangian", "ks, etdrk2",
           "navier-stokes, semi-Lagrangian"]
COUPLINGS = [Additive, Multiplicative, AdditiveRHS]
POLICIES = [FullGradient(), Truncated(2), NoSolverGradient(), Pushforward(), PhysicsPath()]


@functools.cache
def objective(name, couple, policy, num_steps, checkpoint, recorded):
    step, channels = (traced if recorded else solver)(name), solver(name).state_shape[0]
    network = ConvResNet(channels, channels, len(solver(name).state_shape) - 1, width=4, num_blocks=1, output_scale=0.3)
    chain = couple(step, network.double()) if couple is AdditiveRHS else Sequential(step, couple(network.double()))
    rollout = Rollout(chain, num_steps, gradient=policy, checkpoint=checkpoint)
    return Objective(rollout, TrajectoryLoss(final_step if isinstance(policy, Pushforward) else every_step))


@functools.cache
def traced_gradients(objective):
    return TracedGradients(objective)


@examples(16)
@given(name=st.sampled_from(TRAINED), couple=st.sampled_from(COUPLINGS), policy=st.sampled_from(POLICIES),
       num_steps=st.sampled_from([1, 3]), checkpoint=st.booleans(), batch=st.sampled_from([1, 3]),
       layout=st.sampled_from(LAYOUTS), seed=st.integers(0, 99))
def test_a_recorded_training_is_the_training_in_every_layout(name, couple, policy, num_steps, checkpoint, batch,
                                                             layout, seed):
    eager = solver(name)
    if couple is AdditiveRHS and ("force" not in eager.optional or isinstance(policy, NoSolverGradient)):
        couple = Additive
    shape = (batch, num_steps, *eager.state_shape)
    tensors = {"u0": 0.3 * randn((batch, *eager.state_shape), torch.float64, seed),
               "reference": randn(shape, torch.float64, seed + 1),
               **parameters_of(eager, eager.required, batch, torch.float64, seed)}
    tensors = {key: laid_out(x, layout) for key, x in tensors.items()}
    arguments = (name, couple, policy, num_steps, checkpoint)
    right = Gradients(objective(*arguments, recorded=False))
    recorded = [Gradients(objective(*arguments, recorded=True))]
    if not checkpoint:
        recorded += [traced_gradients(x.objective) for x in (right, recorded[0])]
    expected = [right(tensors), *(w.grad.clone() for w in right.objective.parameters())]
    for gradients in recorded:
        found = [gradients(tensors), *(w.grad for w in gradients.objective.parameters())]
        for e, f in zip(expected, found, strict=True):
            assert_close(e, f, 1e-12)
