"""Gradient checks, growth of gradients, Lyapunov exponents: against closed forms and known constants."""

import math

import pytest
import torch
from torch import nn

from dpbook_utils.coupling import Additive, Replace
from dpbook_utils.diagnostics import gradient_check, gradient_growth, lyapunov_exponents
from dpbook_utils.gradients import Pushforward
from dpbook_utils.losses import TrajectoryLoss, every_step, final_step
from dpbook_utils.networks import ConvResNet, Ensemble
from dpbook_utils.objectives import Objective
from dpbook_utils.physics.burgers import Burgers
from dpbook_utils.physics.trace import trace
from dpbook_utils.rollout import Rollout, Sequential


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# Gradient check ------------------------------------------------------------------------------------------------------

def test_a_right_gradient_passes_for_every_input():
    solver = trace(Burgers(16, 1.0, 0.002), randn(2, 1, 16), viscosity=0.05)
    errors = gradient_check(solver, {"u": randn(2, 1, 16), "viscosity": torch.tensor([0.03, 0.05]).double(),
                                     "force": randn(2, 1, 16, seed=1)})
    assert set(errors) == {"u", "viscosity", "force"} and max(errors.values()) < 1e-8


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_a_right_gradient_passes_at_every_scale(scale):
    assert gradient_check(lambda x: torch.sin(x / scale) * x**2, {"x": scale * randn(20)})["x"] < 1e-8


class Wrong(torch.autograd.Function):
    """x^2 with a slope that is off by a given factor."""

    @staticmethod
    def forward(ctx, x, factor):
        ctx.save_for_backward(x)
        ctx.factor = factor
        return x**2

    @staticmethod
    def backward(ctx, g):
        return 2 * ctx.factor * ctx.saved_tensors[0] * g, None


@pytest.mark.parametrize("off", [1e-6, 1e-3, 1.0])
def test_a_wrong_gradient_is_measured(off):
    errors = gradient_check(lambda x, y: Wrong.apply(x, 1 + off) + y**3, {"x": randn(10), "y": randn(10, seed=1)})
    assert errors["x"] == pytest.approx(off, rel=0.01) and errors["y"] < 1e-8


def test_a_gradient_that_is_cut_has_error_one_and_one_that_is_zero_none():
    inputs = {"x": randn(5), "y": randn(5), "z": randn(5)}
    errors = gradient_check(lambda x, y, z: (x.detach() + y).sum() + 0 * z.sum(), inputs)
    assert errors["x"] == pytest.approx(1) and errors["y"] < 1e-8 and errors["z"] == 0


def test_gradient_check_refuses_what_it_cannot_check():
    with pytest.raises(TypeError, match="x is torch.float32.*double"):
        gradient_check(torch.sin, {"x": torch.ones(3)})
    with pytest.raises(ValueError, match="same at every call"):
        gradient_check(lambda x: x + torch.randn(3), {"x": randn(3)})
    with pytest.raises(ValueError, match="finite"):
        gradient_check(lambda x: x / 0, {"x": randn(3)})


# Growth of gradients -------------------------------------------------------------------------------------------------

class Scale(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor, dtype=torch.float64))

    def forward(self, u):
        return self.factor * u


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_gradients_of_a_linear_map_shrink_or_grow_as_its_powers(factor):
    """u_m = a^m u0, l = mean_x u_m^2: |dl/du0| = 2 a^2m |u0| / n,  dL/da = mean_b 2 m a^(2m-1) |u0_b|^2 / n."""
    objective = Objective(Rollout(Replace(Scale(factor)), 3), TrajectoryLoss(final_step))
    u0, horizons = randn(4, 1, 8), [1, 2, 4, 8]
    found = gradient_growth(objective, {"u0": u0, "reference": torch.zeros(4, 8, 1, 8).double()}, horizons)
    assert found.num_steps.tolist() == horizons and objective.rollout.num_steps == 3 and not u0.requires_grad
    for i, m in enumerate(horizons):
        norm = u0.flatten(1).norm(dim=1)
        assert torch.allclose(found.state[i], 2 * factor ** (2 * m) * norm / 8)
        assert torch.allclose(found.weights[i], (2 * m * factor ** (2 * m - 1) * norm**2 / 8).mean())


def test_each_member_of_an_ensemble_has_its_own_norms_and_a_cut_path_none():
    networks = [ConvResNet(1, 1, 1, width=4, num_blocks=1, seed=s).double() for s in (1, 2)]
    u0, reference = randn(3, 1, 8), randn(3, 4, 1, 8, seed=1)

    def growth(network, batch, placement=every_step, **options):
        objective = Objective(Rollout(Additive(network), 1, **options), TrajectoryLoss(placement))
        return gradient_growth(objective, batch, [1, 4])

    together = growth(Ensemble(networks), {"u0": torch.cat([u0, u0]), "reference": torch.cat([reference, reference])})
    for s, network in enumerate(networks):
        alone = growth(network, {"u0": u0, "reference": reference})
        assert torch.allclose(together.state[:, 3 * s:3 * s + 3], alone.state)
        assert torch.allclose(together.weights[:, s], alone.weights[:, 0])
    cut = growth(networks[0], {"u0": u0, "reference": reference}, final_step, gradient=Pushforward())
    assert (cut.state[0] > 0).all() and (cut.state[1] == 0).all() and (cut.weights > 0).all()


