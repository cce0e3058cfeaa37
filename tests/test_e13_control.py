"""E13: every row is the method that its name says, at the solver steps that are stated; the verdict, made up."""

import math
from dataclasses import replace

import numpy as np
import pandas
import pytest
import torch

from dpbook_course.claims.claims import CONTRADICTED, SUPPORTED, UNDECIDED, UNDER_CONDITIONS, judge
from dpbook_course.problems.actuators import Proportional, Randomised, Relay, Smoothed
from dpbook_course.studies.e13 import design, front, methods, policies, rows, verdict
from dpbook_course.studies.e13.design import QUALITIES, RIVALS, SEEDS, STEPS, TASKS
from dpbook_course.studies.e13.verdict import CLAIMS

problem = policies.problem


@pytest.fixture
def calls(monkeypatch):
    """How many states the plant has been moved by, whatever moved it."""
    counted, forward = [], type(problem.plant()).forward

    def counting(self, state, command):
        counted.append(len(state))
        return forward(self, state, command)

    monkeypatch.setattr(type(problem.plant()), "forward", counting)
    return counted


def without_looks(budget):
    return methods.Looks((), lambda update: None)


@pytest.mark.parametrize("name", ["ES, relay", "PPO, relay", "SAC, proportional"])
def test_an_update_takes_the_steps_that_are_stated(name, calls):
    if not name.startswith("ES"):
        pytest.importorskip("stable_baselines3")
    row, budget = policies.rows()[name], 2
    problem.instances("train", 3)
    calls.clear()
    row.method(problem, row, (3,), budget, problem.ensemble((3,)), without_looks(budget))
    assert sum(calls) == budget * row.steps_per_update(problem)


def test_an_update_through_the_solver_is_one_episode_of_the_batch():
    row = policies.rows()["DP-8, proportional"]
    assert row.steps_per_update(problem) == 8 * problem.num_steps
    assert len(problem.batches((0,), row.setup.batch_size)[0]["u0"]) == 8
    assert problem.objective(problem.network(0), 0.1).rollout.num_steps == problem.num_steps


def test_all_methods_have_the_same_number_of_steps():
    for key, row in policies.SPEC.variants.items():
        if isinstance(row, rows.Row):
            (budget,) = policies.SPEC.budgets[key]
            assert budget * row.steps_per_update(problem) == STEPS, key


def test_rows_have_the_actuator_of_their_task():
    kinds = {"proportional": Proportional, "relay": Relay, "smoothed": Smoothed, "randomised": Randomised}
    for key, row in policies.rows().items():
        word = next(word for word in ("smoothed", "randomised", "relay", "proportional") if word in key)
        assert type(row.actuator) is kinds[word] and row.weight == design.WEIGHT, key
    assert {row.weight for row in front.SPEC.variants.values() if isinstance(row, rows.Row)} == {0.001, 0.1}
    assert len(policies.TUNING.grid) * len(policies.rows()) == len(policies.TUNING.spec.variants)


@pytest.fixture
def short(monkeypatch):
    """A row of the study, with episodes of four steps."""
    monkeypatch.setattr(rows, "problem", replace(problem, num_steps=4))

    def of(name, rate=1e-3):
        row = policies.rows()[name]
        return replace(row, setup=replace(row.setup, num_steps=4, learning_rate=rate))

    return of


def test_seeds_that_train_together_train_as_alone(short):
    together, alone = (rows.fitted(short("DP-8, proportional"), seeds, 2)[1]["curve"] for seeds in ((0, 1), (0,)))
    assert torch.allclose(together[0, :3], alone[0, :3], rtol=1e-3)
    assert together.shape == (2, design.LOOKS) and torch.isfinite(together[:, :3]).all()
    assert together[:, 3:].isnan().all()


@pytest.mark.parametrize("name", ["DP-8, proportional", "DP-8, relay", "DP-8, smoothed, relay",
                                  "DP-8, randomised, relay"])
