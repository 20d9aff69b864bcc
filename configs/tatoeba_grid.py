"""Rules x families x seeds on Tatoeba English-German: what each E-step is worth, with the same budget.

    EMNAT_DATA=/path/to/corpora emnat sweep --config=configs/tatoeba_grid.py --workdir=runs/grid --seeds=1,2,3

Every student has the same number of steps in all. About an hour and a half a seed for `vanilla` on one CPU
core. Measured, three seeds: plain distillation 16.4 sacreBLEU in one pass, after the paper's round 17.0, from
a frozen teacher 18.1 to 18.4 (docs/results/tatoeba.md).
"""

from emnat_jax.config.convert import load_sibling

LATER = 0.6  # of the steps of round 0
FAMILIES = ("vanilla", "ctc", "dag")


def get_config():
    config = load_sibling(__file__, "tatoeba").get_config()
    config.data.test_multi = "tatoeba_en_de/test_multiref.tsv.gz"
    config.data.train_rows = 30_000  # so few that the steps below are several passes
    config.data.buckets = (8, 12, 16, 32)
    config.data.batch_tokens = 1_024
    config.data.decode_rows = 64  # faster than wider ones on a CPU
    config.vocab.size = 4_000
    config.teacher_train.steps = 2_000
    config.student_train.steps = 1_500
    config.student_train.tune_length = False
    for train in (config.teacher_train, config.student_train):
        train.eval_every = train.checkpoint_every = 500
        train.optim.warmup_steps = 200
    config.em.update_teacher = True  # but where a cell says otherwise
    config.em.student_data = "distilled"
    config.em.control = False  # the cells are each other's controls
    config.em.candidates = 12
    config.em.later_steps_ratio, config.em.later_lr_ratio = LATER, 0.5
    return config


def get_grid():
    """The first cell of a group is what the others are compared with."""
    config = get_config()
    teacher, student = (
        round((1 + LATER) * train.steps) for train in (config.teacher_train, config.student_train)
    )
    alone = {"em.rounds": 0, "student_train.steps": student}
    frozen_teacher = {
        "teacher_train.steps": teacher,
        "em.update_teacher": False,
        "em.student_data": "selected",
    }
    rules = {
        "distilled": alone,
        # What the round is worth without an E-step: a teacher with as many steps, and one that learns from
        # its own best.
        "longer_teacher": alone | {"teacher_train.steps": teacher},
        "teacher_top1": {"select.rule": "teacher_top1"},
        "posterior": {"select.rule": "posterior", "select.quality_weight": 0.0},
        "quality": {"select.rule": "posterior", "select.quality_weight": 5.0},
        # No M-step of the teacher: all its steps at once, and the student learns from the choices
        # themselves. With the student's score alone, and with the quality alone (sequence-level
        # interpolation, Kim & Rush 2016).
        "frozen_teacher": frozen_teacher | {"select.rule": "posterior", "select.quality_weight": 5.0},
        # The control of the frozen cells: the same lists and steps, without a choice.
        "frozen_teacher_top1": frozen_teacher | {"select.rule": "teacher_top1"},
        "frozen_teacher_student_top1": frozen_teacher
        | {"select.rule": "student_top1", "select.normalise_length": False},
        "frozen_teacher_quality": frozen_teacher
        | {"select.quality_weight": 5.0, "select.alpha": 0.0, "select.beta": 0.0},
        # As the paper has it: scores of whole sentences.
        "student_top1": {"select.rule": "student_top1", "select.normalise_length": False},
        # Four targets of a source, and as many sources a step as the others have.
        "in_loss": alone
        | {"em.student_data": "candidates", "em.candidates": 4, "student_train.batch_tokens": 4_096},
        "raw": alone | {"em.student_data": "raw"},
    }
    return {
        family: {name: changes | {"student.family": family} for name, changes in rules.items()}
        for family in FAMILIES
    }
