"""The playground's widgets: every combination of the controls, the buttons, and what a page without a kernel shows."""

import asyncio
import itertools
import sys
import time
from dataclasses import replace

import pytest
import torch
from jupyter_client.manager import start_new_kernel

from dpbook_course.explorer import Playground, playground
from dpbook_course.explorer.choices import OFFERED, Choices, objection
from dpbook_course.explorer.problems import PROBLEMS, Playable
from dpbook_course.explorer.runs import Run

COMBINATIONS = list(itertools.product(*OFFERED.values()))


def stub_train(choices, go_on):
    """As ``runs.train``, with updates that do nothing."""
    assert go_on(0) and go_on(choices.budget - 1)
    return Run(choices, choices.budget, "finished", 0.1, torch.full((60,), 0.1), torch.zeros(61, 48))


@pytest.fixture
def stubbed(monkeypatch):
    monkeypatch.setattr(playground.runs, "train", stub_train)
    monkeypatch.setattr(playground.runs, "summary", lambda run, previous: f"summary of {run.choices}")
    monkeypatch.setattr(playground, "report", lambda run, previous: f"{run.choices} beside "
                        f"{None if previous is None else previous.choices}")
    monkeypatch.setattr(playground, "SLICE", 0.0)


def choose(shown: Playground, combination) -> Choices:
    for control, value in zip(shown.controls.values(), combination, strict=True):
        control.value = value
    return shown.choices


def test_every_combination_says_what_it_does():
    shown, refused = Playground(), 0
    for combination in COMBINATIONS:
        choices = choose(shown, combination)
        assert tuple(vars(choices).values()) == combination
        reason = objection(choices)
        refused += reason is not None
        assert shown.train_button.disabled == (reason is not None)
        assert ("This cannot be trained" in shown.advice.value) == (reason is not None)
        assert f", {choices.num_steps}" in shown.advice.value and "Objective(Rollout(" in shown.advice.value
    assert 0.1 < refused / len(COMBINATIONS) < 0.6


def test_every_set_up_trains_from_the_button(stubbed):
    """Noise and budget aside, which change no branch: a click trains what is shown, or nothing."""
    shown, before = Playground(budget=100), None
    for combination in itertools.product(*(OFFERED[name] for name in list(OFFERED)[:5])):
        choices = choose(shown, (*combination, 0.0, 100))
        shown._start()
        if objection(choices) is None:
            assert shown.current.choices == choices and shown.previous is before
            assert shown.result.value == f"{choices} beside {None if before is None else before.choices}"
            assert (shown.progress.value, shown.progress.bar_style) == (100, "success")
            assert str(choices) in shown.status.value.replace("&#x27;", "'")
            before = shown.current
        assert shown.current is before
        assert shown.stop_button.disabled


class TestButtons:
    def test_a_click_trains(self, stubbed):
        shown = Playground(budget=100)
        shown.train_button.click()
        assert shown.current.updates == 100

    def test_stop_ends_a_training_and_keeps_it(self):
        async def scenario():
            shown = Playground(budget=3000, num_steps=1)
            shown.train_button.click()
            while shown.progress.value == 0:
                await asyncio.sleep(0.01)
            assert shown.train_button.disabled and not shown.stop_button.disabled
            task = shown.task
            shown.train_button.click()  # a second training does not start beside the first
            shown.controls["num_steps"].value = 2  # what is chosen meanwhile is for the next one
            assert shown.train_button.disabled
            shown.stop_button.click()
            await task
            return shown

        shown = asyncio.run(scenario())
        run = shown.current
        assert run.ending == "stopped" and 0 < run.updates < 3000 and run.choices.num_steps == 1
        assert "Stopped after" in shown.status.value and shown.result.value.count("<img") == 3
        assert (shown.progress.bar_style, shown.progress.value) == ("warning", run.updates)
        assert shown.counter.value == f"{run.updates} of 3000 updates"
        assert shown.stop_button.disabled and not shown.train_button.disabled

    def test_the_loop_goes_on_meanwhile(self):
        async def scenario():
            shown, waits = Playground(budget=100, num_steps=1), []
            shown.train_button.click()
            while not shown.task.done():
                started = time.process_time()
                await asyncio.sleep(0)
                waits.append(time.process_time() - started)
            return shown, waits

        shown, waits = asyncio.run(scenario())
        assert shown.current.updates == 100
        assert sorted(waits)[-3] < 2  # but for the data and the recording of the graph

    def test_an_error_is_shown_and_the_next_training_works(self, stubbed, monkeypatch):
        def fail(choices, go_on):
            raise RuntimeError("out of <memory>")

        shown = Playground(budget=100)
        with monkeypatch.context() as patch:
            patch.setattr(playground.runs, "train", fail)
            shown.train_button.click()
        assert "RuntimeError: out of &lt;memory&gt;" in shown.status.value
        assert shown.current is None and not shown.train_button.disabled and shown.stop_button.disabled
        shown.train_button.click()
        assert shown.current.updates == 100 and shown.previous is None

    def test_an_interrupted_cell_leaves_the_buttons_usable(self, stubbed):
        async def scenario():
            shown = Playground()
            shown.train_button.click()
            await asyncio.sleep(0)
            shown.task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await shown.task
            return shown

        shown = asyncio.run(scenario())
        assert "interrupted" in shown.status.value and not shown.train_button.disabled


