"""E03: the estimators recover known rates, states are compared with the right ones, verdicts follow their criteria."""

import math

import numpy as np
import pandas
import pytest
import torch
from torch import nn

from dpbook_course.claims import claims
from dpbook_course.claims.findings import between
from dpbook_course.problems import kuramoto_sivashinsky as ks
from dpbook_course.problems.problem import Trajectories
from dpbook_course.studies.e03 import growth as e03
from dpbook_course.studies.e03 import perturbations as e03_perturbations
from dpbook_course.studies.e03 import verdict as verdicts_e03
from dpbook_utils.physics.solver import Solver


def saturating(rate, first, steps=400):
    """Exponential growth after a transient, up to about the size of the state."""
    k = torch.arange(steps + 1, dtype=torch.float64)
    return (first * torch.exp(rate * k) * (1 + 5 * torch.exp(-k / 3))).clamp(max=1.4)


def test_the_slope_of_a_perturbation_is_its_rate():
    pairs = torch.stack([saturating(rate, 1e-8) for rate in (0.07, 0.08)])
    phase = e03_perturbations.exponential_phase(pairs)
    assert phase[0] == e03_perturbations.SETTLED and (pairs[:, phase[0]:phase[1] + 1] <= e03_perturbations.LARGE).all()
    assert e03_perturbations.slope(pairs.log().mean(0).exp(), phase) == pytest.approx(0.075, rel=1e-3)


def test_a_pair_that_saturates_early_ends_the_phase_of_all():
    early = torch.stack([saturating(0.07, 1e-8), saturating(0.2, 1e-8)])
    assert e03_perturbations.exponential_phase(early)[1] < e03_perturbations.exponential_phase(early[:1])[1]


def test_without_exponential_growth_there_is_no_slope():
    phase = e03_perturbations.exponential_phase(saturating(0.07, 1e-2)[None])
    assert phase is None and math.isnan(e03_perturbations.slope(saturating(0.07, 1e-2), phase))


def test_perturbations_of_all_sizes_have_the_same_direction():
    u = torch.randn(2 * e03_perturbations.SAMPLES, 1, 48, dtype=torch.float64)
    small, large = (e03_perturbations.perturb(u, size, (3, 5)) - u for size in (1e-4, 1e-2))
    assert torch.allclose(100 * small, large, rtol=1e-6, atol=1e-12)
    assert torch.allclose(large.flatten(1).norm(dim=1), 1e-2 * u.flatten(1).norm(dim=1))
    other = e03_perturbations.perturb(u, 1e-2, (4, 5)) - u
    assert torch.equal(other[16:], large[16:]) and not torch.allclose(other[:16], large[:16])


def test_growth_of_an_error_curve():
    curve = 0.01 * torch.exp(0.07 * torch.arange(1, 101, dtype=torch.float64))
    assert e03.growth(curve.clamp(max=1.4)) == pytest.approx(0.07, rel=1e-6)
    assert math.isnan(e03.growth(100 * curve))


class Twice(Solver):
    """u -> factor u, of a known error against the reference's step."""

    required = ("length",)

    def __init__(self, factor):
        super().__init__(1.0, (1, 48))
        self.factor = factor
        self.reference = ks.reference_solver()

    def step(self, u, *, length):
        return self.factor * self.reference(u, length=length)


def test_one_step_error_is_that_against_the_reference_from_the_same_state():
    u, length = torch.randn(3, 1, 48), torch.full((3,), 50.0)
    assert torch.equal(e03.one_step_error(ks.reference_solver(), u, length), torch.zeros(3))
    assert torch.allclose(e03.one_step_error(Twice(1.25), u, length), torch.full((3,), 0.25), atol=1e-6)
    u[1, 0, 7] = math.nan
    assert e03.one_step_error(Twice(1.25), u, length).isinf().tolist() == [False, True, False]


class Adding(nn.Module):
    """Adds one in every step, so that a state tells how many it has seen."""

    def forward(self, u):
        return u + 1


def test_visited_states_are_those_of_the_steps_of_a_window():
    windows = [{"u0": torch.tensor([10.0, 20.0]).view(2, 1, 1), "reference": torch.zeros(2, 3, 1, 1)}]
    batch = e03.Visited(Adding(), windows, 3)[0]
    assert batch["u0"].flatten().tolist() == [10, 11, 12, 20, 21, 22] and set(batch) == {"u0"}
    windows[0]["length"] = torch.tensor([5.0, 6.0])
    step = ks.hybrid(ks.ensemble((0,), 4, 1))
    windows[0] |= {"u0": torch.randn(2, 1, 48), "length": torch.tensor([50.0, 60.0])}
    batch = e03.Visited(step, windows, 3)[0]
    assert batch["length"].tolist() == [50.0] * 3 + [60.0] * 3 and not batch["u0"].requires_grad
    expected = step(step(windows[0]["u0"], length=windows[0]["length"]), length=windows[0]["length"])
    assert torch.allclose(batch["u0"][[2, 5]], expected)


def test_judging_a_known_step(monkeypatch):
    small = Trajectories(ks.trajectories("validation").states[::9],
                         {"length": ks.trajectories("validation").length[::9]})
    monkeypatch.setattr(e03.ks, "trajectories", lambda region: small)
    monkeypatch.setattr(e03, "PLACES", (1, 4))
    monkeypatch.setattr(e03, "exponent", lambda: torch.tensor(0.07, dtype=torch.float64))
    found = e03.judge(Twice(1.1), 1)
    assert found["one_step"].item() == pytest.approx(0.1, rel=1e-4)
    assert torch.allclose(found["own_error"], torch.full((1, 2), 0.1, dtype=torch.float64), rtol=1e-3)
    assert torch.allclose(found["reference_error"], found["own_error"], rtol=1e-3)
    assert found["distance"][0, 1] > found["distance"][0, 0] == found["one_step"][0]


