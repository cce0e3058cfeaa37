"""Docstrings of the package as reStructuredText: they are plain prose with sections, and equations as indented blocks.

A section is a line "Shapes: ..." with what it says behind it or indented below. Those that list names (``Args:``) are
``sphinx.ext.napoleon``'s; the others become fields here. Names of the package in ``double backticks`` become links,
and so do the sources, by their key in the references, and the chapters that are part of the book.
"""

import re

import dpbook_utils

FIELDS = ("Shapes", "Units", "Order", "Stable", "Behaviour", "Good values", "Agrees with", "Derivatives", "Raises",
          "Source", "Chapter", "Chapters")
SECTION = re.compile(rf"({'|'.join(FIELDS)}): (\S.*)")
NEXT = re.compile(rf"\.?\s{{2,}}(?=(?:{'|'.join(FIELDS)}): )")  # a second section on the same line
LITERAL = re.compile(r"(``[^`]+``)")
KEY, CHAPTER = re.compile(r"\b[a-z]+\d{4}\w*\b"), re.compile(r"\b\d\d_\w+\b")


def prose(text: str) -> str:
    """Plain text, in which no character means anything but itself; names in double backticks become links."""
    parts = LITERAL.split(text)
    for i, part in enumerate(parts):
        name = part.strip("`").removesuffix("(...)")
        if i % 2 == 0:
            parts[i] = re.sub(r"([*|_`\\])", r"\\\1", part)
        elif name in dpbook_utils.__all__:
            parts[i] = f":py:obj:`{part.strip('`')} <dpbook_utils.{name}>`"
    return "".join(parts)


def references(section: str, text: str, known: set[str]) -> str:
    """The text of a section with its sources and chapters as links, if it is there to name them."""
    if section == "Source":
        return KEY.sub(lambda found: f":cite:t:`{found[0]}`", text)
    if section.startswith("Chapter"):
        def link(found: re.Match) -> str:
            page = f"notebooks/{found[0]}"
            return f":doc:`/{page}`" if page in known else found[0].replace("_", " ")

        return CHAPTER.sub(link, text)
    return prose(text)


def fields(lines: list[str], known: set[str]) -> list[str]:
    """The lines, with sections as fields and equations as literal blocks; Args and Attributes stay as they are."""
    found, listed, section, block = [], False, "", False
    lines = [part for line in lines for part in NEXT.sub(".\n" if line.strip() else "", line).split("\n")]
    for line in lines:
        text, indent = line.strip(), len(line) - len(line.lstrip())
        start = SECTION.fullmatch(text) if indent == 0 else None
        if text in ("Args:", "Attributes:", "Raises:") and indent == 0:
            found += ["", line]
            listed, section, block = True, "", False
        elif start:
            found += [""] * (not section) + [f":{start[1]}: {references(start[1], start[2], known)}"]
            listed, section, block = False, start[1], False
        elif not text:
            found.append("")
        elif listed and indent or section and indent and not block:
            found.append(line[:indent] + (references(section, text, known) if section else prose(text)))
        elif indent:
            if not block:
                found += [".. code-block:: none", ""]
            found.append(line)
            block = True
        else:
            found += [""] * (block or listed or bool(section)) + [prose(text)]
            listed, section, block = False, "", False
    return found


def process(app, what, name, obj, options, lines: list[str]) -> None:
    if name.startswith(("dpbook_utils", "dpbook_course")):
        lines[:] = fields(lines, set(app.env.found_docs))


def setup(app) -> dict:
    app.connect("autodoc-process-docstring", process, priority=400)  # before napoleon
    return {"parallel_read_safe": True}
