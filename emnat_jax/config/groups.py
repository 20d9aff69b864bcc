"""Groups of options that another option names: those of the family, of the task, of the E-step's rule.

    family: str = "ar"
    options: FamilyOptions | None = field(default=None, metadata=named_by("family", lambda: FAMILIES))

As nested dicts such options stand under the name that is chosen: {"family": "ctc", "ctc": {"factor": 2}}.
Their type is looked up in the table when a configuration is converted, so that lines which a config file has
entered count.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

from emnat_jax.config.checks import NotInTable, check

KEY = "named_by"


@runtime_checkable
class Line(Protocol):
    """What a line of such a table has at least."""

    @property
    def options(self) -> type | None:
        """The frozen dataclass of its options; None where it has none."""


class NamedGroup(NamedTuple):
    """Where the name and the type of an option group come from."""

    sibling: str  # the field of the same dataclass that holds the name
    table: Callable[[], Mapping[str, Line]]

    def types(self) -> dict[str, type]:
        """The options' type of every name that has options."""
        return {name: line.options for name, line in self.table().items() if line.options is not None}


def named_by(sibling: str, table: Callable[[], Mapping[str, Line]]) -> dict[str, NamedGroup]:
    """Metadata of a field that holds the options of the line which `sibling` names; None: its defaults."""
    return {KEY: NamedGroup(sibling, table)}


def named_group(field: dataclasses.Field) -> NamedGroup | None:
    """What `named_by` said of a field; None of any other field."""
    return field.metadata.get(KEY)


def chosen_options(name: str, chosen: str, options: Any, table: Mapping[str, Line]) -> Any:
    """`options`, or the defaults of the line `chosen` where they are None.

    OptionError for a name that the table does not hold, and for options of another line's type; `name` is
    the option that chooses, for messages.
    """
    in_table(name, chosen, table)
    wanted = table[chosen].options
    if options is None:
        return None if wanted is None else wanted()
    check(
        wanted is not None and isinstance(options, wanted),
        lambda at: (
            f"{at}{name}={chosen!r} with {type(options).__name__}: its options are of the type "
            f"{wanted.__name__ if wanted else None}."
        ),
    )
    return options


def in_table(name: str, chosen: str, table: Mapping[str, Line]) -> None:
    """NotInTable where the option `name` chooses what the table does not hold."""
    if chosen not in table:
        raise NotInTable(
            lambda at: (
                f"{at}{name}={chosen!r}: choose one of {', '.join(table)}; one of your own is known once it "
                "stands there: give the file that enters it, --config=FILE.py, or enter it first in Python."
            )
        )
