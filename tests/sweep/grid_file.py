"""A small grid as a configuration file, for `emnat sweep --config=`."""

from tests.em.config_file import get_config  # noqa: F401 - what all cells share


def get_grid():
    alone = {"em.rounds": 0}
    return {
        "vanilla": {
            "distilled": alone,
            "raw": alone | {"em.student_data": "raw"},
            "paper": {"select.rule": "student_top1"},
            "posterior": {"select.rule": "posterior"},
        }
    }
