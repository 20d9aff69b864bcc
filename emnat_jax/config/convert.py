"""Configurations as nested dicts and back: config files, command-line overrides, comparison."""

import ast
import copy
import dataclasses
import difflib
import importlib.util
import math
import sys
import types as python_types
import typing
from pathlib import Path

from emnat_jax.config.checks import OptionError
from emnat_jax.config.groups import NamedGroup, in_table, named_group
from emnat_jax.config.program import Config
from emnat_jax.errors import UserError, require


def to_dict(config: typing.Any) -> dict[str, typing.Any]:
    """Nested plain dict of a configuration, as `config.json` holds it.

    Of options that a name chooses (`config/groups.py`) the chosen ones, under that name.
    """
    return _as_dict(config, every_group=False)


def _as_dict(config: typing.Any, *, every_group: bool) -> dict[str, typing.Any]:
    """With `every_group` also the defaults of the options that were not chosen."""
    values = {}
    for field in dataclasses.fields(config):
        value, group = getattr(config, field.name), named_group(field)
        if group is None:
            is_group = dataclasses.is_dataclass(value)
            values[field.name] = _as_dict(value, every_group=every_group) if is_group else value
            continue
        chosen = getattr(config, group.sibling)
        for name, options in group.types().items():
            if name == chosen or every_group:
                given = value if name == chosen and value is not None else options()
                values[name] = _as_dict(given, every_group=every_group)
    return values


def to_config_dict(config: Config = Config()) -> typing.Any:
    """The configuration as a locked `ml_collections.ConfigDict`, for the files in configs/ to change.

    It offers the options of every family, task and rule in their tables; enter your own before.
    """
    import ml_collections

    values = ml_collections.ConfigDict(_as_dict(config, every_group=True), convert_dict=True)
    return values.lock()


def replace(config: Config, changes: typing.Mapping[str, typing.Any]) -> Config:
    """The configuration with other values of some dotted keys, those of the command line.

        replace(Config(), {"student.family": "dag", "student.dag.factor": 3, "student_train.steps": 500})

    UserError for an unknown key (naming the nearest), for a value of another type or out of range, and for
    options of a family, task or rule that is not the chosen one.
    """
    return changed(to_dict(config), changes)


def changed(values: dict, changes: typing.Mapping[str, typing.Any]) -> Config:
    """As `replace`, of a configuration as a nested dict, which stays as it is."""
    values = copy.deepcopy(values)
    for key, value in changes.items():
        assign(values, key, value)
    return from_dict(values)


def checked(config: object) -> Config:
    """A configuration from Python as one from a file would be: each value is of its type.

    UserError for what is no Config, and for a value of another type, at which no dataclass looks.
    """
    require(
        isinstance(config, Config),
        f"config is of type {type(config).__name__}; give an emnat_jax.Config: config.replace makes one of "
        "the keys that the command line has.",
    )
    return from_dict(to_dict(config))


def load_sibling(file: str, name: str) -> python_types.ModuleType:
    """The module NAME.py beside the configuration `file`: configurations are files, not a package."""
    spec = importlib.util.spec_from_file_location(f"emnat_config_{name}", Path(file).with_name(f"{name}.py"))
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    assert spec.loader is not None
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def use_text_files(
    data: typing.Any, folder: str, *, valid: str = "valid", test: str = "test", ending: str = ""
) -> None:
    """Sets `config.data` of a configuration file to a corpus of files FOLDER/SPLIT.LANGUAGE + `ending`."""
    data.kind = "text"
    for split, name in (("train", "train"), ("valid", valid), ("test", test)):
        for side in ("source", "target"):
            data[f"{split}_{side}"] = f"{folder}/{name}.{data[f'{side}_language']}{ending}"


def override(values: dict, key: str, text: str) -> None:
    """Sets the dotted `key` of a nested dict to `text`, read as the type that the key has.

    Raises UserError for an unknown key, naming the nearest, and for a text that is not of its type.
    """
    group, name, hint = _place(values, key)
    group[name] = _typed(_read(text, hint), hint, key)


def assign(values: dict, key: str, value: typing.Any) -> None:
    """Sets the dotted `key` of a nested dict; UserError as in `override`, and for a group of options."""
    group, name, hint = _place(values, key)
    require(
        not dataclasses.is_dataclass(hint),
        f"{key} is a group of options; set them one by one, e.g. {key}.KEY.",
    )
    group[name] = _typed(value, hint, key)


def _place(values: dict, key: str) -> tuple[dict, str, typing.Any]:
    """The innermost dict of a dotted key (made where it is missing), the key's last part, and its type."""
    *groups, name = key.split(".")
    keys = _keys(Config)
    for depth, group in enumerate(groups):
        _known(keys, group, ".".join([*groups[:depth], ""]))
        cls = keys[group]
        require(dataclasses.is_dataclass(cls), f"{'.'.join(groups[: depth + 1])} is not a group of options.")
        keys, values = _keys(cls), values.setdefault(group, {})
    _known(keys, name, ".".join([*groups, ""]))
    return values, name, keys[name]


