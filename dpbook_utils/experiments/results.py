"""Records of experiments on disk: written whole or not at all, checked when read.

``results/<id>/<variant>-<budget>-<first seed>.json`` holds one task: every metric with one entry per seed, and where the
numbers come from. Only ``load`` and ``save`` touch the files.
"""

import hashlib
import json
import math
import os
import platform
import re
import subprocess
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import jsonschema
import numpy as np
import pandas

from .. import __version__
from .spec import Specification, Task

FORMAT = 1
PACKAGES = ("torch", "phiflow", "phiml", "numpy", "scipy")

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
        "provenance": {"type": "object", "required": ["code", "versions", "device", "seconds", "finished"]},
        "checksum": {"type": "string"},
    },
}


class ResultError(RuntimeError):
    """A file of records is damaged, or belongs to something else. It is left as it is."""


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
    """Where results are: the repository's ``results``, else those installed with the package."""
    package = Path(__file__).parents[1]
    repository = package.parent / "results"
    return repository if repository.is_dir() else package / "results"


def file_name(task: Task) -> str:
    return f"{re.sub(r'[^A-Za-z0-9.]+', '_', task.variant)}-{task.budget}-{task.seeds[0]}.json"


def save(record: Record, root: Path | None = None) -> Path:
    """Write a record; whoever reads and whenever the process is killed, the file is whole or not there."""
    path = (root or folder()) / record.experiment / file_name(record.task)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"format": FORMAT, **asdict(record), "metrics": {k: _plain(v) for k, v in record.metrics.items()}}
    content = {**content, "seeds": list(record.seeds), "checksum": _checksum(content)}
    jsonschema.validate(content, SCHEMA)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(_text(content))
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return path


def read(path: Path, spec: Specification) -> Record:
    """One file, checked. Raises ResultError, which names the file, the reason and the way out."""
    def refuse(reason: str) -> ResultError:
        return ResultError(f"{path} {reason}. It was left as it is. Restore it (git checkout -- {path.name}), or delete it "
                           f"and compute it again: python -m dpbook_utils.experiments run {spec.id}")

    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        jsonschema.validate(content, SCHEMA)
    except (ValueError, UnicodeDecodeError) as error:
        raise refuse(f"is truncated or no JSON ({error})") from error
    except jsonschema.ValidationError as error:
        raise refuse(f"is no file of records: {error.message}") from error
    if content["checksum"] != _checksum(content):
        raise refuse("was edited after it was written: its checksum differs")
    if content["experiment"] != spec.id or content["variant"] not in spec.variants:
        raise refuse(f"belongs to {content['experiment']}, variant {content['variant']}, which {spec.id} does not have")
    expected = spec.fingerprint(content["variant"])
    if content["fingerprint"] != expected:
        raise refuse(f"was computed under other settings: specification {content['fingerprint']}, now {expected}")
    metrics = {name: _array(values) for name, values in content["metrics"].items()}
    record = Record(content["experiment"], content["variant"], content["budget"], tuple(content["seeds"]),
                    content["fingerprint"], metrics, content["provenance"])
    wrong = sorted(set(metrics) ^ set(spec.metrics)) or [k for k, v in metrics.items() if len(v) != len(record.seeds)]
    if wrong:
        raise refuse(f"lacks, or has too many of, the metrics or seeds that {spec.id} asks for: {', '.join(wrong[:4])}")
    return record


def load(spec: Specification, root: Path | None = None) -> tuple[list[Record], list[ResultError]]:
    """All records of an experiment, and what is wrong with the files that are none of them."""
    records, problems = [], []
    for path in sorted(((root or folder()) / spec.id).glob("*.json")):
        try:
            records.append(read(path, spec))
        except ResultError as error:
            problems.append(error)
    return records, problems


def frame(spec: Specification, root: Path | None = None) -> pandas.DataFrame:
    """One row per variant, budget and seed; the metrics are columns. Refused files are warned of and left out.

    Metrics with more than one number per seed are arrays in their cells.
    Raises: ResultError if there is no record at all.
    """
    records, problems = load(spec, root)
    for problem in problems:
        warnings.warn(str(problem), stacklevel=2)
    if not records:
        raise ResultError(f"there are no results of {spec.id} in {(root or folder()) / spec.id}. "
                          f"Compute them: python -m dpbook_utils.experiments run {spec.id}")
    rows = [{"variant": record.variant, "budget": record.budget, "seed": seed,
             **{name: values[i] for name, values in record.metrics.items()}}
            for record in records for i, seed in enumerate(record.seeds)]
    return pandas.DataFrame(rows)


def provenance(seconds: float) -> dict:
    """Where numbers that were computed here and now come from."""
    import datetime

    import torch

    return {"code": _code_version(), "versions": {"python": platform.python_version(), **{p: version(p) for p in PACKAGES}},
            "device": _processor(), "threads": torch.get_num_threads(), "seconds": round(seconds, 2),
            "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")}


def _code_version() -> str:
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    found = subprocess.run(git, capture_output=True, text=True)
    return f"{__version__}+{found.stdout.strip()}" if found.returncode == 0 else __version__


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


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

    return np.array(number(values))


def _checksum(content: Mapping) -> str:
    rest = {key: value for key, value in content.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _text(content: Mapping) -> str:
    """JSON with one metric a line: small, and a difference shows where it is."""
    lines = [f"  {json.dumps(name)}: {json.dumps(values)}" for name, values in content["metrics"].items()]
    head = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in content.items() if key != "metrics"]
    return "{\n" + ",\n".join([*head, ' "metrics": {\n' + ",\n".join(lines) + "\n }"]) + "\n}\n"
