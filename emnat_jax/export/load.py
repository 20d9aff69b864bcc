"""An exported model by its folder, whatever runs it."""

from collections.abc import Callable

from etils import epath

from emnat_jax.errors import UserError, require
from emnat_jax.export.ctranslate2_runtime import open_ctranslate2
from emnat_jax.export.folder import Exported, open_export
from emnat_jax.export.onnx_runtime import open_onnx
from emnat_jax.inference.translator import Translator


def _open_stablehlo(exported: Exported, precision: str | None, threads: int) -> Translator:
    """As `open_stablehlo`, which imports JAX."""
    from emnat_jax.export.stablehlo_runtime import open_stablehlo

    require(
        not threads,
        f"threads={threads}: XLA runs {exported.directory}, with all cores of the process; leave it out.",
    )
    return open_stablehlo(exported, precision)


Opener = Callable[[Exported, str | None, int], Translator]
OPENERS: dict[str, Opener] = {
    "onnx": open_onnx,
    "ctranslate2": open_ctranslate2,
    "stablehlo": _open_stablehlo,
}


def load_exported(
    directory: epath.PathLike, precision: str | None = None, threads: int = 0, *, format: str | None = None
) -> Translator:
    """The model of a folder that `emnat export` has made; only StableHLO needs JAX.

    `precision`: int8 or float32; None is what the export found good enough. `threads`: 0 is one for each
    core.
    `format`: one of OPENERS, where no other will do. UserError for a folder of another kind, a damaged
    one, and for a missing package.
    """
    require(threads >= 0, f"threads={threads}: use 0, which is one for each core, or more.")
    exported = open_export(directory, precision)
    name = exported.about.format
    if name not in OPENERS:
        raise UserError(f"{directory} is of the format {name}; this emnat_jax reads {', '.join(OPENERS)}.")
    require(format in (None, name), f"{directory} is of the format {name}, not {format}.")
    return OPENERS[name](exported, precision, threads)
