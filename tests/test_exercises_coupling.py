"""The checks of chapter 04: the right answer passes, typical wrong ones get the fitting hint."""

import pytest
import torch
from torch import nn

from dpbook_course.exercises.coupling import check_conserving, check_transform, check_upwind_numbers
from dpbook_utils.coupling import Additive, Coupling


class WithoutMean(Coupling):
    def couple(self, u, output, **parameters):
        return u + output - output.mean(-1, keepdim=True)


class Flux(Coupling):
    def couple(self, u, output, **parameters):
        return u + output - output.roll(1, -1)


class WholeBatch(Coupling):
    def couple(self, u, output, **parameters):
        return u + output - output.mean()


class Nothing(Coupling):
    def couple(self, u, output, **parameters):
        return u + 0 * output


class Detached(Coupling):
    def couple(self, u, output, **parameters):
        return u + (output - output.mean(-1, keepdim=True)).detach() + 0 * u.requires_grad_()


class Reduced(Coupling):
    def couple(self, u, output, **parameters):
        return output.mean(-1)


class Constant(Coupling):
    def couple(self, u, output, **parameters):
        return (u + output - output.roll(1, -1)).detach()


class NotANumber(Coupling):
    def couple(self, u, output, **parameters):
        return u + output * float("nan")


class Broken(Coupling):
    def couple(self, u, output, **parameters):
        raise RuntimeError("not written yet")


@pytest.mark.parametrize("make_coupling, right, hint", [
    (None, False, "Replace None"), (WithoutMean, True, "kept to rounding"), (Flux, True, "kept to rounding"),
    (Additive, False, "take from others"), (WholeBatch, False, "mean over x only"), (Nothing, False, "nothing is"),
    (Detached, False, "detached"), (Reduced, False, "keep the shape"), (Broken, False, "not written yet"),
    (Constant, False, "detached"), (NotANumber, False, "not finite"),
    (nn.Identity, False, "subclass of Coupling"), (WithoutMean(nn.Identity()), False, "class itself")])
def test_conserving(make_coupling, right, hint):
    feedback = check_conserving(make_coupling)
    assert feedback.right == right and hint in feedback.message


@pytest.mark.parametrize("transform, right, hint", [
    (None, False, "Replace None"),
    (lambda o: 2 * torch.sigmoid(o - 3), True, "gradient in between"),
    (lambda o: o, False, "negative diffusion"),
    (nn.functional.softplus, False, "bound it"),
    (lambda o: 2 * torch.sigmoid(o), False, "starts far"),
    (lambda o: o.clamp(0, 2), False, "exactly zero"),
    (lambda o: 2 * torch.sigmoid(-o - 3), False, "falls somewhere"),
    (lambda o: o.sum(), False, "same shape"), ("abc", False, "not str"),
    (lambda o: o.unknown(), False, "AttributeError"),
    (lambda o: (2 * torch.sigmoid(o - 3)).detach(), False, "detached"),
    (lambda o: torch.full_like(o, 0.1), False, "No gradient"), (lambda o: o.new_zeros(33), False, "same shape")])
def test_transform(transform, right, hint):
    feedback = check_transform(transform, 2.0)
    assert feedback.right == right and hint in feedback.message


@pytest.mark.parametrize("numbers, right, hint", [
    (None, False, "Replace None"), ([0, 0.5, -0.5, 0], True, "from the cell on its left"),
    (torch.tensor([1.0, 1.5, 0.5, 1.0]), True, "(0, 1, 0, 0)"),  # a common number changes nothing
    ([0, -0.5, 0.5, 0], False, "flow to the left"), ([0, 1, 0, 0], False, "(-0.25, 1.25, 0.25, -0.25)"),
    ([0, 1], False, "four numbers"), ("abc", False, "'abc' cannot be read"), ([0, "x", 0, 0], False, "cannot be read"),
    ([[0], [0, 1]], False, "cannot be read"), (nn.Identity(), False, "cannot be read"),
    ([0, float("nan"), 0, 0], False, "nan")])
def test_upwind_numbers(numbers, right, hint):
    feedback = check_upwind_numbers(numbers)
    assert feedback.right == right and hint in feedback.message
