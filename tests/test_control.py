"""The control problem: its physics, its cost, its actuators and their gradients; its environments, if their libraries
are there, by gymnasium's own checker."""

import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from dpbook_course.problems.actuators import Proportional, Randomised, Relay, Smoothed
from dpbook_course.problems.control import Controlled, Instances, Nothing
from dpbook_course.problems.control import burgers_control as problem
from dpbook_utils.physics.advection import upwind
from dpbook_utils.physics.burgers import Burgers
from dpbook_utils.update import TracedGradients

WEIGHT = 0.01
SHORT = replace(problem, num_steps=3)


def few(seed=0, number=3):
    return Instances(*(part[:number] for part in problem.instances("train", seed)))


def test_an_episode_is_the_loop_that_it_stands_for():
    policy, instances, u, effort = problem.network(0), few(), few().u0, 0
    with torch.no_grad():
        for k in range(problem.num_steps):
            time = torch.full_like(u, k / problem.num_steps)
            force = problem.bound * torch.tanh(policy(torch.cat([u, instances.target, time], 1)))
            u = problem.solver()(u, viscosity=problem.viscosity, force=force)
            effort = effort + force.square().mean((1, 2)) / problem.num_steps
        cost = ((u - instances.target).square().mean((1, 2)) + WEIGHT * effort) / problem.scale
        found = problem.objective(policy, WEIGHT)(instances.start())
    assert torch.allclose(problem.episode(policy, instances)[:, -1, 0], u[:, 0], atol=1e-5)
    assert torch.allclose(found, cost.mean(), rtol=1e-5)


def test_targets_are_within_reach_and_nothing_is_added():
    """The force that made a target leads to it; doing nothing does not, and its cost is its squared error."""
    instances = problem.instances("validation", 0)
    last = problem.episode(Nothing(), instances)[:, -1]
    assert torch.equal(last[:, 3], torch.zeros_like(last[:, 3]))
    judged = problem.judge(Nothing(), (0,), WEIGHT, name="validation")
    assert judged["cost.as trained"] == 1 and judged["force.as trained"] == 0
    assert 0.5 < judged["error.as trained"] < 2
    assert 0.1 < (last[:, 0] - last[:, 1]).square().mean() / problem.scale < 10


def test_seeds_and_sets_have_instances_of_their_own():
    sets = [problem.instances(name, seed).u0[:problem.num_test] for name in ("train", "validation", "test")
            for seed in (0, 1)]
    assert len({float(u0.sum()) for u0 in sets}) == len(sets)
    batches = problem.batches((0, 1), 4)
    assert torch.equal(batches[3]["u0"][4:], problem.batches((1,), 4)[3]["u0"])
    assert not torch.equal(batches[3]["u0"], batches[4]["u0"])


def test_the_gradient_of_an_episode_is_right():
    policy, instances = SHORT.network(0).double(), Instances(*(part.double() for part in few(number=1)))
    objective, bias = SHORT.objective(policy, WEIGHT), policy.layers[-1].bias
    gradient, = torch.autograd.grad(objective(instances.start()), bias)
    ends = []
    with torch.no_grad():
        for h in (1e-6, -2e-6):
            bias += h
            ends.append(objective(instances.start()))
    assert float(gradient) == pytest.approx(float(ends[0] - ends[1]) / 2e-6, rel=1e-5)


@pytest.mark.parametrize("actuator", [Proportional(2.0), Smoothed(2.0, 0.3, 0.1), Relay(2.0, 0.3)], ids=repr)
def test_a_recorded_update_is_the_eager_one(actuator):
    policy, start = SHORT.network(0), few().start()
    objective = SHORT.objective(policy, WEIGHT, actuator)
    loss = objective(start)
    loss.backward()
    eager = torch.cat([w.grad.flatten() for w in policy.parameters()])
    assert torch.allclose(TracedGradients(objective)({"u0": start}), loss.detach(), rtol=1e-4)
    traced = torch.cat([w.grad.flatten() for w in policy.parameters()])
    assert (traced - eager).norm() <= 1e-3 * eager.norm()


# Actuators -----------------------------------------------------------------------------------------------------------

COMMANDS = torch.tensor([-0.9, -0.31, -0.29, 0.0, 0.29, 0.31, 0.9])


def test_a_relay_is_all_or_nothing_and_has_no_gradient():
    command = COMMANDS.clone().requires_grad_()
    force = Relay(2.0, 0.3)(command)
    assert force.tolist() == [-2, -2, 0, 0, 0, 2, 2]
    slope, = torch.autograd.grad(force.sum(), command)
    assert (slope == 0).all()
    objective = problem.objective(problem.network(0), WEIGHT, problem.relay())
    gradients = torch.autograd.grad(objective(few().start()), list(objective.parameters()), allow_unused=True)
    assert all(g is None or (g == 0).all() for g in gradients)


