"""The glossary: every acronym of a page is in it, first uses lead to it, and a set-up has its plain name beside it."""

import json
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest
from docutils import nodes
from explorer_samples import extension
from test_book import CHAPTERS, ROOT

ACRONYM = re.compile(r"(?<![\w-])[A-Z][A-Z\d]*[A-Z]\d*(?:-[A-Z]+)*|\b[A-Z]-[A-Z]{2,}")
# What is no word of the course: a processor, and how the constants' cell is written.
COMMON = {"CPU", "GPU", "MB", "GB", "CAPITALS", "README", "HTML", "PDF"}
# What a lesson says in plain words where it first uses the name of a set-up or of a scheme.
PLAIN = {"ONE": "one step|single steps", "NOISE": "perturbed", "WIG": "full gradient", "SOL": "full gradient",
         "NOG": "no gradient", "PRE": "stored corrections", "PUSHFORWARD": "push-forward", "DIVERTED": "diverted",
         "PHYSICS-PATH": "along the solver", "TERMINAL": "last step", "TBPTT": "truncated|cut every",
         "STORED": "states that", "FRESH": "states that", "DP": "differentiable physics",
         "KS": "Kuramoto-Sivashinsky", "PDE": "partial differential equation", "PINN": "physics-informed network",
         "ETD1": "exponential time differencing", "ETDRK2": "exponential time differencing", "L-BFGS": "quasi-Newton"}
LESSONS = [name for name in CHAPTERS if name.startswith(("notebooks/", "book/studies/"))]


