"""E07: remedies differ in one thing each, slopes are recovered, costs are measured, verdicts follow their criteria."""

import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas
import pytest
import torch

from dpbook_course.claims import claims
from dpbook_course.descriptions import describe
from dpbook_course.problems import kuramoto_sivashinsky as ks
from dpbook_course.studies.e07 import cost as e07_cost
from dpbook_course.studies.e07 import gradients as e07_gradients
from dpbook_course.studies.e07 import horizons as e07
from dpbook_course.studies.e07 import verdict as verdicts_e07
from dpbook_utils import setups
from dpbook_utils.diagnostics import gradient_growth, lyapunov_exponents
from dpbook_utils.history import History
from dpbook_utils.losses import TrajectoryLoss, final_step
from dpbook_utils.objectives import Objective
from dpbook_utils.physics.solver import Solver
from dpbook_utils.rollout import Rollout


def difference(a, b, path=""):
    """Names of the entries in which two descriptions differ."""
    if not isinstance(a, dict) or not isinstance(b, dict):
        return set() if a == b else {path}
    return set().union(*(difference(a.get(k), b.get(k), f"{path}.{k}".strip(".")) for k in a.keys() | b.keys()))


CHANGES = {"small last layer": "output_scale", "clipping": "setup.clip_norm", "curriculum": "setup.curriculum",
           "truncation": "setup.gradient", "warm-up": "warmup", "physics path": "setup.gradient",
           "rate 0.001": "setup.learning_rate", "rate 0.0003": "setup.learning_rate"}


@pytest.mark.parametrize("m", e07.REMEDIES_AT)
def test_every_remedy_changes_one_thing(m):
    rows = {name: describe(row) for name, row in e07.SPEC.variants.items()}
    bare, best = rows[f"bare, m={m}"], rows[f"m={m}"]
    for remedy, changed in CHANGES.items():
        assert difference(bare, rows[f"bare + {remedy}, m={m}"]) == {changed}
    for part in verdicts_e07.PARTS:
        assert difference(best, rows[f"m={m} without {part}"]) == {CHANGES[part]}
    for remedy in ("truncation", "warm-up", "physics path"):
        assert difference(best, rows[f"m={m} with {remedy}"]) == {CHANGES[remedy]}
    assert difference(bare, best) == {CHANGES[part] for part in verdicts_e07.PARTS}


@pytest.mark.parametrize("m", e07.HORIZONS)
def test_a_curriculum_ends_with_half_of_the_budget_at_full_length(m):
    curriculum = replace(setups.Setup(m), curriculum=e07.stages(m)).curriculum_for(1500)
    if m == 1:
        assert curriculum is None
    else:
        assert curriculum[0] == 1 and curriculum[750] == m == max(curriculum.values())
        assert sorted(curriculum.values()) == [curriculum[k] for k in sorted(curriculum)]


def test_initial_weights_differ_by_the_factor_of_the_last_layer_only():
    small, plain = (dict(e07.networks((0, 3), scale).named_parameters()) for scale in (e07.SMALL, e07.PLAIN))
    changed = [name for name in small if not torch.equal(small[name], plain[name])]
    assert len(changed) == 1 and torch.allclose(small[changed[0]], e07.SMALL * plain[changed[0]])


def trained(row, train, budget=3):
    step = ks.hybrid(e07.networks((0,), row.output_scale))
    return train(step), torch.cat([w.detach().flatten() for w in step.parameters()])


def test_training_without_a_warm_up_is_that_of_the_other_experiments():
    row = e07.combination(1)
    _, ours = trained(row, lambda step: e07.train(row, step, (0,), 3, longest=2))
    windows = ks.windows((0,), 2, 16)
    _, theirs = trained(row, lambda step: setups.train(row.setup, row.setup.objective(step), windows, 3))
    assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-8)


def test_a_warm_up_raises_the_learning_rate():
    row = replace(e07.combination(1), warmup=0.5)
    history, _ = trained(row, lambda step: e07.train(row, step, (0,), 8, longest=1))
    rising = history.learning_rates[:4]
    assert (rising.diff() > 0).all() and rising[0] == pytest.approx(e07.RATE / 4)
    assert (history.learning_rates[4:].diff() < 0).all() and history.learning_rates[4] < e07.RATE


