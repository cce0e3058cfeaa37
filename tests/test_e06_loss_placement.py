"""E06: every placement is the loss that its name says, and the rule of C12 reaches each of its outcomes."""

import numpy as np
import pandas
import pytest
import torch

from dpbook_course.claims import claims
from dpbook_course.experiments import results
from dpbook_course.problems import kuramoto_sivashinsky as ks
from dpbook_course.problems.problem import Trajectories
from dpbook_course.studies.e04 import unrolling as e04
from dpbook_course.studies.e06 import placement as e06
from dpbook_course.studies.e06 import verdict as verdicts_e06
from dpbook_utils.data import random_fourier, simulate
from dpbook_utils.gradients import NoSolverGradient
from dpbook_utils.losses import TrajectoryLoss, final_step
from dpbook_utils.objectives import NoGradientPath, Objective
from dpbook_utils.physics.solver import Solver
from dpbook_utils.physics.trace import TracedSolver
from dpbook_utils.rollout import Rollout
from dpbook_utils.setups import WARM_UP

SEEDS = (1, 2)
ROWS = {**e06.rows(), **{ours: e04.rows()[theirs] for theirs, ours in verdicts_e06.SHARED.items()}}


@pytest.fixture(scope="module", autouse=True)
def small_problem():
    """Two short trajectories instead of 36 long ones, and solvers that are recorded once.

    In float64, as what is compared with them: a reference of float32 differs from R(u) by the rounding of a processor.
    """
    lengths = ks.unit_length * torch.tensor([0.9, 1.2]).double()
    u0 = random_fourier(2, ks.num_points, modes=4, seed=0).double()
    coarse, reference = TracedSolver(ks.coarse_solver()), TracedSolver(ks.reference_solver())
    data = Trajectories(simulate(reference, u0, 24, warmup=40, length=lengths), {"length": lengths})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ks, "trajectories", lambda name: data)
        patch.setattr(ks, "coarse_solver", lambda: coarse)
        patch.setattr(ks, "reference_solver", lambda: reference)
        yield data


@pytest.fixture(scope="module")
def batch(small_problem):
    return ks.windows(SEEDS, e06.NUM_STEPS, 1)[0]


@pytest.fixture(scope="module")
def networks():
    return ks.ensemble(SEEDS, 4, 1).double()


@pytest.fixture(scope="module")
def found(batch, networks):
    """``{placement: (loss, gradient of all weights)}``."""
    losses = {name: objective_of(name, networks)(**batch) for name in ROWS}
    return {name: (loss.detach(), gradient(loss, networks)) for name, loss in losses.items()}


def gradient(loss, networks):
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(networks.parameters()))])


def objective_of(name, networks):
    row = ROWS[name]
    return e06.objective(row, networks) if name in e06.rows() else row.setup.objective(ks.hybrid(networks))


# Each placement against a loop of its own


def by_hand(name, batch, networks, num_steps):
    """The sum of the members' losses, written without Rollout, policies, placements and targets."""
    def cut(u):
        return u.detach() if name.endswith("NOG") else u

    def P(u):
        return cut(ks.coarse_solver()(cut(u), length=batch["length"]))

    def R(u):
        return cut(ks.reference_solver()(cut(u), length=batch["length"]))

    def N(u):
        return u + networks(u, length=batch["length"])

    u, reference, errors = batch["u0"], batch["reference"], []
    for k in range(num_steps):
        before = u
        if name.startswith("N first, after N"):
            u = N(u)
            errors.append(u - (batch["u0"] if k == 0 else reference[:, k - 1]))
            u = P(u)
        else:
            u = P(N(u)) if name.startswith("N first") else N(P(u))
            errors.append(u - (R(before) if name.startswith("residual") else reference[:, k]))
    losses = torch.stack([e.square().mean((1, 2)) for e in errors])  # (num_steps, batch)
    kept = [-1] if "terminal" in name else [3, 7] if name.startswith("sparse") else list(range(num_steps))
    return losses[kept].mean(0).unflatten(0, (len(SEEDS), -1)).mean(1).sum()


