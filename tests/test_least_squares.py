"""Updates from the whole Jacobian against what is known of them: ridge, Newton, singular values, differences."""

import functools

import pytest
import torch
from torch import nn

import dpbook_utils as dp
from dpbook_utils.least_squares import Update, each, loss_of
from dpbook_utils.losses import relative_l2

DOUBLE = torch.float64


class Linear(nn.Module):
    """Residuals A w - b with one equation a sample; the weights have the axis of members."""

    def __init__(self, p=3, start=0.0):
        super().__init__()
        self.w = nn.Parameter(torch.full((1, p), start, dtype=DOUBLE))

    def forward(self, a, b):
        return (a * self.w).sum(1, keepdim=True) - b


def system(n=8, p=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(n, p, dtype=DOUBLE, generator=generator), torch.randn(n, 1, dtype=DOUBLE, generator=generator))


def falling(losses):
    """Up to rounding, where the smallest one has been reached."""
    return all(after <= before * (1 + 1e-9) for before, after in zip(losses, losses[1:]))


def moved(kind, a, b, start=0.0, **options):
    residuals = Linear(a.shape[1], start)
    loss = kind(residuals, **options)(a=a, b=b)
    assert loss == pytest.approx(float((a.sum(1, keepdim=True) * start - b).square().mean()))
    return residuals.w.detach()[0] - start


@pytest.mark.parametrize("n", [2, 8])
def test_levenberg_marquardt_on_a_linear_problem_is_the_ridge_solution(n):
    a, b = system(n)
    small = a.T @ a if n >= 3 else a @ a.T
    damping = 0.3 * small.diagonal().mean()
    ridge = torch.linalg.solve(a.T @ a + damping * torch.eye(3, dtype=DOUBLE), a.T @ b)[:, 0]
    assert torch.allclose(moved(dp.LevenbergMarquardt, a, b, damping=0.3), ridge, rtol=1e-10)


@pytest.mark.parametrize("start", [0.0, 5.0])
def test_gauss_newton_on_a_linear_problem_is_newton(start):
    """From anywhere to the solution in one step; half of it with a rate of 0.5."""
    a, b = system()
    best = torch.linalg.lstsq(a, b).solution[:, 0]
    for rate in (1.0, 0.5):
        step = moved(dp.GaussNewton, a, b, start, rate=rate)
        hessian, gradient = a.T @ a, a.T @ (start * a.sum(1, keepdim=True) - b)
        assert torch.allclose(step, -rate * torch.linalg.solve(hessian, gradient)[:, 0], rtol=1e-8)
        assert torch.allclose(step, rate * (best - start), rtol=1e-8)


def test_gauss_newton_with_fewer_residuals_takes_the_smallest_step_to_zero():
    a, b = system(2, 5)
    assert torch.allclose(moved(dp.GaussNewton, a, b), (torch.linalg.pinv(a) @ b)[:, 0], rtol=1e-8)


@pytest.mark.parametrize("n, p", [(6, 3), (3, 6)])
def test_the_half_inverse_takes_the_root_of_every_singular_value(n, p):
    generator = torch.Generator().manual_seed(1)
    u, _ = torch.linalg.qr(torch.randn(n, 3, dtype=DOUBLE, generator=generator))
    v, _ = torch.linalg.qr(torch.randn(p, 3, dtype=DOUBLE, generator=generator))
    sigma = torch.tensor([4.0, 0.25, 0.01], dtype=DOUBLE)
    b = torch.randn(n, 1, dtype=DOUBLE, generator=generator)
    expected = v @ ((u.T @ b)[:, 0] / sigma.sqrt())
    assert torch.allclose(moved(dp.HalfInverse, (u * sigma) @ v.T, b), expected, rtol=1e-6)
    cut = v[:, :2] @ ((u.T @ b)[:2, 0] / sigma[:2].sqrt())
    assert torch.allclose(moved(dp.HalfInverse, (u * sigma) @ v.T, b, truncation=0.01), cut, rtol=1e-6)


class Cubic(Linear):
    """A quarter of the step overshoots: the loss says so."""

    def forward(self, a, b):
        return super().forward(a, b) + 50 * (a * self.w).sum(1, keepdim=True)**3