def test_trainings_that_all_diverge_say_when():
    row = e07.SPEC.variants["bare, m=8"]
    history, _ = trained(row, lambda step: e07.train(row, step, (0,), 3, longest=8))
    assert history.diverged_at.tolist() == [0]
    found = e07.training_metrics(history, 3)
    assert found["diverged_at"].tolist() == [0] and found["losses"].shape == (1, 32) and found["losses"].isnan().all()
    assert found["gradient_norms"].shape == (1, 4) and found["seconds"].tolist() == [0]


def test_metrics_of_a_training():
    history = History.empty(4, 2)
    history.gradient_norms[:] = torch.tensor([[0.5, 2.0], [0.5, 3.0], [2.0, math.nan], [0.5, math.nan]])
    history.losses[:] = torch.arange(8).view(4, 2)
    history.num_steps[:], history.seconds[:], history.diverged_at[:] = 1, 0.25, torch.tensor([-1, 2])
    found = e07.training_metrics(history, 4)
    assert found["long_gradients"].tolist() == [0.25, 1.0] and found["seconds"].tolist() == [1.0, 1.0]
    assert found["gradient_norms"][:, -1].tolist() == [2.0, 3.0] and found["losses"][0, -1] == 6


class Linear(Solver):
    """u_next = A u, of known exponents."""

    def __init__(self, matrix):
        super().__init__(1.0, (1, len(matrix)))
        self.register_buffer("matrix", matrix)

    def step(self, u):
        return u @ self.matrix.T


