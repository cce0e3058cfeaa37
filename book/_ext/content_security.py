"""Give every built page a Content-Security-Policy: what it may run and load, and nothing else.

A page runs the scripts that lie beside it and the inline ones that it was built with, each named by its hash, and talks
to no host. The live training runs in a worker made from the page's own text (``blob:``).
"""

import base64
import hashlib
from collections.abc import Iterable
from html import escape
from pathlib import Path

from bs4 import BeautifulSoup

POLICY = {
    "default-src": "'none'",
    "style-src": "'self' 'unsafe-inline'",  # figures, tables and formulas set the style of single elements
    "img-src": "'self' data:",
    "font-src": "'self' data:",
    "worker-src": "blob:",
    "form-action": "'self'",  # the search
    "base-uri": "'none'",
}
HANDLER = "on"  # attributes such as onclick, which the theme's own buttons have
SCRIPTS = ("", "module", "text/javascript")  # other types are data to a browser


def hashes(codes: Iterable[str]) -> list[str]:
    """Sources of a policy for pieces of code, each once: ``'sha256-...'``."""
    digests = {hashlib.sha256(code.encode()).digest() for code in codes}
    return sorted(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)


def policy(page: str) -> str:
    """The policy of one page of HTML."""
    soup = BeautifulSoup(page, "html.parser")
    inline = [script.string or "" for script in soup.find_all("script", src=False) if script.get("type", "") in SCRIPTS]
    handlers = [code for tag in soup.find_all(True) for name, code in tag.attrs.items() if name.startswith(HANDLER)]
    sources = ["'self'", *hashes(inline)]
    if handlers:
        sources += ["'unsafe-hashes'", *hashes(handlers)]
    return "; ".join(f"{kind} {source}" for kind, source in {**POLICY, "script-src": " ".join(sources)}.items())


def protected(page: str) -> str:
    """The page with its policy in front of everything that it applies to. Raises ValueError for text without a head."""
    start, head, rest = page.partition("<head>")
    if not head:
        raise ValueError("the page has no <head> to put its Content-Security-Policy into")
    return f'{start}{head}\n<meta http-equiv="Content-Security-Policy" content="{escape(policy(page))}">{rest}'


def write_policies(app, exception) -> None:
    if exception is None and app.builder.format == "html":
        for path in sorted(set(Path(app.outdir).rglob("*.html")) - set(Path(app.outdir, "_static").rglob("*"))):
            page = path.read_text(encoding="utf-8")
            if "Content-Security-Policy" not in page:  # a page that was not built anew has its own
                path.write_text(protected(page), encoding="utf-8")


def setup(app) -> dict:
    app.connect("build-finished", write_policies)
    return {"parallel_read_safe": True}