# Lyapunov exponents --------------------------------------------------------------------------------------------------

def test_exponents_of_a_linear_map_are_the_logarithms_of_its_eigenvalues():
    eigenvalues = torch.tensor([3.0, 1.5, 0.5, 0.1]).double()
    basis = randn(4, 4)
    matrix = basis @ torch.diag(eigenvalues) @ torch.linalg.inv(basis)
    zero = torch.zeros(2, 4).double()
    found = lyapunov_exponents(lambda u: u @ matrix.T, zero, 200, num_exponents=4, warmup=50, dt=0.5)
    assert torch.allclose(found, (eigenvalues.log() / 0.5).expand(2, 4), rtol=1e-8)


def test_exponent_of_the_logistic_map_is_ln_two():
    u0 = torch.linspace(0.1, 0.4, 50).double().view(50, 1)
    found = lyapunov_exponents(lambda u: 4 * u * (1 - u), u0, 1000, warmup=10)
    assert found.mean() == pytest.approx(math.log(2), rel=0.005)


def lorenz(u, dt=0.02):
    """One Runge-Kutta step of Lorenz-63, sigma = 10, rho = 28, beta = 8/3."""

    def rate(u):
        x, y, z = u.unbind(1)
        return torch.stack([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z], 1)

    k1 = rate(u)
    k2 = rate(u + dt / 2 * k1)
    k3 = rate(u + dt / 2 * k2)
    return u + dt / 6 * (k1 + 2 * k2 + 2 * k3 + rate(u + dt * k3))


def test_exponents_of_lorenz_63():
    """0.906, 0, -14.57 (Sprott 2003); the sum is the divergence -(10 + 1 + 8/3)."""
    found = lyapunov_exponents(lorenz, 5 + randn(200, 3), 750, num_exponents=3, warmup=400, dt=0.02).mean(0)
    assert found[0] == pytest.approx(0.906, rel=0.03)  # the standard error over the 200 trajectories is 0.9 %
    assert abs(found[1]) < 0.02
    assert found.sum() == pytest.approx(-41 / 3, rel=1e-3)


def test_exponents_pass_through_a_traced_solver_and_a_network():
    """Growth of the tangent, against finite differences of two roll-outs."""
    u0, viscosity = randn(2, 1, 16), torch.tensor([0.02, 0.04]).double()
    solver = trace(Burgers(16, 1.0, 0.002), u0, viscosity=viscosity)
    step = Sequential(solver, Additive(ConvResNet(1, 1, 1, width=4, num_blocks=1, output_scale=0.3).double()))
    found = lyapunov_exponents(step, u0, 5, viscosity=viscosity)
    tangent = torch.randn(2, 16, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    tangent = 1e-6 * (tangent / tangent.norm(dim=1, keepdim=True)).view(2, 1, 16)
    with torch.no_grad():
        ends = [Rollout(step, 5)(u0 + sign * tangent, viscosity=viscosity)[:, -1] for sign in (1, -1)]
    growth = (ends[0] - ends[1]).flatten(1).norm(dim=1) / 2e-6
    assert torch.allclose(found[:, 0], growth.log() / 5, rtol=1e-5)


def test_one_exponent_over_one_step_and_as_many_as_dimensions():
    matrix = torch.diag(torch.tensor([3.0, 2.0]).double())
    for k in (1, 2):
        found = lyapunov_exponents(lambda u: u @ matrix, randn(4, 2), 1, num_exponents=k, warmup=60)
        assert torch.allclose(found, torch.tensor([3.0, 2.0]).double()[:k].log().expand(4, k), rtol=1e-8)


def test_exponents_are_refused_where_there_are_none():
    with pytest.raises(ValueError, match=r"num_exponents is 4.*1 \.\.\. 3"):
        lyapunov_exponents(lorenz, randn(1, 3), 10, num_exponents=4)
    with pytest.raises(ValueError, match=r"num_exponents is 0.*1 \.\.\. 3 exponents"):
        lyapunov_exponents(lorenz, randn(1, 3), 10, num_exponents=0)
    with pytest.raises(ValueError, match="num_steps 0.*at least 1 step"):
        lyapunov_exponents(lorenz, randn(1, 3), 0)
    with pytest.raises(ValueError, match="left the finite numbers"):
        lyapunov_exponents(lambda u: u**3, 10 + randn(1, 3), 50)
