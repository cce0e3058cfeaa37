"""Records of experiments on disk: written whole or not at all, checked when read.

``results/<id>/<variant>-<budget>-<first seed>.json`` holds one task: every metric with one entry per seed, and where
the numbers come from. Only ``load`` and ``save`` touch the files.
"""

import hashlib
import json
import math
import shlex
import subprocess
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas

from dpbook_utils.files import expanded, replacing

from ..descriptions import plain_name
from .provenance import provenance
from .schemas import checker
from .spec import Specification, Task

FORMAT = 1

SCHEMA = {
    "type": "object",
    "required": ["format", "experiment", "variant", "budget", "seeds", "fingerprint", "metrics", "provenance",
                 "checksum"],
    "additionalProperties": False,
    "properties": {
        "format": {"const": FORMAT}, "experiment": {"type": "string"}, "variant": {"type": "string"},
        "budget": {"type": "integer", "minimum": 0},
        "seeds": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1, "uniqueItems": True},
        "fingerprint": {"type": "string"},
        "metrics": {"type": "object", "additionalProperties": {"type": "array"}},
        "provenance": {"type": "object", "required": ["code", "versions", "device", "seconds", "finished"],
                       "properties": {"seconds": {"type": "number"}}},
        "checksum": {"type": "string"},
    },
}

__all__ = ["Record", "ResultError", "aside", "file_name", "folder", "frame", "load", "provenance", "read", "save",
           "study_folder"]


class ResultError(RuntimeError):
    """A file of records is damaged, belongs to something else or cannot be read. It is left as it is; ``path`` says
    which. The commands that the message proposes lose nothing: they move the file aside first."""

    def __init__(self, message: str, path: Path | None = None):
        super().__init__(message)
        self.path = path


@dataclass(frozen=True)
class Record:
    """The results of one task.

    Attributes:
        fingerprint: of the variant's specification under which it was computed.
        metrics: ``{name: array (seeds, ...)}``.
        provenance: code, library versions, device, wall time [s], date.
    """

    experiment: str
    variant: str
    budget: int
    seeds: tuple[int, ...]
    fingerprint: str
    metrics: Mapping[str, np.ndarray]
    provenance: Mapping

    @property
    def task(self) -> Task:
        return Task(self.variant, self.budget, self.seeds)


def folder() -> Path:
    """Where results are: those installed with the package, else the repository's ``results``."""
    package = Path(__file__).parents[1]
    installed = package / "results"
    return installed if installed.is_dir() else package.parent / "results"


def study_folder(experiment: str, root: str | Path | None = None) -> Path:
    """Where the records of an experiment are."""
    return (folder() if root is None else expanded(root)) / experiment


def aside(path: Path) -> str:
    """The command that moves a file or folder out of the way; it overwrites nothing."""
    return f"mv -n {shlex.quote(str(path))} {shlex.quote(f'{path}.old')}"


def file_name(task: Task) -> str:
    return f"{plain_name(task.variant)}-{task.budget}-{task.seeds[0]}.json"


def save(record: Record, root: Path | None = None) -> Path:
    """Write a record; whoever reads and whenever the process is killed, the file is whole or not there.

    Raises: OSError, which names the file, the reason and what to do.
    """
    path = study_folder(record.experiment, root) / file_name(record.task)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"format": FORMAT, **asdict(record), "metrics": {k: _plain(v) for k, v in record.metrics.items()}}
    content = {**content, "seeds": list(record.seeds), "checksum": checksum(content)}
    if wrong := _misfit(content):
        raise ValueError(f"{path} would be no file of records: {wrong}")
    with replacing(path) as file:
        file.write(_text(content).encode())
    return path


def read(path: Path, spec: Specification) -> Record:
    """One file, checked. Raises ResultError, which names the file, the reason and the way out."""
    path = expanded(path)
    shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    move = f"Move it away: {aside(shown)}"
    compute = f"python -m dpbook_course.experiments run {spec.id}"
    again = f"{aside(shown)} && {compute}"

    def refuse(reason: str, repair: str | None = None) -> ResultError:
        if repair is None:
            restore = _restore(shown)
            repair = f"Compute it again: {again}" if not restore else (
                f"Restore it: {aside(shown)} && {restore}\nor compute it again: {again}")
        return ResultError(f"{shown} {reason}. It was left as it is.\n{repair}", path)

    try:
        text = path.read_bytes()
    except OSError as error:  # says nothing about what the file holds
        repair = move if path.is_dir() else "Repeat the command when that is mended"
        raise refuse(f"cannot be read ({error.strerror})", repair) from error
    try:
        content = json.loads(text.decode())
        if wrong := _misfit(content):
            raise refuse(f"is no file of records: {wrong[:200]}")
        metrics = {name: _array(values) for name, values in content["metrics"].items()}
    except (ValueError, TypeError, RecursionError) as error:
        raise refuse(f"is truncated, or no JSON with tables of numbers ({error})") from error
    if content["checksum"] != checksum(content):
        raise refuse("was edited after it was written: its checksum differs")
    record = Record(content["experiment"], content["variant"], content["budget"], tuple(content["seeds"]),
                    content["fingerprint"], metrics, content["provenance"])
    if record.experiment != spec.id:
        raise refuse(f"belongs to {record.experiment}, not to {spec.id}", move)
    if record.variant not in spec.variants:
        raise refuse(f"holds the variant {record.variant!r}, which {spec.id} does not have", move)
    if path.name != file_name(record.task):
        right = shown.with_name(file_name(record.task))
        rename = f"Rename it: mv -n {shlex.quote(str(shown))} {shlex.quote(str(right))}"
        raise refuse(f"holds what {right.name} should hold, so it was renamed or copied",
                     move if right.exists() else rename)
    expected = spec.fingerprint(record.variant)
    if record.fingerprint != expected:
        raise refuse(f"was computed under other settings: specification {record.fingerprint}, now {expected}",
                     f"Compute it again: {again}\nor put the settings of {spec.id} back as they were")
    wrong = wrong_metrics(metrics, len(record.seeds), spec)
    if wrong:
        raise refuse(f"has metrics that do not fit {spec.id}: {wrong}")
    return record


