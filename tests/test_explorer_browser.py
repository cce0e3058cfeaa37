"""The static explorer in a real browser: on its own pages, from files, under the book's policy, without a network."""

import pytest
from explorer_samples import INSERT, REGIONS, explorer, full_size, page, run
from pairs_samples import comparison
from player_samples import player
from playwright.sync_api import expect


class Visit:
    """A page of explorers, what it complains of and what it asks for."""

    def __init__(self, browser, path, address="", **options):
        self.complaints, self.requests = [], []
        self.page = browser.new_page(**options)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.go(path.as_uri() + address)

    def go(self, address):
        self.page.goto(address)
        self.page.wait_for_selector(".explorer canvas[aria-label]")

    def control(self, name, which=0):
        return self.page.locator(".explorer").nth(which).locator(f"[id$='-{name}']:is(input, select)")

    def status(self, which=0):
        return self.page.locator(".explorer .status").nth(which).text_content()

    def fragment(self):
        return self.page.evaluate("location.hash")


@pytest.fixture
def visit(browser, tmp_path):
    """``visit(explorer, ..., address="#...", **options of the page)``; nothing may go wrong on the page."""
    visits = []

    def open_page(*shown, address="", head="", body="", protected=True, **options):
        path = tmp_path / f"page{len(visits)}.html"
        path.write_text(page(*(shown or (explorer(),)), head=head, body=body, protected=protected), encoding="utf-8")
        visits.append(Visit(browser, path, address, **options))
        return visits[-1]

    yield open_page
    for one in visits:
        assert one.complaints == []
        assert all(url.startswith("file:") and url.split("#")[0].endswith(".html") for url in one.requests)
        one.page.close()


def curve(visit, which=0):
    """The first line of a plot: the hybrid."""
    return visit.page.locator(".views svg").nth(which).locator(".line").first.get_attribute("d")


def picture(visit, which=2):
    return visit.page.locator(".fields canvas").nth(which).evaluate("canvas => canvas.toDataURL()")


def test_it_opens_under_a_strict_policy_with_its_numbers(visit):
    opened = visit()
    assert opened.status() == (
        "1 step, full gradient; inside the range, seed 0. Error at step 1: 0.0125 (seeds: 0.0125 to 0.025), "
        "solver alone 0.0625, persistence 0.113. Mean over 8 steps: 0.0562, solver alone 0.281.")
    assert opened.page.locator("noscript").count() == 1 and opened.page.locator(".why").is_hidden()
    assert opened.fragment() == ""


def test_the_keyboard_moves_all_views(visit):
    opened = visit()
    before = [curve(opened, 0), curve(opened, 1), curve(opened, 2), picture(opened)]
    opened.page.keyboard.press("Tab")
    assert opened.page.evaluate("document.activeElement.labels[0].textContent") == "Unroll length: "
    opened.page.keyboard.press("ArrowRight")
    assert opened.status().startswith("8 steps, full gradient; inside the range, seed 0. Error at step 1: 0.025 ")
    assert opened.control("m").get_attribute("aria-valuetext") == "8 steps"
    assert opened.page.locator("output").first.text_content() == "8 steps"
    after = [curve(opened, 0), opened.page.locator(".views svg").nth(1).locator(".line").last.get_attribute("d"),
             curve(opened, 2), picture(opened)]
    assert all(old != new for old, new in zip(before, after))
    opened.page.keyboard.press("Tab")
    opened.page.keyboard.press("ArrowDown")
    assert opened.status().startswith("8 steps, cut gradient;")


def test_the_pointer_moves_the_time_and_the_picture_follows(visit):
    opened = visit()
    before = picture(opened), opened.page.locator(".now").get_attribute("d")
    slider = opened.control("t")
    box = slider.bounding_box()
    opened.page.mouse.click(box["x"] + box["width"] - 9, box["y"] + box["height"] / 2)
    assert slider.input_value() == "4" and slider.get_attribute("aria-valuetext") == "8, t = 4 s"
    assert "Error at step 8: 0.1 (seeds: 0.1 to 0.2)" in opened.status()
    assert before != (picture(opened), opened.page.locator(".now").get_attribute("d"))
    # Level 127 + k is k / 127 of the scale: row 4 of the hybrid begins at 50, of the reference at 40.
    label = opened.page.locator(".fields canvas").nth(2).get_attribute("aria-label")
    assert label == "hybrid, u [m/s] in space and time; at step 8 from -1.21 to -1.13"


