"""The page of names: all that the packages offer, in the groups of their lists, from docstrings that can be written."""

import inspect
import re

import pytest
from docutils.core import publish_doctree
from docutils.nodes import field_name, literal_block, system_message
from docutils.parsers.rst import roles
from explorer_samples import extension
from sphinx.ext.napoleon import Config, GoogleDocstring

import dpbook_course as course
import dpbook_utils as dp

DIRECTIVE = re.compile(r"^\.\. auto(?:class|function|exception|data|module):: ([\w.]+)", re.MULTILINE)


@pytest.fixture(scope="module")
def page(root) -> dict[str, str]:
    """The text of each section by its title."""
    parts = re.split(r"^## (.*)\n", (root / "book/api.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2]))


def names(text: str) -> list[str]:
    return [name.rpartition(".")[2] for name in DIRECTIVE.findall(text)]


def test_the_page_has_every_name_in_the_groups_of_the_package(page, root):
    listed = (root / "dpbook_utils/__init__.pyi").read_text(encoding="utf-8")
    groups = re.findall(r"^# (.*)\n((?:from .*\n)+)", listed, re.MULTILINE)
    assert list(page) == [title for title, _ in groups] + ["The course"]
    for title, lines in groups:
        assert names(page[title]) == re.findall(r"import (\w+) as", lines)
    shown = [name for title, _ in groups for name in names(page[title])]
    assert sorted(shown) == sorted(dir(dp))
    assert sorted(names(page["The course"])) == sorted(dir(course))


def test_the_tables_of_the_page_have_the_names_below_them(page):
    for title, text in page.items():
        table = re.search(r"autosummary::\n   :nosignatures:\n\n((?:   \w+\n)+)", text)
        if table:
            described = [name for name in names(text) if name in dir(dp) or not inspect.ismodule(getattr(course, name))]
            assert table[1].split() == described, title


@pytest.mark.parametrize("name", [f"dp.{name}" for name in dir(dp)] + [f"course.{name}" for name in dir(course)])
def test_a_docstring_becomes_text_that_means_what_it_says(name):
    """No character of the prose is markup by accident, every section is a field, every equation as it was."""
    docstrings = extension("docstrings")
    for role in ("py:obj", "cite:t", "doc"):
        roles.register_generic_role(role, field_name)
    package, _, name = name.partition(".")
    text = inspect.getdoc(getattr({"dp": dp, "course": course}[package], name))
    lines = GoogleDocstring(docstrings.fields(text.splitlines(), set()), Config(
        napoleon_custom_sections=[("Attributes", "params_style")])).lines()
    known = publish_doctree("\n".join(lines).replace("code-block:: none", "code::"), settings_overrides={
        "report_level": 5, "syntax_highlight": "none"})
    told = [found.astext() for found in known.findall(system_message)]
    assert [text for text in told if "No role entry" not in text] == []
    stated = re.findall(rf"^({'|'.join(docstrings.FIELDS)}): ", text, re.MULTILINE)
    assert {found.astext() for found in known.findall(field_name)} >= set(stated)
    for block in known.findall(literal_block):
        assert all(line.strip() in text for line in block.astext().splitlines())


def test_prose_is_escaped_and_names_become_links():
    docstrings = extension("docstrings")
    assert docstrings.prose("a_ * |b| ``u -> u`` ``Rollout``") == (
        r"a\_ \* \|b\| ``u -> u`` :py:obj:`Rollout <dpbook_utils.Rollout>`")
    found = docstrings.fields(["One step.   Source: um2020.   Chapter: 03_unrolling", "Shapes: (batch, *spatial),",
                               "    unchanged.", "", "That is", "", "    u_t = 0 * u", "Order: 1."],
                              {"notebooks/03_unrolling"})
    assert [line for line in found if line] == [
        "One step.", ":Source: :cite:t:`um2020`.", ":Chapter: :doc:`/notebooks/03_unrolling`",
        r":Shapes: (batch, \*spatial),", "    unchanged.", "That is", ".. code-block:: none", "    u_t = 0 * u",
        ":Order: 1."]