@pytest.mark.parametrize("mended", [Smoothed(2.0, 0.3, 0.05), Randomised(2.0, 0.3, 0.3)], ids=repr)
def test_at_test_a_mended_relay_is_the_relay(mended):
    assert torch.equal(mended.eval()(COMMANDS), Relay(2.0, 0.3)(COMMANDS))


def test_a_smoothed_relay_tends_to_the_relay():
    for width, largest in ((0.05, 1.0), (0.001, 0.001)):
        apart = Smoothed(2.0, 0.3, width)(COMMANDS) - Relay(2.0, 0.3)(COMMANDS)
        assert apart.abs().max() < largest


def test_a_randomised_relay_has_the_gradient_of_its_mean_over_noise():
    torch.manual_seed(0)
    command = COMMANDS.clone().requires_grad_()
    force = Randomised(2.0, 0.3, 0.3, num_samples=200_000)(command)
    assert torch.equal(force, Relay(2.0, 0.3)(COMMANDS))
    slope, = torch.autograd.grad(force.sum(), command)
    up, down = ((sign * COMMANDS - 0.3) / 0.3 for sign in (1, -1))
    density = (torch.exp(-up.square() / 2) + torch.exp(-down.square() / 2)) / math.sqrt(2 * math.pi)
    assert torch.allclose(slope, 2.0 * density / 0.3, rtol=0.05)


@pytest.mark.parametrize("build, said", [
    (lambda: Proportional(0), "bound is 0; give a positive number"), (lambda: Relay(2.0, 1.0), "give less than 1"),
    (lambda: Smoothed(2.0, 0.3, 0), "width is 0"), (lambda: Randomised(2.0, 0.3, 0.3, 0), "num_samples is 0")])
def test_actuators_refuse_what_does_not_fit(build, said):
    with pytest.raises(ValueError, match=said):
        build()


# Environments --------------------------------------------------------------------------------------------------------

@pytest.fixture
def environments():
    pytest.importorskip("gymnasium")
    pytest.importorskip("stable_baselines3")
    from dpbook_course.problems import environments

    return environments


@pytest.mark.parametrize("actuator", [None, Relay(2.0, 0.3)], ids=["proportional", "relay"])
def test_gymnasium_is_content(environments, actuator):
    from gymnasium.utils.env_checker import check_env

    check_env(environments.BurgersEnv(problem, WEIGHT, actuator), skip_render_check=True)


def test_the_return_of_an_episode_is_minus_its_cost(environments):
    """Of one environment and of many, under the same commands."""
    commands = np.random.default_rng(0).uniform(-1, 1, (problem.num_steps, problem.num_points)).astype(np.float32)
    env = environments.BurgersEnv(problem, WEIGHT)
    env.reset(seed=1)
    start, total, ended = env.episodes.state, 0.0, False
    for command in commands:
        assert not ended
        _, reward, ended, truncated, _ = env.step(command)
        total += reward
    assert ended and not truncated
    plant, state = problem.plant(), start
    with torch.no_grad():
        for command in commands:
            state = plant(state, torch.from_numpy(command)[None, None])
    cost = (state[:, 0] - state[:, 1]).square().mean() + WEIGHT * state[:, 3].mean()
    assert total == pytest.approx(-float(cost) / problem.scale, rel=1e-4)


def test_many_episodes_end_together_and_begin_anew(environments):
    many = environments.ManyEpisodes(problem, problem.instances("train", 0), 4, WEIGHT, seed=3)
    first, still = many.reset(), np.zeros((4, problem.num_points), np.float32)
    for k in range(problem.num_steps):
        seen, rewards, ended, infos = many.step(still)
        assert ended.all() == ended.any() == (k == problem.num_steps - 1)
    assert rewards.shape == (4,) and (rewards < 0).all()
    assert all(np.allclose(info["terminal_observation"][2], 1) for info in infos)
    assert (seen[:, 2] == 0).all() and not np.array_equal(seen, first)


@pytest.mark.parametrize("action, said", [
    (np.full(32, 1.5), "from 1.5 to 1.5; give commands of -1 ... 1"),
    (np.full(32, np.nan), "32 of 32 commands are NaN"),
    (np.zeros(31), r"shape \(1, 31\); give one command for each of the 32 cells")])
def test_an_action_that_does_not_fit_is_refused(environments, action, said):
    env = environments.BurgersEnv(problem, WEIGHT)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=said):
        env.step(action)


