"""E11: every row is the training that its name says, a change is the one that is stated, and the verdict, made up."""

import itertools

import numpy as np
import pandas
import pytest
import torch

from dpbook_course.claims.claims import CONTRADICTED, SUPPORTED, UNDECIDED, UNDER_CONDITIONS, judge
from dpbook_course.problems import burgers_shifts, ks_shifts
from dpbook_course.problems.changes import Change
from dpbook_course.problems.shifts import BurgersShifts
from dpbook_course.studies.e11 import burgers, design, ks, mechanism, rows
from dpbook_course.studies.e11 import verdict as rules
from dpbook_utils.evaluation import relative_l2
from dpbook_utils.physics.kuramoto_sivashinsky import KuramotoSivashinsky, etdrk2

PROBLEMS = {"Burgers": burgers_shifts, "KS": ks_shifts}
STUDIES = {"Burgers": burgers, "KS": ks}
SEEDS = (3, 7)
problems = pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)


@pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES)
def test_the_rows_are_both_chains_with_every_training_and_size(study):
    for chain, setup, size in itertools.product(design.CHAINS, design.SETUPS, design.DECIDING):
        row = study.SPEC.variants[design.name(chain, setup, size)]
        assert row.has_solver == (chain == "hybrid") and row.size == size and not row.network
        assert row.setup.num_steps == int(setup.removeprefix("WIG-") if setup != "ONE" else 1)
    assert all(design.name(chain, "ONE", size) in study.SPEC.variants for chain in design.CHAINS
               for size in design.SIZES)
    noisy = study.SPEC.variants["predictor with noise 0.01, ONE, 32 trajectories"]
    assert noisy.setup.sigma == 0.01 and not noisy.has_solver
    assert study.SPEC.id in rules.FAMILIES.values() and len(study.SPEC.seeds) == 12
    assert {rows.rate_of(name) for name in rows.trained()} == set(rows.kinds()) == set(study.LEARNING_RATES)


@problems
def test_twice_the_weights_are_twice_the_weights(problem):
    def weights(**size):
        return sum(w.numel() for w in problem.network(0, **size).parameters())

    assert weights(width=design.WIDE) / weights() == pytest.approx(2, rel=0.05)
    assert weights(num_blocks=0) < weights() / 10


@problems
def test_a_smaller_training_set_is_the_beginning_of_a_larger_one(problem):
    small, large = (problem.train(5, size) for size in (8, 32))
    assert large.states.shape[:2] == (32, problem.train_steps + 1)
    assert torch.allclose(small.states, large.states[:8], atol=1e-5)
    assert not torch.equal(small.states, problem.train(6, 8).states)
    starts = large.states[:, 0].flatten(1)
    assert (torch.cdist(starts, starts) + 9 * torch.eye(32)).min() > 0.1, "no trajectory twice"


@problems
def test_a_change_changes_what_it_says_and_nothing_else(problem):
    inside = problem.fine_data("inside", 3)
    for name, change in problem.changes.items():
        data = problem.fine_data(name, 3)
        if change.parameters == "inside":
            u = change.amplitude * inside.states[:, 0] + change.mean
            assert torch.allclose(data.states[:, 0], u, atol=1e-5), name
            shared = [key for key in data.parameters if key != "kicks"]
            assert all(torch.equal(data.parameters[key], inside.parameters[key]) for key in shared)
        if change.band:
            waves = torch.fft.rfft(data.kicks.double()).abs().mean((0, 1, 2))
            assert waves[change.band[0]:change.band[1] + 1].min() > 1e3 * waves[change.band[1] + 1:].max()
            assert data.kicks.std().item() == pytest.approx(change.kick, rel=0.1)
    outside = [problem.fine_data(name, 3).parameters for name in ("below", "above")]
    (key, values), = inside.parameters.items()
    assert outside[0][key].max() < values.min() and values.max() < outside[1][key].min()


@problems
def test_a_moving_flow_is_a_solution(problem):
    """The finer solver, started from the moving state, follows the shifted trajectory."""
    moving = problem.fine_data("moving", 3)
    steps = 4
    found = problem.reference(moving.states[:, 0], steps, moving.parameters)
    error = relative_l2(found[:, 1:], moving.states[:, 1:steps + 1]).max()
    assert error < 0.02 * relative_l2(moving.states[:, :1], moving.states[:, steps:steps + 1]).mean()


@problems
def test_kicks_are_known_to_all(problem):
    """The reference solver as a step, kicked as it was: no error but that of seeing averages."""
    error = problem.own_error(problem.alone(4), "small kicks", SEEDS, problem.grid(4))
    assert (error < problem.own_error(problem.alone(), "small kicks", SEEDS)).all()


def test_the_reference_of_kuramoto_sivashinsky_is_resolved():
    data = ks_shifts.fine_data("inside", 3)
    finer = KuramotoSivashinsky(48, 1.0, etdrk2, 2 * ks_shifts.fine_substeps)
    u, length = data.states[:, 0].double(), data.length.double()
    for _ in range(ks_shifts.horizon):
        u = finer(u, length=length)
    assert relative_l2(u[:, None].float(), data.states[:, -1:]).mean() < 0.005


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="100000 trajectories of seed 3; there are 792"):
        ks_shifts.train(3, 100_000)
    with pytest.raises(ValueError, match="no region 'outside'; there are validation, inside, below"):
        ks_shifts.fine_data("outside", 0)
    for change, message in ((Change(band=(10, 16)), r"the waves \(10, 16\); 32 points of P resolve 1 ... 15"),
                            (Change(num_points=48), "has 48 points; give a multiple of the 32 of P")):
        with pytest.raises(ValueError, match=message):
            BurgersShifts(**burgers_shifts.settings | {"changes": {"x": change}})