def test_training_moves_the_weights_unless_a_relay_does_not_let_it(short, name):
    networks, training = rows.fitted(short(name, 0.01), (0,), 8)
    moved = any(not torch.equal(a, b) for a, b in zip(networks.parameters(), problem.ensemble((0,)).parameters()))
    assert moved == (name != "DP-8, relay")
    curve = training["curve"][0]
    assert "relay" in name or curve[curve.isfinite()].min() < 0.999 * curve[0]


def test_evolution_strategies_estimate_the_gradient(short):
    """Costs are divided by their standard deviation, sigma |g| where the cost is linear: the estimate along the
    gradient g is then 1 / sigma, whatever the number of weights."""
    row, brief = replace(short("ES, proportional"), policies=256), rows.problem
    networks, still = brief.ensemble((0,)), brief.ensemble((0,))
    row.method(brief, row, (0,), 1, networks, without_looks(1))
    brief.objective(still, row.weight, row.actuator)(**brief.batches((0,), row.setup.batch_size)[0]).backward()
    estimate, gradient = (torch.cat([w.grad.flatten() for w in one.parameters()]) for one in (networks, still))
    along = methods.SIGMA * float(estimate @ gradient / gradient.norm())
    assert 0.5 < along < 1.5  # chance: +-0.12 with 128 pairs
    moved = torch.cat([(a - b).detach().flatten() for a, b in zip(networks.parameters(), still.parameters())])
    assert torch.equal(moved.sign(), -estimate.sign())


@pytest.mark.parametrize("name", ["PPO", "SAC"])
def test_an_agent_trains_the_very_network(name):
    pytest.importorskip("stable_baselines3")
    from dpbook_course.problems import environments
    from dpbook_course.studies.e13 import agents

    network, settings = problem.ensemble((0,)), {**getattr(methods, name), "batch_size": 64}
    if name == "SAC":
        settings["learning_starts"] = 8
    episodes = environments.ManyEpisodes(problem, problem.instances("train", 0), 4, 0.01)
    agent = getattr(agents, name.lower())(problem, episodes, network, 1e-2, 0, **settings)
    seen = episodes.reset()
    commands, _ = agent.predict(seen, deterministic=True)
    with torch.no_grad():
        expected = torch.tanh(network(torch.from_numpy(seen)))[:, 0].numpy()
    assert np.allclose(commands, expected, atol=1e-5)
    before = [w.detach().clone() for w in network.parameters()]
    agent.learn(4 * problem.num_steps)
    assert all(not torch.equal(a, b) for a, b in zip(before, network.parameters()))
    held = {id(w) for group in (agent.policy.optimizer if name == "PPO" else agent.actor.optimizer).param_groups
            for w in group["params"]}
    assert {id(w) for w in network.parameters()} <= held


def test_a_policy_that_is_not_finite_is_a_lost_training():
    pytest.importorskip("stable_baselines3")
    row, networks = policies.rows()["PPO, proportional"], problem.ensemble((0,))
    with torch.no_grad():
        next(networks.parameters()).fill_(math.nan)
    assert row.method(problem, row, (0,), 1, networks, without_looks(1)).tolist() == [0]
    assert all((w == 0).all() for w in networks.parameters())


def test_the_open_loop_optimum_is_better_than_any_constant_force():
    instances = type(problem.instances("test", 0))(*(part[:3] for part in problem.instances("test", 0)))
    policy, steps = methods.open_loop(problem, instances, 0.01, iterations=8)
    last = problem.episode(policy, instances)[:, -1]
    cost = float((last[:, 0] - last[:, 1]).square().mean() + 0.01 * last[:, 3].mean()) / problem.scale
    assert cost < 0.1 and steps % problem.num_steps == 0
    assert not policy.commands.requires_grad


@pytest.mark.parametrize("curve, expected", [
    ([1.0, 0.5, 0.4], math.inf), ([1.0, 0.4, 0.1], 100 * 10**0.5 * 1.0), ([0.1, 0.1, 0.1], 10.0),
    ([1.0, 0.1, 0.05], 10.0), ([1.0, math.nan, 0.2], 1000.0)])
