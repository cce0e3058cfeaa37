"""Training state on disk: written whole or not at all, refused when it does not fit.   Chapter: 06_long_horizons.

A checkpoint carries the identity of the training that wrote it. Resuming under another learning rate, noise level,
solver or data stream would give weights that no single training gives, so it is refused instead.
"""

import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from .files import expanded, replacing
from .gradients import FullGradient
from .physics.solver import Solver

FORMAT = 1


class CheckpointError(RuntimeError):
    """The file is damaged or belongs to another training. It is left as it is, and no training was started."""


def save(path: str | Path, state: dict) -> None:
    """Write ``state`` whole, or not at all (``files.replacing``). Raises: OSError, which says why and what to do."""
    content = io.BytesIO()  # torch would hide the reason of a failed write
    torch.save({"format": FORMAT, **state}, content)
    with replacing(expanded(path)) as file:
        file.write(content.getbuffer())


def load(path: str | Path) -> dict:
    """The state that ``save`` wrote, on the CPU; every entry is compared with the file's checksums first.

    Raises: CheckpointError for a file that is truncated, damaged or no checkpoint; OSError for one that cannot be read.
    """
    path = expanded(path)
    content = io.BytesIO(path.read_bytes())  # what fails from here on is memory, or what the file holds
    try:
        with zipfile.ZipFile(content) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"wrong checksum of {damaged}")
        content.seek(0)
        state = torch.load(content, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged archive fails in many ways, inside zipfile, pickle or torch
        if isinstance(error, MemoryError) or "you tried to allocate" in str(error):  # torch's is a RuntimeError
            raise
        reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        raise refusal(path, f"is truncated, damaged or no checkpoint ({reason})",
                      "Restore it from a copy, or move it away to train from the start.") from error
    found = state.get("format") if isinstance(state, dict) else None
    if found != FORMAT:
        raise refusal(path, f"is no checkpoint of this version: format {found}, expected {FORMAT}",
                      "Move it away to train from the start.")
    return state


def refusal(path: str | Path, problem: str, remedy: str = "Give another file for this training, move this one away to "
            "start anew, or undo the change to resume.") -> CheckpointError:
    return CheckpointError(f"{path} {problem}. It was left as it is and no training was started. {remedy}")


def compare(path: Path, found: Mapping[str, str], expected: Mapping[str, str]) -> None:
    """Raise CheckpointError, naming what differs, unless the two identities are equal."""
    names = [name for name in {**found, **expected} if found.get(name) != expected.get(name)]
    if names:
        shown = "; ".join(f"{name}: {found.get(name, 'none')} in the file, {expected.get(name, 'none')} now"
                          for name in names[:4])
        more = f" (and {len(names) - 4} more)" if len(names) > 4 else ""
        raise refusal(path, f"belongs to another training. {shown}{more}")


def identity(objective: nn.Module, optimizer, schedule, first_batch: Mapping[str, Tensor],
                settings: Mapping) -> dict[str, str]:
    """What must be equal for two trainings to be the same: chain, weights, optimiser, schedule, data, settings.

    What a plain function holds (a metric, the rule of a ``LambdaLR``) and batches after the first are not looked into.
    """
    result = {name: str(value) for name, value in settings.items()} | operators(objective, "objective")
    for name, value in learned(objective).items():
        result[f"weight {name}"] = f"{tuple(value.shape)} {value.dtype} on {value.device.type}"
    for number, group in enumerate(optimizer.param_groups):
        constants = {key: value for key, value in group.items() if key not in ("params", "lr", "initial_lr")}
        # A schedule moves lr and keeps where it started in initial_lr.
        constants["lr"] = float(group.get("initial_lr", group["lr"]))
        size = len(group["params"])
        result[f"optimizer group {number}"] = f"{type(optimizer).__name__}({as_text(constants)}), {size} tensors"
    if schedule is not None:
        result["schedule"] = f"{type(schedule).__name__}({as_text(schedule.state_dict())})"
    for name, value in first_batch.items():
        is_tensor = isinstance(value, Tensor)
        result[f"first batch, {name}"] = f"{tuple(value.shape)} {digest({name: value})}" if is_tensor else repr(value)
    return result


def operators(chain: nn.Module, label: str) -> dict[str, str]:
    """What each part of a chain is, with its settings and a solver's constants; ``label`` names the whole."""
    result = {}
    for name, module in chain.named_modules():
        plain = {key: value for key, value in sorted(vars(module).items()) if key[0] != "_" and key != "training"}
        result[f"operator {name or label}"] = f"{type(module).__name__}({as_text(plain)})"
        if isinstance(module, Solver):
            for key, value in module.named_buffers(recurse=False):
                result[f"constant {name}.{key}"] = digest({key: value})
    return result


def learned(objective: nn.Module) -> dict[str, Tensor]:
    """Weights and buffers by name, without the solvers' constants, which the code and not the file determines."""
    constants = {f"{name}.{key}" for name, module in objective.named_modules() if isinstance(module, Solver)
                 for key in module.state_dict()}
    return {name: value for name, value in objective.state_dict().items() if name not in constants}


def digest(tensors: Mapping[str, Tensor]) -> str:
    """A short hash of names and values."""
    total = hashlib.sha256()
    for name, value in tensors.items():
        total.update(name.encode())
        total.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return total.hexdigest()[:16]


def random_state(device: torch.device) -> dict[str, Tensor]:
    """The states of torch's random generators: the CPU's and that of the GPU in use."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: Mapping[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)


# What a schedule counts with, as opposed to what it was built with.
_MOVING = ("last_epoch", "_step_count", "_last_lr", "_is_initial", "_get_lr_called_within_step", "T_cur", "T_i")


def as_text(value) -> str:
    """Text that is equal for equal settings, in every process."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={as_text(v)}" for key, v in value.items() if key not in _MOVING)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(as_text, value)) + "]"
    if isinstance(value, Tensor):
        return digest({"": value})
    if value is None or isinstance(value, (bool, int, float, str, FullGradient)):
        return repr(value)
    return getattr(value, "__qualname__", type(value).__name__)
