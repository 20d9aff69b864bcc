"""Compile a step for a TPU slice on a machine that has none, and read what the compiler says of it.

libtpu's ahead-of-time compiler (the extra `tpu`) makes the very program that the slice would run; nothing is
executed.
"""

import importlib.util
import os
import re
import time
from typing import Any, NamedTuple

import jax

from emnat_jax.errors import UserError, require
from emnat_jax.profiling.hlo import parse
from emnat_jax.profiling.roofline import Work, work_of
from emnat_jax.runtime.memory import TooLarge, compile_within

# Unless told, libtpu asks the cloud which machine this is, and locks out a second compiling process.
ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    "TPU_MIN_LOG_LEVEL": "3",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}


class Chip(NamedTuple):
    """What one chip can do, as its maker states it (Cloud TPU documentation, "System architecture")."""

    hbm_bytes: float
    flops: float  # a second, bfloat16
    hbm_bandwidth: float  # bytes a second
    link_bandwidth: float  # bytes a second to all neighbours together


CHIPS = {
    "TPU v4": Chip(32 * 2**30, 275e12, 1228e9, 300e9),
    "TPU v5 lite": Chip(16 * 2**30, 197e12, 819e9, 200e9),
    "TPU v5": Chip(95 * 2**30, 459e12, 2765e9, 600e9),
    "TPU v6 lite": Chip(32 * 2**30, 918e12, 1640e9, 448e9),
}


def slice_devices(topology: str, slices: int = 1) -> list[jax.Device]:
    """The devices of this many slices such as v5e:16x16, one a chip.

    Raises UserError where libtpu is missing, or does not know the slice or the chip.
    """
    from jax.experimental import topologies

    require(
        importlib.util.find_spec("libtpu") is not None,
        "no TPU compiler here; install it: pip install 'emnat_jax[tpu]'.",
    )
    options: dict[str, Any] = {"chip_config_name": "megacore"} if topology.startswith("v4:") else {}
    # A host has four chips unless it is said to have one.
    options |= {"chips_per_host_bounds": (1, 1, 1)} if re.fullmatch(r"\w+:1(x1)+", topology) else {}
    options |= {"num_slices": slices} if slices > 1 else {}
    try:
        devices: list[Any] = topologies.get_topology_desc(
            platform="tpu", topology_name=topology, **options
        ).devices
    except jax.errors.JaxRuntimeError as error:
        raise UserError(
            f"--topology={topology}: {str(error).splitlines()[0]} Give a chip and a shape, e.g. v5e:1x1, "
            "v5e:2x4, v5e:16x16, v4:2x2x2, v5p:4x4x4, v6e:16x16."
        ) from error
    if devices[0].device_kind not in CHIPS:
        raise UserError(
            f"--topology={topology}: no data of {devices[0].device_kind}; choose one of {', '.join(CHIPS)}."
        )
    return list(devices)


class Compiled(NamedTuple):
    """What the compiler says of one program, on one device."""

    peak_bytes: int | None  # None where it does not fit; `refusal` says by how much
    work: list[Work]
    seconds: float  # to compile
    refusal: str = ""


def compile_program(lowered: Any) -> Compiled:
    """Compiles what `jax.jit(...).lower` made for a slice."""
    begin = time.monotonic()
    try:
        compiled = compile_within(lowered)
    except TooLarge as error:
        return Compiled(None, [], time.monotonic() - begin, str(error))
    seconds = time.monotonic() - begin
    peak = int(compiled.memory_analysis().peak_memory_in_bytes)
    return Compiled(peak, work_of(parse(compiled.as_text())), seconds)


def prepare_environment(*, full: bool = False) -> None:
    """Makes libtpu a compiler only; call it before JAX is used.

    Unless `full`, it skips slow optimisations, above all keeping values in the chip's own memory: a third of
    the time, about twice the counted traffic.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if not full:
        jax.config.update("jax_optimization_level", "O1")