def test_where_a_curve_comes_to_a_quality(curve, expected):
    at = torch.tensor([0.0, 10.0, 1000.0], dtype=torch.float64)
    found = rows.first(at, torch.tensor(curve, dtype=torch.float64), 0.2)
    if curve[1] == 0.4:
        expected = 10 + 990 * math.log(2) / math.log(4)
    assert found == pytest.approx(expected)


def test_looks_are_spread_and_include_both_ends():
    for budget in (4, 75, 150, 1200, 19_200):
        found = design.looks(budget)
        assert found[0] == 0 and found[-1] == budget and len(found) <= design.LOOKS
    assert design.equivalents("DP-8") == 3 and design.equivalents("PPO") == 1


def test_the_clock_leaves_out_the_looks(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(methods.time, "perf_counter", lambda: now[0])

    def look(update):
        now[0] += 100

    looks = methods.Looks((0, 2), look, started=0.0)
    for update in range(3):
        looks.at(update)
        now[0] += 1
    assert looks.training() == 3


# The verdict, on results that are made up ----------------------------------------------------------------------------

def frame(ratio=0.3, relay=math.inf, seeds=SEEDS):
    """Results in which DP-8 needs so many times the steps forward of each rival, in the two tasks."""
    random, found = np.random.default_rng(0), []
    for task, part in zip(TASKS, (ratio, relay)):
        for method in ("DP-8", "DP-64", *RIVALS[task], *(verdict.MENDED if task == "relay" else ())):
            variant = design.name(method, task)
            noise = random.normal(1, 0.002, len(seeds))
            for seed, factor in zip(seeds, noise):
                steps = {f"to.{q:g}": 1000 / q * factor * (part if method == "DP-8" else 1) for q in QUALITIES}
                found.append({"variant": variant, "budget": verdict.budget_of(variant), "seed": seed, "seconds": 10.0,
                              "cost.as trained": 0.1 * factor, "diverged_at": -1, **steps})
    return {"e13": pandas.DataFrame(found)}


@pytest.mark.parametrize("ratio, relay, outcome", [
    (0.2, 0.2, SUPPORTED), (0.2, math.inf, UNDER_CONDITIONS), (0.5, math.inf, CONTRADICTED),
    (1 / 3, math.inf, CONTRADICTED)])
def test_the_verdict(ratio, relay, outcome):
    """A step backward counts: half the steps forward are one and a half times as many in all."""
    assert judge(CLAIMS["C25"], frame(ratio, relay)).outcome == outcome


def test_one_quality_against_one_rival_is_enough_to_lose_a_task():
    found = frame(0.2, math.inf)
    table = found["e13"]
    table.loc[table.variant == "SAC, proportional", "to.0.2"] = 100.0
    assert judge(CLAIMS["C25"], found).outcome == CONTRADICTED


def test_a_rival_that_never_comes_there_has_lost():
    found = frame(0.2, math.inf)
    table = found["e13"]
    table.loc[table.variant == "ES, proportional", "to.0.05"] = math.inf
    assert judge(CLAIMS["C25"], found).outcome == UNDER_CONDITIONS


def test_where_nobody_comes_nothing_is_decided():
    found = frame(0.2, math.inf)
    table = found["e13"]
    table.loc[table.variant.str.endswith("relay"), "to.0.05"] = math.inf
    reading = verdict.fewer(table, "relay", "PPO", 0.05).effect.reading
    assert reading == "undecided" and judge(CLAIMS["C25"], found).outcome == UNDER_CONDITIONS


def test_units_are_those_of_their_names():
    table = frame(0.2)["e13"]
    both, forward, seconds = (verdict.needed(table, "DP-8", "proportional", 0.1, unit) for unit in verdict.UNITS)
    assert np.allclose(both, 3 * forward) and np.allclose(seconds, 10.0 * forward / STEPS)


def test_without_results_or_with_few_seeds_it_is_undecided():
    assert judge(CLAIMS["C25"], {}).outcome == UNDECIDED
    assert judge(CLAIMS["C25"], frame(seeds=(0, 1, 2))).outcome == UNDECIDED
