"""Which options may change on resume: those that no finished stage depends on.

What a killed stage goes on from lies elsewhere: a training from its checkpoints (`training/checkpoint.py`), a
data set from its finished shards (`artifacts/shards.py`); finished stages are skipped (`em/driver.py`).
"""

import contextlib
import copy
from collections.abc import Iterator
from typing import NamedTuple

from etils import epath

from emnat_jax.artifacts import paths
from emnat_jax.artifacts.folders import entries
from emnat_jax.artifacts.journal import JOURNAL_NAME
from emnat_jax.artifacts.records import SHARDS
from emnat_jax.artifacts.saved_config import as_saved, note_config, require_found, write_config
from emnat_jax.config import Config
from emnat_jax.config.convert import differences, from_dict
from emnat_jax.em.plan import make_plan
from emnat_jax.em.signature import signatures
from emnat_jax.em.workdir import Workspace, saved_config
from emnat_jax.errors import UserError

_NAMED = 6  # folders and files that a message names
_WITH = {paths.DATA: (paths.DATA, paths.VOCABULARY)}  # a stage -> all that it makes, where that is more


class Change(NamedTuple):
    """How a configuration differs from that of a workdir."""

    keys: list[str]  # that differ
    touched: list[str]  # finished stages that would be made otherwise, by output, in the order of the plan
    refused: list[str]  # the keys that do that
    anew: list[str]  # stages that were begun, are not finished, and would start from the beginning

    def message(self) -> str:
        """Which keys are in the way of which stage."""
        first, why = self.touched[0], "is finished and would not be the same"
        if first.startswith(paths.FINETUNE) and "em.rounds" in self.refused:
            why = "is finished, of another last round; without it the rounds go on, and it is made again"
        return f"{', '.join(self.refused)}: {first} {why}"

    def in_the_way(self) -> str:
        """What the finished stages that would be made otherwise have made."""
        # A vocabulary that lies there without its data is taken for somebody else's, and kept.
        made = [part for output in self.touched for part in _WITH.get(output, (output,))]
        more = len(made) - _NAMED
        others = f" and {more} more (those that --plan calls other)" if more > 0 else ""
        return ", ".join(made[:_NAMED]) + others


def change_of(directory: epath.Path, config: Config) -> Change | None:
    """What differs from the configuration that a workdir was begun with; None where it was not begun."""
    old = saved_config(directory)
    if old is None:
        rounds = (directory / paths.ROUNDS).exists()
        require_found(directory, None if rounds else config, "restore one of them, or use a new workdir")
        return None
    keys = differences(as_saved(old), as_saved(config))
    touched = _touched(directory, old, config)
    refused = [key for key in keys if _touches(key, directory, old, config)] if touched else []
    others = _others(old, config) if keys else []
    begun = [output for output in others if output not in touched and _is_begun(directory / output)]
    return Change(keys, touched, refused or keys, begun)


def is_of(directory: epath.Path, config: Config) -> bool:
    """Whether the workdir exists and its finished stages match this configuration."""
    change = change_of(directory, config)
    return change is not None and not change.touched


def _touched(directory: epath.Path, old: Config, new: Config) -> list[str]:
    """The finished stages of the old plan that would be others in the new."""
    finished = {stage.output for stage in make_plan(old) if stage.is_finished(directory)}
    return [output for output in _others(old, new) if output in finished]


def _others(old: Config, new: Config) -> list[str]:
    """The stages of the old plan whose signature is another one in the new, or that it does not have."""
    before, now = (signatures(make_plan(config), config) for config in (old, new))
    return [output for output, value in before.items() if now.get(output) != value]


def _is_begun(output: epath.Path) -> bool:
    """Whether a folder holds checkpoints or shards."""
    return (output / paths.CHECKPOINTS).exists() or bool(entries(output, SHARDS))


