"""Every E-step on the generated multi-modal task, where a checker knows each output that is right.

    emnat sweep --config=configs/modes_grid.py --workdir=runs/modes-grid --seeds=1,2,3

Every student has the same number of steps in all. About 18 minutes a seed on one CPU core; measured:
docs/results/modes.md.
"""

from emnat_jax.config.convert import load_sibling


def get_config():
    config = load_sibling(__file__, "modes").get_config()
    config.em.control = False  # the cells are each other's controls
    return config


def get_grid():
    """The first cell is what the others are compared with."""
    config = get_config()
    steps = round(config.student_train.steps * (1 + config.em.rounds * config.em.later_steps_ratio))
    alone = {"em.rounds": 0, "student_train.steps": steps}
    return {
        "vanilla": {
            "distilled": alone,
            "raw": alone | {"em.student_data": "raw"},
            # As the paper has it: scores of whole sentences.
            "student_top1": {"select.rule": "student_top1", "select.normalise_length": False},
            "posterior": {"select.rule": "posterior"},
            "in_loss": alone | {"em.student_data": "candidates"},
        }
    }
