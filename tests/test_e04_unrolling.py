"""E04: what is compared is comparable, and the rules of its claims reach each of their outcomes."""


import numpy as np
import pandas
import pytest
import torch

from dpbook_course.claims import claims
from dpbook_course.experiments import results
from dpbook_course.problems import kuramoto_sivashinsky as ks
from dpbook_course.problems.problem import Trajectories
from dpbook_course.studies.e04 import unrolling as e04
from dpbook_course.studies.e04 import verdict as verdicts_e04
from dpbook_utils.coupling import Additive, Replace
from dpbook_utils.data import random_fourier, simulate
from dpbook_utils.rollout import Sequential
from dpbook_utils.setups import Setup, train

SEEDS = (1, 2)
TRAINED = [name for name in e04.SPEC.variants if name not in e04.SPEC.baselines]


@pytest.fixture(scope="module")
def small_data():
    """Two short trajectories instead of 36 long ones."""
    lengths = ks.unit_length * torch.tensor([0.9, 1.2])
    u0 = random_fourier(2, ks.num_points, modes=4, seed=0)
    return Trajectories(simulate(ks.reference_solver(), u0, 24, warmup=40, length=lengths), {"length": lengths})


@pytest.fixture(autouse=True)
def on_small_data(monkeypatch, small_data):
    monkeypatch.setattr(ks, "trajectories", lambda name: small_data)


# PRE is ONE


class Stored:
    """PRE's data: the solver's output and what it is to become, computed once, before the training."""

    def __init__(self, corrections: bool):
        solver, batches = ks.coarse_solver(), ks.windows(SEEDS, e04.LONGEST, 16)
        self.pairs = []
        for k in range(5):
            batch = batches[k]
            u, reference = solver(batch["u0"], length=batch["length"]), batch["reference"][:, :1]
            self.pairs.append({"u0": u, "reference": reference - u[:, None] if corrections else reference,
                               "length": batch["length"]})


def trained_weights(step_of, batches):
    networks = ks.ensemble(SEEDS, 16, 4)
    setup = e04.SPEC.variants["ONE"].setup
    history = train(setup, setup.objective(step_of(networks)), batches, 5, trace=False)
    return history, [w.detach() for w in networks.parameters()]


def test_training_on_stored_pairs_is_one_step_training_bit_for_bit():
    one, expected = trained_weights(ks.hybrid, ks.windows(SEEDS, e04.LONGEST, 16))
    stored, found = trained_weights(lambda n: Sequential(Additive(n)), Stored(corrections=False).pairs)
    assert torch.equal(one.losses, stored.losses) and torch.equal(one.gradient_norms, stored.gradient_norms)
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_training_on_stored_corrections_differs_by_rounding_alone():
    """(P(u) + N) - reference against N - (reference - P(u))."""
    one, _ = trained_weights(ks.hybrid, ks.windows(SEEDS, e04.LONGEST, 16))
    stored, _ = trained_weights(lambda n: Sequential(Replace(n)), Stored(corrections=True).pairs)
    assert torch.allclose(one.losses, stored.losses, rtol=1e-3)
    assert torch.allclose(one.gradient_norms[0], stored.gradient_norms[0], rtol=1e-4)


# Pairs are pairs


@pytest.fixture
def arguments(monkeypatch):
    """``arguments(variant)``: what ``run`` hands to ``train``, as (setup, objective, batches, budget, options)."""
    calls = []

    def capture(*positional, **options):
        calls.append((*positional, options))

    monkeypatch.setattr(e04, "train", capture)
    monkeypatch.setattr(ks, "evaluate", lambda step, num_seeds: {})
    monkeypatch.setattr(e04, "training_metrics", lambda *_: {})

    def of(variant):
        e04.run(variant, SEEDS, 1500)
        return calls.pop()

    return of


