"""Keep text that several outputs of a page share, such as the trainer's worker, on that page once.

An output of a notebook is complete in itself, because a notebook may show it alone. On a page they stand together.
"""

import re

SHARED = re.compile(r'<script data-shared="(\w+)"[^>]*>[^<]*</script>')


def once(page: str) -> str:
    """The page with each shared element where it stands first and nowhere else."""
    seen = set()

    def first(found: re.Match) -> str:
        new = found[1] not in seen
        seen.add(found[1])
        return found[0] if new else ""

    return SHARED.sub(first, page)


def share(app, pagename, templatename, context, doctree) -> None:
    if "body" in context:
        context["body"] = once(context["body"])


def setup(app) -> dict:
    app.connect("html-page-context", share)
    return {"parallel_read_safe": True}