def _keys(cls: type) -> dict[str, typing.Any]:
    """The keys of the dict form of a dataclass, and the type of each."""
    hints, groups = typing.get_type_hints(cls), _named_groups(cls)
    keys = {field.name: hints[field.name] for field in dataclasses.fields(cls) if field.name not in groups}
    for group in groups.values():
        keys = group.types() | keys
    return keys


def _named_groups(cls: type) -> dict[str, NamedGroup]:
    """The fields of a dataclass whose options another field names."""
    found = {field.name: named_group(field) for field in dataclasses.fields(cls)}
    return {name: group for name, group in found.items() if group is not None}


def _read(text: str, hint: typing.Any) -> typing.Any:
    """A Python literal, or the text itself where a string is expected or nothing else can be read."""
    options = typing.get_args(hint) if isinstance(hint, python_types.UnionType) else (hint,)
    is_list = tuple[str, ...] in options and text[:1] in ("(", "[")
    if str in options and not is_list and not (text == "None" and type(None) in options):
        return text
    try:
        return ast.literal_eval(text.capitalize() if text in ("true", "false") else text)
    except (ValueError, SyntaxError):
        return text.split(",") if tuple[str, ...] in options and not is_list else text


def _known(keys: dict[str, typing.Any], key: str, where: str) -> None:
    if key not in keys:
        near = difflib.get_close_matches(key, keys, n=1)
        hint = f"did you mean {where}{near[0]}?" if near else f"known keys: {', '.join(keys)}."
        raise UserError(f"unknown configuration key {where}{key}; {hint}")


def from_dict(values: dict, cls: type = Config, where: str = "") -> typing.Any:
    """A configuration from a nested dict; missing keys keep their default.

    Raises UserError for an unknown key (naming the nearest), for a value of another type or out of range, and
    for options of a family, task or rule that is not the chosen one. `where` leads to these keys, for errors.
    """
    defaults = {field.name: field.default for field in dataclasses.fields(cls)}
    groups = _named_groups(cls)
    chosen = {name: values.get(group.sibling, defaults[group.sibling]) for name, group in groups.items()}
    for name, group in groups.items():
        sibling = f"{where}{group.sibling}"
        in_table(sibling, _typed(chosen[name], str, sibling), group.table())
    keys = _keys(cls)
    for key in values:
        _known(keys, str(key), where)
    typed = {key: _typed(value, keys[key], where + key) for key, value in values.items()}
    for name, group in groups.items():
        options = _take_chosen(typed, group, chosen[name], where)
        is_open = defaults[name] is None
        typed[name] = options if options is not None or is_open else group.types()[chosen[name]]()
    missing = [name for name, value in defaults.items() if value is dataclasses.MISSING and name not in typed]
    require(not missing, f"{', '.join(where + name for name in missing)}: missing.")
    try:
        return cls(**typed)
    except OptionError as error:
        raise UserError(error.text(where)) from error


def _take_chosen(typed: dict[str, typing.Any], group: NamedGroup, chosen: str, where: str) -> typing.Any:
    """The chosen options, taken out of `typed` with the others of the group; None where they are defaults.

    UserError where others were set.
    """
    options = None
    for name, cls in group.types().items():
        given = typed.pop(name, None)
        if given is None or given == cls():
            continue
        if name != chosen:
            changed = differences(to_dict(cls()), to_dict(given), f"{where}{name}.")
            raise UserError(
                f"{', '.join(changed)}: {where}{group.sibling}={chosen} does not have that; leave it at its "
                f"default, or set {where}{group.sibling}={name}."
            )
        options = given
    return options


def _typed(value: typing.Any, hint: typing.Any, where: str) -> typing.Any:
    """`value` as the type that `hint` names; UserError where it is of another."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        require(isinstance(value, dict), f"{where}={value!r}: expected a group of options.")
        return from_dict(value, hint, where + ".")
    if isinstance(hint, python_types.UnionType):
        if value is None:
            return None
        options = [h for h in typing.get_args(hint) if h is not type(None)]
        return _typed(value, options[isinstance(value, list | tuple) and len(options) > 1], where)
    if typing.get_origin(hint) is tuple:
        item = typing.get_args(hint)[0]
        kind = "names, e.g. a,b" if item is str else "numbers, e.g. 8,16 or (8,)"
        require(isinstance(value, (list, tuple)), f"{where}={value!r}: expected a list of {kind}.")
        return tuple(_typed(v, item, where) for v in value)
    if type(value) is int and where != "seed":  # which is hashed, whatever its size
        # Devices count in 32 bits; not shown, since there are numbers too long for that.
        require(abs(value) < 1 << 31, f"{where}: a number of that size is too large; use one below 2^31.")
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is float:  # as of 1e400
        require(math.isfinite(value), f"{where}={value}: expected a finite number.")
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


def _plain(value: typing.Any) -> typing.Any:
    return list(value) if isinstance(value, tuple) else value
