"""The workdir that a command works on, opened with JAX set up for the devices at hand."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import TYPE_CHECKING

from emnat_jax.artifacts.atomic import is_local
from emnat_jax.cli.streams import make_log
from emnat_jax.config import Config
from emnat_jax.errors import UserError, require
from emnat_jax.runtime.compile_cache import delete_cut_entries
from emnat_jax.runtime.processes import Processes

if TYPE_CHECKING:
    from emnat_jax.em.workdir import Workspace


def open_workspace(config: Config, workdir: str, processes: Processes) -> Workspace:
    """The workdir with its configuration. UserError for a device or a kernel that is not here."""
    set_up_jax()
    from emnat_jax.em.workdir import Workspace, require_kernels

    require_kernels(config)
    return Workspace(config, workdir, make_log(processes), processes)


def require_whole_models(work: Workspace) -> None:
    """UserError where a model lies over several processes: the first one alone has the lines of text.

    The others on the same rows would give none, and the devices work on two different batches as on one.
    """
    parts, count = work.workers.part.count, work.processes.count
    require(
        parts == count,
        f"mesh.model={work.settings.mesh.model} spreads a model over {count // parts} processes, and lines "
        "of text are read by one of them; set --config.mesh.model to the devices of one or less, and spread "
        "the weights with --config.mesh.fsdp, or start the command on one host.",
    )


def set_up_jax() -> None:
    """A persistent compilation cache, unless one is chosen. UserError for devices that are not here."""
    import jax

    # Tracing makes many objects that live on; to look through them again and again takes a tenth of a start.
    gc.set_threshold(100_000, 20, 20)
    cache = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if not cache:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        cache = os.path.join(home, "emnat_jax", "xla")
        jax.config.update("jax_compilation_cache_dir", cache)
    if is_local(cache):
        delete_cut_entries(Path(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
    asked = os.environ.get("JAX_PLATFORMS", "")
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # the latter where a platform's plugin is not installed
        reason = (str(error) or f"JAX_PLATFORMS={asked} has no plugin here.").splitlines()[0]
        raise UserError(
            f"no such device: {reason} Unset JAX_PLATFORMS, or install the platform's package."
        ) from error
    require_platform(asked, jax.default_backend())


def require_platform(asked: str, found: str) -> None:
    """UserError when the first of the platforms that were asked for is not the one that is used.

    JAX itself takes "tpu,cpu" as leave to compute on the CPU where there is no TPU.
    """
    first = asked.split(",")[0].strip()
    if first and found != {"cuda": "gpu", "rocm": "gpu"}.get(first, first):
        raise UserError(
            f"JAX_PLATFORMS={asked} asks for {first}, but computations would run on {found}; install the "
            f"package for {first} (the extra `tpu` or `cuda`), or ask for {found}."
        )
