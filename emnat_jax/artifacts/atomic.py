"""Files that are written whole or not at all, and opened only where they are files."""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from etils import epath

from emnat_jax.artifacts.new_file import new_file
from emnat_jax.errors import UserError, in_the_way, reason_of, remedy_of, require

_STORES = ("gs", "s3", "az", "hf")  # that etils has
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def atomic_file(path: epath.PathLike) -> Iterator[BinaryIO]:
    """A binary file that appears under `path` when the block ends, and not when it fails.

    A reader sees the old file or the new one, never a part, however many processes write it; the bytes are on
    the disk before the name is. Raises UserError naming `path` when the disk is full or the folder cannot be
    written.
    """
    path = epath.Path(path)
    with _beside(path) if is_local(path) else _in_store(path) as file:
        yield file


def write_text(path: epath.PathLike, text: str) -> None:
    """A text file that appears whole or not at all; its folder is made where it is missing."""
    with atomic_file(path) as file:
        file.write(text.encode())


def write_lines(path: epath.PathLike, lines: Iterable[str]) -> None:
    """As `write_text`, of lines that a line feed each will end."""
    write_text(path, "".join(f"{line}\n" for line in lines))


@contextlib.contextmanager
def _in_store(path: epath.Path) -> Iterator[BinaryIO]:
    """An object of a store appears when it is closed: it is opened only once all of its bytes are there."""
    with user_errors(path), tempfile.TemporaryFile() as file:
        yield file
        file.seek(0)
        with path.open("wb") as remote:
            shutil.copyfileobj(file, remote)


@contextlib.contextmanager
def _beside(path: epath.Path) -> Iterator[BinaryIO]:
    """Written under another name, and renamed."""
    # One fixed name: what a killed writer left behind is overwritten by the next.
    unfinished = path.parent / f".{path.name}.tmp"
    with user_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with new_file(unfinished) as file, _deleted_on_error(unfinished):
            yield file
            file.flush()
            os.fsync(file.fileno())
            unfinished.replace(path)
        sync_folder(path.parent)


@contextlib.contextmanager
def _deleted_on_error(path: epath.Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def user_errors(path: epath.PathLike) -> Iterator[None]:
    """Raises UserError naming `path` where the disk is full or the folder cannot be written."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise UserError(f"{path}: the disk is full; make room and run the command again.") from error
        if isinstance(error, PermissionError | NotADirectoryError | IsADirectoryError | FileExistsError):
            place, remedy = in_the_way(error, os.fspath(path)), remedy_of(error)
            raise UserError(
                f"{place}: cannot be written ({reason_of(error)}); {remedy}, or choose another folder."
            ) from error
        raise


def is_local(path: epath.PathLike) -> bool:
    """False for object stores, where a file appears whole when it is closed and nothing can be appended."""
    return "://" not in os.fspath(path)


def require_store(path: epath.PathLike) -> None:
    """UserError for an address that is of no object store."""
    scheme, mark, _ = os.fspath(path).partition("://")
    require(
        not mark or scheme in _STORES,
        f"{path}: nothing is read from or written to {scheme}://; copy it to a disk and name that.",
    )


def reachable(path: epath.PathLike) -> epath.Path:
    """A path, ~ resolved; UserError as `require_store`, and for a store whose client is missing."""
    require_store(path)
    found = epath.Path(path).expanduser()
    try:
        found.exists()
    except ImportError as error:
        raise UserError(f"{path}: {error}; for gs:// pip install 'emnat_jax[gcs]'.") from error
    return found


def absolute(path: epath.PathLike) -> epath.Path:
    """The path from the root on, so that it has the folders above it; one of an object store as it is."""
    path = epath.Path(path)
    return epath.Path(os.path.abspath(path)) if is_local(path) else path


def require_file(path: epath.PathLike) -> None:
    """OSError for a pipe, a socket or a device: opened, it would be waited for, or have no end."""
    is_other = is_local(path) and not (os.path.isfile(path) or os.path.isdir(path))
    if is_other and os.path.exists(path):
        raise OSError(errno.ENXIO, "not a regular file", os.fspath(path))


def open_file(path: epath.PathLike) -> Any:  # a file of a store is no BinaryIO
    """A file of a workdir, a set or an export, opened for reading; OSError as `require_file`."""
    require_file(path)
    return epath.Path(path).open("rb")


def read_file(path: epath.PathLike) -> bytes:
    """All bytes of such a file."""
    with open_file(path) as file:
        data: bytes = file.read()
    return data


def append(path: epath.Path, lines: bytes) -> None:
    """Appends lines to a file; after one that a kill or a full disk cut short, on lines of their own.

    In an object store, which cannot append, the file is written anew.
    """
    if is_local(path):
        require_file(path)
        with open(path, "a+b") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - 1, 0))
            # At once, so that what other processes append stays whole as well.
            file.write(_after(file.read(1)) + lines)
        return
    old = path.read_bytes() if path.exists() else b""
    with atomic_file(path) as file:
        file.write(old + _after(old[-1:]) + lines)


def _after(last: bytes) -> bytes:
    """What ends the line whose last byte this is."""
    return b"" if last in (b"", b"\n") else b"\n"


def sync_folder(folder: epath.PathLike) -> None:
    """Puts a rename on the disk; without it a power failure may undo it."""
    descriptor = os.open(os.fspath(folder), os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
