"""Findings, verdicts and the ledger, on made-up results."""

import math
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas
import pytest

from dpbook_course.claims import claims, findings
from dpbook_course.claims.claims import Claim, Effect, Verdict, judge
from dpbook_course.claims.findings import conclude, lower, per_seed, smaller
from dpbook_course.experiments import results, tasks
from dpbook_course.experiments.spec import Experiment

SCATTER = np.array([1.0, 1.3, 0.8, 1.1, 0.6, 0.9])  # what seeds share
NOISE = np.array([1.02, 0.97, 1.01, 0.98, 1.03, 1.0])  # what they do not


def frame_of(errors, seeds=range(6), seconds=0.01):
    """``{(variant, budget): error}`` to a frame with all seeds."""
    return pandas.DataFrame([
        {"variant": variant, "budget": budget, "seed": seed, "seconds_per_update": seconds,
         "error": error * SCATTER[seed % 6] * NOISE[(seed + ord(variant)) % 6]}
        for (variant, budget), error in errors.items() for seed in seeds])


def alike(one, other):
    """Equal verdicts, in which NaN equals NaN; of dataclasses that depends on the version of Python."""
    np.testing.assert_equal(*([asdict(effect) for effect in verdict.effects] for verdict in (one, other)))
    return replace(one, effects=()) == replace(other, effects=())


def decide(frames):
    """Made up: A better than B; under conditions if at the smaller budget alone."""
    found = [smaller(f"A / B, {n}", *(per_seed(frames["e90"], v, n, "error") for v in "AB")) for n in (10, 100)]
    return conclude(found[1:], found, "100 updates", shown=[smaller("B / A", *(
        per_seed(frames["e90"], v, 100, "error") for v in "BA"))])


CLAIM = Claim("C90", "A is better than B", "03_unrolling", ("e90",), "The interval lies below 1.", decide)
BETTER = {("A", 10): 0.1, ("B", 10): 0.2, ("A", 100): 0.01, ("B", 100): 0.02}


def outcome(frame):
    return judge(CLAIM, {"e90": frame}).outcome


def test_each_outcome_is_reached():
    assert outcome(frame_of(BETTER)) == "supported"
    assert outcome(frame_of(BETTER | {("A", 100): 0.02}, range(12))) == "supported under conditions"
    assert outcome(frame_of(BETTER | {("A", 100): 0.03}, range(12))) == "supported under conditions"
    assert outcome(frame_of(BETTER | {("A", 100): 0.03})) == "undecided", "one of two, of six seeds"
    assert outcome(frame_of(BETTER | {("A", 100): 0.02, ("A", 10): 0.3})) == "contradicted"
    assert outcome(frame_of({key: value for key, value in BETTER.items() if key != ("B", 100)})) == "undecided"


def test_what_is_required_stays_what_it_is():
    """A finding that is enough may bear the name of a required one; what is shown decides nothing."""
    better, worse = (smaller("x", *(per_seed(frame_of(BETTER, range(12)), v, 100, "error") for v in pair))
                     for pair in ("AB", "BA"))
    other = findings.Finding(replace(worse.effect, name="y"), 12)
    enough = findings.Finding(replace(better.effect, name="z"), 12)
    verdict = conclude([better, other], [worse, enough], "", shown=[better])
    assert verdict.required == ("x", "y") and verdict.outcome == "supported under conditions"
    assert [(effect.name, effect.holds) for effect in verdict.effects] == [("x", True), ("y", False), ("z", True)]
    assert verdict.note == (
        "1 of 2 required comparisons is not as claimed. The other way: y. Of 2 comparisons of which one or some are "
        'enough for "under conditions", 2 are as claimed by themselves; the smallest corrected p among these is '
        "0.0015.")
    assert conclude([better] * 2, [other], "").note == "all 2 required comparisons are as claimed."


