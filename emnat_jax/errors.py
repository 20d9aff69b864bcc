"""The one exception that means: the user can mend this."""


class UserError(ValueError):
    """A mistake in input, options or files; its text says what, where and what to do.

    The command line prints it without a traceback and ends with exit status 2.
    """
