"""The last touch on every built page: correct roles, every script once, and a Content-Security-Policy.

A page runs the scripts that lie beside it and the inline ones that it was built with, each named by its hash, and talks
to no host. Where a network trains in the page, it does so in a worker that is made of the page's own text and may
compile WebAssembly.
"""

import base64
import hashlib
import re
from collections.abc import Iterable
from html import escape
from pathlib import Path

from bs4 import BeautifulSoup

POLICY = {
    "default-src": "'none'",
    "style-src": "'self' 'unsafe-inline'",  # figures, tables and formulas set the style of single elements
    "img-src": "'self' data:",
    "font-src": "'self' data:",
    "form-action": "'self'",  # the search
    "base-uri": "'none'",
}
TAG = '<meta http-equiv="Content-Security-Policy"'
HANDLER = "on"  # attributes such as onclick, which the theme's own buttons have
SCRIPTS = ("", "module", "text/javascript")  # other types are data to a browser
SCRIPT = re.compile(r"<script>[^<]*</script>\s*")  # inline, of the builder; it writes some of them twice
# The builder's roles for references: a list may hold list items only, and the second role is deprecated.
WRONG_ROLES = ('role="list" class="citation-list"', 'class="citation-list"'), (' role="doc-biblioentry"', "")


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
    trains = soup.find(class_="trainer") is not None
    if trains:
        sources.append("'wasm-unsafe-eval'")  # it lets WebAssembly be compiled, and no text become a script
    kinds = {**POLICY, "script-src": " ".join(sources), "worker-src": "blob:" if trains else "'none'"}
    return "; ".join(f"{kind} {source}" for kind, source in kinds.items())


def protected(page: str) -> str:
    """The page with its policy in front of everything that it applies to."""
    return page.replace("<head>", f'<head>\n{TAG} content="{escape(policy(page))}">', 1)


def once(page: str) -> str:
    """The page without the inline scripts that repeat an earlier one: a constant cannot be declared twice."""
    seen = set()

    def first(found: re.Match) -> str:
        code = found[0].strip()
        if code in seen:
            return ""
        seen.add(code)
        return found[0]

    return SCRIPT.sub(first, page)


def finish(app, exception) -> None:
    if exception is None and app.builder.format == "html":
        for path in sorted(set(Path(app.outdir).rglob("*.html")) - set(Path(app.outdir, "_static").rglob("*"))):
            page = path.read_text(encoding="utf-8")
            if TAG in page or "<head>" not in page:  # not built anew; or a mere redirection
                continue
            for wrong, right in WRONG_ROLES:
                page = page.replace(wrong, right)
            path.write_text(protected(once(page)), encoding="utf-8")


def setup(app) -> dict:
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True}