def test_what_does_not_hold_is_contradicted_or_undecided():
    """By the same rule in both directions: six of six seeds, and the interval."""
    a, b = (per_seed(frame_of(BETTER), v, 100, "error") for v in "AB")
    tied = b * np.array([0.9, 1.1, 0.95, 1.05, 0.9, 1.1])
    found = {"for": smaller("for", a, b), "against": smaller("against", b, a), "tie": smaller("tie", tied, b),
             "few": smaller("few", b[:5], a[:5]), "lost": smaller("lost", b.where(b.index > 0, math.inf), a),
             "more": lower("more", 10 * b, 10 * a), "less": lower("less", 10 * a, 10 * b), "same": lower("same", a, a)}
    assert {name: f.effect.reading for name, f in found.items()} == {
        "for": "as claimed", "against": "the other way", "tie": "undecided", "few": "", "lost": "the other way",
        "more": "the other way", "less": "as claimed", "same": "no difference"}
    verdict = conclude([found["for"], found["against"], found["tie"]], [], "", shown=[found["more"]])
    assert verdict.note == "2 of 3 required comparisons are not as claimed. The other way: against. Undecided: tie."
    assert list(verdict.table()["reading"]) == ["as claimed", "the other way", "undecided", ""]


def test_a_training_that_diverged_is_worse_than_any_other():
    frame = frame_of(BETTER).assign(diverged_at=-1)
    frame.loc[(frame.variant == "A") & (frame.seed == 3) & (frame.budget == 100), "diverged_at"] = 40
    values = findings.judged(frame, "A", 100, "error")
    assert np.isinf(values).tolist() == [False] * 3 + [True] + [False] * 2
    assert findings.judged(frame.drop(columns="diverged_at"), "A", 100, "error").lt(1).all(), "no trainings"
    effect = smaller("", values, per_seed(frame, "B", 100, "error")).effect
    assert effect.value == pytest.approx(0.5, rel=0.05) and effect.blown_up == (1, 0) and effect.holds is False
    a, b = findings.at_equal_time(frame, "A", (10, 100), "B", (10, 100), "error")
    assert np.isinf(a).sum() == 1 and np.isfinite(b).all()


def test_missing_results_are_undecided_and_say_what_to_run():
    for frames in ({}, {"e90": pandas.DataFrame()}):
        verdict = judge(CLAIM, frames)
        assert verdict.outcome == "undecided" and verdict.num_seeds == 0 and verdict.claim is CLAIM
        assert "python -m dpbook_course.experiments run e90" in verdict.remedy and verdict.remedy in str(verdict)
    partial = judge(CLAIM, {"e90": frame_of({key: BETTER[key] for key in list(BETTER)[:2]})})
    assert "A / B, 100" in partial.note and "run e90" in partial.remedy and partial.effect("A / B, 10").holds


def test_five_seeds_are_undecided():
    verdict = judge(CLAIM, {"e90": frame_of(BETTER, seeds=range(5))})
    assert verdict.outcome == "undecided" and verdict.num_seeds == 5
    assert verdict.effect("A / B, 100").value == pytest.approx(0.5, rel=0.05), "shown all the same"
    assert verdict.effect("A / B, 100").holds is None


def test_a_rule_of_its_own_does_not_get_past_six_seeds():
    eager = Claim("C91", "", "", ("e90",), "", lambda frames: Verdict("supported", (), 5, "100", "five will do"))
    verdict = judge(eager, {"e90": frame_of(BETTER)})
    assert verdict.outcome == "undecided" and "5 seeds; a verdict needs 6. five will do" in verdict.note


def test_a_blow_up_is_counted_and_shown():
    frame = frame_of(BETTER)
    frame.loc[(frame.variant == "A") & (frame.budget == 100) & (frame.seed == 3), "error"] = math.inf
    verdict = judge(CLAIM, {"e90": frame})
    effect = verdict.effect("A / B, 100")
    assert effect.high < 1 and effect.blown_up == (1, 0) and effect.holds is False
    assert verdict.outcome == "undecided" and verdict.num_seeds == 6 and "seeds would decide it" in verdict.needed
    assert "1 / 0" in str(verdict) and "blown up" not in str(judge(CLAIM, {"e90": frame_of(BETTER)}))


def test_pairs_are_made_by_seed_and_not_by_position():
    frame = frame_of(BETTER)
    shuffled = frame.sample(frac=1, random_state=0)
    assert alike(judge(CLAIM, {"e90": shuffled}), judge(CLAIM, {"e90": frame}))
    lacking = frame.drop(frame[(frame.variant == "B") & (frame.seed == 0)].index)
    verdict = judge(CLAIM, {"e90": lacking})
    assert verdict.outcome == "undecided" and verdict.num_seeds == 5
    with pytest.raises(ValueError, match="a seed occurs twice"):
        judge(CLAIM, {"e90": pandas.concat([frame, frame])})
    one, other = findings.common_seeds(pandas.Series([1.0, 2.0], [0, 1]), pandas.Series([3.0, 4.0], [1, 2]))
    assert list(one * other) == [6.0]


