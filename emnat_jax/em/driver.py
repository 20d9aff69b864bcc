"""Run the plan: skip what is finished, resume the rest, stop where a rule says so."""

import functools
import time

from etils import epath

from emnat_jax.artifacts import paths
from emnat_jax.artifacts.atomic import absolute
from emnat_jax.artifacts.folders import require_plain_name
from emnat_jax.artifacts.journal import exclusive, open_journal, write_journal
from emnat_jax.artifacts.shards import forget_plan
from emnat_jax.config import Config
from emnat_jax.config.convert import checked
from emnat_jax.em.chain import require_chain
from emnat_jax.em.plan import make_plan
from emnat_jax.em.report import write_report
from emnat_jax.em.results import finished_rounds
from emnat_jax.em.resume import accepted_config, change_of
from emnat_jax.em.sizes import require_sizes
from emnat_jax.em.stages.base import Stage
from emnat_jax.em.stop import stop_reason
from emnat_jax.em.workdir import Workspace, saved_config
from emnat_jax.errors import UserError, require
from emnat_jax.report.record import Report
from emnat_jax.runtime.progress import Log


def run_config(config: Config, workdir: epath.PathLike, log: Log | None = None) -> Report:
    """Runs or resumes all EM rounds in `workdir`, as `emnat em` does, and returns the report.

    `log` gets a line for every stage, and now and then one of a training, as `print` takes it (None: nothing
    is said). Stopped at any moment and called again, it goes on where it was. On Ctrl-C a training saves its
    step and then raises KeyboardInterrupt. Raises UserError as `run` does, and for an option of another type.
    """
    return run(Workspace(checked(config), workdir, log or (lambda text: None)))


def run(work: Workspace) -> Report:
    """Runs or resumes every stage of every round, and returns the report.

    Raises UserError for options that a finished stage was not made with, for a workdir that another process
    is working on, and for whatever a stage refuses.
    """
    work.check()
    broadcast = work.processes.broadcast
    plan, stopped = make_plan(work.config), None
    broadcast("name of the workdir", lambda: require_name(work))
    with work.processes.hold(work.directory, exclusive):
        with accepted_config(work):
            broadcast("journal", lambda: open_journal(work.directory))
            _run_stage(work, plan[0])
        # The vocabulary is there, whose size every program depends on.
        require_sizes(work, _unfinished(work, plan))
        broadcast("chain", lambda: require_chain(work))
        for stage in plan[1:]:
            _run_stage(work, stage)
            if stage.may_end_rounds and stage.round is not None:
                stopped = broadcast("stop rule", functools.partial(_end, work, stage.round))
            if stopped is not None:
                break
        return work.processes.broadcast_record("report", Report, lambda: write_report(work, stopped))


def require_name(work: Workspace) -> None:
    """UserError, before anything is made, for a workdir in which no model could be."""
    if not all(stage.is_finished(work.directory) for stage in make_plan(work.config)):
        require_plain_name(absolute(work.directory))


def _unfinished(work: Workspace, plan: list[Stage]) -> list[Stage]:
    """The stages that are still to be run, the same on all processes."""
    finished = work.processes.broadcast(
        "finished", lambda: [stage.output for stage in plan if stage.is_finished(work.directory)]
    )
    return [stage for stage in plan if stage.output not in finished]


def _run_stage(work: Workspace, stage: Stage) -> None:
    broadcast = work.processes.broadcast
    finished = broadcast(stage.output, functools.partial(_is_whole, work, stage))
    if finished and not stage.checks_itself:
        work.log(f"{stage.output}: finished before")
        return
    begin, about = time.monotonic(), {"stage": stage.output, "kind": stage.kind}
    broadcast(f"{stage.output}: start", lambda: write_journal(work.directory, event="start", **about))
    work.log(f"{stage.output}: {stage.kind}")
    stage.run(stage.options(work.config), work.context)
    seconds = round(time.monotonic() - begin, 3)
    broadcast(
        f"{stage.output}: end", lambda: write_journal(work.directory, event="end", **about, seconds=seconds)
    )


def _is_whole(work: Workspace, stage: Stage) -> bool:
    """Whether a stage is finished, and nothing of it has to be made again."""
    if not stage.is_finished(work.directory):
        return False
    damage = stage.damage(work.directory)
    if damage is not None:
        work.log(f"{stage.output}: {damage}; it is made again")
    else:
        forget_plan(work.directory / stage.output)  # which a kill after the manifest has left
    return damage is None


def _end(work: Workspace, index: int) -> str | None:
    """Why round `index` is the last; None if it is not, or if the next round has begun."""
    begun = (work.directory / paths.round_folder(index + 1)).exists()
    return None if begun else stop_reason(work, index)


def rebuild_report(work: Workspace) -> Report:
    """The report of whatever is finished. UserError where no run was begun, or with other options."""
    begun = (work.directory / paths.ROUNDS).exists()
    require(begun, f"{work.directory} holds no run; begin one: emnat em --workdir={work.directory}")
    # Where nothing says any more which options the run had, those that are given are believed.
    known = saved_config(work.directory) is not None
    change = change_of(work.directory, work.config) if known else None
    if change is not None and change.touched:
        raise UserError(
            f"the run had other options; different: {change.message()}. Give those of the run, or none, or "
            f"delete what they made, {change.in_the_way()}, and run `emnat em`."
        )
    last = max(finished_rounds(work.directory, work.config.em.rounds), default=0)
    return write_report(work, stop_reason(work, last))
