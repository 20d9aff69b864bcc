"""How a command can end without success: a user mistake, or a run to be restarted."""

import errno
import os

RESTART_STATUS = 75  # EX_TEMPFAIL of sysexits.h: start all processes again and the run goes on
INTERRUPTED_STATUS = 130  # as a shell has it for a program that Ctrl-C ended


class UserError(ValueError):
    """A mistake in input, options or files; its text says what, where and what to do.

    The command line prints it without a traceback and ends with exit status 2.
    """


class InUse(UserError):
    """Another process works in the folder."""


class Preempted(Exception):
    """The run was told to end and has saved what there is; run again, it goes on.

    Exit status RESTART_STATUS.
    """


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in a training, which has saved what there is; run again, it goes on.

    Exit status INTERRUPTED_STATUS. It is a KeyboardInterrupt, as Python programs expect one of Ctrl-C.
    """


_REMEDIES = {
    errno.EISDIR: "a file is expected there and a folder found; move it away",
    errno.ENOTEMPTY: "a file is expected there and a folder found; move it away",
    errno.ENAMETOOLONG: "give it a shorter name",
    errno.ENOTDIR: "a folder is expected there and a file found; move it away",
    errno.EEXIST: "a folder is expected there and a file found; move it away",
    errno.ELOOP: "its symbolic links lead in a circle, or are not followed here; delete them",
    errno.ENXIO: "a file is expected there, and no pipe, socket or device; move it away",
    errno.EACCES: "change its permissions",
    errno.EPERM: "change its permissions",
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "make room on the disk",
    errno.EFBIG: "the disk, or a limit of the shell, takes no larger file",
}
_BY_TYPE: dict[type, int] = {
    IsADirectoryError: errno.EISDIR,
    NotADirectoryError: errno.ENOTDIR,
    FileExistsError: errno.EEXIST,
    PermissionError: errno.EACCES,
}


def remedy_of(error: OSError) -> str | None:
    """What to do about a file or folder that is not what is expected; None for other errors."""
    return _REMEDIES.get(_number(error))


def _number(error: OSError) -> int:
    """That of the system; of an error without one, as etils raises them, by its type."""
    return error.errno or _BY_TYPE.get(type(error), 0)


def reason_of(error: OSError) -> str:
    """What is wrong, in the words of the system."""
    number = _number(error)
    return error.strerror or (os.strerror(number) if number else str(error))


def in_the_way(error: OSError, path: str) -> str:
    """Where the file or folder lies that an error of the system is about: what is not of the expected kind.

    `path` is what was to be read or written; the system names that, or a file beside it, also where a
    folder above it is none.
    """
    named = [
        os.fspath(name) for name in (error.filename2, error.filename) if isinstance(name, str | os.PathLike)
    ]
    if _number(error) in (errno.EISDIR, errno.ENOTEMPTY):
        return next(filter(os.path.isdir, named), path)
    if _number(error) in (errno.ENOTDIR, errno.EEXIST):
        return next(
            (above for name in (*named, path) for above in _above(name) if _is_no_folder(above)), path
        )
    return path


def _is_no_folder(path: str) -> bool:
    """Whether something else lies there, be it a link to nothing."""
    return os.path.lexists(path) and not os.path.isdir(path)


def _above(path: str) -> list[str]:
    """The path and the folders that it lies in."""
    found = [path]
    while (parent := os.path.dirname(found[-1])) not in ("", found[-1]):
        found.append(parent)
    return found


def explain(error: OSError) -> str:
    """What an error of the system is about and, where that is known, what to do; one line."""
    remedy = remedy_of(error)
    place = "" if error.filename is None else f"{in_the_way(error, str(error.filename))}: "
    return f"{place}{reason_of(error)}" + ("" if remedy is None else f" ({remedy})")


def require(condition: bool, message: str) -> None:
    """Raises UserError with `message` unless the condition holds."""
    if not condition:
        raise UserError(message)
