"""Build the book: execute its pages in parallel, let Sphinx write them, and tell what failed.

    .venv/bin/python book/build.py                    # writes _build/html/index.html
    .venv/bin/python book/build.py --output FOLDER    # writes FOLDER/_build/html/index.html

Every page with code runs in a kernel of its own, one thread each, as many at once as there are cores, longest
first. What succeeded is kept in .cache/chapters and not run again until its code, the package, the results or the
requirements change. A page that failed is written all the same, with its error and a banner; the command then ends
with a list of what failed and a non-zero exit status.
"""

import argparse
import errno
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed, wait
from pathlib import Path

import nbformat
import yaml
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError

from dpbook_utils import settings

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book/_ext"))
import executed_pages  # noqa: E402

SILENT = logging.Logger("silent", logging.CRITICAL + 1)  # what goes wrong with a kernel is told by this command
NEEDED = 300e6  # bytes: what is built, and what is kept of the executed pages
NOT_WRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}
SPHINX = ["-c", "from jupyter_book.cli.main import main; main()", "build", str(ROOT)]
STRICT = ["-n", "-W", "--keep-going"]


def num_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Times:
    """Seconds that each page took when it was last executed in this mode: the order and the time left follow.

    A clone that has executed nothing yet goes by ``book/seconds.json``, a copy of the file that is written here.
    """

    def __init__(self):
        self.path = ROOT / ".cache/chapters/seconds.json"
        self.all = {}
        for path in (ROOT / "book/seconds.json", self.path):
            if path.exists():
                for mode, seconds in json.loads(path.read_text(encoding="utf-8")).items():
                    self.all.setdefault(mode, {}).update(seconds)
        self.known = self.all.get(settings.mode(), {})
        self.expected = self.known or next(iter(self.all.values()), {})  # the other mode's tell the order
        self.mean = sum(self.expected.values()) / len(self.expected) if self.expected else 1.0
        self.new: dict[str, float] = {}

    def expect(self, page: str) -> float:
        return self.expected.get(page, self.mean)

    def longest_first(self, pages: list[str]) -> list[str]:
        return sorted(pages, key=self.expect, reverse=True)

    def left(self, started: dict[str, float], waiting: list[str], workers: int) -> float:
        """What is left at the pace so far: the longest page, or all of them spread over the cores."""
        pace = sum(self.new.values()) / sum(map(self.expect, self.new)) if self.new else 1.0
        now = time.monotonic()
        left = [max(0.0, pace * self.expect(page) - (now - since)) for page, since in started.items()]
        left += [pace * self.expect(page) for page in waiting]
        return max(sum(left) / workers, max(left, default=0.0))

    def save(self) -> None:
        latest = {**self.known, **{page: round(seconds, 1) for page, seconds in self.new.items()}}
        text = json.dumps({**self.all, settings.mode(): latest}, indent=1, sort_keys=True)
        write(self.path, text + "\n")


