"""How often the outcomes of a chapter hold: its live part, repeated with other seeds and other rounding.

Repetition r runs the code cells of a chapter in full mode, in a process of its own, up to the last one that states an
outcome. Its seeds are those of the chapter plus 1000 r: ``SEED`` and ``SEEDS`` of the cell of constants, and all that
the chapter derives from them (initial weights, batches, noise). Data that a problem keeps, and test data with a seed of
their own, stay. Every second repetition also rounds differently: the libraries are told to use other instructions.

``results/outcomes/<chapter>/<r>.json`` holds one repetition, written whole or not at all and checked when read.

A repetition that an error ended before the last outcome is one of those that count if chance had a part in it: another
one has come to the outcome that it did not reach. Otherwise the chapter is at fault, and so it is whenever the error is
one of code (a wrong name) or of the machine (a full disk). That is told, with its cell, and not stored.
"""

import ast
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

from dpbook_utils.files import explained, replacing, writable_folder

from . import results
from .chapter_code import cells, parsed, statements
from .results import ResultError, aside, checksum
from .schemas import checker

FORMAT, SHIFT, REPEATS, WORKERS = 1, 1000, 12, 2
ROUNDINGS = {"as the machine does": {},
             "other instructions": {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE",
                                    "ONEDNN_MAX_CPU_ISA": "SSE41"}}
DEFECTS = (AttributeError, ImportError, MemoryError, NameError, OSError, SyntaxError, TypeError)  # of code or machine
DEFECT = 3  # exit status of a repetition that one of them ended
ENOUGH = 3  # repetitions of which none comes further than the others: the rest of the chapter's are not tried
COMMAND = "python -m dpbook_course.experiments.outcomes run"
CHILD = "import sys; from dpbook_course.experiments import repetitions; repetitions.repeat(*sys.argv[1:])"
TEXT = {"type": "string"}
SCHEMA = {
    "type": "object",
    "required": ["format", "chapter", "repetition", "rounding", "failed", "outcomes", "provenance", "checksum"],
    "additionalProperties": False,
    "properties": {
        "format": {"const": FORMAT}, "chapter": TEXT, "repetition": {"type": "integer", "minimum": 0}, "rounding": TEXT,
        "failed": {"type": ["string", "null"]}, "checksum": TEXT,
        "outcomes": {"type": "object", "additionalProperties": {
            "type": "object", "required": ["held", "code"], "additionalProperties": False,
            "properties": {"held": {"type": ["boolean", "null"]}, "code": TEXT}}},
        "provenance": {"type": "object", "required": ["seconds"], "properties": {"seconds": {"type": "number"}}}},
}
_misfit = checker(SCHEMA)

seen: list[tuple[str, bool]] = []  # every outcome that this process has stated, in order


@dataclass(frozen=True)
class Repetition:
    """One run of a chapter.

    Attributes:
        rounding: a key of ``ROUNDINGS``.
        failed: the error that ended it, if one did.
        outcomes: ``{statement: {"held": ..., "code": fingerprint}}``; held is None where the run ended before it.
    """

    chapter: str
    repetition: int
    rounding: str
    failed: str | None
    outcomes: dict[str, dict]
    provenance: dict


def folder(root: Path | None = None) -> Path:
    return (root or results.folder()) / "outcomes"


def file(chapter: str, repetition: int, root: Path | None = None) -> Path:
    return folder(root) / chapter / f"{repetition:02d}.json"


def chapters() -> dict[str, Path]:
    """Name and file of every page of the book that states outcomes."""
    repository = results.folder().parent
    pages = [*sorted((repository / "notebooks").glob("*.ipynb")), *sorted((repository / "book").glob("*.md"))]
    return {page.stem: page for page in pages if f'outcomes.of("{page.stem}")' in "\n".join(cells(page))}


