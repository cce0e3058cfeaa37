"""Data on disk: written batch by batch, resumed where it broke off, refused when it does not fit.

Chapter: 02_solver_as_data.
"""

import functools
import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import zarr
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from ..files import expanded, explained, writable_folder
from ..objectives import parameters_of
from ..physics.trace import agree
from .fresh import Fresh
from .layout import STATES, Contents, StoreError, create, refusal
from .trajectories import Windows, draw, one_or_more_seeds

__all__ = ["StoreError", "Stored", "store"]


def store(fresh: Fresh, path: str | Path, num_batches: int, *, description: str = "",
          units: Mapping[str, str] | None = None, progress: bool = True) -> "Stored":
    """Write the first batches of a stream to disk; returns the opened store.

    Batches that are already there are not computed again: what was interrupted goes on where it was, what is complete
    is left alone, and a chunk that was moved away because it is damaged is made anew. Two processes may write the same
    store at the same time. Batch 0 is always computed, and must be what the folder has.

    Args:
        path: a folder, made with its parents if it does not exist.
        description: what a stranger should know about the data.
        units: of the states ("trajectories") and of the parameters, by name.

    Raises: StoreError, naming what differs, for a folder that was begun with other settings or holds something else.
        ValueError for batches whose u0 and reference have states of different shapes. OSError, before anything is
        computed, if the folder cannot be written.
    """
    path = expanded(path)
    if num_batches < 1:
        raise ValueError(f"store: num_batches is {num_batches}; store at least 1")
    with explained(path):
        is_new = not path.exists() or (path.is_dir() and not any(path.iterdir()))
    if is_new or Contents(path).missing():
        writable_folder(path.parent if is_new else path)
    first = _arrays(fresh[0])
    settings = fresh.settings() | {"num_batches": str(num_batches)}
    if is_new:
        create(path, first, num_batches, {
            "description": description, "units": dict(units or {}), "dt": fresh.dt, "settings": settings,
            "windows": fresh.transform is None})
    contents = Contents(path)
    _refuse_another_stream(contents, settings, first)
    missing = contents.missing()
    if missing:
        _write(contents, missing, first, fresh, progress)
    return Stored(path)


def _write(contents: Contents, missing: list[int], first: Mapping[str, np.ndarray], fresh: Fresh,
           progress: bool) -> None:
    group = zarr.open_group(contents.path, mode="r+", zarr_format=3)
    bar = tqdm(missing, desc="storing", unit="batch", initial=contents.num_batches - len(missing),
               total=contents.num_batches, disable=not progress)
    for k in bar:
        batch = first if k == 0 else _arrays(fresh[k])
        with explained(contents.path):
            for name, values in batch.items():
                group[name][k * len(values):(k + 1) * len(values)] = values