def write(path: Path, text: str) -> None:
    """The whole file or nothing of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".tmp")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)


class Page:
    """One page with code, its kernel while it runs, and what came of it."""

    def __init__(self, name: str, folder: Path, timeout: int):
        self.name = name
        self.notebook = executed_pages.parse((ROOT / name).read_text(encoding="utf-8"), name)
        self.file = executed_pages.kept_file(folder, name, self.notebook)
        self.client = NotebookClient(self.notebook, timeout=timeout, startup_timeout=300, allow_errors=True,
                                     kernel_name="python3", extra_arguments=["--log-level=ERROR"],
                                     record_timing=False, shutdown_kernel="immediate", on_cell_start=self.enter,
                                     resources={"metadata": {"path": str((ROOT / name).parent)}})
        self.client.log = SILENT
        self.stopped = threading.Event()
        self.since: float | None = None
        self.cell = None

    def kept(self) -> bool:
        """Whether a successful execution of this very code is there."""
        return self.file.exists() and not executed_pages.failed_cells(nbformat.read(self.file, as_version=4))

    def enter(self, cell, cell_index) -> None:
        if self.stopped.is_set():
            raise DeadKernelError("stopped")
        if cell.cell_type == "code" and cell.source.strip():
            self.cell = cell

    def execute(self) -> tuple[float, dict[int, str]]:
        """Run the page and keep it: the seconds that it took, and its failed cells."""
        self.since = time.monotonic()
        for cell in executed_pages.code_cells(self.notebook):
            cell.outputs, cell.execution_count = [], None
        try:
            self.client.execute()
        except CellTimeoutError:
            self.fail("CellTimeoutError", f"the cell took longer than {self.client.timeout} s")
        except (DeadKernelError, RuntimeError) as error:  # while a cell ran, or before the first one
            if self.stopped.is_set():
                raise
            self.fail("DeadKernelError", f"the kernel died ({error})")
        seconds = time.monotonic() - self.since
        self.notebook.metadata[executed_pages.RECORD] = {"seconds": seconds, "finished": time.time()}
        for other in self.file.parent.glob(f"{self.name.replace('/', '.')}.*"):  # of earlier code
            other.unlink()
        write(self.file, nbformat.writes(self.notebook))
        return seconds, executed_pages.failed_cells(self.notebook)

    def fail(self, name: str, value: str) -> None:
        """Tell in the page what ended its kernel."""
        cell = self.cell or executed_pages.code_cells(self.notebook)[0]
        cell.execution_count = self.client.code_cells_executed
        cell.outputs.append(nbformat.v4.new_output("error", ename=name, evalue=value, traceback=[f"{name}: {value}"]))

    def stop(self) -> None:
        """End the kernel and whatever it has started, at once."""
        self.stopped.set()
        if self.client.km is not None and self.client.km.has_kernel:
            process = self.client.km.provisioner.process
            if process is not None and process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL) if hasattr(os, "killpg") else process.kill()


def minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def execute(pages: list[Page], times: Times) -> None:
    """Execute pages, and print a line for each that is done."""
    workers = num_cores()
    by_name = {page.name: page for page in pages}
    order = times.longest_first(list(by_name))
    print(f"{len(pages)} pages to execute, {workers} at a time"
          + (f"; about {minutes(times.left({}, order, workers))}" if times.known and pages else ""), flush=True)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the kernels inherit it
    pool = ThreadPoolExecutor(workers)
    futures = {pool.submit(by_name[name].execute): name for name in order}
    try:
        for number, future in enumerate(as_completed(futures), start=1):
            name, (seconds, failed) = futures[future], future.result()
            times.new[name] = seconds
            undone = [by_name[futures[other]] for other in futures if not other.done()]
            started = {page.name: page.since for page in undone if page.since is not None}
            left = times.left(started, [page.name for page in undone if page.since is None], workers)
            print(f"[{number}/{len(pages)}] {name}: {minutes(seconds)}"
                  + "".join(f", FAILED in cell {cell}: {line}" for cell, line in list(failed.items())[:1])
                  + (f"; about {minutes(left)} left" if left >= 10 else "; nearly done" if undone else ""), flush=True)
    finally:  # nothing is left to stop unless the user or an error has ended this early
        pool.shutdown(wait=False, cancel_futures=True)
        while wait(futures, timeout=0.2).not_done:
            for page in pages:
                page.stop()
    times.save()


def build(output: Path) -> int:
    """Execute, write and report; returns the exit status."""
    folder = executed_pages.chosen_folder(ROOT)
    for needed in (folder, output / "_build"):
        needed.mkdir(parents=True, exist_ok=True)
        write(needed / "writable", "")
        (needed / "writable").unlink()
    if shutil.disk_usage(output).free < NEEDED:
        raise OSError(errno.ENOSPC, "the disk is full", str(output))
    executed_pages.drop_outdated(folder)
    timeout = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["execute"]["timeout"]
    pages = [Page(name, folder, timeout) for name in executed_pages.executable_pages(ROOT)]
    to_execute = [page for page in pages if not page.kept()]
    for page in pages:
        if page not in to_execute:
            print(f"{page.name}: as it was executed before")
    execute(to_execute, Times())

    written = subprocess.run([sys.executable, *SPHINX, *STRICT, "--path-output", str(output)]).returncode == 0
    index = output / "_build/html/index.html"
    failed = {page: executed_pages.failed_cells(nbformat.read(page.file, as_version=4)) for page in pages}
    failed = {page: cells for page, cells in failed.items() if cells}
    if not written:
        if shutil.disk_usage(output).free < NEEDED / 10:
            raise OSError(errno.ENOSPC, "the disk is full", str(output))
        print("Sphinx found errors in the pages; its messages above name them.")
    if failed:
        print(f"{len(failed)} of {len(pages)} executed pages failed:")
        for page, cells in failed.items():
            for number, line in cells.items():
                print(f"  {page.name}, cell {number} of {len(page.notebook.cells)}: {line}")
    if index.exists():
        print(f"The book{' with these errors' if failed or not written else ''} is {index}")
    return int(bool(failed) or not written)


def main() -> int:
    parser = argparse.ArgumentParser(description="Execute the book's pages and build it.")
    parser.add_argument("--output", type=Path, default=ROOT, help="the pages go to OUTPUT/_build/html (default: here)")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C
    try:
        return build(parser.parse_args().output.resolve())
    except KeyboardInterrupt:
        print("\nStopped. What was executed is kept; the same command goes on from there.", file=sys.stderr)
        return 130
    except OSError as error:
        if error.errno not in NOT_WRITABLE:
            raise
        print(f"{error.filename or ROOT} cannot be written ({error.strerror}): free {NEEDED / 1e6:.0f} MB, or build in "
              "a copy of the repository where you may write.", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