def save(repetition: Repetition, root: Path | None = None) -> None:
    path = file(repetition.chapter, repetition.repetition, root)
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    content = {"format": FORMAT, **asdict(repetition)}
    content["checksum"] = checksum(content)
    with replacing(path) as opened:
        opened.write((json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
        os.chmod(opened.name, 0o644)


def read(path: Path) -> Repetition:
    """One file, checked. Raises ResultError, which names the file, the reason and the way out."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ResultError(f"{path} cannot be read ({error.strerror or error}); repeat the command when that is mended",
                          path) from error
    try:
        content = json.loads(text)
        wrong = _misfit(content)
        reason = wrong and f"is no repetition of a chapter ({wrong[:200]})"
    except (ValueError, RecursionError) as error:
        reason = f"is truncated or damaged ({error})"
    if not reason and content["checksum"] != checksum(content):
        reason = "was edited after it was written: its checksum differs"
    if not reason and (path.parent.name, path.stem) != (content["chapter"], f"{content['repetition']:02d}"):
        reason = f"holds repetition {content['repetition']} of {content['chapter']}, so it was renamed or copied"
    if reason:
        raise ResultError(f"{path} {reason}. It was left as it is. Restore it from a copy, or move it away and measure "
                          f"again: {aside(path)} && {COMMAND} {path.parent.name}", path)
    return Repetition(**{key: value for key, value in content.items() if key not in ("format", "checksum")})


def load(chapter: str, root: Path | None = None) -> tuple[list[Repetition], list[ResultError]]:
    """All repetitions of a chapter, and what is wrong with the files that are none."""
    found, problems = [], []
    for path in sorted((folder(root) / chapter).glob("*.json")):
        try:
            found.append(read(path))
        except ResultError as problem:
            problems.append(problem)
    return found, problems


def missing(page: Path, repeats: int, root: Path | None = None) -> tuple[list[int], list[ResultError]]:
    """Which repetitions have not been run with the code as it is now, and what is wrong with files that are there."""
    code, numbers, problems = statements(page), [], []
    for number in range(repeats):
        path = file(page.stem, number, root)
        try:
            stored = read(path).outcomes if path.exists() else None
        except ResultError as problem:
            problems.append(problem)
            continue
        if stored is None or {name: one["code"] for name, one in stored.items()} != code:
            numbers.append(number)
    return numbers, problems


def measure(pages: list[Path], repeats: int, workers: int, root: Path | None = None) -> Iterator[Repetition | str]:
    """Run what is missing; yields each repetition when it is stored, and a text for what went wrong."""
    todo, waiting, stopped = [], {page: [] for page in pages}, set()
    for page in pages:
        try:
            numbers, problems = missing(page, repeats, root)
        except ValueError as error:  # an outcome that is no literal text, or stands there twice
            numbers, problems = [], [error]
        yield from map(str, problems)
        todo += [(number, page) for number in numbers]
    with tempfile.TemporaryDirectory(prefix="dpbook-") as elsewhere:
        pool = ThreadPoolExecutor(workers)
        try:
            running = {pool.submit(_start, page, number, root, Path(elsewhere), stopped): (page, number)
                       for number, page in sorted(todo)}
            for done in as_completed(running):
                page, number = running[done]
                ended = file(page.stem, number, Path(elsewhere))
                wrong = done.result()
                if wrong:
                    yield wrong
                elif ended.exists():
                    waiting[page].append(read(ended))
                elif wrong is not None:
                    yield read(file(page.stem, number, root))
                for one in _counted(waiting[page], load(page.stem, root)[0]):
                    waiting[page].remove(one)
                    yield _store(one, root) or one
                if len(waiting[page]) >= ENOUGH:
                    stopped.add(page)
        finally:
            pool.shutdown(cancel_futures=True)
    for page, ended in waiting.items():
        if ended:
            errors = "; ".join(f"repetition {one.repetition}: {one.failed}" for one in ended)
            yield (f"{page.stem}: an error ended {len(ended)} of its repetitions at a place that no other one has got "
                   f"past. That is no outcome, and not stored. Mend the chapter, and call it again. {errors}")


def _counted(waiting: list[Repetition], stored: list[Repetition]) -> list[Repetition]:
    """Those that another repetition of the same code has got past: it came to the first outcome that they did not."""
    def first(one):
        return next((name, found["code"]) for name, found in one.outcomes.items() if found["held"] is None)

    def reached(other, name, code):
        return other.outcomes.get(name, {}).get("code") == code and other.outcomes[name]["held"] is not None

    return [one for one in waiting if any(reached(other, *first(one)) for other in (*stored, *waiting))]


def _start(page: Path, number: int, root: Path | None, elsewhere: Path, stopped: set[Path]) -> str | None:
    """Repeat a chapter in a process of its own; a repetition that an error has ended is saved under ``elsewhere``.

    Returns: what went wrong, an empty text if nothing did; None for a chapter that is stopped, which is not run.
    """
    if page in stopped:
        return None
    what, here = f"{page.stem}, repetition {number}, ", str(Path(__file__).parents[2])
    try:
        writable_folder(folder(root) / page.stem)
    except OSError as error:
        stopped.add(page)
        return f"{what}was not run: {error.strerror}"
    rounding = list(ROUNDINGS)[number % len(ROUNDINGS)]
    path = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))
    setting = {"DPBOOK_MODE": "full", "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg", "PYTHONPATH": path,
               **ROUNDINGS[rounding]}
    done = subprocess.run([sys.executable, "-c", CHILD, str(page.resolve()), str(number), rounding,
                           str((root or results.folder()).resolve()), str(elsewhere)], cwd=page.resolve().parent,
                          env={**os.environ, **setting}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    last = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
    if done.returncode == DEFECT:
        stopped.add(page)
        return f"{what}is no outcome and not stored. Mend its cause, and call it again. {last}"
    end = (f"exit status {done.returncode}" if done.returncode > 0 else
           f"killed by signal {-done.returncode}; the same command runs it again")
    return f"{what}stored nothing ({end}): {last}" * bool(done.returncode)


def repeat(page: str, number: str, rounding: str, root: str, elsewhere: str) -> None:
    """One repetition, in this process: to be called once in its life, because cells leave their names behind."""
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    page, number = Path(page), int(number)
    code, failed, defect, provenance = statements(page), None, False, results.provenance()
    shell = InteractiveShell.instance(config=Config({"HistoryManager": {"hist_file": ":memory:"}}))
    for place, source in enumerate(cells(page), 1):
        if len(seen) == len(code):
            break
        result = shell.run_cell(source + shifted(source, SHIFT * number), store_history=True)
        error = result.error_before_exec or result.error_in_exec
        if isinstance(error, KeyboardInterrupt):
            sys.exit(130)
        if error and len(seen) < len(code):
            failed = " ".join(f"code cell {place}: {type(error).__name__}: {error}"[:300].split())
            defect = isinstance(error, DEFECTS) or not isinstance(error, Exception)
            break
    if failed is None and [name for name, _ in seen] != list(code):
        failed = f"it stated {len(seen)} outcomes, where the chapter has {len(code)} in another order or number"
        defect = True
    if defect:
        print(failed, file=sys.stderr)
        sys.exit(DEFECT)
    stated = dict(seen)
    outcomes = {name: {"held": stated.get(name), "code": mark} for name, mark in code.items()}
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is finished: Ctrl-C comes too late
    done = Repetition(page.stem, number, rounding, failed, outcomes, provenance())
    sys.exit(_store(done, Path(elsewhere if failed else root)) or 0)


def _store(one: Repetition, root: Path | None) -> str:
    """Save a repetition; what cannot be saved is kept among the temporary files. Returns what went wrong, if it did."""
    try:
        return save(one, root) or ""
    except OSError as error:
        there, kept = file(one.chapter, one.repetition, root), Path(tempfile.mkdtemp(prefix="dpbook-"))
        try:
            save(one, kept)
        except OSError:
            return f"{error.strerror}; the repetition is lost"
        move = f"mv -n {shlex.quote(str(file(one.chapter, one.repetition, kept)))} {shlex.quote(str(there))}"
        return f"{error.strerror}; the repetition is kept. To store it: {move}"


def shifted(source: str, shift: int) -> str:
    """What has to follow the cell of constants so that its seeds are larger by ``shift``; nothing for other cells."""
    tree = parsed(source)
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
             } if tree else set()
    if "SEED" not in names or not shift:
        return ""
    lines = [f"SEED += {shift}"]
    if "SEEDS" in names:
        lines.append(f"SEEDS = range(SEEDS.start + {shift}, SEEDS.stop + {shift})")
    # The cell's own statement, whatever it calls the function.
    lines += [ast.unparse(node) for node in tree.body if isinstance(node, ast.Assign)
              and any(isinstance(target, ast.Name) and target.id == "generator" for target in node.targets)]
    return "\n" + "\n".join(lines)
