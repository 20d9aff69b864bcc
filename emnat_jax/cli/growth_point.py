"""A process of `emnat benchmark growth`, one for each place: python -m emnat_jax.cli.growth_point FOLDER."""

import sys
from pathlib import Path

from emnat_jax.cli.workspace import set_up_jax
from emnat_jax.errors import UserError
from emnat_jax.report.convert import dumps, loads


def main(folder: str) -> int:
    """Measures the task that lies in the folder; a mistake is a line on stderr and status 2."""
    from emnat_jax.profiling.growth import MEASURED, TASK, Task

    path = Path(folder) / TASK
    try:
        task = loads(Task, path.read_text(), str(path), "start `emnat benchmark growth` again.")
        set_up_jax()
        from emnat_jax.profiling.growth_point import measure_task

        found = measure_task(task, folder)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    (Path(folder) / MEASURED).write_text(dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
