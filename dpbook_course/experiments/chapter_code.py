"""The code of a chapter, what it states as outcomes, and a fingerprint of what an outcome depends on.

An outcome depends on the code cells of its chapter up to the one that states it, and on the modules of both packages
that those use, themselves or through others. Both enter the fingerprint as syntax: comments, docstrings and layout may
change, and one statement more, or another constant, makes it another code. A change *after* an outcome leaves it alone.

Left out is what no training depends on, for a chapter would lose all its rates whenever a sentence is worded anew: the
modules that show things (figures, explorers, pages that train), those that read stored results (verdicts, statistics,
tables) or ask whether a recorded graph still stands (it gives the same values, recorded anew or not), those that run
one (they decide how soon its values come: tests hold these to the eager ones, bit for bit or to a few roundings, less
than another processor's instructions change), the checks of arguments, every ``if`` that only raises an error, and the
texts of outcomes.
"""

import ast
import functools
import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("dpbook_utils", "dpbook_course")
STUDIES = "dpbook_course.studies.e"
# Parts of the packages: three that show, one that refuses, one that runs recorded graphs.
LEFT_OUT = {"figures", "explorer", "web", "arguments", "replay"}
MODULES = {"experiments": {"chapter_code", "checking", "cluster", "outcomes", "provenance", "repetitions", "results",
                           "runner", "schemas", "tasks"},
           "graphs": {"watch", "watched", "program", "lowering", "plan", "operations", "memory", "table", "compiler"}}
# These are left out of other parts, and every verdict.
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
            if _is_outcome(node):
                name = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
                if not isinstance(name, str) or name in found:
                    raise ValueError(f"{page.name} states the outcome {ast.unparse(node)[:80]}; give it a text, "
                                     "written out, that the chapter uses for no other outcome")
                found[name] = fingerprint(before)
    return found


def fingerprint(sources: Iterable[str]) -> str:
    """Of code cells and of what they import from the packages. A cell that comes again, unchanged, counts once."""
    trees = [tree for tree in map(parsed, dict.fromkeys(sources)) if tree]
    known = {name: package for tree in trees for name, package in _aliases(tree).items()}
    known |= {name: study for tree in trees for name, study in _studies(tree, known).items()}
    modules, waiting = {}, [name for tree in trees for name in imported(tree, "") | _used(tree, known)]
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
    """A tree as nested tuples without docstrings, places, checks that only raise, and the texts of outcomes; the same
    whatever Python has parsed it.
    """
    if isinstance(node, list):
        return [canonical(item) for item in node if not _only_raises(item)]
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = dict(ast.iter_fields(node))
    body = fields.get("body")
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and body and _is_text(body[0]):
        fields["body"] = body[1:]
    if _is_outcome(node):
        fields["args"] = node.args[1:]
    return type(node).__name__, *((name, canonical(value)) for name, value in fields.items()
                                  if value is not None and value != [])


def _aliases(tree: ast.AST) -> dict[str, str]:
    """``{"dp": "dpbook_utils"}``: what ``import dpbook_utils as dp`` binds."""
    return {alias.asname or alias.name: alias.name for node in ast.walk(tree) if isinstance(node, ast.Import)
            for alias in node.names if alias.name in PACKAGES}


def _studies(tree: ast.AST, aliases: dict[str, str]) -> dict[str, str]:
    """``{"e12": "dpbook_course.studies.e12"}`` of ``e12 = course.studies.e12``: a folder, of which a chapter then uses
    some modules, ``e12.gradients``. What else is in the folder, such as a study that was added later, is not used."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target, value = node.targets[0], node.value
            several = isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)
            pairs = zip(target.elts, value.elts) if several else ((target, value),)
            found |= {name.id: home for name, one in pairs if isinstance(name, ast.Name)
                      and isinstance(one, ast.Attribute) and _is_folder(home := _named(one, aliases))}
    return found


def _is_folder(name: str | None) -> bool:
    return bool(name) and name.startswith(STUDIES) and _path(name).name == "__init__.py"


def _named(node: ast.Attribute, aliases: dict[str, str]) -> str | None:
    """The module that ``dp.Burgers`` or ``course.problems.wake_flow`` comes from; None if it is of another package."""
    root, *parts = ast.unparse(node).split(".")
    name = aliases.get(root)
    for part in parts if name else ():
        name = _home(name, part) or name
    return name


def _used(tree: ast.AST, aliases: dict[str, str]) -> set[str]:
    """Modules that attributes of packages and of studies come from."""
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    parts_of_others = {id(node.value) for node in attributes}
    names = {_named(node, aliases) for node in attributes if id(node) not in parts_of_others}
    folders = set(_studies(tree, aliases).values())  # named, not used
    return _counted(names - {None} - folders)


@functools.cache
def _homes(package: str) -> dict[str, str]:
    """``{"Burgers": "dpbook_utils.physics.burgers"}`` of the names that a package has from its modules."""
    path = ROOT.joinpath(*package.split("."), "__init__.pyi")
    tree = ast.parse(path.read_text(encoding="utf-8")) if path.is_file() else ast.Module([])
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                home = ".".join(filter(None, [package, node.module]))
                found[alias.name] = f"{home}.{alias.name}" if _path(f"{home}.{alias.name}") else home
    return found


def _home(package: str, name: str) -> str | None:
    """The module that a package has a name from, or that has this name in it; None for neither."""
    return _homes(package).get(name) or (f"{package}.{name}" if _path(f"{package}.{name}") else None)


def imported(tree: ast.AST, package: str) -> set[str]:
    """Modules of the packages that the code imports, wherever it does; ``package`` is the one that it stands in."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            base = ".".join([*parents[:len(parents) - node.level + 1], *filter(None, [node.module])]
                            if node.level else [node.module])
            names |= {_home(base, alias.name) or base for alias in node.names}
    return _counted(names)


def _counted(names: Iterable[str]) -> set[str]:
    return {name for name in names if _path(name) and name not in PACKAGES and not _left_out(name)}


def _left_out(name: str) -> bool:
    _, part, *rest = name.split(".")
    return part in LEFT_OUT or part == "claims" or rest[-1:] == ["verdict"] or bool(
        rest and rest[0] in MODULES.get(part, ()))


def _path(name: str) -> Path | None:
    """The file of a module of the packages; None for what is none."""
    parts = name.split(".")
    if parts[0] not in PACKAGES:
        return None
    place = ROOT.joinpath(*parts)
    files = (place / "__init__.py", place.with_name(f"{place.name}.py"))
    return next((path for path in files if path.is_file()), None)


@functools.cache
def _module(name: str) -> tuple[str, frozenset[str]]:
    """A hash of a module's code, and the modules of the packages that it imports."""
    path = _path(name)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    return hashlib.sha256(repr(canonical(tree)).encode()).hexdigest(), frozenset(imported(tree, package))


def _is_text(statement: ast.stmt) -> bool:
    return (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
            and isinstance(statement.value.value, str))


def _is_outcome(node) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "held"


def _only_raises(node) -> bool:
    return isinstance(node, ast.If) and not node.orelse and all(isinstance(one, ast.Raise) for one in node.body)
