"""What all problems share, the tuning of a study, and where another process finds an experiment."""

import importlib

import numpy as np
import pandas
import pytest
import torch
from torch import nn

from dpbook_course import problems
from dpbook_course.descriptions import describe
from dpbook_course.experiments.spec import Specification, Task
from dpbook_course.experiments.tasks import experiments
from dpbook_course.experiments.tuning import Tuning, at_rates
from dpbook_course.problems.problem import Problem, Trajectories
from dpbook_utils.data import simulate
from dpbook_utils.physics.advection_diffusion import AdvectionDiffusion
from dpbook_utils.setups import Setup

PROBLEMS = ("kuramoto_sivashinsky", "periodic_waves", "ks_history", "coarse_burgers", "parametric_burgers",
            "forced_burgers", "burgers_schemes", "ks_schemes", "burgers_shifts", "ks_shifts")


class Heat(Problem):
    """Heat conduction, whose P is right."""

    regions, measures = ("near", "far"), {"error": "a number"}

    def coarse_solver(self):
        return AdvectionDiffusion(8, 1.0, self.dt)

    def trajectories(self, name):
        u0 = torch.randn(2, 1, 8, generator=torch.Generator().manual_seed(0 if name == "near" else 1))
        diffusivity = torch.tensor([0.01, 0.02])
        return Trajectories(simulate(self.coarse_solver(), u0, 4, diffusivity=diffusivity),
                            {"diffusivity": diffusivity})

    def network(self, seed):
        return nn.Identity()

    def judge(self, step, data, num_seeds):
        return {"error": self.errors(step, data)[0].mean()[None]}


def test_settings_are_attributes_and_stated_as_given():
    heat = Heat(dt=0.05, batch_seed=3)
    assert heat.settings == {"dt": 0.05, "batch_seed": 3} and heat.dt == 0.05
    heat.dt = 0.1
    assert heat.settings["dt"] == 0.1, "one truth"
    with pytest.raises(ValueError, match="Heat: the settings judge, metrics are called as its methods are; rename"):
        Heat(judge=1, dt=0.1, metrics={})
    with pytest.raises(TypeError, match="abstract"):
        Problem()


def test_every_region_has_every_measure():
    heat = Heat(dt=0.05, batch_seed=3)
    found = heat.evaluate(heat.coarse_solver(), 1)
    assert set(found) == set(heat.metrics) == {"error.near", "error.far"}
    assert all(value.item() == 0 for value in found.values())
    assert heat.metrics["error.near"] == "a number; region: near"
    batch = heat.windows([0, 1], 2, 3)[0]
    assert batch["reference"].shape == (6, 2, 1, 8) and batch["diffusivity"].shape == (6,)


def test_pairs_are_states_and_those_that_follow():
    states = torch.arange(10.0).view(2, 5, 1, 1)
    pairs = Trajectories(states, {"nu": torch.tensor([1.0, 2.0])}).pairs(torch.tensor([0, 3]))
    assert pairs.states.flatten(1).tolist() == [[0, 1], [3, 4], [5, 6], [8, 9]] and pairs.nu.tolist() == [1, 1, 2, 2]
    with pytest.raises(AttributeError, match="have no 'length'; they have states, parameters, nu"):
        pairs.length  # noqa: B018


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_problem_is_an_object_that_states_its_metrics(name):
    problem = getattr(problems, name)
    assert isinstance(problem, Problem) and type(problem).__doc__
    of_all_regions = {"seconds_per_step", "swapped"}
    assert problem.metrics and all("." in metric for metric in problem.metrics if metric not in of_all_regions)
    assert describe(problem.coarse_solver) == "coarse_solver"


def tuning(**options):
    rows = {"a, one": Setup(), "b, one": Setup(), "a, two": Setup(2)}
    study = Specification(id="e99", title="none", chapter="03_unrolling", variants=rows, seeds=(0,),
                          budgets=dict.fromkeys(rows, (9,)), metrics={"error": "a number"}, settings={"dt": 0.1})
    return Tuning(study, rows, error, "a number", check=Task("a, one, rate 0.001", 2, (100,)),
                  **{"budget": 4, "grid": (1e-3, 1e-2), **options})


def error(row, seeds, budget):
    return torch.full((len(seeds),), row.learning_rate * budget)


def test_a_tuning_is_an_experiment_of_its_study():
    found = tuning(budget=lambda row: 8 // row.num_steps, others={"c": Setup(4)})
    spec = found.spec
    assert spec.id == "e99_tuning" and spec.settings == {"dt": 0.1} and spec.chapter == "03_unrolling"
    assert set(spec.variants) == {*at_rates(found.rows, found.grid), "c"}
    budgets = [spec.budgets[name] for name in ("a, one, rate 0.01", "a, two, rate 0.01", "c")]
    assert budgets == [(8,), (4,), (2,)]
    assert found.experiment.run("a, two, rate 0.01", (100, 101), 4)["error"].tolist() == pytest.approx([0.04, 0.04])
    assert found.experiment.home == error.__module__


def test_the_best_rate_has_the_smallest_geometric_mean_at_its_budget():
    errors = {"a, one, rate 0.001": (1, 4), "a, one, rate 0.01": (2.5, 2.5), "b, one, rate 0.001": (9, 9),
              "b, one, rate 0.01": (1, 1), "a, two, rate 0.001": (3, 3), "a, two, rate 0.01": (4, 4)}
    rows = [{"variant": name, "budget": budget, "seed": seed, "error": value if budget == 4 else 1 / value}
            for name, values in errors.items() for seed, value in enumerate(values) for budget in (2, 4)]
    frame = pandas.DataFrame(rows)
    assert tuning().best(frame) == {"a, one": 1e-3, "b, one": 1e-2, "a, two": 1e-3}
    together = tuning(shared=lambda name: name.split(", ")[1])
    assert together.best(frame) == {"one": 1e-2, "two": 1e-3}
    assert np.sqrt(4) < 2.5  # and not the mean


def test_another_process_finds_every_experiment_by_its_home():
    for name, experiment in experiments().items():
        there = importlib.import_module(experiment.home).EXPERIMENTS
        assert [known for known in there if known.spec.id == name] == [experiment]
