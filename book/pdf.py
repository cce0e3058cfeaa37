"""Print the book: all pages, as they were executed, in one PDF with bookmarks, links, a table of contents and numbers.

    .venv/bin/python book/pdf.py                    # writes _build/book.pdf; ``make pdf`` executes the book before
    .venv/bin/python book/pdf.py --output FILE

Sphinx writes one long page and Chromium prints it, twice: page numbers for the table of contents are known once it has
been printed. What trains or moves on a page is a still picture here; code that is folded away there is left out.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from bs4 import BeautifulSoup
from build import ROOT, SPHINX
from chromium import REMEDY, launch
from playwright.sync_api import Error, sync_playwright
from pypdf import PdfReader, PdfWriter

INTERACTIVE = ".explorer, .player, .trainer"
CHAPTER = "document-"  # how Sphinx names the place where a page begins
STYLE = """
.bd-article { font-size: 1rem }
.bd-article .toctree-wrapper > section { break-before: page }
.bd-article pre { white-space: pre-wrap; overflow-wrap: anywhere }
.bd-article :is(pre, figure, img, svg, tr, dt) { break-inside: avoid }
.bd-article table { display: table; font-size: 0.8rem }
.bd-article :is(h1, h2, h3, h4) { break-after: avoid }
.contents { columns: 2; list-style: none; padding: 0 }
.contents li { display: flex; justify-content: space-between; gap: 1rem; break-inside: avoid }
"""
FOOTER = ('<div style="font-size: 8px; width: 100%; text-align: center"><span class="pageNumber"></span> / '
          '<span class="totalPages"></span></div>')


def whole_book(folder: Path) -> Path:
    """Sphinx's one page of everything, in a folder of its own."""
    subprocess.run([sys.executable, *SPHINX, "--builder", "singlehtml", "-q", "--path-output", str(folder)], check=True)
    return folder / "_build/singlehtml/book/intro.html"


def printable(page: str) -> BeautifulSoup:
    """The page without what a print cannot have: scripts of its own, folded code, links to elsewhere in the book."""
    soup = BeautifulSoup(page, "html.parser")
    for policy in soup.find_all("meta", attrs={"http-equiv": "Content-Security-Policy"}):
        policy.decompose()  # it names scripts by their hashes, and some of them go
    for figure in soup.select(INTERACTIVE):
        for script in figure.find_all("script"):
            script.decompose()
        for text in figure.find_all("noscript"):
            text.unwrap()
    for folded in soup.find_all("details"):
        kept = {"admonition", "sd-dropdown"}.intersection(folded.get("class", []))  # what a page says, and no code
        if folded.find_parent(class_="cell") is not None and not kept:
            folded.decompose()
        else:
            folded["open"] = ""
    for link in soup.find_all("a", href=True):
        link["href"] = link["href"].removeprefix("book/intro.html") or "#"
    known = {tag["id"] for tag in soup.find_all(id=True)}
    for link in soup.find_all("a", href=True):
        if link["href"].startswith("#") and link["href"][1:] not in known:
            link.unwrap()
    return soup


def contents(soup: BeautifulSoup) -> dict[str, str]:
    """Title and place of every page of the book, in its order."""
    places = soup.select(f".bd-article .toctree-wrapper > span[id^={CHAPTER}]")
    return {place.find_next("h2").get_text().removesuffix("#"): place["id"] for place in places}


def add_contents(soup: BeautifulSoup, pages: dict[str, int]) -> None:
    """Put the table of contents behind the book's title; pages that are not known yet have no number."""
    for old in soup.select(".contents"):
        old.decompose()
    table = soup.new_tag("ul", attrs={"class": "contents"})
    for title, place in contents(soup).items():
        row, link, number = soup.new_tag("li"), soup.new_tag("a", href=f"#{place}"), soup.new_tag("span")
        link.string, number.string = title, str(pages.get(_letters(title), ""))
        row.extend([link, number])
        table.append(row)
    soup.select_one(".bd-article h1").insert_after(table)


def _letters(title: str) -> str:
    """A title without what a line break takes or adds."""
    return "".join(title.split()).removesuffix("#")


def print_page(browser, file: Path, output: Path) -> None:
    page = browser.new_page(color_scheme="light")
    page.goto(file.as_uri())
    page.evaluate("MathJax.startup.promise")
    page.add_style_tag(content=STYLE)
    page.pdf(path=output, format="A4", scale=0.72, margin=dict.fromkeys(("top", "bottom", "left", "right"), "16mm"),
             outline=True, tagged=True,  # no bookmarks without the tags
             display_header_footer=True, header_template="<span/>", footer_template=FOOTER)
    page.close()


def starts(file: Path) -> dict[str, int]:
    """The letters of every title, and the number of the printed page where it stands first."""
    reader = PdfReader(file)
    found = {}

    def walk(items, depth: int) -> None:
        for item in items:
            if isinstance(item, list):
                walk(item, depth + 1)
            else:
                found.setdefault(_letters(item.title), reader.get_destination_page_number(item) + 1)

    walk(reader.outline, 0)
    return found


def write(browser, file: Path, output: Path) -> int:
    """Print Sphinx's one page; returns the number of printed pages."""
    soup, printed = printable(file.read_text(encoding="utf-8")), file.parents[1] / "print.html"
    output.parent.mkdir(parents=True, exist_ok=True)
    pages = {}
    for _ in range(2):
        add_contents(soup, pages)
        printed.write_text(str(soup), encoding="utf-8")
        print_page(browser, printed, output)
        pages = starts(output)
    writer = PdfWriter(clone_from=output)
    writer.compress_identical_objects(remove_duplicates=True, remove_unreferenced=True)
    for page in writer.pages:
        page.compress_content_streams()
    writer.write(output)
    return len(writer.pages)


def main() -> int:
    parser = argparse.ArgumentParser(description="Print the book.")
    parser.add_argument("--output", type=Path, default=ROOT / "_build/book.pdf", metavar="FILE")
    output = parser.parse_args().output.resolve()
    try:
        with sync_playwright() as playwright:
            browser = launch(playwright)
            number = write(browser, whole_book(ROOT / "_build/pdf"), output)
    except Error as error:
        print(f"Chromium could not print the book: {str(error).splitlines()[0]}. {REMEDY}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError:
        print("Sphinx could not write the book; its messages above say why.", file=sys.stderr)
        return 1
    print(f"The book is {output}: {number} pages, {output.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
