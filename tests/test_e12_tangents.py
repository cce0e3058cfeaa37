"""E12, supervision of the Jacobian: twins and their data, the loss by hand, its rows."""

import pytest
import torch

from dpbook_course.problems import coarse_burgers as problem
from dpbook_course.studies.e12 import design, tangents


@pytest.fixture(scope="module")
def twins():
    return tangents.twins()


def test_twins_are_what_the_fine_solver_makes_of_two_states(twins):
    states, viscosity = twins.states, twins.parameters["viscosity"]
    assert states.shape == (1024, 9, 2, 32) and viscosity.shape == (1024,)
    apart = (states[:, 0, 1] - states[:, 0, 0]) / tangents.DISTANCE
    assert apart.square().mean().sqrt() == pytest.approx(1, abs=0.15)  # averages over a cell damp the shortest waves
    # The first of each is part of its training trajectory.
    trajectory = problem.trajectories("train").states[3]
    start = (trajectory - states[3 * tangents.STARTS, 0, 0]).square().mean((1, 2)).argmin()
    length = min(9, len(trajectory) - int(start))
    assert torch.allclose(trajectory[start:start + length, 0], states[3 * tangents.STARTS, :length, 0], atol=1e-4)


def test_batches_have_the_two_of_a_pair_behind_each_other(twins):
    row = tangents.rows()["ONE, w = 1"]
    batch, windows = tangents.batches(row, (0, 1))[5], twins.windows([1000, 1001], 8, row.setup.batch_size)[5]
    assert batch["u0"].shape == (64, 1, 32) and batch["reference"].shape == (64, 8, 1, 32)
    for which in (0, 1):
        assert torch.equal(batch["u0"][which::2, 0], windows["u0"][:, which])
        assert torch.equal(batch["reference"][which::2, :, 0], windows["reference"][:, :, which])
        assert torch.equal(batch["viscosity"][which::2], windows["viscosity"])


def test_the_loss_is_that_of_states_and_of_products_with_the_jacobian():
    """A linear step, whose Jacobian is known: the differences are exact for any distance."""
    torch.manual_seed(0)
    a, b = torch.randn(2, 4, 4, dtype=torch.float64)
    u, v = torch.randn(2, 5, 4, dtype=torch.float64)
    delta, weight = 0.3, 2.0
    both = torch.stack([u, u + delta * v], 1).flatten(0, 1)
    made, right = ((both @ m.T)[:, None, None] for m in (a, b))
    expected = (made - right).square().mean((2, 3)) + weight * (v @ (a - b).T).square().mean(1)[:, None].expand(
        5, 2).reshape(10, 1)
    assert torch.allclose(tangents.TangentLoss(weight, delta)(made, right), expected)
    for wrong in (-1.0, float("nan")):
        with pytest.raises(ValueError, match="weight"):
            tangents.TangentLoss(wrong, delta)
    with pytest.raises(ValueError, match="distance"):
        tangents.TangentLoss(1.0, 0.0)


def test_the_gradient_of_an_ensemble_is_that_of_its_members(twins):
    row = tangents.rows()["ONE, w = 1"]
    batch = tangents.batches(row, (1, 2))[0]
    together = problem.ensemble([0, 1])
    tangents.objective(row, problem.hybrid(together))(**batch).backward()
    for seed in (0, 1):
        alone = problem.network(seed)
        part = {name: values[32 * seed:32 * seed + 32] for name, values in batch.items()}
        tangents.objective(row, problem.hybrid(alone))(**part).backward()
        gradients = [weights.grad[seed] for weights in together.parameters()]
        for mine, found in zip(alone.parameters(), gradients, strict=True):
            assert torch.allclose(mine.grad, found.view_as(mine.grad), rtol=1e-3, atol=1e-5)


def test_with_weight_zero_it_is_the_usual_loss(twins):
    row = tangents.rows()["WIG-8, w = 0"]
    batch, step = tangents.batches(row, (0,))[0], problem.hybrid(problem.network(0))
    with torch.no_grad():
        usual, found, more = (objective(**batch) for objective in (
            row.setup.objective(step), tangents.objective(row, step),
            tangents.objective(tangents.rows()["WIG-8, w = 1"], step)))
    assert torch.allclose(usual, found) and more > 1.01 * found


def test_every_row_is_what_its_name_says():
    for name, row in tangents.rows().items():
        setup, _, weight = name.partition(", w = ")
        assert row.weight == float(weight) and row.setup == design.trained()[setup].setup
        assert tangents.SPEC.budgets[name] == (design.UPDATES,)
    assert set(tangents.rows()) == {f"{setup}, w = {w:g}" for setup in ("ONE", "WIG-8") for w in tangents.WEIGHTS}