def test_a_number_without_seeds_can_be_the_other_side():
    errors = per_seed(frame_of(BETTER), "A", 100, "error")
    assert smaller("", errors, 0.1).effect.holds and not smaller("", errors, 0.01).effect.holds
    assert smaller("", errors, pandas.Series(dtype=float)).num_seeds == 0


def test_fractions_are_compared_by_differences():
    some, none = pandas.Series([0.1, 0.2, 0.1, 0.3, 0.2, 0.1]), pandas.Series(np.zeros(6))
    found = lower("", none, some)
    assert found.effect.value == pytest.approx(-1 / 6) and found.effect.holds and found.num_seeds == 6
    assert lower("", some, none).effect.reading == "the other way"
    assert lower("", none, none).effect.reading == lower("", none, some / 10).effect.reading == "no difference"
    rare = lower("", none, pandas.Series([0, 0, 0.1, 0.11, 0.12, 0.1]))
    assert rare.effect.high < 0 and not rare.effect.holds, "four of four do not pass the test on ranks"
    assert lower("", none[:5], some[:5]).effect.holds is None


def test_equal_time():
    """B takes a third of the time of A: at A's 100 updates it has done 300, a power law between 100 and 1000."""
    errors = {("A", 10): 0.5, ("A", 100): 0.04} | {("B", n): 10 / n for n in (10, 100, 1000)}
    frame = frame_of(errors)
    frame.loc[frame.variant == "A", "seconds_per_update"] = 0.03
    a, b = findings.at_equal_time(frame, "A", (10, 100), "B", (10, 100, 1000), "error")
    pandas.testing.assert_series_equal(a, per_seed(frame, "A", 100, "error"), check_names=False)
    expected = per_seed(frame, "B", 100, "error") / 3
    np.testing.assert_allclose(b, expected)
    assert smaller("", a, b).effect.value == pytest.approx(0.04 * 30, rel=0.05)  # at equal updates: 0.4
    a, b = findings.at_equal_time(frame, "A", (10, 100), "B", (10, 100), "error")  # B's longest: A's 33 updates
    np.testing.assert_allclose(b, per_seed(frame, "B", 100, "error"))
    assert (a > per_seed(frame, "A", 100, "error")).all() and (a < per_seed(frame, "A", 10, "error")).all()
    a, b = findings.at_equal_time(frame, "A", (100,), "B", (10,), "error")
    assert a.empty and b.empty, "nothing is extrapolated"
    assert findings.at_equal_time(frame, "A", (10, 100), "B", (10, 9999), "error")[0].empty
    frame.loc[frame.variant == "A", "seconds_per_update"] = math.nan
    assert findings.at_equal_time(frame, "A", (10, 100), "B", (10, 100), "error")[0].empty


def test_texts():
    verdict = judge(CLAIM, {"e90": frame_of(BETTER)})
    html, text = verdict._repr_html_(), str(verdict)
    for said in (html, text):
        for part in (CLAIM.id, CLAIM.text, CLAIM.criterion, "supported", "Sample: 6 seeds", "100 updates", "A / B, 100",
                     "as claimed", "python -m dpbook_course.experiments run e90"):
            assert part in said
    assert html.count("<tr>") == 4 and list(verdict.table()["reading"]) == ["as claimed", "as claimed", ""]
    assert verdict.effect("B / A").value == pytest.approx(1 / verdict.effect("A / B, 100").value)
    with pytest.raises(KeyError, match="A / B, 10"):
        verdict.effect("A / C")
    with pytest.raises(ValueError, match="'true'"):
        Verdict("true", (), 6, "")
    alone = Verdict("undecided", (Effect("x", math.nan, math.nan, math.nan),), 0, "none")
    assert "<td>x</td><td>-</td><td>- ... -</td><td></td>" in alone._repr_html_() and "undecided" in str(alone)


@dataclass(frozen=True)
class Spec:
    id: str


@pytest.fixture
def registry(monkeypatch):
    """Two experiments, of which one has results, and a claim that needs both."""
    both = Claim("C89", "Both", "03_unrolling", ("e90", "e91"), "", lambda frames: Verdict(
        "undecided" if frames["e91"].empty else "supported", (), 6, "", f"e91 has {len(frames['e91'])} rows"))
    known = {"e90": Experiment(Spec("e90"), None, claims={"C90": CLAIM, "C89": both}),
             "e91": Experiment(Spec("e91"), None)}

    monkeypatch.setattr(claims, "loaded", lambda: (known, []))
    monkeypatch.setattr(results, "load", lambda spec: (["e90's"] if spec.id == "e90" else [], []))
    monkeypatch.setattr(results, "rows", lambda *_: frame_of(BETTER))
    return known