def prose(page: str, literals: bool = False) -> str:
    """The text of a page without code, formulas, addresses and what is computed."""
    if (ROOT / f"{page}.ipynb").exists():
        cells = json.loads((ROOT / f"{page}.ipynb").read_text(encoding="utf-8"))["cells"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    else:
        text = (ROOT / f"{page}.md").read_text(encoding="utf-8")
        text = re.sub(r"\A---\n.*?^---$", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"^(`{3,}).*?^\1$", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"\$\$.*?\$\$|\$[^$]*\$|\{cite(?::t)?\}`[^`]*`|\]\([^)]*\)|^ {4}.*$", "", text,
                  flags=re.DOTALL | re.MULTILINE)
    return text.replace("`", "") if literals else re.sub(r"`[^`]*`", "", text)


def glossary() -> dict[str, str]:
    """``{term: definition}``, with a term for every line above a definition."""
    text = (ROOT / "book/glossary.md").read_text(encoding="utf-8").split("```{glossary}\n")[1].split("```")[0]
    found = {}
    for entry in re.split(r"\n\n(?=\S)", text.strip()):
        lines = entry.splitlines()
        names = [line for line in lines if not line.startswith(" ")]
        found |= dict.fromkeys(names, " ".join(line.strip() for line in lines[len(names):]))
    return found


def test_every_entry_says_something_and_they_are_in_order():
    text = (ROOT / "book/glossary.md").read_text(encoding="utf-8").split("```{glossary}\n")[1]
    firsts = [entry.splitlines()[0] for entry in re.split(r"\n\n(?=\S)", text)]
    assert firsts == sorted(firsts, key=str.lower) and len(set(firsts)) == len(firsts) > 60
    for term, definition in glossary().items():
        assert len(definition.split()) >= 2 and definition.endswith("."), f"{term}: {definition}"


def test_every_term_that_a_page_links_is_in_the_glossary():
    known = {term.lower() for term in glossary()}
    for path in (ROOT / "book").glob("**/*.md"):
        assert known >= {term.lower() for term in re.findall(r"\{term\}`([^`]+)`", path.read_text(encoding="utf-8"))}


@pytest.mark.parametrize("page", CHAPTERS)
def test_every_acronym_of_a_page_is_in_the_glossary(page):
    used = {match[0] for match in ACRONYM.finditer(prose(page))} - COMMON
    assert used <= set(glossary()), f"{page}: give {', '.join(sorted(used - set(glossary())))} an entry in the glossary"


@pytest.mark.parametrize("page", LESSONS)
def test_a_name_comes_with_plain_words_where_it_is_first_used(page):
    paragraphs = prose(page, literals=True).split("\n\n")
    for name, words in PLAIN.items():
        first = next((one for one in paragraphs if re.search(rf"(?<![\w-]){name}(?![A-Za-z])", one)), None)
        assert first is None or re.search(words, " ".join(first.split()), re.IGNORECASE), (
            f"{page} uses {name} without its plain name ({words}): {first[:200]}")


def test_the_names_of_the_set_ups_are_those_of_the_notation():
    rows = re.findall(r"^\| \*\*([\w-]+)\*\*", (ROOT / "book/notation.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(rows) <= set(PLAIN) <= set(glossary())


def paragraph(*children):
    document = nodes.section("", nodes.title("", "Roll-out, WIG"), nodes.paragraph("", "", *children))
    builder = SimpleNamespace(format="html", get_relative_uri=lambda here, there: f"to/{there}.html")
    item = nodes.definition_list_item("", nodes.term("", "roll-out", ids=["term-a"]), nodes.definition(
        "", nodes.paragraph("", "Repeated application of a step.")))
    other = nodes.definition_list_item("", nodes.term("", "WIG", ids=["term-b"]), nodes.definition(
        "", nodes.paragraph("", "Unrolled, full gradient: ", nodes.math("", r"u \leftarrow P(u)"))))
    env = SimpleNamespace(found_docs={"book/glossary"}, get_doctree=lambda name: nodes.section("", item, other))
    extension("glossary_terms").mark(SimpleNamespace(env=Hashed(env), builder=builder), document, "page")
    return document


class Hashed:
    """What can be remembered by its identity."""

    def __init__(self, value):
        self.__dict__.update(vars(value))


def links(document):
    return [(link.astext(), link["reftitle"], link["refuri"]) for link in document.findall(nodes.reference)]


def test_the_first_use_of_a_term_leads_to_its_entry_and_says_what_it_means():
    document = paragraph(nodes.Text("Two roll-outs\nof WIG-8. A Roll-out of WIG."))
    assert links(document) == [
        ("roll-outs", "Repeated application of a step.", "to/book/glossary.html#term-a"),
        ("WIG-8", "WIG: Unrolled, full gradient: u \u2190 P(u)", "to/book/glossary.html#term-b")]
    assert document.children[1].astext() == "Two roll-outs\nof WIG-8. A Roll-out of WIG."


def test_code_links_and_parts_of_words_are_left_alone():
    link = nodes.reference("", "", nodes.Text("a roll-out"), refuri="there", reftitle="")
    code = [nodes.literal("", text) for text in ("roll-out", "WIG-m")]
    document = paragraph(link, code[0], nodes.Text(" pre-roll-out WIGS "), code[1])
    assert [text for text, *_ in links(document)] == ["a roll-out", "WIG-m"]


def test_a_page_that_is_left_out_stays_as_it_is():
    extension_ = extension("glossary_terms")
    env = SimpleNamespace(found_docs={"book/intro", "book/glossary"})
    assert extension_.outdated(None, env, set(), {"book/glossary"}, set()) == ["book/glossary", "book/intro"]
    assert extension_.outdated(None, env, {"book/intro"}, set(), set()) == []


class Links(HTMLParser):
    """The links into the glossary on a page: ``(address, title)``."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "a" and "in-glossary" in (attributes.get("class") or ""):
            self.found.append((attributes["href"], attributes["title"]))


@pytest.mark.parametrize("page", LESSONS)
def test_the_built_page_says_what_its_words_mean(html, page):
    """As built; each entry once, and the hover texts hold no markup."""
    text = (html / f"{page}.html").read_text(encoding="utf-8")
    anchors = set(re.findall(r'<dt id="(term-[\w-]+)"', (html / "book/glossary.html").read_text(encoding="utf-8")))
    found = Links(text).found
    assert len(found) > 2 and all(address.split("#")[1] in anchors for address, _ in found)
    assert not [title for _, title in found if re.search(r"[\\$`{}]", title) or len(title) > 300]
    shown = {address.split("#")[1] for address, _ in found}
    for name in PLAIN:
        if re.search(rf"(?<![\w-]){name}(?![A-Za-z])", prose(page)):
            assert any(title.startswith(f"{name}: ") for _, title in found), f"{name} of {page}; {sorted(shown)}"
