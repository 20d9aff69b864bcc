"""Configurations as nested dicts and back: config files, command-line overrides, comparison."""

import ast
import dataclasses
import difflib
import importlib.util
import json
import types as python_types
import typing
from pathlib import Path

from etils import epath

from emnat_jax.config import Config
from emnat_jax.errors import UserError, require


def to_dict(config) -> dict:
    """Nested plain dict of a configuration, as `config.json` holds it."""
    return dataclasses.asdict(config)


def to_config_dict(config: Config = Config()):
    """The configuration as a locked `ml_collections.ConfigDict`, for the files in configs/ to change."""
    import ml_collections

    values = ml_collections.ConfigDict(to_dict(config), convert_dict=True)
    return values.lock()


def load_sibling(file: str, name: str):
    """The module NAME.py beside the configuration `file`: configurations are files, not a package."""
    spec = importlib.util.spec_from_file_location(name, Path(file).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def use_text_files(data, folder: str, *, valid: str = "valid", test: str = "test", ending: str = "") -> None:
    """Sets `config.data` of a configuration file to a corpus that lies as FOLDER/SPLIT.LANGUAGE + `ending`."""
    data.kind, data.train_rows = "text", None
    for split, name in (("train", "train"), ("valid", valid), ("test", test)):
        for side in ("source", "target"):
            data[f"{split}_{side}"] = f"{folder}/{name}.{data[f'{side}_language']}{ending}"


def override(values: dict, key: str, text: str) -> None:
    """Sets the dotted `key` of a nested dict to `text`, read as the type that the key has.

    Raises UserError for an unknown key, naming the nearest, and for a text that is not of its type.
    """
    group, name, hint = _place(values, key)
    group[name] = _typed(_read(text, hint), hint, key)


def assign(values: dict, key: str, value) -> None:
    """Sets the dotted `key` of a nested dict; UserError as in `override`, and for a group of options."""
    group, name, hint = _place(values, key)
    require(
        not dataclasses.is_dataclass(hint),
        f"{key} is a group of options; set them one by one, e.g. {key}.KEY.",
    )
    group[name] = _typed(value, hint, key)


def _place(values: dict, key: str) -> tuple[dict, str, typing.Any]:
    """The innermost dict that a dotted key lies in (made where it is missing), its last part, and its type."""
    *groups, name = key.split(".")
    cls = Config
    for depth, group in enumerate(groups):
        _known(cls, group, ".".join([*groups[:depth], ""]))
        cls = typing.get_type_hints(cls)[group]
        require(dataclasses.is_dataclass(cls), f"{'.'.join(groups[: depth + 1])} is not a group of options.")
        values = values.setdefault(group, {})
    _known(cls, name, ".".join([*groups, ""]))
    return values, name, typing.get_type_hints(cls)[name]


def _read(text: str, hint):
    """A Python literal, or the text itself where a string is expected or nothing else can be read."""
    options = typing.get_args(hint) if isinstance(hint, python_types.UnionType) else (hint,)
    if str in options and not (text == "None" and type(None) in options):
        return text
    try:
        return ast.literal_eval(text.capitalize() if text in ("true", "false") else text)
    except (ValueError, SyntaxError):
        return text


def _known(cls: type, key: str, where: str) -> None:
    names = [f.name for f in dataclasses.fields(cls)]
    if key not in names:
        near = difflib.get_close_matches(key, names, n=1)
        hint = f"did you mean {where}{near[0]}?" if near else f"known keys: {', '.join(names)}."
        raise UserError(f"unknown configuration key {where}{key}; {hint}")


def read_saved(path: epath.Path) -> dict:
    """The nested dict in the config.json of a workdir; UserError where the file is damaged."""
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); restore it, or use a new workdir.") from error


def from_dict(values: dict, cls: type = Config, where: str = ""):
    """A configuration from a nested dict; missing keys keep their default.

    Raises UserError for an unknown key (naming the nearest) and for a value of another type.
    """
    hints = typing.get_type_hints(cls)
    for key in values:
        _known(cls, key, where)
    return cls(**{k: _typed(v, hints[k], where + k) for k, v in values.items()})


def _typed(value, hint, where: str):
    """`value` as the type that `hint` names; UserError where it is of another."""
    if dataclasses.is_dataclass(hint):
        require(isinstance(value, dict), f"{where}={value!r}: expected a group of options.")
        return from_dict(value, hint, where + ".")
    if isinstance(hint, python_types.UnionType):
        if value is None:
            return None
        return _typed(value, next(h for h in typing.get_args(hint) if h is not type(None)), where)
    if typing.get_origin(hint) is tuple:
        item = typing.get_args(hint)[0]
        kind = "names" if item is str else "numbers"
        require(isinstance(value, (list, tuple)), f"{where}={value!r}: expected a list of {kind}.")
        return tuple(_typed(v, item, where) for v in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    require(type(value) is hint, f"{where}={value!r}: expected a value of type {hint.__name__}.")
    return value


def differences(old: dict, new: dict, where: str = "") -> list[str]:
    """Dotted names of the leaves in which two nested dicts differ."""
    names = []
    for key in sorted({*old, *new}):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            names += differences(a, b, f"{where}{key}.")
        elif _plain(a) != _plain(b):
            names.append(f"{where}{key}")
    return names


def _plain(value):
    return list(value) if isinstance(value, tuple) else value
