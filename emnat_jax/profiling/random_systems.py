"""Systems with random weights, by the names of families."""

import functools
from collections.abc import Sequence
from typing import Any

from etils import epath

from emnat_jax.config import FAMILIES, FamilyOptions, ModelSpec
from emnat_jax.errors import require
from emnat_jax.export.folder import PRECISIONS
from emnat_jax.export.load import load_exported
from emnat_jax.inference.model import TrainedModel
from emnat_jax.profiling.random_models import RandomSize, export_random, layers_of, random_model
from emnat_jax.profiling.system_names import JAX, SystemName
from emnat_jax.profiling.systems import About, System, exported_system, trained_system
from emnat_jax.runtime.mesh import Layout

TEACHER = "ar"
# What README compares: an engine's greedy search, the same with few decoder layers, students in one pass,
# without and with a shortlist of the target vocabulary.
SPEED_TABLE_SYSTEMS = (
    "ar:ctranslate2:int8,ar:ctranslate2:int8:layers=12+1,vanilla:onnx:int8,vanilla:onnx:int8:shortlist=50,"
    "ctc:onnx:int8:decoder=greedy,ctc:onnx:int8:decoder=greedy:shortlist=50,"
    "dag:onnx:int8:decoder=lookahead,dag:onnx:int8:decoder=lookahead:shortlist=50"
)
_DECODER = {"ctc": {"decoder": "greedy"}}  # where the family's own is not exported
_IN_JAX_ALONE = ("cmlm",)  # its passes are not exported


class RandomSystems:
    """Opens systems of one size; what is exported lies in `folder`, once for each model."""

    def __init__(self, size: RandomSize, layout: Layout, folder: epath.PathLike, threads: int):
        self._size, self._layout = size, layout
        self._folder, self._threads = epath.Path(folder), threads
        self._vocabulary = functools.cache(size.vocabulary)
        self._model = functools.cache(self._make)
        self._exported = functools.cache(self._export)

    def open(self, names: Sequence[SystemName]) -> list[System]:
        """The systems, in the order of their names."""
        return [self._open(name) for name in names]

    def _open(self, name: SystemName) -> System:
        model = self._size.model(name.model, **_typed(name))
        backend = (name.backend or _format(model.options)) if name.is_exported else JAX
        precision = model.transformer.dtype if backend == JAX else name.precision or PRECISIONS[0]
        parts = [name.model, *(f"{option}={value}" for option, value in name.options.items())]
        parts += [] if backend == JAX else [f"{backend} {precision}"]
        about = About(", ".join(parts), model.options.role, None, backend, precision, dict(name.options))
        if backend == JAX:
            return trained_system(about, self._model(model), self._layout, (self._size.length,))
        folder = self._exported(model, backend, name.shortlist)
        return exported_system(about, load_exported(folder, precision, self._threads, format=backend))

    def _make(self, model: ModelSpec) -> TrainedModel:
        return random_model(model, self._vocabulary(), self._layout)

    def _export(self, model: ModelSpec, format: str, shortlist: int | None) -> epath.Path:
        folder = self._folder / f"{len(list(self._folder.iterdir()))}"
        export_random(self._model(model), folder, format, shortlist)
        return folder


def default_names(families: Sequence[str]) -> list[SystemName]:
    """The teacher and a student of each family: in JAX, and in each precision that it is exported in."""
    require(len(set(families)) == len(families), f"--families={','.join(families)}: name each once.")
    for family in families:
        students = [name for name, spec in FAMILIES.items() if spec.options.is_parallel]
        require(family in students, f"--families: {family!r} is none of {', '.join(students)}.")
    return [
        SystemName(family, backend, precision, _DECODER.get(family, {}))
        for family in (TEACHER, *families)
        for backend, precision in _runs(family)
    ]


def _runs(family: str) -> list[tuple[str, str | None]]:
    exported = _format(FAMILIES[family].options)
    precisions = () if family in _IN_JAX_ALONE else PRECISIONS
    return [(JAX, None), *((exported, precision) for precision in precisions)]


def _format(options: FamilyOptions | type[FamilyOptions]) -> str:
    """What an export of the family is, as `export_model` chooses it."""
    return "onnx" if options.is_parallel else "ctranslate2"


def _typed(name: SystemName) -> dict[str, Any]:
    """The options of a name as those of `RandomSize.model`."""
    options: dict[str, Any] = dict(name.without_shortlist)
    return options | (layers_of(options.pop("layers")) if "layers" in options else {})
