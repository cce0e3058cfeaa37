"""E09: its problem, its metrics on flows that are known, its rows and the verdict's arithmetic."""

import math

import numpy as np
import pandas
import pytest
import torch

from dpbook_course.claims import claims
from dpbook_course.claims.findings import per_seed
from dpbook_course.experiments import results
from dpbook_course.problems import wake_flow as wake
from dpbook_course.problems import wake_metrics as metrics
from dpbook_course.problems.steps import Rate
from dpbook_course.studies.e09 import tuning as e09_tuning
from dpbook_course.studies.e09 import verdict as verdicts_e09
from dpbook_course.studies.e09 import wake as e09_wake
from dpbook_utils.data import Fresh
from dpbook_utils.gradients import NoSolverGradient
from dpbook_utils.physics.obstacle import ChannelDivergence
from dpbook_utils.physics.wake import Forces
from dpbook_utils.rollout import Sequential

NX, NY = wake.SETTINGS["num_points"]


def states(num_flows=2, num_states=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_flows, num_states, 2, NX, NY, generator=generator)


class Shift(torch.nn.Module):
    """A flow that moves by one cell per step."""

    def forward(self, u):
        return u.roll(1, 2)


def travelling(num_states, late=0):
    first = states(3, 1)
    moved = torch.cat([first.roll(k, 3) for k in range(late, late + num_states)], 1)
    return wake.Flows(moved, torch.tensor([100.0, 200.0, 300.0]))


def test_an_exact_solver_has_no_error_and_a_late_one_has():
    found = metrics.predicted(Shift(), travelling(6), 5)
    assert metrics.capped_error(found.prediction, found.reference).max() == 0
    exact = travelling(6)
    late = exact._replace(states=torch.cat([exact.states[:, :1], travelling(6, late=2).states[:, :5]], 1))
    found = metrics.predicted(Shift(), late, 5)  # compares step i with the reference i + 1
    assert metrics.capped_error(found.prediction, found.reference).min() > 0.5


def test_errors_are_capped_and_a_blow_up_counts():
    reference = states()
    wrong = reference.clone()
    wrong[0, 1:] = math.nan
    error = metrics.capped_error(wrong, reference)
    assert error[0].tolist() == [0, 2, 2, 2] and error[1].max() == 0
    assert metrics.vorticity_correlation(wrong, reference)[0, -1] == 0
    assert metrics.vorticity_correlation(reference, reference).min() > 0.999


@pytest.mark.parametrize("true", [0.16, 0.2, 0.23])
def test_shedding_frequency_of_a_known_series(true):
    time = 0.4 * torch.arange(100)
    lift = torch.stack([0.3 * torch.sin(2 * math.pi * true * time + 1) + 0.1, torch.zeros(100),
                        torch.full((100,), math.inf), 1e-5 * torch.sin(time)])
    found = metrics.frequency(lift, 0.4)
    assert found[0] == pytest.approx(true, rel=0.01) and found[1:].tolist() == [0, 0, 0]


def test_forces_of_a_blown_up_state_are_infinite_and_of_others_are_not():
    v = wake.grid(1).start(torch.tensor([0.3, 0.3])).unsqueeze(1).repeat(1, 2, 1, 1, 1)
    v[1, 1, 0, 5, 5] = math.nan
    found = metrics.forces(v, torch.tensor([100.0, 100.0]))
    assert found.shape == (2, 2, 2) and torch.isinf(found[1, 1]).all()
    assert torch.isfinite(found[0]).all() and (found[0, :, 0] > 0).all()  # drag


def test_the_correction_before_the_projection_has_no_divergence_and_after_it_has():
    networks = wake.ensemble((0,))
    with torch.no_grad():
        networks.stacked.layers[-1].weight.mul_(300)
    v = wake.grid(1).start(torch.tensor([0.3]))
    divergence = ChannelDivergence((NX, NY))
    with torch.no_grad():
        largest = {name: float(divergence(chain(networks)(v, reynolds=torch.tensor([150.0]))).abs().max())
                   for name, chain in (("before", wake.before), ("after", wake.after), ("projected", wake.projected))}
    assert max(largest["before"], largest["projected"]) < 1e-4 < 1e-2 < largest["after"]


def test_a_rate_and_a_force_change_the_state_alike():
    networks = wake.ensemble((0,))
    u, reynolds = states(2, 1)[:, 0], torch.tensor([100.0, 300.0])
    assert torch.equal(Rate(networks, wake.SETTINGS["dt"])(u, reynolds=reynolds), 0.1 * networks(u, reynolds=reynolds))
    assert wake.predictor(networks).parameter_names == ("reynolds",)


