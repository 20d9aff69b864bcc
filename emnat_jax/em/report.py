"""The report of a workdir, collected from whatever is finished and written as JSON, page and table."""

import itertools
import math
from collections.abc import Mapping

from etils import epath

from emnat_jax.artifacts import paths
from emnat_jax.artifacts.atomic import write_text
from emnat_jax.artifacts.dataset import read_dataset
from emnat_jax.artifacts.journal import made_stages, read_journal
from emnat_jax.artifacts.manifest import MANIFEST_NAME, is_finished, load_manifest
from emnat_jax.config import ROLES, TASKS, Scoring
from emnat_jax.data.prepare import set_names
from emnat_jax.em.chain import require_whole
from emnat_jax.em.effects import effects_of_rounds
from emnat_jax.em.evaluate import EvaluationOptions, share_valid
from emnat_jax.em.finetune import finetune_report
from emnat_jax.em.plan import make_plan
from emnat_jax.em.results import finished_rounds, outputs_of, read_evaluation, references_of, trained_scores
from emnat_jax.em.timings import read_timings
from emnat_jax.em.workdir import Workspace
from emnat_jax.errors import require
from emnat_jax.evaluation.bleu import References
from emnat_jax.evaluation.lengths import by_length
from emnat_jax.evaluation.metrics import is_scored_so
from emnat_jax.report.convert import dumps, from_json
from emnat_jax.report.page import page
from emnat_jax.report.record import (
    Curve,
    Evaluation,
    LengthBucket,
    Provenance,
    Report,
    RoundReport,
    Selection,
)
from emnat_jax.report.rounds import text_table
from emnat_jax.report.sentences import compare_samples
from emnat_jax.report.timings import Throughput, Timing
from emnat_jax.runtime.environment import environment
from emnat_jax.training.metrics import metrics_digest, read_metrics

_WINDOW = 16_384  # rows of a set that are looked at together


def write_report(work: Workspace, stopped: str | None = None) -> Report:
    """Writes report/report.json, report/index.html and report/table.txt from the rounds that are finished."""
    report = collect_report(work, stopped)
    texts = {
        paths.REPORT_JSON: dumps(report),
        paths.REPORT_PAGE: page(report),
        paths.TABLE: text_table(report),
    }
    for name, text in texts.items():
        write_text(work.directory / name, f"{text}\n")
    return report


def collect_report(work: Workspace, stopped: str | None) -> Report:
    """Everything that is finished; `stopped` says why the rounds ended early, if they did.

    UserError where what is there does not belong together.
    """
    require_whole(work)
    directory = work.directory
    finished = finished_rounds(directory, work.config.em.rounds)
    rounds = tuple(_round(work, index) for index in finished)
    references, scoring = references_of(work.config.data, directory) if finished else {}, work.config.scoring
    split = work.config.data.splits[-1]
    outputs = {
        index: {split: outputs_of(directory, index, split) for split in references} for index in finished
    }
    return Report(
        rounds=rounds,
        curves=tuple(_curve(work, index, role) for index in finished for role in ROLES),
        by_length={
            str(index): _by_length(lines[split], references[split], scoring)
            for index, lines in outputs.items()
        },
        samples=compare_samples(rounds),
        effects=effects_of_rounds(outputs, references, scoring),
        finetuned=finetune_report(work, references),
        latency=read_timings(directory, Timing, work.log),
        throughput=read_timings(directory, Throughput, work.log),
        stopped=stopped,
        provenance=_provenance(work),
        config=work.config,
        environment=environment(),
        seconds=_seconds(directory),
    )


def _by_length(
    outputs: Mapping[str, list[str]], references: References, scoring: Scoring
) -> tuple[LengthBucket, ...]:
    """BLEU of each system by the length of the first reference, which every sentence has."""
    first = [line for line in references[0] if line is not None]
    return tuple(LengthBucket(**bucket) for bucket in by_length(outputs, first, scoring))


