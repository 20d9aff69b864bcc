"""The stages of an EM run, in order, as pure data; `driver` runs them."""

from typing import NamedTuple

from emnat_jax.artifacts import paths
from emnat_jax.config import Config
from emnat_jax.data.folds import Fold
from emnat_jax.data.prepare import set_names
from emnat_jax.em.stages.base import Stage
from emnat_jax.em.stages.candidates import Candidates
from emnat_jax.em.stages.distill import Distill
from emnat_jax.em.stages.evaluate import Evaluate
from emnat_jax.em.stages.finetune import EvaluateFinetuned, Finetune
from emnat_jax.em.stages.n_best import NBest
from emnat_jax.em.stages.prepare import Prepare
from emnat_jax.em.stages.proposals import list_options
from emnat_jax.em.stages.score import Score
from emnat_jax.em.stages.select import Select
from emnat_jax.em.stages.train import Train


def make_plan(config: Config) -> list[Stage]:
    """All stages of all rounds (docs/method.md, section 5.1)."""
    stages: list[Stage] = [Prepare(sets=set_names(config.data))]
    for index in range(config.em.rounds + 1):
        stages += round_stages(config, index)
        if index < config.em.rounds:
            stages += _e_step(config, index)
    return stages + _fine_tuning(config, config.em.rounds)


def round_stages(config: Config, index: int) -> list[Stage]:
    """Teacher, what the student learns from, student and its control, evaluation: a round without E-step."""
    teacher, student = _teacher(config, index), paths.model(index, "student")
    learned, control = _student_data(config, index), _control(config, index)
    return [
        *_train_teacher(config, index),
        *learned.made,
        *_mono(config, index)[1],
        _train_student(config, index, "student"),
        *control,
        Evaluate(
            paths.evaluation(index),
            index,
            learned.data,
            teacher=teacher,
            student=student,
            teacher0=_teacher(config, 0),
            control=control[0].output if control else None,
            targets=_targets(config, index),
        ),
    ]


def _teacher(config: Config, index: int) -> str:
    """The teacher of a round: that of round 0, where it is frozen."""
    return paths.model(index if config.em.update_teacher else 0, "teacher")


def _train_teacher(config: Config, index: int) -> list[Stage]:
    if index == 0:
        return [Train(_teacher(config, 0), 0, "teacher", paths.TRAIN)]
    if not config.em.update_teacher:
        return []
    base = paths.TRAIN if config.em.rows is not None else None
    start = _teacher(config, index - 1) if config.em.warm_start else None
    return [Train(_teacher(config, index), index, "teacher", paths.selected(index - 1), base, start)]


class _Learned(NamedTuple):
    """What a student learns from."""

    data: str
    base: str | None  # where the rows that `data` does not have come from
    made: list[Stage]  # the stages that make both, as far as no round before did


def _student_data(config: Config, index: int) -> _Learned:
    """What the student of a round learns from (docs/method.md, section 5.2)."""
    # An E-step on some rows leaves the others with the targets that they had (incremental EM, Neal & Hinton
    # 1998; docs/method.md, section 4). Without them a model forgets what a small set does not show.
    base = paths.distilled(0) if config.em.rows is not None else None
    distill = Distill(paths.distilled(index), index, paths.TRAIN, _teacher(config, index))
    match config.em.student_data:
        case "raw":
            return _Learned(paths.TRAIN, None, [])
        case "selected" if index:
            return _Learned(paths.selected(index - 1), base, [])
        case "candidates" if index and "student" in config.em.candidates_from:
            return _Learned(paths.candidates(index - 1), base, [])  # to which the last student has added
        case "candidates":
            return _lists(config, index)
        case "selected" if _has_one_list(config):  # plain distillation is the first of each list
            return _lists(config, index)
        case _:
            return _Learned(distill.output, base if index else None, [distill])


def _has_one_list(config: Config) -> bool:
    """Whether all E-steps choose from the lists that a frozen teacher makes in round 0."""
    return not config.em.update_teacher and "teacher" in config.em.candidates_from


def _lists(config: Config, index: int) -> _Learned:
    """The teacher's N best of each source, and of the rows without a list its translation."""
    n_best, made = _n_best(config, index), list[Stage]()
    base = paths.distilled(0) if config.em.rows is not None else None
    if index == 0 and base is not None:
        made.append(Distill(base, 0, paths.TRAIN, _teacher(config, 0)))
    if n_best.round == index:
        made.append(n_best)
    return _Learned(n_best.output, base, made)


