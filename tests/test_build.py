"""The command that builds the book, on a small book of its own: whatever fails, there are pages and a list."""

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import nbformat
import psutil
import pytest
import yaml
from bs4 import BeautifulSoup

ROOT = Path(__file__).parents[1]
COUNT = "from pathlib import Path\nwith Path('{name}.runs').open('a') as runs:\n    _ = runs.write('x')"
CODE = {
    "good": ["print(6 * 7)"],
    "failing": ["print('before')", "values = [1, 2]\nassert sum(values) == 4, 'the sum is `3`'", "print('aft' + 'er')"],
    "dying": ["print('alive')", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "print('never')"],
    "slow": ["import time\ntime.sleep(60)"],
}
TIMEOUT = 6
PAGE = """\
---
file_format: mystnb
---

# A page in MyST

{text}

```{{code-cell}} python
:tags: [remove-input]
print(1 / int("{divisor}"))
```

```{{nb-exec-table}}
```
"""
COMMAND = [sys.executable, "book/build.py"]


def write_notebook(book: Path, name: str, prose: str, cells) -> None:
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    notebook.cells = [nbformat.v4.new_markdown_cell(f"# The {name} chapter\n\n{prose}"),
                      nbformat.v4.new_code_cell(COUNT.format(name=name)), *map(nbformat.v4.new_code_cell, cells)]
    notebook.cells[-1].metadata["tags"] = ["hide-cell"]
    nbformat.write(notebook, book / f"notebooks/{name}.ipynb")