def test_a_viscosity_that_no_solver_holds_is_refused_before_a_training():
    wrong = BurgersShifts(**burgers_shifts.settings | {"viscosity": {"inside": (20.0, 40.0)}})
    data = wrong.train(0, 8)
    with pytest.raises(ValueError, match="viscosity"):
        wrong.coarse_solver()(data.states[:, 0], viscosity=data.viscosity)


@pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES)
def test_a_row_has_every_metric_and_a_finer_grid_where_it_is_said(study):
    found = study.run(design.name("predictor", "ONE", 8), SEEDS, 2)
    alone = study.run(design.alone(1), SEEDS, 0)
    assert set(found) == set(alone) == set(study.SPEC.metrics)
    assert all(len(values) == len(SEEDS) for values in [*found.values(), *alone.values()])
    if study is burgers:
        finer = study.problem.own_error(study.problem.alone(2), "inside", SEEDS, 64)
        assert torch.equal(alone["error.finer"], finer) and (finer < alone["error.inside"]).all()


def test_of_a_perfect_network_what_it_gives_is_what_it_is_asked():
    """P in the place of the reference: P alone gives what it should."""
    networks = burgers_shifts.ensemble(SEEDS)
    given, asked = mechanism.acted(burgers_shifts, None, networks, "inside", SEEDS)
    probes = mechanism.states(burgers_shifts, "inside", SEEDS).states
    assert torch.allclose(asked.flatten(0, 1), (probes[:, 1] - probes[:, 0])[:, 0]) and given.shape == asked.shape
    values = torch.randn(2, 3, 4, 8)
    values[:, 1], values[:, 2] = 3 * values[:, 0], values[:, 0]
    assert torch.allclose(mechanism.distance(values, 0), torch.tensor([[0.0, 2.0, 0.0]]).expand(2, 3))


def test_the_reach_is_that_of_the_kernels():
    networks = burgers_shifts.ensemble(SEEDS, num_blocks=0)
    found = mechanism.reach(burgers_shifts, None, networks, SEEDS)
    assert torch.allclose(found.sum(1), torch.ones(2).double())
    assert (found[:, :3] > 0).all() and (found[:, 3:] == 0).all()


# The verdict, on results that are made up ---------------------------------------------------------------------------


def frames(error, num_seeds=12, without=None):
    """``error(family, chain, setup, size, region)`` of every deciding row."""
    found = {}
    regions = ("inside", *rules.OUTSIDE, *rules.MATCHED)
    for family, study in rules.FAMILIES.items():
        made = []
        for chain, setup, size, seed in itertools.product(design.CHAINS, design.DECIDING_SETUPS, design.DECIDING,
                                                          range(num_seeds)):
            noise = 1 + 0.01 * np.sin(7 * seed + len(chain))
            made.append({"variant": design.name(chain, setup, size), "budget": design.UPDATES, "seed": seed,
                         "diverged_at": -1} | {f"error.{region}": noise * error(family, chain, setup, size, region)
                                               for region in regions})
        found[study] = pandas.DataFrame(made)
    return {name: frame for name, frame in found.items() if name != without}


def as_claimed(family, chain, setup, size, region):
    grows = {"moving": 3.0, "large kicks": 2.0} if chain == "predictor" else {}
    return (1.0 if chain == "hybrid" else 4.0) * {**dict.fromkeys(("small kicks",), 2.0), **grows}.get(region, 1.0)


def without_scales(family, chain, setup, size, region):
    """Ahead everywhere and by the same factor: no word about scales."""
    return 1.0 if chain == "hybrid" else 4.0


def other_way(family, chain, setup, size, region):
    return as_claimed(family, "predictor" if chain == "hybrid" else "hybrid", setup, size, region)


@pytest.mark.parametrize("error, outcome", [
    (as_claimed, SUPPORTED), (without_scales, CONTRADICTED), (other_way, CONTRADICTED),
    (lambda *case: (as_claimed if case[0] == "KS" and case[2:4] == ("ONE", 32) else other_way)(*case),
     UNDER_CONDITIONS)])
def test_outcomes(error, outcome):
    verdict = judge(rules.CLAIMS["C21"], frames(error))
    assert verdict.outcome == outcome and verdict.num_seeds == 12


def test_growth_is_relative_to_the_error_inside():
    made = frames(as_claimed)
    found = rules.widening(made, "KS", "ONE", 32, "moving").effect.value
    assert found == pytest.approx(1 / 3, rel=0.02)
    assert rules.contrast(made, "KS", "ONE", 32).effect.value == pytest.approx(1 / 2, rel=0.02)


def test_missing_results_or_too_few_seeds_decide_nothing():
    assert judge(rules.CLAIMS["C21"], {}).outcome == UNDECIDED
    assert judge(rules.CLAIMS["C21"], frames(as_claimed, without="e11_ks")).outcome == UNDECIDED
    assert judge(rules.CLAIMS["C21"], frames(as_claimed, num_seeds=5)).outcome == UNDECIDED


@pytest.mark.parametrize("size", [0, -1, 513, None])
def test_there_are_no_other_numbers_of_trajectories(size):
    with pytest.raises(ValueError, match=f"BurgersShifts: {size} trajectories of seed 0; there are 512"):
        burgers_shifts.train(0, size)
    with pytest.raises(ValueError, match="no data 'sideways'; there are validation, inside"):
        burgers_shifts.initial("sideways", 0)
