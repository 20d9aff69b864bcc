"""Run the plan: skip what is finished, resume the rest, decide when to stop."""

import dataclasses
import json
import time
from collections.abc import Callable

from etils import epath

from emnat_jax.artifacts.journal import exclusive, open_journal, write_journal
from emnat_jax.artifacts.manifest import is_finished, load_manifest
from emnat_jax.config import ROLES, Config, EMConfig, TrainConfig
from emnat_jax.data.prepare import prepare
from emnat_jax.em.evaluate import EvaluationOptions, RoundModels, evaluate_round
from emnat_jax.em.plan import EVAL_NAME, Stage, make_plan
from emnat_jax.em.report import write_report
from emnat_jax.em.results import finished_rounds
from emnat_jax.em.stages.train import train_model
from emnat_jax.em.workdir import Workspace
from emnat_jax.errors import require
from emnat_jax.estep.selection import select
from emnat_jax.inference.distill import distill, rescore
from emnat_jax.report.record import Report


def run_config(config: Config, workdir: epath.PathLike, log: Callable[[str], None] | None = None) -> Report:
    """Runs or resumes all EM rounds in `workdir`, as `emnat em` does, and returns the report.

    `log` gets a line for every stage (None: nothing is said). Raises UserError as `run` does; killed at any
    moment and called again, it goes on where it was.
    """
    return run(Workspace(config, workdir, log or (lambda text: None)))


def run(work: Workspace) -> Report:
    """Runs or resumes every stage of every round, and returns the report.

    Raises UserError for another configuration than the workdir was begun with, for a workdir that
    another process is working on, and for whatever a stage refuses.
    """
    work.check()
    broadcast = work.processes.broadcast
    with work.processes.hold(str(work.directory), exclusive(work.directory)):
        work.keep_config()
        broadcast("journal", lambda: open_journal(work.directory))
        stopped = None
        for stage in make_plan(work.config):
            if stopped is None:
                _run_stage(work, stage)
            if stage.kind in ("evaluate", "select") and stopped is None:
                stopped = broadcast("stop rule", lambda index=stage.round: stop_reason(work, index))
        return broadcast("report", lambda: write_report(work, stopped))


def _run_stage(work: Workspace, stage: Stage) -> None:
    broadcast = work.processes.broadcast
    finished = broadcast(stage.output, lambda: stage.is_finished(work.directory))
    if finished and stage.kind != "prepare":
        work.log(f"{stage.output}: finished before")
        return
    begin, about = time.monotonic(), {"stage": stage.output, "kind": stage.kind}
    broadcast(f"{stage.output}: start", lambda: write_journal(work.directory, event="start", **about))
    work.log(f"{stage.output}: {stage.kind}")
    STAGES[stage.kind](work, stage)
    seconds = round(time.monotonic() - begin, 3)
    broadcast(
        f"{stage.output}: end", lambda: write_journal(work.directory, event="end", **about, seconds=seconds)
    )


def _prepare(work: Workspace, stage: Stage) -> None:
    work.processes.broadcast("prepare", lambda: prepare(work.config, work.directory, work.log))


def _train(work: Workspace, stage: Stage) -> None:
    train = work.config.role(stage.role).train
    if stage.round and work.config.em.warm_start:
        train = _shortened(train, work.config.em)
    train_model(
        work,
        work.model_config(stage.role),
        train,
        data=work.directory / stage.data,
        output=work.directory / stage.output,
        seed=work.seed(stage.round, ROLES.index(stage.role)),
        base=stage.base and work.directory / stage.base,
        start=stage.start and work.directory / stage.start,
        targets=stage.targets,
        label=f"round {stage.round} {stage.role}",
    )


def _shortened(train: TrainConfig, em: EMConfig) -> TrainConfig:
    """The training of a round that starts warm: fewer steps (of warm-up as well), smaller ones."""
    steps, warmup = (
        max(1, round(count * em.later_steps_ratio)) for count in (train.steps, train.optim.warmup_steps)
    )
    peak_lr = train.optim.peak_lr * em.later_lr_ratio
    optim = dataclasses.replace(train.optim, peak_lr=peak_lr, warmup_steps=warmup)
    return dataclasses.replace(train, steps=steps, optim=optim)


def _distill(work: Workspace, stage: Stage) -> None:
    distill(
        [work.round_model(stage.round, "teacher")],
        work.directory / stage.data,
        work.directory / stage.output,
        num_candidates=1,
        vocabulary=work.vocabulary,
        first_rows=work.config.em.rows if stage.round else None,
        seed=work.config.seed,
        workers=work.workers,
    )


