"""What results depend on beside the code and its options: devices, platform, versions."""

import dataclasses
import importlib.metadata
import platform

import jax

PACKAGES = ("emnat_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "sentencepiece", "sacrebleu")


@dataclasses.dataclass(frozen=True)
class Environment:
    """Where a result was made. `dataclasses.asdict` gives it as report.json has it."""

    devices: str  # e.g. 4 x NVIDIA H100
    platform: str  # operating system and machine
    python: str
    versions: dict[str, str | None]  # of PACKAGES; None where one is not installed


def environment() -> Environment:
    """The environment of this process; initialises JAX."""
    devices = jax.devices()
    return Environment(
        devices=f"{len(devices)} x {devices[0].device_kind}",
        platform=platform.platform(),
        python=platform.python_version(),
        versions={name: _version(name) for name in PACKAGES},
    )


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
