"""The programs of an EM round, lowered for a TPU slice: what fits, what bounds each, how long it takes."""

from typing import Any, NamedTuple

import jax

from emnat_jax.config import ROLES, Config, MeshConfig
from emnat_jax.em.plan import make_plan
from emnat_jax.em.stages.programs import Program, Target
from emnat_jax.profiling.aot import CHIPS, Chip, compile_program
from emnat_jax.profiling.roofline import costs
from emnat_jax.runtime.mesh import Layout, make_layout


class Slice(NamedTuple):
    """The devices that are compiled for."""

    chip: Chip
    chips: int
    hosts: int
    layout: Layout


def make_slice(config: MeshConfig, devices: list[jax.Device]) -> Slice:
    """A slice laid out as `config` says. Raises UserError where the mesh does not fill it."""
    hosts = len({device.process_index for device in devices})
    return Slice(CHIPS[devices[0].device_kind], len(devices), hosts, make_layout(config, devices))


def round_programs(config: Config, vocabulary: int, there: Slice) -> dict[str, Program]:
    """Every program of the plan's stages by name, at the widest bucket.

    Of those with one name the first, or the first that takes more targets of a source.
    """
    models = {role: config.role(role).model.resolve(vocabulary, config.data.max_length) for role in ROLES}
    target = Target(there.layout, models, vocabulary, config.data.decode_rows)
    found: dict[str, Program] = {}
    for stage in make_plan(config):
        for program in stage.programs(stage.options(config), target):
            known = found.get(program.name)
            if known is None or program.targets > known.targets:
                found[program.name] = program
    return found


def program_costs(program: Program, there: Slice) -> dict[str, Any]:
    """Compiles a program; its memory against the chip's, its bounds, and what a second of the slice brings.

    The time is the tightest of four bounds (profiling/roofline.py). A search counts with its largest number
    of steps.
    """
    compiled, chip = compile_program(program.lower()), there.chip
    if compiled.peak_bytes is None:
        return {"fits": False, "refusal": compiled.refusal, "compile_seconds": compiled.seconds}
    found = costs(compiled.work, chip.flops, chip.hbm_bandwidth, chip.link_bandwidth)
    return {
        "fits": compiled.peak_bytes <= chip.hbm_bytes,
        "peak_bytes": compiled.peak_bytes,
        "chip_bytes": int(chip.hbm_bytes),
        "flops": found.flops,
        "hbm_bytes": found.bytes,
        "collectives": found.collectives,
        "link_bytes": found.link_bytes,
        "bounds_ms": {name: 1e3 * value for name, value in found.bounds.items()},
        "compute_share": found.bounds["compute"] / found.seconds,
        "largest_ms": {name: 1e3 * value for name, value in found.largest[:20]},
        "pairs_per_second": program.pairs / found.seconds,
        "target_tokens_per_second": program.pairs * program.width / found.seconds,
        "compile_seconds": compiled.seconds,
    }


def stage_hours(program: Program, cost: dict[str, Any], pairs: int | None, tokens: int) -> float | None:
    """How long the program's stage of round 0 takes at its bound; None where the corpus has no known size.

    A training takes its steps; the others pass once over `pairs` of `tokens` target tokens each.
    """
    if program.calls is not None:
        return program.calls * max(cost["bounds_ms"].values()) / 3.6e6
    if pairs is None:
        return None
    return pairs * program.targets * tokens / cost["target_tokens_per_second"] / 3600
