"""E02: its problem, its data and the rules of C04, C05 and C06."""

import numpy as np
import pandas
import pytest
import torch

from dpbook_course.claims import claims
from dpbook_course.experiments import results
from dpbook_course.problems import parametric_burgers as problem
from dpbook_course.studies.e02 import data as e02
from dpbook_course.studies.e02 import equality as e02_equality
from dpbook_course.studies.e02 import throughput as e02_throughput
from dpbook_course.studies.e02 import verdict as verdicts_e02
from dpbook_utils.data import cell_averages, simulate, store
from dpbook_utils.evaluation import relative_l2
from dpbook_utils.physics.advection import central
from dpbook_utils.physics.burgers import Burgers
from dpbook_utils.physics.trace import TracedSolver
from dpbook_utils.rollout import repeat

SEEDS = (3, 5)


@pytest.fixture(scope="module")
def stream():
    return problem.fresh(SEEDS)


@pytest.fixture(scope="module")
def batch(stream):
    return stream[0]


# The problem


def test_every_sample_has_its_own_parameters_inside_the_rectangle(stream):
    _, values = stream.sampler(256, SEEDS[0], 0)
    x = np.log(values["viscosity"].numpy() / 0.15) / np.log(4)
    y = (values["amplitude"].numpy() - 0.2) / 0.6
    counts, _, _ = np.histogram2d(x, y, bins=16, range=[[0, 1], [0, 1]])
    assert counts.sum() == 256 and (counts == 1).all()  # evenly: one sample in each of 256 cells


def test_reference_is_that_of_a_finer_solver():
    u0, values = problem.sampler()(8, 0, 0)
    coarse = simulate(problem.reference_solver(), u0, 16, viscosity=values["viscosity"])
    finer = repeat(TracedSolver(Burgers(256, problem.length, problem.dt / 24, central)), 24)
    # The same waves on 256 cells: their averages over pairs of cells are the states on 128 up to the pairs' curvature.
    waves = torch.nn.functional.interpolate(u0, scale_factor=2, mode="linear")
    fine = simulate(finer, waves, 16, viscosity=values["viscosity"])
    error = relative_l2(cell_averages(coarse, 32), cell_averages(fine, 32))
    alone = simulate(problem.coarse_solver(), cell_averages(u0, 32), 16, viscosity=values["viscosity"])
    assert error.max() < 0.02
    assert (relative_l2(alone, cell_averages(coarse, 32))[:, -1] > 5 * error[:, -1]).all()


def test_coarse_grid_sees_averages_and_the_mean_is_kept(stream, batch):
    u0 = torch.cat([stream.sampler(4, seed, 0)[0] for seed in stream.seeds])
    assert torch.equal(batch["u0"], cell_averages(u0, 32))
    means = torch.cat([batch["u0"][:, None], batch["reference"]], 1).mean((2, 3))
    assert means.abs().max() < 1e-5  # the waves have none


def test_every_step_of_a_trajectory_is_in_one_stretch(batch):
    pairs, fours = problem.stretches(batch, 1), problem.stretches(batch, 4)
    assert torch.equal(pairs["reference"].flatten(0, 1).view_as(batch["reference"]), batch["reference"])
    assert torch.equal(fours["reference"].flatten(0, 1).view_as(batch["reference"]), batch["reference"])
    assert torch.equal(fours["u0"].unflatten(0, (-1, 4)), pairs["u0"].unflatten(0, (-1, 16))[:, ::4])
    assert torch.equal(pairs["u0"].unflatten(0, (-1, 16))[:, 1:], batch["reference"][:, :-1])
    assert torch.equal(pairs["viscosity"].unflatten(0, (-1, 16))[:, 7], batch["viscosity"])


def test_edge_has_all_corners_and_outside_none_of_the_inside():
    edge, outside = problem.perimeter(8), problem.perimeter(8, 0.15)
    assert {(0, 0), (0, 1), (1, 0), (1, 1)} <= set(map(tuple, edge))
    assert len(set(map(tuple, edge))) == 32
    assert (np.isclose(edge, 0) | np.isclose(edge, 1)).any(1).all()
    assert ((outside < -0.1) | (outside > 1.1)).any(1).all() and np.isclose(np.abs(outside - 0.5).max(), 0.65)
    corner = problem.values_at(np.array([[0.0, 1.0]]))
    assert corner["viscosity"].item() == pytest.approx(0.15) and corner["amplitude"].item() == pytest.approx(0.8)


# The data


@pytest.mark.parametrize("num_steps", [1, 4])
def test_first_pass_over_a_set_is_the_stream(num_steps):
    stored, fresh = e02.Repeated(problem.fresh(SEEDS), 2, num_steps), problem.fresh(SEEDS, num_steps)
    for k in (0, 1):
        assert all(torch.equal(stored[k][name], value) for name, value in fresh[k].items())