def _restore(path: Path) -> str:
    """The command that gets a file back from the repository around it; empty if there is none or it has no other."""
    git = ["git", "-C", str(path.parent)]
    try:  # 1: the file is tracked, and differs from what is tracked
        differs = subprocess.run([*git, "diff", "--quiet", "--", path.name], capture_output=True).returncode == 1
    except OSError:
        return ""
    return f"git -C {shlex.quote(str(path.parent))} checkout -- {shlex.quote(path.name)}" if differs else ""


def wrong_metrics(metrics: Mapping[str, np.ndarray], num_seeds: int, spec: Specification) -> str:
    """What is wrong with the metrics of a task; an empty text if nothing is."""
    wrong = [f"{name} is missing" for name in spec.metrics if name not in metrics]
    wrong += [f"{name} is none of its metrics" for name in metrics if name not in spec.metrics]
    for name, values in metrics.items():
        if values.dtype.kind not in "biuf":
            wrong.append(f"{name} holds {values.dtype}, not numbers")
        elif values.ndim == 0 or len(values) != num_seeds:
            wrong.append(f"{name} has shape {values.shape}, the first axis must have one entry for each of the "
                         f"{num_seeds} seeds")
    return "; ".join(wrong[:4])


def load(spec: Specification, root: Path | None = None) -> tuple[list[Record], list[ResultError]]:
    """All records of an experiment, and what is wrong with the files that are none of them."""
    records, problems, found = [], [], {}
    for path in sorted(study_folder(spec.id, root).glob("*.json")):
        try:
            record = read(path, spec)
        except ResultError as error:
            problems.append(error)
            continue
        twice = {found[key] for seed in record.seeds if (key := (record.variant, record.budget, seed)) in found}
        if twice:
            problems.append(ResultError(f"{path} repeats seeds that {', '.join(sorted(twice))} holds. It was left as "
                                        f"it is and is not used.\nMove it away: {aside(path)}", path))
            continue
        found.update({(record.variant, record.budget, seed): path.name for seed in record.seeds})
        records.append(record)
    return records, problems


def frame(spec: Specification, root: Path | None = None) -> pandas.DataFrame:
    """One row per variant, budget and seed; the metrics are columns. Refused files are warned of and left out.

    Metrics with more than one number per seed are arrays in their cells.
    Raises: ResultError if there is no record at all, or none that can be used: it says why.
    """
    records, problems = load(spec, root)
    if problems and not records:
        raise ResultError(f"the results of {spec.id} in {study_folder(spec.id, root)} are refused, {refused(problems)}")
    for problem in problems:
        warnings.warn(str(problem), stacklevel=2)
    if not records:
        raise ResultError(f"there are no results of {spec.id} in {study_folder(spec.id, root)}. "
                          f"Compute them: python -m dpbook_course.experiments run {spec.id}")
    return rows(spec, records)


def rows(spec: Specification, records: list[Record]) -> pandas.DataFrame:
    """One row per variant, budget and seed; the metrics are columns. Without records it has no rows.

    Of a study that is repeated on further sets of data the column ``data_set`` says which one the seed saw.
    """
    found = [{"variant": record.variant, "budget": record.budget, "seed": seed,
              **({"data_set": spec.data_set(seed)} if spec.replication else {}),
              **{name: values[i] for name, values in record.metrics.items()}}
             for record in records for i, seed in enumerate(record.seeds)]
    return pandas.DataFrame(found)


def refused(problems: list[ResultError]) -> str:
    """``3 files; the first: ...``: several refusals in short."""
    return str(problems[0]) if len(problems) == 1 else f"{len(problems)} files; the first: {problems[0]}"


_misfit = checker(SCHEMA)


def _plain(values) -> list:
    """Nested lists of numbers to six digits; what JSON cannot hold (inf, nan) as a string."""
    def plain(x):
        if isinstance(x, list):
            return [plain(v) for v in x]
        if isinstance(x, float):
            return float(f"{x:.6g}") if math.isfinite(x) else str(x)
        return x

    return plain(np.asarray(values).tolist())


def _array(values: list) -> np.ndarray:
    def number(x):
        return [number(v) for v in x] if isinstance(x, list) else float(x)

    array = np.array(values)
    return array.astype(float) if array.dtype.kind in "if" else np.array(number(values))  # "inf" and "nan" are texts


def checksum(content: Mapping) -> str:
    """Of everything in a record but the checksum itself."""
    rest = {key: value for key, value in content.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _text(content: Mapping) -> str:
    """JSON with one metric a line: small, and a difference shows where it is."""
    lines = [f"  {json.dumps(name)}: {json.dumps(values)}" for name, values in content["metrics"].items()]
    head = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in content.items() if key != "metrics"]
    return "{\n" + ",\n".join([*head, ' "metrics": {\n' + ",\n".join(lines) + "\n }"]) + "\n}\n"
