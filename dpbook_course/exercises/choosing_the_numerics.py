"""Checks for the exercises of chapter 09_choosing_the_numerics."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from . import Feedback, not_yet, right


def check_slope(slope: Callable[[Tensor, Tensor], Tensor] | None) -> Feedback:
    """Exercise 1: the minmod slope, from the differences to the two neighbours."""
    if slope is None:
        return not_yet("Replace None by your function of two tensors, the differences behind and ahead.")
    a = torch.tensor([1.0, 2.0, -1.0, -3.0, 1.0, -2.0, 0.0])
    b = torch.tensor([2.0, 1.0, -3.0, -1.0, -1.0, 1.0, 1.0])
    try:
        found = slope(a, b)
    except Exception as error:  # whatever a reader's function raises is part of the answer
        return not_yet(f"Your slope cannot be applied to two tensors: {error}")
    if not isinstance(found, Tensor) or found.shape != a.shape:
        return not_yet("Give one slope for each cell: a tensor of the shape of the two differences.")
    if found[4:].abs().max() > 1e-6:
        return not_yet("Where the two differences have different signs, or one is zero, the cell is an extremum, and "
                       "its slope must be zero: else the scheme makes new extrema.")
    if (found[:4] * a[:4] < 0).any():
        return not_yet("Two negative differences belong to a falling state, whose slope is negative.")
    larger = torch.maximum(a.abs(), b.abs())[:4]
    if torch.allclose(found[:4].abs(), larger):
        return not_yet("That is the larger one of the two differences; the smaller one is the careful choice.")
    if torch.allclose(found[:4], (a + b)[:4] / 2):
        return not_yet("That is the mean of the two. It is of second order too, but a steep neighbour on one side "
                       "makes it overshoot the gentle one on the other.")
    if not torch.allclose(found[:4], torch.tensor([1.0, 1.0, -1.0, -1.0])):
        return not_yet("Of two differences with the same sign take the one that is smaller in size.")
    return right("Minmod is the most careful of the limiters; van Leer's slope lies between it and twice its value.")


def check_ranks(rank_correlation: Callable[[list[float], list[float]], float] | None) -> Feedback:
    """Exercise 2: Spearman's correlation of two lists without ties."""
    if rank_correlation is None:
        return not_yet("Replace None by your function of two lists of numbers.")
    rising, bent = [0.1, 0.2, 0.3, 0.4, 10.0], [1.0, 4.0, 9.0, 16.0, 17.0]
    try:
        same, opposite = (float(rank_correlation(rising, list(other))) for other in (bent, bent[::-1]))
        mixed = float(rank_correlation([3.0, 1.0, 2.0, 5.0, 4.0], rising))
    except Exception as error:  # whatever a reader's function raises is part of the answer
        return not_yet(f"Your function cannot be applied to two lists of five numbers: {error}")
    if abs(same - float(torch.corrcoef(torch.tensor([rising, bent]))[0, 1])) < 1e-3:
        return not_yet("That is the correlation of the numbers. One solver that is far worse than all others decides "
                       "it alone; correlate the ranks, 0, 1, 2, ..., that the numbers have in their list.")
    if abs(same - 1) > 1e-6 or abs(opposite + 1) > 1e-6:
        return not_yet(f"Two lists in the same order give {same:.3g}, in the opposite order {opposite:.3g}; 1 and -1 "
                       "are right. Are the ranks of each list those of its own numbers?")
    if abs(mixed - 0.6) > 1e-6:
        return not_yet(f"Of 3, 1, 2, 5, 4 and a rising list it is {mixed:.3g}; 0.6 is right. The rank of a number is "
                       "its place in the sorted list: argsort once gives the order, argsort of that the ranks.")
    return right("It asks for the order alone, so errors of 0.01 and of 1 may stand in one table.")


def check_target(target: Callable[[nn.Module, Tensor, Tensor], Tensor] | None) -> Feedback:
    """Exercise 3: the correction that makes one step of P exact: ``target(P, u, u_next)``."""
    if target is None:
        return not_yet("Replace None by a function of P, a state u and the next one, both of the reference.")
    generator = torch.Generator().manual_seed(0)
    u, u_next = torch.randn(2, 3, 1, 8, generator=generator)

    def P(u: Tensor) -> Tensor:
        return 0.5 * u + u.roll(1, -1) ** 2

    try:
        found = target(P, u, u_next)
    except Exception as error:  # whatever a reader's function raises is part of the answer
        return not_yet(f"Your function cannot be applied: {error}")
    if not isinstance(found, Tensor) or found.shape != u.shape:
        return not_yet("Give a correction for every value of the state: a tensor of its shape.")
    if torch.allclose(found, u_next - u):
        return not_yet("That is the whole change of the state, the target of a network without a solver. P makes a "
                       "part of this change already.")
    if torch.allclose(found, P(u) - u_next):
        return not_yet("The sign: the correction is added to what P gives.")
    if torch.allclose(found, u_next - P(u_next)):
        return not_yet("P starts from u, the state at the beginning of the step.")
    if not torch.allclose(found, u_next - P(u)):
        return not_yet("P(u) plus the correction must be the reference's next state.")
    return right("It contains whatever P does wrong, and so another P has another target.")
