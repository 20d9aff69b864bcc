"""Whether all programs of a run fit the devices, looked at before the first training.

Without it a list of candidates that is too large would be found out after the teacher's training.
"""

from collections.abc import Iterable

from emnat_jax.config import ROLES
from emnat_jax.em.stages.base import Stage
from emnat_jax.em.stages.programs import Call, Target
from emnat_jax.em.workdir import Workspace
from emnat_jax.errors import UserError
from emnat_jax.runtime.memory import TooLarge, compile_within, compiled_bytes, device_memory


def require_sizes(work: Workspace, stages: Iterable[Stage]) -> None:
    """UserError for a program of these stages that the devices' memory does not hold.

    All processes call it together, with a prepared workdir. What fits by the estimate is not compiled; the
    rest is, so that the compiler has the last word. Nothing is checked where the memory is not known.
    """
    config, memory = work.config, device_memory(work.layout)
    if memory.size is None:
        return
    sizes = (work.vocabulary.size, config.data.max_length)
    models = {role: config.role(role).model.resolve(*sizes) for role in ROLES}
    target = Target(work.layout, models, work.vocabulary.size, config.data.decode_rows, memory)
    known: set[tuple[str, int]] = set()
    for stage in stages:
        for program in stage.programs(stage.options(config), target):
            one = program.name, program.targets  # more targets of a source are another program
            if one not in known:
                known.add(one)
                _require_fits(stage.output, program.name, program.make(), memory.size)


def _require_fits(stage: str, name: str, call: Call, size: int) -> None:
    if call.surely_fits():
        return
    try:
        needed = compiled_bytes(compile_within(call.lower()))
        found = f"it needs {needed / 2**30:.2f} GiB" if needed > size else None
    except TooLarge as error:
        found = str(error)
    if found is not None:
        raise UserError(
            f"{stage}: the program '{name}' does not fit a device of {size / 2**30:.2f} GiB: {found}; "
            f"{call.remedy}. Checked before the first training, so nothing is lost."
        )
