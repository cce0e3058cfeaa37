"""The computed pages: the ledger agrees with the experiments, the words follow the numbers, the shown code runs."""

import ast
import functools
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import nbformat
import pandas
import pytest
import yaml
from bs4 import BeautifulSoup
from explorer_samples import extension

from benchmarks import report
from dpbook_course.claims import claims, ledger, pages, shown
from dpbook_course.claims.claims import Claim, Effect, Verdict
from dpbook_course.experiments import checking, tasks
from dpbook_course.problems import ks
from dpbook_utils import figures

COMPUTED = ("claims", "verdict", "performance", "status", "outcomes", "own_solver")
ROOT = Path(__file__).parents[1]
STUDIES = sorted(f"studies/{path.stem}" for path in (ROOT / "book/studies").glob("*.md"))
MADE_UP = Verdict("supported under conditions", (
    Effect("diverged", 0, math.nan, math.nan, "as claimed"), Effect("a [1/step] | b", 0.5, 0.4, 0.6, "as claimed"),
    Effect("c", math.nan, math.nan, math.nan), Effect("d", 2, 0.8, 2.5, "undecided")), 6, "6,000 updates",
    "1 of 3.", Claim("C09", "", "", ("e04", "e06"), "a < b", None), remedy="Compute what is missing: do this.")


def series(*values):
    return pandas.Series(values, range(len(values)), dtype=float)


ONES = series(1.0, 1.1, 0.9, 1.2, 0.8, 1.0)


def test_the_ledger_states_every_claim_as_the_experiments_do():
    assert list(ledger.STATEMENTS) == [f"C{number:02d}" for number in range(1, 27)]
    for key, claim in claims.all_claims().items():
        statement = ledger.STATEMENTS[key]
        assert (statement.text, statement.chapter) == (claim.text, claim.chapter), key
        assert {name[:3].upper() for name in claim.experiments} <= set(statement.studies), key


def test_the_chapters_of_the_ledger_are_those_of_the_course():
    from test_repository import CHAPTERS

    assert set(ledger.CHAPTERS) == CHAPTERS
    assert {statement.chapter for statement in ledger.STATEMENTS.values()} <= CHAPTERS


def test_a_page_says_which_of_its_studies_are_stored(monkeypatch):
    whole = pages.studies({"e04": "unrolling", "e05": "coupling"})
    assert [line for line in whole.splitlines() if "e0" in line] == [
        "| `e04` | unrolling | all |", "| `e05` | coupling | all |",
        "`python -m dpbook_course.experiments run e04` repeats a study, or computes what is lacking."]
    monkeypatch.setattr(tasks, "complete", lambda name: None if name == "e05" else ())
    monkeypatch.setattr(tasks, "status", lambda spec: tasks.Status(3, 1200, 6, []))
    lines = pages.studies({"e04": "unrolling", "e05": "coupling"}).splitlines()
    assert "| `e04` | unrolling | all |" in lines and "| `e05` | coupling | 3 of 1,200 runs |" in lines
    assert "run e05` repeats" in lines[-1] and "not measured yet" in lines[-1]


def test_what_is_not_decided_is_open():
    assert ledger.standing("C09", {"C09": MADE_UP}) == "supported under conditions"
    assert ledger.standing("C10", {"C09": MADE_UP}) == "open"
    found = ledger.counts({"C09": MADE_UP})
    assert found == {"supported": 0, "supported under conditions": 1, "contradicted": 0, "undecided": 0, "open": 25}
    assert "**1** supported under conditions" in pages.summary({"C09": MADE_UP})
    with pytest.raises(KeyError, match="C27.*C01"):
        ledger.standing("C27", {})


def chapter(name):
    return f"<{name}>"


