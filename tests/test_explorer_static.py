"""The static explorer: what it writes, what it refuses, and the roll-outs that it shows."""

import base64
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from explorer_samples import KEYS, explorer, full_size, run

from dpbook_course.descriptions import describe
from dpbook_course.experiments import results, rollouts
from dpbook_course.experiments.provenance import provenance
from dpbook_course.explorer import explore, static, views
from dpbook_course.problems import parametric_burgers
from dpbook_course.studies.e01 import reconstruction as e01_reconstruction
from dpbook_course.studies.e02 import data as e02_solver_as_data
from dpbook_course.studies.e02 import rollouts as e02_rollouts
from dpbook_course.studies.e04 import rollouts as e04_rollouts
from dpbook_course.studies.e04 import unrolling as e04_unrolling
from dpbook_course.studies.e05 import coupling as e05_coupling
from dpbook_course.studies.e05 import rollouts as e05_rollouts
from dpbook_course.studies.e10 import burgers as e10_burgers
from dpbook_course.studies.e10 import rollouts as e10_rollouts
from dpbook_utils.gradients import FullGradient, NoSolverGradient, Pushforward


def payload(html: str) -> dict:
    """What a browser makes of the JSON in an output."""
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', html, re.DOTALL)[1])


def test_the_page_gets_every_run_to_four_digits_and_its_fields_exactly():
    made = explorer()
    data = payload(made._repr_html_())
    assert set(data["runs"]) == {"1|full", "8|full", "8|cut"} and data["width"] == 6
    for key in KEYS:
        sent, kept = data["runs"]["|".join(key)], made.runs[key]
        np.testing.assert_allclose(sent["error"]["above"], kept.error["above"], rtol=5e-4)
        levels = np.frombuffer(base64.b64decode(sent["field"]["inside"][1]), np.uint8)
        assert (levels == kept.field["inside"][1].ravel()).all()
        assert sent["gradient"][0][2] is None and sent["note"] == kept.note
    assert data["solver"]["error"]["inside"][0][-1] == 0.5


def test_numbers_are_four_digits_and_what_is_none_is_null():
    assert static.rounded(np.array([[1.23456, np.nan], [np.inf, 0.0]])) == [[1.235, None], [None, 0.0]]


def test_every_combination_has_a_run_and_says_why_it_is_another_one():
    grid = payload(explorer()._repr_html_())["grid"]
    assert len(grid) == 6
    assert grid["8|cut"] == ["8|cut", "", True]
    assert grid["1|cut"] == ["1|full", "With one step both are one training.", True]
    run_shown, reason, same = grid["8|push"]
    assert run_shown in ("8|full", "8|cut") and "no stored results" in reason and not same


def test_no_text_ends_the_script_element():
    title = 'Bad </script><img src=x> <!-- <b>&amp; "quotes"'
    html = explorer(title=title, source={"Repeat": title})._repr_html_()
    assert payload(html)["source"]["Repeat"] == title
    assert html.count("</script>") == 2 and "<img" not in html and "<!--" not in html


def test_the_element_is_named_by_its_content():
    def name(html):
        return re.search(r'<div class="explorer rollouts" id="(rollouts-[0-9a-f]{12})"', html)[1]

    assert explorer()._repr_html_() == explorer()._repr_html_()
    others = (explorer("other"), explorer(start={"m": 8}), explorer(runs={KEYS[0]: run(0.11)}))
    assert len({name(made._repr_html_()) for made in (explorer(), *others)}) == 4


def test_scripts_and_styles_are_the_same_for_all_and_nothing_stands_in_attributes():
    htmls = [explorer()._repr_html_(), explorer("other", start={"m": "8"})._repr_html_()]
    for tag in ("<style>", '<script type="module">'):
        assert len({html.split(tag)[1].split("</")[0] for html in htmls}) == 1
    without = re.sub(r"<(script|style).*?</\1>", "", htmls[0], flags=re.DOTALL)
    assert not re.search(r"\s(on\w+|style|src|href)=", without)


