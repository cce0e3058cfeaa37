"""Of ``make notebooks``: a chapter whose cells have all passed is kept, and the book that is built next takes it.

nbval runs every cell and throws its outputs away; ``book/build.py`` would run the same code once more. A plugin of
pytest, ``-p tests.kept_chapters``. A chapter with a widget is left to the build, which asks the kernel for the widget's
state; nbval does not.
"""

import sys
import time
from pathlib import Path

import nbformat
import pytest

from dpbook_utils.files import replacing

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "book/_ext"))
import executed_pages  # noqa: E402

WIDGET = "application/vnd.jupyter.widget-view+json"
LANGUAGE = {"name": "python", "pygments_lexer": "ipython3"}  # as the kernel says of itself
OUTPUTS, START = pytest.StashKey[list](), pytest.StashKey[float]()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item) -> None:
    item.parent.stash.setdefault(START, time.time())


def pytest_runtest_makereport(item, call) -> None:
    if call.when == "call" and call.excinfo is None and hasattr(item, "test_outputs"):
        item.stash[OUTPUTS] = item.test_outputs


def pytest_runtest_teardown(item, nextitem) -> None:
    if hasattr(item, "test_outputs") and (nextitem is None or nextitem.parent is not item.parent):
        cells = [one for one in item.session.items if one.parent is item.parent]
        keep(item.parent, [one.stash.get(OUTPUTS, None) for one in cells], ROOT)


def keep(file, outputs: list[list | None], root: Path) -> None:
    """Keep a notebook as the build would.

    Args:
        file: nbval's, with the notebook as ``nb`` and the time of its start in its stash.
        outputs: of all its code cells; None for one that has failed, or was not run.
    """
    notebook, page = file.nb, file.path.relative_to(root).as_posix()
    cells = executed_pages.code_cells(notebook)
    if len(outputs) != len(cells) or None in outputs:
        return
    if any(WIDGET in one.get("data", {}) for found in outputs for one in found):
        return
    for number, (cell, found) in enumerate(zip(cells, outputs), start=1):
        cell.outputs, cell.execution_count = found, number
    notebook.metadata.language_info = LANGUAGE
    now = time.time()
    notebook.metadata[executed_pages.RECORD] = {"seconds": now - file.stash[START], "finished": now}
    path = executed_pages.kept_file(executed_pages.chosen_folder(root), page, notebook)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as kept:
        kept.write(nbformat.writes(notebook).encode())
