"""E10: every row is the training that its name says, on data of its own, and the rule of C18 reaches its outcomes."""

import itertools

import numpy as np
import pandas
import pytest
import torch

from dpbook_course.claims.claims import judge
from dpbook_course.problems import burgers_schemes, ks_schemes
from dpbook_course.studies.e10 import burgers, design, ks, rows
from dpbook_course.studies.e10 import verdict as rules
from dpbook_utils.evaluation import relative_l2
from dpbook_utils.gradients import FullGradient
from dpbook_utils.physics.limited import limited
from dpbook_utils.physics.semi_implicit import SemiImplicitKuramotoSivashinsky
from dpbook_utils.physics.solver import solvers
from dpbook_utils.physics.spectral import SpectralBurgers

STUDIES = {"e10": burgers, "e10_ks": ks}
SEEDS = (3, 7)


@pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES)
def test_the_rows_are_all_schemes_on_all_grids_with_both_trainings_and_alone(study):
    (family,) = [family for family in rules.FAMILIES if family.study == study.SPEC.id]
    assert family.schemes == tuple(study.problem.schemes)
    for scheme, points in family.solvers():
        one, many = (study.SPEC.variants[design.name(scheme, points, training)] for training in design.TRAININGS)
        assert (one.scheme, one.num_points, many.scheme, many.num_points) == (scheme, points, scheme, points)
        assert (one.setup.num_steps, many.setup.num_steps) == (1, 8) and many.setup.curriculum[0] == (0.0, 1)
        assert type(one.setup.gradient) is type(many.setup.gradient) is FullGradient
        assert study.SPEC.variants[design.name(scheme, points, "alone")] == rows.Alone(scheme, points)
    assert len(study.rows()) == 2 * len(family.schemes) and len(study.SPEC.seeds) == 12


def test_a_rate_belongs_to_a_scheme_and_a_training():
    assert rows.rate_of("ETD1, 2, 48 points, WIG-8") == "ETD1, 2, WIG-8"
    assert rows.rate_of("limited, 16 points, ONE") == "limited, ONE"


@pytest.mark.parametrize("points, substeps", [(16, 1), (32, 1), (64, 2), (128, 4)])
def test_a_solver_of_burgers_takes_the_same_time_on_every_grid(points, substeps):
    for scheme in burgers_schemes.schemes:
        step = burgers_schemes.coarse_solver(scheme, points)
        found = list(solvers(step))
        assert len(step) == substeps and found[0].state_shape == (1, points)
        assert found[0].solver.dt == pytest.approx(burgers_schemes.dt / substeps)
    assert isinstance(found[0].solver, SpectralBurgers)
    assert next(solvers(burgers_schemes.coarse_solver("limited", points))).solver.advection is limited


def test_the_solvers_of_kuramoto_sivashinsky_have_the_substeps_of_their_names():
    for scheme in ks_schemes.schemes:
        solver = ks_schemes.coarse_solver(scheme).solver
        assert solver.num_substeps == int(scheme.split(", ")[1]) and solver.dt == 1.0
        assert isinstance(solver, SemiImplicitKuramotoSivashinsky) == scheme.startswith("differences")


@pytest.mark.parametrize("problem", [burgers_schemes, ks_schemes], ids=["burgers", "ks"])
def test_every_seed_has_data_of_its_own(problem):
    points = problem.num_points
    batch = problem.batches(SEEDS, 8, 4, points)[5]
    for place, seed in enumerate(SEEDS):
        alone = problem.batches([seed], 8, 4, points)[5]
        assert all(torch.equal(batch[name][4 * place:4 * place + 4], alone[name]) for name in batch)
    for name in ("train", "inside"):
        first, second = (problem.data(name, seed, points).states for seed in SEEDS)
        assert first.shape == second.shape and not (first == second).flatten(1).all(1).any()


def test_a_block_of_stored_states_has_the_points_that_it_has():
    with pytest.raises(ValueError, match="the stored states have 48 points, 32 were asked for"):
        ks_schemes.data("train", 0, 32)


