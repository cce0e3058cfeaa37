"""The code of a chapter, what it states as outcomes, and a fingerprint of what an outcome depends on.

An outcome depends on the code cells of its chapter up to the one that states it, and on the modules of the package that
those import, themselves or through others. Both enter the fingerprint as syntax: comments, docstrings and layout may
change, and one statement more, or another constant, makes it another code. A change *after* an outcome leaves it alone.

Left out are the modules that show things (figures, explorers, pages that train) and those that read stored results
(verdicts, statistics, tables): nothing that is trained on the spot comes from them, and a chapter would lose all its
rates whenever a page is worded anew.
"""

import ast
import functools
import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
SHOWING = {"figures", "explorer", "web"}  # parts of the package
READING = {"chapter_code", "checking", "claims", "cluster", "findings", "ledger", "outcomes", "pages", "provenance",
           "repetitions", "results", "runner", "statistics", "tasks"}  # modules of the experiments, and verdicts_*
FENCE = re.compile(r"^```\{code-cell\}[^\n]*\n(?::[^\n]*\n)*(.*?)^```$", re.MULTILINE | re.DOTALL)


def cells(page: Path) -> list[str]:
    """Sources of the code cells of a notebook, or of a page in MyST."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".md":
        return [source.strip() for source in FENCE.findall(text)]
    return ["".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]


def statements(page: Path) -> dict[str, str]:
    """``{outcome: fingerprint}`` of a chapter, in order: every ``held("...", condition)``.

    Raises: ValueError for one that is no literal text, or that stands there twice: a rate belongs to one place.
    """
    found, before = {}, []
    for source in cells(page):
        before.append(source)
        tree = parsed(source)
        for node in ast.walk(tree) if tree else ():
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "held":
                name = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
                if not isinstance(name, str) or name in found:
                    raise ValueError(f"{page.name} states the outcome {ast.unparse(node)[:80]}; give it a text, "
                                     "written out, that the chapter uses for no other outcome")
                found[name] = fingerprint(before)
    return found


def fingerprint(sources: Iterable[str]) -> str:
    """Of code cells and of what they import from the package. A cell that comes again, unchanged, counts once."""
    trees = [tree for tree in map(parsed, dict.fromkeys(sources)) if tree]
    modules, waiting = {}, [name for tree in trees for name in imported(tree, "")]
    while waiting:
        name = waiting.pop()
        if name not in modules:
            modules[name], more = _module(name)
            waiting += more
    text = repr(([canonical(tree) for tree in trees], sorted(modules.items())))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def parsed(source: str) -> ast.Module | None:
    """The syntax of a cell; None if it is not plain Python, as the set-up cell with its ``%pip``."""
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError):  # the latter: a null byte
        return None


def canonical(node):
    """A tree as nested tuples without docstrings and places, the same whatever Python has parsed it."""
    if isinstance(node, list):
        return [canonical(item) for item in node]
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = dict(ast.iter_fields(node))
    body = fields.get("body")
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and body and _is_text(body[0]):
        fields["body"] = body[1:]
    return type(node).__name__, *((name, canonical(value)) for name, value in fields.items()
                                  if value is not None and value != [])


def imported(tree: ast.AST, package: str) -> set[str]:
    """Modules of ``dpbook_utils`` that the code imports, wherever it does; ``package`` is the one that it stands in."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            base = ".".join([*parents[:len(parents) - node.level + 1], *filter(None, [node.module])]
                            if node.level else [node.module])
            names |= {f"{base}.{alias.name}" if _path(f"{base}.{alias.name}") else base for alias in node.names}
    return {name for name in names if _path(name) and name != PACKAGE.name and not _left_out(name)}


def _left_out(name: str) -> bool:
    _, part, *rest = name.split(".")
    return part in SHOWING or (part == "experiments" and bool(rest)
                               and (rest[0] in READING or rest[0].startswith("verdicts_")))


def _path(name: str) -> Path | None:
    """The file of a module of the package; None for what is none."""
    root, *parts = name.split(".")
    if root != PACKAGE.name:
        return None
    place = PACKAGE.joinpath(*parts)
    files = (place / "__init__.py", place.with_name(f"{place.name}.py"))
    return next((path for path in files if path.is_file()), None)


@functools.cache
def _module(name: str) -> tuple[str, frozenset[str]]:
    """A hash of a module's code, and the modules of the package that it imports."""
    path = _path(name)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    return hashlib.sha256(repr(canonical(tree)).encode()).hexdigest(), frozenset(imported(tree, package))


def _is_text(statement: ast.stmt) -> bool:
    return (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
            and isinstance(statement.value.value, str))
