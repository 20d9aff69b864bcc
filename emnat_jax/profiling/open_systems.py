"""Systems of a workdir by their names: its models, trained or exported, and models in other folders."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from etils import epath

from emnat_jax.artifacts import paths
from emnat_jax.artifacts.manifest import is_finished
from emnat_jax.config import ROLES, ModelSpec
from emnat_jax.config.verified import DRAFTING
from emnat_jax.em.export import make_export
from emnat_jax.em.open_model import last_round, open_model
from emnat_jax.em.open_verified import open_any
from emnat_jax.em.workdir import Workspace
from emnat_jax.errors import UserError, require
from emnat_jax.export.folder import Exported, chosen_precision, is_exported, open_export
from emnat_jax.export.load import load_exported
from emnat_jax.profiling.system_names import JAX, SHORTLIST, SystemName
from emnat_jax.profiling.systems import About, System, exported_system, trained_system

_NUMBERS = ("round", "length_candidates", "draft_block", "accept_top", SHORTLIST)
_DECIMALS = ("accept_margin",)
_SWITCHES = ("redraft",)


class Opener(NamedTuple):
    """What systems are opened with."""

    work: Workspace
    threads: int  # of exported models
    note: Callable[[str], None]


def open_systems(opener: Opener, names: Sequence[SystemName]) -> list[System]:
    """The systems of a workdir, in the order of their names.

    An export that is named by its role and is not there is made first. UserError for one that is of another
    model than the workdir's, and for what `open_model` and `load_exported` refuse.
    """
    return [_open(opener, name) for name in names]


def _open(opener: Opener, name: SystemName) -> System:
    if name.model in ROLES:
        return _exported_role(opener, name) if name.is_exported else _trained(opener, name)
    folder = epath.Path(name.model).expanduser()
    if is_exported(folder):
        if name.backend == JAX:
            raise UserError(f"{name}: {_not_for_jax(folder)}")
        asked = ", ".join(f"{option}={value}" for option, value in name.options.items())
        require(not asked, f"{name}: an exported model decodes as it was exported; leave out {asked}.")
        return _exported(opener, name, folder)
    require(not name.is_exported, f"{name}: it is no exported model; make one of it with `emnat export`.")
    with_teacher = name.options.get("rescore") == "teacher"  # of that round
    require(
        with_teacher or "round" not in name.options,
        f"{name}: a round is of a role, and this is the folder of a model.",
    )
    return _trained(opener, name)


def _not_for_jax(folder: epath.Path) -> str:
    if open_export(folder).about.format == "stablehlo":
        return "its programs are run by JAX as they were exported; leave out :jax."
    return "it is an exported model, which JAX does not run."


def _trained(opener: Opener, name: SystemName) -> System:
    work, model = opener.work, open_any(opener.work, **_options(name))
    about = _about(work, name, model.config, JAX, model.config.transformer.dtype)
    return trained_system(about, model, work.layout, work.config.data.buckets)


def _options(name: SystemName) -> dict[str, Any]:
    """What `emnat translate` opens it with."""
    model: dict[str, Any] = {"role": name.model} if name.model in ROLES else {"folder": name.model}
    return model | _typed(name, name.without_shortlist)


def _typed(name: SystemName, options: Mapping[str, str]) -> dict[str, Any]:
    """Options of a name, numbers and truth values as such; UserError where one should be and is not."""
    for option, value in options.items():
        digits = value.replace(".", "", 1) if option in _DECIMALS else value
        is_number = digits.isdigit() or option not in (*_NUMBERS, *_DECIMALS)
        require(is_number, f"{name}: {option}={value}: give a number.")
        is_switch = value in ("yes", "no") or option not in _SWITCHES
        require(is_switch, f"{name}: {option}={value}: give yes or no.")
    kinds: dict[str, Callable[[str], Any]] = dict.fromkeys(_NUMBERS, int) | dict.fromkeys(_DECIMALS, float)
    kinds |= dict.fromkeys(_SWITCHES, lambda value: value == "yes")
    return {option: kinds.get(option, str)(value) for option, value in options.items()}


def _exported_role(opener: Opener, name: SystemName) -> System:
    """An exported model of the workdir, made where it is missing, and only if it is of the trained model."""
    work = opener.work
    require("rescore" not in name.options, f"{name}: an exported model chooses alone; leave out rescore.")
    for option in DRAFTING:
        require(
            option not in name.options, f"{name}: an exported model checks no drafts; leave out {option}."
        )
    model = open_model(work, **_options(name))
    suffix = "".join(f"-{option}={value}" for option, value in name.options.items())
    folder = work.directory / paths.EXPORTS / f"{name.model}{suffix}"
    if not is_finished(folder):
        opener.note(f"{folder} is not there: exports it")
        make_export(work, model, folder, name.backend, shortlist=name.shortlist, log=opener.note)
    exported = open_export(folder, name.precision)
    require(
        (exported.model, exported.about.model) == (model.fingerprint, model.config),
        f"{name}: {folder} is of another model or decodes otherwise; delete it, and it is made anew, or name "
        "it by its folder.",
    )
    _require_shortlist(name, exported)
    return _exported(opener, name, folder)


def _require_shortlist(name: SystemName, exported: Exported) -> None:
    """UserError for an export with another shortlist than the name says."""
    about = exported.about
    # float32 always has the whole vocabulary.
    found = about.shortlist if chosen_precision(about, name.precision) == "int8" else None
    if found == name.shortlist:
        return
    was, remedy = "without a shortlist", ""
    if found is not None:
        with_it = dataclasses.replace(name, precision="int8", options={**name.options, SHORTLIST: str(found)})
        was, remedy = f"with --shortlist={found}", f"name {with_it}, "
    raise UserError(
        f"{name}: {exported.directory} was exported {was}; {remedy}name it by its folder, or delete it, "
        "and it is made anew."
    )


def _exported(opener: Opener, name: SystemName, folder: epath.Path) -> System:
    exported = open_export(folder, name.precision).about
    precision = chosen_precision(exported, name.precision)
    threads = 0 if exported.format == "stablehlo" else opener.threads  # XLA takes those of the process
    model = load_exported(folder, precision, threads, format=name.backend)
    return exported_system(_about(opener.work, name, exported.model, exported.format, precision), model)


def _about(work: Workspace, name: SystemName, model: ModelSpec, backend: str, precision: str) -> About:
    options, is_role = _typed(name, name.options), name.model in ROLES
    round = options.pop("round", None)
    if is_role and round is None:
        round = last_round(work, name.model)
    parts = [name.model, f"round {round}"] if is_role else [_short(work, name.model)]
    parts += [f"{option}={value}" for option, value in options.items()]
    parts += [] if backend == JAX else [f"{backend} {precision}"]
    return About(", ".join(parts), model.options.role, round, backend, precision, options)


def _short(work: Workspace, folder: str) -> str:
    """A folder by its path in the workdir, where it lies there."""
    prefix = f"{work.directory}/"
    return folder.removeprefix(prefix).rstrip("/")