def _touches(key: str, directory: epath.Path, old: Config, new: Config) -> bool:
    """Whether this key alone affects a finished stage; True if it cannot be changed alone."""
    values, wanted = copy.deepcopy(as_saved(old)), as_saved(new)
    *groups, name = key.split(".")
    place = values
    for group in groups:
        place, wanted = place[group], wanted[group]
    place.pop(name, None)
    if name in wanted:
        place[name] = wanted[name]
    try:
        return bool(_touched(directory, old, from_dict(values)))
    except UserError:
        return True


def keep_config(work: Workspace) -> list[str]:
    """Writes config.json; refuses to go on with values that a finished stage was not made with.

    Returns the keys in which it differs from that of the run before; none where there was no run.
    Raises UserError as well when this process was started with another configuration than the first.
    """
    new = as_saved(work.config)
    first = work.processes.broadcast("configuration", lambda: new)
    if changed := differences(first, new):
        raise UserError(
            f"process {work.processes.index} has another configuration than process 0; different: "
            f"{', '.join(changed)}. Start all with the same options."
        )
    return work.processes.broadcast(paths.CONFIG, lambda: _keep(work))


def _keep(work: Workspace) -> list[str]:
    change = change_of(work.directory, work.config)
    if change is not None and change.touched:
        raise UserError(
            f"{work.directory} was begun with another configuration; different: {change.message()}. Go back "
            f"to the values before, use a new workdir, or delete what they made: {change.in_the_way()}."
        )
    is_there = (work.directory / paths.CONFIG).exists()
    if change is not None and not is_there:
        work.log(f"{paths.CONFIG} is lost; it is written again, after its copy in {JOURNAL_NAME}")
    if change is not None and change.keys:
        # First: whatever lies there as config.json is known to the journal, also after a kill in between.
        note_config(work.directory, work.config, change.keys)
    if change is None or change.keys or not is_there:
        write_config(work.directory, work.config)
    if change is None:
        return []
    if change.keys:
        work.log(f"goes on with other values of {', '.join(change.keys)}")
    for output in change.anew:
        work.log(f"{output}: was begun with other values, starts from the beginning")
    return change.keys


@contextlib.contextmanager
def accepted_config(work: Workspace) -> Iterator[None]:
    """Keeps the configuration for the stage that runs in it; a mistake that this finds leaves none behind."""
    is_first, path = work.processes.is_first, work.directory / paths.CONFIG
    before = saved_config(work.directory) if is_first else None
    keep_config(work)
    try:
        yield
    except UserError:
        if is_first:
            _put_back(work, before, path)
        raise
    work.processes.broadcast("configuration: noted", lambda: note_config(work.directory, work.config, []))


def _put_back(work: Workspace, before: Config | None, path: epath.Path) -> None:
    if before is None:
        path.unlink(missing_ok=True)
    elif keys := differences(as_saved(work.config), as_saved(before)):
        note_config(work.directory, before, keys)
        write_config(work.directory, before)


def describe(directory: epath.PathLike, config: Config) -> str:
    """One line per stage; then what would start from the beginning, and what would be refused.

    done; other: finished with other options; to do; anew: begun with other options.
    """
    directory, lines = epath.Path(directory), []
    change = change_of(directory, config)
    for stage in make_plan(config):
        is_other = change is not None and stage.output in change.touched
        is_anew = change is not None and stage.output in change.anew
        done = "done" if stage.is_finished(directory) else "anew" if is_anew else "to do"
        mark = "other" if is_other else done
        read = ", ".join(f"{name}: {path}" for name, path in stage.inputs().items() if name != "vocabulary")
        lines.append(f"{mark:5}  {stage.kind:10} {stage.output}{read and f'  <- {read}'}")
    if change is not None and change.anew:
        lines.append(f"begun with other values, would start from the beginning: {', '.join(change.anew)}.")
    if change is not None and change.touched:
        lines.append(f"would be refused: {change.message()}.")
        lines.append(f"delete to have it made anew: {change.in_the_way()}.")
    return "\n".join(lines)