@pytest.mark.parametrize("step, top, bottom", [
    (0, [52, 128, 185], [2, 17, 34]),  # level 40 of 254, between two of eleven colours; level 0, darkened: it is shown
    (8, [18, 45, 65], [5, 48, 97]),
])
def test_pictures_have_the_last_step_on_top_in_the_colours_of_the_scale(visit, step, top, bottom):
    opened = visit(explorer(start={"t": step}))
    column = opened.page.locator(".fields canvas").first.evaluate(
        "canvas => [...canvas.getContext('2d').getImageData(0, 0, 1, canvas.height).data]")
    assert column[:3] == pytest.approx(top, abs=1) and column[-4:-1] == pytest.approx(bottom, abs=1)


def test_seed_and_region_choose_other_numbers(visit):
    opened = visit()
    opened.control("seed").press("End")
    opened.control("region").select_option("above")
    assert opened.status().startswith("1 step, full gradient; above the range, seed 1. Error at step 1: 0.05 ")
    assert "solver alone 0.125" in opened.status()
    # The first seed's hybrid begins with the levels 60 ... 65 there, the second's with three more.
    label = opened.page.locator(".fields canvas").nth(2).get_attribute("aria-label")
    assert label == "hybrid, u [m/s] in space and time; at step 0 from -1.01 to -0.929"
    assert "nu 0.7" in opened.page.locator(".views svg").nth(1).text_content()


def test_a_study_has_its_own_words_and_one_region_is_no_choice(visit):
    words = {"x": "x", "time": "", "u": "u", "region": "Flow", "run": "found", "solver": "from the truth",
             "still": "from the end", "seed": "Seed of the start", "gradient": "Gradient in the state"}
    opened = visit(explorer(regions={"inside": REGIONS["inside"]}, words=words))
    assert ", from the truth 0.0625, from the end 0.113. " in opened.status()
    assert opened.control("region").is_hidden() and opened.control("seed").is_visible()
    shown = opened.page.locator(".explorer").inner_text()
    assert all(text in shown for text in ("Seed of the start", "Gradient in the state", "found, seed 0"))
    assert not any(text in shown for text in ("hybrid", "solver alone", "persistence", "weights"))
    assert opened.page.locator(".fields canvas").nth(2).get_attribute("aria-label").startswith("found, u in space")


def test_a_combination_that_was_not_run_says_so_and_shows_the_nearest(visit):
    opened = visit()
    opened.control("policy").select_option("cut")
    assert opened.page.locator(".why").text_content() == (
        "With one step both are one training. It is shown as: 1 step, full gradient.")
    opened.control("policy").select_option("push")
    assert opened.page.locator(".why").text_content().startswith("Not run: this combination has no stored results. ")
    assert opened.control("policy").locator("option").all_text_contents() == [
        "full gradient", "cut gradient", "push-forward (not run)"]
    opened.control("policy").select_option("full")
    assert opened.page.locator(".why").is_hidden()


def test_provenance_on_demand_follows_the_choice(visit):
    opened = visit()
    assert not opened.page.locator("dl").is_visible()
    opened.page.locator("summary").press("Enter")
    assert opened.page.locator("dl").inner_text().split("\n") == [
        "Repeat", "python -m made up", "This run", "level 0.1"]
    opened.control("m").press("ArrowRight")
    assert "level 0.2" in opened.page.locator("dl").inner_text()


def test_the_address_restores_the_state_also_when_it_changes(visit):
    opened = visit(address="#explore-made-up:m=8;policy=cut;seed=1;t=6")
    assert opened.status().startswith("8 steps, cut gradient; inside the range, seed 1. Error at step 6: 0.45 ")
    opened.page.evaluate("location.hash = 'explore-made-up:m=8;policy=full;region=above'")
    expect(opened.page.locator(".status")).to_contain_text("full gradient; above")
    link = opened.page.locator("a.link").get_attribute("href")
    assert link == "#explore-made-up:m=8;policy=full;region=above;seed=1;t=6"
    opened.page.evaluate("location.hash = 'some-heading'")
    assert opened.status().startswith("8 steps, full gradient; above")


