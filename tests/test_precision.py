"""A float64 computation is one: no value in it has gone through float32, and the losses are right to rounding."""

from fractions import Fraction
from math import pi, sqrt

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dpbook_utils import evaluation
from dpbook_utils.coupling import Additive, Multiplicative
from dpbook_utils.data import Fresh, Sampler, Windows, cell_averages, random_fourier, random_velocity
from dpbook_utils.diagnostics import gradient_check, gradient_growth, lyapunov_exponents
from dpbook_utils.losses import TrajectoryLoss, at_steps, every_step, final_step, mse, relative_l2
from dpbook_utils.networks import PERIODIC, REPLICATE, ZERO, ConvResNet, Ensemble
from dpbook_utils.noise import GaussianNoise, RandomWalkNoise, ShapedNoise
from dpbook_utils.objectives import Objective, from_input, from_solver
from dpbook_utils.physics import exact, projection, wake
from dpbook_utils.physics.advection import central, interpolated, semi_lagrangian, upwind
from dpbook_utils.physics.advection_diffusion import AdvectionDiffusion
from dpbook_utils.physics.burgers import Burgers
from dpbook_utils.physics.kuramoto_sivashinsky import KuramotoSivashinsky, etd1, etdrk2
from dpbook_utils.physics.navier_stokes import NavierStokes, mac_cormack
from dpbook_utils.physics.navier_stokes import semi_lagrangian as semi_lagrangian_2d
from dpbook_utils.physics.obstacle import ChannelDivergence, ChannelProjection
from dpbook_utils.rollout import Rollout, Sequential, repeat