def test_the_reference_of_burgers_is_resolved():
    """Half as many sub-steps change the averages by less than a hundredth of what the best scheme errs by."""
    problem, data = burgers_schemes, burgers_schemes.fine_data("below", 3)
    rougher = SpectralBurgers(problem.fine_points, problem.length, problem.dt, num_substeps=problem.fine_substeps // 2)
    u = data.states[:, 0]
    for _ in range(20):
        u = rougher(u, **data.parameters)
    assert relative_l2(u[:, None], data.states[:, 20:21]).max() < 1e-3


def test_a_network_behind_its_own_solver_has_its_own_error():
    row = burgers.SPEC.variants[design.name("upwind", 16, "ONE")]
    networks, history = rows.fitted(burgers_schemes, row, SEEDS, 3)
    step = burgers_schemes.hybrid(networks, "upwind", 16)
    swapped = burgers_schemes.swapped(networks, SEEDS, 16)
    own = burgers_schemes.measured(step, SEEDS, 16)["error.inside"]
    place = list(burgers_schemes.schemes).index("upwind")
    assert swapped.shape == (2, 5) and torch.equal(swapped[:, place], own) and len(history) == 3
    assert (swapped[:, 0] != own).all()


# The verdict, on results that are made up ---------------------------------------------------------------------------


def frames(hybrid, num_seeds=12, without=None):
    """P alone errs by 1, 2, 3, ... on every grid; ``hybrid(family, place, number, training)`` says what hybrids do."""
    found = {}
    for family in rules.FAMILIES:
        made = []
        for (place, scheme), points, seed in itertools.product(
                enumerate(family.schemes), family.grids, range(num_seeds)):
            noise = 1 + 0.01 * np.sin(7 * seed + place)
            kinds = {("alone", 0): float(place + 1)} | {
                (training, rules.LAST): hybrid(family.title, place, len(family.schemes), training)
                for training in design.TRAININGS}
            made += [{"variant": design.name(scheme, points, kind), "budget": budget, "seed": seed,
                      "error.inside": value * noise, "diverged_at": -1} for (kind, budget), value in kinds.items()]
        found[family.study] = pandas.DataFrame(made)
    return {name: frame for name, frame in found.items() if name != without}


def kept(family, place, number, training):
    return 0.1 * (place + 1)


def turned(family, place, number, training):
    return 0.1 * (number - place)


@pytest.mark.parametrize("hybrid, expected", [
    (kept, "supported"), (turned, "contradicted"),
    (lambda family, *rest: (kept if family == "KS" else turned)(family, *rest), "supported under conditions"),
    (lambda *place: (kept if place[0] == "KS" and place[-1] == "ONE" else turned)(*place),
     "supported under conditions"),
    (lambda family, place, number, training: 0.1, "contradicted")])  # the training levels them all
def test_outcomes(hybrid, expected):
    verdict = judge(rules.CLAIMS["C18"], frames(hybrid))
    assert verdict.outcome == expected and verdict.num_seeds == 12


def test_a_flip_of_best_and_worst_is_enough_to_refute():
    def flipped(family, place, number, training):
        return 0.1 * {0: number, number - 1: 1}.get(place, place + 1)

    def swapped_ends(family, place, number, training):
        return 0.45 if place == 0 else 0.1 * (place + 1) - 0.06 * (place == number - 1)

    assert judge(rules.CLAIMS["C18"], frames(flipped)).outcome == "contradicted"
    rho = rules.rank_correlation(frames(swapped_ends)["e10_ks"], rules.FAMILIES[1].solvers(), "ONE")
    assert len(rho) == 12 and rho.notna().all()


def test_best_and_worst_are_those_of_p_alone():
    frame = frames(turned)["e10"]
    assert rules.best_and_worst(frame, rules.FAMILIES[0], 32) == ("central", "spectral")
    assert rules.best_and_worst(frame[frame.variant != "limited, 32 points, alone"], rules.FAMILIES[0], 32) is None


def test_a_training_that_diverged_is_the_worst():
    made = frames(kept)["e10_ks"]
    made.loc[(made.variant == "ETD1, 2, 48 points, ONE"), "diverged_at"] = 3
    assert rules.rank_correlation(made, rules.FAMILIES[1].solvers(), "ONE").max() < 0.5
    assert rules.rank_correlation(made, rules.FAMILIES[1].solvers(), "WIG-8").min() == pytest.approx(1)


def test_missing_results_or_too_few_seeds_decide_nothing():
    assert judge(rules.CLAIMS["C18"], {}).outcome == "undecided"
    assert judge(rules.CLAIMS["C18"], frames(kept, without="e10_ks")).outcome == "undecided"
    assert judge(rules.CLAIMS["C18"], frames(kept, num_seeds=5)).outcome == "undecided"
    part = frames(kept)
    part["e10"] = part["e10"][part["e10"].variant != "central, 16 points, ONE"]
    verdict = judge(rules.CLAIMS["C18"], part)
    assert verdict.outcome == "undecided" and "missing" in verdict.note
