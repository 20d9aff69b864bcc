"""A new file under a name that several processes may want at the same time: they take turns."""

import contextlib
import fcntl
import os
from typing import BinaryIO


def new_file(path: os.PathLike | str) -> BinaryIO:
    """An empty file, open for writing, that this process alone has under this name until it closes it.

    Waits while another process writes under the name; what a killed one has left there is deleted.
    """
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            _delete_left(path)
            continue
        _lock(descriptor)
        # Between the two another process may have taken it for one that was left.
        if _lies_at(path, descriptor):
            return open(descriptor, "wb")
        os.close(descriptor)


def _delete_left(path: os.PathLike | str) -> None:
    """Deletes what lies under a name, once nobody writes it any more.

    Of a link, in a folder from elsewhere, and of what is no file the name alone is looked at.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return
    except OSError:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        return
    try:
        _lock(descriptor)
        if _lies_at(path, descriptor):
            os.unlink(path)
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    """Waits until no other process has the file locked; the system unlocks those of one that is killed."""
    with contextlib.suppress(OSError):  # some file systems have no locks
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def _lies_at(path: os.PathLike | str, descriptor: int) -> bool:
    """Whether an open file still has this name."""
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False
