"""Names of systems on a command line: MODEL[:BACKEND[:PRECISION]][:OPTION=VALUE ...]."""

import dataclasses
from collections.abc import Collection, Mapping
from typing import NamedTuple

from etils import epath

from emnat_jax.config.verified import DRAFTING
from emnat_jax.errors import UserError, require
from emnat_jax.export.folder import PRECISIONS

JAX = "jax"
EXPORTED = ("onnx", "ctranslate2")  # StableHLO programs are what JAX runs
BACKENDS = (JAX, *EXPORTED)
SHORTLIST = "shortlist"  # of an export in int8 (docs/guides/export.md)
DECODING = ("decoder", "round", "length_candidates", "rescore", *DRAFTING)  # of trained models
OPTIONS = (*DECODING, SHORTLIST)
RANDOM_OPTIONS = ("decoder", "layers", "dtype", SHORTLIST)  # of models with random weights


class Known(NamedTuple):
    """What names may be made of."""

    models: Collection[str]  # roles, or families
    options: Collection[str]
    folders: bool  # whether a model may also be named by its folder


@dataclasses.dataclass(frozen=True)
class SystemName:
    """A name taken apart; None is what the model itself says."""

    model: str
    backend: str | None = None
    precision: str | None = None
    options: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def shortlist(self) -> int | None:
        """Words for each word of the source; None is the whole vocabulary."""
        return int(self.options[SHORTLIST]) if SHORTLIST in self.options else None

    @property
    def without_shortlist(self) -> Mapping[str, str]:
        """The other options: those of the model that is exported."""
        return {name: value for name, value in self.options.items() if name != SHORTLIST}

    @property
    def is_exported(self) -> bool:
        """Whether the name asks for an exported model; a folder may be one without it."""
        return self.backend in EXPORTED or self.precision is not None

    def __str__(self) -> str:
        options = [f"{name}={value}" for name, value in self.options.items()]
        return ":".join([part for part in (self.model, self.backend, self.precision) if part] + options)


def parse_systems(text: str, known: Known) -> list[SystemName]:
    """The systems of a list with commas. UserError for what is no system, and for one that is there twice."""
    found = [_parse(part.strip(), known) for part in text.split(",")]
    twice = {str(name) for name in found if found.count(name) > 1}
    require(not twice, f"--systems: {', '.join(sorted(twice))} is there twice; name each system once.")
    return found


def _parse(text: str, known: Known) -> SystemName:
    """A folder may have colons in its path, so that the parts are taken from the end, each kind once."""
    model, options, runs = text, dict[str, str](), dict[str, str]()
    while ":" in model:
        rest, _, last = model.rpartition(":")
        option, _, value = last.partition("=")
        kind = "backend" if last in BACKENDS else "precision" if last in PRECISIONS else ""
        if kind and kind not in runs:
            runs[kind] = last
        elif value and option in known.options and option not in options:
            options[option] = value
        else:
            break
        model = rest
    if model not in known.models:
        _require_folder(text, model, known)
    require(
        "precision" not in runs or runs.get("backend") != JAX,
        f"--systems: {text}: a precision is of an exported model; name onnx or ctranslate2 in place of jax.",
    )
    if SHORTLIST in options:
        _require_shortlist(text, options[SHORTLIST], runs)
    in_order = {option: options[option] for option in known.options if option in options}
    return SystemName(model, runs.get("backend"), runs.get("precision"), in_order)


def _require_shortlist(text: str, value: str, runs: Mapping[str, str]) -> None:
    require(
        value.isdigit() and int(value) >= 1,
        f"--systems: {text}: {SHORTLIST}={value}: give 1 or more, the words for each word of the source.",
    )
    require(
        runs.get("precision") == "int8" and runs.get("backend", "onnx") == "onnx",
        f"--systems: {text}: a shortlist is of an exported student in int8: :onnx:int8:{SHORTLIST}={value}.",
    )


def _require_folder(text: str, model: str, known: Known) -> None:
    """UserError for what looks like no folder, with what is wrong in it."""
    first, _, rest = model.partition(":")
    if first in known.models:
        raise UserError(
            f"--systems: {text}: {rest.rpartition(':')[2]!r}: give one of {', '.join(BACKENDS)}, one of "
            f"{', '.join(PRECISIONS)}, and any of {', '.join(f'{name}=...' for name in known.options)}."
        )
    either = " nor ".join([*known.models, *(["the folder of a model"] if known.folders else [])])
    is_folder = known.folders and bool(model) and epath.Path(model).expanduser().is_dir()
    if not is_folder:
        raise UserError(f"--systems: {text}: {model!r} is neither {either}.")