def test_the_overview_has_one_row_for_every_claim():
    text = pages.overview({"C09": MADE_UP})
    rows = re.findall(r"^\* - \[(C\d\d)\]\(#(c\d\d)\)\n\n    <strong .*>(.+)</strong>$", text, re.MULTILINE)
    assert [(key.lower(), outcome == "open") for key, _, outcome in rows] == [
        (anchor, anchor != "c09") for _, anchor, _ in rows] and len(rows) == 26


def test_a_section_tells_all_of_a_claim():
    text = pages.section("C09", {"C09": MADE_UP}, chapter)
    for part in ("(c09)=\n", ">supported under conditions</strong>", "a &lt; b", "6,000 updates", "run e04</code>",
                 "run e06</code>", "<td>a [1/step] | b</td><td>0.5</td>", "<em>Note.</em> 1 of 3.",
                 "Chapter: <03_unrolling>.", "the main effect, a [1/step] | b, is 0.5 (0.4 ... 0.6).",
                 "As claimed: 2 of 3 comparisons (undecided: 1) (6 seeds; 6,000"):
        assert part in text
    text = pages.section("C26", {}, chapter)
    assert "Criterion" not in text and ledger.STATEMENTS["C26"].text in text
    assert "To be decided by E15. Chapter: <14_better_updates>." in text


def test_a_verdict_is_a_badge_a_sentence_a_picture_and_the_rest_folded():
    """In this order, by one function for all pages; the picture has what decides, and says it in words."""
    verdicts = claims.verdicts()
    for key in ("C04", "C14", "C15", "C19"):
        verdict = verdicts[key]
        source = verdict._repr_html_()
        html = BeautifulSoup(source, "html.parser").select_one(".verdict")
        assert html.strong.text == verdict.outcome and verdict.claim.text in html.p.text
        assert html.find_all("p")[1].text == shown.sentence(verdict)
        folded = html.find_all("details")
        assert len(folded) == 1 and not folded[0].has_attr("open") and folded[0].find_next_sibling() is None
        assert html.find("table").find_parent("details") is not None
        described = " ".join(image["alt"] for image in html.find_all("img"))
        for effect in verdict.effects:
            required = effect.name in verdict.required if verdict.required else bool(effect.reading)
            drawn = required and effect.question is not None and math.isfinite(effect.value)
            assert (f"{shown.interval(effect)}, {effect.reading}" in described) >= drawn, (key, effect.name)
        assert all("1 marked" in image["alt"] or "0 marked" in image["alt"] for image in html.find_all("img"))
    assert source in pages.section(key, verdicts, chapter)


def test_what_a_claim_requires_is_counted_apart():
    """Required, further and shown effects of the same verdict."""
    mixed = replace(MADE_UP, required=("a [1/step] | b", "c"))
    counted = "As claimed: 1 of 2 required comparisons, 1 of 2 further ones (undecided: 1) (6 seeds"
    assert counted in shown.sentence(mixed)
    assert [shown.role(effect, mixed) for effect in mixed.effects] == ["further", "required", "required", "further"]
    alone = replace(MADE_UP, required=tuple(effect.name for effect in MADE_UP.effects))
    assert "As claimed: 2 of 4 required comparisons (undecided: 1) (6 seeds" in pages.items(["C09"], {"C09": alone})
    against = replace(MADE_UP, effects=(*MADE_UP.effects[:3], replace(MADE_UP.effects[3], reading="the other way")))
    assert "As claimed: 2 of 3 comparisons (the other way: 1) (6 seeds" in pages.items(["C09"], {"C09": against})
    missing = replace(MADE_UP, effects=MADE_UP.effects[2:3], required=("c",))
    assert "No comparison is complete" in pages.items(["C09"], {"C09": missing})


def test_a_main_effect_that_a_verdict_names_is_there():
    for key, verdict in claims.verdicts().items():
        if verdict.main:
            assert shown.main_effect(verdict) == verdict.effect(verdict.main), key