def test_levenberg_marquardt_takes_a_step_back_and_learns_its_damping():
    a, b = system()
    good = dp.LevenbergMarquardt(Linear(), damping=0.1)
    good(a=a, b=b)
    assert good.damping == pytest.approx(0.1 / 3) or good.damping == 0.1
    bad = dp.LevenbergMarquardt(Cubic(), damping=1e-9)
    losses = [bad(a=a, b=100 * b) for _ in range(12)]
    assert falling(losses) and losses[1] == pytest.approx(losses[0]), "the first is taken back"
    for _ in range(60):
        good(a=a, b=b)
    assert good.damping >= 1e-10, "the solve stays one"
    fixed = dp.LevenbergMarquardt(Cubic(), damping=1e-9, adapt=1)
    fixed(a=a, b=100 * b)
    assert fixed.damping == 1e-9 and fixed(a=a, b=100 * b) > losses[0]


@functools.cache
def problem(traced=True):
    """Residuals of a Burgers solver with a network after it, over two steps, and a batch."""
    P = dp.Burgers(16, 16.0, dt=0.1)
    u0 = dp.random_fourier(3, 16, modes=3, seed=0).double()
    viscosity = torch.tensor([0.1, 0.2, 0.4], dtype=DOUBLE)
    if traced:
        P = dp.trace(P, u0, viscosity=viscosity)
    network = dp.ConvResNet(1, 1, 1, width=4, num_blocks=1, conditions={"viscosity": (0.2, 0.1)},
                            output_scale=0.3, seed=0).double()
    objective = dp.Setup(2).objective(dp.Sequential(P, dp.Additive(network)))
    batch = {"u0": u0, "reference": torch.stack([0.9 * u0, 0.8 * u0], 1), "viscosity": viscosity}
    return objective, batch


def test_residuals_are_the_objective_s():
    objective, batch = problem()
    residuals = dp.Residuals(objective)
    found = residuals(**batch)
    assert found.shape == (3, 32)
    assert loss_of(found.detach()) == pytest.approx(float(objective(**batch).detach()), rel=1e-12)
    final = dp.Objective(objective.rollout, dp.TrajectoryLoss(dp.final_step))
    assert loss_of(dp.Residuals(final)(**batch).detach()) == pytest.approx(float(final(**batch).detach()), rel=1e-12)


def test_the_jacobian_of_a_traced_chain_is_that_of_differences_and_gives_the_gradient():
    objective, batch = problem()
    residuals = dp.Residuals(objective)
    r, J = dp.jacobian(residuals, **batch)
    weights = list(residuals.parameters())
    assert r.shape == (3, 32) and J.shape == (96, sum(w.numel() for w in weights))
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(objective(**batch), weights)])
    assert torch.allclose(2 / 3 * J.T @ r.flatten(), gradient, rtol=1e-9, atol=1e-14)
    direction = torch.randn(J.shape[1], dtype=DOUBLE, generator=torch.Generator().manual_seed(0))
    ends = []
    for sign in (1, -1):
        update = Update(residuals, 1e-6)
        update.take(sign * direction)
        ends.append(residuals(**batch).detach().flatten())
        update.take(-sign * direction)
    assert torch.allclose(J @ direction, (ends[0] - ends[1]) / 2e-6, rtol=1e-5, atol=1e-8)


def test_the_jacobian_of_single_precision_is_close_to_that_of_double():
    objective, batch = problem()
    _, J = dp.jacobian(dp.Residuals(objective), **batch)
    network = objective.rollout.step[-1].network
    try:
        network.float()
        single = {name: x.float() for name, x in batch.items()}
        r, found = dp.jacobian(dp.Residuals(objective), **single)
    finally:
        network.double()
    assert r.dtype == found.dtype == DOUBLE and (found - J).norm() < 1e-5 * J.norm()


def test_values_and_jacobians_of_many_samples():
    x = torch.randn(4, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))
    values, J = each(lambda x: torch.stack([x[:, 0] * x[:, 1], x[:, 2]**2], 1), x)
    expected = torch.zeros(4, 2, 3, dtype=DOUBLE)
    expected[:, 0, 0], expected[:, 0, 1], expected[:, 1, 2] = x[:, 1], x[:, 0], 2 * x[:, 2]
    assert values.shape == (4, 2) and torch.allclose(J, expected)


