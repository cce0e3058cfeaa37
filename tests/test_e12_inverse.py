"""E12: what is looked for and seen, every model's gradient, how a search is judged; the verdict, made up."""

import numpy as np
import pandas
import pytest
import torch

from dpbook_course.claims.claims import CONTRADICTED, SUPPORTED, UNDECIDED, UNDER_CONDITIONS, judge
from dpbook_course.experiments.spec import Task
from dpbook_course.problems import coarse_burgers as problem
from dpbook_course.studies.e12 import backward, design, forward, gradients, letters
from dpbook_course.studies.e12 import instances as given
from dpbook_course.studies.e12.verdict import CLAIMS, TRAINED
from dpbook_utils.diagnostics import gradient_check
from dpbook_utils.rollout import Sequential


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Three instances of each seed, two to choose the weight with."""
    monkeypatch.setattr(design, "NUM_TESTED", 3)
    monkeypatch.setattr(design, "NUM_HELD_OUT", 2)
    for cached in (given.truths, given.instances):
        cached.cache_clear()
    yield
    for cached in (given.truths, given.instances):
        cached.cache_clear()


def hybrid(with_solver=True):
    """As it is before its training."""
    network = problem.network(0).double()
    return given.Model((problem.hybrid if with_solver else problem.predictor)(network))


MODELS = {"P": lambda: backward.solver(design.physics()["P"]),
          "P, 64 points": lambda: backward.solver(design.physics()["P, 64 points"]),
          "hybrid": hybrid, "predictor": lambda: hybrid(False)}


def test_the_unknowns_are_the_state_and_the_viscosity_on_every_grid():
    truth = given.truths(0, "tested")
    fine, coarse = (given.state(truth, points) for points in (256, 32))
    assert torch.allclose(fine.unflatten(-1, (32, -1)).mean(-1), coarse, atol=1e-12)
    assert torch.allclose(fine.square().mean(2), torch.ones(3, 1).double(), atol=1e-2)
    assert truth[:, 1 + 2 * problem.modes:-1].abs().max() < 1e-10 and len(given.wave_numbers()) == 31
    nu = torch.tensor([0.1, 0.4], dtype=torch.float64)
    x = torch.cat([torch.zeros(2, 31, dtype=torch.float64), given.unknown(nu)[:, None]], 1)
    assert torch.allclose(given.viscosity(x), nu)


def test_instances_are_those_of_the_seed_and_the_held_out_ones_are_others():
    one, same = given.instances(0, "late"), given.instances(0, "two times")
    assert torch.equal(one.truth, same.truth) and one.observed.shape == (3, 1, 16) and same.observed.shape == (3, 2, 16)
    for other in (given.truths(1, "tested"), given.truths(0, "held out")):
        assert not torch.isclose(one.truth[:2, 1:7], other[:2, 1:7]).any()


def test_through_the_fine_solver_the_truth_has_the_misfit_of_the_noise():
    truth, observed = given.instances(0, "two times")
    chi = 2 * given.misfit(given.fine(), truth, observed, "two times") / observed[0].numel()
    assert (chi.mean() - 1).abs() < 0.5


@pytest.mark.parametrize("name", MODELS)
def test_the_gradient_of_a_misfit_is_that_of_differences(name):
    """Through eight steps and more, initial state and viscosity."""
    truth, observed = given.instances(0, "late")
    model, x = MODELS[name](), truth + 0.1
    found = gradient_check(lambda x: given.misfit(model, x, observed, "late") * 1e-3 + given.prior(x, 2.0), {"x": x})
    assert found["x"] < 1e-6


def test_observations_that_do_not_fit_are_refused():
    truth, observed = given.instances(0, "two times")
    with pytest.raises(ValueError, match="expected .batch, 1, 16."):
        given.search(MODELS["P"](), observed, "late", 1.0)
    with pytest.raises(ValueError, match="NaN"):
        given.search(MODELS["P"](), observed * float("nan"), "two times", 1.0)


def test_a_search_finds_more_than_a_state_at_rest_and_knows_when_it_does():
    truth, observed = given.instances(0, "two times")
    errors = []
    found = given.search(MODELS["P, 64 points"](), observed, "two times", 10.0, 24,
                         lambda number, x: errors.append(given.error(x, truth).mean()))
    assert errors[0] == pytest.approx(1) and errors[-1] < 0.5
    scales = given.by_scale(found.x, truth)
    whole = (found.x - truth)[:, 1:-1].norm(dim=1) / truth[:, :-1].norm(dim=1)
    assert torch.allclose(scales.norm(dim=1), whole)


def test_the_fine_solver_has_the_right_gradient_and_no_error():
    truth, x = gradients.points(0)
    found = gradients.compared(given.fine(), truth, x, (1, 3))
    for name, expected in {"cosine": 1, "size": 1, "cosine_same": 1, "forward": 0}.items():
        assert torch.allclose(found[name], torch.full((2,), float(expected), dtype=torch.float64))
    coarse = gradients.compared(MODELS["P"](), truth, x, (1, 3))
    assert (coarse["cosine"] < 1).all() and coarse["forward"][1] > coarse["forward"][0] > 0


def test_every_row_is_what_its_name_says():
    rows = backward.SPEC.variants
    assert rows["WIG-8"].setup.num_steps == 8 and rows["ONE"].setup.num_steps == 1
    assert not rows["predictor, WIG-8"].with_solver and rows["ONE"].with_solver
    for name, points in {"P": 32, "P, 64 points": 64, "P, 128 points": 128, "fine": 256}.items():
        assert rows[name].num_points == points and backward.solver(rows[name]).num_points == points
    assert len(list(backward.solver(rows["P, 128 points"]).step.solver.chain)) == 4
    assert forward.SPEC.variants["ONE, 64"].num_points == 64
    for name, row in letters.SPEC.variants.items():
        assert name.startswith(f"{row.character}, {row.scheme}, {row.num_points}")
    assert {task.variant for task in backward.SPEC.checks} == set(backward.CHECKED)
    assert Task("P", 0, design.SEEDS) in gradients.SPEC.tasks()  # the check asks for two of them


def test_what_is_judged_has_every_measure():
    found = backward.judged(MODELS["P"](), 0, "late", 3)
    assert set(found) == set(backward.MEASURES) and found["weight"] in design.WEIGHTS
    assert found["curve"].shape == (len(design.PLACES),) and found["curve"][-1] == found["error"]


def frame(hybrid, others=1.0, seeds=design.SEEDS, fine=None):
    """Results in which every search through P, P on a finer grid and the fine solver ends with so large an error."""
    random, rows = np.random.default_rng(0), []
    names = {**dict.fromkeys(TRAINED, hybrid), "P": others, "P, 128 points": others,
             "fine": others if fine is None else fine}
    for name, error in names.items():
        for seed in seeds:
            row = {"variant": name, "budget": design.UPDATES if name in TRAINED else 0, "seed": seed, "diverged_at": -1}
            for task in design.TASKS:
                value = (error[task] if isinstance(error, dict) else error) * random.normal(1, 0.002)
                row |= {f"error.{task}": value, f"curve.{task}": np.full(len(design.PLACES), value),
                        f"seconds.{task}": 1.0, f"viscosity.{task}": value}
            rows.append(row)
    return {"e12": pandas.DataFrame(rows)}


SOME = {"two times": 0.8, "late": 1.0, "later": 1.0}


@pytest.mark.parametrize("given, outcome", [
    ((0.8,), SUPPORTED), ((SOME,), UNDER_CONDITIONS), ((1.0,), CONTRADICTED), ((1.3,), CONTRADICTED)])
def test_the_verdict(given, outcome):
    assert judge(CLAIMS["C20"], frame(*given)).outcome == outcome


def test_the_fine_solver_in_the_same_time_can_take_the_support_away():
    assert judge(CLAIMS["C20"], frame(0.8, fine=0.1)).outcome == UNDER_CONDITIONS


def test_more_evaluations_in_the_same_time_count():
    """P is four times as fast, and then as good as the hybrid."""
    found = frame(0.8)
    rows = found["e12"]
    for task in design.TASKS:
        rows.loc[rows.variant == "P", f"seconds.{task}"] = 0.25
        curve = np.where(np.array(design.PLACES) > 64, 0.4, 1.0)
        for index in rows.index[rows.variant == "P"]:
            rows.at[index, f"curve.{task}"] = curve
    assert judge(CLAIMS["C20"], found).outcome == CONTRADICTED


def test_without_results_or_with_few_seeds_it_is_undecided():
    assert judge(CLAIMS["C20"], {}).outcome == UNDECIDED
    assert judge(CLAIMS["C20"], frame(0.8, seeds=(0, 1, 2))).outcome == UNDECIDED


def test_a_model_that_is_recorded_as_a_whole_gives_what_its_steps_give():
    """The same misfit, bit for bit, and the same gradient."""
    network = problem.network(0).double().eval().requires_grad_(False)
    observed, x = given.instances(0, "two times").observed[:3], 0.1 * torch.ones(3, 32, dtype=torch.float64)
    found = []
    for whole in (True, False):
        model = given.Model(problem.hybrid(network))
        model.step = model.step if whole else model.step.solver.chain
        unknown = x.clone().requires_grad_()
        value = given.misfit(model, unknown, observed, "two times")
        found.append((value.detach(), *torch.autograd.grad(value.sum(), unknown)))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.allclose(found[0][1], found[1][1], rtol=1e-12)
    trainable = given.Model(problem.hybrid(problem.network(0)))
    assert isinstance(trainable.step, Sequential)
