"""E12, a posterior: members by hand, coverage where it is known exactly, Laplace by differences; readings, made up."""

import numpy as np
import pandas
import pytest
import torch

from dpbook_course.problems import coarse_burgers as problem
from dpbook_course.studies.e12 import design, posterior, readings
from dpbook_course.studies.e12 import instances as given
from dpbook_course.studies.e12.readings import CONTRADICTED, MET, OPEN

SIZE = 2 * posterior.MODES + 1


class Linear:
    """Sensors that are linear in z: ``y = A z + shift``, with a posterior that is normal and known."""

    def __init__(self, shift=0.0):
        generator = torch.Generator().manual_seed(0)
        self.A = design.NOISE * torch.randn(16, SIZE, generator=generator, dtype=torch.float64)
        self.shift = shift

    def observed(self, x, task):
        return (posterior.coordinates(x) @ self.A.T + self.shift).unsqueeze(1)

    def posterior(self, y, prior):
        """(mean, covariance) for observations (..., 16) and prior means (..., SIZE)."""
        J = self.A / design.NOISE
        covariance = torch.linalg.inv(torch.eye(SIZE, dtype=torch.float64) + J.T @ J)
        return (y / design.NOISE @ J + prior) @ covariance, covariance


def made(model, number, seed=1):
    """Instances whose true values are draws from the prior."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(number, SIZE, generator=generator, dtype=torch.float64)
    noise = torch.randn(number, 1, 16, generator=generator, dtype=torch.float64)
    x = posterior.unknowns(z)
    return given.Instances(x, model.observed(x, "late") + design.NOISE * noise)


@pytest.fixture
def exact(monkeypatch):
    """Searches that go on until rounding ends them."""
    monkeypatch.setattr(design, "TOLERANCE", 1e-14)


def test_the_unknowns_are_waves_1_to_3_and_a_viscosity_and_the_prior_is_that_of_the_instances():
    z = torch.randn(4, SIZE, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    x, numbers = posterior.unknowns(z), posterior.shown(z)
    assert x.shape == (4, len(given.wave_numbers()) + 1) and torch.allclose(posterior.coordinates(x), z)
    assert not x[:, 0].any() and not x[:, 1 + 2 * problem.modes:-1].any()
    assert torch.allclose(numbers[:, posterior.QUANTITIES["cells"]], given.state(x, 32)[:, 0])
    for k in (1, 2, 3):
        assert torch.allclose(numbers[:, posterior.QUANTITIES[f"wave {k}"]], x[:, 2 * k - 1:2 * k + 1])
    assert torch.equal(numbers[:, posterior.QUANTITIES["viscosity"]], z[:, -1:]) and numbers.shape[1] == 39
    lowest, highest, _ = problem.train
    assert given.viscosity(posterior.unknowns(z * 0)) == pytest.approx([(lowest * highest)**0.5] * 4)
    truths = posterior.coordinates(torch.cat([given.truths(seed, "held out") for seed in range(12)]))
    assert truths.mean(0).abs().max() < 0.2 and (truths.square().mean(0).sqrt() - 1).abs().max() < 0.15


def test_the_members_are_those_of_the_draws_by_hand(exact):
    model = Linear()
    y = made(model, 3).observed
    found = posterior.sampled(model, y, "late", 5, 200)
    generator = torch.Generator().manual_seed(5)
    noise = torch.randn(3, 19, 1, 16, generator=generator, dtype=torch.float64)
    prior = torch.randn(3, 19, SIZE, generator=generator, dtype=torch.float64)
    point, covariance = model.posterior(y[:, 0], torch.zeros(3, SIZE, dtype=torch.float64))
    drawn, _ = model.posterior(y + design.NOISE * noise[:, :, 0], prior)
    assert torch.allclose(found.point, point, atol=1e-5) and torch.allclose(found.drawn, drawn, atol=1e-5)
    assert found.found.x.shape == (3 * 20, SIZE)
    full = posterior.linear() @ covariance @ posterior.linear().T
    assert torch.allclose(posterior.laplace(model, found.point, "late"), full.expand(3, -1, -1))


def test_many_members_have_the_mean_and_covariance_of_the_posterior(exact):
    model = Linear()
    y = made(model, 1).observed
    drawn = posterior.sampled(model, y, "late", 5, 200, members=4000).drawn[0]
    point, covariance = model.posterior(y[:, 0], torch.zeros(1, SIZE, dtype=torch.float64))
    sizes = covariance.diagonal().sqrt()
    assert ((drawn.mean(0) - point[0]) / sizes).abs().max() < 4 / 4000**0.5
    assert ((drawn.T.cov() - covariance) / torch.outer(sizes, sizes)).abs().max() < 4 * (2 / 4000)**0.5


def test_coverage_is_nominal_where_the_model_is_right_and_smaller_where_it_is_not():
    """400 instances: the standard deviations of the two fractions are 0.025 and 0.015."""
    model = Linear()
    right = posterior.judged(model, made(model, 400), "late", 9)
    for by in ("ensemble", "Laplace"):
        assert right[by].shape == (5, 2)
        assert (right[by] - torch.tensor([0.5, 0.9])).abs().div(torch.tensor([0.025, 0.015])).max() < 3.5
    wrong = posterior.judged(model, made(Linear(2 * design.NOISE), 400), "late", 9)
    assert wrong["ensemble"][0, 1] < right["ensemble"][0, 1] - 0.1 and wrong["misfit"] > 1.2 * right["misfit"]
    assert torch.allclose(wrong["width_Laplace"], right["width_Laplace"])  # it does not know


def test_intervals_are_between_members_and_coverage_counts_what_lies_within():
    order = torch.randperm(19, generator=torch.Generator().manual_seed(0))
    values = (1.0 + order)[None, :, None].expand(1, 19, 39)
    found = posterior.of_members(values)
    assert found[0.9][:, 0, 0].tolist() == [1, 19] and found[0.5][:, 0, 0].tolist() == [5, 15]
    truth = torch.full((1, 39), 10.0)
    truth[0, :8], truth[0, 32], truth[0, 38] = 16.0, 20.0, 0.0
    expected = [[0.75, 1], [0.5, 0.5], [1, 1], [1, 1], [0, 0]]
    assert posterior.coverage(truth, found).tolist() == expected
    assert posterior.width(found[0.9]).tolist() == [18] * 5
    normal = posterior.of_normal(torch.zeros(1, 39), torch.ones(1, 39))
    assert normal[0.9][1, 0, 0] == pytest.approx(1.6449, abs=1e-4) and torch.equal(*(normal[0.5] * torch.tensor(
        [-1.0, 1.0])[:, None, None]))


def test_laplace_through_a_solver_is_that_of_differences():
    model = given.solver(design.physics()["P"])
    z = 0.5 * torch.randn(2, SIZE, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    found = posterior.laplace(model, z, "two times")
    step = 1e-5 * torch.eye(SIZE, dtype=torch.float64)
    with torch.no_grad():
        up, down = (torch.stack([model.observed(posterior.unknowns(z + by * row), "two times").flatten(1)
                                 for row in step], 2) for by in (1, -1))
    J = (up - down) / 2e-5 / design.NOISE
    covariance = torch.linalg.inv(torch.eye(SIZE, dtype=torch.float64) + J.mT @ J)
    assert torch.allclose(found, posterior.linear() @ covariance @ posterior.linear().T, rtol=1e-5, atol=1e-10)


def test_what_does_not_fit_is_refused():
    model, y = Linear(), made(Linear(), 2).observed
    with pytest.raises(ValueError, match="expected .batch, 2, 16."):
        posterior.sampled(model, y, "two times", 0)
    with pytest.raises(ValueError, match="NaN"):
        posterior.sampled(model, y * float("nan"), "late", 0)
    with pytest.raises(ValueError, match="members"):
        posterior.sampled(model, y, "late", 0, members=0)
    with pytest.raises(ValueError, match="16, 39.*expected .instances, 19, numbers"):
        posterior.of_members(torch.zeros(2, 16, 39))


def test_every_row_is_what_its_name_says():
    rows = posterior.rows()
    assert set(rows) == {"P", "fine", "ONE", "WIG-8"} == set(readings.MODELS)
    assert (rows["P"].num_points, rows["fine"].num_points) == (32, 256)
    for name in ("ONE", "WIG-8"):
        assert rows[name].setup == design.trained()[name].setup and rows[name].with_solver
        assert posterior.SPEC.budgets[name] == (design.UPDATES,)
    assert {row.evaluations for row in rows.values()} == {posterior.EVALUATIONS}
    assert posterior.LEVELS == {level: round(10 * (1 - level)) for level in (0.5, 0.9)}  # of 20 places for one more


# What is read from it -------------------------------------------------------------------------------------------------

RIGHT = {"P": 0.4, "ONE": 0.7, "WIG-8": 0.75, "fine": 0.9}


def frame(cells, widths=(), laplace=0.9, seeds=8, spread=0.01, diverged=()):
    """Coverage of the 90 % intervals of the cells by model; of all else 0.5; widths by model, else 1."""
    random, made = np.random.default_rng(0), []
    for name in readings.MODELS:
        for seed in range(seeds):
            row = {"variant": name, "seed": seed, "budget": posterior.SPEC.budgets[name][0],
                   "diverged_at": 3 if (name, seed) in diverged else -1}
            for task in design.DECIDING:
                for by, value in (("ensemble", cells[name]), ("Laplace", laplace)):
                    row[f"{by}.{task}"] = np.full((5, 2), 0.5)
                    row[f"{by}.{task}"][0, 1] = value + random.normal(0, spread)
                row[f"width.{task}"] = np.full(5, dict(widths).get(name, 1.0) * np.exp(random.normal(0, spread)))
            made.append(row)
    return pandas.DataFrame(made)


def test_all_expectations_are_met_where_they_are():
    found = frame(RIGHT)
    assert set(readings.expectations(found, "late").values()) == {MET}
    said = readings.known(found).split("\n\n")
    assert [text[:20] for text in said] == ["**Observed: two time", "**Observed: late.** "]
    assert "P 40 % (39 to 41), ONE 70 % (" in said[0] and "the fine solver 90 % (" in said[0]
    assert said[1].endswith("Of 8 expectations 8 are met.") and "with P 1.0" in said[1]


@pytest.mark.parametrize("other, name, word", [
    ({"cells": RIGHT | {"fine": 0.99}}, "the fine solver is calibrated", CONTRADICTED),
    ({"cells": RIGHT | {"fine": 0.7}}, "the fine solver is calibrated", CONTRADICTED),
    ({"cells": RIGHT | {"fine": 0.97}}, "the fine solver is calibrated", OPEN),
    ({"laplace": 0.7}, "Laplace is within 5 points", CONTRADICTED),
    ({"laplace": 0.8, "spread": 0.1}, "Laplace is within 5 points", OPEN),
    ({"cells": RIGHT | {"P": 0.85}}, "P is overconfident", CONTRADICTED),
    ({"cells": RIGHT | {"P": 0.8}}, "P is overconfident", OPEN),
    ({"cells": RIGHT | {"WIG-8": 0.4}}, "P lies below WIG-8", CONTRADICTED),
    ({"cells": RIGHT | {"WIG-8": 0.2}}, "P lies below WIG-8", CONTRADICTED),
    ({"cells": RIGHT | {"WIG-8": 0.9}}, "WIG-8 lies below the fine solver", CONTRADICTED),
    ({"cells": RIGHT | {"ONE": 0.3}}, "P lies below ONE", CONTRADICTED),
    ({"widths": {"P": 0.7}}, "the width of P is the fine solver's", CONTRADICTED),
    ({"widths": {"WIG-8": 1.25}}, "the width of WIG-8 is the fine solver's", OPEN)])
def test_what_is_not_met_is_said(other, name, word):
    found = frame(**{"cells": RIGHT} | other)
    assert readings.expectations(found, "late")[name] == word
    assert f"{word}: " in readings.known(found) and name in readings.known(found)


def test_few_seeds_decide_nothing_and_a_training_that_diverged_is_left_out():
    assert set(readings.expectations(frame(RIGHT, seeds=5), "late").values()) == {OPEN}
    found = frame(RIGHT, diverged=[("ONE", 2)])
    assert list(readings.covered(found, "ONE", "late").index) == [0, 1, 3, 4, 5, 6, 7]
    assert readings.expectations(found, "late")["P lies below ONE"] == MET