def test_readers_without_scripts_get_the_numbers():
    summary = explorer().summary()
    assert "8 steps, cut gradient: 0.253" in summary and "solver alone: 0.281" in summary
    assert f"<noscript><p>{summary}</p></noscript>" in explorer()._repr_html_()


@pytest.mark.parametrize("changes, message", [
    ({"name": "Two words"}, "lower-case letters"),
    ({"runs": {}}, "no runs to show"),
    ({"start": {"m": 3}}, "m = 3; choose one of 1, 8"),
    ({"start": {"speed": 3}}, "there are m, policy, region, seed, t"),
    ({"start": {"t": 3}}, "choose one of 0, 2, 4, 6, 8"),
    ({"runs": {("2", "full"): run(0.1)}}, "is no choice of m, policy"),
    ({"runs": {KEYS[0]: run(0.1, 3)}}, r"error of 1 full, inside, has the shape \(3, 8\); \(2, 8\) is needed"),
])
def test_what_does_not_fit_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        explorer(**changes)


def test_fields_of_other_numbers_are_refused():
    for wrong in ([0.5], [256], [-1]):
        with pytest.raises(ValueError, match="whole numbers 0 ... 255"):
            static.packed(np.array(wrong))


def test_pictures_are_off_by_at_most_half_a_level():
    scale, u = 4.0, torch.linspace(-4, 4, 1001)
    back = (rollouts.quantised(u, scale).double() - rollouts.LEVELS) / rollouts.LEVELS * scale
    assert (back - u).abs().max() <= scale / (2 * rollouts.LEVELS) + 1e-6
    odd = torch.tensor([0.0, 5.0, -7.9, 8.1, -1000.0, torch.nan, torch.inf])
    assert rollouts.quantised(odd, scale).tolist() == [127, 254, 0, 255, 255, 255, 255]


def test_roll_outs_are_judged_as_in_the_studies():
    """Two seeds, two samples, of which the first is the picture."""
    reference = torch.ones(4, rollouts.NUM_STEPS, 1, 3)
    prediction = reference * torch.tensor([1.1, 1.4, 1.0, 9.0])[:, None, None, None]
    u0, parameter = torch.zeros(2, 1, 3), torch.tensor([5.0, 6.0])
    found = rollouts.measured({"inside": (prediction, reference, u0, parameter)}, 2, scale=2.0)
    assert torch.allclose(found["error.inside"][0], torch.tensor(0.2).double(), atol=1e-6)  # sqrt(0.1 * 0.4)
    assert found["field.inside"].shape == (2, 51, 3)
    assert found["field.inside"][:, 0].unique().tolist() == [127]
    assert found["field.inside"][:, -1, 0].tolist() == [127 + 70, 127 + 64]
    assert found["parameter.inside"].tolist() == [5.0, 5.0]


def test_the_grids_are_those_of_the_studies_with_their_rates():
    known = e04_unrolling.variants()
    for choice in e04_rollouts.CHOICES:
        setup = e04_rollouts.SPEC.variants[choice.name]
        assert setup.num_steps == choice.m and (setup.sigma > 0) == bool(choice.noise)
        if choice.m > 1:
            policy = {"full": FullGradient, "cut": NoSolverGradient, "push": Pushforward}[choice.policy]
            assert type(setup.gradient) is policy and choice.placement in setup.placement.__name__
    noisy = replace(known["NOG-8"].setup, sigma=e04_unrolling.SIGMA)
    assert describe(e04_rollouts.setup(e04_rollouts.Choice(8, "cut", noise=1))) == describe(noisy)
    assert describe(e04_rollouts.setup(e04_rollouts.Choice(1, noise=1))) == describe(known["NOISE"].setup)
    for choice in e05_rollouts.CHOICES:
        assert describe(e05_rollouts.SPEC.variants[choice.name]) == describe(e05_coupling.variants()[choice.name])
    for name in e02_rollouts.TRAININGS:
        assert describe(e02_rollouts.SPEC.variants[name]) == describe(e02_solver_as_data.SPEC.variants[name])
    assert e02_rollouts.SPEC.budgets[e02_rollouts.TRAININGS[0]] == e02_solver_as_data.BUDGETS
    for scheme, training in views.VIEWS["numerics"].variants:
        name = f"{scheme}, 32 points, {training}"
        assert e10_rollouts.SPEC.variants[name] == e10_burgers.SPEC.variants[name]
        assert training == "alone" or e10_rollouts.BUDGET == max(e10_burgers.SPEC.budgets[name])


