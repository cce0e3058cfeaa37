"""What the trainer says that its choices are worth: by the numbers that are stored, and in words that they bear."""

import json

import javascript
import pytest

from dpbook_course.web import choices, worker_source

# What a reader does who presses "One update" ten times.
PAGE = """
onmessage({data: {type: "configure", settings: SETTINGS, run: 1, reset: true}});
session.problem.prepare();
for (let k = 0; k < 10; k++) onmessage({data: {type: "step"}});
"""


def made_up(ratio, spread=0.01, ms=10.0):
    """Trainings whose errors are about ``ratio``, seed by seed."""
    return {str(seed): {"errors": [9.0, *[ratio * (1 + spread * (seed - 2.5))] * choices.LAST], "ms": ms}
            for seed in choices.SEEDS}


def start():
    return {str(seed): {"errors": [9.0, *[1.0] * choices.LAST], "ms": 10.0} for seed in choices.SEEDS}


@pytest.fixture
def keep(monkeypatch, tmp_path):
    """Store trainings as the command would, of this code or of another."""
    def write(trainings, code="now"):
        content = {"code": code, "trainings": trainings}
        (tmp_path / "trainer.json").write_text(json.dumps(content), encoding="utf-8")
        choices.told.cache_clear()

    monkeypatch.setattr(choices, "folder", lambda: tmp_path)
    monkeypatch.setattr(choices, "code", lambda: "now")
    choices.told.cache_clear()
    yield write
    choices.told.cache_clear()


@pytest.mark.parametrize("ratio, spread, words", [
    (0.5, 0.01, "a smaller error, 0.50"), (2.0, 0.01, "a larger error, 2.00"), (1.0, 0.01, "no difference, 1.00"),
    (1.1, 0.2, "no clear difference, ")])
def test_a_sentence_says_what_was_measured(keep, ratio, spread, words):
    keep({choices.START: start(), "cut": made_up(ratio, spread)})
    said = choices.told()
    assert list(said["texts"]) == ["policy"] and said["story"] == "flow"
    assert said["texts"]["policy"]["cut"].startswith(f"Measured here, 6 seeds, {choices.UPDATES} updates: {words}")
    assert "An update takes" not in said["texts"]["policy"]["cut"]


def test_a_training_that_diverges_counts_and_a_dearer_update_is_told(keep):
    lost = made_up(0.5, ms=42.0)
    lost["3"]["errors"] = [0.5, None]
    keep({choices.START: start(), "m 8": lost})
    text = choices.told()["texts"]["m"]["8"]
    assert "1 of 6 seeds lost" in text and text.endswith("An update takes 4.2 times as long.")


def test_nothing_is_said_of_what_was_not_measured(keep):
    assert choices.told() is None
    some = made_up(0.5)
    del some["5"]
    keep({choices.START: start(), "cut": some})
    assert choices.told() is None
    keep({choices.START: start(), "cut": made_up(0.5)}, code="earlier")
    assert choices.told() is None


def test_every_change_is_one_control_of_the_story_and_offered():
    from dpbook_course.web import train

    offered = {control.id: control.values for control in train("flow", systems=("flow",)).controls()}
    start = choices.settings({}, 0)
    for name, change in choices.CHANGES.items():
        assert len(change) == (name != choices.START)
        for control, value in change.items():
            assert value in offered[control] and str(start[control]) != value
    assert start["m"] == 4 and start["lr"] == 0.001 and choices.settings({"noise": "0.1"}, 3)["noise"] > 0.05


def test_what_is_stored_is_of_this_code():
    """After a change of the worker or of the kernels: python -m dpbook_course.web.choices"""
    if choices.path().exists():
        found = json.loads(choices.path().read_text(encoding="utf-8"))
        assert found["code"] == choices.code() and found["updates"] == choices.UPDATES
        assert set(found["trainings"]) <= set(choices.CHANGES)


def test_the_command_trains_as_the_page_does_and_goes_on_where_it_was(keep, monkeypatch, capsys):
    monkeypatch.setattr(choices, "UPDATES", 20)
    monkeypatch.setattr(choices, "JUDGED", 10)
    monkeypatch.setattr(choices, "SEEDS", (0,))
    monkeypatch.setattr(choices, "CHANGES", {choices.START: {}, "m 1": {"m": "1"}})
    assert choices.main([]) == 0
    trainings = choices.stored()
    for one in trainings.values():
        assert len(one["0"]["errors"]) == 2
    said = javascript.run(javascript.WORKER, worker_source(names=("flow",)), PAGE, result="SENT.at(-1).ratio",
                          SETTINGS=choices.settings({}, 0))
    assert trainings[choices.START]["0"]["errors"][0] == pytest.approx(said, rel=1e-6)
    assert trainings["m 1"]["0"]["ms"] < trainings[choices.START]["0"]["ms"]
    assert capsys.readouterr().out.count("of the solver's error") == 2
    assert choices.main([]) == 0 and capsys.readouterr().out == ""
