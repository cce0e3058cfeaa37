"""The printed book: what is left out of the page, its table of contents, its links and its bookmarks."""

import contextlib
import importlib

import pytest
from pypdf import PdfReader

PAGE = """<html><head><meta http-equiv="Content-Security-Policy" content="script-src 'none'">
<script>MathJax = {startup: {promise: Promise.resolve()}}</script></head><body><article class="bd-article">
<section><h1>A book</h1><p><a href="#document-a/one">one</a> <a href="book/intro.html#two">two</a>
<a href="#gone">gone</a>
<div class="cell"><details><summary>code</summary>folded</details></div>
<details><summary>An answer</summary>unfolded</details>
<div class="explorer"><noscript><b>still picture</b></noscript><script>document.body.remove()</script></div></p>
<div class="toctree-wrapper"><span id="document-a/one"></span><section>
<h2>Chapter one, with a title that is as long as a line of the
page and a half, so that it breaks<a href="#one">#</a></h2><p>text</p></section>
<span id="document-a/two"></span><section id="two">
<h2>Chapter two</h2></section></div></section></article></body></html>"""


@pytest.fixture(scope="module")
def pdf():
    return importlib.import_module("pdf")


@pytest.fixture(scope="module")
def printed(pdf, browser, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pdf")
    (folder / "book").mkdir()
    (folder / "book/intro.html").write_text(PAGE)
    assert pdf.write(browser, folder / "book/intro.html", folder / "out/book.pdf") == 3
    return PdfReader(folder / "out/book.pdf")


def test_what_a_print_cannot_have_is_left_out(printed):
    text = printed.pages[0].extract_text()
    assert "still picture" in text and "unfolded" in text and "gone" in text
    assert "code" not in text


def test_the_table_of_contents_has_the_pages_where_chapters_begin(printed):
    first, second = (page.extract_text() for page in printed.pages[1:])
    assert "Chapter one" in first and "Chapter two" in second
    rows = " ".join(printed.pages[0].extract_text().split())
    assert rows.index("Chapter one") < rows.index("Chapter two")
    assert "breaks 2" in rows.replace("breaks2", "breaks 2") and "Chapter two 3" in rows.replace("two3", "two 3")


def test_links_lead_within_the_file(printed):
    links = [note.get_object() for note in printed.pages[0]["/Annots"]]
    assert len(links) == 4  # two of the text, two of the table
    assert not any("/URI" in link.get("/A", {}) for link in links)


def test_titles_are_bookmarks(pdf, printed):
    assert [pdf._letters(item.title) for item in printed.outline[1]][-1] == "Chaptertwo"


def test_a_missing_browser_is_said_in_one_sentence(pdf, monkeypatch, capsys, tmp_path):
    def absent(*_):
        raise pdf.Error("Executable doesn't exist\nmore")

    monkeypatch.setattr(pdf, "sync_playwright", contextlib.nullcontext)
    monkeypatch.setattr(pdf, "launch", absent)
    monkeypatch.setattr("sys.argv", ["pdf.py", "--output", str(tmp_path / "book.pdf")])
    assert pdf.main() == 1
    assert "apt-get install chromium" in capsys.readouterr().err
