"""Files of weights: one trained network each, in safetensors, with its card in the header and a checksum of both.

``weights/<study>/<set-up>-<updates>-<seed>.safetensors``. A file is written whole and never over another one.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from dpbook_utils.files import present, replacing

from ..descriptions import plain_name
from ..experiments.results import aside

FORMAT = 1
FOLDER = Path(__file__).parent
SUFFIX = ".safetensors"


class WeightsError(RuntimeError):
    """A file of weights is damaged, belongs to something else or is in the way. It is left as it is."""


@dataclass(frozen=True)
class Card:
    """What a trained network is, and where it comes from.

    Attributes:
        problem, setup, seed, updates: by which ``course.load`` finds it.
        study, fingerprint: the experiment whose training it is, and its specification of the set-up.
        together: the seeds that trained together with it, as in the study.
        metric, error: the study's measure and what it found.
        short_error: the same on less data, which takes seconds (``Kept.short``).
        provenance: code, versions of libraries, processor, seconds, date.
    """

    problem: str
    setup: str
    seed: int
    updates: int
    study: str
    fingerprint: str
    together: tuple[int, ...]
    metric: str
    error: float
    short_error: float
    provenance: Mapping

    def path(self, root: Path | None = None) -> Path:
        return path_of(self.study, self.setup, self.updates, self.seed, root)


def path_of(study: str, setup: str, updates: int, seed: int, root: Path | None = None) -> Path:
    return (root or FOLDER) / study / f"{plain_name(setup)}-{updates}-{seed}{SUFFIX}"


def save(card: Card, weights: Mapping[str, Tensor], root: Path | None = None) -> Path:
    """Write a new file.   Raises: WeightsError if there is one already; OSError, explained."""
    path = card.path(root)
    if present(path):
        raise WeightsError(f"{path} is there already and is not overwritten; move it away first: {aside(path)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {"format": FORMAT, **asdict(card)}
    about["checksum"] = _checksum(about, weights)
    content = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    with replacing(path) as file:
        file.write(safetensors.torch.save(content, {"card": json.dumps(about, sort_keys=True)}))
    return path


def read(path: Path) -> tuple[Card, dict[str, Tensor]]:
    """(card, weights), compared with their checksum.   Raises: WeightsError, which says what to do; OSError."""
    about = _about(path)
    try:
        weights = safetensors.torch.load(path.read_bytes())
    except (safetensors.SafetensorError, ValueError) as error:
        raise _damaged(path, str(error)) from error
    if about.pop("checksum", None) != _checksum(about, weights):
        raise _damaged(path, "its checksum differs")
    return _card(about), weights


def cards(root: Path | None = None) -> tuple[list[Card], list[WeightsError]]:
    """The cards of all files, as their headers have them, and what is wrong with those that have none."""
    found, problems = [], []
    for path in sorted((root or FOLDER).glob(f"*/*{SUFFIX}")):
        try:
            about = _about(path)
            about.pop("checksum", None)
            found.append(_card(about))
        except WeightsError as problem:
            problems.append(problem)
    return found, problems


def _about(path: Path) -> dict:
    """The header's card."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})["card"])
        version = about["format"]
    except FileNotFoundError as error:
        raise WeightsError(f"{path} is missing; {_remedy(path)}") from error
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    if version != FORMAT:
        raise WeightsError(f"{path} has format {version}, expected {FORMAT}; {_remedy(path)}")
    return about


def _card(about: dict) -> Card:
    return Card(**{name: tuple(value) if name == "together" else value for name, value in about.items()
                   if name != "format"})


def _damaged(path: Path, reason: str) -> WeightsError:
    return WeightsError(f"{path} is damaged or no file of weights ({' '.join(reason.split())}); {_remedy(path)}")


def _remedy(path: Path) -> str:
    return ("take it from the repository, install the package again, or move it away and train it anew: "
            f"python -m dpbook_course.experiments weights {path.parent.name}")


def _checksum(about: Mapping, weights: Mapping[str, Tensor]) -> str:
    """Of the card and of the weights."""
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name in sorted(weights):
        value = weights[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
