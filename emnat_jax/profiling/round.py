"""The programs of an EM round, lowered for a TPU slice: what fits, what bounds each, how long it takes."""

import dataclasses
from typing import NamedTuple

import jax

from emnat_jax.config import ROLES, Config, MeshConfig
from emnat_jax.em.plan import make_plan
from emnat_jax.em.stages.programs import SMALL, Program, Target
from emnat_jax.profiling.aot import CHIPS, Chip, compile_program
from emnat_jax.profiling.roofline import costs
from emnat_jax.runtime.memory import TPU_LANES, Memory
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
    """The programs that the plan's stages declare, by name, at the widest bucket.

    Of those with one name the first, or the first that takes more targets of a source.
    """
    models = {role: config.role(role).model.resolve(vocabulary, config.data.max_length) for role in ROLES}
    memory = Memory(int(there.chip.hbm_bytes), TPU_LANES)
    target = Target(there.layout, models, vocabulary, config.data.decode_rows, memory)
    found: dict[str, Program] = {}
    for stage in make_plan(config):
        for program in stage.programs(stage.options(config), target):
            known = found.get(program.name)
            if known is None or program.targets > known.targets:
                found[program.name] = program
    return found


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a chip needs for one program that fits."""

    peak_bytes: int
    chip_bytes: int
    flops: float  # of the chip, as the next four
    hbm_bytes: float
    collectives: dict[str, int]  # kind -> times
    link_bytes: float
    bounds_ms: dict[str, float]
    compute_share: float  # of the time that the matrix units are busy
    largest_ms: dict[str, float]  # the parts of the model that take longest
    pairs_per_call: int  # of the slice, as the next two
    pairs_per_second: float
    target_tokens_per_second: float
    compile_seconds: float
    fits: bool
    remedy: str  # what to do where it does not
    hours: float | None  # of the program's stage of round 0; None where the corpus has no known size


@dataclasses.dataclass(frozen=True)
class Refusal:
    """A program that the compiler refuses for want of memory."""

    refusal: str  # by how much it is too large
    remedy: str  # what to do
    compile_seconds: float
    fits: bool = False


class Workload(NamedTuple):
    """What a stage passes over."""

    pairs: int | None  # of the corpus; None: not known
    tokens: int  # target tokens of a pair


def program_costs(program: Program, there: Slice, workload: Workload) -> Cost | Refusal:
    """Compiles a program; its memory against the chip's, its bounds, and what a second of the slice brings.

    The time is the tightest of four bounds (profiling/roofline.py). A search counts with its largest number
    of steps.
    """
    call, chip = program.make(), there.chip
    compiled = compile_program(call.lower())
    if compiled.peak_bytes is None:
        return Refusal(compiled.refusal, call.remedy, compiled.seconds)
    found = costs(compiled.work, chip.flops, chip.hbm_bandwidth, chip.link_bandwidth)
    return Cost(
        peak_bytes=compiled.peak_bytes,
        chip_bytes=int(chip.hbm_bytes),
        flops=found.flops,
        hbm_bytes=found.bytes,
        collectives=found.collectives,
        link_bytes=found.link_bytes,
        bounds_ms={name: 1e3 * value for name, value in found.bounds.items()},
        compute_share=found.bounds["compute"] / found.seconds,
        largest_ms={name: 1e3 * value for name, value in found.largest[:20]},
        pairs_per_call=call.pairs,
        pairs_per_second=call.pairs / found.seconds,
        target_tokens_per_second=call.pairs * program.width / found.seconds,
        compile_seconds=compiled.seconds,
        fits=compiled.peak_bytes <= chip.hbm_bytes,
        remedy=call.remedy,
        hours=_stage_hours(program, call.pairs, found.seconds, workload),
    )


def _stage_hours(program: Program, pairs: int, seconds: float, workload: Workload) -> float | None:
    """How long the program's stage of round 0 takes where a call on `pairs` takes this many seconds.

    A training takes its steps; the others pass once over the targets, or (None) over small splits alone.
    """
    if program.calls is not None:
        return program.calls * seconds / 3600
    if workload.pairs is None or program.targets == SMALL:
        return None
    calls = workload.pairs * program.targets * workload.tokens / (pairs * program.width)
    return calls * seconds / 3600
