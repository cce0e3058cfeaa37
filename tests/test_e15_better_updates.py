"""E15: every case and method is what its name says, at the calls that are stated; the verdict, made up."""

import math

import numpy as np
import pandas
import pytest
import torch

from dpbook_course.claims.claims import CONTRADICTED, SUPPORTED, UNDECIDED, UNDER_CONDITIONS, judge
from dpbook_course.studies.e15 import design, spectra, trainings
from dpbook_course.studies.e15.cases import case
from dpbook_course.studies.e15.oscillators import Oscillators, Perceptron
from dpbook_course.studies.e15.verdict import CLAIMS, offered
from dpbook_utils.setups import Setup


def test_the_network_of_the_public_set_up_has_its_weights():
    assert sum(w.numel() for w in Perceptron(0).parameters()) == 1444
    x = torch.rand(3, 4, dtype=torch.float64)
    plain = torch.tanh(x @ Perceptron(0).weights[0][0])
    for weight in list(Perceptron(0).weights)[1:-1]:
        plain = torch.tanh(plain @ weight[0])
    assert torch.allclose(Perceptron(0)(x), plain @ Perceptron(0).weights[-1][0])


def test_the_oscillators_keep_their_energy_and_follow_the_exact_solution():
    x = torch.tensor([[1.0, 0.0, 0.5, -1.0], [0.3, 0.3, 0.0, 0.0]], dtype=torch.float64)
    rest = torch.zeros(2, 24, dtype=torch.float64)
    moved = Oscillators("nonlinear oscillators")(x, rest)

    def energy(x):
        apart = x[:, 1] - x[:, 0]
        return x.square().sum(1) / 2 + apart**4 / 4

    assert torch.allclose(energy(moved), energy(x), rtol=1e-3)
    slope = torch.tensor([[0, 0, 1, 0], [0, 0, 0, 1], [-2, 1, 0, 0], [1, -2, 0, 0]], dtype=torch.float64)
    exact = x @ torch.matrix_exp(12 * slope).T
    fine = Oscillators("linear oscillators")
    fine.substeps, fine.dt = 20, 0.5 / 20
    assert torch.allclose(fine(x, rest), exact, atol=1e-5)
    pushed = Oscillators("linear oscillators")(0 * x, rest + 1)
    assert pushed[0, 1].abs() > 0.1, "the force moves them"


@pytest.mark.parametrize("name", design.CASES)
def test_a_case_has_residuals_whose_gradient_is_that_of_its_loss(name):
    problem = case(name)
    network = problem.network(0)
    batch = problem.batches(0, 4)(0)
    loss = problem.gradients(network, batch)(batch)
    traced = torch.cat([w.grad.flatten() for w in network.parameters()])
    again = problem.residuals(network)(**batch).square().sum(1).mean()
    plain = torch.cat([g.flatten() for g in torch.autograd.grad(again, list(network.parameters()))])
    assert torch.allclose(loss.double(), again.detach().double(), rtol=1e-4)
    assert torch.allclose(traced, plain, rtol=1e-3, atol=1e-3 * float(plain.abs().max()))
    assert problem.residuals(network)(**batch).shape[1] == problem.num_residuals
    assert math.isfinite(trainings.held_out_loss(problem, network, "test")) and problem.error(network) > 0
    other = problem.batches(0, 4)(1)
    first = "x0" if "x0" in batch else "u0"
    assert not torch.equal(batch[first], other[first])
    assert torch.equal(batch[first], problem.batches(0, 4)(0)[first])


@pytest.mark.parametrize("name", design.INVERSE)
def test_the_physics_of_an_inverse_problem_gives_its_residuals(name):
    problem = case(name)
    network, batch = problem.network(1), problem.batches(1, 3)(0)
    with torch.no_grad():
        x = network(batch["x0"] if "x0" in batch else batch["u0"])
        assert torch.allclose(problem.physics(x, batch), problem.residuals(network)(**batch), atol=1e-5)


def test_the_scale_invariant_update_leads_to_the_newton_step_of_the_physics():
    """Linear oscillators: the step of the controls that the gradient points along brings the state to rest."""
    problem = case("linear oscillators")
    network, batch = problem.network(0), problem.batches(0, 5)(0)
    x = network(batch["x0"])
    steps = []
    x.register_hook(steps.append)
    network.forward = lambda _: x
    trainings.scale_invariant(problem, network, batch)(batch)
    before = problem.physics(x.detach(), batch).norm()
    after = problem.physics(x.detach() - len(x) * steps[0], batch).norm()
    assert after < 0.02 * before