def small_book(folder: Path, **code) -> Path:
    """A book with this repository's command, settings and extensions, and with these chapters."""
    (folder / "notebooks").mkdir(parents=True)
    shutil.copytree(ROOT / "book/_ext", folder / "book/_ext")
    shutil.copytree(ROOT / "book/_static", folder / "book/_static", ignore=shutil.ignore_patterns("mathjax"))
    shutil.copy(ROOT / "book/build.py", folder / "book")
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    config["execute"]["timeout"] = TIMEOUT
    config["sphinx"]["extra_extensions"].remove("sphinxcontrib.bibtex")
    for setting in [name for name in config["sphinx"]["config"] if name.startswith("bibtex")]:
        del config["sphinx"]["config"][setting]
    (folder / "_config.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    (folder / "book/intro.md").write_text("# The introduction\n", encoding="utf-8")
    (folder / "book/page.md").write_text(PAGE.format(text="Some words.", divisor=0), encoding="utf-8")
    chapters = [{"file": f"notebooks/{name}"} for name in code] + [{"file": "book/page"}]
    toc = {"format": "jb-book", "root": "book/intro", "parts": [{"caption": "All", "chapters": chapters}]}
    (folder / "_toc.yml").write_text(yaml.safe_dump(toc), encoding="utf-8")
    for name, cells in code.items():
        write_notebook(folder, name, "Some words.", cells)
    return folder


def build(book: Path) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DPBOOK_MODE": "short"}
    return subprocess.run(COMMAND, cwd=book, env=environment, capture_output=True, text=True, timeout=300)


def read_pages(book: Path) -> dict:
    """The articles of all pages, by name."""
    html = book / "_build/html"
    return {path.stem: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser").find("article")
            for path in [*html.glob("notebooks/*.html"), *html.glob("book/*.html")]}


def streams(page) -> list[str]:
    """What the cells of a page have printed."""
    return [output.text.strip() for output in page.find_all(class_="stream")]


@pytest.fixture(scope="module")
def book(tmp_path_factory) -> Path:
    return small_book(tmp_path_factory.mktemp("book"), **CODE)


@pytest.fixture(scope="module")
def first(book):
    return build(book)


@pytest.fixture(scope="module")
def pages(book, first) -> dict:
    """What the pages hold after the first build."""
    return read_pages(book)


@pytest.fixture(scope="module")
def second(book, pages):
    """With other prose in the good chapter, and with two of the others mended."""
    write_notebook(book, "good", "Other words.", CODE["good"])
    write_notebook(book, "slow", "Some words.", ["print('quick')"])
    (book / "book/page.md").write_text(PAGE.format(text="Some words.", divisor=1), encoding="utf-8")
    return build(book), read_pages(book)


@pytest.fixture(scope="module")
def third(book, second):
    """With everything mended."""
    for name in ("failing", "dying"):
        write_notebook(book, name, "Some words.", ["print('mended')"])
    return build(book), read_pages(book)


def test_all_pages_are_there_and_the_command_fails(book, first, pages):
    assert first.returncode == 1, first.stdout + first.stderr
    assert set(pages) == {*CODE, "intro", "page"}
    assert (book / "_build/html/index.html").exists()
    assert streams(pages["good"]) == ["42"] and pages["good"].find(class_="admonition error") is None
    assert "Traceback" not in first.stdout + first.stderr and "[IPKernelApp]" not in first.stderr


def test_the_command_ends_with_what_failed_and_where(book, first):
    assert first.stdout.split("executed pages failed:\n")[1].splitlines() == [
        "  notebooks/failing.ipynb, cell 4 of 5: AssertionError: the sum is `3`",
        "  notebooks/dying.ipynb, cell 4 of 5: DeadKernelError: the kernel died (Kernel died)",
        f"  notebooks/slow.ipynb, cell 3 of 3: CellTimeoutError: the cell took longer than {TIMEOUT} s",
        "  book/page.md, cell 2 of 3: ZeroDivisionError: division by zero",
        f"The book with these errors is {book / '_build/html/index.html'}"]


def test_a_failed_cell_has_a_banner_and_its_error(pages):
    page = pages["failing"]
    banner = page.find(class_="admonition")
    assert banner.find_previous("h1").text.startswith("The failing chapter")
    assert "cell 4: AssertionError: the sum is '3'" in banner.text and "were run all the same" in banner.text
    target = page.find(id=banner.find("a")["href"].removeprefix("#"))
    assert target.text == "Cell 4 failed."
    error = target.find_next(class_="traceback")
    assert "sum(values) == 4" in error.text and "AssertionError" in error.text
    assert "ZeroDivisionError" in pages["page"].find(class_="traceback").text


def test_the_cells_after_a_failed_one_are_run(pages):
    assert streams(pages["failing"]) == ["before", "after"]


@pytest.mark.parametrize("name, shown, not_run", (("dying", ["alive"], 1), ("slow", [], 0)))
def test_what_ends_a_kernel_is_a_failed_cell(pages, name, shown, not_run):
    page = pages[name]
    assert streams(page) == shown
    assert (f"Nothing after it was run: {not_run} code" in page.find(class_="admonition").text) == bool(not_run)
    error = page.find("strong", string=re.compile("Cell . failed.")).find_next(class_="traceback")
    assert error.text.startswith(("DeadKernelError", "CellTimeoutError"))
    assert not error.find_parents("details"), "the error is hidden"


def test_progress_is_told(first):
    lines = re.findall(r"^\[(\d)/5\] (\S+): \d+ s(.*)$", first.stdout, re.MULTILINE)
    assert [number for number, *_ in lines] == list("12345")
    rest = {name: more for _, name, more in lines}
    assert rest["notebooks/failing.ipynb"].startswith(", FAILED in cell 4: AssertionError")
    assert all(re.search(r"; (about \d+ (s|min) left|nearly done)$", more) for *_, more in lines[:-1])
    assert ";" not in lines[-1][2]


def test_only_failed_and_changed_chapters_are_executed_again(book, second, third):
    runs = {name: (book / f"notebooks/{name}.runs").read_text() for name in CODE}
    assert runs == {"good": "x", "failing": "xxx", "dying": "xxx", "slow": "xx"}
    result, pages = second
    assert result.returncode == 1 and "notebooks/failing.ipynb, cell 4" in result.stdout
    assert "Other words." in pages["good"].text and streams(pages["good"]) == ["42"]
    assert streams(pages["slow"]) == ["quick"] and streams(pages["failing"]) == ["before", "after"]


def test_a_mended_book_succeeds(third):
    result, pages = third
    assert result.returncode == 0 and "failed" not in result.stdout, result.stdout + result.stderr
    assert not [name for name, page in pages.items() if "not complete" in page.text or "failed" in page.text]


def test_the_table_says_what_was_executed(pages):
    rows = {row.find("a").text: row.text for row in pages["page"].find("table").find_all("tr")[1:]}
    assert set(rows) == {*(f"notebooks/{name}" for name in CODE), "book/page"}
    assert all(re.search(r"20\d\d-\d\d-\d\d \d\d:\d\d", row) for row in rows.values())
    assert [name for name, row in rows.items() if "❌" not in row] == ["notebooks/good"]


def test_an_interrupt_ends_promptly_and_leaves_no_kernel(tmp_path):
    book = small_book(tmp_path, slow=["Path('started').touch()\nimport time\ntime.sleep(600)"])
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(COMMAND, cwd=book, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                               text=True)
    try:
        for _ in range(600):
            if (book / "notebooks/started").exists():
                break
            time.sleep(0.1)
        kernels = psutil.Process(process.pid).children(recursive=True)
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert kernels and not [kernel for kernel in kernels if kernel.is_running()]
    assert time.monotonic() - start < 10
    assert process.returncode == 130
    assert errors == "\nStopped. What was executed is kept; the same command goes on from there.\n"


@pytest.fixture
def command(monkeypatch, tmp_path):
    """The command as a module, for a book in an empty folder."""
    spec = importlib.util.spec_from_file_location("build_command", ROOT / "book/build.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("DPBOOK_MODE", "short")
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    return module


def test_order_and_time_left(command, tmp_path):
    (tmp_path / "book").mkdir()
    (tmp_path / "book/seconds.json").write_text('{"short": {"a": 10, "b": 40, "c": 20}, "full": {"a": 9}}')
    times = command.Times()
    assert times.longest_first(["a", "b", "c"]) == ["b", "c", "a"]
    assert times.longest_first(["a", "b", "new", "c"])[1] == "new"  # as long as the mean, 23
    assert times.left({}, ["a", "b", "c"], 1) == 70 and times.left({}, ["a", "b", "c"], 2) == 40
    times.new = {"c": 40}  # this machine is half as fast
    assert times.left({}, ["a", "b"], 1) == 100
    assert times.left({"b": time.monotonic() - 30}, ["a"], 2) == pytest.approx(50, abs=1)
    times.save()
    again = json.loads((tmp_path / ".cache/chapters/seconds.json").read_text())
    assert again == {"short": {"a": 10, "b": 40, "c": 40}, "full": {"a": 9}}
    assert command.Times().expect("c") == 40


def test_the_other_modes_times_tell_the_order_only(command, tmp_path):
    (tmp_path / "book").mkdir()
    (tmp_path / "book/seconds.json").write_text('{"full": {"a": 10, "b": 40}}')
    times = command.Times()
    assert times.longest_first(["a", "b"]) == ["b", "a"] and not times.known
    times.new = {"a": 1.0}
    times.save()
    assert json.loads(times.path.read_text()) == {"full": {"a": 10, "b": 40}, "short": {"a": 1.0}}


@pytest.mark.parametrize("number", ("ENOSPC", "EROFS", "EACCES"))
def test_a_folder_that_cannot_be_written_is_said_in_one_sentence(command, number, monkeypatch, capsys, tmp_path):
    code = getattr(command.errno, number)

    def refuse(path, text):
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr(command, "write", refuse)
    monkeypatch.setattr(sys, "argv", ["build.py"])
    assert command.main() == 1
    out, told = capsys.readouterr()
    assert out == "" and told.count("\n") == 1
    assert str(tmp_path) in told and os.strerror(code) in told and "free 300 MB, or build in a copy" in told


def test_a_full_disk_is_seen_before_anything_is_executed(command, monkeypatch, capsys):
    monkeypatch.setattr(command.shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    monkeypatch.setattr(sys, "argv", ["build.py"])
    assert command.main() == 1
    assert "the disk is full" in capsys.readouterr().err


def test_the_known_times_are_of_pages_that_exist(root):
    known = json.loads((root / "book/seconds.json").read_text(encoding="utf-8"))
    assert set(known) <= {"full", "short"}
    for mode, seconds in known.items():
        assert all((root / page).exists() for page in seconds), mode
