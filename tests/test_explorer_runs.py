"""Trainings in the playground: stopped, in slices, judged and told."""

import threading
import time
from dataclasses import replace

import pytest
import torch

from dpbook_course.explorer import pictures, runs
from dpbook_course.explorer.choices import Choices
from dpbook_course.explorer.problems import LARGEST_ERROR, PROBLEMS, Persistence, Playable, baselines
from dpbook_course.explorer.slices import Slices

KS, BURGERS = "Kuramoto-Sivashinsky", "Burgers"


def until(number):
    return lambda updates: updates < number


@pytest.fixture(scope="module")
def short():
    """A real training of ten updates."""
    return runs.train(Choices(num_steps=2, budget=100, noise=0.01), until(12))


def made_up(pde=KS, error=0.1, ending="finished"):
    states = PROBLEMS[pde].tests().states
    return runs.Run(Choices(pde), 300, ending, 1.0, torch.linspace(error, 0.8, states.shape[1] - 1), states[0, :, 0])


class TestTrain:
    def test_stops_between_updates_and_keeps_what_was_learnt(self, short):
        assert (short.ending, short.updates) == ("stopped", 12)
        untrained = Choices().problem.judge(Choices().step())[0]
        assert not torch.equal(short.errors, untrained)

    def test_stopped_before_the_first_update_nothing_is_learnt(self):
        run = runs.train(Choices(), until(0))
        assert (run.ending, run.updates) == ("stopped", 0)
        torch.testing.assert_close(run.errors, Choices().problem.judge(Choices().step())[0], rtol=0, atol=0)

    def test_finishes_and_improves_on_the_solver(self):
        asked = []
        run = runs.train(Choices(num_steps=1, budget=100), lambda updates: asked.append(updates) or True)
        assert (run.ending, run.updates, asked) == ("finished", 100, list(range(100)))
        assert run.errors[:12].mean() < 0.7 * baselines(KS)["P alone"][0][:12].mean()

    def test_a_divergence_is_an_ending(self, monkeypatch):
        batches = PROBLEMS[KS].batches()

        class Spoilt:
            def __getitem__(self, k):
                batch = batches[k]
                return {**batch, "reference": batch["reference"] * (1e30 if k == 3 else 1)}  # its square overflows

        monkeypatch.setattr(Playable, "batches", lambda problem: Spoilt())
        run = runs.train(Choices(num_steps=1))
        assert (run.ending, run.updates) == ("diverged", 3)
        assert run.errors.isfinite().all()
        assert "Diverged at update 4" in runs.summary(run)

    def test_objections_are_raised_before_anything_is_done(self):
        with pytest.raises(ValueError, match="takes no force"):
            runs.train(Choices(coupling="right-hand side"), lambda updates: pytest.fail("trained"))

    @pytest.mark.parametrize("coupling, gradient", [
        ("interpolation", "full"), ("no solver", "cut every 2 steps"), ("replace", "not through the solver"),
        ("multiplicative, N first", "through the solver only")])
    def test_trains_on_burgers(self, coupling, gradient):
        run = runs.train(Choices(BURGERS, coupling, 2, gradient, budget=100), until(3))
        assert (run.updates, run.errors.shape, run.rollout.shape) == (3, (100,), (101, 32))
        assert run.errors.isfinite().all()


class TestJudge:
    def test_baselines(self):
        for pde, problem in PROBLEMS.items():
            known, states = baselines(pde), problem.tests().states
            assert known["persistence"][1].equal(states[0, :1, 0].expand_as(states[0, :, 0]))
            assert known["P alone"][0][0] < known["persistence"][0][0]
            assert known["P alone"][0].max() <= LARGEST_ERROR

    def test_what_blows_up_is_left_out_of_the_picture_and_counts_fully(self):
        errors, rollout = baselines(KS)["P alone"]
        blown = ~rollout.isfinite().all(1)
        first = int(blown.nonzero()[0])
        assert blown[first:].all() and rollout[:first].abs().max() < 100
        assert errors[-1] > 1.8

    def test_the_judged_step_is_left_in_its_mode(self):
        step = Choices().step().train()
        Choices().problem.judge(step)
        assert step.training

    @pytest.mark.parametrize("pde", PROBLEMS)
    def test_unit_of_the_noise(self, pde):
        deviation = float(PROBLEMS[pde].batches().trajectories.std())
        assert PROBLEMS[pde].deviation == pytest.approx(deviation, rel=0.02)

    def test_first_test_has_the_stated_length(self):
        assert float(PROBLEMS[KS].tests().parameters["length"][0]) == pytest.approx(PROBLEMS[KS].length)
        assert isinstance(Persistence()(torch.ones(1)), torch.Tensor)


