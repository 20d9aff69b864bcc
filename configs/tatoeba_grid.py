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


ALONE = {"em.rounds": 0, "student_train.steps": 3 * STUDENT_STEPS}  # all steps at once, without an E-step
WITHOUT_REFERENCE = {"select.include_reference": False, "select.quality_weight": 0.0}
WITH_QUALITY = WITHOUT_REFERENCE | {"select.quality_weight": 5.0}
# As the paper has it: scores of whole sentences.
OF_STUDENT = WITHOUT_REFERENCE | {"select.rule": "student_top1", "select.normalise_length": False}


def get_grid():
    """The first cell of a group is what the others are compared with."""
    cells = controls() | e_steps() | other_loops()
    return {
        family: {
            name: changes | {"student.family": family}
            for name, changes in (cells | fine_tuning(family)).items()
        }
        for family in FAMILIES
    }


def controls():
    """Students that no E-step chooses for."""
    return {
        # The first of each list, before the round and in it.
        "first": WITHOUT_REFERENCE | {"select.rule": "teacher_top1"},
        # After the same round 0 the reference of every source.
        "reference": {"select.alpha": 0.0, "select.beta": 0.0},
        # The same without a round: plain distillation of as many steps at once, from the beam's first.
        "beam": ALONE | WITHOUT_REFERENCE,
        # Plain distillation from greedy search.
        "distilled": ALONE | {"em.student_data": "distilled"},
        "raw": ALONE | {"em.student_data": "raw"},
    }


def e_steps():
    """What is chosen from the one list of a frozen teacher, and by what."""
    return {
        "recipe": {},
        # As the recipe, with a new optimiser and a warm-up in the later round, and its control.
        "restart": {"em.later_optimizer": "new"},
        "restart_first": WITHOUT_REFERENCE | {"select.rule": "teacher_top1", "em.later_optimizer": "new"},
        "posterior": WITHOUT_REFERENCE,
        "posterior_quality": WITH_QUALITY,
        # Sequence-level interpolation (Kim & Rush 2016).
        "quality": WITH_QUALITY | {"select.alpha": 0.0, "select.beta": 0.0},
        "student_top1": OF_STUDENT,
        "cross_fitted": WITH_QUALITY | {"em.folds": 2},
        # Half of the candidates drawn from the teacher.
        "samples": WITH_QUALITY | {"em.candidates": 4, "em.samples": 4},
        # The student adds its own eight best to the teacher's.
        "own_candidates": WITH_QUALITY | {"em.candidates_from": ("teacher", "student")},
    }


def fine_tuning(family):
    """The recipe, and after it a training for n-grams with its own control: short, and as long as before."""
    if family == "vanilla":
        return {}
    return {"ngram": {"em.finetune.steps": 300}, "ngram_long": {"em.finetune.steps": 1_000}}


def other_loops():
    """What else the round could be."""
    return {
        # The paper's loop. The teacher learns the choices, with as many steps in all.
        "paper": OF_STUDENT
        | {
            "em.update_teacher": True,
            "em.student_data": "distilled",
            "em.later_optimizer": "new",
            "teacher_train.steps": TEACHER_STEPS // 2,
            "em.later_steps_ratio": 1.0,
            "student_train.steps": 3 * STUDENT_STEPS // 2,
        },
        # Four targets of a source, and as many sources a step as the others have.
        "in_loss": ALONE
        | WITHOUT_REFERENCE
        | {"em.student_data": "candidates", "em.candidates": 4, "student_train.batch_tokens": 4_096},
        # A student of 900 steps chooses, and a new one learns the choices for as many.
        "new_student": WITH_QUALITY | {"student_train.steps": 3 * STUDENT_STEPS, "em.warm_start": False},
    }
