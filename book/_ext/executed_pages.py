"""Pages with the outputs that ``book/build.py`` has kept of them, under a banner where a cell failed.

An executed page is kept as a notebook. Its name holds a hash of the page's code, and its folder one of everything
else that outputs depend on: the package, the stored results, the environment and the mode. So a change of the
prose alone keeps the outputs, and any other change asks for new ones.
"""

import hashlib
import json
import shutil
import sys
from pathlib import Path

import nbformat
import yaml
from myst_nb.core.read import is_myst_markdown_notebook, read_myst_markdown_notebook
from myst_nb.sphinx_ import NbMetadataCollector
from sphinx.util import logging

from dpbook_utils import settings

INPUTS = ("dpbook_utils/**/*", "dpbook_course/**/*", "results/**/*", "benchmarks/report.py", "requirements.txt",
          "_toc.yml")
HIDING = {"hide-cell", "hide-output", "remove-cell", "remove-output"}
RECORD = "execution_record"  # in a kept notebook's metadata: when it was executed, and how long it took
LONGEST = 300  # characters of an error's last line


def fingerprint(root: Path) -> str:
    """A hash of everything but the page itself that its outputs depend on."""
    digest = hashlib.sha256(f"{sys.version_info[:2]}".encode())
    for path in sorted(path for pattern in INPUTS for path in root.glob(pattern)):
        if path.is_file() and path.suffix != ".pyc":
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def chosen_folder(root: Path) -> Path:
    """Where the executed pages of this mode are kept."""
    return root / ".cache" / "chapters" / f"{settings.mode()}-{fingerprint(root)}"


def drop_outdated(folder: Path) -> None:
    """Delete what earlier states of the repository have left of the same mode."""
    mode = folder.name.split("-")[0]
    for outdated in set(folder.parent.glob(f"{mode}-*")) - {folder}:
        shutil.rmtree(outdated)


def parse(text: str, page: str) -> nbformat.NotebookNode:
    """The notebook that a page is, be it written as one or in MyST."""
    if page.endswith(".ipynb"):
        return nbformat.reads(text, as_version=4)
    return read_myst_markdown_notebook(text, add_source_map=True)