def test_all_set_ups_share_initial_weights_windows_and_noise(arguments):
    expected = {width: [torch.cat(w) for w in zip(*(ks.network(s, width, 4).parameters() for s in SEEDS))]
                for width in (8, 16)}
    _, _, reference, *_ = arguments("ONE")
    for name in TRAINED:
        setup, objective, batches, budget, options = arguments(name)
        width = e04.SPEC.variants[name].width
        assert all(map(torch.equal, objective.parameters(), expected[width])), name
        assert budget == 1500 and options["noise_seed"] == SEEDS[0] and setup == e04.SPEC.variants[name].setup
        if setup.batch_size == 16:
            for k in (0, 7):
                assert all(torch.equal(batches[k][key], value) for key, value in reference[k].items()), name
    assert {name for name in TRAINED if e04.SPEC.variants[name].setup.batch_size != 16} == {"ONE, batch 48"}


def test_set_ups_differ_in_what_their_names_say_only():
    """Clipping, batch size and the warm-up are the same within a comparison."""
    setups = {name: row.setup for name, row in e04.rows().items()}
    assert {setup.clip_norm for setup in setups.values()} == {Setup().clip_norm}
    assert {setup.learning_rate for setup in setups.values()} == {Setup().learning_rate}
    for m in verdicts_e04.UNROLLED:
        same_length = {setup.curriculum for setup in setups.values() if setup.num_steps == m}
        assert len(same_length) == 1, f"set-ups of {m} steps warm up differently"
    assert ks.batch_seed not in e04.SEEDS and len(set(ks.data_seeds.values())) == 3


@pytest.mark.parametrize("name", TRAINED)
def test_every_objective_has_a_finite_loss_and_a_gradient(name, arguments):
    _, objective, batches, *_ = arguments(name)
    losses = objective.train().per_member(**batches[0])
    losses.sum().backward()
    gradients = [w.grad for w in objective.parameters()]
    assert losses.shape == (len(SEEDS),) and torch.isfinite(losses).all()
    assert all(g is not None and torch.isfinite(g).all() and g.abs().max() > 0 for g in gradients)


def test_the_learning_rates_are_those_that_the_tuning_chose():
    chosen = e04.TUNING.best(results.frame(e04.TUNING.spec))
    assert e04.LEARNING_RATES == chosen
    for name, rate in chosen.items():
        for variant in {name, f"{name}, small"} & set(TRAINED):
            assert e04.SPEC.variants[variant].setup.learning_rate == rate


def test_records_keep_a_training_that_diverged_at_once():
    history = train(Setup(learning_rate=1e30), Setup().objective(ks.hybrid(ks.ensemble(SEEDS, 4, 1))),
                    ks.windows(SEEDS, e04.LONGEST, 4), 40)
    found = e04.training_metrics(history, 40, len(SEEDS))
    assert found["losses"].shape == (2, 32) and torch.isnan(found["losses"][:, -1]).all()
    assert (found["diverged_at"] >= 0).all() and len(found["seconds_per_update"]) == 2


# The rules of the claims

SCATTER, NOISE = np.array([1.0, 1.3, 0.8, 1.1, 0.6, 0.9]), np.array([1.02, 0.97, 1.01, 0.98, 1.03, 1.0])
COST = {"ONE": 0.01, "NOG": 0.02, "WIG": 0.025}  # seconds of an update


def made_up(error, *, growth=None, blown_up=None, seeds=12, leave_out=(), slow=1.0):
    """A frame of E04: ``error(set-up, m, budget, region, is predictor)`` decides, the other metrics follow it."""
    rows = []
    for name in TRAINED:
        kind, _, m = name.split(", ")[name.startswith("predictor")].partition("-")
        for budget in e04.SPEC.budgets[name] if kind in COST and name not in leave_out else ():
            for seed in range(seeds):
                own = NOISE[(seed + sum(map(ord, name))) % 6]
                row = {"variant": name, "budget": budget, "seed": seed, "diverged_at": -1,
                       "seconds_per_update": COST[kind] * (slow if kind == "WIG" else 1)}
                for region in verdicts_e04.REGIONS:
                    found = error(kind, int(m or 1), budget, region, "predictor" in name) * SCATTER[seed % 6] * own
                    late = (growth or {}).get(kind, 10)
                    row |= {f"error.{region}": found, f"decorrelation.{region}": 3 / found,
                            f"curve.{region}": np.linspace(1, late * own, 12),
                            f"blown_up.{region}": (blown_up or {}).get(kind, 0) * SCATTER[seed % 6]}
                rows.append(row)
    return pandas.DataFrame(rows)