@pytest.mark.parametrize("address", ["#explore-made-up:m=9;policy=none;speed=3", "#explore-made-up:%E0%A4%A=1;m",
                                     "#explore-other:m=8", "#explore-made-up:", "#heading"])
def test_a_wrong_address_changes_nothing(visit, address):
    assert visit(address=address).status().startswith("1 step, full gradient; inside the range, seed 0.")


def test_an_address_that_asks_for_what_is_not_offered_says_so(visit):
    opened = visit(address="#explore-made-up:m=9;policy=cut;speed=3")
    assert opened.page.locator(".why").text_content().startswith(
        "The address asks for m = 9, speed = 3, which this figure does not offer. ")
    opened.control("m").press("ArrowRight")
    assert opened.page.locator(".why").is_hidden()


def test_the_last_picture_is_the_run_minus_the_reference(visit):
    """Level 4 + 10 of the run, 40 of the reference, five times as strong: (10 / 127) * 2, as it is."""
    opened = visit()
    label = opened.page.locator(".fields canvas").nth(3).get_attribute("aria-label")
    assert label == "hybrid minus reference, u [m/s] in space and time; at step 0 from 0.157 to 0.157"
    assert opened.page.locator(".fields > div").last.inner_text().strip() == "error \u00d7 5"


def test_a_time_at_which_a_part_has_blown_up_is_one_colour(visit):
    """What is left of a state beside numbers that have overflowed looks like data and is none."""
    field = run(0.5, 1).field
    for levels in field.values():
        levels[0, 2:, 1::2] = 255
    opened = visit(explorer(solver=run(0.5, 1, field=field)))
    rows = opened.page.locator(".fields canvas").nth(1).evaluate("""canvas => {
        const { width, height } = canvas, { data } = canvas.getContext('2d').getImageData(0, 0, width, height);
        const pixels = new Uint32Array(data.buffer);
        return Array.from({ length: height }, (_, y) => new Set(pixels.slice(y * width, (y + 1) * width)).size);
    }""")
    assert rows == [1, 1, 1, 6, 6]


def test_the_steps_follow_each_other_until_they_are_stopped(visit):
    opened = visit()
    opened.page.get_by_role("button", name="Play the steps").click()
    said = opened.status()
    expect(opened.control("t")).not_to_have_value("0")
    assert opened.status() == said  # nothing is read out while it moves
    opened.page.get_by_role("button", name="Stop the steps").click()
    assert opened.status() != said


def test_controls_stay_in_sight_and_a_plot_s_text_has_its_size(visit):
    opened = visit(viewport={"width": 1280, "height": 420})
    opened.page.evaluate("scrollTo(0, 150)")
    assert 0 <= opened.control("m").bounding_box()["y"] <= 420
    for width in (390, 1280):
        opened.page.set_viewport_size({"width": width, "height": 900})
        opened.page.wait_for_timeout(200)
        sizes = opened.page.locator(".views svg").evaluate_all(
            "all => all.map(svg => 12 * svg.clientWidth / svg.viewBox.baseVal.width)")
        assert min(sizes) >= 11.95


def test_a_frame_offers_no_link(visit):
    opened = visit()
    opened.page.evaluate("""text => {
        const frame = document.createElement('iframe');
        frame.srcdoc = text;
        document.body.append(frame);
    }""", page(explorer("framed"), protected=False))
    framed = opened.page.frame_locator("iframe")
    framed.locator(".explorer canvas[aria-label]").first.wait_for()
    assert opened.page.locator("a.link").is_visible() and not framed.locator("a.link").is_visible()