def test_the_ledger_counts_as_the_notes_and_the_definitions_do():
    verdicts = claims.verdicts()
    for key, verdict in verdicts.items():
        text = pages.items([key], verdicts)
        if not verdict.num_seeds:
            assert verdict.outcome == claims.UNDECIDED and "not computed yet" in text, key
            continue
        held, asked = map(int, re.search(r"As claimed: (\d+) of (\d+)", text).groups())
        if verdict.required:
            said = re.match(r"(?:all|(\d+) of) (\d+) required comparisons", verdict.note)
            assert said and (held, asked) == (int(said[2]) - int(said[1] or 0), int(said[2])), key
        assert (held == asked) == (verdict.outcome == claims.SUPPORTED), key


def test_an_effect_that_is_missing_is_not_the_main_one():
    assert shown.main_effect(MADE_UP).name == "a [1/step] | b"
    assert shown.main_effect(Verdict("undecided", (), 0, "none")) is None
    assert shown.main_effect(replace(MADE_UP, main="d")).name == "d", "a verdict may name it"
    assert shown.main_effect(replace(MADE_UP, main="c")) is None, "and then shows no other"
    assert [pages.interval(effect) for effect in MADE_UP.effects[:3]] == ["0", "0.5 (0.4 ... 0.6)", "-"]


@pytest.mark.parametrize("a, b, word, words", [
    (0.5 * ONES, ONES, "smaller", "2 times smaller"),
    (ONES, 0.25 * ONES, "larger", "4 times larger"),
    (ONES, series(1.1, 1.0, 1.0, 1.0, 0.9, 1.1), "undecided", "undecided"),
    (1.01 * ONES, ONES, "no difference", "no difference"),
    (series(), ONES, "", "not computed yet"),
    (0.5 * ONES[:5], ONES, "", "5 seeds, 6 are needed"),
    (ONES, math.inf * ONES, "smaller", "smaller; the second set-up lost seeds 0, 1, 2, 3, 4, 5 "
     "(diverged or blown up)"),
    (0.5 * ONES, 1.0, "smaller", "2.02 times smaller"),
])
def test_a_comparison_reads_as_it_came_out(a, b, word, words):
    found = pages.compare("a / b", a, b)
    assert (found.word, found.reading) == (word, words) and found.name == "a / b"


def test_trainings_that_diverged_are_told():
    lost = ONES.where(ONES.index > 1, math.inf)
    assert pages.compare("", 0.5 * ONES, lost).reading == (
        "2 times smaller; the second set-up lost seeds 0, 1 (diverged or blown up), the ratio is of the other 4")
    both = pages.compare("", lost, ONES.where(ONES.index != 3, math.inf))
    assert both.lost == ((0, 1), (3,)) and both.losses == (
        "the first set-up lost seeds 0, 1 and the second set-up lost seed 3 (diverged or blown up), the ratio is of "
        "the other 3")


def test_comparisons_are_counted_and_listed():
    found = [pages.compare("x", 0.5 * ONES, ONES), pages.compare("y", ONES, 0.5 * ONES),
             pages.compare("z", ONES, series())]
    assert pages.tally(found) == "smaller in 1 of 3 comparisons, larger in 1, not computed yet in 1"
    lines = pages.comparisons("Title", found).splitlines()
    assert lines[0] == "```{table} Title" and lines[3].startswith("| x | 0.5 (")
    assert lines[5] == "| z | - | not computed yet |"


def test_a_list_of_claims_tells_standing_and_effect():
    lines = pages.items(("C09", "C10"), {"C09": MADE_UP}).splitlines()
    assert lines[0].startswith("- {ref}`C09 <c09>`: supported under conditions. Feedback through unrolled steps")
    assert ". As claimed: 2 of 3 comparisons (undecided: 1) (6 seeds; 6,000 updates); " in lines[0]
    assert r"a \[1/step\] \| b, is 0.5 (0.4 ... 0.6)." in lines[0]
    assert lines[1].startswith("- {ref}`C10 <c10>`: open. ") and lines[1].endswith("alone.")


