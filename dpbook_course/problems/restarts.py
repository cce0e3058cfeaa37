"""Trajectories of chaotic problems that are the same on every machine: stored states, and short runs between them.

A chaotic flow amplifies rounding, and rounding is a matter of the processor: single-precision runs of the
Kuramoto-Sivashinsky equation on two of them have nothing in common after 200 steps. So the trajectories of such a
problem are data. Every few steps a state is stored, exactly; the reference solver runs from each for the steps between,
in double precision, whose rounding does not grow to a digit of single precision in so few.

A file holds arrays of states, the settings that they were made with, and a checksum of both.

Chapter: 03_unrolling.
"""

import argparse
import hashlib
import io
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dpbook_utils.data import simulate
from dpbook_utils.files import replacing, writable
from dpbook_utils.physics.solver import Solver

from ..commands import program
from ..descriptions import describe

FORMAT = 1


class RestartError(RuntimeError):
    """A file of restart states is missing, damaged, or was made with other settings. It is left as it is."""


def save(path: Path, settings: Mapping, states: Mapping[str, Tensor]) -> None:
    """Write states ``{name: (samples, restarts, channels, *spatial)}`` and the settings that they were made with."""
    arrays = {name: value.numpy() for name, value in states.items()}
    about = {"format": FORMAT, "settings": describe(settings)}
    about["checksum"] = _checksum(about["settings"], arrays)
    with replacing(path) as file:
        np.savez(file, about=np.array(json.dumps(about)), **arrays)
        os.chmod(file.name, 0o644)


def load(path: Path, settings: Mapping, command: str) -> dict[str, Tensor]:
    """What ``save`` wrote, compared with its checksum and with the settings that the problem states now.

    Args:
        command: computes the states anew; shown where that is the way out.
    Raises: RestartError, which names the file, the reason and what to do; OSError if the file cannot be read.
    """
    copy = "take the file from the repository or install the package again"
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise RestartError(f"{path} is missing; {copy}") from None
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        about = json.loads(str(arrays.pop("about")))
        found, checksum, version = about["settings"], about["checksum"], about["format"]
    except Exception as error:  # a damaged archive fails in many ways: a flipped bit can say that it is encrypted
        raise RestartError(f"{path} is damaged or no file of restart states ({type(error).__name__}: {error}); "
                           f"{copy}") from error
    if version != FORMAT:
        raise RestartError(f"{path} has format {version}, expected {FORMAT}; {copy}")
    if checksum != _checksum(found, arrays):
        raise RestartError(f"{path} is damaged: its states do not have the checksum that they were written with; "
                           f"{copy}")
    expected = describe(settings)
    differ = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
    if differ:
        name = differ[0]
        raise RestartError(f"{path} was made with {name} = {found.get(name)}, the problem states {expected.get(name)}; "
                           f"set it back, or compute other data with `{command}` and repeat the studies that use them")
    return {name: torch.from_numpy(value) for name, value in arrays.items()}


def between(solver: Solver, restarts: Tensor, every: int, num_states: int, **parameters: Tensor) -> Tensor:
    """The first ``num_states`` states of trajectories of which every ``every``-th is given.

    Args:
        parameters: one value per trajectory.

    Shapes: (samples, restarts, channels, *spatial) -> (samples, num_states, channels, *spatial), of the same dtype.
    Raises: ValueError for too few restart states.
    """
    samples, number = restarts.shape[:2]
    if number * every < num_states:
        raise ValueError(f"between: {number} restart states, {every} steps apart, give {number * every} states; "
                         f"{num_states} were asked for")
    start = restarts.flatten(0, 1).double()
    parameters = {name: value.double().repeat_interleave(number, 0) for name, value in parameters.items()}
    states = simulate(solver, start, min(every, num_states) - 1, **parameters) if every > 1 else start[:, None]
    states = states.unflatten(0, (samples, number)).flatten(1, 2)[:, :num_states]
    return states.to(restarts.dtype)


def command(path: Path, make: Callable[[Path], None], description: str) -> None:
    """What ``python -m`` does with the module of a problem: with ``--write``, make its states anew."""
    def main() -> int:
        parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("--write", action="store_true", help=f"compute the states and replace {path.name}")
        if not parser.parse_args().write:
            parser.error(f"nothing to do; --write computes the states anew and replaces {path}")
        writable(path)
        make(path)
        print(f"{path} has been written. Move the stored results that used other states out of results/, and compute "
              "them again.")
        return 0

    program(main)


def _checksum(settings, arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for name in sorted(arrays):
        value = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {value.dtype.str} {value.shape}".encode() + value.tobytes())
    return digest.hexdigest()
