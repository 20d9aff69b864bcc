"""Compile a step for a TPU slice on a machine that has none, and read what the compiler says of it.

libtpu's ahead-of-time compiler (the extra `tpu`) makes the very program that the slice would run; nothing is
executed.
"""

import importlib.util
import os
import re
import time
from collections import Counter
from typing import Any, NamedTuple

import jax

from emnat_jax.errors import UserError, require

# libtpu asks the cloud which machine this is, and locks itself against a second compiling process, unless told.
ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    "TPU_MIN_LOG_LEVEL": "3",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}
_COLLECTIVE = re.compile(
    r"= (.+?) (all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(?:-start)?\("
)
_SHAPE = re.compile(r"(pred|[a-z]+?)(\d+)?\[([\d,]*)\]")


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


def slice_devices(topology: str) -> list[jax.Device]:
    """The devices of a slice such as v5e:16x16, one a chip.

    Raises UserError where libtpu is missing, or does not know the slice or the chip.
    """
    from jax.experimental import topologies

    require(
        importlib.util.find_spec("libtpu") is not None,
        "no TPU compiler here; install it: pip install 'emnat_jax[tpu]'.",
    )
    options = {"chip_config_name": "megacore"} if topology.startswith("v4:") else {}
    try:
        devices = topologies.get_topology_desc(platform="tpu", topology_name=topology, **options).devices
    except jax.errors.JaxRuntimeError as error:
        raise UserError(
            f"--topology={topology}: {str(error).splitlines()[0]} Give a chip and a shape, e.g. v5e:2x4, v5e:16x16, "
            "v4:2x2x2, v5p:4x4x4, v6e:16x16."
        ) from error
    if devices[0].device_kind not in CHIPS:
        raise UserError(
            f"--topology={topology}: no figures for {devices[0].device_kind}; choose one of {', '.join(CHIPS)}."
        )
    return list(devices)


class Program(NamedTuple):
    """What the compiler says of one program, on one device."""

    peak_bytes: int | None  # None where it does not fit; `refusal` says by how much
    argument_bytes: int
    flops: float  # the body of a loop counts once, however often it runs
    hbm_bytes: float
    collectives: dict[str, int]
    collective_bytes: float  # of their results
    seconds: float  # to compile
    refusal: str = ""


def compile_program(lowered: Any) -> Program:
    """Compiles what `jax.jit(...).lower` made for a slice."""
    begin = time.monotonic()
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        reason = next(
            (line for line in str(error).splitlines() if "exceeds" in line or "Ran out" in line), str(error)
        )
        return Program(None, 0, 0.0, 0.0, {}, 0.0, time.monotonic() - begin, reason.strip()[:200])
    memory, cost, found = (
        compiled.memory_analysis(),
        compiled.cost_analysis(),
        collectives(compiled.as_text()),
    )
    return Program(
        peak_bytes=int(memory.peak_memory_in_bytes),
        argument_bytes=int(memory.argument_size_in_bytes),
        flops=cost["flops"],
        hbm_bytes=cost["bytes accessed"],
        collectives=dict(Counter(name for name, _ in found)),
        collective_bytes=float(sum(size for _, size in found)),
        seconds=time.monotonic() - begin,
    )


def collectives(program: str) -> list[tuple[str, int]]:
    """(kind, bytes of the result on a device) of every collective operation in a compiled program's text."""
    return [(match[2], _bytes(match[1], match[0])) for match in _COLLECTIVE.finditer(program)]


def _bytes(shapes: str, whole: str) -> int:
    """Bytes of one result, or of several; an asynchronous start names its operands beside its result."""
    sizes = []
    for _kind, bits, dims in _SHAPE.findall(shapes):
        count = 1
        for size in filter(None, dims.split(",")):
            count *= int(size)
        sizes.append(count * (int(bits) // 8 if bits else 1))
    return sum(sizes) // (2 if "-start(" in whole else 1)


def prepare_environment() -> None:
    """Makes libtpu a compiler only; call it before JAX is used."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # The default level takes about four times the processor time for nearly the same memory, and its estimates
    # of time are not usable.
    jax.config.update("jax_optimization_level", "O1")