def _round(work: Workspace, index: int) -> RoundReport:
    """The evaluation, how the models were trained, and the E-step that followed."""
    found = read_evaluation(work.directory, index)
    _require_scored_so(work, found)
    control = work.directory / paths.model(index, "control")
    return RoundReport(
        round=index,
        teacher=trained_scores(work.round_folder(index, "teacher"), found.teacher),
        student=trained_scores(work.round_folder(index, "student"), found.student),
        control=trained_scores(control, found.control) if found.control else None,
        student_rescored=found.student_rescored,
        ncm=found.ncm,
        samples=found.samples,
        cut=found.cut,
        selection=_selection(work, work.directory / paths.selected(index)),
    )


def _require_scored_so(work: Workspace, found: Evaluation) -> None:
    """UserError for an evaluation by another tokenizer, or with case, than the configuration asks for."""
    path, signature = work.directory / paths.evaluation(found.round), found.student.reported.bleu_signature
    scoring = work.config.scoring
    require(
        is_scored_so(signature, scoring),
        f"{path} was made with {signature}, and the configuration asks for "
        f"evaluation.tokenizer={scoring.tokenizer}, evaluation.lowercase={scoring.lowercase}; go back to the "
        "values before, or delete it and its like in the other rounds, and `emnat em` evaluates them anew.",
    )


def _selection(work: Workspace, selected: epath.Path) -> Selection | None:
    """What the E-step chose; None where there was none."""
    if not is_finished(selected):
        return None
    options = load_manifest(selected, verify_shards=False).options
    values = {
        "options": options["select"],
        **options["statistics"],
        "share_valid": _valid_choices(work, selected),
    }
    mend = f"delete {selected} and run `emnat em` again."
    return from_json(Selection, values, str(selected / MANIFEST_NAME), mend)


def _valid_choices(work: Workspace, selected: epath.Path) -> float | None:
    """The share of sources whose (first) chosen target the task's checker accepts; None without a checker."""
    if TASKS[work.config.data.kind].share_valid is None:
        return None
    rows, options, found = iter(read_dataset(selected)), EvaluationOptions.of(work.config), []
    while window := list(itertools.islice(rows, _WINDOW)):
        chosen = [work.vocabulary.decode(row.targets[0]) for row in window]
        share = share_valid(chosen, window, options)
        assert share is not None  # as the table says
        found.append((share, len(window)))
    if len(found) < 2:
        return found[0][0] if found else None  # to the last bit as it is
    return sum(share * count for share, count in found) / sum(count for _, count in found)


def _curve(work: Workspace, index: int, role: str) -> Curve:
    """The figures of one training; empty of a frozen teacher, and where they are damaged or lost."""
    folder, names = work.directory / paths.model(index, role), ("loss", "valid_loss", "valid_bleu")
    if not is_finished(folder):
        return Curve(index, role, (), ())
    try:
        lines, known = read_metrics(folder), load_manifest(folder).options.get("metrics")
        require(known in (None, metrics_digest(lines)), "other lines than the training wrote")
        points = (
            tuple((int(line["step"]), float(line[name])) for line in lines if name in line) for name in names
        )
        return Curve(index, role, *points)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError, OSError):
        work.log(f"{folder / paths.METRICS} is damaged or lost; the report leaves its curves out")
        return Curve(index, role, (), ())


def _provenance(work: Workspace) -> dict[str, Provenance]:
    """Content hash and fingerprints of everything that is finished, by folder; the log names what is lost."""
    folders = [paths.split(name) for name in set_names(work.config.data)]
    folders += [stage.output for stage in make_plan(work.config) if stage.kind not in ("prepare", "evaluate")]
    found, ended = {}, made_stages(work.directory)
    for name in folders:
        if not is_finished(work.directory / name):
            if name in ended:
                work.log(f"{work.directory / name} was finished, and is lost; the report does not have it")
            continue
        made = load_manifest(work.directory / name, verify_shards=False)
        found[name] = Provenance(made.content_hash, made.fingerprints, made.rows_out, made.dropped)
    return found


def _seconds(directory: epath.Path) -> dict[str, float]:
    """Time of each stage; of a resumed one, that of the run that ended it."""
    ends = (line for line in read_journal(directory) if line.get("event") == "end")
    named = ((line.get("stage"), line.get("seconds")) for line in ends)
    return {
        stage: seconds
        for stage, seconds in named
        if isinstance(stage, str) and isinstance(seconds, int | float) and abs(seconds) < math.inf
    }