class TestStart:
    def test_presets(self):
        shown = Playground(pde="Burgers", coupling="interpolation", num_steps=8, noise=0.01)
        assert shown.choices == Choices("Burgers", "interpolation", 8, noise=0.01)

    def test_a_preset_may_be_one_that_explains_itself(self):
        shown = Playground(coupling="additive, N first", gradient="not through the solver")
        assert shown.train_button.disabled and "no path leads from the network to the loss" in shown.advice.value

    def test_unknown_presets_are_refused(self):
        with pytest.raises(ValueError, match="pde is 'Wave'; choose one of 'Kuramoto-Sivashinsky', 'Burgers'"):
            Playground(pde="Wave")

    @pytest.mark.parametrize("pde", PROBLEMS)
    def test_nothing_is_computed(self, pde, monkeypatch):
        def fail(*_):
            pytest.fail("computed something")

        for name in ("solver", "batches", "tests"):
            monkeypatch.setattr(Playable, name, fail)
        monkeypatch.setitem(PROBLEMS, pde, replace(PROBLEMS[pde], network=fail))
        started = time.process_time()
        Playground(pde=pde, coupling="right-hand side")
        assert time.process_time() - started < 2

    def test_every_control_has_a_name_and_is_a_native_menu(self):
        shown = Playground()
        assert len({control.description for control in shown.controls.values()}) == len(OFFERED)
        for name, control in shown.controls.items():
            assert type(control).__name__ == "Dropdown" and control.description
            assert [value for _, value in control.options] == list(OFFERED[name])
            assert all(isinstance(text, str) and text for text, _ in control.options)
        for button in (shown.train_button, shown.stop_button):
            assert button.description and button.tooltip


CELLS = ("import warnings\nfrom dpbook_course.explorer import Playground\nwarnings.simplefilter('error')\n"
         "shown = Playground(num_steps=1, budget=3000)\nshown", "shown.train_button.click()",
         "print(shown.progress.value, shown.task.done())", "shown.stop_button.click()",
         "await shown.task\nprint(shown.current.ending, shown.current.updates)")


@pytest.fixture(scope="module")
def kernel():
    """A client of a kernel that has the playground on display, and what the display sent."""
    manager, client = start_new_kernel()
    try:
        yield client, run(client, CELLS[0])
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def run(client, code: str) -> list[dict]:
    """Execute a cell and return its messages."""
    messages = []
    reply = client.execute_interactive(code, timeout=120, output_hook=messages.append)
    assert reply["content"]["status"] == "ok", reply["content"]
    return messages


def printed(messages: list[dict]) -> list[str]:
    return "".join(m["content"]["text"] for m in messages if m["msg_type"] == "stream").split()


def test_a_reader_in_colab_is_not_sent_there(monkeypatch):
    shown = []
    monkeypatch.setattr("dpbook_course.explorer.playground.display", shown.append)
    Playground()._ipython_display_()
    monkeypatch.setitem(sys.modules, "google.colab", object())
    Playground()._ipython_display_()
    assert ["or Colab" in getattr(one, "data", "") for one in shown] == [True, False, False]


def updates_shown(client, number: int) -> list[int]:
    """The next values that the progress bar is sent while no cell is running."""
    found, end = [], time.monotonic() + 120
    while len(found) < number:
        message = client.get_iopub_msg(timeout=end - time.monotonic())
        if message["msg_type"] == "comm_msg":
            state = message["content"]["data"].get("state", {})
            found += [state["value"]] if isinstance(state.get("value"), int) else []
    return found


class TestKernel:
    def test_shows_a_note_and_the_widgets_in_outputs_of_their_own(self, kernel):
        shown = [m["content"]["data"] for m in kernel[1] if m["msg_type"] in ("display_data", "execute_result")]
        note, view = shown
        assert "Live playground" in note["text/html"] and "stopPropagation" in note["text/html"]
        assert not any("widget" in kind for kind in note)
        assert "application/vnd.jupyter.widget-view+json" in view and "text/html" not in view
        assert not [m for m in kernel[1] if m["msg_type"] == "stream"]

    def test_trains_between_cells_and_stops(self, kernel):
        client, _ = kernel
        run(client, CELLS[1])
        seen = updates_shown(client, 4)
        assert seen == sorted(set(seen))  # the bar moved while no cell was running
        reached, done = printed(run(client, CELLS[2]))
        assert int(reached) >= seen[-1] and done == "False"
        run(client, CELLS[3])
        ending, updates = printed(run(client, CELLS[4]))
        assert ending == "stopped" and int(reached) <= int(updates) < 3000