def test_the_slope_of_gradients_is_the_exponent_of_a_linear_map():
    basis = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))).Q
    step = Linear(basis @ torch.diag(torch.tensor([1.1, 0.7, 0.5, 0.4, 0.3, 0.2]).double()) @ basis.T)
    u0 = torch.randn(4, 1, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    objective = Objective(Rollout(step, 1), TrajectoryLoss(final_step, e07_gradients.inner_product))
    directions = e07_gradients.probe(u0)[:, None].expand(-1, 128, -1, -1)
    norms = gradient_growth(objective, {"u0": u0, "reference": directions}, verdicts_e07.HORIZONS)
    assert norms.weights.tolist() == [[0.0]] * len(verdicts_e07.HORIZONS)  # a chain without weights
    slope = verdicts_e07.slope(norms.state.log().mean(1).exp())
    exponent = lyapunov_exponents(step, u0, 50, warmup=20).mean()
    assert slope == pytest.approx(math.log(1.1), rel=1e-3) and float(exponent) == pytest.approx(slope, rel=1e-3)


def test_no_slope_of_gradients_that_overflow():
    norms = np.exp(0.07 * np.array(verdicts_e07.HORIZONS))
    assert verdicts_e07.slope(norms) == pytest.approx(0.07)
    norms[:3] = 5.0  # before the first horizon that counts
    assert verdicts_e07.slope(norms) == pytest.approx(0.07)
    norms[-1] = math.inf
    assert math.isnan(verdicts_e07.slope(norms))


def test_the_gradient_of_the_inner_product_is_the_adjoint():
    u = torch.randn(2, 1, 48, dtype=torch.float64, requires_grad=True)
    length, w = torch.full((2,), 50.0, dtype=torch.float64), e07_gradients.probe(u)
    loss = e07_gradients.inner_product(ks.reference_solver()(u, length=length)[:, None], w[:, None]).sum()
    found, = torch.autograd.grad(loss, u)
    v = torch.randn_like(u)
    _, tangent = torch.autograd.functional.jvp(lambda x: ks.reference_solver()(x, length=length), u.detach(), v)
    assert torch.allclose((found * v).sum((1, 2)), (w * tangent).sum((1, 2)))
    assert torch.allclose(w.flatten(1).norm(dim=1), torch.ones(2).double()) and w.mean(-1).abs().max() < 1e-12


def test_the_heat_equation_shrinks_gradients_by_its_known_factor():
    step, batch = e07_gradients.heat((0,), 0)
    wave = torch.sin(2 * torch.pi * (torch.arange(16) + 0.5) / 16).view(1, 1, -1)
    shrunk = step(wave, diffusivity=torch.tensor([e07_gradients.HEAT["diffusivity"]]))
    assert torch.allclose(shrunk, e07_gradients.heat_factor() * wave, atol=1e-6)
    assert torch.allclose(batch["reference"][:, :1], step(batch["u0"], diffusivity=batch["diffusivity"])[:, None])


def test_infinite_gradients_stay_infinite_in_the_mean():
    norms = torch.tensor([[1.0, 4.0, 2.0, 2.0], [1.0, math.nan, math.inf, 3.0]])
    assert e07_gradients._mean(norms, 2).tolist() == [[pytest.approx(2.0), math.inf], [pytest.approx(2.0), math.inf]]


def gradients(way, num_steps=3):
    batch = e07_cost.example(num_steps, seed=0)
    found = e07_cost.ways(way, num_steps, 0, batch)
    found(batch)
    return [w.grad for w in found.objective.parameters()]


def test_checkpointed_gradients_equal_plain_ones_bit_for_bit():
    plain, checkpointed, supervised = map(gradients, ("plain", "checkpointed", "supervised"))
    assert all(torch.equal(a, b) for a, b in zip(plain, checkpointed, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(plain, supervised, strict=True))


def test_supervised_training_runs_no_solver():
    batch = e07_cost.example(1, 0)
    solvers = [m for m in e07_cost.ways("supervised", 1, 0, batch).objective.modules() if isinstance(m, Solver)]
    assert not solvers and any(isinstance(m, Solver) for m in e07_cost.ways("plain", 1, 0, batch).objective.modules())


def test_peak_memory_is_that_of_the_function():
    """In a fresh process: a used one may hold as much freed memory as the function asks for."""
    script = "import torch; from dpbook_course.studies.e07 import cost; torch.ones(1 << 20)"
    script += "; print(cost._peak(lambda: torch.ones(1 << 24)))"  # 64 MB
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    found = float(done.stdout)
    assert math.isnan(found) or 60 < found < 80


def test_a_measurement_in_a_process_of_its_own():
    found = e07_cost.run("checkpointed, m=4", (0,), 0)  # its check measures two seeds
    assert set(found) == set(e07_cost.SPEC.metrics) and found["equal"].tolist() == [1]
    assert (found["relative"] > 1).all() and (found["time"] > 0).all()
    assert (found["memory"].isnan() | (found["memory"] > 0)).all()
    with pytest.raises(RuntimeError, match="NameError"):
        e07_cost._elsewhere(e07_cost._each, e07_cost.Variant("plain", "many"), (0,), {})


def frame(variant, budget=1500, seeds=12, **metrics):
    spread = 1 + 0.02 * np.arange(seeds)
    values = {name: [value * s for s in spread] for name, value in metrics.items()}
    values |= {name: [metrics[name]] * seeds for name in ("diverged_at", "equal") if name in metrics}
    return pandas.DataFrame({"variant": variant, "budget": budget, "seed": range(seeds), **values})


def trainings(one=0.05, without=0.05, truncated=0.02):
    errors = {"m=16": 0.03, "m=1": one, "bare, m=16": 0.5, "m=16 with truncation": truncated,
              **{f"m=16 without {part}": without for part in verdicts_e07.PARTS}}
    rows = [frame(name, **{"error.inside": e, "validation": e, "diverged_at": -1.0}) for name, e in errors.items()]
    rows += [frame(name, 6000, **{"error.inside": errors[name], "validation": errors[name], "diverged_at": -1.0})
             for name in ("m=1", "m=16")]
    return pandas.concat(rows)


def costs(memory=1.0, equal=1.0):
    rows = [frame("supervised", 0, relative=1.0, memory=4.0, equal=1.0)]
    rows += [frame(f"plain, m={m}", 0, relative=1.2 * m, memory=(4.5 if m == 1 else 4.0) * m * memory, equal=1.0)
             for m in (1, 4, 16, 64, 256)]
    rows += [frame(f"checkpointed, m={m}", 0, relative=1.6 * m, memory=5.0, equal=equal) for m in (16, 64, 256)]
    return pandas.concat(rows)


@pytest.mark.parametrize("change, outcome", [
    ({}, claims.SUPPORTED), ({"without": 0.03}, claims.UNDER_CONDITIONS),
    ({"truncated": 0.04}, claims.UNDER_CONDITIONS), ({"one": 0.02}, claims.UNDER_CONDITIONS)])
def test_verdict_on_remedies(change, outcome):
    frames = {"e07": trainings(**change), "e07_cost": costs()}
    assert claims.judge(verdicts_e07.CLAIMS["C14"], frames).outcome == outcome


def test_gradients_that_overflow_are_not_held_against_checkpointing():
    frame = costs()
    frame.loc[frame.variant.str.endswith("m=256") & (frame.seed > 2), "equal"] = 0.0  # plain and checkpointed alike
    found = verdicts_e07._equal(frame)
    assert found.effect.value == 1 and found.effect.holds and found.num_seeds == 12


def test_unequal_gradients_are_held_against_checkpointing():
    verdict = claims.judge(verdicts_e07.CLAIMS["C14"], {"e07": trainings(), "e07_cost": costs(equal=0.0)})
    assert verdict.outcome == claims.UNDER_CONDITIONS and "bit for bit" in verdict.note


def test_a_training_that_diverged_has_an_infinite_error():
    found = trainings()
    found.loc[(found.variant == "bare, m=16") & (found.seed == 2), "diverged_at"] = 7
    assert np.isinf(verdicts_e07.judged(found, "bare, m=16").to_numpy()).tolist() == [False, False, True] + [False] * 9


def test_the_best_rate_is_chosen_on_validation_data():
    other = frame("m=1, rate 0.001", **{"error.inside": 9.0, "validation": 0.01, "diverged_at": -1.0})
    assert verdicts_e07.tuned(pandas.concat([trainings(), other]), "m=1") == "m=1, rate 0.001"
    assert verdicts_e07.tuned(trainings(), "m=1") == "m=1"


@pytest.mark.parametrize("memory, outcome", [(1.0, claims.SUPPORTED), (0.1, claims.UNDER_CONDITIONS)])
def test_verdict_on_cost(memory, outcome):
    verdict = claims.judge(verdicts_e07.CLAIMS["C24"], {"e07_cost": costs(memory)})
    assert verdict.outcome == outcome
    for m in (1, 4, 16):  # beside them, and deciding nothing: what an evaluation of the network costs
        shown = verdict.effect(f"time per evaluation of the network, m={m} / supervised")
        assert shown.value == pytest.approx(1.2, rel=0.01) and shown.holds is None


def growths(rate, heat):
    m = np.array(verdicts_e07.HORIZONS)
    cases = {("reference", 0): rate, ("trained", 1500): rate, ("heat", 0): heat, ("heat, trained", 1500): heat}
    rows = []
    for (variant, budget), slope in cases.items():
        rows.append(frame(variant, budget, exponent=0.07))
        rows[-1]["adjoint"] = [np.exp(slope * (1 + 0.01 * s) * m) for s in range(12)]
    return pandas.concat(rows)


@pytest.mark.parametrize("rate, heat, outcome", [
    (0.07, -0.06, claims.SUPPORTED), (0.03, -0.06, claims.UNDER_CONDITIONS), (0.07, 0.01, claims.UNDER_CONDITIONS)])
def test_verdict_on_gradients(rate, heat, outcome):
    frames = {"e07_gradients": growths(rate, heat), "e07": trainings()}
    assert claims.judge(verdicts_e07.CLAIMS["C13"], frames).outcome == outcome


def test_the_claims_belong_to_the_chapter():
    assert {claim.chapter for claim in verdicts_e07.CLAIMS.values()} == {"06_long_horizons"}


def test_states_are_on_one_domain_and_the_same_for_all_cases():
    batch = e07_gradients.states((0, 1), 4)
    assert batch["length"].unique().tolist() == [pytest.approx(ks.unit_length)]
    assert torch.equal(batch["u0"][:e07_gradients.BATCH], e07_gradients.states((0,), 4)["u0"])