def executable_pages(root: Path) -> list[str]:
    """The pages with code, in the book's order: ``notebooks/name.ipynb`` or ``book/name.md``."""
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    names = [toc["root"]] + [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    found = []
    for name in names:
        if (root / f"{name}.ipynb").exists():
            found.append(f"{name}.ipynb")
        elif is_myst_markdown_notebook((root / f"{name}.md").read_text(encoding="utf-8")):
            found.append(f"{name}.md")
    return found


def code_cells(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kept_file(folder: Path, page: str, notebook) -> Path:
    """The file that holds the outputs of the code that this page has now."""
    code = hashlib.sha256(json.dumps([cell.source for cell in code_cells(notebook)]).encode()).hexdigest()[:16]
    return folder / f"{page.replace('/', '.')}.{code}.ipynb"


def failed_cells(notebook) -> dict[int, str]:
    """The cells that failed, by their number on the page from 1 on, each with the last line of its error."""
    failed = {}
    for number, cell in enumerate(notebook.cells, start=1):
        if cell.cell_type == "code" and "raises-exception" not in cell.metadata.get("tags", []):
            for output in cell.outputs:
                if output.output_type == "error":
                    first, *_ = str(output.evalue).splitlines() or [""]
                    failed[number] = f"{output.ename}: {first}".removesuffix(": ")[:LONGEST]
    return failed


def num_not_run(notebook) -> int:
    """How many cells a kernel that died, or a cell over its time, has left without being run."""
    return sum(1 for cell in code_cells(notebook) if cell.source.strip() and cell.execution_count is None)


def take_outputs(notebook, kept) -> None:
    """Put the kept outputs into a page that has the same code; its prose and tags are its own."""
    for name in ("language_info", "widgets"):
        if name in kept.metadata:
            notebook.metadata[name] = kept.metadata[name]
    for cell, executed in zip(code_cells(notebook), code_cells(kept), strict=True):
        cell.outputs, cell.execution_count = executed.outputs, executed.execution_count


def anchor(page: str, number: int) -> str:
    """Of a failed cell; it names the page, because the book's labels have to differ."""
    return f"failed-{page.rsplit('.', 1)[0].replace('/', '-').replace('_', '-')}-{number}"


def banner(page: str, failed: dict[int, str], not_run: int) -> str:
    """What stands below the title of a page with failed cells."""
    listed = [f"- [cell {number}](#{anchor(page, number)}): `{line.replace('`', chr(39))}`"
              for number, line in failed.items()]
    after = (f"Nothing after it was run: {not_run} code cells have no output." if not_run else
             "The cells after it were run all the same; an error there may follow from this one.")
    return "\n".join(["", "```{admonition} This page is not complete: a cell failed when it was built", ":class: error",
                      "", *listed, "", after, "```", ""])


def mark_failures(notebook, page: str) -> None:
    """Show what failed: a banner below the title, a line in front of each failed cell, and nothing of it hidden."""
    failed, not_run = failed_cells(notebook), num_not_run(notebook)
    source_map = notebook.metadata.get("source_map", [])  # a line for every cell, on pages in MyST only
    for number in sorted(failed, reverse=True):
        cell = notebook.cells[number - 1]
        cell.metadata["tags"] = [tag for tag in cell.metadata.get("tags", []) if tag not in HIDING]
        sign = nbformat.v4.new_markdown_cell(f"({anchor(page, number)})=\n**Cell {number} failed.**")
        notebook.cells.insert(number - 1, sign)
        source_map[number - 1:number - 1] = source_map[number - 1:number]
    if failed:
        text = banner(page, failed, not_run)
        lines = notebook.cells[0].source.splitlines()
        titles = [index for index, line in enumerate(lines) if line.startswith("# ")]
        lines.insert(titles[0] + 1 if titles else 0, text)
        notebook.cells[0].source = "\n".join(lines)


def read(text: str, page: str, folder: str) -> nbformat.NotebookNode:
    """myst-nb's reader of one page: the page as it is written now, with what is kept of its outputs."""
    notebook = parse(text, page)
    kept = kept_file(Path(folder), page, notebook)
    if kept.exists():
        take_outputs(notebook, nbformat.read(kept, as_version=4))
        mark_failures(notebook, page)
    return notebook


def choose_reader(app, config) -> None:
    """Every executable page, named by its full path, has the reader above; myst-nb takes it for a suffix."""
    root = Path(app.srcdir)
    folder = str(chosen_folder(root))
    config.nb_custom_formats = {str(root / page): ("executed_pages.read", {"page": page, "folder": folder}, False)
                                for page in executable_pages(root)}


def note_execution(app, docname: str, source: list[str]) -> None:
    """Tell Sphinx what the page depends on, and the table of the status page when it was executed."""
    path = Path(app.env.doc2path(docname))
    _, options, _ = app.config.nb_custom_formats.get(str(path), (None, None, None))
    if options is None:
        return
    kept = kept_file(Path(options["folder"]), options["page"], parse(source[0], options["page"]))
    app.env.note_dependency(str(kept))
    if not kept.exists():
        logging.getLogger(__name__).warning("not executed: build the book with `make book`", location=docname)
        return
    notebook = nbformat.read(kept, as_version=4)
    record, failed = notebook.metadata[RECORD], failed_cells(notebook)
    NbMetadataCollector.set_exec_data(app.env, docname, {
        "mtime": record["finished"], "runtime": record["seconds"], "method": "book/build.py",
        "succeeded": not failed, "error": next(iter(failed.values()), None), "traceback": None})


def setup(app) -> dict:
    app.connect("config-inited", choose_reader, priority=900)  # after myst-nb has made its suffixes known to Sphinx
    app.connect("source-read", note_execution)
    return {"parallel_read_safe": True}
