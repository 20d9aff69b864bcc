"""How a command can end without success: a user mistake, or a run to be restarted."""

import errno

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


def remedy_of(error: OSError) -> str | None:
    """What to do about a file or folder that is not what is expected; None for other errors."""
    return _REMEDIES.get(error.errno or 0)


def explain(error: OSError) -> str:
    """What an error of the system is about and, where that is known, what to do; one line."""
    place, remedy = "" if error.filename is None else f"{error.filename}: ", remedy_of(error)
    return f"{place}{error.strerror or error}" + ("" if remedy is None else f" ({remedy})")


def require(condition: bool, message: str) -> None:
    """Raises UserError with `message` unless the condition holds."""
    if not condition:
        raise UserError(message)
