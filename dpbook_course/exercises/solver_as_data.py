"""Checks for the exercises of chapter 02_solver_as_data."""

import functools
import math
from collections.abc import Callable, Mapping

import torch
from torch import nn

from dpbook_utils.coupling import Additive
from dpbook_utils.data import Sampler, random_fourier
from dpbook_utils.gradients import NoSolverGradient
from dpbook_utils.networks import ConvResNet
from dpbook_utils.physics.advection import upwind
from dpbook_utils.physics.burgers import Burgers
from dpbook_utils.rollout import Rollout, Sequential

from . import Feedback, not_yet, right

NUM_POINTS, LENGTH, DT = 32, 32.0, 0.25
VISCOSITY, AMPLITUDE = (0.05, 0.5), (0.2, 0.8)


def rollouts(network: nn.Module) -> dict[str, Rollout]:
    """The set-ups of exercise 1, around one network."""
    P, N = _solver(), Additive(network)
    return {"P, then N": Rollout(Sequential(P, N), 1),
            "N, then P": Rollout(Sequential(N, P), 1),
            "twice P, then N": Rollout(Sequential(P, P, N), 1),
            "P, then N, four steps": Rollout(Sequential(P, N), 4),
            "P, then N, four steps, NOG": Rollout(Sequential(P, N), 4, gradient=NoSolverGradient())}


def check_storable(answers: Mapping[str, bool] | None) -> Feedback:
    """Exercise 1: for which set-ups could all outputs of P have been stored before training?"""
    if answers is None:
        return not_yet("Replace None by one answer, True or False, for each set-up.")
    truth = _storable()
    if not isinstance(answers, Mapping) or set(answers) != set(truth):
        return not_yet(f"Give one answer for each of {'; '.join(truth)}.")
    for name, answer in answers.items():
        if bool(answer) == truth[name]:
            continue
        if truth[name]:
            return not_yet(f"{name}: follow the state from u0 on. Does it pass N before it enters a P?")
        if "NOG" in name:
            return not_yet(f"{name}: cutting the gradient changes what is differentiated, not the states. What does P "
                           "start from in the second step?")
        return not_yet(f"{name}: some P starts from a state that N has changed, and N changes at every update.")
    return right("Outputs of P can be stored as long as N comes after every P. The gradient does not matter, the "
                 "states do.")


def check_passes(passes: Callable[[float, float, float], float] | None) -> Feedback:
    """Exercise 2: ``passes(generating, writing, reading)``, seconds per sample: from how many uses of every sample on
    is a stored set cheaper than fresh samples, each used once? Infinity if never.
    """
    if passes is None:
        return not_yet("Replace None by your function, without calling it: check_passes(passes).")
    if not callable(passes):
        return not_yet(f"You gave {type(passes).__name__}; define a function of three times.")
    for generating, writing, reading in ((10.0, 1.0, 1.0), (1.0, 1.0, 0.5), (2.0, 0.5, 1.9), (1.0, 0.2, 1.0),
                                         (1.0, 0.2, 3.0)):
        case = f"generating {generating:g}, writing {writing:g}, reading {reading:g} seconds"
        try:
            found = float(passes(generating, writing, reading))
        except Exception as error:  # whatever a reader's function raises is part of the answer
            return not_yet(f"With {case} your function fails: {error}")
        if reading >= generating:
            if found != math.inf:
                return not_yet(f"With {case}, each use of a stored sample costs no less than a fresh one: it never "
                               f"pays, so the answer is math.inf. You have {found:g}.")
            continue
        expected = (generating + writing) / (generating - reading)
        if math.isclose(found, (generating + writing) / generating):
            return not_yet("Reading costs too, once per use.")
        if math.isclose(found, generating / (generating - reading)):
            return not_yet("Writing costs too, once per sample.")
        if math.ceil(expected) != found and not math.isclose(found, expected):
            return not_yet(f"With {case}, n uses cost n * {generating:g} fresh and {generating:g} + {writing:g} + "
                           f"n * {reading:g} stored. They are equal at n = {expected:.3g}; you have {found:.3g}.")
    return right("A stored sample pays (generating + writing) once and reading at every use.")


def check_sampler(sampler: Sampler | None) -> Feedback:
    """Exercise 3: viscosities from 0.05 to 0.5 even in the logarithm, amplitudes from 0.2 to 0.8, and waves on 64 cells
    whose root-mean-square velocity is the amplitude.
    """
    if sampler is None:
        return not_yet("Replace None by a Sampler.")
    if not isinstance(sampler, Sampler):
        return not_yet(f"You gave {type(sampler).__name__}; build Sampler(initial, bounds, logarithmic=...).")
    try:
        u0, values = sampler(64, 0, 0)
    except Exception as error:  # whatever a reader's function raises is part of the answer
        return not_yet(f"Drawing 64 samples fails: {error}")
    for name, bounds in (("viscosity", VISCOSITY), ("amplitude", AMPLITUDE)):
        if name not in values:
            return not_yet(f"No {name} is sampled; name it in the bounds.")
        if sampler.bounds.get(name) != bounds:
            return not_yet(f"{name} is bounded by {sampler.bounds.get(name)}; it should be {bounds}.")
    if "viscosity" not in sampler.logarithmic or "amplitude" in sampler.logarithmic:
        return not_yet("Spread the viscosity, and it alone, evenly in its logarithm: 0.05 to 0.16 should be as likely "
                       "as 0.16 to 0.5.")
    if tuple(u0.shape) != (64, 1, 64):
        return not_yet(f"64 initial states have shape {tuple(u0.shape)}; expected (64, 1, 64): samples, one channel, "
                       "cells.")
    rms = u0.square().mean((1, 2)).sqrt()
    if not torch.allclose(rms, values["amplitude"], rtol=1e-3):
        return not_yet(f"The first state has a root-mean-square velocity of {float(rms[0]):.3g}, its amplitude is "
                       f"{float(values['amplitude'][0]):.3g}. Multiply waves of size 1 by values['amplitude'].")
    later = sampler(64, 0, 1)[0]
    if torch.allclose(u0 / rms[:, None, None], later / later.square().mean((1, 2), keepdim=True).sqrt(), atol=1e-3):
        return not_yet("The next batch has the same waves: draw them from the generator that initial receives.")
    return right("The stream covers the rectangle evenly, whatever number of samples is taken from it.")


@functools.cache
def _solver() -> Burgers:
    return Burgers(NUM_POINTS, LENGTH, DT, upwind)


@functools.cache
def _storable() -> dict[str, bool]:
    """Measured: what enters P with two different networks."""
    entered: list[dict[str, torch.Tensor]] = []
    u0 = 0.5 * random_fourier(2, NUM_POINTS, modes=4, seed=0)
    for seed in (0, 1):
        network = ConvResNet(1, 1, 1, width=4, num_blocks=1, output_scale=1.0, seed=seed)
        states: dict[str, torch.Tensor] = {}
        for name, rollout in rollouts(network).items():
            seen = []
            hook = _solver().register_forward_pre_hook(lambda module, inputs, seen=seen: seen.append(inputs[0]))
            with torch.no_grad():
                rollout(u0, viscosity=0.3)
            hook.remove()
            states[name] = torch.stack(seen)
        entered.append(states)
    return {name: torch.equal(entered[0][name], entered[1][name]) for name in entered[0]}