def test_the_ledger(registry):
    found = claims.verdicts()
    assert list(found) == ["C89", "C90"] and found["C90"].outcome == "supported"
    assert found["C89"].outcome == "undecided" and "e91 has 0 rows" in found["C89"].note
    assert "no results of e91" in found["C89"].remedy and "run e90" not in found["C89"].remedy
    assert alike(claims.verdict("C90"), found["C90"])
    weighed, problems = claims.weighed()
    assert not problems and list(weighed) == list(found) and all(alike(weighed[key], found[key]) for key in found)
    report = claims.report(found)
    assert report.index("C89") < report.index("C90") < report.index("Criterion") and CLAIM.criterion in report
    with pytest.raises(KeyError, match="C89, C90"):
        claims.verdict("C01")


def test_a_claim_belongs_to_one_study(registry):
    registry["e91"].claims["C90"] = Claim("C90", "", "", ("e91",), "", decide)
    found, (problem,) = claims.weighed()
    assert problem.startswith("e90 and e91 both state C90, so it has no verdict: ") and list(found) == ["C89"]
    with pytest.warns(UserWarning, match="both state C90"):
        assert claims.verdicts() == found
    with pytest.raises(KeyError, match="no claim 'C90'; the experiments decide C89; e90 and e91 both state"):
        claims.verdict("C90")
    registry["e91"].claims["C88"] = CLAIM
    del registry["e91"].claims["C90"]
    found, (problem,) = claims.weighed()
    assert problem == "e91 states C90 as 'C88': give it the key 'C90' in its CLAIMS" and list(found) == ["C89", "C90"]


def test_a_rule_that_fails_leaves_the_other_claims(registry):
    registry["e91"].claims["C88"] = Claim("C88", "Fails", "", ("e90",), "", lambda frames: frames["e90"]["eror"])
    found, (problem,) = claims.weighed()
    assert problem.startswith("C88 of e91 cannot be judged: ") and problem.endswith("KeyError: 'eror'")
    assert found["C88"].outcome == "undecided" and found["C88"].note == f"{problem}."
    assert found["C90"].outcome == "supported"
    with pytest.raises(KeyError, match="eror"):
        claims.verdict("C88")


def test_results_that_are_refused_are_not_called_absent(registry, monkeypatch):
    other = results.ResultError("results/e91/a-10-0.json was computed under other settings.\nDo this")
    monkeypatch.setattr(results, "load", lambda spec: (["e90's"], []) if spec.id == "e90" else ([], [other] * 3))
    found, problems = claims.weighed()
    assert problems == [str(other)] * 3 and found["C90"].outcome == "supported"
    said = "Results of e91 are there, but refused, 3 files; the first: results/e91/a-10-0.json was computed under other"
    assert found["C89"].outcome == "undecided" and found["C89"].remedy.startswith(said)
    assert "no results" not in str(found["C89"]) and said.split("; ")[1] in " ".join(str(found["C89"]).split())
    with pytest.warns(UserWarning, match="other settings"):
        assert claims.verdict("C89") == found["C89"]


def test_claims_of_a_study_that_cannot_be_used_say_why(registry, monkeypatch):
    broken = tasks.StudyError("e91", "verdict.py, line 3: NameError: x")
    monkeypatch.setattr(claims, "loaded", lambda: ({"e90": registry["e90"]}, [broken]))
    found, problems = claims.weighed()
    assert problems == ["the study e91 cannot be used: verdict.py, line 3: NameError: x"]
    assert found["C90"].outcome == "supported" and problems[0] in found["C89"].remedy


def test_the_stated_claims():
    """Ids, chapters and experiments of the real ones exist, and every one states its rule."""
    found = claims.all_claims()
    assert {"C09", "C10", "C22"} <= set(found)
    known = tasks.experiments()
    for key, claim in found.items():
        assert claim.id == key and claim.text and len(claim.criterion) > 40
        assert set(claim.experiments) & set(known), f"{key} is decided by {claim.experiments}, none of which is here"
        assert claim.chapter[:2].isdigit()
