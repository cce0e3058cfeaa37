"""Link the first use of every term of the glossary on each page to its entry, with its meaning as a hover text.

The meaning stands in the link's title, so that a page needs no script for it and no network; where nothing hovers, on a
phone, the link leads to the entry. Acronyms may end in a number of steps: "WIG-8" is a use of "WIG".
"""

import functools
import re

from docutils import nodes

GLOSSARY = "book/glossary"
LONGEST = 240  # characters of a hover text
# What is no running text, or a link already.
ELSEWHERE = (nodes.title, nodes.reference, nodes.literal_block, nodes.raw, nodes.math, nodes.math_block, nodes.caption,
             nodes.comment, nodes.term, nodes.rubric, nodes.image)
SIGNS = {r"\leftarrow": "\u2190", r"\dots": "\u2026", r"\to": "\u2192", "_{xx}": "_xx", "_{xxxx}": "_xxxx"}


class Terms:
    """The terms of a glossary: ``{term: (anchor, meaning)}``, and where they stand in a text."""

    def __init__(self, entries: dict[str, tuple[str, str]]):
        self.entries = entries
        found = "|".join(map(_pattern, sorted(entries, key=len, reverse=True)))
        self.pattern = re.compile(rf"(?<![\w-])(?:{found})(?![\w-])") if entries else None

    def term(self, written: str) -> str:
        """What a text that the pattern has found is a use of."""
        return next(term for term in sorted(self.entries, key=len, reverse=True)
                    if re.fullmatch(_pattern(term), written))

    def first(self, text: str, seen: set[str]) -> list[tuple[int, int, str]]:
        """Beginning, end and term of each first use in a text; ``seen`` grows."""
        found = []
        for match in self.pattern.finditer(text) if self.pattern else ():
            term = self.term(match[0])
            key = term if acronym(term) else self.entries[term][1]  # other words for one thing are one use
            if key not in seen:
                seen.add(key)
                found.append((*match.span(), term))
        return found


def acronym(term: str) -> bool:
    return term == term.upper()


def _pattern(term: str) -> str:
    if acronym(term):
        return re.escape(term) + r"(?:-(?:\d+|m))?"
    first = term[0] if term[0].isupper() else f"[{term[0].upper()}{term[0]}]"
    return first + r"\s+".join(map(re.escape, term[1:].split(" "))) + "(?:e?s)?"


def meaning(definition: nodes.Element) -> str:
    """A definition without its markup, formulas on one line, and no longer than what can be read while hovering."""
    definition = definition.deepcopy()
    for node in list(definition.findall(lambda one: getattr(one, "get", str)("refdomain") == "cite")):
        node.parent.remove(node)
    text = re.sub(r"\s+([,.;:])", r"\1", re.sub(r"\s+", " ", definition.astext())).strip()
    for sign, plain in SIGNS.items():
        text = text.replace(sign, plain)
    text = text.replace(r"\, ", "")
    if len(text) > LONGEST:
        end = text.rfind(". ", 0, LONGEST)
        text = text[:end + 1] if end > 0 else text[:LONGEST].rsplit(" ", 1)[0] + " \u2026"
    return text


@functools.cache
def terms(env) -> Terms:
    """Those of the book's glossary."""
    entries = {}
    for item in env.get_doctree(GLOSSARY).findall(nodes.definition_list_item):
        *names, definition = item.children
        for name in names:
            if isinstance(name, nodes.term) and name["ids"]:
                entries[name.astext()] = (name["ids"][0], meaning(definition))
    return Terms(entries)


def link(app, docname: str, term: str, written: nodes.Node) -> nodes.reference:
    anchor, text = terms(app.env).entries[term]
    place = f"{app.builder.get_relative_uri(docname, GLOSSARY)}#{anchor}"
    name = f"{term}: {text}" if acronym(term) else text
    return nodes.reference("", "", written, internal=True, refuri=place, reftitle=name, classes=["in-glossary"])


def mark(app, doctree, docname: str) -> None:
    if docname == GLOSSARY or GLOSSARY not in app.env.found_docs or app.builder.format != "html":
        return
    known, seen = terms(app.env), set()
    for node in list(doctree.findall(nodes.Text)):
        parents, above = [], node.parent
        while above is not None:
            parents.append(above)
            above = above.parent
        if any(isinstance(one, ELSEWHERE) for one in parents) or not any(
                isinstance(one, nodes.paragraph) for one in parents):
            continue
        code = isinstance(node.parent, nodes.literal)
        if code and not (known.pattern.fullmatch(str(node)) and acronym(known.term(str(node)))):
            continue
        text, parts, end = str(node), [], 0
        for start, stop, term in known.first(text, seen):
            parts += [nodes.Text(text[end:start]), link(app, docname, term, nodes.Text(text[start:stop]))]
            end = stop
        if parts:
            node.parent.replace(node, [part for part in (*parts, nodes.Text(text[end:])) if part.astext()])


def outdated(app, env, added, changed, removed) -> list[str]:
    """Every page, after a change of the glossary."""
    return sorted(env.found_docs) if GLOSSARY in added | changed else []


def setup(app) -> dict:
    app.connect("env-get-outdated", outdated)
    app.connect("doctree-resolved", mark)
    return {"parallel_read_safe": True}
