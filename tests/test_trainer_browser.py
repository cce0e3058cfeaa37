"""The trainer in a real browser: on pages of its own, from files, under the book's policy, without a network."""

import json
import re
from urllib.parse import quote

import pytest
import test_web_training as torch_side
import torch
from explorer_samples import INSERT, page
from playwright.sync_api import expect
from trainer_samples import START, trainer

from dpbook_course.web import train, worker_source
from dpbook_course.web.stories import Story
from dpbook_utils.training import Gradients

HALF, QUARTER = 50, 25  # percent of the solver's error
SLOW = 60_000  # ms: a busy machine trains slowly


class Visit:
    """A page of trainers, what it complains of and what it asks for."""

    def __init__(self, browser, path, address="", folded=False, **options):
        self.complaints, self.requests = [], []
        self.page = browser.new_page(**options)
        self.page.set_default_timeout(SLOW / 4)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri() + address)
        if not folded:
            self.page.evaluate("document.querySelectorAll('details.more').forEach(one => { one.open = true; })")

    def control(self, name, which=0):
        return self.page.locator(".trainer").nth(which).locator(f"[id$='-{name}']:is(input, select)")

    def button(self, name, which=0):
        return self.page.locator(".trainer").nth(which).get_by_role("button", name=name, exact=True)

    def text(self, kind="numbers", which=0):
        return self.page.locator(".trainer").nth(which).locator(f".{kind}").text_content()

    def updates(self, which=0):
        return int(re.search(r"([\d,]+) updates?", self.text(which=which))[1].replace(",", ""))

    def share(self):
        """Mean roll-out error in percent of the solver's; None before the first roll-out."""
        found = re.search(r"([\d.]+) % of the solver's", self.text())
        return found and float(found[1])

    def until(self, condition, what):
        for _ in range(SLOW // 100):
            if condition():
                return
            self.page.wait_for_timeout(100)
        pytest.fail(f"{what} did not come: {self.text()} {self.text('outcome')}")

    def shown(self):
        """Wait for the untrained network's roll-out."""
        self.until(lambda: self.share() is not None, "the first roll-out")
        return self

    def plot(self, which):
        return self.page.locator(f".views svg[aria-labelledby*='-{which}-']")

    def paths(self, which):
        """The curves of a plot, without the samples in its legend."""
        return self.plot(which).locator(".line").evaluate_all(
            "lines => lines.map(line => line.getAttribute('d')).filter(d => !d.endsWith('h26'))")

    def trained(self, count):
        self.until(lambda: self.updates() >= count, f"{count} updates")

    def fragment(self):
        return self.page.evaluate("location.hash")


LOSS, ERROR, CHAIN = "loss", "error", "chain"


@pytest.fixture
def visit(browser, tmp_path):
    """``visit(trainer, ..., address="#...", **options of the page)``; nothing may go wrong on the page."""
    visits = []

    def open_page(*shown, address="", body="", **options):
        path = tmp_path / f"page{len(visits)}.html"
        path.write_text(page(*(shown or (train(m=4),)), body=body), encoding="utf-8")
        visits.append(Visit(browser, path, address, **options))
        return visits[-1]

    yield open_page
    for one in visits:
        assert one.complaints == []
        assert all(url.startswith(("file:", "blob:")) for url in one.requests)
        one.page.close()


def test_training_beats_the_solver_and_a_longer_chain_changes_it(visit):
    """The central promise: press train, the hybrid's error falls below a quarter, then unroll more steps."""
    opened = visit(train("coupling")).shown()
    assert opened.text().startswith("Not trained yet; 0 updates; mean roll-out error") and opened.share() > QUARTER
    hybrid, solver = opened.paths(ERROR)
    opened.button("Train").click()
    opened.until(lambda: opened.share() < QUARTER, "a quarter of the solver's error")
    assert opened.paths(ERROR)[0] != hybrid and opened.paths(ERROR)[1] != "" and opened.paths(LOSS)[0]
    before = opened.updates()
    opened.control("m").focus()
    opened.page.keyboard.press("ArrowRight")
    opened.page.keyboard.press("ArrowRight")
    opened.trained(before + 25)
    ghost = opened.plot(ERROR).locator("text", has_text="before: ")
    expect(ghost).to_be_visible()
    assert len(opened.paths(ERROR)) == 3
    chain = opened.plot(CHAIN)
    expect(chain.locator("desc")).to_contain_text("step 6: ")  # six steps have a gradient each
    assert 1 <= opened.plot(LOSS).locator(".now").count() <= 2  # where the choice changed, once or twice
    assert opened.fragment().startswith("#train-coupling:") and ";m=6;" in opened.fragment()


def test_a_network_keeps_a_flow_alive(visit):
    """In two dimensions: the hybrid's error falls, the pictures move while it trains, and all have words."""
    opened = visit(train("flow", systems=("flow",))).shown()
    assert opened.share() > 90 and not opened.control("system").is_visible()
    opened.button("Train").click()
    opened.until(lambda: opened.share() < 80, "four fifths of the solver's error")
    pictures = opened.page.locator(".square .fields canvas")
    labels = pictures.evaluate_all("all => all.map(one => one.getAttribute('aria-label'))")
    assert [label.split(", ")[0] for label in labels] == [
        "reference", "solver alone", "hybrid", "hybrid minus reference"]
    assert all(re.search(r"vorticity at step \d+ of 80, colours up to \d+ 1/s", label) for label in labels)
    step = opened.page.locator(".square figcaption > span")
    before = step.text_content()
    opened.until(lambda: step.text_content() != before, "another step")
    opened.button("Stop the flow").click()
    held = step.text_content()
    opened.page.wait_for_timeout(500)
    assert step.text_content() == held
    energy = opened.plot("flow").locator("desc")
    expect(energy).to_have_text(re.compile(r"reference: [\d.]+ at the last step; solver alone: .*; hybrid: "))


def test_a_worker_of_this_browser_computes_what_torch_does(browser):
    """The gradient of one model, to 1e-5 of its largest entry; all models are compared in Node, from the same text."""
    ours = torch_side.objective("burgers", "additive", m=3)
    torch_side.drawn_weights(ours.parameters())
    data = torch_side.batch("burgers", seed=0)
    loss = Gradients(ours)(data)
    case = {"system": "burgers", "coupling": "additive", "settings": {"m": 3, "policy": "full", "placement": "every"},
            "weights": torch_side.flat(ours.parameters()).tolist(), "batches": [0]}
    text = (f"{worker_source()}\nconst BATCHES = {json.dumps([torch_side.for_page(data)])}, DRAWN = [];\n"
            f"{torch_side.TRAIN}\npostMessage({{type: 'found', ...gradient({json.dumps(case)})}});")
    page = browser.new_page()
    found = page.evaluate("""text => new Promise((done, fail) => {
        const worker = new Worker(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
        worker.onmessage = ({ data }) => { if (data.type === "found") done(data); };
        worker.onerror = event => fail(new Error(event.message));
    })""", text)
    page.close()
    expected = torch_side.flat(w.grad for w in ours.parameters())
    difference = (torch.tensor(found["gradient"]) - expected).abs().max() / expected.abs().max()
    assert difference < 1e-5 and found["loss"] == pytest.approx(float(loss), rel=1e-5)


def test_pause_one_update_and_reset(visit):
    opened = visit().shown()
    opened.button("One update").click()
    opened.trained(1)
    assert opened.updates() == 1 and opened.text().startswith("Paused; 1 update; loss ")
    opened.button("Train").click()
    opened.trained(40)
    opened.button("Pause").click()
    opened.button("Train").wait_for()
    opened.page.wait_for_timeout(300)
    held = opened.updates(), opened.paths(ERROR)
    opened.page.wait_for_timeout(700)
    assert (opened.updates(), opened.paths(ERROR)) == held
    opened.button("New weights").click()
    opened.until(lambda: opened.updates() == 0 and opened.share(), "the untrained network")
    assert opened.text().startswith("Not trained yet")
    assert len(opened.paths(ERROR)) == 3 and opened.paths(LOSS)[1]  # the run before stays as a ghost
    assert re.match(r"Before, after [\d,]+ updates: .*u \+ N\(u\) after the solver, 4 steps", opened.text("before"))
    opened.control("seed").focus()
    opened.page.keyboard.press("ArrowRight")
    opened.until(lambda: ";seed=1" in opened.fragment(), "the new seed")


def test_an_update_asked_for_while_the_worker_starts_is_made(visit):
    opened = visit()
    opened.button("One update").evaluate("button => { button.click(); button.click(); }")
    opened.trained(2)
    assert opened.updates() == 2
    again = visit()
    again.page.evaluate("""() => {
        const [train, one, reset] = document.querySelectorAll('.trainer button');
        one.click();
        reset.click();
    }""")
    again.shown()
    assert again.updates() == 0  # a reset takes it back


def test_a_training_that_diverges_is_an_outcome_with_a_reason(visit):
    opened = visit(train("too-long")).shown()
    opened.button("Train").press("Enter")
    opened.page.locator(".outcome").wait_for()
    assert opened.page.evaluate("document.activeElement.textContent") == "Reset"  # a disabled button keeps no focus
    assert re.match(r"Diverged in update \d+: .*This is an outcome of these choices", opened.text("outcome"))
    assert "Each of the 16 chained steps can amplify" in opened.text("outcome")
    expect(opened.plot(CHAIN)).to_contain_text("no finite number in this update")
    expect(opened.plot(CHAIN).locator("desc")).to_contain_text("step 16: not finite")
    assert opened.button("Train").is_disabled() and opened.button("One update").is_disabled()
    assert opened.page.locator(".outcome").get_attribute("role") == "alert"
    opened.button("Reset").click()
    expect(opened.page.locator(".outcome")).to_be_hidden()
    expect(opened.button("Train")).to_be_enabled()


def test_a_gradient_that_overflows_has_its_own_reason(visit):
    worker = """let run;
        onmessage = ({data}) => {
            if (data.type === "configure") run = data.run;
            if (data.type === "train") postMessage({type: "diverged", updates: 0, what: "gradient", run});
        };
        postMessage({type: "ready"});"""
    opened = visit(trainer(worker=worker, m=8))
    opened.button("Train").click()
    opened.page.locator(".outcome").wait_for()
    assert opened.text("outcome").startswith("Diverged in update 1: the loss is a number, but its gradient is none")
    assert "product of 8 Jacobians" in opened.text("outcome")


def test_a_line_under_the_choices_says_what_one_of_them_was_worth(visit):
    """By what was measured; of several changes at once, and of what was not measured, it says so."""
    texts = {"policy": {"cut": "No difference, 1.00."},
             "m": {"1": "A larger error, 1.20.", "8": "No difference, 0.99."}}
    story = Story("Waves", "Try it.", {key: str(value) for key, value in START.items() if key != "story"})
    opened = visit(trainer(worker="postMessage({type: 'ready'}); onmessage = () => {};", stories={"waves": story},
                           story="waves", measured={"story": "waves", "texts": texts}))
    line, why = opened.page.locator(".trainer .measured"), opened.page.locator(".trainer .why:not(.outcome)")
    expect(line).to_have_text(re.compile("^Change a choice, and this line says what it was worth"))
    switch = opened.control("through")
    switch.click()
    expect(line).to_have_text("No difference, 1.00.")
    opened.control("m").fill("0")  # one step: the cut makes no difference to it, by construction
    expect(line).to_have_text("A larger error, 1.20.")
    expect(why).to_contain_text("With one step all gradient policies and loss placements are one and the same")
    opened.control("m").fill("7")
    expect(line).to_have_text("What these changes are worth was measured for each alone, not together.")
    switch.click()
    expect(line).to_have_text("No difference, 0.99.")
    opened.control("m").fill("9")
    expect(line).to_have_text('What "10 steps" is worth was not measured, only: 1 step; 8 steps.')
    opened.control("m").fill("3")
    opened.control("policy").select_option("truncated")
    opened.control("truncation").fill("4")
    expect(why).to_contain_text("A chain of 4 steps has no place for a cut after 5: this is the full gradient.")
    expect(line).to_have_text(re.compile("^Change a choice"))
    opened.control("seed").fill("2")  # the line is about all seeds
    expect(line).to_have_text(re.compile("^Change a choice"))


def test_the_first_minute_of_a_reader(browser, html):
    """The front page from disk: train, see the error fall below half of the solver's, and move every control."""
    opened = Visit(browser, html / "book/intro.html", viewport={"width": 1280, "height": 900})
    opened.shown()
    data = opened.page.locator(".trainer > script[type='application/json']").first
    measured = json.loads(data.text_content())["measured"]
    line, why = opened.page.locator(".trainer .measured"), opened.page.locator(".trainer .why:not(.outcome)")
    opened.button("Train").click()
    opened.until(lambda: opened.share() < HALF, "half of the solver's error")

    def says(control, value):
        """The line under the choices after one change, as it was measured; training goes on."""
        opened.until(lambda: f"{control}={quote(value)};" in opened.fragment(), "the choice in the address")
        opened.trained(opened.updates() + 3)
        assert not opened.page.locator(".trainer .outcome").is_visible()
        if measured is None:
            return expect(line).to_be_hidden()
        known = measured["texts"].get(control, {}).get(value)
        return expect(line).to_have_text(known or re.compile("^What .* is worth was not measured"))

    opened.control("through").click()
    says("policy", "cut")
    opened.control("through").click()
    opened.control("m").fill("0")
    says("m", "1")
    opened.control("through").click()
    expect(why).to_contain_text("With one step all gradient policies and loss placements are one and the same training")
    says("m", "1")
    opened.control("through").click()
    opened.control("m").fill("3")
    for control, value in (("placement", "final"), ("policy", "pushforward"), ("coupling", "right-hand side")):
        before = opened.control(control).input_value()
        opened.control(control).select_option(value)
        says(control, value)
        opened.control(control).select_option(before)
    for control, place, value in (("noise", "2", "0.01"), ("lr", "3", "0.003")):
        before = opened.control(control).input_value()
        opened.control(control).fill(place)
        says(control, value)
        opened.control(control).fill(before)
    opened.control("seed").fill("1")
    opened.until(lambda: opened.updates() > 0, "a training of the next seed")
    of_theme = "[PST]", "[togglebutton]"
    assert [text for text in opened.complaints if not text.startswith(of_theme)] == []
    assert all(url.startswith(("file:", "blob:", "data:")) for url in opened.requests)
    assert (html / "book/intro.html").stat().st_size < 700e3
    opened.page.close()


def test_the_keyboard_alone_is_enough(visit):
    opened = visit().shown()
    press = opened.page.keyboard.press
    press("Tab")
    assert opened.page.evaluate("document.activeElement.labels[0].textContent") == "Story"
    while opened.page.evaluate("document.activeElement.textContent") != "Train":
        press("Tab")
    press("Enter")
    opened.trained(5)
    assert opened.page.evaluate("document.activeElement.textContent") == "Pause"  # focus stays
    press("Space")
    opened.button("Train").wait_for()


def test_the_address_opens_a_view_and_lives_with_others(visit):
    address = ("#explore-waves:m=8;seed=1&train-free:story=;m=7;policy=pushforward;placement=final;noise=0.01;seed=2"
               "&train-second:m=99;lr=2;speed=3")
    opened = visit(train(m=4), train(m=4, name="second"), address=address).shown()
    chosen = [opened.control(name).input_value() for name in ("m", "policy", "placement")]
    assert chosen == ["6", "pushforward", "final"]
    assert opened.control("m", 1).input_value() == "3"  # what is not offered changes nothing
    assert opened.page.locator("script[data-shared]").count() == 1
    opened.control("policy", 1).select_option("cut")
    opened.page.wait_for_url("**#*second*cut*")
    assert opened.fragment().startswith("#explore-waves:m=8;seed=1&train-free:story=;m=7;")
    opened.page.evaluate("location.hash = 'train-free:m=3;policy=full'")
    expect(opened.control("policy")).to_have_value("full")
    link = opened.page.locator("a.link").first.get_attribute("href")
    assert link.startswith("#train-free:") and ";m=3;" in link and ";seed=2" in link
    ids = opened.page.evaluate("[...document.querySelectorAll('[id]')].map(element => element.id)")
    assert len(ids) == len(set(ids))


def test_a_story_sets_the_choices_and_stays_while_they_change(visit):
    opened = visit().shown()
    opened.control("story").select_option("coupling")
    assert opened.control("coupling").input_value() == "right-hand side"
    assert "coarse Burgers solver" in opened.text("story")
    assert opened.control("policy").locator("option[value=cut]").is_disabled()
    opened.control("coupling").select_option("additive")
    assert "coarse Burgers solver" in opened.text("story")
    opened.control("policy").select_option("cut")
    opened.control("coupling").select_option("right-hand side")
    assert opened.control("policy").input_value() == "full"
    assert "not possible here" in opened.text("why:not(.outcome)")
    opened.page.wait_for_url("**#train-free:story=coupling;*")


def test_the_chain_s_gradient_shows_the_policy(visit):
    opened = visit(train(m=5, policy="pushforward")).shown()
    opened.button("One update").click()
    opened.trained(1)
    chain = opened.plot(CHAIN).locator("desc")
    expect(chain).to_have_text(re.compile(r"(step [1-4]: no gradient; ){4}step 5: \d"))
    opened.control("policy").select_option("truncated")
    assert opened.control("truncation").is_visible()
    opened.control("policy").select_option("full")
    assert not opened.control("truncation").is_visible()
    opened.page.wait_for_timeout(300)
    opened.button("One update").click()
    opened.trained(2)
    expect(chain).to_have_text(re.compile(r"(step [1-4]: \d[^;]*; ){4}step 5: \d"))


def test_it_starts_when_it_comes_into_view_and_rests_out_of_it(visit):
    opened = visit(body='<div style="height: 4000px">Text</div>', viewport={"width": 800, "height": 600})
    opened.page.wait_for_timeout(300)
    assert opened.page.locator(".trainer.live").count() == 0 and opened.page.workers == []
    opened.page.locator(".trainer").scroll_into_view_if_needed()
    opened.shown()
    opened.button("Train").click()
    opened.trained(5)
    opened.page.evaluate("scrollTo(0, 0)")
    opened.page.wait_for_timeout(1000)
    rested = opened.updates()
    opened.page.wait_for_timeout(1000)
    assert opened.updates() == rested
    opened.page.locator(".trainer button.main").scroll_into_view_if_needed()
    opened.trained(rested + 5)


def test_spoken_text_is_calm(visit):
    opened = visit().shown()
    opened.page.evaluate("""() => {
        window.spoken = [];
        new MutationObserver(() => spoken.push(performance.now()))
            .observe(document.querySelector('.spoken'), { childList: true, characterData: true, subtree: true });
    }""")
    assert opened.page.locator("[aria-live=polite]").count() == 1
    opened.button("Train").click()
    opened.page.wait_for_timeout(6000)
    spoken = opened.page.evaluate("spoken")
    assert 2 <= len(spoken) <= 3  # at the start, and five seconds later
    opened.button("Pause").click()
    opened.until(lambda: opened.text("spoken").startswith("Paused"), "the last word")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_and_can_be_read_in_both_themes(visit, theme, width):
    opened = visit(color_scheme=theme, viewport={"width": width, "height": 844}).shown()
    opened.button("One update").click()
    opened.trained(1)
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    sides = opened.page.locator(".trainer *:visible").evaluate_all(
        "all => Math.max(...all.map(element => element.getBoundingClientRect().right))")
    assert sides <= width
    paper, ink = (0, 255) if theme == "dark" else (255, 0)
    shown = opened.page.evaluate("""() => ['.numbers', 'figcaption', 'select', 'svg text'].map(selector => {
        const style = getComputedStyle(document.querySelector('.trainer ' + selector));
        return (selector === 'svg text' ? style.fill : style.color).match(/\\d+/g).slice(0, 3).map(Number);
    })""")
    assert all(abs(channel - ink) < 60 < abs(channel - paper) for rgb in shown for channel in rgb)
    heights = opened.page.locator(".trainer :is(input, select, button):visible").evaluate_all(
        "all => Math.min(...all.map(input => input.getBoundingClientRect().height))")
    assert heights >= 24  # a finger finds it


def test_everything_has_a_name(visit):
    opened = visit().shown()
    names = opened.page.evaluate("""() => [...document.querySelectorAll('input, select')].map(input =>
        input.labels.length === 1 && input.labels[0].textContent.trim().length > 3)""")
    assert len(names) == 11 and all(names)
    described = opened.page.evaluate("""() => [...document.querySelectorAll('svg[aria-labelledby]')].map(svg =>
        svg.getAttribute('aria-labelledby').split(' ').every(id => svg.querySelector('#' + id).textContent))""")
    assert described == [True] * 4
    labels = opened.page.locator(".fields canvas").evaluate_all("all => all.map(one => one.getAttribute('aria-label'))")
    assert [label.split(",")[0] for label in labels] == [
        "reference", "solver alone", "hybrid", "hybrid minus reference"]


def test_nothing_moves_by_itself_and_less_motion_means_fewer_pictures(visit):
    drawn = {}
    for motion in ("reduce", "no-preference"):
        opened = visit(reduced_motion=motion).shown()
        opened.button("Train").click()
        opened.trained(5)
        drawn[motion] = opened.page.evaluate("""() => new Promise(done => {
            let count = 0;
            const svg = document.querySelector(".trainer svg[aria-labelledby*='-loss-']");
            new MutationObserver(() => { count += 1; }).observe(svg, { childList: true });
            setTimeout(() => done(count), 3000);
        })""")
        assert opened.page.evaluate("document.getAnimations().length") == 0
        opened.button("Pause").click()
    assert 1 <= drawn["reduce"] <= 4 < drawn["no-preference"]


def test_paper_shows_the_chain_until_something_was_trained(visit):
    opened = visit().shown()
    opened.page.emulate_media(media="print")
    assert opened.page.locator(".picture").is_visible() and not opened.page.locator(".views").is_visible()
    opened.page.emulate_media(media="screen")
    assert not opened.page.locator(".picture").is_visible()
    opened.button("One update").click()
    opened.trained(1)
    opened.page.emulate_media(media="print")
    assert not opened.page.locator(".picture").is_visible() and opened.page.locator(".views").is_visible()
    assert not opened.button("Train").is_visible() and opened.page.locator(".numbers").is_visible()


def test_a_notebook_may_insert_it_later(visit):
    opened = visit().shown()
    opened.page.evaluate(INSERT, train(m=2, name="later")._repr_html_())
    opened.page.locator(".trainer").nth(1).scroll_into_view_if_needed()
    opened.until(lambda: "of the solver's" in opened.text(which=1), "the first roll-out of the second one")
    opened.button("One update", 1).click()
    opened.until(lambda: opened.updates(1) == 1, "the update of the second one")
    assert opened.updates(0) == 0


def test_without_scripts_the_picture_and_a_text_stay(browser, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(page(train("one-step")), encoding="utf-8")
    context = browser.new_context(java_script_enabled=False)
    opened = context.new_page()
    opened.goto(path.as_uri())
    assert opened.locator(".picture svg").is_visible()
    assert "needs JavaScript" in opened.locator(".trainer").inner_text()
    context.close()


def test_controls_and_results_share_one_screen(visit):
    """Also in the book, whose article is 688 px wide on a screen of 1280, below a header of 48 px."""
    article = "<style>@media (min-width: 64rem) { body { margin: 48px 0 0 288px; width: 688px; } }</style>"
    below = ("[id$='-m']", "[id$='-coupling']", "[id$='-through']", "button.main", ".fields",
             "svg[aria-labelledby*=error]")
    for width, height, seen in ((1280, 900, (*below, ".views")), (390, 844, below)):
        size = {"width": width, "height": height}
        opened = visit(train("one-step"), body=article, folded=True, viewport=size).shown()
        opened.button("Train").click()
        opened.trained(20)
        for wanted in seen:
            box = opened.page.locator(f".trainer {wanted}").first.bounding_box()
            assert 0 <= box["y"] and box["y"] + box["height"] <= height, (width, wanted, box)
        panels = opened.page.locator(".views figure:visible")
        assert panels.count() == 4
        assert all(panels.nth(k).locator(".line, canvas").count() > 0 for k in range(4))


def test_controls_stay_in_sight_on_a_wide_screen(visit):
    size = {"width": 1280, "height": 500}
    opened = visit(body='<div style="height: 300px"></div>', folded=True, viewport=size).shown()
    opened.page.evaluate("scrollTo(0, 500)")
    assert 0 <= opened.button("Train").bounding_box()["y"] <= 500


def test_text_in_plots_has_its_size_at_any_width(visit):
    for width in (390, 1280):
        opened = visit(viewport={"width": width, "height": 844}).shown()
        sizes = opened.page.locator(".views svg").evaluate_all("""all => all.map(svg => svg.clientWidth
            / svg.viewBox.baseVal.width * parseFloat(getComputedStyle(svg.querySelector('text')).fontSize))""")
        assert len(sizes) == 4 and min(sizes) >= 11.95
        cut = opened.page.locator(".views svg").evaluate_all("""all => all.flatMap(svg =>
            [...svg.querySelectorAll('text')].map(text => [text.textContent, text.getBoundingClientRect().right])
            .filter(([, right]) => right > svg.getBoundingClientRect().right + 1))""")
        assert cut == []


def test_three_controls_are_in_sight_and_train_is_the_second_stop(visit):
    opened = visit(folded=True).shown()
    shown = [one.get_attribute("id") for one in opened.page.locator("fieldset :is(input, select):visible").all()]
    assert [name.split("-")[-1] for name in shown] == ["m", "coupling", "through"]
    opened.page.keyboard.press("Tab")
    opened.page.keyboard.press("Tab")
    assert opened.page.evaluate("document.activeElement.textContent") == "Train"
    opened.page.locator("[id$='-through']").uncheck()
    expect(opened.control("policy")).to_have_value("cut")
    expect(opened.page.locator(".more")).not_to_have_attribute("open", "")
    opened.page.locator("[id$='-through']").check()
    expect(opened.control("policy")).to_have_value("full")


def test_what_is_focused_covers_no_label(visit):
    opened = visit().shown()
    for slider in opened.page.locator("input[type=range]:visible").all():
        slider.focus()
        outline = slider.evaluate("""slider => {
            const { outlineWidth, outlineOffset } = getComputedStyle(slider);
            return parseFloat(outlineWidth) + parseFloat(outlineOffset);
        }""")
        box = slider.bounding_box()
        label = slider.locator("xpath=..").locator("label").bounding_box()
        above = label["y"] + label["height"] <= box["y"] - outline + 0.5
        assert above or label["x"] + label["width"] <= box["x"] - outline


def test_the_loss_has_every_update_also_while_choices_change(visit):
    opened = visit(train("one-step")).shown()
    opened.button("Train").click()
    opened.trained(100)
    for step in ("ArrowRight", "ArrowRight", "ArrowLeft", "ArrowRight"):
        opened.control("m").press(step)
        opened.page.wait_for_timeout(250)
    opened.button("Pause").click()
    opened.button("Train").wait_for()
    opened.page.wait_for_timeout(400)
    found = re.search(r"over ([\d,]+) updates", opened.plot(LOSS).locator("desc").text_content())
    kept = opened.page.evaluate("JSON.parse(localStorage.getItem(Object.keys(localStorage)[0]))")
    assert kept["losses"]["length"] == kept["updates"] == opened.updates() == int(found[1].replace(",", ""))


def test_a_hidden_tab_does_not_train(visit):
    opened = visit().shown()
    opened.button("Train").click()
    opened.trained(5)
    hide = """hidden => {
        Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });
        document.dispatchEvent(new Event('visibilitychange'));
    }"""
    opened.page.evaluate(hide, True)
    opened.page.wait_for_timeout(1000)
    rested = opened.updates()
    opened.page.wait_for_timeout(1000)
    assert opened.updates() == rested
    opened.page.evaluate(hide, False)
    opened.trained(rested + 5)


def test_reset_is_the_story_s_beginning_and_new_weights_leave_the_choices(visit):
    opened = visit(train("cut")).shown()
    opened.control("m").press("ArrowRight")
    opened.page.locator("[id$='-through']").check()
    opened.button("New weights").click()
    opened.shown()
    assert opened.control("m").input_value() == "8" and opened.control("policy").input_value() == "full"
    opened.button("Reset").click()
    assert opened.control("m").input_value() == "7" and opened.control("policy").input_value() == "cut"
    opened.control("system").select_option("burgers")  # no story any more
    opened.button("Reset").click()
    assert opened.control("system").input_value() == "ks"


def test_trained_weights_outlive_a_visit_until_they_are_forgotten(visit):
    opened = visit(train("one-step")).shown()
    opened.button("Train").click()
    opened.until(lambda: opened.share() < QUARTER, "a quarter of the solver's error")
    opened.button("Pause").click()
    expect(opened.page.locator(".kept")).to_contain_text("is kept in this browser")
    opened.page.wait_for_timeout(400)
    done, share = opened.updates(), opened.share()
    opened.page.reload()
    opened.until(lambda: opened.share() == share, "the same roll-out")
    assert opened.updates() == done and opened.text().startswith("Paused")
    assert f"after {done:,} updates" in opened.text("kept") and opened.paths(LOSS)[0]
    opened.button("Train").click()
    opened.trained(done + 20)
    assert opened.share() < 2 * QUARTER  # it goes on from there
    opened.button("Pause").click()
    opened.button("Train").wait_for()
    opened.button("Forget").click()
    expect(opened.page.locator(".kept")).to_be_hidden()
    opened.page.reload()
    opened.shown()
    assert opened.updates() == 0 and not opened.page.locator(".kept").is_visible()


def test_other_choices_in_the_address_and_a_damaged_store_begin_anew(visit):
    opened = visit(train("one-step")).shown()
    opened.button("One update").click()
    expect(opened.page.locator(".kept")).to_contain_text("is kept")
    opened.page.goto(opened.page.url.split("#")[0] + "#train-one-step:m=5")
    opened.page.reload()
    opened.shown()
    assert opened.updates() == 0 and opened.control("m").input_value() == "4"
    opened.page.evaluate("localStorage.setItem(Object.keys(localStorage)[0], '{\"worker\": 1, \"state\": [')")
    opened.page.goto(opened.page.url.split("#")[0])
    opened.page.reload()
    opened.shown()
    assert opened.updates() == 0


def test_an_address_that_asks_for_what_is_not_offered_says_so(visit):
    opened = visit(train("one-step"), address="#train-one-step:m=99;coupling=physics;speed=3;seed=2").shown()
    assert opened.text("why:not(.outcome)") == (
        "The address asks for m = 99, coupling = physics, speed = 3, which this figure does not offer. It shows "
        "something else there.")
    opened.control("seed").press("ArrowRight")
    assert "address" not in opened.text("why:not(.outcome)")


def test_the_flow_moves_from_the_first_look_on_until_it_is_stopped(visit):
    opened = visit().shown()
    desc = opened.plot("flow").locator("desc")

    def moves():
        before = desc.text_content()
        opened.page.wait_for_timeout(500)
        return before != desc.text_content()

    assert moves()
    opened.button("Train").click()
    opened.trained(5)
    assert moves() and opened.plot("flow").locator(".line").count() == 6  # three curves, and their samples
    opened.button("Stop the flow").click()
    assert not moves()
    opened.button("Pause").click()
    opened.button("Train").click()
    assert not moves()  # the reader has stopped it
    calm = visit(reduced_motion="reduce").shown()
    expect(calm.button("Play the flow")).to_be_visible()


def test_text_can_be_read_in_colab_s_dark_frame(visit):
    """Its output frame says so at its root, and nothing else: neither variables nor a colour scheme."""
    opened = visit(body="<style>:root { color-scheme: light; background: #383838; }</style>").shown()
    opened.page.evaluate("document.documentElement.setAttribute('theme', 'dark')")
    colours = opened.page.locator(".numbers, .trainer summary, .trainer button:not(.main)").evaluate_all(
        "all => all.map(one => getComputedStyle(one).color.match(/\\d+/g).slice(0, 3).map(Number))")
    assert all(channel > 200 for colour in colours for channel in colour)


def test_a_frame_offers_no_link(visit):
    opened = visit().shown()
    opened.page.evaluate("""text => {
        const frame = document.createElement('iframe');
        frame.srcdoc = text;
        document.body.append(frame);
    }""", page(train(m=3), protected=False))
    framed = opened.page.frame_locator("iframe").locator(".trainer")
    framed.locator("button.main").wait_for()
    assert opened.page.locator("a.link").is_visible() and not framed.locator("a.link").is_visible()


def test_a_link_in_front_of_the_page_leads_to_the_trainer(visit, root):
    """As the theme has it: first its own link past the menus, then many others."""
    links = "".join(f'<a href="#{k}">{k}</a>' for k in range(30))
    script = (root / "book/_static/book.js").read_text(encoding="utf-8")
    skip = '<div class="skip-link"><a href="#main-content">Skip</a></div>'
    opened = visit(body=f"<script>{script}</script>{skip}{links}", viewport={"width": 1280, "height": 900})
    press = opened.page.keyboard.press
    press("Tab")
    press("Tab")
    assert opened.page.evaluate("document.activeElement.textContent") == "Skip to the training"
    press("Enter")
    press("Tab")
    press("Tab")
    assert opened.page.evaluate("document.activeElement.textContent") == "Train"


@pytest.mark.parametrize("name", ["book/playground", "notebooks/03_unrolling"])
def test_the_book_s_pages_train(browser, html, name):
    """As built: with the theme, the policy, and explorers on the same page."""
    opened = Visit(browser, html / f"{name}.html", viewport={"width": 390, "height": 844})
    opened.page.locator(".trainer button.main").scroll_into_view_if_needed()
    opened.shown().button("Train").click()
    opened.trained(50)
    assert (html / f"{name}.html").stat().st_size < 1.5e6 and opened.page.locator("script[data-shared]").count() == 1
    assert not opened.page.locator(".trainer .outcome").is_visible()
    opened.page.close()