def _train_student(
    config: Config, index: int, name: str, *, learns: int | None = None, left_out: Fold | None = None
) -> Stage:
    """The student of a round, its control, or its like that leaves out a fold; `name` is that of its folder.

    It learns what the student of round `learns` learns; None: of its own.
    """
    of = index if learns is None else learns
    learned = _student_data(config, of)
    return Train(
        paths.model(index, name),
        index,
        "student",
        learned.data,
        learned.base,
        _student_start(config, index, name),
        _targets(config, of),
        teacher=_judge(config, _teacher(config, of)),
        mono=_mono(config, of)[0],
        left_out=left_out,
    )


def _student_start(config: Config, index: int, name: str) -> str | None:
    if index == 0 or not config.em.warm_start:
        return _teacher(config, index) if config.em.share_encoder else None
    before = "student" if (name, index) == ("control", 1) else name  # round 0 has no control
    return paths.model(index - 1, before)


def _fold_students(config: Config, index: int) -> list[Stage]:
    """A student for each fold that it leaves out, for the E-step of the round; none without cross-fitting."""
    count = config.em.folds
    folds = [Fold(fold, count) for fold in range(count)] if count > 1 else []
    return [_train_student(config, index, paths.fold(fold.index), left_out=fold) for fold in folds]


def _control(config: Config, index: int) -> list[Stage]:
    """A student with as many steps as the round's, on what the student of round 0 learned from.

    Nothing where that is what the round's own student learns from.
    """
    if index == 0 or not config.em.control:
        return []
    if _student_data(config, index).data == _student_data(config, 0).data:
        return []
    return [_train_student(config, index, "control", learns=0)]


def _fine_tuning(config: Config, index: int) -> list[Stage]:
    """The student of round `index`, the last, for another objective; its control; what both are worth."""
    asked, student = config.em.finetune, _train_student(config, index, "student")
    if asked.steps is None:
        return []
    objectives = {"student": asked.objective}
    if asked.control and asked.objective != config.student_train.objective:
        objectives["control"] = config.student_train.objective
    tuned = [
        Finetune(
            **vars(student) | {"output": paths.finetuned(name), "start": student.output},
            objective=objective,
        )
        for name, objective in objectives.items()
    ]
    models = [stage.output for stage in tuned]
    return [*tuned, EvaluateFinetuned(paths.FINETUNE_EVALUATION, index, student.output, *models)]


def _judge(config: Config, teacher: str) -> str | None:
    """The teacher, where the student's training looks at its translations of the valid split."""
    return teacher if config.student_train.chosen_by == "distilled_loss" else None


def _mono(config: Config, index: int) -> tuple[str | None, list[Stage]]:
    """(what the student of a round learns of the sources without translations, the stages that make it).

    They have the newest teacher's translation; where E-steps leave rows out, or the teacher is frozen, that
    of round 0's.
    """
    if config.data.mono_source is None:
        return None, []
    is_anew = index == 0 or (config.em.rows is None and config.em.update_teacher)
    output = paths.distilled_mono(index if is_anew else 0)
    made = [Distill(output, index, paths.MONO, _teacher(config, index))] if is_anew else []
    return output, [*made]


def _targets(config: Config, index: int) -> int:
    """Of each row, for the student of a round."""
    if config.em.student_data != "candidates":
        return 1
    proposers = len(config.em.candidates_from) if index else 1
    return list_options(config).most(proposers)


def _n_best(config: Config, index: int) -> NBest:
    """The newest teacher's lists: those of round 0, where it is frozen."""
    made_in = index if config.em.update_teacher else 0
    return NBest(paths.n_best(made_in), made_in, paths.TRAIN, _teacher(config, index))


def _e_step(config: Config, index: int) -> list[Stage]:
    """From the models of a round to the next round's targets."""
    candidates, student, teacher0 = (
        paths.candidates(index),
        paths.model(index, "student"),
        _teacher(config, 0),
    )
    n_best, made = _n_best(config, index), list[Stage]()
    is_listed = config.em.student_data == "candidates" or _has_one_list(config)
    if config.em.candidates_from == ("teacher",):
        # A list that does not depend on the student is a stage of its own, so that students can share it.
        made += [] if is_listed else [n_best]
        folds = _fold_students(config, index)
        outputs = tuple(stage.output for stage in folds)
        made += [*folds, Score(candidates, index, n_best.output, student, teacher0, outputs)]
    elif is_listed:
        made.append(Candidates(candidates, index, n_best.output, None, student, teacher0, extends=True))
    else:
        teacher = _teacher(config, index) if "teacher" in config.em.candidates_from else None
        made.append(Candidates(candidates, index, paths.TRAIN, teacher, student, teacher0))
    return [*made, Select(paths.selected(index), index, candidates)]