def test_nudged_states_lag_behind_the_reference():
    flow = e09_wake.small_flows()
    assert flow.states.shape == (3, 13, 2, NX, NY)
    followed = wake.nudged(flow)
    source = [flow.states[:, 0]]
    for _ in range(12):
        source.append(wake.solver()(source[-1], reynolds=flow.reynolds))
    distance = [(s - flow.states).flatten(2).norm(dim=2)[:, -1] for s in (followed.states, torch.stack(source, 1))]
    assert (0 < distance[0]).all() and (distance[0] < 0.5 * distance[1]).all()
    assert torch.allclose(wake.nudged(flow, 1.0).states, flow.states, atol=1e-6)


def test_networks_have_the_sizes_that_are_stated():
    assert sum(w.numel() for w in wake.network(0).parameters()) == pytest.approx(10_000, rel=0.05)
    assert sum(w.numel() for w in wake.network(0, 36).parameters()) == pytest.approx(48_000, rel=0.05)


def test_budgets_are_of_equal_updates_and_of_equal_time():
    spec = e09_wake.SPEC
    assert spec.budgets["ONE"] == (400, 3200) and spec.budgets["SOL-8"] == (400, 3200)
    assert spec.budgets["SOL-16"] == (200, 400) and spec.budgets["SOL-2"] == (400, 1600)
    others = {"small", "PRE, after", *spec.baselines}
    assert all(400 in budgets for name, budgets in spec.budgets.items() if name not in others)
    assert isinstance(spec.variants["NOG-8, after"].setup.gradient, NoSolverGradient)
    assert spec.fingerprint("SOL-8") != spec.fingerprint("SOL-8, projected")


def test_rows_take_tuned_rates():
    assert {e09_wake.tuned_as(name) for name in e09_wake.rows()} == set(e09_wake.LEARNING_RATES)
    rates = {name: e09_wake.SPEC.variants[name].setup.learning_rate
             for pair in verdicts_e09.GRADIENT[:2] for name in pair}
    assert list(rates.values()) == [0.001, 0.001, 0.003, 0.003]  # pairs at equal rates
    assert e09_wake.tuned_as("NOISE") == "ONE" and e09_wake.tuned_as("SOL-8, MacCormack") == "SOL"
    frame = results.frame(e09_tuning.TUNING.spec)
    best = e09_tuning.TUNING.best(frame)
    assert {e09_wake.tuned_as(name): rate for name, rate in best.items()} == e09_wake.LEARNING_RATES
    errors = {sigma: np.log(frame[frame.variant == f"NOISE, sigma {sigma:g}"].error).mean()
              for sigma in e09_tuning.SIGMAS}
    assert min(errors, key=errors.get) == e09_wake.SIGMA


def test_test_flows_are_no_training_flows():
    numbers = {name: set(reynolds) for name, (reynolds, _) in wake.SETTINGS["flows"].items()}
    train = numbers.pop("train")
    assert not any(train & others for others in numbers.values())
    assert all(min(train) < number < max(train) for number in numbers["inside"])
    assert max(numbers["below"]) < min(train) and min(numbers["above"]) > max(train)


def test_flows_are_simulated_one_by_one_at_their_reynolds_numbers():
    """As the data sets of the study are, which take minutes; here undisturbed ones on the source's grid."""
    listed = wake.Listed(lambda reynolds: wake.grid(1).start(torch.zeros_like(reynolds)), {"reynolds": (120.0, 170.0)})
    fresh = Fresh(wake.solver(), listed, 2, batch_size=1, seed=0)
    for k, number in enumerate((120.0, 170.0)):
        batch = fresh[k]
        assert batch["reynolds"].tolist() == [number] and batch["reference"].shape == (1, 2, 2, 64, 32)


def test_a_small_run_gives_every_metric():
    found = e09_wake.run("small", (0, 1), 2)
    assert set(found) == set(e09_wake.SPEC.metrics) and all(len(values) == 2 for values in found.values())
    assert (found["error.inside"] > 0).all() and (found["error.inside"] < 0.5).all()
    assert torch.isnan(found["drag"]).all()


def rows(name, budget, **errors):
    return pandas.DataFrame({"variant": name, "budget": budget, "seed": range(12),
                             **{f"error.{region}": value for region, value in errors.items()}})