class Lowered(TorchDispatchMode):
    """Notes every operation that takes or gives a value which is no whole number in less than double precision."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        low = [x for x in tree_leaves((args, kwargs, result)) if isinstance(x, torch.Tensor)
               and x.dtype in (torch.float16, torch.bfloat16, torch.float32, torch.complex64)]
        if any(not torch.equal(x, x.round() if not x.is_complex() else x.real.round() + 0j) for x in low):
            self.found.append(str(function))
        return result


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


U, U2, V = 0.3 * random(2, 1, 16), 0.3 * random(2, 1, 16, 8), 0.1 * random(2, 2, 16, 8)
NU = torch.tensor([0.1, 0.2], dtype=torch.float64)
TRAJECTORY, REFERENCE = random(2, 5, 1, 8), random(2, 5, 1, 8, seed=1)
X = exact.cell_centres(16, 1.0)
SOLVER = Burgers(16, 1.0, 0.001)
WAKE = wake.Wake((40, 20), 0.01)
FLOW = 0.1 * random(2, 2, 40, 20)
SAMPLER = Sampler(lambda n, rng, values: random_fourier(n, 16, modes=3, seed=rng, dtype=torch.float64),
                  {"viscosity": (0.01, 0.05), "amplitude": 0.3}, ("viscosity",), dtype=torch.float64)


def network(ndim=1, padding=PERIODIC, members=1):
    networks = [ConvResNet(ndim, 1, 1, conditions={"viscosity": (0.3, 0.7), "mask": (0.1, 0.3, 1)}, padding=padding,
                           width=4, num_blocks=1, seed=seed).double() for seed in range(members)]
    return networks[0] if members == 1 else Ensemble(networks)


def with_gradient(operator, u, **parameters):
    """The value and, backwards, everything that autograd does."""
    leaves = {name: value.clone().requires_grad_() if isinstance(value, torch.Tensor) else value
              for name, value in {"u": u, **parameters}.items()}
    value = operator(leaves.pop("u"), **leaves)
    value.sum().backward()
    return value


def objective(targets, loss=every_step, metric=None):
    step = Sequential(GaussianNoise(0.1), SOLVER, Additive(network()), Multiplicative(network()))
    loss = TrajectoryLoss(loss) if metric is None else TrajectoryLoss(loss, metric)
    return Objective(Rollout(step, 3), loss, *targets)(
        U, random(2, 3, 1, 16), viscosity=0.1, mask=random(2, 1, 16))


SOLVERS = {
    **{f"burgers {type(scheme).__name__}": lambda scheme=scheme: with_gradient(
        Burgers(16, 0.7, 1e-4, scheme), U, viscosity=NU, force=U, local_viscosity=U.abs(),
        **{"interpolation": random(2, 4, 16)} if scheme is interpolated else {})
       for scheme in (central, upwind, semi_lagrangian, interpolated)},
    **{f"advection {type(scheme).__name__} {u.ndim - 2}D": lambda scheme=scheme, u=u, c=c, n=n, length=length:
       with_gradient(AdvectionDiffusion(n, length, 1e-4, scheme), u, diffusivity=NU, velocity=c, force=u)
       for scheme in (central, upwind, semi_lagrangian)
       for u, c, n, length in ((U, random(2), 16, 0.7), (U2, random(2, 2), (16, 8), (0.7, 0.3)))},
    **{f"ks {integrator.__name__}": lambda integrator=integrator: with_gradient(
        KuramotoSivashinsky(16, 0.1, integrator, 2), U, length=torch.tensor([20.1, 22.3], dtype=torch.float64))
       for integrator in (etd1, etdrk2)},
    **{f"navier-stokes {scheme.__name__}": lambda scheme=scheme: with_gradient(
        NavierStokes((16, 8), (0.7, 0.3), 1e-3, scheme), V, viscosity=NU, force=V)
       for scheme in (mac_cormack, semi_lagrangian_2d)},
    **{f"wake {scheme.__name__}": lambda scheme=scheme: with_gradient(
        wake.Wake((40, 20), 0.01, advection=scheme), FLOW, reynolds=100 * NU, force=FLOW)
       for scheme in (mac_cormack, semi_lagrangian_2d)},
    "projection": lambda: with_gradient(projection.Projection((16, 8), (0.7, 0.3)), V),
    "divergence": lambda: with_gradient(projection.Divergence((16, 8), (0.7, 0.3)), V),
    "vorticity": lambda: projection.vorticity(V, (0.7, 0.3)),
    "wake start": lambda: WAKE.start(random(2)),
    "wake forces": lambda: with_gradient(wake.Forces(WAKE), FLOW, reynolds=100.0),
    "wake vorticity": lambda: wake.vorticity(FLOW, WAKE.dx),
    "wake restrict": lambda: WAKE.restrict(random(2, 2, 80, 40)),
    "channel projection": lambda: with_gradient(ChannelProjection((40, 20)), FLOW),
    "channel divergence": lambda: with_gradient(ChannelDivergence((40, 20)), FLOW),
    "fourier mode": lambda: exact.FourierMode((2 * pi,), 0.1, (0.3,), mean=0.1)(X, 0.3),
    "cole-hopf": lambda: exact.ColeHopf(2 * pi, 0.1, mean=0.3)(X, 0.3),
    "sawtooth": lambda: exact.Sawtooth(1.0, 1.0, 0.3)(X, 0.3),
    "taylor-green": lambda: exact.TaylorGreen((2 * pi, 2 * pi), 0.1)(exact.lower_faces((8, 8), (1.0, 1.0)), 0.3),
    "growing mode": lambda: exact.GrowingMode(50.0, 3)(X, 0.3),
}
METRICS = {
    **{f"{name} {metric.__name__}": lambda placement=placement, metric=metric: TrajectoryLoss(placement, metric)(
        TRAJECTORY, REFERENCE) for metric in (relative_l2, mse)
       for name, placement in (("every", every_step), ("final", final_step), ("some", at_steps(1, 2, 4)))},
    "correlation": lambda: evaluation.correlation(TRAJECTORY, REFERENCE),
    "decorrelation": lambda: evaluation.survival(
        evaluation.time_to_decorrelation(evaluation.correlation(TRAJECTORY, REFERENCE)), 5),
    "blow-up": lambda: evaluation.survival(evaluation.blow_up_step(TRAJECTORY, REFERENCE), 5),
    "spectra": lambda: evaluation.log_spectral_distance(*map(evaluation.energy_spectrum, (TRAJECTORY, REFERENCE))),
    "spectrum 2D": lambda: evaluation.energy_spectrum(V[:, None]),
    "statistics": lambda: evaluation.long_time_statistics(TRAJECTORY, 1),
}
REST = {
    **{f"network {ndim}D {padding!r} {members}": lambda ndim=ndim, padding=padding, members=members: with_gradient(
        network(ndim, padding, members), *((U, U2)[ndim - 1:ndim]), viscosity=NU, mask=(U, U2)[ndim - 1])
       for ndim in (1, 2) for padding in (PERIODIC, REPLICATE, ZERO) for members in (1, 2)},
    "shaped noise": lambda: ShapedNoise(0.1, random(9).abs(), 16).train()(U),
    "random walk": lambda: RandomWalkNoise(0.1, 3).train()(random(2, 3, 8)),
    **{f"objective {k}": lambda targets=targets: objective(targets).backward()
       for k, targets in enumerate([(), (from_input,), (from_solver(SOLVER, detach=False),)])},
    "random functions": lambda: random_fourier(2, 16, modes=3, seed=0, decay=0.7, dtype=torch.float64),
    "random velocities": lambda: random_velocity(2, (16, 8), modes=3, seed=0, dtype=torch.float64),
    "fresh": lambda: Fresh(repeat(SOLVER, 2), SAMPLER, 3, 4, 0, observe=lambda u: cell_averages(u, 8))[1],
    "windows": lambda: Windows(TRAJECTORY, 3, 4, 0, viscosity=0.1)[0],
    "lyapunov": lambda: lyapunov_exponents(SOLVER, U, 3, num_exponents=2, dt=0.1, viscosity=0.1),
    "gradient growth": lambda: gradient_growth(Objective(Rollout(Sequential(
        SOLVER, Additive(ConvResNet(1, 1, 1).double())), 3), TrajectoryLoss(every_step)),
        {"u0": U, "reference": random(2, 3, 1, 16), "viscosity": 0.1}, [1, 3]),
    "gradient check": lambda: gradient_check(SOLVER, {"u": U, "viscosity": NU}),
}
CASES = {**SOLVERS, **METRICS, **REST}


@pytest.mark.parametrize("name", CASES)
def test_no_value_goes_through_less_than_double_precision(name):
    if name.startswith(("network", "objective", "gradient growth")):
        torch.set_default_dtype(torch.float64)  # initial weights are drawn in the default precision
    try:
        with Lowered() as lowered:
            result = CASES[name]()
    finally:
        torch.set_default_dtype(torch.float32)
    assert not lowered.found
    tensors = [x for x in tree_leaves(result) if isinstance(x, torch.Tensor)]
    assert all(x.dtype in (torch.float64, torch.long, torch.int, torch.bool) for x in tensors)


def test_the_watch_sees_a_constant_in_single_precision():
    for spoiled in (lambda: U * torch.tensor(0.1), lambda: U + torch.full((16,), 1 / 3),
                    lambda: torch.fft.fft(U) * torch.tensor(0.5j), lambda: U @ torch.linspace(0, 1, 16).to(U)):
        with Lowered() as lowered:
            spoiled()
        assert lowered.found
    with Lowered() as lowered:
        U * torch.tensor(2.0)  # exact
    assert not lowered.found


@pytest.mark.parametrize("num_steps", [1, 2, 3, 5, 7, 12])
@pytest.mark.parametrize("placement", [every_step, final_step, at_steps(1)], ids=["every", "final", "first"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_losses_are_right_to_rounding(num_steps, placement, dtype):
    """In exact rational numbers; relative_l2 with its square roots in double precision."""
    u, v = (random(1, num_steps, 2, 3, seed=seed).to(dtype) for seed in (2, 3))
    steps = {every_step: range(num_steps), final_step: [num_steps - 1]}.get(placement, [0])

    def fraction(x):
        return [[Fraction(value) for value in state] for state in x[0].flatten(1).tolist()]

    squares = [sum((a - b)**2 for a, b in zip(*pair)) for pair in zip(fraction(u), fraction(v))]
    sizes = [sum(b * b for b in state) for state in fraction(v)]
    expected = float(sum(squares[k] / 6 for k in steps) / len(steps))
    relative = sum(sqrt(squares[k] / sizes[k]) for k in steps) / len(steps)
    tolerance = 3 * torch.finfo(dtype).eps
    assert float(TrajectoryLoss(placement)(u, v)) == pytest.approx(expected, rel=tolerance, abs=0)
    assert float(TrajectoryLoss(placement, relative_l2)(u, v)) == pytest.approx(relative, rel=tolerance, abs=0)


def test_placements_do_not_depend_on_the_default_precision():
    expected = [torch.full((3,), 1 / 3, dtype=torch.float64), torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)]
    for default in (torch.float32, torch.float64, torch.float16):
        torch.set_default_dtype(default)
        try:
            assert all(map(torch.equal, (every_step(3), final_step(3)), expected))
        finally:
            torch.set_default_dtype(torch.float32)