def test_a_solver_alone_is_the_same_for_every_seed():
    metrics = {"error.inside": np.full((1, 4), 0.3), "field.inside": np.full((1, 3, 5), 127, np.uint8),
               "gradient": np.full((1, 6), np.nan), "diverged_at": np.array([-1])}
    record = results.Record("e10_rollouts", "central, 32 points, alone", 0, (0,), "f", metrics, provenance()())
    made = views._run(record, ("inside",), 3)
    assert made.error["inside"].shape == (3, 4) and made.field["inside"].shape == (3, 3, 5)
    assert made.diverged == [-1] * 3 and made.gradient.shape == (3, 6)


@pytest.mark.parametrize("name", views.VIEWS)
def test_every_view_shows_trainings_of_its_study(name):
    view = views.VIEWS[name]
    for key, (variant, budget) in view.variants.items():
        assert all(value in control.values for value, control in zip(key, view.controls, strict=True))
        assert budget in view.spec.budgets[variant]
    assert all(view.spec.budgets[baseline] == (0,) for baseline in view.baselines)
    assert {f"error.{region}" for region in view.regions} <= set(view.spec.metrics)


def test_a_figure_has_the_words_of_its_study():
    made = explorer(words={"x": "x", "time": "", "u": "u", "region": "r", "run": "found", "solver": "from the truth"})
    words = made.data()["words"]
    assert (words["run"], words["solver"], words["still"]) == ("found", "from the truth", "persistence")
    assert "; from the truth: " in made.summary()


def test_the_shown_samples_of_e02_are_the_hard_corners():
    edge = e02_rollouts.tests()["edge"]
    assert edge.viscosity[0] == pytest.approx(parametric_burgers.viscosity[0])
    assert edge.states[0, 0].square().mean().sqrt() == pytest.approx(parametric_burgers.amplitude[1], rel=0.02)


def test_a_reconstruction_from_the_truth_is_as_good_as_the_solver():
    problem = e01_reconstruction.Reconstruction()
    states = e01_reconstruction.flow(problem, problem.truth[:1].repeat(2, 1, 1))
    found = rollouts.measured(e01_reconstruction.compared(problem, states), 2, scale=2.0)
    assert found["error.inside"].shape == (2, 32) and found["error.inside"].max() < 0.1
    assert found["error.inside"][0, 0] < 0.01 and found["field.inside"].shape == (2, 17, 128)
    # A gradient by hand, of the state that the solver makes of another one.
    start = (0.5 * problem.truth[:1]).requires_grad_()
    later = e01_reconstruction.repeat(problem.solver, 2)(start, viscosity=problem.viscosity)
    by_hand, = torch.autograd.grad((later - problem.truth[2:3]).square().mean(), start)
    assert e01_reconstruction.gradients(problem, start.detach())[0, 1] == pytest.approx(by_hand.norm().item(), rel=1e-4)


