"""What nbval has executed is kept as the build keeps it, and only if every cell has passed."""

from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from kept_chapters import START, WIDGET, executed_pages, keep
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

SHOWN = [new_output("stream", text="42\n")]


def executed(root: Path, outputs: list) -> list[Path]:
    """What is kept of a chapter with two cells."""
    cells = [new_markdown_cell("# A chapter"), new_code_cell("x = 41"), new_code_cell("print(x + 1)")]
    notebook = new_notebook(cells=cells)
    keep(SimpleNamespace(nb=notebook, path=root / "notebooks/chapter.ipynb", stash={START: 0.0}), outputs, root)
    return list(root.glob(".cache/chapters/*/*"))


def test_a_chapter_that_has_passed_is_kept_as_the_build_keeps_it(tmp_path):
    (path,) = executed(tmp_path, [[], SHOWN])
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert path == executed_pages.kept_file(executed_pages.chosen_folder(tmp_path), "notebooks/chapter.ipynb", notebook)
    assert executed_pages.failed_cells(notebook) == {} and executed_pages.num_not_run(notebook) == 0
    page = new_notebook(cells=[new_markdown_cell("# Another title"), *executed_pages.code_cells(notebook)])
    executed_pages.take_outputs(page, notebook)
    assert page.cells[-1].outputs == SHOWN and notebook.metadata[executed_pages.RECORD]["seconds"] > 0


@pytest.mark.parametrize("outputs", ([None, SHOWN], [[], None], [SHOWN],
                                     [[], [new_output("display_data", {WIDGET: {"model_id": "1"}})]]),
                         ids=["failed", "not run", "one of two", "widget"])
def test_another_is_left_to_the_build(tmp_path, outputs):
    assert executed(tmp_path, outputs) == []