def _arrays(batch: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """The arrays of a store, for one batch."""
    u0, reference = batch["u0"], batch["reference"]
    if u0.shape != reference[:, 0].shape:
        raise ValueError(f"store: u0 has shape {tuple(u0.shape)}, the reference {tuple(reference.shape)}; a store "
                         "keeps them as one array in time: let the transform of Fresh give states of one shape")
    parameters = parameters_of(batch)
    values = {STATES: torch.cat([u0.unsqueeze(1), reference], 1), **parameters}
    return {name: value.cpu().numpy() for name, value in values.items()}


def _refuse_another_stream(contents: Contents, settings: Mapping[str, str], first: Mapping[str, np.ndarray]) -> None:
    """Raise StoreError unless the folder was begun with these settings, and its batch 0 is the stream's."""
    found = contents.attributes["settings"]
    remedy = "Give another folder, or the settings that this one was begun with."
    if names := [name for name in {**found, **settings} if found.get(name) != settings.get(name)]:
        shown = "; ".join(f"{name}: {found.get(name, 'none')} in the folder, {settings.get(name, 'none')} now"
                          for name in names)
        raise refusal(contents.path, f"was begun with other settings. {shown}", remedy)
    if all(contents.file(name, 0).is_file() for name in contents.arrays):
        stored = contents.read_batch(0)
        # What settings do not show, such as what a function computes, the numbers do.
        if names := [name for name in stored if not agree(torch.from_numpy(first[name]), stored[name])]:
            raise refusal(contents.path, f"holds another stream: {', '.join(names)} of batch 0 is not what this one "
                          "gives, though all settings that have a name are equal. Did initial, observe, transform or "
                          "the solver's code change?", remedy)


class Stored(Dataset):
    """Windows of the trajectories in a store, read when they are needed.

    Item i is a window: the state at one time and those that follow it. Opening reads the description and checks it;
    every chunk is checked against its checksum when it is read. A copy in another process opens the files for itself.
    ``DataLoader(stored, batch_size=...)`` reads each batch at once.

    Args:
        path: the folder that ``store`` wrote.
        num_steps: length of the reference; all that the store has if None.

    Shapes: stored[i] is {"u0": (channels, *spatial), "reference": (num_steps, channels, *spatial), name: (...)};
        window i is from trajectory i // starts and begins at time i % starts, starts = stored steps - num_steps + 1.
    Raises: StoreError if the folder is no store, is incomplete or damaged, or does not hold what is asked for.
    """

    def __init__(self, path: str | Path, num_steps: int | None = None):
        self.path = expanded(path)
        contents = self._contents
        if missing := contents.missing():
            raise refusal(path, f"is incomplete: {len(missing)} of {contents.num_batches} batches are missing, the "
                          f"first is {missing[0]}", "Call store(...) as before to generate them, or restore them from "
                          "a copy.")
        self.dt = contents.attributes["dt"]
        self.num_trajectories, times = contents.arrays[STATES].shape[:2]
        self.num_steps = times - 1 if num_steps is None else num_steps
        if not 1 <= self.num_steps < times:
            raise refusal(path, f"has trajectories of {times - 1} steps, asked for windows of {self.num_steps}",
                          "Ask for less, or store more.")
        if not contents.attributes["windows"] and self.num_steps != times - 1:
            raise refusal(path, f"holds inputs with answers of {times - 1} steps that are no trajectories (Fresh had "
                           f"a transform), asked for windows of {self.num_steps}", f"Ask for {times - 1}.")
        self.starts = times - self.num_steps

    @functools.cached_property
    def _contents(self) -> Contents:
        return Contents(self.path)

    def __getstate__(self) -> dict:
        return {name: value for name, value in self.__dict__.items() if name != "_contents"}

    @property
    def attributes(self) -> dict:
        """What the store says about itself."""
        return self._contents.attributes

    @property
    def bytes_per_sample(self) -> float:
        """Bytes on disk for a trajectory with its parameters, description included."""
        total = sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())
        return total / self._contents.arrays[STATES].shape[0]

    def __len__(self) -> int:
        return self.num_trajectories * self.starts

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        return self.__getitems__([i])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Tensor]]:
        batch = self.batch(indices)
        return [{name: values[i] for name, values in batch.items()} for i in range(len(indices))]

    def batch(self, indices: Sequence[int] | Tensor) -> dict[str, Tensor]:
        """The windows of these numbers, stacked; every chunk is read once.

        Raises: TypeError for what is no sequence of integers, IndexError for a number outside 0 ... len(self) - 1.
        """
        indices = self._numbers(indices)
        which, start = indices // self.starts, indices % self.starts
        times = start[:, None] + torch.arange(self.num_steps + 1)
        samples, place = which.unique(return_inverse=True)
        values = self._contents.read(samples.numpy())
        states = values.pop(STATES)[place[:, None], times]  # (batch, num_steps + 1, channels, *spatial)
        return {"u0": states[:, 0], "reference": states[:, 1:], **{name: v[place] for name, v in values.items()}}

    def _numbers(self, indices: Sequence[int] | Tensor) -> Tensor:
        each = indices if isinstance(indices, Iterable) else []
        if isinstance(indices, (Tensor, np.ndarray)):
            each = indices[:1] if indices.ndim == 1 else []
        # A sequence may mix what torch would round or take for numbers: fractions, booleans.
        is_integer = [type(i) is int or np.ndim(i) == 0 and np.asarray(i).dtype.kind in "iu" for i in each]
        if not is_integer or not all(is_integer):
            raise TypeError(f"Stored: the windows {indices!r:.80} are asked for; give a sequence of integers, at least "
                            f"one, from 0 to {len(self) - 1}")
        numbers = np.asarray(indices).tolist()
        if outside := [i for i in numbers if not 0 <= i < len(self)]:
            raise IndexError(f"Stored: there is no window {outside[0]}; give numbers from 0 to {len(self) - 1}")
        return torch.tensor(numbers)

    def batches(self, batch_size: int, seed: int | None = None, *, seeds: Sequence[int] | None = None) -> "_Batches":
        """An endless stream of random windows for ``fit``, read from disk: bit for bit the batches of ``load``."""
        return _Batches(self, batch_size, one_or_more_seeds("Stored.batches", seed, seeds))

    def load(self, batch_size: int, seed: int | None = None, *, seeds: Sequence[int] | None = None,
             device: torch.device | str = "cpu") -> Windows:
        """All trajectories in memory."""
        values = self._contents.read(np.arange(self.num_trajectories))
        values = {name: value.to(device) for name, value in values.items()}
        return Windows(values.pop(STATES), self.num_steps, batch_size, seed, seeds=seeds, **values)


class _Batches:
    def __init__(self, stored: Stored, batch_size: int, seeds: tuple[int, ...]):
        if batch_size < 1:
            raise ValueError(f"Stored.batches: batch_size is {batch_size}; it must be at least 1")
        self.stored, self.batch_size, self.seeds = stored, batch_size, seeds

    def __getitem__(self, k: int) -> dict[str, Tensor]:
        return self.stored.batch(draw(len(self.stored), self.batch_size, self.seeds, k))

    def __iter__(self):
        return (self[k] for k in itertools.count())