def cells(root, page):
    text = (root / "book" / f"{page}.md").read_text(encoding="utf-8")
    assert text.startswith("---\nfile_format: mystnb\n")
    found = re.findall(r"^```\{code-cell\} python\n(?::[^\n]*\n)*(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(found) == text.count("{code-cell}")
    return found


def prose(root, page):
    text = (root / "book" / f"{page}.md").read_text(encoding="utf-8")
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def output(cell, names):
    """What the cell's last line shows, as text."""
    tree = ast.parse(cell)
    last = tree.body.pop()
    exec(compile(tree, "cell", "exec"), names)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names).data


@pytest.mark.parametrize("page", COMPUTED[:-1])
def test_a_computed_page_runs_and_is_built_from_nothing_typed(page, root, monkeypatch):
    """What its cells show, and that no number of a result stands in the text between them."""
    monkeypatch.chdir(root / "book")
    names = {"__name__": page}
    text = "\n".join(output(cell, names) for cell in cells(root, page))
    assert len(text) > 300 and not re.search(r"\bnan\b", text)
    if page == "claims":
        verdicts = names["found"]
        for key in ledger.STATEMENTS:
            assert f"[{key}](#{key.lower()})" in text
            badge = rf"\({key.lower()}\)=\n.*\n.*\n.*<strong [^>]*>{ledger.standing(key, verdicts)}</strong>"
            assert re.search(badge, text), key
        listed = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))["parts"]
        for name in re.findall(r"\]\(\.\./(notebooks/\w+)\.ipynb\)", text):
            assert any({"file": name} in part["chapters"] for part in listed) and (root / f"{name}.ipynb").exists()
    if page == "verdict":  # it weighs everything that has been measured
        said = {key: f"{{ref}}`{key} <{key.lower()}>`: {verdict.outcome}" for key, verdict in names["found"].items()}
        lacking = [key for key, words in said.items() if words not in text]
        assert not lacking, "book/verdict.md weighs no: " + ", ".join(f'cited("{key}")' for key in lacking)
    assert not re.search(r"\d\.\d", prose(root, page)), "a typed result"


def limited(draw, drawn, **options):
    """``draw``, if it is asked for at most six series."""
    series = [row if isinstance(row, dict) else {label: row} for label, row in drawn.items()]
    assert len({label for row in series for label in row}) <= 6, f"too many to tell apart: {list(drawn)}"
    return draw(drawn, **options)


@pytest.mark.parametrize("page", STUDIES)
def test_a_study_reads_stored_results_and_checks_what_it_says_of_them(page, root, monkeypatch):
    """It runs, trains nothing, asserts, decides claims, and belongs to a chapter; each links the other.

    No figure has more than six series.
    """
    monkeypatch.chdir(root / "book/studies")
    for draw in (figures.curves, figures.scatter):
        monkeypatch.setattr(figures, draw.__name__, functools.partial(limited, draw))
    sources, names = cells(root, page), {"__name__": page}
    for source in sources:
        exec(source, names)
    code, name = "\n".join(sources), Path(page).name
    assert not re.search(r"\b(held|fit|train)\(", code), "what is trained on the spot belongs into the chapter"
    assert "assert " in code and "course.verdict(" in code
    assert not re.search(r"\d\.\d", prose(root, page)), "a typed result"
    assert f"](../../notebooks/{name}.ipynb)" in prose(root, page)
    assert f"](../book/studies/{name}.md)" in (root / f"notebooks/{name}.ipynb").read_text(encoding="utf-8")


def test_the_baselines_that_the_introduction_promises_are_there():
    known = tasks.experiments()
    for name in ("e02", "e04", "e04_forced", "e05", "e08", "e08_periodic", "e09"):
        baselines = known[name].spec.baselines
        finer = [other for other in baselines if re.match("P, .*(points|substeps|128x64)", other)]
        assert {"P", "persistence"} <= baselines and bool(finer) != (name == "e08_periodic"), name