def by_kind(factors, predictor=10.0, outside=2.0, predictor_outside=4.0, budget=lambda n: (1500 / n) ** 0.1):
    def error(kind, m, n, region, alone):
        away = (predictor_outside if alone else outside) if region != "inside" else 1
        return 0.1 * factors.get(kind, 1) * budget(n) * away * (predictor if alone else 1)

    return error


def outcome(claim, frame):
    return claims.judge(verdicts_e04.CLAIMS[claim], {"e04": frame})


EXPECTED = by_kind({"NOG": 0.9, "WIG": 0.4})
STABLE = {"growth": {"ONE": 20}, "blown_up": {"ONE": 0.3}}


def test_supported_if_all_is_as_claimed():
    frame = made_up(EXPECTED, **STABLE)
    for claim in ("C09", "C10", "C22"):
        verdict = outcome(claim, frame)
        assert verdict.outcome == "supported" and verdict.num_seeds == 12, verdict
    effect = outcome("C09", frame).effect("error inside, WIG-3 / ONE, 6,000 updates")
    assert effect.value == pytest.approx(0.4, rel=0.02) and effect.low < effect.value < effect.high
    assert "diverged: none" in outcome("C09", frame).note


def test_c09_needs_equal_time_stability_and_every_region():
    assert outcome("C09", made_up(EXPECTED, growth=STABLE["growth"])).outcome == "supported under conditions"
    assert "Nothing blew up" in outcome("C09", made_up(EXPECTED)).note
    # With every update as good as every other, ONE catches up in the time of the slower set-up.
    slower = outcome("C09", made_up(by_kind({"WIG": 0.6}, budget=lambda n: 1500 / n), **STABLE))
    assert slower.outcome == "supported under conditions" and "equal wall-clock" in slower.note
    assert slower.effect("error inside, WIG-3 / ONE, equal wall-clock").value == pytest.approx(0.6 * 2.5, rel=0.02)

    def worse_below(kind, m, n, region, alone):
        return EXPECTED("ONE" if region == "below" else kind, m, n, region, alone)

    assert outcome("C09", made_up(worse_below, **STABLE)).outcome == "supported under conditions"


def test_c09_contradicted():
    assert outcome("C09", made_up(by_kind({"WIG": 1.0}), **STABLE)).outcome == "contradicted"
    assert outcome("C09", made_up(by_kind({"WIG": 1.5}), **STABLE)).outcome == "contradicted"


def test_c10_weighs_the_gradient_against_unrolling_alone():
    alone = outcome("C10", made_up(by_kind({"NOG": 0.4, "WIG": 0.3})))  # the gradient helps, unrolling more so
    assert alone.outcome == "supported under conditions"
    assert alone.effect("error inside, WIG-8 / NOG-8, 6,000 updates").holds
    assert not alone.effect("error inside, (WIG-8 / NOG-8) / (NOG-8 / ONE), 6,000 updates").holds
    assert outcome("C10", made_up(by_kind({"NOG": 0.4, "WIG": 0.4}))).outcome == "contradicted"


def test_c10_says_whether_the_order_flips_with_the_budget():
    def flipping(kind, m, n, region, alone):
        return by_kind({"NOG": 1.1 if n == 1500 else 0.7, "WIG": 0.3})(kind, m, n, region, alone)

    assert "ONE and NOG-3 flips: NOG-3 / ONE is 1.1" in outcome("C10", made_up(flipping)).note
    assert "ONE and NOG-3 does not flip" in outcome("C10", made_up(EXPECTED)).note


