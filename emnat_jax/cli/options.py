"""What the commands share: the configuration from the command line, the workspace, lines of text."""

import argparse
import importlib.util
import json
import os
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from etils import epath

from emnat_jax.artifacts import paths
from emnat_jax.artifacts.earlier import refuse_earlier_workdir
from emnat_jax.config import Config
from emnat_jax.config.convert import from_dict, override, read_saved, to_dict
from emnat_jax.errors import UserError, require
from emnat_jax.report.convert import to_json

DEFAULT_WORKDIR = "runs/quickstart"


def add_workdir(parser: argparse.ArgumentParser, default: str = DEFAULT_WORKDIR) -> None:
    """`--workdir`, and the two lines of help about `--config`."""
    parser.add_argument("--workdir", default=default, help=f"default: {default}")
    group = parser.add_argument_group("configuration")
    text = "a file with get_config(); default: the workdir's config.json, or the bundled demo's"
    group.add_argument("--config", metavar="FILE.py", help=text)
    group.add_argument("--config.KEY", metavar="VALUE", help="set one key, e.g. --config.em.rounds=3")
    add_processes(parser)


def add_processes(parser: argparse.ArgumentParser) -> None:
    """How the processes of one run find each other."""
    group = parser.add_argument_group("many hosts: start the same command on each")
    group.add_argument(
        "--on-all-hosts", action="store_true", help="find the others through Cloud TPU, GKE or Slurm"
    )
    group.add_argument("--coordinator", metavar="HOST:PORT", help="where process 0 listens")
    group.add_argument("--processes", type=int, metavar="N", help="how many there are")
    group.add_argument("--process", type=int, metavar="I", help="which this is, from 0")


def read_config(arguments: list[str], workdir: str | None = None) -> Config:
    """The configuration that `--config=FILE.py` and `--config.a.b=VALUE` arguments ask for.

    Without a file: that of the workdir, if it has one, else the defaults.
    """
    files = [a.removeprefix("--config=") for a in arguments if a.startswith("--config=")]
    values = _base(files[-1] if files else None, workdir)
    for argument in arguments:
        if argument.startswith("--config."):
            key, _, text = argument.removeprefix("--config.").partition("=")
            override(values, key, text)
    return from_dict(values)


def _base(file: str | None, workdir: str | None) -> dict:
    directory = _reachable(workdir) if workdir else None
    if directory is not None:
        refuse_earlier_workdir(directory)
    if file is not None:
        return _run_config_file(Path(file))
    if directory is not None and (directory / paths.CONFIG).exists():
        return read_saved(directory / paths.CONFIG)
    return to_dict(Config())


def read_grid(arguments: list[str]) -> tuple[dict, dict]:
    """What every run of a sweep shares, and `get_grid()` of the same `--config` file."""
    files = [a.removeprefix("--config=") for a in arguments if a.startswith("--config=")]
    require(bool(files), "a sweep needs --config=FILE.py with get_config() and get_grid().")
    seeded = [a for a in arguments if a.startswith("--config.seed")]
    require(not seeded, f"{', '.join(seeded)}: a sweep takes its seeds from --seeds.")
    return to_dict(read_config(arguments)), _call(Path(files[-1]), "get_grid")


def _reachable(path: str) -> epath.Path:
    """A folder on a disk or in an object store; UserError where the store's client is missing."""
    found = epath.Path(path)
    try:
        found.exists()
    except ImportError as error:
        raise UserError(f"{path}: {error}; for gs:// pip install 'emnat_jax[gcs]'.") from error
    return found


def _run_config_file(path: Path) -> dict:
    """What get_config() of the file returns, as a nested dict."""
    config = _call(path, "get_config")
    return config.to_dict() if hasattr(config, "to_dict") else dict(config)


def _call(path: Path, function: str):
    """What a function of a configuration file returns."""
    if not path.is_file():
        raise UserError(f"--config={path}: no such file.")
    spec = importlib.util.spec_from_file_location("emnat_config", path)
    if spec is None:
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


def open_workspace(config: Config, args: argparse.Namespace):
    """The workspace, with JAX set up. UserError for a device or kernel that is not here."""
    set_up_jax()
    from emnat_jax.em.workdir import Workspace, require_kernels

    require_kernels(config)
    return Workspace(config, args.workdir, make_log(args.joined), args.joined)


def set_up_jax() -> None:
    """A persistent compilation cache unless one is already chosen. UserError where the devices asked for are not here."""
    import jax

    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "emnat_jax" / "xla"
        jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # the latter where a platform's plugin is not installed
        reason = (
            str(error) or f"JAX_PLATFORMS={os.environ.get('JAX_PLATFORMS')} has no plugin here."
        ).splitlines()[0]
        raise UserError(
            f"no such device: {reason} Unset JAX_PLATFORMS, or install the platform's package."
        ) from error
    _require_platform(os.environ.get("JAX_PLATFORMS", ""), jax.default_backend())


def _require_platform(asked: str, found: str) -> None:
    """UserError when the first of the platforms that were asked for is not the one that is used.

    JAX itself takes "tpu,cpu" as leave to compute on the CPU where there is no TPU.
    """
    first = asked.split(",")[0].strip()
    if first and found != {"cuda": "gpu", "rocm": "gpu"}.get(first, first):
        raise UserError(
            f"JAX_PLATFORMS={asked} asks for {first}, but computations would run on {found}; install the package "
            f"for {first} (the extra `tpu` or `cuda`), or ask for {found}."
        )


def make_log(processes):
    """A function that prints a line with the time since the start, on stderr of the first process."""
    begin = time.monotonic()
    if not processes.is_first:
        return lambda text: None

    def log(text: str) -> None:
        seconds = int(time.monotonic() - begin)
        print(f"[{seconds // 60:02}:{seconds % 60:02}] {text}", file=sys.stderr, flush=True)

    return log


def read_lines(path: str | None) -> list[str]:
    """Lines of a file (.gz or not), or of standard input; UserError for what is not UTF-8 text."""
    from emnat_jax.data.text import read_text_lines

    return list(read_text_lines(path if path not in (None, "-") else sys.stdin.buffer))


def write_lines(path: str | None, lines: list[str]) -> None:
    """Lines to a file, all or nothing, or to standard output."""
    if path in (None, "-"):
        sys.stdout.buffer.write("".join(f"{line}\n" for line in lines).encode())
        return
    from emnat_jax.artifacts import atomic

    atomic.write_lines(path, lines)


def show(values: Any, as_json: bool) -> None:
    """A record or a mapping on standard output: as JSON, or a line a value that there is."""
    values = to_json(values)
    if as_json:
        print(json.dumps(values, indent=2, ensure_ascii=False))
        return
    for name, value in flatten(values):
        print(f"{name}: {value:.4f}" if isinstance(value, float) else f"{name}: {value}")


def flatten(values: dict[str, Any], where: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of every leaf that is not None."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{where}{name}.")
        elif value is not None:
            yield f"{where}{name}", value