@pytest.mark.parametrize("name", ROWS)
def test_every_placement_equals_a_loop_in_value_and_gradient(name, found, batch, networks):
    expected = by_hand(name, batch, networks, e06.NUM_STEPS)
    loss, slope = found[name]
    wanted = gradient(expected, networks)
    assert torch.allclose(loss, expected, rtol=1e-10)
    assert slope.norm() > 0 and (slope - wanted).norm() < 1e-8 * wanted.norm()


def test_placements_differ_in_their_gradients(found):
    for i, a in enumerate(ROWS):
        for b in list(ROWS)[i + 1:]:
            assert (found[a][1] - found[b][1]).norm() > 1e-3 * found[a][1].norm(), f"{a} trains as {b} does"


def test_terminal_without_the_solvers_gradient_is_pushforward(found, batch, networks):
    """Why E06 takes its records from E04: with the solver cut, the last step alone reaches N."""
    rollout = Rollout(ks.hybrid(networks), e06.NUM_STEPS, gradient=NoSolverGradient())
    cut = gradient(Objective(rollout, TrajectoryLoss(final_step))(**batch), networks)
    assert torch.allclose(cut, found["terminal, NOG"][1], rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", ["N first, after P, WIG", "N first, after P, terminal, WIG"])
def test_no_placement_after_the_solver_trains_without_its_gradient(name, batch, networks):
    objective = e06.objective(e06.rows()[name], networks)
    objective.rollout.gradient = NoSolverGradient()
    with pytest.raises(NoGradientPath, match="no path leads from the network to the loss"):
        objective(**batch)


def test_the_state_before_the_solver_has_no_target_of_its_own_step(small_problem):
    """The state that P turns into the reference's next one cannot be found: P is not invertible to rounding."""
    P, R = ks.coarse_solver(), ks.reference_solver()
    u, length = small_problem.states[:1, 5].double(), small_problem.length[:1].double()
    jacobian = torch.autograd.functional.jacobian(lambda v: P(v, length=length), u).view(48, 48)
    singular = torch.linalg.svdvals(jacobian)
    assert singular[-1] < torch.finfo(torch.float32).eps * singular[0]
    wanted = (R(u, length=length) - P(u, length=length)).view(48, 1)
    assert torch.linalg.lstsq(jacobian, wanted).solution.norm() > 10 * u.norm()  # the first step of Newton's method


# Pairs are pairs


def test_placements_share_all_but_the_place():
    setups = {name: row.setup for name, row in ROWS.items()}
    assert {setup.num_steps for setup in setups.values()} == {e06.NUM_STEPS}
    assert {(setup.clip_norm, setup.batch_size, setup.sigma) for setup in setups.values()} == {(1.0, 16, 0.0)}
    starts = {name: setup.curriculum for name, setup in setups.items()}
    first = {name: curriculum[0] for name, curriculum in starts.items()}
    assert {name for name, start in first.items() if start != (0.0, 1)} == {
        "N first, after N, WIG", "N first, after N, NOG"}, "after one step these have not seen P"
    assert {curriculum[1] for curriculum in starts.values()} == {(WARM_UP, e06.NUM_STEPS)}
    assert e06.NUM_STEPS == e04.LONGEST and (e06.WIDTH, e06.NUM_BLOCKS) == (16, 4)


def test_with_the_solver_first_all_warm_up_on_the_same_loss(batch, networks):
    names = [name for name in ROWS if not name.startswith("N first")]
    losses = []
    for name in names:
        objective = objective_of(name, networks)
        objective.rollout.num_steps = 1
        losses.append(objective(**batch))
    assert len(names) == 8 and torch.allclose(torch.stack(losses), losses[0], rtol=1e-9, atol=0)


def test_the_learning_rates_are_those_that_the_tuning_chose():
    assert e06.LEARNING_RATES == e06.TUNING.best(results.frame(e06.TUNING.spec))


def test_the_tested_step_ends_where_the_loss_was(networks):
    for name, row in e06.rows().items():
        first, last = e06.tested_step(row, networks)
        assert isinstance(last, Solver) == name.startswith("N first, after P"), name
        assert isinstance(first, Solver) != isinstance(last, Solver)


def test_sparse_follows_short_rollouts():
    assert e06.sparse(8).tolist() == [0, 0, 0, 0.5, 0, 0, 0, 0.5]
    assert e06.sparse(1).tolist() == [1.0] and e06.sparse(5).tolist() == [0, 0, 0, 1, 0]


# The rule of C12

SCATTER, NOISE = np.array([1.0, 1.3, 0.8, 1.1, 0.6, 0.9]), np.array([1.02, 0.97, 1.01, 0.98, 1.03, 1.0])


def frames(errors, *, seeds=12, elsewhere=None, leave_out=()):
    """Made-up records: ``errors[name]`` inside, ``elsewhere[metric][name]`` where it differs; 0.1 for all others."""
    made = {}
    for spec, names in ((e04.SPEC, [*verdicts_e06.SHARED, *verdicts_e06.BASELINES]), (e06.SPEC, list(e06.rows()))):
        rows = []
        for variant in names:
            name = verdicts_e06.SHARED.get(variant, variant)
            for budget in () if name in leave_out else (0,) if name in verdicts_e06.BASELINES else (1500, 6000):
                for seed in range(1 if budget == 0 else seeds):
                    noise = SCATTER[seed % 6] * NOISE[(seed + len(name)) % 6]
                    value = {metric: (elsewhere or {}).get(metric, errors).get(name, 0.1) * noise
                             for metric in ("decorrelation", "inside", "below", "above")}
                    rows.append({"variant": variant, "budget": budget, "seed": seed, "diverged_at": -1,
                                 "decorrelation.inside": 1 / value.pop("decorrelation"),
                                 **{f"error.{region}": error for region, error in value.items()}})
        made[spec.id] = pandas.DataFrame(rows)
    return made


def outcome(made):
    return claims.judge(verdicts_e06.CLAIMS["C12"], made)


DIFFERENT = {"P": 1.0, "terminal, WIG": 0.05, "terminal, NOG": 0.3, "every step, NOG": 0.06}
SAME = {"P": 1.0, "terminal, WIG": 0.05, "terminal, NOG": 0.05}


def test_supported_if_the_best_placement_changes_with_the_gradient():
    verdict = outcome(frames(DIFFERENT))
    assert verdict.outcome == "supported" and verdict.num_seeds == 12, verdict
    assert "WIG: terminal, NOG: every step" in verdict.note
    name = "error inside, WIG: terminal / every step (best by error inside, NOG)"
    assert verdict.effect(name).value == pytest.approx(0.5, rel=0.03) and verdict.effect(name).holds
    assert verdict.effect("error inside: terminal, WIG / NOG").value == pytest.approx(1 / 6, rel=0.03)


def test_supported_under_conditions():
    useless = outcome(frames({**DIFFERENT, "residual, WIG": 2.0}))
    assert useless.outcome == "supported under conditions" and "residual / P alone" in useless.note
    other_metric = outcome(frames(SAME, elsewhere={"decorrelation": {"every step, WIG": 0.05}}))
    assert other_metric.outcome == "supported under conditions"


def test_contradicted_if_one_placement_is_best_throughout():
    assert outcome(frames(SAME)).outcome == "contradicted"
    barely = outcome(frames({**SAME, "every step, NOG": 0.0499}))  # another is best, within the scatter of the seeds
    assert barely.outcome == "contradicted"


def test_undecided_if_a_placement_or_a_seed_is_missing():
    without = outcome(frames(DIFFERENT, leave_out=("residual, NOG",)))
    assert without.outcome == "undecided" and "NOG: not known yet" in without.note
    assert outcome(frames(DIFFERENT, seeds=5)).outcome == "undecided"
    assert outcome({"e06": frames(DIFFERENT)["e06"]}).outcome == "undecided"
    assert outcome({}).outcome == "undecided"


def test_trainings_that_diverged_are_named():
    made = frames(DIFFERENT)
    made["e06"].loc[(made["e06"].variant == "residual, WIG") & (made["e06"].seed == 0), "diverged_at"] = 7
    assert "residual, WIG at 6,000 (1)" in outcome(made).note