def test_an_episode_has_a_beginning_and_an_end(environments):
    env, still = environments.BurgersEnv(problem, WEIGHT), np.zeros(32, np.float32)
    with pytest.raises(RuntimeError, match=r"not begun; call reset\(\)"):
        env.step(still)
    env.reset(seed=0)
    for _ in range(problem.num_steps):
        env.step(still)
    with pytest.raises(RuntimeError, match=r"ended after its 32 steps; call reset\(\)"):
        env.step(still)


def test_an_unstable_environment_says_so(environments):
    env = environments.BurgersEnv(problem, WEIGHT)
    env.episodes.plant.solver = Burgers(problem.num_points, problem.length, problem.dt, upwind)  # Courant numbers of 3
    env.reset(seed=0)
    with pytest.raises(environments.Unstable, match=r"step \d+ of 32: the largest velocity .* take a smaller dt"):
        for _ in range(problem.num_steps):
            env.step(np.ones(32, np.float32))


def test_a_missing_library_is_a_sentence():
    code = ("import sys; sys.modules['gymnasium'] = None\n"
            "try:\n    from dpbook_course.problems import environments\n"
            "except ImportError as error:\n    print(error)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "need gymnasium, which is not installed; install it by: pip install stable-baselines3" in done.stdout


def test_sensor_noise_is_seen_and_is_the_same_every_time():
    policy, instances = problem.network(0), few()
    clean, noisy, again = (problem.episode(policy, instances, region=region)
                           for region in ("as trained", "noisy sensors", "noisy sensors"))
    assert torch.equal(noisy, again) and not torch.equal(clean, noisy)
    step = Controlled(problem.plant(), policy, 0.05)
    assert not torch.equal(step.command(instances.start()), step.command(instances.start()))


@pytest.mark.parametrize("settings, said", [
    ({"num_steps": math.inf}, "num_steps is inf; give a whole number"), ({"dt": 0.0}, "dt is 0.0; give a positive")])
def test_an_episode_that_never_ends_is_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        replace(problem, **settings)


def test_another_problem_is_a_change_of_its_settings():
    assert SHORT.episode(Nothing(), few()).shape == (3, 4, 4, 32)
    assert problem.settings["bound"] == 2.0


@pytest.mark.parametrize("slip, message", [
    (lambda: SHORT.plant(region="other viscosities"), "region is 'other viscosities'; choose one of as trained, other"),
    (lambda: SHORT.judge(Nothing(), [0], WEIGHT, regions="as trained"), "region is 'a'; choose one of as trained"),
    (lambda: SHORT.judge(Nothing(), 0, WEIGHT), "seeds is 0; give a list of seeds"),
    (lambda: SHORT.judge(Nothing(), [], WEIGHT), r"seeds is \[\]; give a list of seeds"),
    (lambda: SHORT.instances("Train", 0), "no instances 'Train' of seed 0; give one of train, validation, test"),
    (lambda: SHORT.instances("train", -1), "no instances 'train' of seed -1; give"),
    (lambda: SHORT.episode(Nothing(), few().start()), "instances is a tensor .*; give what .instances"),
    (lambda: SHORT.objective(Nothing, WEIGHT), "policy is the class Nothing; give a network"),
    (lambda: SHORT.objective(None, WEIGHT), "policy is None; give a network"),
    (lambda: SHORT.objective(Nothing(), -WEIGHT), "weight is -0.01; give a number of at least 0"),
    (lambda: SHORT.objective(Nothing(), math.nan), "weight is nan; give a number of at least 0"),
    (lambda: SHORT.plant(Relay), "actuator is the class Relay; give what makes a force")])
def test_slips_are_named(slip, message):
    with pytest.raises((TypeError, ValueError), match=message):
        slip()


def test_slips_in_environments_are_named():
    pytest.importorskip("stable_baselines3")
    from dpbook_course.problems.environments import BurgersEnv, ManyEpisodes

    with pytest.raises(TypeError, match="BurgersEnv: problem is None; give a problem"):
        BurgersEnv(None)
    with pytest.raises(TypeError, match="Episodes: instances is None; give what"):
        ManyEpisodes(SHORT, None, 2, WEIGHT)
    with pytest.raises(ValueError, match="Episodes: weight is -1.0; give a number of at least 0"):
        BurgersEnv(SHORT, -1.0)
    environment = BurgersEnv(SHORT)
    environment.reset(seed=0)
    for action, message in ((torch.zeros(SHORT.num_points, requires_grad=True), r"action.detach\(\)"),
                            ("text", "give real numbers"), (np.zeros(SHORT.num_points) + 0j, "give real numbers")):
        with pytest.raises(TypeError, match=message):
            environment.step(action)