def test_set_ups_that_are_compared_share_what_they_should():
    rows = e03.SPEC.variants
    assert {row.setup.learning_rate for row in rows.values()} == {3e-3}
    stored, fresh = rows["STORED-8"].setup, rows["FRESH-8"].setup
    states = stored.batch_size * e03.UNROLLED  # of each update: every window of STORED has so many
    assert states == fresh.batch_size * fresh.num_steps == rows["ONE, batch 128"].setup.batch_size
    assert fresh.gradient.enter(torch.ones(1, requires_grad=True), 1, 8).requires_grad is False


def frame(variant, budget=0, **metrics):
    seeds = len(next(iter(metrics.values())))
    return pandas.DataFrame({"variant": variant, "budget": budget, "seed": range(seeds), **metrics})


def perturbations(rate=0.07, lost=0):
    spread = 1 + 0.01 * np.arange(10) / 10
    rows = [frame(f"size {size:g}", slope=rate * spread, exponent=0.07 * np.ones(10),
                  decorrelation=(-math.log10(size) * math.log(10) / 0.07 + lost) * spread)
            for size in e03_perturbations.SIZES]
    return pandas.concat(rows)


def e04(related):
    """Networks whose time to decorrelation follows from the one-step error, or not."""
    generator = np.random.default_rng(0)
    rows = []
    for budget in verdicts_e03.BUDGETS:
        for variant in ("ONE", "WIG-3", "NOG-8"):
            error = 0.01 * np.exp(generator.normal(size=12))
            other = np.log(error) if related else generator.normal(size=12)
            rows.append(frame(variant, budget, **{"one_step.inside": error, "decorrelation.inside": 40 - 5 * other,
                                                    "diverged_at": -1}))
    rows.append(frame("P", 0, **{"one_step.inside": [0.03], "decorrelation.inside": [10.0], "diverged_at": -1}))
    return pandas.concat(rows)


@pytest.mark.parametrize("rate, related, outcome", [
    (0.07, False, claims.SUPPORTED), (0.07, True, claims.UNDER_CONDITIONS), (0.03, False, claims.CONTRADICTED)])
def test_verdict_on_error_growth(rate, related, outcome):
    frames = {"e03_perturbations": perturbations(rate), "e04": e04(related)}
    verdict = claims.judge(verdicts_e03.CLAIMS["C07"], frames)
    assert verdict.outcome == outcome and verdict.num_seeds == 10


def test_all_trained_hybrids_with_the_larger_network_are_asked():
    """By name: a push-forward begins with P, and is no solver alone."""
    from dpbook_course.studies.e04 import unrolling as e04_unrolling

    rows = pandas.concat([frame(name, 1500, x=[0]) for name in e04_unrolling.SPEC.variants])
    left_out = set(e04_unrolling.SPEC.variants) - set(verdicts_e03.networks(rows, 1500).variant)
    assert left_out == e04_unrolling.SPEC.baselines | {
        name for name in e04_unrolling.SPEC.variants if name.startswith("predictor") or name.endswith("small")}


def test_between_is_contradicted_outside_of_its_limits_only():
    near, far = (between("", pandas.Series(value * np.linspace(0.97, 1.03, 6)), 0.9, 1.1).effect
                 for value in (1.11, 2.0))
    assert (near.reading, far.reading) == ("undecided", "the other way")
    wide = between("", pandas.Series(np.linspace(0.8, 1.15, 6)), 0.9, 1.1).effect
    assert 0.9 < wide.value < 1.1 and wide.reading == "undecided", "its interval decides, and not the mean"
    assert between("", pandas.Series(np.linspace(0.95, 1.05, 6)), 0.9, 1.1).effect.holds


def test_verdict_on_error_growth_without_results_is_undecided():
    assert claims.judge(verdicts_e03.CLAIMS["C07"], {"e04": e04(False)}).outcome == claims.UNDECIDED


def shifts(own, fresh):
    rows = []
    errors = {"ONE": own, "ONE, batch 128": own, "STORED-8": own, "FRESH-8": fresh, "WIG-8": own}
    for variant, error in errors.items():
        spread = 1 + 0.02 * np.arange(12) / 2
        tables = {"own_error": error, "reference_error": 0.01, "disagreement": 0.5}
        metrics = {name: [np.full(4, value) * s for s in spread] for name, value in tables.items()}
        rows.append(frame(variant, 1500, one_step=0.01 * spread, decorrelation=30 * spread, growth=0.07 * spread,
                          exponent=0.07 * spread, **metrics))
    return pandas.concat(rows)


@pytest.mark.parametrize("own, fresh, outcome", [
    (0.02, 0.01, claims.SUPPORTED), (0.02, 0.02, claims.UNDER_CONDITIONS), (0.01, 0.01, claims.CONTRADICTED)])
def test_verdict_on_shifted_states(own, fresh, outcome):
    verdict = claims.judge(verdicts_e03.CLAIMS["C08"], {"e03": shifts(own, fresh)})
    assert verdict.outcome == outcome, verdict