class TestSlices:
    def test_changes_nothing_and_keeps_its_random_numbers(self, short):
        """In slices, with other numbers drawn in between, and in one piece: the same training, noise included."""
        state = torch.manual_seed(5).get_state()
        slices = Slices(lambda pause: runs.train(short.choices, lambda k: pause() or k < 12))
        count = 0
        while not slices.advance(0.0):
            torch.rand(3)
            count += 1
        assert count == 13
        torch.testing.assert_close(slices.result.errors, short.errors, rtol=0, atol=0)
        expected = torch.Generator()
        expected.set_state(state)
        torch.rand(3 * count, generator=expected)
        assert torch.rand(1).equal(torch.rand(1, generator=expected))

    def test_moves_only_when_told(self):
        counter = [0]

        def count(pause):
            while counter[0] < 10**9:
                counter[0] += 1
                pause()

        slices = Slices(count)
        assert counter == [0]
        assert not slices.advance(0.02)
        reached = counter[0]
        time.sleep(0.05)
        assert counter[0] == reached > 0
        counter[0] = 10**9
        assert slices.advance(0.01) and slices.result is None
        assert slices.advance(0.01)

    def test_hands_on_what_is_raised(self):
        def fail(pause):
            pause()
            raise KeyError("reason")

        slices = Slices(fail)
        with pytest.raises(RuntimeError, match="not finished"):
            slices.result
        assert slices.advance(1)
        with pytest.raises(KeyError, match="reason"):
            slices.result

    def test_waiting_keeps_no_process_alive(self):
        Slices(lambda pause: pause())
        assert all(thread.daemon for thread in threading.enumerate() if thread.name == "training in slices")


class TestSummary:
    def test_states_the_numbers(self):
        run = made_up()
        steps = int((run.errors > 0.5).nonzero()[0]) + 1
        text = runs.summary(run)
        assert text.startswith("Finished: 300 updates (1.0 s).")
        assert f"over 12 steps: {run.errors[:12].mean():.3g} (P alone" in text
        assert f"passes 0.5: {steps} (P alone" in text
        assert "previous" not in text

    def test_of_an_unfinished_training(self):
        assert "Stopped after 300 of 300" in runs.summary(made_up(ending="stopped"))
        calm = replace(made_up(), errors=torch.full((60,), 0.1))
        assert "more than 60" in runs.summary(calm)

    def test_compares_with_the_previous_run_of_the_same_pde(self):
        assert "the previous run 0.3" in runs.summary(made_up(), made_up(error=0.3))
        assert runs.summary(made_up(), made_up(BURGERS)) == runs.summary(made_up())


class TestReport:
    def test_both_runs_share_the_pictures(self):
        page = pictures.report(made_up(), made_up(error=0.3))
        assert page.count("<img") == page.count('alt="') == 3
        assert "reference, P alone, this run, previous run" in page and "the previous run from 0.3" in page

    def test_another_pde_follows_below(self):
        page = pictures.report(made_up(), made_up(BURGERS))
        assert page.count("<img") == 5 and "<p" in page and "Previous run, Burgers" in page

    def test_the_first_run_stands_alone(self):
        page = pictures.report(made_up())
        assert page.count("<img") == 3 and "revious" not in page

    def test_curves_and_fields(self):
        run, previous = made_up(), made_up(error=0.3)
        lines = {line.get_label(): line for line in pictures.error_growth(run, previous).axes[0].lines}
        assert {"persistence", "P alone", "this run", "previous run"} <= set(lines)
        assert len({(line.get_color(), str(line.get_linestyle())) for line in lines.values()}) == len(lines)
        assert lines["previous run"].get_ydata()[0] == pytest.approx(0.3)
        wild = replace(run, rollout=run.rollout * 100)
        images = [axis.images[0] for axis in pictures.space_time(wild, previous).axes if axis.images]
        assert [image.axes.get_title() for image in images] == ["reference", "P alone", "this run", "previous run"]
        scale = float(PROBLEMS[KS].tests().states[0].abs().max())
        assert images[0].get_clim()[1] <= 1.3 * scale

    def test_text_is_escaped(self):
        assert "&lt;b&gt;" in pictures.paragraph("<b>")
