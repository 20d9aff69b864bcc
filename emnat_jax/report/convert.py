"""Records as JSON and back: what is read is what was written, or a UserError names the file and the field."""

import dataclasses
import json
import types
import typing
from typing import Any, TypeVar

from emnat_jax.config import Config, SelectConfig
from emnat_jax.config.convert import from_dict, to_dict
from emnat_jax.errors import UserError

SCHEMA_VERSION = 2  # of every file that holds a record; it goes up when a field changes its meaning or goes
_OPTIONS = (Config, SelectConfig)  # written and read as config.json is
_NAMES: dict[type, str] = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    bool: "true or false",
    dict: "an object",
    list: "a list",
}
_Record = TypeVar("_Record")


class _Mismatch(Exception):
    """A value that is not of its field's type."""


def to_json(value: Any) -> Any:
    """Records, mappings and sequences of them as nested dicts, lists and plain values."""
    if isinstance(value, _OPTIONS):
        return to_dict(value)
    if dataclasses.is_dataclass(value):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {name: to_json(item) for name, item in value.items()}
    return [to_json(item) for item in value] if isinstance(value, list | tuple) else value


def dumps(record: Any) -> str:
    """The text of a file that holds one record, its schema version first."""
    return json.dumps(to_values(record), indent=2, ensure_ascii=False)


def to_values(record: Any) -> dict[str, Any]:
    """What such a file holds, as plain values."""
    return {"schema_version": SCHEMA_VERSION, **to_json(record)}


def loads(cls: type[_Record], text: str, where: str, mend: str) -> _Record:
    """The record of the type `cls` in the text of a file.

    Raises UserError for a damaged file and for another schema version. `where` names the file, `mend` says
    what to do about it.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where} is damaged ({error}); {mend}") from error
    return from_values(cls, values, where, mend)


def from_values(cls: type[_Record], values: Any, where: str, mend: str) -> _Record:
    """The record in what `to_values` made; UserError as of `loads`."""
    version = values.get("schema_version") if isinstance(values, dict) else None
    if version != SCHEMA_VERSION:
        newer = isinstance(version, int) and version > SCHEMA_VERSION
        raise UserError(
            f"{where} has schema version {version}, this emnat_jax reads {SCHEMA_VERSION}; "
            f"{'update the package.' if newer else mend}"
        )
    return from_json(cls, {k: v for k, v in values.items() if k != "schema_version"}, where, mend)


def from_json(cls: type[_Record], values: Any, where: str, mend: str) -> _Record:
    """The record `cls` in plain values. UserError, as of `loads`, where a field does not fit."""
    try:
        return _typed(values, cls, "")
    except _Mismatch as error:
        raise UserError(f"{where} is damaged: {error}; {mend}") from error


def _typed(value: Any, hint: Any, name: str) -> Any:
    """`value` as the type that `hint` names; `name` is the field's, for messages."""
    origin = typing.get_origin(hint)
    if isinstance(hint, types.UnionType):
        return _one_of(value, typing.get_args(hint), name)
    if hint in _OPTIONS:
        return from_dict(_a(dict, value, name), hint, f"{name}.")
    if hint is Any:
        return value
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _record(_a(dict, value, name), hint, name)
    if typing.is_typeddict(hint):
        return _entry(_a(dict, value, name), typing.get_type_hints(hint), name)
    if origin is dict:
        item = typing.get_args(hint)[1]
        return {key: _typed(part, item, f"{name}.{key}") for key, part in _a(dict, value, name).items()}
    if origin is list:
        item = typing.get_args(hint)[0]
        return [_typed(part, item, f"{name}[{i}]") for i, part in enumerate(_a(list, value, name))]
    if origin is tuple:
        return _tuple(_a(list, value, name), typing.get_args(hint), name)
    if hint is float and type(value) is int:
        return _float(value, name)
    return _a(hint, value, name)


def _float(value: int, name: str) -> float:
    try:
        return float(value)
    except OverflowError as error:
        raise _Mismatch(f"{name} is too large a number") from error


def _record(values: dict[str, Any], cls: type, name: str) -> Any:
    """A dataclass with every field that has no default, and no field that it does not have."""
    hints, dot = typing.get_type_hints(cls), "." if name else ""
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for key in values.keys() - fields.keys():
        raise _Mismatch(f"{name}{dot}{key} is no field of it")
    for key, field in fields.items():
        if key not in values and field.default is dataclasses.MISSING:
            raise _Mismatch(f"{name}{dot}{key} is missing")
    return cls(**{key: _typed(value, hints[key], f"{name}{dot}{key}") for key, value in values.items()})


def _entry(values: dict[str, Any], hints: dict[str, Any], name: str) -> dict[str, Any]:
    """A dict with exactly these keys."""
    for key in values.keys() ^ hints.keys():
        raise _Mismatch(f"{name}.{key} is {'missing' if key in hints else 'no field of it'}")
    return {key: _typed(value, hints[key], f"{name}.{key}") for key, value in values.items()}


def _tuple(values: list[Any], items: tuple[Any, ...], name: str) -> tuple[Any, ...]:
    """Of any length where its type ends in an ellipsis, else of as many items as the type has."""
    if items[-1] is Ellipsis:
        items = items[:1] * len(values)
    if len(values) != len(items):
        raise _Mismatch(f"{name} has {len(values)} items, not {len(items)}")
    return tuple(
        _typed(value, item, f"{name}[{i}]") for i, (value, item) in enumerate(zip(values, items, strict=True))
    )


def _one_of(value: Any, hints: tuple[Any, ...], name: str) -> Any:
    """As the first of several types that fits; None is itself, where it is one of them."""
    if value is None and type(None) in hints:
        return None
    *others, last = (hint for hint in hints if hint is not type(None))
    for hint in others:
        try:
            return _typed(value, hint, name)
        except _Mismatch:
            continue
    return _typed(value, last, name)


def _a(kind: type, value: Any, name: str) -> Any:
    """The value, where it is of the type that JSON has for `kind`."""
    if type(value) is not kind:
        raise _Mismatch(f"{name or 'its content'} is {value!r}, not {_NAMES.get(kind, kind.__name__)}")
    return value
