"""The search of any family as StableHLO programs, one for each width of sources, for all that XLA runs on."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jax import export
from jaxtyping import Int

from emnat_jax.artifacts.atomic import atomic_file, read_file
from emnat_jax.artifacts.folders import entries
from emnat_jax.config import ModelSpec
from emnat_jax.errors import require
from emnat_jax.export.packages import need
from emnat_jax.families import make_family
from emnat_jax.types import PAD, Hypotheses, Params

PLATFORMS = ("cpu", "tpu", "cuda")
_PARAMETERS = "parameters.npz"
_SUFFIX = ".stablehlo"


def write_stablehlo(
    directory: epath.PathLike, model: ModelSpec, params: Params, widths: Sequence[int], count: int = 1
) -> None:
    """Writes the parameters and, for each width of padded sources, a program for any number of them.

    A program gives the best `count` hypotheses of a source, and runs on CPU, TPU and CUDA devices. Later
    versions of JAX read it for as long as jax.export promises. UserError for widths that the model does not
    take.
    """
    need("flatbuffers")
    directory, longest = epath.Path(directory), model.transformer.max_length
    require(
        bool(widths) and all(1 <= width <= longest for width in widths),
        f"widths {tuple(widths)}: give some, each from 1 to the model's {longest} tokens.",
    )
    directory.mkdir(parents=True, exist_ok=True)
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), params)
    (rows,) = export.symbolic_shape("rows")
    for width in widths:
        source = jax.ShapeDtypeStruct((rows, width), jnp.int32)
        program = export.export(_decode(model, count), platforms=PLATFORMS)(shapes, source)
        with atomic_file(directory / f"{width}{_SUFFIX}") as file:
            file.write(program.serialize())
    leaves: Any = {
        "/".join(part.key for part in path): np.asarray(leaf)
        for path, leaf in jax.tree.leaves_with_path(params)
    }
    with atomic_file(directory / _PARAMETERS) as file:
        np.savez(file, **leaves)


def _decode(model: ModelSpec, count: int) -> Any:
    """Compiled (params, source) -> the parts of Hypotheses."""
    # The fused kernel is of CUDA devices alone; this one computes the same.
    anywhere = dataclasses.replace(model.transformer, attention="xla")
    family = make_family(dataclasses.replace(model, transformer=anywhere))

    def decode(params: Params, source: jax.Array) -> tuple[jax.Array, ...]:
        found = family.decode(params, source, jax.random.key(0), count)
        return found.tokens, found.log_prob, found.rank_score

    return jax.jit(decode)


def fill_up(source: Int[np.ndarray, "B S"], widths: Collection[int]) -> Int[np.ndarray, "B W"]:
    """Sources padded with PAD to the next of these widths of programs; UserError for wider ones."""
    fits = [width for width in sorted(widths) if source.shape[1] <= width]
    require(
        bool(fits),
        f"sources of {source.shape[1]} tokens: the programs take {max(widths)} at most.",
    )
    filled = np.pad(source, ((0, 0), (0, fits[0] - source.shape[1])), constant_values=PAD)
    return filled.astype(np.int32)


class Programs(NamedTuple):
    """What `write_stablehlo` has written."""

    by_width: Mapping[int, export.Exported]
    params: Params

    def decode(self, source: Int[np.ndarray, "B S"]) -> Hypotheses:
        """The hypotheses of sources padded with PAD, best first, by the program of the next width.

        UserError for wider sources than there is a program for.
        """
        padded = fill_up(source, self.by_width)
        return Hypotheses(*self.by_width[padded.shape[1]].call(self.params, padded))


def read_stablehlo(directory: epath.PathLike) -> Programs:
    """The programs of a folder; UserError where there are none."""
    need("flatbuffers")
    directory = epath.Path(directory)
    files = entries(directory, f"*{_SUFFIX}")
    has_parameters = (directory / _PARAMETERS).exists()  # written last
    require(bool(files) and has_parameters, f"{directory} has no finished programs (*{_SUFFIX}) of a model.")
    programs = {int(path.stem): export.deserialize(bytearray(read_file(path))) for path in files}
    params: Params = {}
    with (directory / _PARAMETERS).open("rb") as file, np.load(file) as arrays:
        for name, array in arrays.items():
            *groups, leaf = name.split("/")
            inner = params
            for group in groups:
                inner = inner.setdefault(group, {})
            inner[leaf] = array
    return Programs(programs, params)