def frame(hybrid=0.03, spread=0.001):
    errors = hybrid + spread * np.arange(12) / 2
    return pandas.concat([rows("SOL-8", 400, inside=errors, below=errors, above=8 * errors), *(
        rows(name, 0, inside=error, below=error, above=error).head(1) for name, error in (
            ("P", 0.2), ("P, 128x64", 0.1), ("MacCormack", 0.12), ("MacCormack, 128x64", 0.06)))])


def costs(seconds=2.0):
    return pandas.DataFrame({"variant": verdicts_e09.COSTS, "budget": 0, "seed": range(12), "P": 1.0, "P, 128x64": 4.0,
                             "MacCormack": 1.5, "MacCormack, 128x64": 6.0, "SOL-8": seconds})


def test_the_error_at_a_cost_is_interpolated_between_the_grids_in_logarithms():
    def at(seconds):
        return verdicts_e09.error_at_cost(frame(), costs(), verdicts_e09.SOURCES, seconds, "inside")

    assert at(2.0) == pytest.approx(0.2 / 2**0.5) and at(0.1) == pytest.approx(0.2) and math.isnan(at(4.1))
    assert math.isnan(verdicts_e09.error_at_cost(frame(), costs().iloc[:0], verdicts_e09.SOURCES, 2.0, "inside"))


def test_the_stored_results_are_as_the_chapter_tells_them():
    frame = results.frame(e09_wake.SPEC)
    source = float(per_seed(frame, "P", 0, "error.inside").iloc[0])
    assert (per_seed(frame, "SOL-8", 400, "error.inside") < source / 3.5).all()
    assert (per_seed(frame, "ONE", 400, "one_step.inside") < per_seed(frame, "SOL-8", 400, "one_step.inside")).all()


@pytest.mark.parametrize("hybrid, outcome", [
    (0.03, claims.SUPPORTED), (0.065, claims.UNDER_CONDITIONS), (0.15, claims.CONTRADICTED)])
def test_the_verdict(hybrid, outcome):
    assert verdicts_e09.decide({"e09": frame(hybrid), "e09_cost": costs()}).outcome == outcome


def test_without_results_or_beyond_the_dearest_grid_there_is_no_verdict():
    for found, times in ((frame().iloc[:0], costs()), (frame(), costs(5.0)), (frame(), costs().iloc[:0])):
        assert verdicts_e09.decide({"e09": found, "e09_cost": times}).outcome == claims.UNDECIDED
    assert len(per_seed(frame(), "SOL-8", 400, "error.inside")) == 12


def test_the_chain_of_every_row_is_built():
    networks = wake.ensemble((0,))
    for row in e09_wake.rows().values():
        assert isinstance(e09_wake.step_of(row, networks), (Sequential, wake.AdditiveRHS))


def test_forces_are_those_of_the_projected_state():
    solver, reynolds = wake.grid(1), torch.tensor([100.0, 300.0])
    with torch.no_grad():
        v = solver(solver.start(torch.tensor([0.2, 0.3])), reynolds=reynolds)
        plain, found = Forces(solver)(v, reynolds=reynolds), metrics.forces(v[:, None], reynolds)[:, 0]
        assert torch.allclose(found, plain, atol=2e-5)  # without divergence, nothing is projected away
        leaking = v + 0.01 * torch.randn(v.shape, generator=torch.Generator().manual_seed(0))
        apart = metrics.forces(leaking[:, None], reynolds)[:, 0] - metrics.forces(
            solver.project(leaking)[:, None], reynolds)[:, 0]
        assert apart.abs().max() < 2e-5 < 1e-2 < (Forces(solver)(leaking, reynolds=reynolds) - found).abs().max()


@pytest.mark.parametrize("refinement", [2, 4])
def test_what_closing_the_cylinders_faces_changes_in_a_restricted_state(refinement):
    fine, coarse = wake.grid(refinement), wake.grid(1)
    v = fine.start(torch.tensor([0.3]))
    with torch.no_grad():
        v = fine(v, reynolds=torch.tensor([150.0]))
    means = torch.stack([v[:, 0, refinement - 1::refinement].unflatten(-1, (NY, refinement)).mean(-1),
                         v[:, 1, :, ::refinement].unflatten(-2, (NX, refinement)).mean(-2)], 1)
    change = coarse.restrict(v) - means
    assert 0.01 < change.norm() / means.norm() < 0.05
    x, y = ((torch.arange(n) + 0.5) * dx - 2.5 for n, dx in zip((NX, NY), coarse.dx))
    near = x[:, None]**2 + y**2 < 1
    assert (change * near).norm() > 0.95 * change.norm()