@pytest.mark.parametrize("name", design.rows())
def test_every_method_trains_every_case(name, monkeypatch):
    """Two updates change the weights, at the calls that are stated."""
    row = design.rows()[name]
    monkeypatch.setitem(design.BATCH, row.case, (3, 2, 4))
    problem = case(row.case)
    network, spent = trainings.trained(row, 0, 2)
    assert spent["diverged_at"] == -1 and spent["seconds_per_update"] > 0
    assert any(not torch.equal(w, old) for w, old in zip(network.parameters(), problem.network(0).parameters()))
    size, k = row.batch_size * problem.num_steps, problem.num_residuals
    expected = {"Adam": 3, "SGD": 3, "scale-invariant": 1 + 2 * k, "half-inverse": 2 + 2 * k, "Gauss-Newton": 2 + 2 * k,
                "Levenberg-Marquardt": 3 + 2 * k}
    if row.method == "L-BFGS":
        assert spent["calls_per_update"] % (3 * size / 2) == 0 and spent["calls_per_update"] >= 3 * size
    else:
        assert spent["calls_per_update"] == size * expected[row.method]


def test_a_rate_is_a_factor_of_the_usual_one():
    assert design.Row("heat", "Adam", Setup(learning_rate=3.0)).rate == pytest.approx(9e-3)
    assert {row.rate for row in design.rows().values()} == set(design.USUAL.values())


def test_a_training_that_diverges_keeps_the_weights_before_and_says_when(monkeypatch):
    monkeypatch.setitem(design.USUAL, "Gauss-Newton", 1e3)
    network, spent = trainings.trained(design.Row("nonlinear oscillators", "Gauss-Newton"), 0, 6)
    assert 0 < spent["diverged_at"] < 6
    assert all(torch.isfinite(w).all() for w in network.parameters())


def test_spectra_have_the_sizes_of_the_network_and_the_batch():
    found = spectra.run("linear oscillators, untrained", (0, 1), 1)
    assert found["weights"].tolist() == [1444, 1444] and found["residuals"].tolist() == [128, 128]
    assert (found["sigma"][:, 0] == 1).all() and (found["sigma"].diff() <= 0).all()
    residuals, batch = spectra.prepared(("linear oscillators", 3, "untrained"), 0, 1)
    _, J = spectra.jacobian(residuals, **batch)
    assert found["largest"][0] == pytest.approx(float(torch.linalg.matrix_norm(J, 2)), rel=1e-6)


def frames(inverse=0.5, hybrid=0.5, seeds=design.SEEDS, calls=1.0):
    """Results in which Levenberg-Marquardt has so many times Adam's loss, and other methods twice as much."""
    random, found = np.random.default_rng(0), []
    for name, row in design.rows().items():
        size = hybrid if row.case == design.HYBRID else inverse
        size = 1 if row.method in design.PLAIN else size if row.method == "Levenberg-Marquardt" else 2
        for budget in design.budgets(row):
            share = budget / design.budgets(row)[-1]  # of the same time and calls for all
            for seed, noise in zip(seeds, random.normal(1, 0.002, len(seeds))):
                found.append({"variant": name, "budget": budget, "seed": seed, "loss": size * noise / share,
                              "error": size * noise, "seconds_per_update": 10 * share / budget,
                              "calls_per_update": (calls if row.method not in design.PLAIN else 1) * share / budget,
                              "diverged_at": -1})
    return {"e15": pandas.DataFrame(found)}


@pytest.mark.parametrize("values, outcome", [
    ((0.5, 0.5), SUPPORTED), ((0.5, 1.0), UNDER_CONDITIONS), ((1.5, 0.5), UNDER_CONDITIONS),
    ((1.0, 1.2), CONTRADICTED)])
def test_the_verdict(values, outcome):
    assert judge(CLAIMS["C26"], frames(*values)).outcome == outcome


def test_it_must_hold_at_equal_calls_too():
    """Ten times the calls for an update: at equal calls the loss of a tenth of the training."""
    assert judge(CLAIMS["C26"], frames(calls=3.0)).outcome != SUPPORTED


def test_without_results_or_with_few_seeds_it_is_undecided():
    assert judge(CLAIMS["C26"], {}).outcome == UNDECIDED
    assert judge(CLAIMS["C26"], frames(seeds=(0, 1, 2))).outcome == UNDECIDED


def test_a_corrector_has_no_inverse_physics():
    assert "scale-invariant" not in offered(design.HYBRID) and "scale-invariant" in offered("heat")
    with pytest.raises(NotImplementedError, match="Corrector has no physics between its network and its loss"):
        case(design.HYBRID).physics(torch.zeros(1), {})