def test_commands_that_the_texts_show_are_commands(root):
    texts = [*root.glob("*.md"), *root.glob("book/**/*.md"), *root.glob("notebooks/*.ipynb")]
    shown = [(path.name, command) for path in texts for command in re.findall(
        r"python -m dpbook_course\.experiments (?:run|check) ([^#`\\\n]*)", path.read_text(encoding="utf-8"))]
    assert len(shown) > 15
    for name, command in shown:
        experiment, *options = command.split() or ["nothing"]
        known = experiment.isupper() or experiment in tasks.experiments() or "e10" in experiment
        assert known and not [word for word in options if re.match(r"e\d\d", word)], f"{name}: {command}"


def test_what_the_readme_says_of_checks_is_what_they_do(root):
    text = " ".join((root / "README.md").read_text(encoding="utf-8").split())
    tolerances = {experiment.spec.tolerance for experiment in tasks.experiments().values()}
    assert max(tolerances) == 1e-4 and "within a relative difference of 1e-4" in text
    assert checking.MARGIN == 30 and "differs by thirty times as much" in text
    assert ks.EVERY == 12 and "every twelfth state is stored" in text


def test_the_performance_page_has_the_numbers_of_the_readme(root):
    """Both are written by the same function from the same file."""
    stored = json.loads((root / "results" / "benchmarks.json").read_text(encoding="utf-8"))
    readme = (root / "README.md").read_text(encoding="utf-8")
    assert report.insert(readme, report.markdown(stored)) == readme


def test_the_example_with_ones_own_solver(root, monkeypatch, capsys):
    monkeypatch.setenv("DPBOOK_MODE", "short")
    sources = cells(root, "own_solver")
    route = [line for cell in sources[:6] for line in cell.splitlines() if line.strip()]  # from the step to the errors
    assert len(route) < 60, f"{len(route)} lines"
    assert max(len(line) for cell in sources for line in cell.splitlines()) <= 80
    names = {"__name__": "own_solver"}
    for source in sources:
        exec(source, names)
    assert all(0 < error < 2 for error in names["errors"].values())
    said = " ".join(capsys.readouterr().out.split())
    assert re.search("Unrolled, the error is less .*: (held|did not hold) in this short run;", said)
    code = "".join(path.read_text(encoding="utf-8") for path in (root / "dpbook_utils").rglob("*.py"))
    assert "ShallowWater" not in code, "an equation that the package does not have"


def test_what_a_page_depends_on_decides_whether_it_is_executed_again(tmp_path):
    cache = extension("executed_pages")
    seen = {cache.fingerprint(tmp_path)}
    for name in ("results/e00/a.json", "results/benchmarks.json", "benchmarks/report.py", "_toc.yml",
                 "dpbook_course/claims/pages.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        for content in ("one", "two"):
            (tmp_path / name).write_text(content)
            seen.add(cache.fingerprint(tmp_path))
    assert len(seen) == 11


def test_pages_that_other_files_decide_are_read_in_every_build(root):
    from types import SimpleNamespace

    fresh = extension("fresh_pages")
    assert fresh.outdated(None, SimpleNamespace(found_docs={"book/outcomes", "book/intro"}), (), (), ()) == fresh.PAGES
    assert fresh.outdated(None, SimpleNamespace(found_docs={"book/intro"}), (), (), ()) == []
    for page in fresh.PAGES:
        assert "execution_mode: force" in (root / f"{page}.md").read_text(encoding="utf-8")


def test_pages_do_not_offer_what_they_are_not(root):
    """A page in MyST has no notebook to open in Colab; without a kernel in its front matter the theme offers none."""
    for page in (*COMPUTED, *STUDIES):
        assert "kernelspec" not in (root / "book" / f"{page}.md").read_text(encoding="utf-8")
    for path in root.glob("notebooks/*.ipynb"):
        assert nbformat.read(path, as_version=4).metadata.kernelspec.name == "python3"
