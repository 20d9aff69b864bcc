"""Checks of the values of options, for `__post_init__`. Each raises OptionError."""

from collections.abc import Callable
from typing import Any

from emnat_jax.errors import UserError


class OptionError(UserError):
    """A value that an option cannot have.

    The dataclass that checks it knows its own fields and not the key that leads to it ("student.",
    "teacher_train.optim."): `text(where)` is the message with `where` before the name of every field. Whoever
    builds the dataclass from keys says `where`; else the fields stand alone.
    """

    def __init__(self, text: Callable[[str], str]):
        super().__init__(text(""))
        self.text = text


class NotInTable(OptionError):
    """A name that its table does not hold: of nothing at all, or of a line that nobody has entered yet."""


def check(holds: bool, text: Callable[[str], str]) -> None:
    """OptionError with the message `text(where)` unless the condition holds.

    check(self.seed >= 0, lambda at: f"{at}seed={self.seed}: use 0 or more.")
    """
    if not holds:
        raise OptionError(text)


def one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    """OptionError for a value that is not among the choices."""
    check(value in choices, lambda at: f"{at}{name}={value!r}: choose one of {', '.join(choices)}.")


def each(options: object, names: tuple[str, ...], holds: Callable[[Any], bool], use: str) -> None:
    """OptionError for the first of these options that is given and does not hold; `use` says what to use."""
    for name in names:
        _optional(name, getattr(options, name), holds, use)


def _optional(name: str, value: Any, holds: Callable[[Any], bool], use: str) -> None:
    check(value is None or holds(value), lambda at: f"{at}{name}={value!r}: use {use}.")


def positive(options: object, *names: str) -> None:
    """OptionError for an option that is given and not above 0."""
    each(options, names, lambda value: value > 0, "a positive number")
