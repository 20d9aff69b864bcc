"""How a command can end without success: a user mistake, or a run to be restarted."""

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


def require(condition: bool, message: str) -> None:
    """Raises UserError with `message` unless the condition holds."""
    if not condition:
        raise UserError(message)
