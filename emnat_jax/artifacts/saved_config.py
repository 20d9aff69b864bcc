"""The configuration that a workdir was begun with: config.json, and its copy in the journal."""

import json
from typing import Any

from etils import epath

from emnat_jax.artifacts import paths
from emnat_jax.artifacts.as_json import as_json
from emnat_jax.artifacts.atomic import read_file, write_text
from emnat_jax.artifacts.journal import (
    JOURNAL_NAME,
    journal_lines,
    line_count,
    parse_line,
    read_journal,
    write_journal,
)
from emnat_jax.artifacts.sealed import digest
from emnat_jax.config import Config
from emnat_jax.config.convert import from_dict, to_dict
from emnat_jax.errors import UserError, require

EVENT = "configuration"
_OF_COPY = (EVENT.encode(), b'"config"', b'"sha256"')  # what the line of a copy has
_THEN = {"em": {"later_optimizer": "new"}}  # group -> option -> value


def as_saved(config: Config) -> dict[str, Any]:
    """As config.json holds it: tuples become lists."""
    return as_json(to_dict(config))


def read_config(directory: epath.PathLike) -> Config | None:
    """The configuration of a workdir; None where none was kept.

    Where config.json is lost, it is the copy in the journal. Options that came after the workdir was begun
    have their default, or what the program did then (`_THEN`). UserError for a damaged file.
    """
    directory = epath.Path(directory)
    path, copy = directory / paths.CONFIG, copy_of(directory)
    if not path.exists():
        return None if copy is None else _made_of(copy, directory / JOURNAL_NAME)
    remedy = "restore it, or use a new workdir"
    if copy is not None:
        remedy = f"delete it: {JOURNAL_NAME} holds the same, and the next command reads it there"
    known = _recorded(directory)
    try:
        values = json.loads(read_file(path))
        require(isinstance(values, dict), "it is not an object")
        is_whole = known is not None and digest(values) in known
        require(known is None or is_whole, f"{JOURNAL_NAME} knows no such configuration")
        if not is_whole:
            return from_dict(_as_then(values))
    except (ValueError, RecursionError, OSError) as error:
        text = str(getattr(error, "strerror", error)) or type(error).__name__
        reason = text.splitlines()[0].rstrip(".")
        raise UserError(f"{path} is damaged ({reason}); {remedy}.") from error
    return _made_of(values, path)


def _made_of(values: dict[str, Any], path: epath.Path) -> Config:
    """The configuration in a file that is whole.

    UserError for what this program does not know: a family or a rule that no file has entered, an option of a
    newer version.
    """
    try:
        return from_dict(_as_then(values))
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _as_then(values: dict[str, Any]) -> dict[str, Any]:
    """The same with what the program did before it had these options."""
    for group, options in _THEN.items():
        found = values.get(group)
        if isinstance(found, dict):
            values = values | {group: options | found}
    return values


def write_config(directory: epath.PathLike, config: Config) -> None:
    """Writes config.json."""
    write_text(epath.Path(directory) / paths.CONFIG, json.dumps(as_saved(config), indent=2) + "\n")


def note_config(directory: epath.PathLike, config: Config, changed: list[str]) -> None:
    """Puts a copy into the journal, unless it is there; `changed` are the keys that differ from before."""
    values = as_saved(config)
    if copy_of(directory) != values:
        write_journal(directory, event=EVENT, changed=changed, config=values, sha256=digest(values))


def copy_of(directory: epath.PathLike) -> dict[str, Any] | None:
    """The last configuration in the journal; None where there is none, or a later one was damaged.

    One that a kill cut short never came to be used.
    """
    copy = None
    for line in journal_lines(directory):
        found = parse_line(line) or {}
        if found.get("event") == EVENT and _is_whole(found):
            copy = found["config"]
        elif all(part in line for part in _OF_COPY) and line.endswith(b"}"):
            copy = None
    return copy


def _is_whole(line: dict[str, Any]) -> bool:
    # Lines of before have no hash.
    values = line.get("config")
    return isinstance(values, dict) and line.get("sha256", digest(values)) == digest(values)


def _recorded(directory: epath.Path) -> set[str] | None:
    """The hashes of all configurations that the journal has; None where a damaged line may hold another."""
    lines = read_journal(directory)
    noted = [line for line in lines if line.get("event") == EVENT]
    is_whole = len(lines) == line_count(directory) and all("sha256" in x and _is_whole(x) for x in noted)
    return {line["sha256"] for line in noted} if noted and is_whole else None


def require_found(
    directory: epath.PathLike, config: Config | None, remedy: str = "restore one of them"
) -> None:
    """UserError where something was made in the workdir, and nothing says with which configuration.

    `config` is what `read_config` found.
    """
    directory = epath.Path(directory)
    begun = any((directory / name).exists() for name in (paths.VOCABULARY, paths.ROUNDS))
    require(
        config is not None or not begun,
        f"{directory / paths.CONFIG} is lost, and {JOURNAL_NAME} has no whole copy of it; {remedy}.",
    )
