"""Files on disk: written whole or not at all, tried before anything is computed for them, explained if it fails."""

import contextlib
import errno
import os
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_REMEDIES = {
    errno.ENOSPC: "free some space, or choose a place on another disk",
    errno.EDQUOT: "free some space, or choose a place on another disk",
    errno.EACCES: "make its folder writable, or choose another place",
    errno.EPERM: "make its folder writable, or choose another place",
    errno.EROFS: "choose a place that is not read-only",
    errno.EISDIR: "it is a folder, so choose the name of a file in it",
    errno.ENOTDIR: "a part of the path is a file, so choose another path",
    errno.EEXIST: "a part of the path is a file, so choose another path",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EMFILE: "close files that are open, or raise the limit (ulimit -n)",
}


def expanded(path: str | os.PathLike) -> Path:
    """The path, in which ``~`` is the home folder."""
    return Path(os.path.expanduser(path))


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Where ``path`` is written: an OSError becomes one (of the same kind) that names it, the reason and a remedy."""
    try:
        yield
    except OSError as error:
        number = error.errno or errno.EIO
        raise OSError(number, f"{path} cannot be written ({error.strerror or error}): "
                      f"{_REMEDIES.get(number, 'choose another place')}; what was there is unchanged") from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside ``path``; at the end flush it to the disk, then rename it over ``path``.

    Whoever reads, and whenever the process is killed: the file is the old one or the new one. A kill while writing can
    leave a ``*.tmp`` beside it, which nothing reads.

    Raises: OSError, which names the file, the reason and what to do.
    """
    with explained(path), _replacing(path) as file:
        yield file


def present(path: Path) -> bool:
    """Whether there is such a file.   Raises: OSError, explained, for a folder, and where one may not look."""
    with explained(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        return path.exists()


def writable(path: Path) -> None:
    """Try whether ``path`` can be written as ``replacing`` does, and make its folder; a file that is there stays.

    Raises: OSError, as ``replacing`` would, before anything has been computed for the file.
    """
    present(path)
    with explained(path):
        _try(path.parent, path.name)


def writable_folder(folder: Path) -> None:
    """Try whether files can be written in a folder, and make it; see ``writable``."""
    with explained(folder):
        _try(folder, "file")


def _try(folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, suffix=".tmp") as inside, _replacing(Path(inside, name)) as file:
        file.write(bytes(4096))  # a block: on a full disk an empty file can still be made


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    temporary = path.with_name(f"{path.name[:40]}.{uuid.uuid4().hex}.tmp")  # never too long where the name is not
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