@pytest.mark.parametrize("kind", [dp.GaussNewton, dp.HalfInverse, dp.LevenbergMarquardt])
def test_updates_lower_the_loss_of_a_chain(kind):
    objective, batch = problem()
    residuals = dp.Residuals(objective)
    start = [w.detach().clone() for w in residuals.parameters()]
    update = kind(residuals, **({"rate": 0.05} if kind is not dp.LevenbergMarquardt else {}))
    losses = [update(**batch) for _ in range(4)]
    with torch.no_grad():
        for w, old in zip(residuals.parameters(), start):
            w.copy_(old)
    assert falling(losses) and losses[-1] < 0.9 * losses[0]


# What cannot be done is told ------------------------------------------------------------------------------------------

def test_a_loss_that_is_no_sum_of_squares_is_refused():
    objective, _ = problem()
    other = dp.Objective(objective.rollout, dp.TrajectoryLoss(dp.every_step, relative_l2))
    with pytest.raises(ValueError, match="whose loss is no sum of squares; give TrajectoryLoss"):
        dp.Residuals(other)
    with pytest.raises(TypeError, match="objective is a Rollout; give an Objective"):
        dp.Residuals(objective.rollout)


class Squares(Linear):
    def forward(self, a, b):
        return super().forward(a, b).square().mean()


@pytest.mark.parametrize("kind", [dp.GaussNewton, dp.HalfInverse, dp.LevenbergMarquardt])
def test_what_gives_no_residuals_is_refused(kind):
    a, b = system()
    with pytest.raises(ValueError, match=r"\(samples, residuals\) with at least one of each, not their squares"):
        kind(Squares())(a=a, b=b)
    with pytest.raises(ValueError, match="at least one of each"):
        kind(Linear())(a=a[:0], b=b[:0])
    with pytest.raises(TypeError, match="residuals is the function loss_of; give a module"):
        kind(loss_of)


def test_a_jacobian_that_is_not_finite_is_told():
    a, b = system()
    a[3, 1] = float("nan")
    with pytest.raises(dp.NoUpdate, match="the residuals of sample 3 are not finite"):
        dp.GaussNewton(Linear())(a=a, b=b)

    class Root(Linear):
        def forward(self, a, b):
            return (a * self.w).sum(1, keepdim=True).abs().sqrt()

    with pytest.raises(dp.NoUpdate, match="the residuals are finite, their Jacobian is not"):
        dp.LevenbergMarquardt(Root())(a=system()[0], b=b)


def test_a_singular_jacobian_is_told():
    a, b = system()
    a[:, 2] = a[:, 1]
    with pytest.raises(dp.NoUpdate, match="the Jacobian is singular: some change of the 3 weights"):
        dp.GaussNewton(Linear(), truncation=0)(a=a, b=b)
    assert torch.isfinite(moved(dp.GaussNewton, a, b)).all(), "truncated"
    for kind in (dp.GaussNewton, dp.LevenbergMarquardt):
        with pytest.raises(dp.NoUpdate, match="no residual depends on any weight"):
            kind(Linear())(a=0 * a, b=b)


def test_a_batch_that_is_too_small_is_told():
    a, b = system(2)
    with pytest.raises(ValueError, match="2 residuals for 3 weights: with truncation=0 there must be at least as many"):
        dp.GaussNewton(Linear(), truncation=0)(a=a, b=b)


def test_networks_that_cannot_be_copied_for_each_sample_are_refused():
    a, b = system()
    plain = nn.Sequential(nn.Linear(3, 2, dtype=DOUBLE))
    plain.forward = lambda a, b: plain[0](a) - b
    with pytest.raises(ValueError, match="a leading axis of one member"):
        dp.jacobian(plain, a=a, b=b)

    class Mixed(Linear):
        def forward(self, a, b):  # the weights are no group for each sample
            return (a * self.w.mean(0)).sum(1, keepdim=True) + self.w.shape[0] - b

    with pytest.raises(ValueError, match="must count members, each with its own group"):
        dp.jacobian(Mixed(), a=a, b=b)


@pytest.mark.parametrize("given", [{"rate": 0}, {"rate": "fast"}, {"truncation": -1}])
def test_arguments_are_checked(given):
    with pytest.raises((TypeError, ValueError), match=f"GaussNewton: {next(iter(given))} is"):
        dp.GaussNewton(Linear(), **given)
    with pytest.raises(ValueError, match="LevenbergMarquardt: damping is"):
        dp.LevenbergMarquardt(Linear(), damping=0)