def test_c22_needs_specialisation_and_deterioration():
    no_widening = outcome("C22", made_up(by_kind({"WIG": 0.4}, predictor_outside=2.0), **STABLE))
    assert no_widening.outcome == "supported under conditions" and "hybrid / predictor" in no_widening.note
    neither = outcome("C22", made_up(by_kind({}, predictor_outside=1.0)))
    assert neither.outcome == "contradicted"


@pytest.mark.parametrize("claim, lacking", [("C09", "WIG-8, small"), ("C10", "NOG-3"), ("C22", "predictor, ONE")])
def test_undecided_if_a_variant_or_a_seed_is_missing(claim, lacking):
    without = outcome(claim, made_up(EXPECTED, **STABLE, leave_out=(lacking,)))
    assert without.outcome == "undecided" and lacking in without.note
    assert any(effect.holds for effect in without.effects), "what is there is shown"
    assert outcome(claim, made_up(EXPECTED, **STABLE, seeds=5)).outcome == "undecided"
    assert outcome(claim, made_up(EXPECTED, **STABLE)[:0]).outcome == "undecided"


def test_trainings_that_diverged_are_named():
    frame = made_up(EXPECTED, **STABLE)
    frame.loc[(frame.variant == "WIG-8") & (frame.budget == 6000) & (frame.seed < 2), "diverged_at"] = 1
    assert "WIG-8 at 6,000 (2)" in outcome("C09", frame).note


def test_trainings_that_diverged_do_not_set_a_number():
    """They count as lost; the ratio is that of the others, and what is left of them is only shown."""
    frame = made_up(EXPECTED, **STABLE, seeds=6)
    lost = (frame.variant == "WIG-8") & frame.budget.isin((6000, 24000)) & (frame.seed == 2)
    frame.loc[lost, ["error.inside", "decorrelation.inside", "diverged_at"]] = 2.0, 1.0, 5
    verdict = outcome("C09", frame)
    name = "error inside, WIG-8 / ONE, 6,000 updates"
    whole, remains = verdict.effect(name), verdict.effect(f"{name}, last finite weights of trainings that diverged")
    assert whole.value == pytest.approx(0.4, rel=0.02) and whole.blown_up == (1, 0) and whole.holds is False
    assert remains.value > 0.6 and remains.holds is None
    timed = verdict.effect("error inside, WIG-8 / ONE, equal wall-clock")
    assert timed.blown_up == (1, 0) and timed.value < 1 and timed.reading == "undecided"
    longer = verdict.effect("time to decorrelation inside, ONE / WIG-8, 6,000 updates")
    assert longer.value == pytest.approx(0.4, rel=0.02) and longer.blown_up == (1, 0) and longer.reading == "undecided"


def test_criteria_and_study_name_the_same_things():
    assert set(verdicts_e04.WIGS) <= set(e04.SPEC.variants)
    assert set(verdicts_e04.REGIONS) == set(ks.test_lengths)
    assert set(made_up(EXPECTED)) - {"variant", "budget", "seed"} <= set(e04.SPEC.metrics)
    for claim in verdicts_e04.CLAIMS.values():
        assert "6,000" in claim.criterion and verdicts_e04.DECIDING == 6000


def test_published_ratios_are_those_of_the_paper():
    rows = {(p.channels, p.epochs): (p.nog / p.one, p.wig / p.one, p.wig / p.nog) for p in verdicts_e04.PUBLISHED}
    assert rows[26, 20][0] == pytest.approx(1.09, abs=0.01) and rows[26, 80][1] == pytest.approx(0.079, abs=0.001)
    assert rows[52, 80][2] == pytest.approx(0.41, abs=0.01)
    larger = [wig_nog < 0.99 * nog_one for nog_one, _, wig_nog in rows.values()]
    assert larger == [True, False, True, False]  # as the module says
