"""What each part of a round is worth on Tatoeba English-German: rules x families x seeds, equal budgets.

    EMNAT_DATA=/path/to/corpora emnat sweep --config=configs/tatoeba_grid.py --workdir=runs/grid --seeds=1,2,3

The teacher has 1,600 steps in every cell and the student 900, at once or as 300 and 600.
"""

from emnat_jax.config.convert import load_sibling

TEACHER_STEPS = 1_600
STUDENT_STEPS = 300  # before the E-step; twice as many after it
FAMILIES = ("vanilla", "ctc", "dag")


def get_config():
    config = load_sibling(__file__, "tatoeba").get_config()
    config.data.test_multi = "tatoeba_en_de/test_multiref.tsv.gz"
    config.data.train_rows = 40_000  # three passes of the teacher
    config.data.buckets = (8, 12, 16, 32)
    config.data.batch_tokens = 1_024
    config.data.decode_rows = 64  # faster than wider ones on a CPU
    config.vocab.size = 4_000
    config.em.candidates = 8
    config.em.control = False  # the cells are each other's controls
    config.teacher_train.steps, config.student_train.steps = TEACHER_STEPS, STUDENT_STEPS
    for train in (config.teacher_train, config.student_train):
        train.eval_every = train.checkpoint_every = train.steps
        train.optim.method, train.optim.warmup_steps = "muon", 150
    return config


def get_grid():
    """The first cell of a group is what the others are compared with."""
    alone = {"em.rounds": 0, "student_train.steps": 3 * STUDENT_STEPS}
    without_reference = {"select.include_reference": False, "select.quality_weight": 0.0}
    rules = {
        # The control: the first of each list, before the E-step and after it.
        "first": without_reference | {"select.rule": "teacher_top1"},
        "recipe": {},
        # Another control: after the same round 0 the reference of every source.
        "reference": {"select.alpha": 0.0, "select.beta": 0.0},
        "posterior": without_reference,
        "posterior_quality": without_reference | {"select.quality_weight": 5.0},
        # Sequence-level interpolation (Kim & Rush 2016).
        "quality": without_reference
        | {"select.quality_weight": 5.0, "select.alpha": 0.0, "select.beta": 0.0},
        # Plain distillation, from greedy search.
        "distilled": alone | {"em.student_data": "distilled"},
        "raw": alone | {"em.student_data": "raw"},
        # As the paper has it: scores of whole sentences.
        "student_top1": without_reference | {"select.rule": "student_top1", "select.normalise_length": False},
        # The paper's loop. The teacher learns the choices, with as many steps in all.
        "paper": without_reference
        | {
            "em.update_teacher": True,
            "em.student_data": "distilled",
            "teacher_train.steps": TEACHER_STEPS // 2,
            "em.later_steps_ratio": 1.0,
            "student_train.steps": 3 * STUDENT_STEPS // 2,
            "select.rule": "student_top1",
            "select.normalise_length": False,
        },
        # Four targets of a source, and as many sources a step as the others have.
        "in_loss": alone
        | without_reference
        | {"em.student_data": "candidates", "em.candidates": 4, "student_train.batch_tokens": 4_096},
        "cross_fitted": without_reference | {"select.quality_weight": 5.0, "em.folds": 2},
        # A student of 900 steps chooses, and a new one learns the choices for as many.
        "new_student": without_reference
        | {
            "select.quality_weight": 5.0,
            "student_train.steps": 3 * STUDENT_STEPS,
            "em.warm_start": False,
        },
        # The student adds its own eight best to the teacher's.
        "own_candidates": without_reference
        | {"select.quality_weight": 5.0, "em.candidates_from": ("teacher", "student")},
    }
    return {
        family: {name: changes | {"student.family": family} for name, changes in rules.items()}
        for family in FAMILIES
    }