def test_reconstructions_differ_by_seed_and_improve():
    problem, choice = e01_reconstruction.Reconstruction(), e01_reconstruction.Choice("L-BFGS", 1e-4, 0.0)
    first, second = (e01_reconstruction.reconstructed(problem, choice, seed, 3) for seed in (0, 1))
    start = e01_reconstruction.reconstructed(problem, choice, 0, 0)
    assert not torch.equal(first, second) and problem.misfit(first) < 0.5 * problem.misfit(start)


@pytest.fixture
def stored(tmp_path):
    """Records of two trainings and all baselines of E04's roll-outs, made up."""
    def store(variant, budget, seeds, level):
        n = len(seeds)
        metrics = {name: np.full((n, rollouts.NUM_STEPS), level) for name in e04_rollouts.SPEC.metrics
                   if name.startswith("error")}
        metrics |= {name: np.full((n, 51, 48), 127, np.uint8) for name in e04_rollouts.SPEC.metrics
                    if name.startswith("field")}
        metrics |= {name: np.full(n, 40.0) for name in e04_rollouts.SPEC.metrics if name.startswith("parameter")}
        metrics |= {"gradient": np.full((n, 6), level), "diverged_at": np.full(n, -1)}
        fingerprint = e04_rollouts.SPEC.fingerprint(variant)
        results.save(results.Record("e04_rollouts", variant, budget, seeds, fingerprint, metrics, provenance()()),
                     tmp_path)

    for name in e04_rollouts.BASELINES:
        store(name, 0, (0,), 0.9)
    for choice in (e04_rollouts.Choice(1), e04_rollouts.Choice(8)):
        store(choice.name, e04_rollouts.BUDGET, e04_rollouts.SEEDS, 0.1 * choice.m)
    return tmp_path


def test_explore_shows_what_is_stored_and_where_it_comes_from(stored):
    data = payload(explore("unrolling", root=stored, m=8, region="above")._repr_html_())
    assert data["start"] == {"m": "8", "policy": "full", "placement": "every", "noise": "0", "region": "above",
                             "seed": "0", "t": "20"}
    assert set(data["runs"]) == {"1|full|every|0", "8|full|every|0"}
    assert data["runs"]["8|full|every|0"]["error"]["inside"] == [[0.8] * 100] * 3
    note = data["runs"]["8|full|every|0"]["note"]
    assert note.startswith("results/e04_rollouts/m_8_full_every_noise_0-1500-0.json, code ")
    assert data["source"]["Repeat"] == "python -m dpbook_course.experiments run e04_rollouts"
    assert data["grid"]["3|cut|every|0"][1] == "this combination has no stored results."
    assert data["grid"]["1|push|final|0"][0] == "1|full|every|0" and data["grid"]["1|push|final|0"][2]


def test_explore_says_what_is_missing(stored, tmp_path):
    with pytest.raises(ValueError, match="choose one of 'unrolling', 'coupling', 'data', 'numerics', 'reconstruction'"):
        explore("couplings")
    with pytest.raises(results.ResultError, match="there are no results of e05_rollouts.*run e05_rollouts"):
        explore("coupling", root=stored)
    (stored / "e04_rollouts" / "P-0-0.json").unlink()
    with pytest.raises(results.ResultError, match="has no results of P yet.*run e04_rollouts"):
        explore("unrolling", root=stored)


def test_every_combination_of_the_waves_leads_to_a_training():
    view = views.VIEWS["unrolling"]
    runs = {key: run(0.1) for key in view.variants}
    made = explorer(controls=view.controls, runs=runs, nearest=view.nearest)
    grid = made.data()["grid"]
    assert len(grid) == 36 and len(runs) == 14
    assert not any("no stored results" in reason for _, reason, _ in grid.values())
    assert grid["8|cut|final|0"][0] == grid["8|push|every|0"][0] == "8|push|final|0"
    assert grid["8|push|final|1"][0] == "8|push|final|0" and not grid["8|push|final|1"][2]


def test_a_full_payload_stays_below_600_kilobytes():
    assert 300e3 < len(full_size()._repr_html_().encode()) < 600e3
