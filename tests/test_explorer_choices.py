"""The playground's choices: which of them train, what is said about the others, and that it is true."""

import functools
import itertools
import re
from dataclasses import replace

import pytest
import torch
from torch import nn

from dpbook_course.explorer.choices import COMPOSITIONS, GRADIENTS, OFFERED, PLACEMENTS, Choices, objection, remarks
from dpbook_course.explorer.problems import PROBLEMS
from dpbook_course.studies.e05 import coupling as e05_coupling
from dpbook_utils import coupling, gradients, losses, noise, objectives, rollout
from dpbook_utils.coupling import SolverCoupling
from dpbook_utils.gradients import Truncated
from dpbook_utils.physics.solver import Solver, select

PARAMETERS = {"Kuramoto-Sivashinsky": {"length": 48.0}, "Burgers": {"viscosity": 0.3}}
PAIRS = list(itertools.product(PROBLEMS, COMPOSITIONS))


def result(choices: Choices, objective=None, step=None):
    """(loss, gradients of all weights) at a small batch."""
    torch.manual_seed(0)
    step = choices.step() if step is None else step
    objective = choices.objective(step) if objective is None else objective
    points = choices.problem.solver().state_shape[-1]
    u0 = torch.sin(torch.linspace(0, 12, points) + torch.arange(2)[:, None])[:, None]
    reference = 0.9 * u0[:, None].expand(-1, choices.num_steps, -1, -1)
    loss = objective(u0, reference, **select(step, PARAMETERS[choices.pde]))
    loss.backward()
    return loss.detach(), [w.grad for w in step.parameters()]


@functools.cache
def gradient(choices: Choices) -> torch.Tensor:
    return torch.cat([g.flatten() for g in result(choices)[1]])


@pytest.mark.parametrize("pde, name", PAIRS, ids=map(", ".join, PAIRS))
def test_choices_train_exactly_if_nothing_is_objected(pde, name):
    for m, policy, placement in itertools.product((1, 3), GRADIENTS, PLACEMENTS):
        choices = Choices(pde, name, m, policy, placement)
        if objection(choices) is None:
            _, found = result(choices)
            assert all(g is not None and g.isfinite().all() for g in found), choices
            assert found[-1].norm() > 0, choices
        else:
            with pytest.raises((ValueError, objectives.NoGradientPath)):
                result(choices)


def test_noise_changes_no_answer():
    for m, policy, placement in itertools.product((1, 3), GRADIENTS, PLACEMENTS):
        choices = Choices("Burgers", "right-hand side", m, policy, placement, 0.1)
        assert objection(choices) == objection(replace(choices, noise=0.0))
        if objection(choices) is None:
            assert all(g.isfinite().all() for g in result(choices)[1])


@pytest.mark.parametrize("choices, words", [
    (Choices(coupling="additive, N first", gradient="not through the solver"), "last operator .* act last"),
    (Choices("Burgers", "right-hand side", gradient="not through the solver"), "inside the solver's call.*additive"),
    (Choices(gradient="last step only"), "only the last of the 4 steps .* final step"),
    (Choices(coupling="right-hand side"), "takes no force .*it takes length.* Choose Burgers"),
    (Choices(coupling="viscosity"), "takes no local viscosity .* Choose Burgers"),
], ids=["solver last", "solver holds the network", "push-forward", "no force", "no viscosity"])
def test_objections_say_why_and_what_to_do(choices, words):
    text = objection(choices)
    assert text is not None and re.search(words, text), text


@pytest.mark.parametrize("pde, name", PAIRS, ids=map(", ".join, PAIRS))
def test_compositions_are_what_they_say(pde, name):
    choices, composition = Choices(pde, name), COMPOSITIONS[name]
    if objection(choices) is not None:
        return
    step = choices.step()
    operators = list(step) if isinstance(step, nn.Sequential) else [step]
    assert composition.solver_last == isinstance(operators[-1], Solver)
    assert composition.sets == (operators[-1].name if isinstance(operators[-1], SolverCoupling) else None)


@pytest.mark.parametrize("pde", PROBLEMS)
def test_parameters_of_the_solver(pde):
    assert PROBLEMS[pde].takes == PROBLEMS[pde].solver().parameter_names


@pytest.mark.parametrize("choices", [
    Choices(), Choices("Burgers", "viscosity", 3, "cut every 2 steps", noise=0.1), Choices("Burgers", "interpolation"),
    Choices("Burgers", "right-hand side", 2, "last step only", "final step"), Choices(coupling="no solver"),
    Choices(coupling="multiplicative, N first", num_steps=3, gradient="through the solver only"),
    Choices("Burgers", "replace", 2, "not through the solver")], ids=lambda choices: choices.coupling)
def test_the_line_of_code_is_the_training(choices):
    step = choices.step()
    names = {**vars(coupling), **vars(gradients), **vars(losses), **vars(noise), **vars(objectives), **vars(rollout),
             **vars(e05_coupling), "P": choices.problem.solver(),
             "N": next(m for m in step.modules() if isinstance(m, coupling.Coupling)).network}
    written = eval(choices.code, names)
    found, expected = result(choices, written, written.rollout.step), result(choices)
    torch.testing.assert_close(found[0], expected[0])
    torch.testing.assert_close(found[1], expected[1])


class TestRemarks:
    def test_one_step_is_one_training(self):
        for policy, placement in itertools.product(GRADIENTS, PLACEMENTS):
            choices = Choices(num_steps=1, gradient=policy, placement=placement)
            torch.testing.assert_close(gradient(choices), gradient(Choices(num_steps=1)), rtol=0, atol=0)
            said = any("same training" in line for line in remarks(choices))
            assert said == ((policy, placement) != ("full", "every step"))

    @pytest.mark.parametrize("choices", [
        Choices(num_steps=2, gradient="cut every 2 steps"),
        Choices("Burgers", "no solver", gradient="not through the solver")])
    def test_this_is_the_full_gradient(self, choices):
        assert any("this is the full gradient" in line for line in remarks(choices))
        torch.testing.assert_close(gradient(choices), gradient(replace(choices, gradient="full")))

    def test_no_gradient_through_the_solver_cuts_between_steps(self):
        choices = Choices(gradient="not through the solver")
        assert any("cuts the gradient between any two steps" in line for line in remarks(choices))
        step = choices.step()
        objective = replace(choices.setup, gradient=Truncated(1)).objective(step)
        expected = torch.cat([g.flatten() for g in result(choices, objective, step)[1]])
        torch.testing.assert_close(gradient(choices), expected)
        assert not torch.allclose(gradient(choices), gradient(Choices()), rtol=1e-2)

    def test_a_cut_that_cuts_needs_no_remark(self):
        choices = Choices(num_steps=4, gradient="cut every 2 steps")
        assert not any("cut" in line for line in remarks(choices))
        assert not torch.allclose(gradient(choices), gradient(Choices()), rtol=1e-2)


@pytest.mark.parametrize("name, value", [
    ("pde", "Navier-Stokes"), ("coupling", "divisive"), ("num_steps", 5), ("gradient", "none"), ("placement", "first"),
    ("noise", -1.0), ("budget", 0)])
def test_what_is_not_offered_is_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} is {value!r}; choose one of"):
        Choices(**{name: value})


def test_offers():
    assert set(OFFERED) == set(Choices.__dataclass_fields__)
    assert all(len(set(offered)) == len(offered) > 1 for offered in OFFERED.values())
    assert {type(policy) for policy in GRADIENTS.values()} == {
        getattr(gradients, name) for name in
        ("FullGradient", "Truncated", "NoSolverGradient", "Pushforward", "PhysicsPath")}
