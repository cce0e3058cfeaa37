"""The built pages, read as files: complete, described, and independent of the network."""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from bs4 import BeautifulSoup

ROOT = Path(__file__).parents[1]
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
CHAPTERS = [TOC["root"]] + [chapter["file"] for part in TOC["parts"] for chapter in part["chapters"]]
LOADING = {"object": "data"} | dict.fromkeys(("script", "img", "iframe", "source", "video", "audio"), "src")
LINKED = {"stylesheet", "icon", "shortcut icon", "preload", "modulepreload", "preconnect"}


class Tags(HTMLParser):
    """Every start tag of a page, as ``(tag, attributes)``."""

    def __init__(self, page: Path):
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def loads(tag: str, attributes: dict) -> str | None:
    """What the browser fetches by itself for this tag."""
    if tag == "link" and attributes.get("rel") in LINKED:
        return attributes.get("href")
    return attributes.get(LOADING.get(tag, ""))


@pytest.fixture(scope="module", params=CHAPTERS)
def chapter(request, html) -> Path:
    return html / f"{request.param}.html"


def test_the_table_of_contents_lists_every_page(root):
    pages = [*root.glob("book/**/*.md"), *root.glob("notebooks/*.ipynb")]
    found = {page.relative_to(root).with_suffix("").as_posix() for page in pages}
    assert found == set(CHAPTERS), f"_toc.yml lists all pages, and nothing else: {', '.join(found ^ set(CHAPTERS))}"


def test_the_introduction_links_every_chapter(html):
    page = BeautifulSoup((html / "book/intro.html").read_text(encoding="utf-8"), "html.parser")
    linked = [link["href"] for link in page.select("article table a[href]:not(.in-glossary)")]
    expected = [f"../{chapter}.html" for chapter in CHAPTERS if chapter.startswith("notebooks/")]
    assert linked == expected, "TITLES of book/intro.md has the chapters of _toc.yml, in the same order"


def test_index_leads_to_the_introduction(html):
    assert f"{TOC['root']}.html" in (html / "index.html").read_text(encoding="utf-8")


def test_every_chapter_is_built_with_its_outputs(chapter, root):
    tags = Tags(chapter).found
    assert any(tag == "h1" for tag, _ in tags)
    if chapter.parent.name == "notebooks":
        assert any("cell_output" in (attributes.get("class") or "") for _, attributes in tags)


def test_every_image_says_what_it_shows(chapter):
    for tag, attributes in Tags(chapter).found:
        if tag == "img":
            alt = attributes.get("alt") or ""
            words = 3 if "_images" in attributes["src"] else 1  # of a figure; of the theme's logos
            told = len(alt.split()) >= words and not alt.endswith((".png", ".svg"))
            assert told, f"{attributes['src']} has the alt text {alt!r}"


def test_page_is_light(chapter):
    """With its explorers' data inside, and with its pictures."""
    pictures = {attributes["src"] for tag, attributes in Tags(chapter).found
                if tag == "img" and "_images" in attributes["src"]}
    size = chapter.stat().st_size
    assert size < 1.5e6
    assert size + sum((chapter.parent / picture).stat().st_size for picture in pictures) < 3.5e6


def test_page_has_a_policy_before_anything_that_it_applies_to(chapter):
    tags = [tag for tag, attributes in Tags(chapter).found
            if tag in ("script", "link", "style") or attributes.get("http-equiv") == "Content-Security-Policy"]
    assert tags[0] == "meta"


def test_nothing_is_loaded_from_another_host(html):
    for page in html.rglob("*.html"):
        for tag, attributes in Tags(page).found:
            url = loads(tag, attributes) or ""
            assert not urlsplit(url).netloc, f"{page.relative_to(html)} loads {url}"
    for style in html.rglob("*.css"):
        foreign = re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", style.read_text(encoding="utf-8"))
        assert not foreign, f"{style.name} loads from another host"


def test_every_link_between_pages_leads_somewhere(chapter):
    for tag, attributes in Tags(chapter).found:
        target = urlsplit(attributes.get("href") or "") if tag == "a" else None
        if target and target.path and not target.scheme and not target.netloc:
            assert (chapter.parent / unquote(target.path)).exists(), f"{chapter.name} links to {target.path}"


def test_notebook_pages_open_elsewhere(chapter, book_config):
    """In Colab, in JupyterLab on Binder, and as a file."""
    links = [attributes.get("href") or "" for tag, attributes in Tags(chapter).found if tag == "a"]
    address, branch = urlsplit(book_config["repository"]["url"]).path, book_config["repository"]["branch"]
    name = f"notebooks/{chapter.stem}.ipynb"
    buttons = (f"https://colab.research.google.com/github{address}/blob/{branch}/{name}",
               f"https://mybinder.org/v2/gh{address}/{branch}?urlpath=lab/tree/{name}",
               f"../_sources/{name}")
    is_notebook = chapter.parent.name == "notebooks"
    assert links.count(buttons[0]) == 2 * is_notebook, "the theme's button and the badge under the title"
    for button in buttons:
        assert (button in links) == is_notebook, f"{button} of {links}"


def test_every_source_is_in_the_list_of_references(html, root):
    keys = re.findall(r"^@\w+\{(\w+),", (root / "book/references.bib").read_text(encoding="utf-8"), re.MULTILINE)
    page = (html / "book/references.html").read_text(encoding="utf-8")
    assert len(keys) == len(set(keys)) == page.count('class="citation"')