def test_later_passes_hold_every_sample_once_in_another_order():
    stored = e02.Repeated(problem.fresh(SEEDS), 4, 16)
    for member in (slice(0, 4), slice(4, 8)):
        passes = [torch.cat([stored[4 * number + k]["viscosity"][member] for k in range(4)]) for number in (0, 1, 2)]
        assert all(torch.equal(p.sort().values, passes[0].sort().values) for p in passes)
        assert not torch.equal(passes[0], passes[1]) and not torch.equal(passes[1], passes[2])
    assert not torch.equal(stored[4]["viscosity"][:4].sort().values, stored[4]["viscosity"][4:].sort().values)


def test_sets_of_an_ensemble_are_those_of_its_seeds():
    both, alone = e02.Repeated(problem.fresh(SEEDS), 2, 4), e02.Repeated(problem.fresh(SEEDS[1:]), 2, 4)
    for k in (1, 3):
        assert torch.equal(both[k]["u0"][16:], alone[k]["u0"])


# The specification


def test_rows_differ_in_their_data_and_loss_only():
    rows = e02.rows()
    assert len(rows) == 10 and {row.num_trajectories for row in rows.values()} == {*verdicts_e02.SIZES, None}
    for name, row in rows.items():
        assert row.setup.batch_size * row.setup.num_steps == 64
        assert row.setup.num_steps == (4 if name.endswith("DP") else 1)
    assert verdicts_e02.PER_BATCH == e02.PER_BATCH
    assert verdicts_e02.STUDY == problem.fine_substeps


def test_rates_are_those_of_the_tuning():
    assert e02.TUNING.best(results.frame(e02.TUNING.spec)) == e02.LEARNING_RATES


def test_rate_of_a_loss_is_the_best_over_all_data_sets():
    def error(name):
        loss, rate = name.split(", ")[1], float(name.split("rate ")[1])
        return 1 + abs(np.log(rate / (1e-2 if loss == "DP" else 1e-3))) + 3 * (name == "fresh, DP, rate 0.01")

    frame = pandas.DataFrame([{"variant": name, "budget": e02.TUNING.budget, "seed": seed, "error": error(name)}
                              for name in e02.TUNING.spec.variants for seed in (100, 101)])
    assert e02.TUNING.best(frame) == {"supervised": 1e-3, "DP": 1e-2}


# The verdicts, on made-up results


def trained(fresh=1.0, update=0.01, generation=0.005, seeds=range(12), **errors):
    """Errors fall as 1 / sqrt(updates); ``errors`` are factors of stored sets, ``fresh`` that of fresh data."""
    rows = []
    for loss in verdicts_e02.LOSSES:
        for size in (*verdicts_e02.SIZES, None):
            factor = fresh if size is None else errors.get(f"stored_{size}", 1.0)
            for budget in verdicts_e02.BUDGETS:
                for seed in seeds:
                    value = (1 + 0.01 * seed) * factor / np.sqrt(budget)
                    rows.append({"variant": f"fresh, {loss}" if size is None else f"{size} stored, {loss}",
                                 "budget": budget, "seed": seed,
                                 "seconds_per_update": update + (generation if size is None else 0),
                                 "generation": generation, **dict.fromkeys(verdicts_e02.MEASURES, value),
                                 **{f"blown_up.{region}": 0.0 for region in problem.regions}})
    return pandas.DataFrame(rows)


def measured(shuffled=1.0, in_order=0.5, seeds=range(12)):
    """Generating takes as many seconds as sub-steps."""
    return pandas.DataFrame([
        {"variant": verdicts_e02.substeps(number), "budget": 0, "seed": seed, "generating": number * (1 + 0.01 * seed),
         "shuffled": shuffled, "in_order": in_order, "writing": 1e-4, "bytes": 2000.0}
        for number in verdicts_e02.SUBSTEPS for seed in seeds])


def judge(claim, **frames):
    return claims.judge(verdicts_e02.CLAIMS[claim], frames)


def test_equal_time_counts_generating_the_set_and_every_fresh_batch():
    cost = verdicts_e02.seconds(trained(), measured(in_order=9e-4), "DP")
    assert cost.storing == pytest.approx(0.005 + 4 * 6 * 1e-3)
    assert cost.total(16, 100) == pytest.approx(4 * (0.005 + 0.024) + 1.0)
    assert cost.total(None, 100) == pytest.approx(1.5)
    fresh, stored = verdicts_e02.at_equal_time(trained(), cost, 16, "DP", "error.inside")
    time = cost.total(16, 6000)
    # An error that falls as 1 / sqrt(updates) is a straight line in the logarithms, so the interpolation is exact.
    assert fresh[0] / stored[0] == pytest.approx(np.sqrt(6000 / (time / 0.015)))


