"""The configuration that `--config=FILE.py` and `--config.a.b=VALUE` stand for."""

import importlib.util
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from etils import epath

from emnat_jax.artifacts import paths
from emnat_jax.artifacts.atomic import reachable
from emnat_jax.artifacts.foreign import refuse_foreign_workdir
from emnat_jax.config import Config
from emnat_jax.config.convert import from_dict, override, to_dict
from emnat_jax.errors import UserError, require
from emnat_jax.runtime.messages import say

_FILE, _KEY = "--config=", "--config."


def read_config(arguments: list[str], workdir: str | None = None) -> Config:
    """The configuration of a file, else of the workdir if it has one, else the defaults; then the keys given.

    `arguments` are the `--config...` ones of the command line.
    """
    values = _base(_file(arguments), workdir)
    for argument in arguments:
        if argument.startswith(_KEY):
            key, _, text = argument.removeprefix(_KEY).partition("=")
            override(values, key, text)
    return from_dict(values)


def read_grid(arguments: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What every run of a sweep shares, and what get_grid() of the same `--config` file returns."""
    file = _file(arguments)
    if file is None:
        raise UserError("a sweep needs --config=FILE.py with get_config() and get_grid().")
    seeds = [argument for argument in arguments if argument.startswith("--config.seed")]
    require(not seeds, f"{', '.join(seeds)}: a sweep takes its seeds from --seeds.")
    return to_dict(read_config(arguments)), _call(file, "get_grid")


def _file(arguments: list[str]) -> Path | None:
    files = [argument.removeprefix(_FILE) for argument in arguments if argument.startswith(_FILE)]
    require(not files or bool(files[-1]), "--config: name a file, --config=FILE.py.")
    return Path(files[-1]).expanduser() if files else None


def _base(file: Path | None, workdir: str | None) -> dict[str, Any]:
    """The nested dict that single keys change."""
    directory = reachable(workdir) if workdir else None
    if directory is not None:
        require(
            not directory.is_file(),
            f"--workdir={workdir}: a file, where a folder is expected; name another, or move it away.",
        )
        refuse_foreign_workdir(directory)
    if file is not None:
        config = _call(file, "get_config")
        config = config.to_dict() if hasattr(config, "to_dict") else config
        form = "get_config() is to give a ConfigDict, or a dict of groups by their names"
        is_dict = isinstance(config, Mapping) and all(isinstance(key, str) for key in config)
        require(is_dict, f"--config={file}: {form}, not {type(config).__name__}.")
        return dict(config)
    saved = None if directory is None else _saved(directory)
    return to_dict(saved or Config())


def _saved(directory: epath.Path) -> Config | None:
    """The configuration of a workdir; None where nothing was made."""
    from emnat_jax.artifacts import saved_config  # it imports what the help of commands does not need
    from emnat_jax.artifacts.journal import JOURNAL_NAME

    config, path = saved_config.read_config(directory), directory / paths.CONFIG
    remedy = "restore one of them; every command but em also takes --config=FILE.py with what it held"
    saved_config.require_found(directory, config, remedy)
    if config is not None and not path.exists():
        say(f"{path} is lost; goes by its copy in {JOURNAL_NAME}.")
    return config


def _call(path: Path, function: str) -> Any:
    """What a function of a configuration file returns; UserError with file and line for what it raises."""
    if not path.is_file():
        found = "no regular file" if path.exists() else "no such file"
        raise UserError(f"--config={path}: {'a folder; name a file' if path.is_dir() else found}.")
    spec = importlib.util.spec_from_file_location("emnat_config", path)
    if spec is None or spec.loader is None:
        raise UserError(f"--config={path}: a configuration is a Python file with a function get_config().")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
        require(hasattr(module, function), f"--config={path}: the file has no function {function}().")
        return getattr(module, function)()
    except UserError:
        raise
    except Exception as error:
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
        where = f"{path}:{lines[-1]}" if lines else str(path)
        reason = str(error).strip().splitlines() or [""]
        raise UserError(f"{where}: {type(error).__name__}: {reason[0]}") from error
