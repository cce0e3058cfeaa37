"""How trajectories lie on disk, and how a folder is checked.   Chapter: 02_solver_as_data.

A store is a zarr group (version 3 of the format). ``trajectories`` is (sample, time, channel, *space), time 0 being u0
and the rest the reference; each physical parameter is an array (sample, ...). A chunk holds one batch and ends with its
checksum. The attributes of the group say what the data is, how it was made, and which arrays belong to it.
"""

import platform
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
import zarr
from torch import Tensor
from zarr.codecs import Crc32cCodec

from ..files import explained

FORMAT = {"format": "dpbook trajectories", "version": 1}
STATES = "trajectories"
AXES = ("sample", "time", "channel", "x", "y", "z")


class StoreError(RuntimeError):
    """The folder is damaged, incomplete or not what was expected. It was left as it is.

    Damage is a wrong checksum or size, a value that is not finite, a missing file, a description that is none. What
    else can fail while reading (open files, memory, permissions, an index) is raised as it is.
    """


def refusal(path: str | Path, problem: str, remedy: str) -> StoreError:
    return StoreError(f"{path} {problem}. It was left as it is. {remedy}")


def create(path: Path, batch: Mapping[str, np.ndarray], num_batches: int, attributes: Mapping) -> None:
    """An empty store for ``num_batches`` batches like this one; the folder appears with all descriptions at once."""
    arrays = {name: {"shape": [num_batches * len(values), *values.shape[1:]], "dtype": str(values.dtype)}
              for name, values in batch.items()}
    libraries = {"python": platform.python_version(),
                 **{name: version(name) for name in ("torch", "numpy", "phiflow", "zarr")}}
    with explained(path), tempfile.TemporaryDirectory(dir=path.parent, prefix=path.name, suffix=".tmp") as folder:
        group = zarr.create_group(Path(folder) / "store", attributes={
            **FORMAT, "num_batches": num_batches, "arrays": arrays, "libraries": libraries, **attributes})
        for name, values in batch.items():
            axes = AXES if name == STATES else ("sample", *AXES[2:])
            group.create_array(name, **arrays[name], chunks=values.shape, compressors=[Crc32cCodec()],
                               fill_value=np.nan, dimension_names=axes[:values.ndim],
                               attributes={"units": attributes["units"].get(name, "")})
        try:
            (Path(folder) / "store").rename(path)
        except OSError:
            if not (path / "zarr.json").exists():  # else another process was faster
                raise


class Contents:
    """The arrays of a store that has been checked; no chunk is read until ``read``.

    Raises: StoreError if the folder is no store, one of another version, or its descriptions are damaged; OSError if
        they cannot be read, which says nothing about the store.
    """

    def __init__(self, path: Path):
        self.path = path
        again = "Give another folder, or move this one away and store the data again."
        if not (path / "zarr.json").is_file():
            raise refusal(path, "is no store of trajectories: it has no zarr.json", again)
        try:
            group = zarr.open_group(path, mode="r", zarr_format=3)
            self.attributes = dict(group.attrs)
            found = {key: self.attributes.get(key) for key in FORMAT}
            if found != FORMAT:
                raise refusal(path, f"is no store of this version: {found}, expected {FORMAT}", again)
            if lost := [key for key in ("num_batches", "arrays", "dt", "windows", "settings")
                        if key not in self.attributes]:
                raise refusal(path, f"is damaged: its attributes lack {', '.join(lost)}", again)
            self.num_batches, expected = self.attributes["num_batches"], self.attributes["arrays"]
            self.arrays = {name: group[name] for name in expected}
            for name, array in self.arrays.items():
                kind = {"shape": list(array.shape), "dtype": str(array.dtype)}
                if kind != expected[name] or array.shape[0] != self.num_batches * array.chunks[0]:
                    raise refusal(path, f"is damaged: {name} is {kind} in {self.num_batches} batches of "
                                  f"{array.chunks[0]}, expected {expected[name]}", again)
        except (AttributeError, KeyError, TypeError, ValueError, FileNotFoundError) as error:
            problem = f"is damaged: its descriptions cannot be read ({type(error).__name__}: {error})"
            raise refusal(path, problem, again) from error
        self._small: dict[str, Tensor] = {}

    def missing(self) -> list[int]:
        """Numbers of the batches that are not there."""
        return [k for k in range(self.num_batches) if not all(self.file(name, k).is_file() for name in self.arrays)]

    def file(self, name: str, k: int) -> Path:
        """Where batch k of an array lies."""
        array = self.arrays[name]
        return self.path / name / array.metadata.encode_chunk_key((k, *[0] * (array.ndim - 1)))

    def read(self, samples: np.ndarray) -> dict[str, Tensor]:
        """The samples of these numbers, in increasing order, from every array; their chunks' checksums are compared."""
        found = {}
        for name, array in self.arrays.items():
            if array.ndim > 1:
                found[name] = self._read(name, samples)
            else:  # one number for each sample: read as a whole, once
                if name not in self._small:
                    self._small[name] = self._read(name, np.arange(array.shape[0]))
                found[name] = self._small[name][samples]
        return found

    def read_batch(self, k: int) -> dict[str, Tensor]:
        """Batch k of every array, as it was written."""
        return {name: self._read(name, k * array.chunks[0] + np.arange(array.chunks[0]))
                for name, array in self.arrays.items()}

    def _read(self, name: str, samples: np.ndarray) -> Tensor:
        array = self.arrays[name]
        is_range = len(samples) == samples[-1] - samples[0] + 1
        try:
            values = array[samples[0]:samples[-1] + 1] if is_range else array.oindex[samples]
            if not np.isfinite(values).all():  # what is missing is read as NaN
                raise ValueError("values are missing or not finite")
        except ValueError as error:  # checksums and sizes too; whatever else fails, the data may be whole
            batches = np.unique(samples // array.chunks[0])
            if len(batches) > 1:
                for k in batches:  # refuses the damaged one by name
                    self._read(name, samples[samples // array.chunks[0] == k])
            file = self.file(name, batches[0])
            shown, remedy = file.relative_to(self.path), "call store(...) as before, which generates its batch anew."
            if not file.is_file():
                problem, remedy = f"is incomplete: {shown} is missing", f"Restore it from a copy, or {remedy}"
            else:
                problem = f"is damaged: {shown} cannot be read (ValueError: {error})"
                remedy = f"Restore that file from a copy, or move it away and {remedy}"
            raise refusal(self.path, problem, remedy) from error
        return torch.from_numpy(values)