def _n_best(work: Workspace, stage: Stage) -> None:
    distill(
        [work.round_model(stage.round, "teacher")],
        work.directory / stage.data,
        work.directory / stage.output,
        num_candidates=work.config.em.candidates,
        include_reference=work.config.select.include_reference,
        vocabulary=work.vocabulary,
        first_rows=work.config.em.rows,
        seed=work.config.seed,
        workers=work.workers,
    )


def _score(work: Workspace, stage: Stage) -> None:
    scorers = {"student_log_prob": work.round_model(stage.round, "student")}
    # The first teacher's own list has its scores already, but for references.
    same = stage.round == 0 and not work.config.select.include_reference
    if not same:
        scorers["teacher0_log_prob"] = work.round_model(0, "teacher")
    rescore(
        work.directory / stage.data,
        work.directory / stage.output,
        scorers,
        copies={"teacher0_log_prob": "teacher_log_prob"} if same else {},
        vocabulary=work.vocabulary,
        workers=work.workers,
    )


def _candidates(work: Workspace, stage: Stage) -> None:
    models = {role: work.round_model(stage.round, role) for role in ROLES}
    scorers = {"teacher0_log_prob": work.round_model(0, "teacher"), "student_log_prob": models["student"]}
    sources = work.config.em.candidates_from
    if len(sources) > 1:
        scorers["teacher_log_prob"] = models["teacher"]
    distill(
        [models[role] for role in sources],
        work.directory / stage.data,
        work.directory / stage.output,
        num_candidates=work.config.em.candidates,
        include_reference=work.config.select.include_reference,
        vocabulary=work.vocabulary,
        scorers=scorers,
        first_rows=work.config.em.rows,
        seed=work.config.seed,
        workers=work.workers,
    )


def _select(work: Workspace, stage: Stage) -> None:
    select(
        work.directory / stage.data,
        work.directory / stage.output,
        work.config.select,
        vocabulary=work.vocabulary,
        seed=work.seed(stage.round, len(ROLES)),
        workers=work.workers,
    )


def _evaluate(work: Workspace, stage: Stage) -> None:
    index = stage.round
    folders = RoundModels(
        *(work.round_folder(i, role) for i, role in ((index, "teacher"), (index, "student"), (0, "teacher")))
    )
    evaluate_round(work, EvaluationOptions.of(work.config), index, folders, work.directory / stage.data)


STAGES = {
    "prepare": _prepare,
    "train": _train,
    "distill": _distill,
    "n_best": _n_best,
    "candidates": _candidates,
    "score": _score,
    "select": _select,
    "evaluate": _evaluate,
}


def rebuild_report(work: Workspace) -> Report:
    """The report of whatever is finished. UserError where no run was begun."""
    begun = (work.directory / "config.json").exists()
    require(begun, f"{work.directory} holds no run; begin one: emnat em --workdir={work.directory}")
    last = max(finished_rounds(work.directory, work.config.em.rounds), default=0)
    return write_report(work, stop_reason(work, last))


def stop_reason(work: Workspace, index: int) -> str | None:
    """Why round `index` is the last (METHOD 1.5), from what is there of it; None where it is not, or was to be."""
    if index == work.config.em.rounds:
        return None
    return _too_small_gain(work, index) or _too_much_drift(work, index)


def _too_small_gain(work: Workspace, index: int) -> str | None:
    least, rounds = work.config.em.stop_min_gain, work.directory / "rounds"
    if least is None or index == 0:
        return None
    gain = _valid_bleu(rounds / str(index)) - _valid_bleu(rounds / str(index - 1))
    if gain >= least:
        return None
    return f"the student's valid BLEU rose by {gain:.2f}, less than em.stop_min_gain={least}"


def _too_much_drift(work: Workspace, index: int) -> str | None:
    """Of the choices that the next round would be trained on, from the best of round 0."""
    most, rounds = work.config.em.stop_max_drift, work.directory / "rounds"
    if most is None or not is_finished(rounds / str(index) / "selected"):
        return None
    best = _fidelity(rounds / "0", "rank1_teacher0_log_prob_per_token")
    drift = best - _fidelity(rounds / str(index), "teacher0_log_prob_per_token")
    if drift <= most:
        return None
    return f"round {index}'s choices have {drift:.3f} nats a token less log p_teacher0 than the teacher's best, more than em.stop_max_drift={most}"


def _valid_bleu(round_folder) -> float:
    return json.loads((round_folder / EVAL_NAME).read_text())["student"]["valid"]["bleu"]


def _fidelity(round_folder, name: str) -> float:
    manifest = load_manifest(round_folder / "selected", verify_shards=False)
    return manifest.options["statistics"][name]
