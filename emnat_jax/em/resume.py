"""Which options may change on resume: those that no finished stage depends on.

What a killed stage goes on from lies elsewhere: a training from its checkpoints (`training/checkpoint.py`), a
data set from its finished shards (`artifacts/shards.py`); finished stages are skipped (`em/driver.py`).
"""

import copy
import json
from typing import Any, NamedTuple

from etils import epath

from emnat_jax.artifacts import paths
from emnat_jax.artifacts.as_json import as_json
from emnat_jax.artifacts.atomic import atomic_file
from emnat_jax.artifacts.journal import write_journal
from emnat_jax.config import Config
from emnat_jax.config.convert import differences, from_dict, to_dict
from emnat_jax.em.plan import make_plan
from emnat_jax.em.signature import signatures
from emnat_jax.em.workdir import Workspace, saved_config
from emnat_jax.errors import UserError


class Change(NamedTuple):
    """How a configuration differs from that of a workdir."""

    keys: list[str]  # that differ
    touched: list[str]  # finished stages that would be made otherwise, by output, in the order of the plan
    refused: list[str]  # the keys that do that

    def message(self) -> str:
        """Which keys are in the way of which stage."""
        return f"{', '.join(self.refused)}: {self.touched[0]} is finished and would not be the same"


def change_of(directory: epath.Path, config: Config) -> Change | None:
    """What differs from the configuration that a workdir was begun with; None where it was not begun."""
    old = saved_config(directory)
    if old is None:
        return None
    keys = differences(_as_json(old), _as_json(config))
    touched = _touched(directory, old, config)
    refused = [key for key in keys if _touches(key, directory, old, config)] if touched else []
    return Change(keys, touched, refused or keys)


def is_of(directory: epath.Path, config: Config) -> bool:
    """Whether the workdir exists and its finished stages match this configuration."""
    change = change_of(directory, config)
    return change is not None and not change.touched


def _touched(directory: epath.Path, old: Config, new: Config) -> list[str]:
    """The finished stages of the old plan whose signature is another one in the new."""
    plan, now = make_plan(old), signatures(make_plan(new), new)
    finished = [stage.output for stage in plan if stage.is_finished(directory)]
    before = signatures(plan, old)
    return [output for output in finished if now.get(output) != before[output]]


def _touches(key: str, directory: epath.Path, old: Config, new: Config) -> bool:
    """Whether this key alone affects a finished stage; True if it cannot be changed alone."""
    values, wanted = copy.deepcopy(_as_json(old)), _as_json(new)
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
    new = _as_json(work.config)
    first = work.processes.broadcast("configuration", lambda: new)
    if changed := differences(first, new):
        raise UserError(
            f"process {work.processes.index} has another configuration than process 0; different: "
            f"{', '.join(changed)}. Start all with the same options."
        )
    return work.processes.broadcast(paths.CONFIG, lambda: _keep(work, new))


def _keep(work: Workspace, new: dict[str, Any]) -> list[str]:
    change = change_of(work.directory, work.config)
    if change is not None and change.touched:
        raise UserError(
            f"{work.directory} was begun with another configuration; different: {change.message()}. Go back "
            "to the values before, or use a new workdir."
        )
    if change is not None and not change.keys:
        return []
    work.directory.mkdir(parents=True, exist_ok=True)
    with atomic_file(work.directory / paths.CONFIG) as file:
        file.write(json.dumps(new, indent=2).encode() + b"\n")
    if change is None:
        return []
    write_journal(work.directory, event="configuration", changed=change.keys)
    work.log(f"goes on with other values of {', '.join(change.keys)}")
    return change.keys


def describe(directory: epath.PathLike, config: Config) -> str:
    """One line per stage: done, other (finished with other options) or to do; then what is refused."""
    directory, lines = epath.Path(directory), []
    change = change_of(directory, config)
    for stage in make_plan(config):
        is_other = change is not None and stage.output in change.touched
        mark = "other" if is_other else "done" if stage.is_finished(directory) else "to do"
        read = ", ".join(f"{name}: {path}" for name, path in stage.inputs().items() if name != "vocabulary")
        lines.append(f"{mark:5}  {stage.kind:10} {stage.output}{read and f'  <- {read}'}")
    if change is not None and change.touched:
        lines.append(f"would be refused: {change.message()}.")
    return "\n".join(lines)


def _as_json(config: Config) -> dict[str, Any]:
    """As config.json holds it: tuples become lists."""
    return as_json(to_dict(config))