# Slips ----------------------------------------------------------------------------------------------------------------

def residuals(network=None, **options):
    network = dp.ConvResNet(1, 1, 1, width=2, num_blocks=1) if network is None else network
    return dp.Residuals(dp.Objective(dp.Rollout(dp.Sequential(dp.Additive(network)), 2, **options),
                                     dp.TrajectoryLoss(dp.every_step)))


def states(batch=3, steps=None):
    u = torch.randn(batch, *(() if steps is None else (steps,)), 1, 8, generator=torch.Generator().manual_seed(0))
    return 0.1 * u


@pytest.mark.parametrize("shape", [(1, 2, 1, 8), (3, 2, 2, 8), (3, 2, 1, 1)])
def test_a_reference_is_not_repeated_to_fit(shape):
    with pytest.raises(ValueError, match=r"Residuals: the trajectory has shape .*, the reference .*; both are"):
        residuals()(u0=states(), reference=torch.zeros(shape))


def test_a_network_that_stands_in_the_chain_twice_is_refused_and_left_as_it_is():
    network = dp.ConvResNet(1, 1, 1, width=2, num_blocks=1)
    before = [w.detach().clone() for w in network.parameters()]
    for step in (dp.Sequential(dp.Additive(network), dp.Additive(network)), dp.repeat(dp.Additive(network), 2)):
        twice = dp.Residuals(dp.Objective(dp.Rollout(step, 1), dp.TrajectoryLoss(dp.every_step)))
        if len(list(twice.named_parameters(remove_duplicate=False))) > len(before):
            with pytest.raises(ValueError, match="a network stands in it more than once, .* let Rollout repeat"):
                dp.GaussNewton(twice)(u0=states(), reference=states(steps=1))
    assert all(torch.equal(w, then) for w, then in zip(network.parameters(), before, strict=True))


class Scale(nn.Module):
    """Its weight has a leading axis of one, which counts no members."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.full((1,), 0.5))

    def forward(self, u):
        return u * self.w


def test_weights_that_as_copies_act_along_a_states_axis_are_refused():
    """With as many samples as cells, a copy for each sample passes for one for each cell."""
    with pytest.raises(ValueError, match="a copy of weights changes several samples"):
        dp.jacobian(residuals(Scale()), u0=states(8), reference=states(8, 2))
    r, J = dp.jacobian(residuals(), u0=states(8), reference=states(8, 2))  # a network of as many samples as cells
    assert r.shape == (8, 16) and len(J) == r.numel()


def test_networks_that_are_frozen_in_parts_are_refused_and_whole_ones_stay():
    parts = dp.ConvResNet(1, 1, 1, width=2, num_blocks=1)
    next(parts.parameters()).requires_grad_(False)
    with pytest.raises(ValueError, match="some weights of a network are trained and others frozen"):
        dp.jacobian(residuals(parts), u0=states(), reference=states(steps=2))
    held = dp.ConvResNet(1, 1, 1, width=2, num_blocks=1, seed=1).requires_grad_(False)
    free = dp.ConvResNet(1, 1, 1, width=2, num_blocks=1)
    step = dp.Sequential(dp.Additive(held), dp.Additive(free))
    ours = dp.Residuals(dp.Objective(dp.Rollout(step, 2), dp.TrajectoryLoss(dp.every_step)))
    assert dp.jacobian(ours, u0=states(), reference=states(steps=2))[1].shape[1] == sum(
        w.numel() for w in free.parameters())


@pytest.mark.parametrize("slip, message", [
    (lambda: dp.jacobian(None), "jacobian: residuals is None; give a module"),
    (lambda: dp.jacobian(dp.Residuals), "residuals is the class Residuals; give a module"),
    (lambda: dp.jacobian(residuals(checkpoint=True), u0=states(), reference=states(steps=2)), "is checkpointed, which"),
    (lambda: dp.GaussNewton(residuals(), truncation=1.0), "GaussNewton: truncation is 1.0; give less than 1"),
    (lambda: dp.LevenbergMarquardt(residuals(), adapt=0.5), "adapt is 0.5; give a number of at least 1")])
def test_slips_are_named(slip, message):
    with pytest.raises((TypeError, ValueError), match=message):
        slip()