def test_without_scripts_there_is_a_picture(browser, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(page(explorer(start={"m": 8, "seed": 1})), encoding="utf-8")
    context = browser.new_context(java_script_enabled=False)
    opened = context.new_page()
    opened.goto(path.as_uri())
    assert opened.locator(".picture svg").is_visible()
    assert opened.locator(".picture svg path").count() >= 6
    assert "8 steps, full gradient, inside the range, seed 1" in opened.locator(".picture").inner_text()
    told = opened.locator(".picture svg").get_attribute("aria-label")
    assert told.startswith("hybrid: 0.05 at first, 0.4 at the end")
    context.close()


def test_several_explorers_share_one_address(visit):
    opened = visit(explorer("first"), explorer("second", title="Explore: more"), body='<p id="heading">Text</p>')
    opened.control("m", 1).press("ArrowRight")
    assert opened.status(0).startswith("1 step") and opened.status(1).startswith("8 steps")
    opened.page.wait_for_url("**#*second*")
    opened.control("policy", 0).select_option("cut")
    opened.page.wait_for_url("**#*first*")
    shared = opened.fragment()
    assert shared == ("#explore-second:m=8;policy=full;region=inside;seed=0;t=0"
                      "&explore-first:m=1;policy=cut;region=inside;seed=0;t=0")
    again = visit(explorer("first"), explorer("second", title="Explore: more"), address=shared)
    assert again.control("policy", 0).input_value() == "cut" and again.status(1).startswith("8 steps")
    ids = again.page.evaluate("[...document.querySelectorAll('[id]')].map(element => element.id)")
    assert len(ids) == len(set(ids))


def test_everything_has_a_name(visit):
    opened = visit()
    names = opened.page.evaluate("""() => [...document.querySelectorAll('input, select')].map(input =>
        input.labels.length === 1 && input.labels[0].textContent.trim().length > 3)""")
    assert len(names) == 5 and all(names)
    described = opened.page.evaluate("""() => [...document.querySelectorAll(".views svg[role=img]")].map(svg =>
        svg.getAttribute('aria-labelledby').split(' ').every(id => svg.querySelector('#' + id).textContent))""")
    assert described == [True, True, True]
    assert opened.page.locator("[aria-live=polite]").count() == 1
    dashes = opened.page.locator(".views svg").first.locator(".line").evaluate_all(
        "lines => lines.map(line => line.getAttribute('stroke') + line.getAttribute('stroke-dasharray'))")
    assert len(set(dashes)) == 3 and len({dash.split(")")[-1] for dash in dashes}) == 3


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_and_can_be_read_in_both_themes(visit, theme, width):
    opened = visit(color_scheme=theme, viewport={"width": width, "height": 844})
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    sides = opened.page.locator(".explorer *:visible").evaluate_all(
        "all => Math.max(...all.map(element => element.getBoundingClientRect().right))")
    assert sides <= width
    paper, ink = (0, 255) if theme == "dark" else (255, 0)
    shown = opened.page.evaluate("""() => ['.status', 'figcaption', 'select', 'svg text'].map(selector => {
        const style = getComputedStyle(document.querySelector(selector));
        return (selector === 'svg text' ? style.fill : style.color).match(/\\d+/g).slice(0, 3).map(Number);
    })""")
    assert all(abs(channel - ink) < 60 < abs(channel - paper) for rgb in shown for channel in rgb)
    smallest = opened.page.locator("input, select").evaluate_all(
        "all => Math.min(...all.map(input => input.getBoundingClientRect().height))")
    assert smallest >= 24  # a finger finds it


def test_the_book_theme_does_not_hide_it(visit, root):
    """The theme's plate under HTML outputs in dark mode, which ``book.css`` takes away."""
    plate = ("<style>html[data-theme=dark] .bd-content div.cell_output .text_html{background-color:#ced6dd;"
             "color:#14181e}html[data-theme=dark]{--pst-color-text-base:#ced6dd;--pst-color-background:#14181e}</style>")
    style = (root / "book/_static/book.css").read_text(encoding="utf-8")
    head = f"{plate}<style>{style}</style>"
    opened = visit(head=head)
    opened.page.evaluate("""() => {
        document.documentElement.dataset.theme = 'dark';
        const output = document.createElement('div'), cell = document.createElement('div');
        output.className = 'text_html'; cell.className = 'cell_output'; document.body.className = 'bd-content';
        cell.append(output); document.body.append(cell); output.append(document.querySelector('.explorer'));
    }""")
    assert opened.page.evaluate("getComputedStyle(document.querySelector('.text_html')).backgroundColor") == (
        "rgba(0, 0, 0, 0)")
    assert opened.page.evaluate("getComputedStyle(document.querySelector('.status')).color") == "rgb(206, 214, 221)"


@pytest.mark.parametrize("order", (1, -1))
def test_each_script_builds_its_own_figures_only(visit, order):
    """Every figure has the class ``explorer``, and the scripts of all kinds run in the order of the page."""
    kinds = {"rollouts": explorer(), "compare": comparison({"a": [1.0] * 6, "b": [2.0] * 6}), "player": player()}
    shown = visit(*list(kinds.values())[::order]).page
    for kind in kinds:
        expect(shown.locator(f".{kind}")).to_have_count(1)
        expect(shown.locator(f".{kind} .status")).to_have_count(1)


def test_plots_are_dark_in_the_dark_theme(visit, root):
    """White paper becomes dark, not grey: the plate that the theme puts below is gone."""
    style = (root / "book/_static/book.css").read_text(encoding="utf-8")
    theme = ("html[data-theme=dark] img:not(.only-dark,.dark-light){filter:brightness(.8) contrast(1.2)}"
             "html[data-theme=dark] .bd-content img:not(.only-dark,.dark-light){background-color:#fff}"
             "html[data-theme=dark] .bd-content div.cell_output img{background-color:#ced6dd;padding:.5rem}")
    image = ('<div class="bd-content"><div class="cell_output"><img alt="" width="40" height="40" '
             "src=\"data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg'%3E%3Crect width='99' height='99' "
             "fill='white'/%3E%3C/svg%3E\"></div></div>")
    opened = visit(head=f"<style>{theme}</style><style>{style}</style>", body=image)
    opened.page.evaluate("document.documentElement.dataset.theme = 'dark'")
    shot = opened.page.locator("img").screenshot()
    dark = opened.page.evaluate("""async bytes => {
        const bitmap = await createImageBitmap(new Blob([new Uint8Array(bytes)]));
        const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext('2d');
        context.drawImage(bitmap, 0, 0);
        const { data } = context.getImageData(0, 0, bitmap.width, bitmap.height);
        return Math.max(...data.filter((_, k) => k % 4 < 3));
    }""", list(shot))
    assert dark < 40


def test_a_notebook_may_insert_it_later(visit):
    opened = visit(protected=False)
    opened.page.evaluate(INSERT, explorer("later", start={"m": 8})._repr_html_())
    expect(opened.page.locator(".status")).to_have_count(2)
    assert opened.status(1).startswith("8 steps, full gradient")
    opened.control("policy", 1).select_option("cut")
    assert opened.status(1).startswith("8 steps, cut gradient") and opened.status(0).startswith("1 step, full")


def test_on_paper_the_numbers_and_views_stay(visit):
    opened = visit()
    opened.page.emulate_media(media="print")
    assert not opened.page.locator("fieldset").is_visible()
    assert opened.page.locator(".status").is_visible() and opened.page.locator("canvas").first.is_visible()


def test_nothing_moves_by_itself(visit):
    opened = visit(reduced_motion="reduce")
    assert opened.page.evaluate("document.getAnimations().length") == 0


def test_a_control_answers_within_a_frame(visit):
    """Processor time with style and layout: how long a reader waits depends on what else this machine does."""
    opened = visit(full_size())
    session = opened.page.context.new_cdp_session(opened.page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def spent():
        measured = session.send("Performance.getMetrics")["metrics"]
        return next(metric["value"] for metric in measured if metric["name"] == "TaskDuration")

    start, changes = spent(), 60
    opened.page.evaluate("""changes => {
        const slider = document.querySelector("input[id$='-t']");
        for (let k = 0; k < changes; k++) {
            slider.value = k % 50;
            slider.dispatchEvent(new Event('input'));
            document.body.offsetHeight;
        }
    }""", changes)
    assert (spent() - start) / changes < 1 / 60