def test_longer_fixed_trainings_move_the_comparison_to_the_time_of_the_fresh_one():
    frame = trained()
    longer = frame[(frame.variant == "16 stored, DP") & (frame.budget == 6000)].assign(budget=12000)
    longer = longer.assign(**{"error.inside": longer["error.inside"] / np.sqrt(2)})
    frame = pandas.concat([frame, longer], ignore_index=True)
    cost = verdicts_e02.seconds(frame, measured(in_order=9e-4), "DP")
    fresh, stored = verdicts_e02.at_equal_time(frame, cost, 16, "DP", "error.inside", (12000,))
    assert fresh[0] == pytest.approx(1 / np.sqrt(6000))  # measured, not interpolated
    assert stored[0] == pytest.approx(1 / np.sqrt(9000), rel=1e-3)  # 90 s at 10 ms, the set aside


@pytest.mark.parametrize("factors, outcome", [
    ({"fresh": 0.1}, "supported"),
    ({"fresh": 0.1, "stored_1024": 0.1}, "supported under conditions"),
    ({"fresh": 0.1, "stored_16": 1.0, "stored_64": 0.1, "stored_256": 0.1, "stored_1024": 0.1},
     "supported under conditions"),
    ({"fresh": 1.0}, "contradicted"),  # equal at equal updates, behind at equal time
])
def test_sampling_verdict(factors, outcome):
    verdict = judge("C05", e02=trained(**factors), e02_throughput=measured(in_order=1e-4))
    assert verdict.outcome == outcome and verdict.num_seeds == 12
    assert "50%" in verdict.note  # dearer is an update with a fresh batch


def test_sampling_is_undecided_without_times_or_seeds():
    assert judge("C05", e02=trained(fresh=0.1)).outcome == "undecided"
    few = judge("C05", e02=trained(fresh=0.1, seeds=(0, 1, 2)), e02_throughput=measured())
    assert few.outcome == "undecided"


def compared(equal=1.0, graph=0.0, distance=0.0):
    return pandas.DataFrame([
        {"variant": name, "budget": verdicts_e02.EQUALITY_BUDGET, "seed": seed, "equal": e, "graph": g, "distance": d}
        for name, (e, g, d) in {"one step": (equal, graph, distance), "four steps": (0.0, 1.0, 0.5)}.items()
        for seed in verdicts_e02.SEEDS])


@pytest.mark.parametrize("values, outcome", [
    ({}, "supported"),
    ({"equal": 0.0, "distance": 1e-7}, "supported under conditions"),
    ({"equal": 0.0, "distance": 1e-2}, "contradicted"),
    ({"graph": 1.0, "distance": 1e-2}, "contradicted"),
])
def test_equality_verdict(values, outcome):
    assert judge("C04", e02_equality=compared(**values)).outcome == outcome


def test_one_seed_with_other_weights_is_enough_against_equality():
    frame = compared()
    frame.loc[3, ["equal", "distance"]] = 0.0, 0.1
    assert judge("C04", e02_equality=frame).outcome == "contradicted"


@pytest.mark.parametrize("values, outcome", [
    ({"shuffled": 100.0, "in_order": 50.0}, "supported"),
    ({"shuffled": 100.0, "in_order": 5.0}, "supported under conditions"),  # slower than one, at six sub-steps
    ({"shuffled": 2.5, "in_order": 0.1}, "supported under conditions"),  # one and two sub-steps are faster
    ({"shuffled": 0.5, "in_order": 0.1}, "contradicted"),
])
def test_throughput_verdict(values, outcome):
    verdict = judge("C06", e02_throughput=measured(**values))
    assert verdict.outcome == outcome and "2,000 bytes" in verdict.note


# Stored and fresh outputs of P


def test_stored_and_fresh_outputs_of_the_solver_give_the_same_weights_after_100_updates():
    found = e02_equality.difference(1, 0, 100)
    assert found == {"equal": 1.0, "graph": 0.0, "distance": 0.0}


def test_equality_is_lost_with_other_samples_and_with_four_steps(tmp_path):
    ours, graphs = e02_equality.train_fresh(1, 0, 3)
    others = store(e02_equality.solved(1), tmp_path / "others", 3, progress=False)
    network_of_seed_0 = e02_equality.train_stored(others, 0, 3)
    assert not torch.equal(ours, network_of_seed_0) and not any(graphs)
    found = e02_equality.difference(4, 0, 3)
    assert found["equal"] == 0 and found["graph"] == 1 and found["distance"] > 1e-3


# Seconds and bytes


def test_throughput_measures_every_way(monkeypatch):
    monkeypatch.setattr(e02_throughput, "NUM_BATCHES", 2)
    monkeypatch.setattr(e02_throughput, "REPEATS", 5)
    cheap, dear = (e02_throughput.measure(number, 0) for number in (1, 32))
    assert set(cheap) == set(e02_throughput.SPEC.metrics)
    assert all(value > 0 for name, value in cheap.items() if name != "gpu")
    assert dear["generating"] > 2 * cheap["generating"]
    floats = 17 * 32 + 1  # 17 states and a viscosity
    assert 4 * floats < cheap["bytes"] < 4 * floats + 200
